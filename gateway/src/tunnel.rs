//! Two streams joined, once a protocol was switched or for a connection that is not read: bytes go both ways until both ends are through. Never looks at a byte.

use crate::{core::Core, deadline::Timer, drain::Ear, io::SharedIo};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
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

/// Which of two joined ends did not bear what was read or written.
enum Broken {
    Reading,
    Writing,
}

/// Joins two ends until both directions have ended, one breaks, nobody sends for too long, or the drain's limit is reached.
pub async fn join(core: &Rc<Core>, client: End, endpoint: End, timer: &mut Timer, ear: &Ear) -> Carried {
    let last = Cell::new(Instant::now());
    let idle = core.shared.limits.tunnel_idle;
    let over = |cx: &mut Context<'_>| {
        let _ = ear.poll_rung(cx);
        let until = core.bell.until();
        let limit = crate::deadline::earlier(idle.map(|idle| last.get() + idle), until);
        let is_draining = until.is_some() && until == limit;
        timer.poll_expired(cx, limit).map(|()| if is_draining { Ended::Drained } else { Ended::Idle })
    };
    carry(client, endpoint, &last, over).await
}

/// Carries both directions until it is `over`. One that takes no more may have said something before: that still goes to the other.
async fn carry(
    client: End,
    endpoint: End,
    last: &Cell<Instant>,
    mut over: impl FnMut(&mut Context<'_>) -> Poll<Ended>,
) -> Carried {
    let (up, down) = (Cell::new(0), Cell::new(0));
    let mut upward = pin!(copy(&client.io, &endpoint.io, client.read, &up, last));
    let mut downward = pin!(copy(&endpoint.io, &client.io, endpoint.read, &down, last));
    let (mut up_done, mut down_done, mut broken) = (false, false, None);
    let ended = poll_fn(|cx| {
        if !up_done && let Poll::Ready(end) = upward.as_mut().poll(cx) {
            up_done = true;
            match end {
                Ok(()) => {}
                Err(Broken::Reading) => return Poll::Ready(broken.unwrap_or(Ended::ByClient)),
                Err(Broken::Writing) => broken = broken.or(Some(Ended::ByEndpoint)),
            }
        }
        if !down_done && let Poll::Ready(end) = downward.as_mut().poll(cx) {
            down_done = true;
            match end {
                Ok(()) => {}
                Err(Broken::Reading) => return Poll::Ready(broken.unwrap_or(Ended::ByEndpoint)),
                Err(Broken::Writing) => broken = broken.or(Some(Ended::ByClient)),
            }
        }
        if up_done && down_done { Poll::Ready(broken.unwrap_or(Ended::Whole)) } else { over(cx) }
    })
    .await;
    Carried { up: up.get(), down: down.get(), ended }
}

/// Copies one direction to its end, and ends the other side then.
async fn copy(
    from: &SharedIo,
    to: &SharedIo,
    first: Vec<u8>,
    carried: &Cell<u64>,
    last: &Cell<Instant>,
) -> Result<(), Broken> {
    let mut buffer = first;
    loop {
        if !buffer.is_empty() {
            let mut done = 0;
            let written = poll_fn(|cx| to.poll_write_all(cx, &buffer, &[], &mut done)).await;
            written.map_err(|_| Broken::Writing)?;
            carried.set(carried.get() + buffer.len() as u64);
            last.set(Instant::now());
            buffer.clear();
        }
        if buffer.capacity() == 0 {
            buffer.reserve(crate::buffers::BUFFER_BYTES);
        }
        match poll_fn(|cx| from.poll_fill(cx, &mut buffer)).await {
            Ok(1..) => {}
            Ok(_) => {
                // one that is gone already needs no goodbye, and has got everything
                let _ = poll_fn(|cx| to.poll_shutdown(cx)).await;
                return Ok(());
            }
            Err(_) => return Err(Broken::Reading),
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
            let carried = carry(end(client), end(endpoint), &Cell::new(Instant::now()), |_| Poll::Pending).await;
            let mut heard = Vec::new();
            // it may be reset after that, too
            let _ = stays.read_to_end(&mut heard).await;
            assert_eq!((heard.as_slice(), carried.ended), (&b"last words"[..], breaks));
        }
    }
}
