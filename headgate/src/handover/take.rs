//! The process that follows: asks who serves for the sockets, and says when it serves itself. It never opens a socket, and never goes on where it is not certain that the other one lets it.

use super::{
    channel::{Channel, Door},
    message::{Described, Message, PROTOCOL, SOCKETS_MAX},
};
use headgate_gateway::{Inheritance, Inherited, Opened};
use rustix::net::{SocketType, sockopt};
use std::{
    io,
    net::{TcpListener, UdpSocket},
    os::fd::OwnedFd,
    path::Path,
    time::Duration,
};

/// How long a step of the other process may take.
const STEP: Duration = Duration::from_secs(20);
/// Messages with sockets; more are a mistake.
const PARTS_MAX: usize = 1_000;

/// Who serves at a path.
pub enum Begun {
    /// Nobody: this process is the first.
    First(Door),
    /// Another process, which goes on until [`Predecessor::ready`].
    After(Box<Predecessor>),
}

/// The process that is followed.
pub struct Predecessor {
    channel: Channel,
    /// The sockets that it gave.
    pub inheritance: Inheritance,
    door: Door,
    /// Its process.
    pub pid: i32,
}

/// Asks who serves at `path`.
///
/// # Errors
/// In words: if that refuses, says nothing, or is of another user.
pub fn begin(path: &Path) -> Result<Begun, String> {
    let told = |why: String| format!("--handover {}: {why}", path.display());
    let channel = match Channel::open(path) {
        Ok(channel) => channel,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Door::open(path).map(Begun::First).map_err(|error| told(error.to_string()));
        }
        Err(error) => return Err(told(error.to_string())),
    };
    take(channel, path).map(|predecessor| Begun::After(Box::new(predecessor))).map_err(told)
}

fn take(channel: Channel, path: &Path) -> Result<Predecessor, String> {
    let broken = |error: io::Error| format!("the process that serves there does not hand over: {error}");
    let peer = channel.peer().map_err(broken)?;
    if !peer.is_own_user() {
        return Err(format!("the process that serves there is of another user ({})", peer.uid));
    }
    let take = Message::Take { protocol: PROTOCOL, program: env!("CARGO_PKG_VERSION").to_owned() };
    channel.send(&take, &[], STEP).map_err(broken)?;
    let (mut inheritance, mut door) = (Inheritance::default(), None);
    for _ in 0..PARTS_MAX {
        let (message, descriptors) = channel.receive(STEP).map_err(broken)?;
        let (sockets, more) = match message {
            Message::Sockets { sockets, more } => (sockets, more),
            Message::Refused { why } => return Err(format!("refused: {why}")),
            said => return Err(format!("the process that serves there said {said:?}")),
        };
        if sockets.len() != descriptors.len() || sockets.len() > SOCKETS_MAX {
            return Err("the process that serves there named other sockets than it gave".to_owned());
        }
        for (described, descriptor) in sockets.into_iter().zip(descriptors) {
            match described {
                Described::Listener { is_tcp, port, held } => {
                    let socket = opened(descriptor, is_tcp).map_err(broken)?;
                    inheritance.sockets.push(Inherited { port, socket, held });
                }
                Described::Admin => inheritance.admin = Some(listening(descriptor).map_err(broken)?),
                Described::Door => door = Some(Door::inherited(descriptor, path)),
            }
        }
        if !more {
            let door = door.ok_or("the process that serves there gave no way to follow this one")?;
            return Ok(Predecessor { channel, inheritance, door, pid: peer.pid });
        }
    }
    Err("the process that serves there has no end of sockets".to_owned())
}

impl Predecessor {
    /// This process serves: the other one accepts no more once this returns. Blocks for some milliseconds, most often.
    ///
    /// # Errors
    /// In words, if the other one serves on.
    pub fn ready(self) -> Result<Door, String> {
        // what it said last is heard, also if it hears no more
        let _ = self.channel.send(&Message::Ready, &[], STEP);
        match self.channel.receive(STEP) {
            Ok((Message::Done, _)) => Ok(self.door),
            Ok((Message::Refused { why }, _)) => Err(format!("the process that serves goes on: {why}")),
            Ok((said, _)) => Err(format!("the process that serves said {said:?}")),
            // it is gone, and there is no other
            Err(error) if is_gone(&error) => Ok(self.door),
            Err(error) => Err(format!("whether the other process serves is not known: {error}")),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | BrokenPipe | ConnectionReset | NotConnected)
}

fn opened(descriptor: OwnedFd, is_tcp: bool) -> io::Result<Opened> {
    if is_tcp {
        return listening(descriptor).map(Opened::Tcp);
    }
    match sockopt::socket_type(&descriptor)? {
        SocketType::DGRAM => Ok(Opened::Udp(UdpSocket::from(descriptor))),
        _ => Err(io::Error::other("a socket of UDP is none")),
    }
}

fn listening(descriptor: OwnedFd) -> io::Result<TcpListener> {
    let is_tcp = sockopt::socket_type(&descriptor)? == SocketType::STREAM;
    if is_tcp && sockopt::socket_acceptconn(&descriptor)? {
        return Ok(TcpListener::from(descriptor));
    }
    Err(io::Error::other("a listening socket is none"))
}
