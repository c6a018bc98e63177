//! A client's HTTP/2 connection: streams become requests. Never more streams, bytes or control frames than the limits say.

use super::Connection;
use crate::{
    core::Core,
    deadline::{Timer, earlier},
    drain::Ear,
    exchange::{DownRx, DownTx, H2DownTx, H2Rx, head_of_request},
    io::Io,
    meter::Metered,
    proxy::{self, Down, Served, Tools},
};
use bytes::Bytes;
use headgate_message::Version;
use std::{cell::Cell, future::poll_fn, rc::Rc, task::Poll, time::Instant};

/// Serves a connection whose first bytes, the preface included, may have been read already.
pub async fn serve(core: Rc<Core>, io: Io, connection: Connection, first: Vec<u8>) {
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
    let stall = metered.stall();
    let handshake = tokio::time::timeout(limits.head_timeout, builder.handshake::<_, Bytes>(metered));
    let Ok(Ok(mut streams)) = handshake.await else { return };

    let ear = Ear::new(&core.bell);
    let connection = Rc::new(connection);
    let opened = Instant::now();
    // counted by its clones: one per stream that is served
    let served = Rc::new(());
    let quiet_since = Rc::new(Cell::new(opened));
    let mut timer = Timer::default();
    let mut closing: Option<Instant> = None;
    loop {
        let next = poll_fn(|cx| {
            let now = Instant::now();
            let over_age = limits.h2_age.is_some_and(|age| now.duration_since(opened) > age);
            let is_quiet = Rc::strong_count(&served) == 1;
            let over_quiet = is_quiet && now.duration_since(quiet_since.get()) >= limits.keep_alive_idle;
            if closing.is_none() && (over_age || over_quiet || ear.poll_rung(cx).is_ready()) {
                closing = Some(now + limits.drain_grace);
                streams.graceful_shutdown();
            }
            if let Poll::Ready(next) = streams.poll_accept(cx) {
                return Poll::Ready(next);
            }
            let stalled = stall.since().map(|since| since + limits.write_stall);
            // a client that does not answer the shutdown, or reads nothing, is not waited for for ever
            let limit = closing.unwrap_or_else(|| {
                let quiet = if is_quiet { quiet_since.get() } else { now } + limits.keep_alive_idle;
                limits.h2_age.map_or(quiet, |age| quiet.min(opened + age))
            });
            match timer.poll_expired(cx, earlier(Some(limit), stalled)) {
                Poll::Ready(()) if [closing, stalled].into_iter().flatten().any(|until| until <= now) => {
                    Poll::Ready(None)
                }
                Poll::Ready(()) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let Some(Ok((request, respond))) = next else { return };
        let (core, connection) = (core.clone(), connection.clone());
        let (one, quiet_since) = (served.clone(), quiet_since.clone());
        tokio::task::spawn_local(async move {
            stream(core, &connection, request, respond).await;
            quiet_since.set(Instant::now());
            drop(one);
        });
    }
}

async fn stream(
    core: Rc<Core>,
    connection: &Rc<Connection>,
    request: http::Request<h2::RecvStream>,
    respond: h2::server::SendResponse<Bytes>,
) {
    let arrived = Instant::now();
    let is_head = request.method() == http::Method::HEAD;
    let expects = request.headers().get(http::header::EXPECT).is_some_and(|v| v.as_bytes() == b"100-continue");
    let trailers = request.headers().get(http::header::TE).is_some_and(|v| v.as_bytes() == b"trailers");
    let mut tx = DownTx::H2(H2DownTx::new(respond, is_head));
    let (head, framing) =
        match head_of_request(&request, connection.scheme, &core.shared.limits, core.buffers.take_spent()) {
            Ok(head) => head,
            Err(fault) => {
                return Box::pin(proxy::refuse(&core, connection, &mut tx, Version::Http2, fault, arrived)).await;
            }
        };
    let rx = DownRx::H2(H2Rx::of_client(request.into_body()));
    let down = Down {
        head,
        framing,
        rx,
        tx,
        version: Version::Http2,
        upgrade: None,
        expects,
        trailers,
        arrived,
        connection: connection.clone(),
    };
    let (mut timer, ear) = (Timer::default(), Ear::new(&core.bell));
    let mut tools = Tools { timer: &mut timer, ear: &ear };
    let mut served = Box::pin(proxy::serve(&core, down, &mut tools)).await;
    loop {
        match served {
            Served::Done(left) => return core.buffers.give_spent(left.head.fields),
            Served::Parked(mut parked) => {
                let granted = parked.wait(&core, &mut tools).await;
                served = Box::pin(proxy::resume(&core, *parked, granted, &mut tools)).await;
            }
        }
    }
}
