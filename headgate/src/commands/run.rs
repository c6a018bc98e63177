//! `run`: gateway, directory source and functions as processes on one machine.

use std::{path::PathBuf, process::ExitCode};

/// Serve functions and routes from files, on this machine.
#[derive(clap::Args)]
pub struct Args {
    /// Files and folders to serve; the current directory if none is given.
    pub paths: Vec<PathBuf>,
}

/// Serves until it is stopped.
pub fn run(args: Args) -> ExitCode {
    eprintln!("{} paths", args.paths.len());
    ExitCode::SUCCESS
}
