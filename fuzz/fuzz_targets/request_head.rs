//! What would be forwarded of any bytes is exactly one message to a second, strict parser, and means the same.
#![no_main]

use headgate_fuzz::{bodies::decode, strict};
use headgate_http1::{Forward, HeadReader, Malformed, Request, write_chunk, write_last_chunk, write_request};
use headgate_message::{Fields, Scheme};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (at, text) = input;
    let whole = read(text, text.len());
    same(&whole, &read(text, usize::from(at).min(text.len())));
    if let Ok(Some((request, rest))) = whole {
        forward(&request, &rest);
    }
});

type Outcome = Result<Option<(Request, Vec<u8>)>, Malformed>;

/// Reads in two pieces.
fn read(text: &[u8], at: usize) -> Outcome {
    let mut reader = HeadReader::default();
    let mut buf = text[..at].to_vec();
    if let Some(request) = reader.request(&mut buf, Scheme::Http, Fields::default)? {
        buf.extend_from_slice(&text[at..]);
        return Ok(Some((request, buf)));
    }
    buf.extend_from_slice(&text[at..]);
    Ok(reader.request(&mut buf, Scheme::Http, Fields::default)?.map(|request| (request, buf)))
}

/// The pieces must not matter; of two defects either may be named.
fn same(one: &Outcome, two: &Outcome) {
    match (one, two) {
        (Ok(Some((a, a_rest))), Ok(Some((b, b_rest)))) => {
            assert_eq!(a_rest, b_rest);
            assert_eq!(format!("{a:?}"), format!("{b:?}"));
        }
        (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
        _ => panic!("pieces matter: {one:?} and {two:?}"),
    }
}

fn forward(request: &Request, rest: &[u8]) {
    let Ok(body) = decode(request.framing, std::iter::once(rest)) else { return };
    if !body.ended {
        return;
    }
    let mut out = Vec::new();
    write_request(&mut out, &request.head, request.framing, Forward::default());
    if request.framing.is_chunked() {
        write_chunk(&mut out, &body.data);
        write_last_chunk(&mut out, None);
    } else {
        out.extend_from_slice(&body.data);
    }
    let seen = strict::one_request(&out).unwrap_or_else(|why| panic!("{why}: {}", out.escape_ascii()));
    let head = &request.head;
    let target = match head.query() {
        Some(query) => format!("{}?{query}", head.path()),
        None => head.path().to_owned(),
    };
    assert_eq!(seen.method, head.method.as_str().as_bytes());
    assert_eq!(seen.target, target.as_bytes());
    assert_eq!(seen.host, head.authority().as_bytes());
    assert_eq!(seen.body, body.data);
    let fields: Vec<_> = head.fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
    assert_eq!(seen.fields, fields);
}
