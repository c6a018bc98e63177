//! `check`: every defect of a set of files, where it stands, and what to write instead. It starts and changes nothing.

use crate::{
    exit, logging,
    offline::{Offline, Source},
    output,
};
use clap::ValueEnum;
use headgate_controller::sources::{
    crds::Crds,
    findings::{self, Finding, Report, Severity},
};
use std::{collections::BTreeSet, io, path::PathBuf, process::ExitCode};

/// Find every defect in files, with its line and what to write instead
///
/// Reads what `headgate run` would read and tells what would not be served as written: syntax, fields, references, routes that
/// take nothing, functions that collide. With --crds the schema and CEL rules of CustomResourceDefinitions are checked too, as an
/// API server that has them would.
///
/// Exits with 0 if there is no error (warnings are allowed), with 1 if there is one, and with 2 if a path is not there.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  # the current directory
  headgate check

  # a folder, and what another program writes
  headgate check examples/canary
  helm template . | headgate check -

  # annotations on the lines of a pull request
  headgate check -o github deploy/

  # also by the definitions of a Gateway API release
  headgate check --crds gateway-api/config/crd/standard deploy/")]
pub struct Args {
    /// Files and folders, or - for standard input; the current directory if none is given
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Check by the CustomResourceDefinitions in this file or folder too; can be repeated
    #[arg(long, value_name = "PATH")]
    crds: Vec<PathBuf>,
    /// Domain of functions that have no hostname of their own
    #[arg(long, default_value = "localhost")]
    domain: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
    Github,
}

/// Checks and prints.
pub fn run(args: Args) -> ExitCode {
    let source = match Source::of(&args.paths) {
        Ok(source) => source,
        Err(why) => return exit::fail(exit::USAGE, &why, "headgate check [PATH…|-]"),
    };
    if let Some(missing) = args.crds.iter().find(|path| !path.exists()) {
        return exit::fail(exit::USAGE, &format!("--crds {}: no such file or folder", missing.display()), "");
    }
    let Offline { loaded, assembly } = Offline::read(&source, &args.domain);
    let mut found = loaded.findings.clone();
    found.extend(assembly.findings);
    found.extend(by_crds(&args.crds, &source, &found));
    found.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
    let report = Report { findings: &found, ..loaded.report() };
    let form = match args.output {
        Format::Text => findings::Output::Text { colours: logging::colours(&io::stdout()) },
        Format::Json => findings::Output::Json,
        Format::Github => findings::Output::Github,
    };
    let code = if report.count(Severity::Error) > 0 { exit::PROBLEMS } else { 0 };
    output::print(&report.render(form), code)
}

/// What the given definitions say beyond what is known already: one defect is told once, in our words.
fn by_crds(crds: &[PathBuf], source: &Source, known: &[Finding]) -> Vec<Finding> {
    if crds.is_empty() {
        return Vec::new();
    }
    let (crds, mut findings) = Crds::read(crds);
    let told: BTreeSet<_> = known.iter().map(|finding| (&finding.file, finding.position)).collect();
    let said = match source {
        Source::Paths(paths) => crds.check(paths),
        Source::Text(text) => crds.check_text(Source::text_name(), text),
    };
    findings.extend(said.into_iter().filter(|finding| !told.contains(&(&finding.file, finding.position))));
    findings
}
