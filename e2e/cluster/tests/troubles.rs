//! An API server that has forgotten, one that turns many away, and a namespace that goes: what is warm notices nothing, and what was missed is caught up with. It judges the control plane by what requests and statuses say.

use crate::{
    api::{forget_history, routes},
    load::{Counts, Load},
    objects::{backends, cold_function, gateway, route, split},
    parts::{Paused, Stopped, renew_controllers},
    shop,
    story::{Story, ask_once, told},
};
use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// From when nothing is in the way any more until an edit is served and said.
const CONVERGED: Duration = Duration::from_secs(5);
const CONTROLLERS: &str = "app.kubernetes.io/component=controller";

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_slept_while_the_history_was_forgotten_list_again() {
    const NAMESPACE: &str = "e2e-forgot";
    let Some(story) = Story::alone(NAMESPACE).await else { return };
    let to = shop::open(&story, NAMESPACE, "").await;
    let load = Load::begin(to, "shop.example");
    let known = story.api.get(&routes(NAMESPACE)).await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();

    let pods = story.names("headgate-system", "pods", CONTROLLERS).await;
    let asleep: Vec<_> = pods.iter().map(|pod| Paused::pod(pod.trim_start_matches("pod/"))).collect();
    for number in 2..=20 {
        shop::edit(&story, number, "b").await;
    }
    forget_history().await;
    Stopped::killed("kube-apiserver").start();
    story.until("it serves watches", async || story.api.watches(&routes(NAMESPACE)).await).await;
    let after = format!("{}?watch=true&timeoutSeconds=1&resourceVersion={known}", routes(NAMESPACE));
    let answer = story.api.read(&after).await;
    assert!(answer.as_ref().is_ok_and(|text| text.contains("410")), "what they know is not forgotten: {answer:?}");
    assert_eq!(load.counts().keys().collect::<Vec<_>>(), ["200 a edit 1"], "nobody can have told the gateways");

    drop(asleep);
    let awake = Instant::now();
    caught_up(&story, NAMESPACE, &load, "200 b edit 20", awake).await;
    renew_controllers();
    // what the API server had sent before it was killed has come too
    all_answered(load.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_turns_many_away_is_told_all_in_the_end() {
    const NAMESPACE: &str = "e2e-throttled";
    const ROUTES: usize = 60;
    let Some(story) = Story::alone(NAMESPACE).await else { return };
    let host = format!("cold.{NAMESPACE}.functions.internal");
    let function = cold_function("cold", &story.image().await, Duration::from_secs(60));
    let to = shop::open(&story, NAMESPACE, &function).await;
    let functions = story.functions().await;
    story.until_answered(functions, &host, "200 cold").await;
    story.until("the function has stopped", async || story.replicas(NAMESPACE, "cold").await == 0).await;

    let load = Load::begin(to, "shop.example");
    let throttled = Throttled::begin(&story).await;
    let waits = tokio::spawn(async move { ask_once(functions, &host).await.map(|answer| told(&answer)) });
    let more = (0..ROUTES).map(|at| route(&split(at, &[("a", 1)])).replace("shop", &format!("more-{at}")));
    story.apply(&more.collect::<String>()).await;
    shop::edit(&story, 2, "b").await;
    story.until("some are turned away", async || throttled.count(&story).await > 0).await;
    story.until("the edit is live", async || load.counts().contains_key("200 b edit 2")).await;
    assert_eq!(waits.await.unwrap().as_deref(), Ok("200 cold"), "a function is started");
    story
        .until("each route is told of", async || {
            let all = story.api.list(&routes(NAMESPACE)).await;
            all.len() > ROUTES && all.iter().all(shop::is_said)
        })
        .await;
    println!("{} requests of controllers were turned away", throttled.count(&story).await);
    drop(throttled);
    all_answered(load.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_takes_only_its_own_with_it() {
    const GOES: &str = "e2e-goes";
    let Some(story) = Story::begin("e2e-stays").await else { return };
    story.kubectl(&["delete", "namespace", GOES, "--ignore-not-found", "--timeout=120s"]).await;
    let open = "protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}";
    let web = gateway(2).replace("protocol: HTTP}", open);
    story.apply(&(backends() + &web + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;

    fill(&story, GOES, to, 1).await;
    let stays = Load::begin(to, "shop.example");
    let goes = Load::begin(to, "goes.example");
    story.kubectl(&["delete", "namespace", GOES, "--timeout=120s"]).await;
    story.until("its route is gone", async || goes.counts().contains_key("404 no_route")).await;
    let counts = goes.end().await;
    println!("a namespace that went: {counts:?}");
    // first its Pods or its Services go, then its routes, in no order that anybody says
    let is_told = |outcome: &String| !outcome.starts_with("failed") && !outcome.contains("no failure of ours");
    assert!(counts.keys().all(is_told), "{counts:?}");

    // one of the same name is another one
    fill(&story, GOES, to, 2).await;
    story.kubectl(&["delete", "namespace", GOES, "--wait=false"]).await;
    stays.end_with_only("200 a edit 1").await;
}

/// A namespace with all that we serve: backends and a route of the Gateway `web`, a Gateway of its own, a function.
async fn fill(story: &Story, namespace: &str, to: SocketAddr, edit: usize) {
    story.kubectl(&["create", "namespace", namespace]).await;
    let elsewhere = route(&split(edit, &[("b", 1)]))
        .replace("shop", "goes")
        .replace("{name: web}", "{name: web, namespace: e2e-stays}");
    let function = cold_function("cold", &story.image().await, Duration::from_secs(30));
    let own = gateway(1).replace("name: web", "name: own");
    let objects = backends() + &own + &elsewhere + &function;
    story.run(&["--namespace", namespace, "apply", "-f", "-"], &objects).await.unwrap();
    story.until_answered(to, "goes.example", &format!("200 b edit {edit}")).await;
    let programmed = ["wait", "gateway/own", "--for=condition=Programmed", "--timeout=120s"];
    story.kubectl(&[&["--namespace", namespace][..], &programmed].concat()).await;
}

/// The newest edit is served and said soon.
async fn caught_up(story: &Story, namespace: &str, load: &Load, newest: &str, since: Instant) {
    story.until("the newest edit is live", async || load.counts().contains_key(newest)).await;
    let live = since.elapsed();
    story.until("it is said", async || shop::is_said(&story.api.get(&(routes(namespace) + "/shop")).await)).await;
    let said = since.elapsed();
    println!("{namespace}: caught up: live after {live:?}, and said after {said:?}");
    assert!(live < CONVERGED && said < CONVERGED, "live after {live:?}, said after {said:?}");
}

fn all_answered(counts: Counts) {
    println!("{counts:?}");
    assert!(counts.keys().all(|outcome| outcome.starts_with("200 ")), "{counts:?}");
}

/// One request of controllers at a time is served by the API server; others at that moment are answered 429.
struct Throttled;

impl Throttled {
    const NAME: &str = "e2e-throttled";

    async fn begin(story: &Story) -> Self {
        let name = Self::NAME;
        story
            .apply(&format!(
                "
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {{name: {name}}}
spec:
  type: Limited
  limited: {{nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: {{type: Reject}}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {{name: {name}}}
spec:
  priorityLevelConfiguration: {{name: {name}}}
  matchingPrecedence: 2
  distinguisherMethod: {{type: ByUser}}
  rules:
  - subjects: [{{kind: Group, group: {{name: 'system:serviceaccounts:headgate-system'}}}}]
    resourceRules: [{{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true}}]
"
            ))
            .await;
        Self
    }

    /// How many requests were, as the API server counts them.
    async fn count(&self, story: &Story) -> u64 {
        let metrics = story.api.read("/metrics").await.unwrap();
        let own = format!("priority_level=\"{}\"", Self::NAME);
        let rejected = metrics
            .lines()
            .filter(|line| line.starts_with("apiserver_flowcontrol_rejected_requests_total{") && line.contains(&own));
        rejected.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        for kind in ["flowschema", "prioritylevelconfiguration"] {
            let delete = ["delete", kind, Self::NAME, "--ignore-not-found"];
            let _ = Command::new("kubectl").args(delete).stdout(Stdio::null()).status();
        }
    }
}
