//! `migrate`: prints what Ingresses and Domains are in Gateway API. It changes nothing, neither files nor a cluster.

use crate::{exit, logging, offline::Source, output};
use clap::ValueEnum;
use headgate_controller::{
    migrate::{Document, Migration, migrate},
    sources::{
        findings::{self, Report, Severity},
        written,
    },
};
use serde_json::{Value, json};
use std::{io, path::PathBuf, process::ExitCode};

/// Print Ingresses, and Domains of OpenFunction, as Gateways and HTTPRoutes of Gateway API
///
/// Reads Ingresses, the Services that they name and IngressClasses from files, and prints a Gateway for each namespace and class, and
/// an HTTPRoute for each host. Of a Domain of OpenFunction 0.5 or 0.6 and its Functions: one for each function, at its path. Annotations of ingress-nginx are carried over where they have an exact form. Everything that has none
/// is told on standard error with its line, and as a comment above the object; where it decides who may pass, the rules are written
/// without backends, so that nothing is open that was not.
///
/// Exits with 0 if all is carried over or nearly so (warnings), with 1 if something is not, and with 2 if a path is not there.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  # the files of a folder
  headgate migrate deploy/ > gateway-api.yaml

  # of a cluster, with the Services, which know the numbers of named ports
  kubectl get ingress,service -A -o yaml | headgate migrate -

  # for another implementation of Gateway API
  headgate migrate deploy/ --class istio")]
pub struct Args {
    /// Files and folders, or - for standard input; the current directory if none is given
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// GatewayClass of the Gateways
    #[arg(long, default_value = "headgate")]
    class: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One document for each object, with comments.
    #[default]
    Yaml,
    /// One List.
    Json,
}

/// Reads and prints.
pub fn run(args: Args) -> ExitCode {
    let source = match Source::of(&args.paths) {
        Ok(source) => source,
        Err(why) => return exit::fail(exit::USAGE, &why, "headgate migrate [PATH…|-]"),
    };
    let loaded = source.load();
    let written = match &source {
        Source::Paths(paths) => written::of_paths(paths),
        Source::Text(text) => written::of_text(text),
    };
    let Migration { documents, mut findings } = migrate(&loaded, &written, &args.class);
    if documents.is_empty() && findings.is_empty() {
        return exit::fail(
            exit::PROBLEMS,
            "there is no Ingress and no Domain in these files",
            "headgate migrate [PATH…|-]",
        );
    }
    findings.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
    let report = Report { findings: &findings, skipped: &[], ..loaded.report() };
    eprint!("{}", report.render(findings::Output::Text { colours: logging::colours(&io::stderr()) }));
    let code = if report.count(Severity::Error) > 0 { exit::PROBLEMS } else { 0 };
    output::print(&printed(&documents, args.output), code)
}

fn printed(documents: &[Document], format: Format) -> String {
    match format {
        Format::Yaml => documents.iter().map(document).collect::<Vec<_>>().join("---\n"),
        Format::Json => {
            let items: Vec<&Value> = documents.iter().map(|document| &document.manifest).collect();
            output::json(&json!({"apiVersion": "v1", "kind": "List", "items": items}))
        }
    }
}

fn document(document: &Document) -> String {
    let comments: String = document.comments.iter().map(|comment| format!("# {comment}\n")).collect();
    comments + &output::yaml(&document.manifest)
}
