//! Listening sockets: one per port, whose core hands each accepted socket to the less loaded of two cores. Never reads a byte.

use crate::core::{Core, Post};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    rc::Rc,
    time::Duration,
};

/// The sockets that listen now, by port of the API. Can be seeded with sockets that were opened elsewhere.
#[derive(Default)]
pub struct Inventory {
    open: BTreeMap<u16, Vec<SocketAddr>>,
}

impl Inventory {
    /// Which of `wanted` are not open yet.
    pub fn missing(&self, wanted: &[u16]) -> Vec<u16> {
        wanted.iter().copied().filter(|port| !self.open.contains_key(port)).collect()
    }

    /// Which are open and no longer wanted; forgets them.
    pub fn take_surplus(&mut self, wanted: &[u16]) -> Vec<u16> {
        let surplus: Vec<u16> = self.open.keys().copied().filter(|port| !wanted.contains(port)).collect();
        surplus.iter().for_each(|port| drop(self.open.remove(port)));
        surplus
    }

    /// Opens `port` (of the API) at `actual` on each address. An address family that the machine lacks is skipped.
    pub fn open(&mut self, addresses: &[IpAddr], port: u16, actual: u16) -> io::Result<Vec<TcpListener>> {
        let mut listeners = Vec::new();
        let mut actual = actual;
        for address in addresses {
            match bind(SocketAddr::new(*address, actual)) {
                Ok(listener) => {
                    // Port 0 in tests: all families share the first one's choice.
                    actual = listener.local_addr()?.port();
                    listeners.push(listener);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && !listeners.is_empty() => {}
                Err(error) if error.raw_os_error() == Some(97) => {}
                Err(error) => return Err(error),
            }
        }
        if listeners.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let at = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
        self.open.insert(port, at);
        Ok(listeners)
    }

    /// Where `port` of the API really listens.
    pub fn addresses(&self, port: u16) -> &[SocketAddr] {
        self.open.get(&port).map_or(&[], Vec::as_slice)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: i32 = 4096;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts for ever. Running out of descriptors pauses it, and nothing else (the sockets wait in the backlog).
pub async fn accept_loop(core: Rc<Core>, listener: tokio::net::TcpListener, port: u16) {
    const PAUSE: Duration = Duration::from_millis(20);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let target = core.less_loaded_of_two();
                if !core.shared.admit_connection(target) {
                    core.shared.telemetry.refused_connection();
                    continue;
                }
                if target == core.id {
                    core.spawn_connection(socket, port);
                } else if let Ok(socket) = socket.into_std() {
                    core.shared.post(target, Post::Connection(socket, port));
                } else {
                    core.shared.release_connection(target);
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

/// Errors that concern the connection that was to be accepted, not the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
