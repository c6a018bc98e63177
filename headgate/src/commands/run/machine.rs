//! The joint of `run`: files and counts go to `Standalone`, and what that says is done here. It decides nothing.

use super::say;
use crate::{clock::now_ms, interrupts::Hangups, systemd::Manager};
use headgate_config::{BackendName, Certificate, CertificateName, Snapshot};
use headgate_controller::{
    listing::split_line,
    scaling::{self, EndpointReading, Input, Reading, TargetSpec, Told},
    sources::{directory::Loaded, findings, watch::Directory},
    standalone::{Output, Standalone},
};
use headgate_gateway::{
    Gateway, Published,
    backend::{ColdStart, Demand},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Counting while something starts or closes, while something runs, and otherwise.
const COUNT_BUSY: Duration = Duration::from_millis(10);
const COUNT_LIVE: Duration = Duration::from_millis(100);
const COUNT_QUIET: Duration = Duration::from_secs(1);

/// The joint: what `Standalone` says is done here.
pub struct Machine<'g> {
    gateway: &'g Gateway,
    manager: &'g Manager,
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
    /// Nothing is served yet.
    pub fn new(
        gateway: &'g Gateway,
        manager: &'g Manager,
        standalone: Standalone,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            gateway,
            manager,
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

    /// Files were read.
    pub async fn read(&mut self, loaded: Arc<Loaded>) {
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
        self.tell();
    }

    /// Opens the ports, once all is there that is behind them: connections may wait in sockets that were opened elsewhere.
    pub async fn open_ports(&mut self) {
        self.published = self.gateway.open_ports().await;
        self.tell();
    }

    fn tell(&mut self) {
        for problem in &self.published.problems {
            if !self.before.contains(problem) {
                eprintln!("error: {problem}");
            }
        }
        self.before.clone_from(&self.published.problems);
        let status = self.standalone.serving(self.published.version.0);
        self.manager.status(&status, self.introduced);
    }

    /// The first lines: what was found, where it is, how to call it.
    pub fn introduce(&mut self, started: Instant) {
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
    pub async fn live(
        &mut self,
        directory: &mut Directory,
        mut told: mpsc::UnboundedReceiver<Told>,
        hangups: &mut Hangups,
    ) {
        let board = self.gateway.board();
        loop {
            let outputs = tokio::select! {
                loaded = directory.next() => {
                    // what was ready before the save counts as proven
                    let mut outputs = self.count().await;
                    outputs.extend(self.standalone.loaded(loaded, now_ms()));
                    outputs
                }
                () = hangups.next() => {
                    self.reload(directory).await;
                    Vec::new()
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

    /// Reads everything again, because somebody wants to be certain that it was.
    async fn reload(&mut self, directory: &mut Directory) {
        self.manager.reloading();
        let loaded = directory.read_again().await;
        let outputs = self.count().await;
        self.carry_out(outputs).await;
        self.read(loaded).await;
        self.manager.ready();
        say("read again: what the files say is served");
    }

    /// What `headgate routes` shows of functions, on the admin port.
    fn show_functions(&self) {
        let rows = self.standalone.assembly().map(crate::commands::routes::functions).unwrap_or_default();
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

async fn until_ms(deadline_ms: Option<u64>) {
    match deadline_ms {
        Some(at_ms) => tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms()).max(1))).await,
        None => std::future::pending().await,
    }
}

fn colours() -> bool {
    findings::colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}
