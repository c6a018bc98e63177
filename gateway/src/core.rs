//! What one core owns, and the one module of what crosses threads. A core never blocks and never drops a Table.

use crate::{
    backend::{Backend, Registry},
    backend_tls::{EndpointTls, Identities},
    buffers::Buffers,
    carry,
    drain::Bell,
    forwarded::{Hop, TrustedHops},
    limits::Limits,
    listen::{self, Clients, Connection, Crowd, Inherited, Opened, Proxied, Workers, tls::TlsTable},
    memory::Memory,
    pool::{Pool, PoolKey},
    telemetry::{Shard, Telemetry},
};
use arc_swap::{ArcSwap, Cache};
use headgate_config::{BackendProtocol, BackendTls, CertificateName, Protocol, Transport, Version};
use headgate_http1::HeadLimits;
use headgate_routing::Table;
use rustls::sign::CertifiedKey;
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::{TcpStream, UdpSocket},
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender},
    },
    task::AbortHandle,
};

/// One version of the routes as requests see it.
pub struct Active {
    /// Its version.
    pub version: Version,
    /// The compiled routes.
    pub table: Table<Arc<Backend>>,
    /// The compiled TLS.
    pub tls: Arc<TlsTable>,
    /// What is shown to endpoints.
    pub identities: Arc<Identities>,
}

/// What all cores share.
pub struct Shared {
    /// The one swap through which requests see routes.
    pub active: Arc<ArcSwap<Active>>,
    /// Bounds and limits of time.
    pub limits: Limits,
    /// Whose forwarding headers are believed.
    pub trusted: TrustedHops,
    /// Ports behind a proxy that says who its clients are.
    pub proxied: Proxied,
    /// Backends, which outlive Tables.
    pub registry: Registry,
    /// How short memory is.
    pub memory: Arc<Memory>,
    /// Metrics, log, ring.
    pub telemetry: Telemetry,
    /// What the program around the gateway shows on the admin port, by path.
    pub pages: Mutex<BTreeMap<&'static str, String>>,
    has_routes: AtomicBool,
    lacks: AtomicBool,
    leaves: AtomicBool,
    drains: AtomicBool,
    posts: Vec<UnboundedSender<Post>>,
    /// Connections of each core, handed over or open.
    loads: Vec<AtomicUsize>,
    /// Connections of each client.
    pub clients: Arc<Clients>,
    /// Turns for TLS handshakes.
    pub handshakes: Semaphore,
    /// Clients of UDPRoutes.
    datagram_clients: AtomicUsize,
    /// Idle connections to endpoints of bounded concurrency: a connection idle on another core could hold the only worker.
    idle: Mutex<IdleSockets>,
}

type IdleSockets = HashMap<PoolKey, Vec<(std::net::TcpStream, Instant)>>;

/// What a core is told. Bounded by what causes it: connections by their limit, the others by operations.
pub enum Post {
    /// Serve a socket that another core accepted, from there on this port.
    Connection(std::net::TcpStream, SocketAddr, u16),
    /// Accept on this socket for this port.
    Listen(TcpListener, u16),
    /// Receive datagrams on this socket for this port.
    Receive(std::net::UdpSocket, u16),
    /// Stop accepting on this port.
    Unlisten(Transport, u16),
    /// Give the listening sockets once more.
    Lend(UnboundedSender<Inherited>),
    /// Another process listens on the same sockets: stop accepting; clients of datagrams may end until then.
    Yield(Instant),
    /// Show that the core goes on, by letting go of this.
    Echo(UnboundedSender<()>),
    /// Let go of the last version of the routes.
    Refresh,
    /// Memory is short, or no longer: keep buffers for reuse or not; who waits or rests looks again.
    Shed,
    /// Drain until then.
    Drain(Instant),
    /// End the thread.
    Stop,
}

impl Shared {
    /// The shared part and the receiving end of each core.
    pub fn new(
        active: Active,
        limits: Limits,
        trusted: TrustedHops,
        proxied: Proxied,
        registry: Registry,
        telemetry: Telemetry,
        cores: usize,
    ) -> (Arc<Self>, Vec<UnboundedReceiver<Post>>) {
        let (posts, inboxes) = (0..cores).map(|_| tokio::sync::mpsc::unbounded_channel()).unzip();
        let loads = (0..cores).map(|_| AtomicUsize::new(0)).collect();
        let active = Arc::new(ArcSwap::from_pointee(active));
        (
            Arc::new(Self {
                active,
                clients: Clients::new(limits.connections_per_client),
                handshakes: Semaphore::new(limits.handshakes),
                limits,
                trusted,
                proxied,
                memory: registry.memory().clone(),
                registry,
                telemetry,
                pages: Mutex::default(),
                has_routes: AtomicBool::new(false),
                lacks: AtomicBool::new(false),
                leaves: AtomicBool::new(false),
                drains: AtomicBool::new(false),
                posts,
                loads,
                datagram_clients: AtomicUsize::new(0),
                idle: Mutex::default(),
            }),
            inboxes,
        )
    }

    /// Tells a core something; a core that has ended is not told.
    pub fn post(&self, core: usize, post: Post) {
        let _ = self.posts[core].send(post);
    }

    /// Tells each core.
    pub fn post_each(&self, post: impl Fn() -> Post) {
        (0..self.cores()).for_each(|core| self.post(core, post()));
    }

    /// Whether it is about to drain, or drains.
    pub fn is_leaving(&self) -> bool {
        self.leaves.load(Relaxed)
    }

    /// Whether the gateway should get traffic: it has routes, lacks nothing of them, and does not drain.
    pub fn is_ready(&self) -> bool {
        self.has_routes.load(Relaxed) && !self.lacks.load(Relaxed) && !self.drains.load(Relaxed)
    }

    /// Whether part of its routes cannot be served yet.
    pub fn lack(&self, lacks: bool) {
        self.lacks.store(lacks, Relaxed);
    }

    /// It has routes, and its ports are open.
    pub fn have_routes(&self) {
        self.has_routes.store(true, Relaxed);
    }

    /// It is to get no traffic soon: kept connections end with their next answer.
    pub fn leave(&self) {
        self.leaves.store(true, Relaxed);
    }

    /// It takes no traffic any more.
    pub fn drain(&self) {
        self.leave();
        self.drains.store(true, Relaxed);
    }

    /// Number of cores.
    pub fn cores(&self) -> usize {
        self.posts.len()
    }

    /// Open connections of all cores.
    pub fn connections(&self) -> usize {
        self.loads.iter().map(|load| load.load(Relaxed)).sum()
    }

    /// Counts a connection in.
    ///
    /// # Errors
    /// If there is no room for it: the limit that it met.
    pub fn admit_connection(&self, core: usize) -> Result<(), Crowd> {
        if self.memory.is_critical() {
            return Err(Crowd::Memory);
        }
        if self.connections() >= self.limits.connections {
            return Err(Crowd::Connections);
        }
        self.loads[core].fetch_add(1, Relaxed);
        Ok(())
    }

    /// TLS handshakes under way.
    pub fn handshakes_open(&self) -> usize {
        self.limits.handshakes - self.handshakes.available_permits()
    }

    /// Counts a client of datagrams in as a connection, unless one of the limits is reached.
    pub fn admit_datagram_client(&self, core: usize) -> bool {
        let has_room = self.datagram_clients.load(Relaxed) < self.limits.datagram_clients;
        let room = has_room && self.admit_connection(core).is_ok();
        if room {
            self.datagram_clients.fetch_add(1, Relaxed);
        }
        room
    }

    /// Counts it out.
    pub fn release_datagram_client(&self, core: usize) {
        self.datagram_clients.fetch_sub(1, Relaxed);
        self.release_connection(core);
    }

    /// An idle connection to an endpoint of bounded concurrency, open and silent.
    pub fn take_idle(&self, key: PoolKey) -> Option<std::net::TcpStream> {
        let mut idle = self.idle.lock().expect("nothing panics while it holds this lock");
        let sockets = idle.get_mut(&key)?;
        while let Some((socket, _)) = sockets.pop() {
            if matches!(socket.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock) {
                return Some(socket);
            }
        }
        None
    }

    /// Keeps a connection to an endpoint of bounded concurrency for whichever core is next.
    pub fn give_idle(&self, key: PoolKey, socket: std::net::TcpStream) {
        const KEPT_MAX: usize = 256;
        let mut idle = self.idle.lock().expect("nothing panics while it holds this lock");
        let sockets = idle.entry(key).or_default();
        if sockets.len() < KEPT_MAX {
            sockets.push((socket, Instant::now()));
        }
    }

    /// Closes what was idle for longer than the limit.
    pub fn reap_idle(&self) {
        let limit = self.limits.upstream_keep_alive;
        let mut idle = self.idle.lock().expect("nothing panics while it holds this lock");
        idle.retain(|_, sockets| {
            sockets.retain(|(socket, since)| {
                let silent = matches!(socket.peek(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
                silent && since.elapsed() < limit
            });
            !sockets.is_empty()
        });
    }

    /// Counts a connection out.
    pub fn release_connection(&self, core: usize) {
        self.loads[core].fetch_sub(1, Relaxed);
    }
}

/// Compiled backend policies kept per core; the oldest goes.
const ENDPOINT_TLS_KEPT: usize = 256;

/// A policy, what is spoken and shown under it, and what it was compiled to.
struct KnownTls {
    policy: BackendTls,
    protocol: BackendProtocol,
    shown: Option<Arc<CertifiedKey>>,
    compiled: Result<Rc<EndpointTls>, String>,
}

/// A port that connections are accepted on.
struct Accepting {
    port: u16,
    listener: Rc<AsyncFd<TcpListener>>,
    task: AbortHandle,
}

/// What one core owns.
pub struct Core {
    /// From 0.
    pub id: usize,
    /// What all share.
    pub shared: Arc<Shared>,
    /// Idle connections to endpoints.
    pub pool: Pool,
    /// Read buffers.
    pub buffers: Rc<Buffers>,
    /// Rung when draining starts.
    pub bell: Rc<Bell>,
    /// This core's counters.
    pub shard: Shard,
    /// What serves the requests of HTTP/2.
    pub workers: Workers,
    /// Counted by its clones: one per copy that is being sent to a mirror.
    pub mirrors: Rc<()>,
    table: RefCell<Cache<Arc<ArcSwap<Active>>, Arc<Active>>>,
    dice: RefCell<fastrand::Rng>,
    endpoint_tls: RefCell<Vec<KnownTls>>,
    accepting: RefCell<Vec<Accepting>>,
    receiving: RefCell<Vec<Rc<carry::Port>>>,
}

impl Core {
    fn new(id: usize, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            id,
            pool: Pool::default(),
            buffers: Rc::default(),
            bell: Rc::default(),
            shard: shared.telemetry.shard(id),
            table: RefCell::new(Cache::new(shared.active.clone())),
            dice: RefCell::new(fastrand::Rng::new()),
            mirrors: Rc::new(()),
            workers: Workers::default(),
            accepting: RefCell::default(),
            receiving: RefCell::default(),
            endpoint_tls: RefCell::default(),
            shared,
        })
    }

    /// Lends the routes of now: once per attempt to route, never across an await.
    pub fn with_active<R>(&self, lend: impl FnOnce(&Active) -> R) -> R {
        let mut cache = self.table.borrow_mut();
        lend(cache.load())
    }

    /// Lets go of a retired version, so that the control thread can drop it.
    fn refresh(&self) {
        self.table.borrow_mut().load();
    }

    /// A random number.
    pub fn roll(&self) -> u64 {
        self.dice.borrow_mut().u64(..)
    }

    /// The hop that a request of a connection came over.
    pub fn hop<'h>(&'h self, connection: &Connection, dice: &'h dyn Fn() -> u64) -> Hop<'h> {
        Hop {
            peer: connection.client(),
            scheme: connection.scheme,
            port: connection.public_port,
            trusted: &self.shared.trusted,
            dice,
        }
    }

    /// What bounds an HTTP/1 head, of a request or an answer.
    pub fn head_limits(&self) -> HeadLimits {
        let limits = &self.shared.limits;
        HeadLimits { bytes: limits.head_bytes, fields: limits.head_fields, target_bytes: limits.target_bytes }
    }

    /// What is spoken on a port of TCP; HTTP on one whose listener is just gone, which answers that.
    pub fn protocol(&self, port: u16) -> Protocol {
        self.with_active(|active| active.table.protocol(port)).unwrap_or(Protocol::Http)
    }

    /// How to speak TLS to the endpoints of a backend, showing a certificate to those that ask; compiled once per policy,
    /// certificate and core.
    pub fn endpoint_tls(
        &self,
        tls: &BackendTls,
        protocol: BackendProtocol,
        identity: Option<&CertificateName>,
    ) -> Result<Rc<EndpointTls>, String> {
        let shown = match identity {
            Some(name) => Some(self.with_active(|active| active.identities.get(name))?),
            None => None,
        };
        let mut known = self.endpoint_tls.borrow_mut();
        let chain = shown.as_ref().map(|key| &key.cert);
        let is_it = |one: &&KnownTls| {
            one.policy == *tls && one.protocol == protocol && one.shown.as_ref().map(|key| &key.cert) == chain
        };
        if let Some(known) = known.iter().find(is_it) {
            return known.compiled.clone();
        }
        let compiled = EndpointTls::compile(tls, protocol, shown.as_deref()).map(Rc::new);
        if known.len() >= ENDPOINT_TLS_KEPT {
            drop(known.remove(0));
        }
        known.push(KnownTls { policy: tls.clone(), protocol, shown, compiled: compiled.clone() });
        compiled
    }

    /// Of this core and another, the one with fewer connections.
    pub fn less_loaded_of_two(&self) -> usize {
        let cores = self.shared.cores();
        if cores == 1 {
            return self.id;
        }
        let other = (self.id + 1 + self.roll() as usize % (cores - 1)) % cores;
        let load = |core: usize| self.shared.loads[core].load(Relaxed);
        if load(other) < load(self.id) { other } else { self.id }
    }

    /// Serves a socket on this core; the connection has been counted in.
    pub fn spawn_connection(self: &Rc<Self>, socket: std::net::TcpStream, from: SocketAddr, port: u16) {
        let Ok(socket) = TcpStream::from_std(socket) else { return self.shared.release_connection(self.id) };
        self.shard.connection_opened();
        tokio::task::spawn_local(listen::serve(Counted(self.clone()), socket, from, port));
    }

    fn listen(self: &Rc<Self>, listener: TcpListener, port: u16) {
        #[expect(
            deprecated,
            reason = "it is about sockets that are closed meanwhile, and this one is owned; what takes its place is unsafe"
        )]
        let registered = AsyncFd::with_interest(listener, Interest::READABLE);
        match registered {
            Ok(listener) => {
                let listener = Rc::new(listener);
                let accepting = listen::accept_loop(self.clone(), listener.clone(), port);
                let task = tokio::task::spawn_local(accepting).abort_handle();
                self.accepting.borrow_mut().push(Accepting { port, listener, task });
            }
            Err(error) => tracing::error!(%error, port, "cannot accept"),
        }
    }

    fn receive(self: &Rc<Self>, socket: std::net::UdpSocket, port: u16) {
        match UdpSocket::from_std(socket) {
            Ok(socket) => {
                let socket = carry::Port::new(socket, port);
                self.receiving.borrow_mut().push(socket.clone());
                tokio::task::spawn_local(carry::receive(self.clone(), socket));
            }
            Err(error) => tracing::error!(%error, port, "cannot receive"),
        }
    }

    /// Lets the clients of ports of datagrams end until then.
    fn close(&self, goes: impl Fn(u16) -> bool, until: Instant) {
        self.receiving.borrow_mut().retain(|port| {
            let goes = goes(port.number);
            if goes {
                port.bell.ring(until);
            }
            !goes
        });
    }

    fn unlisten(&self, goes: impl Fn(u16) -> bool) {
        self.accepting.borrow_mut().retain(|accepting| {
            let goes = goes(accepting.port);
            if goes {
                accepting.task.abort();
            }
            !goes
        });
    }

    /// What could not be given once more is told, and the other process opens it.
    fn lend(&self, to: &UnboundedSender<Inherited>) {
        let lend = |port, socket: std::io::Result<Opened>| match socket {
            Ok(socket) => drop(to.send(Inherited { port, socket, held: false })),
            Err(error) => tracing::warn!(%error, port, "a listening socket cannot be handed over"),
        };
        for accepting in self.accepting.borrow().iter() {
            lend(accepting.port, Opened::shared_tcp(accepting.listener.get_ref()));
        }
        for receiving in self.receiving.borrow().iter() {
            lend(receiving.number, Opened::shared_udp(&receiving.socket));
        }
    }

    fn yield_ports(&self, until: Instant) {
        self.unlisten(|_| true);
        self.receiving.borrow().iter().for_each(|port| port.yields.set(true));
        self.close(|_| true, until);
        self.bell.send_away();
    }
}

/// A connection that was counted in, on its core; counts it out when dropped.
pub struct Counted(Rc<Core>);

impl std::ops::Deref for Counted {
    type Target = Rc<Core>;

    fn deref(&self) -> &Rc<Core> {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.shard.connection_closed();
        self.0.shared.release_connection(self.0.id);
    }
}

/// A core's thread: does what it is told until `Stop`.
pub fn run(id: usize, shared: Arc<Shared>, mut inbox: UnboundedReceiver<Post>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(61)
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime needs only an epoll descriptor");
    runtime.block_on(async move {
        let core = Core::new(id, shared);
        core.pool.spawn_reaper(core.shared.limits.upstream_keep_alive);
        while let Some(post) = inbox.recv().await {
            match post {
                Post::Connection(socket, from, port) => core.spawn_connection(socket, from, port),
                Post::Listen(listener, port) => core.listen(listener, port),
                Post::Receive(socket, port) => core.receive(socket, port),
                Post::Unlisten(Transport::Tcp, port) => core.unlisten(|p| p == port),
                Post::Unlisten(Transport::Udp, port) => core.close(|p| p == port, Instant::now()),
                Post::Lend(to) => core.lend(&to),
                Post::Yield(until) => core.yield_ports(until),
                Post::Echo(echo) => drop(echo),
                Post::Refresh => core.refresh(),
                Post::Shed => {
                    core.buffers.save(core.shared.memory.is_tight());
                    core.bell.stir();
                }
                Post::Drain(until) => {
                    core.unlisten(|_| true);
                    core.close(|_| true, until);
                    core.bell.ring(until);
                }
                Post::Stop => return,
            }
        }
    });
}
