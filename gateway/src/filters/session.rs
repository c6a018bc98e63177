//! Session persistence at heads: the token that a request brings, and what its answer says of it. The token itself is made in `session.rs`; never a choice here.

use super::headers;
use crate::session::{Key, Pins, Term};
use headgate_config::{BackendName, Carrier, Scheme, Session};
use headgate_message::{Fields, RequestHead};
use std::{fmt::Write, net::SocketAddr};

/// What a request brought.
#[derive(Debug, Default)]
pub struct Brought {
    /// Where its client was served before.
    pub pins: Pins,
    /// Whether it came over TLS, so that its cookie need never come otherwise.
    secure: bool,
}

/// Who answers a request.
pub struct Answerer<'a> {
    /// The backend.
    pub backend: &'a BackendName,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// Seconds since 1970.
    pub now: u32,
}

/// The term of pins that are made now.
pub fn term(session: &Session, now: u32) -> Term {
    // up to the second, and at least one
    let seconds = |ms: u64| u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1);
    Term { lifetime: session.lifetime_ms.map(seconds), now }
}

/// Looks for the token of a request. It goes on to the backend as it came: GEP-1619 says that it should.
pub(super) fn read(session: &Session, head: &RequestHead) -> Brought {
    let mut pins = Pins::default();
    match &session.carrier {
        Carrier::Header(name) => head.fields.all(name).for_each(|value| pins.read(value)),
        Carrier::Cookie { name, .. } => cookies(&head.fields, name).for_each(|value| pins.read(value)),
    }
    Brought { pins, secure: head.scheme == Scheme::Https }
}

/// Tells the client where it was served, if that is news to it. A header is told each time, since nobody keeps it for a client that does
/// not. Where the backend sets a cookie of this name itself, that one stays.
pub fn tell(session: &Session, brought: &Brought, answerer: &Answerer<'_>, fields: &mut Fields) {
    let moved = brought.pins.moved(&Key::of(answerer.backend), term(session, answerer.now), answerer.endpoint);
    match &session.carrier {
        Carrier::Header(name) => {
            let token = moved.unwrap_or_else(|| brought.pins.token());
            fields.set(name, token.as_bytes());
        }
        Carrier::Cookie { name, .. } => {
            if let Some(token) = moved.filter(|_| !sets_cookie(fields, name)) {
                fields.push("set-cookie", set_cookie(session, &token, brought.secure).as_bytes());
            }
        }
    }
}

/// With a name that may be written, lower-case.
pub(super) fn vet(mut session: Box<Session>) -> Result<Box<Session>, String> {
    match &mut session.carrier {
        Carrier::Header(name) => {
            name.make_ascii_lowercase();
            let is_own = headers::is_editable(name) && !matches!(name.as_str(), "cookie" | "set-cookie");
            if !is_own {
                return Err(format!("the header {name} cannot carry a session: write a name that nothing else has"));
            }
        }
        Carrier::Cookie { name, path, .. } => {
            let is_path = path.starts_with('/') && path.bytes().all(|b| matches!(b, b' '..=b'~' if b != b';'));
            if !headers::is_token(name) || !is_path {
                return Err(format!("a cookie {name:?} for {path:?} cannot be set: write a plain name and path"));
            }
        }
    }
    Ok(session)
}

/// `SameSite=Lax`: with `Strict` a client that follows a link from elsewhere would bring no token and be moved.
fn set_cookie(session: &Session, token: &str, secure: bool) -> String {
    let Carrier::Cookie { name, path, permanent } = &session.carrier else { return String::new() };
    let mut text = format!("{name}={token}; Path={path}");
    if let Some(seconds) = term(session, 0).lifetime.filter(|_| *permanent) {
        // a text takes everything
        let _ = write!(text, "; Max-Age={seconds}");
    }
    text.push_str("; HttpOnly; SameSite=Lax");
    if secure {
        text.push_str("; Secure");
    }
    text
}

/// The values of cookies of a name. Source: RFC 6265 §5.4, and §4.1.1 for the quotes.
fn cookies<'f>(fields: &'f Fields, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
    let pairs = fields.all("cookie").flat_map(|field| field.split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// Whether an answer sets a cookie of this name.
fn sets_cookie(fields: &Fields, name: &str) -> bool {
    fields.all("set-cookie").any(|set| {
        let of_name = set.trim_ascii_start().strip_prefix(name.as_bytes());
        of_name.is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'='))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    fn cookie(permanent: bool, lifetime_ms: Option<u64>) -> Session {
        let carrier = Carrier::Cookie { name: "stay".into(), path: "/".into(), permanent };
        Session { carrier, lifetime_ms }
    }

    fn answer(session: &Session, brought: &Brought, last: u8, set: &[&str]) -> Vec<String> {
        let backend = BackendName::tcp("a", "b", 80);
        let answerer = Answerer { backend: &backend, endpoint: ([10, 0, 0, last], 80).into(), now: 100 };
        let mut fields = Fields::default();
        set.iter().for_each(|value| fields.push("set-cookie", value.as_bytes()));
        tell(session, brought, &answerer, &mut fields);
        let texts = fields.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
        texts.collect()
    }

    /// Of `stay=TOKEN; …` the token.
    fn token(answer: &[String]) -> &str {
        answer.last().unwrap().split_once('=').unwrap().1.split(';').next().unwrap()
    }

    #[test]
    fn a_cookie_is_set_once_and_again_where_the_endpoint_is_another() {
        let session = cookie(false, None);
        let first = answer(&session, &Brought::default(), 1, &[]);
        assert!(first[0].starts_with("set-cookie: stay=") && first[0].ends_with("; Path=/; HttpOnly; SameSite=Lax"));
        let came = format!("a=1; stay={}; b=2", token(&first));
        let brought = read(&session, &request("GET", "a.io", "/", &[("cookie", &came)]));
        assert!(answer(&session, &brought, 1, &[]).is_empty(), "it knows");
        assert_ne!(token(&answer(&session, &brought, 2, &[])), token(&first));
        // as HTTP/2 has it, one pair a field, and with quotes
        let quoted = format!("stay=\"{}\"", token(&first));
        let head = request("GET", "a.io", "/", &[("cookie", "stays=1"), ("cookie", &quoted)]);
        assert!(answer(&session, &read(&session, &head), 1, &[]).is_empty());
    }

    #[test]
    fn attributes_are_those_of_the_rule_and_of_the_connection() {
        let mut head = request("GET", "a.io", "/", &[]);
        head.scheme = Scheme::Https;
        let permanent = cookie(true, Some(300_000));
        let told = answer(&permanent, &read(&permanent, &head), 1, &[]);
        assert!(told[0].ends_with("; Path=/; Max-Age=300; HttpOnly; SameSite=Lax; Secure"), "{told:?}");
        let told = answer(&cookie(false, Some(300_000)), &Brought::default(), 1, &[]);
        assert!(!told[0].contains("Max-Age") && !told[0].contains("Secure"), "{told:?}");
    }

    #[test]
    fn a_cookie_of_the_backend_stays() {
        let session = cookie(false, None);
        let own = ["stay=theirs; Path=/"];
        assert_eq!(answer(&session, &Brought::default(), 1, &own), ["set-cookie: stay=theirs; Path=/"]);
        assert_eq!(
            answer(&session, &Brought::default(), 1, &["stays=1", "other=stay=1"]).len(),
            3,
            "others do not count"
        );
    }

    #[test]
    fn a_header_is_told_each_time_in_place_of_the_backends() {
        let session = Session { carrier: Carrier::Header("x-session".into()), lifetime_ms: None };
        let first = answer(&session, &Brought::default(), 1, &[]);
        let value = first[0].strip_prefix("x-session: ").unwrap();
        let brought = read(&session, &request("GET", "a.io", "/", &[("x-session", value)]));
        assert_eq!(answer(&session, &brought, 1, &[]), first);
        assert_ne!(answer(&session, &brought, 2, &[]), first);
    }

    #[test]
    fn a_carrier_that_has_a_meaning_of_its_own_is_refused() {
        let header = |name: &str| Box::new(Session { carrier: Carrier::Header(name.into()), lifetime_ms: None });
        for name in ["Host", "cookie", "Content-Length", "a b", ""] {
            assert!(vet(header(name)).is_err(), "{name}");
        }
        assert_eq!(vet(header("X-Session")), Ok(header("x-session")));
        for (name, path) in [("a b", "/"), ("a", "/;Domain=b"), ("a", "b"), ("a", "/\r\n")] {
            let carrier = Carrier::Cookie { name: name.into(), path: path.into(), permanent: false };
            assert!(vet(Box::new(Session { carrier, lifetime_ms: None })).is_err(), "{name} {path}");
        }
    }
}
