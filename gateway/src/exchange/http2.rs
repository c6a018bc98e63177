//! The halves over HTTP/2, on the `h2` crate: its flow control is our back-pressure. Never buffers beyond a window.

use super::Fault;
use crate::{failure::Failure, limits::Limits};
use bytes::Bytes;
use headgate_config::Scheme;
use headgate_message::{
    Authority, Chunk, Fields, Framing, Method, Part, RequestHead, ResponseHead, Span, Target, canonical_path,
    check_query, split_authority,
};
use std::{
    future::poll_fn,
    task::{Context, Poll},
};

/// Reads a body.
pub struct H2Rx {
    recv: h2::RecvStream,
    side: Blame,
    /// Received and not yet given back to the window.
    owed: usize,
    ended: bool,
}

/// Whose faults a half reports.
#[derive(Clone, Copy, PartialEq)]
enum Blame {
    Client,
    Endpoint,
}

impl H2Rx {
    /// The body of a client's request.
    pub fn of_client(recv: h2::RecvStream) -> Self {
        let ended = recv.is_end_stream();
        Self { recv, side: Blame::Client, owed: 0, ended }
    }

    fn of_endpoint(recv: h2::RecvStream) -> Self {
        let ended = recv.is_end_stream();
        Self { recv, side: Blame::Endpoint, owed: 0, ended }
    }

    /// The next part. What the last call lent has been passed on by now, so its window is given back here.
    pub async fn recv(&mut self) -> Result<Part<'_>, Fault> {
        if self.owed > 0 {
            let _ = self.recv.flow_control().release_capacity(std::mem::take(&mut self.owed));
        }
        if self.ended {
            return Ok(Part::End);
        }
        match poll_fn(|cx| self.recv.poll_data(cx)).await {
            Some(Ok(data)) => {
                self.owed = data.len();
                self.ended = self.recv.is_end_stream();
                Ok(Part::Data(Chunk::Owned(data)))
            }
            Some(Err(error)) => Err(self.fault(&error)),
            None => {
                let trailers = poll_fn(|cx| self.recv.poll_trailers(cx)).await;
                self.ended = true;
                match trailers {
                    Ok(Some(map)) => {
                        let mut fields = fields_of(&map);
                        headgate_http1::keep_trailers_only(&mut fields);
                        Ok(Part::Trailers(fields))
                    }
                    Ok(None) => Ok(Part::End),
                    Err(error) => Err(self.fault(&error)),
                }
            }
        }
    }

    /// Whether the body was read to its end.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn fault(&self, error: &h2::Error) -> Fault {
        match self.side {
            Blame::Client => Failure::ClientGone.into(),
            Blame::Endpoint => upstream_fault(error, Failure::UpstreamTruncated),
        }
    }
}

/// Where an answer goes that has not begun: what a request that waits keeps of it.
pub struct H2Unbegun {
    respond: h2::server::SendResponse<Bytes>,
    is_head: bool,
}

impl H2Unbegun {
    /// The answer of a stream; `is_head` for a HEAD request, whose answer has no body.
    pub fn new(respond: h2::server::SendResponse<Bytes>, is_head: bool) -> Self {
        Self { respond, is_head }
    }

    /// What writes it.
    pub fn begin(self) -> H2DownTx {
        H2DownTx { to: self, body: None }
    }

    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(drop)
    }
}

/// Writes an answer to a client.
pub struct H2DownTx {
    to: H2Unbegun,
    /// Once the head was sent.
    body: Option<Sending>,
}

impl H2DownTx {
    /// Without what can be made anew.
    ///
    /// # Errors
    /// If it has begun; it comes back as it is.
    pub(super) fn unbegun(self) -> Result<H2Unbegun, Self> {
        if self.body.is_none() { Ok(self.to) } else { Err(self) }
    }

    pub(super) fn interim(&mut self, head: ResponseHead) -> Result<(), Fault> {
        let status = http::StatusCode::from_u16(head.status).map_err(|_| Failure::UpstreamMalformed)?;
        let mut response = http::Response::new(());
        *response.status_mut() = status;
        copy_fields(&head.fields, response.headers_mut());
        // A client that has reset in between shows at the next write.
        let _ = self.to.respond.send_informational(response);
        Ok(())
    }

    pub(super) fn head(&mut self, head: ResponseHead, framing: Framing, length: Option<u64>) -> Result<(), Fault> {
        let status = http::StatusCode::from_u16(head.status).map_err(|_| Failure::UpstreamMalformed)?;
        let mut response = http::Response::new(());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.reserve(head.fields.len() + 2);
        copy_fields(&head.fields, headers);
        if !headers.contains_key(http::header::DATE) {
            headers.insert(http::header::DATE, crate::clock::with_http_date(|date| value_of(date.as_bytes())));
        }
        let may_declare = !matches!(head.status, 100..=199 | 204);
        if let Some(bytes) = framing.length().filter(|_| !framing.is_none()).or(length).filter(|_| may_declare) {
            headers.insert(http::header::CONTENT_LENGTH, bytes.into());
        }
        let ends = framing.is_empty() || self.to.is_head;
        let stream = self.to.respond.send_response(response, ends).map_err(|_| Failure::ClientGone)?;
        self.body = Some(Sending::new(stream, ends));
        Ok(())
    }

    pub(super) async fn data(&mut self, data: Bytes) -> Result<(), Fault> {
        let body = self.body.as_mut().ok_or(Failure::Internal)?;
        body.data(data).await.map_err(|_| Failure::ClientGone.into())
    }

    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        self.data(Bytes::new()).await
    }

    pub(super) async fn end(&mut self, trailers: Option<Fields>) -> Result<(), Fault> {
        let body = self.body.as_mut().ok_or(Failure::Internal)?;
        body.end(trailers).await.map_err(|_| Failure::ClientGone.into())
    }

    pub(super) fn is_started(&self) -> bool {
        self.body.is_some()
    }

    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.body {
            Some(body) => body.stream.poll_reset(cx).map(drop),
            None => self.to.poll_gone(cx),
        }
    }

    pub(super) fn reset(&mut self, reason: h2::Reason) {
        match &mut self.body {
            Some(body) => body.reset(reason),
            None => self.to.respond.send_reset(reason),
        }
    }
}

/// Writes a request to an endpoint.
pub struct H2UpTx(Sending);

impl H2UpTx {
    /// The sending half of a request; `ended` if it has no body.
    pub fn new(stream: h2::SendStream<Bytes>, ended: bool) -> Self {
        Self(Sending::new(stream, ended))
    }

    pub(super) async fn data(&mut self, data: Bytes) -> Result<(), Fault> {
        self.0.data(data).await.map_err(|error| upstream_fault(&error, Failure::UpstreamReset))
    }

    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        self.data(Bytes::new()).await
    }

    pub(super) async fn end(&mut self, trailers: Option<Fields>) -> Result<(), Fault> {
        self.0.end(trailers).await.map_err(|error| upstream_fault(&error, Failure::UpstreamReset))
    }
}

impl Drop for H2UpTx {
    fn drop(&mut self) {
        self.0.reset(h2::Reason::CANCEL);
    }
}

/// Reads an answer of an endpoint: interim heads, the head, the body.
pub struct H2Response {
    state: Answer,
    is_head: bool,
    declared: Option<u64>,
}

enum Answer {
    Awaited(h2::client::ResponseFuture),
    Body(H2Rx),
}

impl H2Response {
    /// The answer to a request.
    pub fn new(future: h2::client::ResponseFuture, is_head: bool) -> Self {
        Self { state: Answer::Awaited(future), is_head, declared: None }
    }

    pub(super) fn declared_length(&self) -> Option<u64> {
        self.declared
    }

    pub(super) async fn recv(&mut self) -> Result<Part<'_>, Fault> {
        if let Answer::Awaited(future) = &mut self.state {
            let head = await_head(future).await.map_err(|error| upstream_fault(&error, Failure::UpstreamReset))?;
            let response = match head {
                Head::Interim(head) if head.status == 101 => {
                    return Err(Fault::new(Failure::UpstreamMalformed, "101 over HTTP/2"));
                }
                Head::Interim(head) => return Ok(Part::Interim(head)),
                Head::Final(response) => response,
            };
            let (parts, body) = response.into_parts();
            if has_misnamed(&parts.headers) {
                return Err(Fault::new(Failure::UpstreamMalformed, "a field name that is no token"));
            }
            let lengths = || parts.headers.get_all(http::header::CONTENT_LENGTH).iter().map(|v| v.as_bytes());
            self.declared = lengths().next().and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
            let bodiless = self.is_head || matches!(parts.status.as_u16(), 204 | 304);
            let framing = if bodiless {
                Framing::NONE
            } else {
                Framing::of_http2(body.is_end_stream(), lengths())
                    .map_err(|bad| Fault::new(Failure::UpstreamMalformed, bad.as_str()))?
            };
            let mut fields = fields_of(&parts.headers);
            fields.remove("content-length");
            self.state = Answer::Body(H2Rx::of_endpoint(body));
            return Ok(Part::Final(ResponseHead { status: parts.status.as_u16(), fields }, framing));
        }
        match &mut self.state {
            Answer::Body(body) => body.recv().await,
            Answer::Awaited(_) => Err(Failure::Internal.into()),
        }
    }
}

enum Head {
    Interim(ResponseHead),
    Final(http::Response<h2::RecvStream>),
}

async fn await_head(future: &mut h2::client::ResponseFuture) -> Result<Head, h2::Error> {
    poll_fn(|cx| {
        if let Poll::Ready(Some(interim)) = future.poll_informational(cx) {
            return Poll::Ready(interim.map(|response| {
                let fields = fields_of(response.headers());
                Head::Interim(ResponseHead { status: response.status().as_u16(), fields })
            }));
        }
        std::pin::Pin::new(&mut *future).poll(cx).map(|result| result.map(Head::Final))
    })
    .await
}

/// The body of a message that is sent.
struct Sending {
    stream: h2::SendStream<Bytes>,
    /// Kept back until it is known whether it is the end, so that END_STREAM needs no frame of its own.
    held: Bytes,
    /// Whether END_STREAM was given to h2: a second one would be an error, and a reset would take back what is still queued.
    ended: bool,
}

impl Sending {
    fn new(stream: h2::SendStream<Bytes>, ended: bool) -> Self {
        Self { stream, held: Bytes::new(), ended }
    }

    /// Sends what was held, and holds this.
    async fn data(&mut self, data: Bytes) -> Result<(), h2::Error> {
        if self.ended {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.held, data);
        send(&mut self.stream, before, false).await
    }

    async fn end(&mut self, trailers: Option<Fields>) -> Result<(), h2::Error> {
        if self.ended {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        end(&mut self.stream, held, trailers).await?;
        self.ended = true;
        Ok(())
    }

    /// Breaks off, unless it has ended.
    fn reset(&mut self, reason: h2::Reason) {
        if !self.ended {
            self.stream.send_reset(reason);
        }
    }
}

/// Sends data as fast as the windows allow; if it is the end, the last frame says so.
async fn send(stream: &mut h2::SendStream<Bytes>, mut data: Bytes, is_end: bool) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let granted = match stream.capacity() {
            0 => poll_fn(|cx| poll_capacity(stream, cx)).await?,
            granted => granted,
        };
        let now = data.split_to(granted.min(data.len()));
        let is_last = data.is_empty();
        stream.send_data(now, is_end && is_last).map_err(|error| reset_of(stream).unwrap_or(error))?;
    }
    Ok(())
}

fn poll_capacity(stream: &mut h2::SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<usize, h2::Error>> {
    if let Poll::Ready(Ok(reason)) = stream.poll_reset(cx) {
        return Poll::Ready(Err(reason.into()));
    }
    let closed = || Err(h2::Reason::STREAM_CLOSED.into());
    stream.poll_capacity(cx).map(|granted| granted.unwrap_or_else(closed))
}

/// Why a stream takes no data, where the other side said so.
fn reset_of(stream: &mut h2::SendStream<Bytes>) -> Option<h2::Error> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    match stream.poll_reset(&mut cx) {
        Poll::Ready(Ok(reason)) => Some(reason.into()),
        _ => None,
    }
}

async fn end(stream: &mut h2::SendStream<Bytes>, held: Bytes, trailers: Option<Fields>) -> Result<(), h2::Error> {
    match trailers {
        Some(fields) => {
            send(stream, held, false).await?;
            let mut map = http::HeaderMap::with_capacity(fields.len());
            copy_fields(&fields, &mut map);
            stream.send_trailers(map)
        }
        None if held.is_empty() => stream.send_data(held, true),
        None => send(stream, held, true).await,
    }
}

fn upstream_fault(error: &h2::Error, otherwise: Failure) -> Fault {
    let failure = match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => Failure::UpstreamReset,
        _ if error.is_io() => Failure::UpstreamReset,
        _ => otherwise,
    };
    // RFC 9113 §8.7: a refused stream, or one above the last of a GOAWAY, was not looked at
    let unseen = error.is_remote() && (error.reason() == Some(h2::Reason::REFUSED_STREAM) || error.is_go_away());
    Fault { unseen, ..Fault::new(failure, error.to_string()) }
}

/// Our list of a header map, cookie crumbs joined (RFC 9113 §8.2.3).
pub fn fields_of(map: &http::HeaderMap) -> Fields {
    let bytes = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let mut fields = Fields::over(Vec::with_capacity(bytes + 256));
    copy_into(map, &mut fields);
    fields
}

/// Whether a field has a name that no HTTP/1.1 message can carry. Names of HTTP/2 were checked by `http`, which takes `"` in them too
/// (RFC 9110 §5.6.2 does not).
fn has_misnamed(map: &http::HeaderMap) -> bool {
    map.keys().any(is_misnamed)
}

fn is_misnamed(name: &http::HeaderName) -> bool {
    name.as_str().as_bytes().contains(&b'"')
}

/// What is misnamed is left out: heads are refused for it before, trailers and interim answers can do without.
fn copy_into(map: &http::HeaderMap, fields: &mut Fields) {
    let mut crumbs = map.get_all(http::header::COOKIE).iter();
    let cookie = crumbs.next().map(|first| {
        crumbs.fold(first.as_bytes().to_vec(), |mut all, crumb| {
            all.extend_from_slice(b"; ");
            all.extend_from_slice(crumb.as_bytes());
            all
        })
    });
    for (name, value) in map {
        if name != http::header::COOKIE && !is_misnamed(name) {
            fields.push(name.as_str(), value.as_bytes().trim_ascii());
        }
    }
    if let Some(cookie) = cookie {
        fields.push("cookie", cookie.trim_ascii());
    }
}

/// Our head of an HTTP/2 request, with its framing. What a strict HTTP/1 head would refuse is refused here too.
pub fn head_of_request(
    request: &http::Request<h2::RecvStream>,
    scheme: Scheme,
    limits: &Limits,
    spare: Fields,
) -> Result<(RequestHead, Framing), Fault> {
    let headers = request.headers();
    if headers.len() > limits.head_fields {
        return Err(Failure::HeadTooLarge.into());
    }
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > limits.target_bytes) {
        return Err(Failure::TargetTooLong.into());
    }
    if headers.contains_key("content_length") || headers.contains_key("transfer_encoding") {
        return Err(Fault::new(Failure::MalformedRequest, "a framing field spelled with an underscore"));
    }
    if has_misnamed(headers) {
        return Err(Fault::new(Failure::MalformedRequest, "a field name that is no token"));
    }
    let method = Method::parse(request.method().as_str().as_bytes()).ok_or(Failure::MethodNotSupported)?;
    if method == Method::Connect {
        return Err(Failure::MethodNotSupported.into());
    }
    let lengths = headers.get_all(http::header::CONTENT_LENGTH).iter().map(|v| v.as_bytes());
    let framing = Framing::of_http2(request.body().is_end_stream(), lengths)
        .map_err(|bad| Fault::new(Failure::AmbiguousFraming, bad.as_str()))?;

    let mut fields = spare.emptied();
    let authority = authority_of(request, &mut fields)?;
    let target = target_of(request.uri(), &method, &mut fields)?;
    copy_into(headers, &mut fields);
    fields.remove_where(|name| matches!(name, b"host" | b"content-length" | b"te" | b"expect"));
    Ok((RequestHead { method, scheme, authority, target, fields }, framing))
}

fn authority_of(request: &http::Request<h2::RecvStream>, fields: &mut Fields) -> Result<Authority, Fault> {
    let mut hosts = request.headers().get_all(http::header::HOST).iter().map(|v| v.as_bytes());
    let declared = request.uri().authority().map(|a| a.as_str().as_bytes());
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(Fault::new(Failure::BadHost, "more than one host field"));
    }
    let text = match (declared, host) {
        (Some(a), Some(b)) if !a.eq_ignore_ascii_case(b) => {
            return Err(Fault::new(Failure::BadHost, ":authority and host differ"));
        }
        (Some(text), _) | (None, Some(text)) => text.to_ascii_lowercase(),
        (None, None) => return Err(Fault::new(Failure::BadHost, "neither :authority nor host")),
    };
    let (host, port) = split_authority(&text).map_err(|bad| Fault::new(Failure::BadHost, bad.as_str()))?;
    let (text, host) = (fields.store(&text), fields.store(host));
    Ok(Authority { text, host, port })
}

fn target_of(uri: &http::Uri, method: &Method, fields: &mut Fields) -> Result<Target, Fault> {
    let bad = |bad: headgate_message::BadTarget| Fault::new(Failure::BadTarget, bad.as_str());
    let sent = uri.path_and_query().map_or("", |all| all.as_str());
    // where nothing stands before a query, `uri.path()` is `/` all the same: RFC 9113 §8.3.1 has no empty path
    let path = if sent.starts_with('?') { "" } else { uri.path() };
    let raw = fields.store(sent.as_bytes());
    let path: Span = if path == "*" && *method == Method::Options {
        fields.store(b"*")
    } else {
        let canonical = canonical_path(path.as_bytes()).map_err(bad)?;
        fields.store(&canonical)
    };
    let query = match uri.query() {
        Some(query) => {
            check_query(query.as_bytes()).map_err(bad)?;
            Some(fields.store(query.as_bytes()))
        }
        None => None,
    };
    Ok(Target { raw, path, query })
}

/// The `http` crate's form of a request to an endpoint.
pub fn request_of(outgoing: &super::Outgoing<'_>) -> Result<http::Request<()>, Fault> {
    let head = outgoing.head;
    let path_and_query = match head.query() {
        Some(query) => format!("{}?{query}", head.path()),
        None => head.path().to_owned(),
    };
    let uri = http::Uri::builder()
        .scheme(head.scheme.as_str())
        .authority(head.authority())
        .path_and_query(path_and_query)
        .build()
        .map_err(|_| Failure::BadTarget)?;
    let method = http::Method::from_bytes(head.method.as_str().as_bytes()).map_err(|_| Failure::MethodNotSupported)?;
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    copy_fields(&head.fields, headers);
    if let Some(bytes) = outgoing.framing.length().filter(|_| !outgoing.framing.is_none()) {
        headers.insert(http::header::CONTENT_LENGTH, bytes.into());
    }
    if outgoing.trailers {
        headers.insert(http::header::TE, http::HeaderValue::from_static("trailers"));
    }
    Ok(request)
}

/// Copies a list into a header map; our invariants are at least as strict as the map's.
fn copy_fields(fields: &Fields, map: &mut http::HeaderMap) {
    for (name, value) in fields.bytes() {
        if let Ok(key) = http::HeaderName::from_bytes(name) {
            let mut value = value_of(value);
            value.set_sensitive(never_repeats(name));
            map.append(key, value);
        }
    }
}

/// Whether each message has another value of this field. Such a field is never to be indexed (RFC 7541 §6.2.3): it would drive out of the
/// compression tables what does repeat, and each new value would be compared with all before it.
fn never_repeats(name: &[u8]) -> bool {
    matches!(name, b"x-request-id" | b"traceparent")
}

fn value_of(value: &[u8]) -> http::HeaderValue {
    http::HeaderValue::from_bytes(value).unwrap_or_else(|_| http::HeaderValue::from_static(""))
}
