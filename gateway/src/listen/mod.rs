//! From an accepted socket to requests: sniffs what is spoken and serves it. Never decides where a request goes.

mod accept;
mod crowd;
mod hello;
mod http1;
mod http2;
mod inherited;
mod proxied;
pub mod tls;
mod workers;

pub use accept::{Inventory, Opened, Place, accept_loop};
pub use crowd::{Clients, Crowd};
pub use inherited::{Inheritance, Inherited};
pub use proxied::Proxied;
pub use workers::Workers;

use crate::{
    carry::{self, Failed, Incoming},
    core::Counted,
    deadline::Timer,
    drain::Ear,
    io::{Io, SharedIo},
    pool::OwnPool,
    telemetry::Spoken,
    wait::Parked,
};
use crowd::OfClient;
use headgate_config::{Protocol, Scheme};
use headgate_proxy_protocol::Ends;
use hello::Hello;
use std::{
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// What is known of a connection; every request on it is judged by this.
#[derive(Debug)]
pub struct Connection {
    /// The client, and where it connected to.
    pub ends: Ends,
    /// The port of the listener, as the API has it.
    pub port: u16,
    /// The port that clients use for it.
    pub public_port: u16,
    /// Plain or TLS.
    pub scheme: Scheme,
    /// What the TLS connection was opened for: a request of another listener or policy is misdirected.
    pub opened_for: Option<Arc<tls::OpenedFor>>,
    /// Connections to endpoints that are told of this client, and so serve nobody else.
    pub upstreams: OwnPool,
    /// Counted for its client, where each may have so many only.
    _of_client: Option<OfClient>,
}

impl Connection {
    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.ends.source.ip()
    }
}

/// The first bytes of HTTP/2 by prior knowledge (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection does while it is at work; then it pauses, or is over. In a box of its own, which a pause gives back.
type Work = Pin<Box<dyn Future<Output = Option<Pause>>>>;

/// A connection of HTTP/1 on which nothing happens: its request waits, or there is none.
type Pause = (http1::Http1, Option<Box<Parked>>);

/// Serves a socket that was accepted from there to its end.
///
/// What is awaited here is small, since there may be very many that wait. So it is no `async fn`, which would keep its arguments twice.
pub fn serve(core: Counted, socket: TcpStream, from: SocketAddr, port: u16) -> impl Future<Output = ()> {
    // in a box of its own, which is gone once it is known what is spoken
    let begins = Box::pin(begin(core, socket, from, port));
    async move {
        let Some(mut work) = begins.await else { return };
        loop {
            let Some((mut http1, parked)) = work.await else { return };
            work = match parked {
                Some(mut parked) => {
                    let granted = poll_fn(|cx| http1.poll_parked(&mut parked, cx)).await;
                    Box::pin(http1.resume(parked, granted))
                }
                None => {
                    let rests_until = http1.rests_until();
                    if !poll_fn(|cx| http1.poll_rest(rests_until, cx)).await {
                        return;
                    }
                    Box::pin(http1.work())
                }
            };
        }
    }
}

async fn begin(core: Counted, mut socket: TcpStream, source: SocketAddr, port: u16) -> Option<Work> {
    let Ok(destination) = socket.local_addr() else { return None };
    let _ = socket.set_nodelay(true);
    let own = Ends { source: plain(source), destination: plain(destination) };
    let is_proxied = core.shared.proxied.ports.contains(&port);
    let ends = if is_proxied { Box::pin(proxied::ends(&core, &mut socket, port, own)).await? } else { own };
    let of_client = match core.shared.clients.admit(ends.source.ip()) {
        Ok(of_client) => of_client,
        Err(crowd) => {
            core.shared.telemetry.refused_connection(crowd);
            return None;
        }
    };
    let connection = Connection {
        ends,
        port,
        _of_client: of_client,
        public_port: destination.port(),
        scheme: Scheme::Http,
        opened_for: None,
        upstreams: OwnPool::default(),
    };
    match core.protocol(port) {
        Protocol::Https | Protocol::Tls => serve_tls(core, socket, connection).await,
        Protocol::Tcp => {
            carry::serve(&core, Incoming::plain(socket, ends, port)).await;
            None
        }
        Protocol::Http | Protocol::Udp => sniff(core, SharedIo::new(Io::Tcp(socket)), connection).await,
    }
}

/// A client of IPv4 that came by a socket of both families is one of IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

async fn serve_tls(core: Counted, mut socket: TcpStream, connection: Connection) -> Option<Work> {
    let started = Instant::now();
    let limit = core.shared.limits.tls_handshake;
    let Connection { ends, port, .. } = connection;
    let told = |failed: Failed| {
        carry::refused(&core, ends.source.ip(), port, Spoken::Tls, started, failed);
        None
    };
    let ear = Ear::new(&core.bell);
    let Ok(read) = tokio::time::timeout(limit, hello::read(&core, &mut socket, &ear)).await else { return None };
    let Hello { name, bytes, accepted } = match read {
        Ok(Some(hello)) => hello,
        Ok(None) => return None,
        Err(fault) => return told(Failed { name: None, fault }),
    };
    let way = match tls::way(&core, port, name.as_ref()) {
        Ok(way) => way,
        Err(failure) => {
            // no alert: the official tests want a name that nobody serves to look like a port that nobody serves
            Io::Tcp(socket).reset();
            return told(Failed { name, fault: failure.into() });
        }
    };
    // exactly what was read: it may wait for long
    let read = if matches!(way, tls::Way::Through) { bytes.as_slice().to_vec() } else { Vec::new() };
    core.buffers.give(bytes);
    let (config, opened_for) = match way {
        tls::Way::Through => {
            carry::serve(&core, Incoming::tls_as_it_came(socket, read, ends, port, name)).await;
            return None;
        }
        tls::Way::Requests(config, opened_for) => (config, Some(opened_for)),
        tls::Way::Ended(config) => (config, None),
    };
    let until = tokio::time::Instant::from_std(started + limit);
    let Ok(turn) = tokio::time::timeout_at(until, core.shared.handshakes.acquire()).await else {
        core.shared.telemetry.refused_connection(Crowd::Handshakes);
        return None;
    };
    let shaken = tokio::time::timeout_at(until, tls::shake_hands(accepted, socket, config)).await;
    drop(turn);
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(fault)) => return told(Failed { name, fault }),
        Err(_) => return None,
    };
    let Some(opened_for) = opened_for else {
        carry::serve(&core, Incoming::tls_ended(stream, ends, port, name)).await;
        return None;
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let connection = Connection { scheme: Scheme::Https, opened_for: Some(opened_for), ..connection };
    let io = Io::TlsServer(Box::new(stream));
    Some(if is_http2 {
        Box::pin(http2::serve(core, io, connection, Vec::new()))
    } else {
        Box::pin(http1::Http1::new(core, SharedIo::new(io), connection, Vec::new()).work())
    })
}

/// Reads until it is certain whether HTTP/2 is spoken: one differing byte is enough, so no request waits for 24 bytes.
async fn sniff(core: Counted, io: SharedIo, connection: Connection) -> Option<Work> {
    let mut read = core.buffers.take();
    let mut timer = Timer::default();
    let ear = Ear::new(&core.bell);
    let started = Instant::now();
    let limit = core.shared.limits.keep_alive_idle;
    loop {
        // what has come is read first: a request that is here already is served
        let fill = poll_fn(|cx| match io.poll_fill(cx, &mut read) {
            Poll::Pending if core.shared.memory.is_critical() => Poll::Ready(Ok(0)),
            Poll::Pending => ear.poll_rung(cx).map(|()| Ok(0)),
            filled => filled,
        });
        let filled = timer.bound(|| Some(started + limit), fill).await;
        match filled {
            Some(Ok(1..)) => {}
            _ => {
                core.buffers.give(read);
                return None;
            }
        }
        let seen = read.len().min(PREFACE.len());
        if read[..seen] != PREFACE[..seen] {
            return Some(Box::pin(http1::Http1::new(core, io, connection, read).work()));
        }
        if seen == PREFACE.len() {
            return Some(Box::pin(http2::serve(core, io.into_io()?, connection, read)));
        }
    }
}

/// Reads and throws away what the client still sends, for a short time, so that closing does not destroy our last answer.
async fn linger(io: &SharedIo) {
    const LINGER: Duration = Duration::from_millis(500);
    const LINGER_BYTES_MAX: usize = 256 * 1024;
    let drained = async {
        let _ = poll_fn(|cx| io.poll_shutdown(cx)).await;
        let mut trash = Vec::with_capacity(16 * 1024);
        let mut total = 0;
        while total < LINGER_BYTES_MAX {
            trash.clear();
            match poll_fn(|cx| io.poll_fill(cx, &mut trash)).await {
                Ok(read @ 1..) => total += read,
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drained).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    /// Tokio adds about 104 bytes to a future and rounds up to 128.
    #[test]
    fn a_connection_whose_request_waits_is_a_small_task() {
        let connection = future(|(core, socket, from, port)| serve(core, socket, from, port));
        let stream = future(|(core, stream, parked)| workers::wait(core, stream, parked));
        assert!(connection <= 152 && stream <= 152, "{connection} {stream}");
    }
}
