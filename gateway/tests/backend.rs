//! A backend where threads meet and where sockets are: real threads on its gate and line, real listeners under its probes.

use headgate_config::{self as config, Activation, BackendName, Probe};
use headgate_gateway::{
    backend::{self, Admission, Backend, CoreId, EndpointId, Registry, Slot, Ticket, Waited},
    failure::Failure,
    limits::Limits,
    memory::Reading,
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

/// Longer than anything here takes; a test that needs it hangs.
const HANGS: Duration = Duration::from_secs(60);

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

fn endpoint(address: SocketAddr, ready: bool, probe: Probe) -> config::Endpoint {
    config::Endpoint { address, ready, probe }
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn publish(registry: &Registry, list: Vec<config::Endpoint>, activation: Activation) {
    registry.set_endpoints(&config::Endpoints { backend: name(), list, activation }, Instant::now());
}

fn ready(ports: impl IntoIterator<Item = u16>) -> Vec<config::Endpoint> {
    ports.into_iter().map(|port| endpoint(local(port), true, Probe::Tcp)).collect()
}

async fn admitted(backend: &Backend, core: usize, dice: u64) -> Slot {
    let mut ticket = Ticket::new(CoreId(core), None);
    match backend.try_admit(&ticket, dice, Instant::now()) {
        Admission::Slot(slot) => return slot,
        Admission::MustWait => {}
        Admission::Refused(refusal) => panic!("{refusal:?}"),
    }
    let mut waiting = backend.enqueue(&mut ticket, Instant::now()).expect("the bound is far");
    loop {
        match tokio::time::timeout(HANGS, waiting.answer()).await.expect("no lost wake-up") {
            Waited::Slot(slot) => return slot,
            Waited::Reroute => {}
            Waited::Refused(refusal) => panic!("{refusal:?}"),
        }
    }
}

#[test]
fn one_that_came_too_late_for_new_routes_can_be_told_alone() {
    let registry = Registry::new(1, Limits::default(), 1);
    let backend = registry.get_or_insert(&spec(1).into(), Instant::now());
    publish(&registry, Vec::new(), Activation::Ready);
    let enter = || backend.enqueue(&mut Ticket::new(CoreId(0), None), Instant::now()).unwrap();
    let (mut other, mut late) = (enter(), enter());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    late.reroute();
    assert!(matches!(late.poll_slot(&mut cx, Instant::now()), Poll::Ready(Waited::Reroute)));
    assert!(late.poll_slot(&mut cx, Instant::now()).is_pending(), "told once, and its place is kept");
    assert!(other.poll_slot(&mut cx, Instant::now()).is_pending(), "it was there, and was told by whoever published");
    // one that was given a slot in between has its answer
    publish(&registry, ready([1]), Activation::Ready);
    other.reroute();
    assert!(matches!(other.poll_slot(&mut cx, Instant::now()), Poll::Ready(Waited::Slot(_))));
}

fn bound(endpoint: EndpointId) -> Ticket {
    let mut ticket = Ticket::new(CoreId(0), None);
    ticket.bind(endpoint);
    ticket
}

fn port(slot: &Slot) -> u16 {
    slot.endpoint().address.port()
}

/// The endpoint at a port.
fn at(backend: &Backend, wanted: u16) -> EndpointId {
    backend
        .find(|addresses| addresses.map(|address| address.port()).position(|port| port == wanted))
        .expect("it is in service")
}

#[test]
fn who_is_bound_to_an_endpoint_gets_it_whatever_the_load_until_it_is_gone_or_fails() {
    let registry = Registry::new(1, Limits::default(), 1);
    let backend = registry.get_or_insert(&spec(0).into(), Instant::now());
    publish(&registry, ready([1, 2, 3]), Activation::Ready);
    let two = at(&backend, 2);
    let ask = |ticket: &Ticket, dice: u64| match backend.try_admit(ticket, dice, Instant::now()) {
        Admission::Slot(slot) => slot,
        other => panic!("{other:?}"),
    };
    let mut dice = fastrand::Rng::with_seed(1);
    let held: Vec<Slot> = (0..50).map(|_| ask(&bound(two), dice.u64(..))).collect();
    assert!(held.iter().all(|slot| port(slot) == 2));
    let mut tried = bound(two);
    tried.exclude(two);
    tried.bind(two);
    assert!((0..20).all(|_| port(&ask(&tried, dice.u64(..))) != 2), "tried in vain");
    publish(&registry, ready([1, 3]), Activation::Ready);
    assert!((0..20).all(|_| port(&ask(&bound(two), dice.u64(..))) != 2), "gone");
}

#[test]
fn who_is_bound_to_a_full_endpoint_waits_for_it_and_lets_others_pass_to_free_ones() {
    let registry = Registry::new(1, Limits::default(), 1);
    let backend = registry.get_or_insert(&spec(1).into(), Instant::now());
    publish(&registry, ready([1, 2]), Activation::Ready);
    let now = Instant::now();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let Admission::Slot(first) = backend.try_admit(&Ticket::new(CoreId(0), None), 0, now) else { panic!("free") };
    let full = first.endpoint().id;
    let mut bound = bound(full);
    assert!(matches!(backend.try_admit(&bound, 0, now), Admission::MustWait), "the other one is not for it");
    let mut waiting = backend.enqueue(&mut bound, now).expect("the bound is far");
    assert!(waiting.poll_slot(&mut cx, now).is_pending());
    let mut other = backend.enqueue(&mut Ticket::new(CoreId(0), None), now).expect("the bound is far");
    let Poll::Ready(Waited::Slot(second)) = other.poll_slot(&mut cx, now) else { panic!("it may have the free one") };
    assert_ne!(second.endpoint().id, full);
    drop(first);
    let Poll::Ready(Waited::Slot(kept)) = waiting.poll_slot(&mut cx, now) else { panic!("its endpoint is free") };
    assert_eq!(kept.endpoint().id, full);
    // one whose endpoint goes while it waits gets another
    let mut late = self::bound(full);
    let mut waiting = backend.enqueue(&mut late, now).expect("the bound is far");
    drop(second);
    assert!(waiting.poll_slot(&mut cx, now).is_pending());
    let left = if port(&kept) == 1 { 2 } else { 1 };
    publish(&registry, ready([left]), Activation::Ready);
    let Poll::Ready(Waited::Slot(moved)) = waiting.poll_slot(&mut cx, now) else { panic!("its endpoint is gone") };
    assert_eq!(port(&moved), left);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn threads_never_exceed_a_bound_and_lose_no_wake_up() {
    const CORES: usize = 4;
    let registry = Registry::new(CORES, Limits::default(), 1);
    let backend = registry.get_or_insert(&spec(3).into(), Instant::now());
    publish(&registry, ready([1, 2]), Activation::Ready);
    let at = [AtomicU32::new(0), AtomicU32::new(0)];
    thread::scope(|scope| {
        for core in 0..CORES {
            let (backend, at, registry) = (&backend, &at, &registry);
            scope.spawn(move || {
                let tasks = tokio::task::LocalSet::new();
                let client = |n: u64| {
                    let backend = Arc::clone(backend);
                    async move {
                        for turn in 0..300 {
                            let slot = admitted(&backend, core, n * 31 + turn).await;
                            let at = &at[usize::from(slot.endpoint().address.port() - 1)];
                            assert!(at.fetch_add(1, SeqCst) < 3, "above the bound");
                            tokio::task::yield_now().await;
                            at.fetch_sub(1, SeqCst);
                            drop(slot);
                            if turn % 50 == 0 {
                                registry.reroute();
                            }
                        }
                    }
                };
                let clients = futures_join((0..8).map(client).collect());
                tasks.block_on(&runtime(), clients);
            });
        }
    });
    assert_eq!((backend.report().in_flight(), backend.report().queued), (0, 0));
}

/// Joins futures of one type on one task each poll: enough for a test.
async fn futures_join<F: Future<Output = ()>>(futures: Vec<F>) {
    let mut futures: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    std::future::poll_fn(|cx| {
        for slot in &mut futures {
            if slot.as_mut().is_some_and(|future| future.as_mut().poll(cx).is_ready()) {
                *slot = None;
            }
        }
        if futures.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The application exits at SIGTERM: once "closing" was taken and nothing is in flight, nobody may be on the way to it.
#[test]
fn closing_is_a_boundary_for_requests_that_take_no_lock() {
    const CORES: usize = 3;
    let registry = Registry::new(CORES, Limits::default(), 1);
    let backend = registry.get_or_insert(&spec(0).into(), Instant::now());
    let (stopped, done, served) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    publish(&registry, ready([1, 2]), Activation::Ready);
    thread::scope(|scope| {
        for core in 0..CORES {
            let (backend, stopped, done, served) = (&backend, &stopped, &done, &served);
            scope.spawn(move || {
                let ticket = Ticket::new(CoreId(core), None);
                let mut dice = fastrand::Rng::with_seed(core as u64);
                while !done.load(SeqCst) {
                    match backend.try_admit(&ticket, dice.u64(..), Instant::now()) {
                        Admission::Slot(_slot) => {
                            assert!(!stopped.load(SeqCst), "sent to an application that was stopped");
                            served.fetch_add(1, SeqCst);
                        }
                        _ => thread::yield_now(),
                    }
                }
            });
        }
        for round in 0..200 {
            let served_before = served.load(SeqCst);
            // Either the whole backend closes, or its endpoints are taken out of the list.
            let list = if round % 2 == 0 { ready([1, 2]) } else { Vec::new() };
            publish(&registry, list, Activation::Closing);
            while backend.report().in_flight() > 0 {
                thread::yield_now();
            }
            stopped.store(true, SeqCst);
            thread::yield_now();
            stopped.store(false, SeqCst);
            publish(&registry, ready([1, 2]), Activation::Ready);
            while served.load(SeqCst) == served_before {
                thread::yield_now();
            }
        }
        done.store(true, SeqCst);
    });
    assert_eq!(backend.report().in_flight(), 0);
}

#[tokio::test]
async fn a_cold_start_from_demand_to_the_probes_connection() {
    let registry = Registry::new(1, Limits::default(), 1);
    let backend = registry.get_or_insert(&spec(1).into(), Instant::now());
    let keeper = tokio::spawn(backend::keep(registry.clone()));

    let mut ticket = Ticket::new(CoreId(0), None);
    assert!(matches!(backend.try_admit(&ticket, 0, Instant::now()), Admission::MustWait));
    let mut waiting = backend.enqueue(&mut ticket, Instant::now()).unwrap();
    tokio::time::timeout(HANGS, registry.board().changed()).await.expect("demand is signalled at once");
    let demand = registry.board().read(Instant::now());
    assert_eq!((demand[0].target.as_ref(), demand[0].queued, demand[0].total()), ("default/hello-v1", 1, 1));

    // The process starts: its address is known before it listens.
    let address = TcpListener::bind(local(0)).unwrap().local_addr().unwrap();
    publish(&registry, vec![endpoint(address, false, Probe::Tcp)], Activation::Waking);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(backend.is_cold(), "nobody listens yet");
    let listener = TcpListener::bind(address).unwrap();
    let slot = match tokio::time::timeout(HANGS, waiting.answer()).await.expect("found ready") {
        Waited::Slot(slot) => slot,
        other => panic!("{other:?}"),
    };
    slot.succeeded(Instant::now());

    let mut connection =
        slot.endpoint().take_probe_connection().expect("the probe's connection serves the first request");
    assert!(slot.endpoint().take_probe_connection().is_none(), "once");
    connection.set_nonblocking(false).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    connection.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    accepted.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");

    tokio::time::timeout(HANGS, registry.board().cold_started()).await.expect("reported");
    let starts = registry.board().take_cold_starts();
    let start = &starts[0];
    assert_eq!((starts.len(), start.held, &start.backend), (1, 1, &name()));
    assert!(start.dispatched >= Some(start.ready) && start.first_byte >= start.dispatched, "{start:?}");
    drop(slot);
    assert_eq!(registry.board().read(Instant::now())[0].total(), 1, "the lease outlives the request");
    keeper.abort();
}

/// The keeper has the backend and waits for the end of its ramp: an endpoint that is listed meanwhile is probed all the same.
#[tokio::test]
async fn an_endpoint_that_comes_while_the_keeper_waits_is_probed_at_once() {
    let late = HANGS * 10;
    let registry = Registry::new(1, Limits { ramp: late, probe_connection_kept: late, ..Limits::default() }, 1);
    let backend = registry.get_or_insert(&spec(0).into(), Instant::now());
    let keeper = tokio::spawn(backend::keep(registry.clone()));
    let listeners = [(); 2].map(|()| TcpListener::bind(local(0)).unwrap());
    let at = |number: usize| endpoint(listeners[number].local_addr().unwrap(), false, Probe::Tcp);
    let mut ticket = Ticket::new(CoreId(0), None);
    let mut waiting = backend.enqueue(&mut ticket, Instant::now()).unwrap();
    publish(&registry, vec![at(0)], Activation::Waking);
    let Waited::Slot(first) = tokio::time::timeout(HANGS, waiting.answer()).await.unwrap() else { panic!("a slot") };
    first.succeeded(Instant::now());
    // the keeper has settled down
    tokio::time::sleep(Duration::from_millis(50)).await;

    publish(&registry, vec![at(0), at(1)], Activation::Ready);
    let both = async {
        while !backend.report().endpoints.iter().all(|endpoint| endpoint.ready) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), both).await.expect("probed before the ramp ends");
    keeper.abort();
}

#[tokio::test]
async fn an_http_probe_wants_a_good_status() {
    let registry = Registry::new(1, Limits::default(), 1);
    let backend = registry.get_or_insert(&spec(1).into(), Instant::now());
    let keeper = tokio::spawn(backend::keep(registry.clone()));
    let listener = TcpListener::bind(local(0)).unwrap();
    let address = listener.local_addr().unwrap();
    let application = thread::spawn(move || {
        for answer in ["503 Service Unavailable", "404 Not Found", "204 No Content"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:"));
            write!(stream, "HTTP/1.1 {answer}\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    let probe = Probe::Http { path: "/healthz".into() };
    publish(&registry, vec![endpoint(address, false, probe)], Activation::Waking);
    let slot = tokio::time::timeout(HANGS, admitted(&backend, 0, 0)).await.unwrap();
    assert_eq!(slot.endpoint().address, address);
    assert!(slot.endpoint().take_probe_connection().is_none());
    application.join().expect("asked until it said yes, and not again");
    keeper.abort();
}

#[tokio::test]
async fn an_unused_probe_connection_is_not_kept() {
    let registry = Registry::new(1, Limits::default(), 1);
    let backend = registry.get_or_insert(&spec(1).into(), Instant::now());
    let keeper = tokio::spawn(backend::keep(registry.clone()));
    let listener = TcpListener::bind(local(0)).unwrap();
    publish(&registry, vec![endpoint(listener.local_addr().unwrap(), false, Probe::Tcp)], Activation::Ready);
    // Nobody waits, and an application with one thread would sit on the connection: it sees its end instead.
    let closed = tokio::task::spawn_blocking(move || listener.accept().unwrap().0.read(&mut [0]).unwrap());
    assert_eq!(tokio::time::timeout(HANGS, closed).await.unwrap().unwrap(), 0);
    let slot = tokio::time::timeout(HANGS, admitted(&backend, 0, 0)).await.unwrap();
    assert!(slot.endpoint().take_probe_connection().is_none());
    keeper.abort();
}

#[test]
fn refusals_say_why_and_when_to_come_again() {
    let now = Instant::now();
    let registry = Registry::new(1, Limits { queue_count: 2, ..Limits::default() }, 1);
    let backend = registry.get_or_insert(&spec(1).into(), now);
    let ticket = || Ticket::new(CoreId(0), None);
    let held: Vec<_> = (0..2).map(|_| backend.enqueue(&mut ticket(), now).unwrap()).collect();
    let full = backend.enqueue(&mut ticket(), now).unwrap_err();
    assert_eq!((full.failure, full.retry_after), (Failure::QueueFull, Some(Duration::from_secs(5))), "no history yet");

    publish(&registry, Vec::new(), Activation::Broken { reason: "exit status 1, 3 times".into() });
    let Admission::Refused(broken) = backend.try_admit(&ticket(), 0, now) else { panic!("fails at once") };
    assert_eq!((broken.failure, broken.detail.as_deref()), (Failure::ActivationFailed, Some("exit status 1, 3 times")));
    drop(held);

    // Mended: no restart of anything is needed.
    publish(&registry, ready([1]), Activation::Ready);
    assert!(matches!(backend.try_admit(&ticket(), 0, now), Admission::Slot(_)));

    let plain = registry.get_or_insert(
        &config::Backend { scales: None, name: BackendName { port: 81, ..name() }, ..spec(0) }.into(),
        now,
    );
    let Admission::Refused(none) = plain.try_admit(&ticket(), 0, now) else { panic!("nobody will come") };
    assert_eq!(none.failure, Failure::NoEndpoints);
}

#[test]
fn bytes_are_bounded_per_backend_and_given_back() {
    let now = Instant::now();
    let registry = Registry::new(1, Limits { queue_bytes: 100, ..Limits::default() }, 1);
    let backend = registry.get_or_insert(&spec(1).into(), now);
    let (mut one, mut other) = (backend.charge(), backend.charge());
    one.grow(60).unwrap();
    assert_eq!(other.grow(41).unwrap_err().failure, Failure::QueueFull);
    other.grow(40).unwrap();
    one.shrink(10);
    assert_eq!((backend.report().queued_bytes, registry.budget().bytes()), (90, 90));
    drop((one, other));
    assert_eq!((backend.report().queued_bytes, registry.budget().bytes()), (0, 0));
}

#[test]
fn who_keeps_nothing_more_is_not_refused_where_nothing_is_free() {
    let now = Instant::now();
    let registry = Registry::new(1, Limits { queue_bytes_total: 100, ..Limits::default() }, 1);
    let backend = registry.get_or_insert(&spec(1).into(), now);
    let neighbour = config::Backend { name: BackendName { port: 81, ..name() }, ..spec(1) };
    let neighbour = registry.get_or_insert(&neighbour.into(), now);
    let (mut charge, mut other) = (backend.charge(), neighbour.charge());
    charge.grow(80).unwrap();
    other.grow(10).unwrap();
    assert_eq!(charge.grow(1).unwrap_err().failure, Failure::GatewayFull);
    charge.grow(0).unwrap();
}

#[test]
fn while_memory_is_tight_nobody_waits_anew_and_nothing_grows_but_a_start_begins() {
    let now = Instant::now();
    let registry = Registry::new(1, Limits::default(), 1);
    let backend = registry.get_or_insert(&spec(1).into(), now);
    let ticket = || Ticket::new(CoreId(0), None);
    let (mut large, mut small) = (backend.charge(), backend.charge());
    large.grow(64 << 10).unwrap();
    small.grow(100).unwrap();
    let look = |percent| registry.memory().look(Reading { bytes: percent, budget: 100, load: 0 });

    look(90);
    let refused = backend.enqueue(&mut ticket(), now).unwrap_err();
    assert_eq!((refused.failure, refused.retry_after), (Failure::MemoryShed, Some(Duration::from_secs(5))));
    assert!(registry.board().read(now).iter().any(|demand| demand.leased), "it is needed all the same");
    assert_eq!(small.grow(1).unwrap_err().failure, Failure::MemoryShed);
    assert_eq!((small.bytes(), registry.budget().bytes()), (100, (64 << 10) + 100), "nothing was counted");
    small.grow(0).unwrap();
    assert!(large.may_stay().is_ok() && small.may_stay().is_ok());
    for _ in 0..8 {
        look(91);
    }
    assert_eq!(large.may_stay().unwrap_err().failure, Failure::MemoryShed);
    small.may_stay().unwrap();

    // who need not wait is admitted
    publish(&registry, ready([1]), Activation::Ready);
    assert!(matches!(backend.try_admit(&ticket(), 0, now), Admission::Slot(_)));
    publish(&registry, Vec::new(), Activation::Ready);

    look(84);
    large.may_stay().unwrap();
    small.grow(1).unwrap();
    backend.enqueue(&mut ticket(), now).unwrap();
}

#[test]
fn endpoints_that_come_before_their_backend_are_kept_for_it() {
    let registry = Registry::new(1, Limits::default(), 1);
    publish(&registry, ready([1]), Activation::Ready);
    let backend = registry.get_or_insert(&spec(0).into(), Instant::now());
    assert!(!backend.is_cold());
}

/// Its route goes and comes back: whether it was forgotten meanwhile or not, the endpoints that came before the route are its own.
#[test]
fn endpoints_that_come_for_a_retired_backend_outlive_it() {
    for (endpoints_first, forgotten) in [(true, true), (true, false), (false, true)] {
        let registry = Registry::new(1, Limits::default(), 1);
        registry.get_or_insert(&spec(0).into(), Instant::now());
        publish(&registry, ready([1]), Activation::Ready);
        registry.retire([name()]);
        publish(&registry, Vec::new(), Activation::Ready);
        if endpoints_first {
            publish(&registry, ready([2]), Activation::Ready);
        }
        if forgotten {
            assert!(!registry.sweep() && registry.get(&name()).is_none());
        }
        if !endpoints_first {
            publish(&registry, ready([2]), Activation::Ready);
        }
        let backend = registry.get_or_insert(&spec(0).into(), Instant::now());
        let ports: Vec<u16> =
            backend.report().endpoints.iter().filter(|one| one.listed).map(|one| one.address.port()).collect();
        assert_eq!((ports, backend.is_cold()), (vec![2], false), "{endpoints_first} {forgotten}");
    }
}

#[test]
fn a_retry_prefers_another_endpoint_and_keeps_its_place() {
    let now = Instant::now();
    let registry = Registry::new(1, Limits::default(), 1);
    for concurrency in [0, 5] {
        let spec =
            config::Backend { name: BackendName { port: 80 + concurrency as u16, ..name() }, ..spec(concurrency) };
        let backend = registry.get_or_insert(&spec.clone().into(), now);
        let list = config::Endpoints { backend: spec.name, list: ready([1, 2]), activation: Activation::Ready };
        backend.set_endpoints(&list, now);
        for dice in 0..100 {
            let mut ticket = Ticket::new(CoreId(0), None);
            let mut ports = Vec::new();
            for _ in 0..3 {
                let Admission::Slot(slot) = backend.try_admit(&ticket, dice << 30, now) else { panic!("open") };
                ports.push(slot.endpoint().address.port());
                ticket.exclude(slot.endpoint().id);
            }
            assert_ne!(ports[0], ports[1], "another one; when all were tried, any");
        }
    }
}
