//! Reads the head of a request. What it accepts has one meaning only; everything that concerns one connection is taken out of the fields.

use crate::{
    HeadLimits, HeadReader, Malformed, Upgrade, line,
    scan::{First, Scan, take_head},
    sort::{Few, List, Sender, Sorted, sort, tokens},
};
use headgate_message::{
    Authority, BadTarget, Fields, Framing, Method, RequestHead, Scheme, Span, Target, Version, canonical_path,
    check_query, split_authority,
};
use std::{borrow::Cow, mem::MaybeUninit, ops::Range};

/// A request's head, and what its connection has to know.
#[derive(Debug)]
pub struct Request {
    /// What goes on.
    pub head: RequestHead,
    /// How the body that follows is delimited.
    pub framing: Framing,
    /// Of the client.
    pub version: Version,
    /// Whether the client may send another request on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends its body. Never for HTTP/1.0, never without a body.
    pub expect_continue: bool,
    /// Whether the client says that it takes trailers.
    pub te_trailers: bool,
    /// Protocols that the client would switch to. `None` for HTTP/1.0, for a request with a body (its bytes could be taken
    /// for the new protocol's), and for `h2c`, which RFC 9113 took back and which would hide requests from us.
    pub upgrade: Option<Upgrade>,
}

impl Request {
    /// The protocols that the client would switch to.
    pub fn upgrade(&self) -> Option<&str> {
        self.upgrade.map(|upgrade| upgrade.of(&self.head.fields))
    }
}

impl HeadReader {
    /// Reads a request's head from all that was read and not used yet; `None` while it has not ended.
    ///
    /// The head takes `buf`. A spent head's fields from `spare` (or `Fields::default()`) give their list to the new head, and
    /// their buffer becomes `buf`, with the bytes after the head in it.
    ///
    /// # Errors
    /// After one the connection can only be answered and closed.
    pub fn request(
        &mut self,
        buf: &mut Vec<u8>,
        scheme: Scheme,
        spare: impl FnOnce() -> Fields,
    ) -> Result<Option<Request>, Malformed> {
        let Some(range) = self.scan.end(buf, First::RequestLine, &self.limits)? else { return Ok(None) };
        self.scan = Scan::default();
        let end = range.end;

        let mut list = List::new();
        let line = split(buf, range, &self.limits, &mut list)?;
        let sorted = sort(buf, &mut list)?;
        let options = sorted.options(buf, &mut list, Sender::Client)?;
        let framing = framing(buf, line.version, &sorted)?;
        let authority = authority(buf, &sorted.hosts)?;
        let target = target(buf, &line, scheme, &authority)?;
        let upgrade = sorted.upgrade(buf)?.filter(|upgrade| {
            options.upgrade && line.version == Version::Http11 && framing.is_empty() && !asks_for_h2c(upgrade.0.of(buf))
        });

        let mut fields = take_head(buf, end, spare(), &list);
        let path = match target.path {
            Path::Inside(span) => span,
            Path::Made(path) => fields.store(&path),
        };
        Ok(Some(Request {
            head: RequestHead {
                method: line.method,
                scheme,
                authority,
                target: Target { raw: line.target, path, query: target.query },
                fields,
            },
            framing,
            version: line.version,
            keep_alive: options.persists(line.version),
            expect_continue: sorted.expect_continue && line.version == Version::Http11 && !framing.is_empty(),
            te_trailers: sorted.te_trailers,
            upgrade,
        }))
    }
}

struct Line {
    method: Method,
    target: Span,
    version: Version,
}

/// Splits the head into its line and its fields.
fn split(buf: &[u8], range: Range<usize>, limits: &HeadLimits, list: &mut List) -> Result<Line, Malformed> {
    let span = |part: &[u8]| span_in(buf, part);
    let head = &buf[range];
    let mut space = [const { MaybeUninit::uninit() }; HeadLimits::FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, head, &mut space);
    if !parsed.is_ok_and(|status| status.is_complete()) {
        return Err(line::wrong_with(head, First::RequestLine).unwrap_or(Malformed::RequestLine));
    }
    let (Some(method), Some(path), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Malformed::RequestLine);
    };
    if path.len() > limits.target_bytes {
        return Err(Malformed::LongTarget);
    }
    let method = Method::parse(method.as_bytes()).ok_or(Malformed::LongMethod)?;
    if method == Method::Connect {
        return Err(Malformed::Connect);
    }
    collect(request.headers, span, list)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    Ok(Line { method, target: span(path.as_bytes()), version })
}

/// Collects the spans of the fields.
pub(crate) fn collect(
    headers: &[httparse::Header<'_>],
    span: impl Fn(&[u8]) -> Span,
    list: &mut List,
) -> Result<(), Malformed> {
    for field in headers {
        let (name, value) = (span(field.name.as_bytes()), span(field.value));
        list.try_push((name, value)).map_err(|_| Malformed::ManyFields)?;
    }
    Ok(())
}

/// Where `part`, a slice of `buf`, lies in it.
pub(crate) fn span_in(buf: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr() as usize - buf.as_ptr() as usize;
    Span::new(start, start + part.len())
}

fn framing(buf: &[u8], version: Version, sorted: &Sorted) -> Result<Framing, Malformed> {
    let lengths = sorted.lengths.iter().map(|value| value.of(buf));
    let encodings = sorted.encodings.iter().map(|value| value.of(buf));
    Ok(Framing::of_request(version, lengths, encodings)?)
}

/// The one host, in both versions: without it nothing can be routed (RFC 9112 §3.2).
fn authority(buf: &mut [u8], hosts: &Few) -> Result<Authority, Malformed> {
    let [text] = hosts[..] else { return Err(Malformed::Host) };
    buf[text.range()].make_ascii_lowercase();
    let (host, port) = split_authority(text.of(buf))?;
    let start = text.range().start;
    Ok(Authority { text, host: Span::new(start, start + host.len()), port })
}

struct Place {
    path: Path,
    query: Option<Span>,
}

enum Path {
    Inside(Span),
    Made(Cow<'static, [u8]>),
}

/// The path and query of a target in one of three forms (RFC 9112 §3.2).
fn target(buf: &[u8], line: &Line, scheme: Scheme, authority: &Authority) -> Result<Place, Malformed> {
    let raw = line.target.of(buf);
    if raw == b"*" {
        return match line.method {
            Method::Options => Ok(Place { path: Path::Inside(line.target), query: None }),
            _ => Err(Malformed::Target(BadTarget::Form)),
        };
    }
    let rest = if raw.first() == Some(&b'/') { raw } else { without_authority(buf, raw, scheme, authority)? };
    let (path, query) = match memchr::memchr(b'?', rest) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    query.map_or(Ok(()), check_query)?;
    let path = match path {
        b"" if line.method == Method::Options && query.is_none() => Path::Made(Cow::Borrowed(b"*")),
        b"" => Path::Made(Cow::Borrowed(b"/")),
        _ => match canonical_path(path)? {
            Cow::Borrowed(path) => Path::Inside(span_in(buf, path)),
            Cow::Owned(path) => Path::Made(Cow::Owned(path)),
        },
    };
    Ok(Place { path, query: query.map(|query| span_in(buf, query)) })
}

/// What follows the authority of an absolute target, which must be the one that Host says.
fn without_authority<'t>(
    buf: &[u8],
    raw: &'t [u8],
    scheme: Scheme,
    authority: &Authority,
) -> Result<&'t [u8], Malformed> {
    let after =
        |prefix: &[u8]| raw.split_at_checked(prefix.len()).filter(|(start, _)| start.eq_ignore_ascii_case(prefix));
    let (stated, rest, port) = match (after(b"http://"), after(b"https://")) {
        (Some((_, rest)), _) => (Scheme::Http, rest, 80),
        (_, Some((_, rest))) => (Scheme::Https, rest, 443),
        _ => return Err(Malformed::Target(BadTarget::Form)),
    };
    if stated != scheme {
        return Err(Malformed::Scheme);
    }
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    // A copy: proxies' clients only, and the raw target stays as it came.
    let theirs = rest[..end].to_ascii_lowercase();
    let (their_host, their_port) = split_authority(&theirs)?;
    let same = their_host == authority.host.of(buf) && their_port.unwrap_or(port) == authority.port.unwrap_or(port);
    if same { Ok(&rest[end..]) } else { Err(Malformed::HostMismatch) }
}

fn asks_for_h2c(protocols: &[u8]) -> bool {
    tokens(protocols).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"))
}
