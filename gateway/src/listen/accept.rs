//! Listening sockets: one per port, whose core hands each accepted socket to the less loaded of two cores; ports of datagrams stay on theirs. Never reads a byte.

use super::inherited::{self, Inherited};
use crate::core::{Core, Post};
use headgate_config::Transport;
#[cfg(not(target_vendor = "apple"))]
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    rc::Rc,
    time::Duration,
};
use tokio::io::unix::AsyncFd;

/// A transport and a port, as the API has it.
pub type Place = (Transport, u16);

/// A socket that is open.
pub enum Opened {
    /// Accepts connections.
    Tcp(TcpListener),
    /// Receives datagrams.
    Udp(UdpSocket),
}

/// The sockets that listen now, by port of the API, and those that were opened elsewhere and wait for a listener.
#[derive(Default)]
pub struct Inventory {
    open: BTreeMap<Place, Vec<SocketAddr>>,
    inherited: Vec<Inherited>,
    is_settled: bool,
}

impl Inventory {
    /// Nothing is open but what was opened elsewhere.
    pub fn new(inherited: Vec<Inherited>) -> Self {
        Self { inherited, ..Self::default() }
    }

    /// The sockets that were opened elsewhere and that no listener uses, once: those that are held stay, the others are closed.
    pub fn settle(&mut self) -> Vec<(SocketAddr, bool)> {
        if std::mem::replace(&mut self.is_settled, true) {
            return Vec::new();
        }
        let is_used = |one: &Inherited| self.open.contains_key(&one.place());
        let unused = self.inherited.iter().filter(|one| !is_used(one));
        let told = unused.filter_map(|one| Some((one.socket.local_addr().ok()?, one.held))).collect();
        self.inherited.retain(|one| one.held);
        told
    }

    /// Those that are held.
    pub fn held(&self) -> impl Iterator<Item = &Inherited> {
        self.inherited.iter().filter(|one| one.held)
    }

    /// Which of `wanted` are not open yet.
    pub fn missing(&self, wanted: &[Place]) -> Vec<Place> {
        wanted.iter().copied().filter(|place| !self.open.contains_key(place)).collect()
    }

    /// Which are open and no longer wanted; forgets them.
    pub fn take_surplus(&mut self, wanted: &[Place]) -> Vec<Place> {
        let surplus: Vec<Place> = self.open.keys().copied().filter(|place| !wanted.contains(place)).collect();
        surplus.iter().for_each(|place| drop(self.open.remove(place)));
        surplus
    }

    /// Opens a port of the API at `actual` on each address. An address family that the machine lacks is skipped. A port for which
    /// sockets were opened elsewhere listens at those, and nowhere else: another at the same port would often be refused.
    pub fn open(&mut self, addresses: &[IpAddr], place: Place, actual: u16) -> io::Result<Vec<Opened>> {
        let (mut opened, mut at): (Vec<Opened>, Vec<SocketAddr>) =
            inherited::take(&mut self.inherited, place)?.into_iter().unzip();
        if !opened.is_empty() {
            self.open.insert(place, at);
            return Ok(opened);
        }
        let mut actual = actual;
        for address in addresses {
            match bind(place.0, SocketAddr::new(*address, actual)) {
                Ok((socket, address)) => {
                    // Port 0 in tests: all families share the first one's choice.
                    actual = address.port();
                    opened.push(socket);
                    at.push(address);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && !opened.is_empty() => {}
                Err(error) if error.raw_os_error() == Some(97) => {}
                Err(error) => return Err(error),
            }
        }
        if opened.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        self.open.insert(place, at);
        Ok(opened)
    }

    /// Where a port of the API really listens.
    pub fn addresses(&self, place: Place) -> &[SocketAddr] {
        self.open.get(&place).map_or(&[], Vec::as_slice)
    }
}

fn bind(transport: Transport, address: SocketAddr) -> io::Result<(Opened, SocketAddr)> {
    const BACKLOG: i32 = 4096;
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    // for UDP it would let another process share the port
    if transport.is_tcp() {
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let opened = match transport {
        Transport::Tcp => {
            socket.listen(BACKLOG)?;
            let listener = TcpListener::from(socket);
            let at = listener.local_addr()?;
            (Opened::Tcp(listener), at)
        }
        Transport::Udp => {
            let socket = UdpSocket::from(socket);
            let at = socket.local_addr()?;
            (Opened::Udp(socket), at)
        }
    };
    Ok(opened)
}

/// Accepts for ever. Running out of descriptors pauses it, and nothing else (the sockets wait in the backlog).
pub async fn accept_loop(core: Rc<Core>, listener: Rc<AsyncFd<TcpListener>>, port: u16) {
    const PAUSE: Duration = Duration::from_millis(20);
    loop {
        match accept(&listener).await {
            Ok((socket, from)) => {
                let target = core.less_loaded_of_two();
                if let Err(crowd) = core.shared.admit_connection(target) {
                    core.shared.telemetry.refused_connection(crowd);
                    continue;
                }
                if target == core.id {
                    core.spawn_connection(socket, from, port);
                } else {
                    core.shared.post(target, Post::Connection(socket, from, port));
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, port, "accept failed; pausing");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The next connection, which no runtime knows yet: half of them are another core's, and each would be registered here for nothing.
async fn accept(listener: &AsyncFd<TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        if let Ok(accepted) = listener.readable().await?.try_io(|listener| accept_now(listener.get_ref())) {
            return accepted;
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn accept_now(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, from) = rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
    from.map(|from| (TcpStream::from(socket), from)).ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
}

/// One call more, where none does both.
#[cfg(target_vendor = "apple")]
fn accept_now(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, from) = listener.accept()?;
    socket.set_nonblocking(true).map(|()| (socket, from))
}

/// Errors that concern the connection that was to be accepted, not the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
