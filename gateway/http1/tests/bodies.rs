//! Bodies: what chunks may look like, and that the pieces they come in change nothing.

#![expect(clippy::unwrap_used, reason = "also in the helpers of tests")]

use headgate_http1::{BodyDecoder, Found, Malformed, Step, write_chunk, write_last_chunk};
use headgate_message::{Fields, Framing, Version};

fn chunked() -> Framing {
    Framing::of_request(Version::Http11, [].into_iter(), [&b"chunked"[..]].into_iter()).unwrap()
}

fn until_close() -> Framing {
    Framing::of_response(Version::Http11, false, [].into_iter(), [].into_iter()).unwrap()
}

#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Body {
    data: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    ended: bool,
    rest: Vec<u8>,
}

/// Decodes pieces; what follows the end is the rest.
fn decode<'p>(framing: Framing, pieces: impl Iterator<Item = &'p [u8]>) -> Result<Body, Malformed> {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Body::default();
    for piece in pieces {
        let mut input = piece;
        loop {
            let Step { used, found } = decoder.next(input)?;
            match found {
                Found::Data(range) => {
                    assert_eq!(range.end, used);
                    body.data.extend_from_slice(&input[range]);
                }
                Found::Trailers(fields) => body.trailers = fields.iter().map(|(n, v)| (n.into(), v.into())).collect(),
                Found::End => {
                    body.ended = true;
                    body.rest.extend_from_slice(&input[used..]);
                    break;
                }
                Found::More => {
                    assert_eq!(used, input.len());
                    break;
                }
            }
            input = &input[used..];
        }
    }
    Ok(body)
}

fn whole(text: &[u8]) -> Result<Body, Malformed> {
    decode(chunked(), [text].into_iter())
}

#[test]
fn chunks_are_data() {
    let body = whole(b"5\r\nhello\r\n6;a=\"b c\";d\r\n world\r\n00\r\n\r\nGET /").unwrap();
    assert_eq!(body.data, b"hello world");
    assert!(body.ended && body.trailers.is_empty());
    assert_eq!(body.rest, b"GET /");
    assert_eq!(whole(b"A\r\n0123456789\r\n000000000000000a\r\n0123456789\r\n0\r\n\r\n").unwrap().data.len(), 20);
}

#[test]
fn trailers_are_fields() {
    let body = whole(b"1\r\na\r\n0\r\nGrpc-Status: 0\r\nSet-Cookie: dropped\r\nX:  y \r\n\r\nrest").unwrap();
    assert_eq!(body.trailers, [("grpc-status".into(), b"0".to_vec()), ("x".into(), b"y".to_vec())]);
    assert_eq!(body.rest, b"rest");
    assert!(whole(b"0\r\nCookie: dropped\r\n\r\n").unwrap().trailers.is_empty());
}

#[test]
fn lax_chunks_are_refused() {
    for size in ["0x5", "+5", "-0", "5_0", " 5", "5 ", "fffffffffffffffff0", "", "\t5", "g", "5 ;a", "5,5", "5\0"] {
        let text = format!("{size}\r\nhello\r\n0\r\n\r\n");
        assert_eq!(whole(text.as_bytes()), Err(Malformed::ChunkSize), "{size:?}");
    }
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(257));
    for (text, expected) in [
        (&b"2;\nxx\r\n45\r\n0\r\n\r\nGET /smug HTTP/1.1\r\nHost: a\r\n\r\n"[..], Malformed::LineEnd),
        (b"5\r\nhello\n0\r\n\r\n", Malformed::ChunkEnd),
        (b"5\r\nhello\r0\r\n\r\n", Malformed::ChunkEnd),
        (b"5\r\nhello!\r\n0\r\n\r\n", Malformed::ChunkEnd),
        (b"5\r;a\r\nhello\r\n0\r\n\r\n", Malformed::LineEnd),
        (b"5\nhello\r\n0\r\n\r\n", Malformed::ChunkSize),
        (b"5;a\rb\r\nhello\r\n0\r\n\r\n", Malformed::LineEnd),
        (b"5;a\0\r\nhello\r\n0\r\n\r\n", Malformed::Control),
        (long.as_bytes(), Malformed::ChunkExtension),
        (b"0\r\n\n", Malformed::LineEnd),
        (b"0\r\nX: y\n\r\n", Malformed::LineEnd),
        (b"0\r\nX : y\r\n\r\n", Malformed::FieldName),
        (b"0\r\nX: y\r\n z\r\n\r\n", Malformed::Folded),
        (b"0\r\nContent-Length: 5\r\n\r\n", Malformed::Trailer),
        (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::Trailer),
        (b"0\r\nHost: b\r\n\r\n", Malformed::Trailer),
        (b"0\r\n\0", Malformed::Control),
    ] {
        for at in 0..=text.len() {
            let (a, b) = text.split_at(at);
            let outcome = decode(chunked(), [a, b].into_iter());
            assert_eq!(outcome, Err(expected), "{:?} at {at}", text.escape_ascii().to_string());
        }
    }
}

#[test]
fn extensions_and_trailers_are_bounded_over_the_whole_body() {
    let chunk = format!("1;{}\r\na\r\n", "b".repeat(255));
    assert_eq!(whole(chunk.repeat(64).as_bytes()).unwrap().data.len(), 64);
    assert_eq!(whole(chunk.repeat(65).as_bytes()), Err(Malformed::ChunkExtension));
    let fields = |count: usize| format!("0\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert_eq!(whole(fields(32).as_bytes()).unwrap().trailers.len(), 32);
    assert_eq!(whole(fields(33).as_bytes()), Err(Malformed::LongTrailers));
    let long = format!("0\r\na: {}", "b".repeat(8 * 1024));
    assert_eq!(whole(long.as_bytes()), Err(Malformed::LongTrailers));
    assert_eq!(decode(chunked(), long.as_bytes().chunks(1)), Err(Malformed::LongTrailers));
}

#[test]
fn the_pieces_that_chunks_come_in_change_nothing() {
    for text in [
        &b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\nnext"[..],
        b"1\r\na\r\n0;x\r\nA: b\r\nC: d\r\n\r\nnext",
        b"0\r\n\r\n",
        b"3\r\nab",
    ] {
        let expected = whole(text).unwrap();
        for at in 0..=text.len() {
            let (a, b) = text.split_at(at);
            assert_eq!(decode(chunked(), [a, b].into_iter()).unwrap(), expected, "at {at}");
        }
        assert_eq!(decode(chunked(), text.chunks(1)).unwrap(), expected);
    }
}

#[test]
fn a_length_is_exact_and_an_end_too_early_is_an_error() {
    let five = Framing::of_whole(b"12345");
    let body = decode(five, [&b"123"[..], b"45GET"].into_iter()).unwrap();
    assert_eq!((body.data.as_slice(), body.rest.as_slice(), body.ended), (&b"12345"[..], &b"GET"[..], true));
    assert!(BodyDecoder::new(Framing::NONE).is_done() && BodyDecoder::new(Framing::of_whole(b"")).is_done());

    let mut decoder = BodyDecoder::new(five);
    decoder.next(b"123").unwrap();
    assert_eq!(decoder.left(), Some(2));
    assert_eq!(decoder.finish_at_eof(), Err(Malformed::Truncated));
    let mut decoder = BodyDecoder::new(chunked());
    decoder.next(b"0\r\n").unwrap();
    assert_eq!(decoder.finish_at_eof(), Err(Malformed::Truncated));
    let mut decoder = BodyDecoder::new(until_close());
    let step = decoder.next(b"123").unwrap();
    assert!(matches!(step, Step { used: 3, found: Found::Data(range) } if range == (0..3)));
    assert_eq!(decoder.finish_at_eof(), Ok(()));
    assert!(decoder.is_done());
}

#[test]
fn what_we_write_is_what_was_meant() {
    let mut trailers = Fields::default();
    trailers.push("grpc-status", b"0");
    let mut out = Vec::new();
    let data = vec![b'x'; 0x1_0203];
    for part in [&data[..1], &[], &data[1..16], &data[16..]] {
        write_chunk(&mut out, part);
    }
    write_last_chunk(&mut out, Some(&trailers));
    assert!(out.starts_with(b"1\r\nx\r\nf\r\n"));
    assert!(out.ends_with(b"\r\n0\r\ngrpc-status: 0\r\n\r\n"));
    let body = whole(&out).unwrap();
    assert_eq!(body.data, data);
    assert_eq!(body.trailers, [("grpc-status".into(), b"0".to_vec())]);
    let mut out = Vec::new();
    write_last_chunk(&mut out, None);
    assert_eq!(out, b"0\r\n\r\n");
}
