//! Routes that come one by one while others serve: a new one is not there, and then it is; nothing between. It removes none.

use crate::{
    api::routes,
    load::Load,
    objects::{backends, gateway, route, split},
    parts::is_full,
    story::{PATIENCE, Story, ask, open, told},
};
use headgate_e2e::Wire;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// So many are added, the second number where `HEADGATE_FULL` is set.
const ROUTES: (usize, usize) = (200, 1_000);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_come_one_by_one_are_there_or_not() {
    let Some(story) = Story::begin("e2e-growth").await else { return };
    story.apply(&(backends() + &gateway(2) + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.rolled_out("e2e-growth", "deployment/web-headgate").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;
    let mut wires = Vec::new();
    for pod in story.pods("web").await {
        story.until_answered(pod, "shop.example", "200 a edit 1").await;
        wires.push(open(pod).await.unwrap());
    }
    assert_eq!(wires.len(), 2);

    let load = Load::begin(to, "shop.example");
    let mut to_live = Vec::new();
    let routes_most = if is_full() { ROUTES.1 } else { ROUTES.0 };
    for number in 0..routes_most {
        let host = format!("new-{number}.example");
        for wire in &mut wires {
            assert_eq!(told(&ask(wire, &host).await.unwrap()), "404 no_route", "{host} is not there yet");
        }
        let begun = Instant::now();
        story.api.create(&routes("e2e-growth"), &new(number, &host)).await;
        for wire in &mut wires {
            appears(wire, &host).await;
        }
        to_live.push(begun.elapsed());
    }
    let answered = load.end_with_only("200 a edit 1").await;
    to_live.sort();
    let at = |percent: usize| to_live[(to_live.len() - 1) * percent / 100];
    let (half, most) = (at(50), at(99));
    println!(
        "{routes_most} routes one by one: live at both gateways after {half:?}, p99 {most:?}; {answered} requests beside"
    );
    assert!(half < Duration::from_secs(1), "half of them are live after {half:?} only");
}

fn new(number: usize, host: &str) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": format!("new-{number}")},
        "spec": {"parentRefs": [{"name": "web"}], "hostnames": [host],
            "rules": [{"backendRefs": [{"name": "b", "port": 80}]}]}})
}

/// 404 until it is 200, and no other answer.
async fn appears(wire: &mut Wire, host: &str) {
    let begun = Instant::now();
    loop {
        match told(&ask(wire, host).await.unwrap()).as_str() {
            "200 b" => return,
            "404 no_route" => {}
            other => panic!("{host} answers {other}"),
        }
        assert!(begun.elapsed() < PATIENCE, "{host} is not live");
        tokio::time::sleep(PAUSE).await;
    }
}
