//! A seeded simulation of a backend: arrivals, clients that leave, releases, failures, endpoints that come and go, closing, broken
//! starts, new routes, in virtual time and in any order. A seed that fails can be run alone: `SEED=42 cargo test --test simulation`.
//!
//! Invariants, looked at after each step:
//! 1. **No lost wake-up**: who waits and was not woken could not be served now.
//! 2. **No slot leak**: requests in flight are those that hold a slot or were given one; at the end there are none, and nothing is kept.
//! 3. **FIFO**: nobody who came later is given a slot while an earlier one, who has tried nothing yet, waits.
//! 4. **Never above capacity**, per endpoint.
//! 5. **Bounds hold**, per backend and in all.
//! 6. **Answered by the deadline**, each waiter, whatever happens.
//! 7. **One need, one start**: from the first wake until ready and 15 s on, demand never drops to 0, whoever leaves; unless broken.
//! 8. **Closing and removal are final**: nothing new is sent there.

use headgate_config::{self as config, Activation, BackendName};
use headgate_gateway::{
    backend::{
        Admission, Backend, CoreId, EndpointFailure, EndpointId, Refusal, Registry, Slot, Ticket, Waited, Waiting,
    },
    failure::Failure,
    limits::Limits,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

const SEEDS: u64 = 1_000;
const STEPS: usize = 250;
const QUEUE_COUNT: u32 = 12;
const TOTAL_COUNT: u32 = 20;
const RAMP: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// One who waits.
struct Client {
    number: u64,
    waiting: Waiting,
    woken: Arc<Flag>,
    has_tried: bool,
}

struct World {
    dice: fastrand::Rng,
    now: Instant,
    registry: Registry,
    backend: Arc<Backend>,
    concurrency: u32,
    activation: Activation,
    list: Vec<config::Endpoint>,
    clients: Vec<Client>,
    running: Vec<Slot>,
    numbers: u64,
    /// When an endpoint got into service after none was.
    warm_since: Option<Instant>,
    /// Demand must hold until: `Some(None)` while not ready.
    owed: Option<Option<Instant>>,
    unlisted: HashMap<EndpointId, u32>,
    answered: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let now = Instant::now();
        let limits = Limits { queue_count: QUEUE_COUNT, queue_count_total: TOTAL_COUNT, ..Limits::default() };
        let registry = Registry::new(2, limits, seed);
        let concurrency = [0, 1, 2, 5][dice.usize(..4)];
        let backend = registry.get_or_insert(&spec(concurrency).into(), now);
        Self {
            dice,
            now,
            registry,
            backend,
            concurrency,
            activation: Activation::Ready,
            list: Vec::new(),
            clients: Vec::new(),
            running: Vec::new(),
            numbers: 0,
            warm_since: None,
            owed: None,
            unlisted: HashMap::new(),
            answered: 0,
        }
    }

    fn step(&mut self) {
        match self.dice.u8(..20) {
            0..6 => self.arrive(),
            6..8 => self.leave(),
            8..12 => self.finish(),
            12 => self.fail_and_try_again(),
            13 => self.change_list(),
            14 => self.change_activation(),
            15 => self.backend.reroute(),
            16 => self.wake(),
            17 => self.pass_time(),
            _ => self.look_at_the_woken(),
        }
        self.check();
    }

    fn arrive(&mut self) {
        let cap = self.dice.bool().then(|| self.now + Duration::from_millis(self.dice.u64(1..20_000)));
        let ticket = Ticket::new(CoreId(self.dice.usize(..2)), cap);
        self.numbers += 1;
        self.ask(self.numbers, ticket, false);
    }

    fn ask(&mut self, number: u64, mut ticket: Ticket, has_tried: bool) {
        let unserved = self.clients.iter().any(|client| !client.woken.0.load(Relaxed));
        match self.backend.try_admit(&ticket, self.dice.u64(..), self.now) {
            Admission::Slot(slot) => {
                assert!(has_tried || !unserved, "a newcomer passed one who waits");
                self.run(slot);
                return;
            }
            Admission::Refused(refusal) => return self.refused(&refusal),
            Admission::MustWait => {}
        }
        match self.backend.enqueue(&mut ticket, self.now) {
            Ok(waiting) => {
                let mut client = Client { number, waiting, woken: Arc::default(), has_tried };
                let answer = poll(&mut client, self.now);
                self.clients.push(client);
                if let Poll::Ready(answer) = answer {
                    self.answer(self.clients.len() - 1, answer);
                }
            }
            Err(refusal) => self.refused(&refusal),
        }
        self.owe();
    }

    fn refused(&mut self, refusal: &Refusal) {
        self.answered += 1;
        match refusal.failure {
            Failure::ActivationFailed => {
                assert_eq!(refusal.detail.as_deref(), Some("image not found"));
                assert!(matches!(self.activation, Activation::Broken { .. }));
            }
            Failure::QueueFull | Failure::GatewayFull => {
                assert!(refusal.retry_after.is_some_and(|after| after >= Duration::from_secs(1)));
            }
            other => panic!("unexpected refusal {other:?}"),
        }
    }

    /// A client leaves, woken or not: a slot that it had been given must not be lost.
    fn leave(&mut self) {
        if !self.clients.is_empty() {
            let at = self.dice.usize(..self.clients.len());
            self.clients.remove(at);
        }
    }

    fn finish(&mut self) {
        if !self.running.is_empty() {
            let slot = self.running.swap_remove(self.dice.usize(..self.running.len()));
            if self.dice.u8(..4) > 0 {
                slot.succeeded(self.now);
            }
        }
    }

    fn fail_and_try_again(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let slot = self.running.swap_remove(self.dice.usize(..self.running.len()));
        let how = if self.dice.bool() { EndpointFailure::Refused } else { EndpointFailure::Broken };
        let mut ticket = Ticket::new(CoreId(self.dice.usize(..2)), None);
        ticket.exclude(slot.endpoint().id);
        slot.failed(how, self.now);
        drop(slot);
        self.ask(0, ticket, true);
    }

    fn change_list(&mut self) {
        for _ in 0..self.dice.usize(1..4) {
            let port = self.dice.u16(1..5);
            let address = ([127, 0, 0, 1], port).into();
            match self.list.iter().position(|endpoint| endpoint.address == address) {
                Some(at) => drop(self.list.swap_remove(at)),
                None => self.list.push(config::Endpoint {
                    address,
                    ready: self.dice.u8(..4) > 0,
                    probe: Default::default(),
                }),
            }
        }
        self.publish();
    }

    fn change_activation(&mut self) {
        self.activation = match self.dice.u8(..6) {
            0 => Activation::Closing,
            1 => Activation::Broken { reason: "image not found".into() },
            2 => Activation::Waking,
            _ => Activation::Ready,
        };
        self.publish();
    }

    fn publish(&mut self) {
        let endpoints =
            config::Endpoints { backend: name(), list: self.list.clone(), activation: self.activation.clone() };
        self.registry.set_endpoints(&endpoints, self.now);
        if matches!(self.activation, Activation::Broken { .. }) {
            self.owed = None;
            assert!(
                self.clients.iter().all(|client| client.woken.0.load(Relaxed)),
                "all are told that the start failed"
            );
        }
    }

    fn pass_time(&mut self) {
        let most_ms = [10, 1_000, 30_000][self.dice.usize(..3)];
        self.now += Duration::from_millis(self.dice.u64(1..most_ms));
        self.backend.tick(self.now);
        for at in (0..self.clients.len()).rev() {
            if self.clients[at].waiting.deadline() <= self.now {
                match poll(&mut self.clients[at], self.now) {
                    Poll::Ready(answer) => self.answer(at, answer),
                    Poll::Pending => panic!("not answered at the deadline"),
                }
            }
        }
    }

    fn look_at_the_woken(&mut self) {
        for at in (0..self.clients.len()).rev() {
            // Some are slow to look.
            let looks = self.clients[at].woken.0.load(Relaxed) && self.dice.u8(..8) > 0;
            if looks && let Poll::Ready(answer) = poll(&mut self.clients[at], self.now) {
                self.answer(at, answer);
            }
        }
    }

    fn answer(&mut self, at: usize, answer: Waited) {
        match answer {
            Waited::Slot(slot) => {
                let client = self.clients.remove(at);
                let passed = self
                    .clients
                    .iter()
                    .find(|other| other.number < client.number && !other.has_tried && !other.woken.0.load(Relaxed));
                assert!(client.has_tried || passed.is_none(), "inversion");
                drop(client);
                self.run(slot);
            }
            Waited::Refused(refusal) => {
                let client = self.clients.remove(at);
                let timed_out = client.waiting.deadline() <= self.now;
                if matches!(refusal.failure, Failure::ActivationTimeout | Failure::QueueTimeout) {
                    assert!(timed_out);
                    self.answered += 1;
                } else {
                    assert_eq!(refusal.failure, Failure::ActivationFailed);
                    self.answered += 1;
                }
            }
            Waited::Reroute => match self.dice.u8(..4) {
                // The routes lead elsewhere now.
                0 => drop(self.clients.remove(at)),
                _ => {
                    if let Poll::Ready(answer) = poll(&mut self.clients[at], self.now) {
                        self.answer(at, answer);
                    }
                }
            },
        }
    }

    fn wake(&mut self) {
        self.backend.wake(self.now);
        self.owe();
    }

    fn run(&mut self, slot: Slot) {
        self.answered += 1;
        self.running.push(slot);
    }

    fn owe(&mut self) {
        let cold = self.backend.is_cold();
        if cold && !matches!(self.activation, Activation::Broken { .. }) {
            self.owed = Some(None);
        }
    }

    fn check(&mut self) {
        let report = self.backend.report();
        let sending = matches!(self.activation, Activation::Ready | Activation::Waking);
        let serving = report.endpoints.iter().any(|endpoint| endpoint.ready) && sending;
        assert_eq!(serving, !self.backend.is_cold());
        self.warm_since = if serving { self.warm_since.or(Some(self.now)) } else { None };
        self.check_wakes(&report, serving);
        self.check_demand(serving);

        let given = report.in_flight() as usize - self.running.len();
        let woken = self.clients.iter().filter(|client| client.woken.0.load(Relaxed)).count();
        assert!(given <= woken, "{given} slots given, {woken} woken: a slot leaked");
        assert!(report.queued <= QUEUE_COUNT as usize);
        assert_eq!(self.registry.budget().requests() as usize, self.clients.len());
        assert!(self.clients.len() <= TOTAL_COUNT as usize);
        let mut unlisted = HashMap::new();
        for endpoint in &report.endpoints {
            assert!(self.concurrency == 0 || endpoint.in_flight <= self.concurrency, "above capacity: {endpoint:?}");
            if !endpoint.listed || !sending {
                let before = self.unlisted.get(&endpoint.id).copied().unwrap_or(u32::MAX);
                assert!(endpoint.in_flight <= before, "something new was sent to one that closes: {endpoint:?}");
                unlisted.insert(endpoint.id, endpoint.in_flight);
            }
        }
        self.unlisted = unlisted;
    }

    fn check_wakes(&self, report: &headgate_gateway::backend::Report, serving: bool) {
        let waits = |client: &&Client| !client.woken.0.load(Relaxed) && !client.has_tried;
        if !serving || self.clients.iter().find(waits).is_none() {
            return;
        }
        let out = report.endpoints.iter().filter(|endpoint| endpoint.ready && endpoint.ejected).count();
        let panic = out * 2 > report.endpoints.iter().filter(|endpoint| endpoint.ready).count();
        let bears = |endpoint: &&headgate_gateway::backend::EndpointReport| {
            endpoint.ready && (panic || !endpoint.ejected) && endpoint.in_flight < self.concurrency
        };
        let heads_tried = self.clients.iter().any(|client| client.has_tried);
        if self.concurrency > 0 {
            assert!(heads_tried || report.endpoints.iter().find(bears).is_none(), "a lost wake-up: {report:?}");
        } else {
            assert!(self.warm_since.is_some_and(|since| self.now < since + RAMP), "held beyond the ramp: {report:?}");
        }
    }

    fn check_demand(&mut self, serving: bool) {
        if let (Some(None), true) = (self.owed, serving) {
            self.owed = Some(Some(self.now + LEASE));
        }
        let demand = self.registry.board().read(self.now).iter().map(|demand| demand.total()).sum::<u64>();
        match self.owed {
            Some(Some(until)) if self.now >= until => self.owed = None,
            Some(_) => assert!(demand > 0, "a start that was asked for was given up"),
            None => {}
        }
        assert!(demand >= self.running.len() as u64);
    }

    /// Everybody leaves or is done: nothing must be left.
    fn end(mut self) -> u64 {
        self.clients.clear();
        self.running.clear();
        let report = self.backend.report();
        assert_eq!((report.in_flight(), report.queued, self.registry.budget().requests()), (0, 0, 0), "{report:?}");
        self.registry.retire([name()]);
        assert!(!self.registry.sweep(), "an idle backend is forgotten");
        assert_eq!(Arc::strong_count(&self.backend), 1, "nothing holds a forgotten backend");
        self.answered
    }
}

fn poll(client: &mut Client, now: Instant) -> Poll<Waited> {
    client.woken.0.store(false, Relaxed);
    let waker = Waker::from(Arc::clone(&client.woken));
    client.waiting.poll_slot(&mut Context::from_waker(&waker), now)
}

fn name() -> BackendName {
    BackendName::tcp("default", "hello-v1", 80)
}

fn spec(concurrency: u32) -> config::Backend {
    config::Backend {
        name: name(),
        protocol: config::BackendProtocol::Http1,
        hostname: None,
        tls: None,
        proxy_protocol: None,
        concurrency,
        queue: config::QueueBounds::default(),
        scales: Some("default/hello-v1".into()),
        wait: config::Wait::default(),
        retries: None,
    }
}

#[test]
fn invariants_hold_for_every_seed() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("SEED is a number"),
        Err(_) => 0..SEEDS,
    };
    let mut answered = 0;
    for seed in seeds {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.end()
        });
        answered += run.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(answered > 0);
}
