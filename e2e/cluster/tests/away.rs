//! The API server is away, and its memory is: gateways serve on as if nothing were, a function that must be started says in time that it cannot be, and all is caught up with at once when the API server is back.

use crate::{
    cold::Cold,
    load::Load,
    objects::{gateway, route, split},
    parts::{Stopped, crash, lasting, renew_controllers},
    shop,
    story::Story,
};
use std::time::{Duration, Instant};

/// From when the API server serves watches until an edit is served and said.
const CONVERGED: Duration = Duration::from_secs(5);
const EDITS: [&str; 2] = ["200 a edit 1", "200 b edit 2"];

#[tokio::test(flavor = "multi_thread")]
async fn without_the_api_server_all_that_runs_goes_on() {
    let Some(story) = Story::alone("e2e-away").await else { return };
    let spare = gateway(1).replace("name: web", "name: spare");
    let second = route(&split(1, &[("a", 1)])).replace("name: shop", "name: spare").replace("name: web", "name: spare");
    let to = shop::open(&story, "e2e-away", &(spare + &second)).await;
    let cold = Cold::begin(&story, "e2e-away").await;
    story.address("spare").await;
    let spares = story.pods("spare").await;
    story.until_answered(spares[0], "shop.example", EDITS[0]).await;
    let pod = story.names("e2e-away", "pods", "gateway.networking.k8s.io/gateway-name=spare").await.remove(0);

    let load = Load::begin(to, "shop.example");
    let away = Stopped::killed("kube-apiserver");
    let began = Instant::now();
    cold.says_that_it_cannot_start().await;

    // a gateway whose program crashes knows its routes again, though nobody is there to tell it
    crash(pod.trim_start_matches("pod/"));
    story.until_answered(spares[0], "shop.example", EDITS[0]).await;

    let time = lasting(Duration::from_secs(20), Duration::from_secs(120));
    tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
    away.start();
    catches_up(&story, &load, "e2e-away").await;
    renew_controllers();
    cold.is_served(&story).await;
    end(load, "an API server that was away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_etcd_is_not_noticed() {
    let Some(story) = Story::alone("e2e-etcd").await else { return };
    let to = shop::open(&story, "e2e-etcd", "").await;
    let load = Load::begin(to, "shop.example");
    let away = Stopped::of("etcd");
    tokio::time::sleep(lasting(Duration::from_secs(5), Duration::from_secs(60))).await;
    away.start();
    catches_up(&story, &load, "e2e-etcd").await;
    renew_controllers();
    end(load, "a restart of etcd").await;
}

/// The API server answers and serves watches again, for which it makes the stores of a hundred kinds first; from then on an edit is
/// served and said within a short time.
async fn catches_up(story: &Story, load: &Load, namespace: &str) {
    let routes = crate::api::routes(namespace);
    let path = format!("{routes}/shop");
    story.until("the API server answers", async || story.api.ask(http::Method::GET, &path, None).await.is_ok()).await;
    let answers = Instant::now();
    story.until("it serves watches", async || story.api.watches(&routes).await).await;
    println!("the API server serves watches {:?} after its first answer", answers.elapsed());
    let back = Instant::now();
    let rules: serde_json::Value = serde_json::from_str(&split(2, &[("b", 1)])).unwrap();
    let patch = serde_json::json!({"spec": {"rules": rules}});
    story
        .until("the edit is taken", async || story.api.ask(http::Method::PATCH, &path, Some(&patch)).await.is_ok())
        .await;
    story.until("the edit is live", async || load.counts().contains_key(EDITS[1])).await;
    let live = back.elapsed();
    story.until("the edit is said", async || shop::is_said(&story.api.get(&path).await)).await;
    let said = back.elapsed();
    println!("back: an edit is live after {live:?}, and said after {said:?}");
    assert!(live < CONVERGED && said < CONVERGED, "live after {live:?}, said after {said:?}");
}

async fn end(load: Load, what: &str) {
    let counts = load.end().await;
    println!("{what}: {counts:?}");
    assert!(counts.keys().all(|outcome| EDITS.contains(&outcome.as_str())), "{counts:?}");
}
