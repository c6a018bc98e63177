//! Takes versions of the routes: compiles them, swaps them in, opens and closes ports, and lets old ones go. Runs on the control thread, never on a core.

use crate::{
    backend::Backend,
    core::{Active, Post, Shared},
    filters,
    listen::{
        Inventory,
        tls::{TlsCache, TlsTable},
    },
};
use headgate_config::{Certificate, CertificateName, Change, Filter, ListenerName, Snapshot, Version};
use headgate_routing::Table;
use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

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
    inventory: Inventory,
    retired: Vec<Arc<Active>>,
    next_core: usize,
}

impl Subscriber {
    /// Serves nothing yet.
    pub fn new(shared: Arc<Shared>, binding: Binding) -> Self {
        Self {
            shared,
            binding,
            snapshot: Snapshot::default(),
            certificates: Arc::default(),
            version: Version::default(),
            published: Published::default(),
            tls: TlsCache::default(),
            inventory: Inventory::default(),
            retired: Vec::new(),
            next_core: 0,
        }
    }

    /// The version that serves.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The routes that serve.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What became of the version that serves, if nothing differs from it.
    pub fn unchanged(&self, change: &Change, certificates: &Arc<Certificates>) -> Option<Published> {
        let same = self.version > Version::default() && change.is_empty() && self.certificates == *certificates;
        same.then(|| self.published.clone())
    }

    /// Makes a vetted change live, at once and as a whole. `change.from` must be the version that serves.
    ///
    /// # Errors
    /// If it is not: the publisher must send the difference to [`Subscriber::version`].
    pub fn apply(&mut self, change: Change, certificates: &Arc<Certificates>) -> Result<Published, Version> {
        if change.from != self.version {
            return Err(self.version);
        }
        self.version = change.to;
        self.snapshot.apply(change);
        let now = Instant::now();
        let registry = &self.shared.registry;
        let previous = self.shared.active.load_full();
        let compiled = Table::<Arc<Backend>>::compile(&self.snapshot, self.version, Some(&previous.table), |backend| {
            registry.get_or_insert(backend, now)
        });
        let (tls, tls_problems) = TlsTable::compile(&self.snapshot, certificates, &mut self.tls);
        let mut problems: Vec<String> = compiled.problems.iter().map(ToString::to_string).collect();
        problems.extend(tls_problems.iter().map(|(listener, why)| listener_problem(listener, why)));
        let wanted: Vec<u16> = compiled.table.ports().map(|port| port.number).collect();

        self.shared.active.store(Arc::new(Active { version: self.version, table: compiled.table, tls }));
        self.retired.push(previous);
        (0..self.shared.cores()).for_each(|core| self.shared.post(core, Post::Refresh));
        registry.retain(|name| self.snapshot.backends.contains_key(name));
        registry.reroute();
        self.shared.set_ready(true);
        self.tell_telemetry();

        problems.extend(self.open_and_close(&wanted));
        let ports = wanted.iter().map(|port| (*port, self.inventory.addresses(*port).to_vec())).collect();
        self.certificates = certificates.clone();
        self.published = Published { version: self.version, problems, ports, reused: compiled.reused };
        Ok(self.published.clone())
    }

    fn tell_telemetry(&self) {
        let telemetry = &self.shared.telemetry;
        telemetry.reloaded(self.version, self.snapshot.rules.len());
        let rules: HashSet<String> = self.snapshot.rules.keys().map(ToString::to_string).collect();
        let backends: HashSet<String> = self.snapshot.backends.keys().map(ToString::to_string).collect();
        telemetry.retain(|rule| rules.contains(rule), |backend| backends.contains(backend));
    }

    /// Drops old versions that no core looks at any more. Call now and then; a large table takes tens of milliseconds.
    pub fn retire(&mut self) {
        self.retired.retain(|active| Arc::strong_count(active) > 1);
    }

    /// Ports are opened after the swap, so that the first connection finds its routes.
    fn open_and_close(&mut self, wanted: &[u16]) -> Vec<String> {
        let mut problems = Vec::new();
        for port in self.inventory.missing(wanted) {
            match self.open(port) {
                Ok(sockets) => {
                    for socket in sockets {
                        let core = self.next_core % self.shared.cores();
                        self.next_core += 1;
                        self.shared.post(core, Post::Listen(socket, port));
                    }
                }
                Err(error) => problems.push(port_problem(port, &error)),
            }
        }
        for port in self.inventory.take_surplus(wanted) {
            (0..self.shared.cores()).for_each(|core| self.shared.post(core, Post::Unlisten(port)));
        }
        problems
    }

    fn open(&mut self, port: u16) -> io::Result<Vec<std::net::TcpListener>> {
        let opened = self.inventory.open(&self.binding.addresses, port, port);
        match (opened, self.binding.unprivileged_offset) {
            (Err(error), Some(offset)) if error.kind() == io::ErrorKind::PermissionDenied && port < 1024 => {
                self.inventory.open(&self.binding.addresses, port, port + offset)
            }
            (opened, _) => opened,
        }
    }
}

/// Filters that cannot be applied become ones that answer 500, before anything is compiled from them.
pub fn vet(snapshot: &mut Snapshot) {
    let vet = |filters: &mut Vec<Filter>| {
        if !filters.is_empty() {
            *filters = filters::vet(std::mem::take(filters));
        }
    };
    for rule in snapshot.rules.values_mut() {
        vet(&mut rule.filters);
        if let headgate_config::Action::Forward(split) = &mut rule.action {
            split.arms.iter_mut().for_each(|arm| vet(&mut arm.filters));
        }
    }
}

fn listener_problem(listener: &ListenerName, why: &str) -> String {
    format!("listener {listener}: {why}")
}

fn port_problem(port: u16, error: &io::Error) -> String {
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
