//! `status`: how it stands with Headgate in a cluster, as objects say it and controllers say it of themselves. It changes nothing.

mod gather;
mod text;

use crate::{
    exit, logging,
    output::{self, Format},
    reach::{ClusterArgs, Reach, block_on},
};
use gather::Status;
pub use gather::{sight, unread};
use std::{io, process::ExitCode};

/// Show how it stands with Headgate in a cluster: controllers, Gateways, functions, and everything that is refused
///
/// Reads with the rights of the kube context: GatewayClasses, Gateways, routes, policies, functions, Deployments and Pods. Controllers
/// and gateways are asked through the API server (port-forward to their admin port); where that is not allowed, what stands in
/// objects is told.
///
/// Exits with 0 if all is well, with 1 if something is refused or not ready, and with 2 if that cannot be told.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  # of the current context
  headgate status

  # of one namespace, with rights in that namespace only
  headgate status -n shop

  # what is refused, for a program
  headgate status -o json | jq '.refused[]'")]
pub struct Args {
    /// Only what is in this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Those of all namespaces, as without -n
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Looks and prints.
pub fn run(args: Args) -> ExitCode {
    let looked = block_on(async {
        let reach = Reach::to(&args.cluster).await?;
        Ok(gather::gather(&reach, args.namespace.as_deref()).await)
    });
    let status = match looked.and_then(|looked| looked) {
        Ok(status) => status,
        Err(why) => return exit::fail(exit::UNKNOWN, &why, "name a cluster with --context or --kubeconfig"),
    };
    let text = match args.output {
        Format::Text => text::text(&status, logging::colours(&io::stdout())),
        Format::Json => output::json(&status),
        Format::Yaml => output::yaml(&status),
    };
    output::print(&text, code(&status))
}

/// What is known to be wrong counts more than what is not known.
fn code(status: &Status) -> u8 {
    match (status.is_fine(), status.unknown.is_empty()) {
        (false, _) => exit::PROBLEMS,
        (true, false) => exit::UNKNOWN,
        (true, true) => 0,
    }
}
