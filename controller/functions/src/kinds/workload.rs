//! The parts of a Function that say what runs: pod template, Dapr components, hooks and tracing.

use super::function::{Component, Container, DaprRef, DaprTrigger, EnvValue, EnvVar, Hooks, Output, Tracing};
use headgate_translate::{
    form::Form,
    schema::{FieldPath, Problem, Reader, Report},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

const ANY_COUNT: std::ops::RangeInclusive<usize> = 0..=usize::MAX;

/// The container `function` of a pod template.
pub(super) fn read_container(template: &Reader<'_>, image: &str) -> Container {
    let mut pod = template.fields();
    pod.open();
    let containers = pod.list("containers", ANY_COUNT);
    let name = |at: &Reader<'_>| at.value()["name"].as_str().unwrap_or_default().to_owned();
    let Some(own) = containers.iter().find(|at| name(at) == "function") else {
        if let Some(first) = containers.first() {
            let message =
                format!("has no container called function, so {:?} would run beside the function", name(first));
            first.warn(message, "write name: function for the container that is the function");
        }
        return Container::default();
    };
    let mut fields = own.fields();
    fields.open();
    if let Some(at) = fields.get("image").filter(|at| !image.is_empty() && at.value() != image) {
        at.warn("has no effect: spec.image is used", "leave it out");
    }
    Container {
        command: fields.texts("command", ANY_COUNT, Form::ANY),
        args: fields.texts("args", ANY_COUNT, Form::ANY),
        env: fields.each("env", ANY_COUNT, read_env),
        working_dir: fields.text("workingDir", Form::ANY).filter(|dir| !dir.is_empty()),
        ready_path: own.value()["readinessProbe"]["httpGet"]
            .as_object()
            .map(|get| get.get("path").and_then(Value::as_str).unwrap_or("/").to_owned()),
    }
}

fn read_env(at: &Reader<'_>) -> EnvVar {
    let mut fields = at.fields();
    let name = fields.need_text("name", Form::ANY);
    let from = fields.get("valueFrom").map(|at| at.value().clone());
    let text = fields.text("value", Form::ANY).unwrap_or_default();
    EnvVar { name, value: from.map_or(EnvValue::Text(text), EnvValue::From) }
}

/// A map of Dapr ComponentSpecs.
pub(super) fn read_components(at: &Reader<'_>) -> BTreeMap<String, Component> {
    at.entries().into_iter().map(|(name, at)| (name, read_component(&at))).collect()
}

/// A ComponentSpec: values in its metadata may be of any type.
pub(super) fn read_component(at: &Reader<'_>) -> Component {
    let mut fields = at.fields();
    fields.open();
    Component { kind: fields.text("type", Form::ANY).unwrap_or_default(), spec: at.value().clone() }
}

/// `{name, type, topic}` of v1beta2. `component` is what the documentation wrote for `name` once.
fn read_dapr_ref(fields: &mut headgate_translate::schema::Fields<'_>) -> DaprRef {
    let misnamed = fields.has("component").then(|| fields.get("component")).flatten();
    let name = match misnamed {
        Some(at) if !fields.has("name") => {
            at.warn("is called name in v1beta2; it is read as that", "write name: instead of component:");
            at.text(Form::ANY)
        }
        _ => fields.need_text("name", Form::ANY),
    };
    DaprRef {
        name,
        kind: fields.text("type", Form::ANY).unwrap_or_default(),
        topic: fields.text("topic", Form::ANY).unwrap_or_default(),
    }
}

/// `triggers.dapr[]`.
pub(super) fn read_trigger(at: &Reader<'_>) -> DaprTrigger {
    let mut fields = at.fields();
    DaprTrigger {
        component: read_dapr_ref(&mut fields),
        input_name: fields.text("inputName", Form::ANY).unwrap_or_default(),
    }
}

/// `triggers.inputs[]`: `{dapr: {…}}`.
pub(super) fn read_input(at: &Reader<'_>) -> Option<DaprRef> {
    let dapr = at.fields().get("dapr")?;
    Some(read_dapr_ref(&mut dapr.fields()))
}

/// `outputs[]` of v1beta2: `{dapr: {…}}`.
pub(super) fn read_output(at: &Reader<'_>) -> Option<Output> {
    let dapr = at.fields().get("dapr")?;
    let mut fields = dapr.fields();
    Some(Output {
        component: read_dapr_ref(&mut fields),
        metadata: fields.map("metadata", Form::ANY),
        operation: fields.text("operation", Form::ANY).unwrap_or_default(),
        output_name: fields.text("outputName", Form::ANY).unwrap_or_default(),
    })
}

/// An input or output of v1beta1: `{name, component, topic, params, operation}`; the type comes from the declared component.
/// One without `component` is refused where it stands in its place, and left out with a warning where it does not.
pub(super) fn read_io(at: &Reader<'_>, misplaced: bool) -> Option<Output> {
    let mut fields = at.fields();
    let name = fields.need_text("name", Form::ANY);
    if misplaced && !fields.has("component") {
        at.warn("names no component, so it is not plain what is meant; it has no effect", "write component: too");
        fields.open();
        return None;
    }
    Some(Output {
        component: DaprRef {
            name: fields.need_text("component", Form::ANY),
            kind: String::new(),
            topic: fields.text("topic", Form::ANY).unwrap_or_default(),
        },
        metadata: fields.map("params", Form::ANY),
        operation: fields.text("operation", Form::ANY).unwrap_or_default(),
        output_name: name,
    })
}

/// `hooks` of v1beta2. There are no global hooks here, so both policies mean the same.
pub(super) fn read_hooks(at: &Reader<'_>) -> Hooks {
    let mut fields = at.fields();
    fields.skip("policy");
    Hooks { pre: fields.texts("pre", ANY_COUNT, Form::ANY), post: fields.texts("post", ANY_COUNT, Form::ANY) }
}

/// `tracing` of v1beta2.
pub(super) fn read_tracing(at: &Reader<'_>) -> Option<Tracing> {
    match serde_json::from_value(at.value().clone()) {
        Ok(tracing) => Some(tracing),
        Err(error) => {
            at.error(format!("is no tracing configuration: {error}"), "write enabled, provider, tags and baggage");
            None
        }
    }
}

/// The annotation `plugins`: YAML with `order`, `pre` and `post`.
pub(super) fn read_plugins(text: &str, report: &Report) -> Option<Hooks> {
    #[derive(serde::Deserialize)]
    struct Plugins {
        order: Option<Vec<String>>,
        pre: Option<Vec<String>>,
        post: Option<Vec<String>>,
    }
    let plugins: Plugins = read_yaml(text, "plugins", report)?;
    let order = plugins.order.unwrap_or_default();
    let reversed = order.iter().rev().cloned().collect();
    Some(Hooks { pre: plugins.pre.unwrap_or(order), post: plugins.post.unwrap_or(reversed) })
}

/// The annotation `plugins.tracing`: YAML of a tracing configuration.
pub(super) fn read_plugins_tracing(text: &str, report: &Report) -> Option<Tracing> {
    read_yaml(text, "plugins.tracing", report)
}

fn read_yaml<T: DeserializeOwned>(text: &str, key: &'static str, report: &Report) -> Option<T> {
    serde_saphyr::from_str(text)
        .map_err(|error| {
            let path = FieldPath::of("metadata.annotations").key(key);
            let message = format!("is not understood and has no effect: {}", error.to_string().replace('\n', " "));
            report.add(Problem::warning(
                path,
                message,
                "see the annotation in OpenFunction's documentation of plugins",
            ));
        })
        .ok()
}
