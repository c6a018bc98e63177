//! Headgate in a real Kubernetes, as an operator sees it: objects go in by kubectl, and requests go to the address in a Gateway's status. It runs inside `e2e/cluster/in`, and without a cluster it says so and shows nothing.
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

mod edits;
mod gateways;
mod load;
mod operator;
mod outages;
mod story;
