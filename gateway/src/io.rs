//! A connection's bytes, plain or TLS, shared by the reading and the writing half of one task. Never crosses threads.

use bytes::BufMut;
use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{client, server};

/// A connected stream.
pub enum Io {
    /// Plain.
    Tcp(TcpStream),
    /// From a client.
    TlsServer(Box<server::TlsStream<TcpStream>>),
    /// To an endpoint.
    TlsClient(Box<client::TlsStream<TcpStream>>),
}

impl Io {
    /// Its socket.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::TlsServer(tls) => tls.get_ref().0,
            Self::TlsClient(tls) => tls.get_ref().0,
        }
    }

    /// Ready once the other side has left without having sent anything that is not read yet. Reads nothing.
    pub fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut byte = [0];
        match ready!(self.tcp().poll_peek(cx, &mut ReadBuf::new(&mut byte))) {
            Ok(1..) => Poll::Pending,
            Ok(_) | Err(_) => Poll::Ready(()),
        }
    }

    /// Breaks the connection off, so that the other side does not take its end for the end of an answer.
    pub fn reset(self) {
        // where it cannot be, it ends as usual
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::TlsServer(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
            Self::TlsClient(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::TlsServer(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
            Self::TlsClient(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::TlsServer(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs),
            Self::TlsClient(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::TlsServer(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Self::TlsClient(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::TlsServer(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Self::TlsClient(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

/// The same stream for both halves of an exchange. Both are polled by one task, so a borrow lasts one poll and never overlaps.
#[derive(Clone)]
pub struct SharedIo(Rc<RefCell<Io>>);

impl SharedIo {
    /// Shares a stream.
    pub fn new(io: Io) -> Self {
        Self(Rc::new(RefCell::new(io)))
    }

    /// Reads what is there into the spare capacity of `buf`; 0 is the end of the stream.
    pub fn poll_fill(&self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        debug_assert!(buf.remaining_mut() > 0);
        tokio_util::io::poll_read_buf(Pin::new(&mut *self.0.borrow_mut()), cx, buf)
    }

    /// Whether nothing was received: neither bytes nor the end. Costs no system call, since the runtime knows whether the socket is
    /// readable.
    pub fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        Pin::new(&mut *self.0.borrow_mut()).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Writes `first` from `*done` on, then `second`, in as few calls as can be; ready when all is written and flushed.
    /// `*done` counts what was written, so that the call can be repeated.
    pub fn poll_write_all(
        &self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
        done: &mut usize,
    ) -> Poll<io::Result<()>> {
        let mut io = self.0.borrow_mut();
        let total = first.len() + second.len();
        while *done < total {
            let written = if *done >= first.len() || second.is_empty() {
                let rest = if *done < first.len() { &first[*done..] } else { &second[*done - first.len()..] };
                ready!(Pin::new(&mut *io).poll_write(cx, rest))?
            } else {
                let slices = [io::IoSlice::new(&first[*done..]), io::IoSlice::new(second)];
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *done += written;
        }
        match &mut *io {
            Io::Tcp(_) => Poll::Ready(Ok(())),
            tls => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Ends the writing side.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }

    /// The stream itself, once no other half has it.
    pub fn into_io(self) -> Option<Io> {
        Rc::try_unwrap(self.0).ok().map(RefCell::into_inner)
    }
}
