//! Reading of OpenFunction's objects: defaults, checks with their field paths, and what users are known to paste.

use headgate_config::BackendProtocol;
use headgate_functions::{
    Revision, State, Template, command_line, environment, func_context, func_context_v1beta2,
    kinds::{
        Decoded, Engine, Function, GatewayTarget, INTERNAL_LISTENER, NamespacedName, Object, OfGateway, Scale, decode,
    },
    settings::Target,
    unresolved,
};
use serde_json::{Value, json};

fn manifest(version: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("core.openfunction.io/{version}"),
        "kind": "Function",
        "metadata": {"name": "hello", "namespace": "shop"},
        "spec": spec,
    })
}

/// The function and what was said of it, or everything that was said.
fn read(value: &Value) -> Result<(Function, Vec<String>), Vec<String>> {
    let texts = |problems: Vec<headgate_translate::schema::Problem>| problems.iter().map(ToString::to_string).collect();
    match decode(value) {
        Ok(Decoded::Known(Object::Function(function), problems)) => Ok((*function, texts(problems))),
        Ok(other) => panic!("{other:?}"),
        Err(problems) => Err(texts(problems)),
    }
}

fn good(version: &str, spec: Value) -> Function {
    let (function, problems) = read(&manifest(version, spec)).expect("no errors");
    assert_eq!(problems, Vec::<String>::new());
    function
}

#[test]
fn the_webhook_defaults_hold_for_both_versions() {
    let empty = good("v1beta2", json!({"image": "x", "serving": {}}));
    let (serving, http) = empty.http().expect("serving: {} is an HTTP function");
    assert_eq!(empty.version, "latest");
    assert_eq!((http.port, http.engine), (8080, Engine::Knative));
    assert_eq!(http.route.gateway, NamespacedName::new("openfunction", "openfunction"));
    assert_eq!((&http.route.hostnames, &http.route.rules), (&None, &None));
    assert_eq!(serving.scale, Scale { min: 0, max: 10 });
    for spec in [
        json!({"image": "x", "serving": {"triggers": {"http": {"port": 0}}}}),
        json!({"image": "x", "serving": {"triggers": {"http": {"route": {"hostnames": [], "rules": []}}}}}),
        json!({"image": "x", "version": "", "serving": {"triggers": null}}),
    ] {
        assert_eq!(good("v1beta2", spec.clone()).serving, empty.serving, "{spec}");
    }
    let old = good("v1beta1", json!({"image": "x", "serving": {"runtime": "knative"}}));
    assert_eq!(old.serving, empty.serving);
    let without_inputs = good("v1beta1", json!({"image": "x", "serving": {"runtime": "async"}}));
    assert!(without_inputs.http().is_some());
}

#[test]
fn v1beta1_is_converted() {
    let function = good(
        "v1beta1",
        json!({
            "image": "x", "port": 9000, "route": {"hostnames": ["a.ofn.io"]},
            "serving": {
                "runtime": "knative",
                "scaleOptions": {"minReplicas": 5, "keda": {"scaledObject": {"minReplicaCount": 1, "maxReplicaCount": 4}}},
                "outputs": [{"name": "out", "component": "mqtt", "operation": "create", "params": {"a": "b"}}],
                "bindings": {"mqtt": {"type": "bindings.mqtt", "metadata": [{"name": "qos", "value": 1}]}},
            },
        }),
    );
    let (serving, http) = function.http().expect("called by HTTP");
    assert_eq!(http.port, 9000);
    assert_eq!(http.route.hostnames.as_deref(), Some(["a.ofn.io".to_owned()].as_slice()));
    assert_eq!(serving.scale, Scale { min: 1, max: 4 }, "KEDA's bounds win");
    assert_eq!(serving.outputs[0].output_name, "out");
    assert_eq!(serving.component_kind(&serving.outputs[0].component), "bindings.mqtt");
    let asynchronous = good(
        "v1beta1",
        json!({"image": "x", "serving": {
            "runtime": "async",
            "inputs": [{"name": "in", "component": "cron"}],
            "bindings": {"cron": {"type": "bindings.cron"}},
            "triggers": [{"type": "kafka", "metadata": {}}],
        }}),
    );
    assert!(asynchronous.http().is_none());
}

#[test]
fn what_the_webhooks_refuse_is_an_error_with_its_path() {
    for (version, spec, says) in [
        ("v1beta2", json!({"image": "x"}), "spec: has neither serving nor build"),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"triggers": {"http": {"engine": "kn"}}}}),
            "spec.serving.triggers.http.engine: \"kn\" is no engine",
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"triggers": {"http": {"engine": ""}}}}),
            "engine: \"\" is no engine",
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"scaleOptions": {"minReplicas": 11}}}),
            "spec.serving.scaleOptions.minReplicas: 11 is more than maxReplicas, which is 10",
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"scaleOptions": {"minReplicas": -1}}}),
            "minReplicas: -1 is out of range",
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"scaleOptions": {"keda": {"scaledJob": {}, "scaledObject": {}}}}}),
            "spec.serving.scaleOptions.keda: has more than one scaler",
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"scaleOptions": {"keda": {"httpScaledObject": {"cooldownPeriod": -1}}}}}),
            "httpScaledObject.cooldownPeriod: -1",
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"triggers": {"http": {"route": {"hostnames": ["A.io"]}}}}}),
            "spec.serving.triggers.http.route.hostnames[0]: \"A.io\"",
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"triggers": {"http": {"route": {"gatewayRef": {"name": "g"}}}}}}),
            "route.gatewayRef.namespace: is missing",
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"triggers": {"http": {"route": {"rules": [{"matches": [{"path": {"value": "x"}}]}]}}}}}),
            "spec.serving.triggers.http.route.rules[0].matches[0].path",
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"triggers": {"dapr": [{"type": "bindings.cron"}]}}}),
            "spec.serving.triggers.dapr[0].name: is missing",
        ),
        ("v1beta1", json!({"image": "x", "serving": {}}), "spec.serving.runtime: is missing"),
        ("v1beta1", json!({"image": "x", "serving": {"runtime": "knativ"}}), "did you mean knative?"),
        (
            "v1beta1",
            json!({"image": "x", "serving": {"runtime": "async", "inputs": [{"name": "a"}]}}),
            "spec.serving.inputs[0].component: is missing",
        ),
        (
            "v1beta1",
            json!({"image": "x", "serving": {"runtime": "knative", "triggers": {"http": {}}}}),
            "write apiVersion: core.openfunction.io/v1beta2",
        ),
    ] {
        let problems = read(&manifest(version, spec.clone())).expect_err(&spec.to_string());
        assert!(problems.iter().any(|problem| problem.contains(says)), "{spec}: {problems:#?}");
    }
    let mut named = manifest("v1beta2", json!({"image": "x", "serving": {}}));
    named["metadata"]["name"] = json!("1.hello");
    assert!(
        read(&named).expect_err("no Service")[0].contains("metadata.name: \"1.hello\" cannot be the name of a Service")
    );
}

#[test]
fn known_defects_are_warnings_and_their_meaning_holds() {
    type Case = (&'static str, Value, &'static [&'static str], fn(&Function) -> bool);
    let cases: &[Case] = &[
        (
            "v1beta2",
            json!({"image": "x", "serving": {"runtime": "knative"}}),
            &["spec.serving.runtime: runtime is a field of v1beta1"],
            |function| function.http().is_some(),
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"outputs": [{"dapr": {"component": "kafka", "operation": "create"}}]}}),
            &["spec.serving.outputs[0].dapr.component: is called name in v1beta2"],
            |function| function.serving.as_ref().is_some_and(|s| s.outputs[0].component.name == "kafka"),
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"scaleOptions": {"keda": {"scaledObject": {"maxReplicaCount": 3}}}}}),
            &[
                "maxReplicaCount: is a field of v1beta1: its right place in v1beta2 is spec.serving.scaleOptions.maxReplicas",
            ],
            |function| function.serving.as_ref().is_some_and(|s| s.scale.max == 3),
        ),
        (
            "v1beta2",
            json!({"image": "x", "build": {"params": {"A": "1"}}, "serving": {}}),
            &["spec.build.params: is a field of v1beta1"],
            |function| function.build.is_some(),
        ),
        (
            "v1beta1",
            json!({"image": "x", "serving": {"runtime": "knative", "outputs": [{"name": "o", "component": "target"}]}}),
            &["spec.serving.outputs: names component \"target\", which bindings and pubsub do not declare"],
            |function| function.serving.as_ref().is_some_and(|s| s.outputs.is_empty()),
        ),
        ("v1beta2", json!({"serving": {}}), &["spec.image: is missing"], |function| function.http().is_some()),
        (
            "v1beta2",
            json!({"image": "x", "port": 9000, "route": {"hostnames": ["a.ofn.io"]}, "serving": {}}),
            &[
                "spec.port: stands too high: its right place in v1beta2 is spec.serving.triggers.http.port",
                "spec.route: stands too high",
            ],
            |function| function.http().is_some_and(|(_, http)| http.port == 9000 && http.route.hostnames.is_some()),
        ),
        (
            "v1beta1",
            json!({"image": "x", "serving": {"runtime": "knative", "port": 9000}}),
            &["spec.serving.port: stands too low: its right place in v1beta1 is spec.port"],
            |function| function.http().is_some_and(|(_, http)| http.port == 9000),
        ),
        (
            "v1beta2",
            json!({"image": "x", "params": {"A": "1"}, "serving": {"params": {"A": "2"}}}),
            &["spec.params: stands one level too high and has no effect"],
            |function| function.serving.as_ref().is_some_and(|s| s.params["A"] == "2"),
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"parms": {"A": "2"}}}),
            &["spec.serving.parms: is not a field of this object and has no effect; did you mean params?"],
            |function| function.http().is_some(),
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"triggers": {"http": {}, "dapr": [{"name": "cron"}]}}}),
            &["spec.serving.triggers: has http beside dapr"],
            |function| function.http().is_some(),
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"template": {"containers": [{"name": "hello", "command": ["x"]}]}}}),
            &["containers[0]: has no container called function"],
            |function| function.http().is_some(),
        ),
        (
            "v1beta2",
            json!({"image": "x", "serving": {"triggers": {"http": {"route": {"rules": [{"backendRefs": [{"name": "y", "port": 80}]}]}}}}}),
            &["route.rules[0].backendRefs: has no effect: the rules of a function lead to the function"],
            |function| function.http().is_some_and(|(_, http)| http.route.rules.as_ref().is_some_and(|r| r.len() == 1)),
        ),
    ];
    for (version, spec, says, holds) in cases {
        let (function, problems) = read(&manifest(version, spec.clone())).unwrap_or_else(|e| panic!("{spec}: {e:#?}"));
        assert_eq!(problems.len(), says.len(), "{spec}: {problems:#?}");
        for (problem, says) in problems.iter().zip(*says) {
            assert!(problem.contains(says), "{spec}: {problem}");
        }
        assert!(holds(&function), "{spec}: {function:#?}");
    }
}

#[test]
fn scale_and_settings_come_from_annotations_in_openfunctions_order() {
    let mut value = manifest(
        "v1beta2",
        json!({"image": "x", "serving": {
            "annotations": {"autoscaling.knative.dev/max-scale": "4", "autoscaling.knative.dev/container-concurrency": "2"},
            "scaleOptions": {"minReplicas": 1, "knative": {
                "autoscaling.knative.dev/max-scale": "3", "autoscaling.knative.dev/min-scale": "2", "autoscaling.knative.dev/target": "7",
            }},
            "timeout": "90s",
            "template": {"terminationGracePeriodSeconds": 5},
        }}),
    );
    value["metadata"]["annotations"] =
        json!({"headgate.dev/queue": "9", "headgate.dev/protocol": "h2c", "headgate.dev/idle": "5s"});
    let (function, problems) = read(&value).expect("no errors");
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(function.serving.as_ref().map(|serving| serving.scale), Some(Scale { min: 1, max: 4 }));
    assert_eq!(function.concurrency, 2);
    assert_eq!(function.protocol, BackendProtocol::Http2);
    let settings = &function.settings;
    assert_eq!(
        (settings.queue.count, settings.idle_ms, settings.start_ms, settings.grace_ms),
        (Some(9), 5_000, 90_000, 5_000)
    );
    assert_eq!(settings.target, Target::Concurrency(7));
}

fn gateway(spec: Value) -> Result<OfGateway, Vec<String>> {
    let value = json!({
        "apiVersion": "networking.openfunction.io/v1alpha1",
        "kind": "Gateway",
        "metadata": {"name": "own", "namespace": "edge"},
        "spec": spec,
    });
    match decode(&value) {
        Ok(Decoded::Known(Object::Gateway(gateway), _)) => Ok(*gateway),
        Ok(other) => panic!("{other:?}"),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn a_gateway_gets_the_defaults_of_its_webhook() {
    let gateway = gateway(json!({
        "domain": "ofn.io",
        "gatewayDef": {"namespace": "edge", "gatewayClassName": "headgate"},
        "gatewaySpec": {"listeners": [{
            "name": "web", "hostname": "*.else.io", "protocol": "HTTP", "port": 8080, "allowedRoutes": {"namespaces": {"from": "All"}},
        }]},
    }))
    .expect("no errors");
    let made = GatewayTarget::Made { gateway: NamespacedName::new("edge", "own"), class: "headgate".into() };
    assert_eq!(gateway.target, made, "its own name");
    let listeners: Vec<_> =
        gateway.listeners.iter().map(|l| (l.name.as_str(), l.hostname.as_deref(), l.port)).collect();
    assert_eq!(listeners, [("web", Some("*.ofn.io"), 8080), (INTERNAL_LISTENER, Some("*.cluster.local"), 80)]);
    assert_eq!(gateway.host("f", "ns"), "f.ns.ofn.io");
    assert_eq!(gateway.path("f", "ns"), "/ns/f");
    assert!(gateway.takes("a.b.ofn.io") && gateway.takes("f.ns.svc.cluster.local"));
    assert!(!gateway.takes("ofn.io") && !gateway.takes("podinfo.com"));
}

#[test]
fn a_wrong_gateway_is_refused_with_the_place() {
    let listeners = json!({"listeners": [{"name": "web", "protocol": "HTTP", "port": 80}]});
    let reference = json!({"name": "g", "namespace": "n"});
    for (spec, says) in [
        (json!({"gatewayRef": reference, "gatewaySpec": listeners}), "spec.domain: is missing"),
        (json!({"domain": "ofn.io", "gatewaySpec": listeners}), "spec: has neither gatewayRef nor gatewayDef"),
        (
            json!({"domain": "ofn.io", "gatewayRef": reference, "gatewaySpec": listeners, "gatewayDef": {"namespace": "n", "gatewayClassName": "c"}}),
            "spec: has gatewayRef and gatewayDef",
        ),
        (
            json!({"domain": "ofn.io", "gatewayRef": reference, "gatewaySpec": listeners, "hostTemplate": "{{.Name}}.{{.Zone}}"}),
            "spec.hostTemplate: is wrong at character 11: \"{{.Zone}}\" is not known here",
        ),
        (
            json!({"domain": "ofn.io", "gatewayRef": reference, "gatewaySpec": {"listeners": [{"name": INTERNAL_LISTENER, "protocol": "HTTP", "port": 80}]}}),
            "spec.gatewaySpec.listeners: has none but the internal listener",
        ),
    ] {
        let problems = gateway(spec.clone()).expect_err(&spec.to_string());
        assert!(problems.iter().any(|problem| problem.contains(says)), "{spec}: {problems:#?}");
    }
}

#[test]
fn other_kinds_are_not_ours() {
    for (api_version, kind) in
        [("v1", "Service"), ("core.openfunction.io/v1alpha2", "Function"), ("gateway.networking.k8s.io/v1", "Gateway")]
    {
        let decoded = decode(&json!({"apiVersion": api_version, "kind": kind})).expect("no errors");
        assert!(matches!(decoded, Decoded::UnknownKind { .. }), "{api_version} {kind}");
    }
}

fn revision(function: &Function) -> Revision {
    Revision {
        name: "hello-abc".into(),
        template: Template::of(function).expect("called by HTTP"),
        turn: 1,
        proven: false,
        serving: true,
        dropped: false,
        state: State::New,
        since_ms: 0,
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn func_context_is_what_the_controller_writes() {
    let plain = good("v1beta2", json!({"image": "x", "version": "v2.0.0", "serving": {}}));
    let text = func_context("hello", &revision(&plain), 8080);
    assert_eq!(text, r#"{"name":"hello","version":"v2.0.0","runtime":"Knative","port":"8080"}"#);
    let text = func_context_v1beta2("hello", &revision(&plain), 8080);
    assert_eq!(text, r#"{"name":"hello","version":"v2.0.0","triggers":{"http":{"port":8080}}}"#);

    let mut value = manifest(
        "v1beta1",
        json!({"image": "x", "serving": {
            "runtime": "knative",
            "outputs": [
                {"name": "sample", "component": "mqtt-out", "operation": "create", "params": {"a": "b"}},
                {"name": "topic", "component": "queue", "topic": "news"},
            ],
            "bindings": {"mqtt-out": {"type": "bindings.mqtt"}},
            "pubsub": {"queue": {"type": "pubsub.kafka"}},
            "states": {"store": {"type": "state.redis"}},
        }}),
    );
    value["metadata"]["annotations"] = json!({
        "plugins": "order:\n- a\n- b\n",
        "plugins.tracing": "enabled: true\nprovider:\n  name: skywalking\n  oapServer: oap:11800\ntags:\n  x: y\n",
    });
    let (function, problems) = read(&value).expect("no errors");
    assert_eq!(problems, Vec::<String>::new());
    let context = parsed(&func_context("hello", &revision(&function), 9000));
    assert_eq!(
        context,
        json!({
            "name": "hello", "version": "latest", "runtime": "Knative", "port": "9000",
            "outputs": {
                "sample": {"uri": "mqtt-out", "componentName": "mqtt-out", "componentType": "bindings.mqtt", "metadata": {"a": "b"}, "operation": "create"},
                "topic": {"uri": "news", "componentName": "queue", "componentType": "pubsub.kafka"},
            },
            "states": {"store": {"componentName": "store", "componentType": "state.redis"}},
            "prePlugins": ["a", "b", "skywalking"],
            "postPlugins": ["skywalking", "b", "a"],
            "pluginsTracing": {"enabled": true, "provider": {"name": "skywalking", "oapServer": "oap:11800"}, "tags": {"x": "y"}, "baggage": null},
        })
    );
    let context = parsed(&func_context_v1beta2("hello", &revision(&function), 9000));
    assert_eq!(context["outputs"]["queue"], json!({"componentName": "queue", "componentType": "pubsub.kafka"}));
    assert_eq!((&context["preHooks"], &context["postHooks"]), (&json!(["a", "b"]), &json!(["b", "a"])));
    let environment = environment(&function, &revision(&function), 9000);
    assert!(environment.contains(&("SW_AGENT_COLLECTOR_BACKEND_SERVICES".into(), "oap:11800".into())));
}

#[test]
fn the_environment_is_the_one_of_a_pod() {
    let function = good(
        "v1beta2",
        json!({"image": "x", "serving": {
            "params": {"FUNCTION_TARGET": "try$(SUFFIX)", "PORT": "1"},
            "annotations": {"dapr.io/app-protocol": "http"},
            "template": {"containers": [{
                "name": "function",
                "command": ["node", "$(SUFFIX)", "$(UNKNOWN)", "$$(PORT)"],
                "args": ["--port=$(PORT)"],
                "env": [
                    {"name": "SUFFIX", "value": "Knative"},
                    {"name": "FUNCTION_TARGET", "value": "overridden"},
                    {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                    {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
            }]},
        }}),
    );
    let revision = revision(&function);
    let environment = environment(&function, &revision, 34567);
    let value = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    for (name, wanted) in [
        ("PORT", Some("34567")),
        ("FUNCTION_TARGET", Some("tryKnative")),
        ("NS", Some("shop")),
        ("SECRET", None),
        ("APP_PROTOCOL", Some("http")),
        ("POD_NAME", Some("hello-abc")),
        ("POD_NAMESPACE", Some("shop")),
    ] {
        assert_eq!(value(name), wanted, "{name}");
    }
    assert_eq!(parsed(value("FUNC_CONTEXT").expect("set"))["port"], "34567");
    let mut names: Vec<&String> = environment.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), environment.len(), "each name once");
    assert_eq!(unresolved(&function, &revision), ["SECRET"]);
    assert_eq!(command_line(&revision, &environment), ["node", "Knative", "$(UNKNOWN)", "$(PORT)", "--port=34567"]);
}
