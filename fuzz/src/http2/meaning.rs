//! Whether what an HTTP/1.1 application got is what a client of HTTP/2 sent (RFC 9113 §8, RFC 9110). It shares no code with the gateway.

use super::{rig::Seen, script::Script};
use crate::strict::Message;
use std::collections::BTreeMap;

const PSEUDO: [&[u8]; 4] = [b":method", b":scheme", b":path", b":authority"];
/// Of one connection: malformed in HTTP/2 (RFC 9113 §8.2.2).
const OF_CONNECTION: [&[u8]; 5] = [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"];
/// What the gateway says itself, or keeps to itself.
const OWN: [&[u8]; 6] = [b"host", b"content-length", b"te", b"expect", b"connection", b"http2-settings"];

type Fields = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Panics unless the application got nothing, or what was sent, once.
pub fn judge(script: &Script, seen: &Seen) {
    assert!(seen.requests.len() <= script.heads, "{} requests of {}", seen.requests.len(), script.heads);
    if script.is_wild {
        return;
    }
    let Some(message) = seen.requests.first() else {
        assert!(!seen.is_answered, "answered by an application that was not asked");
        return;
    };
    if let Some(why) = malformed(script) {
        panic!("{why}, and yet it arrived: {message:?}");
    }
    let one = |name: &'static [u8]| values(script, name).next();
    assert_eq!(Some(message.method.as_slice()), one(b":method"), "another method");
    assert_eq!(target(&message.target), target(one(b":path").unwrap_or_default()), "another target");
    let authority = one(b":authority").or_else(|| one(b"host")).unwrap_or_default().to_ascii_lowercase();
    assert_eq!(message.host, authority, "another authority");
    let body = script.body();
    match one(b"content-length") {
        // what is beyond its length came too late to be refused
        Some(length) => {
            assert_eq!(message.body.len().to_string().as_bytes(), length, "another length");
            assert!(body.starts_with(&message.body), "another body");
        }
        None => assert_eq!(message.body, body, "another body"),
    }
    let mut got = grouped(message.fields.iter().cloned());
    forwarding(&mut got, message);
    let takes_trailers = one(b"te").is_some();
    assert_eq!(got.remove(&b"te"[..]), takes_trailers.then(|| vec![b"trailers".to_vec()]));
    assert_eq!(got.remove(&b"connection"[..]), takes_trailers.then(|| vec![b"te".to_vec()]));
    assert_eq!(got, sent(script), "other fields");
    for trailer in &message.trailers {
        let is_sent = |(name, value): &(Vec<u8>, Vec<u8>)| *name == trailer.0 && value.trim_ascii() == trailer.1;
        assert!(script.trailers.iter().any(is_sent), "a trailer that was not sent: {trailer:?}");
        let name = trailer.0.as_slice();
        let belongs_elsewhere = OF_CONNECTION.contains(&name) || OWN.contains(&name) || says_who(name);
        assert!(!belongs_elsewhere && name != b"authorization" && name != b"cookie", "as a trailer: {trailer:?}");
    }
}

/// Why no intermediary may pass this on (RFC 9113 §8.1.1, §8.2, §8.3).
fn malformed(script: &Script) -> Option<&'static str> {
    let is_pseudo = |name: &[u8]| name.starts_with(b":");
    let names = || script.fields.iter().map(|(name, _)| name.as_slice());
    let first_other = names().position(|name| !is_pseudo(name)).unwrap_or(usize::MAX);
    let is_upper = |name: &[u8]| name.iter().any(u8::is_ascii_uppercase);
    let breaks = |(name, value): &(Vec<u8>, Vec<u8>)| {
        let counts = if name == b":path" { without_fragment(value) } else { value.as_slice() };
        counts.iter().any(|b| b"\r\n\0".contains(b))
    };
    let count = |name: &[u8]| values(script, name).count();
    let cases = [
        (names().enumerate().any(|(at, name)| is_pseudo(name) && at > first_other), "a pseudo field behind others"),
        (names().any(|name| is_pseudo(name) && !PSEUDO.contains(&name)), "an unknown pseudo field"),
        (PSEUDO[..3].iter().any(|name| count(name) != 1), "a pseudo field that is missing or there twice"),
        (count(b":authority") > 1 || count(b"host") > 1, "two authorities"),
        (names().any(|name| name.is_empty() || is_upper(name)), "a name that is empty or in upper case"),
        (names().any(|name| OF_CONNECTION.contains(&name)), "a field of one connection"),
        (values(script, b"te").any(|value| value != b"trailers"), "another TE than trailers"),
        (script.fields.iter().any(breaks), "a value of several lines"),
        (count(b"content-length") > 1, "two lengths"),
        (values(script, b":method").any(|method| method == b"CONNECT"), "CONNECT"),
    ];
    cases.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

fn values<'s>(script: &'s Script, name: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
    script.fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_slice())
}

/// A target without its fragment, which the `http` crate drops unseen, whatever is in it; if nothing is before it, it is `/`.
fn without_fragment(target: &[u8]) -> &[u8] {
    match target.iter().position(|&b| b == b'#') {
        Some(0) => b"/",
        Some(at) => &target[..at],
        None => target,
    }
}

/// What a target means: its path with all escapes decoded once, and its query. A fragment is not part of it.
fn target(text: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let text = without_fragment(text);
    let (path, query) = match text.iter().position(|&b| b == b'?') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    (crate::escapes::decoded(path), query)
}

/// The fields that are to arrive, crumbs of a cookie joined (RFC 9113 §8.2.3).
fn sent(script: &Script) -> Fields {
    let goes_on = |name: &[u8]| !name.starts_with(b":") && !OWN.contains(&name) && !says_who(name);
    let others = script.fields.iter().filter(|(name, _)| goes_on(name) && name != b"cookie");
    let mut fields = grouped(others.map(|(name, value)| (name.clone(), value.trim_ascii().to_vec())));
    let crumbs: Vec<&[u8]> = values(script, b"cookie").collect();
    if !crumbs.is_empty() {
        fields.insert(b"cookie".to_vec(), vec![crumbs.join(&b"; "[..]).trim_ascii().to_vec()]);
    }
    fields
}

fn grouped(fields: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Fields {
    let mut grouped = Fields::new();
    fields.for_each(|(name, value)| grouped.entry(name).or_default().push(value));
    grouped
}

/// Takes out what is said of who asks, of which no word may be the client's.
fn forwarding(got: &mut Fields, message: &Message) {
    let own = got.extract_if(.., |name, _| says_who(name)).collect::<BTreeMap<_, _>>();
    let one = |name: &str| match own.get(name.as_bytes()).map(Vec::as_slice) {
        Some([value]) => value.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(own.len(), 5, "{own:?}");
    assert_eq!((one("x-forwarded-for"), one("x-forwarded-proto")), (b"127.0.0.1".to_vec(), b"http".to_vec()));
    assert_eq!(one("x-forwarded-host"), message.host);
    assert!(one("x-forwarded-port").iter().all(u8::is_ascii_digit));
    assert!(one("x-request-id").iter().all(u8::is_ascii_hexdigit) && one("x-request-id").len() == 32);
}

/// Whether a field says who asks, to those too who take `_` for `-`.
fn says_who(name: &[u8]) -> bool {
    let name: Vec<u8> = name.iter().map(|&b| if b == b'_' { b'-' } else { b }).collect();
    let named: [&[u8]; 3] = [b"forwarded", b"x-real-ip", b"x-request-id"];
    name.starts_with(b"x-forwarded-") || name.starts_with(b"x-headgate-") || named.contains(&name.as_slice())
}
