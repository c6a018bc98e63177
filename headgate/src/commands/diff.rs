//! `diff`: what a cluster would serve otherwise, and refuse, if files were applied to it. It applies nothing.

mod changes;
#[cfg(test)]
mod tests;
mod text;

use crate::{
    exit, logging,
    model::Model,
    offline::{Offline, Source},
    output::{self, Format},
    reach::{ClusterArgs, Reach, block_on},
};
use changes::Changes;
use headgate_controller::sources::{
    findings::{self, Report, Severity},
    written,
};
use serde_json::Value;
use std::{io, path::PathBuf, process::ExitCode};

/// Show what a cluster would serve otherwise if these files were applied: rules of each Gateway, and what would newly be refused
///
/// Objects of the cluster are read with the rights of the kube context, the files are laid over them, and both are translated as a
/// controller would. Nothing is applied, and the API server is not asked whether it would take the files. Secrets that may not be
/// read are taken for good.
///
/// Exits as `kubectl diff` does: 0 nothing would change, 1 something would, 2 that cannot be told.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  # before kubectl apply -f deploy/
  headgate diff deploy/

  # what another program writes, in a namespace, of another cluster
  helm template . | headgate diff - -n shop --context prod

  # for a program
  headgate diff deploy/ -o json | jq '.conditions.worse[]'")]
pub struct Args {
    /// Files and folders, or - for standard input
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Namespace of objects that name none; that of the context if not given
    #[arg(short, long)]
    namespace: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Compares and prints.
pub fn run(args: Args) -> ExitCode {
    let values = match read(&args.paths) {
        Ok(values) => values,
        Err(code) => return code,
    };
    let compared = block_on(compare(&args, values)).and_then(|compared| compared);
    let changes = match compared {
        Ok(changes) => changes,
        Err(why) => return exit::fail(exit::UNKNOWN, &why, "see what there is: headgate status"),
    };
    let text = match args.output {
        Format::Text => text::text(&changes, logging::colours(&io::stdout())),
        Format::Json => output::json(&changes),
        Format::Yaml => output::yaml(&changes),
    };
    output::print(&text, if changes.is_empty() { 0 } else { exit::PROBLEMS })
}

/// The objects of files, if none of them is broken.
fn read(paths: &[PathBuf]) -> Result<Vec<Value>, ExitCode> {
    let source = Source::of(paths).map_err(|why| exit::fail(exit::USAGE, &why, "headgate diff PATH…"))?;
    // read as `check` does, for what is said of lines; references are those of the cluster
    let loaded = Offline::read(&source, "localhost").loaded;
    let broken: Vec<_> =
        loaded.findings.iter().filter(|finding| finding.severity == Severity::Error).cloned().collect();
    if !broken.is_empty() {
        let form = findings::Output::Text { colours: logging::colours(&io::stderr()) };
        eprint!("{}", Report { findings: &broken, ..loaded.report() }.render(form));
        return Err(ExitCode::from(exit::UNKNOWN));
    }
    Ok(match &source {
        Source::Paths(paths) => written::of_paths(paths),
        Source::Text(text) => written::of_text(text),
    })
}

async fn compare(args: &Args, values: Vec<Value>) -> Result<Changes, String> {
    let reach = Reach::to(&args.cluster).await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| reach.namespace.clone());
    let model = Model::read(reach).await?;
    let before = model.expect(model.there()).await;
    let after = model.expect(model.with(values, &namespace)).await;
    for name in before.assumed.union(&after.assumed) {
        eprintln!("note: {name} may not be read, and is taken for good");
    }
    Ok(Changes::between(&before.outlook, &after.outlook))
}
