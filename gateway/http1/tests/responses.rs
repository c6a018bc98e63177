//! What an upstream can answer, and what a client gets to see of it.

#![expect(clippy::unwrap_used, reason = "also in the helpers of tests")]

use headgate_http1::{
    Answer, Asked, BodyForm, HeadReader, Malformed, Response, Written, reason_phrase, write_interim, write_response,
};
use headgate_message::{BadFraming, Fields, Framing, ResponseHead, Version};

type Outcome = Result<Option<(Response, Vec<u8>)>, Malformed>;

const HEAD: Asked<'_> = Asked { head: true, upgrade: None };
const WEBSOCKET: Asked<'_> = Asked { head: false, upgrade: Some("websocket") };

fn read_in_two(text: &[u8], at: usize, asked: Asked<'_>) -> Outcome {
    let mut reader = HeadReader::default();
    let mut buf = text[..at].to_vec();
    if let Some(response) = reader.response(&mut buf, asked, Fields::default)? {
        buf.extend_from_slice(&text[at..]);
        return Ok(Some((response, buf)));
    }
    buf.extend_from_slice(&text[at..]);
    Ok(reader.response(&mut buf, asked, Fields::default)?.map(|response| (response, buf)))
}

fn read(text: &[u8], asked: Asked<'_>) -> Outcome {
    read_in_two(text, text.len(), asked)
}

fn accepted(text: &str, asked: Asked<'_>) -> Response {
    match read(text.as_bytes(), asked) {
        Ok(Some((response, _))) => response,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refusal(text: &[u8], asked: Asked<'_>) -> Malformed {
    match read(text, asked) {
        Err(why) => why,
        Ok(other) => panic!("{:?} was not refused: {other:?}", String::from_utf8_lossy(text)),
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Ok(Some((response, rest))) => {
            let fields: Vec<_> =
                response.head.fields.iter().map(|(n, v)| format!("{n}: {}", v.escape_ascii())).collect();
            let Response { head, framing, version, keep_alive, upgraded, declared_length } = response;
            format!(
                "{} {fields:?} {framing:?} {version:?} {keep_alive} {} {declared_length:?} then {}",
                head.status,
                upgraded.is_some(),
                rest.escape_ascii()
            )
        }
        Ok(None) => "not whole".into(),
        Err(why) => format!("{why:?}"),
    }
}

#[test]
fn framing_and_persistence_of_answers() {
    for (head, asked, length, keep_alive) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Asked::default(), "Length(5)", true),
        ("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n", Asked::default(), "Chunked", true),
        ("HTTP/1.1 200\r\n", Asked::default(), "UntilClose", false),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n", Asked::default(), "Length(0)", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", Asked::default(), "Length(5)", false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n", Asked::default(), "Length(5)", true),
        ("HTTP/1.1 204 No Content\r\n", Asked::default(), "None", true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", Asked::default(), "None", true),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n", Asked::default(), "None", false),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n", Asked::default(), "None", false),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n", Asked::default(), "None", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", HEAD, "None", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", HEAD, "None", true),
        ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n", Asked::default(), "None", true),
        ("HTTP/1.1 999 \r\nContent-Length: 1\r\n", Asked::default(), "Length(1)", true),
    ] {
        let response = accepted(&format!("{head}\r\n"), asked);
        assert_eq!(format!("{:?}", response.framing), format!("Framing({length})"), "{head}");
        assert_eq!(response.keep_alive, keep_alive, "{head}");
    }
    assert_eq!(accepted("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", HEAD).declared_length, Some(3));
    assert_eq!(accepted("HTTP/1.1 200 OK\r\n\r\n", HEAD).declared_length, None);
}

#[test]
fn what_concerns_one_connection_does_not_go_on() {
    let text = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop, Set-Cookie, Transfer-Encoding\r\nX-Hop: 1\r\n\
        Set-Cookie: a\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n";
    let response = accepted(text, Asked::default());
    let names: Vec<_> = response.head.fields.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["set-cookie", "server"]);
    assert!(response.framing.is_chunked() && response.keep_alive && response.upgraded.is_none());
}

#[test]
fn protocols_switch_only_as_asked() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    let (response, rest) = read(&[switch.as_bytes(), b"\x81\x00"].concat(), WEBSOCKET).unwrap().unwrap();
    assert_eq!(response.upgraded.map(|upgrade| upgrade.of(&response.head.fields)), Some("WebSocket"));
    assert_eq!(rest, b"\x81\x00");
    assert!(!response.keep_alive);
    assert_eq!(refusal(switch.as_bytes(), Asked::default()), Malformed::Switch);
    for bad in [
        switch.replace("WebSocket", "foo"),
        switch.replace("Upgrade: WebSocket\r\n", ""),
        switch.replace("HTTP/1.1", "HTTP/1.0"),
        switch.replace("Connection", "Content-Length: 5\r\nConnection"),
    ] {
        assert_eq!(refusal(bad.as_bytes(), WEBSOCKET), Malformed::Switch, "{bad}");
    }
    let no_switch = accepted(&switch.replace("101 Switching Protocols", "200 OK"), WEBSOCKET);
    assert!(no_switch.upgraded.is_none() && no_switch.framing.is_until_close());
}

#[test]
fn malformed_answers_are_refused_whatever_pieces_they_come_in() {
    use BadFraming::{Both, ContentLength, TransferEncoding};
    let cases: &[(&[u8], Malformed)] = &[
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", Malformed::LineEnd),
        (b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", Malformed::LineEnd),
        (b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", Malformed::Control),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Malformed::Folded),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Malformed::FieldName),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Malformed::EmptyLine),
        (b"HTTP/1.1 200OK\r\n\r\n", Malformed::StatusLine),
        (b"HTTP/1.1  200 OK\r\n\r\n", Malformed::StatusLine),
        (b"HTTP/1.1 20 OK\r\n\r\n", Malformed::StatusLine),
        (b"HTTP/1.1 099 OK\r\n\r\n", Malformed::StatusLine),
        (b"HTTP/1.1 2000 OK\r\n\r\n", Malformed::StatusLine),
        (b"HTTP/2.0 200 OK\r\n\r\n", Malformed::StatusLine),
        (b"ICY 200 OK\r\n\r\n", Malformed::StatusLine),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", Malformed::Control),
        (b"SSH-2.0-x\r\n", Malformed::StatusLine),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Malformed::Framing(ContentLength)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::Framing(Both)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Malformed::Framing(TransferEncoding)),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::Framing(TransferEncoding)),
    ];
    for &(text, expected) in cases {
        for at in 0..=text.len() {
            let outcome = describe(&read_in_two(text, at, Asked::default()));
            assert_eq!(outcome, format!("{expected:?}"), "{:?} at {at}", text.escape_ascii().to_string());
        }
    }
}

#[test]
fn the_pieces_that_an_answer_comes_in_change_nothing() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nabHTTP",
        "HTTP/1.0 404\r\n\r\nrest",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 \u{e9}t\u{e9}\r\nA: b",
    ] {
        let whole = describe(&read(text.as_bytes(), Asked::default()));
        for at in 0..=text.len() {
            assert_eq!(describe(&read_in_two(text.as_bytes(), at, Asked::default())), whole, "{text:?} at {at}");
        }
    }
}

const ANSWER: Answer<'_> =
    Answer { version: Version::Http11, to_head: false, keep_alive: true, upgrade: None, declared_length: None };

fn written(status: u16, framing: Framing, answer: Answer<'_>) -> (String, Written) {
    let mut head = ResponseHead::new(status);
    head.fields.push("x", b"y");
    head.fields.push("connection", b"evil");
    let mut out = Vec::new();
    let written = write_response(&mut out, &head, framing, answer);
    let text = String::from_utf8(out).unwrap();
    let rest = text.strip_prefix(&format!("HTTP/1.1 {status} {}\r\nx: y\r\n", reason_phrase(status))).unwrap();
    (rest.strip_suffix("\r\n").unwrap().replace("\r\n", "|"), written)
}

#[test]
fn answers_fit_the_client() {
    let chunked = accepted("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Asked::default()).framing;
    let until_close = accepted("HTTP/1.1 200 OK\r\n\r\n", Asked::default()).framing;
    let five = Framing::of_whole(b"12345");
    let old = Answer { version: Version::Http10, ..ANSWER };
    let last = Answer { keep_alive: false, ..ANSWER };
    let head = Answer { to_head: true, ..ANSWER };
    let known = Answer { declared_length: Some(7), ..head };
    use BodyForm::{Chunked, Nothing, Plain};
    for (status, framing, answer, fields, body, keep_alive) in [
        (200, five, ANSWER, "content-length: 5|", Plain, true),
        (200, chunked, ANSWER, "transfer-encoding: chunked|", Chunked, true),
        (200, until_close, ANSWER, "transfer-encoding: chunked|", Chunked, true),
        (200, Framing::NONE, ANSWER, "content-length: 0|", Nothing, true),
        (200, five, last, "content-length: 5|connection: close|", Plain, false),
        (200, five, old, "content-length: 5|connection: keep-alive|", Plain, true),
        (200, chunked, old, "", Plain, false),
        (200, until_close, old, "", Plain, false),
        (200, five, Answer { keep_alive: false, ..old }, "content-length: 5|", Plain, false),
        (200, Framing::NONE, known, "content-length: 7|", Nothing, true),
        (200, five, head, "content-length: 5|", Nothing, true),
        (200, chunked, head, "", Nothing, true),
        (200, chunked, Answer { version: Version::Http10, ..head }, "connection: keep-alive|", Nothing, true),
        (304, Framing::NONE, Answer { declared_length: Some(7), ..ANSWER }, "content-length: 7|", Nothing, true),
        (204, Framing::NONE, Answer { declared_length: Some(0), ..ANSWER }, "", Nothing, true),
        (
            101,
            Framing::NONE,
            Answer { upgrade: Some("websocket"), ..ANSWER },
            "connection: upgrade|upgrade: websocket|",
            Nothing,
            false,
        ),
    ] {
        let expected = (fields.to_owned(), Written { body, keep_alive });
        assert_eq!(written(status, framing, answer), expected, "{status} {framing:?} {answer:?}");
    }
}

#[test]
fn what_we_write_is_what_was_read() {
    for (text, asked) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\nx: 2\r\n\r\n", Asked::default()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Asked::default()),
        ("HTTP/1.1 299 Odd\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", Asked::default()),
        ("HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n", Asked::default()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", HEAD),
        (
            "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            WEBSOCKET,
        ),
    ] {
        let one = accepted(text, asked);
        let answer = Answer {
            to_head: asked.head,
            keep_alive: one.keep_alive,
            upgrade: one.upgraded.map(|upgrade| upgrade.of(&one.head.fields)),
            declared_length: one.declared_length,
            ..ANSWER
        };
        let mut out = Vec::new();
        write_response(&mut out, &one.head, one.framing, answer);
        let one = describe(&read(text.as_bytes(), asked));
        assert_eq!(describe(&read(&out, asked)), one);
    }
    let hints = accepted("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", Asked::default());
    assert!(hints.head.is_interim());
    let mut out = Vec::new();
    write_interim(&mut out, &hints.head);
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
}
