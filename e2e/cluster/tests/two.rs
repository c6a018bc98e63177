//! Two installations with a route in common: each says its own and leaves what others said as it was, byte for byte; both serve. It installs a second release of the chart, and takes it away.

use crate::{
    api::routes,
    audit::{Write, last, summary, writes},
    load::Load,
    objects::{backends, cold_function, gateway, policy, route, split},
    story::Story,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Command, time::Duration};

const NAMESPACE: &str = "e2e-two";
const OURS: Installation = Installation { namespace: "headgate-system", controller: "headgate.dev/gateway-controller" };
const OTHER: Installation = Installation { namespace: "other-system", controller: "other.example/controller" };
const STRANGER: &str = "stranger.example/controller";

struct Installation {
    namespace: &'static str,
    controller: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn two_installations_share_a_route_and_leave_each_other_alone() {
    let Some(story) = Story::alone(NAMESPACE).await else { return };
    let release = Release::install(&story).await;
    let other =
        gateway(1).replace("name: web", "name: other").replace("gatewayClassName: headgate", "gatewayClassName: other");
    let shared = route(&split(0, &[("a", 1)])).replace("[{name: web}]", "[{name: web}, {name: other}]");
    story.apply(&(backends() + &gateway(1) + &other + &shared)).await;
    let (to, to_other) = (story.address("web").await, story.address("other").await);
    story.rolled_out(NAMESPACE, "deployment/a").await;
    story.until_answered(to, "shop.example", "200 a edit 0").await;
    story.until_answered(to_other, "shop.example", "200 a edit 0").await;
    stranger_says(&story).await;

    let loads = [Load::begin(to, "shop.example"), Load::begin(to_other, "shop.example")];
    for (at, (works, rests)) in [(&OURS, &OTHER), (&OTHER, &OURS)].into_iter().enumerate() {
        let replicas = scale(&story, rests, 0).await;
        let before = [said(&story, rests.controller).await, said(&story, STRANGER).await];
        assert!(before.iter().all(|entries| entries.len() > 50), "{before:?}");
        for edit in 1..=10 {
            let edit = at * 10 + edit;
            let rules = split(edit, &[("a", 1)]);
            story.patch("httproute/shop", &format!(r#"{{"spec":{{"rules":{rules}}}}}"#)).await;
            story.until(&format!("edit {edit} is said"), async || is_said(&story, works.controller).await).await;
        }
        let after = [said(&story, rests.controller).await, said(&story, STRANGER).await];
        assert_eq!(before, after, "{} changed what others said", works.controller);
        scale(&story, rests, replicas).await;
        story.until("the other has caught up", async || is_said(&story, rests.controller).await).await;
    }
    for (load, installation) in loads.into_iter().zip([&OURS, &OTHER]) {
        let counts = load.end().await;
        println!("{}: {counts:?}", installation.controller);
        assert!(counts.keys().all(|outcome| outcome.starts_with("200 a edit ")), "{counts:?}");
    }
    // who is not a parent any more takes back its own, and nothing else
    let before = [said(&story, OURS.controller).await, said(&story, STRANGER).await];
    story.patch("httproute/shop", r#"{"spec":{"parentRefs":[{"name":"web"}]}}"#).await;
    story.until("its entry is gone", async || said(&story, OTHER.controller).await == "[]").await;
    story.until("ours is said", async || is_said(&story, OURS.controller).await).await;
    assert_eq!(before[1], said(&story, STRANGER).await);
    a_function_has_one_master(&story).await;
    a_workload_has_one_scaler(&story, [(&OURS, to), (&OTHER, to_other)]).await;
    drop(release);
}

/// A function is served, and then nobody writes to it or to what belongs to it.
async fn a_function_has_one_master(story: &Story) {
    story.apply(&cold_function("cold", &story.image().await, Duration::from_secs(30))).await;
    let functions = story.functions().await;
    story.until_answered(functions, "cold.e2e-two.functions.internal", "200 cold").await;
    story.until("the function has stopped", async || story.replicas(NAMESPACE, "cold").await == 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let of_function = || {
        let all =
            writes().into_iter().filter(|write| write.object.starts_with(NAMESPACE) && !write.of.starts_with("events"));
        all.collect::<Vec<_>>()
    };
    let before = of_function().len();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = of_function();
    assert!(after.len() == before, "they quarrel: {:?}", summary(&after[before..]));
    let by_other = after.iter().filter(|write| write.user.contains(OTHER.namespace) && !write.of.ends_with("/status"));
    let by_other: Vec<_> = by_other.filter(|write| !write.object.ends_with("other-other")).collect();
    assert!(by_other.is_empty(), "the second installation has a hand in the function: {:?}", summary(by_other));
}

/// Both lead to the Service of a ScalingPolicy: one scales, and the other says that it does not.
async fn a_workload_has_one_scaler(story: &Story, both: [(&Installation, SocketAddr); 2]) {
    let pay = route(&split(0, &[("b", 1)])).replace("[{name: web}]", "[{name: web}, {name: other}]");
    let pay = pay.replace("name: shop", "name: pay").replace("shop.", "pay.");
    story.apply(&(pay + policy())).await;
    let mut left = BTreeSet::new();
    story
        .until("one leaves it to the other", async || {
            left = has_left_it(story).await;
            left.len() == 1
        })
        .await;
    let (scales, leaves): (Vec<_>, Vec<_>) = both.into_iter().partition(|(one, _)| !left.contains(one.controller));
    story.until("nobody asks, and it stops", async || story.replicas(NAMESPACE, "b").await == 0).await;
    let before = last();
    story.until_answered(scales[0].1, "pay.example", "200 b edit 0").await;
    // who leaves it to the other cannot start it
    let load = Load::begin(scales[0].1, "pay.example");
    story.until_answered(leaves[0].1, "pay.example", "200 b edit 0").await;
    load.end_with_only("200 b edit 0").await;
    story.until("it stops again", async || story.replicas(NAMESPACE, "b").await == 0).await;
    let of_b =
        |write: &Write| write.at > before && write.object == format!("{NAMESPACE}/b") && write.of.ends_with("scale");
    let writes: Vec<Write> = writes().into_iter().filter(of_b).collect();
    assert!(!writes.is_empty() && writes.iter().all(|write| write.user.contains(scales[0].0.namespace)), "{writes:?}");
}

/// The controllers that say of the policy that somebody else scales.
async fn has_left_it(story: &Story) -> BTreeSet<String> {
    let path = format!("/apis/headgate.dev/v1alpha1/namespaces/{NAMESPACE}/scalingpolicies/b");
    let policy = story.api.get(&path).await;
    let says = |ancestor: &&Value| {
        let mut conditions = ancestor["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["reason"] == "ScaledByOther")
    };
    let ancestors = policy["status"]["ancestors"].as_array().cloned().unwrap_or_default();
    let left = ancestors.iter().filter(says).filter_map(|ancestor| ancestor["controllerName"].as_str());
    left.map(str::to_owned).collect()
}

/// An entry of somebody who is neither, with what no controller of ours would write.
async fn stranger_says(story: &Story) {
    let path = routes(NAMESPACE) + "/shop";
    story
        .until("both have said something", async || {
            is_said(story, OURS.controller).await && is_said(story, OTHER.controller).await
        })
        .await;
    let mut parents = story.api.get(&path).await["status"]["parents"].clone();
    parents.as_array_mut().unwrap().insert(
        1,
        json!({
            "controllerName": STRANGER,
            "parentRef": {"group": "stranger.example", "kind": "Mesh", "name": "any", "namespace": "default"},
            "conditions": [{"type": "stranger.example/Odd", "status": "Unknown", "reason": "Any", "message": "as it is",
                "observedGeneration": 1, "lastTransitionTime": "2020-01-01T00:00:00Z"}],
        }),
    );
    story.api.merge(&(path + "/status"), &json!({"status": {"parents": parents}})).await;
}

/// The entries of a controller, as they stand.
async fn said(story: &Story, controller: &str) -> String {
    let route = story.api.get(&(routes(NAMESPACE) + "/shop")).await;
    let parents = route["status"]["parents"].as_array().cloned().unwrap_or_default();
    let own = parents.into_iter().filter(|entry| entry["controllerName"] == controller);
    Value::Array(own.collect()).to_string()
}

/// Whether a controller speaks of the newest generation.
async fn is_said(story: &Story, controller: &str) -> bool {
    let route = story.api.get(&(routes(NAMESPACE) + "/shop")).await;
    let mut parents = route["status"]["parents"].as_array().into_iter().flatten();
    parents.any(|entry| {
        let observed = &entry["conditions"][0]["observedGeneration"];
        entry["controllerName"] == controller && *observed == route["metadata"]["generation"]
    })
}

/// Scales the controllers of an installation, waits until that is so, and gives how many there were.
async fn scale(story: &Story, installation: &Installation, replicas: u64) -> u64 {
    let deployment = "deployment/headgate-controller";
    let of = ["--namespace", installation.namespace];
    let get = [&of[..], &["get", deployment, "--output=jsonpath={.spec.replicas}"]].concat();
    let before = story.kubectl(&get).await.parse().unwrap();
    let wanted = format!("--replicas={replicas}");
    story.kubectl(&[&of[..], &["scale", deployment, &wanted]].concat()).await;
    story.rolled_out(installation.namespace, deployment).await;
    if replicas == 0 {
        let label = "app.kubernetes.io/component=controller";
        story
            .until("they are gone", async || story.names(installation.namespace, "pods", label).await.is_empty())
            .await;
    }
    before
}

/// The second release of the chart, which goes when this is dropped.
struct Release;

impl Release {
    async fn install(story: &Story) -> Self {
        let image = story.image().await;
        let (repository, tag) = image.split_once(':').unwrap();
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/headgate");
        let output = Command::new("helm")
            .args(["install", "other"])
            .arg(chart)
            .args(["--namespace", OTHER.namespace, "--create-namespace", "--skip-crds", "--wait", "--timeout", "60s"])
            .args(["--set", "gatewayClass.name=other,controller.replicas=1,functions=false"])
            .args(["--set", &format!("controllerName={}", OTHER.controller)])
            .args(["--set", &format!("image.repository={repository}"), "--set-string", &format!("image.tag={tag}")])
            .output()
            .expect("helm runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        story.kubectl(&["wait", "gatewayclass/other", "--for=condition=Accepted", "--timeout=60s"]).await;
        Self
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = Command::new("helm").args(["uninstall", "other", "--namespace", OTHER.namespace]).output();
        }
    }
}
