//! The commands, one file each: arguments, what is printed, exit code. What they tell comes from the other crates.

pub mod run;
