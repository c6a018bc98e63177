//! H4 to H6, S10 and T2: clients that are slow, that leave at any point, that are too many, or that are all different. Nothing is kept of them, and others are served.

use crate::rig::{HOST, Rig, Way, head};
use headgate_e2e::{Authority, Script, Wire, field, until};
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use std::{
    io,
    pin::Pin,
    process::Command,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

/// RFC 9110 §15.5.9: a body that stands still is 408, and a client that reads nothing of its answer is let go; neither takes another's place.
#[tokio::test]
async fn who_is_slow_is_ended_and_others_are_served() {
    let rig = Rig::with(&["--body-idle", "1s", "--write-stall", "1s"], |request| match request.target.as_str() {
        "/large" => Script::ok(vec![b'x'; 64 << 20]),
        _ => Script::ok("ok"),
    })
    .await;
    let (mut slow_bodies, mut slow_readers) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let mut wire = rig.open(Way::Plain).await;
        wire.send(head("POST / HTTP/1.1", "Content-Length: 100\r\n", "x")).await;
        slow_bodies.push(wire);
    }
    for _ in 0..3 {
        let mut wire = rig.open(Way::Plain).await;
        wire.send(head("GET /large HTTP/1.1", "", "")).await;
        slow_readers.push(wire);
    }
    assert_eq!(rig.canary().await, 200);
    for mut wire in slow_bodies {
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.failure()), (408, Some("body_timeout")));
    }
    until("the readers let go", async || rig.headgate.metric("headgate_failures_total", "write_stall").await >= 3.0)
        .await;
    assert_eq!(rig.canary().await, 200);
    drop(slow_readers);
    rig.headgate.stop().await;
}

/// F4: much goes up to an application that reads nothing, and much comes down to a client that reads nothing; of neither is more kept than buffers hold.
#[tokio::test]
async fn what_nobody_takes_is_not_kept() {
    const MUCH: usize = 64 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf = headgate_e2e::backend("deaf", None, &[listener.local_addr().unwrap()]);
    let route = crate::rig::attached(&headgate_e2e::route("deaf", "deaf.localhost", &[("deaf", 1)]));
    let files = [("deaf.yaml", deaf), ("deaf-route.yaml", route)];
    let rig = Rig::beside(&[], &files, |request| match request.target.as_str() {
        "/large" => Script::ok(vec![b'x'; MUCH]),
        _ => Script::ok("ok"),
    })
    .await;
    assert_eq!(rig.canary().await, 200);
    let before = rig.headgate.peak_bytes();
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut wire = rig.open(Way::Plain).await;
        wire.send(head("GET /large HTTP/1.1", "", "")).await;
        readers.push(wire);
    }
    let mut up = TcpStream::connect(rig.plain).await.unwrap();
    let start = format!("POST / HTTP/1.1\r\nHost: deaf.localhost\r\nContent-Length: {MUCH}\r\n\r\n");
    up.write_all(start.as_bytes()).await.unwrap();
    // until nobody takes anything any more
    let piece = vec![b'y'; 1 << 20];
    let mut sent = 0;
    while let Ok(taken) = tokio::time::timeout(Duration::from_millis(500), up.write(&piece)).await {
        sent += taken.unwrap();
        assert!(sent < MUCH, "somebody keeps it all");
    }
    let grown = rig.headgate.peak_bytes().saturating_sub(before) >> 10;
    println!("{grown} KiB more at most, {} KiB sent", sent >> 10);
    assert!(grown < 16 << 10, "{grown} KiB");
    assert_eq!(rig.canary().await, 200);
    drop((readers, up, listener));
    rig.headgate.stop().await;
}

/// CVE-2026-26311 and CVE-2025-62409: clients that leave at each point of an exchange leave no request, no place and no connection behind.
#[tokio::test]
async fn leaving_at_any_point_leaves_nothing_behind() {
    let rig = Rig::with(&[], |request| Script::ok(vec![b'x'; request.body.len() * 40])).await;
    let whole = head("POST / HTTP/1.1", "Content-Length: 5000\r\n", &"y".repeat(5_000));
    for number in 0..400_usize {
        // an order that is the same each time, and looks like none
        let cut = number.wrapping_mul(2_654_435_761) % (whole.len() + 1);
        let socket = TcpStream::connect(rig.plain).await.unwrap();
        if number % 2 == 0 {
            // a reset instead of an end
            socket.set_zero_linger().unwrap();
        }
        let mut wire = Wire::over(socket);
        wire.send(&whole[..cut]).await;
        if cut == whole.len() && number % 3 == 0 {
            let _ = wire.head().await;
        }
    }
    until("no request is left", async || rig.headgate.metric("headgate_requests_active", "").await == 0.0).await;
    until("no place is taken", async || rig.headgate.metric("headgate_backend_in_flight", "app").await == 0.0).await;
    until("no connection is left", async || rig.headgate.metric("headgate_connections_open", "").await == 0.0).await;
    assert!(rig.origin.malformed().is_empty(), "{:?}", rig.origin.malformed());
    assert_eq!(rig.canary().await, 200);
    rig.headgate.stop().await;
}

/// CVE-2024-47609: without descriptors accepting pauses, and goes on once there are some.
#[tokio::test]
async fn without_descriptors_accepting_pauses_and_goes_on() {
    let rig = Rig::start().await;
    assert_eq!(rig.canary().await, 200);
    let open = std::fs::read_dir(format!("/proc/{}/fd", rig.headgate.id())).unwrap().count();
    let limit = format!("--nofile={}", open + 16);
    let set = Command::new("prlimit").args(["--pid", &rig.headgate.id().to_string(), &limit]).status();
    if set.is_err() {
        return println!("prlimit is missing here");
    }
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(Wire::open(rig.plain).await);
    }
    until("accepting paused", async || rig.headgate.output().iter().any(|line| line.contains("accept failed"))).await;
    drop(many);
    assert_eq!(rig.canary().await, 200);
    rig.headgate.stop().await;
}

/// CVE-2025-43915: what clients make up (hosts, paths, methods, fields) makes no series of metrics.
#[tokio::test]
async fn what_clients_make_up_makes_no_metrics() {
    let rig = Rig::start().await;
    let lines = async || Wire::get(rig.headgate.admin, "localhost", "/metrics").await.text().lines().count();
    let ask = async |from: usize, to: usize| {
        let mut wire = rig.open(Way::Plain).await;
        for number in from..to {
            let (method, host) =
                (format!("M{number}"), if number % 2 == 0 { HOST.to_owned() } else { format!("h{number}.localhost") });
            let request = format!("{method} /p{number} HTTP/1.1\r\nHost: {host}\r\nX-{number}: y\r\n\r\n");
            assert!([200, 404].contains(&wire.ask(request).await.status));
        }
    };
    ask(0, 10).await;
    let before = lines().await;
    ask(10, 2_000).await;
    assert_eq!(lines().await, before);
    rig.headgate.stop().await;
}

/// CVE-2026-26308 and RFC 9110 §5.3: a field in two lines is one list, and no line of it alone fulfils an exact match.
#[tokio::test]
async fn a_repeated_field_fulfils_no_exact_match() {
    use crate::rig::attached;
    let text = "  - matches: [{headers: [{name: x-role, value: user}]}]\n    backendRefs: [{name: app, port: 80}]\n";
    let files = [("roles.yaml", attached(&headgate_e2e::rules("roles", "roles.localhost", text)))];
    let rig = Rig::beside(&[], &files, |_| Script::ok("ok")).await;
    for (fields, status) in [
        ("X-Role: user\r\n", 200),
        ("X-Role: user\r\nX-Role: admin\r\n", 404),
        ("X-Role: admin\r\nX-Role: user\r\n", 404),
        ("X-Role: user, admin\r\n", 404),
        ("X_Role: user\r\n", 404),
    ] {
        let mut wire = rig.open(Way::Plain).await;
        let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: roles.localhost\r\n{fields}\r\n")).await;
        assert_eq!(answer.status, status, "{fields:?}");
        assert!(field(&answer.fields, "date").is_some());
    }
    rig.headgate.stop().await;
}

/// Writes one byte at a time.
struct Dribble(TcpStream);

impl AsyncRead for Dribble {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let one = buf.len().min(1);
        Pin::new(&mut self.0).poll_write(cx, &buf[..one])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// RFC 8446 §4.1.2 and CVE-2024-32650: a ClientHello in pieces of one byte is one; noise, half of one, or none at all ends cleanly within `--tls-handshake`.
#[tokio::test]
async fn a_client_hello_in_any_pieces_is_one_and_noise_is_none() {
    let rig = Rig::with(&["--tls-handshake", "2s"], |_| Script::ok("ok")).await;
    let socket = TcpStream::connect(rig.tls()).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let stream = rig.authority().shake_hands(Dribble(socket), HOST, &[]).await.unwrap();
    assert_eq!(Wire::over(stream).ask(head("GET / HTTP/1.1", "", "")).await.status, 200);
    let mut noisy = Vec::new();
    for bytes in [
        &b""[..],
        b"\x16",
        b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc",
        b"\x16\x03\x01\x00\x00",
        b"\x15\x03\x01\x00\x02\x01\x00",
        b"\x16\x03\x01\xff\xff\x01\xff\xff\xff",
        b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
        &[0; 40_000],
    ] {
        let mut wire = Wire::open(rig.tls()).await;
        wire.send(bytes).await;
        noisy.push(wire);
    }
    for mut wire in noisy {
        assert!(!wire.rest().await.starts_with(b"HTTP"), "an answer in plain");
    }
    assert!(
        Authority::default().connect(rig.tls(), HOST, &[]).await.is_err(),
        "a client that trusts another authority"
    );
    assert!(rig.authority().connect(rig.tls(), "other.localhost", &[]).await.is_err());
    let mut wire = rig.open(Way::Tls).await;
    assert_eq!(wire.ask(head("GET / HTTP/1.1", "", "")).await.status, 200);
    rig.headgate.stop().await;
}

/// RFC 9110 §15.5.9: a body that never stands still and yet never ends is 408, once it came more slowly than the limit for long enough.
#[tokio::test]
async fn a_body_that_drips_is_ended() {
    let rig = Rig::with(&["--body-idle", "1s", "--body-bytes-per-s", "1KiB"], |_| Script::ok("ok")).await;
    let (read, mut write) = TcpStream::connect(rig.plain).await.unwrap().into_split();
    let dripping = tokio::spawn(async move {
        let _ = write.write_all(head("POST / HTTP/1.1", "Content-Length: 100000\r\n", "").as_bytes()).await;
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let answer = Wire::over(tokio::io::join(read, tokio::io::sink())).answer().await;
    assert_eq!((answer.status, answer.failure()), (408, Some("body_timeout")));
    dripping.abort();
    // the same bytes at once are a body like any other
    let mut wire = rig.open(Way::Plain).await;
    let whole = head("POST / HTTP/1.1", "Content-Length: 100000\r\n", &"x".repeat(100_000));
    assert_eq!(wire.ask(whole).await.status, 200);
    rig.headgate.stop().await;
}

/// One client has as many connections as it may; what is over makes room.
#[tokio::test]
async fn one_client_takes_no_more_connections_than_it_may() {
    let rig = Rig::with(&["--connections-per-client", "3"], |_| Script::ok("ok")).await;
    let get = head("GET / HTTP/1.1", "", "");
    let mut open = Vec::new();
    for way in [Way::Plain, Way::Tls, Way::Plain] {
        let mut wire = rig.open(way).await;
        assert_eq!(wire.ask(&get).await.status, 200);
        open.push(wire);
    }
    for to in [rig.plain, rig.tls()] {
        assert_eq!(Wire::open(to).await.rest().await, b"");
    }
    let refused = "limit=\"connections_per_client\"";
    assert_eq!(rig.headgate.metric("headgate_connections_refused_total", refused).await, 2.0);
    assert_eq!(open[1].ask(&get).await.status, 200);
    open.remove(1);
    until("there is room", async || {
        let mut wire = rig.open(Way::Plain).await;
        wire.send(&get).await;
        wire.try_answer(false).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    rig.headgate.stop().await;
}

/// As many clients shake hands at once as may; the next one has its turn when one is done with it, or gone.
#[tokio::test]
async fn handshakes_take_turns() {
    let rig = Rig::with(&["--handshakes", "1"], |_| Script::ok("ok")).await;
    let config = ClientConfig::builder().with_root_certificates(rig.authority().roots()).with_no_client_auth();
    let mut half = ClientConnection::new(config.into(), ServerName::try_from(HOST).unwrap()).unwrap();
    let mut hello = Vec::new();
    half.write_tls(&mut hello).unwrap();
    // says hello, and never answers what it is answered
    let mut stuck = Wire::open(rig.tls()).await;
    stuck.send(hello).await;
    let under_way = async || rig.headgate.metric("headgate_handshakes_open", "").await;
    until("it shakes hands", async || under_way().await == 1.0).await;
    let mut next = Box::pin(rig.open(Way::Tls));
    let there = until("the next one is there", async || {
        rig.headgate.metric("headgate_connections_open", "").await >= 2.0 && rig.canary().await == 200
    });
    tokio::select! {
        () = there => {}
        _ = &mut next => panic!("two at once"),
    }
    assert_eq!(under_way().await, 1.0);
    drop(stuck);
    assert_eq!(next.await.ask(head("GET / HTTP/1.1", "", "")).await.status, 200);
    until("nobody shakes hands", async || under_way().await == 0.0).await;
    rig.headgate.stop().await;
}
