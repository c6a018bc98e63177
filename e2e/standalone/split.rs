//! Weights are kept to the request: also while an arm is cold, and while its file is saved.

use headgate_e2e::{Function, H2, Headgate, Wire, route, within};
use std::{collections::BTreeMap, net::SocketAddr};

const HOST: &str = "hello.default.localhost";
const COUNT: usize = 10_000;

fn files(weights: [u32; 2]) -> Vec<(&'static str, String)> {
    vec![
        ("v1.yaml", Function::named("hello-v1").to_string()),
        ("v2.yaml", Function::named("hello-v2").to_string()),
        ("route.yaml", split(weights)),
    ]
}

fn split([v1, v2]: [u32; 2]) -> String {
    route("hello", HOST, &[("hello-v1", v1), ("hello-v2", v2)])
}

/// Asks over eight connections that are kept, and counts the answers.
async fn ask(to: SocketAddr, count: usize) -> BTreeMap<String, usize> {
    let clients = (0..8).map(|client| {
        tokio::spawn(async move {
            let mut wire = Wire::open(to).await;
            let mut seen = BTreeMap::new();
            for _ in 0..count / 8 + usize::from(client < count % 8) {
                let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                *seen.entry(answer.text().trim().to_owned()).or_insert(0) += 1;
            }
            seen
        })
    });
    let mut all = BTreeMap::new();
    for client in clients.collect::<Vec<_>>() {
        for (text, count) in client.await.unwrap() {
            *all.entry(text).or_insert(0) += count;
        }
    }
    all
}

/// 90 to 10 of 10,000: four standard deviations.
fn assert_split(seen: &BTreeMap<String, usize>) {
    let (v1, v2) = (seen["hello-v1"], seen["hello-v2"]);
    assert_eq!(v1 + v2, COUNT);
    assert!(v1.abs_diff(9_000) <= 120 && v2.abs_diff(1_000) <= 120, "{seen:?}");
}

#[tokio::test]
async fn ninety_to_ten_from_the_first_request_with_both_arms_cold() {
    let headgate = Headgate::run(&files([90, 10])).await;
    assert_split(&ask(headgate.address, COUNT).await);
    headgate.stop().await;
}

#[tokio::test]
async fn ninety_to_ten_while_the_file_is_saved() {
    let headgate = Headgate::run(&files([90, 10])).await;
    let asking = tokio::spawn(ask(headgate.address, COUNT));
    let mut saves = 0;
    while !asking.is_finished() {
        // the same weights in other numbers, and the same file again
        headgate.save("route.yaml", &split(if saves % 2 == 0 { [9, 1] } else { [90, 10] }));
        saves += 1;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(saves > 5, "{saves} saves");
    assert_split(&within("the requests", asking).await.unwrap());
    headgate.stop().await;
}

#[tokio::test]
async fn other_weights_are_live_at_once_and_start_nothing() {
    let headgate = Headgate::run(&files([90, 10])).await;
    let seen = ask(headgate.address, 200).await;
    assert!(seen.len() == 2, "{seen:?}");
    let processes = headgate.processes();
    headgate.forget();
    headgate.save("route.yaml", &split([0, 1]));
    let all = async || ask(headgate.address, 64).await.get("hello-v2") == Some(&64);
    headgate_e2e::until("all requests at hello-v2", all).await;
    headgate.printed("hello-v2").await;
    assert_eq!(headgate.processes(), processes, "a route says where requests go, not what runs");

    // the same over HTTP/2 on a connection that was opened before the next save
    let h2 = H2::open(headgate.address).await;
    headgate.save("route.yaml", &split([1, 0]));
    let moved = async || h2.get(HOST, "/").await.unwrap().body.starts_with(b"hello-v1");
    headgate_e2e::until("HTTP/2 at hello-v1", moved).await;
    headgate.stop().await;
}
