//! S4: answers of our own, given before the request's body was read. The body is read and dropped, or the connection ends; it is never the next request.

use crate::rig::{HOST, Rig, Way, attached};
use headgate_e2e::{Function, Script, Wire, backend, rules, until};

/// More than a body that is read to its end after an answer of our own (`--discard-bytes`).
const LONG: usize = 1_000_000;

/// A host for each answer of our own, and the status that it has.
const OWN: &[(&str, &str, u16)] = &[
    ("nobody.localhost", "/", 404),
    ("paths.localhost", "/elsewhere", 404),
    ("redirect.localhost", "/", 302),
    ("cors.localhost", "/", 204),
    ("invalid.localhost", "/", 500),
    ("refused.localhost", "/", 502),
    ("full.default.localhost", "/", 503),
];

fn files(dead: std::net::SocketAddr) -> Vec<(&'static str, String)> {
    let to_app = "    backendRefs: [{name: app, port: 80}]\n";
    let cors = "  - filters:\n    - {type: CORS, cors: {allowOrigins: [\"https://a.example\"], allowMethods: [PUT]}}\n";
    let redirect = "  - filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]\n";
    vec![
        (
            "paths.yaml",
            route("paths", "paths.localhost", &format!("  - matches: [{{path: {{value: /here}}}}]\n{to_app}")),
        ),
        ("redirect.yaml", route("redirect", "redirect.localhost", redirect)),
        ("cors.yaml", route("cors", "cors.localhost", &format!("{cors}{to_app}"))),
        ("invalid.yaml", route("invalid", "invalid.localhost", "  - backendRefs: [{name: nowhere, port: 80}]\n")),
        ("dead.yaml", backend("dead", None, &[dead])),
        ("refused.yaml", route("refused", "refused.localhost", "  - backendRefs: [{name: dead, port: 80}]\n")),
        // one may wait, and never gets what it waits for
        (
            "full.yaml",
            Function::named("full").args(&["--start-delay", "1h"]).annotation("headgate.dev/queue", 1).to_string(),
        ),
    ]
}

fn route(name: &str, host: &str, text: &str) -> String {
    attached(&rules(name, host, text))
}

/// Functions have a listener of their own.
fn to(rig: &Rig, host: &str) -> std::net::SocketAddr {
    if host.starts_with("full") { rig.headgate.address } else { rig.plain }
}

/// A request, whole or without its body, whose body looks like another request.
fn hit(host: &str, path: &str, length: usize, is_chunked: bool, status: u16) -> (String, String) {
    let hidden = format!("GET /smug HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let body = format!("{hidden}{}", "x".repeat(length.saturating_sub(hidden.len())));
    let (framing, body) = match is_chunked {
        true => ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
        false => (format!("Content-Length: {}", body.len()), body),
    };
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n";
    let (method, more) = if status == 204 { ("OPTIONS", preflight) } else { ("POST", "") };
    (format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}{framing}\r\n\r\n"), body)
}

/// The next request on the same connection is the next one, or there is none.
async fn next(rig: &Rig, wire: &mut Wire, what: &str, must_go_on: bool) {
    // functions have a listener of their own, on which nobody has the other host
    let is_function = what.contains(".default.");
    wire.send(format!("GET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    match wire.try_answer(false).await {
        Ok(answer) if is_function => assert_eq!(answer.failure(), Some("no_route"), "{what}"),
        Ok(answer) => {
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            assert_eq!(rig.origin.only().target, "/next", "{what}");
        }
        Err(why) => assert!(!must_go_on && !why.contains("malformed"), "{what}: {why}"),
    }
    assert!(!String::from_utf8_lossy(&rig.origin.received()).contains("smug"), "{what}");
}

/// RFC 9112 §9.3: a server reads the whole body, or closes after its answer. CVE-2025-4366.
#[tokio::test]
async fn an_answer_of_our_own_leaves_no_body_behind() {
    let dead = headgate_e2e::Origin::start(|_| Script::ok("")).await.address;
    let rig = Rig::beside(&[], &files(dead), |_| Script::ok("ok")).await;
    let mut waiting = Wire::open(rig.headgate.address).await;
    waiting.send("GET / HTTP/1.1\r\nHost: full.default.localhost\r\n\r\n").await;
    until("its queue full", async || rig.headgate.metric("headgate_queue_depth", "full").await >= 1.0).await;
    for (host, path, status) in OWN {
        for length in [60, 60_000, LONG] {
            for (is_chunked, body_first) in [(false, true), (true, true), (false, false), (true, false)] {
                let what = format!("{status} of {host}, {length} bytes, chunked {is_chunked}, body first {body_first}");
                rig.origin.forget();
                let (head, body) = hit(host, path, length, is_chunked, *status);
                let mut wire = Wire::open(to(&rig, host)).await;
                wire.send(&head).await;
                if body_first {
                    wire.send(&body).await;
                }
                let first = wire.try_answer(false).await.unwrap_or_else(|why| panic!("{what}: {why}"));
                assert_eq!(first.status, *status, "{what}: {}", first.text());
                if !body_first {
                    wire.send(&body).await;
                }
                // few bytes are read, and the connection goes on
                next(&rig, &mut wire, &what, length <= 60_000 && first.keeps_alive()).await;
            }
        }
    }
    assert_eq!(rig.origin.broken(), 0);
    drop(waiting);
    rig.headgate.stop().await;
}

/// The same for 413, which is given in the middle of a body (RFC 9110 §15.5.14): what the application got of it is no request.
#[tokio::test]
async fn a_body_that_is_too_large_is_no_request_either() {
    let rig = Rig::with(&["--body-bytes", "100"], |_| Script::ok("ok")).await;
    for length in [150, 60_000, LONG] {
        for is_chunked in [false, true] {
            rig.origin.forget();
            let what = format!("413, {length} bytes, chunked {is_chunked}");
            let (head, body) = hit(HOST, "/", length, is_chunked, 413);
            let mut wire = Wire::open(rig.plain).await;
            wire.send(format!("{head}{body}")).await;
            let first = wire.try_answer(false).await.unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_eq!((first.status, first.failure()), (413, Some("body_too_large")), "{what}");
            wire.send(format!("GET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            let second = wire.try_answer(false).await;
            assert!(second.is_err() || rig.origin.only().target == "/next", "{what}");
            assert_eq!(rig.canary().await, 200, "{what}");
            let targets: Vec<_> = rig.origin.requests().into_iter().map(|request| request.target).collect();
            assert!(
                targets.iter().all(|target| ["/next", "/canary"].contains(&target.as_str())),
                "{what}: {targets:?}"
            );
        }
    }
    rig.headgate.stop().await;
}

/// The same for 421 over TLS (RFC 9110 §15.5.20).
#[tokio::test]
async fn nor_is_that_of_a_misdirected_request() {
    let rig = Rig::start().await;
    for (length, is_chunked) in [(60, false), (60_000, true), (LONG, false)] {
        rig.origin.forget();
        let (head, body) = hit("nobody.localhost", "/", length, is_chunked, 421);
        let mut wire = rig.open(Way::Tls).await;
        wire.send(format!("{head}{body}")).await;
        let first = wire.answer().await;
        assert!(matches!(first.status, 404 | 421), "{}", first.status);
        next(&rig, &mut wire, &format!("{}, {length} bytes", first.status), length < LONG && first.keeps_alive()).await;
    }
    rig.headgate.stop().await;
}

/// RFC 9110 §10.1.1: who asks first and is refused may leave its body out, so nobody knows what follows, and the connection ends.
#[tokio::test]
async fn after_a_refused_expectation_the_connection_is_in_no_doubt() {
    let rig = Rig::start().await;
    let (head, body) = hit("nobody.localhost", "/", 60, false, 404);
    let head = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    for sends_body in [true, false] {
        rig.origin.forget();
        let mut wire = Wire::open(rig.plain).await;
        let first = wire.ask(&head).await;
        assert_eq!((first.status, first.interim.len()), (404, 0));
        if sends_body {
            wire.send(&body).await;
        }
        wire.send(format!("GET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let second = wire.try_answer(false).await;
        let targets: Vec<_> = rig.origin.requests().into_iter().map(|request| request.target).collect();
        assert!(targets.is_empty() || (sends_body && targets == ["/next"]), "{second:?}, {targets:?}");
    }
    rig.headgate.stop().await;
}
