//! What a hostile client of HTTP/2 sends, as a text that a person can read and a fuzzer can change, and its frames. It checks nothing of what it makes.
//!
//! ```text
//! :path /a      a field of the head; its name ends at the first space
//! |             the head is cut here, and goes on in a CONTINUATION
//! >text         DATA
//! }text         DATA with padding
//! <name value   a field of the trailers
//! !KFS text     any frame: kind, flags and stream are a character each, counted from `0`; those before the head go before it
//! ```
//!
//! `\n` is the end of a line, `\s` a space in a name, and any other character behind `\` is itself. The stream of the request is 1.

use crate::escapes::plain;

/// A name and a value.
pub type Field = (Vec<u8>, Vec<u8>);

/// Sent first (RFC 9113 §3.4), and then SETTINGS_HEADER_TABLE_SIZE of 0, so that statuses are easy to read.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PADDING: u8 = 7;

/// What is sent on one connection.
#[derive(Debug, Default)]
pub struct Script {
    /// Of the head, pseudo fields included, as they are sent.
    pub fields: Vec<Field>,
    /// Where the head is cut.
    cuts: Vec<usize>,
    /// Frames before the head.
    before: Vec<u8>,
    /// Frames behind it, and their text where they are DATA of the request.
    steps: Vec<Step>,
    /// Of the trailers.
    pub trailers: Vec<Field>,
    /// HEADERS frames of any stream that do not follow a head of theirs.
    pub heads: usize,
    /// Whether there are frames of any kind, or no head: then it is not known what it means, and maybe not answered.
    pub is_wild: bool,
}

#[derive(Debug)]
enum Step {
    Data { text: Vec<u8>, is_padded: bool },
    Wild(Vec<u8>),
}

impl Script {
    /// Reads any text.
    pub fn read(text: &[u8]) -> Self {
        let mut script = Self::default();
        text.split(|&b| b == b'\n').filter(|line| !line.is_empty()).for_each(|line| script.line(line));
        let is_headless = script.fields.is_empty();
        script.heads += usize::from(!is_headless || !script.trailers.is_empty());
        script.is_wild |= is_headless;
        script
    }

    fn line(&mut self, line: &[u8]) {
        match line {
            b"|" => self.cuts.push(self.fields.len()),
            [b'>', text @ ..] => self.steps.push(Step::Data { text: plain(text), is_padded: false }),
            [b'}', text @ ..] => self.steps.push(Step::Data { text: plain(text), is_padded: true }),
            [b'<', text @ ..] => self.trailers.push(field(text)),
            [b'!', kind, flags, stream, text @ ..] => {
                let [kind, flags, stream] = [kind, flags, stream].map(|b| b.wrapping_sub(b'0'));
                self.is_wild = true;
                self.heads += usize::from(kind == HEADERS);
                let wild = frame(kind, flags, stream, &plain(text.strip_prefix(b" ").unwrap_or(text)));
                if self.fields.is_empty() {
                    self.before.extend(wild);
                } else {
                    self.steps.push(Step::Wild(wild));
                }
            }
            text => self.fields.push(field(text)),
        }
    }

    /// The body of the request.
    pub fn body(&self) -> Vec<u8> {
        let texts = self.steps.iter().filter_map(|step| match step {
            Step::Data { text, .. } => Some(text.as_slice()),
            Step::Wild(_) => None,
        });
        texts.collect::<Vec<_>>().concat()
    }

    /// All bytes, from the preface on.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = OPENING.to_vec();
        bytes.extend(&self.before);
        if !self.fields.is_empty() {
            self.head(&mut bytes);
        }
        let last = self.steps.iter().rposition(|step| matches!(step, Step::Data { .. }));
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Wild(frame) => bytes.extend(frame),
                Step::Data { text, is_padded } => {
                    let ends = self.trailers.is_empty() && Some(at) == last;
                    bytes.extend(data(text, *is_padded, if ends { END_STREAM } else { 0 }));
                }
            }
        }
        if !self.trailers.is_empty() {
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&self.trailers)));
        }
        bytes
    }

    fn head(&self, bytes: &mut Vec<u8>) {
        let has_data = self.steps.iter().any(|step| matches!(step, Step::Data { .. }));
        let mut flags = if has_data || !self.trailers.is_empty() { 0 } else { END_STREAM };
        let mut kind = HEADERS;
        let ends = self.cuts.iter().copied().chain([self.fields.len()]).collect::<Vec<_>>();
        let mut start = 0;
        for (at, end) in ends.iter().enumerate() {
            flags |= if at + 1 == ends.len() { END_HEADERS } else { 0 };
            bytes.extend(frame(kind, flags, 1, &block(&self.fields[start..*end])));
            (kind, flags, start) = (CONTINUATION, 0, *end);
        }
    }
}

/// A frame (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    bytes.extend(payload);
    bytes
}

fn data(text: &[u8], is_padded: bool, flags: u8) -> Vec<u8> {
    if !is_padded {
        return frame(DATA, flags, 1, text);
    }
    frame(DATA, flags | PADDED, 1, &[&[PADDING], text, &[0; PADDING as usize]].concat())
}

/// Literal fields that are never indexed (RFC 7541 §6.2.3), byte for byte.
fn block(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0x10);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend(text);
        }
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(bytes: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else { return bytes.push(value as u8) };
    bytes.push(127);
    while rest >= 128 {
        bytes.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

fn field(text: &[u8]) -> Field {
    let (name, value) = match text.iter().position(|&b| b == b' ') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[][..]),
    };
    (plain(name), plain(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_frames() {
        let script = Script::read(b":a b\n|\nx\\sy \\n\n>hi\n}p\n<t u\n");
        assert_eq!(script.fields, [(b":a".to_vec(), b"b".to_vec()), (b"x y".to_vec(), b"\n".to_vec())]);
        assert_eq!((script.body().as_slice(), script.heads, script.is_wild), (&b"hip"[..], 1, false));
        let frames = [
            frame(HEADERS, 0, 1, b"\x10\x02:a\x01b"),
            frame(CONTINUATION, END_HEADERS, 1, b"\x10\x03x y\x01\n"),
            frame(DATA, 0, 1, b"hi"),
            frame(DATA, PADDED, 1, b"\x07p\0\0\0\0\0\0\0"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x10\x01t\x01u"),
        ];
        assert_eq!(script.bytes(), [OPENING, &frames.concat()].concat());
        let wild = Script::read(b"!401 ab\n:a b\n!154 c");
        assert_eq!((wild.heads, wild.is_wild), (2, true));
        let frames = [frame(4, 0, 1, b"ab"), frame(HEADERS, 5, 1, b"\x10\x02:a\x01b"), frame(1, 5, 4, b"c")];
        assert_eq!(wild.bytes(), [OPENING, &frames.concat()].concat());
    }
}
