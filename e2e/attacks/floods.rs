//! H2 and H3: clients of HTTP/2 that send much and want nothing, or want much and take nothing. Each is sent away with a reason and counted, memory stays flat, and an honest client is served meanwhile.

use crate::rig::{HOST, Rig};
use headgate_e2e::{Frames, H2, Outcome, Script, block, frame, until};

/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const CALM: u32 = 11;
/// HEADERS, and its flags.
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// GET of `/`: three entries of the static table and an authority.
fn get() -> Vec<u8> {
    let mut head = vec![0x82, 0x86, 0x84, 0x01, HOST.len() as u8];
    head.extend(HOST.as_bytes());
    head
}

/// The same as POST, whose body follows.
fn post() -> Vec<u8> {
    let mut head = get();
    head[0] = 0x83;
    head
}

fn stream(number: usize) -> u32 {
    2 * number as u32 + 1
}

/// How many connections were ended for this, or for anything.
async fn ended(rig: &Rig, kind: &str) -> f64 {
    rig.headgate.metric("headgate_http2_floods_total", kind).await
}

/// Sends a flood: the connection ends with GOAWAY and ENHANCE_YOUR_CALM, the reason is counted, and others are served.
async fn is_sent_away(rig: &Rig, kind: &str, bytes: &[u8]) {
    let before = ended(rig, kind).await;
    let mut frames = Frames::open(rig.plain).await;
    frames.send(bytes).await;
    assert_eq!(frames.goaway().await, Some(CALM), "{kind}");
    until(&format!("{kind} counted"), async || ended(rig, kind).await == before + 1.0).await;
    assert_eq!(H2::open(rig.plain).await.get(HOST, "/").await.unwrap().status, 200, "{kind}");
}

/// RFC 9113 §10.5: frames that carry nothing have a rate. CVE-2019-9512, CVE-2019-9515, CVE-2019-9518, CVE-2024-27316, CVE-2019-9513.
#[tokio::test]
async fn frames_that_carry_nothing_end_their_connection() {
    let rig = Rig::with(&["--h2-window-updates-per-s", "1000"], |_| Script::ok("ok")).await;
    let open = frame(HEADERS, END_HEADERS, 1, &post());
    let starts = frame(HEADERS, END_STREAM, 1, &get()[..1]);
    // of CONTINUATION h2 has a bound too, and whichever is seen first is told
    for (kind, first, one) in [
        ("ping", &[][..], frame(6, 0, 0, b"12345678")),
        ("settings", &[], frame(4, 0, 0, &[])),
        ("empty_data", &open, frame(0, 0, 1, &[])),
        ("window_update", &open, frame(8, 0, 1, &1_u32.to_be_bytes())),
        ("", &starts, frame(9, 0, 1, &[])),
        ("other", &[], frame(6, 1, 0, b"12345678")),
        ("other", &[], frame(2, 0, 3, &[0, 0, 0, 0, 16])),
        ("other", &[], frame(0xbb, 0, 0, b"grease")),
    ] {
        is_sent_away(&rig, kind, &[first, &one.repeat(3_000)].concat()).await;
    }
    rig.headgate.stop().await;
}

/// The same at a rate that is allowed: a client that pings, sets and updates now and then is served.
#[tokio::test]
async fn a_few_of_each_are_welcome() {
    let rig = Rig::start().await;
    let mut frames = Frames::open(rig.plain).await;
    let mut bytes = Vec::new();
    for _ in 0..10 {
        bytes.extend(frame(6, 0, 0, b"12345678"));
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend(frame(2, 0, 3, &[0, 0, 0, 0, 16]));
        bytes.extend(frame(8, 0, 0, &1_u32.to_be_bytes()));
        bytes.extend(frame(0xbb, 0, 0, b"grease"));
    }
    frames.send(&bytes).await;
    frames.frame(HEADERS, END_HEADERS | END_STREAM, 1, &get()).await;
    assert_eq!(frames.outcome(1).await, Outcome::Answer(200, b"ok".to_vec()));
    drop(frames);
    rig.headgate.stop().await;
}

/// Clients that measure their way ask once for each piece of an answer, as those of gRPC do.
#[tokio::test]
async fn a_ping_for_each_answer_is_no_flood() {
    let rig = Rig::with(&["--h2-pings-per-s", "3"], |_| Script::ok("ok")).await;
    let mut frames = Frames::open(rig.plain).await;
    for number in 0..100 {
        frames.frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get()).await;
        assert_eq!(frames.outcome(stream(number)).await, Outcome::Answer(200, b"ok".to_vec()), "{number}");
        frames.frame(6, 0, 0, b"12345678").await;
    }
    drop(frames);
    rig.headgate.stop().await;
}

/// CVE-2023-44487: streams that are reset at once, before and after they reached the application.
#[tokio::test]
async fn rapid_reset_ends_the_connection() {
    let rig = Rig::start().await;
    let one = |number| {
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get());
        bytes.extend(frame(3, 0, stream(number), &8_u32.to_be_bytes()));
        bytes
    };
    let all: Vec<u8> = (0..3_000).flat_map(one).collect();
    is_sent_away(&rig, "", &all).await;
    assert!(rig.origin.complete() < 1_000, "{} requests for nobody", rig.origin.complete());
    rig.headgate.stop().await;

    // one at a time, each read before it is reset
    let flags = ["--h2-resets-per-s", "5", "--h2-pings-per-s", "1000"];
    let rig = Rig::with(&flags, |_| Script::default().wait(std::time::Duration::from_secs(9))).await;
    let mut frames = Frames::open(rig.plain).await;
    let mut number = 0;
    loop {
        frames.frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get()).await;
        frames.frame(6, 0, 0, b"are you?").await;
        // the answer to a PING shows that the head was read
        if !pong(&mut frames).await {
            break;
        }
        frames.frame(3, 0, stream(number), &8_u32.to_be_bytes()).await;
        number += 1;
        assert!(number < 500, "nobody ended it");
    }
    until("counted", async || ended(&rig, "reset").await >= 1.0).await;
    rig.headgate.stop().await;
}

async fn pong(frames: &mut Frames) -> bool {
    while let Some(frame) = frames.next().await {
        match (frame.kind, frame.flags) {
            (6, 1) => return true,
            (7, _) => return false,
            _ => {}
        }
    }
    false
}

/// CVE-2025-8671: the client makes us reset its streams, by bodies that are longer than they say, or by updates that overflow a window. The first
/// update of 0 bytes ends the connection (RFC 9113 §6.9 and §5.4.1).
#[tokio::test]
async fn made_you_reset_ends_the_connection() {
    let rig = Rig::with(&["--h2-error-resets", "100"], |_| Script::ok("ok")).await;
    let long = |number| {
        let mut head = post();
        head.extend(block(&[("content-length", "1")]));
        let mut bytes = frame(HEADERS, END_HEADERS, stream(number), &head);
        bytes.extend(frame(0, 0, stream(number), b"hello"));
        bytes
    };
    let overflow = |number| {
        let mut bytes = frame(HEADERS, END_HEADERS, stream(number), &post());
        bytes.extend(frame(8, 0, stream(number), &0x7fff_ffff_u32.to_be_bytes()));
        bytes
    };
    is_sent_away(&rig, "streams", &(0..2_000).flat_map(long).collect::<Vec<u8>>()).await;
    is_sent_away(&rig, "streams", &(0..2_000).flat_map(overflow).collect::<Vec<u8>>()).await;
    let mut frames = Frames::open(rig.plain).await;
    frames.frame(HEADERS, END_HEADERS, 1, &post()).await;
    frames.frame(8, 0, 1, &0_u32.to_be_bytes()).await;
    assert_eq!(frames.goaway().await, Some(1));
    assert_eq!(rig.origin.complete(), 2, "the honest ones");
    rig.headgate.stop().await;
}

/// CVE-2016-6581 and CVE-2026-49975, -47774, -73550: a small block that unfolds into many fields. The list is counted unfolded, cookies and all.
#[tokio::test]
async fn header_bombs_do_not_unfold() {
    let rig = Rig::start().await;
    let before = rig.headgate.peak_bytes();
    for (name, value) in
        [("x", "y".repeat(3_900)), ("x", String::new()), ("cookie", String::new()), ("host", HOST.into())]
    {
        let mut connections = Vec::new();
        for _ in 0..4 {
            let mut frames = Frames::open(rig.plain).await;
            // nothing of an answer may be sent: SETTINGS_INITIAL_WINDOW_SIZE
            frames.frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
            for number in 0..100 {
                let mut block = get();
                // into the dynamic table once, then by its index as often as a frame holds
                if number == 0 {
                    block.extend([0x40, name.len() as u8]);
                    block.extend(name.as_bytes());
                    block.extend(length(value.len()));
                    block.extend(value.as_bytes());
                }
                block.extend(vec![0xbe; 16_000 - block.len()]);
                if !frames.frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &block).await {
                    break;
                }
            }
            connections.push(frames);
        }
        for mut frames in connections {
            let outcome = frames.outcome(1).await;
            assert!(outcome.is_refusal(), "{name}, {} bytes: {outcome:?}", value.len());
        }
    }
    let grown = rig.headgate.peak_bytes().saturating_sub(before) >> 20;
    println!("{grown} MiB more at most after the bombs");
    assert!(grown < 50, "{grown} MiB");
    assert_eq!(rig.origin.complete(), 0);
    rig.headgate.stop().await;
}

fn length(value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![value as u8];
    }
    let rest = value - 127;
    vec![127, (rest % 128 + 128) as u8, (rest / 128) as u8]
}

/// RFC 9113 §10.5.1: fields are counted, not only their bytes; a cookie in crumbs (§8.2.3) counts as what it is in pieces.
#[tokio::test]
async fn too_many_fields_are_431() {
    let rig = Rig::start().await;
    for (name, count, refused) in [("x", 90, false), ("x", 101, true), ("cookie", 101, true), ("cookie", 90, false)] {
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)]
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec();
        fields.extend((0..count).map(|number| (name.into(), format!("a={number}").into_bytes())));
        let mut frames = Frames::open(rig.plain).await;
        frames.head(1, true, &fields).await;
        let outcome = frames.outcome(1).await;
        match outcome {
            Outcome::Answer(431, _) => assert!(refused, "{count} of {name}"),
            Outcome::Answer(200, _) => assert!(!refused, "{count} of {name}"),
            _ => panic!("{count} of {name}: {outcome:?}"),
        }
    }
    rig.headgate.stop().await;
}

/// RUSTSEC-2026-0258 and CVE-2020-12603: bodies of one byte a frame, which nobody takes. What is kept of them is bounded.
#[tokio::test]
async fn tiny_data_that_nobody_takes_is_bounded() {
    use headgate_e2e::Function;
    let cold = Function::named("cold").args(&["--start-delay", "1h"]).to_string();
    let rig = Rig::beside(&[], &[("cold.yaml", cold)], |_| Script::ok("ok")).await;
    let before = rig.headgate.peak_bytes();
    let mut frames = Frames::open(rig.headgate.address).await;
    let mut head = vec![0x83, 0x86, 0x84, 0x01, 22];
    head.extend(b"cold.default.localhost");
    let mut sent = 0;
    'all: for number in 0..16 {
        if !frames.frame(HEADERS, END_HEADERS, stream(number), &head).await {
            break;
        }
        let one = frame(0, 0, stream(number), b"x").repeat(1_000);
        for _ in 0..60 {
            if !frames.send(&one).await {
                break 'all;
            }
            sent += 1_000;
        }
    }
    assert_eq!(frames.goaway().await, Some(CALM), "after {sent} frames");
    until("counted", async || ended(&rig, "streams").await >= 1.0).await;
    let grown = rig.headgate.peak_bytes().saturating_sub(before) >> 20;
    println!("{grown} MiB more at most, {sent} frames");
    assert!(grown < 30, "{grown} MiB");
    rig.headgate.stop().await;
}

/// CVE-2019-9517 and CVE-2020-12604: a hundred answers to a window of 0 bytes. Little of each is kept, and after `--write-stall` they are reset.
#[tokio::test]
async fn a_window_that_never_opens_keeps_little_and_ends() {
    let rig = Rig::with(&["--write-stall", "1s"], |_| Script::ok(vec![b'x'; 1_000_000])).await;
    let before = rig.headgate.peak_bytes();
    let mut frames = Frames::open(rig.plain).await;
    frames.frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    for number in 0..100 {
        frames.frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get()).await;
    }
    let mut resets = 0;
    while resets < 100 {
        let Some(frame) = frames.next().await else { panic!("closed after {resets} resets") };
        resets += usize::from(frame.kind == 3);
        if frame.kind == 4 && frame.flags == 0 {
            frames.frame(4, 1, 0, &[]).await;
        }
    }
    let grown = rig.headgate.peak_bytes().saturating_sub(before) >> 20;
    println!("{grown} MiB more at most");
    assert!(grown < 40, "{grown} MiB");
    assert!(rig.headgate.metric("headgate_failures_total", "write_stall").await >= 100.0);
    drop(frames);
    rig.headgate.stop().await;
}

/// CVE-2019-9512 without reading: what is to be answered waits in bounds, and the connection ends.
#[tokio::test]
async fn a_client_that_never_reads_is_let_go() {
    let rig = Rig::with(&["--write-stall", "1s", "--h2-pings-per-s", "1000000"], |_| Script::ok("ok")).await;
    let before = rig.headgate.peak_bytes();
    let mut frames = Frames::open(rig.plain).await;
    let pings = frame(6, 0, 0, b"12345678").repeat(10_000);
    let mut taken = true;
    while taken {
        taken = frames.send(&pings).await;
    }
    until("its connection closed", async || rig.headgate.metric("headgate_connections_open", "").await == 0.0).await;
    let grown = rig.headgate.peak_bytes().saturating_sub(before) >> 20;
    assert!(grown < 20, "{grown} MiB");
    rig.headgate.stop().await;
}

/// An honest client is served while others flood.
#[tokio::test]
async fn an_honest_client_is_served_meanwhile() {
    let rig = Rig::start().await;
    let to = rig.plain;
    let flood = tokio::spawn(async move {
        loop {
            let mut frames = Frames::open(to).await;
            let reset = |number| {
                let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get());
                bytes.extend(frame(3, 0, stream(number), &8_u32.to_be_bytes()));
                bytes
            };
            frames.send(&(0..500).flat_map(reset).collect::<Vec<u8>>()).await;
            let _ = frames.goaway().await;
        }
    });
    let honest = H2::open(rig.plain).await;
    for _ in 0..300 {
        assert_eq!(honest.get(HOST, "/honest").await.unwrap().status, 200);
    }
    flood.abort();
    rig.headgate.stop().await;
}
