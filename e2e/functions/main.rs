//! Functions in a cluster, as their users see them. Without a cluster it does nothing, and says so; README.md of `e2e/cluster` gives it one.
//!
//! Needed: `e2e/cluster/install NAME --set openfunction.crds=true`, then `e2e/cluster/in -n NAME cargo test -p headgate-e2e --test functions`.
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

mod cluster;
mod policies;

use cluster::{Cluster, within};
use serde_json::{Value, json};
use std::time::Duration;

/// A start from nothing: scheduler, kubelet and the process itself.
const START: Duration = Duration::from_secs(20);
/// What a person is told while he still looks.
const SOON: Duration = Duration::from_secs(5);

/// How long a function runs when nobody calls.
const IDLE: Duration = Duration::from_secs(3);

fn function(name: &str, version: &str, image: &str) -> Value {
    json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
        "metadata": {"name": name, "annotations": {"headgate.dev/idle": format!("{}s", IDLE.as_secs())}},
        "spec": {"version": version, "image": image, "serving": {
            "triggers": {"http": {"port": 8080}},
            "scaleOptions": {"minReplicas": 0, "maxReplicas": 2},
            "template": {"containers": [{"name": "function", "args": ["echo", "--text", version]}]}}}})
}

/// Requests that are sent one after the other, counted by their answers.
fn answers(cluster: &Cluster, host: &str, many: usize) -> std::collections::BTreeMap<String, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..many {
        let (status, body) = cluster.get(host).unwrap_or_else(|why| (0, why));
        *counts.entry(format!("{status} {}", body.trim())).or_default() += 1;
    }
    counts
}

#[test]
fn a_function_starts_when_it_is_called_and_stops_when_nobody_calls() {
    let Some(cluster) = Cluster::new("fn-cold") else { return };
    cluster.apply(&function("hello", "v1", &cluster.image()));
    let host = "hello.fn-cold.functions.internal";
    within(START, "the function has an address", || {
        let addresses = cluster.json("function", "hello")["status"]["addresses"].clone();
        addresses[0]["value"] == json!(format!("http://{host}/"))
    });
    let deployments = || cluster.list("deployment");
    within(SOON, "there is a Deployment", || deployments().len() == 1);
    assert_eq!(deployments()[0]["spec"]["replicas"], 0, "nothing runs before somebody asks");
    let (status, body) = cluster.get_within(START, host);
    assert_eq!((status, body.trim()), (200, "v1"));
    assert_eq!(deployments()[0]["spec"]["replicas"], 1);
    within(START, "it has stopped", || deployments()[0]["spec"]["replicas"] == 0 && cluster.list("pod").is_empty());
    let (status, _) = cluster.get_within(START, host);
    assert_eq!(status, 200, "and starts again");
    cluster.delete("function", "hello");
    within(START, "nothing is left", || {
        ["deployment", "httproute", "service"].iter().all(|kind| cluster.list(kind).is_empty())
    });
}

#[test]
fn an_edit_serves_once_it_is_ready_and_a_bad_image_never_does() {
    let Some(cluster) = Cluster::new("fn-edit") else { return };
    let host = "hello.fn-edit.functions.internal";
    cluster.apply(&function("hello", "v1", &cluster.image()));
    cluster.get_within(START, host);
    cluster.apply(&function("hello", "v2", &cluster.image()));
    within(START, "the new one serves", || {
        let (status, body) = cluster.get(host).unwrap_or_default();
        assert_eq!(status, 200, "no request fails: {body}");
        body.trim() == "v2"
    });
    cluster.apply(&function("hello", "v3", "nowhere.invalid/missing:1"));
    within(SOON, "what is wrong is said", || {
        let serving = cluster.json("function", "hello")["status"]["serving"].clone();
        serving["state"] == "Failed" && serving["message"].as_str().is_some_and(|text| text.contains("nowhere.invalid"))
    });
    assert_eq!(answers(&cluster, host, 20), [("200 v2".to_owned(), 20)].into());
    cluster.apply(&function("hello", "v1", &cluster.image()));
    within(SOON, "the first one is back", || cluster.get(host).is_ok_and(|(_, body)| body.trim() == "v1"));
    within(START, "the one that never ran is gone", || cluster.list("deployment").len() == 2);
}

#[test]
fn replicas_that_a_person_writes_are_left_alone_until_they_are_handed_back() {
    let Some(cluster) = Cluster::new("fn-hand") else { return };
    let host = "hello.fn-hand.functions.internal";
    cluster.apply(&function("hello", "v1", &cluster.image()));
    assert_eq!(cluster.get_within(START, host).0, 200);
    let deployment = || cluster.list("deployment").pop().expect("the function has a Deployment");
    let name = format!("deployment/{}", deployment()["metadata"]["name"].as_str().unwrap_or_default());
    cluster.kubectl(&["scale", &name, "--replicas=2"]);
    let reason = || cluster.json("function", "hello")["status"]["serving"]["reason"].clone();
    within(SOON, "that a person decides is said", || reason() == "ScaledByOther");
    within(START, "both run", || deployment()["status"]["readyReplicas"] == 2);
    // longer than it would run when nobody calls
    std::thread::sleep(2 * IDLE);
    assert_eq!(deployment()["spec"]["replicas"], 2);
    assert_eq!(answers(&cluster, host, 10), [("200 v1".to_owned(), 10)].into());
    cluster.kubectl(&["annotate", &name, "headgate.dev/scaled-by-"]);
    within(START, "nobody calls, and it stops", || deployment()["spec"]["replicas"] == 0);
    assert_eq!(reason(), Value::Null);
}

#[test]
fn a_route_of_a_person_splits_between_versions() {
    let Some(cluster) = Cluster::new("fn-split") else { return };
    let host = "hello.fn-split.functions.internal";
    cluster.apply(&function("hello", "v1", &cluster.image()));
    cluster.get_within(START, host);
    cluster.apply(&function("hello", "v2", &cluster.image()));
    within(START, "the new one serves", || cluster.get(host).is_ok_and(|(_, body)| body.trim() == "v2"));
    let backend = |name: &str, weight: u32| json!({"name": name, "port": 80, "weight": weight});
    cluster.apply(
        &json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "split"},
        "spec": {"parentRefs": [{"name": "openfunction", "namespace": "headgate-system"}],
            "hostnames": ["split.functions.internal"],
            "rules": [{"backendRefs": [backend("hello-v1", 90), backend("hello-v2", 10)]}]}}),
    );
    let (status, body) = cluster.get_within(START, "split.functions.internal");
    assert_eq!(status, 200, "{body}");
    let counts = answers(&cluster, "split.functions.internal", 1_000);
    let count = |key: &str| counts.get(key).copied().unwrap_or_default();
    assert_eq!(count("200 v1") + count("200 v2"), 1_000, "none is lost, cold or not: {counts:?}");
    assert!((70..=130).contains(&count("200 v2")), "{counts:?}");
}
