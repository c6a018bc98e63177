//! A client's HTTP/2 connection: streams become requests. Never more streams, bytes or control frames than the limits say.

use super::{
    Connection, Pause,
    workers::{self, Job, Stream, Work},
};
use crate::{
    core::{Core, Counted},
    deadline::{Timer, earlier},
    drain::Ear,
    exchange::{DownRx, DownTx, Fault, H2Rx, H2Unbegun, head_of_request},
    io::Io,
    meter::{Flood, Metered},
    proxy::Down,
};
use bytes::Bytes;
use headgate_message::Version;
use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

/// A client that is sent away is given this long to read why.
const GOAWAY_WAIT: Duration = Duration::from_secs(1);

/// A connection that is to end.
#[derive(Clone, Copy)]
struct Ending {
    /// When the client was asked to come to an end with it; `None` once it was told that this is the end.
    said: Option<Instant>,
    /// It ends by then, whatever still runs.
    until: Instant,
}

impl Ending {
    /// Until when its client is waited for, of which nothing runs since `quiet_from`: one that does not answer within [`GOAWAY_WAIT`]
    /// that it knows of the end will not begin anything either.
    fn waits_until(self, quiet_from: Instant) -> Instant {
        self.said.map_or(self.until, |said| self.until.min(said.max(quiet_from) + GOAWAY_WAIT))
    }
}

/// Serves a connection whose first bytes, the preface included, may have been read already. It never pauses: it always listens.
pub async fn serve(core: Counted, io: Io, connection: Connection, first: Vec<u8>) -> Option<Pause> {
    let limits = &core.shared.limits;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.h2_streams)
        .initial_window_size(limits.h2_stream_window)
        .initial_connection_window_size(limits.h2_connection_window)
        .max_header_list_size(limits.head_bytes as u32)
        .max_pending_accept_reset_streams(limits.h2_resets_pending)
        .max_local_error_reset_streams(Some(limits.h2_error_resets))
        .max_send_buffer_size(limits.h2_send_buffer);
    let metered = Metered::new(io, first, limits);
    let (stall, excess) = (metered.stall(), metered.excess());
    let handshake = tokio::time::timeout(limits.head_timeout, builder.handshake::<_, Bytes>(metered));
    let Ok(Ok(mut streams)) = handshake.await else { return None };

    let ear = Ear::new(&core.bell);
    let connection = Rc::new(connection);
    let opened = Instant::now();
    // counted by its clones: one per stream that is served
    let served = Rc::new(());
    let quiet_since = Rc::new(Cell::new(opened));
    let mut timer = Timer::default();
    let mut ending: Option<Ending> = None;
    loop {
        let next = poll_fn(|cx| {
            let now = Instant::now();
            let over_age = limits.h2_age.is_some_and(|age| now.duration_since(opened) > age);
            let is_quiet = Rc::strong_count(&served) == 1;
            let over_quiet = is_quiet && now.duration_since(quiet_since.get()) >= limits.keep_alive_idle;
            let is_sent_away = ear.poll_sent_away(cx).is_ready();
            let is_shed = is_quiet && core.shared.memory.is_critical();
            if ending.is_none() && (over_age || over_quiet || is_sent_away || is_shed) {
                ending = Some(Ending { said: Some(now), until: now + limits.drain_grace });
                streams.graceful_shutdown();
            }
            if let Poll::Ready(next) = streams.poll_accept(cx) {
                return Poll::Ready(next);
            }
            let quiet_from = if is_quiet && !streams.has_streams() { quiet_since.get() } else { now };
            let reason = match excess.take() {
                Some(flood) => {
                    core.shard.flooded(flood);
                    Some(h2::Reason::ENHANCE_YOUR_CALM)
                }
                None => {
                    let is_asked = |ending: &Ending| ending.said.is_some() && ending.waits_until(quiet_from) <= now;
                    ending.filter(is_asked).map(|_| h2::Reason::NO_ERROR)
                }
            };
            if let Some(reason) = reason {
                ending = Some(Ending { said: None, until: now + GOAWAY_WAIT });
                streams.abrupt_shutdown(reason);
                if let Poll::Ready(next) = streams.poll_accept(cx) {
                    return Poll::Ready(next);
                }
            }
            let stalled = stall.since().map(|since| since + limits.write_stall);
            // a client that reads nothing is not waited for for ever
            let over = [ending.map(|ending| ending.until), stalled];
            let limit = ending.map(|ending| ending.waits_until(quiet_from)).unwrap_or_else(|| {
                let quiet = if is_quiet { quiet_since.get() } else { now } + limits.keep_alive_idle;
                limits.h2_age.map_or(quiet, |age| quiet.min(opened + age))
            });
            match timer.poll_expired(cx, earlier(Some(limit), stalled)) {
                Poll::Ready(()) if over.into_iter().flatten().any(|until| until <= now) => Poll::Ready(None),
                Poll::Ready(()) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let (request, respond) = match next? {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(flood) = Flood::of_h2(&error) {
                    core.shard.flooded(flood);
                }
                return None;
            }
        };
        let stream = Stream::new(&quiet_since, &served);
        let work = match down_of(&core, &connection, request, respond) {
            Ok(down) => Work::Begins(down),
            Err(refused) => Work::Refuse(connection.clone(), refused),
        };
        workers::give(&core, Job { stream, work });
    }
}

/// The request of a stream, or what to refuse it with.
fn down_of(
    core: &Core,
    connection: &Rc<Connection>,
    request: http::Request<h2::RecvStream>,
    respond: h2::server::SendResponse<Bytes>,
) -> Result<Down, Box<(DownTx, Fault)>> {
    let is_head = request.method() == http::Method::HEAD;
    let expects = request.headers().get(http::header::EXPECT).is_some_and(|v| v.as_bytes() == b"100-continue");
    let trailers = request.headers().get(http::header::TE).is_some_and(|v| v.as_bytes() == b"trailers");
    let tx = DownTx::H2(H2Unbegun::new(respond, is_head).begin());
    let spent = core.buffers.take_spent();
    let (head, framing) = match head_of_request(&request, connection.scheme, &core.shared.limits, spent) {
        Ok(head) => head,
        Err(fault) => return Err(Box::new((tx, fault))),
    };
    Ok(Down {
        head,
        framing,
        rx: DownRx::H2(H2Rx::of_client(request.into_body())),
        tx,
        version: Version::Http2,
        upgrade: None,
        expects,
        trailers,
        arrived: Instant::now(),
        connection: connection.clone(),
    })
}
