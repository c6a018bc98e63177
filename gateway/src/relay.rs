//! One try: the body goes up and the answer comes down, as two loops joined in one task. Never a spawn, never a channel, never a wait without a limit.

use crate::{
    connect::Upstream,
    deadline::earlier,
    drain::Bell,
    exchange::{DownRx, DownTx, Fault, UpRx, UpTx},
    failure::Failure,
    limits::Limits,
    proxy::Tools,
    replay::Replay,
};
use headgate_message::{Chunk, Framing, Part, ResponseHead};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

/// How a try ended.
pub enum Outcome {
    /// The answer went to the client, whole.
    Complete {
        /// Whether the request's body had been sent to its end by then.
        upload_ended: bool,
    },
    /// The endpoint answered with a status that the rule tries again; nothing went to the client.
    RetryStatus,
    /// The endpoint switched protocols: what follows is a tunnel.
    Switched(ResponseHead),
    /// Something broke.
    Failed(Fault),
}

/// Limits of time of a try.
#[derive(Clone, Copy)]
pub struct Deadlines<'b> {
    /// Of the request, over all tries.
    pub request: Option<Instant>,
    /// Of this try.
    pub attempt: Option<Instant>,
    /// Rung by the drain, which sets a limit of its own while a try goes on.
    pub bell: &'b Bell,
}

/// What a try tells while it goes on.
pub struct Progress {
    /// When this turn of it began: the clock is read once each time it is woken.
    now: Cell<Instant>,
    /// When the final head came.
    pub first_byte: Cell<Option<Instant>>,
    /// Status of the final head.
    pub status: Cell<u16>,
    /// Bytes of the request's body read from the client.
    pub bytes_up: Cell<u64>,
    /// Bytes of the answer's body sent to the client.
    pub bytes_down: Cell<u64>,
    /// `grpc-status` of the trailers, where there is one.
    pub grpc_status: Cell<Option<u8>>,
    /// Whether the body that was read so far can be sent again.
    replayable: Cell<bool>,
    upload_ended: Cell<bool>,
    /// How long the client was waited for with its body so far.
    body_waited: Cell<Duration>,
    upload: Cell<Waits>,
    download: Cell<Waits>,
}

/// Whom a loop waits for, and since when.
#[derive(Clone, Copy, Default)]
enum Waits {
    #[default]
    Nobody,
    ClientBody(Instant),
    ClientReads(Instant),
    EndpointSends(Instant),
    EndpointReads(Instant),
}

impl Progress {
    /// Nothing yet, at this time.
    pub fn at(now: Instant) -> Self {
        Self {
            now: Cell::new(now),
            first_byte: Cell::default(),
            status: Cell::default(),
            bytes_up: Cell::default(),
            bytes_down: Cell::default(),
            grpc_status: Cell::default(),
            replayable: Cell::default(),
            upload_ended: Cell::default(),
            body_waited: Cell::default(),
            upload: Cell::default(),
            download: Cell::default(),
        }
    }

    /// When this turn began.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Notes that so much of the request's body was read from the client.
    ///
    /// # Errors
    /// `BodyTooLarge`, if that is more than the limit.
    pub fn read(&self, bytes: usize, limits: &Limits) -> Result<(), Failure> {
        Self::add(&self.bytes_up, bytes);
        match limits.body_bytes.is_some_and(|limit| self.bytes_up.get() > limit) {
            true => Err(Failure::BodyTooLarge),
            false => Ok(()),
        }
    }

    /// Until when the client must send more of its body, waited for since then.
    pub fn body_due(&self, since: Instant, limits: &Limits) -> Instant {
        let allowed = match limits.body_bytes_per_s {
            None => return since + limits.body_idle,
            Some(rate) => Duration::from_secs_f64(self.bytes_up.get() as f64 / f64::from(rate.max(1))),
        };
        let left = allowed.max(limits.body_idle).saturating_sub(self.body_waited.get());
        since + left.min(limits.body_idle)
    }

    /// Notes that the client was waited for.
    pub fn waited_for_body(&self, time: Duration) {
        self.body_waited.set(self.body_waited.get() + time);
    }

    fn deadline(&self, limits: &Limits, deadlines: &Deadlines<'_>) -> (Option<Instant>, Failure) {
        let wait = |waits: Waits| match waits {
            Waits::Nobody => None,
            Waits::ClientBody(since) => Some((self.body_due(since, limits), Failure::BodyTimeout)),
            Waits::ClientReads(since) => Some((since + limits.write_stall, Failure::WriteStall)),
            Waits::EndpointSends(since) | Waits::EndpointReads(since) => {
                Some((since + limits.upstream_idle, Failure::UpstreamIdle))
            }
        };
        let named = |at: Option<Instant>, failure| at.map(|at| (at, failure));
        let first = [
            wait(self.upload.get()),
            wait(self.download.get()),
            named(deadlines.attempt, Failure::AttemptTimeout),
            named(deadlines.request, Failure::RequestTimeout),
            named(deadlines.bell.until(), Failure::Draining),
        ];
        let next = first.into_iter().flatten().min_by_key(|(at, _)| *at);
        (next.map(|(at, _)| at), next.map_or(Failure::Internal, |(_, failure)| failure))
    }

    /// Forgets what concerns one try only.
    fn begin_try(&self, replay: &Replay) {
        self.first_byte.set(None);
        self.status.set(0);
        self.upload.set(Waits::Nobody);
        self.download.set(Waits::Nobody);
        self.upload_ended.set(false);
        self.replayable.set(replay.is_possible());
    }

    fn add(cell: &Cell<u64>, bytes: usize) {
        cell.set(cell.get() + bytes as u64);
    }
}

/// The client's halves, and what becomes of the answer's head.
pub struct Client<'a> {
    /// Its body.
    pub rx: &'a mut DownRx,
    /// Its answer.
    pub tx: &'a mut DownTx,
    /// Whether the request has no body at all: then nothing is read.
    pub bodiless: bool,
    /// Told when the final head came, which it may edit: filters of the answer.
    pub head_came: &'a mut dyn FnMut(&mut ResponseHead),
    /// Whether it asked for an upgrade: if that is refused, its connection ends with the answer, since what it sent meanwhile may
    /// be of the other protocol.
    pub upgrades: bool,
    /// Statuses that are tried again; empty when no try is left.
    pub retry_codes: &'a [u16],
}

/// Whether the failure of the request's upload is the endpoint's: then its answer may still come.
struct Stopped {
    fault: Fault,
    by_endpoint: bool,
}

/// Relays one try.
pub async fn relay(
    client: Client<'_>,
    up: &mut Upstream,
    replay: &mut Replay,
    progress: &Progress,
    limits: &Limits,
    deadlines: Deadlines<'_>,
    tools: &mut Tools<'_>,
) -> Outcome {
    let Client { rx, tx, bodiless, head_came, upgrades, retry_codes } = client;
    progress.begin_try(replay);
    let mut upload_fault = None;
    let mut upload = pin!(upload(rx, &mut up.tx, bodiless, replay, progress, limits));
    let answer = Answer { head_came, upgrades, retry_codes, bell: deadlines.bell };
    let mut download = pin!(download(&mut up.rx, tx, answer, progress));
    let outcome = poll_fn(|cx| {
        progress.now.set(Instant::now());
        // woken when draining starts, which sets a deadline
        let _ = tools.ear.poll_rung(cx);
        // once the request is sent it is mostly the answer that wakes: the client is looked at only where there is none yet
        let is_sent = progress.upload_ended.get();
        if is_sent && let Poll::Ready(ended) = download.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        if upload_fault.is_none() {
            match upload.as_mut().poll(cx) {
                Poll::Ready(Stopped { fault, by_endpoint: false }) => return Poll::Ready(Err(fault)),
                Poll::Ready(stopped) => upload_fault = Some(stopped.fault),
                Poll::Pending => {}
            }
        }
        if !is_sent && let Poll::Ready(ended) = download.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        let (at, failure) = progress.deadline(limits, &deadlines);
        tools.timer.poll_expired(cx, at).map(|()| Err(failure.into()))
    })
    .await;
    match outcome {
        Ok(Ended::Complete) => Outcome::Complete { upload_ended: progress.upload_ended.get() },
        Ok(Ended::Retry) => Outcome::RetryStatus,
        Ok(Ended::Switched(head)) => Outcome::Switched(head),
        // An endpoint that broke off while it was sent to is named by that.
        Err(fault) if fault.failure == Failure::UpstreamClosedEarly => Outcome::Failed(upload_fault.unwrap_or(fault)),
        Err(fault) => Outcome::Failed(fault),
    }
}

/// Sends the body up, then watches whether the client stays; ends only when something stops it.
async fn upload(
    rx: &mut DownRx,
    tx: &mut UpTx,
    bodiless: bool,
    replay: &mut Replay,
    progress: &Progress,
    limits: &Limits,
) -> Stopped {
    if let Err(stopped) = send_body(rx, tx, bodiless, replay, progress, limits).await {
        return stopped;
    }
    progress.upload_ended.set(true);
    progress.upload.set(Waits::Nobody);
    if progress.first_byte.get().is_none() {
        progress.download.set(Waits::EndpointSends(progress.now()));
    }
    poll_fn(|cx| rx.poll_gone(cx, limits.spool_bytes)).await;
    Stopped { fault: Failure::ClientGone.into(), by_endpoint: false }
}

async fn send_body(
    rx: &mut DownRx,
    tx: &mut UpTx,
    bodiless: bool,
    replay: &mut Replay,
    progress: &Progress,
    limits: &Limits,
) -> Result<(), Stopped> {
    let by_endpoint = |fault| Stopped { fault, by_endpoint: true };
    let by_client = |fault: Fault| Stopped { fault, by_endpoint: false };
    progress.upload.set(Waits::EndpointReads(progress.now()));
    if bodiless {
        return tx.end(None).await.map_err(by_endpoint);
    }
    if !replay.kept().is_empty() {
        tx.data(Chunk::Lent(replay.kept())).await.map_err(by_endpoint)?;
    }
    if let Some(trailers) = replay.ended() {
        return tx.end(trailers).await.map_err(by_endpoint);
    }
    loop {
        let part = {
            let mut recv = pin!(rx.recv());
            match poll_fn(|cx| Poll::Ready(recv.as_mut().poll(cx))).await {
                Poll::Ready(part) => part,
                Poll::Pending => {
                    tx.flush().await.map_err(by_endpoint)?;
                    let since = progress.now();
                    progress.upload.set(Waits::ClientBody(since));
                    let part = recv.await;
                    progress.waited_for_body(progress.now().saturating_duration_since(since));
                    part
                }
            }
        };
        progress.upload.set(Waits::EndpointReads(progress.now()));
        match part.map_err(by_client)? {
            Part::Data(chunk) => {
                progress.read(chunk.as_slice().len(), limits).map_err(|failure| by_client(failure.into()))?;
                replay.keep(chunk.as_slice());
                progress.replayable.set(replay.is_possible());
                tx.data(chunk).await.map_err(by_endpoint)?;
            }
            Part::Trailers(trailers) => {
                replay.end(Some(trailers.clone()));
                return tx.end(Some(trailers)).await.map_err(by_endpoint);
            }
            Part::End => {
                replay.end(None);
                return tx.end(None).await.map_err(by_endpoint);
            }
            Part::Interim(_) | Part::Final(..) => return Err(by_client(Failure::Internal.into())),
        }
    }
}

enum Ended {
    Complete,
    Retry,
    Switched(ResponseHead),
}

/// What becomes of the answer's head.
struct Answer<'a> {
    head_came: &'a mut dyn FnMut(&mut ResponseHead),
    upgrades: bool,
    retry_codes: &'a [u16],
    bell: &'a Bell,
}

async fn download(rx: &mut UpRx, tx: &mut DownTx, answer: Answer<'_>, progress: &Progress) -> Result<Ended, Fault> {
    let (mut head, framing) = loop {
        match unless_gone(tx, rx.recv()).await? {
            Part::Interim(head) => {
                let before = progress.download.replace(Waits::ClientReads(progress.now()));
                tx.interim(head).await?;
                progress.download.set(before);
            }
            Part::Final(head, framing) => break (head, framing),
            _ => return Err(Failure::Internal.into()),
        }
    };
    progress.first_byte.set(Some(progress.now()));
    progress.status.set(head.status);
    if answer.retry_codes.contains(&head.status) && progress.replayable.get() {
        return Ok(Ended::Retry);
    }
    if head.status == 101 {
        return Ok(Ended::Switched(head));
    }
    if answer.upgrades || answer.bell.ends_connections() {
        tx.close_after();
    }
    progress.grpc_status.set(head.fields.get_str("grpc-status").and_then(|s| s.parse().ok()));
    (answer.head_came)(&mut head);
    let length = rx.declared_length();
    tx.head(head, framing, length)?;
    body(rx, tx, framing, progress).await?;
    Ok(Ended::Complete)
}

/// What the endpoint sends next, unless the client resets its stream first.
async fn unless_gone<'r>(
    tx: &mut DownTx,
    recv: impl Future<Output = Result<Part<'r>, Fault>>,
) -> Result<Part<'r>, Fault> {
    let mut recv = pin!(recv);
    poll_fn(|cx| match recv.as_mut().poll(cx) {
        Poll::Ready(part) => Poll::Ready(part),
        Poll::Pending => tx.poll_gone(cx).map(|()| Err(Failure::ClientGone.into())),
    })
    .await
}

async fn body(rx: &mut UpRx, tx: &mut DownTx, framing: Framing, progress: &Progress) -> Result<(), Fault> {
    if framing.is_empty() {
        progress.download.set(Waits::ClientReads(progress.now()));
        return tx.end(None).await;
    }
    loop {
        let part = {
            let mut recv = pin!(rx.recv());
            match poll_fn(|cx| Poll::Ready(recv.as_mut().poll(cx))).await {
                Poll::Ready(part) => part,
                Poll::Pending => {
                    progress.download.set(Waits::ClientReads(progress.now()));
                    tx.flush().await?;
                    progress.download.set(Waits::EndpointSends(progress.now()));
                    unless_gone(tx, recv).await
                }
            }
        };
        progress.download.set(Waits::ClientReads(progress.now()));
        match part? {
            Part::Data(chunk) => {
                Progress::add(&progress.bytes_down, chunk.as_slice().len());
                tx.data(chunk).await?;
            }
            Part::Trailers(trailers) => {
                progress.grpc_status.set(trailers.get_str("grpc-status").and_then(|s| s.parse().ok()));
                return tx.end(Some(trailers)).await;
            }
            Part::End => return tx.end(None).await,
            Part::Interim(_) | Part::Final(..) => return Err(Failure::Internal.into()),
        }
    }
}

/// The deadline of a try: the request's, or the try's own, whichever is first.
pub fn attempt_deadline(attempt_ms: Option<u64>, now: Instant) -> Option<Instant> {
    attempt_ms.filter(|ms| *ms > 0).map(|ms| now + std::time::Duration::from_millis(ms))
}

impl Deadlines<'_> {
    /// Which of them had passed by `now`.
    pub fn passed(&self, now: Instant) -> Failure {
        let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match () {
            () if is_past(self.request) => Failure::RequestTimeout,
            () if is_past(self.attempt) => Failure::AttemptTimeout,
            () => Failure::Draining,
        }
    }

    /// The first of them.
    pub fn first(&self) -> Option<Instant> {
        earlier(earlier(self.request, self.attempt), self.bell.until())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_body_must_come_as_fast_as_the_limit_says_once_it_was_waited_for() {
        let now = Instant::now();
        let idle = seconds(30);
        for (rate, bytes, waited_s, left_s) in [
            (None, 0, 1_000, 30),
            // at first its silence alone is bounded
            (Some(100), 0, 0, 30),
            (Some(100), 0, 20, 10),
            (Some(100), 3_000, 20, 10),
            (Some(100), 3_000, 30, 0),
            // what came fast is time to wait, but never more than may be silent
            (Some(100), 4_000, 30, 10),
            (Some(100), 1 << 20, 30, 30),
            (Some(100), 3_000, 1_000, 0),
        ] {
            let limits = Limits { body_idle: idle, body_bytes_per_s: rate, ..Limits::default() };
            let progress = Progress::at(now);
            progress.bytes_up.set(bytes);
            progress.waited_for_body(seconds(waited_s));
            let due = progress.body_due(now, &limits);
            assert_eq!(due, now + seconds(left_s), "{rate:?}, {bytes} bytes, {waited_s} s");
        }
    }
}
