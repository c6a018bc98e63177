//! The leader stands still for longer than its Lease holds: another takes over, gateways and functions notice nothing, and the old one writes nothing any more. It judges by the API server's audit.

use crate::{
    audit::{summary, writes},
    load::Load,
    objects::cold_function,
    parts::Paused,
    shop,
    story::{Story, ask_once, told},
};
use std::time::{Duration, Instant};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/headgate-system/leases/headgate-controller";
/// Longer than the Lease holds.
const STILL: Duration = Duration::from_secs(30);
/// The Lease holds 15 s after it was last renewed, and whoever waits looks each 2 s.
const TAKEN_OVER: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stands_still_is_replaced_and_writes_no_more() {
    let Some(story) = Story::alone("e2e-leader").await else { return };
    let function = cold_function("cold", &story.image().await, Duration::from_secs(40));
    let to = shop::open(&story, "e2e-leader", &function).await;
    let functions = story.functions().await;
    let host = "cold.e2e-leader.functions.internal";
    story.until_answered(functions, host, "200 cold").await;
    story.until("the function has stopped", async || story.replicas("e2e-leader", "cold").await == 0).await;

    let load = Load::begin(to, "shop.example");
    let first = leader(&story).await;
    let paused = Paused::pod(&first);
    let began = Instant::now();

    let cold = tokio::spawn(async move { ask_once(functions, host).await.map(|answer| told(&answer)) });
    // a gateway that is new is told by whoever is there
    let old = story.pods("web").await;
    let gone = story.names("e2e-leader", "pods", "gateway.networking.k8s.io/gateway-name=web").await.remove(0);
    story.kubectl(&["delete", &gone, "--wait=false"]).await;
    story
        .until("a new gateway is ready", async || {
            let pods = story.pods("web").await;
            pods.len() == 2 && pods != old
        })
        .await;
    assert_eq!(leader(&story).await, first, "nobody had taken over yet");
    println!("a new gateway without a leader is ready after {:?}", began.elapsed());

    story.until("another leads", async || leader(&story).await != first).await;
    let taken = began.elapsed();
    let acquired = story.api.get(LEASE).await["spec"]["acquireTime"].as_str().expect("a time").to_owned();
    assert!(taken < TAKEN_OVER, "another leads after {taken:?}");
    assert_eq!(cold.await.unwrap().as_deref(), Ok("200 cold"), "a function is started by the new leader");
    println!("another leads after {taken:?}, and a function was started after {:?}", began.elapsed());
    shop::edit_until_said(&story, "e2e-leader", &load, 2, "b").await;

    tokio::time::sleep(STILL.saturating_sub(began.elapsed())).await;
    paused.resume();
    shop::edit_until_said(&story, "e2e-leader", &load, 3, "a").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    shop::edit_until_said(&story, "e2e-leader", &load, 4, "b").await;
    assert_ne!(leader(&story).await, first, "it does not take the Lease back");
    let late: Vec<_> = writes()
        .into_iter()
        .filter(|write| write.pod == first && write.at > acquired && !write.is_housekeeping())
        .collect();
    assert!(late.is_empty(), "after another led, {first} wrote {:?}", summary(&late));
    let counts = load.end().await;
    println!("a leader that stood still: {counts:?}");
    assert!(counts.keys().all(|outcome| outcome.starts_with("200 ")), "{counts:?}");
}

async fn leader(story: &Story) -> String {
    story.api.get(LEASE).await["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}
