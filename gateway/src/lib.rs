//! The data plane: accepts connections, routes requests, holds them while a backend starts, and reloads its routes without losing one. It never knows Kubernetes.
//!
//! Read `proxy.rs` first: the life of a request. [`Gateway`] is all that a program sees.

mod admin;
mod auth;
pub mod backend;
mod backend_tls;
mod buffers;
mod carry;
mod clock;
mod connect;
mod core;
mod deadline;
mod drain;
mod exchange;
pub mod failure;
pub mod filters;
pub mod forwarded;
mod io;
pub mod limits;
mod listen;
pub mod memory;
mod meter;
mod mirror;
mod places;
mod plan;
mod pool;
mod proxy;
pub mod question;
mod relay;
mod replay;
mod resolve;
mod session;
mod subscribe;
mod sweep;
pub mod telemetry;
mod tries;
mod tunnel;
mod wait;

pub use listen::{Inheritance, Inherited, Opened, Proxied};
pub use resolve::Hosts;
pub use subscribe::{Binding, Published};

use crate::{
    backend::{Board, ColdStart, Registry},
    core::{Active, Post, Shared},
    forwarded::TrustedHops,
    limits::Limits,
    subscribe::Subscriber,
    telemetry::{LogSink, Telemetry},
};
use headgate_config::{BackendName, Certificate, CertificateName, Endpoints, Snapshot, Version};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// How a gateway runs.
pub struct Settings {
    /// Threads that serve.
    pub cores: usize,
    /// Where ports are opened.
    pub binding: Binding,
    /// Bounds and limits of time.
    pub limits: Limits,
    /// Whose forwarding headers are believed.
    pub trusted: TrustedHops,
    /// Ports behind a proxy that says who its clients are.
    pub proxied: Proxied,
    /// Which hosts a backend may be that is one.
    pub hosts: Hosts,
    /// Where the access log goes; `None` for none.
    pub log: Option<LogSink>,
    /// Where metrics, health and routes are shown; on loopback.
    pub admin: Option<SocketAddr>,
    /// Sockets that listen already.
    pub inheritance: Inheritance,
}

/// A running data plane.
pub struct Gateway {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    admin: Option<SocketAddr>,
    /// Closed once nobody needs to watch the memory any more.
    watched: Mutex<Option<std::sync::mpsc::Sender<()>>>,
}

enum Command {
    Publish(Box<Snapshot>, Arc<BTreeMap<CertificateName, Certificate>>, oneshot::Sender<Published>),
    HoldPorts,
    OpenPorts(oneshot::Sender<Published>),
    Lend(oneshot::Sender<Inheritance>),
    Yield(Instant, oneshot::Sender<()>),
    Stop,
}

impl Gateway {
    /// Starts the threads. It serves nothing before the first [`Gateway::publish`].
    ///
    /// # Errors
    /// If the admin address cannot be opened.
    pub fn start(settings: Settings) -> std::io::Result<Self> {
        let Settings { cores, binding, limits, trusted, proxied, hosts, log, admin, inheritance } = settings;
        let registry = Registry::new(cores, limits.clone(), fastrand::u64(..));
        let resolving = resolve::run(registry.clone(), hosts, limits.clone());
        let telemetry = Telemetry::new(cores, log, limits.explain_count)?;
        let active = Active {
            version: Version::default(),
            table: Default::default(),
            tls: Default::default(),
            identities: Default::default(),
        };
        let (shared, inboxes) = Shared::new(active, limits, trusted, proxied, registry, telemetry, cores);
        let admin = match (inheritance.admin, admin) {
            (Some(listener), Some(_)) => Some(listener),
            (_, address) => address.map(std::net::TcpListener::bind).transpose()?,
        };
        let admin_address = admin.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
        let mut threads = inboxes
            .into_iter()
            .enumerate()
            .map(|(id, inbox)| {
                let shared = shared.clone();
                std::thread::Builder::new().name(format!("core-{id}")).spawn(move || core::run(id, shared, inbox))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        let (commands, inbox) = mpsc::channel(16);
        let subscriber = Subscriber::new(shared.clone(), binding, inheritance.sockets);
        let control_shared = shared.clone();
        let control = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || control(control_shared, subscriber, inbox, admin, resolving))?;
        threads.push(control);
        let (watched, over) = std::sync::mpsc::channel();
        let of_memory = shared.clone();
        let watch = std::thread::Builder::new().name("memory".into()).spawn(move || memory::watch(of_memory, over))?;
        threads.push(watch);
        let (threads, watched) = (Mutex::new(threads), Mutex::new(Some(watched)));
        Ok(Self { shared, commands, threads, admin: admin_address, watched })
    }

    /// Makes a Snapshot live: atomically, under load, for waiting requests too. Once the gateway has drained nothing becomes live
    /// any more, and an empty [`Published`] says so.
    pub async fn publish(
        &self,
        snapshot: Snapshot,
        certificates: Arc<BTreeMap<CertificateName, Certificate>>,
    ) -> Published {
        let (reply, published) = oneshot::channel();
        let command = Command::Publish(Box::new(snapshot), certificates, reply);
        // what cannot be sent drops its reply
        let _ = self.commands.send(command).await;
        published.await.unwrap_or_default()
    }

    /// Opens no port, and is not ready, until [`Gateway::open_ports`]: whoever asks at once then finds all that is to be known.
    pub async fn hold_ports(&self) {
        let _ = self.commands.send(Command::HoldPorts).await;
    }

    /// Opens the ports that the routes want.
    pub async fn open_ports(&self) -> Published {
        let (reply, published) = oneshot::channel();
        // what cannot be sent drops its reply
        let _ = self.commands.send(Command::OpenPorts(reply)).await;
        published.await.unwrap_or_default()
    }

    /// Takes the endpoints of a backend, at once.
    pub fn set_endpoints(&self, endpoints: &Endpoints) {
        self.shared.registry.set_endpoints(endpoints, Instant::now());
    }

    /// Demand and cold starts.
    pub fn board(&self) -> &Board {
        self.shared.registry.board()
    }

    /// Backends.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Shows a JSON text on a page of the admin port: what the program around the gateway knows and the gateway does not.
    pub fn show(&self, page: &'static str, json: String) {
        self.shared.pages.lock().expect("nothing panics while it holds this lock").insert(page, json);
    }

    /// Where the admin port listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Requests that a backend was asked and that are over, since its routes are known.
    pub fn requests_to(&self, backend: &BackendName) -> u64 {
        self.shared.telemetry.requests_to(&backend.to_string())
    }

    /// Returns once there are cold starts to take. For one reader.
    pub async fn cold_started(&self) {
        self.shared.registry.board().cold_started().await;
    }

    /// The cold starts since the last call; they are counted here.
    pub fn take_cold_starts(&self) -> Vec<ColdStart> {
        let starts = self.shared.registry.board().take_cold_starts();
        for start in &starts {
            self.shared.telemetry.cold_started(&start.backend, start.ready, start.dispatched, start.first_byte);
        }
        starts
    }

    /// Whether it lacks something that part of its routes needs and that is about to come: it is not ready meanwhile.
    pub fn lack(&self, lacks: bool) {
        self.shared.lack(lacks);
    }

    /// The sockets that listen, once more: for a process that is to follow. Connections that wait in one wait for whoever of both accepts
    /// first, so that none is lost when this one stops.
    pub async fn lend(&self) -> Inheritance {
        let (reply, lent) = oneshot::channel();
        // what cannot be sent drops its reply
        let _ = self.commands.send(Command::Lend(reply)).await;
        lent.await.unwrap_or_default()
    }

    /// Another process listens on the sockets that were lent: stops accepting, at the latest when this returns, ends each HTTP/1.1
    /// connection with its next answer as [`Gateway::leave`] does and HTTP/2 connections by GOAWAY, and takes no datagram any more;
    /// answers to those that were sent on still go back, until `until` at the most.
    pub async fn yield_ports(&self, until: Instant) {
        self.shared.leave();
        let (reply, told) = oneshot::channel();
        // what cannot be sent drops its reply
        let _ = self.commands.send(Command::Yield(until, reply)).await;
        let _ = told.await;
        // the cores do what they are told in order
        self.responds().await;
    }

    /// Open connections, and clients of datagrams.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Returns once each core has shown that it goes on.
    pub async fn responds(&self) {
        let (echo, mut heard) = mpsc::unbounded_channel::<()>();
        self.shared.post_each(|| Post::Echo(echo.clone()));
        drop(echo);
        let _ = heard.recv().await;
    }

    /// It is about to drain, and ends each HTTP/1.1 connection with its next answer: a drain that begins later finds none between two
    /// requests. It takes connections as before, and stays ready: a Service whose last Pod goes sends to that until another is ready
    /// (KEP-1669), and those that have another know from the Pod itself that it goes.
    pub fn leave(&self) {
        self.shared.leave();
    }

    /// Stops accepting, lets what runs and waits end within `grace`, then ends the threads. Returns how many connections were cut.
    pub async fn drain(&self, grace: Duration) -> usize {
        const POLL: Duration = Duration::from_millis(5);
        /// What still waits is answered this long before the end, so that the answer gets out.
        const MARGIN: Duration = Duration::from_millis(200);
        let until = Instant::now() + grace;
        self.shared.drain();
        let answer_by = until.checked_sub(MARGIN.min(grace / 4)).unwrap_or(until);
        self.shared.post_each(|| Post::Drain(answer_by));
        while self.shared.connections() > 0 && Instant::now() < until {
            tokio::time::sleep(POLL).await;
        }
        let cut = self.shared.connections();
        self.shared.post_each(|| Post::Stop);
        let _ = self.commands.send(Command::Stop).await;
        drop(self.watched.lock().expect("nothing panics while it holds this lock").take());
        let threads = std::mem::take(&mut *self.threads.lock().expect("nothing panics while it holds this lock"));
        let _ = tokio::task::spawn_blocking(|| threads.into_iter().for_each(|thread| drop(thread.join()))).await;
        cut
    }
}

/// The control thread: publishes, retires, probes, answers the admin port.
fn control(
    shared: Arc<Shared>,
    mut subscriber: Subscriber,
    mut inbox: mpsc::Receiver<Command>,
    admin: Option<std::net::TcpListener>,
    resolving: impl Future<Output = ()> + 'static,
) {
    const RETIRE_PERIOD: Duration = Duration::from_millis(100);
    const REAP_PERIOD: Duration = Duration::from_secs(5);
    const TAKEN_PERIOD: Duration = Duration::from_secs(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime needs only an epoll descriptor");
    runtime.block_on(async move {
        tokio::task::spawn_local(backend::keep(shared.registry.clone()));
        tokio::task::spawn_local(resolving);
        let mut admin = admin.and_then(|listener| admin::Admin::serve(listener, shared.clone()));
        let mut retire = tokio::time::interval(RETIRE_PERIOD);
        let mut reap = tokio::time::interval(REAP_PERIOD);
        let mut taken = tokio::time::interval(TAKEN_PERIOD);
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Publish(snapshot, certificates, reply)) => {
                        let _ = reply.send(subscriber.publish(*snapshot, &certificates));
                    }
                    Some(Command::HoldPorts) => subscriber.hold_ports(),
                    Some(Command::OpenPorts(reply)) => drop(reply.send(subscriber.open_ports())),
                    Some(Command::Lend(reply)) => {
                        let admin = admin.as_ref().and_then(admin::Admin::lend);
                        let _ = reply.send(Inheritance { sockets: subscriber.lend().await, admin });
                    }
                    Some(Command::Yield(until, reply)) => {
                        drop(admin.take());
                        subscriber.yield_ports(until);
                        let _ = reply.send(());
                    }
                    Some(Command::Stop) | None => return,
                },
                _ = retire.tick() => subscriber.retire(),
                _ = reap.tick() => shared.reap_idle(),
                _ = taken.tick() => subscriber.open_taken(),
            }
        }
    });
    // whoever asks DNS may not hear of the end for a while
    runtime.shutdown_background();
}
