//! The halves over HTTP/1, around the strict codec. A connection is reused only if both messages ended exactly and no byte is left over.

use super::{Fault, Outgoing};
use crate::{buffers::Buffers, failure::Failure, io::SharedIo};
use headgate_http1::{
    Answer, Asked, BodyDecoder, BodyForm, Forward, Found, HeadLimits, HeadReader, Malformed, Upgrade, write_chunk_head,
    write_chunk_tail, write_interim, write_last_chunk, write_request, write_response,
};
use headgate_message::{BadFraming, BadTarget, Chunk, Fields, Framing, Part, ResponseHead, Version};
use std::{
    future::poll_fn,
    io,
    ops::Range,
    rc::Rc,
    task::{Context, Poll},
};

/// Read beyond that: the sizes of chunks, and the end of a client behind a body that fills the spool.
const SPOOL_SLACK_BYTES: usize = 1024;
/// Answers up to this size leave in one write, head included.
const COALESCED_BYTES: usize = 16 * 1024;

/// Reads one message's body. Small: a request that waits keeps it.
pub struct H1Rx {
    io: SharedIo,
    buffers: Rc<Buffers>,
    buf: Vec<u8>,
    at: usize,
    decoder: BodyDecoder,
    is_answer: bool,
}

/// Reads an endpoint's answer: its heads, then its body.
pub struct H1Answer {
    body: H1Rx,
    /// `None` once the final head came.
    heads: Option<Heads>,
    facts: AnswerFacts,
}

/// Heads that are awaited, and what of the request decides how they are read.
struct Heads {
    reader: HeadReader,
    to_head: bool,
    upgrade: Option<Box<str>>,
}

#[derive(Default)]
struct AnswerFacts {
    declared_length: Option<u64>,
    keep_alive: bool,
    upgraded: Option<Upgrade>,
}

impl H1Answer {
    /// The answer to a request.
    pub fn new(io: SharedIo, buffers: Rc<Buffers>, limits: HeadLimits, outgoing: &Outgoing<'_>) -> Self {
        let heads = Heads {
            reader: HeadReader::new(limits),
            to_head: outgoing.head.method == headgate_message::Method::Head,
            upgrade: outgoing.upgrade.map(Into::into),
        };
        let decoder = BodyDecoder::new(Framing::NONE);
        let body = H1Rx { io, buffers, buf: Vec::new(), at: 0, decoder, is_answer: true };
        Self { body, heads: Some(heads), facts: AnswerFacts::default() }
    }

    /// The next part.
    pub async fn recv(&mut self) -> Result<Part<'_>, Fault> {
        while self.heads.is_some() {
            if let Some(part) = self.next_head()? {
                return Ok(part);
            }
            match poll_fn(|cx| self.body.poll_fill(cx)).await {
                Ok(1..) => {}
                Ok(_) => return Err(Failure::UpstreamClosedEarly.into()),
                Err(_) => return Err(Failure::UpstreamReset.into()),
            }
        }
        self.body.recv().await
    }

    fn next_head(&mut self) -> Result<Option<Part<'static>>, Fault> {
        let (Some(heads), body) = (&mut self.heads, &mut self.body) else { return Ok(None) };
        if body.buf.is_empty() {
            return Ok(None);
        }
        let asked = Asked { head: heads.to_head, upgrade: heads.upgrade.as_deref() };
        let spent = || body.buffers.take_spent();
        let read = heads.reader.response(&mut body.buf, asked, spent).map_err(|why| fault_of(why, true))?;
        let Some(response) = read else { return Ok(None) };
        if response.head.is_interim() {
            return Ok(Some(Part::Interim(response.head)));
        }
        self.facts = AnswerFacts {
            declared_length: response.declared_length,
            keep_alive: response.keep_alive,
            upgraded: response.upgraded,
        };
        body.decoder = BodyDecoder::new(response.framing);
        self.heads = None;
        Ok(Some(Part::Final(response.head, response.framing)))
    }

    pub(super) fn declared_length(&self) -> Option<u64> {
        self.facts.declared_length
    }

    /// The protocol that starts after a 101, named in its head's fields.
    pub fn upgraded(&self) -> Option<Upgrade> {
        self.facts.upgraded
    }

    /// Whether the endpoint's connection can carry another exchange.
    pub fn is_reusable(&self) -> bool {
        let is_whole = self.heads.is_none() && self.body.is_ended();
        self.facts.keep_alive && is_whole && self.body.at == self.body.buf.len()
    }

    /// The stream and what was read of it and not used.
    pub fn into_parts(self) -> (SharedIo, Vec<u8>) {
        self.body.into_parts()
    }
}

impl H1Rx {
    /// The body of a client's request, of which `buf` may hold the start.
    pub fn of_client(io: SharedIo, buffers: Rc<Buffers>, buf: Vec<u8>, framing: Framing) -> Self {
        Self { io, buffers, buf, at: 0, decoder: BodyDecoder::new(framing), is_answer: false }
    }

    /// The next part.
    pub async fn recv(&mut self) -> Result<Part<'_>, Fault> {
        loop {
            let step = self.decoder.next(&self.buf[self.at..]).map_err(|why| fault_of(why, self.is_answer))?;
            let base = self.at;
            self.at += step.used;
            match step.found {
                Found::Data(range) => return Ok(self.lend(range, base)),
                Found::Trailers(fields) => return Ok(Part::Trailers(fields)),
                Found::End => return Ok(Part::End),
                Found::More => {}
            }
            match poll_fn(|cx| self.poll_fill(cx)).await {
                Ok(1..) => {}
                Ok(_) => self.end_of_stream()?,
                Err(_) => return Err(self.broken().into()),
            }
        }
    }

    fn lend(&self, range: Range<usize>, base: usize) -> Part<'_> {
        Part::Data(Chunk::Lent(&self.buf[base + range.start..base + range.end]))
    }

    /// Reads more; 0 is the end. What was used is let go of first.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.at == self.buf.len() {
            self.buf.clear();
        } else if self.at > 0 {
            self.buf.drain(..self.at);
        }
        self.at = 0;
        if self.buf.capacity() > self.buf.len() {
            return self.io.poll_fill(cx, &mut self.buf);
        }
        if self.buf.capacity() > 0 {
            self.buf.reserve(self.buf.len());
            return self.io.poll_fill(cx, &mut self.buf);
        }
        // No buffer is held while there is nothing to read.
        let mut lent = self.buffers.take();
        let polled = self.io.poll_fill(cx, &mut lent);
        match polled {
            Poll::Ready(Ok(1..)) => self.buf = lent,
            _ => self.buffers.give(lent),
        }
        polled
    }

    /// The connection broke: that is the end of no message, however it is delimited.
    fn broken(&self) -> Failure {
        if self.is_answer { Failure::UpstreamTruncated } else { Failure::ClientGone }
    }

    fn end_of_stream(&mut self) -> Result<(), Fault> {
        if !self.is_answer {
            return Err(Failure::ClientGone.into());
        }
        self.decoder.finish_at_eof().map_err(|_| Failure::UpstreamTruncated.into())
    }

    /// Ready when the client has left. Reads ahead up to `spool` bytes; behind a larger upload the end does not show.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, spool: usize) -> Poll<()> {
        let most = spool + SPOOL_SLACK_BYTES;
        loop {
            let held = self.buf.len() - self.at;
            if held >= most {
                return Poll::Pending;
            }
            if self.at == 0 && held > 0 && held == self.buf.capacity() {
                // doubles, but never beyond what may be held
                self.buf.reserve_exact(held.min(most - held));
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The half that answers on the same stream.
    pub(super) fn answering(&self, client: AnswersTo) -> H1Tx {
        H1Tx::new(self.io.clone(), self.buffers.clone(), Kind::Answer(client))
    }

    /// Gives an empty buffer back before a wait, and shrinks one that holds body.
    pub fn park(&mut self) {
        if self.at == self.buf.len() {
            self.at = 0;
            self.buffers.give(std::mem::take(&mut self.buf));
        } else {
            let exact = self.buf[self.at..].into();
            self.at = 0;
            self.buffers.give(std::mem::replace(&mut self.buf, exact));
        }
    }

    /// Bytes held.
    pub fn retained(&self) -> usize {
        self.buf.capacity()
    }

    /// Whether the message has been read to its end.
    pub fn is_ended(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether it ended, and nothing was read behind it.
    pub fn is_all(&self) -> bool {
        self.is_ended() && self.at == self.buf.len()
    }

    /// The stream and what was read of it and not used.
    pub fn into_parts(mut self) -> (SharedIo, Vec<u8>) {
        self.take_parts()
    }

    /// The same of a half that stays behind, spent: for a tunnel.
    pub fn take_parts(&mut self) -> (SharedIo, Vec<u8>) {
        self.buf.drain(..self.at);
        self.at = 0;
        self.decoder = BodyDecoder::new(Framing::NONE);
        (self.io.clone(), std::mem::take(&mut self.buf))
    }

    /// Reads and drops the rest of the body, if it is at most `limit` bytes; false if it is not, or broken.
    pub async fn drain(&mut self, limit: usize) -> bool {
        let mut dropped = 0;
        loop {
            match self.recv().await {
                Ok(Part::End) => return true,
                Ok(Part::Data(chunk)) => dropped += chunk.as_slice().len(),
                Ok(_) => {}
                Err(_) => return false,
            }
            if dropped > limit {
                return false;
            }
        }
    }
}

impl Drop for H1Rx {
    fn drop(&mut self) {
        self.buffers.give(std::mem::take(&mut self.buf));
    }
}

/// Writes one message.
pub struct H1Tx {
    io: SharedIo,
    buffers: Rc<Buffers>,
    /// What is kept back; without a buffer until the first byte is written, so that a request that waits holds none.
    out: Vec<u8>,
    form: BodyForm,
    /// Bytes of body that the head declared and that were not written yet.
    left: Option<u64>,
    kind: Kind,
    started: bool,
    /// Whether a write is under way; a half that was dropped inside of one cannot be used again.
    writing: bool,
    sent: bool,
    aborted: bool,
}

enum Kind {
    Answer(AnswersTo),
    Request,
}

/// What an answer's client and request say.
#[derive(Clone, Copy)]
pub struct AnswersTo {
    version: Version,
    is_head: bool,
    keep_alive: bool,
}

impl H1Tx {
    /// The answer to a client.
    pub fn to_client(io: SharedIo, buffers: Rc<Buffers>, version: Version, is_head: bool, keep_alive: bool) -> Self {
        Self::new(io, buffers, Kind::Answer(AnswersTo { version, is_head, keep_alive }))
    }

    /// A request to an endpoint; its head is kept until the first flush.
    pub fn to_endpoint(io: SharedIo, buffers: Rc<Buffers>, outgoing: &Outgoing<'_>) -> Self {
        let mut tx = Self::new(io, buffers, Kind::Request);
        let forward = Forward { upgrade: outgoing.upgrade, expect_continue: false, te_trailers: outgoing.trailers };
        tx.form = write_request(tx.out(), outgoing.head, outgoing.framing, forward);
        tx.left = outgoing.framing.length().filter(|_| tx.form == BodyForm::Plain);
        tx.started = true;
        tx
    }

    /// What an answer of which nothing was given yet can be made of anew; `None` of any other half.
    pub(super) fn unbegun(&self) -> Option<AnswersTo> {
        match self.kind {
            Kind::Answer(client) if !self.started && !self.writing && !self.aborted && self.out.is_empty() => {
                Some(client)
            }
            _ => None,
        }
    }

    fn new(io: SharedIo, buffers: Rc<Buffers>, kind: Kind) -> Self {
        Self {
            io,
            buffers,
            out: Vec::new(),
            form: BodyForm::Nothing,
            left: None,
            kind,
            started: false,
            writing: false,
            sent: false,
            aborted: false,
        }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = self.buffers.take();
        }
        &mut self.out
    }

    pub(super) async fn interim(&mut self, head: ResponseHead) -> Result<(), Fault> {
        let Kind::Answer(AnswersTo { version: Version::Http11, .. }) = self.kind else { return Ok(()) };
        write_interim(self.out(), &head);
        self.buffers.give_spent(head.fields);
        self.flush().await
    }

    pub(super) fn response(&mut self, head: ResponseHead, framing: Framing, length: Option<u64>) -> Result<(), Fault> {
        let written = self.write_answer(&head, framing, length, None);
        self.buffers.give_spent(head.fields);
        written
    }

    /// The 101 that makes a tunnel of this connection.
    pub async fn switch(&mut self, head: &ResponseHead, protocol: &str) -> Result<(), Fault> {
        self.write_answer(head, Framing::NONE, None, Some(protocol))?;
        self.flush().await
    }

    fn write_answer(
        &mut self,
        head: &ResponseHead,
        framing: Framing,
        declared_length: Option<u64>,
        upgrade: Option<&str>,
    ) -> Result<(), Fault> {
        self.out();
        let Kind::Answer(client) = &mut self.kind else { return Err(Failure::Internal.into()) };
        let answer = Answer {
            version: client.version,
            to_head: client.is_head,
            keep_alive: client.keep_alive,
            upgrade,
            declared_length,
        };
        let dated = head.fields.has("date") || upgrade.is_some();
        let written = write_response(&mut self.out, head, framing, answer);
        if !dated {
            insert_date(&mut self.out);
        }
        self.form = written.body;
        self.left = framing.length().filter(|_| written.body == BodyForm::Plain);
        client.keep_alive = written.keep_alive;
        // an interim answer before this one does not count
        (self.started, self.sent) = (true, false);
        Ok(())
    }

    pub(super) async fn data(&mut self, data: &[u8]) -> Result<(), Fault> {
        if data.is_empty() || self.form == BodyForm::Nothing {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(Failure::Internal)?;
        }
        let is_chunked = self.form == BodyForm::Chunked;
        if is_chunked {
            write_chunk_head(&mut self.out, data.len());
        }
        if self.out.len() + data.len() <= COALESCED_BYTES {
            self.out.extend_from_slice(data);
        } else {
            self.write(data).await?;
        }
        if is_chunked {
            write_chunk_tail(&mut self.out);
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        if self.out.is_empty() { Ok(()) } else { self.write(&[]).await }
    }

    async fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        self.writing = true;
        let mut done = 0;
        let (io, out, sent) = (&self.io, &self.out, &mut self.sent);
        let written = poll_fn(|cx| {
            let polled = io.poll_write_all(cx, out, data, &mut done);
            *sent |= done > 0;
            polled
        })
        .await;
        let gone = match self.kind {
            Kind::Answer(_) => Failure::ClientGone,
            Kind::Request => Failure::UpstreamReset,
        };
        written.map_err(|_| Fault::from(gone))?;
        self.out.clear();
        self.writing = false;
        Ok(())
    }

    pub(super) async fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Fault> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(Failure::Internal.into());
        }
        if self.form == BodyForm::Chunked {
            write_last_chunk(self.out(), trailers);
        }
        self.form = BodyForm::Nothing;
        self.flush().await?;
        // the endpoint may work on it for long
        self.buffers.give(std::mem::take(&mut self.out));
        Ok(())
    }

    /// Whether a write was begun and not ended: then nothing else can be written.
    pub(super) fn is_torn(&self) -> bool {
        self.writing
    }

    pub(super) fn is_started(&self) -> bool {
        self.started
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Takes back an answer of which no byte was written, so that another can be given; false if it is too late.
    pub(super) fn take_back(&mut self) -> bool {
        let is_kept = !self.sent && !self.writing;
        if is_kept {
            self.out.clear();
            (self.started, self.form) = (false, BodyForm::Nothing);
        }
        is_kept
    }

    /// Lets the client see that the answer is incomplete: the connection ends without the last chunk or byte.
    pub(super) fn abort(&mut self) {
        self.out.clear();
        self.aborted = true;
        self.close_after();
    }

    /// This answer is the last of its connection.
    pub fn close_after(&mut self) {
        if let Kind::Answer(client) = &mut self.kind {
            client.keep_alive = false;
        }
    }

    /// Whether the answer was broken off.
    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// Whether everything was written and the connection goes on.
    pub fn is_reusable(&self) -> bool {
        let goes_on = match &self.kind {
            Kind::Answer(client) => client.keep_alive,
            Kind::Request => true,
        };
        goes_on && self.is_whole()
    }

    /// Whether all of the message was sent.
    pub fn is_whole(&self) -> bool {
        let is_written = self.form == BodyForm::Nothing && self.left.is_none_or(|left| left == 0);
        is_written && !self.writing && self.out.is_empty()
    }
}

impl Drop for H1Tx {
    fn drop(&mut self) {
        self.buffers.give(std::mem::take(&mut self.out));
    }
}

/// Puts a Date field before the empty line that ends the head (RFC 9110 §6.6.1).
fn insert_date(out: &mut Vec<u8>) {
    out.truncate(out.len() - 2);
    out.extend_from_slice(b"date: ");
    crate::clock::with_http_date(|date| out.extend_from_slice(date.as_bytes()));
    out.extend_from_slice(b"\r\n\r\n");
}

/// The failure of a refused message: a client's own, or its endpoint's.
pub fn fault_of(why: Malformed, is_endpoint: bool) -> Fault {
    let failure = match why {
        Malformed::LongHead | Malformed::ManyFields if is_endpoint => Failure::UpstreamHeadTooLarge,
        Malformed::Switch => Failure::UpgradeFailed,
        Malformed::Truncated if is_endpoint => Failure::UpstreamTruncated,
        _ if is_endpoint => Failure::UpstreamMalformed,
        Malformed::LongHead | Malformed::ManyFields | Malformed::LongTrailers => Failure::HeadTooLarge,
        Malformed::LongTarget => Failure::TargetTooLong,
        Malformed::Connect | Malformed::LongMethod => Failure::MethodNotSupported,
        Malformed::Version => Failure::VersionNotSupported,
        Malformed::Host | Malformed::HostMismatch => Failure::BadHost,
        Malformed::Scheme => Failure::Misdirected,
        Malformed::Target(BadTarget::Host | BadTarget::Port) => Failure::BadHost,
        Malformed::Target(_) => Failure::BadTarget,
        Malformed::Framing(BadFraming::Both | BadFraming::TransferEncoding | BadFraming::ContentLength) => {
            Failure::AmbiguousFraming
        }
        Malformed::Expect => Failure::ExpectationFailed,
        Malformed::ChunkSize | Malformed::ChunkExtension | Malformed::ChunkEnd | Malformed::Trailer => {
            Failure::BadChunk
        }
        Malformed::Truncated => Failure::ClientGone,
        _ => Failure::MalformedRequest,
    };
    Fault::new(failure, why.as_str())
}
