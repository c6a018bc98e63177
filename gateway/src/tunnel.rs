//! Two streams joined once a protocol was switched: bytes go both ways until both ends are through. Never made but from a 101 that was received.

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
}

/// Joins two ends until both directions have ended, one breaks, nobody sends for too long, or the drain's limit is reached.
pub async fn join(core: &Rc<Core>, client: End, endpoint: End, timer: &mut Timer, ear: &Ear) -> Carried {
    let last = Cell::new(Instant::now());
    let (up, down) = (Cell::new(0), Cell::new(0));
    let idle = core.shared.limits.tunnel_idle;
    let mut upward = pin!(copy(&client.io, &endpoint.io, client.read, &up, &last));
    let mut downward = pin!(copy(&endpoint.io, &client.io, endpoint.read, &down, &last));
    let (mut up_done, mut down_done, mut broken) = (false, false, false);
    poll_fn(|cx| {
        if !up_done && let Poll::Ready(whole) = upward.as_mut().poll(cx) {
            up_done = true;
            broken |= !whole;
        }
        if !down_done && let Poll::Ready(whole) = downward.as_mut().poll(cx) {
            down_done = true;
            broken |= !whole;
        }
        if broken || (up_done && down_done) {
            return Poll::Ready(());
        }
        let _ = ear.poll_rung(cx);
        let limit = crate::deadline::earlier(idle.map(|idle| last.get() + idle), core.bell.until());
        timer.poll_expired(cx, limit)
    })
    .await;
    Carried { up: up.get(), down: down.get() }
}

/// Copies one direction; true if it came to its end, false if it broke.
async fn copy(from: &SharedIo, to: &SharedIo, first: Vec<u8>, carried: &Cell<u64>, last: &Cell<Instant>) -> bool {
    let mut buffer = first;
    loop {
        if !buffer.is_empty() {
            let mut done = 0;
            if poll_fn(|cx| to.poll_write_all(cx, &buffer, &[], &mut done)).await.is_err() {
                return false;
            }
            carried.set(carried.get() + buffer.len() as u64);
            last.set(Instant::now());
            buffer.clear();
        }
        if buffer.capacity() == 0 {
            buffer.reserve(crate::buffers::BUFFER_BYTES);
        }
        match poll_fn(|cx| from.poll_fill(cx, &mut buffer)).await {
            Ok(1..) => {}
            Ok(_) => return poll_fn(|cx| to.poll_shutdown(cx)).await.is_ok(),
            Err(_) => return false,
        }
    }
}
