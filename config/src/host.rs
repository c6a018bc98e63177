//! Host names in their one canonical form, and the patterns that routes and listeners use. Never a port, never upper case.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// A canonical host: lower-case DNS name without a trailing dot, an IPv4 literal, or an IPv6 literal in brackets.
///
/// Ordered by its text. Source: RFC 9110 §4.2.3 (case), RFC 3986 §3.2.2 (literals).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
// shared: routes and listeners have the same ones
pub struct HostName(Arc<str>);

/// Why a text is no host name or pattern; names the text and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHost(pub String);

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a host name: use labels of a-z, 0-9 and '-' (1 to 63 each, 253 in all), without a port",
            self.0
        )
    }
}

impl std::error::Error for InvalidHost {}

impl HostName {
    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the host is an IP literal, which no wildcard matches.
    pub fn is_address(&self) -> bool {
        is_address(self.0.as_bytes())
    }
}

/// Whether `text` is a canonical host already: what the request path checks without allocating.
pub fn is_canonical(text: &[u8]) -> bool {
    // an IPv4 literal is a name by its form
    is_dns_name(text) || is_address(text)
}

/// Whether a canonical host is an IP literal, which no wildcard matches.
pub fn is_address(text: &[u8]) -> bool {
    let inner = text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    match (inner.map(std::str::from_utf8), text.last()) {
        (Some(Ok(inner)), _) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        (None, Some(b'0'..=b'9')) => {
            std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv4Addr>().is_ok())
        }
        _ => false,
    }
}

/// Labels of 1 to 63 bytes with dots between them, none with a hyphen at either end, 253 bytes in all.
fn is_dns_name(text: &[u8]) -> bool {
    let mut label_bytes = 0;
    let mut last = b'.';
    for &byte in text {
        match NAME[usize::from(byte)] {
            Name::Edge => label_bytes += 1,
            Name::Hyphen if last != b'.' => label_bytes += 1,
            Name::Dot if last != b'.' && last != b'-' => label_bytes = 0,
            _ => return false,
        }
        if label_bytes > 63 {
            return false;
        }
        last = byte;
    }
    text.len() <= 253 && last != b'.' && last != b'-'
}

/// What a byte is in a name.
#[derive(Clone, Copy)]
enum Name {
    /// Anywhere in a label.
    Edge,
    Hyphen,
    Dot,
    Never,
}

static NAME: [Name; 256] = {
    let mut table = [Name::Never; 256];
    let edges = b"abcdefghijklmnopqrstuvwxyz0123456789_";
    let mut at = 0;
    while at < edges.len() {
        table[edges[at] as usize] = Name::Edge;
        at += 1;
    }
    table[b'-' as usize] = Name::Hyphen;
    table[b'.' as usize] = Name::Dot;
    table
};

impl FromStr for HostName {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let lower = text.to_ascii_lowercase();
        let canonical = lower.strip_suffix('.').unwrap_or(&lower);
        if is_canonical(canonical.as_bytes()) { Ok(Self(canonical.into())) } else { Err(InvalidHost(text.to_owned())) }
    }
}

impl TryFrom<String> for HostName {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, InvalidHost> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(host: HostName) -> Self {
        host.as_str().to_owned()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a listener or a route says of hosts. `*.a.b` matches one label or more before `.a.b`, never `a.b` itself.
///
/// Source: Gateway API v1.7.0, `Hostname` and the hostname intersection rules of HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// Every host, an absent hostname field. Written `*`.
    #[default]
    Any,
    /// `*.suffix`; the suffix is kept without `*.`.
    Wildcard(HostName),
    /// One host.
    Exact(HostName),
}

impl HostPattern {
    /// Whether a canonical host matches.
    pub fn matches(&self, host: &HostName) -> bool {
        self.takes(host.as_str())
    }

    /// The same for a text that is canonical already: what the request path asks without allocating.
    pub fn takes(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Wildcard(suffix) => is_below(host, suffix.as_str()),
            Self::Exact(name) => name.as_str() == host,
        }
    }

    /// What both patterns match, or `None` where nothing does: the more specific of two where one covers the other.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let covered = |wide: &Self, narrow: &Self| match (wide, narrow) {
            (Self::Any, _) => true,
            (Self::Wildcard(suffix), Self::Wildcard(inner)) => {
                suffix == inner || is_below(inner.as_str(), suffix.as_str())
            }
            (Self::Wildcard(suffix), Self::Exact(host)) => is_below(host.as_str(), suffix.as_str()),
            (Self::Exact(a), Self::Exact(b)) => a == b,
            _ => false,
        };
        if covered(self, other) {
            Some(other.clone())
        } else if covered(other, self) {
            Some(self.clone())
        } else {
            None
        }
    }
}

fn is_below(host: &str, suffix: &str) -> bool {
    !is_address(host.as_bytes()) && host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        match text {
            "" | "*" => Ok(Self::Any),
            _ => match text.strip_prefix("*.") {
                Some(suffix) => Ok(Self::Wildcard(suffix.parse().map_err(|_| InvalidHost(text.to_owned()))?)),
                None => Ok(Self::Exact(text.parse()?)),
            },
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, InvalidHost> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Exact(host) => write!(f, "{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn a_wildcard_needs_a_label_and_takes_many() {
        let wild = pattern("*.ofn.io");
        assert!(wild.matches(&"fn.default.ofn.io".parse().unwrap()));
        assert!(!wild.matches(&"ofn.io".parse().unwrap()));
        assert!(!wild.matches(&"xofn.io".parse().unwrap()));
    }

    #[test]
    fn the_intersection_is_the_narrower_pattern() {
        assert_eq!(pattern("*.io").intersect(&pattern("*.ofn.io")), Some(pattern("*.ofn.io")));
        assert_eq!(pattern("a.ofn.io").intersect(&pattern("*.ofn.io")), Some(pattern("a.ofn.io")));
        assert_eq!(pattern("*").intersect(&pattern("*")), Some(HostPattern::Any));
        assert_eq!(pattern("ofn.io").intersect(&pattern("*.ofn.io")), None);
        assert_eq!(pattern("*.a.io").intersect(&pattern("*.b.io")), None);
    }

    #[test]
    fn hosts_are_canonical_or_refused() {
        assert_eq!("HELLO.Local.".parse::<HostName>().unwrap().as_str(), "hello.local");
        assert!("[::1]".parse::<HostName>().unwrap().is_address());
        for bad in ["", "a..b", "-a.b", "a b", "a:80", "a/b", "user@a", "[::1"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }
}
