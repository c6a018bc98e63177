//! Finds the data in the bytes after a head, in any pieces, without copying it. It never passes on what it has not understood.

use crate::{
    HeadLimits, Malformed, line,
    request::{collect, span_in},
    scan::{First, Scan, take_head},
    sort::{List, is_of_connection},
};
use headgate_message::{Fields, Framing};
use std::ops::Range;

/// Bytes of extensions in one chunk's line, and in all of one body: nobody uses them, some hide messages in them.
const EXTENSION_BYTES: u16 = 256;
const EXTENSIONS_BYTES: u16 = 16 * 1024;
const SIZE_DIGITS: u8 = 16;

/// The decoder of one body.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes that extensions may still have.
    extensions_left: u16,
    // boxed: `None` for a body that ends with the usual empty line, and there may be very many decoders of requests that wait
    trailers: Option<Box<Trailers>>,
}

/// A trailer section so far.
#[derive(Debug, Default)]
struct Trailers {
    text: Vec<u8>,
    scan: Scan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes that follow.
    Length(u64),
    UntilClose,
    /// In the digits of a chunk's size.
    Size {
        bytes: u64,
        digits: u8,
    },
    /// In a chunk's extensions; bytes that they may still have.
    Extension {
        bytes: u64,
        left: u16,
    },
    /// After the CR of a chunk's line.
    SizeEnd(u64),
    /// Bytes that follow in this chunk.
    Chunk(u64),
    /// After a chunk's data.
    ChunkCr,
    ChunkLf,
    Trailers,
    End,
}

/// What was found in some bytes.
#[derive(Debug)]
pub struct Step {
    /// Bytes of the input that are done with once `found` has been handled; give only the rest to the next call.
    pub used: usize,
    /// What they held.
    pub found: Found,
}

/// What a decoder finds.
#[derive(Debug)]
pub enum Found {
    /// Data, at this place of the input; it ends where the used bytes end.
    Data(Range<usize>),
    /// Trailers; the end follows.
    Trailers(Fields),
    /// The end of the body. Bytes after the used ones belong to the next message.
    End,
    /// Nothing more: all of the input is used.
    More,
}

impl BodyDecoder {
    /// The decoder of a body that is delimited so.
    pub fn new(framing: Framing) -> Self {
        let state = match framing.length() {
            Some(0) => State::End,
            Some(bytes) => State::Length(bytes),
            None if framing.is_chunked() => State::Size { bytes: 0, digits: 0 },
            None => State::UntilClose,
        };
        Self { state, extensions_left: EXTENSIONS_BYTES, trailers: None }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::End
    }

    /// Bytes of body that are still to come, where that is known: whether draining is worth it.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(bytes) => Some(bytes),
            State::End => Some(0),
            _ => None,
        }
    }

    /// The next finding in `input`, which starts where the last step ended.
    ///
    /// # Errors
    /// After one, no byte of the connection can be trusted: close it.
    pub fn next(&mut self, input: &[u8]) -> Result<Step, Malformed> {
        let mut at = 0;
        loop {
            if self.is_done() {
                return Ok(Step { used: at, found: Found::End });
            }
            if at == input.len() {
                return Ok(Step { used: at, found: Found::More });
            }
            match self.state {
                State::Length(left) | State::Chunk(left) => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                    self.state = self.after_data(left - len as u64);
                    return Ok(Step { used: at + len, found: Found::Data(at..at + len) });
                }
                State::UntilClose => return Ok(Step { used: input.len(), found: Found::Data(at..input.len()) }),
                State::Trailers => {
                    let (used, found) = self.trailers(&input[at..])?;
                    if let Some(fields) = found {
                        return Ok(Step { used: at + used, found: Found::Trailers(fields) });
                    }
                    at += used;
                }
                _ => {
                    self.state = self.after_byte(input[at])?;
                    at += 1;
                }
            }
        }
    }

    /// The connection ended.
    ///
    /// # Errors
    /// If the body had not: what was passed on is not all of it.
    pub fn finish_at_eof(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::End | State::UntilClose => {
                self.state = State::End;
                Ok(())
            }
            _ => Err(Malformed::Truncated),
        }
    }

    fn after_data(&self, left: u64) -> State {
        match (self.state, left) {
            (State::Length(_), 0) => State::End,
            (State::Length(_), _) => State::Length(left),
            (_, 0) => State::ChunkCr,
            (_, _) => State::Chunk(left),
        }
    }

    /// One byte of a chunk's line or of its end (RFC 9112 §7.1). No blank anywhere, not even the "bad" one before `;`.
    fn after_byte(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Size { digits: 1.., bytes }, b'\r') => Ok(State::SizeEnd(bytes)),
            (State::Size { digits: 1.., bytes }, b';') => Ok(State::Extension { bytes, left: EXTENSION_BYTES }),
            (State::Size { digits, bytes }, _) => match (byte as char).to_digit(16) {
                Some(digit) if digits < SIZE_DIGITS => {
                    Ok(State::Size { bytes: bytes << 4 | u64::from(digit), digits: digits + 1 })
                }
                _ => Err(Malformed::ChunkSize),
            },
            (State::Extension { bytes, .. }, b'\r') => Ok(State::SizeEnd(bytes)),
            (State::Extension { bytes, left }, b'\t' | b' '..=b'~') => {
                self.extensions_left = self.extensions_left.checked_sub(1).ok_or(Malformed::ChunkExtension)?;
                let left = left.checked_sub(1).ok_or(Malformed::ChunkExtension)?;
                Ok(State::Extension { bytes, left })
            }
            (State::Extension { .. }, b'\n') => Err(Malformed::LineEnd),
            (State::Extension { .. }, _) => Err(Malformed::Control),
            (State::SizeEnd(0), b'\n') => Ok(State::Trailers),
            (State::SizeEnd(bytes), b'\n') => Ok(State::Chunk(bytes)),
            (State::SizeEnd(_), _) => Err(Malformed::LineEnd),
            (State::ChunkCr, b'\r') => Ok(State::ChunkLf),
            (State::ChunkLf, b'\n') => Ok(State::Size { bytes: 0, digits: 0 }),
            _ => Err(Malformed::ChunkEnd),
        }
    }

    /// Collects the trailer section until it has ended; says how many bytes belong to it.
    fn trailers(&mut self, input: &[u8]) -> Result<(usize, Option<Fields>), Malformed> {
        if self.trailers.is_none() && input.starts_with(b"\r\n") {
            self.state = State::End;
            return Ok((2, None));
        }
        let Trailers { text, scan } = &mut **self.trailers.get_or_insert_default();
        let before = text.len();
        let room = HeadLimits::TRAILERS.bytes + 1 - before;
        text.extend_from_slice(&input[..input.len().min(room)]);
        let end = scan.end(text, First::Field, &HeadLimits::TRAILERS).map_err(as_trailers)?;
        let Some(range) = end else { return Ok((text.len() - before, None)) };
        text.truncate(range.end);
        self.state = State::End;
        let used = range.end - before;
        let fields = trailer_fields(std::mem::take(text))?;
        Ok((used, Some(fields).filter(|fields| !fields.is_empty())))
    }
}

fn as_trailers(why: Malformed) -> Malformed {
    match why {
        Malformed::LongHead | Malformed::ManyFields => Malformed::LongTrailers,
        other => other,
    }
}

/// The fields of a whole trailer section. What frames or routes is refused, what belongs into a head is dropped
/// (RFC 9110 §6.5.1): a reader that merges trailers into the head must not be led by them.
fn trailer_fields(mut text: Vec<u8>) -> Result<Fields, Malformed> {
    let mut list = List::new();
    let mut space = [httparse::EMPTY_HEADER; HeadLimits::TRAILERS.fields];
    match httparse::parse_headers(&text, &mut space) {
        Ok(httparse::Status::Complete((_, headers))) => collect(headers, |part| span_in(&text, part), &mut list)?,
        _ => return Err(line::wrong_with(&text, First::Field).unwrap_or(Malformed::FieldName)),
    }
    for (name, _) in &list {
        text[name.range()].make_ascii_lowercase();
    }
    let end = text.len();
    let mut fields = take_head(&mut text, end, Fields::default(), &list);
    if fields.bytes().any(|(name, _)| is_of_connection(name) || name == b"trailer") {
        return Err(Malformed::Trailer);
    }
    fields.remove_where(belongs_into_a_head);
    Ok(fields)
}

/// Drops trailers that belong into a head, frame or route: for trailers that another protocol's reader read.
pub fn keep_trailers_only(fields: &mut Fields) {
    fields.remove_where(|name| is_of_connection(name) || name == b"trailer" || belongs_into_a_head(name));
}

fn belongs_into_a_head(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 15] = [
        b"authorization",
        b"proxy-authorization",
        b"cookie",
        b"set-cookie",
        b"content-type",
        b"content-encoding",
        b"content-range",
        b"cache-control",
        b"location",
        b"range",
        b"age",
        b"vary",
        b"forwarded",
        b"via",
        b"x-real-ip",
    ];
    const PREFIXES: [&[u8]; 4] = [b"x-forwarded-", b"x-headgate-", b"headgate-", b"if-"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
