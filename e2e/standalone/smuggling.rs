//! Ambiguous and malformed requests: refused with the connection closed, or exactly one clean request reaches the application. Nothing that a client hides in a body is ever a request.

use headgate_e2e::{Answer, Headgate, Origin, Script, Wire, backend, field, route};

const HOST: &str = "app.localhost";

/// What is right.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Right {
    /// An answer of 4xx or 5xx, the connection closed, nothing at the application.
    Refused,
    /// The application gets so many clean requests, and as many answers come.
    Clean(usize),
    /// Either: nothing, or one clean request.
    Either,
}
use Right::{Clean, Either, Refused};

async fn gateway() -> (Headgate, Origin) {
    let origin = Origin::start(|_| Script::ok("ok")).await;
    let files =
        [("app.yaml", backend("app", None, &[origin.address])), ("route.yaml", route("app", HOST, &[("app", 1)]))];
    (Headgate::run(&files).await, origin)
}

/// All answers until the connection ends or nothing more is owed.
async fn answers(wire: &mut Wire, owed: usize) -> (Vec<Answer>, bool) {
    let mut answers = Vec::new();
    loop {
        if answers.len() == owed && answers.last().is_none_or(Answer::keeps_alive) {
            return (answers, false);
        }
        match wire.try_answer(false).await {
            Ok(answer) => answers.push(answer),
            Err(why) => {
                assert!(!why.contains("malformed"), "{why}");
                return (answers, true);
            }
        }
    }
}

async fn judge(headgate: &Headgate, origin: &Origin, name: &str, bytes: &[u8], right: Right) -> Result<(), String> {
    origin.forget();
    let mut wire = Wire::open(headgate.address).await;
    wire.send(bytes).await;
    let owed = if let Clean(count) = right { count } else { 1 };
    let (answers, mut closed) = answers(&mut wire, owed).await;
    if !closed && right == Refused {
        closed = wire.rest().await.is_empty();
    }
    drop(wire);
    // the application's connections are as clean as before: the next request on them is understood
    let canary = headgate.get(HOST, "/canary").await;
    let malformed = origin.malformed();
    let verdict = |holds: bool, why: String| if holds { Ok(()) } else { Err(format!("{name}: {why}")) };
    verdict(malformed.is_empty(), format!("the application got {malformed:?}"))?;
    verdict(canary.status == 200, format!("the next client got {}", canary.status))?;
    let seen: Vec<_> = origin.requests().into_iter().filter(|request| request.target != "/canary").collect();
    let targets: Vec<&str> = seen.iter().map(|request| request.target.as_str()).collect();
    verdict(!targets.iter().any(|target| target.contains("smug")), format!("smuggled: {targets:?}"))?;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let refused = statuses.len() == 1 && statuses[0] >= 400 && closed && seen.is_empty();
    let clean = |count: usize| seen.len() == count && statuses.iter().filter(|status| **status == 200).count() == count;
    let holds = match right {
        Refused => refused,
        Clean(count) => clean(count),
        Either => refused || clean(1),
    };
    verdict(holds, format!("not {right:?}: answers {statuses:?}, closed {closed}, the application saw {targets:?}"))
}

/// A head with the usual Host.
fn head(first: &str, fields: &str, rest: &str) -> String {
    format!("{first}\r\nHost: {HOST}\r\n{fields}\r\n{rest}")
}

#[tokio::test]
async fn ambiguous_requests_are_refused_or_forwarded_clean() {
    const SMUG: &str = "GET /smug HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    let post = |fields: &str, rest: &str| head("POST / HTTP/1.1", fields, rest);
    let get = |fields: &str, rest: &str| head("GET / HTTP/1.1", fields, rest);
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let te = |value: &str| post(&format!("Transfer-Encoding:{value}\r\n"), &format!("0\r\n\r\n{SMUG}"));
    let cl = |value: &str| post(&format!("Content-Length:{value}\r\n"), "hello");
    let long_name = format!("Content-Length0{}:\r\nContent-Length: {}\r\n", "a".repeat(256), SMUG.len());
    let cases: Vec<(&str, String, Right)> = vec![
        ("plain", get("", ""), Clean(1)),
        ("body by length", post("Content-Length: 5\r\n", "hello"), Clean(1)),
        ("body in chunks", chunked("5\r\nhello\r\n0\r\n\r\n"), Clean(1)),
        ("pipelined", format!("{}{}", get("", ""), get("", "")), Clean(2)),
        // both framings
        ("CL and TE", post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nX"), Refused),
        (
            "TE and CL",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\nGPOST /smug HTTP/1.1\r\n\r\n0\r\n\r\n"),
            Refused,
        ),
        // transfer encodings
        (
            "TE on HTTP/1.0",
            head(
                "POST / HTTP/1.0",
                "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
                &format!("0\r\n\r\n{SMUG}"),
            ),
            Refused,
        ),
        ("TE identity, chunked", te(" identity, chunked"), Refused),
        ("TE chunked, identity", te(" chunked, identity"), Refused),
        ("TE ,chunked", te(" ,chunked"), Refused),
        ("TE vertical tab", te(" \x0bchunked"), Refused),
        ("TE parameter", te(" chunked;x"), Refused),
        ("TE quoted", te(" \"chunked\""), Refused),
        ("TE unknown", te(" xchunked"), Refused),
        ("TE gzip", te(" gzip"), Refused),
        ("TE empty", te(""), Refused),
        ("TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Refused),
        ("TE folded", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), Refused),
        ("TE space before colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), Refused),
        (
            "TE underscore and CL",
            post(&format!("Transfer_Encoding: chunked\r\nContent-Length: {}\r\n", SMUG.len()), SMUG),
            Either,
        ),
        ("TE upper case", chunked("0\r\n\r\n").replace("chunked", "CHUNKED"), Either),
        // lengths
        ("CL empty", cl(" "), Refused),
        ("CL plus", cl(" +5"), Refused),
        ("CL minus", cl(" -5"), Refused),
        ("CL list", cl(" 5, 5"), Refused),
        ("CL hex", cl(" 0x5"), Refused),
        ("CL overflow", cl(" 18446744073709551621"), Refused),
        ("CL twice", post("Content-Length: 0\r\nContent-Length: 44\r\n", SMUG), Refused),
        ("CL twice the same", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), Either),
        ("CL behind a long name", post(&long_name, SMUG), Either),
        ("empty name before CL", post(": x\r\nContent-Length: 5\r\n", "hello"), Refused),
        // chunks
        ("chunk size 0x5", chunked("0x5\r\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk size +5", chunked("+5\r\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk size -0", chunked("-0\r\n\r\n"), Refused),
        ("chunk size 5_0", chunked("5_0\r\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk size space before", chunked(" 5\r\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk size space behind", chunked("5 \r\nhello\r\n0\r\n\r\n"), Either),
        ("chunk size overflow", chunked("fffffffffffffffff0\r\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk extension", chunked("5;a=b\r\nhello\r\n0\r\n\r\n"), Either),
        ("chunk extension with LF", chunked(&format!("2;\nxx\r\n45\r\n0\r\n\r\n{SMUG}\r\n0\r\n\r\n")), Refused),
        ("chunk bare LF", chunked("5\r\nhello\n0\r\n\r\n"), Refused),
        ("chunk size bare LF", chunked("5\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk CR and more", chunked("5\r;a\r\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk too long", chunked("5\r\nhello!\r\n0\r\n\r\n"), Refused),
        ("trailer that frames", chunked("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"), Either),
        // lines
        ("bare LF in the head", "GET / HTTP/1.1\nHost: app.localhost\n\n".to_owned(), Refused),
        ("bare CR in a value", get("X: a\rGET /smug HTTP/1.1\r\n", ""), Refused),
        ("NUL in a value", get("X: a\0b\r\n", ""), Refused),
        ("folded field", get("X: a\r\n b\r\n", ""), Refused),
        ("space in a name", get("X Y: a\r\n", ""), Refused),
        ("no colon", get("X\r\n", ""), Refused),
        // request lines and hosts
        ("two spaces", head("GET  / HTTP/1.1", "", ""), Refused),
        ("space in the target", head("GET /a b HTTP/1.1", "", ""), Refused),
        ("HTTP/1.2", head("GET / HTTP/1.2", "", ""), Refused),
        ("HTTP/2.0 in a line", head("GET / HTTP/2.0", "", ""), Refused),
        ("lower case version", head("GET / http/1.1", "", ""), Refused),
        ("fragment", head("GET /index.html#.png HTTP/1.1", "", ""), Refused),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned(), Refused),
        ("two Hosts", get(&format!("Host: {HOST}\r\n"), ""), Refused),
        ("Host list", format!("GET / HTTP/1.1\r\nHost: {HOST}, b\r\n\r\n"), Refused),
        ("Host with user", format!("GET / HTTP/1.1\r\nHost: a@{HOST}\r\n\r\n"), Refused),
        ("absolute form of another host", head("GET http://other/ HTTP/1.1", "", ""), Refused),
        ("absolute form", head("GET http://app.localhost/ HTTP/1.1", "", ""), Clean(1)),
        ("CONNECT", head("CONNECT app.localhost:80 HTTP/1.1", "", SMUG), Refused),
        ("HTTP/2 preface cut off", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned(), Refused),
        // a body that looks like a request
        ("GET with a body", get(&format!("Content-Length: {}\r\n", SMUG.len()), SMUG), Clean(1)),
        (
            "Connection names framing",
            post(&format!("Connection: content-length\r\nContent-Length: {}\r\n", SMUG.len()), SMUG),
            Either,
        ),
        ("Connection names Host", get("Connection: host\r\n", ""), Either),
    ];
    let (headgate, origin) = gateway().await;
    let mut wrong = Vec::new();
    for (name, bytes, right) in &cases {
        wrong.extend(judge(&headgate, &origin, name, bytes.as_bytes(), *right).await.err());
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    headgate.stop().await;
}

#[tokio::test]
async fn what_follows_an_upgrade_waits_for_the_101() {
    const SMUG: &str = "GET /smug HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    let (headgate, origin) = gateway().await;
    for protocol in ["foo", "websocket", "h2c", "TLS/1.0"] {
        for body in [String::new(), format!("Content-Length: {}\r\n", SMUG.len())] {
            let name = format!("Upgrade: {protocol} {body:?}");
            let bytes = head("GET / HTTP/1.1", &format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n{body}"), SMUG);
            origin.forget();
            let mut wire = Wire::open(headgate.address).await;
            wire.send(bytes).await;
            let first = wire.try_answer(false).await.map(|answer| answer.status);
            drop(wire);
            assert_eq!(headgate.get(HOST, "/canary").await.status, 200, "{name}");
            let targets: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
            assert!(
                !targets.iter().any(|target| target == "/smug") || protocol == "h2c",
                "{name}: {first:?}, {targets:?}"
            );
            assert!(origin.malformed().is_empty(), "{name}: {:?}", origin.malformed());
        }
    }
    headgate.stop().await;
}

#[tokio::test]
async fn an_answer_of_our_own_leaves_no_body_behind() {
    const HIDDEN: &str = "GET /smug HTTP/1.1\r\nHost: app.localhost\r\nX: yz\r\n";
    let (headgate, origin) = gateway().await;
    // 404, before the body was read: on the same connection the next answer is that of the next request
    for length in [HIDDEN.len(), 60_000, 1_000_000] {
        origin.forget();
        let mut wire = Wire::open(headgate.address).await;
        let body = format!("{HIDDEN}{}", "x".repeat(length - HIDDEN.len()));
        let hit = format!("POST /hit HTTP/1.1\r\nHost: nobody.localhost\r\nContent-Length: {length}\r\n\r\n{body}");
        let first = wire.ask(hit).await;
        assert_eq!(first.status, 404);
        wire.send(head("GET /next HTTP/1.1", "", "")).await;
        match wire.try_answer(false).await {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{length}: {}", answer.text());
                assert_eq!(origin.only().target, "/next", "{length}");
            }
            Err(_) => assert!(length > 64 * 1024, "{length} bytes are few enough to read and go on"),
        }
    }
    assert_eq!(origin.broken(), 0);
    headgate.stop().await;
}

#[tokio::test]
async fn limits_of_heads_have_answers() {
    let (headgate, origin) = gateway().await;
    let field = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    for (name, bytes, status) in [
        ("long target", head(&format!("GET /{} HTTP/1.1", "a".repeat(9_000)), "", ""), 414),
        ("long field", head("GET / HTTP/1.1", &format!("X: {}\r\n", "a".repeat(40_000)), ""), 431),
        ("many fields", head("GET / HTTP/1.1", &field(101), ""), 431),
        ("fields without end", head("GET / HTTP/1.1", &field(20_000), ""), 431),
    ] {
        let mut wire = Wire::open(headgate.address).await;
        wire.send(bytes).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, status, "{name}");
        assert!(field_is_close(&answer) && wire.rest().await.is_empty(), "{name}");
    }
    assert!(origin.requests().is_empty());
    headgate.stop().await;
}

fn field_is_close(answer: &Answer) -> bool {
    field(&answer.fields, "connection") == Some("close")
}
