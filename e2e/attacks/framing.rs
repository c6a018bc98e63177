//! S1: messages whose end has two readings, and lines that two parsers read differently. What a client hides in a body is never a request.

use crate::rig::{
    Case, HOST, Rig,
    Right::{self, Clean, Cut, Either, Refused},
    SMUG, Way, head,
};

fn post(fields: &str, rest: &str) -> String {
    head("POST / HTTP/1.1", fields, rest)
}

fn get(fields: &str, rest: &str) -> String {
    head("GET / HTTP/1.1", fields, rest)
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn case(name: &str, bytes: String, right: Right) -> Case {
    Case::new(name, bytes, right)
}

/// Requests as they should be, so that refusing everything is no way to pass.
fn honest() -> Vec<Case> {
    vec![
        case("plain", get("", ""), Clean(vec![""])),
        case("body by length", post("Content-Length: 5\r\n", "hello"), Clean(vec!["hello"])),
        case("body in chunks", chunked("5\r\nhello\r\n0\r\n\r\n"), Clean(vec!["hello"])),
        case("two chunks", chunked("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), Clean(vec!["hello"])),
        case("pipelined", format!("{}{}", get("", ""), get("", "")), Clean(vec!["", ""])),
        case(
            "pipelined with bodies",
            format!("{}{}", post("Content-Length: 5\r\n", "hello"), chunked("1\r\nx\r\n0\r\n\r\n")),
            Clean(vec!["hello", "x"]),
        ),
        case("GET with a body", get(&format!("Content-Length: {}\r\n", SMUG.len()), SMUG), Clean(vec![SMUG])),
        case("CRLF before the head", format!("\r\n{}", get("", "")), Either("")),
    ]
}

/// RFC 9112 §6.1 and §6.3: Transfer-Encoding beside Content-Length, on HTTP/1.0, or anything but one `chunked`. CVE-2026-2835.
fn codings() -> Vec<Case> {
    let te = |value: &str| post(&format!("Transfer-Encoding:{value}\r\n"), &format!("0\r\n\r\n{SMUG}"));
    let mut cases = vec![
        case("CL and TE", post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nX"), Refused),
        case(
            "TE and CL",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\nGPOST /smug HTTP/1.1\r\n\r\n0\r\n\r\n"),
            Refused,
        ),
        case(
            "TE on HTTP/1.0",
            head(
                "POST / HTTP/1.0",
                "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
                &format!("0\r\n\r\n{SMUG}"),
            ),
            Refused,
        ),
        case(
            "TE list and CL on HTTP/1.0",
            head(
                "POST / HTTP/1.0",
                &format!(
                    "Connection: keep-alive\r\nTransfer-Encoding: identity, chunked\r\nContent-Length: {}\r\n",
                    SMUG.len() + 5
                ),
                &format!("0\r\n\r\n{SMUG}"),
            ),
            Refused,
        ),
        case("TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Refused),
        case(
            "TE twice, not the same",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
            Refused,
        ),
        case("TE folded", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), Refused),
        case("TE space before colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), Refused),
        case(
            "TE underscore and CL",
            post(&format!("Transfer_Encoding: chunked\r\nContent-Length: {}\r\n", SMUG.len()), SMUG),
            Either(SMUG),
        ),
        case("TE upper case", chunked("0\r\n\r\n").replace("chunked", "CHUNKED"), Either("")),
    ];
    for value in [
        " identity, chunked",
        " chunked, identity",
        " chunked, chunked",
        " ,chunked",
        " chunked,",
        " \x0bchunked",
        " chunked\x0b",
        " chunked;x",
        " chunked;q=1",
        " \"chunked\"",
        " xchunked",
        " chunkedx",
        " gzip",
        " gzip, chunked",
        " identity",
        "",
        " ",
        " chunk\ted",
    ] {
        cases.push(Case::new(format!("TE {value:?}"), te(value), Refused));
    }
    cases
}

/// RFC 9112 §6.3 and RFC 9110 §8.6: a length is one number of digits. CVE-2023-40225, CVE-2021-40346, CVE-2023-25725.
fn lengths() -> Vec<Case> {
    let cl = |value: &str| post(&format!("Content-Length:{value}\r\n"), "hello");
    let overlong = |blanks: &str| {
        let name = "a".repeat(256);
        post(&format!("Content-Length0{name}:\r\nContent-Length: {}{blanks}\r\n", SMUG.len()), SMUG)
    };
    let mut cases = vec![
        case("CL twice", post("Content-Length: 0\r\nContent-Length: 44\r\n", SMUG), Refused),
        case("CL twice the same", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), Either("hello")),
        case("CL behind a long name", overlong(""), Either(SMUG)),
        case("empty name before CL", post(": x\r\nContent-Length: 5\r\n", "hello"), Refused),
        case("CL on HTTP/1.0", head("POST / HTTP/1.0", "Content-Length: 5\r\n", "hello"), Clean(vec!["hello"])),
        case(
            "Connection names CL",
            post(&format!("Connection: content-length\r\nContent-Length: {}\r\n", SMUG.len()), SMUG),
            Either(SMUG),
        ),
        case("CL space before colon", post("Content-Length : 5\r\n", "hello"), Refused),
    ];
    for value in [
        " ",
        "",
        " +5",
        " -5",
        " -0",
        " 5, 5",
        " 5,",
        " 5 5",
        " 0x5",
        " 5.0",
        " 5e0",
        " 5_0",
        " \u{664}",
        " 18446744073709551621",
        " 99999999999999999999999999",
        " \x0b5",
        " 5\x0c",
    ] {
        cases.push(Case::new(format!("CL {value:?}"), cl(value), Refused));
    }
    cases
}

/// RFC 9112 §7.1: a chunk is hexadecimal digits, CRLF, so many bytes, CRLF. CVE-2025-43859, CVE-2025-55315, CVE-2025-58056, CVE-2023-38697, CVE-2023-47627.
fn chunks() -> Vec<Case> {
    let mut cases = vec![
        case("chunk size space behind", chunked("5 \r\nhello\r\n0\r\n\r\n"), Either("hello")),
        case("chunk extension", chunked("5;a=b\r\nhello\r\n0\r\n\r\n"), Either("hello")),
        case("chunk size upper case", chunked("A\r\n0123456789\r\n0\r\n\r\n"), Clean(vec!["0123456789"])),
        case("chunk size with zeros", chunked("0005\r\nhello\r\n0000\r\n\r\n"), Either("hello")),
        case("trailer", chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), Clean(vec!["hello"])),
        case("trailer that frames", chunked("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"), Either("hello")),
        case("trailer that encodes", chunked("5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"), Either("hello")),
        case("trailer that names a host", chunked("5\r\nhello\r\n0\r\nHost: evil\r\n\r\n"), Either("hello")),
    ];
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "+5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "-0\r\n\r\n".to_owned(),
        "-1\r\n\r\n".to_owned(),
        "5_0\r\nhello\r\n0\r\n\r\n".to_owned(),
        " 5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "\t5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "g\r\nhello\r\n0\r\n\r\n".to_owned(),
        "\r\nhello\r\n0\r\n\r\n".to_owned(),
        ";\r\nhello\r\n0\r\n\r\n".to_owned(),
        "fffffffffffffffff0\r\nhello\r\n0\r\n\r\n".to_owned(),
        "10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
        format!("2;\nxx\r\n45\r\n0\r\n\r\n{SMUG}\r\n0\r\n\r\n"),
        format!("2;a\nxx\r\n45\r\n0\r\n\r\n{SMUG}\r\n0\r\n\r\n"),
        format!("2;\rxx\r\n45\r\n0\r\n\r\n{SMUG}\r\n0\r\n\r\n"),
        "5\r\nhello\n0\r\n\r\n".to_owned(),
        "5\r\nhello\r0\r\n\r\n".to_owned(),
        "5\r\nhelloX\r\n0\r\n\r\n".to_owned(),
        "5\r\nhello0\r\n\r\n".to_owned(),
        "5\nhello\r\n0\r\n\r\n".to_owned(),
        "5\rhello\r\n0\r\n\r\n".to_owned(),
        "5\r;a\r\nhello\r\n0\r\n\r\n".to_owned(),
        "5\r\nhello\r\n0\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\n\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\nX: a\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\n: a\r\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\nX : a\r\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n".to_owned(),
        "5\0\r\nhello\r\n0\r\n\r\n".to_owned(),
        format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(40_000)),
        format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(300)),
    ] {
        let name = format!("chunks {:?}", &body[..body.len().min(60)]);
        cases.push(Case::new(name, chunked(&body), Cut));
    }
    cases
}

/// RFC 9112 §2.2, §3, §5 and §5.2: lines end in CRLF, names are tokens, nothing is folded, one space between words. CVE-2023-45539.
fn lines() -> Vec<Case> {
    let mut cases = vec![
        case("bare LF in the head", "GET / HTTP/1.1\nHost: app.localhost\n\n".to_owned(), Refused),
        case("bare LF at its end", format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\n"), Refused),
        case("bare LF in one field", get("X: a\nY: b\r\n", ""), Refused),
        case("bare CR in a value", get("X: a\rGET /smug HTTP/1.1\r\n", ""), Refused),
        case("CR CR LF", get("X: a\r\r\n", ""), Refused),
        case("NUL in a value", get("X: a\0b\r\n", ""), Refused),
        case("folded field", get("X: a\r\n b\r\n", ""), Refused),
        case("folded first field", format!("GET / HTTP/1.1\r\n Host: {HOST}\r\n\r\n"), Refused),
        case("no colon", get("X\r\n", ""), Refused),
        case("empty name", get(": a\r\n", ""), Refused),
        case("blank before the name", get("\tX: a\r\n", ""), Refused),
        case("DEL in a value", get("X: a\x7fb\r\n", ""), Refused),
        case("escape in a value", get("X: a\x1bb\r\n", ""), Refused),
        case("HTTP/2 preface cut off", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned(), Refused),
        case("CONNECT", head("CONNECT app.localhost:80 HTTP/1.1", "", SMUG), Refused),
        case("Connection names Host", get("Connection: host\r\n", ""), Either("")),
        case("Expect unknown", post("Expect: 200-ok\r\nContent-Length: 5\r\n", "hello"), Refused),
    ];
    for name in ["X Y", "X(", "X\u{e9}", "X\x01", "X\"", "X/", "X@", "X[", "X{", "X=", "X\0"] {
        cases.push(Case::new(format!("name {name:?}"), get(&format!("{name}: a\r\n"), ""), Refused));
    }
    for line in [
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1 x",
        "GET /a b HTTP/1.1",
        "GET /\x0b HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / HTTP/1,1",
        "GET / http/1.1",
        "GET / HTTPS/1.1",
        "GET / HTTP/1.1\r",
        "GET /",
        "GET",
        "G(T / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET /index.html#.png HTTP/1.1",
        "GET index.html HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET \\ HTTP/1.1",
    ] {
        cases.push(Case::new(format!("line {line:?}"), head(line, "", ""), Refused));
    }
    cases
}

/// All inputs.
pub fn all() -> Vec<Case> {
    [honest(), codings(), lengths(), chunks(), lines()].into_iter().flatten().collect()
}

/// Classes 1, 2 and 7 to 12, each followed by an honest request on the same connections to the application.
#[tokio::test]
async fn a_message_with_two_readings_is_refused_or_forwarded_clean() {
    Rig::start().await.judge(Way::Plain, &all()).await;
}

/// The same over TLS: records hide no bytes from the parser.
#[tokio::test]
async fn the_same_over_tls() {
    Rig::start().await.judge(Way::Tls, &all()).await;
}

/// The same while the routes are saved again and again: a new table reads nothing anew.
#[tokio::test]
async fn the_same_during_reloads() {
    let rig = Rig::start().await;
    let mut wrong = Vec::new();
    for (version, case) in all().iter().enumerate() {
        rig.reload(version + 1);
        wrong.extend(rig.verdict(Way::Plain, case).await.err().map(|why| format!("{}: {why}", case.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    rig.headgate.stop().await;
}

/// The same byte after byte: where a read ends changes nothing.
#[tokio::test]
async fn the_same_in_pieces() {
    let rig = Rig::start().await;
    let mut wrong = Vec::new();
    for case in all().iter().filter(|case| case.bytes.len() < 400) {
        rig.origin.forget();
        let mut wire = rig.open(Way::Plain).await;
        for piece in case.bytes.chunks(3) {
            wire.send(piece).await;
            tokio::task::yield_now().await;
        }
        drop(wire);
        // what was sent has been read once somebody else was answered, twice since the core takes turns
        let canaries = [rig.canary().await, rig.canary().await];
        let malformed = rig.origin.malformed();
        let smuggled = rig.origin.requests().iter().any(|request| request.target.contains("smug"));
        if canaries != [200, 200] || !malformed.is_empty() || smuggled {
            wrong.push(format!("{}: {canaries:?} {malformed:?} {smuggled}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    rig.headgate.stop().await;
}
