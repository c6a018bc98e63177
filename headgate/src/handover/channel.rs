//! The Unix socket between two processes: whole messages with descriptors, each wait limited. It believes nobody but its own user, and never takes a file that is not a socket out of the way.

use super::message::{Message, SOCKETS_MAX};
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::{
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
        recvmsg, sendmsg, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
    process::geteuid,
};
use std::{
    fs,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// One message without its descriptors, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// How many may wait until they are answered.
const BACKLOG: i32 = 8;

/// A connection to the other process.
pub struct Channel(OwnedFd);

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its process, as this one's namespace numbers it; 0 if that does not.
    pub pid: i32,
}

impl Peer {
    /// Whether it is of the user of this process.
    pub fn is_own_user(self) -> bool {
        self.uid == geteuid().as_raw()
    }
}

impl Channel {
    /// To the process that serves at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let socket = seqpacket()?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(socket))
    }

    /// Who is at the other end: of a listening socket, who made it listen.
    pub fn peer(&self) -> io::Result<Peer> {
        let peer = nix::sys::socket::getsockopt(&self.0, PeerCredentials)?;
        Ok(Peer { uid: peer.uid(), pid: peer.pid() })
    }

    /// Sends a message, within `limit`.
    pub fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>], limit: Duration) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        set_socket_timeout(&self.0, Timeout::Send, Some(limit))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(invalid("too many sockets for one message"));
        }
        sendmsg(&self.0, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL)
            .map_err(|error| late(error, limit))?;
        Ok(())
    }

    /// The next message, within `limit`.
    pub fn receive(&self, limit: Duration) -> io::Result<(Message, Vec<OwnedFd>)> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(limit))?;
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut beside, RecvFlags::CMSG_CLOEXEC)
            .map_err(|error| late(error, limit))?;
        let descriptors = beside
            .drain()
            .filter_map(|one| match one {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(invalid("it said more than fits: are there too many open files?"));
        }
        match &text[..received.bytes] {
            [] => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended, or broke off")),
            text => Ok((serde_json::from_slice(text)?, descriptors)),
        }
    }
}

/// The Unix socket at which a process is followed.
pub struct Door {
    socket: OwnedFd,
    path: PathBuf,
}

impl Door {
    /// Opens it at `path`, where nobody listens: what is left there of one that was killed is replaced.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(invalid("something else is there, which is not replaced"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let _ = fs::remove_file(&beside);
        let opened = Self::at(&beside).and_then(|socket| {
            // it is in its place in one step, and with its rights
            fs::rename(&beside, path)?;
            Ok(Self { socket, path: path.to_owned() })
        });
        opened.inspect_err(|_| drop(fs::remove_file(&beside)))
    }

    fn at(path: &Path) -> io::Result<OwnedFd> {
        let socket = seqpacket()?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        // nobody gets in before it listens
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    /// The one of an earlier process.
    pub fn inherited(socket: OwnedFd, path: &Path) -> Self {
        Self { socket, path: path.to_owned() }
    }

    /// The next process that comes. Waits for ever.
    pub fn accept(&self) -> io::Result<Channel> {
        Ok(Channel(accept_with(&self.socket, SocketFlags::CLOEXEC)?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A limit that passed, in words.
fn late(error: rustix::io::Errno, limit: Duration) -> io::Error {
    match error {
        rustix::io::Errno::AGAIN => {
            io::Error::new(io::ErrorKind::TimedOut, format!("it said nothing for {} s", limit.as_secs()))
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(10);

    fn pair(home: &Path) -> (Channel, Channel) {
        let path = home.join("door");
        let door = Door::open(&path).unwrap();
        let there = Channel::open(&path).unwrap();
        (there, door.accept().unwrap())
    }

    #[test]
    fn sockets_pass_and_are_the_same_ones() {
        let home = tempfile::tempdir().unwrap();
        let (new, old) = pair(home.path());
        assert!(new.peer().unwrap().is_own_user() && old.peer().unwrap().is_own_user());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let message = Message::Sockets { sockets: Vec::new(), more: false };
        let many = vec![listener.as_fd(); SOCKETS_MAX];
        old.send(&message, &many, LIMIT).unwrap();
        drop(listener);
        let (received, descriptors) = new.receive(LIMIT).unwrap();
        assert_eq!((received, descriptors.len()), (message, SOCKETS_MAX));
        for descriptor in descriptors {
            assert_eq!(TcpListener::from(descriptor).local_addr().unwrap(), at);
        }
        let too_many = vec![new.0.as_fd(); 2 * SOCKETS_MAX];
        assert!(old.send(&Message::Ready, &too_many, LIMIT).is_err());
    }

    #[test]
    fn an_end_and_a_silence_are_told_apart() {
        let home = tempfile::tempdir().unwrap();
        let (new, old) = pair(home.path());
        let silent = new.receive(Duration::from_millis(10)).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        drop(old);
        assert_eq!(new.receive(LIMIT).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_door_is_of_its_user_alone_and_replaces_what_was_left_but_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("door");
        drop(Door::open(&path).unwrap());
        assert_eq!(Channel::open(&path).map(drop).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let door = Door::open(&path).unwrap();
        assert_eq!(fs::metadata(door.path()).unwrap().permissions().mode() & 0o777, 0o600);
        Channel::open(&path).unwrap();
        let file = home.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(Door::open(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing else is left");
    }
}
