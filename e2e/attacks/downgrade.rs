//! S5: requests of HTTP/2 that would be another request, or none, once they are written as HTTP/1.1. The application gets one valid request, or nothing.

use crate::rig::{HOST, Rig, SMUG};
use headgate_e2e::{Frames, Outcome, frame};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The pseudo fields of a POST, of which `fields` overrule those of the same name, and whatever else is in `fields`.
fn post(fields: &[(&str, &str)]) -> Fields {
    let usual = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", HOST)];
    let kept = usual.iter().filter(|(name, _)| !fields.iter().any(|(other, _)| other == name));
    let (pseudo, others): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| name.starts_with(':'));
    let all = kept.chain(pseudo).chain(others);
    all.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// What became of a request with a body, and what the application got of it.
async fn ask(rig: &Rig, over_tls: bool, fields: &Fields, body: &str) -> (Outcome, Vec<String>) {
    rig.origin.forget();
    let mut frames = if over_tls { Frames::over(rig.open_h2().await).await } else { Frames::open(rig.plain).await };
    frames.head(1, false, fields).await;
    frames.frame(0, 1, 1, body.as_bytes()).await;
    let outcome = frames.outcome(1).await;
    drop(frames);
    assert_eq!(rig.canary().await, 200);
    assert!(rig.origin.malformed().is_empty(), "{:?}", rig.origin.malformed());
    let targets: Vec<_> = rig.origin.requests().into_iter().map(|request| request.target).collect();
    (outcome, targets.into_iter().filter(|target| target != "/canary").collect())
}

/// RFC 9113 §8.2 and §8.3: fields and pseudo fields that no HTTP/1.1 message can carry, or that frame one. CVE-2023-27491, CVE-2026-42926.
#[tokio::test]
async fn what_is_malformed_is_refused_and_written_nowhere() {
    let inject = format!("/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n{SMUG}");
    let inject_field = format!("b\r\n\r\n{SMUG}");
    let cases: &[&[(&str, &str)]] = &[
        &[(":path", &inject)],
        &[(":path", "/a b")],
        &[(":path", "x")],
        &[(":path", "?a=1")],
        &[(":path", "")],
        &[(":path", "/\r")],
        &[(":path", "/\0")],
        &[(":path", "*")],
        &[(":path", "/a\t")],
        &[(":path", "http://other.localhost/")],
        &[(":method", "POST / HTTP/1.1\r\nX: y")],
        &[(":method", "PO ST")],
        &[(":method", "")],
        &[(":method", "CONNECT")],
        &[(":method", "TRACE")],
        &[(":authority", "app.localhost\r\nX: y")],
        &[(":authority", "a@app.localhost")],
        &[(":authority", "app.localhost/x")],
        &[(":authority", "")],
        &[(":scheme", "http\r\nX: y")],
        &[(":status", "200")],
        &[(":unknown", "x")],
        &[("x-a", &inject_field)],
        &[("x-a", "a\0b")],
        &[("x-a", "a\rb")],
        &[("x-a", "a\nb")],
        &[("", "x")],
        &[("x a", "y")],
        &[("x:a", "y")],
        &[("x\"a", "y")],
        &[("x\r\ny", "z")],
        &[("X-A", "y")],
        &[("x\0", "y")],
        &[("transfer-encoding", "chunked")],
        &[("transfer-encoding", "identity")],
        &[("transfer_encoding", "chunked")],
        &[("content_length", "0")],
        &[("connection", "close")],
        &[("keep-alive", "1")],
        &[("proxy-connection", "close")],
        &[("upgrade", "h2c")],
        &[("te", "gzip")],
        &[("host", "other.localhost")],
        &[("host", HOST), ("host", HOST)],
        &[("content-length", "+5")],
        &[("content-length", "5, 5")],
        &[("content-length", "0x5")],
        &[("content-length", "3")],
        &[("content-length", "50")],
        &[("content-length", "5"), ("content-length", "6")],
    ];
    let rig = Rig::start().await;
    let mut wrong = Vec::new();
    for fields in cases {
        let (outcome, targets) = ask(&rig, false, &post(fields), "hello").await;
        if !outcome.is_refusal() || !targets.is_empty() {
            wrong.push(format!("{fields:?}: {outcome:?}, the application saw {targets:?}"));
        }
    }
    // pseudo fields behind others, twice, or missing
    for fields in [
        vec![(":method", "POST"), (":scheme", "http"), (":authority", HOST)],
        vec![(":method", "POST"), (":scheme", "http"), ("host", HOST)],
        vec![(":scheme", "http"), (":path", "/"), (":authority", HOST)],
        vec![(":method", "POST"), (":scheme", "http"), (":path", "/")],
        vec![(":method", "POST"), (":scheme", "http"), ("x", "y"), (":path", "/"), (":authority", HOST)],
        vec![(":method", "POST"), (":scheme", "http"), (":path", "/"), (":path", "/smug"), (":authority", HOST)],
        vec![(":method", "POST"), (":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)],
    ] {
        let plain: Fields =
            fields.iter().map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into())).collect();
        let (outcome, targets) = ask(&rig, false, &plain, "hello").await;
        if !outcome.is_refusal() || !targets.is_empty() {
            wrong.push(format!("{fields:?}: {outcome:?}, the application saw {targets:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    rig.headgate.stop().await;
}

/// What shows too late, or cannot be seen: of a fragment nobody downstream learns (CVE-2023-45539), and of a body beyond its length (RFC 9113 §8.1.1)
/// nothing is passed on, though the head may have been.
#[tokio::test]
async fn what_cannot_be_refused_in_time_still_has_one_meaning() {
    let rig = Rig::start().await;
    let (_, targets) = ask(&rig, false, &post(&[(":path", "/a#b")]), "hello").await;
    assert!(targets.is_empty() || targets == ["/a"], "{targets:?}");
    let (outcome, targets) = ask(&rig, false, &post(&[("content-length", "0")]), "hello").await;
    assert!(outcome.is_refusal(), "{outcome:?}");
    assert!(targets.is_empty() || rig.origin.requests()[0].body.is_empty(), "{:?}", rig.origin.requests());
    rig.headgate.stop().await;
}

/// RFC 9113 §8.2.3 and §8.3.1: what is allowed arrives as one HTTP/1.1 request of the same meaning; crumbs of a cookie are one field again.
#[tokio::test]
async fn what_is_valid_arrives_as_one_request() {
    for over_tls in [false, true] {
        let rig = Rig::start().await;
        let scheme = if over_tls { "https" } else { "http" };
        let fields = post(&[
            (":scheme", scheme),
            (":path", "/up?q=1"),
            ("cookie", "a=1"),
            ("x-b", "  spaced  "),
            ("cookie", "b=2"),
            ("te", "trailers"),
            ("content-length", "5"),
        ]);
        let (outcome, targets) = ask(&rig, over_tls, &fields, "hello").await;
        assert_eq!((outcome, targets), (Outcome::Answer(200, b"ok".to_vec()), vec!["/up?q=1".to_owned()]));
        let got = rig.origin.requests().remove(0);
        assert_eq!((got.method.as_str(), got.body.as_slice()), ("POST", &b"hello"[..]));
        assert_eq!((got.values("host"), got.values("cookie")), (vec![HOST], vec!["a=1; b=2"]));
        assert_eq!((got.values("content-length"), got.values("x-b")), (vec!["5"], vec!["spaced"]));
        for name in ["transfer-encoding", "upgrade", "http2-settings"] {
            assert_eq!(got.field(name), None, "{got:#?}");
        }
        rig.headgate.stop().await;
    }
}

/// RFC 9113 §8.1 and CVE-2026-73513: a second HEADERS is trailers and must end the stream; trailers frame and route nothing.
#[tokio::test]
async fn trailers_end_the_stream_and_frame_nothing() {
    let rig = Rig::start().await;
    let trailers: Fields =
        [("x-sum", "1"), ("content-length", "50"), ("host", "evil"), ("transfer-encoding", "chunked")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec();
    for (ends, fields) in
        [(false, &trailers[..1]), (true, &trailers[..3]), (true, &trailers[..]), (true, &post(&[])[..])]
    {
        rig.origin.forget();
        let mut frames = Frames::open(rig.plain).await;
        frames.head(1, false, &post(&[])).await;
        frames.frame(0, 0, 1, b"hello").await;
        frames.head(1, ends, fields).await;
        let outcome = frames.outcome(1).await;
        assert_eq!(rig.canary().await, 200);
        assert!(rig.origin.malformed().is_empty(), "{fields:?}: {:?}", rig.origin.malformed());
        for request in rig.origin.requests().iter().filter(|request| request.target != "/canary") {
            assert!(!outcome.is_refusal() && request.body == b"hello", "{outcome:?}: {request:?}");
            assert!(request.trailers.iter().all(|(name, _)| name == "x-sum"), "{request:?}");
            assert_eq!(request.field("host"), Some(HOST));
        }
        assert!(ends || outcome.is_refusal(), "{outcome:?}");
    }
    rig.headgate.stop().await;
}

/// RFC 9113 §4 to §6: frames that are no valid sequence end the stream or the connection; nobody else sees it.
#[tokio::test]
async fn broken_frames_end_their_own_connection_only() {
    let rig = Rig::start().await;
    let head = headgate_e2e::block(&post(&[]));
    for (name, bytes) in [
        ("DATA on an idle stream", frame(0, 1, 1, b"hello")),
        ("DATA on stream 0", frame(0, 1, 0, b"hello")),
        ("HEADERS on stream 0", frame(1, 5, 0, &head)),
        ("HEADERS on an even stream", frame(1, 5, 2, &head)),
        ("HEADERS that depend on themselves", frame(1, 0x25, 1, &[&[0, 0, 0, 1, 0][..], &head].concat())),
        ("padding longer than its frame", frame(0, 9, 1, &[200, 1, 2])),
        ("CONTINUATION out of nothing", frame(9, 4, 1, &head)),
        ("another frame inside of a head", [frame(1, 0, 1, &head), frame(6, 0, 0, b"12345678")].concat()),
        ("a head of another stream inside", [frame(1, 0, 1, &head), frame(9, 4, 3, &head)].concat()),
        ("PING of 7 bytes", frame(6, 0, 0, b"1234567")),
        ("SETTINGS of 5 bytes", frame(4, 0, 0, &[0, 3, 0, 0, 0])),
        ("SETTINGS of a stream", frame(4, 0, 1, &[])),
        ("a window of 2^31", frame(4, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("a push", frame(5, 4, 1, &[0, 0, 0, 2])),
        ("an index that is not there", frame(1, 5, 1, &[0xff, 0x80, 0x80, 0x80, 0x10])),
        ("a frame that is too long", frame(0, 0, 1, &vec![0; 20_000])),
        ("RST_STREAM of an idle stream", frame(3, 0, 7, &[0, 0, 0, 8])),
    ] {
        let mut frames = Frames::open(rig.plain).await;
        frames.send(&bytes).await;
        let outcome = frames.outcome(1).await;
        assert!(outcome.is_refusal(), "{name}: {outcome:?}");
        assert_eq!(rig.canary().await, 200, "{name}");
    }
    assert!(rig.origin.requests().iter().all(|request| request.target == "/canary"));
    rig.headgate.stop().await;
}
