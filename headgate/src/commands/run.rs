//! `run`: gateway, directory source and functions as processes, joined on one machine. It decides nothing: files and counts go to `Standalone`, and what that says is done.

use crate::{clock::now_ms, exit, interrupts::Interrupts, serve_args::ServeArgs};
use headgate_config::{BackendName, Certificate, CertificateName, Snapshot};
use headgate_controller::{
    assemble::Ground,
    listing::split_line,
    runtimes::{Line, Processes},
    scaling::{self, EndpointReading, Input, Reading, Scaler, TargetSpec, Told},
    sources::{findings, watch::Directory},
    standalone::{Output, Standalone},
};
use headgate_gateway::{
    Binding, Gateway, Published, Settings,
    backend::{ColdStart, Demand},
    telemetry::LogFormat,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Counting while something starts or closes, while something runs, and otherwise.
const COUNT_BUSY: Duration = Duration::from_millis(10);
const COUNT_LIVE: Duration = Duration::from_millis(100);
const COUNT_QUIET: Duration = Duration::from_secs(1);

/// Serve functions and routes from files, on this machine: no cluster, no root.
///
/// Reads Gateway API and OpenFunction objects from YAML or JSON files, serves them, starts functions as processes on demand, and
/// applies each save at once.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  headgate run                          # serve the current directory\n  headgate run examples/canary          # serve a folder\n  headgate run --port 0 functions.yaml  # on a free port"
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
    #[command(flatten)]
    serve: ServeArgs,
}

/// Serves until it is stopped.
pub fn run(args: Args, log_format: LogFormat) -> ExitCode {
    let started = Instant::now();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(exit::PROBLEMS, &format!("no runtime: {error}"), ""),
    };
    match runtime.block_on(serve(args, log_format, started)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => exit::fail(exit::USAGE, &why, ""),
    }
}

async fn serve(args: Args, log_format: LogFormat, started: Instant) -> Result<(), String> {
    let paths = if args.paths.is_empty() { vec![PathBuf::from(".")] } else { args.paths.clone() };
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Err(format!("{}: no such file or folder", missing.display()));
    }
    let grace = args.serve.limits.limits.drain_grace;
    let mut interrupts = Interrupts::new()?;
    let mut directory = Directory::open(paths);
    if directory.loaded().objects.is_empty() && directory.loaded().findings.is_empty() {
        return Err("nothing to serve here: `headgate init` writes an example".into());
    }
    let gateway =
        Gateway::start(settings(&args, log_format)?).map_err(|error| format!("--admin {}: {error}", args.admin))?;
    let (events, event_inbox) = mpsc::unbounded_channel();
    let (lines, line_inbox) = mpsc::channel(1_000);
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let guard = [program.into_os_string(), "__supervise".into()];
    let processes = Processes::new(events, lines, Some(&guard));
    let (inputs, input_inbox) = mpsc::channel(64);
    let (told, told_inbox) = mpsc::unbounded_channel();
    let scaler = async {
        scaling::run(Scaler::default(), &processes, input_inbox, event_inbox, |one| drop(told.send(one))).await;
    };
    let ground = Ground::standalone(&args.domain, args.port);
    let mut machine = Machine::new(&gateway, Standalone::new(ground, BTreeMap::new()), inputs);
    machine.read(directory.loaded().clone()).await;
    machine.introduce(started);
    if let Some(why) = directory.polls_because() {
        say(&format!("files are looked at every 250 ms, since they cannot be watched: {why}"));
    }

    let mut scaler = std::pin::pin!(scaler);
    let mut printer = std::pin::pin!(print_lines(line_inbox));
    let mut live = std::pin::pin!(machine.live(&mut directory, told_inbox));
    tokio::select! {
        () = &mut live => {}
        () = &mut scaler => {}
        () = &mut printer => {}
        () = interrupts.next() => {}
    }
    say("draining: no new connections; what runs and what waits may end (interrupt again to stop at once)");
    // functions go on starting: requests may still wait for one
    let cut = tokio::select! {
        cut = gateway.drain(grace) => cut,
        () = interrupts.next() => {
            processes.kill_all().await;
            say("stopped at once");
            return Ok(());
        }
        () = forever(&mut live) => 0,
        () = forever(&mut scaler) => 0,
        () = forever(&mut printer) => 0,
    };
    tokio::select! {
        () = processes.stop_all() => {}
        () = interrupts.next() => processes.kill_all().await,
        () = forever(&mut printer) => {}
    }
    match cut {
        0 => say("stopped: every request was answered, no process is left"),
        cut => say(&format!("stopped: {cut} connections were cut after {} s, no process is left", grace.as_secs())),
    }
    Ok(())
}

/// Polls a future whose end means nothing here.
async fn forever(future: impl Future<Output = ()>) {
    future.await;
    std::future::pending::<()>().await;
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

/// The joint: what `Standalone` says is done here.
struct Machine<'g> {
    gateway: &'g Gateway,
    standalone: Standalone,
    inputs: mpsc::Sender<Input>,
    published: Published,
    specs: Vec<TargetSpec>,
    /// Targets that are wanted no more and still run: who stops them must know when their requests have ended.
    retired: BTreeMap<String, TargetSpec>,
    states: BTreeMap<String, scaling::TargetState>,
    /// Targets whose last reading had something in flight or waiting.
    read: BTreeSet<String>,
    /// Whether the first lines were printed: then changes are told.
    introduced: bool,
    before: Vec<String>,
}

impl<'g> Machine<'g> {
    fn new(gateway: &'g Gateway, standalone: Standalone, inputs: mpsc::Sender<Input>) -> Self {
        Self {
            gateway,
            standalone,
            inputs,
            published: Published::default(),
            specs: Vec::new(),
            retired: BTreeMap::new(),
            states: BTreeMap::new(),
            read: BTreeSet::new(),
            introduced: false,
            before: Vec::new(),
        }
    }

    async fn read(&mut self, loaded: Arc<headgate_controller::sources::directory::Loaded>) {
        let outputs = self.standalone.loaded(loaded, now_ms());
        self.carry_out(outputs).await;
    }

    /// Does what is to be done, in order.
    async fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Routes(snapshot, certificates) => {
                    self.publish(*snapshot, certificates).await;
                    self.show_functions();
                }
                Output::Endpoints(endpoints) => self.gateway.set_endpoints(&endpoints),
                Output::Targets(specs) => {
                    let before = std::mem::replace(&mut self.specs, specs.clone());
                    self.retired.extend(before.into_iter().map(|spec| (spec.launch.name.clone(), spec)));
                    specs.iter().for_each(|spec| drop(self.retired.remove(&spec.launch.name)));
                    self.tell_scaler(Input::Targets(specs)).await;
                }
                Output::Retry(target) => self.tell_scaler(Input::Retry(target)).await,
                Output::Say(line) => say(&line),
                Output::Find(finding) => eprintln!("{}", finding.text(colours())),
            }
        }
    }

    async fn tell_scaler(&self, input: Input) {
        // it ends only when this sender is dropped
        let _ = self.inputs.send(input).await;
    }

    async fn publish(&mut self, snapshot: Snapshot, certificates: Vec<Certificate>) {
        let certificates: BTreeMap<CertificateName, Certificate> =
            certificates.into_iter().map(|certificate| (certificate.name.clone(), certificate)).collect();
        self.published = self.gateway.publish(snapshot, Arc::new(certificates)).await;
        for problem in &self.published.problems {
            if !self.before.contains(problem) {
                eprintln!("error: {problem}");
            }
        }
        self.before.clone_from(&self.published.problems);
    }

    /// The first lines: what was found, where it is, how to call it.
    fn introduce(&mut self, started: Instant) {
        self.introduced = true;
        say(&self.standalone.found());
        let listing = self.standalone.listing();
        for (place, shares) in &listing.places {
            let ports = if place.scheme == "udp" { &self.published.datagram_ports } else { &self.published.ports };
            let Some(at) = ports.get(&place.port).and_then(|at| at.first()) else { continue };
            say(&format!("  {}  {}", place.url(at.port()), split_line(shares, |backend| self.state(backend))));
            if !place.host.contains('*') && place.scheme == "http" {
                say(&format!("      curl -H 'Host: {}' http://{at}{}", place.host, place.path));
            }
        }
        for (port, at) in self.published.ports.iter().chain(&self.published.datagram_ports) {
            if let Some(at) = at.first().filter(|at| at.port() != *port && *port != 0) {
                say(&format!(
                    "port {port} needs a right that this process does not have: it is served at {}",
                    at.port()
                ));
            }
        }
        if let Some(admin) = self.gateway.admin() {
            say(&format!("admin: http://{admin}/"));
        }
        say(&format!("ready in {} ms", started.elapsed().as_millis()));
    }

    /// `cold`, `ready`, … of a backend that can start from zero.
    fn state(&self, backend: &BackendName) -> Option<String> {
        let spec = self.specs.iter().find(|spec| spec.backends.contains(backend))?;
        let ready = self.states.get(&spec.launch.name).map_or(0, |state| state.ready);
        Some(if ready == 0 { "cold".into() } else { format!("{ready} ready") })
    }

    /// Goes on until the program ends: files, scaler, counts, deadlines.
    async fn live(&mut self, directory: &mut Directory, mut told: mpsc::UnboundedReceiver<Told>) {
        let board = self.gateway.board();
        loop {
            let outputs = tokio::select! {
                loaded = directory.next() => {
                    // what was ready before the save counts as proven
                    let mut outputs = self.count().await;
                    outputs.extend(self.standalone.loaded(loaded, now_ms()));
                    outputs
                }
                one = told.recv() => match one {
                    Some(one) => self.scaled(one),
                    None => return,
                },
                () = board.changed() => self.count().await,
                () = self.gateway.cold_started() => {
                    self.gateway.take_cold_starts().iter().for_each(|start| say(&self.cold_start_line(start)));
                    Vec::new()
                }
                () = tokio::time::sleep(self.count_period()) => self.count().await,
                () = until_ms(self.standalone.next_deadline_ms()) => self.standalone.tick(now_ms()),
            };
            self.carry_out(outputs).await;
        }
    }

    /// What `headgate routes` shows of functions, on the admin port.
    fn show_functions(&self) {
        let rows = self.standalone.assembly().map(super::routes::functions).unwrap_or_default();
        if let Ok(json) = serde_json::to_string(&rows) {
            self.gateway.show("/functions", json);
        }
    }

    fn scaled(&mut self, told: Told) -> Vec<Output> {
        if let Told::State(state) = &told {
            self.states.insert(state.target.clone(), state.clone());
        }
        self.standalone.scaled(told, now_ms())
    }

    fn count_period(&self) -> Duration {
        let is_moving = |state: &scaling::TargetState| state.live != state.ready || state.processes != state.ready;
        match () {
            () if self.states.values().any(is_moving) => COUNT_BUSY,
            () if self.states.values().any(|state| state.processes > 0) => COUNT_LIVE,
            () => COUNT_QUIET,
        }
    }

    /// Reads what the gateway counts, for the scaler and for the plan.
    async fn count(&mut self) -> Vec<Output> {
        let read = self.gateway.board().read(Instant::now());
        // a start that was asked for and that nobody waits for, as of an arm that is shifted or rejected
        let is_owed = |one: &Demand| one.leased && one.serving == 0 && one.in_flight + one.queued == 0;
        let owed: BTreeSet<Arc<str>> = read.iter().filter(|one| is_owed(one)).map(|one| one.target.clone()).collect();
        let demanded: BTreeSet<Arc<str>> =
            read.into_iter().filter(|one| one.total() > 0).map(|one| one.target).collect();
        let is_awake = |spec: &&TargetSpec| {
            let name = spec.launch.name.as_str();
            let was_read = self.read.contains(name);
            demanded.contains(name) || was_read || self.states.get(name).is_some_and(scaling::TargetState::is_awake)
        };
        let states = &self.states;
        self.retired.retain(|name, _| states.get(name).is_some_and(|state| state.processes > 0));
        let specs = self.specs.iter().chain(self.retired.values());
        let readings: Vec<Reading> = specs.filter(is_awake).map(|spec| self.reading(spec, &owed)).collect();
        let counts = |reading: &&Reading| reading.in_flight + reading.queued > 0;
        // once more, so that the last word on a target is that nothing is left
        self.read = readings.iter().filter(counts).map(|reading| reading.target.clone()).collect();
        self.tell_scaler(Input::Demand(readings.clone())).await;
        self.standalone.counted(&readings, now_ms())
    }

    fn reading(&self, spec: &TargetSpec, owed: &BTreeSet<Arc<str>>) -> Reading {
        let target = &spec.launch.name;
        let state = self.states.get(target);
        let mut reading =
            Reading { target: target.clone(), applied: state.map_or(0, |state| state.version), ..Reading::default() };
        for name in &spec.backends {
            // one with a request in flight or in line is never forgotten
            let Some(backend) = self.gateway.registry().get(name) else { continue };
            let report = backend.report();
            reading.in_flight += report.in_flight() as u32;
            reading.queued += report.queued as u32;
            reading.arrivals += self.gateway.requests_to(name) + report.in_flight() + report.queued as u64;
            reading.endpoints.extend(report.endpoints.iter().map(|endpoint| EndpointReading {
                address: endpoint.address,
                in_flight: endpoint.in_flight,
                ready: endpoint.ready,
            }));
        }
        reading.queued = reading.queued.max(u32::from(owed.contains(target.as_str())));
        reading
    }

    fn cold_start_line(&self, start: &ColdStart) -> String {
        let spec = self.specs.iter().find(|spec| spec.backends.contains(&start.backend));
        let name = spec.map_or(start.backend.service.as_str(), |spec| spec.launch.function.as_str());
        let first_byte = match start.first_byte {
            Some(time) => format!("first byte after {} ms", time.as_millis()),
            None => "no answer yet".to_owned(),
        };
        format!("cold start of {name}: ready after {} ms, {first_byte}, {} held", start.ready.as_millis(), start.held)
    }
}

/// What functions print, each line with the name of its function.
async fn print_lines(mut lines: mpsc::Receiver<Line>) {
    while let Some(line) = lines.recv().await {
        say(&line.to_string());
    }
}

async fn until_ms(deadline_ms: Option<u64>) {
    match deadline_ms {
        Some(at_ms) => tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms()).max(1))).await,
        None => std::future::pending().await,
    }
}

/// A line on standard output; nobody who reads it any more is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn colours() -> bool {
    findings::colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}
