//! A client's HTTP/1 connection: heads become requests, one after the other. Never reads a request before the last one is over, or after one whose end is in doubt.

use super::{Connection, linger};
use crate::{
    core::Core,
    deadline::Timer,
    drain::Ear,
    exchange::{DownRx, DownTx, Fault, H1Rx, H1Tx, fault_of},
    failure::Failure,
    io::SharedIo,
    proxy::{self, Down, Left, Tools},
};
use headgate_http1::{HeadLimits, HeadReader, Request};
use headgate_message::{Method, Version};
use std::{
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::Instant,
};

/// Serves a connection of which `read` was read already.
pub async fn serve(core: Rc<Core>, io: SharedIo, connection: Connection, read: Vec<u8>) {
    let mut timer = Timer::default();
    let ear = Ear::new(&core.bell);
    let mut read = read;
    loop {
        let request = match next_request(&core, &io, &mut read, &connection, &mut timer, &ear).await {
            Next::Request(request) => request,
            Next::Refused(fault) => return refuse(&core, &io, &connection, fault).await,
            Next::Over => return core.buffers.give(read),
        };
        let goes_on = request.keep_alive && !core.bell.is_rung();
        let is_head = request.head.method == Method::Head;
        let tx = H1Tx::to_client(io.clone(), core.buffers.take(), request.version, is_head, goes_on);
        let rx = H1Rx::of_client(io.clone(), core.buffers.clone(), std::mem::take(&mut read), request.framing);
        let down = Down {
            head: request.head,
            framing: request.framing,
            rx: DownRx::H1(rx),
            tx: DownTx::H1(tx),
            version: request.version,
            upgrade: request.upgrade,
            expects: request.expect_continue,
            trailers: request.te_trailers,
            arrived: Instant::now(),
            connection: &connection,
        };
        let left = proxy::serve(&core, down, Tools { timer: &mut timer, ear: &ear }).await;
        match recover(&core, left).await {
            Recovered::Next(buffer) => read = buffer,
            Recovered::Close => return linger(&io).await,
            Recovered::Spent => return,
        }
    }
}

enum Next {
    Request(Request),
    Refused(Fault),
    Over,
}

/// Waits for the next head. Between requests no buffer is held, and the drain ends the wait.
async fn next_request(
    core: &Core,
    io: &SharedIo,
    read: &mut Vec<u8>,
    connection: &Connection,
    timer: &mut Timer,
    ear: &Ear,
) -> Next {
    let limits = &core.shared.limits;
    let head_limits =
        HeadLimits { bytes: limits.head_bytes, fields: limits.head_fields as usize, target_bytes: limits.target_bytes };
    let mut reader = HeadReader::new(head_limits);
    let mut started = (!read.is_empty()).then(Instant::now);
    let waiting_since = Instant::now();
    loop {
        if !read.is_empty() {
            match reader.request(read, connection.scheme, || core.buffers.take_spent()) {
                Ok(Some(request)) => return Next::Request(request),
                Ok(None) => {}
                Err(why) => return Next::Refused(fault_of(why, false)),
            }
            if read.capacity() == read.len() {
                read.reserve(crate::buffers::BUFFER_BYTES);
            }
        }
        let deadline = match started {
            Some(started) => started + limits.head_timeout,
            None => waiting_since + limits.keep_alive_idle,
        };
        let filled = timer
            .bound(
                || Some(deadline),
                poll_fn(|cx| {
                    if started.is_none() && ear.poll_rung(cx).is_ready() {
                        return Poll::Ready(Ok(0));
                    }
                    poll_fill(core, io, read, cx)
                }),
            )
            .await;
        match filled {
            Some(Ok(1..)) => started = started.or_else(|| Some(Instant::now())),
            None if started.is_some() => return Next::Refused(Failure::HeadTimeout.into()),
            _ => return Next::Over,
        }
    }
}

/// Reads into `read`; while there is nothing to read it has no buffer.
fn poll_fill(
    core: &Core,
    io: &SharedIo,
    read: &mut Vec<u8>,
    cx: &mut std::task::Context<'_>,
) -> Poll<std::io::Result<usize>> {
    if !read.is_empty() {
        return io.poll_fill(cx, read);
    }
    let mut lent = if read.capacity() > 0 { std::mem::take(read) } else { core.buffers.take() };
    let polled = io.poll_fill(cx, &mut lent);
    match polled {
        Poll::Ready(Ok(1..)) => *read = lent,
        _ => core.buffers.give(lent),
    }
    polled
}

enum Recovered {
    /// The connection goes on; what was read of the next request.
    Next(Vec<u8>),
    Close,
    Spent,
}

/// Makes the connection ready for its next request, if both messages ended exactly.
async fn recover(core: &Core, left: Left) -> Recovered {
    let Left { rx, tx, head, tunnelled } = left;
    core.buffers.give_spent(head.fields);
    let (DownRx::H1(mut rx), DownTx::H1(tx)) = (rx, tx) else { return Recovered::Spent };
    if tunnelled {
        return Recovered::Spent;
    }
    let goes_on = tx.is_reusable();
    let is_aborted = tx.is_aborted();
    core.buffers.give(tx.into_out());
    if is_aborted {
        return Recovered::Spent;
    }
    let limits = &core.shared.limits;
    let drained = goes_on
        && (rx.is_ended()
            || tokio::time::timeout(limits.body_idle, rx.drain(limits.discard_bytes)).await.unwrap_or(false));
    if drained { Recovered::Next(rx.into_parts().1) } else { Recovered::Close }
}

async fn refuse(core: &Rc<Core>, io: &SharedIo, connection: &Connection, fault: Fault) {
    let tx = H1Tx::to_client(io.clone(), core.buffers.take(), Version::Http11, false, false);
    proxy::refuse(core, connection, &mut DownTx::H1(tx), Version::Http11, fault, Instant::now()).await;
    linger(io).await;
}
