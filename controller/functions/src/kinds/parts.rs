//! Parts that OpenFunction's kinds share with the Gateway API: metadata, rules and listeners, read by the very code that reads them there.

use headgate_translate::{
    kinds::{self, HTTPRule, Listener, ObjectMeta},
    schema::{FieldPath, Problem, Reader, Report, Step},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Reads `metadata` of an object.
pub(super) fn read_meta(value: &Value, report: &Report) -> ObjectMeta {
    // of an object whose labels and annotations are read too
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": value.get("metadata")});
    match decode(&object, report, |path| path) {
        Some(kinds::Object::ConfigMap(object)) => Arc::unwrap_or_clone(object).meta,
        _ => ObjectMeta::default(),
    }
}

/// Reads a list of rules. `backendRefs` are taken out before: the function itself is the backend of its rules.
pub(super) fn read_rules(at: &Reader<'_>, report: &Report) -> Vec<HTTPRule> {
    let mut rules = at.value().clone();
    for (index, rule) in rules.as_array_mut().into_iter().flatten().enumerate() {
        let refs = rule.as_object_mut().and_then(|rule| rule.shift_remove("backendRefs"));
        if refs.is_some_and(|refs| refs.as_array().is_none_or(|list| !list.is_empty())) {
            let path = at.path().index(index).key("backendRefs");
            let remedy =
                "leave it out; to split traffic, write an HTTPRoute of your own over the Services of revisions";
            report.add(Problem::warning(path, "has no effect: the rules of a function lead to the function", remedy));
        }
    }
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "rules"},
        "spec": {"rules": rules},
    });
    match decode(&route, report, |path| below(at.path(), path)) {
        Some(kinds::Object::HTTPRoute(route)) => Arc::unwrap_or_clone(route).rules,
        _ => Vec::new(),
    }
}

/// Reads a list of listeners.
pub(super) fn read_listeners(at: &Reader<'_>, report: &Report) -> Vec<Listener> {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "listeners"},
        "spec": {"gatewayClassName": "none", "listeners": at.value()},
    });
    match decode(&gateway, report, |path| below(at.path(), path)) {
        Some(kinds::Object::Gateway(gateway)) => Arc::unwrap_or_clone(gateway).listeners,
        _ => Vec::new(),
    }
}

fn decode(value: &Value, report: &Report, place: impl Fn(FieldPath) -> FieldPath) -> Option<kinds::Object> {
    let (object, problems) = match kinds::decode(value) {
        Ok(kinds::Decoded::Known(object, problems)) => (Some(object), problems),
        Ok(kinds::Decoded::UnknownKind { .. }) => (None, Vec::new()),
        Err(problems) => (None, problems),
    };
    for problem in problems {
        report.add(Problem { path: place(problem.path), ..problem });
    }
    object
}

/// `spec.rules[0].x` as `<at>[0].x`.
fn below(at: &FieldPath, path: FieldPath) -> FieldPath {
    let mut steps: Vec<Step> = at.0.clone();
    steps.extend(path.0.into_iter().skip(2));
    FieldPath(steps)
}
