//! The template of the Pods of a revision: what the user wrote, and the container `function` put together again. Never a setting: those start nothing.

use super::{environment, names::Owner};
use crate::{kinds::Function, revision::Revision, template::Template};
use headgate_config::Probe;
use headgate_translate::manifest::MANAGED_BY;
use serde_json::{Map, Value, json};

/// The name of the container that is the function.
const FUNCTION: &str = "function";
/// The name of its port, where users' probes may name one.
const PORT_NAME: &str = "function-port";
/// The label by which OpenFunction's users find the Pods of a Serving.
const SERVING_LABEL: &str = "openfunction.io/serving";

/// `spec.template` of the Deployment.
pub(super) fn template(owner: &Owner<'_>, function: &Function, revision: &Revision, grace_seconds: u64) -> Value {
    let written = &revision.template.pod;
    let mut labels = Map::from_iter([(SERVING_LABEL.to_owned(), json!(revision.name))]);
    labels.extend(fields(&written["labels"]));
    labels.extend(owner.labels(Some(&revision.name)).into_iter().map(|(key, text)| (key, json!(text))));
    debug_assert!(labels[MANAGED_BY.0] == MANAGED_BY.1, "the watch of Pods goes by it");
    let mut metadata = json!({"labels": labels});
    let annotations = fields(&written["annotations"]);
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations);
    }
    json!({"metadata": metadata, "spec": spec(function, revision, grace_seconds)})
}

fn spec(function: &Function, revision: &Revision, grace_seconds: u64) -> Value {
    let written = &revision.template.pod;
    let mut spec = fields(&written["spec"]);
    let others = others(&revision.template).cloned();
    spec.insert("containers".into(), [container(function, revision)].into_iter().chain(others).collect());
    spec.insert("terminationGracePeriodSeconds".into(), json!(grace_seconds));
    if let Some(secret) = written["imageCredentials"].as_str() {
        let mut secrets = list(&spec, "imagePullSecrets");
        if secrets.iter().all(|known| known["name"] != secret) {
            secrets.push(json!({"name": secret}));
        }
        spec.insert("imagePullSecrets".into(), Value::Array(secrets));
    }
    if written["workloadRuntime"] == "WasmEdge" {
        // as OpenFunction's webhook has it
        spec.entry("runtimeClassName").or_insert(json!("openfunction-crun"));
    }
    Value::Object(spec)
}

/// The container of the template that is the function: the one that has lost its name to the record.
fn own(template: &Template) -> Option<&Value> {
    containers(template).find(|container| container["name"].is_null())
}

fn others(template: &Template) -> impl Iterator<Item = &Value> {
    containers(template).filter(|container| !container["name"].is_null())
}

fn containers(template: &Template) -> impl Iterator<Item = &Value> {
    template.pod["spec"]["containers"].as_array().into_iter().flatten()
}

fn container(function: &Function, revision: &Revision) -> Value {
    let (template, ours) = (&revision.template, &revision.template.container);
    let mut container = own(template).map(fields).unwrap_or_default();
    container.insert("name".into(), json!(FUNCTION));
    container.insert("image".into(), json!(template.image));
    for (field, words) in [("command", &ours.command), ("args", &ours.args)] {
        if !words.is_empty() {
            container.insert(field.into(), json!(words));
        }
    }
    if let Some(folder) = &ours.working_dir {
        container.insert("workingDir".into(), json!(folder));
    }
    container.insert("env".into(), Value::Array(environment::env(function, revision)));
    let port = json!({"name": PORT_NAME, "containerPort": template.port, "protocol": "TCP"});
    container.insert("ports".into(), json!([port]));
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        container.get_mut(probe).into_iter().for_each(|probe| at_our_port(probe, template.port));
    }
    // a container that runs may not listen yet, and then it is no place for a request
    let listens = json!({"tcpSocket": {"port": template.port}, "periodSeconds": 1, "failureThreshold": 3});
    container.entry("readinessProbe").or_insert(listens);
    Value::Object(container)
}

/// A port that is named is the function's: its other ports are not in the record.
fn at_our_port(probe: &mut Value, port: u16) {
    for kind in ["httpGet", "tcpSocket"] {
        if probe[kind]["port"].is_string() || (probe[kind].is_object() && probe[kind]["port"].is_null()) {
            probe[kind]["port"] = json!(port);
        }
    }
}

/// How a gateway asks a Pod of a revision whether it is ready; `None` where only the kubelet can know: another port, a command, or a
/// container beside it that may take connections before the function does.
pub fn probe(template: &Template) -> Option<Probe> {
    let is_alone = others(template).next().is_none();
    let written = own(template).map_or(&Value::Null, |own| &own["readinessProbe"]);
    let is_ours = |at: &Value| at["port"].is_null() || at["port"].is_string() || at["port"] == template.port;
    match (&written["httpGet"], &written["tcpSocket"]) {
        (get, _) if get.is_object() => {
            let is_plain = get["scheme"].as_str().unwrap_or("HTTP") == "HTTP" && get["httpHeaders"].is_null();
            let path = get["path"].as_str().unwrap_or("/").to_owned();
            (is_ours(get) && is_plain).then_some(Probe::Http { path })
        }
        (_, tcp) if tcp.is_object() => (is_ours(tcp) && is_alone).then_some(Probe::Tcp),
        _ if written.is_null() => is_alone.then_some(Probe::Tcp),
        _ => None,
    }
}

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn list(map: &Map<String, Value>, key: &str) -> Vec<Value> {
    map.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}
