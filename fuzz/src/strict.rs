//! A second parser of HTTP/1.1 requests, slow and literal: one whole message or nothing. It never shares code with the codec that it judges.

use std::fmt;

/// A request as a strict reader understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub host: Vec<u8>,
    /// Names in lower case; without Host, Content-Length and Transfer-Encoding.
    pub fields: FieldList,
    pub body: Vec<u8>,
    pub trailers: FieldList,
}

/// Why a text is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is the beginning of one.
    Short,
    /// It is none, whatever follows.
    Wrong(&'static str),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "it is cut off",
            Self::Wrong(why) => why,
        })
    }
}

/// The one message that `text` is, to its last byte (RFC 9112 §2 to §7).
pub fn one_request(text: &[u8]) -> Result<Message, Broken> {
    let (line, mut rest) = line(text)?;
    let parts: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let &[method, target, b"HTTP/1.1"] = parts.as_slice() else { return Err(Broken::Wrong("request line")) };
    if !is_token(method) || target.is_empty() || target.iter().any(|b| !b.is_ascii_graphic() || *b == b'#') {
        return Err(Broken::Wrong("method or target"));
    }
    let fields = fields(&mut rest)?;
    let host = one(&fields, "host")?.ok_or(Broken::Wrong("no host"))?;
    let length = one(&fields, "content-length")?;
    let encoding = one(&fields, "transfer-encoding")?;
    let (body, trailers) = match (length, encoding) {
        (None, None) => Default::default(),
        (Some(digits), None) => {
            let (body, after) = rest.split_at_checked(decimal(&digits)?).ok_or(Broken::Short)?;
            rest = after;
            (body.to_vec(), Vec::new())
        }
        (None, Some(encoding)) if encoding == b"chunked" => chunked(&mut rest)?,
        _ => return Err(Broken::Wrong("ambiguous framing")),
    };
    if !rest.is_empty() {
        return Err(Broken::Wrong("bytes after the message"));
    }
    let framing: [&[u8]; 3] = [b"host", b"content-length", b"transfer-encoding"];
    let fields = fields.into_iter().filter(|(name, _)| !framing.contains(&name.as_slice())).collect();
    Ok(Message { method: method.to_vec(), target: target.to_vec(), host, fields, body, trailers })
}

pub type FieldList = Vec<(Vec<u8>, Vec<u8>)>;

/// A chunked body and its trailers, without extensions.
pub fn chunked(rest: &mut &[u8]) -> Result<(Vec<u8>, FieldList), Broken> {
    let mut body = Vec::new();
    loop {
        let (size, after) = line(rest)?;
        if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) {
            return Err(Broken::Wrong("chunk size"));
        }
        let size =
            usize::from_str_radix(&String::from_utf8_lossy(size), 16).map_err(|_| Broken::Wrong("chunk size"))?;
        *rest = after;
        if size == 0 {
            return Ok((body, fields(rest)?));
        }
        let (data, after) = rest.split_at_checked(size).ok_or(Broken::Short)?;
        body.extend_from_slice(data);
        *rest = match after {
            [b'\r', b'\n', after @ ..] => after,
            [] | [b'\r'] => return Err(Broken::Short),
            _ => return Err(Broken::Wrong("no line end after a chunk")),
        };
    }
}

/// Fields up to and with the empty line.
fn fields(rest: &mut &[u8]) -> Result<FieldList, Broken> {
    let mut fields = Vec::new();
    loop {
        let (text, after) = line(rest)?;
        *rest = after;
        if text.is_empty() {
            return Ok(fields);
        }
        let colon = text.iter().position(|&b| b == b':').ok_or(Broken::Wrong("no colon"))?;
        let (name, value) = (&text[..colon], text[colon + 1..].trim_ascii());
        if !is_token(name) {
            return Err(Broken::Wrong("field name"));
        }
        fields.push((name.to_ascii_lowercase(), value.to_vec()));
    }
}

/// A line and what follows its CR LF. No control byte but HTAB.
fn line(text: &[u8]) -> Result<(&[u8], &[u8]), Broken> {
    let end = text.windows(2).position(|two| two == b"\r\n");
    let line = &text[..end.unwrap_or(text.len())];
    // a CR may be the first half of the end
    let plain = if end.is_none() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
    if plain.iter().any(|&b| b != b'\t' && b.is_ascii_control()) {
        return Err(Broken::Wrong("control byte"));
    }
    end.map(|end| (line, &text[end + 2..])).ok_or(Broken::Short)
}

fn decimal(digits: &[u8]) -> Result<usize, Broken> {
    let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    number.and_then(|text| text.parse().ok()).ok_or(Broken::Wrong("content-length"))
}

fn one(fields: &[(Vec<u8>, Vec<u8>)], name: &str) -> Result<Option<Vec<u8>>, Broken> {
    let mut values = fields.iter().filter(|(n, _)| n == name.as_bytes()).map(|(_, value)| value.clone());
    let first = values.next();
    if values.next().is_some() { Err(Broken::Wrong("a field twice that frames or routes")) } else { Ok(first) }
}

fn is_token(text: &[u8]) -> bool {
    let is_mark = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.iter().all(|&b| b.is_ascii_alphanumeric() || is_mark(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_tells_one_message_from_two() {
        let one = one_request(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nX: y\r\n\r\nb").unwrap();
        assert_eq!((one.host.as_slice(), one.body.as_slice(), one.fields.len()), (&b"a"[..], &b"b"[..], 1));
        for bad in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nG",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(matches!(one_request(bad.as_bytes()), Err(Broken::Wrong(_))), "{bad:?}");
        }
    }

    #[test]
    fn each_beginning_of_a_message_is_short_and_never_wrong() {
        for whole in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\n",
        ] {
            let message = one_request(whole.as_bytes()).unwrap();
            assert_eq!(message.body, b"ab");
            for end in 0..whole.len() {
                assert_eq!(one_request(&whole.as_bytes()[..end]), Err(Broken::Short), "{end}");
            }
        }
    }
}
