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
    endpoint::{Roster, Row},
    members::Members,
    queue::{Key, Line},
    retries::Retries,
    ticket::{Leaning, Ticket},
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
    pub members: Members,
    /// Who is in service now; the cores see the same list.
    pub roster: Arc<Roster>,
    roster_stale: bool,
    activation: config::Activation,
    /// Made at its first use: nobody ever waits for most backends.
    waits: Option<Box<Waits>>,
    /// Made at its first use: most backends have no budget.
    retries: Option<Box<Retries>>,
    dice: fastrand::Rng,
    /// The latest time seen: what happens without a time of its own happens then.
    now: Instant,
    /// See [`Effects`].
    demand: bool,
    attention: bool,
}

/// What a backend has for which somebody waited: who does, and what is known of its starts.
#[derive(Debug, Default)]
struct Waits {
    line: Line<Waiter>,
    starts: Starts,
    start: Option<Start>,
    lease: Lease,
    ramp: Option<Ramp>,
    report: Option<Report>,
    /// See [`Effects`].
    wakes: Vec<Waker>,
    cold_start: Option<Box<ColdStart>>,
}

/// One who waits.
#[derive(Debug)]
struct Waiter {
    leaning: Leaning,
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
            config: Arc::clone(config),
            limits,
            members: Members::default(),
            roster: Arc::default(),
            roster_stale: false,
            activation: config::Activation::Ready,
            waits: None,
            retries: None,
            dice: fastrand::Rng::with_seed(seed),
            now,
            demand: false,
            attention: false,
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
        let Some(waits) = &mut self.waits else { return };
        waits.ramp.take_if(|ramp| ramp.is_over(self.now, &self.limits));
        if waits.report.as_ref().is_some_and(|report| self.now >= report.ready + FIRST_BYTE_AWAITED) {
            self.report_start(None);
        }
    }

    /// What is to be done once the lock is free; told once.
    pub fn take_effects(&mut self) -> Effects {
        let (demand, attention) = (std::mem::take(&mut self.demand), std::mem::take(&mut self.attention));
        let (wakes, cold_start) = match &mut self.waits {
            Some(waits) => (std::mem::take(&mut waits.wakes), waits.cold_start.take()),
            None => (Vec::new(), None),
        };
        Effects { wakes, demand, attention, cold_start }
    }

    /// Gives what is free to those who wait, in order, and answers all where nothing will come.
    pub fn hand_out(&mut self) {
        if let Some(refusal) = self.refusal_of_all() {
            return self.refuse_all(refusal);
        }
        while let Some((key, row)) = self.next_pair() {
            self.waits().line.leave(key);
            row.endpoint.count();
            self.note_dispatched();
            self.waits().answer(key, Fate::Slot(row));
        }
    }

    /// Whether requests need not ask: nothing is counted, nobody waits, nothing is ramped.
    pub fn is_open(&self) -> bool {
        let unhindered = |waits: &Waits| waits.ramp.is_none() && waits.line.is_empty();
        self.config.concurrency == 0 && !self.roster.is_empty() && self.waits.as_deref().is_none_or(unhindered)
    }

    /// Whether first bytes must be told.
    pub fn is_starting(&self) -> bool {
        self.waits.as_ref().is_some_and(|waits| waits.ramp.is_some() || waits.report.is_some())
    }

    /// Admits a request, if nobody who came before waits.
    pub fn admit(&mut self, ticket: &Ticket) -> Admitted {
        if let Some(refusal) = self.refusal_of_all() {
            return Admitted::Refused(refusal);
        }
        let front = self.waits.as_ref().and_then(|waits| Some(waits.line.arrival(waits.line.front()?)));
        let passes_none = front.is_none_or(|front| ticket.arrival.is_some_and(|arrival| arrival < front));
        match passes_none.then(|| self.free_row(&ticket.leaning)).flatten() {
            Some(row) => {
                row.endpoint.count();
                self.note_dispatched();
                Admitted::Slot(row)
            }
            None => Admitted::MustWait,
        }
    }

    /// Puts a request in line. `afford` takes its part of what the whole gateway may hold, told how many wait here, or says why not.
    pub fn enqueue(
        &mut self,
        ticket: &mut Ticket,
        afford: impl FnOnce(u64) -> Result<(), Failure>,
    ) -> Result<Key, Refusal> {
        if let Some(refusal) = self.refusal_of_all() {
            return Err(refusal);
        }
        // Refused or not, it is needed.
        self.wake();
        let queued = self.queued();
        if queued >= self.config.queue.count.unwrap_or(self.limits.queue_count) as usize {
            return Err(self.refusal(Failure::QueueFull));
        }
        afford(queued as u64).map_err(|failure| self.refusal(failure))?;
        self.demand |= queued == 0 && self.config.scales.is_some();
        let waiter = Waiter { leaning: ticket.leaning.clone(), fate: Fate::Waits { waker: None, rerouted: false } };
        Ok(self.waits().line.insert(ticket.arrive(), waiter))
    }

    /// Somebody needs the backend: if it is cold, its start begins now.
    pub fn wake(&mut self) {
        if !self.is_cold() || matches!(self.activation, config::Activation::Broken { .. }) {
            return;
        }
        let waits = self.waits.get_or_insert_default();
        waits.start.get_or_insert(Start { since: self.now });
        if self.config.scales.is_some() {
            self.demand |= waits.lease.wake(self.now, &self.limits);
        }
    }

    /// How long a request may wait.
    pub fn wait_limit(&self) -> Duration {
        let configured = self.config.wait.limit_ms.map(Duration::from_millis);
        configured.unwrap_or_else(|| match &self.waits {
            Some(waits) => waits.starts.wait_limit(&self.limits),
            None => Starts::default().wait_limit(&self.limits),
        })
    }

    /// What became of a waiter; one that got an answer is gone afterwards. `timed_out`: it will not wait longer.
    pub fn look(&mut self, key: Key, waker: &Waker, timed_out: bool) -> Progress {
        let line = &mut self.waits().line;
        let Fate::Waits { waker: kept, rerouted } = &mut line.get_mut(key).fate else {
            return match line.remove(key).fate {
                Fate::Slot(row) => Progress::Slot(row),
                Fate::Refused(refusal) => Progress::Refused(Refusal::clone(&refusal)),
                Fate::Waits { .. } => Progress::Waits,
            };
        };
        if timed_out {
            line.remove(key);
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
        if let Fate::Slot(row) = self.waits().line.remove(key).fate {
            row.endpoint.uncount();
        }
    }

    /// Takes a new list of endpoints.
    pub fn set_endpoints(&mut self, endpoints: &config::Endpoints) {
        self.members.set(&endpoints.list);
        self.activation = endpoints.activation.clone();
        self.attention = true;
        self.roster_stale = true;
        if matches!(self.activation, config::Activation::Broken { .. })
            && let Some(waits) = &mut self.waits
        {
            (waits.start, waits.lease) = (None, Lease::None);
        }
    }

    /// Takes a new configuration.
    pub fn set_config(&mut self, config: &Arc<config::Backend>) {
        self.config = Arc::clone(config);
    }

    /// A request is tried for the first time.
    pub fn begin_tries(&mut self, now: Instant) {
        if let Some(retries) = self.retries(now) {
            retries.begin(now);
        }
    }

    /// Whether one may be tried again.
    pub fn spend_retry(&mut self, now: Instant) -> bool {
        self.retries(now).is_none_or(|retries| retries.spend(now))
    }

    /// The budget as it is configured now; one that is configured anew begins anew.
    fn retries(&mut self, now: Instant) -> Option<&mut Retries> {
        let spec = self.config.retries.as_deref()?;
        self.retries.take_if(|retries| retries.spec() != spec);
        Some(self.retries.get_or_insert_with(|| Box::new(Retries::new(*spec, now))))
    }

    /// Tells all who wait that the routes changed.
    pub fn reroute(&mut self) {
        let mut next = self.waits.as_deref().and_then(|waits| waits.line.front());
        while let Some(key) = next {
            next = self.waits().line.behind(key);
            self.reroute_one(key);
        }
    }

    /// Tells one who waits; nothing to one who was given an answer already.
    pub fn reroute_one(&mut self, key: Key) {
        let Waits { line, wakes, .. } = self.waits();
        if let Fate::Waits { waker, rerouted } = &mut line.get_mut(key).fate {
            *rerouted = true;
            wakes.extend(waker.take());
        }
    }

    /// A probe ended.
    pub fn probed(&mut self, id: EndpointId, ready: bool, connection: Option<TcpStream>) {
        // Where nobody waits the connection is not kept: an application with one thread would sit on it.
        let connection = connection.filter(|_| self.queued() > 0);
        self.roster_stale |= self.members.probed(id, ready, connection, self.now);
        self.attention = true;
    }

    /// The first byte of an answer came; `erred` if it says that the endpoint failed, `counted` if its slot was.
    pub fn answered(&mut self, id: EndpointId, erred: bool, counted: bool) {
        match erred {
            true => self.failed(id, EndpointFailure::Erred),
            false => self.members.succeeded(id),
        }
        if counted && let Some(waits) = &mut self.waits {
            waits.ramp.iter_mut().for_each(Ramp::succeeded);
            self.report_start(Some(self.now));
        }
    }

    /// A try failed.
    pub fn failed(&mut self, id: EndpointId, how: EndpointFailure) {
        self.roster_stale |= self.members.failed(id, how, self.now, &self.limits);
        self.attention |= self.roster_stale;
    }

    /// Whether there is nothing to send to now.
    pub fn is_cold(&self) -> bool {
        self.roster.is_empty()
    }

    /// A refusal with what is known of when to come again.
    pub fn refusal(&self, failure: Failure) -> Refusal {
        let after = if self.is_cold() { self.retry_after() } else { self.limits.retry_least };
        Refusal::new(failure, Some(after))
    }

    /// When a caller should come again while there is nothing to send to.
    fn retry_after(&self) -> Duration {
        let Some(waits) = &self.waits else { return Starts::default().retry_after(Duration::ZERO, &self.limits) };
        let elapsed = waits.start.map_or(Duration::ZERO, |start| self.now.saturating_duration_since(start.since));
        waits.starts.retry_after(elapsed, &self.limits)
    }

    /// When to settle next without being asked.
    pub fn next_event(&self) -> Option<Instant> {
        let ramp = self.waits.as_ref().and_then(|waits| Some(waits.ramp?.ends_at(&self.limits)));
        let report = self.waits.as_ref().and_then(|waits| Some(waits.report.as_ref()?.ready + FIRST_BYTE_AWAITED));
        [ramp, report, self.members.next_lapse()].into_iter().flatten().min()
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.queued() == 0 && self.members.in_flight() == 0
    }

    /// What is demanded; `None` if it belongs to no scale target.
    pub fn demand(&self) -> Option<super::Demand> {
        Some(super::Demand {
            target: self.target()?,
            in_flight: self.members.in_flight().into(),
            queued: self.queued() as u64,
            leased: self.waits.as_ref().is_some_and(|waits| waits.lease.holds(self.now, &self.limits)),
            serving: self.roster.len() as u64,
        })
    }

    /// How many wait.
    pub fn queued(&self) -> usize {
        self.waits.as_ref().map_or(0, |waits| waits.line.len())
    }

    fn waits(&mut self) -> &mut Waits {
        self.waits.get_or_insert_default()
    }

    fn target(&self) -> Option<Arc<str>> {
        self.config.scales.as_deref().map(Arc::from)
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
            config::Activation::Ready if self.is_cold() && self.config.scales.is_none() => {
                Some(self.refusal(Failure::NoEndpoints))
            }
            _ => None,
        }
    }

    fn refuse_all(&mut self, refusal: Refusal) {
        let Some(waits) = self.waits.as_deref_mut().filter(|waits| !waits.line.is_empty()) else { return };
        let refusal = Arc::new(refusal);
        while let Some(key) = waits.line.front() {
            waits.line.leave(key);
            waits.answer(key, Fate::Refused(Arc::clone(&refusal)));
        }
    }

    fn timeout(&self) -> Failure {
        if self.is_cold() { Failure::ActivationTimeout } else { Failure::QueueTimeout }
    }

    /// The next waiter and its endpoint. The head has the first choice; one that waits for another endpoint than the free one does not
    /// keep the free one from those behind.
    fn next_pair(&mut self) -> Option<(Key, Arc<Row>)> {
        let mut next = self.waits.as_ref()?.line.front();
        for _ in 0..LOOKED_AT_BEHIND_HEAD {
            let key = next?;
            let leaning = self.waits.as_ref()?.line.get(key).leaning.clone();
            match self.free_row(&leaning) {
                Some(row) => return Some((key, row)),
                None if leaning.is_none() => return None,
                None => next = self.waits.as_ref()?.line.behind(key),
            }
        }
        None
    }

    /// An endpoint that bears one more: the one that the request is bound to, if that is in service; another than those that it avoids,
    /// unless it avoids all in service.
    fn free_row(&mut self, leaning: &Leaning) -> Option<Arc<Row>> {
        if let Some(ramp) = self.waits.as_ref().and_then(|waits| waits.ramp)
            && !ramp.has_room(self.roster.rows().iter().map(|row| row.in_flight()).sum())
        {
            return None;
        }
        let (rows, concurrency) = (self.roster.rows(), self.config.concurrency);
        let has_room = |at: usize| concurrency == 0 || rows[at].in_flight() < concurrency;
        if let Some(at) = leaning.bound_among(rows) {
            return has_room(at).then(|| Arc::clone(&rows[at]));
        }
        let avoids_all = rows.iter().all(|row| leaning.avoids(row.endpoint.id));
        let may = |at: usize| has_room(at) && (avoids_all || !leaning.avoids(rows[at].endpoint.id));
        let chosen = balance::choose(rows.len(), self.dice.u64(..), |at| rows[at].in_flight(), may)?;
        Some(Arc::clone(&rows[chosen]))
    }

    fn note_ready(&mut self) {
        let Some(start) = self.waits.as_mut().and_then(|waits| waits.start.take()) else { return };
        self.report_start(None);
        self.attention = true;
        let (now, unbounded) = (self.now, self.config.concurrency == 0);
        let waits = self.waits.get_or_insert_default();
        waits.starts.observe(now.saturating_duration_since(start.since));
        waits.lease.ready(now, &self.limits);
        waits.report = Some(Report { since: start.since, ready: now, dispatched: None, held: waits.line.len() });
        waits.ramp = unbounded.then(|| Ramp::new(now));
    }

    fn note_dispatched(&mut self) {
        if let Some(report) = self.waits.as_mut().and_then(|waits| waits.report.as_mut()) {
            report.dispatched.get_or_insert(self.now);
        }
    }

    fn report_start(&mut self, first_byte: Option<Instant>) {
        let target = self.target();
        let Some(waits) = &mut self.waits else { return };
        let Some(report) = waits.report.take() else { return };
        let after = |at: Instant| at.saturating_duration_since(report.since);
        waits.cold_start = Some(Box::new(ColdStart {
            backend: self.config.name.clone(),
            target,
            ready: after(report.ready),
            dispatched: report.dispatched.map(after),
            first_byte: first_byte.map(after),
            held: report.held,
        }));
    }
}

impl Waits {
    fn answer(&mut self, key: Key, fate: Fate) {
        if let Fate::Waits { waker, .. } = std::mem::replace(&mut self.line.get_mut(key).fate, fate) {
            self.wakes.extend(waker);
        }
    }
}
