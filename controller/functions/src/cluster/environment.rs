//! The environment of a container `function`, as a Pod has it. Never resolves what only the cluster knows.

use crate::{
    context::{func_context, func_context_v1beta2, skywalking},
    kinds::{EnvValue, Function},
    revision::Revision,
};
use serde_json::{Value, json};

/// `env`, in the order of [`crate::environment`]. A name stands once, the last of several wins: the API takes a list of such that
/// are alike, but nothing can be applied to it.
pub(super) fn env(function: &Function, revision: &Revision) -> Vec<Value> {
    let (name, template) = (&function.meta.name, &revision.template);
    let mut env = Env(Vec::new());
    for variable in &template.container.env {
        match &variable.value {
            EnvValue::Text(text) => env.put(&variable.name, json!({"value": text})),
            EnvValue::From(from) => env.put(&variable.name, json!({"valueFrom": from})),
        }
    }
    env.plain("APP_PROTOCOL", &template.app_protocol);
    for (key, text) in skywalking(function, &template.context) {
        env.plain(key, &text);
    }
    env.plain("FUNC_CONTEXT", &func_context(name, revision, template.port));
    env.plain("FUNC_CONTEXT_V1BETA2", &func_context_v1beta2(name, revision, template.port));
    for (key, text) in &template.params {
        env.put(key, json!({"value": text}));
    }
    env.put("POD_NAME", json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}));
    env.put("POD_NAMESPACE", json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}));
    env.plain("PORT", &template.port.to_string());
    env.0
}

struct Env(Vec<Value>);

impl Env {
    fn put(&mut self, name: &str, mut variable: Value) {
        self.0.retain(|known| known["name"] != name);
        variable["name"] = json!(name);
        self.0.push(variable);
    }

    /// A text in which nothing is a reference to another variable.
    fn plain(&mut self, name: &str, text: &str) {
        self.put(name, json!({"value": text.replace("$(", "$$(")}));
    }
}
