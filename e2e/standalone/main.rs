//! `headgate run` on one machine, seen from outside: each test states the rule it shows. Nothing here knows how the program is built.
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

mod auth;
mod bounds;
mod carried;
mod cold;
mod datagrams;
mod drain;
mod filters;
mod forwarded;
mod handover;
mod ingress;
mod listener_filters;
mod persistence;
mod protocols;
mod proxied;
mod reload;
mod retries;
mod revisions;
mod service;
mod skeleton;
mod split;
#[path = "../stories/mod.rs"]
mod stories;
mod streams;
mod tls;
mod toxics;
mod x_backends;
