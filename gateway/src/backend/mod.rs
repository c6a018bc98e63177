//! A Service port as the data plane knows it: who is admitted, who waits, where to, and what is demanded. Never connects for a request, never Kubernetes.
//!
//! The life of a request here: [`Backend::try_admit`] gives a [`Slot`], or says that the request must wait or is refused;
//! [`Backend::enqueue`] gives a place in line, [`Waiting`], which becomes a slot, a refusal, or `Reroute`.
//!
//! **What a warm request costs** (no concurrency bound, an endpoint in service, nobody in line): no lock and no write to a cache line
//! that another core writes. It reads the gate and the roster, which change when endpoints do; it writes the reference count and the
//! counter of its own core's seat, and its own thread's `arc_swap` slot. Of the three shared atomics that a request may spend it spends none.
//! A backend with a concurrency bound is exact per gateway: one lock to enter, one to leave.
//!
//! Memory: a seat (128 bytes) per endpoint and core that asked it; an idle backend less than 0.3 KiB, and as much for its one endpoint; a backend that somebody waited for 0.2 KiB more; a waiting request about 100 bytes (its entry in line
//! and its [`Waiting`]), besides its own task.

mod activation;
mod balance;
mod budget;
mod demand;
mod endpoint;
mod gate;
mod health;
mod members;
mod probe;
mod queue;
mod refusal;
mod registry;
mod retries;
mod slot;
mod state;
mod ticket;
mod waiting;

pub use activation::ColdStart;
pub use budget::{Budget, Charge};
pub use demand::{Board, Demand};
pub use endpoint::{CoreId, Endpoint, EndpointId};
pub use members::EndpointReport;
pub use probe::keep;
pub use queue::Arrival;
pub use refusal::Refusal;
pub use registry::Registry;
pub use slot::{EndpointFailure, Slot};
pub use ticket::Ticket;
pub use waiting::{Waited, Waiting};

use crate::{failure::Failure, limits::Limits};
use arc_swap::ArcSwap;
use endpoint::{Roster, Seat};
use gate::{Gate, Reading};
use headgate_config as config;
use queue::Key;
use registry::Shared;
use state::{Admitted, Effects, Progress, State};
use std::{
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::Waker,
    time::Instant,
};

/// What became of a request that asked for admission.
#[derive(Debug)]
pub enum Admission {
    /// Admitted.
    Slot(Slot),
    /// The backend is cold or full, or others wait: [`Backend::enqueue`].
    MustWait,
    /// Not admitted, and waiting is in vain.
    Refused(Refusal),
}

/// A backend: shared by all cores, outlives routes. Made by [`Registry::get_or_insert`].
#[derive(Debug)]
pub struct Backend {
    config: ArcSwap<config::Backend>,
    gate: Arc<Gate>,
    roster: ArcSwap<Roster>,
    state: Mutex<State>,
    /// Bytes that its waiting requests keep.
    bytes: AtomicU64,
    bytes_bound: AtomicU64,
    /// Whether the keeper looks after it.
    kept: AtomicBool,
    shared: Arc<Shared>,
    me: Weak<Self>,
}

impl Backend {
    fn new(config: &Arc<config::Backend>, shared: Arc<Shared>, seed: u64, now: Instant) -> Arc<Self> {
        let gate = Arc::new(Gate::default());
        gate.set_counts_tries(config.retries.is_some());
        Arc::new_cyclic(|me| Self {
            config: ArcSwap::new(Arc::clone(config)),
            gate,
            roster: ArcSwap::default(),
            state: Mutex::new(State::new(config, Arc::clone(&shared.limits), seed, now)),
            bytes: AtomicU64::new(0),
            bytes_bound: AtomicU64::new(config.queue.bytes.unwrap_or(shared.limits.queue_bytes)),
            kept: AtomicBool::new(false),
            shared,
            me: Weak::clone(me),
        })
    }

    /// Its configuration now.
    pub fn config(&self) -> arc_swap::Guard<Arc<config::Backend>> {
        self.config.load()
    }

    /// Admits the request at once if an endpoint bears it and nobody waits. `dice`: 64 random bits. Runs on the ticket's core.
    pub fn try_admit(&self, ticket: &Ticket, dice: u64, now: Instant) -> Admission {
        if let Some(slot) = self.pass_open_gate(ticket, dice) {
            return Admission::Slot(slot);
        }
        match self.locked(Some(now), |state| state.admit(ticket)) {
            Admitted::Slot(row) => Admission::Slot(Slot::counted(row.seat(ticket.core, self))),
            Admitted::MustWait => Admission::MustWait,
            Admitted::Refused(refusal) => Admission::Refused(refusal),
        }
    }

    /// The hot path; `None` where the lock must decide.
    fn pass_open_gate(&self, ticket: &Ticket, dice: u64) -> Option<Slot> {
        let (reading, seat) = self.choose_seat(ticket, dice)?;
        self.take_seat(reading, seat)
    }

    /// A seat at an endpoint, if the gate is open, and what the gate said before.
    fn choose_seat(&self, ticket: &Ticket, dice: u64) -> Option<(Reading, Arc<Seat>)> {
        let reading = self.gate.read();
        if !reading.is_open() {
            return None;
        }
        let roster = self.roster.load();
        let rows = roster.rows();
        let load = |at: usize| rows[at].in_flight();
        let untried = |at: usize| !ticket.leaning.avoids(rows[at].endpoint.id);
        let chosen = ticket.leaning.bound_among(rows);
        let chosen = chosen
            .or_else(|| balance::choose(rows.len(), dice, load, untried))
            .or_else(|| balance::choose(rows.len(), dice, load, |_| true))?;
        Some((reading, Arc::clone(rows[chosen].seat(ticket.core, self))))
    }

    /// Counts the request, unless the gate was turned meanwhile: then the slot, dropped, takes the count back.
    fn take_seat(&self, reading: Reading, seat: Arc<Seat>) -> Option<Slot> {
        seat.enter();
        let slot = Slot::uncounted(seat);
        (self.gate.read() == reading).then_some(slot)
    }

    /// Puts the request in line, at its place by arrival. It waits until its own cap or the backend's wait limit, whichever is
    /// earlier. If the backend is cold, its demand is signalled at once.
    pub fn enqueue(&self, ticket: &mut Ticket, now: Instant) -> Result<Waiting, Refusal> {
        let Shared { budget, memory, .. } = &*self.shared;
        let afford = |own| match () {
            () if memory.is_tight() => Err(Failure::MemoryShed),
            () if budget.take_request(own) => Ok(()),
            () => Err(Failure::GatewayFull),
        };
        let (key, limit) = self.locked(Some(now), |state| {
            let key = state.enqueue(ticket, afford)?;
            Ok((key, state.wait_limit()))
        })?;
        let deadline = ticket.cap.map_or(now + limit, |cap| cap.min(now + limit));
        Ok(Waiting::new(self.arc(), ticket.core, deadline, key))
    }

    /// Counts a request that is tried for the first time, where a budget bounds the tries after it. Takes the lock only there.
    pub fn begin_tries(&self, now: Instant) {
        if self.gate.counts_tries() {
            self.lock().begin_tries(now);
        }
    }

    /// Whether the budget allows to try a request again; if so, that counts.
    pub fn spend_retry(&self, now: Instant) -> bool {
        !self.gate.counts_tries() || self.lock().spend_retry(now)
    }

    /// An empty account of what a waiting request keeps.
    pub fn charge(&self) -> Charge {
        Charge::new(self.arc())
    }

    /// Whether a request would have to wait for a start: for the cold arm of a split. Takes no lock.
    pub fn is_cold(&self) -> bool {
        self.roster.load().is_empty()
    }

    /// The endpoint in service that `choose` finds among the addresses, by its place. Takes no lock.
    pub fn find(
        &self,
        choose: impl FnOnce(&mut dyn Iterator<Item = SocketAddr>) -> Option<usize>,
    ) -> Option<EndpointId> {
        let roster = self.roster.load();
        let rows = roster.rows();
        let at = choose(&mut rows.iter().map(|row| row.endpoint.address))?;
        rows.get(at).map(|row| row.endpoint.id)
    }

    /// Begins a start without waiting: for a cold arm whose requests go elsewhere.
    pub fn wake(&self, now: Instant) {
        self.locked(Some(now), State::wake);
    }

    /// Takes a new list of endpoints and what the scaler says. Once it returns nothing new is sent to an endpoint that is not in it, and
    /// [`Backend::report`] counts all that was.
    pub fn set_endpoints(&self, endpoints: &config::Endpoints, now: Instant) {
        self.locked(Some(now), |state| state.set_endpoints(endpoints));
    }

    /// Takes a new configuration. A bound that it brings holds for what is admitted from now on.
    pub fn set_config(&self, config: &Arc<config::Backend>, now: Instant) {
        if *self.config.load() == *config {
            return;
        }
        self.config.store(Arc::clone(config));
        self.bytes_bound.store(config.queue.bytes.unwrap_or(self.shared.limits.queue_bytes), Relaxed);
        self.gate.set_counts_tries(config.retries.is_some());
        self.locked(Some(now), |state| state.set_config(config));
    }

    /// Tells all who wait here that new routes are live.
    pub fn reroute(&self) {
        // one look, where nobody waits: all backends are told of each version
        if self.lock().queued() > 0 {
            self.locked(None, State::reroute);
        }
    }

    fn reroute_one(&self, key: Key) {
        self.locked(None, |state| state.reroute_one(key));
    }

    /// What an operator and the metrics see.
    pub fn report(&self) -> Report {
        let state = self.lock();
        Report {
            queued: state.queued(),
            queued_bytes: self.bytes.load(Relaxed),
            activation: state.activation().clone(),
            endpoints: state.endpoints(),
        }
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// Lets time pass: ramp, ejections, probe connections. When to call again; `None` if nothing is due. The keeper calls it.
    pub fn tick(&self, now: Instant) -> Option<Instant> {
        self.locked(Some(now), |state| state.settle(None));
        self.lock().next_event()
    }

    fn look(&self, key: Key, waker: &Waker, timed_out: bool, now: Instant) -> Progress {
        self.locked(Some(now), |state| state.look(key, waker, timed_out))
    }

    fn abandon(&self, key: Key) {
        self.locked(None, |state| state.abandon(key));
    }

    fn release(&self, endpoint: &Endpoint) {
        self.locked(None, |_| endpoint.uncount());
    }

    fn settle(&self) {
        self.locked(None, |_| ());
    }

    fn answered(&self, id: EndpointId, erred: bool, counted: bool, now: Instant) {
        self.locked(Some(now), |state| state.answered(id, erred, counted));
    }

    fn failed(&self, id: EndpointId, how: EndpointFailure, now: Instant) {
        self.locked(Some(now), |state| state.failed(id, how));
    }

    fn probed(&self, id: EndpointId, ready: bool, connection: Option<TcpStream>, now: Instant) {
        self.locked(Some(now), |state| state.probed(id, ready, connection));
    }

    fn take_unprobed(&self) -> Vec<Arc<Endpoint>> {
        self.lock().members.take_unprobed()
    }

    fn demand(&self, now: Instant) -> Option<Demand> {
        self.config.load().scales.as_ref()?;
        self.locked(Some(now), |state| state.demand())
    }

    fn refusal(&self, failure: Failure) -> Refusal {
        self.lock().refusal(failure)
    }

    /// Does something under the lock, then hands out what is free, sets the gate, and wakes whoever is concerned once the lock is free.
    /// Every change goes through here, so no wake-up can be forgotten.
    fn locked<R>(&self, now: Option<Instant>, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        state.settle(now);
        let result = act(&mut state);
        state.settle(None);
        self.shut_gate(&state);
        state.members.forget_idle();
        state.hand_out();
        self.open_gate(&state);
        let effects = state.take_effects();
        drop(state);
        self.carry_out(effects);
        result
    }

    /// Before slots are handed out: from here on what the cores count is complete.
    fn shut_gate(&self, state: &State) {
        let open = self.gate.read().is_open();
        let changed = !Arc::ptr_eq(&self.roster.load(), &state.roster);
        if open && (changed || !state.is_open()) {
            self.gate.turn(false);
        }
        if changed {
            self.roster.store(Arc::clone(&state.roster));
        }
        self.gate.set_starting(state.is_starting());
    }

    /// After slots were handed out: nobody who waits is passed.
    fn open_gate(&self, state: &State) {
        if state.is_open() && !self.gate.read().is_open() {
            self.gate.turn(true);
        }
    }

    fn carry_out(&self, effects: Effects) {
        effects.wakes.into_iter().for_each(Waker::wake);
        if effects.demand {
            self.shared.board.signal();
        }
        if let Some(start) = effects.cold_start {
            self.shared.board.report(*start);
        }
        if effects.attention {
            if self.kept.swap(true, SeqCst) {
                // The keeper has it, and may have looked already or sleep until something is due: it looks again.
                self.shared.attention.ring();
            } else {
                self.shared.attention.ask(Weak::clone(&self.me));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    fn arc(&self) -> Arc<Self> {
        self.me.upgrade().expect("whoever calls holds it")
    }
}

/// Backends are compared as objects: a Table that leads to the same ones can keep its rules.
impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Backend {}

/// A backend as an operator and the metrics see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Requests that wait.
    pub queued: usize,
    /// Bytes that they keep.
    pub queued_bytes: u64,
    /// What the scaler says.
    pub activation: config::Activation,
    /// The endpoints, those included that are listed no more but have requests in flight.
    pub endpoints: Vec<EndpointReport>,
}

impl Report {
    /// Requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.endpoints.iter().map(|endpoint| u64::from(endpoint.in_flight)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> config::Backend {
        let name = config::BackendName::tcp("a", "b", 80);
        config::Backend {
            name,
            protocol: config::BackendProtocol::Http1,
            hostname: None,
            tls: None,
            proxy_protocol: None,
            concurrency: 0,
            queue: config::QueueBounds::default(),
            scales: Some("a/b".into()),
            wait: config::Wait::default(),
            retries: None,
        }
    }

    fn endpoints(ports: &[u16], activation: config::Activation) -> config::Endpoints {
        let endpoint = |port: &u16| config::Endpoint {
            address: ([127, 0, 0, 1], *port).into(),
            ready: true,
            probe: config::Probe::Tcp,
        };
        config::Endpoints { backend: spec().name, list: ports.iter().map(endpoint).collect(), activation }
    }

    /// A gateway holds one for each Service that its routes name: docs/decisions/memory.md.
    #[test]
    fn a_backend_that_nobody_waits_for_is_small() {
        assert!(size_of::<Backend>() <= 256, "{} bytes", size_of::<Backend>());
        let registry = Registry::new(1, Limits::default(), 1);
        let backend = registry.get_or_insert(&spec().into(), Instant::now());
        backend.set_endpoints(&endpoints(&[1], config::Activation::Ready), Instant::now());
        assert!(!format!("{:?}", backend.lock()).contains("Waits"), "nobody waited");
    }

    type Change<'c> = (&'c str, &'c dyn Fn(&Backend));

    /// A core stops between its look at the gate and its count, and everything changes.
    #[test]
    fn who_was_about_to_pass_a_gate_that_turned_does_not() {
        let now = Instant::now();
        let bounded = |backend: &Backend| backend.set_config(&config::Backend { concurrency: 1, ..spec() }.into(), now);
        let cases: [Change<'_>; 4] = [
            ("closing", &|backend| backend.set_endpoints(&endpoints(&[1], config::Activation::Closing), now)),
            ("removed", &|backend| backend.set_endpoints(&endpoints(&[2], config::Activation::Ready), now)),
            ("bounded", &bounded),
            ("there and back", &|backend| {
                backend.set_endpoints(&endpoints(&[], config::Activation::Ready), now);
                backend.set_endpoints(&endpoints(&[1], config::Activation::Ready), now);
            }),
        ];
        for (what, change) in cases {
            let registry = Registry::new(1, Limits::default(), 1);
            let backend = registry.get_or_insert(&spec().into(), now);
            backend.set_endpoints(&endpoints(&[1], config::Activation::Ready), now);
            let ticket = Ticket::new(CoreId(0), None);
            let (reading, seat) = backend.choose_seat(&ticket, 0).expect("open");
            change(&backend);
            assert!(backend.take_seat(reading, seat).is_none(), "{what}");
            assert_eq!(backend.report().in_flight(), 0, "{what}");

            // Who had passed before is counted until it is done, also where its endpoint is listed no more.
            let backend = registry.get_or_insert(
                &config::Backend { name: config::BackendName { port: 81, ..spec().name }, ..spec() }.into(),
                now,
            );
            backend.set_endpoints(&endpoints(&[1], config::Activation::Ready), now);
            let slot = backend.pass_open_gate(&ticket, 0).expect("open");
            change(&backend);
            assert_eq!(backend.report().in_flight(), 1, "{what}");
            drop(slot);
            assert!(backend.is_idle(), "{what}");
        }
    }
}
