//! The four halves of an exchange: what a client sends and gets, what an endpoint gets and sends, over HTTP/1 or HTTP/2. Closed enums; nothing above them knows the protocol.

mod http1;
mod http2;

pub use http1::{AnswersTo, H1Answer, H1Rx, H1Tx, fault_of};
pub use http2::{H2DownTx, H2Response, H2Rx, H2Unbegun, H2UpTx, head_of_request, request_of};

use crate::{backend::Refusal, failure::Failure, io::SharedIo};
use headgate_message::{Chunk, Fields, Framing, Part, RequestHead, ResponseHead};
use std::{
    borrow::Cow,
    task::{Context, Poll},
    time::Duration,
};

/// A failure with what an answer and the log may add.
#[derive(Debug)]
pub struct Fault {
    /// Its row of the table.
    pub failure: Failure,
    /// More, for the client's eyes.
    pub detail: Option<Cow<'static, str>>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// Whether the endpoint says that it did nothing of the request.
    pub unseen: bool,
}

impl Fault {
    /// A failure with a detail.
    pub fn new(failure: Failure, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { failure, detail: Some(detail.into()), retry_after: None, unseen: false }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self { failure, detail: None, retry_after: None, unseen: false }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.detail.map(|detail| Cow::Owned(detail.to_string()));
        Self { failure: refusal.failure, detail, retry_after: refusal.retry_after, unseen: false }
    }
}

/// Reads what a client sends after its head.
pub enum DownRx {
    /// HTTP/1.
    H1(H1Rx),
    /// HTTP/2.
    H2(H2Rx),
}

impl DownRx {
    /// The next part of the body; after `End` nothing follows.
    pub async fn recv(&mut self) -> Result<Part<'_>, Fault> {
        match self {
            Self::H1(rx) => rx.recv().await,
            Self::H2(rx) => rx.recv().await,
        }
    }

    /// Bytes held that were read of it: of HTTP/2 none, they lie in its window.
    pub fn retained(&self) -> usize {
        match self {
            Self::H1(rx) => rx.retained(),
            Self::H2(_) => 0,
        }
    }

    /// Bytes of a body of this framing that may lie unread in an HTTP/2 window of this size.
    pub fn unread_of_http2(&self, framing: Framing, window: usize) -> usize {
        match self {
            Self::H1(_) => 0,
            Self::H2(rx) if rx.is_ended() => 0,
            Self::H2(_) => framing.length().map_or(window, |length| window.min(length as usize)),
        }
    }

    /// Ready when the client has left, as far as its bytes show it; reads ahead up to `spool` bytes.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, spool: usize) -> Poll<()> {
        match self {
            Self::H1(rx) => rx.poll_gone(cx, spool),
            Self::H2(_) => Poll::Pending,
        }
    }
}

/// Writes what a client gets.
pub enum DownTx {
    /// HTTP/1.
    H1(H1Tx),
    /// HTTP/2.
    H2(H2DownTx),
}

impl DownTx {
    /// A 1xx head; HTTP/1.0 clients get none.
    pub async fn interim(&mut self, head: ResponseHead) -> Result<(), Fault> {
        match self {
            Self::H1(tx) => tx.interim(head).await,
            Self::H2(tx) => tx.interim(head),
        }
    }

    /// The final head. Kept until data, `flush` or `end`, so that small answers are one write.
    pub fn head(&mut self, head: ResponseHead, framing: Framing, length: Option<u64>) -> Result<(), Fault> {
        match self {
            Self::H1(tx) => tx.response(head, framing, length),
            Self::H2(tx) => tx.head(head, framing, length),
        }
    }

    /// Bytes of body. Some may be kept until more data, `flush` or `end`.
    pub async fn data(&mut self, chunk: Chunk<'_>) -> Result<(), Fault> {
        match self {
            Self::H1(tx) => tx.data(chunk.as_slice()).await,
            Self::H2(tx) => tx.data(chunk.into_bytes()).await,
        }
    }

    /// Sends what is kept back: before waiting for more.
    pub async fn flush(&mut self) -> Result<(), Fault> {
        match self {
            Self::H1(tx) => tx.flush().await,
            Self::H2(tx) => tx.flush().await,
        }
    }

    /// The end, with trailers or without.
    pub async fn end(&mut self, trailers: Option<Fields>) -> Result<(), Fault> {
        match self {
            Self::H1(tx) => tx.end(trailers.as_ref()).await,
            Self::H2(tx) => tx.end(trailers).await,
        }
    }

    /// Ready when the client has reset its stream.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(_) => Poll::Pending,
            Self::H2(tx) => tx.poll_gone(cx),
        }
    }

    /// Whether a write was begun and not ended: then nothing else can be written.
    pub fn is_torn(&self) -> bool {
        match self {
            Self::H1(tx) => tx.is_torn(),
            Self::H2(_) => false,
        }
    }

    /// Whether a final head was given.
    pub fn is_started(&self) -> bool {
        match self {
            Self::H1(tx) => tx.is_started(),
            Self::H2(tx) => tx.is_started(),
        }
    }

    /// This answer is the last of its connection, where one connection has one answer after the other.
    pub fn close_after(&mut self) {
        if let Self::H1(tx) = self {
            tx.close_after();
        }
    }

    /// Takes back an answer of which nothing has left yet; false if it is too late.
    pub fn take_back(&mut self) -> bool {
        match self {
            Self::H1(tx) => tx.take_back(),
            Self::H2(tx) => !tx.is_started(),
        }
    }

    /// Breaks the answer off so that the client sees that it is incomplete.
    pub fn abort(&mut self) {
        match self {
            Self::H1(tx) => tx.abort(),
            Self::H2(tx) => tx.reset(h2::Reason::INTERNAL_ERROR),
        }
    }
}

/// A client's two halves while its answer has not begun, as small as can be: what a request that waits keeps of them.
pub enum Halves {
    /// HTTP/1: the writing half is made anew.
    H1(H1Rx, AnswersTo),
    /// HTTP/2: the same.
    H2(H2Rx, H2Unbegun),
    /// As they are.
    Any(Box<(DownRx, DownTx)>),
}

impl Halves {
    /// Puts both together.
    pub fn of(rx: DownRx, tx: DownTx) -> Self {
        match (rx, tx) {
            (DownRx::H1(rx), DownTx::H1(tx)) => match tx.unbegun() {
                Some(client) => Self::H1(rx, client),
                None => Self::Any(Box::new((DownRx::H1(rx), DownTx::H1(tx)))),
            },
            (DownRx::H2(rx), DownTx::H2(tx)) => match tx.unbegun() {
                Ok(client) => Self::H2(rx, client),
                Err(tx) => Self::Any(Box::new((DownRx::H2(rx), DownTx::H2(tx)))),
            },
            (rx, tx) => Self::Any(Box::new((rx, tx))),
        }
    }

    /// The halves.
    pub fn apart(self) -> (DownRx, DownTx) {
        match self {
            Self::H1(rx, client) => {
                let tx = rx.answering(client);
                (DownRx::H1(rx), DownTx::H1(tx))
            }
            Self::H2(rx, client) => (DownRx::H2(rx), DownTx::H2(client.begin())),
            Self::Any(halves) => *halves,
        }
    }

    /// Ready when the client has left; reads ahead up to `spool` bytes.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, spool: usize) -> Poll<()> {
        match self {
            Self::H1(rx, _) => rx.poll_gone(cx, spool),
            Self::H2(_, client) => client.poll_gone(cx),
            Self::Any(halves) => match halves.0.poll_gone(cx, spool) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => halves.1.poll_gone(cx),
            },
        }
    }

    /// Bytes that were read ahead.
    pub fn retained(&self) -> usize {
        match self {
            Self::H1(rx, _) => rx.retained(),
            Self::H2(..) => 0,
            Self::Any(halves) => halves.0.retained(),
        }
    }
}

/// Writes what an endpoint gets.
pub enum UpTx {
    /// HTTP/1.
    H1(H1Tx),
    /// HTTP/2.
    H2(H2UpTx),
}

impl UpTx {
    /// Bytes of body. Some may be kept until more data, `flush` or `end`.
    pub async fn data(&mut self, chunk: Chunk<'_>) -> Result<(), Fault> {
        match self {
            Self::H1(tx) => tx.data(chunk.as_slice()).await,
            Self::H2(tx) => tx.data(chunk.into_bytes()).await,
        }
    }

    /// Sends what is kept back.
    pub async fn flush(&mut self) -> Result<(), Fault> {
        match self {
            Self::H1(tx) => tx.flush().await,
            Self::H2(tx) => tx.flush().await,
        }
    }

    /// The end, with trailers or without.
    pub async fn end(&mut self, trailers: Option<Fields>) -> Result<(), Fault> {
        match self {
            Self::H1(tx) => tx.end(trailers.as_ref()).await,
            Self::H2(tx) => tx.end(trailers).await,
        }
    }

    /// Whether any byte of the request may have reached the endpoint.
    pub fn is_sent(&self) -> bool {
        match self {
            Self::H1(tx) => tx.is_sent(),
            Self::H2(_) => true,
        }
    }
}

/// Reads what an endpoint sends.
pub enum UpRx {
    /// HTTP/1.
    H1(H1Answer),
    /// HTTP/2, before and after its head.
    H2(H2Response),
}

impl UpRx {
    /// The next part of the answer: heads first.
    pub async fn recv(&mut self) -> Result<Part<'_>, Fault> {
        match self {
            Self::H1(rx) => rx.recv().await,
            Self::H2(rx) => rx.recv().await,
        }
    }

    /// `Content-Length` as the endpoint declared it, which HEAD and 304 answers keep.
    pub fn declared_length(&self) -> Option<u64> {
        match self {
            Self::H1(rx) => rx.declared_length(),
            Self::H2(rx) => rx.declared_length(),
        }
    }
}

/// What is left of an HTTP/1 endpoint connection after an exchange.
pub struct H1Idle {
    /// The stream, clean: nothing unread, nothing unwritten.
    pub io: SharedIo,
}

/// What a request becomes on its way to an endpoint.
pub struct Outgoing<'a> {
    /// The head, filtered.
    pub head: &'a RequestHead,
    /// How its body is delimited.
    pub framing: Framing,
    /// The protocol it asks to switch to.
    pub upgrade: Option<&'a str>,
    /// Whether the client takes trailers (`te: trailers`).
    pub trailers: bool,
}
