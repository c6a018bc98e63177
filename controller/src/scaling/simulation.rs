//! A seeded world around the scaler: callers, a gateway that applies states late, processes that start slowly, crash and linger.
//!
//! What must hold at every step stands in [`World::check`] and [`World::carry_out`]; what must come true in the end in `play`.

use super::{Action, Bounds, EndpointReading, Input, Metric, Reading, Scaler, TargetSpec, TargetState};
use crate::runtimes::{Event, Exit, Launch, ReplicaId};
use headgate_config::{Activation, BackendName};
use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

const MS: Duration = Duration::from_millis(1);
const QUEUE_MAX: u32 = 30;
const NAME: &str = "default/hello-v1";

struct Process {
    port: u16,
    starts_at: Instant,
    told_started: bool,
    listens_at: Instant,
    ends_at: Option<Instant>,
    stopping: bool,
    requests_end_at: Vec<Instant>,
}

struct World {
    seed: u64,
    dice: fastrand::Rng,
    now: Instant,
    scaler: Scaler,
    spec: TargetSpec,
    processes: BTreeMap<ReplicaId, Process>,
    /// A state is in the lane for a while before the gateway applies it.
    lane: VecDeque<(Instant, TargetState)>,
    applied: Option<TargetState>,
    version: u64,
    unlisted_at: BTreeMap<u16, Instant>,
    queue: u32,
    arrivals: u64,
    served: u64,
    /// Whether the scaler has a reason to start something, by what it was told last.
    told: (u32, u64, u64),
    crashes: bool,
    /// One caller, who waits for each answer.
    single: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let min = if dice.u8(0..4) == 0 { dice.u32(1..3) } else { 0 };
        let bounds = Bounds {
            min,
            max: min.max(1) + dice.u32(0..5),
            concurrency: dice.u32(0..4),
            metric: Metric::Concurrency(None),
            window: Duration::from_secs(dice.u64(6..15)),
            zero_grace: Duration::ZERO,
        };
        let launch = Launch {
            name: NAME.into(),
            function: "hello-v1".into(),
            command: vec!["hello".into()],
            env: vec![],
            working_dir: None,
            grace: 500 * MS,
            probe: None,
        };
        let backend = BackendName::tcp("default", "hello-v1", 80);
        let spec = TargetSpec {
            launch: Arc::new(launch),
            backends: vec![backend],
            bounds,
            start_limit: Duration::from_secs(10),
            drain_limit: Duration::from_secs(5),
        };
        Self {
            seed,
            single: dice.bool(),
            dice,
            now: Instant::now(),
            scaler: Scaler::default(),
            spec,
            processes: BTreeMap::new(),
            lane: VecDeque::new(),
            applied: None,
            version: 0,
            unlisted_at: BTreeMap::new(),
            queue: 0,
            arrivals: 0,
            served: 0,
            told: (0, 0, 0),
            crashes: false,
        }
    }

    fn step(&mut self, input: Input) {
        let actions = self.scaler.step(self.now, input);
        self.carry_out(actions);
        let again = self.scaler.step(self.now, Input::Tick);
        assert_eq!(again, [], "seed {}: the same moment asks for more", self.seed);
        self.check();
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(id, _) => self.start(id),
                Action::Stop(id) => self.stop(id),
                Action::Publish(state) => self.publish(state),
                Action::Report(report) => assert!(!report.to_string().is_empty()),
            }
        }
    }

    fn start(&mut self, id: ReplicaId) {
        let (outstanding, before, after) = self.told;
        let broken = self.scaler.states().any(|state| is_broken(Some(state)));
        let reason = self.spec.bounds.min > 0 || outstanding > 0 || after > before || broken;
        assert!(reason, "seed {}: a start without demand", self.seed);
        let starts_at = self.now + self.dice.u64(0..100).min(50) as u32 * MS;
        let listens_at = starts_at + self.dice.u32(1..3_000) * MS;
        let ends_at = self.crashes.then(|| starts_at + self.dice.u32(0..500) * MS);
        let port = 20_000 + (id.0 % 30_000) as u16;
        let fresh = Process {
            port,
            starts_at,
            told_started: false,
            listens_at,
            ends_at,
            stopping: false,
            requests_end_at: vec![],
        };
        assert!(self.processes.insert(id, fresh).is_none(), "seed {}: an id is used twice", self.seed);
    }

    /// A replica is stopped only when nothing can reach it any more and nothing runs on it, or when its time to drain is over.
    fn stop(&mut self, id: ReplicaId) {
        let listed = |port| self.applied.as_ref().is_some_and(|state| ports(state).contains(&port));
        let Some(process) = self.processes.get_mut(&id) else { return };
        let over = self.unlisted_at.get(&process.port).is_some_and(|at| *at + self.spec.drain_limit <= self.now);
        let too_slow = process.listens_at > self.now;
        let reachable = listed(process.port) || !process.requests_end_at.is_empty();
        assert!(!reachable || over || too_slow, "seed {}: a busy replica is stopped", self.seed);
        process.stopping = true;
        process.ends_at = Some(self.now + self.dice.u32(0..500) * MS);
    }

    fn publish(&mut self, state: TargetState) {
        assert!(state.version > self.version, "seed {}: versions go up", self.seed);
        self.version = state.version;
        let listed = ports(&state);
        for process in self.processes.values().filter(|process| !listed.contains(&process.port)) {
            self.unlisted_at.entry(process.port).or_insert(self.now);
        }
        self.unlisted_at.retain(|port, _| !listed.contains(port));
        self.lane.push_back((self.now + self.dice.u32(0..30) * MS, state));
    }

    /// What holds between any two steps.
    fn check(&self) {
        let seed = self.seed;
        let bounds = &self.spec.bounds;
        assert!(self.processes.len() as u32 <= bounds.max, "seed {seed}: more processes than the maximum");
        let deadline = self.scaler.next_deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "seed {seed}: a deadline that never passes");
        let live = self.processes.values().filter(|process| !process.stopping).count() as u32;
        assert!(!self.single || live <= bounds.min.max(1), "seed {seed}: two starts for one need");
        for state in self.scaler.states() {
            let running = |port| self.processes.values().any(|process| process.port == port && !process.stopping);
            assert!(ports(state).into_iter().all(running), "seed {seed}: a list with a stopped replica");
        }
    }

    /// Time goes on: processes, gateway, callers; then the scaler hears of it.
    fn pass(&mut self, arrivals: u32) {
        self.now += self.dice.u32(1..100) * MS;
        self.run_processes();
        self.run_gateway(arrivals);
        if self.scaler.next_deadline().is_some_and(|at| at <= self.now) {
            self.step(Input::Tick);
        }
        let reading = self.reading();
        self.told = (reading.queued + reading.in_flight, self.told.2, reading.arrivals);
        self.step(Input::Demand(vec![reading]));
        self.told.1 = self.told.2;
    }

    fn run_processes(&mut self) {
        let ids: Vec<_> = self.processes.keys().copied().collect();
        for id in ids {
            let process = self.processes.get_mut(&id).unwrap();
            let ended = process.ends_at.is_some_and(|at| at <= self.now);
            if !process.told_started && process.starts_at <= self.now {
                process.told_started = true;
                let port = process.port;
                self.step(Input::Process(Event::Started { replica: id, pid: 1, port }));
            } else if ended && process.told_started {
                let uptime = self.now - process.starts_at;
                self.processes.remove(&id);
                let exit = Exit { code: Some(3), signal: None, reason: "exited with code 3".into(), uptime };
                self.step(Input::Process(Event::Exited { replica: id, exit }));
            }
        }
    }

    fn run_gateway(&mut self, arrivals: u32) {
        while self.lane.front().is_some_and(|(at, _)| *at <= self.now) {
            self.applied = self.lane.pop_front().map(|(_, state)| state);
        }
        let now = self.now;
        for process in self.processes.values_mut() {
            let before = process.requests_end_at.len();
            process.requests_end_at.retain(|at| *at > now);
            self.served += (before - process.requests_end_at.len()) as u64;
        }
        let outstanding = self.queue + self.in_flight();
        let arrivals = if self.single { arrivals.min(1).saturating_sub(outstanding) } else { arrivals };
        self.arrivals += u64::from(arrivals);
        self.queue = (self.queue + arrivals).min(QUEUE_MAX);
        let Some(applied) = self.applied.clone() else { return };
        if is_broken(Some(&applied)) {
            self.queue = 0;
        }
        let room = if self.spec.bounds.concurrency == 0 { u32::MAX } else { self.spec.bounds.concurrency };
        let listed = ports(&applied);
        for process in self.processes.values_mut() {
            let serves = listed.contains(&process.port) && process.listens_at <= now;
            while serves && self.queue > 0 && (process.requests_end_at.len() as u32) < room {
                self.queue -= 1;
                process.requests_end_at.push(now + self.dice.u32(1..1_500) * MS);
            }
        }
    }

    fn in_flight(&self) -> u32 {
        self.processes.values().map(|process| process.requests_end_at.len() as u32).sum()
    }

    fn reading(&self) -> Reading {
        let listed = self.applied.as_ref().map(ports).unwrap_or_default();
        let known = self
            .processes
            .values()
            .filter(|process| listed.contains(&process.port) || !process.requests_end_at.is_empty());
        let endpoints = known.map(|process| EndpointReading {
            address: address(process.port),
            in_flight: process.requests_end_at.len() as u32,
            ready: process.listens_at <= self.now,
        });
        Reading {
            target: NAME.into(),
            in_flight: self.in_flight(),
            queued: self.queue,
            mean: None,
            arrivals: self.arrivals,
            applied: self.applied.as_ref().map_or(0, |state| state.version),
            endpoints: endpoints.collect(),
        }
    }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn ports(state: &TargetState) -> Vec<u16> {
    state.endpoints.iter().flat_map(|endpoints| &endpoints.list).map(|endpoint| endpoint.address.port()).collect()
}

fn is_broken(state: Option<&TargetState>) -> bool {
    state.is_some_and(|state| matches!(state.endpoints[0].activation, Activation::Broken { .. }))
}

fn play(seed: u64) {
    let mut world = World::new(seed);
    world.step(Input::Targets(vec![world.spec.clone()]));
    // good and bad times, busy and quiet ones
    for _ in 0..8 {
        world.crashes = world.dice.u8(0..3) == 0;
        let busy = world.dice.u32(0..5);
        for _ in 0..60 {
            let arrivals = if busy == 0 { 0 } else { world.dice.u32(0..busy) };
            world.pass(arrivals);
        }
    }
    // mended and asked for: it serves before its longest pause is over twice
    world.crashes = false;
    let (mended, served) = (world.now, world.served);
    while world.served == served {
        world.pass(1);
        assert!(world.now - mended < Duration::from_secs(130), "seed {seed}: mended, and does not serve");
    }
    // nobody asks any more: the minimum is left, and nothing is queued
    let quiet = world.now;
    while world.processes.len() as u32 != world.spec.bounds.min || world.queue > 0 || world.in_flight() > 0 {
        world.pass(0);
        let limit = 4 * world.spec.bounds.window + Duration::from_secs(130);
        assert!(world.now - quiet < limit, "seed {seed}: {} processes are left", world.processes.len());
    }
    // forgotten: nothing is left at all
    world.step(Input::Targets(vec![]));
    let forgotten = world.now;
    while !world.processes.is_empty() || world.scaler.states().next().is_some() {
        world.pass(0);
        assert!(world.now - forgotten < Duration::from_secs(30), "seed {seed}: a forgotten target stays");
    }
}

#[test]
fn seeded_worlds() {
    (0..1_000).for_each(play);
}
