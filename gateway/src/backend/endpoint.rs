//! One address that a backend is served at, and the counters of its requests. Never read by address on the request path.

use super::{Backend, gate::Gate};
use headgate_config::Probe;
use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    time::{Duration, Instant},
};

/// A core of the gateway, from 0: whoever passes one runs on it, and is the only one to write its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CoreId(pub usize);

/// Tells endpoints apart in this process, from 1; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

/// One address of one backend, from the time it is listed until its last request is over.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in this process.
    pub id: EndpointId,
    /// Where.
    pub address: SocketAddr,
    /// How its readiness is asked.
    pub probe: Probe,
    /// Requests granted under the backend's lock, which is held to write it.
    pub(super) counted: AtomicU32,
    /// Whether a success must be told to its health. Read without the lock, written under it.
    pub(super) troubled: AtomicBool,
    /// Whether it is listed, so that probing goes on.
    pub(super) listed: AtomicBool,
    has_connection: AtomicBool,
    // boxed: most endpoints are never probed
    connection: Mutex<Option<Box<(TcpStream, Instant)>>>,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, probe: Probe) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: EndpointId(NEXT.fetch_add(1, Relaxed)),
            address,
            probe,
            counted: AtomicU32::new(0),
            troubled: AtomicBool::new(false),
            listed: AtomicBool::new(true),
            has_connection: AtomicBool::new(false),
            connection: Mutex::new(None),
        })
    }

    /// Whether it is in the newest list of its backend. Idle connections to one that is not may be closed.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Relaxed)
    }

    /// The connection by which a probe found it ready, for the first request; non-blocking, nothing sent or read on it. `None` if there
    /// is none or the endpoint has closed it. Costs one relaxed load where there is none.
    pub fn take_probe_connection(&self) -> Option<TcpStream> {
        if !self.has_connection.load(Relaxed) {
            return None;
        }
        let (stream, _) = *self.connection().take()?;
        self.has_connection.store(false, Relaxed);
        // Open and silent is what a connection looks like before its first request.
        match stream.peek(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(stream),
            _ => None,
        }
    }

    pub(super) fn is_troubled(&self) -> bool {
        self.troubled.load(Relaxed)
    }

    /// One more granted under the backend's lock, which must be held.
    pub(super) fn count(&self) {
        self.counted.store(self.counted.load(Relaxed) + 1, Relaxed);
    }

    /// One less of those granted under the backend's lock, which must be held.
    pub(super) fn uncount(&self) {
        self.counted.store(self.counted.load(Relaxed) - 1, Relaxed);
    }

    pub(super) fn keep_probe_connection(&self, stream: TcpStream, now: Instant) {
        if stream.set_nonblocking(true).is_ok() {
            *self.connection() = Some(Box::new((stream, now)));
            self.has_connection.store(true, Relaxed);
        }
    }

    /// Closes a probe's connection that nobody took for so long; when it will, otherwise.
    pub(super) fn lapse_probe_connection(&self, now: Instant, kept: Duration) -> Option<Instant> {
        if !self.has_connection.load(Relaxed) {
            return None;
        }
        let mut connection = self.connection();
        let closes = connection.as_ref().map(|kept_one| kept_one.1 + kept)?;
        if now < closes {
            return Some(closes);
        }
        *connection = None;
        self.has_connection.store(false, Relaxed);
        None
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Option<Box<(TcpStream, Instant)>>> {
        self.connection.lock().expect("nothing panics while it holds this lock")
    }
}

/// What one core has of an endpoint. Each core's stands in cache lines of its own, reference count included, so that a request
/// writes nothing that another core writes.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Seat {
    pub endpoint: Arc<Endpoint>,
    pub gate: Arc<Gate>,
    /// Upgraded only off the hot path: that is a write to a shared line.
    pub backend: Weak<Backend>,
    /// Requests granted without the lock; written by its core only.
    in_flight: AtomicU32,
}

impl Seat {
    /// Counts one more. Visible to whoever closes the gate before this core looks at it again (both are sequentially consistent).
    pub fn enter(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, SeqCst);
    }

    /// Counts one less.
    pub fn exit(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed) - 1, SeqCst);
    }
}

/// An endpoint and its seat on each core that ever sent it a request: most endpoints of many routes are asked by few cores, or by none.
#[derive(Debug)]
pub(super) struct Row {
    pub endpoint: Arc<Endpoint>,
    /// By core; made with the first seat.
    seats: OnceLock<Box<[OnceLock<Arc<Seat>>]>>,
}

impl Row {
    pub fn new(endpoint: Arc<Endpoint>) -> Arc<Self> {
        Arc::new(Self { endpoint, seats: OnceLock::new() })
    }

    /// The seat of a core, which asks for its backend.
    pub fn seat(&self, core: CoreId, backend: &Backend) -> &Arc<Seat> {
        match self.seats.get().and_then(|seats| seats[core.0].get()) {
            Some(seat) => seat,
            None => self.take_seat(core, backend),
        }
    }

    #[cold]
    fn take_seat(&self, core: CoreId, backend: &Backend) -> &Arc<Seat> {
        let seats = self.seats.get_or_init(|| (0..backend.shared.cores).map(|_| OnceLock::new()).collect());
        let made = seats[core.0].get_or_init(|| {
            Arc::new(Seat {
                endpoint: Arc::clone(&self.endpoint),
                gate: Arc::clone(&backend.gate),
                backend: Weak::clone(&backend.me),
                in_flight: AtomicU32::new(0),
            })
        });
        // with the fence of `Gate::turn`: whoever shuts the gate sees this seat, or this core sees the gate shut
        fence(SeqCst);
        made
    }

    /// Requests in flight, over all cores.
    pub fn in_flight(&self) -> u32 {
        let seats = self.seats.get().into_iter().flatten().filter_map(OnceLock::get);
        seats.map(|seat| seat.in_flight.load(SeqCst)).sum::<u32>() + self.endpoint.counted.load(Relaxed)
    }
}

/// The endpoints that requests may be sent to, as the cores see them.
#[derive(Debug)]
pub(super) enum Roster {
    /// What most backends of many routes have.
    One(Arc<Row>),
    /// Any number.
    Many(Box<[Arc<Row>]>),
}

impl Roster {
    pub fn rows(&self) -> &[Arc<Row>] {
        match self {
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }

    pub fn len(&self) -> usize {
        self.rows().len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }
}

impl Default for Roster {
    fn default() -> Self {
        Self::Many(Box::default())
    }
}

impl FromIterator<Arc<Row>> for Roster {
    fn from_iter<I: IntoIterator<Item = Arc<Row>>>(rows: I) -> Self {
        let rows: Vec<_> = rows.into_iter().collect();
        match <[_; 1]>::try_from(rows) {
            Ok([row]) => Self::One(row),
            Err(rows) => Self::Many(rows.into()),
        }
    }
}
