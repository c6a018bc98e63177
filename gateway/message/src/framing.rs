//! How a body is delimited, decided strictly from the fields of a message; ambiguous framing is refused, never repaired.

use crate::Version;

/// How a body is delimited. Made only here, from what a parser saw; writers take it instead of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Why framing is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFraming {
    /// Content-Length and Transfer-Encoding.
    Both,
    /// Transfer-Encoding other than one field that is exactly `chunked`, in an HTTP/1.1 message.
    TransferEncoding,
    /// Content-Length other than one field of 1 to 19 digits.
    ContentLength,
}

impl BadFraming {
    /// What a person reads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both Content-Length and Transfer-Encoding",
            Self::TransferEncoding => "a Transfer-Encoding other than exactly one \"chunked\" in HTTP/1.1",
            Self::ContentLength => "a Content-Length other than exactly one decimal number",
        }
    }
}

impl Framing {
    /// No body at all.
    pub const NONE: Self = Self(Kind::None);

    /// Of an HTTP/1 request (RFC 9112 §6): all values of the two fields, as they came.
    pub fn of_request<'v>(
        version: Version,
        lengths: impl Iterator<Item = &'v [u8]>,
        encodings: impl Iterator<Item = &'v [u8]>,
    ) -> Result<Self, BadFraming> {
        Ok(declared(version, lengths, encodings)?.unwrap_or(Self::NONE))
    }

    /// Of an HTTP/1 answer; `bodiless` for HEAD, 1xx, 204 and 304, whose length fields describe no body.
    pub fn of_response<'v>(
        version: Version,
        bodiless: bool,
        lengths: impl Iterator<Item = &'v [u8]>,
        encodings: impl Iterator<Item = &'v [u8]>,
    ) -> Result<Self, BadFraming> {
        let declared = declared(version, lengths, encodings)?;
        Ok(if bodiless { Self::NONE } else { declared.unwrap_or(Self(Kind::UntilClose)) })
    }

    /// Of an HTTP/2 message: its END_STREAM flag and its content-length values. Without a length the body ends with the stream.
    pub fn of_http2<'v>(ended: bool, lengths: impl Iterator<Item = &'v [u8]>) -> Result<Self, BadFraming> {
        let length = one_length(lengths)?;
        match (ended, length) {
            (true, None | Some(0)) => Ok(Self::NONE),
            (true, Some(_)) => Err(BadFraming::ContentLength),
            (false, Some(bytes)) => Ok(Self(Kind::Length(bytes))),
            (false, None) => Ok(Self(Kind::Chunked)),
        }
    }

    /// The framing of an answer whose whole body is in hand.
    pub fn of_whole(body: &[u8]) -> Self {
        Self(Kind::Length(body.len() as u64))
    }

    /// Whether there is no body.
    pub fn is_none(self) -> bool {
        matches!(self.0, Kind::None)
    }

    /// Whether there is certainly no byte of body: none, or a length of 0.
    pub fn is_empty(self) -> bool {
        matches!(self.0, Kind::None | Kind::Length(0))
    }

    /// Whether the body is as long as the connection lives.
    pub fn is_until_close(self) -> bool {
        matches!(self.0, Kind::UntilClose)
    }

    /// Whether the length is not known before the end.
    pub fn is_chunked(self) -> bool {
        matches!(self.0, Kind::Chunked)
    }

    /// Bytes of body, where that is known.
    pub fn length(self) -> Option<u64> {
        match self.0 {
            Kind::Length(bytes) => Some(bytes),
            Kind::None => Some(0),
            Kind::Chunked | Kind::UntilClose => None,
        }
    }

    /// The same body written to an HTTP/1.1 peer: what ends with a connection is chunked there.
    pub fn for_http1(self) -> Self {
        match self.0 {
            Kind::UntilClose => Self(Kind::Chunked),
            _ => self,
        }
    }
}

fn declared<'v>(
    version: Version,
    lengths: impl Iterator<Item = &'v [u8]>,
    mut encodings: impl Iterator<Item = &'v [u8]>,
) -> Result<Option<Framing>, BadFraming> {
    let length = one_length(lengths)?;
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(length.map(|bytes| Framing(Kind::Length(bytes)))),
        (Some(_), _) if length.is_some() => Err(BadFraming::Both),
        (Some(value), None) if version == Version::Http11 && value.eq_ignore_ascii_case(b"chunked") => {
            Ok(Some(Framing(Kind::Chunked)))
        }
        _ => Err(BadFraming::TransferEncoding),
    }
}

fn one_length<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Result<Option<u64>, BadFraming> {
    let Some(value) = values.next() else { return Ok(None) };
    let plain = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    if !plain || values.next().is_some() {
        return Err(BadFraming::ContentLength);
    }
    let number = value.iter().try_fold(0u64, |n, b| n.checked_mul(10)?.checked_add(u64::from(b - b'0')));
    number.map(Some).ok_or(BadFraming::ContentLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lengths: &[&str], encodings: &[&str]) -> Result<Framing, BadFraming> {
        Framing::of_request(
            Version::Http11,
            lengths.iter().map(|v| v.as_bytes()),
            encodings.iter().map(|v| v.as_bytes()),
        )
    }

    #[test]
    fn only_unambiguous_framing_passes() {
        assert_eq!(request(&[], &[]).unwrap(), Framing::NONE);
        assert_eq!(request(&["5"], &[]).unwrap().length(), Some(5));
        assert!(request(&[], &["Chunked"]).unwrap().is_chunked());
        for bad in ["", "+1", "-1", "5, 5", "0x5", "18446744073709551617", "1 ", "5_0"] {
            assert_eq!(request(&[bad], &[]), Err(BadFraming::ContentLength), "{bad}");
        }
        assert_eq!(request(&["5", "5"], &[]), Err(BadFraming::ContentLength));
        assert_eq!(request(&["5"], &["chunked"]), Err(BadFraming::Both));
        for bad in ["identity", "chunked, identity", ",chunked", "\x0bchunked", "chunked;x", "gzip, chunked"] {
            assert_eq!(request(&[], &[bad]), Err(BadFraming::TransferEncoding), "{bad}");
        }
        assert_eq!(request(&[], &["chunked", "chunked"]), Err(BadFraming::TransferEncoding));
        let old = Framing::of_request(Version::Http10, [].into_iter(), [&b"chunked"[..]].into_iter());
        assert_eq!(old, Err(BadFraming::TransferEncoding));
    }

    #[test]
    fn an_http2_length_must_agree_with_the_end_of_the_stream() {
        let of = |ended, lengths: &[&'static str]| Framing::of_http2(ended, lengths.iter().map(|v| v.as_bytes()));
        assert!(of(true, &[]).unwrap().is_none());
        assert_eq!(of(true, &["5"]), Err(BadFraming::ContentLength));
        assert_eq!(of(false, &["5"]).unwrap().length(), Some(5));
        assert!(of(false, &[]).unwrap().is_chunked());
    }
}
