//! Fifty objects that are wrong, among five hundred routes that are not: each culprit is told what to do, and nobody else notices. It makes no object that the API server would refuse.

mod list;

use crate::{
    api::routes,
    load::Load,
    objects::{backends, gateway},
    story::{Story, ask, open, told},
};
use list::{Bad, NAMESPACE, bad};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr};

const GOOD: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_bad_objects_among_five_hundred_routes_touch_none_of_them() {
    let Some(story) = Story::begin(NAMESPACE).await else { return };
    story.apply(&(backends() + &gateway(2))).await;
    for good in 0..GOOD {
        story.api.create(&routes(NAMESPACE), &good_route(good)).await;
    }
    let to = story.address("web").await;
    story.rolled_out(NAMESPACE, "deployment/web-headgate").await;
    story.rolled_out(NAMESPACE, "deployment/a").await;
    let hosts: Vec<String> = (0..GOOD).map(host).collect();
    each_pod_serves(&story, &hosts).await;
    story.until("each good route is accepted", async || good_versions(&story).await.len() == GOOD).await;

    let before = good_versions(&story).await;
    let load = Load::over(to, hosts.clone());
    let bad = bad();
    assert!(bad.len() >= 50, "{} bad objects", bad.len());
    for Bad { path, object, .. } in &bad {
        story.api.create(path, object).await;
    }
    for one in &bad {
        is_told(&story, one).await;
        if let Some((host, status)) = &one.answer {
            story.until(&format!("{host} answers {status}"), async || status_of(to, host).await == *status).await;
        }
    }
    assert_eq!(good_versions(&story).await, before, "a good route was written to because others are bad");

    // what a gateway that starts anew makes of it
    story.kubectl(&["rollout", "restart", "deployment/web-headgate"]).await;
    story.rolled_out(NAMESPACE, "deployment/web-headgate").await;
    each_pod_serves(&story, &hosts).await;
    let answered = load.end_with_only("200 a").await;
    println!("{} bad objects among {GOOD} routes, and a restart: {answered} requests, none failed", bad.len());
    assert!(answered > 1_000, "{answered}");
}

fn host(good: usize) -> String {
    format!("good-{good}.example")
}

fn good_route(good: usize) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": format!("good-{good}"), "labels": {"is": "good"}},
        "spec": {"parentRefs": [{"name": "web"}], "hostnames": [host(good)],
            "rules": [{"backendRefs": [{"name": "a", "port": 80}]}]}})
}

/// The versions of the good routes of which nothing but good is said.
async fn good_versions(story: &Story) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for route in story.api.list(&(routes(NAMESPACE) + "?labelSelector=is%3Dgood")).await {
        let conditions = route["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.len() == 2 && conditions.iter().all(|condition| condition["status"] == "True") {
            let text = |key: &str| route["metadata"][key].as_str().unwrap().to_owned();
            versions.insert(text("name"), text("resourceVersion"));
        }
    }
    versions
}

/// Each Pod of the Gateway answers for each host.
async fn each_pod_serves(story: &Story, hosts: &[String]) {
    let pods = story.pods("web").await;
    assert_eq!(pods.len(), 2, "{pods:?}");
    for pod in pods {
        let last = hosts.last().unwrap();
        story.until_answered(pod, last, "200 a").await;
        let mut wire = open(pod).await.unwrap();
        for host in hosts {
            let answer = ask(&mut wire, host).await.unwrap_or_else(|why| panic!("{pod} {host}: {why}"));
            assert_eq!(told(&answer), "200 a", "{pod} {host}");
        }
    }
}

async fn status_of(to: SocketAddr, host: &str) -> u16 {
    crate::story::ask_once(to, host).await.map_or(0, |answer| answer.status)
}

/// Some condition of the object says what is wrong, where, and what to do.
async fn is_told(story: &Story, Bad { path, object, reason, .. }: &Bad) {
    let Some(reason) = reason else { return };
    let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
    let mut seen = Value::Null;
    let found = async || {
        seen = story.api.get(&path).await["status"].clone();
        let conditions = conditions(&seen);
        let is_it = |condition: &&Value| {
            let names_fault = ["PartiallyInvalid", "Conflicted"].iter().any(|kind| condition["type"] == *kind);
            let is_wrong = condition["status"] == if names_fault { "True" } else { "False" };
            let says_what_to_do = condition["message"].as_str().is_some_and(|text| text.contains("; "));
            is_wrong && condition["reason"] == *reason && says_what_to_do
        };
        conditions.iter().any(|condition| is_it(&condition))
    };
    story.until(&format!("{path} is told {reason}"), found).await;
}

/// All conditions of a status, wherever they stand in it.
fn conditions(status: &Value) -> Vec<Value> {
    match status {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value.as_array() {
                Some(list) if key == "conditions" => list.clone(),
                _ => conditions(value),
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(conditions).collect(),
        _ => Vec::new(),
    }
}
