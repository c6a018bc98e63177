//! A chunked body means the same in any pieces, and what is written of it means the same again, to us and to a second parser.
#![no_main]

use headgate_fuzz::{bodies::decode, strict};
use headgate_http1::{write_chunk, write_last_chunk};
use headgate_message::{Fields, Framing, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (size, at, text) = input;
    // Of two defects either may be named.
    let whole = decode(chunked(), std::iter::once(text)).ok();
    let (a, b) = text.split_at(usize::from(at).min(text.len()));
    assert_eq!(decode(chunked(), [a, b].into_iter()).ok(), whole);
    assert_eq!(decode(chunked(), text.chunks(usize::from(size).max(1))).ok(), whole);

    let Some(body) = whole else { return };
    if !body.ended {
        return;
    }
    let mut trailers = Fields::default();
    for (name, value) in &body.trailers {
        trailers.push(std::str::from_utf8(name).expect("names are tokens"), value);
    }
    let mut out = Vec::new();
    body.data.chunks(usize::from(size).max(1)).for_each(|data| write_chunk(&mut out, data));
    write_last_chunk(&mut out, Some(&trailers));
    let again = decode(chunked(), std::iter::once(out.as_slice())).expect("what we wrote is well-formed");
    assert_eq!((&again.data, &again.trailers, again.used), (&body.data, &body.trailers, out.len()));
    let mut rest = out.as_slice();
    let seen = strict::chunked(&mut rest).expect("what we wrote is well-formed to others");
    assert_eq!((seen.0, seen.1), (body.data, body.trailers));
    assert!(rest.is_empty());
});

fn chunked() -> Framing {
    let encodings = std::iter::once(&b"chunked"[..]);
    Framing::of_request(Version::Http11, std::iter::empty(), encodings).expect("the one legal value")
}
