//! T4, F1 and F2: applications that lie, and faults of clients that must not be blamed on them.

use crate::rig::{HOST, Rig, Way, head};
use headgate_e2e::{Authority, Headgate, Script, Wire, backend, route};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// CVE-2026-1642: an application that is to speak TLS and answers in plain before any handshake is not believed, and gets no request in plain.
#[tokio::test]
async fn plain_text_before_a_handshake_is_no_answer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
            let mut read = vec![0; 4_096];
            if let Ok(count) = socket.read(&mut read).await {
                told.lock().unwrap().extend(&read[..count]);
            }
        }
    });
    let policy = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata:\n  name: app\nspec:\n  \
                  targetRefs: [{group: \"\", kind: Service, name: app}]\n  validation:\n    hostname: inner.example\n    \
                  caCertificateRefs: [{group: \"\", kind: ConfigMap, name: ca}]\n";
    let files = [
        ("app.yaml", backend("app", None, &[address])),
        ("route.yaml", route("app", HOST, &[("app", 1)])),
        ("policy.yaml", policy.to_owned()),
        ("ca.yaml", Authority::default().config_map("ca")),
    ];
    let headgate = Headgate::run(&files).await;
    let answer = headgate.get(HOST, "/secret").await;
    assert_eq!((answer.status, answer.failure()), (502, Some("upstream_tls")), "{}", answer.text());
    assert!(!String::from_utf8_lossy(&heard.lock().unwrap()).contains("/secret"));
    headgate.stop().await;
}

/// RFC 9112 §6.3 and §9.2: an answer with two readings is 502, and what follows an answer is never the next client's.
#[tokio::test]
async fn answers_with_two_readings_poison_nobody() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for (answer, is_refused) in [
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{poison}"), true),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi{poison}"), true),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi{poison}"), true),
        (format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{poison}"), true),
        (format!("HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{poison}"), true),
        (format!("HTTP/1.1 200 OK\nContent-Length: 2\n\nhi{poison}"), true),
        (format!("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi{poison}"), true),
        (format!("HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi{poison}"), true),
        (format!("HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi{poison}"), true),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi{poison}"), false),
        (format!("HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nhi{poison}"), false),
        (format!("HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\nhi{poison}"), false),
        (format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n{poison}"), false),
    ] {
        let script = Script::default().write(&answer);
        let rig = Rig::with(&[], move |request| match request.target.as_str() {
            "/lies" => script.clone(),
            _ => Script::ok("honest"),
        })
        .await;
        for _ in 0..2 {
            let mut wire = rig.open(Way::Plain).await;
            let got = wire.ask(head("GET /lies HTTP/1.1", "", "")).await;
            assert!(!got.text().contains("poison"), "{answer:?}");
            assert!(!is_refused || got.failure() == Some("upstream_malformed"), "{answer:?}: {}", got.text());
            let next = Wire::open(rig.plain).await.ask(head("GET /next HTTP/1.1", "", "")).await;
            assert_eq!((next.status, next.text().as_str()), (200, "honest"), "{answer:?}");
        }
        rig.headgate.stop().await;
    }
}

/// A client's bad chunk is its own 400 (F2): the application is not taken for broken, whose endpoint would be left out.
#[tokio::test]
async fn a_fault_of_a_client_is_not_one_of_the_application() {
    let rig = Rig::start().await;
    for number in 0..100 {
        let mut wire = rig.open(Way::Plain).await;
        wire.send(head("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nxyz\r\n")).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.failure()), (400, Some("bad_chunk")), "{number}");
    }
    assert_eq!(rig.headgate.metric("headgate_backend_endpoints_ready", "app").await, 1.0);
    assert_eq!(rig.canary().await, 200);
    assert_eq!(rig.origin.complete(), 1);
    rig.headgate.stop().await;
}
