//! S9: heads that are too long, have too many fields, or never end. Each has a bound and an answer, whatever it costs the client to send it.

use crate::rig::{HOST, Rig, Way, head};
use std::time::Duration;

/// RFC 9112 §3 and RFC 6585 §5: 414 for a target, 431 for fields; then the connection ends. CVE-2026-47774 counts fields, not bytes.
#[tokio::test]
async fn limits_of_heads_have_answers() {
    let rig = Rig::start().await;
    let fields = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let cases = [
        ("long target", head(&format!("GET /{} HTTP/1.1", "a".repeat(9_000)), "", ""), 414),
        ("longer target", head(&format!("GET /{} HTTP/1.1", "a".repeat(64_000)), "", ""), 414),
        ("long field", head("GET / HTTP/1.1", &format!("X: {}\r\n", "a".repeat(40_000)), ""), 431),
        ("long name", head("GET / HTTP/1.1", &format!("{}: x\r\n", "a".repeat(40_000)), ""), 431),
        ("many fields", head("GET / HTTP/1.1", &fields(101), ""), 431),
        ("a thousand fields", head("GET / HTTP/1.1", &fields(1_000), ""), 431),
        ("fields without end", head("GET / HTTP/1.1", &fields(20_000), ""), 431),
        ("cookies", head("GET / HTTP/1.1", &"Cookie: a=b\r\n".repeat(200), ""), 431),
        ("fields of one byte", head("GET / HTTP/1.1", &"a:\r\n".repeat(200), ""), 431),
        ("long method", head(&format!("{} / HTTP/1.1", "A".repeat(20_000)), "", ""), 501),
    ];
    for (name, bytes, status) in cases {
        for way in [Way::Plain, Way::Tls] {
            let mut wire = rig.open(way).await;
            wire.send(&bytes).await;
            let answer = wire.try_answer(false).await.unwrap_or_else(|why| panic!("{name}, {way:?}: {why}"));
            assert_eq!(answer.status, status, "{name}, {way:?}");
            assert!(!answer.keeps_alive() && wire.rest().await.is_empty(), "{name}, {way:?}");
        }
    }
    assert!(rig.origin.requests().is_empty());
    rig.headgate.stop().await;
}

/// RFC 9110 §15.5.9: a head that drips is ended by the time limit of the whole head, not of each byte.
#[tokio::test]
async fn a_head_that_drips_is_ended() {
    let rig = Rig::with(&["--head-timeout", "1s"], |_| headgate_e2e::Script::ok("ok")).await;
    let mut wire = rig.open(Way::Plain).await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: ")).await;
    let dripping = async {
        loop {
            wire.send("a").await;
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), wire.try_answer(false)).await {
                return answer;
            }
        }
    };
    let answer = headgate_e2e::within("the end of the head", dripping).await.unwrap();
    assert_eq!((answer.status, answer.failure()), (408, Some("head_timeout")));
    assert_eq!(rig.canary().await, 200);
    rig.headgate.stop().await;
}
