//! Measures the program as users run it, and says how far it is from its goals. It changes nothing of what it measures, and no test depends on its figures.

mod application;
mod callgrind;
mod controller;
mod counted;
mod drive;
mod guard;
mod held;
mod http2;
mod load;
mod mixed;
mod numbers;
mod objects;
mod origin;
mod page;
mod peers;
mod process;
mod profile;
mod report;
mod rows;
mod scenario;
mod site;
mod warm;

use clap::{Parser, Subcommand};
use report::{Report, Row};
use std::{io, path::PathBuf, process::ExitCode, time::Duration};

/// Counts only while a profiler runs, which is in the process of `counted` only.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Measures Headgate against its goals.
#[derive(Parser)]
#[command(after_help = "Figures of a busy machine are worse, and those of different machines cannot be compared.")]
struct Cli {
    /// Where results are written.
    #[arg(long, global = true, default_value = "benches/results")]
    results: PathBuf,
    /// Less of everything, to see whether the bench itself works.
    #[arg(long, global = true)]
    quick: bool,
    /// The program that is measured; the one beside this one if not given.
    #[arg(long, global = true)]
    program: Option<PathBuf>,
    /// One measurement alone, or one job of `peers`, by its name.
    #[arg(long, global = true)]
    only: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, PartialEq, Eq, Subcommand)]
enum Command {
    /// Every row.
    All,
    /// From an application's listen() to the arrival of the first held request; what clients wait when many functions are woken at once.
    Cold,
    /// Memory of a request that waits.
    Parked,
    /// Memory and time to load many routes, and to reload them.
    Load,
    /// From a save to the first answer that shows it.
    Save,
    /// Requests that fail while routes are saved again and again.
    Reloads,
    /// System calls of a warm request.
    SystemCalls,
    /// Allocations of a warm request, and where they are.
    Allocations,
    /// User instructions of a warm request, by valgrind.
    Instructions,
    /// Whether the instructions of warm requests are still those that were committed, in a debug build.
    Guard,
    /// CPU time of a request where very many hosts or rules are served.
    Sizes,
    /// A gateway with 40,000 routes of 2,500 ListenerSets: memory, what an edit costs, how soon it is back.
    ListenerSets,
    /// What a change costs the controller among 40,000 routes of 2,500 ListenerSets.
    Changes,
    /// The same jobs beside other gateways that are installed here.
    Peers,
    /// From a created route to its first 200 in a cluster, memory and writes there.
    Cluster,
    /// The tests of gateway-api-bench by their method, beside what was published of others; the largest is the next one.
    GatewayApiBench,
    /// 2,500 ListenerSets with 16 routes each in a cluster.
    GatewayApiBenchSets,
    /// Requests a second and CPU time of a request by how many threads serve; not part of `all`.
    Cores,
    /// Writes docs/benchmarks.md and its plot from the newest results.
    Page,
    /// The application of `cold` and `parked`.
    #[command(hide = true)]
    App {
        /// The pause before listen().
        #[arg(long, default_value_t = 50)]
        listen_after_ms: u64,
        /// Not to listen at all.
        #[arg(long)]
        never: bool,
    },
    /// The server behind the gateway.
    #[command(hide = true)]
    Origin {
        /// Bytes of an answer's body.
        #[arg(long, default_value_t = 100)]
        body_bytes: usize,
        /// By HTTP/2 without TLS instead of HTTP/1.1.
        #[arg(long)]
        http2: bool,
    },
    /// The gateway under an allocator that counts.
    #[command(hide = true)]
    Counted { folder: PathBuf, port: u16, log: PathBuf, profile: PathBuf },
    /// What many routes hold.
    #[command(hide = true)]
    Held {
        folder: PathBuf,
        port: u16,
        profile: PathBuf,
        /// As a stream brings them, without objects.
        #[arg(long)]
        told: bool,
    },
}

/// What a row's measurement needs to know.
pub struct Plan {
    /// Less of everything.
    pub quick: bool,
    /// Where texts that belong to a row are written.
    pub results: PathBuf,
    program: Option<PathBuf>,
    only: Option<String>,
}

impl Plan {
    /// Whether a measurement or a job is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }

    /// `full`, or less where it is to be quick.
    pub fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// The program that is measured.
    pub fn headgate(&self) -> io::Result<PathBuf> {
        self.program.clone().map_or_else(process::headgate, Ok)
    }
}

type Measure = fn(&Plan) -> io::Result<Vec<Row>>;

const MEASURES: [(Command, Measure); 16] = [
    (Command::Cold, rows::cold::measure),
    (Command::Parked, rows::parked::measure),
    (Command::Load, rows::load::measure),
    (Command::Save, rows::save::measure),
    (Command::Reloads, rows::reloads::measure),
    (Command::SystemCalls, rows::system_calls::measure),
    (Command::Allocations, rows::allocations::measure),
    (Command::Instructions, rows::instructions::measure),
    (Command::Sizes, rows::sizes::measure),
    (Command::ListenerSets, rows::listener_sets::measure),
    (Command::Changes, rows::changes::measure),
    (Command::Peers, rows::peers::measure),
    (Command::Cluster, rows::cluster::measure),
    (Command::GatewayApiBench, rows::cluster::published),
    (Command::GatewayApiBenchSets, rows::cluster::published_sets),
    (Command::Cores, rows::cores::measure),
];

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::App { listen_after_ms, never } => application::run(Duration::from_millis(*listen_after_ms), *never),
        Command::Page => page::write(&cli.results, page::DOCS.as_ref()),
        Command::Origin { body_bytes, http2 } => origin::run(*body_bytes, *http2),
        Command::Counted { folder, port, log, profile } => counted::run(folder.clone(), *port, log, profile),
        Command::Held { folder, port, profile, told } => held::run(folder.clone(), *port, *told, profile),
        wanted => {
            let Cli { results, quick, program, only, .. } = &cli;
            let plan = Plan { quick: *quick, results: results.clone(), program: program.clone(), only: only.clone() };
            if *wanted == Command::Guard { guard::run(&plan) } else { measure(wanted, &plan) }
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what is wanted; a row that fails is told, and the others go on.
fn measure(wanted: &Command, plan: &Plan) -> io::Result<()> {
    let mut report = Report::new();
    let mut failed = 0;
    let is_job = plan.only.as_deref().is_some_and(scenario::is_name);
    let is_wanted = |command: &Command| {
        let is_only = plan.wants(command.name()) && *command != Command::Cores || is_job && *command == Command::Peers;
        *command == *wanted || *wanted == Command::All && is_only
    };
    if let Some(only) =
        plan.only.as_deref().filter(|only| !is_job && MEASURES.iter().all(|(one, _)| one.name() != *only))
    {
        return Err(io::Error::other(format!(
            "there is nothing called {only}; jobs are {}",
            scenario::names().join(", ")
        )));
    }
    for (command, measure) in MEASURES.iter().filter(|(command, _)| is_wanted(command)) {
        match measure(plan) {
            Ok(rows) => rows.into_iter().for_each(|row| report.add(row)),
            Err(error) => {
                failed += 1;
                eprintln!("error: {}: {error}", command.name());
            }
        }
    }
    let path = report.write(&plan.results)?;
    println!("written to {}", path.display());
    if failed == 0 { Ok(()) } else { Err(io::Error::other(format!("{failed} measurements failed"))) }
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Cold => "cold",
            Self::Parked => "parked",
            Self::Load => "load",
            Self::Save => "save",
            Self::Reloads => "reloads",
            Self::SystemCalls => "system-calls",
            Self::Allocations => "allocations",
            Self::Instructions => "instructions",
            Self::Guard => "guard",
            Self::Sizes => "sizes",
            Self::ListenerSets => "listener-sets",
            Self::Changes => "changes",
            Self::Peers => "peers",
            Self::Cluster => "cluster",
            Self::GatewayApiBench => "gateway-api-bench",
            Self::GatewayApiBenchSets => "gateway-api-bench-sets",
            Self::Cores => "cores",
            Self::Page => "page",
            Self::App { .. } => "app",
            Self::Origin { .. } => "origin",
            Self::Counted { .. } => "counted",
            Self::Held { .. } => "held",
        }
    }
}
