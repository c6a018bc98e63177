//! Translating after each of many edits gives what translating everything gives; and what no edit touched stays the same value, not only an equal one.

use fastrand::Rng;
use headgate_config::{ColdArm, Probe, QueueBounds, Wait};
use headgate_translate::{
    AliasArm, Key, Objects, ServiceTraits, Settings, Translator,
    kinds::{Decoded, ObjectRef, decode_admitted},
    translate,
};
use serde_json::{Value, json};
use std::sync::Arc;

const SEEDS: u64 = 320;
/// Edits before the first translation, and after it.
const START: usize = 60;
const EDITS: usize = 20;
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const ANOTHER_PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
const GROUP: &str = "gateway.networking.k8s.io";

#[test]
fn after_any_edits_the_result_is_that_of_translating_everything() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        let mut dice = Rng::with_seed(seed);
        let settings = if seed % 3 == 0 { Settings::default() } else { Settings::standalone() };
        let settings = Settings { conditions: seed % 5 != 4, ..settings };
        let mut translator = Translator::new(settings.clone());
        let mut objects = Objects::default();
        (0..START).for_each(|_| change(&mut objects, &mut dice));
        for edit in 0..EDITS {
            // several edits at once, as a folder that is written anew
            for _ in 0..[1, 1, 2, 6][dice.usize(..4)] {
                change(&mut objects, &mut dice);
            }
            let whole = translate(&objects, &settings);
            let made = translator.translate(&objects);
            assert_eq!(*made, whole, "seed {seed}, edit {edit}");
            seen.rules += made.snapshot.rules.len();
            seen.endpoints += made.endpoints.len();
            seen.problems += made.problems.len();
            seen.conditions += made.conditions.len();
            seen.gates += made.snapshot.rules.keys().filter(|name| name.kind.is_of_listeners()).count();
        }
    }
    assert!(seen.gates > 500, "and listeners with filters: {seen:?}");
    assert!(seen.rules > 5_000 && seen.endpoints > 1_000, "edits make routes that serve: {seen:?}");
    assert!(seen.problems > 10_000 && seen.conditions > 10_000, "and such that do not: {seen:?}");
}

#[derive(Debug, Default)]
struct Seen {
    rules: usize,
    endpoints: usize,
    problems: usize,
    conditions: usize,
    /// Rules of listeners' filters.
    gates: usize,
}

#[test]
fn what_no_edit_touched_is_the_same_value() {
    let mut objects = Objects::default();
    for name in ["a", "b"] {
        insert(&mut objects, &service(name, "a", &json!([{"name": "http", "port": 80}])));
        insert(
            &mut objects,
            &route("HTTPRoute", name, "a", &json!({"rules": [{"backendRefs": [{"name": name, "port": 80}]}]})),
        );
    }
    let mut translator = Translator::new(Settings::standalone());
    let before = translator.translate(&objects).clone();
    insert(
        &mut objects,
        &route(
            "HTTPRoute",
            "a",
            "a",
            &json!({"hostnames": ["a.io"], "rules": [{"backendRefs": [{"name": "a", "port": 80}]}]}),
        ),
    );
    let after = translator.translate(&objects);
    let same: Vec<bool> =
        before.snapshot.rules.values().zip(after.snapshot.rules.values()).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
    assert_eq!(same, [false, true]);
    let backends = before.snapshot.backends.values().zip(after.snapshot.backends.values());
    assert!(backends.into_iter().all(|(a, b)| Arc::ptr_eq(a, b)));
    let problems = before.problems.iter().zip(&after.problems);
    assert!(!before.problems.is_empty() && problems.into_iter().all(|(a, b)| Arc::ptr_eq(a, b)));
}

fn insert(objects: &mut Objects, value: &Value) {
    match decode_admitted(value) {
        Ok(Decoded::Known(object, _)) => objects.insert(object),
        other => panic!("{value}: {other:?}"),
    }
}

fn change(objects: &mut Objects, dice: &mut Rng) {
    let namespace = pick(dice, &["a", "b"]);
    let (group, kind) = pick(
        dice,
        &[
            (GROUP, "HTTPRoute"),
            (GROUP, "HTTPRoute"),
            (GROUP, "HTTPRoute"),
            (GROUP, "GRPCRoute"),
            (GROUP, "TLSRoute"),
            (GROUP, "TCPRoute"),
            (GROUP, "Gateway"),
            (GROUP, "ListenerSet"),
            (GROUP, "ListenerSet"),
            (GROUP, "GatewayClass"),
            (GROUP, "ReferenceGrant"),
            (GROUP, "BackendTLSPolicy"),
            ("headgate.dev", "ScalingPolicy"),
            ("networking.k8s.io", "Ingress"),
            ("networking.k8s.io", "Ingress"),
            ("networking.k8s.io", "IngressClass"),
            ("gateway.networking.x-k8s.io", "XBackendTrafficPolicy"),
            ("gateway.networking.x-k8s.io", "XBackend"),
            ("", "Pod"),
            ("", "Service"),
            ("", "Service"),
            ("", "Service"),
            ("", "Service"),
            ("discovery.k8s.io", "EndpointSlice"),
            ("discovery.k8s.io", "EndpointSlice"),
            ("discovery.k8s.io", "EndpointSlice"),
            ("", "Secret"),
            ("", "unusable"),
            ("", "ConfigMap"),
            ("certificates.k8s.io", "ClusterTrustBundle"),
            ("certificates.k8s.io", "unknown"),
            ("", "Namespace"),
            ("", "traits"),
            ("", "aliases"),
        ],
    );
    let name = match kind {
        "GatewayClass" | "IngressClass" => pick(dice, &["ours", "theirs"]),
        "ClusterTrustBundle" => pick(dice, &["one", "two"]),
        "Namespace" => namespace,
        _ => pick(dice, &["one", "two", "three"]),
    };
    let key: Key = (namespace.into(), name.into());
    let gone = one_in(6, dice);
    match kind {
        "unusable" if gone => drop(objects.unusable_secrets.remove(&key)),
        "unusable" => drop(objects.unusable_secrets.insert(key, pick(dice, &["is empty", "is no pair"]).into())),
        "traits" if gone => drop(objects.traits.remove(&key)),
        "traits" => drop(objects.traits.insert(key, traits(dice))),
        "unknown" => objects.lacks_trust_bundles = dice.bool(),
        "aliases" if gone => drop(objects.aliases.remove(&key)),
        "aliases" => drop(objects.aliases.insert(key, aliases(dice))),
        kind if gone => {
            let everywhere = ["GatewayClass", "IngressClass", "Namespace", "ClusterTrustBundle"];
            let namespace = if everywhere.contains(&kind) { "" } else { namespace };
            objects.remove(&ObjectRef::new(group, kind, namespace, name));
        }
        kind => {
            // what is refused keeps its last good version
            if let Ok(Decoded::Known(object, _)) = decode_admitted(&object(kind, name, namespace, dice)) {
                objects.insert(object);
            }
        }
    }
}

fn one_in(number: usize, dice: &mut Rng) -> bool {
    dice.usize(..number) == 0
}

fn pick<T: Copy>(dice: &mut Rng, from: &[T]) -> T {
    from[dice.usize(..from.len())]
}

fn traits(dice: &mut Rng) -> ServiceTraits {
    ServiceTraits {
        concurrency: dice.u32(..3),
        scales: dice.bool().then(|| "a/one".into()),
        queue: QueueBounds::default(),
        wait: Wait::default(),
        cold: pick(dice, &[ColdArm::Hold, ColdArm::Shift]),
        probe: Probe::Tcp,
    }
}

fn aliases(dice: &mut Rng) -> Vec<AliasArm> {
    let arm = |dice: &mut Rng| AliasArm {
        service: pick(dice, &["one", "two", "gone"]).into(),
        port: 80,
        weight: dice.u32(..3),
    };
    (0..dice.usize(1..3)).map(|_| arm(dice)).collect()
}

fn object(kind: &str, name: &str, namespace: &str, dice: &mut Rng) -> Value {
    match kind {
        "HTTPRoute" | "GRPCRoute" => {
            let rules: Vec<Value> = (0..dice.usize(1..4)).map(|_| rule(kind, dice)).collect();
            let mut spec = json!({"rules": rules});
            if one_in(3, dice) {
                spec["hostnames"] = json!([pick(dice, &["a.io", "b.io", "*.io", "x.b.io"])]);
            }
            if !one_in(4, dice) {
                spec["parentRefs"] = parents(dice);
            }
            if one_in(5, dice) {
                spec["useDefaultGateways"] = json!(pick(dice, &["All", "All", "None"]));
            }
            route(kind, name, namespace, &spec)
        }
        "TLSRoute" | "TCPRoute" => {
            let mut spec = json!({"rules": [{"backendRefs": [{"name": pick(dice, &["one", "two"]), "port": 80}]}]});
            spec["parentRefs"] = parents(dice);
            if kind == "TLSRoute" {
                spec["hostnames"] = json!([pick(dice, &["a.io", "b.io", "*.io"])]);
            }
            route(kind, name, namespace, &spec)
        }
        "Gateway" => {
            let mut value = api(GROUP, "v1", kind, name, namespace);
            let list: Vec<Value> = ["x", "y"].iter().take(dice.usize(1..3)).map(|name| listener(name, dice)).collect();
            value["spec"] = json!({"gatewayClassName": pick(dice, &["ours", "ours", "theirs"]), "listeners": list});
            value["metadata"]["creationTimestamp"] =
                json!(pick(dice, &["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]));
            if one_in(4, dice) {
                value["spec"]["defaultScope"] = json!(pick(dice, &["All", "All", "None", "Later"]));
            }
            if dice.bool() {
                value["spec"]["allowedListeners"] = json!({"namespaces": pick_namespaces(dice)});
            }
            if one_in(3, dice) {
                let shown = json!({"name": pick(dice, &["one", "two"]), "namespace": pick(dice, &["a", "b"])});
                value["spec"]["tls"] = json!({"backend": {"clientCertificateRef": shown}});
            }
            if one_in(4, dice) {
                let validation = json!({"validation": {"caCertificateRefs": [authority(dice)]}});
                value["spec"]["tls"]["frontend"] =
                    json!({"default": validation, "perPort": [{"port": pick(dice, &[80, 8443]), "tls": {}}]});
            }
            value
        }
        "ListenerSet" => {
            let mut value = api(GROUP, "v1", kind, name, namespace);
            let list: Vec<Value> = ["x", "z"].iter().take(dice.usize(1..3)).map(|name| listener(name, dice)).collect();
            let parent = match dice.u8(..8) {
                0 => json!({"name": "headgate", "namespace": "headgate"}),
                _ => json!({"name": pick(dice, &["one", "two"]), "namespace": pick(dice, &["a", "b"])}),
            };
            value["spec"] = json!({"parentRef": parent, "listeners": list});
            value["metadata"]["creationTimestamp"] =
                json!(pick(dice, &["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]));
            value
        }
        "GatewayClass" => {
            let mut value = api(GROUP, "v1", kind, name, "");
            let controller =
                if name == "ours" && !one_in(8, dice) { "headgate.dev/gateway-controller" } else { "x.io/y" };
            value["spec"] = json!({"controllerName": controller});
            value
        }
        "IngressClass" => {
            let mut value = api("networking.k8s.io", "v1", kind, name, "");
            let controller = if name == "ours" { "headgate.dev/ingress-controller" } else { "x.io/y" };
            value["spec"] = json!({"controller": controller});
            if !one_in(3, dice) {
                let (namespace, name) = (pick(dice, &["a", "b"]), pick(dice, &["one", "two"]));
                value["spec"]["parameters"] = json!({
                    "apiGroup": GROUP, "kind": "Gateway", "scope": "Namespace", "namespace": namespace, "name": name,
                });
            }
            value
        }
        "Ingress" => ingress(name, namespace, dice),
        "ReferenceGrant" => {
            let mut value = api(GROUP, "v1beta1", kind, name, namespace);
            let from = pick(dice, &["HTTPRoute", "GRPCRoute", "Gateway", "ListenerSet", "XBackend"]);
            let to = if ["HTTPRoute", "GRPCRoute"].contains(&from) { "Service" } else { "Secret" };
            let group = if from == "XBackend" { "gateway.networking.x-k8s.io" } else { GROUP };
            value["spec"] = json!({
                "from": [{"group": group, "kind": from, "namespace": pick(dice, &["a", "b"])}],
                "to": [{"group": "", "kind": to}],
            });
            value
        }
        "BackendTLSPolicy" => {
            let mut value = api(GROUP, "v1", kind, name, namespace);
            let mut target = json!({"group": "", "kind": "Service", "name": pick(dice, &["one", "two"])});
            if dice.bool() {
                target["sectionName"] = json!("http");
            }
            value["spec"] = json!({
                "targetRefs": [target],
                "validation": {
                    "hostname": pick(dice, &["s.io", "t.io"]),
                    "caCertificateRefs": [authority(dice)],
                },
            });
            value
        }
        "ScalingPolicy" => {
            let mut value = api("headgate.dev", "v1alpha1", kind, name, namespace);
            let mut target = json!({"kind": "Service", "name": pick(dice, &["one", "two"])});
            if one_in(3, dice) {
                target["sectionName"] = json!("http");
            }
            value["spec"] = json!({
                "targetRefs": [target],
                "scaleTargetRef": {"name": pick(dice, &["one", "two"])},
                "queue": pick(dice, &[1, 2]),
                "cold": pick(dice, &["hold", "shift"]),
            });
            value
        }
        "XBackendTrafficPolicy" => {
            let mut value = api("gateway.networking.x-k8s.io", "v1alpha1", kind, name, namespace);
            value["spec"] = json!({
                "targetRefs": [{"group": "", "kind": "Service", "name": pick(dice, &["one", "two"])}],
                "retryConstraint": {"budget": {"percent": pick(dice, &[10, 20])}},
            });
            if dice.bool() {
                value["spec"]["sessionPersistence"] = json!({"cookie": {"name": pick(dice, &["s", "t"])}});
            }
            value
        }
        "XBackend" => {
            let mut value = api("gateway.networking.x-k8s.io", "v1alpha1", kind, name, namespace);
            value["spec"] = match dice.usize(..4) {
                0 => json!({
                    "type": "ExternalHostname",
                    "port": {"number": 443},
                    "externalHostname": {"hostname": pick(dice, &["a.example.com", "b.svc.cluster.local.example"])},
                    "tls": {"mode": "ServerOnly", "validation": {
                        "hostname": "a.example.com",
                        "caCertificateRefs": [authority(dice)],
                    }},
                }),
                1 => json!({
                    "type": "ExternalHostname",
                    "port": {"number": 443},
                    "externalHostname": {"hostname": "a.example.com"},
                    "tls": {
                        "mode": "ClientAndServer",
                        "clientCertificateRef": {
                            "name": pick(dice, &["one", "two", "three"]),
                            "namespace": pick(dice, &["a", "b"]),
                        },
                        "validation": {"hostname": "a.example.com", "wellKnownCACertificates": "System"},
                    },
                }),
                _ => json!({
                    "type": "EndpointSelector",
                    "port": {"number": pick(dice, &[80, 81])},
                    "endpointSelector": {"matchLabels": {"app": pick(dice, &["x", "y"])}},
                }),
            };
            if value["spec"]["type"] == "EndpointSelector" && dice.bool() {
                value["spec"]["sessionPersistence"] = json!({"cookie": {"name": pick(dice, &["s", "t"])}});
            }
            if one_in(6, dice) {
                value["spec"]["protocol"] = json!(pick(dice, &["TCP", "LATER"]));
            }
            value
        }
        "Pod" => {
            let mut value = api("", "v1", kind, name, namespace);
            value["metadata"]["labels"] = json!({"app": pick(dice, &["x", "y"])});
            value["status"] = json!({
                "podIP": format!("10.0.1.{}", dice.u8(1..4)),
                "conditions": [{"type": "Ready", "status": pick(dice, &["True", "True", "False"])}],
            });
            value
        }
        "Service" => {
            let mut port = json!({"name": "http", "port": pick(dice, &[80, 80, 80, 81]), "targetPort": 9000});
            if one_in(3, dice) {
                port["appProtocol"] = json!(pick(dice, &["kubernetes.io/h2c", "https", "kubernetes.io/ws"]));
            }
            let mut value = service(name, namespace, &json!([port]));
            if dice.bool() {
                value["metadata"]["uid"] = json!(pick(dice, &["u1", "u2"]));
            }
            value
        }
        "EndpointSlice" => {
            let mut value = api("discovery.k8s.io", "v1", kind, name, namespace);
            value["metadata"]["labels"] = json!({"kubernetes.io/service-name": pick(dice, &["one", "two", "three"])});
            value["addressType"] = json!("IPv4");
            value["ports"] = json!([{"name": "http", "port": 9000}]);
            value["endpoints"] = json!([{"addresses": [format!("10.0.0.{}", dice.u8(1..4))]}]);
            value
        }
        "Secret" => {
            let mut value = api("", "v1", kind, name, namespace);
            value["type"] = json!("kubernetes.io/tls");
            value["stringData"] = json!({"tls.crt": pick(dice, &[PEM, ANOTHER_PEM, "none"]), "tls.key": KEY});
            value
        }
        "ConfigMap" => {
            let mut value = api("", "v1", kind, name, namespace);
            value["data"] = json!({"ca.crt": pick(dice, &[PEM, "none"])});
            value
        }
        "ClusterTrustBundle" => {
            let mut value = api("certificates.k8s.io", "v1", kind, name, "");
            value["spec"] = json!({"trustBundle": pick(dice, &[PEM, "none"])});
            value
        }
        "Namespace" => {
            let mut value = api("", "v1", kind, name, "");
            value["metadata"]["labels"] = json!({"team": pick(dice, &["red", "blue"])});
            value
        }
        kind => panic!("{kind}"),
    }
}

fn authority(dice: &mut Rng) -> Value {
    let (group, kind) = pick(dice, &[("", "ConfigMap"), ("certificates.k8s.io", "ClusterTrustBundle")]);
    json!({"group": group, "kind": kind, "name": pick(dice, &["one", "two"])})
}

fn api(group: &str, version: &str, kind: &str, name: &str, namespace: &str) -> Value {
    let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut value = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        value["metadata"]["namespace"] = json!(namespace);
    }
    value
}

fn route(kind: &str, name: &str, namespace: &str, spec: &Value) -> Value {
    let mut value = api(GROUP, "v1", kind, name, namespace);
    value["spec"] = spec.clone();
    value
}

fn service(name: &str, namespace: &str, ports: &Value) -> Value {
    let mut value = api("", "v1", "Service", name, namespace);
    value["spec"] = json!({"ports": ports});
    value
}

fn ingress(name: &str, namespace: &str, dice: &mut Rng) -> Value {
    let mut value = api("networking.k8s.io", "v1", "Ingress", name, namespace);
    let path = |dice: &mut Rng| {
        let port = if dice.bool() { json!({"name": "http"}) } else { json!({"number": pick(dice, &[80, 81])}) };
        let service = json!({"name": pick(dice, &["one", "two", "three"]), "port": port});
        let path = pick(dice, &["/", "/x", "/x(/|$)(.*)"]);
        json!({"path": path, "pathType": pick(dice, &["Prefix", "Exact"]), "backend": {"service": service}})
    };
    let rule = |dice: &mut Rng| {
        let mut rule = json!({"http": {"paths": [path(dice)]}});
        if dice.bool() {
            rule["host"] = json!(pick(dice, &["a.io", "b.io", "*.io"]));
        }
        rule
    };
    let rules: Vec<Value> = (0..dice.usize(1..3)).map(|_| rule(dice)).collect();
    value["spec"] = json!({"rules": rules});
    if !one_in(4, dice) {
        value["spec"]["ingressClassName"] = json!(pick(dice, &["ours", "ours", "headgate", "theirs"]));
    }
    if one_in(3, dice) {
        value["spec"]["tls"] = json!([{"hosts": [pick(dice, &["a.io", "b.io"])], "secretName": "one"}]);
    }
    let annotations = [
        json!({}),
        json!({"nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "10"}),
        json!({"nginx.ingress.kubernetes.io/rewrite-target": "/$2"}),
        json!({"nginx.ingress.kubernetes.io/ssl-redirect": "true"}),
        json!({"nginx.ingress.kubernetes.io/auth-url": "http://a/"}),
    ];
    value["metadata"]["annotations"] = annotations[dice.usize(..annotations.len())].clone();
    value
}

fn listener(name: &str, dice: &mut Rng) -> Value {
    if one_in(6, dice) {
        let namespaces = pick_namespaces(dice);
        return match dice.bool() {
            true => {
                json!({"name": name, "port": pick(dice, &[443, 5432]), "protocol": "TCP", "allowedRoutes": {"namespaces": namespaces}})
            }
            false => json!({"name": name, "port": 443, "protocol": "TLS", "hostname": pick(dice, &["a.io", "*.io"]),
                "tls": {"mode": "Passthrough"}, "allowedRoutes": {"namespaces": namespaces}}),
        };
    }
    let secure = one_in(3, dice);
    let mut value = json!({
        "name": name,
        "port": if secure { pick(dice, &[443, 80]) } else { 80 },
        "protocol": if secure { "HTTPS" } else { "HTTP" },
        "allowedRoutes": {"namespaces": pick_namespaces(dice)},
    });
    if one_in(3, dice) {
        value["hostname"] = json!(pick(dice, &["a.io", "*.io", "*.b.io"]));
    }
    if secure {
        let namespace = pick(dice, &["a", "b"]);
        value["tls"] = json!({"certificateRefs": [{"name": pick(dice, &["one", "two"]), "namespace": namespace}]});
    }
    if one_in(4, dice) {
        let filters: Vec<Value> = (0..dice.usize(1..3)).map(|_| listener_filter(dice)).collect();
        value["filters"] = json!({"requests": filters});
    }
    value
}

fn listener_filter(dice: &mut Rng) -> Value {
    if one_in(8, dice) {
        let reference = json!({"group": "example.com", "kind": "Claims", "name": "tenant"});
        return json!({"type": "ExtensionRef", "extensionRef": reference});
    }
    let backend =
        json!({"name": pick(dice, &["one", "two", "gone"]), "namespace": pick(dice, &["a", "b"]), "port": 80});
    let auth = match dice.bool() {
        true => json!({"protocol": "HTTP", "backendRef": backend, "http": {}}),
        false => json!({"protocol": "GRPC", "backendRef": backend, "grpc": {}}),
    };
    json!({"type": "ExternalAuth", "externalAuth": auth})
}

fn pick_namespaces(dice: &mut Rng) -> Value {
    match dice.u8(..6) {
        0..4 => json!({"from": "All"}),
        4 => json!({"from": "Same"}),
        _ => json!({"from": "Selector", "selector": {"matchLabels": {"team": "red"}}}),
    }
}

fn parents(dice: &mut Rng) -> Value {
    let mut parent = json!({"name": pick(dice, &["one", "two", "three"])});
    if dice.bool() {
        parent["namespace"] = json!(pick(dice, &["a", "b"]));
    }
    if one_in(4, dice) {
        parent["sectionName"] = json!("x");
    }
    match dice.u8(..8) {
        0 => parent["kind"] = json!("Mesh"),
        1..3 => parent["kind"] = json!("ListenerSet"),
        _ => {}
    }
    let other = json!({"name": "one", "namespace": "b"});
    if dice.bool() && parent.get("namespace") != Some(&json!("b")) { json!([parent, other]) } else { json!([parent]) }
}

fn rule(kind: &str, dice: &mut Rng) -> Value {
    let backend = |dice: &mut Rng| {
        let mut backend = json!({"name": pick(dice, &["one", "two", "three"]), "port": pick(dice, &[80, 80, 80, 81])});
        if one_in(6, dice) {
            backend = json!({"group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": backend["name"]});
        }
        if one_in(3, dice) {
            backend["namespace"] = json!(pick(dice, &["a", "b"]));
        }
        backend
    };
    let mut backends: Vec<Value> = (0..dice.usize(..3)).map(|_| backend(dice)).collect();
    for one in &mut backends {
        one["weight"] = json!(dice.u32(..3));
    }
    let mut rule = json!({"backendRefs": backends});
    if one_in(3, dice) {
        rule["filters"] = json!([{"type": "RequestMirror", "requestMirror": {"backendRef": backend(dice)}}]);
    }
    if kind == "HTTPRoute" && dice.bool() {
        rule["matches"] = json!([{"path": {"type": pick(dice, &["PathPrefix", "Suffix"]), "value": "/x"}}]);
    }
    rule
}
