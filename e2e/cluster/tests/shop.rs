//! The shop that many stories are told of: the Gateway `web`, and the route `shop` that leads to `a` until it is edited. It knows nothing of what is broken meanwhile.

use crate::{
    api::routes,
    load::Load,
    objects::{backends, gateway, route, split},
    story::Story,
};
use serde_json::Value;
use std::net::SocketAddr;

/// Opens it with two gateways, and applies `more` beside it; where it is reached once all Pods are there.
pub async fn open(story: &Story, namespace: &str, more: &str) -> SocketAddr {
    story.apply(&(backends() + &gateway(2) + &route(&split(1, &[("a", 1)])) + more)).await;
    let to = story.address("web").await;
    for deployment in ["deployment/web-headgate", "deployment/a", "deployment/b"] {
        story.rolled_out(namespace, deployment).await;
    }
    story.until_answered(to, "shop.example", "200 a edit 1").await;
    to
}

/// Leads its route elsewhere; answers name the edit.
pub async fn edit(story: &Story, edit: usize, of: &str) {
    let rules = split(edit, &[(of, 1)]);
    story.patch("httproute/shop", &format!(r#"{{"spec":{{"rules":{rules}}}}}"#)).await;
}

/// The same, until it is served to a load and said.
pub async fn edit_until_said(story: &Story, namespace: &str, load: &Load, edit: usize, of: &str) {
    self::edit(story, edit, of).await;
    let wanted = format!("200 {of} edit {edit}");
    story.until(&format!("edit {edit} is live"), async || load.counts().contains_key(&wanted)).await;
    let path = routes(namespace) + "/shop";
    story.until(&format!("edit {edit} is said"), async || is_said(&story.api.get(&path).await)).await;
}

/// Whether the status of a route is of what stands in it now.
pub fn is_said(route: &Value) -> bool {
    route["status"]["parents"][0]["conditions"][0]["observedGeneration"] == route["metadata"]["generation"]
}
