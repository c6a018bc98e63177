//! Every pair of protocols, and the corners of HTTP that a proxy must carry: HEAD, Expect, interim answers, trailers, bodies of every framing.

use headgate_e2e::{Function, H2, H2Origin, Headgate, Origin, Script, Wire, backend, field, pattern, route, until};
use std::time::Duration;

const HOST: &str = "app.localhost";

async fn serving(origin: std::net::SocketAddr, app_protocol: Option<&str>) -> Headgate {
    let files =
        [("app.yaml", backend("app", app_protocol, &[origin])), ("route.yaml", route("app", HOST, &[("app", 1)]))];
    Headgate::run(&files).await
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n{body}")
}

#[tokio::test]
async fn http1_to_h2c_and_back() {
    let origin = H2Origin::start().await;
    let headgate = serving(origin.address, Some("kubernetes.io/h2c")).await;
    let mut wire = Wire::open(headgate.address).await;
    let answer = wire.ask(post("Content-Length: 5\r\nCookie: a=1\r\nX-A: b\r\n", "hello")).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.field("x-spoken")), (200, "hello", Some("h2")));
    let answer =
        wire.ask(post("Transfer-Encoding: chunked\r\nTE: trailers\r\n", "5\r\nhello\r\n0\r\nX-Sum: 9\r\n\r\n")).await;
    assert_eq!((answer.text().as_str(), field(&answer.trailers, "x-sum")), ("hello", Some("42")));
    let got = origin.requests();
    assert_eq!(
        (got[0].field(":authority"), got[0].field("x-a"), got[0].field("cookie")),
        (Some(HOST), Some("b"), Some("a=1"))
    );
    assert_eq!(field(&got[1].trailers, "x-sum"), Some("9"));
    for name in ["transfer-encoding", "connection", "host"] {
        assert!(got.iter().all(|request| request.field(name).is_none() || name == "host"), "{got:#?}");
    }
    // a large body both ways
    let body = pattern(3_000_000);
    let answer = Wire::post(headgate.address, HOST, "/", &body).await;
    assert!(answer.body == body);
    headgate.stop().await;
}

#[tokio::test]
async fn h2c_to_http1() {
    let origin = Origin::start(|request| {
        if request.target == "/trailers" {
            return Script::default()
                .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n");
        }
        Script::ok(&request.body)
    })
    .await;
    let headgate = serving(origin.address, None).await;
    let client = H2::open(headgate.address).await;
    let request = http::Request::post(format!("http://{HOST}/up?x"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("content-length", "3000000")
        .body(())
        .unwrap();
    let body = pattern(3_000_000);
    let answer = client.call(request, body.clone()).await.unwrap();
    assert!(answer.status == 200 && answer.body == body);
    let got = origin.only();
    assert_eq!((got.target.as_str(), got.field("host"), got.field("cookie")), ("/up?x", Some(HOST), Some("a=1; b=2")));
    assert_eq!((got.field("content-length"), got.field("transfer-encoding")), (Some("3000000"), None));
    let answer = client.get(HOST, "/trailers").await.unwrap();
    assert_eq!((&answer.body[..], answer.trailer("x-sum")), (&b"hi"[..], Some("7")));
    assert!(answer.field("transfer-encoding").is_none() && answer.field("connection").is_none());
    headgate.stop().await;
}

#[tokio::test]
async fn a_lying_length_over_http2_reaches_nobody_as_a_whole_request() {
    let origin = Origin::start(|_| Script::ok("ok")).await;
    let headgate = serving(origin.address, None).await;
    for (length, body) in [("3", "hello"), ("50", "hello")] {
        let client = H2::open(headgate.address).await;
        let request = http::Request::post(format!("http://{HOST}/")).header("content-length", length).body(()).unwrap();
        let answer = client.call(request, body).await;
        assert!(answer.as_ref().map_or(true, |answer| answer.status == 400), "{length}: {answer:?}");
        assert_eq!(headgate.get(HOST, "/canary").await.status, 200);
        let whole = origin.requests().into_iter().filter(|request| request.target != "/canary").count();
        assert_eq!(whole, 0, "content-length {length}");
    }
    headgate.stop().await;
}

#[tokio::test]
async fn head_has_no_body_and_says_what_get_would_have() {
    let origin = Origin::start(|request| {
        if request.method == "HEAD" {
            Script::default().write("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n")
        } else {
            Script::ok("get")
        }
    })
    .await;
    let headgate = serving(origin.address, None).await;
    let mut wire = Wire::open(headgate.address).await;
    for _ in 0..2 {
        wire.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let answer = wire.answer_to_head().await;
        assert_eq!(
            (answer.status, answer.field("content-length"), answer.field("etag")),
            (200, Some("1234"), Some("\"x\""))
        );
        assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await.text(), "get");
    }
    wire.send("HEAD / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n").await;
    assert_eq!(wire.answer_to_head().await.status, 404);
    assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await.text(), "get");

    let client = H2::open(headgate.address).await;
    let request = http::Request::head(format!("http://{HOST}/")).body(()).unwrap();
    let answer = client.call(request, "").await.unwrap();
    assert_eq!((answer.status, answer.field("content-length"), answer.body.len()), (200, Some("1234"), 0));
    headgate.stop().await;
}

#[tokio::test]
async fn statuses_without_a_body_and_a_body_without_a_length() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/204" => Script::default().write("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => Script::default().write("HTTP/1.1 304 Not Modified\r\nETag: \"y\"\r\nContent-Length: 99\r\n\r\n"),
        _ => Script::default().write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end").close(),
    })
    .await;
    let headgate = serving(origin.address, None).await;
    let mut wire = Wire::open(headgate.address).await;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert_eq!(wire.ask(get("/204")).await.status, 204);
    assert_eq!(wire.ask(get("/304")).await.status, 304);
    let answer = wire.ask(get("/end")).await;
    assert_eq!((answer.text().as_str(), answer.field("transfer-encoding")), ("to the end", Some("chunked")));
    // the application's connection ended, and the client's goes on
    assert_eq!(wire.ask(get("/204")).await.status, 204);

    // an old client gets it without chunks, and the end as the end
    let mut old = Wire::open(headgate.address).await;
    old.send(format!("GET /end HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
    let bytes = String::from_utf8(old.rest().await).unwrap();
    assert!(bytes.starts_with("HTTP/1.1 200") && bytes.ends_with("\r\n\r\nto the end"), "{bytes}");
    assert!(!bytes.to_lowercase().contains("transfer-encoding"), "{bytes}");
    headgate.stop().await;
}

#[tokio::test]
async fn expect_is_answered_when_there_is_somebody_to_send_to() {
    let origin = Origin::start(|request| Script::ok(&request.body)).await;
    let stuck = Function::named("stuck").args(&["--start-delay", "1h"]);
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("route.yaml", route("app", HOST, &[("app", 1)])),
        ("stuck.yaml", stuck.to_string()),
    ];
    let headgate = Headgate::run(&files).await;
    let mut wire = Wire::open(headgate.address).await;
    wire.send(post("Content-Length: 5\r\nExpect: 100-continue\r\n", "")).await;
    assert_eq!(wire.bytes(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    wire.send("hello").await;
    assert_eq!(wire.answer().await.text(), "hello");
    assert_eq!(origin.only().field("expect"), None, "it was answered here");

    // refused: the final answer instead, and no body is wanted
    let mut wire = Wire::open(headgate.address).await;
    let answer =
        wire.ask(post("Content-Length: 5\r\nExpect: 100-continue\r\n", "").replace(HOST, "nobody.localhost")).await;
    assert_eq!((answer.status, answer.interim.len()), (404, 0));
    let answer = Wire::open(headgate.address).await.ask(post("Content-Length: 5\r\nExpect: 200-ok\r\n", "")).await;
    assert_eq!(answer.status, 417);

    // while a function is cold nothing is promised
    let mut wire = Wire::open(headgate.address).await;
    wire.send(post("Content-Length: 5\r\nExpect: 100-continue\r\n", "").replace(HOST, "stuck.default.localhost")).await;
    until("it waits", async || headgate.metric("headgate_queue_depth", "stuck").await >= 1.0).await;
    let early = tokio::time::timeout(Duration::from_millis(100), wire.bytes(1)).await;
    assert!(early.is_err(), "{early:?}");
    drop(wire);
    headgate.stop().await;
}

#[tokio::test]
async fn interim_answers_pass() {
    let origin = Origin::start(|_| {
        Script::default()
            .write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
            .write("HTTP/1.1 102 Processing\r\n\r\n")
            .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    })
    .await;
    let headgate = serving(origin.address, None).await;
    let answer = headgate.get(HOST, "/").await;
    let statuses: Vec<u16> = answer.interim.iter().map(|(status, _)| *status).collect();
    assert_eq!((answer.status, statuses, answer.text().as_str()), (200, vec![103, 102], "ok"));
    assert_eq!(field(&answer.interim[0].1, "link"), Some("</a.css>"));
    headgate.stop().await;
}

#[tokio::test]
async fn trailers_pass_both_ways_and_none_is_made_up() {
    let origin = Origin::start(|_| {
        Script::default().write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n")
    })
    .await;
    let headgate = serving(origin.address, None).await;
    let mut wire = Wire::open(headgate.address).await;
    let answer =
        wire.ask(post("Transfer-Encoding: chunked\r\nTE: trailers\r\n", "2\r\nhi\r\n0\r\nX-Up: 3\r\n\r\n")).await;
    assert_eq!((answer.text().as_str(), field(&answer.trailers, "x-sum")), ("hi", Some("7")));
    assert_eq!(field(&origin.only().trailers, "x-up"), Some("3"));
    headgate.stop().await;
}

#[tokio::test]
async fn an_upgrade_carries_bytes_both_ways_and_a_refused_one_is_an_answer() {
    let origin = Origin::start(|request| {
        if request.target == "/no" {
            return Script::status(426, "no");
        }
        let protocol = request.field("upgrade").unwrap_or("none").to_owned();
        Script::default()
            .write(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\nfirst"
            ))
            .tunnel()
    })
    .await;
    let headgate = serving(origin.address, None).await;
    let upgrade =
        |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n");
    let mut wire = Wire::open(headgate.address).await;
    // bytes right behind the head wait for the 101, and are not lost
    let answer = wire.ask(format!("{}early", upgrade("/"))).await;
    assert_eq!((answer.status, answer.field("upgrade")), (101, Some("chat")));
    assert_eq!(wire.bytes(10).await, b"firstearly");
    let much = pattern(1_000_000);
    wire.send(&much).await;
    assert!(wire.bytes(much.len()).await == much);
    drop(wire);
    let mut wire = Wire::open(headgate.address).await;
    assert_eq!(wire.ask(upgrade("/no")).await.status, 426);
    headgate.stop().await;
}

#[tokio::test]
async fn an_early_answer_ends_the_upload() {
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = origin.local_addr().unwrap();
    tokio::spawn(async move {
        // answers at the head, and reads nothing of the body
        while let Ok((mut socket, _)) = origin.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut head = [0; 1024];
            let _ = socket.read(&mut head).await;
            let _ =
                socket.write_all(b"HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!").await;
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    });
    let headgate = serving(address, None).await;
    let answer = Wire::post(headgate.address, HOST, "/", &pattern(20_000_000)).await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "no!"));
    headgate.stop().await;
}
