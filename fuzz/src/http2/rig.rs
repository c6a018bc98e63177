//! A gateway as programs start it, one client at a time, and the application behind it. What one input did is over before the next one: nothing leaks from run to run.

use super::{origin::Origin, script};
use crate::strict::Message;
use headgate_config::{
    Action, Arm, ArmTarget, Attachment, Backend, BackendName, BackendProtocol, ColdArm, Endpoint, Endpoints, Host,
    HostPattern, Listener, ListenerName, Match, Probe, Protocol, QueueBounds, RouteKind, Rule, RuleName,
    Snapshot, Split, Timeouts, Wait,
};
use headgate_gateway::{Binding, Gateway, Hosts, Proxied, Settings, forwarded::TrustedHops, limits::Limits};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

/// Nothing takes longer, also on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
const CLIENT: Token = Token(0);
const LISTENER: Token = Token(1);
/// What the last PING carries.
const PING: &[u8] = b"the last";

/// The gateway and what is around it.
pub struct Rig {
    poll: Poll,
    gateway: Gateway,
    backend: BackendName,
    at: SocketAddr,
    origin: Origin,
    canaries: u64,
}

/// What became of a script.
#[derive(Debug)]
pub struct Seen {
    /// What the application got, in order.
    pub requests: Vec<Message>,
    /// Whether its answer came back on stream 1.
    pub is_answered: bool,
}

impl Rig {
    pub fn start() -> Self {
        let poll = Poll::new().expect("a poll needs only a descriptor");
        let origin = Origin::start(poll.registry(), LISTENER);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let gateway = Gateway::start(Settings {
            cores: 1,
            binding: Binding { addresses: vec![loopback], unprivileged_offset: None },
            // a fuzzer is quicker than a limit for one client, and the same endpoint is all that there is
            limits: Limits { eject_failures: u32::MAX, ..Limits::default() },
            trusted: TrustedHops::default(),
            proxied: Proxied::default(),
            hosts: Hosts::default(),
            log: None,
            admin: None,
            inheritance: Default::default(),
        });
        let gateway = gateway.expect("threads can be started");
        let port = TcpListener::bind((loopback, 0)).and_then(|free| free.local_addr()).expect("a port is free").port();
        let backend = BackendName::tcp("a", "b", 80);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it needs nothing");
        let published = runtime.block_on(gateway.publish(snapshot(port, &backend), Arc::default()));
        assert_eq!(published.problems, Vec::<String>::new());
        let endpoint = Endpoint { address: origin.address(), ready: true, probe: Probe::Tcp };
        let list = vec![endpoint];
        gateway.set_endpoints(&Endpoints { backend: backend.clone(), list, activation: Default::default() });
        Self { poll, gateway, backend, at: (loopback, port).into(), origin, canaries: 0 }
    }

    /// Sends a script on a connection of its own, until it is known what became of it.
    pub fn send(&mut self, script: &script::Script) -> Seen {
        let mut bytes = script.bytes();
        if script.is_wild {
            // whatever streams there are: everything before it has been read once it is answered
            bytes.extend(script::frame(6, 0, 0, PING));
        }
        let mut client = Client::open(self.at, &bytes, &self.poll);
        self.until(|| client.is_over(script.is_wild));
        let is_answered = client.is_answered;
        drop(client);
        if !is_answered {
            self.canary();
        }
        let backend = self.gateway.registry().get(&self.backend).expect("its routes are live");
        self.until(|| backend.is_idle());
        // what was written before it was idle lies in our sockets
        self.origin.turn(self.poll.registry());
        Seen { requests: std::mem::take(&mut self.origin.seen), is_answered }
    }

    /// Whatever a client did, others are served; and what it began has had its turn by then.
    fn canary(&mut self) {
        self.canaries += 1;
        let target = format!("/canary/{}", self.canaries);
        let request = format!("GET {target} HTTP/1.1\r\nhost: canary\r\n\r\n");
        let mut client = Client::open(self.at, request.as_bytes(), &self.poll);
        self.until(|| client.has_head());
        let answer = client.bytes.escape_ascii().to_string();
        assert!(answer.starts_with("HTTP/1.1 204"), "others are not served: {answer:?}");
        let before = self.origin.seen.len();
        self.origin.seen.retain(|message| message.target != target.as_bytes());
        assert_eq!(self.origin.seen.len() + 1, before, "another canary");
    }

    /// Lets the application do its work until something holds.
    fn until(&mut self, mut holds: impl FnMut() -> bool) {
        let (mut events, started) = (Events::with_capacity(64), Instant::now());
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "nothing comes of it");
            // not all that is waited for is an event
            match self.poll.poll(&mut events, Some(Duration::from_millis(1))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => panic!("{error}"),
                _ => self.origin.turn(self.poll.registry()),
            }
        }
    }
}

/// A client that does not wait: it has sent everything.
struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    is_closed: bool,
    is_answered: bool,
    /// Of stream 1, or of all.
    is_ended: bool,
    is_ponged: bool,
}

impl Client {
    fn open(to: SocketAddr, bytes: &[u8], poll: &Poll) -> Self {
        let mut stream = std::net::TcpStream::connect(to).expect("it listens");
        // there are more connections in a minute than ports
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket has it");
        // a gateway that refuses may have closed
        let _ = stream.write_all(bytes);
        stream.set_nonblocking(true).expect("a socket has it");
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, CLIENT, Interest::READABLE).expect("it is registered once");
        Self { stream, bytes: Vec::new(), is_closed: false, is_answered: false, is_ended: false, is_ponged: false }
    }

    fn is_over(&mut self, is_wild: bool) -> bool {
        self.read();
        while let Some((kind, flags, stream, payload)) = self.take() {
            let ends = flags & 1 == 1 && stream == 1;
            match kind {
                0 => self.is_ended |= ends,
                1 => {
                    self.is_answered |= ends && is_204(&payload);
                    self.is_ended |= ends;
                }
                3 => self.is_ended |= stream == 1,
                6 => self.is_ponged |= flags & 1 == 1 && payload == PING,
                7 => self.is_closed = true,
                _ => {}
            }
        }
        self.is_closed || if is_wild { self.is_ponged } else { self.is_ended }
    }

    fn has_head(&mut self) -> bool {
        self.read();
        self.is_closed || self.bytes.ends_with(b"\r\n\r\n")
    }

    fn read(&mut self) {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return self.is_closed = true,
                Ok(read) => self.bytes.extend(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.is_closed |= error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// The next frame: kind, flags, stream, payload.
    fn take(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let header = self.bytes.first_chunk::<9>()?;
        let [a, b, c, kind, flags, stream @ ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = self.bytes.get(9..9 + length)?.to_vec();
        self.bytes.drain(..9 + length);
        Some((kind, flags, u32::from_be_bytes(stream), payload))
    }
}

/// Whether a block begins with the status 204 of the static table, behind changes of the table's size (RFC 7541 §6.3).
fn is_204(block: &[u8]) -> bool {
    block.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&0x89)
}

fn snapshot(port: u16, backend: &BackendName) -> Snapshot {
    let name = ListenerName { namespace: "a".into(), gateway: "g".into(), set: "".into(), section: "s".into() };
    let host = Host { declared: HostPattern::Any, pattern: HostPattern::Any };
    let arm = Arm { target: ArmTarget::Backend(backend.clone()), weight: 1, filters: Vec::new() };
    let rule = Rule {
        name: RuleName { kind: RouteKind::HTTPRoute, namespace: "a".into(), route: "r".into(), index: 0 },
        title: "".into(),
        created: 0,
        attachments: vec![Attachment { listener: name.clone(), hosts: vec![host] }].into(),
        matches: vec![Match::everything()].into(),
        filters: Vec::new(),
        action: Action::Forward(Split { arms: vec![arm].into(), cold: ColdArm::Hold }),
        timeouts: Timeouts::default(),
        retry: None,
    };
    let listener = Listener {
        name,
        port,
        protocol: Protocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None, gate: None,
    };
    let mut snapshot = Snapshot::default();
    snapshot.insert_listener(listener.into());
    snapshot.insert_rule(rule.into());
    snapshot.insert_backend(Arc::new(Backend {
        name: backend.clone(),
        protocol: BackendProtocol::Http1,
        hostname: None,
        tls: None,
        proxy_protocol: None,
        concurrency: 0,
        queue: QueueBounds::default(),
        scales: None,
        wait: Wait::default(),
        retries: None,
    }));
    snapshot
}
