//! What the exit code says; the same for all commands.

use std::process::ExitCode;

/// What was asked about has problems.
pub const PROBLEMS: u8 = 1;
/// The command line is wrong: the command did nothing.
pub const USAGE: u8 = 2;
/// Of commands that compare or judge a cluster: they cannot tell. That is what kubectl diff says too.
pub const UNKNOWN: u8 = 2;
/// What the command talks to does not answer.
pub const UNREACHABLE: u8 = 3;

/// Says why on standard error, with what to do, and gives the code.
pub fn fail(code: u8, why: &str, hint: &str) -> ExitCode {
    eprintln!("error: {why}");
    if !hint.is_empty() {
        eprintln!("  help: {hint}");
    }
    ExitCode::from(code)
}
