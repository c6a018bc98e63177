//! What a cluster does to everybody at once: a namespace goes with all that is in it, and a kind that was not there is defined. Who is not meant notices nothing.

use crate::{
    audit::{last, ours},
    load::Load,
    objects::{backends, gateway, route, split},
    story::{Story, ask_once},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_takes_only_its_own_with_it() {
    const GONE: &str = "e2e-gone";
    let Some(story) = Story::begin("e2e-stay").await else { return };
    let open = gateway(2).replace("protocol: HTTP}]", "protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]");
    story.apply(&(backends() + &open + &route(&split(1, &[("a", 1)])))).await;
    story.kubectl(&["delete", "namespace", GONE, "--ignore-not-found", "--timeout=120s"]).await;
    story.kubectl(&["create", "namespace", GONE]).await;
    // one Gateway of its own, and one route at that of the others
    let guest = route(&split(1, &[("b", 1)]))
        .replace("name: shop", "name: guest")
        .replace("shop.example", "guest.example")
        .replace("[{name: web}]", "[{name: web, namespace: e2e-stay}]");
    let own = backends() + &gateway(1) + &route(&split(1, &[("b", 1)])) + &guest;
    story.run(&["--namespace", GONE, "apply", "-f", "-"], &own).await.unwrap();
    let to = story.address("web").await;
    story.rolled_out("e2e-stay", "deployment/web-headgate").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;
    story.until_answered(to, "guest.example", "200 b edit 1").await;
    story.kubectl(&["--namespace", GONE, "wait", "gateway/web", "--for=condition=Programmed", "--timeout=120s"]).await;

    let load = Load::begin(to, "shop.example");
    let begun = last();
    story.kubectl(&["delete", "namespace", GONE, "--timeout=120s"]).await;
    story.until_answered(to, "guest.example", "404 no_route").await;
    load.end_with_only("200 a edit 1").await;
    // a write may cross the deletion, but nobody insists
    let mut refused = BTreeMap::<_, u32>::new();
    for write in ours() {
        if write.status == 403 && write.object.starts_with(GONE) && write.at > begun {
            *refused.entry((write.of, write.object)).or_default() += 1;
        }
    }
    assert!(refused.values().all(|tries| *tries <= 2), "what goes with its namespace is made again: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_goes_and_comes_back_is_served_again() {
    const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    const KIND: &str = "grpcroutes.gateway.networking.k8s.io";
    let Some(story) = Story::alone("e2e-late").await else { return };
    story.apply(&(backends() + &gateway(2) + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.rolled_out("e2e-late", "deployment/web-headgate").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;

    let load = Load::begin(to, "shop.example");
    let mut definition = story.api.get(&format!("{DEFINITION}/{KIND}")).await;
    story.kubectl(&["delete", "crd", KIND, "--timeout=60s"]).await;
    // an edit beside it goes its way
    let rules = split(2, &[("a", 1)]);
    story.patch("httproute/shop", &format!(r#"{{"spec":{{"rules":{rules}}}}}"#)).await;
    story.until("an edit is live", async || load.counts().contains_key("200 a edit 2")).await;

    definition["metadata"] = json!({"name": KIND, "annotations": definition["metadata"]["annotations"]});
    definition.as_object_mut().unwrap().remove("status");
    story.api.create(DEFINITION, &definition).await;
    let late = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": {"name": "late"},
        "spec": {"parentRefs": [{"name": "web"}], "hostnames": ["late.example"],
            "rules": [{"backendRefs": [{"name": "nobody", "port": 80}]}]}});
    let path = "/apis/gateway.networking.k8s.io/v1/namespaces/e2e-late/grpcroutes";
    story
        .until("the kind is served", async || story.api.ask(http::Method::POST, path, Some(&late)).await.is_ok())
        .await;
    story
        .until("a route of the kind is said something of", async || {
            let late = story.api.get(&format!("{path}/late")).await;
            late["status"]["parents"][0]["conditions"][0]["type"] != Value::Null
        })
        .await;
    story
        .until("gateways know the route", async || {
            ask_once(to, "late.example").await.is_ok_and(|answer| answer.text().contains("take gRPC only"))
        })
        .await;
    let counts = load.end().await;
    assert!(counts.keys().all(|outcome| outcome.starts_with("200 a ")), "{counts:?}");
}
