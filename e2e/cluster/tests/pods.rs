//! Pods behind a Gateway come and go, cold or warm, and end at SIGTERM without finishing anything: no request notices. Requests are never repeated by the client.

use crate::{
    load::{Load, exactly},
    objects::{backends, cold_function, gateway, policy, route, split},
    story::{Story, ask_once, told},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_end_at_sigterm_lose_no_request() {
    let Some(story) = Story::begin("e2e-pods").await else { return };
    story.apply(&(backends() + &gateway(1) + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.kubectl(&["scale", "deployment/a", "--replicas=3"]).await;
    story.rolled_out("e2e-pods", "deployment/a").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;

    let load = Load::begin(to, "shop.example");
    for replicas in [1, 3] {
        story.kubectl(&["scale", "deployment/a", &format!("--replicas={replicas}")]).await;
        story
            .until("so many are there", async || story.names("e2e-pods", "pods", "app=a").await.len() == replicas)
            .await;
        story.rolled_out("e2e-pods", "deployment/a").await;
    }
    let before = story.names("e2e-pods", "pods", "app=a").await;
    story.kubectl(&["rollout", "restart", "deployment/a"]).await;
    story.rolled_out("e2e-pods", "deployment/a").await;
    for pod in &before {
        story.until(&format!("{pod} is gone"), async || !story.is_there(pod).await).await;
    }
    let answered = load.end_with_only("200 a edit 1").await;
    println!("Pods from three to one to three, and all replaced: {answered} requests, none failed");
}

/// Two gateways send to it, each by the weights.
#[tokio::test(flavor = "multi_thread")]
async fn an_arm_that_is_cold_gets_its_share() {
    let Some(story) = Story::begin("e2e-arms").await else { return };
    // of no route nobody would scale it
    let other = route(&split(1, &[("b", 1)])).replace("name: shop", "name: other").replace("shop.", "other.");
    story.apply(&(backends() + &gateway(2) + &route(&split(1, &[("a", 1)])) + &other + policy())).await;
    let to = story.address("web").await;
    story.rolled_out("e2e-arms", "deployment/web-headgate").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;
    story.until("nobody asks for b", async || story.replicas("e2e-arms", "b").await == 0).await;

    let rules = split(2, &[("a", 90), ("b", 10)]);
    story.patch("httproute/shop", &format!(r#"{{"spec":{{"rules":{rules}}}}}"#)).await;
    let counts = exactly(10_000, to, "shop.example").await;
    println!("90 to 10, begun while the second arm was cold: {counts:?}");
    let count = |outcome: &str| counts.get(outcome).copied().unwrap_or_default();
    let (before, a, b) = (count("200 a edit 1"), count("200 a edit 2"), count("200 b edit 2"));
    assert_eq!(before + a + b, 10_000, "none fails: {counts:?}");
    let share = b as f64 / (a + b) as f64;
    assert!((0.088..=0.112).contains(&share), "{share}: {counts:?}");
}

/// Calls come about when it is stopped for want of calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_asked_while_it_stops_answers() {
    let Some(story) = Story::begin("e2e-stops").await else { return };
    let function = cold_function("brief", &story.image().await, Duration::from_secs(20))
        .replace("idle: 2s", "idle: 1s, headgate.dev/window: 1s");
    story.apply(&function).await;
    let to = story.functions().await;
    let host = "brief.e2e-stops.functions.internal";
    story.until_answered(to, host, "200 brief").await;
    let replicas = async || story.replicas("e2e-stops", "brief").await;
    let mut stops = 0;
    for call in 0..12 {
        tokio::time::sleep(Duration::from_millis(700 + 300 * call)).await;
        let stopped = replicas().await == 0;
        stops += usize::from(stopped);
        let answer = ask_once(to, host).await.map(|answer| told(&answer));
        assert_eq!(answer.as_deref(), Ok("200 brief"), "call {call}, stopped before: {stopped}");
    }
    println!("12 calls about the time of its stop; {stops} found it stopped");
    story.until("it stops when nobody calls any more", async || replicas().await == 0).await;
}
