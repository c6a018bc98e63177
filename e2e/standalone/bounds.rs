//! What one client can make the gateway keep, and for how long: bounds that a client meets which sends and does not read, or reads and does not end.

use crate::stories::waiting;
use futures_util::StreamExt;
use headgate_e2e::{Function, Headgate, Origin, Script, Wire, backend, route, rules, until, within};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const HOST: &str = "app.localhost";

#[tokio::test]
async fn a_request_that_waits_keeps_no_more_of_its_body_than_the_spool() {
    let home = tempfile::tempdir().unwrap();
    let files = [("busy.yaml", waiting(&home).to_string())];
    // behind a body that fills the spool the end of the client does not show: the drain answers it
    for (flags, least, most) in
        [(&["--drain-grace", "1s", "--spool-bytes", "32KiB"][..], 32, 40), (&["--drain-grace", "1s"], 64, 80)]
    {
        let headgate = Headgate::run_with(flags, &files).await;
        let mut wire = Wire::open(headgate.address).await;
        wire.send("POST / HTTP/1.1\r\nHost: busy.default.localhost\r\nContent-Length: 1000000\r\n\r\n").await;
        wire.send(headgate_e2e::pattern(200_000)).await;
        let kept = async || headgate.metric("headgate_queue_bytes", "busy").await / 1_024.0;
        until("it keeps what it may", async || kept().await >= f64::from(least)).await;
        // nothing more is read after that
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(kept().await <= f64::from(most), "{} KiB with {flags:?}", kept().await);
        drop(wire);
        headgate.stop().await;
    }
}

/// The preface, the largest windows there are, and a GET of `/`.
fn greedy_http2(host: &str) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE
    bytes.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
    bytes.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xf0, 0, 0]);
    let mut head = vec![0x82, 0x86, 0x84, 0x41, host.len() as u8];
    head.extend(host.as_bytes());
    bytes.extend([0, 0, head.len() as u8, 1, 5, 0, 0, 0, 1]);
    bytes.extend(head);
    bytes
}

#[tokio::test]
async fn an_http2_client_that_reads_nothing_is_let_go() {
    let origin = Origin::start(|_| Script::ok(vec![b'x'; 32 << 20])).await;
    let files =
        [("app.yaml", backend("app", None, &[origin.address])), ("route.yaml", route("app", HOST, &[("app", 1)]))];
    let headgate = Headgate::run_with(&["--write-stall", "1s"], &files).await;
    let mut socket = TcpStream::connect(headgate.address).await.unwrap();
    socket.write_all(&greedy_http2(HOST)).await.unwrap();
    until("it is served", async || !origin.requests().is_empty()).await;
    assert!(headgate.metric("headgate_connections_open", "").await >= 1.0);
    until("its connection closed", async || headgate.metric("headgate_connections_open", "").await == 0.0).await;
    drop(socket);
    headgate.stop().await;
}

#[tokio::test]
async fn a_websocket_does_not_outlive_the_grace() {
    let files =
        [("talk.yaml", Function::named("talk").to_string()), ("route.yaml", route("talk", HOST, &[("talk", 1)]))];
    let mut headgate = Headgate::run_with(&["--drain-grace", "1s"], &files).await;
    let socket = TcpStream::connect(headgate.address).await.unwrap();
    let opening = tokio_tungstenite::client_async(format!("ws://{HOST}/"), socket);
    let (mut socket, answer) = within("a cold WebSocket", opening).await.unwrap();
    assert_eq!(answer.status(), 101);
    let asked = Instant::now();
    headgate.signal(Signal::SIGTERM);
    // closed, or cut: nothing comes any more
    while let Some(Ok(_)) = within("the end of the WebSocket", socket.next()).await {}
    within("the end", headgate.exit()).await;
    assert!(asked.elapsed() < Duration::from_secs(8), "the end took {:?}", asked.elapsed());
}

/// A disk that is full costs lines of the log, which are counted, and no request.
#[tokio::test]
async fn a_full_disk_costs_no_request() {
    let application = Origin::start(|_| Script::ok("served")).await;
    let files = [
        ("app.yaml", backend("app", None, &[application.address])),
        ("route.yaml", rules("app", HOST, "  - backendRefs: [{name: app, port: 80}]\n")),
    ];
    let headgate = Headgate::run_with(&["--access-log", "/dev/full"], &files).await;
    for _ in 0..10 {
        let mut wire = Wire::open(headgate.address).await;
        let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.text()), (200, "served".to_owned()));
    }
    until("ten lines are lost", async || headgate.metric("headgate_log_lines_dropped_total", "").await >= 10.0).await;
    headgate.printed("lines of the access log are lost").await;
    headgate.stop().await;
}
