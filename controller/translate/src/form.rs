//! Forms of texts: the patterns and lengths of the API, each with the words that tell a person what is allowed. Never a regular expression at run time.

/// What a text must be like. Lengths are in characters.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    min: usize,
    max: usize,
    holds: fn(&str) -> bool,
    /// What to write instead.
    pub remedy: &'static str,
}

impl Form {
    /// Any text.
    pub const ANY: Self = Self::new(0, usize::MAX, |_| true, "write a text");
    /// A name of an object of which nothing but the length is checked.
    pub const NAME: Self = Self::new(1, 253, |_| true, "write the name of an object, 1 to 253 characters");
    /// A DNS subdomain (RFC 1123): names of objects, sections and rules.
    pub const SUBDOMAIN: Self =
        Self::new(1, 253, is_subdomain, "use a-z, 0-9, '-' and '.', starting and ending with a letter or digit");
    /// A DNS label (RFC 1123): names of namespaces.
    pub const LABEL: Self =
        Self::new(1, 63, is_label, "use a-z, 0-9 and '-', at most 63, starting and ending with a letter or digit");
    /// A name of a ClusterTrustBundle: that of its signer before it, where it has one.
    pub const BUNDLE_NAME: Self = Self::new(
        1,
        253,
        |t| t.split(':').all(is_subdomain),
        "write a name such as example.com:signer:v1: the signer with ':' for '/', then a name of a-z, 0-9, '-' and '.'",
    );
    /// A group of the API; empty for the core group.
    pub const GROUP: Self = Self::new(
        0,
        253,
        |t| t.is_empty() || is_subdomain(t),
        "write a group such as gateway.networking.k8s.io, or \"\"",
    );
    /// A kind.
    pub const KIND: Self = Self::new(1, 63, is_kind, "write a kind such as Service");
    /// A host name, perhaps with `*.` before it.
    pub const HOSTNAME: Self = Self::new(
        1,
        253,
        |t| is_subdomain(t.strip_prefix("*.").unwrap_or(t)),
        "write a lower-case DNS name such as app.example.com or *.example.com, without scheme, port or path; leave it out for any host",
    );
    /// A host name without wildcard.
    pub const PRECISE_HOSTNAME: Self = Self::new(
        1,
        253,
        is_subdomain,
        "write a lower-case DNS name such as app.example.com, without wildcard, scheme, port or path",
    );
    /// A header name (RFC 9110 §5.6.2, token).
    pub const HEADER_NAME: Self =
        Self::new(1, 256, is_token, "write a header name such as X-Version (letters, digits and !#$%&'*+-.^_`|~)");
    /// A header value (RFC 9110 §5.5, printable).
    pub const HEADER_VALUE: Self =
        Self::new(1, 4096, is_header_value, "use printable ASCII with single spaces between words");
    /// A header value to match.
    pub const MATCH_VALUE: Self = Self::new(1, 4096, |_| true, "write the value to match, 1 to 4096 characters");
    /// A query value to match.
    pub const QUERY_VALUE: Self = Self::new(1, 1024, |_| true, "write the value to match, 1 to 1024 characters");
    /// A path.
    pub const PATH: Self = Self::new(0, 1024, |_| true, "write a path of at most 1024 characters");
    /// A Duration (GEP-2257).
    pub const DURATION: Self = Self::new(
        1,
        usize::MAX,
        |t| crate::duration::parse(t).is_some(),
        "write a duration such as 500ms, 10s, 1m30s or 1h (whole numbers; h, m, s, ms; at most four parts of five digits)",
    );
    /// A protocol of a listener.
    pub const PROTOCOL: Self = Self::new(1, 255, is_protocol, "write HTTP or HTTPS");
    /// An origin of CORS.
    pub const ORIGIN: Self = Self::new(
        1,
        253,
        is_origin,
        "write *, or a scheme, host and port such as https://*.example.com:8443, without a path",
    );
    /// A value of an option or annotation.
    pub const OPTION: Self = Self::new(0, 4096, |_| true, "write at most 4096 characters");
    /// A value of a label.
    pub const LABEL_VALUE: Self = Self::new(
        0,
        63,
        |t| t.is_empty() || is_label_value(t),
        "use letters, digits, '-', '_' and '.', at most 63, starting and ending with a letter or digit",
    );
    /// A key of a label or annotation.
    pub const LABEL_KEY: Self =
        Self::new(1, 317, is_label_key, "write a name of at most 63 characters, perhaps with a domain and / before it");
    /// Where an address can be reached from.
    pub const ROUTABILITY: Self =
        Self::new(0, 253, |t| t.is_empty() || t == "Cluster" || is_routability(t), "write Cluster, or leave it out");
    /// A path of requests to an authorization service.
    pub const AUTH_PATH: Self = Self::new(1, 1024, is_path, "write a path without a query");
    /// A URI with scheme and host, such as a SPIFFE identity.
    pub const URI: Self = Self::new(1, 253, is_uri, "write a URI such as spiffe://example.com/name");
    /// `System` or a domain-prefixed name.
    pub const WELL_KNOWN: Self = Self::new(
        1,
        253,
        |t| t == "System" || is_prefixed(t),
        "write System, or name authorities in caCertificateRefs",
    );
    /// A controller name.
    pub const CONTROLLER: Self =
        Self::new(1, 253, is_prefixed, "write a domain and a path such as example.com/gateway-controller");
    /// A short description.
    pub const DESCRIPTION: Self = Self::new(0, 64, |_| true, "write at most 64 characters");

    const fn new(min: usize, max: usize, holds: fn(&str) -> bool, remedy: &'static str) -> Self {
        Self { min, max, holds, remedy }
    }

    /// A form of your own: lengths in characters, a test, and what to write instead.
    pub const fn custom(min: usize, max: usize, holds: fn(&str) -> bool, remedy: &'static str) -> Self {
        Self::new(min, max, holds, remedy)
    }

    /// Why a text has not this form.
    pub fn check(self, text: &str) -> Result<(), String> {
        let length = text.chars().count();
        if length < self.min {
            return Err(if text.is_empty() { "is empty".into() } else { format!("{text:?} is too short") });
        }
        if length > self.max {
            return Err(format!("has {length} characters, at most {} are allowed", self.max));
        }
        if (self.holds)(text) { Ok(()) } else { Err(format!("{text:?} is not allowed here")) }
    }
}

fn lower_or_digit(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn framed(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if edge(first) && edge(last))
        && bytes.iter().all(|&b| inner(b))
}

/// Whether a text is a DNS label in lower case; its length is not checked.
pub fn is_label(text: &str) -> bool {
    framed(text, lower_or_digit, |b| lower_or_digit(b) || b == b'-')
}

/// Whether a text is labels joined by dots; its length is not checked.
pub fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_kind(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && framed(text, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_label_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    name.len() <= 63 && is_label_value(name) && prefix.is_none_or(|prefix| prefix.len() < 253 && is_subdomain(prefix))
}

/// A name of an implementation; those of Kubernetes are reserved.
fn is_routability(text: &str) -> bool {
    text.split_once('/').is_some_and(|(domain, name)| {
        is_subdomain(domain) && domain != "k8s.io" && !domain.ends_with(".k8s.io") && !name.is_empty()
    })
}

fn is_label_value(text: &str) -> bool {
    framed(text, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_header_value(text: &str) -> bool {
    let blank = |b: u8| b == b' ' || b == b'\t';
    framed(text, |b| b.is_ascii_graphic(), |b| b.is_ascii_graphic() || b == b' ' || b == b'\t')
        && !text.as_bytes().windows(2).any(|pair| blank(pair[0]) && blank(pair[1]))
}

/// Whether a text is a path of characters that the API allows in exact and prefix matches (RFC 3986 §3.3).
pub fn is_path(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        let allowed = match b {
            b'%' => {
                bytes.next().is_some_and(|b| b.is_ascii_hexdigit())
                    && bytes.next().is_some_and(|b| b.is_ascii_hexdigit())
            }
            _ => b.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&b),
        };
        if !allowed {
            return false;
        }
    }
    !text.is_empty()
}

fn is_protocol(text: &str) -> bool {
    let word = |t: &str| framed(t, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || b == b'-');
    match text.split_once('/') {
        None => word(text),
        Some((domain, name)) => {
            is_subdomain(domain) && !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric())
        }
    }
}

fn is_prefixed(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    text.split_once('/')
        .is_some_and(|(domain, path)| is_subdomain(domain) && !path.is_empty() && path.bytes().all(allowed))
}

fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let host = host.strip_prefix("*.").unwrap_or(host);
    let named = host == "*" || (!host.is_empty() && host.split('.').all(is_host_label));
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_uri(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !scheme.contains(['/', '?', '#', ':']) && !rest.starts_with(['/', '?', '#'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_take_what_the_api_takes() {
        let table: &[(Form, &[&str], &[&str])] = &[
            (Form::SUBDOMAIN, &["a", "a.b-c", "0"], &["", "-a", "a-", "a..b", "A", "a_b"]),
            (Form::LABEL, &["default"], &["a.b", "Default"]),
            (Form::BUNDLE_NAME, &["roots", "a.io:signer:v1"], &["", ":a", "a:", "a/b:c", "A:b"]),
            (Form::GROUP, &["", "gateway.networking.k8s.io"], &["-"]),
            (Form::KIND, &["Service", "X"], &["", "1a", "a-"]),
            (Form::HOSTNAME, &["a.io", "*.a.io"], &["*", "a.*.io", "A.io", "a.io:80", "https://a.io"]),
            (Form::PRECISE_HOSTNAME, &["a.io"], &["*.a.io"]),
            (Form::HEADER_NAME, &["X-Version", "a_b"], &["", "a b", "a:"]),
            (Form::HEADER_VALUE, &["a b", "a"], &["", " a", "a  b", "ä"]),
            (Form::PROTOCOL, &["HTTP", "acme.io/Custom"], &["", "-", "acme.io/"]),
            (
                Form::ORIGIN,
                &["*", "https://a.io", "http://*.a.io:80", "https://*"],
                &["a.io", "https://a.io/x", "ftp://a"],
            ),
            (Form::CONTROLLER, &["headgate.dev/controller"], &["headgate", "a/"]),
            (Form::LABEL_KEY, &["app", "a.io/b_c"], &["", "/b", "a.io/", "A.io/b"]),
            (Form::ROUTABILITY, &["", "Cluster", "a.io/Public"], &["Public", "k8s.io/x"]),
            (Form::URI, &["spiffe://a.io/x"], &["a.io/x", ":///"]),
        ];
        for (form, good, bad) in table {
            good.iter().for_each(|text| assert!(form.check(text).is_ok(), "{text} {}", form.remedy));
            bad.iter().for_each(|text| assert!(form.check(text).is_err(), "{text} {}", form.remedy));
        }
    }

    #[test]
    fn paths_are_of_allowed_characters() {
        assert!(is_path("/a/%20b"));
        assert!(!is_path("/a b") && !is_path("/%2") && !is_path("/%zz") && !is_path(""));
    }
}
