//! HTTP/1.1 messages, read by a second parser that shares no code with the program. It takes nothing that is not exact: CRLF, tokens, one framing.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Names in lower case, and values, in order.
pub type Fields = Vec<(String, String)>;

/// The value of the first field with a name.
pub fn field<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A request as an application got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Target as it was on the wire.
    pub target: String,
    /// Fields.
    pub fields: Fields,
    /// Body without its framing.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Fields,
}

/// An answer as a client got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Fields.
    pub fields: Fields,
    /// Body without its framing.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Fields,
    /// Interim answers that came before, without 101.
    pub interim: Vec<(u16, Fields)>,
}

impl Request {
    /// The value of the first field with a name.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// All values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

impl Answer {
    /// The value of the first field with a name.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The name of the failure that an answer of the gateway's own carries.
    pub fn failure(&self) -> Option<&str> {
        failure(self.field("proxy-status")?)
    }

    /// Whether the connection goes on after it.
    pub fn keeps_alive(&self) -> bool {
        self.field("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"))
    }
}

/// The name of a failure in a field `proxy-status`.
pub(crate) fn failure(proxy_status: &str) -> Option<&str> {
    proxy_status.split_once("details=\"")?.1.split(['"', ':']).next()
}

/// Reads messages from one side of a connection, and keeps what it read too far.
pub(crate) struct Reader {
    pub buffer: Vec<u8>,
    pub at: usize,
}

/// Why there is no message.
#[derive(Debug)]
pub(crate) enum NoMessage {
    /// The connection ended before the first byte.
    Closed,
    /// It ended inside of a message; how much of the body had come.
    Broken(String),
    /// What came is not HTTP/1.1 as RFC 9112 has it.
    Malformed(String),
}

impl From<io::Error> for NoMessage {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

type Read<T> = Result<T, NoMessage>;

fn malformed<T>(why: impl Into<String>) -> Read<T> {
    Err(NoMessage::Malformed(why.into()))
}

enum Framing {
    Nothing,
    Length(usize),
    Chunked,
    ToTheEnd,
}

impl Reader {
    pub fn new() -> Self {
        Self { buffer: Vec::new(), at: 0 }
    }

    /// What was read and not used.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// A request's head; the body follows by [`Reader::request_body`].
    pub async fn request_head(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Read<Request> {
        let (line, fields) = self.head(from).await?;
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else { return malformed(format!("request line {line:?}")) };
        if !is_token(method) || target.is_empty() || target.bytes().any(|b| !(0x21..0x7f).contains(&b)) {
            return malformed(format!("request line {line:?}"));
        }
        let hosts = fields.iter().filter(|(name, _)| name == "host").count();
        if hosts != 1 {
            return malformed(format!("{hosts} Host fields"));
        }
        Ok(Request { method: method.into(), target: target.into(), fields, ..Request::default() })
    }

    pub async fn request_body(&mut self, from: &mut (impl AsyncRead + Unpin), request: &mut Request) -> Read<()> {
        let framing = match framing(&request.fields)? {
            Framing::ToTheEnd => Framing::Nothing,
            other => other,
        };
        (request.body, request.trailers) = self.body(from, framing).await?;
        Ok(())
    }

    /// An answer, whole; `head` says that it answers a HEAD. A 101 ends it: what follows is another protocol.
    pub async fn answer(&mut self, from: &mut (impl AsyncRead + Unpin), head: bool) -> Read<Answer> {
        let mut answer = self.answer_head(from).await?;
        let bodiless = head || matches!(answer.status, 101 | 204 | 304);
        let framing = if bodiless { Framing::Nothing } else { framing(&answer.fields)? };
        (answer.body, answer.trailers) = self.body(from, framing).await?;
        Ok(answer)
    }

    /// The final head of an answer, after the interim ones.
    pub async fn answer_head(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Read<Answer> {
        let mut answer = Answer::default();
        loop {
            let (line, fields) = self.head(from).await?;
            let status = match line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()) {
                Some(status) => status,
                None => return malformed(format!("status line {line:?}")),
            };
            if (100..200).contains(&status) && status != 101 {
                answer.interim.push((status, fields));
                continue;
            }
            (answer.status, answer.fields) = (status, fields);
            return Ok(answer);
        }
    }

    async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.reserve(64 * 1024);
        from.read_buf(&mut self.buffer).await
    }

    /// A line without its CRLF; `None` at the end of the stream before its first byte.
    async fn line(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Read<Option<String>> {
        loop {
            if let Some(end) = self.rest().iter().position(|&byte| byte == b'\n') {
                let line = self.rest()[..end].to_vec();
                self.at += end + 1;
                let Some(line) = line.strip_suffix(b"\r") else { return malformed("a line ends in a bare LF") };
                if line.contains(&b'\r') || line.contains(&0) {
                    return malformed("a bare CR or NUL in a line");
                }
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
            if self.fill(from).await? == 0 {
                return if self.rest().is_empty() {
                    Ok(None)
                } else {
                    Err(NoMessage::Broken("inside of a line".into()))
                };
            }
        }
    }

    async fn head(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Read<(String, Fields)> {
        let Some(first) = self.line(from).await? else { return Err(NoMessage::Closed) };
        Ok((first, self.fields(from).await?))
    }

    async fn fields(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Read<Fields> {
        let mut fields = Fields::new();
        loop {
            let Some(line) = self.line(from).await? else { return Err(NoMessage::Broken("inside of a head".into())) };
            if line.is_empty() {
                return Ok(fields);
            }
            let Some((name, value)) = line.split_once(':') else { return malformed(format!("field line {line:?}")) };
            if !is_token(name) {
                return malformed(format!("field name {name:?}"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    async fn exactly(&mut self, from: &mut (impl AsyncRead + Unpin), length: usize) -> Read<Vec<u8>> {
        let mut taken = Vec::new();
        while taken.len() < length {
            if self.rest().is_empty() && self.fill(from).await? == 0 {
                return Err(NoMessage::Broken(format!("{} of {length} bytes came", taken.len())));
            }
            let here = self.rest().len().min(length - taken.len());
            taken.extend_from_slice(&self.buffer[self.at..self.at + here]);
            self.at += here;
        }
        Ok(taken)
    }

    async fn body(&mut self, from: &mut (impl AsyncRead + Unpin), framing: Framing) -> Read<(Vec<u8>, Fields)> {
        match framing {
            Framing::Nothing => Ok(Default::default()),
            Framing::Length(length) => Ok((self.exactly(from, length).await?, Fields::new())),
            Framing::ToTheEnd => {
                while self.fill(from).await? > 0 {}
                let body = self.rest().to_vec();
                self.at = self.buffer.len();
                Ok((body, Fields::new()))
            }
            Framing::Chunked => {
                let mut body = Vec::new();
                loop {
                    let Some(line) = self.line(from).await? else {
                        return Err(NoMessage::Broken(format!("after {} bytes in chunks", body.len())));
                    };
                    let is_size = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let size = usize::from_str_radix(&line, 16).ok().filter(|_| is_size);
                    let Some(size) = size else { return malformed(format!("chunk size {line:?}")) };
                    if size == 0 {
                        return Ok((body, self.fields(from).await?));
                    }
                    body.extend(self.exactly(from, size).await?);
                    if self.exactly(from, 2).await? != b"\r\n" {
                        return malformed("a chunk is longer than its size");
                    }
                }
            }
        }
    }
}

fn framing(fields: &Fields) -> Read<Framing> {
    let all =
        |name: &str| fields.iter().filter(|(known, _)| known == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
    match (&all("transfer-encoding")[..], &all("content-length")[..]) {
        ([], []) => Ok(Framing::ToTheEnd),
        (["chunked"], []) => Ok(Framing::Chunked),
        ([], [length]) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).or_else(|_| malformed(format!("Content-Length {length}")))
        }
        (codings, lengths) => malformed(format!("Transfer-Encoding {codings:?} and Content-Length {lengths:?}")),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
