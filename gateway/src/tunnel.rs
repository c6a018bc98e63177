//! Two streams joined, once a protocol was switched or for a connection that is not read: bytes go both ways until both ends are through. Never looks at a byte.

use crate::{
    core::Core,
    deadline::{Timer, earlier},
    drain::Ear,
    io::SharedIo,
};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// One end, with what was read of it and not used.
pub struct End {
    /// The stream.
    pub io: SharedIo,
    /// Read already.
    pub read: Vec<u8>,
}

/// What went through.
pub struct Carried {
    /// Bytes from the client.
    pub up: u64,
    /// Bytes to the client.
    pub down: u64,
    /// How it ended.
    pub ended: Ended,
}

/// How two joined streams ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both directions came to their end.
    Whole,
    /// The client broke it off.
    ByClient,
    /// The endpoint broke it off.
    ByEndpoint,
    /// Nobody sent for too long.
    Idle,
    /// The drain was over.
    Drained,
}

/// How long an end that was broken off may take to hear what the other one had said before, and to leave.
const PARTING: Duration = Duration::from_secs(5);

/// Joins two ends until both directions have ended, nobody sends for too long, or the drain's limit is reached.
pub async fn join(core: &Rc<Core>, client: End, endpoint: End, timer: &mut Timer, ear: &Ear) -> Carried {
    let last = Cell::new(Instant::now());
    let idle = core.shared.limits.tunnel_idle;
    let over = |cx: &mut Context<'_>, parted: Option<Instant>| {
        let _ = ear.poll_rung(cx);
        let until = core.bell.until();
        let limit = earlier(idle.map(|idle| last.get() + idle), until);
        let is_draining = until.is_some() && until == limit;
        let limit = earlier(limit, parted.map(|at| at + PARTING));
        timer.poll_expired(cx, limit).map(|()| if is_draining { Ended::Drained } else { Ended::Idle })
    };
    carry(client, endpoint, &last, over).await
}

/// Who broke it off first, and when.
type Parting = Cell<Option<(Ended, Instant)>>;

/// Carries both directions until they have ended, or until it is `over`, which is told since when one end is broken off. What that end said
/// before still goes to the other, which is closed in order: closed with bytes unread it would not get to read them.
async fn carry(
    client: End,
    endpoint: End,
    last: &Cell<Instant>,
    mut over: impl FnMut(&mut Context<'_>, Option<Instant>) -> Poll<Ended>,
) -> Carried {
    let (up, down, parting) = (Cell::new(0), Cell::new(0), Parting::default());
    let upward = Direction { from: &client.io, to: &endpoint.io, broken: [Ended::ByClient, Ended::ByEndpoint] };
    let downward = Direction { from: &endpoint.io, to: &client.io, broken: [Ended::ByEndpoint, Ended::ByClient] };
    let mut upward = pin!(upward.copy(client.read, &up, last, &parting));
    let mut downward = pin!(downward.copy(endpoint.read, &down, last, &parting));
    let (mut up_done, mut down_done) = (false, false);
    let ended = poll_fn(|cx| {
        up_done = up_done || upward.as_mut().poll(cx).is_ready();
        down_done = down_done || downward.as_mut().poll(cx).is_ready();
        let is_over =
            if up_done && down_done { Poll::Ready(Ended::Whole) } else { over(cx, parting.get().map(|(_, at)| at)) };
        is_over.map(|ended| parting.get().map_or(ended, |(by, _)| by))
    })
    .await;
    Carried { up: up.get(), down: down.get(), ended }
}

/// One way of a tunnel, and how it ends where it cannot be read from, or written to.
struct Direction<'t> {
    from: &'t SharedIo,
    to: &'t SharedIo,
    broken: [Ended; 2],
}

impl Direction<'_> {
    /// Copies to the end, and ends the other side then. What comes for one that takes no more is passed over.
    async fn copy(&self, first: Vec<u8>, carried: &Cell<u64>, last: &Cell<Instant>, parting: &Parting) {
        let Self { from, to, broken: [by_from, by_to] } = self;
        let part = |by: &Ended| parting.set(parting.get().or(Some((*by, Instant::now()))));
        let (mut buffer, mut takes_more) = (first, true);
        loop {
            if !buffer.is_empty() && takes_more {
                let mut done = 0;
                match poll_fn(|cx| to.poll_write_all(cx, &buffer, &[], &mut done)).await {
                    Ok(()) => {
                        carried.set(carried.get() + buffer.len() as u64);
                        last.set(Instant::now());
                    }
                    Err(_) => {
                        part(by_to);
                        takes_more = false;
                    }
                }
            }
            buffer.clear();
            if buffer.capacity() == 0 {
                buffer.reserve(crate::buffers::BUFFER_BYTES);
            }
            match poll_fn(|cx| from.poll_fill(cx, &mut buffer)).await {
                Ok(1..) => continue,
                Ok(_) => {}
                Err(_) => part(by_from),
            }
            if takes_more {
                // one that is gone already needs no goodbye, and has got everything
                let _ = poll_fn(|cx| to.poll_shutdown(cx)).await;
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Io;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    /// Both ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    fn end(stream: TcpStream) -> End {
        End { io: SharedIo::new(Io::Tcp(stream)), read: Vec::new() }
    }

    #[tokio::test]
    async fn what_was_said_before_it_broke_off_is_passed_on() {
        for breaks in [Ended::ByEndpoint, Ended::ByClient] {
            let ((client, mut at_client), (endpoint, mut at_endpoint)) = (pair().await, pair().await);
            let (gone, stays) = match breaks {
                Ended::ByEndpoint => (&mut at_endpoint, &mut at_client),
                _ => (&mut at_client, &mut at_endpoint),
            };
            gone.write_all(b"last words").await.unwrap();
            stays.write_all(b"more").await.unwrap();
            // a reset, as of whoever closes with bytes unread
            socket2::SockRef::from(&*gone).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            let (mut stays, gone) = match breaks {
                Ended::ByEndpoint => (at_client, at_endpoint),
                _ => (at_endpoint, at_client),
            };
            drop(gone);
            let last = Cell::new(Instant::now());
            let carrying = carry(end(client), end(endpoint), &last, |_, _| Poll::Pending);
            let hearing = async {
                let mut heard = Vec::new();
                stays.read_to_end(&mut heard).await.expect("it is closed in order");
                drop(stays);
                heard
            };
            let (carried, heard) = tokio::join!(carrying, hearing);
            assert_eq!((heard.as_slice(), carried.ended), (&b"last words"[..], breaks));
        }
    }
}
