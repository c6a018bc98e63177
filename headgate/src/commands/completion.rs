//! `completion`: scripts with which a shell completes our commands and flags.

use crate::output;
use clap::ValueEnum;
use clap_complete::{Shell, generate};
use std::process::ExitCode;

/// Print a script that completes commands and flags in a shell
#[derive(clap::Args)]
#[command(after_help = "Examples:
  # bash, for this session and for all
  source <(headgate completion bash)
  headgate completion bash > ~/.local/share/bash-completion/completions/headgate

  # zsh, into a folder of $fpath
  headgate completion zsh > ~/.zfunc/_headgate

  # fish
  headgate completion fish > ~/.config/fish/completions/headgate.fish

  # PowerShell
  headgate completion powershell | Out-String | Invoke-Expression")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Known,
}

/// The shells that are promised.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

/// Prints the script.
pub fn run(args: Args, mut command: clap::Command) -> ExitCode {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
        Known::Powershell => Shell::PowerShell,
    };
    let mut script = Vec::new();
    generate(shell, &mut command, "headgate", &mut script);
    output::print(&String::from_utf8_lossy(&script), 0)
}
