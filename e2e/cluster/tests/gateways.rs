//! A Gateway from its first object to its last: it gets an address, splits by weight, survives a rolling restart, and leaves nothing. Names are those that a person sees.

use crate::{
    load::{Load, exactly},
    objects::{backends, gateway, route, split},
    story::Story,
};
use serde_json::Value;
use std::net::Ipv4Addr;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_has_an_address_and_splits_by_weight() {
    let Some(story) = Story::begin("e2e-split").await else { return };
    let rules = split(1, &[("a", 90), ("b", 10)]);
    story.apply(&(backends() + &gateway(1) + &route(&rules))).await;
    for backend in ["deployment/a", "deployment/b"] {
        story.rolled_out("e2e-split", backend).await;
    }
    let to = story.address("web").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;
    story.until_answered(to, "shop.example", "200 b edit 1").await;

    let counts = exactly(2000, to, "shop.example").await;
    assert!(within(&counts, "200 a edit 1", 1700..=1900) && counts.len() == 2, "90 to 10: {counts:?}");

    let halves = split(2, &[("a", 50), ("b", 50)]);
    story.patch("httproute/shop", &format!(r#"{{"spec":{{"rules":{halves}}}}}"#)).await;
    story.until_answered(to, "shop.example", "200 b edit 2").await;
    let counts = exactly(2000, to, "shop.example").await;
    assert!(within(&counts, "200 a edit 2", 880..=1120) && counts.len() == 2, "50 to 50: {counts:?}");

    story.until_answered(to, "nobody.example", "404 no_route").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_no_request() {
    let Some(story) = Story::begin("e2e-restart").await else { return };
    story.apply(&(backends() + &gateway(2) + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;
    story.rolled_out("e2e-restart", "deployment/web-headgate").await;
    let before = story.names("e2e-restart", "pods", "gateway.networking.k8s.io/gateway-name=web").await;

    let load = Load::begin(to, "shop.example");
    story.kubectl(&["rollout", "restart", "deployment/web-headgate"]).await;
    story.rolled_out("e2e-restart", "deployment/web-headgate").await;
    for pod in &before {
        story.until(&format!("{pod} is gone"), async || !story.is_there(pod).await).await;
    }
    let counts = load.end().await;
    println!("a rolling restart of {} Pods: {counts:?}", before.len());
    assert_eq!(before.len(), 2);
    assert!(counts.keys().all(|outcome| outcome == "200 a edit 1") && counts["200 a edit 1"] > 100, "{counts:?}");
}

/// It goes on until there is another.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_pod_of_a_gateway_is_replaced_without_a_loss() {
    let Some(story) = Story::begin("e2e-only").await else { return };
    story.apply(&(backends() + &gateway(1) + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;
    story.rolled_out("e2e-only", "deployment/web-headgate").await;
    let before = story.names("e2e-only", "pods", "gateway.networking.k8s.io/gateway-name=web").await;
    assert_eq!(before.len(), 1);

    let load = Load::begin(to, "shop.example");
    story.kubectl(&["delete", &before[0], "--timeout=180s"]).await;
    story.rolled_out("e2e-only", "deployment/web-headgate").await;
    let answered = load.end_with_only("200 a edit 1").await;
    println!("the only Pod, deleted: {answered} requests, none failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_gateway_leaves_nothing() {
    let Some(story) = Story::begin("e2e-delete").await else { return };
    story.apply(&gateway(2)).await;
    story.address("web").await;
    let made = ["deployment", "service", "serviceaccount", "configmap", "poddisruptionbudget"];
    for kind in made {
        let name = format!("{kind}/web-headgate");
        assert!(story.is_there(&name).await, "{name} is not there");
    }
    story.kubectl(&["delete", "gateway/web"]).await;
    for kind in made {
        let name = format!("{kind}/web-headgate");
        story.until(&format!("{name} is gone"), async || !story.is_there(&name).await).await;
    }
    let pods = "gateway.networking.k8s.io/gateway-name=web";
    story.until("its Pods are gone", async || story.names("e2e-delete", "pods", pods).await.is_empty()).await;
}

fn within(counts: &crate::load::Counts, outcome: &str, bounds: std::ops::RangeInclusive<u64>) -> bool {
    counts.get(outcome).is_some_and(|count| bounds.contains(count))
}

/// The addresses of the Gateway, each with where it can be reached from, and the reasons of two of its conditions.
async fn found(story: &Story) -> (Vec<String>, String, String) {
    let gateway = story.kubectl(&["get", "gateway/web", "--output=json"]).await;
    let status: Value = serde_json::from_str::<Value>(&gateway).unwrap()["status"].take();
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let addresses = status["addresses"].as_array().cloned().unwrap_or_default();
    let addresses = addresses.iter().map(|one| format!("{} {}", text(&one["value"]), text(&one["routability"])));
    let reason = |kind: &str| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.filter(|one| one["type"] == kind).map(|one| text(&one["reason"])).collect::<String>()
    };
    (addresses.collect(), reason("AddressesAssigned"), reason("Programmed"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_found_from_where_it_was_asked_for() {
    let Some(story) = Story::begin("e2e-reach").await else { return };
    let asking = |addresses: &str| {
        gateway(1).replace("spec:\n  gatewayClassName", &format!("spec:\n  addresses: {addresses}\n  gatewayClassName"))
    };
    let rules = r#"[{"backendRefs":[{"name":"a","port":80}]}]"#;
    story.apply(&(backends() + &asking("[{routability: Cluster}]") + &route(rules))).await;
    let to = story.address("web").await;
    // the test cluster gives its Services 10.96.0.0/16, and its load balancers 10.99.0.0/16
    assert!(to.ip().to_string().starts_with("10.96."), "{to}");
    story.until_answered(to, "shop.example", "200 a").await;
    let (addresses, assigned, programmed) = found(&story).await;
    assert_eq!(addresses, [format!("{} Cluster", to.ip())]);
    assert_eq!((&*assigned, &*programmed), ("AddressesAssigned", "Programmed"));
    let balanced = "--output=jsonpath={.items[?(@.spec.type=='LoadBalancer')].metadata.name}";
    assert_eq!(story.kubectl(&["get", "services", balanced]).await, "", "nobody outside is let in");

    let until = async |what: &str, holds: &dyn Fn(&[String], &str, &str) -> bool| {
        story
            .until(what, async || {
                let (addresses, assigned, programmed) = found(&story).await;
                holds(&addresses, &assigned, &programmed)
            })
            .await;
    };
    // one for everybody too, and one that the cluster cannot give: the others serve
    story.apply(&asking("[{routability: Cluster}, {}, {routability: Cluster, value: 10.97.0.1}]")).await;
    until("two of three", &|addresses, assigned, programmed| {
        let is_balanced = |address: &String| address.starts_with("10.99.") && address.ends_with(' ');
        addresses.len() == 2
            && addresses.iter().any(is_balanced)
            && (assigned, programmed) == ("PartiallyAssigned", "Programmed")
    })
    .await;
    story.until_answered(to, "shop.example", "200 a").await;
    story.apply(&asking("[{routability: Cluster, value: 10.97.0.1}]")).await;
    until("none", &|addresses, assigned, programmed| {
        addresses.is_empty() && (assigned, programmed) == ("NotAssigned", "AddressNotAssigned")
    })
    .await;
    story.apply(&asking("[{routability: Cluster, value: 10.96.201.7}]")).await;
    until("the one that is asked for", &|addresses, assigned, programmed| {
        addresses == ["10.96.201.7 Cluster"] && (assigned, programmed) == ("AddressesAssigned", "Programmed")
    })
    .await;
    story.until_answered((Ipv4Addr::new(10, 96, 201, 7), 80).into(), "shop.example", "200 a").await;
}
