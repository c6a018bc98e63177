//! `version`: which program this is.

use crate::output::{self, Format};
use serde_json::json;
use std::process::ExitCode;

/// Print which version this is
///
/// The commit is known only in releases, whose build sets HEADGATE_COMMIT.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  headgate version
  headgate version -o json | jq -r .version")]
pub struct Args {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Prints it.
pub fn run(args: Args) -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    // set at build time: asking git would build the program anew with each commit
    let commit = option_env!("HEADGATE_COMMIT");
    let document = json!({"version": version, "commit": commit});
    let text = match args.output {
        Format::Json => output::json(&document),
        Format::Yaml => output::yaml(&document),
        Format::Text => match commit {
            Some(commit) => format!("headgate {version} ({commit})\n"),
            None => format!("headgate {version}\n"),
        },
    };
    output::print(&text, 0)
}
