//! `echo`: the application that other tests rely on.

use crate::program::{Running, exchange, headgate};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::{io::Write, net::TcpStream};
use tokio_tungstenite::tungstenite::Message;

fn echo(arguments: &[&str]) -> (Running, String) {
    let (running, line) = Running::start(&[&["echo", "--port", "0"], arguments].concat(), "listens on ");
    let address = line.split("listens on ").nth(1).unwrap().trim().to_owned();
    (running, address)
}

fn get(address: &str, target: &str) -> String {
    exchange(address, &format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
}

#[test]
fn a_text_is_answered_whatever_is_asked() {
    let (_running, address) = echo(&["--text", "hello-v1"]);
    let answer = get(&address, "/x");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello-v1\n"), "{answer}");
    let asked = get(&address, "/?status=503&delay=1ms");
    assert!(asked.starts_with("HTTP/1.1 503 ") && asked.ends_with("hello-v1\n"), "{asked}");
    let long = get(&address, "/?bytes=100000");
    assert!(long.contains("content-length: 100000\r\n"), "{}", &long[..200]);
    let body = long.split_once("\r\n\r\n").unwrap().1;
    assert!(body.len() == 100_000 && body.bytes().zip((b'a'..=b'z').cycle()).all(|(is, want)| is == want));
    assert!(get(&address, "/?status=x").starts_with("HTTP/1.1 400 "));
    // no Connection field: the answer itself ends the connection
    let closed = exchange(&address, "GET /?close=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(closed.contains("connection: close\r\n"), "{closed}");
}

#[test]
fn a_request_is_echoed_as_text_and_as_json() {
    let (_running, address) = echo(&[]);
    let post = |accept: &str| {
        exchange(
            &address,
            &format!(
                "POST /a?b=c HTTP/1.1\r\nHost: a.io\r\nX-Two: 1\r\nX-Two: 2\r\nAccept: {accept}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
            ),
        )
    };
    let text = post("*/*");
    for part in ["POST /a?b=c HTTP/1.1\n", "x-two: 1\nx-two: 2\n", "body"] {
        assert!(text.contains(part), "{text}");
    }
    let answer = post("application/json");
    let document: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(document["headers"]["x-two"], json!(["1", "2"]));
    for (key, value) in [("method", "POST"), ("path", "/a"), ("query", "b=c"), ("host", "a.io"), ("body", "body")] {
        assert_eq!(document[key], value);
    }
    let (_running, address) = echo(&["-o", "json"]);
    assert!(get(&address, "/").contains("\"method\": \"GET\""));
}

#[test]
fn requests_are_counted() {
    let (_running, address) = echo(&["--concurrency-limit-check"]);
    // the first is still open when the second comes
    let mut first = TcpStream::connect(&address).unwrap();
    first.write_all(b"POST /?id=one HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx").unwrap();
    let stats =
        || -> Value { serde_json::from_str(get(&address, "/__stats").split_once("\r\n\r\n").unwrap().1).unwrap() };
    while stats()["concurrent"] == 0 {
        std::thread::yield_now();
    }
    exchange(&address, "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: two\r\nConnection: close\r\n\r\n");
    let counts = stats();
    assert_eq!((&counts["requests"], &counts["concurrentMax"]), (&json!(2), &json!(2)));
    assert_eq!(counts["ids"], json!(["one", "two"]));
    drop(first);
    while stats()["concurrent"] != 0 {
        std::thread::yield_now();
    }
}

#[test]
fn it_drains_at_sigterm_or_stays() {
    let (running, address) = echo(&["--text", "late"]);
    let mut open = TcpStream::connect(&address).unwrap();
    open.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx").unwrap();
    // it is served, so the open one was accepted before
    get(&address, "/");
    running.signal("TERM");
    while TcpStream::connect(&address).is_ok() {
        std::thread::yield_now();
    }
    open.write_all(b"y").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut open, &mut answer).unwrap();
    assert!(answer.ends_with("late\n"), "{answer}");
    assert_eq!(running.wait(), Some(0));

    let (mut stubborn, address) = echo(&["--ignore-sigterm"]);
    stubborn.signal("TERM");
    assert!(get(&address, "/").starts_with("HTTP/1.1 200 "));
    assert!(stubborn.runs());
    stubborn.signal("INT");
    assert_eq!(stubborn.wait(), Some(0));

    let (abrupt, address) = echo(&["--exit-at-sigterm"]);
    let mut cut = TcpStream::connect(&address).unwrap();
    cut.write_all(b"GET /?delay=60s HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    abrupt.signal("TERM");
    assert_eq!(abrupt.wait(), Some(0));
    let mut answer = Vec::new();
    // closed or reset
    let _ = std::io::Read::read_to_end(&mut cut, &mut answer);
    assert!(answer.is_empty(), "the running request is cut off");
}

#[test]
fn it_can_start_late_or_not_at_all() {
    let before = std::time::Instant::now();
    let (_running, address) = echo(&["--start-delay", "300ms"]);
    assert!(before.elapsed().as_millis() >= 300);
    assert!(get(&address, "/").starts_with("HTTP/1.1 200 "));
    headgate(&["echo", "--crash"]).exits(1).complains("crashed at start");
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn websocket_messages_come_back() {
    let (running, address) = echo(&[]);
    block_on(async {
        let socket = tokio::net::TcpStream::connect(&address).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async(format!("ws://{address}/"), socket).await.unwrap();
        for message in [Message::text("hello"), Message::binary(vec![0; 100_000])] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
        running.signal("TERM");
        let last = socket.next().await.unwrap().unwrap();
        assert!(matches!(&last, Message::Close(Some(frame)) if u16::from(frame.code) == 1001), "{last:?}");
        // the library answers the close while it reads on
        assert!(socket.next().await.is_none_or(|end| end.is_err()));
    });
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn grpc_calls_of_all_kinds_are_answered() {
    let (_running, address) = echo(&[]);
    let message = |text: &str| [&[0, 0, 0, 0, text.len() as u8][..], text.as_bytes()].concat();
    let two = [message("one"), message("two")].concat();
    block_on(async {
        let socket = tokio::net::TcpStream::connect(&address).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        for (call, sent, wanted, status) in [
            ("Unary", message("one"), message("one"), "0"),
            ("Unary", two.clone(), vec![], "3"),
            ("ServerStream", message("one"), message("one").repeat(3), "0"),
            ("ClientStream", two.clone(), message("onetwo"), "0"),
            ("Bidi", two.clone(), two.clone(), "0"),
            ("Nothing", vec![], vec![], "12"),
        ] {
            let request = Request::post(format!("http://{address}/echo.Echo/{call}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::<Bytes>::new(sent.into()))
                .unwrap();
            let answer = client.send_request(request).await.unwrap();
            let head = answer.headers().clone();
            let body = answer.into_body().collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            let found = trailers.get("grpc-status").or_else(|| head.get("grpc-status")).unwrap().clone();
            assert_eq!((body.to_bytes(), found.to_str().unwrap()), (Bytes::from(wanted), status), "{call}");
        }
    });
}
