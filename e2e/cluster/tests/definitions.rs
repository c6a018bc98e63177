//! The definitions of Gateway API are of an older version and are upgraded under load, one release after the other: routes of before are served on, and what is new is followed once it is there. It restarts no controller for that, and leaves the newest definitions behind.

use crate::{
    load::Load,
    objects::{backends, gateway, route, split},
    shop,
    story::Story,
};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

const NAMESPACE: &str = "e2e-definitions";
const CONTROLLERS: &str = "deployment/headgate-controller";
/// What the oldest version has not, or not in a version that the newest one has: an API server does not take those over.
const LATER: [&str; 5] = [
    "tcproutes.gateway.networking.k8s.io",
    "udproutes.gateway.networking.k8s.io",
    "xbackends.gateway.networking.x-k8s.io",
    "xmeshes.gateway.networking.x-k8s.io",
    "xtelemetrypolicies.gateway.networking.x-k8s.io",
];

/// Where carried connections go.
const CARRIED: u16 = 7000;

/// A route of connections and one of datagrams, in a version of their kinds.
fn carried(version: &str, backend: &str) -> String {
    let of = |kind: &str, section: &str| {
        format!(
            "
---
apiVersion: gateway.networking.k8s.io/{version}
kind: {kind}
metadata: {{name: raw}}
spec:
  parentRefs: [{{name: web, sectionName: {section}}}]
  rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]
"
        )
    };
    of("TCPRoute", "raw") + &of("UDPRoute", "datagrams")
}

/// A route to Pods without a Service, and with a name for the cookie of its sessions: neither could be said before.
const NEWEST: &str = "
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: late}
spec:
  type: EndpointSelector
  port: {number: 8080}
  endpointSelector: {matchLabels: {app: b}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: late}
spec:
  parentRefs: [{name: web, sectionName: http}]
  hostnames: [late.example]
  rules:
  - backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: late}]
    sessionPersistence: {cookie: {name: stay}}
";

/// Edits the Gateway, waits until its status is of that edit, and gives what is true of it and of its addresses.
async fn told(story: &Story, from: &str) -> String {
    let allowed = format!(r#"{{"namespaces":{{"from":"{from}"}}}}"#);
    let patch = format!(r#"[{{"op":"add","path":"/spec/listeners/1/allowedRoutes","value":{allowed}}}]"#);
    story.kubectl(&["patch", "gateway/web", "--type=json", "--patch", &patch]).await;
    let mut status = Value::Null;
    story
        .until("the status of the edit", async || {
            let gateway = story.kubectl(&["get", "gateway/web", "--output=json"]).await;
            let mut gateway: Value = serde_json::from_str(&gateway).unwrap();
            status = gateway["status"].take();
            let programmed = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Programmed");
            programmed.unwrap()["observedGeneration"] == gateway["metadata"]["generation"]
        })
        .await;
    let conditions = status["conditions"].as_array().unwrap().iter().filter(|one| one["status"] == "True");
    let mut types: Vec<_> =
        conditions.map(|one| one["type"].as_str().unwrap()).filter(|kind| *kind != "Accepted").collect();
    types.sort_unstable();
    let is_said = status["addresses"][0]["routability"].is_string();
    assert_eq!(is_said, types.contains(&"AddressesAssigned"), "{status}");
    types.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_upgraded_under_load() {
    let Some(story) = Story::alone(NAMESPACE).await else { return };
    let listeners = "[{name: http, port: 80, protocol: HTTP}, {name: raw, port: 7000, protocol: TCP}, \
                     {name: datagrams, port: 7001, protocol: UDP}]";
    let web = gateway(2).replace("[{name: http, port: 80, protocol: HTTP}]", listeners);
    let shop = route(&split(1, &[("a", 1)])).replace("{name: web}", "{name: web, sectionName: http}");
    story.apply(&(backends() + &web + &shop)).await;
    let to = story.address("web").await;
    for deployment in ["deployment/web-headgate", "deployment/a", "deployment/b"] {
        story.rolled_out(NAMESPACE, deployment).await;
    }
    story.until_answered(to, "shop.example", "200 a edit 1").await;

    let load = Load::begin(to, "shop.example");
    let newest = Definitions::older(&story).await;
    // controllers that begin with those, too
    story.kubectl(&["--namespace", "headgate-system", "rollout", "restart", CONTROLLERS]).await;
    story.rolled_out("headgate-system", CONTROLLERS).await;
    edit(&story, &load, 2).await;
    story.apply(&carried("v1alpha2", "a")).await;
    is_carried(&story, "v1alpha2").await;
    let to_carried = SocketAddr::new(to.ip(), CARRIED);
    story.until_answered(to_carried, "any.example", "200 a").await;
    let connections = Load::begin(to_carried, "any.example");
    let own = "Programmed";
    assert_eq!(told(&story, "All").await, own, "definitions that have no words for more refuse what says more");

    Definitions::apply(&story, &["crd-before", "v1.6.3"]).await;
    edit(&story, &load, 3).await;
    assert_eq!(told(&story, "Same").await, own);
    let before = connections.total();
    story.apply(&carried("v1", "b")).await;
    is_carried(&story, "v1").await;
    story.until("what is edited in the new version is live", async || connections.counts().contains_key("200 b")).await;

    newest.apply_again(&story).await;
    edit(&story, &load, 4).await;
    assert_eq!(told(&story, "All").await, "AddressesAssigned Programmed");
    story.apply(NEWEST).await;
    story.until_answered(to, "late.example", "200 b").await;
    let answer = crate::story::ask_once(to, "late.example").await.unwrap();
    assert!(answer.field("set-cookie").is_some_and(|cookie| cookie.starts_with("stay=")), "{answer:?}");

    let counts = connections.end().await;
    println!("connections through a route that changed its version: {counts:?}");
    let total: u64 = counts.values().sum();
    assert!(
        counts.keys().all(|outcome| ["200 a", "200 b"].contains(&outcome.as_str())) && total > before,
        "{counts:?}"
    );
    let counts = load.end().await;
    println!("definitions of v1.5.1, v1.6.3 and v1.7.0: {counts:?}");
    assert!(counts.keys().all(|outcome| outcome.starts_with("200 a edit ")), "{counts:?}");
}

/// An edit is served, and said.
async fn edit(story: &Story, load: &Load, edit: usize) {
    shop::edit(story, edit, "a").await;
    let wanted = format!("200 a edit {edit}");
    story.until(&format!("edit {edit} is live"), async || load.counts().contains_key(&wanted)).await;
    let path = crate::api::routes(NAMESPACE) + "/shop";
    story.until(&format!("edit {edit} is said"), async || shop::is_said(&story.api.get(&path).await)).await;
}

/// What was said of both carried routes is of what stands in them now.
async fn is_carried(story: &Story, version: &str) {
    for kind in ["tcproutes", "udproutes"] {
        let path = format!("/apis/gateway.networking.k8s.io/{version}/namespaces/{NAMESPACE}/{kind}/raw");
        story
            .until(&format!("{kind} of {version} are told"), async || {
                let route = story.api.get(&path).await;
                shop::is_said(&route) && route["status"]["parents"][0]["conditions"][0]["status"] == "True"
            })
            .await;
    }
}

/// The definitions that the cluster was made with; they are there again at the latest when this is dropped.
struct Definitions {
    is_back: bool,
}

impl Definitions {
    /// In their place, those of the oldest version.
    async fn older(story: &Story) -> Self {
        let newest = Self { is_back: false };
        // a cluster that has just begun may not serve all of them yet
        story.kubectl(&[&["wait", "crd", "--for=condition=Established", "--timeout=60s"][..], &LATER].concat()).await;
        story.kubectl(&[&["delete", "crd", "--timeout=60s"][..], &LATER].concat()).await;
        Self::apply(story, &["crd-before", "v1.5.1"]).await;
        newest
    }

    async fn apply_again(mut self, story: &Story) {
        Self::apply(story, &["crd"]).await;
        self.is_back = true;
    }

    /// Applies those of a folder in the cache of clusters, and waits until they are served.
    async fn apply(story: &Story, folder: &[&str]) {
        let file = file(folder);
        let apply = ["apply", "--server-side", "--force-conflicts", "--filename", file.to_str().unwrap()];
        story.kubectl(&apply).await;
        let served = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        // one that was just made has no conditions yet, which kubectl calls an error
        story.until("definitions are served", async || story.run(&served, "").await.is_ok()).await;
    }
}

impl Drop for Definitions {
    fn drop(&mut self) {
        if !self.is_back {
            let apply = ["apply", "--server-side", "--force-conflicts", "--filename"];
            let _ = Command::new("kubectl").args(apply).arg(file(&["crd"])).stdout(Stdio::null()).status();
        }
    }
}

fn file(folder: &[&str]) -> PathBuf {
    let config = PathBuf::from(std::env::var_os("KUBECONFIG").expect("a cluster"));
    let cache = config.ancestors().nth(3).expect("a cluster is a folder of the cache").to_owned();
    folder.iter().fold(cache, |path, part| path.join(part)).join("experimental.yaml")
}
