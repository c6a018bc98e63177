//! A client's HTTP/1 connection: heads become requests, one after the other. Never reads a request before the last one is over, or after one whose end is in doubt.

use super::{Connection, Pause, linger};
use crate::{
    core::{Core, Counted},
    deadline::Timer,
    drain::Ear,
    exchange::{DownRx, DownTx, Fault, H1Rx, H1Tx, fault_of},
    failure::Failure,
    io::SharedIo,
    proxy::{self, Down, Left, Served, Tools},
    wait::{Granted, Parked},
};
use headgate_config::Scheme;
use headgate_http1::{HeadReader, Request};
use headgate_message::{Method, Version};
use std::{
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// A connection that is quiet for this long gives the memory of its active part back.
const QUIET: Duration = Duration::from_secs(1);

/// What a connection is while nothing happens on it: small, since there may be very many.
pub struct Http1 {
    core: Counted,
    io: SharedIo,
    connection: Rc<Connection>,
    read: Vec<u8>,
    timer: Timer,
    ear: Ear,
    /// The client asked for the end of the connection with its last request.
    is_last: bool,
}

impl Http1 {
    /// A connection of which `read` was read already.
    pub fn new(core: Counted, io: SharedIo, connection: Connection, read: Vec<u8>) -> Self {
        let ear = Ear::new(&core.bell);
        Self { core, io, connection: Rc::new(connection), read, timer: Timer::default(), ear, is_last: false }
    }

    /// Serves request after request until nothing comes for a while, one must wait, or the connection is over (`None`).
    ///
    /// This future is some kilobytes large. It lives in a box that a connection keeps from request to request and gives back while it is
    /// quiet or its request waits, so that those cost only themselves and a busy connection allocates nothing.
    pub async fn work(self) -> Option<Pause> {
        self.go_on(None).await
    }

    /// The same, first with a request that has waited.
    pub async fn resume(self, parked: Box<Parked>, granted: Result<Granted, Fault>) -> Option<Pause> {
        self.go_on(Some((parked, granted))).await
    }

    /// Waits with the request of this connection.
    pub fn poll_parked(&mut self, parked: &mut Parked, cx: &mut Context<'_>) -> Poll<Result<Granted, Fault>> {
        let mut tools = Tools { timer: &mut self.timer, ear: &self.ear };
        parked.poll(&self.core, &mut tools, cx)
    }

    fn tools(&mut self) -> Tools<'_> {
        Tools { timer: &mut self.timer, ear: &self.ear }
    }

    async fn go_on(mut self, waited: Option<(Box<Parked>, Result<Granted, Fault>)>) -> Option<Pause> {
        let core = Rc::clone(&self.core);
        let mut now = Instant::now();
        let mut served = match waited {
            Some((parked, granted)) => Some(proxy::resume(&core, *parked, granted, &mut self.tools()).await),
            None => None,
        };
        loop {
            match served.take() {
                None => {}
                Some(Served::Parked(parked)) => return Some((self, Some(parked))),
                Some(Served::Done(left)) => match recover(&core, left, self.is_last).await {
                    Recovered::Next(buffer, ended) => (self.read, now) = (buffer, ended),
                    Recovered::Close => {
                        Box::pin(linger(&self.io)).await;
                        return None;
                    }
                    Recovered::Spent => return None,
                },
            }
            let (request, arrived) = match self.next_request(&core, now).await {
                Next::Request(request, arrived) => (request, arrived),
                Next::Refused(fault) => {
                    Box::pin(self.refuse(&core, fault)).await;
                    return None;
                }
                Next::Quiet => return Some((self, None)),
                Next::Over => return None,
            };
            let down = self.down(&core, request, arrived);
            served = Some(proxy::serve(&core, down, &mut self.tools()).await);
        }
    }

    fn down(&mut self, core: &Rc<Core>, request: Request, arrived: Instant) -> Down {
        // A client that asked for another protocol may speak it already: what it sent is no request, whatever the answer is.
        self.is_last = !request.keep_alive && request.upgrade.is_none() && self.connection.scheme == Scheme::Http;
        let goes_on = request.keep_alive && request.upgrade.is_none() && !core.shared.is_leaving();
        let is_head = request.head.method == Method::Head;
        let buffers = &core.buffers;
        let tx = H1Tx::to_client(self.io.clone(), buffers.clone(), request.version, is_head, goes_on);
        let read = std::mem::take(&mut self.read);
        let rx = H1Rx::of_client(self.io.clone(), buffers.clone(), read, request.framing);
        Down {
            head: request.head,
            framing: request.framing,
            rx: DownRx::H1(rx),
            tx: DownTx::H1(tx),
            version: request.version,
            upgrade: request.upgrade,
            expects: request.expect_continue,
            trailers: request.te_trailers,
            arrived,
            connection: self.connection.clone(),
        }
    }

    /// Waits for the next head. Between requests no buffer is held, and the drain ends the wait. `now`: when the last one was over.
    async fn next_request(&mut self, core: &Core, mut now: Instant) -> Next {
        let limits = &core.shared.limits;
        let mut reader = HeadReader::new(core.head_limits());
        let mut started = (!self.read.is_empty()).then_some(now);
        let quiet_at = now + QUIET;
        loop {
            if !self.read.is_empty() {
                match reader.request(&mut self.read, self.connection.scheme, || core.buffers.take_spent()) {
                    Ok(Some(request)) => return Next::Request(request, now),
                    Ok(None) => {}
                    Err(why) => return Next::Refused(fault_of(why, false)),
                }
                if self.read.capacity() == self.read.len() {
                    self.read.reserve(crate::buffers::BUFFER_BYTES);
                }
            }
            let deadline = started.map_or(quiet_at, |started| started + limits.head_timeout);
            let (io, read, ear) = (&self.io, &mut self.read, &self.ear);
            let filled = poll_fn(|cx| poll_fill(core, io, read, started.is_none().then_some(ear), cx));
            match self.timer.bound(|| Some(deadline), filled).await {
                Some(Ok(1..)) => {
                    now = Instant::now();
                    started = started.or(Some(now));
                }
                Some(_) => return Next::Over,
                None if started.is_some() => return Next::Refused(Failure::HeadTimeout.into()),
                None => return Next::Quiet,
            }
        }
    }

    /// Until when it may be quiet, from now on.
    pub fn rests_until(&self) -> Instant {
        Instant::now() + self.core.shared.limits.keep_alive_idle.saturating_sub(QUIET)
    }

    /// Waits for the first byte of the next request as cheaply as can be; false if the connection is over.
    pub fn poll_rest(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<bool> {
        if let Poll::Ready(filled) = poll_fill(&self.core, &self.io, &mut self.read, Some(&self.ear), cx) {
            return Poll::Ready(matches!(filled, Ok(1..)));
        }
        // woken by the bell that the ear listens to
        if self.core.shared.memory.is_critical() {
            return Poll::Ready(false);
        }
        self.timer.poll_expired(cx, Some(until)).map(|()| false)
    }

    async fn refuse(&self, core: &Rc<Core>, fault: Fault) {
        let tx = H1Tx::to_client(self.io.clone(), core.buffers.clone(), Version::Http11, false, false);
        let arrived = Instant::now();
        proxy::refuse(core, &self.connection, &mut DownTx::H1(tx), Version::Http11, fault, arrived).await;
        linger(&self.io).await;
    }
}

enum Next {
    /// And when its head was complete.
    Request(Request, Instant),
    Refused(Fault),
    Quiet,
    Over,
}

/// Reads into `read`; while there is nothing to read it has no buffer. With an ear, the drain counts as the end of what has not come yet.
fn poll_fill(
    core: &Core,
    io: &SharedIo,
    read: &mut Vec<u8>,
    ear: Option<&Ear>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let filled = if read.is_empty() { poll_begin(core, io, read, cx) } else { io.poll_fill(cx, read) };
    match (filled, ear) {
        (Poll::Pending, Some(ear)) => ear.poll_rung(cx).map(|()| Ok(0)),
        (filled, _) => filled,
    }
}

fn poll_begin(core: &Core, io: &SharedIo, read: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut lent = if read.capacity() > 0 { std::mem::take(read) } else { core.buffers.take() };
    let polled = io.poll_fill(cx, &mut lent);
    match polled {
        Poll::Ready(Ok(1..)) => *read = lent,
        _ => core.buffers.give(lent),
    }
    polled
}

enum Recovered {
    /// The connection goes on; what was read of the next request, and when this one was over.
    Next(Vec<u8>, Instant),
    Close,
    Spent,
}

/// Makes the connection ready for its next request, if both messages ended exactly. One of which the client asked for the end (`is_last`) is closed
/// at once: whoever asks for that sends nothing more that could destroy the answer. TLS says goodbye first.
async fn recover(core: &Core, left: Left, is_last: bool) -> Recovered {
    let Left { rx, tx, head, tunnelled, mut ended } = left;
    core.buffers.give_spent(head.fields);
    let (DownRx::H1(mut rx), DownTx::H1(tx)) = (rx, tx) else { return Recovered::Spent };
    if tunnelled || tx.is_aborted() {
        return Recovered::Spent;
    }
    if is_last && tx.is_whole() && rx.is_all() {
        return Recovered::Spent;
    }
    if !tx.is_reusable() {
        return Recovered::Close;
    }
    if !rx.is_ended() {
        let limits = &core.shared.limits;
        let drained = Box::pin(tokio::time::timeout(limits.body_idle, rx.drain(limits.discard_bytes))).await;
        if !drained.unwrap_or(false) {
            return Recovered::Close;
        }
        ended = Instant::now();
    }
    Recovered::Next(rx.into_parts().1, ended)
}
