//! Answers preflights and decorates answers (Fetch standard §3.3 with the rules of HTTPCORSFilter, Gateway API v1.7.0). Never `*` together with credentials.

use super::headers::is_token;
use headgate_config::{Cors, OriginPattern};
use headgate_message::{Fields, Method, RequestHead, ResponseHead};

/// The answer, if the request is a preflight; any other OPTIONS request is the backend's.
///
/// An origin that may not read gets 204 without the fields, so that its browser stops there.
pub(super) fn preflight(cors: &Cors, head: &RequestHead) -> Option<ResponseHead> {
    let origin = head.fields.get_str("origin")?;
    let method = head.fields.get_str("access-control-request-method").filter(|method| is_token(method))?;
    if head.method != Method::Options {
        return None;
    }
    let mut answer = ResponseHead::new(204);
    let fields = &mut answer.fields;
    if allow_origin(cors, Some(origin), fields) {
        let asked = head.fields.joined("access-control-request-headers");
        push_list(fields, "access-control-allow-methods", &cors.methods, Some(method.as_bytes()));
        push_list(fields, "access-control-allow-headers", &cors.headers, asked.as_deref());
        push_exposed(cors, fields);
        fields.push("access-control-max-age", cors.max_age_s.to_string().as_bytes());
    }
    Some(answer)
}

/// Puts the gateway's word in place of whatever the backend said of CORS: one policy, one writer.
pub(super) fn decorate(cors: &Cors, origin: Option<&str>, fields: &mut Fields) {
    fields.remove_where(|name| {
        matches!(
            name,
            b"access-control-allow-origin" | b"access-control-allow-credentials" | b"access-control-expose-headers"
        )
    });
    if allow_origin(cors, origin, fields) {
        push_exposed(cors, fields);
    }
}

/// Says who may read, and for whom an answer may be kept; whether `origin` may read.
fn allow_origin(cors: &Cors, origin: Option<&str>, fields: &mut Fields) -> bool {
    let any = cors.origins.contains(&OriginPattern::Any);
    // With `*` the answer is the same for all; otherwise caches must tell origins apart, also where there is none.
    let same_for_all = any && !cors.credentials;
    if !same_for_all {
        vary_by_origin(fields);
    }
    let Some(origin) = origin.filter(|origin| cors.origins.iter().any(|pattern| matches(pattern, origin))) else {
        return false;
    };
    let value = if same_for_all { "*" } else { origin };
    fields.push("access-control-allow-origin", value.as_bytes());
    if cors.credentials {
        fields.push("access-control-allow-credentials", b"true");
    }
    true
}

/// A list of the policy; where that is `*`, what was asked for: it means the same to a browser, is right with credentials,
/// and lets `authorization` pass, which a literal `*` does not.
fn push_list(fields: &mut Fields, name: &str, list: &[String], asked: Option<&[u8]>) {
    if list.iter().any(|item| item == "*") {
        if let Some(asked) = asked {
            fields.push(name, asked);
        }
    } else if !list.is_empty() {
        fields.push(name, list.join(", ").as_bytes());
    }
}

fn push_exposed(cors: &Cors, fields: &mut Fields) {
    let literal = if cors.credentials { None } else { Some(&b"*"[..]) };
    push_list(fields, "access-control-expose-headers", &cors.expose, literal);
}

fn vary_by_origin(fields: &mut Fields) {
    let names = |value: &[u8]| {
        value.split(|&b| b == b',').any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"origin")
        })
    };
    if !fields.all("vary").any(names) {
        fields.push("vary", b"Origin");
    }
}

/// Whether an `Origin` value is one that a pattern means. The host part of a wildcard takes any number of labels, at least one.
fn matches(pattern: &OriginPattern, origin: &str) -> bool {
    match pattern {
        OriginPattern::Any => true,
        OriginPattern::Exact(text) => without_default_port(origin).eq_ignore_ascii_case(without_default_port(text)),
        OriginPattern::Wildcard { scheme, suffix } => {
            let default_port = if scheme.eq_ignore_ascii_case("https://") { ":443" } else { ":80" };
            let suffix = suffix.strip_suffix(default_port).unwrap_or(suffix);
            let host = without_default_port(origin).split_at_checked(scheme.len());
            let labels = host.and_then(|(found, host)| {
                let (labels, end) = host.split_at_checked(host.len().checked_sub(suffix.len())?)?;
                (found.eq_ignore_ascii_case(scheme) && end.eq_ignore_ascii_case(suffix)).then_some(labels)
            });
            labels.is_some_and(|labels| {
                !labels.is_empty() && labels.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            })
        }
    }
}

fn without_default_port(origin: &str) -> &str {
    let port = match origin.get(..8) {
        Some(start) if start.eq_ignore_ascii_case("https://") => ":443",
        _ => ":80",
    };
    origin.strip_suffix(port).unwrap_or(origin)
}

/// The policy with lower-case header names, or why it cannot be applied.
pub(super) fn vet(mut cors: Cors) -> Result<Cors, String> {
    for name in cors.headers.iter_mut().chain(&mut cors.expose) {
        name.make_ascii_lowercase();
    }
    let names = cors.methods.iter().chain(&cors.headers).chain(&cors.expose);
    match names.into_iter().find(|name| !is_token(name)) {
        Some(bad) => Err(format!("{bad:?} is no method or header name: use letters, digits and '-', or \"*\" alone")),
        None => Ok(cors),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn wildcard(scheme: &str, suffix: &str) -> OriginPattern {
        OriginPattern::Wildcard { scheme: scheme.into(), suffix: suffix.into() }
    }

    fn policy() -> Cors {
        Cors {
            origins: vec![OriginPattern::Exact("https://www.foo.com".into()), wildcard("https://", ".bar.com")],
            credentials: true,
            methods: strings(&["GET", "OPTIONS"]),
            headers: strings(&["x-header-1", "x-header-2"]),
            expose: strings(&["x-header-3", "x-header-4"]),
            max_age_s: 3600,
        }
    }

    fn everything(credentials: bool) -> Cors {
        Cors {
            origins: vec![OriginPattern::Any],
            credentials,
            methods: strings(&["*"]),
            headers: strings(&["*"]),
            expose: strings(&["*"]),
            max_age_s: 5,
        }
    }

    fn asked(method: &str, origin: &str, wanted: &str, headers: &str) -> RequestHead {
        let fields = [
            ("origin", origin),
            ("access-control-request-method", wanted),
            ("access-control-request-headers", headers),
        ];
        let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        request(method, "a.io", "/", &fields)
    }

    fn printed(fields: &Fields) -> String {
        let line = |(name, value): (&str, &[u8])| {
            format!("{}: {}\n", name.replace("access-control-", "~"), String::from_utf8_lossy(value))
        };
        fields.iter().map(line).collect()
    }

    #[test]
    fn preflights_are_answered() {
        let all = "~allow-credentials: true\n~allow-methods: GET, OPTIONS\n~allow-headers: x-header-1, x-header-2\n\
                   ~expose-headers: x-header-3, x-header-4\n~max-age: 3600\n";
        for origin in ["https://www.foo.com", "https://www.bar.com", "https://xpto.www.bar.com"] {
            let answer = preflight(&policy(), &asked("OPTIONS", origin, "GET", "x-header-1, x-header-2")).unwrap();
            assert_eq!(answer.status, 204);
            assert_eq!(printed(&answer.fields), format!("vary: Origin\n~allow-origin: {origin}\n{all}"));
        }
        let refused = preflight(&policy(), &asked("OPTIONS", "https://foobar.com", "GET", "")).unwrap();
        assert_eq!((refused.status, printed(&refused.fields).as_str()), (204, "vary: Origin\n"));
    }

    #[test]
    fn wildcards_echo_and_never_meet_credentials() {
        let head = asked("OPTIONS", "https://other.foo.com", "PUT", "x-header-1, x-header-2");
        assert_eq!(
            printed(&preflight(&everything(true), &head).unwrap().fields),
            "vary: Origin\n~allow-origin: https://other.foo.com\n~allow-credentials: true\n~allow-methods: PUT\n\
             ~allow-headers: x-header-1, x-header-2\n~max-age: 5\n"
        );
        assert_eq!(
            printed(&preflight(&everything(false), &head).unwrap().fields),
            "~allow-origin: *\n~allow-methods: PUT\n~allow-headers: x-header-1, x-header-2\n~expose-headers: *\n~max-age: 5\n"
        );
        let bare = preflight(&everything(true), &asked("OPTIONS", "https://a.io", "PUT", "")).unwrap();
        assert!(!bare.fields.has("access-control-allow-headers"));
    }

    #[test]
    fn what_is_no_preflight_goes_on() {
        for head in [
            asked("OPTIONS", "https://www.foo.com", "", ""),
            asked("OPTIONS", "", "GET", ""),
            asked("GET", "https://www.foo.com", "GET", "x-header-1"),
        ] {
            assert!(preflight(&policy(), &head).is_none());
        }
    }

    #[test]
    fn answers_are_decorated_and_the_backend_has_no_say() {
        let decorated = |cors: &Cors, origin: Option<&str>, vary: &str| {
            let mut fields = Fields::default();
            fields.push("access-control-allow-origin", b"https://backend.io");
            if !vary.is_empty() {
                fields.push("vary", vary.as_bytes());
            }
            decorate(cors, origin, &mut fields);
            printed(&fields)
        };
        assert_eq!(
            decorated(&policy(), Some("https://www.foo.com"), "accept"),
            "vary: accept\nvary: Origin\n~allow-origin: https://www.foo.com\n~allow-credentials: true\n\
             ~expose-headers: x-header-3, x-header-4\n"
        );
        assert_eq!(decorated(&policy(), Some("https://foobar.com"), "a, ORIGIN"), "vary: a, ORIGIN\n");
        assert_eq!(decorated(&policy(), None, ""), "vary: Origin\n");
        assert_eq!(decorated(&everything(false), Some("null"), ""), "~allow-origin: *\n~expose-headers: *\n");
        assert_eq!(
            decorated(&everything(true), Some("https://a.io:12345"), "*"),
            "vary: *\n~allow-origin: https://a.io:12345\n~allow-credentials: true\n"
        );
    }

    #[test]
    fn origins_match_as_a_whole() {
        let exact = |text: &str| OriginPattern::Exact(text.into());
        for (pattern, origin, fits) in [
            (exact("https://a.io"), "https://a.io", true),
            (exact("https://a.io"), "https://a.io:443", true),
            (exact("https://a.io:443"), "https://a.io", true),
            (exact("http://a.io:80"), "http://a.io", true),
            (exact("https://a.io"), "http://a.io", false),
            (exact("https://a.io"), "https://a.io:8443", false),
            (exact("https://a.io"), "https://a.io.evil", false),
            (exact("https://a.io"), "null", false),
            (wildcard("https://", ".bar.com"), "https://bar.com", false),
            (wildcard("https://", ".bar.com"), "https://.bar.com", false),
            (wildcard("https://", ".bar.com"), "https://a.b.c.bar.com", true),
            (wildcard("https://", ".bar.com"), "https://a.bar.com:443", true),
            (wildcard("https://", ".bar.com"), "http://a.bar.com", false),
            (wildcard("https://", ".bar.com"), "https://evil.io/.bar.com", false),
            (wildcard("https://", ".bar.com"), "https://evil@a.bar.com", false),
            (wildcard("https://", ".bar.com"), "https://a.bar.com.evil", false),
            (wildcard("https://", ".bar.com:8443"), "https://a.bar.com:8443", true),
            (wildcard("https://", ".bar.com:8443"), "https://a.bar.com", false),
            (wildcard("https://", ".bar.com"), "https://", false),
            (wildcard("https://", ".bar.com"), "h\u{e9}ttps://a.bar.com", false),
            (wildcard("https://", ""), "https://any.thing", true),
            (OriginPattern::Any, "null", true),
        ] {
            assert_eq!(matches(&pattern, origin), fits, "{pattern:?} {origin}");
        }
    }
}
