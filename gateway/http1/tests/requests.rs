//! What a client can send: what is understood, what is refused, and that the pieces it comes in change nothing.

use headgate_http1::{Forward, HeadLimits, HeadReader, Malformed, Request, write_request};
use headgate_message::{BadFraming, BadTarget, Fields, Framing, Scheme, Version};

type Outcome = Result<Option<(Request, Vec<u8>)>, Malformed>;

fn read(text: &[u8]) -> Outcome {
    let mut buf = text.to_vec();
    let request = HeadReader::default().request(&mut buf, Scheme::Http, Fields::default)?;
    Ok(request.map(|request| (request, buf)))
}

/// The same in pieces of one byte: the head's last byte, or the error, may come before the text ends.
fn read_bytewise(text: &[u8]) -> Outcome {
    let mut reader = HeadReader::default();
    let mut buf = Vec::new();
    for (at, &byte) in text.iter().enumerate() {
        buf.push(byte);
        if let Some(request) = reader.request(&mut buf, Scheme::Http, Fields::default)? {
            buf.extend_from_slice(&text[at + 1..]);
            return Ok(Some((request, buf)));
        }
    }
    Ok(None)
}

fn read_in_two(text: &[u8], at: usize) -> Outcome {
    let mut reader = HeadReader::default();
    let mut buf = text[..at].to_vec();
    if let Some(request) = reader.request(&mut buf, Scheme::Http, Fields::default)? {
        buf.extend_from_slice(&text[at..]);
        return Ok(Some((request, buf)));
    }
    buf.extend_from_slice(&text[at..]);
    Ok(reader.request(&mut buf, Scheme::Http, Fields::default)?.map(|request| (request, buf)))
}

fn accepted(text: &str) -> Request {
    match read(text.as_bytes()) {
        Ok(Some((request, _))) => request,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refusal(text: &[u8]) -> Malformed {
    match read(text) {
        Err(why) => why,
        Ok(other) => panic!("{:?} was not refused: {other:?}", String::from_utf8_lossy(text)),
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Ok(Some((request, rest))) => {
            let Request { head, framing, version, keep_alive, expect_continue, te_trailers, .. } = request;
            let fields: Vec<_> = head.fields.iter().map(|(n, v)| format!("{n}: {}", v.escape_ascii())).collect();
            format!(
                "{} {} {} {:?} raw {} {fields:?} {framing:?} {version:?} {keep_alive} {expect_continue} {te_trailers} {:?} then {}",
                head.method,
                head.authority(),
                head.path(),
                head.query(),
                head.raw_target(),
                request.upgrade(),
                rest.escape_ascii()
            )
        }
        Ok(None) => "not whole".into(),
        Err(why) => format!("{why:?}"),
    }
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_plain_request_is_understood() {
    let (request, rest) = read(
        b"POST /a%2fb?x=%31 HTTP/1.1\r\nHost: A.Example:8080\r\nContent-Length: 3\r\nX-Thing:  a b\t\r\n\r\nabcGET",
    )
    .unwrap()
    .unwrap();
    assert_eq!(request.head.method.as_str(), "POST");
    assert_eq!(request.head.authority(), "a.example:8080");
    assert_eq!(request.head.host(), "a.example");
    assert_eq!(request.head.authority.port, Some(8080));
    assert_eq!(request.head.path(), "/a%2Fb");
    assert_eq!(request.head.query(), Some("x=%31"));
    assert_eq!(request.head.raw_target(), "/a%2fb?x=%31");
    let fields: Vec<_> = request.head.fields.iter().collect();
    assert_eq!(fields, [("x-thing", &b"a b"[..])]);
    assert_eq!(request.framing.length(), Some(3));
    assert!(request.keep_alive && !request.expect_continue && request.upgrade.is_none());
    assert_eq!(rest, b"abcGET");
}

#[test]
fn persistence_follows_version_and_connection() {
    for (version, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let request = accepted(&format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n"));
        assert_eq!(request.keep_alive, expected, "{version} {connection}");
    }
}

#[test]
fn what_concerns_one_connection_does_not_go_on() {
    let request =
        accepted(&get("Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\
        TE: gzip, Trailers\r\nUpgrade: foo\r\nExpect: 100-Continue\r\nTrailer: x\r\nX-End: 2\r\n"));
    let names: Vec<_> = request.head.fields.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["trailer", "x-end"]);
    assert!(request.te_trailers);
    assert!(request.upgrade.is_none(), "Connection did not list it");
    assert!(!request.expect_continue, "there is no body");
}

#[test]
fn a_connection_field_cannot_strip_what_is_meant_for_everyone() {
    for name in ["Host", "content-length", "Transfer-Encoding", "X-Forwarded-For", "forwarded", "Authorization"] {
        assert_eq!(refusal(get(&format!("Connection: close, {name}\r\n")).as_bytes()), Malformed::Connection, "{name}");
    }
    assert_eq!(refusal(get("Connection: a b\r\n").as_bytes()), Malformed::Connection);
    let many: String = (0..17).map(|n| format!("x{n},")).collect();
    assert_eq!(refusal(get(&format!("Connection: {many}\r\n")).as_bytes()), Malformed::Connection);
    assert_eq!(refusal(get(&"Connection: close\r\n".repeat(9)).as_bytes()), Malformed::Connection);
}

#[test]
fn upgrades_are_offered_only_where_they_are_safe() {
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(accepted(&get(websocket)).upgrade(), Some("websocket"));
    assert_eq!(accepted(&get("Connection: upgrade\r\nUpgrade: SPDY/3.1, x\r\n")).upgrade(), Some("SPDY/3.1, x"));
    for without in [
        get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
        get(&format!("{websocket}Content-Length: 35\r\n")),
        get(&format!("{websocket}Transfer-Encoding: chunked\r\n")),
        get(websocket).replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        let request = accepted(&without);
        assert_eq!(request.upgrade(), None, "{without}");
        assert!(request.head.fields.is_empty(), "{without}");
    }
    for bad in ["Upgrade: a\r\nUpgrade: b\r\n", "Upgrade: a b\r\n", "Upgrade:\r\n", "Upgrade: a/b/c\r\n"] {
        assert_eq!(refusal(get(bad).as_bytes()), Malformed::Upgrade, "{bad}");
    }
}

#[test]
fn expectations() {
    let request = accepted("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert!(request.expect_continue);
    let old = accepted("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert!(!old.expect_continue);
    let refused = refusal(get("Expect: 200-ok\r\n").as_bytes());
    assert_eq!((refused, refused.status()), (Malformed::Expect, 417));
}

#[test]
fn targets() {
    for (line, path, query) in [
        ("GET / HTTP/1.1", "/", None),
        ("GET /? HTTP/1.1", "/", Some("")),
        ("GET /a?b?c HTTP/1.1", "/a", Some("b?c")),
        ("GET /admin;x=1 HTTP/1.1", "/admin;x=1", None),
        ("GET http://a HTTP/1.1", "/", None),
        ("GET HTTP://A:80/x HTTP/1.1", "/x", None),
        ("GET http://a?q HTTP/1.1", "/", Some("q")),
        ("OPTIONS * HTTP/1.1", "*", None),
        ("OPTIONS http://a HTTP/1.1", "*", None),
    ] {
        let request = accepted(&format!("{line}\r\nHost: a\r\n\r\n"));
        assert_eq!((request.head.path(), request.head.query()), (path, query), "{line}");
    }
    use BadTarget::{Byte, DotSegment, DoubleSlash, Escape, Form};
    for (line, expected) in [
        ("GET * HTTP/1.1", Malformed::Target(Form)),
        ("GET a HTTP/1.1", Malformed::Target(Form)),
        ("GET ftp://a/ HTTP/1.1", Malformed::Target(Form)),
        ("GET http://b/ HTTP/1.1", Malformed::HostMismatch),
        ("GET http://a:81/ HTTP/1.1", Malformed::HostMismatch),
        ("GET http://u@a/ HTTP/1.1", Malformed::Host),
        ("GET http:/// HTTP/1.1", Malformed::Host),
        ("GET https://a/ HTTP/1.1", Malformed::Scheme),
        ("GET /index.html#.png HTTP/1.1", Malformed::Target(Byte)),
        ("GET /?a#b HTTP/1.1", Malformed::Target(Byte)),
        ("GET /\u{e9} HTTP/1.1", Malformed::Target(Byte)),
        ("GET /..;/admin HTTP/1.1", Malformed::Target(DotSegment)),
        ("GET /.;/admin HTTP/1.1", Malformed::Target(DotSegment)),
        ("GET /a/%2e%2e/admin HTTP/1.1", Malformed::Target(DotSegment)),
        ("GET /a/..%2fadmin HTTP/1.1", Malformed::Target(DotSegment)),
        ("GET //admin HTTP/1.1", Malformed::Target(DoubleSlash)),
        ("GET /a\\..\\admin HTTP/1.1", Malformed::Target(Byte)),
        ("GET /%c0%af HTTP/1.1", Malformed::Target(Escape)),
        ("CONNECT a:80 HTTP/1.1", Malformed::Connect),
    ] {
        assert_eq!(refusal(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()), expected, "{line}");
    }
}

#[test]
fn host_rules() {
    for bad in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host: a, b\r\n",
        "Host: u@a\r\n",
        "Host:\r\n",
        "Host: a:x\r\n",
        "Host: a/b\r\n",
        "Host: a\tb\r\n",
    ] {
        for version in ["1.0", "1.1"] {
            let text = format!("GET / HTTP/{version}\r\n{bad}\r\n");
            assert_eq!(refusal(text.as_bytes()), Malformed::Host, "{text}");
        }
    }
    assert_eq!(accepted("GET / HTTP/1.1\r\nhOsT: [::1]:80\r\n\r\n").head.host(), "[::1]");
}

#[test]
fn ambiguous_framing_is_refused() {
    use BadFraming::{Both, ContentLength, TransferEncoding};
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (fields, expected) in [
        (format!("Content-Length: 6\r\n{chunked}"), Malformed::Framing(Both)),
        (format!("{chunked}Content-Length: 6\r\n"), Malformed::Framing(Both)),
        (chunked.repeat(2), Malformed::Framing(TransferEncoding)),
        ("Transfer-Encoding: ,chunked\r\n".into(), Malformed::Framing(TransferEncoding)),
        ("Transfer-Encoding: chunked, identity\r\n".into(), Malformed::Framing(TransferEncoding)),
        ("Transfer-Encoding: \x0bchunked\r\n".into(), Malformed::Control),
        ("Transfer-Encoding: chunked;x\r\n".into(), Malformed::Framing(TransferEncoding)),
        ("Transfer-Encoding:\r\n".into(), Malformed::Framing(TransferEncoding)),
        ("Transfer-Encoding : chunked\r\n".into(), Malformed::FieldName),
        ("Transfer_Encoding: chunked\r\n".into(), Malformed::Disguised),
        (": x\r\nContent-Length: 5\r\n".into(), Malformed::FieldName),
        ("Content-Length: \r\n".into(), Malformed::Framing(ContentLength)),
        ("Content-Length: +1\r\n".into(), Malformed::Framing(ContentLength)),
        ("Content-Length: -1\r\n".into(), Malformed::Framing(ContentLength)),
        ("Content-Length: 5, 5\r\n".into(), Malformed::Framing(ContentLength)),
        ("Content-Length: 0x5\r\n".into(), Malformed::Framing(ContentLength)),
        ("Content-Length: 18446744073709551617\r\n".into(), Malformed::Framing(ContentLength)),
        ("Content-Length: 0\r\nContent-Length: 31\r\n".into(), Malformed::Framing(ContentLength)),
        ("Content-Length: 5\r\n".repeat(3), Malformed::Framing(ContentLength)),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\nX");
        assert_eq!(refusal(text.as_bytes()), expected, "{fields}");
        assert_eq!(expected.status(), 400);
    }
    let old = "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refusal(old.as_bytes()), Malformed::Framing(TransferEncoding));
    // A name that is long enough to overflow a byte is a name like any other.
    let long = format!("Content-Length0{}:\r\nContent-Length: 23\r\n", "a".repeat(256));
    let request = accepted(&format!("GET / HTTP/1.1\r\nHost: a\r\n{long}\r\n"));
    assert_eq!((request.framing.length(), request.head.fields.len()), (Some(23), 1));
}

/// Refused heads with one defect each, as bytes.
fn defects() -> Vec<(Vec<u8>, Malformed)> {
    let in_fields = |line: &[u8]| [b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat();
    let mut all: Vec<(Vec<u8>, Malformed)> = [
        (&b"a: b\rc"[..], Malformed::LineEnd),
        (b"a: b\nc: d", Malformed::LineEnd),
        (b"a: b\r\r", Malformed::LineEnd),
        (b"a: b\n\nGET /smug HTTP/1.1", Malformed::LineEnd),
        (b"a: \0", Malformed::Control),
        (b"a: \x1b[31m", Malformed::Control),
        (b"a: \x7f", Malformed::Control),
        (b"a\0: b", Malformed::Control),
        (b"a: b\r\n c", Malformed::Folded),
        (b"a: b\r\n\tc", Malformed::Folded),
        (b"a : b", Malformed::FieldName),
        (b"a\t: b", Malformed::FieldName),
        (b": b", Malformed::FieldName),
        (b"a", Malformed::FieldName),
        (b"a b: c", Malformed::FieldName),
        (b"(a): c", Malformed::FieldName),
        (b"\xe9: c", Malformed::FieldName),
    ]
    .into_iter()
    .map(|(line, why)| (in_fields(line), why))
    .collect();
    let long_method = "M".repeat(65);
    for (line, why) in [
        (" GET / HTTP/1.1", Malformed::Method),
        ("\r\n\r\nGET / HTTP/1.1", Malformed::EmptyLine),
        ("GE(T / HTTP/1.1", Malformed::Method),
        ("GET  / HTTP/1.1", Malformed::RequestLine),
        ("GET /  HTTP/1.1", Malformed::RequestLine),
        ("GET / HTTP/1.1 ", Malformed::RequestLine),
        ("GET\t/ HTTP/1.1", Malformed::Method),
        ("GET /a b HTTP/1.1", Malformed::RequestLine),
        ("GET /", Malformed::RequestLine),
        ("GET", Malformed::RequestLine),
        ("GET / http/1.1", Malformed::RequestLine),
        ("GET / HTTP/1.", Malformed::RequestLine),
        ("GET / HTTP/1.2", Malformed::Version),
        ("GET / HTTP/2.0", Malformed::Version),
        ("GET / HTTP/0.9", Malformed::Version),
        (&format!("{long_method} / HTTP/1.1"), Malformed::LongMethod),
        ("\x16\x03\x01", Malformed::Control),
    ] {
        all.push((format!("{line}\r\nHost: a\r\n\r\n").into_bytes(), why));
    }
    all.push((b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Malformed::LineEnd));
    all.push((b"GET / HTTP/1.1\nHost: a\n\n".to_vec(), Malformed::LineEnd));
    all.push((b"GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(), Malformed::Folded));
    all
}

#[test]
fn malformed_heads_are_refused_whatever_pieces_they_come_in() {
    for (text, expected) in defects() {
        assert_eq!(refusal(&text), expected, "{:?}", text.escape_ascii().to_string());
        for at in 0..=text.len() {
            let outcome = describe(&read_in_two(&text, at));
            assert_eq!(outcome, format!("{expected:?}"), "{:?} at {at}", text.escape_ascii().to_string());
        }
        assert_eq!(describe(&read_bytewise(&text)), format!("{expected:?}"), "{:?}", text.escape_ascii().to_string());
    }
}

#[test]
fn the_pieces_that_a_head_comes_in_change_nothing() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/b?c HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\n",
        "POST /%7e HTTP/1.1\r\nHOST: a\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "PROPFIND /x HTTP/1.1\r\nA:\r\nB: \u{e9} \r\nHost: a:1\r\nConnection: upgrade, te\r\nUpgrade: a\r\nTE: trailers\r\n\r\n\0",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n",
    ] {
        let whole = describe(&read(text.as_bytes()));
        for at in 0..=text.len() {
            assert_eq!(describe(&read_in_two(text.as_bytes(), at)), whole, "{text:?} at {at}");
        }
        assert_eq!(describe(&read_bytewise(text.as_bytes())), whole, "{text:?}");
    }
}

#[test]
fn what_is_certainly_wrong_is_refused_before_the_head_ends() {
    for (text, expected) in [
        (&b"\x16\x03\x01\x02"[..], Malformed::Control),
        (b"{\"json\": 1}", Malformed::Method),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad\r\nx", Malformed::FieldName),
        (b"GET / HTTP/3.0\r\n", Malformed::Version),
        (b"GET / HTTP/1.1\r\n x", Malformed::Folded),
        (b"GET / HTTP/1.1\r\nA: \0", Malformed::Control),
        (b"GET / HTTP/1.1\n", Malformed::LineEnd),
    ] {
        assert_eq!(refusal(text), expected, "{:?}", text.escape_ascii().to_string());
    }
    assert_eq!(refusal(&[b'A'; 65]), Malformed::LongMethod);
}

#[test]
fn limits_are_exact_and_refuse_at_once() {
    let limits = HeadLimits { bytes: 200, fields: 3, target_bytes: 20 };
    let read = |text: &str| {
        let mut buf = text.as_bytes().to_vec();
        HeadReader::new(limits).request(&mut buf, Scheme::Http, Fields::default).map(|request| request.is_some())
    };
    let with_target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
    assert_eq!(read(&with_target(20)), Ok(true));
    assert_eq!(read(&with_target(21)), Err(Malformed::LongTarget));
    assert_eq!(read(&format!("GET /{}", "a".repeat(40))), Err(Malformed::LongTarget));
    assert_eq!(read(&get(&"a: b\r\n".repeat(2))), Ok(true));
    assert_eq!(read(&get(&"a: b\r\n".repeat(3))), Err(Malformed::ManyFields));
    assert_eq!(read(get(&"a: b\r\n".repeat(3)).trim_end()), Ok(false), "the fourth has not ended");
    let frame = get("a: \r\n").len();
    assert_eq!(read(&get(&format!("a: {}\r\n", "b".repeat(200 - frame)))), Ok(true));
    assert_eq!(read(&get(&format!("a: {}\r\n", "b".repeat(201 - frame)))), Err(Malformed::LongHead));
    assert_eq!(read(&format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(200))), Err(Malformed::LongHead));
    let body = "b".repeat(1000);
    assert_eq!(read(&format!("{}{body}", get(""))), Ok(true), "a body is no head");
    for (why, status) in [(Malformed::LongTarget, 414), (Malformed::ManyFields, 431), (Malformed::LongHead, 431)] {
        assert_eq!(why.status(), status);
    }
}

#[test]
fn a_head_in_single_bytes_is_not_read_again_for_each() {
    let limits = HeadLimits { bytes: 1 << 20, ..HeadLimits::default() };
    let text = get(&format!("A: {}\r\n", "b".repeat(1 << 19)));
    let mut reader = HeadReader::new(limits);
    let mut buf = Vec::with_capacity(text.len());
    let mut heads = 0;
    // Quadratic work would be 10^11 bytes: minutes.
    for byte in text.bytes() {
        buf.push(byte);
        heads += usize::from(reader.request(&mut buf, Scheme::Http, Fields::default).unwrap().is_some());
    }
    assert_eq!(heads, 1);
}

#[test]
fn pipelined_requests_come_one_by_one() {
    let mut reader = HeadReader::default();
    let mut buf = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3".to_vec();
    let mut paths = Vec::new();
    while let Some(request) = reader.request(&mut buf, Scheme::Http, Fields::default).unwrap() {
        paths.push(request.head.path().to_owned());
    }
    assert_eq!(paths, ["/1", "/2"]);
    assert_eq!(buf, b"GET /3");
    assert!(reader.is_inside());
}

#[test]
fn what_we_write_is_what_was_read() {
    for text in [
        "GET /a?b HTTP/1.1\r\nHost: A:80\r\nX: 1\r\nx: 2\r\nConnection: y\r\nY: 3\r\n\r\n",
        "GET http://a HTTP/1.0\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\nExpect: 100-continue\r\n\r\n",
        "PUT /%7ea HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    ] {
        let one = accepted(text);
        let mut out = Vec::new();
        let forward =
            Forward { upgrade: one.upgrade(), expect_continue: one.expect_continue, te_trailers: one.te_trailers };
        write_request(&mut out, &one.head, one.framing, forward);
        let (two, rest) = read(&out).unwrap().unwrap();
        assert!(rest.is_empty());
        assert_eq!(one.head.method, two.head.method);
        assert_eq!(one.head.authority(), two.head.authority());
        assert_eq!((one.head.path(), one.head.query()), (two.head.path(), two.head.query()));
        assert!(one.head.fields.iter().eq(two.head.fields.iter()), "{text}");
        assert_eq!(one.framing, two.framing);
        assert_eq!(one.upgrade(), two.upgrade());
        assert_eq!((one.expect_continue, one.te_trailers), (two.expect_continue, two.te_trailers));
        assert_eq!(two.version, Version::Http11);
    }
}

#[test]
fn the_written_head_is_exact() {
    let written = |text: &str, framing: Framing, forward: Forward<'_>| {
        let mut head = accepted(text).head;
        // A filter that goes too far: framing is not for fields to say.
        head.fields.push("content-length", b"99");
        head.fields.push("transfer-encoding", b"chunked");
        let mut out = Vec::new();
        write_request(&mut out, &head, framing, forward);
        String::from_utf8(out).unwrap()
    };
    let all = Forward { upgrade: Some("websocket"), expect_continue: true, te_trailers: true };
    assert_eq!(
        written("GET /x?y HTTP/1.1\r\nA: b\r\nHost: a\r\n\r\n", Framing::NONE, all),
        "GET /x?y HTTP/1.1\r\nhost: a\r\na: b\r\nconnection: upgrade, te\r\nupgrade: websocket\r\nte: trailers\r\n\r\n"
    );
    assert_eq!(
        written("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::NONE, Forward::default()),
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    );
    let expect = Forward { expect_continue: true, ..Forward::default() };
    assert_eq!(
        written("PUT / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::of_whole(b"0123456789"), expect),
        "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n"
    );
}
