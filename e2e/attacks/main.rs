//! Attacks: what a hostile client or application sends, and what must become of it. Each test says in a line its rule and where that is written; nothing here knows how the program is built.
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

mod application;
mod codings;
mod cold;
mod downgrade;
mod endpoints;
mod floods;
mod framing;
mod grpc;
mod hosts;
mod memory;
mod objects;
mod paths;
mod pressure;
mod proxied;
mod rig;
mod sizes;
mod switching;
mod tickets;
mod unread;
