//! Headgate in a real Kubernetes, as an operator sees it: objects go in by kubectl, and requests go to the address in a Gateway's status. It runs inside `e2e/cluster/in`, and without a cluster it says so and shows nothing.
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

mod api;
mod audit;
mod away;
mod bad_objects;
mod callers;
mod changes;
mod clocks;
mod cold;
mod definitions;
mod edits;
mod gateways;
mod growth;
mod kinds;
mod leader;
mod load;
mod objects;
mod operator;
mod outages;
mod parts;
mod pods;
mod rotation;
mod same;
mod severed;
mod shop;
mod story;
mod troubles;
mod two;
mod upgrade;
mod writes;
