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
    frames: Frames,
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
            frames: Frames::default(),
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
        self.sent.walk(bytes, |frame| quota.pay(frame));
    }
}

/// What was read already, and then what comes.
struct Source<'s> {
    first: &'s mut Vec<u8>,
    first_at: &'s mut usize,
    io: &'s mut Io,
}

impl AsyncRead for Source<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { first, first_at, io } = self.get_mut();
        let left = &first[**first_at..];
        if left.is_empty() {
            return Pin::new(&mut **io).poll_read(cx, buf);
        }
        let step = left.len().min(buf.remaining());
        buf.put_slice(&left[..step]);
        **first_at += step;
        if **first_at == first.len() {
            (**first, **first_at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads frames, and makes DATA without data a frame of a type that nobody knows, which receivers pass over (RFC 9113 §4.1). What only its flags
/// decide waits for them: the last byte of a read may come with the next one.
struct Frames {
    walker: Walker,
    /// The type of a frame that may be such DATA, which was read and is not given yet.
    is_held: bool,
}

impl Default for Frames {
    /// Of a client: the preface comes first.
    fn default() -> Self {
        Self { walker: Walker::default(), is_held: false }
    }
}

impl Frames {
    /// Of an endpoint: there is no preface.
    fn of_endpoint() -> Self {
        Self { walker: Walker { skip: 0, ..Walker::default() }, is_held: false }
    }

    /// Reads; tells of each frame.
    fn poll_read(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        mut each: impl FnMut(Frame),
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            if self.is_held {
                buf.put_slice(&[DATA]);
            }
            let from = buf.filled().len();
            let read = Pin::new(&mut *io).poll_read(cx, buf);
            if !matches!(read, Poll::Ready(Ok(()))) {
                buf.set_filled(before);
                return read;
            }
            let is_over = buf.filled().len() == from;
            self.is_held = self.walker.pass_over(&mut buf.filled_mut()[before..], &mut each) && !is_over;
            if self.is_held {
                self.walker.have -= 1;
                buf.set_filled(buf.filled().len() - 1);
            }
            // nothing would mean the end
            if is_over || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The type of DATA.
const DATA: u8 = 0x0;

/// A stream of HTTP/2 bytes from an endpoint, without DATA that carries none.
pub struct Endpoint {
    io: Io,
    frames: Frames,
}

impl Endpoint {
    /// Reads from the first byte on.
    pub fn new(io: Io) -> Self {
        Self { io, frames: Frames::of_endpoint() }
    }
}

impl AsyncRead for Endpoint {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, frames } = self.get_mut();
        frames.poll_read(io, cx, buf, |_| ())
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
    /// Tells of each header that ends here.
    fn walk(&mut self, bytes: &[u8], mut each: impl FnMut(Frame)) {
        self.walk_to(bytes, |_, _| (), &mut each);
    }

    /// The same; DATA without data becomes a frame of an unknown type. Whether the last byte is the type of a frame that may be one.
    fn pass_over(&mut self, bytes: &mut [u8], each: &mut impl FnMut(Frame)) -> bool {
        const UNKNOWN: u8 = 0xfa;
        let mut empty = Vec::new();
        self.walk_to(bytes, |frame, at| empty.extend(Some(at).filter(|_| frame.is_empty_data())), each);
        empty.into_iter().for_each(|at| bytes[at] = UNKNOWN);
        self.have == TYPE + 1 && self.header[..=TYPE] == [0, 0, 0, DATA] && self.skip == 0
    }

    /// Tells `typed` of each frame once its flags are known, with the place of its type in `all`, unless that came before; and `each` of each
    /// whose header ends here.
    fn walk_to(&mut self, all: &[u8], mut typed: impl FnMut(Frame, usize), each: &mut impl FnMut(Frame)) {
        let mut bytes = all;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                continue;
            }
            let (at, had) = (all.len() - bytes.len(), self.have);
            let step = (self.header.len() - had).min(bytes.len());
            self.header[had..had + step].copy_from_slice(&bytes[..step]);
            self.have += step;
            bytes = &bytes[step..];
            if had <= TYPE && self.have > FLAGS {
                typed(self.frame(), at + TYPE - had);
            }
            if self.have == self.header.len() {
                let frame = self.frame();
                (self.have, self.skip) = (0, frame.len);
                each(frame);
            }
        }
    }

    fn frame(&self) -> Frame {
        let [a, b, c, kind, flags, ..] = self.header;
        Frame { kind, len: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c), flags }
    }
}

/// Where type and flags are in a header.
const TYPE: usize = 3;
const FLAGS: usize = 4;

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
        self.kind == DATA && self.len == 0 && self.flags & END_STREAM == 0
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
    /// After an excess nothing more is read: whoever serves the connection ends it in the same turn.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, first, first_at, frames, quota, excess, .. } = self.get_mut();
        let (from, now) = (buf.filled().len(), Instant::now());
        let mut flood = None;
        let mut source = Source { first, first_at, io };
        ready!(frames.poll_read(&mut source, cx, buf, |frame| flood = flood.or(quota.count(frame, now))))?;
        if flood.is_none() {
            return Poll::Ready(Ok(()));
        }
        buf.set_filled(from);
        excess.0.set(flood);
        Poll::Pending
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
                walker.walk(part, |frame| kinds.push((frame.kind, frame.len)));
            }
            assert_eq!(kinds, [(4, 0), (6, 8), (0, 0)], "pieces of {piece}");
        }
    }

    /// Gives its bytes in pieces of a length, and then the end.
    struct Pieces(Vec<u8>, usize);

    impl AsyncRead for Pieces {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let Self(left, piece) = self.get_mut();
            let step = (*piece).min(left.len()).min(buf.remaining());
            buf.put_slice(&left.drain(..step).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }

    fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<usize>) {
        let (mut frames, mut io) = (Frames::of_endpoint(), Pieces(bytes.to_vec(), piece));
        let (mut whole, mut lengths) = (Vec::new(), Vec::new());
        loop {
            let mut room = [0; 64];
            let mut buf = ReadBuf::new(&mut room);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let read = frames.poll_read(&mut io, &mut cx, &mut buf, |frame| lengths.push(frame.len));
            assert!(matches!(read, Poll::Ready(Ok(()))));
            if buf.filled().is_empty() {
                return (whole, lengths);
            }
            whole.extend_from_slice(buf.filled());
        }
    }

    #[test]
    fn data_without_data_is_passed_over_and_nothing_else_is_touched_whatever_the_pieces() {
        let data = |len: u8, flags| [0, 0, len, 0, flags, 0, 0, 0, 1];
        let whole = [&data(0, 0)[..], &data(2, 0), &[0, 0], &data(0, 1), &data(0, 0)].concat();
        let mut expected = whole.clone();
        (expected[3], expected[32]) = (0xfa, 0xfa);
        for piece in 1..=whole.len() {
            assert_eq!(passed(&whole, piece), (expected.clone(), vec![0, 2, 0, 0]), "pieces of {piece}");
        }
        // one that is cut off comes as it is
        for cut in 1..whole.len() {
            let (bytes, _) = passed(&whole[..cut], 1);
            assert_eq!(bytes.len(), cut);
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
