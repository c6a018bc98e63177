//! The one binary: reads the command line and hands over to one command. It never decides anything itself.

mod commands;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A function gateway: serves functions by host name, from zero, split by weight.
#[derive(Parser)]
#[command(name = "headgate", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(commands::run::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => commands::run::run(args),
    }
}
