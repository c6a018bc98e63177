//! Asks endpoints whether they are ready, and lets time pass for backends: the keeper, run on the control thread. Never on a core, never for a request.

use super::{Backend, Endpoint, Limits, Registry};
use headgate_config::Probe;
use std::{
    net::TcpStream as Connection,
    sync::{Arc, Mutex, Weak, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep_until, timeout},
};

/// Attempts at one endpoint at a time: after a dropped SYN the next one finds it.
const OVERLAPPING_MOST: usize = 5;
/// How often retired backends are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// After an answer that was no "ready", ask again so late: the application is there and need not be pestered.
const NOT_READY_INTERVAL: Duration = Duration::from_millis(20);
/// How long the rest of a probe's answer is read.
const READ_OUT_TIME: Duration = Duration::from_secs(1);
/// What of an answer says whether it is ready.
const STATUS_BYTES: usize = "HTTP/1.1 200".len();

/// Keeps all backends for ever: probes endpoints that are not known to be ready, ends ramps and ejections, forgets retired
/// backends. One per registry, inside a tokio runtime with I/O and time.
pub async fn keep(registry: Registry) {
    let mut keeper =
        Keeper { pace: Arc::new(Pace::new(&registry.shared().limits)), backends: Vec::new(), probes: JoinSet::new() };
    loop {
        let next = keeper.round(&registry, Instant::now());
        let due = async {
            match next {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = registry.shared().attention.asked() => {}
            () = due => {}
            Some(_) = keeper.probes.join_next(), if !keeper.probes.is_empty() => {}
        }
    }
}

struct Keeper {
    pace: Arc<Pace>,
    backends: Vec<Arc<Backend>>,
    /// Ends its probes when it ends.
    probes: JoinSet<()>,
}

impl Keeper {
    /// Looks after all that asked for it; when to do so again.
    fn round(&mut self, registry: &Registry, now: Instant) -> Option<Instant> {
        self.backends.extend(registry.shared().attention.take());
        let mut next = registry.sweep().then_some(now + SWEEP_INTERVAL);
        let (pace, probes, limits) = (&self.pace, &mut self.probes, &registry.shared().limits);
        self.backends.retain(|backend| {
            for endpoint in backend.take_unprobed() {
                let probing = Probing {
                    backend: Arc::downgrade(backend),
                    endpoint,
                    limits: Arc::clone(limits),
                    pace: Arc::clone(pace),
                };
                probes.spawn(probing.run());
            }
            let due = backend.tick(now);
            next = [next, due].into_iter().flatten().min();
            due.is_some() || !backend.leave_keeper()
        });
        next
    }
}

impl Backend {
    /// Nothing is due: the keeper lets go of it, unless something came up meanwhile.
    fn leave_keeper(&self) -> bool {
        self.kept.store(false, SeqCst);
        let state = self.lock();
        let needed = state.members.has_unprobed() || state.next_event().is_some();
        // Whoever made it needed after the store has asked for attention itself.
        !needed || self.kept.swap(true, SeqCst)
    }
}

/// Spreads attempts in time, so that many starts at once do not become a storm.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(limits: &Limits) -> Self {
        Self { interval: Duration::from_secs(1) / limits.probes_per_second.max(1), next: Mutex::new(None) }
    }

    /// When the next attempt may be made.
    fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().expect("nothing panics while it holds this lock");
        let at = next.map_or(now, |next| next.max(now));
        *next = Some(at + self.interval);
        at
    }
}

/// How long after one attempt the next one is made: a start that has taken long will not be over in the next millisecond.
fn interval(probing_for: Duration) -> Duration {
    match probing_for.as_secs() {
        // Most applications listen within this time, and the interval is what a held request waits too long.
        // The timer has whole milliseconds and rounds up: a little less is every one, a whole one is every other.
        0..5 => Duration::from_micros(900),
        5..30 => Duration::from_millis(5),
        _ => Duration::from_millis(20),
    }
}

/// The asking of one endpoint until it is ready or listed no more.
struct Probing {
    backend: Weak<Backend>,
    endpoint: Arc<Endpoint>,
    limits: Arc<Limits>,
    pace: Arc<Pace>,
}

/// What an attempt found.
enum Found {
    /// Ready; with the connection if it can serve a request.
    Ready(Option<Connection>),
    /// An answer, but not ready.
    NotReady,
    /// Nobody there.
    Nobody,
}

impl Probing {
    async fn run(self) {
        let found = self.until_ready().await;
        if let Some(backend) = self.backend.upgrade() {
            let (ready, connection) = found.map_or((false, None), |connection| (true, connection));
            backend.probed(self.endpoint.id, ready, connection, Instant::now());
        }
    }

    /// `None` if it is not to be asked any more.
    async fn until_ready(&self) -> Option<Option<Connection>> {
        let begun = Instant::now();
        let overlapping_most = if self.endpoint.probe == Probe::Tcp { OVERLAPPING_MOST } else { 1 };
        let mut attempts = JoinSet::new();
        let mut last = None;
        let mut pause = Duration::ZERO;
        while self.endpoint.is_listed() && self.backend.strong_count() > 0 {
            let now = Instant::now();
            let pause_now = if attempts.is_empty() { pause } else { self.limits.probe_overlap };
            let due = last.map_or(now, |last: Instant| last + pause_now.max(interval(now - begun)));
            tokio::select! {
                Some(found) = attempts.join_next() => match found {
                    Ok(Found::Ready(connection)) => return Some(connection),
                    Ok(Found::NotReady) => pause = NOT_READY_INTERVAL,
                    Ok(Found::Nobody) | Err(_) => pause = Duration::ZERO,
                },
                () = sleep_until(due.into()), if attempts.len() < overlapping_most => {
                    let at = self.pace.reserve(Instant::now());
                    if at > Instant::now() {
                        sleep_until(at.into()).await;
                    }
                    last = Some(Instant::now());
                    attempts.spawn(ask(Arc::clone(&self.endpoint), Arc::clone(&self.limits)));
                }
            }
        }
        None
    }
}

async fn ask(endpoint: Arc<Endpoint>, limits: Arc<Limits>) -> Found {
    let Ok(Ok(stream)) = timeout(limits.probe_connect, TcpStream::connect(endpoint.address)).await else {
        return Found::Nobody;
    };
    if is_connected_to_itself(&stream) {
        return Found::Nobody;
    }
    match &endpoint.probe {
        Probe::Tcp => {
            // Latency of small answers, as for every connection to an endpoint.
            let _ = stream.set_nodelay(true);
            Found::Ready(stream.into_std().ok())
        }
        Probe::Http { path } => match timeout(limits.probe_answer, status(stream, path, &endpoint)).await {
            Ok(Some(200..=399)) => Found::Ready(None),
            _ => Found::NotReady,
        },
    }
}

/// A connect to a local port of the ephemeral range at which nobody listens can draw that very port as its own and so meet itself. It is
/// closed by a reset, so that the application can still bind the port.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    let itself = matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer);
    if itself {
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    itself
}

/// The status of the answer to a GET; `None` if there is none.
async fn status(mut stream: TcpStream, path: &str, endpoint: &Endpoint) -> Option<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: headgate-probe\r\naccept: */*\r\nconnection: close\r\n\r\n",
        endpoint.address
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut line = [0; STATUS_BYTES];
    stream.read_exact(&mut line).await.ok()?;
    tokio::spawn(read_out(stream));
    let code = line.strip_prefix(b"HTTP/1.1 ").or(line.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

/// Reads what is left of an answer: closing before would reset the connection, and the application would log an error.
async fn read_out(mut stream: TcpStream) {
    let mut rest = [0; 1_024];
    let end = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    let _ = timeout(READ_OUT_TIME, end).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_spreads_a_storm_and_forgets_the_past() {
        let pace = Pace::new(&Limits { probes_per_second: 100, ..Limits::default() });
        let t0 = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!([pace.reserve(t0), pace.reserve(t0), pace.reserve(t0)], [t0, t0 + ms(10), t0 + ms(20)]);
        assert_eq!(pace.reserve(t0 + ms(500)), t0 + ms(500));
    }

    #[tokio::test]
    async fn notices_a_connection_to_itself() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        let stream = socket.connect(own).await.unwrap();
        assert!(is_connected_to_itself(&stream));
        drop(stream);
        assert!(std::net::TcpListener::bind(own).is_ok(), "the port is free for the application");
    }
}
