//! Session persistence: from what a rule or a policy writes to what the data plane does. What cannot be done is a finding, and the rest of the rule serves.

use crate::{
    conditions::{ConditionType, Finding, Reason},
    kinds::{CookieLifetime, SessionKind, SessionPersistence},
    schema::FieldPath,
};
use headgate_config::{Carrier, Session};

/// Headers whose meaning is not that of a token.
const TAKEN: [&str; 11] = [
    "connection",
    "content-length",
    "cookie",
    "host",
    "keep-alive",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a session is made of: `of` names who has it, for a cookie without a name; `kind` is the condition that tells what is wrong.
pub(crate) fn session(
    spec: &SessionPersistence,
    of: &str,
    at: &FieldPath,
    kind: ConditionType,
    findings: &mut Vec<Finding>,
) -> Option<Session> {
    let mut wrong = |path: FieldPath, message: &str, remedy: &str| {
        findings.push(Finding::new(kind, Reason::UnsupportedValue, path, message).remedy(remedy));
    };
    if spec.idle_ms.is_some() {
        wrong(at.key("idleTimeout"), "a session has no idle timeout", "leave it out; absoluteTimeout bounds a session");
    }
    let carrier = match &spec.kind {
        SessionKind::Cookie => {
            let path = spec.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
            if !path.starts_with('/') || !path.bytes().all(|byte| matches!(byte, b' '..=b'~' if byte != b';')) {
                let message = "no cookie can have this path, so no session is kept";
                wrong(at.key("cookie").key("path"), message, "write a path that starts with / and has no ;");
                return None;
            }
            let permanent = match &spec.lifetime {
                CookieLifetime::Permanent => true,
                CookieLifetime::Session => false,
                CookieLifetime::Unknown(_) => {
                    let message = "this lifetime is not known; the cookie lasts for the session of the client";
                    wrong(at.key("cookie").key("lifetimeType"), message, "write Session or Permanent");
                    false
                }
            };
            Carrier::Cookie { name: spec.name.clone().unwrap_or_else(|| generated(of)), path, permanent }
        }
        SessionKind::Header => {
            let name = spec.name.clone().unwrap_or_default().to_ascii_lowercase();
            if TAKEN.contains(&name.as_str()) {
                let message = format!("the header {name} has a meaning of its own, so no session is kept");
                wrong(at.key("header").key("name"), &message, "write a name that nothing else has");
                return None;
            }
            Carrier::Header(name)
        }
        SessionKind::Unknown(kind) => {
            let message = format!("sessions by {kind} are not supported, so none is kept");
            wrong(at.key("type"), &message, "write Cookie or Header");
            return None;
        }
    };
    // 0 is no limit, as in all durations of the API
    Some(Session { carrier, lifetime_ms: spec.absolute_ms.filter(|ms| *ms > 0) })
}

/// A name that is always the same, and another one for another owner (FNV-1a).
fn generated(of: &str) -> String {
    let hash = of.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("headgate-{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(spec: &SessionPersistence) -> (Option<Session>, Vec<String>) {
        let mut findings = Vec::new();
        let at = FieldPath::of("spec.sessionPersistence");
        let session = session(spec, "shop/cart/0", &at, ConditionType::Accepted, &mut findings);
        (session, findings.iter().map(Finding::text).collect())
    }

    #[test]
    fn a_cookie_without_a_name_gets_one_that_stays() {
        let (session, findings) = made(&SessionPersistence::default());
        let carrier = Carrier::Cookie { name: generated("shop/cart/0"), path: "/".into(), permanent: false };
        assert_eq!(session, Some(Session { carrier, lifetime_ms: None }));
        assert_ne!(generated("shop/cart/0"), generated("shop/cart/1"));
        assert!(findings.is_empty());
    }

    #[test]
    fn what_cannot_be_done_is_told_with_its_field() {
        let cookie = SessionPersistence::default();
        let header = |name: &str| SessionPersistence {
            kind: SessionKind::Header,
            name: Some(name.to_owned()),
            ..SessionPersistence::default()
        };
        let lifetime = CookieLifetime::Unknown("Eternal".into());
        for (spec, is_kept, field) in [
            (SessionPersistence { idle_ms: Some(1), ..cookie.clone() }, true, "spec.sessionPersistence.idleTimeout"),
            (SessionPersistence { path: Some("/a;b".into()), ..cookie.clone() }, false, "cookie.path"),
            (SessionPersistence { lifetime, ..cookie.clone() }, true, "cookie.lifetimeType"),
            (SessionPersistence { kind: SessionKind::Unknown("Url".into()), ..cookie.clone() }, false, "type"),
            (header("Cookie"), false, "header.name"),
        ] {
            let (session, findings) = made(&spec);
            assert_eq!(session.is_some(), is_kept, "{spec:?}");
            assert!(findings.len() == 1 && findings[0].contains(field), "{findings:?}");
        }
        assert_eq!(made(&header("X-Stay")).0.map(|session| session.carrier), Some(Carrier::Header("x-stay".into())));
    }
}
