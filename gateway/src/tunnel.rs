//! Two streams joined, once a protocol was switched or for a connection that is not read: bytes go both ways until both ends are through. Never looks at a byte.

use crate::{core::Core, deadline::Timer, drain::Ear, io::SharedIo};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
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
    let (up, down) = (Cell::new(0), Cell::new(0));
    let idle = core.shared.limits.tunnel_idle;
    let mut upward = pin!(copy(&client.io, &endpoint.io, client.read, &up, &last));
    let mut downward = pin!(copy(&endpoint.io, &client.io, endpoint.read, &down, &last));
    let (mut up_done, mut down_done) = (false, false);
    let ended = poll_fn(|cx| {
        if !up_done && let Poll::Ready(end) = upward.as_mut().poll(cx) {
            match end {
                Ok(()) => up_done = true,
                Err(Broken::Reading) => return Poll::Ready(Ended::ByClient),
                Err(Broken::Writing) => return Poll::Ready(Ended::ByEndpoint),
            }
        }
        if !down_done && let Poll::Ready(end) = downward.as_mut().poll(cx) {
            match end {
                Ok(()) => down_done = true,
                Err(Broken::Reading) => return Poll::Ready(Ended::ByEndpoint),
                Err(Broken::Writing) => return Poll::Ready(Ended::ByClient),
            }
        }
        if up_done && down_done {
            return Poll::Ready(Ended::Whole);
        }
        let _ = ear.poll_rung(cx);
        let until = core.bell.until();
        let limit = crate::deadline::earlier(idle.map(|idle| last.get() + idle), until);
        let is_draining = until.is_some() && until == limit;
        timer.poll_expired(cx, limit).map(|()| if is_draining { Ended::Drained } else { Ended::Idle })
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
