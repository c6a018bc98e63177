//! The process that is followed: gives its sockets to whoever of its user asks, and stops accepting when that one serves. Whatever goes wrong before leaves it as it was.

use super::{
    channel::{Channel, Door, Peer},
    message::{Described, Message, PROTOCOL, SOCKETS_MAX},
};
use headgate_gateway::Inheritance;
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// How long a step may take that needs nothing but the other process.
const STEP: Duration = Duration::from_secs(10);
/// How long the new one may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// After an error of the socket itself.
const PAUSE: Duration = Duration::from_millis(200);

/// What the program is asked for, in the order in which it comes.
pub enum Ask {
    /// The sockets, once more each.
    Sockets(oneshot::Sender<Inheritance>),
    /// The process of that number serves: accept no more, and answer then.
    Yield(i32, oneshot::Sender<()>),
}

/// Waits at the door, in a thread of its own, for a process that follows: one at a time.
///
/// # Errors
/// If there can be no thread.
pub fn give(door: Door) -> io::Result<mpsc::Receiver<Ask>> {
    let (asks, asked) = mpsc::channel(1);
    std::thread::Builder::new().name("handover".into()).spawn(move || {
        loop {
            match door.accept() {
                Ok(channel) => {
                    if follow(&channel, &door, &asks) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, path = %door.path().display(), "cannot be followed at the moment");
                    std::thread::sleep(PAUSE);
                }
            }
        }
    })?;
    Ok(asked)
}

/// Whether the process at the other end serves now.
fn follow(channel: &Channel, door: &Door, asks: &mpsc::Sender<Ask>) -> bool {
    let refuse = |why: String| {
        tracing::warn!(why, "a process that wanted to take over was refused");
        // it is told, or gone
        let _ = channel.send(&Message::Refused { why }, &[], STEP);
        false
    };
    let peer = match believed(channel.peer()) {
        Ok(peer) => peer,
        Err(why) => return refuse(why),
    };
    match steps(channel, door, asks, peer) {
        Ok(()) => true,
        Err(Ended::Refused(why)) => refuse(why),
        Err(Ended::Broken(error)) => {
            tracing::warn!(pid = peer.pid, %error, "a process that wanted to take over did not: this one serves on");
            let why = format!("it was not heard of in time, or not understood: {error}");
            let _ = channel.send(&Message::Refused { why }, &[], STEP);
            false
        }
    }
}

/// Whether sockets are given to who is at the other end. Who is not known gets none.
fn believed(peer: io::Result<Peer>) -> Result<Peer, String> {
    match peer {
        Ok(peer) if peer.is_own_user() => Ok(peer),
        Ok(Peer { uid, .. }) => Err(format!("it is of another user ({uid}) than the process that serves")),
        Err(error) => Err(format!("its user is not known: {error}")),
    }
}

enum Ended {
    Refused(String),
    Broken(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

fn steps(channel: &Channel, door: &Door, asks: &mpsc::Sender<Ask>, peer: Peer) -> Result<(), Ended> {
    match channel.receive(STEP)?.0 {
        Message::Take { protocol: PROTOCOL, program } => {
            tracing::info!(
                pid = peer.pid,
                version = program,
                "a process takes over; this one serves until that is ready"
            );
        }
        Message::Take { protocol, .. } => {
            return Err(Ended::Refused(format!(
                "it speaks version {protocol} of the handover, and the process that serves speaks {PROTOCOL}: stop that first"
            )));
        }
        said => return Err(unexpected(&said)),
    }
    let stops = || Ended::Refused("the process that serves is about to end: try again".to_owned());
    let (reply, sockets) = oneshot::channel();
    asks.blocking_send(Ask::Sockets(reply)).map_err(|_| stops())?;
    send(channel, door, &sockets.blocking_recv().map_err(|_| stops())?)?;
    match channel.receive(READY_WITHIN)?.0 {
        Message::Ready => {}
        Message::Refused { why } => return Err(Ended::Broken(io::Error::other(why))),
        said => return Err(unexpected(&said)),
    }
    let (reply, yielded) = oneshot::channel();
    asks.blocking_send(Ask::Yield(peer.pid, reply)).map_err(|_| stops())?;
    yielded.blocking_recv().map_err(|_| stops())?;
    // the new one serves, whether it hears this or not
    let _ = channel.send(&Message::Done, &[], STEP);
    Ok(())
}

fn send(channel: &Channel, door: &Door, inheritance: &Inheritance) -> Result<(), Ended> {
    let listeners =
        inheritance.sockets.iter().map(|one| (Described::listener(one.place(), one.held), one.socket.as_fd()));
    let admin = inheritance.admin.iter().map(|socket| (Described::Admin, socket.as_fd()));
    let all: Vec<(Described, BorrowedFd<'_>)> =
        listeners.chain(admin).chain([(Described::Door, door.as_fd())]).collect();
    let mut parts = all.chunks(SOCKETS_MAX).peekable();
    while let Some(part) = parts.next() {
        let (sockets, descriptors): (Vec<Described>, Vec<BorrowedFd<'_>>) = part.iter().cloned().unzip();
        channel.send(&Message::Sockets { sockets, more: parts.peek().is_some() }, &descriptors, STEP)?;
    }
    Ok(())
}

fn unexpected(said: &Message) -> Ended {
    Ended::Refused(format!("it said {said:?}, which is not its turn"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_config::Transport;
    use headgate_gateway::{Inherited, Opened};
    use rustix::process::geteuid;
    use std::net::TcpListener;

    #[test]
    fn only_the_same_user_gets_sockets() {
        let own = geteuid().as_raw();
        assert!(believed(Ok(Peer { uid: own, pid: 7 })).is_ok());
        for other in [own + 1, 65_534, 0].into_iter().filter(|uid| *uid != own) {
            assert!(believed(Ok(Peer { uid: other, pid: 7 })).unwrap_err().contains("another user"));
        }
        assert!(believed(Err(io::Error::other("no"))).unwrap_err().contains("not known"));
    }

    /// A program that answers what it is asked, until it is asked to yield.
    fn program(mut asks: mpsc::Receiver<Ask>, sockets: usize) -> std::thread::JoinHandle<i32> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let one =
            move |port| Inherited { port, socket: Opened::Tcp(listener.try_clone().unwrap()), held: port % 2 == 1 };
        std::thread::spawn(move || {
            loop {
                match asks.blocking_recv().unwrap() {
                    Ask::Sockets(reply) => {
                        let sockets = (1..=sockets as u16).map(&one).collect();
                        assert!(reply.send(Inheritance { sockets, admin: None }).is_ok());
                    }
                    Ask::Yield(pid, reply) => {
                        reply.send(()).unwrap();
                        return pid;
                    }
                }
            }
        })
    }

    #[test]
    fn more_sockets_than_one_message_holds_are_given_and_the_door_too() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("next");
        let asks = give(Door::open(&path).unwrap()).unwrap();
        let old = program(asks, 2 * SOCKETS_MAX + 1);
        // one that goes before it is ready is as if it had not been
        for _ in 0..2 {
            assert!(matches!(super::super::begin(&path), Ok(super::super::Begun::After(_))));
        }
        let Ok(super::super::Begun::After(predecessor)) = super::super::begin(&path) else { panic!("nobody serves") };
        let places: Vec<_> = predecessor.inheritance.sockets.iter().map(|one| (one.place(), one.held)).collect();
        let wanted = (1..=2 * SOCKETS_MAX as u16 + 1).map(|port| ((Transport::Tcp, port), port % 2 == 1));
        assert_eq!(places, wanted.collect::<Vec<_>>());
        let door = predecessor.ready().unwrap();
        assert_eq!(old.join().unwrap(), std::process::id().cast_signed());
        // and so on
        let next = program(give(door).unwrap(), 1);
        let Ok(super::super::Begun::After(predecessor)) = super::super::begin(&path) else { panic!("nobody serves") };
        predecessor.ready().unwrap();
        next.join().unwrap();
    }

    #[test]
    fn another_version_and_a_wrong_turn_are_refused_in_words() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("next");
        let _asks = give(Door::open(&path).unwrap()).unwrap();
        for (said, why) in [
            (Message::Take { protocol: PROTOCOL + 1, program: "9".into() }, "speaks version"),
            (Message::Ready, "not its turn"),
        ] {
            let channel = Channel::open(&path).unwrap();
            channel.send(&said, &[], STEP).unwrap();
            let (Message::Refused { why: told }, _) = channel.receive(STEP).unwrap() else {
                panic!("it was not refused")
            };
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn a_program_that_is_about_to_end_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("next");
        drop(give(Door::open(&path).unwrap()).unwrap());
        let refused = super::super::begin(&path).map(drop).unwrap_err();
        assert!(refused.contains("about to end"), "{refused}");
    }
}
