//! `headgate run` on one machine, seen from outside: each test states the rule it shows. Nothing here knows how the program is built.
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

mod cold;
mod skeleton;
mod split;
