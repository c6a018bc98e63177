//! Listening sockets that somebody else opened: a service manager, or the process that served before. Never opens one, and never gives one to two listeners.

use super::{Opened, Place};
use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

/// A socket that listens already.
pub struct Inherited {
    /// The port of the API that it is for: most often the one that it is bound to.
    pub port: u16,
    /// The socket.
    pub socket: Opened,
    /// Whether it is kept while no listener wants it, since only who opened it could open it again.
    pub held: bool,
}

/// What a gateway starts with, and what it gives to the one that follows it.
#[derive(Default)]
pub struct Inheritance {
    /// For listeners: those of a port are used instead of opening it.
    pub sockets: Vec<Inherited>,
    /// Of the admin port: used instead of opening it.
    pub admin: Option<TcpListener>,
}

impl Opened {
    /// The same socket once more.
    ///
    /// # Errors
    /// If there are too many descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Udp(socket) => socket.try_clone().map(Self::Udp),
        }
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// If it is none of IP.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }

    /// Whether it is of TCP.
    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// The same, of a socket that is in use.
    pub(crate) fn shared_tcp(socket: &impl AsFd) -> io::Result<Self> {
        Ok(Self::Tcp(TcpListener::from(socket.as_fd().try_clone_to_owned()?)))
    }

    /// The same, of a socket that tokio has.
    pub(crate) fn shared_udp(socket: &impl AsFd) -> io::Result<Self> {
        Ok(Self::Udp(UdpSocket::from(socket.as_fd().try_clone_to_owned()?)))
    }

    fn ready_to_use(self) -> io::Result<(Self, SocketAddr)> {
        let at = self.local_addr()?;
        match &self {
            Self::Tcp(socket) => socket.set_nonblocking(true)?,
            Self::Udp(socket) => socket.set_nonblocking(true)?,
        }
        Ok((self, at))
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

impl Inherited {
    /// The port of the API that it is for.
    pub fn place(&self) -> Place {
        let transport =
            if self.socket.is_tcp() { headgate_config::Transport::Tcp } else { headgate_config::Transport::Udp };
        (transport, self.port)
    }
}

/// Takes those of a port, with their addresses; what is held stays, and what is given is the same socket once more.
pub(super) fn take(inherited: &mut Vec<Inherited>, place: Place) -> io::Result<Vec<(Opened, SocketAddr)>> {
    let (of_place, others): (Vec<_>, Vec<_>) =
        std::mem::take(inherited).into_iter().partition(|one| one.place() == place);
    *inherited = others;
    let mut taken = Vec::new();
    for one in of_place {
        if one.held {
            taken.push(one.socket.try_clone()?.ready_to_use()?);
            inherited.push(one);
        } else {
            taken.push(one.socket.ready_to_use()?);
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_config::Transport;

    fn tcp(held: bool) -> Inherited {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Inherited { port: socket.local_addr().unwrap().port(), socket: Opened::Tcp(socket), held }
    }

    #[test]
    fn a_socket_is_given_once_and_one_that_is_held_again() {
        for held in [false, true] {
            let one = tcp(held);
            let (place, at) = (one.place(), one.socket.local_addr().unwrap());
            let mut inherited = vec![one, tcp(false)];
            let taken = take(&mut inherited, place).unwrap();
            assert_eq!(taken.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [at]);
            assert_eq!(inherited.len(), 1 + usize::from(held), "the other one stays");
            drop(taken);
            assert_eq!(take(&mut inherited, place).unwrap().len(), usize::from(held));
        }
    }

    #[test]
    fn a_socket_of_datagrams_is_none_of_connections() {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut inherited = vec![Inherited { port, socket: Opened::Udp(socket), held: false }];
        assert!(take(&mut inherited, (Transport::Tcp, port)).unwrap().is_empty());
        assert_eq!(take(&mut inherited, (Transport::Udp, port)).unwrap().len(), 1);
    }
}
