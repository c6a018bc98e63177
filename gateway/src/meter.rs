//! Counts HTTP/2 control frames as they are read, so that a client cannot keep us busy with frames that carry nothing. `h2` itself has no limit on PING and SETTINGS.

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
    quota: Quota,
    stall: Stall,
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
        let quota = Quota {
            since: Instant::now(),
            counts: [0; 5],
            limits: [
                limits.h2_pings_per_s,
                limits.h2_settings_per_s,
                limits.h2_empty_data_per_s,
                limits.h2_window_updates_per_s,
                limits.h2_continuations_per_s,
            ],
        };
        Self { io, first, first_at: 0, walker: Walker::default(), quota, stall: Stall::default() }
    }

    /// Tells whether the client reads.
    pub fn stall(&self) -> Stall {
        self.stall.clone()
    }

    fn meter(&mut self, read: &[u8]) -> io::Result<()> {
        let (quota, now) = (&mut self.quota, Instant::now());
        self.walker.walk(read, |frame| quota.count(frame, now))
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
    fn walk(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame) -> io::Result<()>) -> io::Result<()> {
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
                each(Frame { kind, len, flags })?;
            }
        }
        Ok(())
    }
}

struct Quota {
    since: Instant,
    counts: [u32; 5],
    limits: [u32; 5],
}

impl Quota {
    fn count(&mut self, frame: Frame, now: Instant) -> io::Result<()> {
        const ACK: u8 = 1;
        const END_STREAM: u8 = 1;
        let class = match frame.kind {
            0x6 if frame.flags & ACK == 0 => 0,
            0x4 if frame.flags & ACK == 0 => 1,
            0x0 if frame.len == 0 && frame.flags & END_STREAM == 0 => 2,
            0x8 => 3,
            0x9 => 4,
            _ => return Ok(()),
        };
        if now.duration_since(self.since) > Duration::from_secs(1) {
            self.since = now;
            self.counts = [0; 5];
        }
        self.counts[class] += 1;
        if self.counts[class] > self.limits[class] {
            return Err(io::Error::other("too many HTTP/2 control frames"));
        }
        Ok(())
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
            return Poll::Ready(this.meter(&buf.filled()[from..]));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        Poll::Ready(this.meter(&buf.filled()[before..]))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.stall.note(&written);
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
                walker
                    .walk(part, |frame| {
                        kinds.push((frame.kind, frame.len));
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(kinds, [(4, 0), (6, 8), (0, 0)], "pieces of {piece}");
        }
    }

    #[test]
    fn a_flood_of_pings_ends_the_connection() {
        let now = Instant::now();
        let mut quota = Quota { since: now, counts: [0; 5], limits: [3, 3, 3, 3, 3] };
        let ping = Frame { kind: 6, len: 8, flags: 0 };
        assert!((0..3).all(|_| quota.count(ping, now).is_ok()));
        assert!(quota.count(ping, now).is_err());
        assert!(quota.count(ping, now + Duration::from_secs(2)).is_ok());
    }
}
