//! What an authorization service is asked over HTTP, and what its answer means: pure over heads. Only the status 200 lets a request pass.

use super::{Check, Permit, Reply, Ruling};
use crate::{
    exchange::Fault,
    failure::Failure,
    filters::{Edit, How, is_editable},
};
use headgate_config::ExternalAuth;
use headgate_message::{Fields, Framing, RequestHead, Target};

/// What the service always gets, besides method, path, host and length (HTTPAuthConfig of Gateway API v1.7.0).
const ALWAYS: &str = "authorization";

/// The request as the service gets it: of its fields those that are named.
pub(super) fn check<'b>(auth: &ExternalAuth, prefix: &str, head: &RequestHead, body: &'b [u8]) -> Check<'b> {
    let mut fields = Fields::default();
    let path = match head.path() {
        // of OPTIONS
        "*" if !prefix.is_empty() => prefix.to_owned(),
        path => [prefix, path].concat(),
    };
    let path = fields.store(path.as_bytes());
    let query = head.query_bytes().map(|query| fields.store(query));
    let is_sent = |name: &str| name == ALWAYS || auth.request_headers.iter().any(|named| named == name);
    head.fields.iter().filter(|(name, _)| is_sent(name)).for_each(|(name, value)| fields.push(name, value));
    let mut authority = head.authority;
    (authority.text, authority.host) = (fields.store(head.authority_bytes()), fields.store(head.host_bytes()));
    let target = Target { raw: path, path, query };
    let head = RequestHead { method: head.method.clone(), scheme: head.scheme, authority, target, fields };
    Check { head, framing: Framing::of_whole(body), body: body.into(), trailers: false }
}

/// What an answer means.
pub(super) fn judge(reply: Reply, answer_headers: &[String]) -> Result<Ruling, Fault> {
    match reply.head.status {
        200 => Ok(Ruling::Pass(permit(&reply.head.fields, answer_headers))),
        300..600 if reply.is_whole => Ok(Ruling::Deny(reply)),
        300..600 => Err(Fault::new(Failure::AuthAnswerInvalid, "its body is longer than --auth-answer-bytes")),
        // what a client could take for the answer of the application
        status => Err(Fault::new(
            Failure::AuthDenied,
            format!("the service answered {status}, and only 200 lets a request pass"),
        )),
    }
}

/// What only the service may say is taken from the client, before what the service said is added.
fn permit(answer: &Fields, named: &[String]) -> Permit {
    let is_copied = |name: &str| {
        let is_wanted = if named.is_empty() { !describes_answer(name) } else { named.iter().any(|one| one == name) };
        is_wanted && is_editable(name) && !name.starts_with("x-headgate-")
    };
    let copied = answer.iter().filter(|(name, _)| is_copied(name));
    let add = |(name, value): (&str, &[u8])| Edit { name: name.to_owned(), value: value.to_vec(), how: How::Add };
    let edits: Vec<_> = copied.map(add).collect();
    let removed = match named {
        [] => edits.iter().map(|edit| edit.name.clone()).collect(),
        named => named.to_vec(),
    };
    Permit { removed, edits, answer_edits: Vec::new() }
}

/// Whether a field says how the body of the service's own answer is to be read (RFC 9110 §8): of a request it would be a lie.
fn describes_answer(name: &str) -> bool {
    name.starts_with("content-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::tests::reply, filters::tests::request};
    use headgate_config::{ArmTarget, AuthProtocol};

    fn auth(request_headers: &[&str]) -> ExternalAuth {
        ExternalAuth {
            service: ArmTarget::Invalid(String::new()),
            protocol: AuthProtocol::Http { prefix: String::new(), answer_headers: Vec::new() },
            request_headers: request_headers.iter().map(|&name| name.to_owned()).collect(),
            body_bytes: 0,
        }
    }

    fn told(fields: &Fields) -> Vec<String> {
        fields.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect()
    }

    #[test]
    fn the_service_gets_what_is_named_and_what_it_always_gets() {
        let fields = [
            ("authorization", "Basic eA=="),
            ("cookie", "a=b"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-forwarded-for", "::1"),
        ];
        let head = request("POST", "shop.example:8080", "/a/b?c=/d", &fields);
        let plain = check(&auth(&[]), "", &head, b"");
        assert_eq!(
            (plain.head.path(), plain.head.query(), plain.head.authority()),
            ("/a/b", Some("c=/d"), "shop.example:8080")
        );
        assert_eq!(
            (plain.head.method.as_str(), plain.framing.length(), plain.framing.is_none()),
            ("POST", Some(0), false)
        );
        assert_eq!(told(&plain.head.fields), ["authorization: Basic eA=="]);
        let more = check(&auth(&["x-a", "cookie"]), "/check", &head, b"body");
        assert_eq!((more.head.path(), more.head.query(), more.framing.length()), ("/check/a/b", Some("c=/d"), Some(4)));
        assert_eq!(told(&more.head.fields), ["authorization: Basic eA==", "cookie: a=b", "x-a: 1", "x-a: 2"]);
    }

    #[test]
    fn only_200_lets_a_request_pass() {
        for status in [100, 101, 103, 201, 202, 204, 206, 299, 600, 999] {
            assert_eq!(judge(reply(status, &[]), &[]).unwrap_err().failure, Failure::AuthDenied, "{status}");
        }
        for status in [301, 302, 304, 400, 401, 403, 404, 429, 500, 503, 599] {
            let Ok(Ruling::Deny(answer)) = judge(reply(status, &[("www-authenticate", "Basic")]), &[]) else {
                panic!("{status}")
            };
            assert_eq!((answer.head.status, answer.head.fields.has("www-authenticate")), (status, true));
        }
        let long = Reply { is_whole: false, ..reply(403, &[]) };
        assert_eq!(judge(long, &[]).unwrap_err().failure, Failure::AuthAnswerInvalid);
        assert!(matches!(judge(Reply { is_whole: false, ..reply(200, &[]) }, &[]), Ok(Ruling::Pass(_))));
    }

    fn passed(named: &[&str], answer: &[(&str, &str)], client: &[(&str, &str)]) -> Vec<String> {
        let named: Vec<_> = named.iter().map(|&name| name.to_owned()).collect();
        let Ok(Ruling::Pass(permit)) = judge(reply(200, answer), &named) else { panic!() };
        let mut head = request("GET", "a.io", "/", client);
        permit.apply(&mut head.fields);
        told(&head.fields)
    }

    #[test]
    fn a_client_cannot_say_what_only_the_service_may() {
        let spoofed = [("x-user", "root"), ("x_user", "root"), ("x-groups", "wheel"), ("x-kept", "1")];
        let answer = [("x-user", "alice"), ("x-other", "2"), ("content-type", "text/plain"), ("expect", "x")];
        let named = passed(&["x-user", "x-groups"], &answer, &spoofed);
        assert_eq!(named, ["x-kept: 1", "x-user: alice"]);
        let twice = passed(&["x-user"], &[("x-user", "a"), ("x-user", "b")], &spoofed);
        assert_eq!(twice, ["x-groups: wheel", "x-kept: 1", "x-user: a", "x-user: b"]);
    }

    #[test]
    fn without_names_all_goes_on_but_what_describes_the_answer() {
        let answer = [
            ("x-user", "alice"),
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("expect", "100-continue"),
            ("host", "evil.example"),
            ("date", "now"),
            ("x-headgate-a", "1"),
        ];
        let made = passed(&[], &answer, &[("content-type", "application/json"), ("x_user", "root"), ("date", "then")]);
        assert_eq!(made, ["content-type: application/json", "x-user: alice", "date: now"]);
        assert_eq!(passed(&["content-type"], &answer, &[]), ["content-type: text/plain"]);
        assert_eq!(passed(&["host", "expect"], &answer, &[]), [""; 0]);
    }
}
