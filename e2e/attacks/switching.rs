//! S3: bytes behind a request that asks for another protocol. They belong to that protocol, and wait for the 101 or go nowhere.

use crate::rig::{HOST, Rig, SMUG, Way, head};
use headgate_e2e::{Script, until};

/// RFC 9110 §7.8: before the 101 nothing behind the head is sent on, and after any other answer the connection ends. CVE-2026-2833, CVE-2026-58055.
#[tokio::test]
async fn what_follows_an_upgrade_waits_for_the_101() {
    for status in [200, 426, 204] {
        let rig = Rig::with(&[], move |request| {
            if request.target == "/canary" {
                return Script::ok("ok");
            }
            Script::default().write(
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")
                    .replace("Content-Length: 0\r\n", if status == 204 { "" } else { "Content-Length: 0\r\n" }),
            )
        })
        .await;
        for protocol in ["foo", "websocket", "h2c", "TLS/1.0", "HTTP/2.0", "foo, websocket"] {
            for body in [String::new(), format!("Content-Length: {}\r\n", SMUG.len())] {
                let name = format!("{status} to Upgrade: {protocol} {body:?}");
                let fields = format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n{body}");
                rig.origin.forget();
                let mut wire = rig.open(Way::Plain).await;
                wire.send(head("GET / HTTP/1.1", &fields, SMUG)).await;
                let first = wire.try_answer(false).await.map(|answer| (answer.status, answer.keeps_alive()));
                // an answer that lets the connection go on is one to an ordinary request
                let rest = if matches!(first, Ok((_, true))) { Vec::new() } else { wire.rest().await };
                let rest = String::from_utf8_lossy(&rest).into_owned();
                assert_eq!(rig.canary().await, 200, "{name}");
                let requests = rig.origin.requests();
                let targets: Vec<&str> = requests.iter().map(|request| request.target.as_str()).collect();
                // h2c is not offered here (RFC 9113 §3.1 took it back): such a request is an ordinary one, and so is what follows
                assert!(!targets.contains(&"/smug") || protocol == "h2c", "{name}: {first:?} {rest:?}, {targets:?}");
                assert!(targets.len() <= 3 && rig.origin.broken() == 0, "{name}: {first:?} {targets:?}");
            }
        }
        rig.headgate.stop().await;
    }
}

/// RFC 9110 §15.2.2: only a 101 that was asked for starts another protocol; a 200 with an Upgrade field is an answer. CVE-2024-23326, CVE-2024-53271.
#[tokio::test]
async fn an_answer_that_is_no_101_starts_no_tunnel() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for (answer, expected) in [
        (
            format!(
                "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nhi{smuggled}"
            ),
            200,
        ),
        (format!("HTTP/1.1 101 Switching\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n{smuggled}"), 502),
        (format!("HTTP/1.1 101 Switching\r\n\r\n{smuggled}"), 502),
        (
            format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi{smuggled}"
            ),
            200,
        ),
        ("HTTP/1.1 199 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(), 200),
    ] {
        let script = Script::default().write(&answer);
        let rig = Rig::with(&[], move |request| match request.target.as_str() {
            "/canary" => Script::ok("honest"),
            _ => script.clone(),
        })
        .await;
        for asked in [true, false] {
            let fields = if asked { "Connection: Upgrade\r\nUpgrade: websocket\r\n" } else { "" };
            let mut wire = rig.open(Way::Plain).await;
            let got = wire.ask(head("GET / HTTP/1.1", fields, "")).await;
            // what nobody asked for is the application's fault
            let expected = if asked || expected == 200 { expected } else { 502 };
            assert_eq!(got.status, expected, "{answer:?}, asked {asked}: {}", got.text());
            assert!(!got.text().contains("poison"));
            // nobody gets the second answer
            let next = rig.open(Way::Plain).await.ask(format!("GET /canary HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            assert_eq!(next.text(), "honest", "{answer:?}, asked {asked}");
        }
        rig.headgate.stop().await;
    }
}

/// The same as the first while the 101 comes late: the bytes wait, and arrive in order and once.
#[tokio::test]
async fn bytes_before_a_late_101_arrive_once_and_in_order() {
    let rig = Rig::with(&[], |request| match request.field("upgrade") {
        Some(protocol) => Script::default()
            .wait(std::time::Duration::from_millis(100))
            .write(format!("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"))
            .tunnel(),
        None => Script::ok("ok"),
    })
    .await;
    let mut wire = rig.open(Way::Plain).await;
    wire.send(head("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: foo\r\n", SMUG)).await;
    until("the application has the head", async || rig.origin.complete() == 1).await;
    let received = String::from_utf8(rig.origin.received()).unwrap();
    assert!(!received.contains("/smug"), "before the 101: {received:?}");
    assert_eq!(wire.answer().await.status, 101);
    assert_eq!(wire.bytes(SMUG.len()).await, SMUG.as_bytes());
    assert_eq!(rig.origin.only().target, "/");
    drop(wire);
    rig.headgate.stop().await;
}
