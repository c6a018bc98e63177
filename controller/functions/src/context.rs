//! The environment of a replica: FUNC_CONTEXT as OpenFunction's controller writes it, PORT, params. Never reads the environment of this process.

use crate::{
    kinds::{DaprRef, EnvValue, Function, Tracing},
    references::{fill_in, in_parentheses},
    revision::Revision,
    template::Context,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// FUNC_CONTEXT (functioncontext.go, `functionContextV1beta1`). Fields in the order of the controller.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FuncContext<'a> {
    name: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    inputs: BTreeMap<&'a str, Endpoint<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<&'a str, Endpoint<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    states: BTreeMap<&'a str, Endpoint<'a>>,
    runtime: &'static str,
    port: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pre_plugins: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    post_plugins: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugins_tracing: Option<&'a Tracing>,
}

/// An input, output or state of FUNC_CONTEXT. `componentName` is the name that was declared: nothing renames components here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    uri: &'a str,
    component_name: &'a str,
    component_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    operation: &'a str,
}

impl<'a> Endpoint<'a> {
    fn bare(name: &'a str, kind: &'a str) -> Self {
        Self { uri: "", component_name: name, component_type: kind, topic: "", metadata: None, operation: "" }
    }

    /// The uri of v1beta1: the component for bindings, the topic for the rest.
    fn with_uri(reference: &'a DaprRef) -> Self {
        let uri = if reference.kind.starts_with("bindings") { &reference.name } else { &reference.topic };
        Self { uri, ..Self::bare(&reference.name, &reference.kind) }
    }

    fn with_topic(reference: &'a DaprRef) -> Self {
        Self { topic: &reference.topic, ..Self::bare(&reference.name, &reference.kind) }
    }
}

/// FUNC_CONTEXT_V1BETA2 (`functionContextV1beta2`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FuncContextV1beta2<'a> {
    name: &'a str,
    version: &'a str,
    triggers: Value,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    inputs: BTreeMap<&'a str, Endpoint<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<&'a str, Endpoint<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    states: BTreeMap<&'a str, Endpoint<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pre_hooks: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    post_hooks: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<&'a Tracing>,
}

fn named<'a>(given: &'a str, component: &'a str) -> &'a str {
    if given.is_empty() { component } else { given }
}

fn states(context: &Context) -> BTreeMap<&str, Endpoint<'_>> {
    context.states.iter().map(|(name, kind)| (name.as_str(), Endpoint::bare(name, kind))).collect()
}

/// `FUNC_CONTEXT`: what the Node.js and Go frameworks read.
///
/// `port` is the one that the replica listens on: the Go framework takes it from here. `runtime` is `Knative` also where Dapr
/// triggers stand beside HTTP, because with `Async` the frameworks would not serve HTTP at all.
pub fn func_context(function: &str, revision: &Revision, port: u16) -> String {
    let context = &revision.template.context;
    let inputs = context
        .triggers
        .iter()
        .map(|trigger| (named(&trigger.input_name, &trigger.component.name), Endpoint::with_uri(&trigger.component)));
    let outputs = context.outputs.iter().map(|output| {
        let endpoint = Endpoint {
            metadata: Some(&output.metadata).filter(|metadata| !metadata.is_empty()),
            operation: &output.operation,
            ..Endpoint::with_uri(&output.component)
        };
        (named(&output.output_name, &output.component.name), endpoint)
    });
    let (pre_plugins, post_plugins) = plugins(context);
    let whole = FuncContext {
        name: function,
        version: &revision.template.version,
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        states: states(context),
        runtime: "Knative",
        port: port.to_string(),
        pre_plugins,
        post_plugins,
        plugins_tracing: context.plugins_tracing.as_ref(),
    };
    serde_json::to_string(&whole).expect("maps have text keys only")
}

/// The plugins around a function: the tracing plugin comes last before it and first after it (`parsePluginsCfg`).
fn plugins(context: &Context) -> (Vec<&str>, Vec<&str>) {
    let listed = context.plugins.as_ref();
    let mut pre: Vec<&str> = listed.map(|plugins| plugins.pre.iter().map(String::as_str).collect()).unwrap_or_default();
    let mut post: Vec<&str> =
        listed.map(|plugins| plugins.post.iter().map(String::as_str).collect()).unwrap_or_default();
    let tracing = context.plugins_tracing.as_ref().filter(|tracing| tracing.enabled);
    if let Some(provider) = tracing.and_then(|tracing| tracing.provider.as_ref()) {
        pre.push(&provider.name);
        post.insert(0, &provider.name);
    }
    (pre, post)
}

/// `FUNC_CONTEXT_V1BETA2`: what the Java framework reads.
///
/// `triggers.http.route` is left out: it is no part of a revision, no framework reads it, and with it every edited hostname would
/// change the environment of what runs.
pub fn func_context_v1beta2(function: &str, revision: &Revision, port: u16) -> String {
    let context = &revision.template.context;
    let mut triggers = json!({"http": {"port": port}});
    if !context.triggers.is_empty() {
        triggers["dapr"] = json!(context.triggers);
    }
    if !context.inputs.is_empty() {
        triggers["inputs"] = context.inputs.iter().map(|input| json!({"dapr": input})).collect();
    }
    let outputs = context.outputs.iter().map(|output| {
        let endpoint = Endpoint {
            metadata: Some(&output.metadata).filter(|metadata| !metadata.is_empty()),
            operation: &output.operation,
            ..Endpoint::bare(&output.component.name, &output.component.kind)
        };
        (output.component.name.as_str(), endpoint)
    });
    let hooks = context.hooks.as_ref();
    let whole = FuncContextV1beta2 {
        name: function,
        version: &revision.template.version,
        triggers,
        inputs: context.inputs.iter().map(|input| (input.name.as_str(), Endpoint::with_topic(input))).collect(),
        outputs: outputs.collect(),
        states: states(context),
        pre_hooks: hooks.map_or(&[], |hooks| &hooks.pre),
        post_hooks: hooks.map_or(&[], |hooks| &hooks.post),
        tracing: context.tracing.as_ref().filter(|tracing| tracing.enabled),
    };
    serde_json::to_string(&whole).expect("maps have text keys only")
}

/// The environment of a replica that runs as a process and listens on `port`, in the order of a pod's: what the user wrote, what
/// OpenFunction adds, params, and `PORT` last, which nobody overrides. A name stands once: the last of several wins, as in a pod.
///
/// `valueFrom` of the pod itself is resolved; of Secrets and ConfigMaps it is left out (see [`unresolved`]). `POD_NAME` is the
/// revision's name; a runtime that numbers its replicas sets its own. `DAPR_HOST` is not set: a sidecar of a process is on
/// 127.0.0.1, which all frameworks assume.
pub fn environment(function: &Function, revision: &Revision, port: u16) -> Vec<(String, String)> {
    let (name, namespace) = (&function.meta.name, &function.meta.namespace);
    let template = &revision.template;
    let mut environment = Vec::new();
    for variable in &template.container.env {
        let text = match &variable.value {
            EnvValue::Text(text) => Some(expand(text, &environment)),
            EnvValue::From(from) => of_pod(from, function, revision),
        };
        if let Some(text) = text {
            put(&mut environment, &variable.name, text);
        }
    }
    put(&mut environment, "APP_PROTOCOL", template.app_protocol.clone());
    for (key, text) in skywalking(function, &template.context) {
        put(&mut environment, key, text);
    }
    put(&mut environment, "FUNC_CONTEXT", func_context(name, revision, port));
    put(&mut environment, "FUNC_CONTEXT_V1BETA2", func_context_v1beta2(name, revision, port));
    for (key, text) in &template.params {
        let text = expand(text, &environment);
        put(&mut environment, key, text);
    }
    put(&mut environment, "POD_NAME", revision.name.clone());
    put(&mut environment, "POD_NAMESPACE", namespace.to_string());
    put(&mut environment, "PORT", port.to_string());
    environment
}

/// The command line of a replica: `command` and `args` of the container `function`, with `$(NAME)` filled in; empty where the
/// template has no command, and only an image could run.
pub fn command_line(revision: &Revision, environment: &[(String, String)]) -> Vec<String> {
    let container = &revision.template.container;
    if container.command.is_empty() {
        return Vec::new();
    }
    container.command.iter().chain(&container.args).map(|word| expand(word, environment)).collect()
}

/// Names of variables whose values only a cluster knows.
pub fn unresolved(function: &Function, revision: &Revision) -> Vec<String> {
    let from = revision.template.container.env.iter().filter(|variable| match &variable.value {
        EnvValue::Text(_) => false,
        EnvValue::From(from) => of_pod(from, function, revision).is_none(),
    });
    from.map(|variable| variable.name.clone()).collect()
}

fn put(environment: &mut Vec<(String, String)>, name: &str, text: String) {
    environment.retain(|(known, _)| known != name);
    environment.push((name.to_owned(), text));
}

fn of_pod(from: &Value, function: &Function, revision: &Revision) -> Option<String> {
    match from["fieldRef"]["fieldPath"].as_str()? {
        "metadata.name" => Some(revision.name.clone()),
        "metadata.namespace" => Some(function.meta.namespace.to_string()),
        "status.podIP" | "status.hostIP" => Some("127.0.0.1".into()),
        _ => None,
    }
}

pub(crate) fn skywalking(function: &Function, context: &Context) -> Vec<(&'static str, String)> {
    let tracing = context.tracing.as_ref().filter(|tracing| tracing.enabled);
    let provider =
        tracing.and_then(|tracing| tracing.provider.as_ref()).filter(|provider| provider.name == "skywalking");
    let Some(provider) = provider.filter(|provider| !provider.oap_server.is_empty()) else { return Vec::new() };
    vec![
        ("SW_AGENT_COLLECTOR_BACKEND_SERVICES", provider.oap_server.clone()),
        ("SW_AGENT_NAME", function.meta.name.to_string()),
        ("SW_AGENT_NAMESPACE", function.meta.namespace.to_string()),
        ("SW_AGENT_KEEP_TRACING", "true".into()),
    ]
}

/// `$(NAME)` of what is known so far, `$$` as `$`; what is not known stays as it is.
fn expand(text: &str, known: &[(String, String)]) -> String {
    let value = |name: &str| known.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    fill_in(text, |rest| in_parentheses(rest, value))
}
