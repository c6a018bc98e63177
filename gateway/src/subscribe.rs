//! Takes versions of the routes: compiles them, swaps them in, opens and closes ports, and lets old ones go. Runs on the control thread, never on a core.

use crate::{
    backend::Backend,
    backend_tls::Identities,
    core::{Active, Post, Shared},
    filters,
    listen::{
        Inherited, Inventory, Opened, Place,
        tls::{TlsCache, TlsTable},
    },
};
use headgate_config::{
    Action, BackendName, Certificate, CertificateName, Filter, ListenerName, Rule, Snapshot, Transport, Version,
};
use headgate_routing::{Port, Table};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Certificates with their keys, by name.
type Certificates = BTreeMap<CertificateName, Certificate>;

/// Where ports are really opened.
#[derive(Clone, Debug)]
pub struct Binding {
    /// On which addresses.
    pub addresses: Vec<IpAddr>,
    /// Added to a port below 1024 that this process may not open; `None` to report it instead.
    pub unprivileged_offset: Option<u16>,
}

/// What became of a version.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The version that serves now.
    pub version: Version,
    /// What is wrong in it, one sentence each; all else serves.
    pub problems: Vec<String>,
    /// Where each port of the API listens.
    pub ports: BTreeMap<u16, Vec<SocketAddr>>,
    /// The same for those of UDP.
    pub datagram_ports: BTreeMap<u16, Vec<SocketAddr>>,
    /// Rules taken over unchanged.
    pub reused: usize,
}

/// The receiving end of the routes.
pub struct Subscriber {
    shared: Arc<Shared>,
    binding: Binding,
    snapshot: Snapshot,
    certificates: Arc<Certificates>,
    version: Version,
    published: Published,
    tls: TlsCache,
    sealed: Sealed,
    /// Names of rules and backends that went since the series of all were looked at.
    gone: usize,
    inventory: Inventory,
    retired: Vec<Arc<Active>>,
    next_core: usize,
    /// Ports that were closed lately, and when: a core lets go of its socket a moment later.
    closed: BTreeMap<Place, Instant>,
    /// Ports that somebody else has, each with what was told of it.
    taken: BTreeMap<Place, String>,
    ports_are: Ports,
}

/// What certificates make of the listeners. Versions share it where neither differs.
#[derive(Default)]
struct Sealed {
    tls: Arc<TlsTable>,
    identities: Arc<Identities>,
    problems: Vec<String>,
}

impl Sealed {
    fn compile(snapshot: &Snapshot, certificates: &Certificates, cache: &mut TlsCache, before: &Identities) -> Self {
        let (tls, of_listeners) = TlsTable::compile(snapshot, certificates, cache);
        let (identities, of_identities) = Identities::compile(snapshot, certificates, before);
        let of_listeners = of_listeners.iter().map(|(listener, why)| listener_problem(listener, why));
        let problems = of_listeners.chain(of_identities).collect();
        Self { tls: Arc::new(tls), identities: Arc::new(identities), problems }
    }
}

/// Whether anything that has certificates is another one.
fn seals_differ(before: &Snapshot, now: &Snapshot) -> bool {
    let shows = |backend: &headgate_config::Backend| backend.certificate().is_some();
    let mut backends = before.backends.diff(&now.backends);
    before.listeners != now.listeners
        || backends.any(|item| match item {
            DiffItem::Add(_, one) | DiffItem::Remove(_, one) => shows(one),
            DiffItem::Update { old: (_, old), new: (_, new) } => shows(old) || shows(new),
        })
}

/// The keys that only the first map has.
fn removed<'m, K: Ord, V: PartialEq>(before: &'m OrdMap<K, V>, now: &'m OrdMap<K, V>) -> impl Iterator<Item = &'m K> {
    before.diff(now).filter_map(|item| match item {
        DiffItem::Remove(key, _) => Some(key),
        DiffItem::Add(..) | DiffItem::Update { .. } => None,
    })
}

/// Whether ports are opened and closed by what the routes say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// Not yet: more is to be known before anybody asks.
    Held,
    /// They are.
    Live,
    /// Another process has them now.
    Yielded,
}

/// How long a core may take to close a socket.
const CLOSING_MOST: Duration = Duration::from_millis(500);

impl Subscriber {
    /// Serves nothing yet.
    pub fn new(shared: Arc<Shared>, binding: Binding, inherited: Vec<Inherited>) -> Self {
        Self {
            shared,
            binding,
            snapshot: Snapshot::default(),
            certificates: Arc::default(),
            version: Version::default(),
            published: Published::default(),
            tls: TlsCache::default(),
            sealed: Sealed::default(),
            gone: 0,
            inventory: Inventory::new(inherited),
            retired: Vec::new(),
            next_core: 0,
            closed: BTreeMap::new(),
            taken: BTreeMap::new(),
            ports_are: Ports::Live,
        }
    }

    /// Makes a Snapshot live, at once and as a whole. One that differs in nothing is no version: it costs no swap.
    pub fn publish(&mut self, mut snapshot: Snapshot, certificates: &Arc<Certificates>) -> Published {
        self.vet(&mut snapshot);
        if self.version > Version::default() && self.snapshot == snapshot && self.certificates == *certificates {
            return self.published.clone();
        }
        self.version = Version(self.version.0 + 1);
        let before = std::mem::replace(&mut self.snapshot, snapshot);
        if seals_differ(&before, &self.snapshot) || self.certificates != *certificates {
            self.sealed = Sealed::compile(&self.snapshot, certificates, &mut self.tls, &self.sealed.identities);
        }
        let published = self.swap(certificates);
        self.forget_what_is_gone(&before);
        published
    }

    /// Filters that cannot be applied become ones that answer 500, before anything is compiled from them. What serves was vetted.
    fn vet(&self, snapshot: &mut Snapshot) {
        let serving = &self.snapshot.rules;
        let vetted: Vec<Arc<Rule>> = serving
            .diff(&snapshot.rules)
            .filter_map(|item| match item {
                DiffItem::Add(_, rule) | DiffItem::Update { new: (_, rule), .. } => vetted(rule),
                DiffItem::Remove(..) => None,
            })
            .collect();
        for rule in vetted {
            let known = serving.get(&rule.name).filter(|known| **known == rule).cloned();
            snapshot.insert_rule(known.unwrap_or(rule));
        }
    }

    fn swap(&mut self, certificates: &Arc<Certificates>) -> Published {
        let now = Instant::now();
        let registry = &self.shared.registry;
        let previous = self.shared.active.load_full();
        let compiled = Table::<Arc<Backend>>::compile(&self.snapshot, self.version, Some(&previous.table), |backend| {
            registry.get_or_insert(backend, now)
        });
        let Sealed { tls, identities, problems: of_keys } = &self.sealed;
        let (tls, identities) = (Arc::clone(tls), Arc::clone(identities));
        let problems = compiled.problems.iter().map(ToString::to_string).chain(of_keys.iter().cloned()).collect();
        let wanted: Vec<Place> = compiled.table.ports().map(place).collect();

        self.shared.active.store(Arc::new(Active { version: self.version, table: compiled.table, tls, identities }));
        self.retired.push(previous);
        self.shared.post_each(|| Post::Refresh);
        registry.reroute();
        self.shared.telemetry.reloaded(self.version, self.snapshot.rules.len());

        self.certificates = certificates.clone();
        self.published = Published { version: self.version, problems, reused: compiled.reused, ..Published::default() };
        self.listen_as(&wanted)
    }

    /// Opens no port until [`Subscriber::open_ports`].
    pub fn hold_ports(&mut self) {
        self.ports_are = Ports::Held;
    }

    /// Opens the ports of the routes that are live.
    pub fn open_ports(&mut self) -> Published {
        if self.ports_are == Ports::Held {
            self.ports_are = Ports::Live;
            let wanted: Vec<Place> = self.shared.active.load().table.ports().map(place).collect();
            self.listen_as(&wanted);
        }
        self.published.clone()
    }

    fn listen_as(&mut self, wanted: &[Place]) -> Published {
        let problems = self.open_and_close(wanted);
        self.published.problems.extend(problems);
        if self.ports_are != Ports::Held {
            self.inventory.settle().into_iter().for_each(tell_unused);
            self.shared.have_routes();
        }
        let at = |transport| {
            let ports = wanted.iter().filter(move |(carried, _)| *carried == transport);
            ports.map(|place| (place.1, self.inventory.addresses(*place).to_vec())).collect()
        };
        (self.published.ports, self.published.datagram_ports) = (at(Transport::Tcp), at(Transport::Udp));
        self.published.clone()
    }

    /// Backends and series of which the names are gone. A request that is under way may bring a series back, so that all are looked at
    /// once as many names went as are a part of them.
    fn forget_what_is_gone(&mut self, before: &Snapshot) {
        const PART: usize = 16;
        let Snapshot { rules, backends, .. } = &self.snapshot;
        let rules_gone: HashSet<String> = removed(&before.rules, rules).map(|name| name.to_string()).collect();
        let backends_gone: Vec<BackendName> =
            removed(&before.backends, backends).map(|name| BackendName::clone(name)).collect();
        self.gone += rules_gone.len() + backends_gone.len();
        if rules_gone.is_empty() && backends_gone.is_empty() {
            return;
        }
        let names_gone: HashSet<String> = backends_gone.iter().map(ToString::to_string).collect();
        self.shared.registry.retire(backends_gone);
        let telemetry = &self.shared.telemetry;
        if self.gone * PART < rules.len() + backends.len() {
            telemetry.retain(|rule| !rules_gone.contains(rule), |backend| !names_gone.contains(backend));
        } else {
            self.gone = 0;
            let rules: HashSet<String> = rules.keys().map(ToString::to_string).collect();
            let backends: HashSet<String> = backends.keys().map(ToString::to_string).collect();
            telemetry.retain(|rule| rules.contains(rule), |backend| backends.contains(backend));
        }
    }

    /// Drops old versions that no core looks at any more. Call now and then; a large table takes tens of milliseconds.
    pub fn retire(&mut self) {
        self.retired.retain(|active| Arc::strong_count(active) > 1);
    }

    /// Ports are opened after the swap, so that the first connection finds its routes.
    fn open_and_close(&mut self, wanted: &[Place]) -> Vec<String> {
        let mut problems = Vec::new();
        self.taken.clear();
        if self.ports_are != Ports::Live {
            return problems;
        }
        for place in self.inventory.missing(wanted) {
            match self.open_once_closed(place) {
                Ok(sockets) => self.listen(sockets, place.1),
                Err(error) => {
                    let problem = port_problem(place, &error);
                    if error.kind() == io::ErrorKind::AddrInUse {
                        self.taken.insert(place, problem.clone());
                    }
                    problems.push(problem);
                }
            }
        }
        self.closed.retain(|_, since| since.elapsed() < CLOSING_MOST);
        for place in self.inventory.take_surplus(wanted) {
            self.shared.post_each(|| Post::Unlisten(place.0, place.1));
            self.closed.insert(place, Instant::now());
        }
        problems
    }

    /// Gives all listening sockets once more.
    pub async fn lend(&self) -> Vec<Inherited> {
        let (lent, mut lending) = mpsc::unbounded_channel();
        self.shared.post_each(|| Post::Lend(lent.clone()));
        drop(lent);
        let held: HashSet<Place> = self.inventory.held().map(Inherited::place).collect();
        let mut sockets = Vec::new();
        while let Some(socket) = lending.recv().await {
            if !held.contains(&socket.place()) {
                sockets.push(socket);
            }
        }
        // those that are held are all of their port, also while no listener uses it
        let again = |one: &Inherited| Some(Inherited { socket: one.socket.try_clone().ok()?, ..*one });
        sockets.extend(self.inventory.held().filter_map(again));
        sockets
    }

    /// Another process has the ports: stops accepting, and opens none any more.
    pub fn yield_ports(&mut self, until: Instant) {
        self.ports_are = Ports::Yielded;
        self.taken.clear();
        self.shared.post_each(|| Post::Yield(until));
    }

    /// Opens ports that somebody else had when they were asked for. Call now and then: it costs a bind for each.
    pub fn open_taken(&mut self) {
        for (place, problem) in std::mem::take(&mut self.taken) {
            match self.open(place) {
                Ok(sockets) => {
                    let (transport, port) = place;
                    self.listen(sockets, port);
                    let published = match transport {
                        Transport::Tcp => &mut self.published.ports,
                        Transport::Udp => &mut self.published.datagram_ports,
                    };
                    published.insert(port, self.inventory.addresses(place).to_vec());
                    self.published.problems.retain(|known| *known != problem);
                    tracing::info!(port, "the port is free now and was opened");
                }
                Err(_) => drop(self.taken.insert(place, problem)),
            }
        }
    }

    /// Opens a port; where it was ours until now, waits until its core has closed it.
    fn open_once_closed(&mut self, place: Place) -> io::Result<Vec<Opened>> {
        const POLL: Duration = Duration::from_millis(1);
        let until = self.closed.remove(&place).map(|since| since + CLOSING_MOST);
        loop {
            match self.open(place) {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && until.is_some_and(|until| Instant::now() < until) =>
                {
                    std::thread::sleep(POLL);
                }
                opened => return opened,
            }
        }
    }

    fn listen(&mut self, sockets: Vec<Opened>, port: u16) {
        for socket in sockets {
            let core = self.next_core % self.shared.cores();
            self.next_core += 1;
            let post = match socket {
                Opened::Tcp(socket) => Post::Listen(socket, port),
                Opened::Udp(socket) => Post::Receive(socket, port),
            };
            self.shared.post(core, post);
        }
    }

    fn open(&mut self, place: Place) -> io::Result<Vec<Opened>> {
        let port = place.1;
        let opened = self.inventory.open(&self.binding.addresses, place, port);
        match (opened, self.binding.unprivileged_offset) {
            (Err(error), Some(offset)) if error.kind() == io::ErrorKind::PermissionDenied && port < 1024 => {
                self.inventory.open(&self.binding.addresses, place, port + offset)
            }
            (opened, _) => opened,
        }
    }
}

fn place(port: Port<'_>) -> Place {
    (port.protocol.transport(), port.number)
}

fn tell_unused((at, held): (SocketAddr, bool)) {
    if held {
        tracing::warn!(%at, "a socket was passed that no listener has the port of: it is kept for one that may come");
    } else {
        tracing::warn!(%at, "a socket was taken over that no listener has the port of: it is closed");
    }
}

/// The rule without the filters that cannot be applied, if it has any.
fn vetted(rule: &Rule) -> Option<Arc<Rule>> {
    let arms = |rule: &Rule| match &rule.action {
        Action::Forward(split) => split.arms.iter().any(|arm| !arm.filters.is_empty()),
        Action::Invalid(_) => false,
    };
    if rule.filters.is_empty() && !arms(rule) {
        return None;
    }
    let vet = |filters: &mut Vec<Filter>| *filters = filters::vet(std::mem::take(filters));
    let mut made = rule.clone();
    vet(&mut made.filters);
    if let Action::Forward(split) = &mut made.action
        && arms(rule)
    {
        split.arms.edit(|arms| arms.iter_mut().for_each(|arm| vet(&mut arm.filters)));
    }
    (made != *rule).then(|| Arc::new(made))
}

fn listener_problem(listener: &ListenerName, why: &str) -> String {
    format!("listener {listener}: {why}")
}

fn port_problem((transport, port): Place, error: &io::Error) -> String {
    let port = format!("{port}{}", if transport.is_tcp() { "" } else { "/udp" });
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} is in use by another process: stop it, or give the listener another port")
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} needs the right to open ports below 1024: use a higher one")
        }
        _ => format!("port {port} cannot be opened: {error}"),
    }
}
