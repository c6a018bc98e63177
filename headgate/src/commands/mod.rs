//! The commands, one file each: arguments, what is printed, exit code. What they tell comes from the other crates.

pub mod check;
pub mod completion;
pub mod controller;
pub mod diff;
pub mod echo;
pub mod explain;
pub mod gateway;
pub mod init;
pub mod migrate;
pub mod routes;
pub mod run;
pub mod status;
pub mod version;
