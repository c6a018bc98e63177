//! Cold starts under load: every request is answered once and whole, in order, within the function's bounds; who cannot wait is told at once.

use crate::stories::{self, let_listen, log, recording, waiting};
use headgate_e2e::{Answer, Arrival, Function, Headgate, Wire, arrivals, pattern, until};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// One request of a burst: every other is a POST, of up to 1 MB.
fn request(order: usize) -> Vec<u8> {
    let head = format!("Host: busy.default.localhost\r\nX-Order: {order}\r\n");
    if order.is_multiple_of(2) {
        return format!("GET / HTTP/1.1\r\n{head}\r\n").into_bytes();
    }
    let body = pattern(order * 7_919 % 1_000_001);
    let mut bytes = format!("POST / HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend(body);
    bytes
}

/// Sends requests over a second, each on a connection of its own.
async fn burst(headgate: &Headgate, count: usize) -> Vec<Answer> {
    let (address, start) = (headgate.address, Instant::now());
    let mut clients: Vec<JoinHandle<Answer>> = Vec::new();
    for order in 0..count {
        let mut wire = Wire::open(address).await;
        // what decides the order is when heads are sent, and a head is sent here, in order
        let bytes = request(order);
        let first = bytes.len().min(256);
        wire.send(&bytes[..first]).await;
        clients.push(tokio::spawn(async move {
            let sent = tokio::spawn(async move {
                wire.send(&bytes[first..]).await;
                wire.answer().await
            });
            sent.await.unwrap()
        }));
        let pace = start + Duration::from_secs(1) * (order as u32 + 1) / count as u32;
        tokio::time::sleep_until(pace.into()).await;
    }
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap());
    }
    answers
}

fn assert_each_answered_once(answers: &[Answer], arrived: &[Arrival]) {
    for (order, answer) in answers.iter().enumerate() {
        let length = if order.is_multiple_of(2) { 0 } else { order * 7_919 % 1_000_001 };
        assert_eq!((answer.status, answer.text()), (200, format!("{order} {length} true")));
    }
    let orders: BTreeSet<usize> = arrived.iter().map(|arrival| arrival.order).collect();
    assert_eq!(
        (arrived.len(), orders.len()),
        (answers.len(), answers.len()),
        "some reached the application twice or never"
    );
    assert!(arrived.iter().all(|arrival| arrival.intact));
}

#[tokio::test]
async fn a_burst_at_a_cold_function_is_answered_once_whole_and_in_order() {
    let home = tempfile::tempdir().unwrap();
    // one at a time, so that the application sees the order of the queue
    let function = recording(&home).env("LISTEN_AFTER_MS", 1_000).replicas(0, 1).concurrency(1);
    let headgate = Headgate::run_with(&["--cores", "1"], &[("f.yaml", function.to_string())]).await;
    let answers = burst(&headgate, 500).await;
    let arrived = arrivals(&log(&home));
    assert_each_answered_once(&answers, &arrived);
    let inversions = arrived.windows(2).filter(|pair| pair[0].order > pair[1].order).count();
    assert_eq!(inversions, 0);
    assert!(arrived.iter().all(|arrival| arrival.at_once == 1));
    headgate.stop().await;
}

#[tokio::test]
async fn a_burst_stays_within_replicas_and_concurrency() {
    let home = tempfile::tempdir().unwrap();
    let function = recording(&home).env("LISTEN_AFTER_MS", 1_000).env("HOLD_MS", 10).replicas(0, 3).concurrency(4);
    let headgate = Headgate::run(&[("f.yaml", function.to_string())]).await;
    let counted = async {
        let mut most = 0;
        loop {
            most = headgate.count("app").max(most);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                () = std::future::ready(()), if arrivals(&log(&home)).len() >= 500 => return most,
            }
        }
    };
    let (answers, most) = tokio::join!(burst(&headgate, 500), counted);
    let arrived = arrivals(&log(&home));
    assert_each_answered_once(&answers, &arrived);
    let at_once = arrived.iter().map(|arrival| arrival.at_once).max().unwrap();
    assert!(at_once <= 4, "{at_once} at once in one process");
    let processes: BTreeSet<u32> = arrived.iter().map(|arrival| arrival.process).collect();
    assert!(most <= 3 && processes.len() <= 3, "{most} at once, {} in all", processes.len());
    assert!(processes.len() > 1, "500 requests want more than one replica of four");
    headgate.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_disturbs_nobody() {
    stories::overflow(1_000).await;
}

#[tokio::test]
async fn what_was_abandoned_while_cold_reaches_nobody() {
    let home = tempfile::tempdir().unwrap();
    let function = waiting(&home).annotation("headgate.dev/queue", 2_000);
    let headgate = Headgate::run(&[("f.yaml", function.to_string())]).await;
    let mut bytes = b"POST / HTTP/1.1\r\nHost: busy.default.localhost\r\nContent-Length: 65536\r\n\r\n".to_vec();
    bytes.extend(pattern(65_536));
    for _ in 0..10 {
        let mut wires = Vec::new();
        for _ in 0..100 {
            let mut wire = Wire::open(headgate.address).await;
            wire.send(&bytes).await;
            wires.push(wire);
        }
        // held, and then left: the socket closes with the answer outstanding
        until("100 in the queue", async || headgate.metric("headgate_queue_depth", "busy").await >= 100.0).await;
        drop(wires);
        until("an empty queue", async || headgate.metric("headgate_queue_depth", "busy").await < 1.0).await;
    }
    let mut last = Wire::open(headgate.address).await;
    last.send("GET / HTTP/1.1\r\nHost: busy.default.localhost\r\nX-Order: 7\r\n\r\n").await;
    let_listen(&home);
    let answer = last.answer().await;
    assert_eq!(answer.status, 200);
    let arrived = arrivals(&log(&home));
    assert_eq!(arrived.iter().map(|arrival| arrival.order).collect::<Vec<_>>(), [7]);
    headgate.stop().await;
}

#[tokio::test]
async fn a_function_that_crashes_at_start_answers_soon_and_works_once_mended() {
    let broken = Function::named("hello").command(&["sh", "-c", "echo no database >&2; exit 3"]);
    let headgate = Headgate::run(&[("f.yaml", broken.to_string())]).await;
    let asked = Instant::now();
    let first = headgate.get("hello.default.localhost", "/").await;
    assert_eq!((first.status, first.failure()), (503, Some("activation_failed")), "{}", first.text());
    assert!(first.text().contains("no database") && first.text().contains("code 3"), "{}", first.text());
    println!("the first caller was answered after {:?}", asked.elapsed());

    let asked = Instant::now();
    let next = headgate.get("hello.default.localhost", "/").await;
    assert_eq!((next.status, next.failure()), (503, Some("activation_failed")));
    assert!(asked.elapsed() < Duration::from_millis(500), "the next caller waited {:?}", asked.elapsed());

    headgate.save("f.yaml", &Function::named("hello").to_string());
    headgate.serves("hello.default.localhost", "/", |answer| answer.text() == "hello\n").await;
    headgate.stop().await;
}

/// Z4: processes that listen and leave with the first connection. Who waits is answered and not held for ever; nothing is started more often than
/// the pauses between starts allow; and once they stay, requests are served once.
#[tokio::test]
async fn a_function_that_comes_and_goes_is_answered_for_and_works_once_it_stays() {
    let home = tempfile::tempdir().unwrap();
    let stay = home.path().join("stay");
    let function = recording(&home).env("STAY_WHEN", stay.display()).replicas(0, 1);
    let headgate = Headgate::run_with(&["--wait-unknown", "10s"], &[("f.yaml", function.to_string())]).await;
    let asked = Instant::now();
    let mut wires = Vec::new();
    for order in [0, 1, 2] {
        let mut wire = Wire::open(headgate.address).await;
        wire.send(request(order)).await;
        wires.push(wire);
    }
    for mut wire in wires {
        let answer = wire.answer().await;
        println!("{} {:?} after {:?}", answer.status, answer.failure(), asked.elapsed());
        // of one that was sent to a process nobody knows what became of it
        assert!([502, 503, 504].contains(&answer.status) && answer.failure().is_some(), "{}", answer.text());
    }
    let is_broken = |answer: &Answer| answer.failure() == Some("activation_failed");
    headgate.serves("busy.default.localhost", "/", is_broken).await;
    let is_exit = |line: &&String| line.contains("replica #") && line.contains("exited with code 7");
    let exits = headgate.output().iter().filter(is_exit).count() as u64;
    assert!(exits <= 4 + asked.elapsed().as_secs(), "{exits} starts in {:?}", asked.elapsed());
    assert!(arrivals(&log(&home)).is_empty());
    std::fs::write(&stay, "").unwrap();
    headgate.serves("busy.default.localhost", "/", |answer| answer.status == 200).await;
    headgate.stop().await;
}
