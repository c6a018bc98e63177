//! Load of three kinds at once: HTTP/1 over connections that are kept, over new ones, and HTTP/2. It counts what came back, and never ends because something failed.

use crate::{
    http2::{self, Question},
    load::{self, Answer},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

/// Connections that are kept.
const KEPT: usize = 16;
/// Clients that connect for each request.
const NEW: usize = 4;
/// HTTP/2 connections, and requests at once on each.
const HTTP2: usize = 2;
const STREAMS: usize = 8;
/// A request that is not answered for this long has failed.
const HANGS: Duration = Duration::from_secs(30);
/// Before a client that failed tries again: a gateway that is gone must not be asked a million times.
const PAUSE: Duration = Duration::from_millis(10);

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// HTTP/1 over a connection that is kept.
    Kept,
    /// HTTP/1 over a new connection each.
    New,
    /// HTTP/2.
    Http2,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests by kind.
    pub requests: BTreeMap<Kind, u64>,
    /// What was no 200: the status, or what happened instead of an answer; and how often.
    pub failures: BTreeMap<String, u64>,
}

impl Tally {
    fn take(&mut self, kind: Kind, came: Result<u16, String>) {
        *self.requests.entry(kind).or_default() += 1;
        let failure = match came {
            Ok(200) => return,
            Ok(status) => status.to_string(),
            Err(what) => what,
        };
        *self.failures.entry(failure).or_default() += 1;
    }

    /// How many were not answered 200.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// Load that runs on a thread of its own until it is ended.
pub struct Mixed {
    answered: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Tally>>,
}

/// What the clients of one thread share.
#[derive(Clone)]
struct Shared {
    to: SocketAddr,
    host: Rc<str>,
    tally: Rc<RefCell<Tally>>,
    answered: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
}

impl Mixed {
    /// Begins to ask for `/` of a host.
    pub fn start(to: SocketAddr, host: &str) -> Self {
        let (answered, enough) = (Arc::default(), Arc::default());
        let (host, shared_answered, shared_enough) = (host.to_owned(), Arc::clone(&answered), Arc::clone(&enough));
        let thread = std::thread::spawn(move || {
            load::runtime()?.block_on(async {
                let tally = Rc::default();
                let shared = Shared { to, host: host.into(), tally, answered: shared_answered, enough: shared_enough };
                ask(&shared).await?;
                Ok(shared.tally.take())
            })
        });
        Self { answered, enough, thread }
    }

    /// Waits until so many requests came back.
    ///
    /// # Errors
    /// If none comes back for [`HANGS`].
    pub fn reach(&self, wanted: u64) -> io::Result<()> {
        let mut last = (self.answered.load(Relaxed), Instant::now());
        loop {
            let answered = self.answered.load(Relaxed);
            if answered >= wanted {
                return Ok(());
            }
            if answered > last.0 {
                last = (answered, Instant::now());
            } else if last.1.elapsed() > HANGS + PAUSE {
                return Err(io::Error::other(format!("no answer for {} s", HANGS.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it, once what was asked is answered.
    pub fn end(self) -> io::Result<Tally> {
        self.enough.store(true, Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the load panicked"))?
    }
}

async fn ask(shared: &Shared) -> io::Result<()> {
    let kept = (0..KEPT).map(|_| tokio::task::spawn_local(over_kept(shared.clone())));
    let new = (0..NEW).map(|at| tokio::task::spawn_local(over_new(shared.clone(), at)));
    let http2 = (0..HTTP2).map(|_| tokio::task::spawn_local(over_http2(shared.clone())));
    let clients: Vec<_> = kept.chain(new).chain(http2).collect();
    for client in clients {
        client.await.map_err(io::Error::other)?;
    }
    Ok(())
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.enough.load(Relaxed)
    }

    async fn take(&self, kind: Kind, came: Result<u16, String>) {
        let failed = came.is_err();
        self.tally.borrow_mut().take(kind, came);
        self.answered.fetch_add(1, Relaxed);
        if failed {
            sleep(PAUSE).await;
        }
    }
}

async fn over_kept(shared: Shared) {
    let head = load::get(&shared.host, "/");
    let mut buffer = vec![0; 16 * 1024];
    let mut kept = None;
    while shared.goes_on() {
        let asked = async {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => TcpStream::connect(shared.to).await?,
            };
            let (status, closes) = exchange(&mut stream, &head, &mut buffer).await?;
            kept = (!closes).then_some(stream);
            Ok(status)
        };
        let came = within(asked).await;
        shared.take(Kind::Kept, came).await;
    }
}

async fn over_new(shared: Shared, client: usize) {
    let head = load::get(&shared.host, "/");
    let mut buffer = vec![0; 16 * 1024];
    let mut from = 0_u8;
    while shared.goes_on() {
        // An address of its own each time: those of one address would soon be used up, since a port rests for a minute.
        from = from % 250 + 1;
        let address = Ipv4Addr::new(127, 1, client as u8, from);
        let asked = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((address, 0)))?;
            let mut stream = socket.connect(shared.to).await?;
            let (status, _) = exchange(&mut stream, &head, &mut buffer).await?;
            Ok(status)
        };
        let came = within(asked).await;
        shared.take(Kind::New, came).await;
    }
}

/// A request and its answer: the status, and whether the connection is over.
async fn exchange(stream: &mut TcpStream, head: &[u8], buffer: &mut [u8]) -> io::Result<(u16, bool)> {
    stream.write_all(head).await?;
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        if let Some(answer) = Answer::read(&buffer[..filled])? {
            let closes = answer.head.to_ascii_lowercase().contains("\r\nconnection: close");
            return Ok((answer.status, closes));
        }
    }
}

/// One connection, and another one when it is over.
async fn over_http2(shared: Shared) {
    while shared.goes_on() {
        let connected = async {
            let stream = TcpStream::connect(shared.to).await?;
            h2::client::handshake(stream).await.map_err(io::Error::other)
        };
        match within(connected).await {
            Ok((sender, connection)) => {
                let driver = tokio::task::spawn_local(connection);
                let streams: Vec<_> =
                    (0..STREAMS).map(|_| tokio::task::spawn_local(on_stream(shared.clone(), sender.clone()))).collect();
                for stream in streams {
                    let _ = stream.await;
                }
                driver.abort();
            }
            Err(what) => shared.take(Kind::Http2, Err(what)).await,
        }
    }
}

/// One request after the other, until one fails: then the connection is not to be trusted.
async fn on_stream(shared: Shared, mut sender: http2::Sender) {
    let question = match Question::get(&format!("http://{}/", shared.host)) {
        Ok(question) => question,
        Err(error) => return shared.take(Kind::Http2, Err(error.to_string())).await,
    };
    while shared.goes_on() {
        let came = within(http2::ask(&mut sender, &question)).await;
        let failed = came.is_err();
        shared.take(Kind::Http2, came).await;
        if failed {
            return;
        }
    }
}

async fn within<T>(asked: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(HANGS, asked).await {
        Ok(came) => came.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", HANGS.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_200_has_failed_and_is_named() {
        let mut tally = Tally::default();
        tally.take(Kind::Kept, Ok(200));
        tally.take(Kind::New, Ok(503));
        tally.take(Kind::New, Ok(503));
        tally.take(Kind::Http2, Err("reset".to_owned()));
        assert_eq!(tally.failed(), 3);
        assert_eq!(tally.failures, BTreeMap::from([("503".to_owned(), 2), ("reset".to_owned(), 1)]));
        assert_eq!(tally.requests, BTreeMap::from([(Kind::Kept, 1), (Kind::New, 2), (Kind::Http2, 1)]));
    }
}
