//! Whom this process follows, and who follows it: from the first word to the end of its drain. It decides nothing of what is served.

use crate::{
    handover::{self, Ask, Begun, Door, Predecessor},
    systemd::passed::Passed,
};
use headgate_gateway::{Gateway, Inheritance, Inherited, Opened};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// What FileDescriptorName= of a socket of the admin port is.
const ADMIN: &str = "admin";
/// How long connections may be quiet once the ports are with another process: who asks again meanwhile is told that this one ends, and
/// finds the other.
const LEAVE: Duration = Duration::from_secs(5);

/// Where a process stands in the line of those that serve at one path.
pub enum Succession {
    /// In none.
    Alone,
    /// Nobody was there before it.
    First(Door),
    /// It follows another, which still serves.
    After(Box<Predecessor>),
    /// It serves, and may be followed.
    Serves(mpsc::Receiver<Ask>, PathBuf),
}

impl Succession {
    /// Asks who serves at `path`.
    ///
    /// # Errors
    /// In words, if that does not give its sockets.
    pub fn begin(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::Alone) };
        Ok(match handover::begin(path)? {
            Begun::First(door) => Self::First(door),
            Begun::After(predecessor) => Self::After(predecessor),
        })
    }

    /// The sockets of who was there before.
    pub fn inheritance(&mut self, bind: &[IpAddr]) -> Inheritance {
        let Self::After(predecessor) = self else { return Inheritance::default() };
        let inheritance = std::mem::take(&mut predecessor.inheritance);
        for at in inheritance.sockets.iter().filter_map(|one| elsewhere(one, bind)) {
            tracing::warn!(%at, "it listens there as the process before it did: --bind is for ports that are opened anew");
        }
        inheritance
    }

    /// It serves: who was there before accepts no more once this returns, and this one may be followed. Says whom it followed.
    ///
    /// # Errors
    /// In words, if the other one serves on: then this one must not.
    pub async fn ready(&mut self) -> Result<Option<i32>, String> {
        let (door, pid) = match std::mem::replace(self, Self::Alone) {
            Self::First(door) => (door, None),
            Self::After(predecessor) => {
                let pid = predecessor.pid;
                let told = tokio::task::spawn_blocking(|| predecessor.ready()).await;
                (told.map_err(|error| error.to_string())??, Some(pid))
            }
            other => {
                *self = other;
                return Ok(None);
            }
        };
        let path = door.path().to_owned();
        let asks = handover::give(door).map_err(|error| format!("no thread for the handover: {error}"))?;
        *self = Self::Serves(asks, path);
        Ok(pid)
    }

    /// Gives the sockets to whoever asks, until one of them serves: its process. Then nothing is accepted here any more.
    pub async fn followed(&mut self, gateway: &Gateway, grace: Duration) -> i32 {
        let Self::Serves(asks, _) = self else { return std::future::pending().await };
        while let Some(ask) = asks.recv().await {
            match ask {
                // who asked may be gone
                Ask::Sockets(reply) => drop(reply.send(gateway.lend().await)),
                Ask::Yield(pid, reply) => {
                    gateway.yield_ports(Instant::now() + grace).await;
                    let _ = reply.send(());
                    *self = Self::Alone;
                    return pid;
                }
            }
        }
        std::future::pending().await
    }

    /// It ends, and was not followed: whoever comes now is the first again.
    pub fn end(&mut self) {
        if let Self::Serves(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
        *self = Self::Alone;
    }
}

/// Where a socket listens, if `--bind` would not have it there.
fn elsewhere(one: &Inherited, bind: &[IpAddr]) -> Option<SocketAddr> {
    one.socket.local_addr().ok().filter(|at| !one.held && !bind.contains(&at.ip()))
}

/// Drains after another process has taken over the ports: first whoever asks again is sent there.
pub async fn drain_followed(gateway: &Gateway, grace: Duration) -> usize {
    const POLL: Duration = Duration::from_millis(5);
    let until = Instant::now() + grace;
    let leave = Instant::now() + LEAVE.min(grace / 2);
    while gateway.connections() > 0 && Instant::now() < leave {
        tokio::time::sleep(POLL).await;
    }
    gateway.drain(until.saturating_duration_since(Instant::now())).await
}

/// What a service manager passed joins what a process before this one gave, which comes first: they are most often the same sockets.
/// The admin port is at `admin`, or nowhere.
pub fn join(passed: Vec<Passed>, given: Inheritance, admin: Option<SocketAddr>) -> Inheritance {
    let is_wanted = |at: SocketAddr| admin.is_some_and(|wanted| wanted == at || wanted.port() == 0);
    let of_admin = given.admin.filter(|socket| socket.local_addr().is_ok_and(is_wanted));
    let mut joined = Inheritance { admin: of_admin, ..given };
    let known: BTreeSet<_> = joined.sockets.iter().map(Inherited::place).collect();
    for Passed { name, socket } in passed {
        let Ok(at) = socket.local_addr() else { continue };
        match socket {
            Opened::Tcp(socket) if name == ADMIN || admin == Some(at) => joined.admin = joined.admin.or(Some(socket)),
            socket => {
                let one = Inherited { port: at.port(), socket, held: true };
                if !known.contains(&one.place()) {
                    joined.sockets.push(one);
                }
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn tcp() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let at = socket.local_addr().unwrap();
        (socket, at)
    }

    fn passed(name: &str, socket: Opened) -> Passed {
        Passed { name: name.to_owned(), socket }
    }

    #[test]
    fn the_admin_port_is_known_by_its_address_or_its_name() {
        for (name, is_named) in [("web", false), ("admin", true)] {
            let (socket, at) = tcp();
            let wanted = if is_named { SocketAddr::from(([127, 0, 0, 1], 1)) } else { at };
            let joined = join(vec![passed(name, Opened::Tcp(socket))], Inheritance::default(), Some(wanted));
            assert_eq!(joined.admin.unwrap().local_addr().unwrap(), at);
            assert!(joined.sockets.is_empty());
        }
        let (socket, _) = tcp();
        let joined = join(vec![passed("web", Opened::Tcp(socket))], Inheritance::default(), None);
        assert!(joined.admin.is_none() && joined.sockets.len() == 1);
    }

    #[test]
    fn an_admin_port_that_is_wanted_elsewhere_now_is_let_go() {
        let ((old, at), (_other, elsewhere)) = (tcp(), tcp());
        for (wanted, kept) in [(Some(at), true), (Some(elsewhere), false), (None, false)] {
            let given = Inheritance { admin: Some(old.try_clone().unwrap()), ..Inheritance::default() };
            assert_eq!(join(Vec::new(), given, wanted).admin.is_some(), kept, "{wanted:?}");
        }
    }

    #[test]
    fn a_port_that_both_give_is_used_once() {
        let (socket, at) = tcp();
        let datagrams = UdpSocket::bind(at).unwrap();
        let given = |held| Inherited { port: at.port(), socket: Opened::Tcp(socket.try_clone().unwrap()), held };
        let both = vec![passed("web", Opened::Tcp(socket.try_clone().unwrap())), passed("dns", Opened::Udp(datagrams))];
        let joined = join(both, Inheritance { sockets: vec![given(true)], admin: None }, None);
        let kinds: Vec<bool> = joined.sockets.iter().map(|one| one.socket.is_tcp()).collect();
        assert_eq!(kinds, [true, false], "of the same port, UDP is another place");
        assert!(joined.sockets.iter().all(|one| one.held));
    }

    #[test]
    fn where_a_socket_listens_is_told_if_it_is_elsewhere() {
        let (socket, at) = tcp();
        let mut one = Inherited { port: at.port(), socket: Opened::Tcp(socket), held: false };
        assert_eq!(elsewhere(&one, &[at.ip()]), None);
        let other: IpAddr = [10, 0, 0, 1].into();
        assert_eq!(elsewhere(&one, &[other]), Some(at));
        one.held = true;
        assert_eq!(elsewhere(&one, &[other]), None, "a service manager decides that");
    }
}
