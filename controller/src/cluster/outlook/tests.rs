//! What would follow from objects, without a cluster.

use super::*;
use crate::sources::{
    cluster::ClusterContent,
    decode::{Outcome, decode_admitted},
};
use headgate_translate::Settings;
use serde_json::json;

const API: &str = "gateway.networking.k8s.io/v1";

/// As an API server gives an object back.
fn read(value: Value, before: Option<&ClusterObject>) -> Option<ClusterObject> {
    let text = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group).to_owned();
    let owner = &value["metadata"]["ownerReferences"][0];
    let owner = owner["kind"].as_str().map(|kind| {
        let group =
            owner["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
        ObjectRef::new(group, kind, &text("/metadata/namespace"), owner["name"].as_str().unwrap_or_default())
    });
    let content = match decode_admitted(&value) {
        // Pods are watched whole
        Outcome::Known(_, content, _) if value["kind"] != "Pod" => ClusterContent::Known(content),
        Outcome::Known(..) | Outcome::Foreign(_) => ClusterContent::Other(Arc::new(value.clone())),
        Outcome::Refused(..) => before.map_or(ClusterContent::Unreadable, |before| before.content.clone()),
    };
    Some(ClusterObject {
        name: ObjectRef::new(&group, &text("/kind"), &text("/metadata/namespace"), &text("/metadata/name")),
        version: "v1",
        content,
        uid: text("/metadata/uid").into(),
        owner: owner.map(Box::new),
        generation: 1,
        resource_version: String::new(),
        status: (&value["status"]).into(),
        appliers: Vec::new(),
        made: Some(Arc::new(value)),
        problems: Vec::new(),
    })
}

fn of(values: &[Value]) -> Outlook {
    let ground = Ground {
        settings: Settings::default(),
        provision: headgate_provision::Settings::default(),
        functions: Some(headgate_functions::Defaults::default()),
        ingress: false,
    };
    let objects: Vec<_> = values.iter().filter_map(|value| Some(Arc::new(read(value.clone(), None)?))).collect();
    outlook(ground, &objects, read, 0)
}

fn class() -> Value {
    json!({"apiVersion": API, "kind": "GatewayClass", "metadata": {"name": "headgate"},
        "spec": {"controllerName": "headgate.dev/gateway-controller"}})
}

fn gateway() -> Value {
    json!({"apiVersion": API, "kind": "Gateway", "metadata": {"name": "web", "namespace": "shop", "uid": "g"},
        "spec": {"gatewayClassName": "headgate", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}})
}

fn route(service: &str) -> Value {
    json!({"apiVersion": API, "kind": "HTTPRoute", "metadata": {"name": "hello", "namespace": "shop", "uid": "r"},
        "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [{"name": service, "port": 80}]}]}})
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop", "uid": "s"},
        "spec": {"ports": [{"port": 80}]}})
}

fn web() -> GatewayName {
    GatewayName { namespace: "shop".into(), name: "web".into() }
}

#[test]
fn a_gateway_serves_its_routes_and_nothing_of_gateways_themselves_is_said() {
    let outlook = of(&[class(), gateway(), service("a"), route("a")]);
    assert_eq!(outlook.gateways[&web()].rules.len(), 1);
    assert!(outlook.said.keys().all(|subject| subject.condition != ConditionType::Programmed));
    assert!(outlook.said.values().all(|said| !said.is_wrong), "{:?}", outlook.said);
}

#[test]
fn what_becomes_wrong_is_told_and_what_was_wrong_before_is_not() {
    let good = of(&[class(), gateway(), service("a"), route("a")]);
    let bad = of(&[class(), gateway(), service("a"), route("gone")]);
    let worse: Vec<_> = bad.worse_than(&good).collect();
    assert_eq!(worse.len(), 1, "{worse:?}");
    let (subject, said) = worse[0];
    assert_eq!((subject.object.name.as_str(), subject.at.as_str()), ("hello", "Gateway shop/web"));
    assert_eq!((subject.condition, said.reason), (ConditionType::ResolvedRefs, "BackendNotFound"));
    assert_eq!(bad.worse_than(&bad).count(), 0);
    assert_eq!(good.worse_than(&bad).count(), 0);
}

#[test]
fn a_function_that_is_not_there_yet_gets_its_gateway_and_its_route() {
    let function = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
        "metadata": {"name": "hello", "namespace": "shop", "uid": "f"}, "spec": {"image": "a:1", "serving": {}}});
    let outlook = of(&[class(), function]);
    let gateway = GatewayName { namespace: "openfunction".into(), name: "openfunction".into() };
    let snapshot = outlook.gateways.get(&gateway).unwrap_or_else(|| panic!("{:?}", outlook.gateways.keys()));
    let hosts: Vec<String> = snapshot
        .rules
        .values()
        .flat_map(|rule| &rule.attachments)
        .flat_map(|one| &one.hosts)
        .map(|host| host.pattern.to_string())
        .collect();
    assert!(hosts.iter().any(|host| host == "hello.shop.localhost"), "{hosts:?}");
}
