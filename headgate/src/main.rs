//! The one binary: reads the command line and hands over to one command. It decides nothing itself.

mod admin;
mod clock;
mod commands;
mod exit;
mod gateways;
mod handover;
mod health;
mod interrupts;
mod limits_args;
mod logging;
mod model;
mod offline;
mod output;
mod reach;
mod serve_args;
mod systemd;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// A function gateway: serves functions by host name, splits traffic by weight, holds requests while a function starts from zero,
/// and reloads its routes without losing one.
#[derive(Parser)]
#[command(name = "headgate", version, propagate_version = false, max_term_width = 110)]
#[command(after_help = "\
Start here:
  headgate init hello && headgate run hello

Exit codes: 0 fine, 1 problems found, 2 wrong usage, 3 unreachable; of status and diff, 2 is: cannot tell.
Environment: NO_COLOR switches colours off; HEADGATE_LOG filters events (warn, headgate_gateway=debug).")]
struct Cli {
    /// Format of logs on standard error: auto (text on a terminal, else json), text or json
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", hide_possible_values = true)]
    log_format: logging::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<commands::run::Args>),
    Controller(Box<commands::controller::Args>),
    Gateway(Box<commands::gateway::Args>),
    Init(commands::init::Args),
    Check(commands::check::Args),
    Routes(commands::routes::Args),
    Explain(commands::explain::Args),
    Status(commands::status::Args),
    Diff(commands::diff::Args),
    Migrate(commands::migrate::Args),
    Echo(commands::echo::Args),
    Completion(commands::completion::Args),
    Version(commands::version::Args),
}

fn main() -> ExitCode {
    // Started by `run` for its function processes; hidden, and not to be slowed down by anything.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "__supervise") {
        return headgate_controller::runtimes::supervise();
    }
    let Cli { log_format, command } = Cli::parse();
    logging::start(log_format);
    match command {
        Command::Run(args) => commands::run::run(*args, log_format.into()),
        Command::Controller(args) => commands::controller::run(*args),
        Command::Gateway(args) => commands::gateway::run(*args, log_format.into()),
        Command::Init(args) => commands::init::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Routes(args) => commands::routes::run(args),
        Command::Explain(args) => commands::explain::run(args),
        Command::Status(args) => commands::status::run(args),
        Command::Diff(args) => commands::diff::run(args),
        Command::Migrate(args) => commands::migrate::run(args),
        Command::Echo(args) => commands::echo::run(args),
        Command::Completion(args) => commands::completion::run(args, Cli::command()),
        Command::Version(args) => commands::version::run(args),
    }
}

/// What an operator decided, by the arguments of a container that runs a controller.
fn controller_ground(arguments: &[String]) -> Option<headgate_controller::cluster::Ground> {
    let words = std::iter::once("headgate").chain(arguments.iter().map(String::as_str));
    match Cli::try_parse_from(words).ok()?.command {
        Command::Controller(args) => Some(commands::controller::ground(&args, "")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_an_operator_decided_is_read_from_the_arguments_of_a_controller() {
        let words = [
            "controller",
            "--image",
            "a:1",
            "--controller-name",
            "a.io/b",
            "--domain",
            "fn.example",
            "--log-format",
            "json",
        ];
        let ground = controller_ground(&words.map(str::to_owned)).expect("they are those of a controller");
        let domain = ground.functions.map(|functions| functions.domain);
        assert_eq!(
            (&*ground.settings.controller_name, domain.as_deref(), &*ground.provision.image),
            ("a.io/b", Some("fn.example"), "a:1")
        );
        assert!(controller_ground(&["gateway".to_owned()]).is_none());
        assert!(controller_ground(&[]).is_none());
    }
}
