//! The one writer of replicas of every target: from demand and process events to starts, stops and endpoint lists. Never does them.
//!
//! A replica lives through these phases, and is in none of them twice:
//!
//! ```text
//! Starting ─► Open ⇄ Closing ─► Stopping ─► gone
//! ```
//!
//! Open replicas are in the endpoint list. A Closing one is not any more, and is stopped once the gateway has applied that and
//! reports nothing in flight on it, for many runtimes die at SIGTERM; until then new demand opens it again.

use super::{Autoscaler, Backoff, Bounds, Desired, Observation, Reason};
use crate::runtimes::{Event, Launch, ReplicaId};
use headgate_config::{Activation, BackendName, Endpoint, Endpoints};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

/// A replica that served this long is no failed start when it ends.
const STEADY: Duration = Duration::from_secs(10);
/// A broken target is tried again as long as somebody asked for it within this time.
const INTEREST: Duration = Duration::from_secs(300);

/// What a target is, as the plan of its function has it.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// What runs; its name is the target's.
    pub launch: Arc<Launch>,
    /// The backends that its replicas serve.
    pub backends: Vec<BackendName>,
    /// How many.
    pub bounds: Bounds,
    /// How long a replica may take until the gateway finds it ready.
    pub start_limit: Duration,
    /// How long requests in flight may hold a replica that is closing.
    pub drain_limit: Duration,
}

/// What the gateway counts for a target now. Counts only; the newest reading replaces the one before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The target's name.
    pub target: String,
    /// Requests being answered, over all its endpoints.
    pub in_flight: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Mean of both since the last reading; `None` where only the moment is known.
    pub mean: Option<f64>,
    /// Requests that ever came, those answered at once by a broken target included.
    pub arrivals: u64,
    /// The version of the last [`TargetState`] that is applied: nothing new goes to an endpoint that is not in it. Nothing is
    /// believed of an endpoint before the state that listed it is applied.
    pub applied: u64,
    /// Each endpoint that is in the list or has requests in flight.
    pub endpoints: Vec<EndpointReading>,
}

/// One endpoint of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointReading {
    /// Which.
    pub address: SocketAddr,
    /// Requests being answered by it.
    pub in_flight: u32,
    /// Whether its probe has succeeded.
    pub ready: bool,
}

/// What the scaler is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// All targets there are; one that is missing is closed and then forgotten.
    Targets(Vec<TargetSpec>),
    /// New counts.
    Demand(Vec<Reading>),
    /// What a replica did.
    Process(Event),
    /// Something the target needs was mended: its failures are forgotten.
    Retry(String),
    /// A deadline came.
    Tick,
}

/// What is to be done. In order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a replica.
    Start(ReplicaId, Arc<Launch>),
    /// SIGTERM, grace, SIGKILL.
    Stop(ReplicaId),
    /// Tell the gateway.
    Publish(TargetState),
    /// Tell a person.
    Report(Report),
}

/// A target as the gateway and the plan must know it: the whole of it each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetState {
    /// Its name.
    pub target: String,
    /// Counts up; a reading says which one is applied.
    pub version: u64,
    /// For each of its backends.
    pub endpoints: Vec<Endpoints>,
    /// Replicas that start or serve.
    pub live: u32,
    /// Replicas that serve.
    pub ready: u32,
    /// Processes, with those that are about to end.
    pub processes: u32,
}

impl TargetState {
    /// Whether counts of it are of interest: something runs, or it is broken and may be asked for.
    pub fn is_awake(&self) -> bool {
        let is_broken = |endpoints: &Endpoints| matches!(endpoints.activation, Activation::Broken { .. });
        self.live > 0 || self.processes > 0 || self.endpoints.iter().any(is_broken)
    }
}

/// What a person wants to read.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A replica starts.
    Starting {
        /// Display name of the function.
        function: String,
        /// Which.
        replica: ReplicaId,
        /// Why.
        reason: Reason,
        /// Requests that wait for it.
        queued: u32,
    },
    /// The gateway found it ready.
    Ready {
        /// Display name of the function.
        function: String,
        /// Which.
        replica: ReplicaId,
        /// Since its start.
        after: Duration,
    },
    /// It ended without being asked to.
    Failed {
        /// Display name of the function.
        function: String,
        /// Which.
        replica: ReplicaId,
        /// Why.
        reason: String,
    },
    /// The target answers with the reason from now on.
    Broken {
        /// Display name of the function.
        function: String,
        /// Why.
        reason: String,
        /// Until it is tried again.
        retry_in: Duration,
    },
    /// It gets no new request and will stop.
    Closing {
        /// Display name of the function.
        function: String,
        /// Which.
        replica: ReplicaId,
        /// Why.
        reason: Reason,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting { function, replica, reason, queued: 0 } => {
                write!(f, "{function}: replica {replica} starts ({reason})")
            }
            Self::Starting { function, replica, reason, queued } => {
                write!(f, "{function}: replica {replica} starts ({reason}; {queued} waiting)")
            }
            Self::Ready { function, replica, after } => {
                write!(f, "{function}: replica {replica} is ready after {} ms", after.as_millis())
            }
            Self::Failed { function, replica, reason } => write!(f, "{function}: replica {replica} {reason}"),
            Self::Broken { function, reason, retry_in } => {
                write!(f, "{function} is broken, next try in {} s: {reason}", retry_in.as_secs())
            }
            Self::Closing { function, replica, reason } => {
                write!(f, "{function}: replica {replica} closes ({reason})")
            }
        }
    }
}

/// All targets of this machine.
#[derive(Debug, Default)]
pub struct Scaler {
    targets: BTreeMap<String, Target>,
    owners: BTreeMap<ReplicaId, String>,
    replicas_ever: u64,
}

impl Scaler {
    /// Takes in what is new and says what to do now. `now` never goes back.
    pub fn step(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        let touched = self.take(now, input, &mut actions);
        for name in touched {
            let Some(target) = self.targets.get_mut(&name) else { continue };
            let mut next = || {
                self.replicas_ever += 1;
                let replica = ReplicaId(self.replicas_ever);
                self.owners.insert(replica, name.clone());
                replica
            };
            target.settle(now, &mut next, &mut actions);
            if target.is_over() {
                self.targets.remove(&name);
            }
        }
        actions
    }

    /// When to call `step` with a tick, if nothing comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.targets.values().filter_map(Target::next_deadline).min()
    }

    /// The state of every target, as last published.
    pub fn states(&self) -> impl Iterator<Item = &TargetState> {
        self.targets.values().filter_map(|target| target.published.as_ref())
    }

    /// Notes the input, and names the targets that must be settled.
    fn take(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) -> BTreeSet<String> {
        match input {
            Input::Targets(specs) => self.take_targets(specs),
            Input::Demand(readings) => {
                let known = readings.into_iter().filter_map(|reading| {
                    let target = self.targets.get_mut(&reading.target)?;
                    let name = reading.target.clone();
                    target.read(now, reading, actions);
                    Some(name)
                });
                known.collect()
            }
            Input::Process(event) => self.take_event(now, event, actions).into_iter().collect(),
            Input::Retry(name) => {
                let target = self.targets.get_mut(&name).into_iter();
                target.for_each(|target| target.backoff.succeeded());
                BTreeSet::from([name])
            }
            Input::Tick => {
                let due = |target: &Target| target.next_deadline().is_some_and(|at| at <= now);
                self.targets.iter().filter(|(_, target)| due(target)).map(|(name, _)| name.clone()).collect()
            }
        }
    }

    fn take_targets(&mut self, specs: Vec<TargetSpec>) -> BTreeSet<String> {
        self.targets.values_mut().for_each(|target| target.retired = true);
        for spec in specs {
            match self.targets.get_mut(&spec.launch.name) {
                Some(target) => target.change(spec),
                None => drop(self.targets.insert(spec.launch.name.clone(), Target::new(spec))),
            }
        }
        self.targets.keys().cloned().collect()
    }

    fn take_event(&mut self, now: Instant, event: Event, actions: &mut Vec<Action>) -> Option<String> {
        let (Event::Started { replica, .. } | Event::Exited { replica, .. } | Event::StartFailed { replica, .. }) =
            &event;
        let name = match event {
            Event::Started { .. } => self.owners.get(replica)?.clone(),
            _ => self.owners.remove(replica)?,
        };
        self.targets.get_mut(&name)?.happened(now, event, actions);
        Some(name)
    }
}

/// One target. `settle` is its whole life, one step at a time.
#[derive(Debug)]
struct Target {
    spec: TargetSpec,
    /// No longer wanted: everything closes.
    retired: bool,
    replicas: BTreeMap<ReplicaId, Replica>,
    autoscaler: Autoscaler,
    backoff: Backoff,
    reading: Reading,
    /// Arrivals that the autoscaler has not seen.
    arrivals_new: u64,
    asked_at: Option<Instant>,
    desired: Desired,
    published: Option<TargetState>,
    settled_at: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Replica {
    phase: Phase,
    started: Instant,
    address: Option<SocketAddr>,
    /// The version of the state that has it first: an older reading speaks of another process at that address.
    listed: u64,
    ready_at: Option<Instant>,
    in_flight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Open,
    /// Since when, and the version of the state that has it no more.
    Closing(Instant, u64),
    Stopping,
}

impl Replica {
    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Open)
    }

    fn is_ready(&self) -> bool {
        self.phase == Phase::Open && self.ready_at.is_some()
    }
}

impl Target {
    fn new(spec: TargetSpec) -> Self {
        Self {
            spec,
            retired: false,
            replicas: BTreeMap::new(),
            autoscaler: Autoscaler::default(),
            backoff: Backoff::default(),
            reading: Reading::default(),
            arrivals_new: 0,
            asked_at: None,
            desired: Desired { replicas: 0, reason: Reason::Idle, next_evaluation: None },
            published: None,
            settled_at: None,
        }
    }

    /// Another template forgets the failures of the old one.
    fn change(&mut self, spec: TargetSpec) {
        if self.spec.launch != spec.launch {
            self.backoff.succeeded();
        }
        self.spec = spec;
        self.retired = false;
    }

    fn read(&mut self, now: Instant, reading: Reading, actions: &mut Vec<Action>) {
        // a gateway that began anew counts from 0
        self.arrivals_new += reading.arrivals.checked_sub(self.reading.arrivals).unwrap_or(reading.arrivals);
        if self.arrivals_new > 0 || reading.queued > 0 || reading.in_flight > 0 {
            self.asked_at = Some(now);
        }
        for (id, replica) in &mut self.replicas {
            let of_replica = |endpoint: &&EndpointReading| Some(endpoint.address) == replica.address;
            let found = reading.endpoints.iter().find(of_replica).filter(|_| reading.applied >= replica.listed);
            replica.in_flight = found.map_or(0, |endpoint| endpoint.in_flight);
            if replica.ready_at.is_none() && found.is_some_and(|endpoint| endpoint.ready) {
                replica.ready_at = Some(now);
                self.backoff.serves();
                let after = now - replica.started;
                actions.push(Action::Report(Report::Ready {
                    function: self.spec.launch.function.clone(),
                    replica: *id,
                    after,
                }));
            }
        }
        self.reading = reading;
    }

    fn happened(&mut self, now: Instant, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Started { replica, port, .. } => {
                let next_version = self.next_version();
                let Some(replica) = self.replicas.get_mut(&replica) else { return };
                replica.address = Some((Ipv4Addr::LOCALHOST, port).into());
                replica.listed = next_version;
                if replica.phase == Phase::Starting {
                    replica.phase = Phase::Open;
                }
            }
            Event::StartFailed { replica, reason } => {
                if self.replicas.remove(&replica).is_some() {
                    self.backoff.hopeless(now, &reason);
                    self.report_failure(now, replica, reason, actions);
                }
            }
            Event::Exited { replica: id, exit } => {
                let Some(replica) = self.replicas.remove(&id).filter(Replica::is_live) else { return };
                if replica.ready_at.is_none_or(|at| now - at < STEADY) {
                    self.backoff.failed(now, replica.started, &exit.reason);
                }
                self.report_failure(now, id, exit.reason, actions);
            }
        }
    }

    fn report_failure(&self, now: Instant, replica: ReplicaId, reason: String, actions: &mut Vec<Action>) {
        let function = self.spec.launch.function.clone();
        if self.backoff.broken().is_some() {
            let retry_in = self.backoff.retry_at().map_or(Duration::ZERO, |at| at - now);
            let broken = Report::Broken { function: function.clone(), reason: reason.clone(), retry_in };
            actions.push(Action::Report(Report::Failed { function, replica, reason }));
            actions.push(Action::Report(broken));
        } else {
            actions.push(Action::Report(Report::Failed { function, replica, reason }));
        }
    }

    /// Brings what is there to what should be. With nothing new since the last call it does nothing.
    fn settle(&mut self, now: Instant, next: &mut impl FnMut() -> ReplicaId, actions: &mut Vec<Action>) {
        self.give_up_slow_starts(now, actions);
        self.note_success(now);
        self.evaluate(now);
        self.grow(now, next, actions);
        self.shrink(now, actions);
        self.stop_drained(now, actions);
        self.publish(actions);
        self.settled_at = Some(now);
    }

    fn is_over(&self) -> bool {
        self.retired && self.replicas.is_empty()
    }

    fn give_up_slow_starts(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let limit = self.spec.start_limit;
        let slow = |replica: &Replica| {
            replica.phase == Phase::Open && replica.ready_at.is_none() && replica.started + limit <= now
        };
        let slow: Vec<_> = self.replicas.iter().filter(|(_, replica)| slow(replica)).map(|(id, _)| *id).collect();
        for id in slow {
            let Some(replica) = self.replicas.get_mut(&id) else { continue };
            replica.phase = Phase::Stopping;
            let reason = format!(
                "was not ready within {} s: it must listen on the port in the variable PORT, on 127.0.0.1 or all addresses",
                limit.as_secs()
            );
            self.backoff.failed(now, replica.started, &reason);
            actions.push(Action::Stop(id));
            self.report_failure(now, id, reason, actions);
        }
    }

    fn note_success(&mut self, now: Instant) {
        let steady = |replica: &Replica| replica.ready_at.is_some_and(|at| now - at >= STEADY) && replica.is_live();
        if self.backoff.remembers() && self.replicas.values().any(steady) {
            self.backoff.succeeded();
        }
        let interested = self.spec.bounds.min > 0 || self.interest_ends().is_some_and(|at| at > now);
        if self.backoff.broken().is_some() && !interested {
            self.backoff.forget_gently();
        }
    }

    fn interest_ends(&self) -> Option<Instant> {
        Some(self.asked_at? + INTEREST)
    }

    fn evaluate(&mut self, now: Instant) {
        if self.retired {
            self.desired = Desired { replicas: 0, reason: Reason::Idle, next_evaluation: None };
            return;
        }
        if self.replicas.values().any(|replica| replica.is_live() && replica.ready_at.is_none()) {
            self.autoscaler.keep_awake(now);
        }
        let seen = Observation {
            in_flight: self.reading.in_flight,
            queued: self.reading.queued,
            mean: self.reading.mean.take(),
            arrivals: std::mem::take(&mut self.arrivals_new),
            ready: self.count(Replica::is_ready),
            live: self.count(Replica::is_live),
        };
        self.desired = self.autoscaler.evaluate(now, &seen, &self.spec.bounds);
        // a broken target answers at once, so that demand does not show; it is tried again all the same
        if self.backoff.broken().is_some() && self.desired.replicas == 0 {
            self.desired.replicas = 1.min(self.spec.bounds.max);
            self.desired.reason = Reason::Demand;
        }
    }

    fn count(&self, which: impl Fn(&Replica) -> bool) -> u32 {
        self.replicas.values().filter(|replica| which(replica)).count() as u32
    }

    /// Opens again what is closing, before it starts anything. Never more processes than the maximum, the ending ones included.
    fn grow(&mut self, now: Instant, next: &mut impl FnMut() -> ReplicaId, actions: &mut Vec<Action>) {
        let mut missing = self.desired.replicas.saturating_sub(self.count(Replica::is_live));
        let closing = self.replicas.values_mut().filter(|replica| matches!(replica.phase, Phase::Closing(..)));
        for replica in closing.take(missing as usize) {
            replica.phase = Phase::Open;
            missing -= 1;
        }
        let room = self.spec.bounds.max.max(self.spec.bounds.min).saturating_sub(self.replicas.len() as u32);
        for _ in 0..missing.min(room).min(self.starts_allowed(now)) {
            let id = next();
            let fresh = Replica {
                phase: Phase::Starting,
                started: now,
                address: None,
                listed: 0,
                ready_at: None,
                in_flight: 0,
            };
            self.replicas.insert(id, fresh);
            actions.push(Action::Start(id, self.spec.launch.clone()));
            actions.push(Action::Report(Report::Starting {
                function: self.spec.launch.function.clone(),
                replica: id,
                reason: self.desired.reason,
                queued: self.reading.queued,
            }));
        }
    }

    /// After a failure one at a time, and not before its pause is over.
    fn starts_allowed(&self, now: Instant) -> u32 {
        let trying = || self.replicas.values().any(|replica| replica.is_live() && replica.ready_at.is_none());
        match self.backoff.is_careful() {
            false => u32::MAX,
            true => u32::from(self.backoff.may_start(now) && !trying()),
        }
    }

    /// Closes what serves least: not yet ready before ready, idle before busy, young before old.
    fn shrink(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let excess = self.count(Replica::is_live).saturating_sub(self.desired.replicas);
        let version = self.next_version();
        let mut live: Vec<_> = self.replicas.iter_mut().filter(|(_, replica)| replica.is_live()).collect();
        live.sort_by_key(|(id, replica)| (replica.ready_at.is_some(), replica.in_flight, std::cmp::Reverse(**id)));
        for (id, replica) in live.into_iter().take(excess as usize) {
            if replica.phase == Phase::Starting {
                replica.phase = Phase::Stopping;
                actions.push(Action::Stop(*id));
            } else {
                replica.phase = Phase::Closing(now, version);
            }
            let (function, reason) = (self.spec.launch.function.clone(), self.desired.reason);
            actions.push(Action::Report(Report::Closing { function, replica: *id, reason }));
        }
    }

    fn stop_drained(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let limit = self.spec.drain_limit;
        for (id, replica) in &mut self.replicas {
            let Phase::Closing(since, version) = replica.phase else { continue };
            let drained = self.reading.applied >= version && replica.in_flight == 0;
            if drained || since + limit <= now {
                replica.phase = Phase::Stopping;
                actions.push(Action::Stop(*id));
            }
        }
    }

    /// The version of the state that is published at the end of this step, if a list changes in it.
    fn next_version(&self) -> u64 {
        self.published.as_ref().map_or(0, |state| state.version) + 1
    }

    fn publish(&mut self, actions: &mut Vec<Action>) {
        let list: Vec<_> = self.replicas.values().filter_map(|replica| self.endpoint(replica)).collect();
        let activation = self.activation();
        let endpoints = |backend: &BackendName| Endpoints {
            backend: backend.clone(),
            list: list.clone(),
            activation: activation.clone(),
        };
        let version = self.published.as_ref().map_or(0, |state| state.version);
        let mut state = TargetState {
            target: self.spec.launch.name.clone(),
            version,
            endpoints: self.spec.backends.iter().map(endpoints).collect(),
            live: self.count(Replica::is_live),
            ready: self.count(Replica::is_ready),
            processes: self.replicas.len() as u32,
        };
        if self.published.as_ref() != Some(&state) {
            state.version += 1;
            self.published = Some(state.clone());
            actions.push(Action::Publish(state));
        }
    }

    /// The gateway's probe decides on readiness, so it is never claimed here, and a list does not change when it succeeds.
    fn endpoint(&self, replica: &Replica) -> Option<Endpoint> {
        let address = replica.address.filter(|_| replica.phase == Phase::Open)?;
        Some(Endpoint { address, ready: false, probe: self.spec.launch.probe.clone().unwrap_or_default() })
    }

    fn activation(&self) -> Activation {
        if self.count(Replica::is_ready) > 0 {
            return Activation::Ready;
        }
        if let Some(reason) = self.backoff.broken() {
            return Activation::Broken { reason: reason.to_owned() };
        }
        // wanted and not there: its pause is not over, or the ones before it have not ended
        if self.count(Replica::is_live) > 0 || self.desired.replicas > 0 {
            return Activation::Waking;
        }
        match self.replicas.values().any(|replica| matches!(replica.phase, Phase::Closing(..))) || self.retired {
            true => Activation::Closing,
            false => Activation::Ready,
        }
    }

    /// Only what lies after the last settling: what was due then has had its effect.
    fn next_deadline(&self) -> Option<Instant> {
        let of_replicas = self.replicas.values().filter_map(|replica| match replica.phase {
            Phase::Open if replica.ready_at.is_none() => Some(replica.started + self.spec.start_limit),
            Phase::Open if self.backoff.remembers() => replica.ready_at.map(|at| at + STEADY),
            Phase::Closing(since, _) => Some(since + self.spec.drain_limit),
            _ => None,
        });
        let broken = self.backoff.broken().is_some();
        let of_target =
            [self.desired.next_evaluation, self.backoff.retry_at(), self.interest_ends().filter(|_| broken)];
        let all = of_replicas.chain(of_target.into_iter().flatten());
        all.filter(|at| self.settled_at.is_none_or(|settled| *at > settled)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtimes::Exit;

    const NAME: &str = "default/hello-v1";
    const SECOND: Duration = Duration::from_secs(1);

    /// A scaler with one target, and what it did since last asked.
    struct Bench {
        scaler: Scaler,
        now: Instant,
        started: Vec<ReplicaId>,
        stopped: Vec<ReplicaId>,
        state: TargetState,
        arrivals: u64,
    }

    fn spec(bounds: Bounds) -> TargetSpec {
        let launch = Launch {
            name: NAME.into(),
            function: "hello-v1".into(),
            command: vec!["hello".into()],
            env: vec![],
            working_dir: None,
            grace: SECOND,
            probe: None,
        };
        let backend = BackendName::tcp("default", "hello-v1", 80);
        TargetSpec {
            launch: Arc::new(launch),
            backends: vec![backend],
            bounds,
            start_limit: 30 * SECOND,
            drain_limit: 20 * SECOND,
        }
    }

    impl Bench {
        fn new(bounds: Bounds) -> Self {
            let state =
                TargetState { target: NAME.into(), version: 0, endpoints: vec![], live: 0, ready: 0, processes: 0 };
            let now = Instant::now();
            let mut bench =
                Self { scaler: Scaler::default(), now, started: vec![], stopped: vec![], state, arrivals: 0 };
            bench.step(Input::Targets(vec![spec(bounds)]));
            bench
        }

        fn step(&mut self, input: Input) {
            for action in self.scaler.step(self.now, input) {
                match action {
                    Action::Start(replica, _) => self.started.push(replica),
                    Action::Stop(replica) => self.stopped.push(replica),
                    Action::Publish(state) => self.state = state,
                    Action::Report(_) => {}
                }
            }
        }

        fn wait(&mut self, time: Duration) {
            let until = self.now + time;
            while let Some(at) = self.scaler.next_deadline().filter(|at| *at <= until) {
                self.now = at;
                self.step(Input::Tick);
            }
            self.now = until;
        }

        /// A reading by a gateway that has applied everything, or nothing since `applied`.
        fn read(&mut self, queued: u32, busy: &[(u64, u32)], applied: Option<u64>) {
            self.arrivals += u64::from(queued);
            let listed = self.state.endpoints[0].list.iter().map(|endpoint| endpoint.address);
            let all: BTreeSet<_> = listed.chain(busy.iter().map(|(id, _)| address(*id))).collect();
            let in_flight = |at| busy.iter().find(|(id, _)| address(*id) == at).map_or(0, |(_, count)| *count);
            let reading = Reading {
                target: NAME.into(),
                in_flight: busy.iter().map(|(_, count)| count).sum(),
                queued,
                mean: None,
                arrivals: self.arrivals,
                applied: applied.unwrap_or(self.state.version),
                endpoints: all
                    .into_iter()
                    .map(|at| EndpointReading { address: at, in_flight: in_flight(at), ready: true })
                    .collect(),
            };
            self.step(Input::Demand(vec![reading]));
        }

        fn run(&mut self, id: u64) {
            let event = Event::Started { replica: ReplicaId(id), pid: 1, port: 1000 + id as u16 };
            self.step(Input::Process(event));
        }

        fn exit(&mut self, id: u64) {
            let reason = "exited with code 3".to_owned();
            let exit = Exit { code: Some(3), signal: None, reason, uptime: SECOND };
            self.step(Input::Process(Event::Exited { replica: ReplicaId(id), exit }));
        }

        fn activation(&self) -> &Activation {
            &self.state.endpoints[0].activation
        }

        fn take_started(&mut self) -> Vec<u64> {
            std::mem::take(&mut self.started).into_iter().map(|id| id.0).collect()
        }
    }

    fn address(id: u64) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 1000 + id as u16).into()
    }

    fn one_at_a_time(max: u32) -> Bounds {
        Bounds { max, concurrency: 1, ..Bounds::default() }
    }

    #[test]
    fn one_need_starts_one_replica_however_often_it_is_told() {
        let mut bench = Bench::new(Bounds::default());
        assert_eq!(bench.activation(), &Activation::Ready);
        bench.read(1, &[], None);
        bench.read(3, &[], None);
        bench.run(1);
        bench.read(3, &[], Some(0));
        assert_eq!((bench.take_started(), bench.activation()), (vec![1], &Activation::Waking));
        bench.read(0, &[(1, 3)], None);
        assert_eq!((bench.state.ready, bench.activation()), (1, &Activation::Ready));
    }

    #[test]
    fn a_minimum_starts_without_demand_and_is_kept() {
        let mut bench = Bench::new(Bounds { min: 2, ..Bounds::default() });
        assert_eq!(bench.take_started(), [1, 2]);
        [1, 2].into_iter().for_each(|id| bench.run(id));
        bench.read(0, &[], None);
        bench.wait(600 * SECOND);
        assert_eq!((bench.state.ready, bench.stopped.len()), (2, 0));
        bench.exit(1);
        assert_eq!(bench.take_started(), [3]);
    }

    #[test]
    fn a_replica_stops_when_the_gateway_has_let_go_of_it() {
        let mut bench = Bench::new(Bounds::default());
        bench.read(1, &[], None);
        bench.run(1);
        bench.read(0, &[(1, 1)], None);
        bench.read(0, &[], None);
        bench.wait(61 * SECOND);
        assert_eq!((bench.activation(), bench.stopped.len()), (&Activation::Closing, 0));
        // not yet applied; then applied, but a request was on its way; then let go
        bench.read(0, &[], Some(bench.state.version - 1));
        bench.read(0, &[(1, 1)], Some(bench.state.version - 1));
        assert_eq!((bench.stopped.len(), bench.activation()), (0, &Activation::Ready), "demand opens it again");
        bench.read(0, &[], None);
        bench.wait(61 * SECOND);
        bench.read(0, &[], None);
        assert_eq!(bench.stopped, [ReplicaId(1)]);
        bench.exit(1);
        assert_eq!((bench.state.processes, bench.activation()), (0, &Activation::Ready));
        assert_eq!(bench.take_started(), [1]);
    }

    #[test]
    fn a_gateway_that_never_lets_go_holds_a_replica_for_its_limit() {
        let mut bench = Bench::new(Bounds::default());
        bench.read(1, &[], None);
        bench.run(1);
        bench.read(0, &[], None);
        bench.step(Input::Targets(vec![]));
        bench.read(0, &[(1, 1)], None);
        bench.wait(19 * SECOND);
        assert!(bench.stopped.is_empty() && bench.state.endpoints[0].list.is_empty());
        bench.wait(2 * SECOND);
        assert_eq!(bench.stopped, [ReplicaId(1)]);
        bench.exit(1);
        assert_eq!(bench.scaler.states().count(), 0);
    }

    #[test]
    fn scaling_down_takes_the_idle_and_never_exceeds_the_maximum() {
        let mut bench = Bench::new(one_at_a_time(3));
        bench.read(9, &[], None);
        assert_eq!(bench.take_started(), [1, 2, 3]);
        (1..=3).for_each(|id| bench.run(id));
        bench.read(0, &[(1, 1), (2, 1), (3, 1)], None);
        bench.step(Input::Targets(vec![spec(one_at_a_time(1))]));
        bench.read(0, &[(1, 1)], None);
        let listed: Vec<_> = bench.state.endpoints[0].list.iter().map(|endpoint| endpoint.address).collect();
        assert_eq!((listed.len(), bench.stopped.len()), (1, 2));
        assert!(bench.take_started().is_empty());
    }

    #[test]
    fn the_third_exit_breaks_it_and_it_is_tried_again_until_it_serves() {
        let mut bench = Bench::new(Bounds::default());
        for id in 1..=3 {
            bench.read(1, &[], None);
            bench.wait(SECOND);
            assert_eq!(bench.take_started(), [id]);
            bench.run(id);
            bench.exit(id);
        }
        let broken = Activation::Broken { reason: "exited with code 3".into() };
        assert_eq!(bench.activation(), &broken);
        bench.read(0, &[], None);
        for (id, pause) in [(4, 1), (5, 2), (6, 4), (7, 8), (8, 16), (9, 32), (10, 60), (11, 60)] {
            bench.wait(pause * SECOND - SECOND / 100);
            assert_eq!((bench.take_started(), bench.activation()), (vec![], &broken));
            bench.wait(SECOND / 100);
            assert_eq!((bench.take_started(), bench.activation()), (vec![id], &broken), "after {pause} s");
            bench.run(id);
            if id < 11 {
                bench.exit(id);
            }
        }
        bench.read(0, &[], None);
        assert_eq!((bench.activation(), bench.state.ready), (&Activation::Ready, 1));
    }

    #[test]
    fn nobody_asks_for_long_and_then_somebody_is_held_for_one_try() {
        let mut bench = Bench::new(Bounds::default());
        bench.read(1, &[], None);
        let failed = |id| Event::StartFailed { replica: ReplicaId(id), reason: "no such command".into() };
        bench.step(Input::Process(failed(1)));
        assert!(matches!(bench.activation(), Activation::Broken { reason } if reason == "no such command"));
        bench.read(0, &[], None);
        while let Some(at) = bench.scaler.next_deadline() {
            bench.wait(at - bench.now);
            bench.started.drain(..).collect::<Vec<_>>().into_iter().for_each(|id| {
                bench.step(Input::Process(failed(id.0)));
            });
        }
        assert_eq!(bench.activation(), &Activation::Ready);
        bench.wait(3600 * SECOND);
        bench.read(5, &[], None);
        let started = bench.take_started();
        assert_eq!((started.len(), bench.activation()), (1, &Activation::Waking));
        bench.run(started[0]);
        bench.exit(started[0]);
        assert!(matches!(bench.activation(), Activation::Broken { .. }), "the first failure is enough");
    }

    #[test]
    fn another_template_and_a_mended_one_forget_the_failures() {
        for mend in [
            Input::Retry(NAME.into()),
            Input::Targets(vec![TargetSpec {
                launch: Arc::new(Launch { grace: 9 * SECOND, ..(*spec(Bounds::default()).launch).clone() }),
                ..spec(Bounds::default())
            }]),
        ] {
            let mut bench = Bench::new(Bounds::default());
            bench.read(1, &[], None);
            bench.step(Input::Process(Event::StartFailed { replica: ReplicaId(1), reason: "x".into() }));
            bench.step(mend);
            assert_eq!((bench.take_started(), bench.activation()), (vec![1, 2], &Activation::Waking));
        }
    }

    #[test]
    fn a_replica_that_never_listens_is_given_up_with_what_to_do() {
        let mut bench = Bench::new(Bounds::default());
        bench.read(1, &[], None);
        bench.run(1);
        bench.wait(29 * SECOND);
        assert!(bench.stopped.is_empty());
        bench.wait(2 * SECOND);
        assert_eq!((bench.take_started(), bench.stopped), (vec![1, 2], vec![ReplicaId(1)]));
    }

    #[test]
    fn a_reading_of_an_older_process_at_the_same_address_is_not_believed() {
        let mut bench = Bench::new(Bounds::default());
        bench.read(1, &[], None);
        let before = bench.state.version;
        bench.run(1);
        bench.read(1, &[], Some(before));
        assert_eq!(bench.state.ready, 0);
        bench.read(1, &[], None);
        assert_eq!(bench.state.ready, 1);
    }
}
