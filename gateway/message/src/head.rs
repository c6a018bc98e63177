//! Heads of requests and answers. Both protocols make the same ones: no framing, no hop-by-hop field, no Host field in them.

use crate::{Authority, BadTarget, Fields, Method, Span, Target, target};
use headgate_config::Scheme;

/// The version of an HTTP/1 message, as far as framing and persistence ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// A request's head. `host` and `:authority` became `authority`; framing, `connection` and what it lists, `te`, `expect`,
/// `upgrade` and the like were taken out by the parser, which hands them over apart.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Of the connection that it came on; `X-Forwarded-Proto` of a trusted hop may change it.
    pub scheme: Scheme,
    /// Where the client says it goes.
    pub authority: Authority,
    /// The path and query.
    pub target: Target,
    /// All other fields.
    pub fields: Fields,
}

impl RequestHead {
    /// The canonical host, without port.
    pub fn host(&self) -> &str {
        self.str(self.authority.host)
    }

    /// Host and port as the client sent them, lower-case.
    pub fn authority(&self) -> &str {
        self.str(self.authority.text)
    }

    /// The canonical host as bytes: what each request asks for, since to look at bytes as text is to check them again.
    pub fn host_bytes(&self) -> &[u8] {
        self.authority.host.of(self.fields.text())
    }

    /// The authority as bytes.
    pub fn authority_bytes(&self) -> &[u8] {
        self.authority.text.of(self.fields.text())
    }

    /// The canonical path as bytes.
    pub fn path_bytes(&self) -> &[u8] {
        self.target.path.of(self.fields.text())
    }

    /// The query as bytes, without `?`.
    pub fn query_bytes(&self) -> Option<&[u8]> {
        self.target.query.map(|span| span.of(self.fields.text()))
    }

    /// The canonical path.
    pub fn path(&self) -> &str {
        self.str(self.target.path)
    }

    /// The query, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.query.map(|span| self.str(span))
    }

    /// The target as it came.
    pub fn raw_target(&self) -> &str {
        self.str(self.target.raw)
    }

    /// Replaces path (and keeps the query): canonical or refused.
    pub fn set_path(&mut self, path: &str) -> Result<(), BadTarget> {
        let canonical = target::canonical_path(path.as_bytes())?;
        self.target.path = self.fields.store(&canonical);
        Ok(())
    }

    /// Replaces the authority: what a rewrite of the host does.
    pub fn set_authority(&mut self, authority: &str) -> Result<(), BadTarget> {
        let lower = authority.to_ascii_lowercase();
        let (host, port) = target::split_authority(lower.as_bytes())?;
        let text = self.fields.store(lower.as_bytes());
        let host = self.fields.store(host);
        self.authority = Authority { text, host, port };
        Ok(())
    }

    /// Whether it is a gRPC call: POST with a content-type of `application/grpc` or a subtype (`+proto`, `;…`), but not
    /// gRPC-Web. Source: gRPC over HTTP/2.
    pub fn is_grpc(&self) -> bool {
        let content_type = self.fields.get("content-type").unwrap_or_default();
        let kind = content_type.strip_prefix(b"application/grpc");
        self.method == Method::Post && kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    }

    fn str(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(self.fields.text())).unwrap_or_default()
    }
}

/// An answer's head, interim or final.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: u16,
    /// All fields but framing and hop-by-hop ones.
    pub fields: Fields,
}

impl ResponseHead {
    /// An answer of our own, without fields.
    pub fn new(status: u16) -> Self {
        Self { status, fields: Fields::default() }
    }

    /// Whether another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// All that one half of an exchange can say to the other; data is lent by the half that read it.
#[derive(Debug)]
pub enum Part<'a> {
    /// A 1xx answer; another head follows.
    Interim(ResponseHead),
    /// The answer's head.
    Final(ResponseHead, crate::Framing),
    /// Some bytes of body.
    Data(Chunk<'a>),
    /// Fields after the body; nothing follows but the end.
    Trailers(Fields),
    /// The message is complete, exactly.
    End,
}

/// Bytes of a body: lent by a buffer, or owned where the protocol hands them out so.
#[derive(Debug)]
pub enum Chunk<'a> {
    /// A slice of a read buffer.
    Lent(&'a [u8]),
    /// A frame's payload.
    Owned(bytes::Bytes),
}

impl Chunk<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// The bytes as an owner; copies what was lent.
    pub fn into_bytes(self) -> bytes::Bytes {
        match self {
            Self::Lent(bytes) => bytes::Bytes::copy_from_slice(bytes),
            Self::Owned(bytes) => bytes,
        }
    }
}
