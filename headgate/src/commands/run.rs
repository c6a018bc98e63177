//! `run`: gateway, directory source and functions as processes, joined on one machine. It decides nothing: it starts the parts, and ends them in order.

mod machine;
mod succession;

use crate::{
    exit,
    interrupts::{Hangups, Interrupts},
    serve_args::ServeArgs,
    systemd::{
        Manager,
        passed::{self, Passed},
    },
};
use headgate_controller::{
    assemble::Ground,
    runtimes::{Line, Processes},
    scaling::{self, Scaler},
    sources::watch::Directory,
    standalone::Standalone,
};
use headgate_gateway::{Binding, Gateway, Settings, telemetry::LogFormat};
use machine::Machine;
use std::{
    collections::BTreeMap,
    future::pending,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    time::{Duration, Instant},
};
use succession::Succession;
use tokio::{select, sync::mpsc};

/// What functions may take to end after the drain, as a service manager is told.
const FUNCTIONS_END: Duration = Duration::from_secs(60);

/// Serve functions and routes from files, on this machine: no cluster, no root.
///
/// Reads Gateway API and OpenFunction objects from YAML or JSON files, serves them, starts functions as processes on demand, and
/// applies each save at once.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  headgate run                          # serve the current directory\n  headgate run examples/canary          # serve a folder\n  headgate run --port 0 functions.yaml  # on a free port\n  headgate run --handover /run/headgate/next  # follow the one that serves, without a lost request"
)]
pub struct Args {
    /// Files and folders to serve; the current directory if none is given.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Domain of functions that have no hostname of their own.
    #[arg(long, default_value = "localhost")]
    domain: String,
    /// Port of the listeners that are there when no Gateway is given.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Addresses to listen on.
    #[arg(long, value_name = "IP", default_values_t = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)])]
    bind: Vec<IpAddr>,
    /// Where metrics, health and routes are shown; `none` for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    admin: String,
    /// Unix socket over which one `run` follows another: takes the listening sockets of the one that serves there, if there is one,
    /// which ends once this one serves. Only processes of the same user do so.
    #[arg(long, value_name = "PATH")]
    handover: Option<PathBuf>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Serves until it is stopped.
pub fn run(args: Args, log_format: LogFormat) -> ExitCode {
    let started = Instant::now();
    // there is no other thread yet
    let passed = passed::take();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(exit::PROBLEMS, &format!("no runtime: {error}"), ""),
    };
    match runtime.block_on(serve(args, log_format, passed, started)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => exit::fail(exit::USAGE, &why, ""),
    }
}

/// Why it ends.
enum End {
    /// Somebody stopped it.
    Asked,
    /// The process of that number has the ports.
    Followed(i32),
    /// It was to follow another, which serves on.
    Refused(String),
}

async fn serve(args: Args, log_format: LogFormat, passed: Vec<Passed>, started: Instant) -> Result<(), String> {
    let paths = if args.paths.is_empty() { vec![PathBuf::from(".")] } else { args.paths.clone() };
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Err(format!("{}: no such file or folder", missing.display()));
    }
    let grace = args.serve.limits.limits.drain_grace;
    let (mut interrupts, mut hangups) = (Interrupts::new()?, Hangups::new()?);
    let manager = Manager::from_env();
    let mut directory = Directory::open(paths);
    if directory.loaded().objects.is_empty() && directory.loaded().findings.is_empty() {
        return Err("nothing to serve here: `headgate init` writes an example".into());
    }
    let mut settings = settings(&args, log_format)?;
    let mut succession = Succession::begin(args.handover.as_deref())?;
    settings.inheritance = succession::join(passed, succession.inheritance(&args.bind), settings.admin);
    let gateway = Gateway::start(settings).map_err(|error| format!("--admin {}: {error}", args.admin))?;
    let (events, event_inbox) = mpsc::unbounded_channel();
    let (lines, line_inbox) = mpsc::channel(1_000);
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let guard = [program.into_os_string(), "__supervise".into()];
    let processes = Processes::new(events, lines, Some(&guard));
    let (inputs, input_inbox) = mpsc::channel(64);
    let (told, told_inbox) = mpsc::unbounded_channel();
    let scaler = scaling::run(Scaler::default(), &processes, input_inbox, event_inbox, |one| drop(told.send(one)));
    let ground = Ground::standalone(&args.domain, args.port);
    let mut machine = Machine::new(&gateway, &manager, Standalone::new(ground, BTreeMap::new()), inputs);
    gateway.hold_ports().await;
    machine.read(directory.loaded().clone()).await;
    machine.open_ports().await;
    let began = succession.ready().await;
    if began.is_ok() {
        machine.introduce(started);
        manager.ready();
    }
    if let Ok(Some(pid)) = &began {
        say(&format!("follows process {pid}, which ends what it has begun"));
    }
    if let Some(why) = directory.polls_because() {
        say(&format!("files are looked at every 250 ms, since they cannot be watched: {why}"));
    }

    let live = machine.live(&mut directory, told_inbox, &mut hangups);
    let mut work = pin!(forever(async { tokio::join!(live, scaler) }));
    let mut attendants = pin!(forever(async { tokio::join!(print_lines(line_inbox), watchdog(&manager, &gateway)) }));
    let end = match began {
        Err(why) => End::Refused(why),
        Ok(_) => select! {
            () = interrupts.next() => End::Asked,
            pid = succession.followed(&gateway, grace) => End::Followed(pid),
            () = &mut work => End::Asked,
            () = &mut attendants => End::Asked,
        },
    };
    succession.end();
    say(&end.line());
    manager.stopping("draining", grace.saturating_add(FUNCTIONS_END));
    // functions go on starting: requests may still wait for one
    let cut = select! {
        cut = end.drain(&gateway, grace) => cut,
        () = interrupts.next() => {
            processes.kill_all().await;
            say("stopped at once");
            return Ok(());
        }
        () = &mut work => 0,
        () = &mut attendants => 0,
    };
    select! {
        () = processes.stop_all() => {}
        () = interrupts.next() => processes.kill_all().await,
        () = &mut attendants => {}
    }
    match cut {
        0 => say("stopped: every request was answered, no process is left"),
        cut => say(&format!("stopped: {cut} connections were cut after {} s, no process is left", grace.as_secs())),
    }
    match end {
        End::Refused(why) => Err(why),
        End::Asked | End::Followed(_) => Ok(()),
    }
}

impl End {
    fn line(&self) -> String {
        match self {
            Self::Asked => {
                "draining: no new connections; what runs and what waits may end (interrupt again to stop at once)"
                    .to_owned()
            }
            Self::Followed(pid) => format!(
                "draining: process {pid} has the ports now; what runs and what waits here may end (interrupt to stop at once)"
            ),
            Self::Refused(_) => "draining: another process serves on; what has begun here may end".to_owned(),
        }
    }

    async fn drain(&self, gateway: &Gateway, grace: Duration) -> usize {
        match self {
            Self::Asked => gateway.drain(grace).await,
            Self::Followed(_) => succession::drain_followed(gateway, grace).await,
            Self::Refused(_) => {
                gateway.yield_ports(Instant::now() + grace).await;
                succession::drain_followed(gateway, grace).await
            }
        }
    }
}

/// Polls a future whose end means nothing here.
async fn forever<T>(future: impl Future<Output = T>) {
    future.await;
    pending::<()>().await;
}

/// Tells the service manager that all threads that serve go on, if it asked for that.
async fn watchdog(manager: &Manager, gateway: &Gateway) {
    let Some(period) = manager.watchdog() else { return };
    loop {
        tokio::time::sleep(period).await;
        gateway.responds().await;
        manager.alive();
    }
}

fn settings(args: &Args, log_format: LogFormat) -> Result<Settings, String> {
    let admin: Option<SocketAddr> = match args.admin.as_str() {
        "none" => None,
        address => {
            Some(address.parse().map_err(|_| format!("--admin {address}: write an address such as 127.0.0.1:9901"))?)
        }
    };
    if let Some(address) = admin.filter(|address| !address.ip().is_loopback()) {
        tracing::warn!(%address, "the admin port is open beyond this machine");
    }
    let binding = Binding { addresses: args.bind.clone(), unprivileged_offset: Some(8_000) };
    args.serve.settings(binding, admin, log_format)
}

/// What functions print, each line with the name of its function.
async fn print_lines(mut lines: mpsc::Receiver<Line>) {
    while let Some(line) = lines.recv().await {
        say(&line.to_string());
    }
}

/// A line on standard output; nobody who reads it any more is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
