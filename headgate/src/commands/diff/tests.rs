//! What `diff` says of two sets of objects, as a person reads it. No cluster.

use super::{changes::Changes, text::text};
use headgate_cluster::read::manifest;
use headgate_controller::cluster::outlook::{Outlook, outlook};
use serde_json::{Value, json};
use std::sync::Arc;

const API: &str = "gateway.networking.k8s.io/v1";

fn of(values: &[Value]) -> Outlook {
    let usual = ["controller", "--image", ""].map(str::to_owned);
    let ground = crate::controller_ground(&usual).expect("these are its flags");
    let objects: Vec<_> = values.iter().filter_map(|value| manifest(value.clone(), None).map(Arc::new)).collect();
    assert_eq!(objects.len(), values.len(), "all can be read");
    outlook(ground, &objects, manifest, 0)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let api = if kind == "Service" { "v1" } else { API };
    let namespace = if kind == "GatewayClass" { Value::Null } else { json!("shop") };
    let metadata = json!({"name": name, "namespace": namespace, "uid": name, "generation": 1});
    json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})
}

fn base() -> Vec<Value> {
    vec![
        object("GatewayClass", "headgate", json!({"controllerName": "headgate.dev/gateway-controller"})),
        object(
            "Gateway",
            "web",
            json!({"gatewayClassName": "headgate", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}),
        ),
        object("Service", "a", json!({"ports": [{"port": 80}]})),
        object("Service", "b", json!({"ports": [{"port": 80}]})),
    ]
}

fn route(name: &str, host: &str, rule: Value) -> Value {
    object("HTTPRoute", name, json!({"parentRefs": [{"name": "web"}], "hostnames": [host], "rules": [rule]}))
}

fn to(service: &str) -> Value {
    json!({"backendRefs": [{"name": service, "port": 80}]})
}

fn with(routes: &[Value]) -> Outlook {
    of(&[base(), routes.to_vec()].concat())
}

#[test]
fn the_same_objects_change_nothing() {
    let before = with(&[route("shop", "shop.example", to("a"))]);
    let changes = Changes::between(&before, &before);
    assert!(changes.is_empty());
    assert_eq!(text(&changes, false), "nothing would change\n");
}

#[test]
fn rules_that_come_go_and_change_are_told_with_what_is_newly_refused() {
    let before = with(&[route("shop", "shop.example", to("a")), route("old", "old.example", to("a"))]);
    let after = with(&[route("shop", "shop.example", to("b")), route("new", "new.example", to("gone"))]);
    let changes = Changes::between(&before, &after);
    let expected = "\
Gateway shop/web
    HOST           PORT   PATH   ALSO   RULE                    TO
~   shop.example   80     /             HTTPRoute/shop/shop/0   shop/a:80 -> shop/b:80
+   new.example    80     /             HTTPRoute/shop/new/0    500 100%: BackendNotFound: Service shop/gone does not exist
-   old.example    80     /             HTTPRoute/shop/old/0    shop/a:80

Newly refused:
! HTTPRoute shop/new (Gateway shop/web): ResolvedRefs: BackendNotFound
    spec.rules[0].backendRefs[0].name: Service shop/gone does not exist; name a Service and one of its ports
";
    assert_eq!(text(&changes, false), expected);
    let back = Changes::between(&after, &before);
    assert!(back.conditions.better.is_empty(), "what goes is not mended");
}

#[test]
fn what_a_rule_does_beside_is_a_change_and_a_mended_one_is_told() {
    let mut slow = to("a");
    slow["timeouts"] = json!({"request": "1s"});
    let changes =
        Changes::between(&with(&[route("shop", "s.example", to("a"))]), &with(&[route("shop", "s.example", slow)]));
    assert!(text(&changes, false).contains("shop/a:80 (other timeouts)"), "{}", text(&changes, false));
    let broken = with(&[route("shop", "s.example", to("gone"))]);
    let changes = Changes::between(&broken, &with(&[route("shop", "s.example", to("a"))]));
    assert_eq!((changes.conditions.worse.len(), changes.conditions.better.len()), (0, 1));
    assert!(text(&changes, true).contains("\x1b[33m~"), "colours");
}

#[test]
fn a_gateway_that_comes_has_its_listeners() {
    let mut second = base()[1].clone();
    second["metadata"]["name"] = json!("other");
    let after = of(&[base(), vec![second]].concat());
    let told = text(&Changes::between(&of(&base()), &after), false);
    assert_eq!(told, "Gateway shop/other (new)\n+ listener http HTTP 80\n");
}
