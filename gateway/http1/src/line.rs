//! What is wrong with one line of a head: for heads that have not ended, and for the name of an error. Never decides that a head is right.

use crate::{Malformed, scan::First};
use headgate_message::is_token;

/// The line that `text` starts with, without its end.
pub(crate) fn next(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let line = &text[..end];
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The first defect of whole lines.
pub(crate) fn wrong_with(text: &[u8], first: First) -> Option<Malformed> {
    let mut kind = first;
    for line in text.split_inclusive(|&b| b == b'\n') {
        let ended = line.strip_suffix(b"\r\n").ok_or(Malformed::LineEnd);
        // Bytes first, even of a line that does not end: so it is named the same when it comes in pieces.
        let bytes = check_bytes(line.strip_suffix(b"\n").unwrap_or(line), true);
        if let Err(why) = bytes.and(ended).and_then(|line| check(line, kind)) {
            return Some(why);
        }
        kind = First::Field;
    }
    None
}

/// One line without its end. An empty line is none.
pub(crate) fn check(line: &[u8], kind: First) -> Result<(), Malformed> {
    check_bytes(line, false)?;
    match kind {
        _ if line.is_empty() => Ok(()),
        First::RequestLine => check_request_line(line),
        First::StatusLine => check_status_line(line),
        First::Field => check_field(line),
    }
}

/// No control byte but HTAB; with `unended`, a CR may be the last byte.
pub(crate) fn check_bytes(line: &[u8], unended: bool) -> Result<(), Malformed> {
    let line = if unended { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
    match line.iter().find(|&&b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        None => Ok(()),
        Some(b'\r' | b'\n') => Err(Malformed::LineEnd),
        Some(_) => Err(Malformed::Control),
    }
}

/// The start of a first line that has not ended. Looks at a bounded number of bytes, as it is asked for each piece.
pub(crate) fn check_start(line: &[u8], first: First) -> Result<(), Malformed> {
    match first {
        // Maybe the start of an empty line.
        _ if line == b"\r" => Ok(()),
        First::RequestLine => {
            let start = &line[..line.len().min(65)];
            match start.iter().position(|&b| b == b' ' || b == b'\r') {
                Some(end) => check_method(&start[..end]),
                None if start.is_empty() => Ok(()),
                None => check_method(start),
            }
        }
        First::StatusLine => {
            let start = &line[..line.len().min(7)];
            if b"HTTP/1.".starts_with(start) { Ok(()) } else { Err(Malformed::StatusLine) }
        }
        First::Field => Ok(()),
    }
}

fn check_method(method: &[u8]) -> Result<(), Malformed> {
    match method {
        _ if !is_token(method) => Err(Malformed::Method),
        _ if method.len() > 64 => Err(Malformed::LongMethod),
        _ => Ok(()),
    }
}

fn check_request_line(line: &[u8]) -> Result<(), Malformed> {
    let mut parts = line.split(|&b| b == b' ');
    check_method(parts.next().unwrap_or_default())?;
    let (target, version, more) = (parts.next(), parts.next(), parts.next());
    let (Some(target), Some(version), None) = (target, version, more) else { return Err(Malformed::RequestLine) };
    match version {
        _ if target.is_empty() || target.contains(&b'\t') => Err(Malformed::RequestLine),
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Malformed::Version)
        }
        _ => Err(Malformed::RequestLine),
    }
}

fn check_status_line(line: &[u8]) -> Result<(), Malformed> {
    let Some(rest) = line.strip_prefix(b"HTTP/1.1").or_else(|| line.strip_prefix(b"HTTP/1.0")) else {
        return Err(Malformed::StatusLine);
    };
    match rest {
        [b' ', a, b, c] | [b' ', a, b, c, b' ', ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => Ok(()),
        _ => Err(Malformed::StatusLine),
    }
}

fn check_field(line: &[u8]) -> Result<(), Malformed> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Malformed::Folded);
    }
    match memchr::memchr(b':', line) {
        Some(at) if is_token(&line[..at]) => Ok(()),
        _ => Err(Malformed::FieldName),
    }
}
