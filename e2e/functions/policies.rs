//! Ordinary Deployments that a ScalingPolicy scales, as their users see them. Without a cluster it does nothing, and says so.

use crate::{
    SOON, START,
    cluster::{Cluster, within},
};
use serde_json::{Value, json};

/// A Deployment that nobody runs, its Service, and a route to it.
fn shop(cluster: &Cluster, host: &str) {
    let labels = json!({"app": "shop"});
    let container = json!({"name": "shop", "image": cluster.image(), "ports": [{"name": "web", "containerPort": 8080}],
        "args": ["echo", "--text", "open", "--address", "0.0.0.0", "--port", "8080"]});
    cluster.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}}));
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "web"}]}}));
    cluster.apply(
        &json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
        "spec": {"parentRefs": [{"name": "web"}], "hostnames": [host],
            "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}]}}),
    );
}

fn policy(name: &str, workload: &str) -> Value {
    json!({"apiVersion": "headgate.dev/v1alpha1", "kind": "ScalingPolicy", "metadata": {"name": name},
        "spec": {"targetRefs": [{"kind": "Service", "name": "shop"}], "scaleTargetRef": {"name": workload},
            "maxReplicas": 2, "window": "2s", "idle": "3s", "wait": "20s"}})
}

/// Status and reason of `Accepted`, of the first ancestor.
fn accepted(cluster: &Cluster, name: &str) -> (String, String) {
    let policy = cluster.json("scalingpolicy", name);
    let conditions = policy["status"]["ancestors"][0]["conditions"].as_array().cloned().unwrap_or_default();
    let accepted = conditions.into_iter().find(|one| one["type"] == "Accepted").unwrap_or_default();
    let text = |key: &str| accepted[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

#[test]
fn an_ordinary_deployment_starts_when_it_is_asked_for_and_stops_when_nobody_asks() {
    let Some(cluster) = Cluster::with_gateway("policy-cold") else { return };
    let host = "policy-cold.example";
    shop(&cluster, host);
    cluster.apply(&policy("shop", "shop"));
    let replicas = || cluster.json("deployment", "shop")["spec"]["replicas"].clone();
    let served = || accepted(&cluster, "shop") == ("True".into(), "Accepted".into());
    within(START, "the policy is accepted", served);
    assert_eq!(replicas(), 0, "nothing runs before somebody asks");
    let (status, body) = cluster.get_within(START, host);
    assert_eq!((status, body.trim()), (200, "open"));
    assert_eq!(replicas(), 1);
    let runs = || cluster.list("pod").iter().any(|pod| pod["metadata"]["labels"]["app"] == "shop");
    within(START, "it has stopped", || replicas() == 0 && !runs());
    let (status, _) = cluster.get_within(START, host);
    assert_eq!(status, 200, "and starts again");
    cluster.delete("scalingpolicy", "shop");
    let (status, _) = cluster.get_within(START, host);
    assert_eq!(status, 200, "without the policy it is a Service as any other");
}

#[test]
fn a_policy_that_cannot_do_what_it_says_tells_why() {
    let Some(cluster) = Cluster::with_gateway("policy-wrong") else { return };
    shop(&cluster, "policy-wrong.example");
    cluster.apply(&policy("lost", "nobody"));
    let is = |name: &str, reason: &str| accepted(&cluster, name) == ("False".into(), reason.into());
    within(START, "its workload is missing", || is("lost", "TargetNotFound"));
    cluster.apply(&policy("second", "shop"));
    within(START, "the older one has the Service", || is("second", "Conflicted"));
    cluster.delete("scalingpolicy", "lost");
    within(START, "the Service is free", || accepted(&cluster, "second").0 == "True");
}

#[test]
fn two_gateways_start_a_deployment_once() {
    let Some(cluster) = Cluster::with_gateway("policy-two") else { return };
    let host = "policy-two.example";
    shop(&cluster, host);
    cluster.apply(&policy("shop", "shop"));
    within(START, "there are two gateways", || {
        cluster.json("deployment", "web-headgate")["status"]["readyReplicas"] == 2
    });
    within(START, "the policy is accepted", || accepted(&cluster, "shop").0 == "True");
    let replicas = || cluster.json("deployment", "shop")["spec"]["replicas"].clone();
    let (status, body) = cluster.get_within(START, host);
    assert_eq!((status, body.trim(), replicas()), (200, "open", json!(1)));
    let answers: Vec<u16> = (0..20).map(|_| cluster.get(host).map(|(status, _)| status).unwrap_or_default()).collect();
    assert_eq!(answers, [200; 20], "whichever gateway is asked");
    within(START, "nobody asks either", || replicas() == 0);
    let told = |reason: &str| {
        let events = cluster.list("events.events.k8s.io");
        events.iter().any(|event| event["regarding"]["kind"] == "ScalingPolicy" && event["reason"] == reason)
    };
    within(SOON, "what was done is told", || told("Scaling"));
}
