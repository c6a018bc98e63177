//! The objects that a function is given in a cluster, from a Function that says everything.

use headgate_config::Probe;
use headgate_functions::{
    Defaults, Expansion, Input, Observed,
    cluster::{manifests, probe, revision},
    expand,
    kinds::{Decoded, Function, NamespacedName, Object, decode},
};
use headgate_translate::{Objects, kinds::ObjectRef};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn function(spec: Value) -> Function {
    let value = json!({
        "apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
        "metadata": {"name": "hello", "namespace": "shop", "uid": "f"},
        "spec": spec,
    });
    match decode(&value) {
        Ok(Decoded::Known(Object::Function(function), _)) => *function,
        other => panic!("{other:?}"),
    }
}

fn expanded(function: &Function) -> Expansion {
    let observed = BTreeMap::from([(NamespacedName::new("shop", "hello"), Observed::default())]);
    expand(&Input {
        functions: std::slice::from_ref(function),
        gateways: &[Defaults::default().gateway()],
        objects: &Objects::default(),
        revisions: &BTreeMap::new(),
        observed: &observed,
        defaults: &Defaults { make_gateways: false, ..Defaults::default() },
        now_ms: 1,
    })
}

fn made(function: &Function) -> BTreeMap<ObjectRef, Value> {
    manifests(function, &expanded(function), |_| None)
}

fn deployment(function: &Function) -> Value {
    let all = made(function);
    let found = all.into_iter().find(|(name, _)| name.kind == "Deployment");
    found.map(|(_, value)| value).unwrap_or_else(|| panic!("it has one"))
}

fn with_container(container: Value) -> Function {
    function(json!({"image": "a:1", "serving": {"template": {"containers": [container]}}}))
}

#[test]
fn what_the_user_wrote_of_pods_is_there_with_what_openfunction_adds() {
    let function = function(json!({
        "version": "v1", "image": "a:1", "imageCredentials": {"name": "pull"},
        "serving": {
            "triggers": {"http": {"port": 9000}},
            "params": {"GREETING": "hi"},
            "labels": {"team": "a", "headgate.dev/revision": "mine"},
            "annotations": {"note": "x", "autoscaling.knative.dev/target": "5"},
            "template": {
                "imagePullSecrets": [{"name": "other"}],
                "terminationGracePeriodSeconds": 7,
                "volumes": [{"name": "tmp", "emptyDir": {}}],
                "containers": [
                    {"name": "sidecar", "image": "s:1"},
                    {"name": "function", "image": "ignored:1", "command": ["run"], "args": ["--x"], "workingDir": "/app",
                     "env": [{"name": "A", "value": "1"}, {"name": "PORT", "value": "1"},
                             {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                     "resources": {"requests": {"cpu": "100m"}},
                     "ports": [{"containerPort": 9000, "name": "web"}],
                     "readinessProbe": {"httpGet": {"path": "/ok", "port": "web"}}},
                ],
            },
        },
    }));
    let deployment = deployment(&function);
    let template = &deployment["spec"]["template"];
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let labels = &template["metadata"]["labels"];
    assert_eq!((labels["team"].as_str(), labels["headgate.dev/revision"].as_str()), (Some("a"), Some(name)));
    assert_eq!(labels["openfunction.io/serving"], name);
    assert_eq!(template["metadata"]["annotations"], json!({"note": "x"}), "bounds are no part of a Pod");
    let pod = &template["spec"];
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "other"}, {"name": "pull"}]));
    assert_eq!(pod["terminationGracePeriodSeconds"], 7);
    assert_eq!(pod["volumes"][0]["name"], "tmp");
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "a:1");
    assert_eq!((&container["command"], &container["args"]), (&json!(["run"]), &json!(["--x"])));
    assert_eq!(container["workingDir"], "/app");
    assert_eq!(container["resources"], json!({"requests": {"cpu": "100m"}}));
    assert_eq!(
        container["readinessProbe"],
        json!({"httpGet": {"path": "/ok", "port": 9000}}),
        "the port that it named"
    );
    assert_eq!(pod["containers"][1], json!({"name": "sidecar", "image": "s:1"}));
    let env = container["env"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = env.iter().filter_map(|one| one["name"].as_str()).collect();
    let expected = [
        "A",
        "S",
        "APP_PROTOCOL",
        "FUNC_CONTEXT",
        "FUNC_CONTEXT_V1BETA2",
        "GREETING",
        "POD_NAME",
        "POD_NAMESPACE",
        "PORT",
    ];
    assert_eq!(names, expected, "each name stands once");
    let value = |name: &str| env.iter().find(|one| one["name"] == name).cloned().unwrap_or_default();
    assert_eq!(value("PORT")["value"], "9000");
    assert_eq!(value("S")["valueFrom"]["secretKeyRef"]["key"], "k");
    assert_eq!(value("POD_NAME")["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    let context: Value =
        serde_json::from_str(value("FUNC_CONTEXT")["value"].as_str().unwrap_or_default()).unwrap_or_default();
    assert_eq!((context["name"].as_str(), context["port"].as_str()), (Some("hello"), Some("9000")));
}

#[test]
fn settings_and_routes_change_no_pod() {
    let plain = function(json!({"image": "a:1", "serving": {}}));
    let routed = function(json!({"image": "a:1", "serving": {
        "annotations": {"headgate.dev/idle": "5s", "headgate.dev/wait": "9s"},
        "scaleOptions": {"maxReplicas": 4},
        "triggers": {"http": {"route": {"hostnames": ["x.ofn.io"]}}}}}));
    assert_eq!(deployment(&plain), deployment(&routed));
}

#[test]
fn a_gateway_asks_a_pod_itself_only_where_it_can_know() {
    let asked = |container: Value| probe(&expanded_template(&with_container(container)));
    assert_eq!(asked(json!({"name": "function"})), Some(Probe::Tcp));
    let get = |port: Value| json!({"name": "function", "readinessProbe": {"httpGet": {"path": "/ok", "port": port}}});
    assert_eq!(asked(get(json!(8080))), Some(Probe::Http { path: "/ok".into() }));
    assert_eq!(asked(get(json!("web"))), Some(Probe::Http { path: "/ok".into() }));
    assert_eq!(asked(get(json!(9090))), None, "another port");
    assert_eq!(asked(json!({"name": "function", "readinessProbe": {"exec": {"command": ["true"]}}})), None);
    let beside = function(json!({"image": "a:1", "serving": {"template": {"containers": [
        {"name": "function"}, {"name": "proxy", "image": "p:1"}]}}}));
    assert_eq!(probe(&expanded_template(&beside)), None, "a proxy may take connections before the function does");
}

fn expanded_template(function: &Function) -> headgate_functions::Template {
    headgate_functions::Template::of(function).unwrap_or_else(|| panic!("HTTP calls it"))
}

#[test]
fn the_record_comes_back_from_the_deployment() {
    let function = function(json!({"version": "v2", "image": "a:1", "serving": {"params": {"A": "$(B)"}}}));
    let deployment = deployment(&function);
    let expansion = expanded(&function);
    let planned = &expansion.plans[&function.reference()].revisions[0];
    let read = revision(&deployment, 0).unwrap_or_else(|| panic!("it has a record"));
    assert_eq!(read.template, planned.template, "decided by comparing, so nothing may be lost");
    assert_eq!((read.name, read.turn, read.proven), (planned.name.clone(), planned.turn, planned.proven));
    assert_eq!(revision(&json!({"metadata": {"name": "x"}}), 0), None);
}

#[test]
fn a_redirect_keeps_its_rule_and_has_no_backend() {
    let function = function(json!({"image": "a:1", "serving": {"triggers": {"http": {"route": {"rules": [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/old"}}],
         "filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 301}}]},
        {"matches": [{"method": "GET", "headers": [{"name": "x", "value": "1"}]}],
         "backendRefs": [{"name": "theirs", "port": 1}]}]}}}}}));
    let route = made(&function).into_iter().find(|(name, _)| name.kind == "HTTPRoute").map(|(_, value)| value);
    let rules = route.unwrap_or_default()["spec"]["rules"].clone();
    assert!(rules[0]["backendRefs"].is_null(), "{}", rules[0]);
    assert_eq!(rules[1]["matches"][0]["method"], "GET");
    assert_ne!(rules[1]["backendRefs"][0]["name"], "theirs", "the function itself is behind its rules");
}
