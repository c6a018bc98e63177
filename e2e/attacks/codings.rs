//! S2: ways to hide Transfer-Encoding from one reader and not from the other. Beside each stands a Content-Length: whoever believes the other field finds another request.

use crate::rig::{Case, Rig, Right::Either, SMUG, Way, head};

/// What a reader that sees chunks would read as the end, and what then.
const BODY: &str = "0\r\n\r\nGET /smug HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

/// Lines that are nearly `Transfer-Encoding: chunked`.
fn gadgets() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut add = |parts: &[&[u8]]| lines.push(parts.concat());
    // a byte that is no part of the line, at each of its places
    let odd = [0x00, 0x01, 0x04, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x1f, 0x20, 0x7f, 0xa0, 0xff];
    for byte in odd {
        let byte = [byte];
        add(&[&byte, b"Transfer-Encoding: chunked"]);
        add(&[b"Transfer-Encoding", &byte, b": chunked"]);
        add(&[b"Transfer", &byte, b"Encoding: chunked"]);
        add(&[b"Transfer-Encoding:", &byte, b"chunked"]);
        add(&[b"Transfer-Encoding:", &byte, b" chunked"]);
        add(&[b"Transfer-Encoding: chunked", &byte]);
        add(&[b"Transfer-Encoding: ch", &byte, b"unked"]);
        add(&[b"X: y", &byte, b"Transfer-Encoding: chunked"]);
    }
    for line in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunk",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=0",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: cow, chunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding:  chunked",
        "Transfer-Encoding: chunked ",
        "Transfer-Encoding: CHUNKED",
        "TRANSFER-ENCODING: chunked",
        "tRANSFER-ENCODING: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\r\n\tchunked",
        "Transfer-Encoding\r\n: chunked",
        "Transfer-\r\n Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding\r: chunked",
        "Transfer Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Transfer--Encoding: chunked",
        "Transfer-Encoding;: chunked",
        "Transfer-Encoding=chunked",
        "Transfer-Encoding chunked",
        "Transfer-Encoding:: chunked",
        "Transfer-Encoding:=chunked",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: c\u{212a}unked",
        "Tr\u{e4}nsfer-Encoding: chunked",
        "Transfer-\u{210f}ncoding: chunked",
        "\u{feff}Transfer-Encoding: chunked",
        "\"Transfer-Encoding\": chunked",
        "(x)Transfer-Encoding: chunked",
        "Transfer-Encoding (x): chunked",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "Content-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        add(&[line.as_bytes()]);
    }
    lines
}

fn cases(length_first: bool) -> Vec<Case> {
    let length = format!("Content-Length: {}\r\n", BODY.len());
    let (first, last) = if length_first { (length.as_str(), "") } else { ("", length.as_str()) };
    let whole = |line: Vec<u8>| {
        let name = format!(
            "{:?} (length {})",
            String::from_utf8_lossy(&line),
            if first.is_empty() { "behind" } else { "first" }
        );
        let start = head("POST / HTTP/1.1", first, "");
        let mut bytes = start.trim_end().as_bytes().to_vec();
        bytes.extend([b"\r\n", &line[..], b"\r\n", last.as_bytes(), b"\r\n", BODY.as_bytes()].concat());
        Case::new(name, bytes, Either(BODY))
    };
    gadgets().into_iter().map(whole).collect()
}

/// RFC 9112 §6.1: a coding that is not understood, or stands beside a length, is refused. Of 134 such lines the strictest proxy refuses 124; what is
/// left is a field of another name, and means nothing to anybody.
#[tokio::test]
async fn obfuscated_codings_hide_no_request() {
    assert!(BODY.ends_with(SMUG));
    for length_first in [true, false] {
        let cases = cases(length_first);
        let count = cases.len();
        let refused = Rig::start().await.judge(Way::Plain, &cases).await;
        println!("{refused} of {count} refused, the others forwarded clean");
        assert!(count >= 134 && refused * 134 >= 124 * count, "{refused} of {count} refused");
    }
}
