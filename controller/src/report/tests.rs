//! Reports of clusters as objects show them. No API server.

use super::*;
use crate::sources::decode::{Outcome, decode};
use headgate_translate::kinds::ObjectRef;
use serde_json::json;

const API: &str = "gateway.networking.k8s.io/v1";
const OURS: &str = "headgate.dev/gateway-controller";

fn object(value: Value) -> Arc<ClusterObject> {
    let text = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
    let name = ObjectRef::new(group, text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
    let content = match decode(&value) {
        // Pods are watched whole
        Outcome::Known(_, content, _) if value["kind"] != "Pod" => ClusterContent::Known(content),
        _ => ClusterContent::Other(Arc::new(value.clone())),
    };
    Arc::new(ClusterObject {
        name,
        version: "v1",
        content,
        uid: Default::default(),
        owner: None,
        generation: value["metadata"]["generation"].as_i64().unwrap_or(1),
        resource_version: "1".into(),
        status: (&value["status"]).into(),
        appliers: Vec::new(),
        made: None,
        problems: Vec::new(),
    })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1})
}

fn fine(kind: &str) -> Value {
    condition(kind, "True", kind, "")
}

fn class() -> Value {
    json!({"apiVersion": API, "kind": "GatewayClass", "metadata": {"name": "headgate"},
        "spec": {"controllerName": OURS}, "status": {"conditions": [fine("Accepted")]}})
}

fn gateway(conditions: &[Value], listener: &[Value]) -> Value {
    json!({"apiVersion": API, "kind": "Gateway", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"gatewayClassName": "headgate", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        "status": {"conditions": conditions, "addresses": [{"type": "IPAddress", "value": "10.99.0.1"}],
            "listeners": [{"name": "http", "attachedRoutes": 2, "conditions": listener}]}})
}

fn good_gateway() -> Value {
    gateway(&[fine("Accepted"), fine("Programmed")], &[fine("Accepted"), fine("Programmed"), fine("ResolvedRefs")])
}

fn deployment(ready: u64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web-headgate", "namespace": "shop"},
        "spec": {"replicas": 2}, "status": {"readyReplicas": ready}})
}

fn pod(name: &str, ready: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {
        "app.kubernetes.io/instance": "web-headgate", "gateway.networking.k8s.io/gateway-name": "web"}},
        "status": {"conditions": [{"type": "Ready", "status": ready}]}})
}

fn route(parents: Value) -> Value {
    json!({"apiVersion": API, "kind": "HTTPRoute", "metadata": {"name": "hello", "namespace": "shop", "generation": 1},
        "spec": {"parentRefs": [{"name": "web"}]}, "status": {"parents": parents}})
}

fn entry(controller: &str, conditions: &[Value]) -> Value {
    json!({"parentRef": {"name": "web"}, "controllerName": controller, "conditions": conditions})
}

fn report(values: &[Value]) -> Report {
    let objects: Vec<_> = values.iter().cloned().map(object).collect();
    Report::of(&Sight { objects: &objects, controller_name: OURS, usual_class: "headgate", namespace: None })
}

fn refused(values: &[Value]) -> Vec<String> {
    let told = |one: Refusal| format!("{} ({}) {} {}: {}", one.object, one.at, one.condition, one.reason, one.message);
    report(values).refused.into_iter().map(told).collect()
}

#[test]
fn a_cluster_in_which_all_is_well_has_nothing_refused() {
    let said = json!([entry(OURS, &[fine("Accepted"), fine("ResolvedRefs")])]);
    let report = report(&[class(), good_gateway(), deployment(2), pod("a", "True"), pod("b", "True"), route(said)]);
    assert_eq!(report.refused, []);
    assert!(report.is_fine());
    let gateway = &report.gateways[0];
    assert_eq!((gateway.programmed.as_str(), &gateway.addresses[..]), ("True", &["10.99.0.1".to_owned()][..]));
    assert_eq!((gateway.listeners_programmed, gateway.listeners, gateway.routes), (1, 1, 1));
    assert_eq!((gateway.ready, gateway.wanted, gateway.pods.len()), (2, 2, 2));
    assert_eq!(gateway.versions(), "unknown", "no controller was asked");
}

#[test]
fn what_is_refused_is_told_with_where_and_why_and_others_say_nothing() {
    let missing = condition("ResolvedRefs", "False", "BackendNotFound", "spec.rules[0]: gone; name a Service");
    let said = json!([
        entry(OURS, &[fine("Accepted"), missing.clone()]),
        entry("example.com/other", &[condition("Accepted", "False", "NotAllowed", "not ours to tell")]),
    ]);
    let told = refused(&[class(), good_gateway(), route(said)]);
    assert_eq!(
        told,
        ["HTTPRoute shop/hello (Gateway shop/web) ResolvedRefs BackendNotFound: spec.rules[0]: gone; name a Service"]
    );
    let partly =
        json!([entry(OURS, &[fine("Accepted"), condition("PartiallyInvalid", "True", "UnsupportedValue", "m")])]);
    assert_eq!(refused(&[class(), good_gateway(), route(partly)]).len(), 1, "a fault is what is True");
}

#[test]
fn a_gateway_that_is_not_programmed_says_so_once_and_a_listener_says_its_own() {
    let pending = |message: &str| condition("Programmed", "False", "NoResources", message);
    let conditions = [fine("Accepted"), pending("Pod a: Unschedulable")];
    let told = refused(&[class(), gateway(&conditions, &[fine("Accepted"), pending("Pod a: Unschedulable")])]);
    assert_eq!(told, ["Gateway shop/web () Programmed NoResources: Pod a: Unschedulable"]);
    let unresolved = condition("ResolvedRefs", "False", "InvalidCertificateRef", "Secret shop/tls does not exist");
    let listener = [unresolved, condition("Programmed", "False", "Invalid", "see the other conditions")];
    let told = refused(&[class(), gateway(&[fine("Accepted"), fine("Programmed")], &listener)]);
    assert_eq!(
        told,
        ["Gateway shop/web (listener http) ResolvedRefs InvalidCertificateRef: Secret shop/tls does not exist"]
    );
}

#[test]
fn what_no_controller_has_looked_at_is_told() {
    let unsaid = condition("Accepted", "Unknown", "Pending", "Waiting for controller");
    let told = refused(&[class(), gateway(&[unsaid], &[]), route(json!([]))]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("Gateway shop/web ()  NotLookedAt: no controller has said anything"), "{told:?}");
    assert!(told[1].starts_with("HTTPRoute shop/hello (Gateway shop/web)  NotLookedAt"), "{told:?}");
    let mut newer = route(json!([entry(OURS, &[fine("Accepted")])]));
    newer["metadata"]["generation"] = json!(4);
    let told = refused(&[class(), good_gateway(), newer]);
    assert!(told[0].contains("Accepted Outdated: said of generation 1, and the object is at 4"), "{told:?}");
}

#[test]
fn a_gateway_of_another_class_and_routes_to_it_are_nobodys_business() {
    let mut foreign = gateway(&[condition("Accepted", "False", "Invalid", "")], &[]);
    foreign["spec"]["gatewayClassName"] = json!("other");
    let report = report(&[class(), foreign, route(json!([]))]);
    assert_eq!((report.gateways.len(), report.refused.len()), (0, 0));
}

#[test]
fn where_classes_may_not_be_read_the_usual_one_is_ours() {
    assert_eq!(report(&[good_gateway()]).gateways.len(), 1);
    let mut foreign = good_gateway();
    foreign["spec"]["gatewayClassName"] = json!("other");
    assert_eq!(report(&[foreign]).gateways.len(), 0);
}

#[test]
fn a_namespace_shows_its_own_and_the_classes() {
    let objects: Vec<_> = [class(), good_gateway()].map(object).into();
    let of = |namespace| {
        Report::of(&Sight {
            objects: &objects,
            controller_name: OURS,
            usual_class: "headgate",
            namespace: Some(namespace),
        })
    };
    assert_eq!((of("shop").gateways.len(), of("other").gateways.len(), of("other").classes.len()), (1, 0, 1));
}

#[test]
fn functions_have_their_state_their_replicas_and_their_address() {
    let function = |state: &str, reason: &str| {
        json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
            "metadata": {"name": "f", "namespace": "shop"}, "spec": {"image": "a:1", "serving": {}},
            "status": {"serving": {"state": state, "reason": reason, "message": "m"}, "addresses": [
                {"type": "Internal", "value": "http://f.shop.svc"}, {"type": "External", "value": "http://f.shop.example"}]}})
    };
    let replica_set = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "f-v1", "namespace": "shop", "labels": {"headgate.dev/function": "f"}},
        "spec": {"replicas": 3}, "status": {"readyReplicas": 1}});
    let good = report(&[class(), function("Running", ""), replica_set]);
    let row = &good.functions[0];
    assert_eq!((row.ready, row.wanted, row.addresses[0].as_str()), (1, 3, "http://f.shop.example"));
    assert!(good.is_fine());
    let bad = refused(&[class(), function("Failed", "CrashLoopBackOff")]);
    assert_eq!(bad, ["Function shop/f () Failed CrashLoopBackOff: m"]);
}

#[test]
fn pods_are_current_by_what_their_controllers_say() {
    let pod = |ready, version, newest| PodRow { name: String::new(), ready, version, newest };
    let versions = |pods: &[PodRow]| GatewayRow { pods: pods.to_vec(), ..GatewayRow::default() }.versions();
    assert_eq!(versions(&[]), "none");
    assert_eq!(versions(&[pod(true, Some(7), Some(7)), pod(false, None, None)]), "current");
    assert_eq!(versions(&[pod(true, Some(7), Some(7)), pod(true, Some(6), Some(7))]), "1 of 2 current");
    assert_eq!(versions(&[pod(true, Some(0), Some(0))]), "0 of 1 current", "it serves nothing yet");
}
