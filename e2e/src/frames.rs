//! HTTP/2 frame by frame, as a hostile client writes them. It checks nothing of what it sends, and keeps what comes back.

use crate::{PATIENCE, wire::Stream, within};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The first bytes of a client (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// RFC 9113 §6: 0 DATA, 1 HEADERS, 3 RST_STREAM, 4 SETTINGS, 6 PING, 7 GOAWAY, 8 WINDOW_UPDATE, 9 CONTINUATION.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status, and its body.
    Answer(u16, Vec<u8>),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
}

impl Outcome {
    /// Whether the request was not served.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Answer(100..=399, _))
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literal fields that are never indexed (RFC 7541 §6.2.3), byte for byte as they are given.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0x10);
        for text in [name.as_ref(), value.as_ref()] {
            integer(&mut bytes, text.len());
            bytes.extend(text);
        }
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn integer(bytes: &mut Vec<u8>, value: usize) {
    const PREFIX: usize = 127;
    if value < PREFIX {
        return bytes.push(value as u8);
    }
    bytes.push(PREFIX as u8);
    let mut rest = value - PREFIX;
    while rest >= 128 {
        bytes.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// A connection.
pub struct Frames {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl Frames {
    /// Connects by prior knowledge, and sends the preface.
    pub async fn open(to: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(to)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    /// Uses a stream that is open already, and sends the preface. The gateway's encoder is to use no table of its own, so that statuses are easy to read.
    pub async fn over(stream: impl Stream + 'static) -> Self {
        let mut frames = Self { stream: Box::new(stream), read: Vec::new() };
        frames.send(PREFACE).await;
        // SETTINGS_HEADER_TABLE_SIZE
        frames.frame(4, 0, 0, &[0, 1, 0, 0, 0, 0]).await;
        frames
    }

    /// Sends bytes as they are; false once the other end takes none any more.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        matches!(tokio::time::timeout(PATIENCE, sent).await, Ok(Ok(())))
    }

    /// Sends a frame.
    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.send(&frame(kind, flags, stream, payload)).await
    }

    /// Sends a head in one HEADERS frame.
    pub async fn head<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, stream: u32, ends: bool, fields: &[(N, V)]) -> bool {
        self.frame(1, 4 | u8::from(ends), stream, &block(fields)).await
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let read = within("a frame", self.stream.read_buf(&mut self.read)).await;
            // a reset is an end too
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let header = self.read.get(..9)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let length = number(&header[..3]) as usize;
        let (kind, flags, stream) = (header[3], header[4], number(&header[5..9]));
        let payload = self.read.get(9..9 + length)?.to_vec();
        self.read.drain(..9 + length);
        Some(Frame { kind, flags, stream, payload })
    }

    /// Reads until it is known what became of a stream.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (0, Vec::new());
        while let Some(frame) = self.next().await {
            let is_ours = frame.stream == stream;
            match frame.kind {
                7 => return Outcome::GoAway(code(&frame.payload[4..])),
                3 if is_ours => return Outcome::Reset(code(&frame.payload)),
                1 if is_ours && status == 0 => status = status_of(&frame.payload),
                0 if is_ours => body.extend(&frame.payload),
                4 if frame.flags == 0 => {
                    self.frame(4, 1, 0, &[]).await;
                }
                _ => {}
            }
            if is_ours && matches!(frame.kind, 0 | 1) && frame.flags & 1 == 1 {
                return Outcome::Answer(status, body);
            }
        }
        Outcome::Closed
    }

    /// The code of the GOAWAY that comes, or `None` if the connection ends without.
    pub async fn goaway(&mut self) -> Option<u32> {
        while let Some(frame) = self.next().await {
            if frame.kind == 7 {
                return Some(code(&frame.payload[4..]));
            }
        }
        None
    }
}

fn code(payload: &[u8]) -> u32 {
    payload.get(..4).map_or(u32::MAX, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

/// The status at the start of a block: an entry of the static table, or a literal of its name.
fn status_of(block: &[u8]) -> u16 {
    // a change of the table's size comes first (RFC 7541 §6.3)
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or(0);
    match block[start..] {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        [_, 3, a, b, c, ..] => [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')),
        [_, 0x82, a, b, ..] | [_, 0x83, a, b, _, ..] => huffman([a, b, block.get(start + 4).copied().unwrap_or(0)]),
        _ => panic!("no status in {block:?}"),
    }
}

/// Three digits in the code of RFC 7541 appendix B: 0, 1 and 2 have five bits, the others six.
fn huffman(bytes: [u8; 3]) -> u16 {
    let bits = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], 0]);
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let five = bits << at >> 27;
        let (digit, length) = if five < 3 { (five, 5) } else { ((bits << at >> 26) - 22, 6) };
        status = status * 10 + digit as u16;
        at += length;
    }
    status
}
