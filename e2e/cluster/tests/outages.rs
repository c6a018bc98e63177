//! What breaks in a cluster, and what goes on: gateways serve without their controllers and without each other, and controllers that come back catch up. It breaks nothing outside its cluster.

use crate::{
    audit::{last, ours},
    cold::Cold,
    load::Load,
    objects::{backends, gateway, route, split},
    parts::lasting,
    story::Story,
};
use std::time::{Duration, Instant};

const SYSTEM: &str = "headgate-system";
const CONTROLLERS: &str = "deployment/headgate-controller";
const CONTROLLER_PODS: &str = "app.kubernetes.io/component=controller";
const GATEWAY_PODS: &str = "gateway.networking.k8s.io/gateway-name=web";

#[tokio::test(flavor = "multi_thread")]
async fn gateways_serve_without_controllers_and_without_each_other() {
    let Some(story) = Story::alone("e2e-outage").await else { return };
    let replicas =
        story.kubectl(&["--namespace", SYSTEM, "get", CONTROLLERS, "--output=jsonpath={.spec.replicas}"]).await;
    story.apply(&(backends() + &gateway(2) + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.rolled_out("e2e-outage", "deployment/web-headgate").await;
    story.rolled_out("e2e-outage", "deployment/b").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;
    let cold = Cold::begin(&story, "e2e-outage").await;

    let before = last();
    let load = Load::begin(to, "shop.example");
    scale_controllers(&story, "0").await;
    story.until("controllers are gone", async || story.names(SYSTEM, "pods", CONTROLLER_PODS).await.is_empty()).await;
    let began = Instant::now();
    cold.says_that_it_cannot_start().await;

    let pods = story.names("e2e-outage", "pods", GATEWAY_PODS).await;
    story.kubectl(&["delete", &pods[0], "--timeout=180s"]).await;
    more_answers(&story, &load).await;

    // nobody is there to tell the gateways
    let rules = split(2, &[("b", 1)]);
    story.patch("httproute/shop", &format!(r#"{{"spec":{{"rules":{rules}}}}}"#)).await;
    more_answers(&story, &load).await;
    let time = lasting(Duration::from_secs(5), Duration::from_secs(120));
    tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
    assert!(load.counts().keys().all(|outcome| outcome == "200 a edit 1"), "{:?}", load.counts());

    scale_controllers(&story, &replicas).await;
    story.rolled_out(SYSTEM, CONTROLLERS).await;
    story.until("the edit is live", async || load.counts().contains_key("200 b edit 2")).await;
    cold.is_served(&story).await;
    story.rolled_out("e2e-outage", "deployment/web-headgate").await;
    let removed: Vec<_> = ours().into_iter().filter(|write| write.verb == "delete" && write.at > before).collect();
    assert!(removed.is_empty(), "controllers that start remove what is wanted: {removed:?}");
    let counts = load.end().await;
    println!("an outage of controllers and of a gateway: {counts:?}");
    assert!(counts.keys().all(|outcome| ["200 a edit 1", "200 b edit 2"].contains(&outcome.as_str())), "{counts:?}");
}

async fn scale_controllers(story: &Story, replicas: &str) {
    story.kubectl(&["--namespace", SYSTEM, "scale", CONTROLLERS, &format!("--replicas={replicas}")]).await;
}

/// Load goes on from here.
async fn more_answers(story: &Story, load: &Load) {
    let before = load.total();
    story.until("more requests are answered", async || load.total() > before + 100).await;
}
