//! All backends of a gateway by name and uid. They outlive routes; never forgets one with a request in flight or in line.

use super::{Backend, Board, Budget, Limits};
use crate::memory::Memory;
use headgate_config::{self as config, BackendName, ByName, Probe, Text};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Instant,
};
use tokio::sync::Notify;

/// What all backends share.
#[derive(Debug)]
pub(super) struct Shared {
    pub cores: usize,
    pub limits: Arc<Limits>,
    pub budget: Budget,
    pub memory: Arc<Memory>,
    pub board: Board,
    pub attention: Attention,
}

/// Backends that have something to probe or something due soon.
#[derive(Debug, Default)]
pub(super) struct Attention {
    backends: Mutex<Vec<Weak<Backend>>>,
    bell: Notify,
}

impl Attention {
    pub fn ask(&self, backend: Weak<Backend>) {
        self.backends.lock().expect("nothing panics while it holds this lock").push(backend);
        self.ring();
    }

    /// Has the keeper look at the backends that it has; heard even if it is not listening now.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    pub fn take(&self) -> Vec<Arc<Backend>> {
        let mut backends = self.backends.lock().expect("nothing panics while it holds this lock");
        backends.drain(..).filter_map(|backend| backend.upgrade()).collect()
    }

    pub async fn asked(&self) {
        self.bell.notified().await;
    }
}

/// All backends. A handle: clones are the same registry.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    known: Mutex<Known>,
    host_named: Notify,
}

#[derive(Debug)]
struct Known {
    backends: HashMap<ByName<config::Backend>, Arc<Backend>>,
    /// Named by no route any more; kept until idle.
    retired: HashSet<BackendName>,
    /// Endpoints that came before their backend, or before it is none of the `hosts` any more.
    early: HashMap<BackendName, config::Endpoints>,
    /// Those that are hosts: nobody but who asks for their names tells of their endpoints.
    hosts: HashMap<BackendName, Text>,
    seeds: fastrand::Rng,
}

impl Known {
    /// Notes which host a backend is, if it is one; whether that is news.
    fn note_host(&mut self, config: &config::Backend) -> bool {
        match config.hostname.as_deref() {
            Some(host) if self.hosts.get(&config.name) == Some(host) => false,
            Some(host) => {
                self.hosts.insert(config.name.clone(), host.clone());
                true
            }
            None if self.hosts.is_empty() => false,
            None => self.hosts.remove(&config.name).is_some(),
        }
    }

    fn keep_early(&mut self, endpoints: &config::Endpoints) {
        let name = &endpoints.backend;
        if is_as_new(endpoints) {
            self.early.remove(name);
        } else if self.early.len() < EARLY_KEPT || self.early.contains_key(name) {
            self.early.insert(name.clone(), endpoints.clone());
        } else {
            tracing::warn!(backend = %name, "endpoints for a backend that no route names: dropped");
        }
    }
}

/// A host that nobody has asked for yet: its requests wait for the answer.
fn to_be_found(backend: &BackendName) -> config::Endpoints {
    config::Endpoints { activation: config::Activation::Waking, ..none(backend) }
}

/// No endpoints.
fn none(backend: &BackendName) -> config::Endpoints {
    config::Endpoints { backend: backend.clone(), list: Vec::new(), activation: config::Activation::default() }
}

/// Whether a new backend has the same by itself.
fn is_as_new(endpoints: &config::Endpoints) -> bool {
    endpoints.list.is_empty() && endpoints.activation == config::Activation::default()
}

/// Lists of endpoints kept for backends that no route names yet.
const EARLY_KEPT: usize = 10_000;

impl Registry {
    /// An empty one for so many cores.
    pub fn new(cores: usize, limits: Limits, seed: u64) -> Self {
        let shared = Shared {
            cores,
            budget: Budget::new(limits.queue_count_total.into(), limits.queue_bytes_total),
            limits: Arc::new(limits),
            memory: Arc::default(),
            board: Board::default(),
            attention: Attention::default(),
        };
        let known = Known {
            backends: HashMap::new(),
            retired: HashSet::new(),
            early: HashMap::new(),
            hosts: HashMap::new(),
            seeds: fastrand::Rng::with_seed(seed),
        };
        Self(Arc::new(Inner { shared: Arc::new(shared), known: Mutex::new(known), host_named: Notify::new() }))
    }

    /// The backend of this name and uid with this configuration: the known one, told of it, or a new one.
    pub fn get_or_insert(&self, config: &Arc<config::Backend>, now: Instant) -> Arc<Backend> {
        let mut known = self.known();
        known.retired.remove(&config.name);
        let is_elsewhere = known.note_host(config);
        if config.hostname.is_some() && is_elsewhere {
            self.0.host_named.notify_one();
        }
        let early = if config.hostname.is_none() { known.early.remove(&config.name) } else { None };
        if let Some(backend) = known.backends.get(&config.name).cloned() {
            drop(known);
            backend.set_config(config, now);
            if is_elsewhere {
                let other = if config.hostname.is_some() { to_be_found(&config.name) } else { none(&config.name) };
                backend.set_endpoints(&early.unwrap_or(other), now);
            }
            return backend;
        }
        let seed = known.seeds.u64(..);
        let backend = Backend::new(config, Arc::clone(&self.0.shared), seed, now);
        known.backends.insert(ByName::of(config), Arc::clone(&backend));
        drop(known);
        self.0.shared.board.add(Arc::downgrade(&backend));
        if let Some(endpoints) = early.or_else(|| config.hostname.as_ref().map(|_| to_be_found(&config.name))) {
            backend.set_endpoints(&endpoints, now);
        }
        backend
    }

    /// The backend of this name and uid.
    pub fn get(&self, name: &BackendName) -> Option<Arc<Backend>> {
        self.known().backends.get(name).cloned()
    }

    /// All backends, in no order.
    pub fn all(&self) -> Vec<Arc<Backend>> {
        self.known().backends.values().cloned().collect()
    }

    /// Tells the backend of its endpoints; kept for it if it is not known yet, or may be forgotten before routes name it again, since
    /// the two lanes are not ordered.
    pub fn set_endpoints(&self, endpoints: &config::Endpoints, now: Instant) {
        let mut known = self.known();
        let backend = known.backends.get(&endpoints.backend).cloned();
        let is_host = known.hosts.contains_key(&endpoints.backend);
        if backend.is_none() || is_host || is_as_new(endpoints) || known.retired.contains(&endpoints.backend) {
            known.keep_early(endpoints);
        }
        drop(known);
        if let Some(backend) = backend.filter(|_| !is_host) {
            backend.set_endpoints(endpoints, now);
        }
    }

    /// The backends that are hosts, with their names.
    pub fn hosts(&self) -> Vec<(BackendName, Text)> {
        self.known().hosts.iter().map(|(backend, host)| (backend.clone(), host.clone())).collect()
    }

    /// Returns once there may be another host than before. For one reader.
    pub async fn host_named(&self) {
        self.0.host_named.notified().await;
    }

    /// The addresses of a host become the endpoints of a backend, if it still is that host.
    pub fn set_found(&self, name: &BackendName, host: &Text, found: &BTreeSet<SocketAddr>, now: Instant) {
        let known = self.known();
        let backend = known.backends.get(name).filter(|_| known.hosts.get(name) == Some(host)).cloned();
        drop(known);
        let Some(backend) = backend else { return };
        let report = backend.report();
        let listed = report.endpoints.iter().filter(|one| one.listed).map(|one| one.address);
        if listed.eq(found.iter().copied()) && report.activation == config::Activation::Ready {
            return;
        }
        let endpoint = |address: &SocketAddr| config::Endpoint { address: *address, ready: true, probe: Probe::Tcp };
        let list = found.iter().map(endpoint).collect();
        backend.set_endpoints(&config::Endpoints { list, ..none(name) }, now);
    }

    /// Forgets these backends, each once nothing waits for it and nothing is in flight. Whoever inserted one must name it here once its routes
    /// have gone: nobody else looks for it.
    pub fn retire(&self, names: impl IntoIterator<Item = BackendName>) {
        self.known().retired.extend(names);
        // The keeper forgets them.
        self.0.shared.attention.ring();
    }

    /// Forgets retired backends that have become idle; `true` if some are left.
    pub fn sweep(&self) -> bool {
        let mut guard = self.known();
        let known = &mut *guard;
        // Nobody else can begin to use one that is not in a Table: only this map and requests in flight hold it.
        let (idle, busy) = std::mem::take(&mut known.retired)
            .into_iter()
            .partition::<HashSet<_>, _>(|name| known.backends.get(name).is_none_or(|backend| backend.is_idle()));
        known.retired = busy;
        let dropped: Vec<_> = idle.iter().filter_map(|name| known.backends.remove(name)).collect();
        idle.iter().for_each(|name| drop(known.hosts.remove(name)));
        let left = !known.retired.is_empty();
        drop(guard);
        drop(dropped);
        left
    }

    /// Tells all who wait that new routes are live. After the swap.
    pub fn reroute(&self) {
        if self.0.shared.budget.nobody_waits() {
            return;
        }
        self.all().into_iter().for_each(|backend| backend.reroute());
    }

    /// Demand and cold starts.
    pub fn board(&self) -> &Board {
        &self.0.shared.board
    }

    /// What waits in the whole gateway.
    pub fn budget(&self) -> &Budget {
        &self.0.shared.budget
    }

    /// How short memory is: whoever measures it says so here.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.0.shared.memory
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().expect("nothing panics while it holds this lock")
    }
}
