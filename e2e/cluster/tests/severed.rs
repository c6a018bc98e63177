//! One controller of two does not reach the API server any more: leadership moves to the other, nobody is told what it knew before, it may not even start, and it catches up once it reaches it again. It cuts nobody else off.

use crate::{
    load::Load,
    parts::{Severed, crash},
    shop,
    story::{Story, ask_once, told},
};
use serde_json::Value;
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

const NAMESPACE: &str = "e2e-severed";
const SYSTEM: &str = "headgate-system";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/headgate-system/leases/headgate-controller";
const PODS: &str = "/api/v1/namespaces/headgate-system/pods";
/// The Lease holds 15 s after it was last renewed, and whoever waits looks each 2 s.
const TAKEN_OVER: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_does_not_reach_the_api_server_misleads_nobody_and_catches_up() {
    let Some(story) = Story::alone(NAMESPACE).await else { return };
    let to = shop::open(&story, NAMESPACE, "").await;
    let load = Load::begin(to, "shop.example");
    let first = leader(&story).await;
    let severed = Severed::pod(address(&story, &first).await);
    let began = Instant::now();
    story.until("another leads", async || leader(&story).await != first).await;
    let taken = began.elapsed();
    println!("another leads after {taken:?}");
    assert!(taken < TAKEN_OVER, "another leads after {taken:?}");
    let second = leader(&story).await;
    shop::edit_until_said(&story, NAMESPACE, &load, 2, "b").await;

    // a gateway that is new is told what is newest, by whichever controller it asks first
    let pods = story.pods("web").await;
    let gone = story.names(NAMESPACE, "pods", "gateway.networking.k8s.io/gateway-name=web").await.remove(0);
    story.kubectl(&["delete", &gone, "--wait=false"]).await;
    story.until("a new gateway is ready", async || story.pods("web").await.iter().any(|pod| !pods.contains(pod))).await;
    everywhere(&story, "200 b edit 2").await;

    // with the other gone as well, for a moment, only the one is left that knows nothing of the edit
    let old = load.counts()["200 a edit 1"];
    crash(&second);
    story
        .until("it has been started again", async || {
            pod(&story, &second).await["status"]["containerStatuses"][0]["restartCount"] != 0
        })
        .await;
    shop::edit_until_said(&story, NAMESPACE, &load, 3, "a").await;
    everywhere(&story, "200 a edit 3").await;
    assert_eq!(load.counts()["200 a edit 1"], old, "nobody goes back to what was before");

    // it starts, and there is nobody to ask
    crash(&first);
    story.until("it is not ready", async || !is_ready(&pod(&story, &first).await)).await;
    shop::edit_until_said(&story, NAMESPACE, &load, 4, "b").await;
    assert!(!is_ready(&pod(&story, &first).await), "it cannot have read anything");
    severed.mend();
    let mended = Instant::now();
    story.until("it is ready", async || is_ready(&pod(&story, &first).await)).await;
    println!("ready {:?} after the API server can be reached", mended.elapsed());
    assert!(mended.elapsed() < Duration::from_secs(10), "after {:?}", mended.elapsed());
    story.kubectl(&["--namespace", SYSTEM, "delete", "pod", &second, "--wait=false"]).await;
    story.until("it or a new one leads", async || leader(&story).await != second).await;
    shop::edit_until_said(&story, NAMESPACE, &load, 5, "a").await;
    story.rolled_out(SYSTEM, "deployment/headgate-controller").await;

    let counts = load.end().await;
    println!("controllers without an API server: {counts:?}");
    assert!(counts.keys().all(|outcome| outcome.starts_with("200 ")), "{counts:?}");
}

/// Each gateway answers so.
async fn everywhere(story: &Story, wanted: &str) {
    story
        .until(&format!("each gateway answers {wanted}"), async || {
            let mut all = story.pods("web").await.into_iter();
            let mut count = 0;
            loop {
                let Some(pod) = all.next() else { return count == 2 };
                count += 1;
                if ask_once(pod, "shop.example").await.map(|answer| told(&answer)).as_deref() != Ok(wanted) {
                    return false;
                }
            }
        })
        .await;
}

async fn leader(story: &Story) -> String {
    story.api.get(LEASE).await["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

async fn pod(story: &Story, name: &str) -> Value {
    story.api.get(&format!("{PODS}/{name}")).await
}

async fn address(story: &Story, name: &str) -> IpAddr {
    pod(story, name).await["status"]["podIP"].as_str().expect("it runs").parse().expect("an address")
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}
