//! Time limits and tries: what is tried again, where, and what never is.

use headgate_e2e::{Headgate, Origin, Script, Wire, backend, rules};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

const HOST: &str = "app.localhost";

async fn serving(endpoints: &[SocketAddr], rule: &str) -> Headgate {
    let text = format!("  - backendRefs: [{{name: app, port: 80}}]\n{rule}");
    let files = [("app.yaml", backend("app", None, endpoints)), ("route.yaml", rules("app", HOST, &text))];
    Headgate::run(&files).await
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let origin = Origin::start(|_| Script::ok("")).await;
    let address = origin.address;
    drop(origin);
    address
}

#[tokio::test]
async fn a_slow_request_is_504_by_the_name_of_its_limit() {
    let slow = || Origin::start(|_| Script::default().wait(Duration::from_secs(20)));
    for (rule, failure) in [
        ("    timeouts: {request: 300ms}\n", "request_timeout"),
        ("    timeouts: {request: 10s, backendRequest: 300ms}\n", "attempt_timeout"),
    ] {
        let origin = slow().await;
        let headgate = serving(&[origin.address], rule).await;
        let asked = Instant::now();
        let answer = Wire::post(headgate.address, HOST, "/", b"x").await;
        assert_eq!((answer.status, answer.failure()), (504, Some(failure)));
        assert!(asked.elapsed() >= Duration::from_millis(290) && asked.elapsed() < Duration::from_secs(5));
        assert_eq!(origin.requests().len(), 1, "{failure}: a POST goes out once");
        headgate.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_began_is_not_cut_by_the_limit_of_the_head_but_ends_visibly() {
    let origin = Origin::start(|_| {
        Script::default()
            .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .wait(Duration::from_secs(20))
    })
    .await;
    let headgate = serving(&[origin.address], "    timeouts: {request: 500ms}\n").await;
    let mut wire = Wire::open(headgate.address).await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let broken = wire.try_answer(false).await;
    assert!(broken.as_ref().is_err_and(|why| why.contains("broke off")), "{broken:?}");
    headgate.stop().await;
}

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere_without_a_rule() {
    let origin = Origin::start(|_| Script::ok("here")).await;
    let headgate = serving(&[nobody().await, origin.address], "").await;
    for _ in 0..50 {
        assert_eq!(Wire::post(headgate.address, HOST, "/", b"body").await.status, 200);
    }
    let got = origin.requests();
    assert_eq!(got.len(), 50);
    assert!(got.iter().all(|request| request.body == b"body"));
    headgate.stop().await;

    let headgate = serving(&[nobody().await], "").await;
    let answer = headgate.get(HOST, "/").await;
    assert_eq!((answer.status, answer.failure()), (502, Some("connect_refused")));
    headgate.stop().await;
}

#[tokio::test]
async fn codes_of_the_rule_are_tried_again_at_another_endpoint() {
    let bad = Origin::start(|_| Script::status(503, "bad")).await;
    let good = Origin::start(|_| Script::ok("good")).await;
    let headgate =
        serving(&[bad.address, good.address], "    retry: {codes: [503], attempts: 1, backoff: 10ms}\n").await;
    for n in 0..20 {
        let answer = Wire::post(headgate.address, HOST, "/", format!("body {n}").as_bytes()).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "good"));
    }
    assert!(!bad.requests().is_empty(), "one of two was asked first now and then");
    let bodies: Vec<_> =
        good.requests().iter().map(|request| String::from_utf8(request.body.clone()).unwrap()).collect();
    assert_eq!(bodies, (0..20).map(|n| format!("body {n}")).collect::<Vec<_>>());
    headgate.stop().await;

    // no code of the rule, and all endpoints bad: the answer is the application's
    let headgate = serving(&[bad.address], "    retry: {codes: [500], attempts: 3, backoff: 10ms}\n").await;
    bad.forget();
    let answer = headgate.get(HOST, "/").await;
    assert_eq!((answer.status, answer.text().as_str(), bad.requests().len()), (503, "bad", 1));
    headgate.stop().await;
}

#[tokio::test]
async fn a_post_that_may_have_been_carried_out_is_not_sent_again() {
    let dropping = Origin::start(|_| Script::default().close()).await;
    let headgate = serving(&[dropping.address], "").await;
    let answer = Wire::post(headgate.address, HOST, "/", b"pay").await;
    assert_eq!((answer.status, answer.failure()), (502, Some("upstream_closed_early")));
    assert_eq!(dropping.requests().len(), 1);
    headgate.stop().await;
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_without_a_word() {
    // closes after each answer, without saying so
    let origin = Origin::start(|_| Script::ok("ok").close()).await;
    let headgate = serving(&[origin.address], "").await;
    let mut wire = Wire::open(headgate.address).await;
    for _ in 0..200 {
        assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await.status, 200);
    }
    assert_eq!(origin.requests().len(), 200);
    headgate.stop().await;
}

#[tokio::test]
async fn a_broken_answer_is_broken_for_the_client_too() {
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n{}", "x".repeat(80_000));
    for (bytes, failure) in [
        // if nothing has left yet, the reason is told; otherwise the end is missing for the client as well
        (short, Some("upstream_truncated")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Some("upstream_truncated")),
        (long.as_str(), None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi", Some("upstream_malformed")),
        ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", Some("upstream_malformed")),
        ("nonsense\r\n\r\n", Some("upstream_malformed")),
        ("HTTP/1.1 101 Switching\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n", Some("upgrade_failed")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Some("upstream_malformed")),
    ] {
        let script = Script::default().write(bytes).close();
        let origin = Origin::start(move |_| script.clone()).await;
        let headgate = serving(&[origin.address], "").await;
        let mut wire = Wire::open(headgate.address).await;
        wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let answer = wire.try_answer(false).await;
        match (failure, &answer) {
            (None | Some("upstream_truncated"), Err(why)) => assert!(why.contains("broke off"), "{bytes:?}: {why}"),
            (Some(name), Ok(answer)) => assert_eq!((answer.status, answer.failure()), (502, Some(name)), "{bytes:?}"),
            other => panic!("{bytes:?}: {other:?}"),
        }
        headgate.stop().await;
    }
}
