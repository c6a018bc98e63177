//! Counts HTTP/2 frames as they are read, so that a client cannot keep us busy with frames that carry nothing. `h2` itself has no limit on PING, SETTINGS and resets of streams that are served. It never ends a connection: it reads no more and says so.
//!
//! DATA without data is passed over, from clients and from endpoints: `h2` takes a hundred of them in the whole life of a connection, and then ends
//! it with all that it carries. An application that flushes nothing once in each answer would lose a connection after every hundred.

use crate::{io::Io, limits::Limits};
use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of HTTP/2 bytes under limits per second.
pub struct Metered {
    io: Io,
    /// Read before HTTP/2 was known to be spoken; served first.
    first: Vec<u8>,
    first_at: usize,
    walker: Walker,
    /// Over what is sent.
    sent: Walker,
    quota: Quota,
    stall: Stall,
    excess: Excess,
}

/// What a client sent too much of; its connection ends with GOAWAY and ENHANCE_YOUR_CALM (RFC 9113 §10.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// PING.
    Ping,
    /// SETTINGS.
    Settings,
    /// RST_STREAM (Rapid Reset, CVE-2023-44487).
    Reset,
    /// DATA without data.
    EmptyData,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// CONTINUATION.
    Continuation,
    /// PRIORITY, acknowledgements and frames of unknown types.
    Other,
    /// What `h2` bounds itself: streams that are reset before they are served, streams that we had to reset (MadeYouReset, CVE-2025-8671), DATA of a
    /// few bytes each that nobody takes, endless header lists.
    Streams,
}

impl Flood {
    /// All of them, with their names in metrics.
    pub const NAMES: [(Self, &'static str); 8] = [
        (Self::Ping, "ping"),
        (Self::Settings, "settings"),
        (Self::Reset, "reset"),
        (Self::EmptyData, "empty_data"),
        (Self::WindowUpdate, "window_update"),
        (Self::Continuation, "continuation"),
        (Self::Other, "other"),
        (Self::Streams, "streams"),
    ];

    /// Whether `h2` itself ended a connection for too much of something. It does not say of what.
    pub fn of_h2(error: &h2::Error) -> Option<Self> {
        let calm = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
        (calm && error.is_library()).then_some(Self::Streams)
    }
}

/// Whether a client sent too much, and of what.
#[derive(Clone, Debug, Default)]
pub struct Excess(Rc<Cell<Option<Flood>>>);

impl Excess {
    /// Of what; told once.
    pub fn take(&self) -> Option<Flood> {
        self.0.take()
    }
}

/// Since when the client takes no byte of what is to be sent; `None` while it does, or nothing is.
#[derive(Clone, Debug, Default)]
pub struct Stall(Rc<Cell<Option<Instant>>>);

impl Stall {
    /// Since when.
    pub fn since(&self) -> Option<Instant> {
        self.0.get()
    }

    fn note<T>(&self, write: &Poll<T>) {
        match write {
            Poll::Pending => self.0.set(self.0.get().or_else(|| Some(Instant::now()))),
            Poll::Ready(_) => self.0.set(None),
        }
    }
}

impl Metered {
    /// Meters a stream that starts with `first`, the preface included if any.
    pub fn new(io: Io, first: Vec<u8>, limits: &Limits) -> Self {
        let limits = RATES.map(|(_, limit)| limit(limits));
        let quota = Quota { since: Instant::now(), counts: [0; RATES.len()], limits, paid: 0 };
        Self {
            io,
            first,
            first_at: 0,
            walker: Walker::default(),
            sent: Walker { skip: 0, ..Walker::default() },
            quota,
            stall: Stall::default(),
            excess: Excess::default(),
        }
    }

    /// Tells whether the client reads.
    pub fn stall(&self) -> Stall {
        self.stall.clone()
    }

    /// Tells whether it sends too much.
    pub fn excess(&self) -> Excess {
        self.excess.clone()
    }

    /// Takes in what was sent.
    fn note_sent(&mut self, bytes: &[u8]) {
        let quota = &mut self.quota;
        self.sent.walk(bytes, |frame, _| quota.pay(frame));
    }

    /// Meters what was read behind `from`. After an excess nothing more is read: whoever serves the connection ends it in the same turn.
    fn meter(&mut self, buf: &mut ReadBuf<'_>, from: usize) -> Poll<io::Result<()>> {
        let (quota, now) = (&mut self.quota, Instant::now());
        let mut excess = None;
        let bytes = &mut buf.filled_mut()[from..];
        pass_over(&mut self.walker, bytes, |frame| excess = excess.or(quota.count(frame, now)));
        if excess.is_none() {
            return Poll::Ready(Ok(()));
        }
        buf.set_filled(from);
        self.excess.0.set(excess);
        Poll::Pending
    }
}

/// Tells of each frame, and makes DATA without data a frame of a type that nobody knows, which receivers pass over (RFC 9113 §4.1). One whose type
/// was read before its flags stays what it is: so few are none.
fn pass_over(walker: &mut Walker, bytes: &mut [u8], mut each: impl FnMut(Frame)) {
    const UNKNOWN: u8 = 0xfa;
    const BEHIND_TYPE: usize = 6;
    let mut empty = Vec::new();
    walker.walk(bytes, |frame, end| {
        if frame.is_empty_data() && end >= BEHIND_TYPE {
            empty.push(end - BEHIND_TYPE);
        }
        each(frame);
    });
    empty.into_iter().for_each(|at| bytes[at] = UNKNOWN);
}

/// A stream of HTTP/2 bytes from an endpoint, without DATA that carries none.
pub struct Endpoint {
    io: Io,
    walker: Walker,
}

impl Endpoint {
    /// Reads from the first byte on.
    pub fn new(io: Io) -> Self {
        Self { io, walker: Walker { skip: 0, ..Walker::default() } }
    }
}

impl AsyncRead for Endpoint {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        pass_over(&mut this.walker, &mut buf.filled_mut()[before..], |_| ());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endpoint {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// Walks the 9-byte frame headers (RFC 9113 §4.1) of a stream that begins with the client's preface.
struct Walker {
    header: [u8; 9],
    have: usize,
    skip: usize,
}

impl Default for Walker {
    fn default() -> Self {
        const PREFACE_BYTES: usize = 24;
        Self { header: [0; 9], have: 0, skip: PREFACE_BYTES }
    }
}

#[derive(Clone, Copy)]
struct Frame {
    kind: u8,
    len: usize,
    flags: u8,
}

impl Walker {
    /// Tells of each header that ends here, with its place behind it.
    fn walk(&mut self, all: &[u8], mut each: impl FnMut(Frame, usize)) {
        let mut bytes = all;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                continue;
            }
            let step = (self.header.len() - self.have).min(bytes.len());
            self.header[self.have..self.have + step].copy_from_slice(&bytes[..step]);
            self.have += step;
            bytes = &bytes[step..];
            if self.have == self.header.len() {
                let [a, b, c, kind, flags, ..] = self.header;
                let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.have = 0;
                self.skip = len;
                each(Frame { kind, len, flags }, all.len() - bytes.len());
            }
        }
    }
}

type Limit = fn(&Limits) -> u32;

/// What is counted by the second, and its limit.
const RATES: [(Flood, Limit); 7] = [
    (Flood::Ping, |limits| limits.h2_pings_per_s),
    (Flood::Settings, |limits| limits.h2_settings_per_s),
    (Flood::Reset, |limits| limits.h2_resets_per_s),
    (Flood::EmptyData, |limits| limits.h2_empty_data_per_s),
    (Flood::WindowUpdate, |limits| limits.h2_window_updates_per_s),
    (Flood::Continuation, |limits| limits.h2_continuations_per_s),
    (Flood::Other, |limits| limits.h2_other_frames_per_s),
];

struct Quota {
    since: Instant,
    counts: [u32; RATES.len()],
    limits: [u32; RATES.len()],
    /// PINGs that are paid for. Whoever measures its way asks once for each frame that it gets (grpc-go does, a thousand times a second
    /// where the way is short): it makes no more work than it was given.
    paid: u32,
}

impl Quota {
    /// An answer, or a part of one, pays for a PING.
    fn pay(&mut self, sent: Frame) {
        const PAID_MOST: u32 = 1_000;
        if matches!(sent.kind, 0x0 | 0x1) {
            self.paid = PAID_MOST.min(self.paid + 1);
        }
    }

    /// What there are too many of with this frame.
    fn count(&mut self, frame: Frame, now: Instant) -> Option<Flood> {
        let flood = frame.class()?;
        if flood == Flood::Ping && self.paid > 0 {
            self.paid -= 1;
            return None;
        }
        let at = RATES.iter().position(|(rated, _)| *rated == flood)?;
        if now.duration_since(self.since) > Duration::from_secs(1) {
            self.since = now;
            self.counts = [0; RATES.len()];
        }
        self.counts[at] += 1;
        (self.counts[at] > self.limits[at]).then_some(flood)
    }
}

impl Frame {
    /// Whether it carries nothing and ends nothing.
    fn is_empty_data(self) -> bool {
        const END_STREAM: u8 = 1;
        self.kind == 0x0 && self.len == 0 && self.flags & END_STREAM == 0
    }

    /// What it counts as; HEADERS, DATA with data and GOAWAY are bounded otherwise.
    fn class(self) -> Option<Flood> {
        const ACK: u8 = 1;
        match self.kind {
            0x0 if self.is_empty_data() => Some(Flood::EmptyData),
            0x0 | 0x1 | 0x7 => None,
            0x3 => Some(Flood::Reset),
            0x4 if self.flags & ACK == 0 => Some(Flood::Settings),
            0x6 if self.flags & ACK == 0 => Some(Flood::Ping),
            0x8 => Some(Flood::WindowUpdate),
            0x9 => Some(Flood::Continuation),
            _ => Some(Flood::Other),
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first_at < this.first.len() {
            let step = (this.first.len() - this.first_at).min(buf.remaining());
            buf.put_slice(&this.first[this.first_at..this.first_at + step]);
            this.first_at += step;
            if this.first_at == this.first.len() {
                this.first = Vec::new();
                this.first_at = 0;
            }
            let from = buf.filled().len() - step;
            return this.meter(buf, from);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.meter(buf, before)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.stall.note(&written);
        if let Poll::Ready(Ok(written)) = written {
            this.note_sent(&buf[..written]);
        }
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.stall.note(&written);
        if let Poll::Ready(Ok(mut left)) = written {
            for buf in bufs {
                let of_this = left.min(buf.len());
                this.note_sent(&buf[..of_this]);
                left -= of_this;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.stall.note(&flushed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whatever_the_pieces() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0, 1]);
        for piece in 1..bytes.len() {
            let mut walker = Walker::default();
            let mut kinds = Vec::new();
            for part in bytes.chunks(piece) {
                walker.walk(part, |frame, _| kinds.push((frame.kind, frame.len)));
            }
            assert_eq!(kinds, [(4, 0), (6, 8), (0, 0)], "pieces of {piece}");
        }
    }

    #[test]
    fn data_without_data_is_passed_over_and_nothing_else_is_touched() {
        let data = |len: u8, flags| [0, 0, len, 0, flags, 0, 0, 0, 1];
        let whole = [&data(0, 0)[..], &data(2, 0), &[0, 0], &data(0, 1), &data(0, 0)].concat();
        let mut expected = whole.clone();
        (expected[3], expected[32]) = (0xfa, 0xfa);
        let endpoint = || Walker { skip: 0, ..Walker::default() };
        let mut passed = whole.clone();
        pass_over(&mut endpoint(), &mut passed, |_| ());
        assert_eq!(passed, expected);
        for piece in 1..whole.len() {
            let (mut passed, mut walker, mut kinds) = (whole.clone(), endpoint(), Vec::new());
            passed.chunks_mut(piece).for_each(|part| pass_over(&mut walker, part, |frame| kinds.push(frame.len)));
            assert_eq!(kinds, [0, 2, 0, 0], "pieces of {piece}");
            let differ = whole.iter().zip(&passed).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
            assert!(differ.into_iter().all(|at| [3, 32].contains(&at)), "pieces of {piece}: {passed:?}");
        }
    }

    #[test]
    fn a_flood_of_pings_ends_the_connection() {
        let now = Instant::now();
        let mut quota = Quota { since: now, counts: [0; RATES.len()], limits: [3; RATES.len()], paid: 0 };
        let ping = Frame { kind: 6, len: 8, flags: 0 };
        assert!((0..3).all(|_| quota.count(ping, now).is_none()));
        assert_eq!(quota.count(ping, now), Some(Flood::Ping));
        assert_eq!(quota.count(ping, now + Duration::from_secs(2)), None);
    }

    #[test]
    fn a_ping_for_each_part_of_an_answer_is_no_flood() {
        let now = Instant::now();
        let mut quota = Quota { since: now, counts: [0; RATES.len()], limits: [3; RATES.len()], paid: 0 };
        let frame = |kind| Frame { kind, len: 8, flags: 0 };
        for _ in 0..100 {
            quota.pay(frame(0));
            assert_eq!(quota.count(frame(6), now), None);
        }
        // an acknowledgement of a PING pays for none
        assert!((0..3).all(|_| quota.count(frame(6), now).is_none()));
        quota.pay(frame(6));
        assert_eq!(quota.count(frame(6), now), Some(Flood::Ping));
    }

    #[test]
    fn what_carries_something_is_not_counted() {
        let class = |kind, len, flags| Frame { kind, len, flags }.class();
        assert_eq!([class(0, 5, 0), class(0, 0, 1), class(1, 9, 4), class(7, 8, 0)], [None; 4]);
        assert_eq!([class(0, 0, 0), class(3, 4, 0)], [Some(Flood::EmptyData), Some(Flood::Reset)]);
        // an acknowledgement is no question, but nobody needs thousands of them
        assert_eq!([class(4, 0, 1), class(6, 8, 1), class(2, 5, 0), class(200, 0, 0)], [Some(Flood::Other); 4]);
    }

    #[test]
    fn every_flood_has_a_name() {
        for (at, (flood, name)) in Flood::NAMES.iter().enumerate() {
            assert_eq!(*flood as usize, at, "{name}");
        }
    }
}
