//! Writes heads and chunks. Framing and connection fields are made here from values; those that a head may hold in spite of its rules are never written.

use crate::{reason_phrase, sort::is_of_connection};
use headgate_message::{Fields, Framing, Method, RequestHead, ResponseHead, Span, Version};
use std::ops::Range;

/// What a client that waits with its body is told. Never to an HTTP/1.0 client.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How the bytes of a body go on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// Not at all: there is no body, or it must not be sent.
    Nothing,
    /// As they are; exactly as many as were declared, or until the connection closes.
    Plain,
    /// In chunks: [`write_chunk`], and [`write_last_chunk`] at the end.
    Chunked,
}

/// What a request says to the next hop besides its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forward<'a> {
    /// Protocols to switch to.
    pub upgrade: Option<&'a str>,
    /// Wait for a 100 before the body.
    pub expect_continue: bool,
    /// Trailers of the answer are welcome.
    pub te_trailers: bool,
}

/// What an answer's connection and request say of it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Of the client.
    pub version: Version,
    /// The method was HEAD.
    pub to_head: bool,
    /// Whether we would read another request.
    pub keep_alive: bool,
    /// The protocol of a 101.
    pub upgrade: Option<&'a str>,
    /// [`Response::declared_length`](crate::Response::declared_length), for HEAD and 304.
    pub declared_length: Option<u64>,
}

/// What follows from an answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How to write the body.
    pub body: BodyForm,
    /// Whether the connection can go on after it.
    pub keep_alive: bool,
}

/// Writes a request's head for HTTP/1.1. An empty body is declared for methods that usually have one (RFC 9110 §8.6).
pub fn write_request(out: &mut Vec<u8>, head: &RequestHead, framing: Framing, forward: Forward<'_>) -> BodyForm {
    let (method, path, authority) = (head.method.as_str().as_bytes(), head.path_bytes(), head.authority_bytes());
    put_bytes(out, &[method, b" ", path]);
    if let Some(query) = head.query_bytes() {
        put_bytes(out, &[b"?", query]);
    }
    put_bytes(out, &[b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]);
    write_fields(out, &head.fields);
    let usually_has_body = matches!(head.method, Method::Post | Method::Put | Method::Patch);
    let form = match framing.for_http1().length() {
        None => write_chunked(out),
        Some(_) if framing.is_none() && !usually_has_body => BodyForm::Nothing,
        Some(bytes) => write_length(out, bytes),
    };
    if forward.expect_continue && form != BodyForm::Nothing {
        put(out, &["expect: 100-continue\r\n"]);
    }
    match (forward.upgrade, forward.te_trailers) {
        (Some(protocols), true) => {
            put(out, &["connection: upgrade, te\r\nupgrade: ", protocols, "\r\nte: trailers\r\n"])
        }
        (Some(protocols), false) => put(out, &["connection: upgrade\r\nupgrade: ", protocols, "\r\n"]),
        (None, true) => put(out, &["connection: te\r\nte: trailers\r\n"]),
        (None, false) => {}
    }
    put(out, &["\r\n"]);
    form
}

/// Writes a final answer's head. A body of unknown length goes to an HTTP/1.0 client as it is, and the connection closes.
pub fn write_response(out: &mut Vec<u8>, head: &ResponseHead, framing: Framing, answer: Answer<'_>) -> Written {
    write_status(out, head.status);
    write_fields(out, &head.fields);
    let old = answer.version == Version::Http10;
    let bodiless = answer.to_head || matches!(head.status, 100..200 | 204 | 304);
    let body = match framing.length() {
        _ if bodiless => {
            let of_a_body = framing.length().filter(|_| !framing.is_none());
            if let Some(bytes) = answer.declared_length.or(of_a_body).filter(|_| !matches!(head.status, 100..200 | 204))
            {
                write_length(out, bytes);
            }
            BodyForm::Nothing
        }
        Some(bytes) => write_length(out, bytes),
        None if old => BodyForm::Plain,
        None => write_chunked(out),
    };
    let ends_with_close = old && !bodiless && framing.length().is_none();
    let keep_alive = answer.keep_alive && !ends_with_close && answer.upgrade.is_none();
    match answer.upgrade {
        Some(protocol) => put(out, &["connection: upgrade\r\nupgrade: ", protocol, "\r\n"]),
        None if old && keep_alive => put(out, &["connection: keep-alive\r\n"]),
        None if !old && !keep_alive => put(out, &["connection: close\r\n"]),
        None => {}
    }
    put(out, &["\r\n"]);
    Written { body, keep_alive }
}

/// Writes an interim answer's head. Never to an HTTP/1.0 client (RFC 9110 §15.2).
pub fn write_interim(out: &mut Vec<u8>, head: &ResponseHead) {
    write_status(out, head.status);
    write_fields(out, &head.fields);
    put(out, &["\r\n"]);
}

/// Writes data as one chunk; nothing for no data, as an empty chunk would be the last.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        write_chunk_head(out, data.len());
        out.extend_from_slice(data);
        write_chunk_tail(out);
    }
}

/// Writes what goes before `len` bytes of data, which must be some: an empty chunk would be the last.
pub fn write_chunk_head(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "an empty chunk is the last");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (at * 4) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes what goes after a chunk's data.
pub fn write_chunk_tail(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        write_fields(out, trailers);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status(out: &mut Vec<u8>, status: u16) {
    put(out, &["HTTP/1.1 "]);
    write_decimal(out, u64::from(status));
    put(out, &[" ", reason_phrase(status), "\r\n"]);
}

/// Fields that lie side by side in their buffer as they go on the wire are written in one piece: those that a client sent, and
/// those that were added behind them.
fn write_fields(out: &mut Vec<u8>, fields: &Fields) {
    let text = fields.text();
    let mut piece = 0..0;
    for (name, value) in fields.spans().filter(|(name, _)| !is_of_connection(name.of(text))) {
        match line_of(text, name, value) {
            Some(line) if line.start == piece.end => piece.end = line.end,
            Some(line) => out.extend_from_slice(&text[std::mem::replace(&mut piece, line)]),
            None => {
                out.extend_from_slice(&text[std::mem::take(&mut piece)]);
                put_bytes(out, &[name.of(text), b": ", value.of(text), b"\r\n"]);
            }
        }
    }
    out.extend_from_slice(&text[piece]);
}

/// Where the whole line of a field lies, if it lies in the buffer just as it would be written.
fn line_of(text: &[u8], name: Span, value: Span) -> Option<Range<usize>> {
    let (name, value) = (name.range(), value.range());
    let is_plain = text.get(name.end..value.start)? == b": " && text.get(value.end..value.end + 2)? == b"\r\n";
    is_plain.then(|| name.start..value.end + 2)
}

fn write_length(out: &mut Vec<u8>, bytes: u64) -> BodyForm {
    put(out, &["content-length: "]);
    write_decimal(out, bytes);
    put(out, &["\r\n"]);
    if bytes == 0 { BodyForm::Nothing } else { BodyForm::Plain }
}

fn write_chunked(out: &mut Vec<u8>) -> BodyForm {
    put(out, &["transfer-encoding: chunked\r\n"]);
    BodyForm::Chunked
}

fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
