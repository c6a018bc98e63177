//! What a backend decides under its lock: who is admitted, who waits, who is refused. Pure but for the endpoints' counters: the time is
//! an argument; wakes nobody itself, so that nobody runs while the lock is held.
//!
//! Invariants, checked by the simulation in `gateway/tests`:
//! 1. A slot that is free never meets a waiter that may have it once [`State::settle`] returned (no lost wake-up).
//! 2. Each granted slot is given back once (no slot leak).
//! 3. Slots go by arrival; a newcomer never passes one who waits (FIFO, no barging).
//! 4. No endpoint has more than `concurrency` requests.
//! 5. A need is signalled once until it is met (never two starts for one need).

use super::{
    ColdStart, EndpointFailure, EndpointId, EndpointReport, Limits, Refusal,
    activation::{Ramp, Start, Starts},
    balance,
    demand::Lease,
    endpoint::{Endpoint, Roster, Row},
    members::Members,
    queue::{Key, Line},
    ticket::{Ticket, Tried},
};
use crate::failure::Failure;
use headgate_config as config;
use std::{
    net::TcpStream,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

/// Waiters behind the head that are looked at when the head prefers another endpoint than the free one.
const LOOKED_AT_BEHIND_HEAD: usize = 8;
/// A cold start whose first byte does not come within this time is reported without.
const FIRST_BYTE_AWAITED: Duration = Duration::from_secs(30);

/// All of a backend that changes, but for the counters.
#[derive(Debug)]
pub(super) struct State {
    limits: Arc<Limits>,
    config: Arc<config::Backend>,
    terms: Terms,
    pub members: Members,
    /// Who is in service now; the cores see the same list.
    pub roster: Arc<Roster>,
    roster_stale: bool,
    activation: config::Activation,
    line: Line<Waiter>,
    starts: Starts,
    start: Option<Start>,
    lease: Lease,
    ramp: Option<Ramp>,
    // boxed: most backends never start
    report: Option<Box<Report>>,
    dice: fastrand::Rng,
    /// The latest time seen: what happens without a time of its own happens then.
    now: Instant,
    pub effects: Effects,
}

/// What the configuration says.
#[derive(Clone, Debug)]
struct Terms {
    concurrency: u32,
    queue_count: usize,
    wait: Option<Duration>,
    scales: Option<Arc<str>>,
}

/// One who waits.
#[derive(Debug)]
struct Waiter {
    tried: Tried,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    Waits { waker: Option<Waker>, rerouted: bool },
    Slot(Arc<Row>),
    // shared: all of a line are refused for one reason
    Refused(Arc<Refusal>),
}

/// A cold start that is ready and not yet reported.
#[derive(Debug)]
struct Report {
    since: Instant,
    ready: Instant,
    dispatched: Option<Instant>,
    held: usize,
}

/// What is to be done once the lock is free.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub wakes: Vec<Waker>,
    /// A target is newly demanded, or a queue formed.
    pub demand: bool,
    /// There is something to probe, or something will be due.
    pub attention: bool,
    pub cold_start: Option<Box<ColdStart>>,
}

/// What became of a waiter so far.
pub(super) enum Progress {
    Slot(Arc<Row>),
    Refused(Refusal),
    Rerouted,
    Waits,
}

/// What became of a request that asked.
pub(super) enum Admitted {
    Slot(Arc<Row>),
    MustWait,
    Refused(Refusal),
}

impl State {
    pub fn new(config: &Arc<config::Backend>, limits: Arc<Limits>, seed: u64, now: Instant) -> Self {
        Self {
            terms: Terms::new(config, &limits),
            config: Arc::clone(config),
            limits,
            members: Members::default(),
            roster: Arc::default(),
            roster_stale: false,
            activation: config::Activation::Ready,
            line: Line::default(),
            starts: Starts::default(),
            start: None,
            lease: Lease::None,
            ramp: None,
            report: None,
            dice: fastrand::Rng::with_seed(seed),
            now,
            effects: Effects::default(),
        }
    }

    /// Brings everything up to date after any change: time, who is in service, cold start. Before [`State::hand_out`].
    pub fn settle(&mut self, now: Option<Instant>) {
        self.now = now.map_or(self.now, |now| now.max(self.now));
        self.roster_stale |= self.members.lapse(self.now, &self.limits);
        if std::mem::take(&mut self.roster_stale) {
            self.roster = if self.may_send() { self.members.in_service() } else { Arc::default() };
        }
        if !self.roster.is_empty() {
            self.note_ready();
        }
        self.ramp.take_if(|ramp| ramp.is_over(self.now, &self.limits));
        if self.report.as_ref().is_some_and(|report| self.now >= report.ready + FIRST_BYTE_AWAITED) {
            self.report_start(None);
        }
    }

    /// Gives what is free to those who wait, in order, and answers all where nothing will come.
    pub fn hand_out(&mut self) {
        if let Some(refusal) = self.refusal_of_all() {
            return self.refuse_all(refusal);
        }
        while let Some((key, row)) = self.next_pair() {
            self.line.leave(key);
            row.endpoint.count();
            self.note_dispatched();
            self.answer(key, Fate::Slot(row));
        }
    }

    /// Whether requests need not ask: nothing is counted, nobody waits, nothing is ramped.
    pub fn is_open(&self) -> bool {
        self.terms.concurrency == 0 && self.ramp.is_none() && !self.roster.is_empty() && self.line.is_empty()
    }

    /// Whether first bytes must be told.
    pub fn is_starting(&self) -> bool {
        self.ramp.is_some() || self.report.is_some()
    }

    /// Admits a request, if nobody who came before waits.
    pub fn admit(&mut self, ticket: &Ticket) -> Admitted {
        if let Some(refusal) = self.refusal_of_all() {
            return Admitted::Refused(refusal);
        }
        let passes_none = self
            .line
            .front()
            .is_none_or(|front| ticket.arrival.is_some_and(|arrival| arrival < self.line.arrival(front)));
        match passes_none.then(|| self.free_row(&ticket.tried)).flatten() {
            Some(row) => {
                row.endpoint.count();
                self.note_dispatched();
                Admitted::Slot(row)
            }
            None => Admitted::MustWait,
        }
    }

    /// Puts a request in line. `afford` takes its part of what the whole gateway may hold, told how many wait here.
    pub fn enqueue(&mut self, ticket: &mut Ticket, afford: impl FnOnce(u64) -> bool) -> Result<Key, Refusal> {
        if let Some(refusal) = self.refusal_of_all() {
            return Err(refusal);
        }
        // Refused or not, it is needed.
        self.wake();
        if self.line.len() >= self.terms.queue_count {
            return Err(self.refusal(Failure::QueueFull));
        }
        if !afford(self.line.len() as u64) {
            return Err(self.refusal(Failure::GatewayFull));
        }
        self.effects.demand |= self.line.is_empty() && self.terms.scales.is_some();
        let waiter = Waiter { tried: ticket.tried.clone(), fate: Fate::Waits { waker: None, rerouted: false } };
        Ok(self.line.insert(ticket.arrive(), waiter))
    }

    /// Somebody needs the backend: if it is cold, its start begins now.
    pub fn wake(&mut self) {
        if !self.is_cold() || matches!(self.activation, config::Activation::Broken { .. }) {
            return;
        }
        self.start.get_or_insert(Start { since: self.now });
        if self.terms.scales.is_some() {
            self.effects.demand |= self.lease.wake(self.now, &self.limits);
        }
    }

    /// How long a request may wait.
    pub fn wait_limit(&self) -> Duration {
        self.terms.wait.unwrap_or_else(|| self.starts.wait_limit(&self.limits))
    }

    /// What became of a waiter; one that got an answer is gone afterwards. `timed_out`: it will not wait longer.
    pub fn look(&mut self, key: Key, waker: &Waker, timed_out: bool) -> Progress {
        let Fate::Waits { waker: kept, rerouted } = &mut self.line.get_mut(key).fate else {
            return match self.line.remove(key).fate {
                Fate::Slot(row) => Progress::Slot(row),
                Fate::Refused(refusal) => Progress::Refused(Refusal::clone(&refusal)),
                Fate::Waits { .. } => Progress::Waits,
            };
        };
        if timed_out {
            self.line.remove(key);
            return Progress::Refused(self.refusal(self.timeout()));
        }
        if std::mem::take(rerouted) {
            return Progress::Rerouted;
        }
        match kept {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Progress::Waits
    }

    /// A waiter died. The slot that it may have had is free again, for the head of the line.
    pub fn abandon(&mut self, key: Key) {
        if let Fate::Slot(row) = self.line.remove(key).fate {
            row.endpoint.uncount();
        }
    }

    /// Takes a new list of endpoints.
    pub fn set_endpoints(&mut self, endpoints: &config::Endpoints, make: impl Fn(Arc<Endpoint>) -> Arc<Row>) {
        self.members.set(&endpoints.list, make);
        self.activation = endpoints.activation.clone();
        self.effects.attention = true;
        self.roster_stale = true;
        if matches!(self.activation, config::Activation::Broken { .. }) {
            (self.start, self.lease) = (None, Lease::None);
        }
    }

    /// Takes a new configuration.
    pub fn set_config(&mut self, config: &Arc<config::Backend>) {
        self.config = Arc::clone(config);
        self.terms = Terms::new(config, &self.limits);
    }

    /// Tells all who wait that the routes changed.
    pub fn reroute(&mut self) {
        let mut next = self.line.front();
        while let Some(key) = next {
            next = self.line.behind(key);
            if let Fate::Waits { waker, rerouted } = &mut self.line.get_mut(key).fate {
                *rerouted = true;
                self.effects.wakes.extend(waker.take());
            }
        }
    }

    /// A probe ended.
    pub fn probed(&mut self, id: EndpointId, ready: bool, connection: Option<TcpStream>) {
        // Where nobody waits the connection is not kept: an application with one thread would sit on it.
        let connection = connection.filter(|_| !self.line.is_empty());
        self.roster_stale |= self.members.probed(id, ready, connection, self.now);
        self.effects.attention = true;
    }

    /// The first byte of an answer came; `counted` if its slot was.
    pub fn succeeded(&mut self, id: EndpointId, counted: bool) {
        self.members.succeeded(id);
        if counted {
            self.ramp.iter_mut().for_each(Ramp::succeeded);
            self.report_start(Some(self.now));
        }
    }

    /// A try failed.
    pub fn failed(&mut self, id: EndpointId, how: EndpointFailure) {
        self.roster_stale |= self.members.failed(id, how, self.now, &self.limits);
        self.effects.attention |= self.roster_stale;
    }

    /// Whether there is nothing to send to now.
    pub fn is_cold(&self) -> bool {
        self.roster.is_empty()
    }

    /// A refusal with what is known of when to come again.
    pub fn refusal(&self, failure: Failure) -> Refusal {
        let elapsed = self.start.map_or(Duration::ZERO, |start| self.now.saturating_duration_since(start.since));
        let cold = self.is_cold();
        let after = if cold { self.starts.retry_after(elapsed, &self.limits) } else { self.limits.retry_least };
        Refusal::new(failure, Some(after))
    }

    /// When to settle next without being asked.
    pub fn next_event(&self) -> Option<Instant> {
        let ramp = self.ramp.map(|ramp| ramp.ends_at(&self.limits));
        let report = self.report.as_ref().map(|report| report.ready + FIRST_BYTE_AWAITED);
        [ramp, report, self.members.next_lapse()].into_iter().flatten().min()
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.line.is_empty() && self.members.in_flight() == 0
    }

    /// What is demanded; `None` if it belongs to no scale target.
    pub fn demand(&self) -> Option<super::Demand> {
        Some(super::Demand {
            target: Arc::clone(self.terms.scales.as_ref()?),
            in_flight: self.members.in_flight().into(),
            queued: self.line.len() as u64,
            leased: self.lease.holds(self.now, &self.limits),
            serving: self.roster.len() as u64,
        })
    }

    /// How many wait.
    pub fn queued(&self) -> usize {
        self.line.len()
    }

    /// What the scaler says.
    pub fn activation(&self) -> &config::Activation {
        &self.activation
    }

    /// The endpoints as an operator sees them.
    pub fn endpoints(&self) -> Vec<EndpointReport> {
        self.members.report()
    }

    fn may_send(&self) -> bool {
        matches!(self.activation, config::Activation::Ready | config::Activation::Waking)
    }

    /// Why nobody is admitted and waiting is in vain; `None` while there is hope.
    fn refusal_of_all(&self) -> Option<Refusal> {
        match &self.activation {
            config::Activation::Broken { reason } => {
                let detail = Some(reason.as_str().into());
                Some(Refusal { detail, ..self.refusal(Failure::ActivationFailed) })
            }
            config::Activation::Ready if self.is_cold() && self.terms.scales.is_none() => {
                Some(self.refusal(Failure::NoEndpoints))
            }
            _ => None,
        }
    }

    fn refuse_all(&mut self, refusal: Refusal) {
        let refusal = Arc::new(refusal);
        while let Some(key) = self.line.front() {
            self.line.leave(key);
            self.answer(key, Fate::Refused(Arc::clone(&refusal)));
        }
    }

    fn answer(&mut self, key: Key, fate: Fate) {
        if let Fate::Waits { waker, .. } = std::mem::replace(&mut self.line.get_mut(key).fate, fate) {
            self.effects.wakes.extend(waker);
        }
    }

    fn timeout(&self) -> Failure {
        if self.is_cold() { Failure::ActivationTimeout } else { Failure::QueueTimeout }
    }

    /// The next waiter and its endpoint. The head has the first choice; one that waits for another endpoint than the free one does not
    /// keep the free one from those behind.
    fn next_pair(&mut self) -> Option<(Key, Arc<Row>)> {
        let mut next = self.line.front();
        for _ in 0..LOOKED_AT_BEHIND_HEAD {
            let key = next?;
            let tried = self.line.get(key).tried.clone();
            match self.free_row(&tried) {
                Some(row) => return Some((key, row)),
                None if tried.is_empty() => return None,
                None => next = self.line.behind(key),
            }
        }
        None
    }

    /// An endpoint that bears one more, other than those tried unless all in service were.
    fn free_row(&mut self, tried: &Tried) -> Option<Arc<Row>> {
        if let Some(ramp) = &self.ramp
            && !ramp.has_room(self.roster.iter().map(|row| row.in_flight()).sum())
        {
            return None;
        }
        let (rows, concurrency) = (&self.roster, self.terms.concurrency);
        let all_tried = rows.iter().all(|row| tried.has(row.endpoint.id));
        let may = |at: usize| {
            let row = &rows[at];
            (concurrency == 0 || row.in_flight() < concurrency) && (all_tried || !tried.has(row.endpoint.id))
        };
        let chosen = balance::choose(rows.len(), self.dice.u64(..), |at| rows[at].in_flight(), may)?;
        Some(Arc::clone(&rows[chosen]))
    }

    fn note_ready(&mut self) {
        let Some(start) = self.start.take() else { return };
        self.report_start(None);
        self.starts.observe(self.now.saturating_duration_since(start.since));
        self.lease.ready(self.now, &self.limits);
        let held = self.line.len();
        self.effects.attention = true;
        self.report = Some(Box::new(Report { since: start.since, ready: self.now, dispatched: None, held }));
        self.ramp = (self.terms.concurrency == 0).then(|| Ramp::new(self.now));
    }

    fn note_dispatched(&mut self) {
        let now = self.now;
        if let Some(report) = &mut self.report {
            report.dispatched.get_or_insert(now);
        }
    }

    fn report_start(&mut self, first_byte: Option<Instant>) {
        let Some(report) = self.report.take() else { return };
        let after = |at: Instant| at.saturating_duration_since(report.since);
        self.effects.cold_start = Some(Box::new(ColdStart {
            backend: self.config.name.clone(),
            target: self.terms.scales.clone(),
            ready: after(report.ready),
            dispatched: report.dispatched.map(after),
            first_byte: first_byte.map(after),
            held: report.held,
        }));
    }
}

impl Terms {
    fn new(config: &config::Backend, limits: &Limits) -> Self {
        Self {
            concurrency: config.concurrency,
            queue_count: config.queue.count.unwrap_or(limits.queue_count) as usize,
            wait: config.wait.limit_ms.map(Duration::from_millis),
            scales: config.scales.as_deref().map(Arc::from),
        }
    }
}
