//! Finds the end of a head that arrives in pieces, and what is wrong with it as early as that is certain. Looks at no byte twice, whatever the pieces.

use crate::{HeadLimits, Malformed, line};
use headgate_message::{Fields, Span};
use std::ops::Range;

/// Reads the heads of one connection, one after another. Give it the whole unread buffer each time; it knows where it left off.
#[derive(Clone, Debug, Default)]
pub struct HeadReader {
    pub(crate) limits: HeadLimits,
    pub(crate) scan: Scan,
}

impl HeadReader {
    /// A reader for a fresh connection.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, scan: Scan::default() }
    }

    /// Whether a part of a head was seen, more than an empty line: then a connection that ends, ends in the middle of a message.
    pub fn is_inside(&self) -> bool {
        self.scan.seen > self.scan.start
    }
}

/// What starts a section of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    RequestLine,
    StatusLine,
    /// Nothing: trailers.
    Field,
}

/// Where the search for the end of a head stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// Of the first line; 2 after an empty line before a request.
    start: usize,
    /// No line ends between `line` and here.
    seen: usize,
    /// Of the line that has not ended.
    line: usize,
    /// Lines before it.
    lines: usize,
    /// Lines before here have been checked.
    checked: usize,
}

impl Scan {
    /// The range of the whole head, empty line included; or `None` while it has not ended.
    ///
    /// Of a head that came in one piece only the line ends and sizes are checked here: the parser sees the rest anyway.
    pub fn end(&mut self, text: &[u8], first: First, limits: &HeadLimits) -> Result<Option<Range<usize>>, Malformed> {
        let before = self.seen;
        while let Some(at) = memchr::memchr(b'\n', &text[self.seen..]) {
            self.seen += at + 1;
            let line = &text[self.line..self.seen];
            if !line.ends_with(b"\r\n") {
                return Err(line::wrong_with(&text[self.start..self.seen], first).unwrap_or(Malformed::LineEnd));
            }
            if line.len() == 2 {
                if self.lines > 0 || first == First::Field {
                    return if self.seen <= limits.bytes {
                        Ok(Some(self.start..self.seen))
                    } else {
                        Err(Malformed::LongHead)
                    };
                }
                self.skip_empty_line(first)?;
                continue;
            }
            if self.lines == 0 && first == First::RequestLine {
                check_target_size(line, limits)?;
            }
            self.line = self.seen;
            self.lines += 1;
            if self.lines > limits.fields_max() + usize::from(first != First::Field) {
                return Err(Malformed::ManyFields);
            }
        }
        self.seen = text.len();
        self.check_part(text, before, first, limits)?;
        Ok(None)
    }

    fn skip_empty_line(&mut self, first: First) -> Result<(), Malformed> {
        // RFC 9112 §2.2: some clients send one too many after a body. A second one is no client.
        if first != First::RequestLine || self.start > 0 {
            return Err(Malformed::EmptyLine);
        }
        (self.start, self.line, self.checked) = (self.seen, self.seen, self.seen);
        Ok(())
    }

    /// Refuses a head that has not ended as soon as no bytes that follow could make it right.
    fn check_part(&mut self, text: &[u8], before: usize, first: First, limits: &HeadLimits) -> Result<(), Malformed> {
        while self.checked < self.line {
            let is_first = self.checked == self.start;
            let line = line::next(&text[self.checked..]);
            line::check(line, if is_first { first } else { First::Field })?;
            self.checked += line.len() + 2;
        }
        let rest = &text[self.line..];
        // One byte back: a CR was fine while it was the last byte.
        let unseen = &text[before.saturating_sub(1).max(self.line)..];
        line::check_bytes(unseen, true)?;
        if self.lines == 0 {
            line::check_start(rest, first)?;
            if first == First::RequestLine {
                check_target_size(rest, limits)?;
            }
        } else if matches!(rest.first(), Some(b' ' | b'\t')) {
            return Err(Malformed::Folded);
        }
        if text.len() > limits.bytes { Err(Malformed::LongHead) } else { Ok(()) }
    }
}

/// Of a request line or of as much of it as there is; with ` HTTP/1.1` and line end, eleven bytes follow a target.
fn check_target_size(line: &[u8], limits: &HeadLimits) -> Result<(), Malformed> {
    let method = line.iter().take(65).position(|&b| b == b' ');
    match method {
        Some(at) if line.len() - at - 1 > limits.target_bytes + 11 => Err(Malformed::LongTarget),
        _ => Ok(()),
    }
}

/// Gives the head its buffer: `buf` becomes the text of the fields, and a spent head's buffer, with the bytes after the head,
/// becomes `buf`. No byte of the head is copied.
pub(crate) fn take_head(buf: &mut Vec<u8>, end: usize, mut spent: Fields, list: &[(Span, Span)]) -> Fields {
    let mut next = std::mem::take(spent.text_mut());
    next.clear();
    next.extend_from_slice(&buf[end..]);
    let mut text = std::mem::replace(buf, next);
    text.truncate(end);
    let mut fields = Fields::reuse(text, spent);
    for &(name, value) in list {
        fields.push_span(name, value);
    }
    fields
}
