//! Cold starts under load: every request is answered once and whole, in order, within the function's bounds; who cannot wait is told at once.

use headgate_e2e::{Answer, Arrival, Function, Headgate, Wire, arrivals, pattern, until};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The recording application.
fn recording(home: &TempDir) -> Function {
    Function::named("busy").command(&[env!("CARGO_BIN_EXE_app")]).env("LOG", log(home).display())
}

/// The same, which listens when the test lets it.
fn waiting(home: &TempDir) -> Function {
    recording(home).env("LISTEN_WHEN", home.path().join("listen").display())
}

fn let_listen(home: &TempDir) {
    std::fs::write(home.path().join("listen"), "").unwrap();
}

fn log(home: &TempDir) -> PathBuf {
    home.path().join("arrivals")
}

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
    overflow(1_000).await;
}

/// 100 may wait; the rest of `count` is told so while the function is still starting.
pub async fn overflow(count: usize) {
    let home = tempfile::tempdir().unwrap();
    let cold = waiting(&home).annotation("headgate.dev/queue", 100);
    let headgate =
        Headgate::run(&[("busy.yaml", cold.to_string()), ("warm.yaml", Function::named("warm").to_string())]).await;
    assert_eq!(headgate.get("warm.default.localhost", "/").await.status, 200);

    let address = headgate.address;
    let refusals = Arc::new(AtomicUsize::new(0));
    let ask = |order: usize| {
        let refusals = refusals.clone();
        tokio::spawn(async move {
            let mut wire = Wire::open(address).await;
            let head = format!("GET / HTTP/1.1\r\nHost: busy.default.localhost\r\nX-Order: {order}\r\n\r\n");
            let answer = wire.ask(head).await;
            refusals.fetch_add(usize::from(answer.status == 503), Relaxed);
            answer
        })
    };
    let mut clients = Vec::new();
    let mut slowest_warm = Duration::ZERO;
    for order in 0..count {
        clients.push(ask(order));
        if order.is_multiple_of(50) {
            let asked = Instant::now();
            assert_eq!(headgate.get("warm.default.localhost", "/").await.text(), "warm\n");
            slowest_warm = slowest_warm.max(asked.elapsed());
        }
    }
    // all of the rest are refused while nothing has started yet
    until("the refusals", async || refusals.load(Relaxed) == count - 100).await;
    let_listen(&home);
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap());
    }
    let (held, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((held.len(), refused.len()), (100, count - 100));
    for answer in &refused {
        assert_eq!((answer.status, answer.failure()), (503, Some("queue_full")), "{}", answer.text());
        let retry: u32 = answer.field("retry-after").expect("a Retry-After").parse().unwrap();
        assert!(retry >= 1);
    }
    assert_eq!(arrivals(&log(&home)).len(), 100, "what was refused reached nobody");
    println!("slowest answer of the warm function: {slowest_warm:?}");
    headgate.stop().await;
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
