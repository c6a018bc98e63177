//! The run template: all that makes a running replica what it is, and nothing else. Two templates are the same revision if they are equal.

use crate::kinds::{Component, Container, DaprRef, DaprTrigger, Function, Hooks, Output, Serving, Tracing};
use headgate_config::BackendProtocol;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a revision runs. Routes, scale bounds and the gateway's settings are not in it: changing those starts nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// The function's version.
    pub version: String,
    /// The image; unused for processes.
    pub image: String,
    /// Command, arguments, environment, directory, readiness.
    pub container: Container,
    /// The port that it is told to listen on in a pod.
    pub port: u16,
    /// What it speaks.
    pub protocol: BackendProtocol,
    /// Become environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Requests at once per replica; 0 is no bound.
    pub concurrency: u32,
    /// `APP_PROTOCOL`: what Dapr speaks to it.
    pub app_protocol: String,
    /// What FUNC_CONTEXT says beyond name, version and port.
    pub context: Context,
    /// The rest of the pod, without what is a default anyway; null where nothing is left.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub pod: Value,
}

/// The parts of FUNC_CONTEXT.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// `triggers.dapr`, with types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<DaprTrigger>,
    /// `triggers.inputs`, with types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<DaprRef>,
    /// `outputs`, with types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// Types of states by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, String>,
    /// Specs of the components that it declares: they are its surroundings, and a change of them is a change of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, Value>,
    /// `hooks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// `tracing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// The annotation `plugins`: FUNC_CONTEXT has its plugins from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugins: Option<Hooks>,
    /// The annotation `plugins.tracing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugins_tracing: Option<Tracing>,
}

/// Annotations of the pod that are bounds, targets and settings: not what runs.
const NOT_RUN: [&str; 2] = ["autoscaling.knative.dev/", "headgate.dev/"];

impl Template {
    /// The template of a function that HTTP calls; `None` for every other.
    pub fn of(function: &Function) -> Option<Self> {
        let (serving, http) = function.http()?;
        Some(Self {
            version: function.version.clone(),
            image: function.image.clone(),
            container: serving.container.clone(),
            port: http.port,
            protocol: function.protocol,
            params: serving.params.clone(),
            concurrency: function.concurrency,
            app_protocol: serving.annotations.get("dapr.io/app-protocol").cloned().unwrap_or_else(|| "grpc".into()),
            context: Context::of(function, serving),
            pod: rest_of_pod(function, serving),
        })
    }

    /// A short name of the template's contents: 8 of `0-9a-z` without vowels, the same on every machine and in every release
    /// that knows the same fields. `salt` tells apart two templates that happen to have one name.
    pub fn hash(&self, function: &str, salt: u32) -> String {
        let text = serde_json::to_string(self).expect("maps have text keys only");
        short_hash(function.bytes().chain([0]).chain(salt.to_le_bytes()).chain(text.bytes()))
    }
}

/// 8 of `0-9a-z` without vowels: no words, and no proof.
pub(crate) fn short_hash(bytes: impl Iterator<Item = u8>) -> String {
    const LETTERS: &[u8; 30] = b"0123456789bcdfghjklmnpqrstvwxz";
    let mut rest = fnv1a(bytes);
    (0..8)
        .map(|_| {
            let letter = LETTERS[usize::try_from(rest % 30).expect("less than 30")];
            rest /= 30;
            char::from(letter)
        })
        .collect()
}

impl Context {
    fn of(function: &Function, serving: &Serving) -> Self {
        let typed =
            |reference: &DaprRef| DaprRef { kind: serving.component_kind(reference).to_owned(), ..reference.clone() };
        let declared = |(name, component): (&String, &Component)| (name.clone(), ordered(&component.spec));
        let states = serving.states.iter();
        Self {
            triggers: serving
                .triggers
                .dapr
                .iter()
                .map(|trigger| DaprTrigger { component: typed(&trigger.component), ..trigger.clone() })
                .collect(),
            inputs: serving.triggers.inputs.iter().map(typed).collect(),
            outputs: serving
                .outputs
                .iter()
                .map(|output| Output { component: typed(&output.component), ..output.clone() })
                .collect(),
            states: states
                .clone()
                .map(|(name, state)| (name.clone(), state.as_ref().map(|s| s.kind.clone()).unwrap_or_default()))
                .collect(),
            components: (serving.bindings.iter().map(declared))
                .chain(serving.pubsub.iter().map(declared))
                .chain(states.filter_map(|(name, state)| Some(declared((name, state.as_ref()?)))))
                .collect(),
            hooks: serving.hooks.clone(),
            tracing: serving.tracing.clone(),
            plugins: function.plugins.clone(),
            plugins_tracing: function.plugins_tracing.clone(),
        }
    }
}

/// Labels, annotations and pod template without what `Template` has in fields of its own and without defaults.
fn rest_of_pod(function: &Function, serving: &Serving) -> Value {
    let mut rest = Map::new();
    let run = |(key, _): &(&String, &String)| !NOT_RUN.iter().any(|prefix| key.starts_with(prefix));
    let texts = |map: &BTreeMap<String, String>| -> Value {
        map.iter().filter(run).map(|(key, text)| (key.clone(), Value::from(text.clone()))).collect::<Map<_, _>>().into()
    };
    rest.insert("labels".into(), texts(&serving.labels));
    rest.insert("annotations".into(), texts(&serving.annotations));
    rest.insert("imageCredentials".into(), function.image_credentials.clone().map_or(Value::Null, Value::from));
    if function.workload_runtime != "OCIContainer" {
        rest.insert("workloadRuntime".into(), function.workload_runtime.clone().into());
    }
    rest.insert("spec".into(), serving.pod.clone());
    if let Some(containers) = rest.get_mut("spec").and_then(|spec| spec.get_mut("containers")?.as_array_mut()) {
        let own = containers.iter_mut().filter(|container| container["name"] == "function");
        own.filter_map(Value::as_object_mut).for_each(|container| {
            for field in ["name", "image", "command", "args", "env", "workingDir", "ports"] {
                container.shift_remove(field);
            }
        });
    }
    without_defaults(&ordered(&rest.into())).unwrap_or_default()
}

/// Fields of pods and containers that say what holds anyway.
const DEFAULTS: &[(&str, &str)] = &[
    ("imagePullPolicy", "IfNotPresent"),
    ("restartPolicy", "Always"),
    ("dnsPolicy", "ClusterFirst"),
    ("schedulerName", "default-scheduler"),
    ("terminationMessagePath", "/dev/termination-log"),
    ("terminationMessagePolicy", "File"),
    ("protocol", "TCP"),
];

/// The value without nulls, empty maps, empty lists and defaults; `None` where nothing is left.
fn without_defaults(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Array(list) => {
            let list: Vec<Value> = list.iter().filter_map(without_defaults).collect();
            (!list.is_empty()).then_some(Value::Array(list))
        }
        Value::Object(map) => {
            let is_default = |key: &str, value: &Value| {
                DEFAULTS.iter().any(|(name, text)| *name == key && value == text)
                    || (key == "terminationGracePeriodSeconds" && value == 30)
            };
            let map: Map<String, Value> = map
                .iter()
                .filter(|(key, value)| !is_default(key, value))
                .filter_map(|(key, value)| Some((key.clone(), without_defaults(value)?)))
                .collect();
            (!map.is_empty()).then_some(Value::Object(map))
        }
        other => Some(other.clone()),
    }
}

/// The value with the keys of its maps in order: the order in a file means nothing.
fn ordered(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(ordered).collect(),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            sorted.into_iter().map(|(key, value)| (key.clone(), ordered(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// FNV-1a, 64 bits: a name, not a proof. Who decides whether two templates are the same compares them.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
