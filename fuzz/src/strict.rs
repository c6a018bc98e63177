//! A second parser of HTTP/1.1 requests, slow and literal: one whole message or nothing. It never shares code with the codec that it judges.

/// A request as a strict reader understands it.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub host: Vec<u8>,
    /// Names in lower case; without Host, Content-Length and Transfer-Encoding.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// The one message that `text` is, to its last byte (RFC 9112 §2 to §7).
pub fn one_request(text: &[u8]) -> Result<Message, String> {
    let (line, mut rest) = line(text)?;
    let parts: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let &[method, target, b"HTTP/1.1"] = parts.as_slice() else { return Err("request line".into()) };
    if !is_token(method) || target.is_empty() || target.iter().any(|b| !b.is_ascii_graphic() || *b == b'#') {
        return Err("method or target".into());
    }
    let fields = fields(&mut rest)?;
    let host = one(&fields, "host")?.ok_or("no host")?;
    let length = one(&fields, "content-length")?;
    let encoding = one(&fields, "transfer-encoding")?;
    let body = match (length, encoding) {
        (None, None) => Vec::new(),
        (Some(digits), None) => {
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err("content-length".into());
            }
            let digits = String::from_utf8(digits).map_err(|e| e.to_string())?;
            let bytes: usize = digits.parse().map_err(|_| "content-length")?;
            let (body, after) = rest.split_at_checked(bytes).ok_or("short body")?;
            rest = after;
            body.to_vec()
        }
        (None, Some(encoding)) if encoding == b"chunked" => chunked(&mut rest)?.0,
        _ => return Err("ambiguous framing".into()),
    };
    if !rest.is_empty() {
        return Err("bytes after the message".into());
    }
    let framing: [&[u8]; 3] = [b"host", b"content-length", b"transfer-encoding"];
    let fields = fields.into_iter().filter(|(name, _)| !framing.contains(&name.as_slice())).collect();
    Ok(Message { method: method.to_vec(), target: target.to_vec(), host, fields, body })
}

pub type FieldList = Vec<(Vec<u8>, Vec<u8>)>;

/// A chunked body and its trailers, without extensions.
pub fn chunked(rest: &mut &[u8]) -> Result<(Vec<u8>, FieldList), String> {
    let mut body = Vec::new();
    loop {
        let (size, after) = line(rest)?;
        if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) {
            return Err("chunk size".into());
        }
        let size = usize::from_str_radix(&String::from_utf8_lossy(size), 16).map_err(|e| e.to_string())?;
        *rest = after;
        if size == 0 {
            return Ok((body, fields(rest)?));
        }
        let (data, after) = rest.split_at_checked(size).ok_or("short chunk")?;
        body.extend_from_slice(data);
        *rest = after.strip_prefix(b"\r\n").ok_or("no line end after a chunk")?;
    }
}

/// Fields up to and with the empty line.
fn fields(rest: &mut &[u8]) -> Result<FieldList, String> {
    let mut fields = Vec::new();
    loop {
        let (text, after) = line(rest)?;
        *rest = after;
        if text.is_empty() {
            return Ok(fields);
        }
        let colon = text.iter().position(|&b| b == b':').ok_or("no colon")?;
        let (name, value) = (&text[..colon], text[colon + 1..].trim_ascii());
        if !is_token(name) {
            return Err("field name".into());
        }
        fields.push((name.to_ascii_lowercase(), value.to_vec()));
    }
}

/// A line and what follows its CR LF. No control byte but HTAB.
fn line(text: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let end = text.windows(2).position(|two| two == b"\r\n").ok_or("no line end")?;
    let line = &text[..end];
    if line.iter().any(|&b| b != b'\t' && b.is_ascii_control()) {
        return Err("control byte".into());
    }
    Ok((line, &text[end + 2..]))
}

fn one(fields: &[(Vec<u8>, Vec<u8>)], name: &str) -> Result<Option<Vec<u8>>, String> {
    let mut values = fields.iter().filter(|(n, _)| n == name.as_bytes()).map(|(_, value)| value.clone());
    let first = values.next();
    if values.next().is_some() { Err(format!("two of {name}")) } else { Ok(first) }
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
            assert!(one_request(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
