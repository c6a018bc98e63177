//! What is remembered of one request, for metrics, log and `explain --request-id`. Never a header value but the user agent, never a query.

use super::counters::{BackendSeries, RuleSeries};
use crate::{clock, exchange::Fault, failure::Failure};
use headgate_config as config;
use headgate_message::{Method, RequestHead, Version};
use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

/// Longer texts are cut, in bytes.
const PATH_BYTES_MAX: usize = 2048;
const AGENT_BYTES_MAX: usize = 256;
/// Of an id that is made here.
const ID_BYTES: usize = 32;
/// Spent buffers that a core keeps, so that a warm request allocates none.
const SPARES_MAX: usize = 256;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Requests.
    Http(Version),
    /// Whatever is in TCP.
    Tcp,
    /// Whatever is in TLS.
    Tls,
    /// Whatever is in datagrams.
    Udp,
}

impl Spoken {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http(Version::Http10) => "HTTP/1.0",
            Self::Http(Version::Http11) => "HTTP/1.1",
            Self::Http(Version::Http2) => "HTTP/2",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Udp => "UDP",
        }
    }
}

/// What is known of a request when it begins, and where it goes: all that one that waits, of which nothing was sent, has of a record.
#[derive(Debug)]
pub struct Began {
    arrived: Instant,
    pub(super) unix_ms: u64,
    pub(super) port: u16,
    pub(super) spoken: Spoken,
    pub(super) method: Option<Method>,
    // Host, path, agent and id: the head may be rewritten, or spent, before the record is told.
    text: Vec<u8>,
    host: Part,
    path: Part,
    agent: Part,
    id: Part,
    /// Who asks, once the hops are sorted out.
    pub client: IpAddr,
    /// The version of the routes that it was routed by.
    pub routes: config::Version,
    /// The rule that took it.
    pub rule: Option<Arc<RuleSeries>>,
    /// Where it went, or waited.
    pub backend: Option<Arc<BackendSeries>>,
}

/// One request, or one connection that is carried and not read. Made when its head is complete, told once when all is over.
#[derive(Debug)]
pub struct Record {
    /// How it began.
    pub began: Began,
    pub(super) total: Duration,
    /// The last endpoint it was sent to.
    pub endpoint: Option<SocketAddr>,
    /// Tries, the first included.
    pub attempts: u32,
    /// Of the answer that was begun; 0 where none was.
    pub status: u16,
    /// `grpc-status`, where the answer has one.
    pub grpc_status: Option<u8>,
    /// Why the answer is one of our own, or was cut.
    pub failure: Option<Failure>,
    /// More of it.
    pub detail: Option<Arc<str>>,
    /// Bytes of body that came in.
    pub bytes_in: u64,
    /// Bytes of body that went out.
    pub bytes_out: u64,
    /// How long it waited for an endpoint.
    pub waited: Option<Duration>,
    /// How long the last connect took; `None` where a connection was idle.
    pub connecting: Option<Duration>,
    /// From arrival to the head of the answer.
    pub first_byte: Option<Duration>,
}

/// A slice of the text, whose parts together are far below 64 KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    start: u16,
    len: u16,
}

impl Part {
    fn of(self, text: &[u8]) -> &[u8] {
        &text[usize::from(self.start)..usize::from(self.start) + usize::from(self.len)]
    }
}

impl Record {
    /// Of a request whose head is complete, received on `port` over `version` at `arrived`.
    pub fn begin(peer: IpAddr, port: u16, head: &RequestHead, version: Version, arrived: Instant) -> Self {
        let mut began = Began::new(peer, port, Spoken::Http(version), arrived);
        began.method = Some(head.method.clone());
        let agent = head.fields.get("user-agent").unwrap_or_default();
        let (authority, path) = (head.authority_bytes(), head.path_bytes());
        began.text.reserve_exact(text_capacity(authority.len() + path.len() + agent.len() + ID_BYTES));
        began.host = began.keep(authority, PATH_BYTES_MAX);
        began.path = began.keep(path, PATH_BYTES_MAX);
        began.agent = began.keep(agent, AGENT_BYTES_MAX);
        Self::of(began)
    }

    /// Of bytes that made no head.
    pub fn headless(peer: IpAddr, port: u16, version: Version, arrived: Instant) -> Self {
        Self::of(Began::new(peer, port, Spoken::Http(version), arrived))
    }

    /// Of a connection that is carried, or of the datagrams of one client, with the server name that was asked for, if any.
    pub fn carried(peer: IpAddr, port: u16, spoken: Spoken, name: &str, arrived: Instant) -> Self {
        let mut began = Began::new(peer, port, spoken, arrived);
        began.host = began.keep(name.as_bytes(), PATH_BYTES_MAX);
        Self::of(began)
    }

    /// Of a request of which nothing was sent yet.
    pub fn of(began: Began) -> Self {
        Self {
            began,
            total: Duration::ZERO,
            endpoint: None,
            attempts: 0,
            status: 0,
            grpc_status: None,
            failure: None,
            detail: None,
            bytes_in: 0,
            bytes_out: 0,
            waited: None,
            connecting: None,
            first_byte: None,
        }
    }

    /// It came to nothing, or broke.
    pub fn fail(&mut self, fault: &Fault) {
        self.failure = Some(fault.failure);
        self.detail = fault.detail.as_deref().map(Into::into);
    }

    /// The answer's head came.
    pub fn head_came(&mut self, now: Instant) {
        self.first_byte = Some(now.saturating_duration_since(self.arrived));
    }

    /// All is over.
    pub fn end(&mut self, now: Instant) {
        self.total = now.saturating_duration_since(self.arrived);
    }

    /// The status for log and metrics: 499 where the client left before it got one.
    pub(super) fn logged_status(&self) -> u16 {
        match (self.status, self.failure) {
            (0, Some(failure)) => failure.row().status,
            (status, _) => status,
        }
    }
}

impl std::ops::Deref for Record {
    type Target = Began;

    fn deref(&self) -> &Began {
        &self.began
    }
}

impl std::ops::DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Began {
        &mut self.began
    }
}

impl Began {
    fn new(peer: IpAddr, port: u16, spoken: Spoken, arrived: Instant) -> Self {
        Self {
            arrived,
            unix_ms: clock::unix_ms(arrived),
            port,
            spoken,
            method: None,
            text: SPARES.with_borrow_mut(Vec::pop).unwrap_or_default(),
            host: Part::default(),
            path: Part::default(),
            agent: Part::default(),
            id: Part::default(),
            client: peer.to_canonical(),
            routes: config::Version::default(),
            rule: None,
            backend: None,
        }
    }

    pub(super) fn is_carried(&self) -> bool {
        !matches!(self.spoken, Spoken::Http(_))
    }

    /// Its id, as `x-request-id` has it.
    pub fn set_request_id(&mut self, id: &[u8]) {
        self.id = self.keep(id, AGENT_BYTES_MAX);
    }

    /// Its id; empty before it has one.
    pub fn request_id(&self) -> &str {
        std::str::from_utf8(self.id.of(&self.text)).unwrap_or_default()
    }

    /// When its head was complete.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// The same in milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        self.unix_ms
    }

    pub(super) fn host(&self) -> &[u8] {
        self.host.of(&self.text)
    }

    pub(super) fn path(&self) -> &[u8] {
        self.path.of(&self.text)
    }

    pub(super) fn agent(&self) -> &[u8] {
        self.agent.of(&self.text)
    }

    fn keep(&mut self, bytes: &[u8], most: usize) -> Part {
        let start = self.text.len();
        self.text.extend_from_slice(&bytes[..bytes.len().min(most)]);
        Part { start: start as u16, len: (self.text.len() - start) as u16 }
    }
}

/// So much that a spare mostly suffices for the next request too, and no more: where no spare is left, many wait. The
/// allocator puts 8 bytes before a block.
fn text_capacity(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(32) - 8
}

impl Drop for Began {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        // A thread that ends has no spares any more.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARES_MAX && text.capacity() > 0 {
                spares.push(text);
            }
        });
    }
}
