//! Where a request goes: authority and path in their one canonical form, which matching, policy, log and backend all see. Ambiguous targets are refused.

use crate::Span;
use std::borrow::Cow;

/// Spans of a request's target in the buffer of its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target {
    /// As it came on the wire, for the log.
    pub raw: Span,
    /// Canonical path, starting with `/`; or `*` of OPTIONS.
    pub path: Span,
    /// What follows `?`, untouched.
    pub query: Option<Span>,
}

/// Spans of a request's authority in the buffer of its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Authority {
    /// Host and port as they came, lower-case.
    pub text: Span,
    /// The canonical host (`headgate_config::HostName`'s form).
    pub host: Span,
    /// The port, where one was given.
    pub port: Option<u16>,
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// Not of one of the four forms of RFC 9112 §3.2, or not starting with `/`.
    Form,
    /// A byte that no URI has: control, space, `"<>\^{|}` and backquote, `#`, or one above 0x7E.
    Byte,
    /// `%` without two hexadecimal digits, or one that hides NUL, a control, or bytes that are no UTF-8.
    Escape,
    /// A segment that is, or that some reader could take for, `.` or `..`.
    DotSegment,
    /// A path that starts with `//`, which some readers take for a host.
    DoubleSlash,
    /// A host that is not canonical, or userinfo.
    Host,
    /// A port outside 0 to 65535.
    Port,
}

impl BadTarget {
    /// What a person reads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Form => "a request target that is no path",
            Self::Byte => "a byte in the request target that must be percent-encoded",
            Self::Escape => "a malformed or dangerous percent-escape in the path",
            Self::DotSegment => "a dot segment in the path",
            Self::DoubleSlash => "a path that starts with //",
            Self::Host => "a host that is no host name",
            Self::Port => "a port that is no port number",
        }
    }
}

/// The canonical form of a path without its query: escapes of unreserved characters decoded, the others upper-case.
/// Borrows if the path is canonical already, which is the common case.
///
/// Refused instead of repaired: what RFC 3986 does not allow, dot segments in any disguise (`%2e`, `..;x`, before an encoded
/// slash or backslash), a leading `//`. Encoded slashes stay encoded; inner empty segments stay.
pub fn canonical_path(path: &[u8]) -> Result<Cow<'_, [u8]>, BadTarget> {
    if path.first() != Some(&b'/') {
        return Err(BadTarget::Form);
    }
    if path.get(1) == Some(&b'/') {
        return Err(BadTarget::DoubleSlash);
    }
    let mut plain = true;
    let mut dotted = false;
    let mut last = 0;
    for &byte in path {
        match CLASS[byte as usize] {
            Class::Plain => dotted |= byte == b'.' && last == b'/',
            Class::Percent => plain = false,
            Class::Bad => return Err(BadTarget::Byte),
        }
        last = byte;
    }
    if plain && !dotted {
        return Ok(Cow::Borrowed(path));
    }
    let canonical = decode_unreserved(path)?;
    if has_dot_segment(&canonical) {
        return Err(BadTarget::DotSegment);
    }
    Ok(if canonical == path { Cow::Borrowed(path) } else { Cow::Owned(canonical) })
}

/// Whether a query (what follows `?`) holds only what a URI may hold.
pub fn check_query(query: &[u8]) -> Result<(), BadTarget> {
    // Browsers send some of RFC 3986's excluded characters here; no parser of heads takes them for anything else.
    let fine = query.iter().all(|&b| (0x21..0x7f).contains(&b) && b != b'#');
    if fine { Ok(()) } else { Err(BadTarget::Byte) }
}

/// Splits `host[:port]`, which must be lower-case already, and checks both. An empty authority is refused.
/// The host comes back without a trailing dot.
pub fn split_authority(text: &[u8]) -> Result<(&[u8], Option<u16>), BadTarget> {
    let (host, port) = match text.iter().rposition(|&b| b == b':') {
        Some(at) if !text.ends_with(b"]") => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    let host = host.strip_suffix(b".").unwrap_or(host);
    if !headgate_config::is_canonical_host(host) {
        return Err(BadTarget::Host);
    }
    match port {
        None | Some(b"") => Ok((host, None)),
        Some(digits) if digits.iter().all(u8::is_ascii_digit) && digits.len() <= 5 => {
            let number = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
            Ok((host, Some(number.try_into().map_err(|_| BadTarget::Port)?)))
        }
        Some(_) => Err(BadTarget::Port),
    }
}

fn decode_unreserved(path: &[u8]) -> Result<Vec<u8>, BadTarget> {
    let mut out = Vec::with_capacity(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            decoded.push(byte);
            continue;
        }
        let (hex, after) = rest.split_at_checked(2).ok_or(BadTarget::Escape)?;
        rest = after;
        let value = hex_value(hex).ok_or(BadTarget::Escape)?;
        if value < 0x20 || value == 0x7f {
            return Err(BadTarget::Escape);
        }
        decoded.push(value);
        if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
            out.push(value);
        } else {
            out.extend_from_slice(&[b'%', hex[0].to_ascii_uppercase(), hex[1].to_ascii_uppercase()]);
        }
    }
    // An overlong form such as %c0%af is no UTF-8; a reader that takes it for `/` would disagree with us.
    if std::str::from_utf8(&decoded).is_err() {
        return Err(BadTarget::Escape);
    }
    Ok(out)
}

fn hex_value(hex: &[u8]) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16);
    Some((digit(hex[0])? * 16 + digit(hex[1])?) as u8)
}

/// Splits as the most lenient reader would: at `/`, `%2F` and `%5C`; a segment ends at `;` or an encoded one.
fn has_dot_segment(canonical: &[u8]) -> bool {
    let text = String::from_utf8_lossy(canonical);
    let lenient = text.replace("%2F", "/").replace("%5C", "/").replace("%3B", ";");
    lenient.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

#[derive(Clone, Copy)]
enum Class {
    Plain,
    Percent,
    Bad,
}

static CLASS: [Class; 256] = {
    let mut table = [Class::Bad; 256];
    let plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/";
    let mut at = 0;
    while at < plain.len() {
        table[plain[at] as usize] = Class::Plain;
        at += 1;
    }
    table[b'%' as usize] = Class::Percent;
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(path: &str) -> Result<String, BadTarget> {
        canonical_path(path.as_bytes()).map(|p| String::from_utf8(p.into_owned()).unwrap())
    }

    #[test]
    fn equal_paths_have_one_form() {
        for (from, to) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/%41%7e", "/A~"),
            ("/a%2fb", "/a%2Fb"),
            ("/a//b", "/a//b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/h%C3%A9llo", "/h%C3%A9llo"),
            ("/a;b=c", "/a;b=c"),
        ] {
            assert_eq!(canonical(from).as_deref(), Ok(to), "{from}");
        }
    }

    #[test]
    fn what_readers_could_take_for_another_path_is_refused() {
        for bad in [
            "/..;/admin",
            "/.;/admin",
            "/a/%2e%2e/admin",
            "/a/..%2fadmin",
            "/a/..",
            "/.",
            "/a/..%5cadmin",
            "/a/..%3bx/b",
        ] {
            assert_eq!(canonical(bad), Err(BadTarget::DotSegment), "{bad}");
        }
        assert_eq!(canonical("//admin"), Err(BadTarget::DoubleSlash));
        for bad in ["/%", "/%4", "/%zz", "/%00", "/%0d%0a", "/%c0%af", "/%ff"] {
            assert_eq!(canonical(bad), Err(BadTarget::Escape), "{bad}");
        }
        for bad in ["/a b", "/a#b", "/a\\..\\b", "/a\"b", "/\u{e9}"] {
            assert_eq!(canonical(bad), Err(BadTarget::Byte), "{bad}");
        }
        assert_eq!(canonical("a"), Err(BadTarget::Form));
        assert_eq!(canonical(""), Err(BadTarget::Form));
    }

    #[test]
    fn an_authority_is_a_canonical_host_and_a_port() {
        assert_eq!(split_authority(b"a.b:80"), Ok((&b"a.b"[..], Some(80))));
        assert_eq!(split_authority(b"a.b."), Ok((&b"a.b"[..], None)));
        assert_eq!(split_authority(b"[::1]:8080"), Ok((&b"[::1]"[..], Some(8080))));
        assert_eq!(split_authority(b"[::1]"), Ok((&b"[::1]"[..], None)));
        for bad in ["", ":80", "user@a", "a,b", "a b", "a/b", "::1"] {
            assert_eq!(split_authority(bad.as_bytes()), Err(BadTarget::Host), "{bad}");
        }
        for bad in ["a:x", "a:65536", "a:+1"] {
            assert_eq!(split_authority(bad.as_bytes()), Err(BadTarget::Port), "{bad}");
        }
    }
}
