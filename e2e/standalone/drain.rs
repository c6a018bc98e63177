//! The end: what runs is finished, what waits is finished or answered, nothing hangs, and no process is left.

use crate::stories::{let_listen, waiting};
use headgate_e2e::{Frame, Frames, Function, H2, Headgate, Wire, until, within};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

const SLOW: &str = "slow.default.localhost";
const BUSY: &str = "busy.default.localhost";

fn get(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A gateway with a request that runs for a second, and one that waits for a function that does not listen.
async fn with_running_and_held(home: &tempfile::TempDir, grace: &str) -> (Headgate, Wire, Wire) {
    let files = [("slow.yaml", Function::named("slow").to_string()), ("busy.yaml", waiting(home).to_string())];
    let headgate = Headgate::run_with(&["--drain-grace", grace], &files).await;
    assert_eq!(headgate.get(SLOW, "/").await.status, 200);
    let (mut running, mut held) = (Wire::open(headgate.address).await, Wire::open(headgate.address).await);
    running.send(get(SLOW, "/?delay=1s")).await;
    held.send(get(BUSY, "/")).await;
    until("both", async || {
        headgate.metric("headgate_backend_in_flight", "slow").await >= 1.0
            && headgate.metric("headgate_queue_depth", "busy").await >= 1.0
    })
    .await;
    (headgate, running, held)
}

#[tokio::test]
async fn what_waits_is_answered_before_the_end() {
    let home = tempfile::tempdir().unwrap();
    let (mut headgate, mut running, mut held) = with_running_and_held(&home, "3s").await;
    let mut idle = Wire::open(headgate.address).await;
    assert_eq!(idle.ask(get(SLOW, "/")).await.status, 200);
    let h2 = H2::open(headgate.address).await;
    assert_eq!(h2.get(SLOW, "/").await.unwrap().status, 200);

    let asked = Instant::now();
    headgate.signal(Signal::SIGTERM);
    assert_eq!(idle.rest().await, b"", "an idle connection is closed without a word");
    let finished = running.answer().await;
    assert_eq!((finished.status, finished.text().as_str()), (200, "slow\n"));
    let answered = held.answer().await;
    assert_eq!((answered.status, answered.failure(), answered.keeps_alive()), (503, Some("draining"), false));
    let status = headgate.exit().await;
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < Duration::from_secs(6), "the end took {:?}", asked.elapsed());
    assert!(tokio::net::TcpStream::connect(headgate.address).await.is_err());
}

#[tokio::test]
async fn what_waits_is_served_if_its_function_starts_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let (mut headgate, mut running, mut held) = with_running_and_held(&home, "20s").await;
    headgate.signal(Signal::SIGTERM);
    headgate.printed("draining").await;
    let_listen(&home);
    assert_eq!(held.answer().await.status, 200);
    assert_eq!(running.answer().await.status, 200);
    let started = Instant::now();
    assert!(headgate.exit().await.success());
    assert!(started.elapsed() < Duration::from_secs(10), "the grace is a limit, not a wait");
}

/// Z5: a hundred that wait, over both protocols, are each answered: with 503 before the end, or by the function if that starts meanwhile.
#[tokio::test]
async fn a_hundred_that_wait_are_all_answered() {
    for starts in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let files = [("busy.yaml", waiting(&home).to_string())];
        let grace = if starts { "20s" } else { "2s" };
        let mut headgate = Headgate::run_with(&["--drain-grace", grace], &files).await;
        let (mut wires, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            let mut wire = Wire::open(headgate.address).await;
            wire.send(get(BUSY, "/")).await;
            wires.push(wire);
        }
        for _ in 0..5 {
            let client = H2::open(headgate.address).await;
            let ask = || {
                let client = client.clone();
                tokio::spawn(async move { client.get(BUSY, "/").await })
            };
            streams.extend((0..10).map(|_| ask()));
        }
        until("all wait", async || headgate.metric("headgate_queue_depth", "busy").await == 100.0).await;
        headgate.signal(Signal::SIGTERM);
        headgate.printed("draining").await;
        if starts {
            let_listen(&home);
        }
        let expected = if starts { (200, None) } else { (503, Some("draining")) };
        for mut wire in wires {
            let answer = wire.answer().await;
            assert_eq!(((answer.status, answer.failure()), answer.keeps_alive()), (expected, false));
        }
        for stream in streams {
            let answer = within("an answer", stream).await.unwrap().unwrap();
            assert_eq!(answer.status, expected.0);
            assert_eq!(answer.field("proxy-status").is_some_and(|said| said.contains("draining")), !starts);
        }
        assert!(headgate.exit().await.success());
    }
}

/// RFC 9113 §6.8: which stream was the last that is served, and why no more are.
fn farewell(frame: &Frame) -> Option<(u32, u32)> {
    let word = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
    (frame.kind == 7).then(|| (word(0), word(4)))
}

/// Asks over HTTP/2 and never says anything else, whatever comes.
async fn silent(headgate: &Headgate, target: &str) -> Frames {
    let mut frames = Frames::open(headgate.address).await;
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", SLOW), (":path", target)];
    frames.head(1, true, &head).await;
    frames
}

/// All frames until the end of the connection.
async fn all(mut frames: Frames) -> Vec<Frame> {
    let mut seen = Vec::new();
    while let Some(frame) = frames.next().await {
        seen.push(frame);
    }
    seen
}

#[tokio::test]
async fn clients_of_http2_are_told_and_hold_nothing_longer_than_their_streams_run() {
    let files = [("slow.yaml", Function::named("slow").to_string())];
    let mut headgate = Headgate::run_with(&["--drain-grace", "10m"], &files).await;
    let (idle, busy) = (H2::open(headgate.address).await, H2::open(headgate.address).await);
    assert_eq!(idle.get(SLOW, "/").await.unwrap().status, 200);
    let mut silent_idle = silent(&headgate, "/").await;
    silent_idle.outcome(1).await;
    let silent_busy = silent(&headgate, "/?delay=1s").await;
    let running = tokio::spawn(async move { busy.get(SLOW, "/?delay=1s").await });
    until("both", async || headgate.metric("headgate_backend_in_flight", "slow").await >= 2.0).await;
    headgate.signal(Signal::SIGTERM);

    let (first, last) = ((0x7fff_ffff, 0), (1, 0));
    let told: Vec<_> = all(silent_idle).await.iter().filter_map(farewell).collect();
    assert_eq!(told, [first, last], "told that the end comes, then that it is there");
    let frames = all(silent_busy).await;
    let told: Vec<_> = frames.iter().filter_map(farewell).collect();
    assert_eq!(told, [first, last]);
    let ended = frames.iter().position(|frame| frame.stream == 1 && frame.flags & 1 == 1);
    let over = frames.iter().rposition(|frame| frame.kind == 7);
    assert!(ended.is_some() && ended < over, "the answer is whole before the end: {frames:?}");
    assert_eq!(running.await.unwrap().unwrap().status, 200);
    let refused = idle.get(SLOW, "/").await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(headgate.exit().await.success());
}

#[tokio::test]
async fn a_second_interrupt_stops_at_once() {
    let home = tempfile::tempdir().unwrap();
    let (mut headgate, _running, mut held) = with_running_and_held(&home, "10m").await;
    headgate.signal(Signal::SIGINT);
    headgate.printed("draining").await;
    headgate.signal(Signal::SIGINT);
    within("the end", headgate.exit()).await;
    held.rest().await;
}
