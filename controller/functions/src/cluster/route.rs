//! The HTTPRoute of a function as a manifest: rules as they were written, with the revisions behind them. Never a filter of ours.

use super::names::{Owner, manifest};
use crate::{
    kinds::Function,
    route::{FunctionRoute, SERVICE_PORT},
};
use headgate_translate::kinds::{GATEWAY_GROUP, HTTPRule, ObjectRef};
use serde_json::{Value, json};

/// The manifest. The label of OpenFunction stands where its users look for it, also if that is the one by which ours are known:
/// then the label with the function's name tells whose it is.
pub(super) fn http_route(
    owner: &Owner<'_>,
    function: &Function,
    route: &FunctionRoute,
    weights: &[(String, u32)],
) -> (ObjectRef, Value) {
    let made = &route.http_route;
    let mut metadata = owner.metadata(&made.meta.name, None);
    for (key, text) in &made.meta.labels {
        metadata["labels"][key] = json!(text);
    }
    let parents = made.parents.iter().map(
        |parent| json!({"group": GATEWAY_GROUP, "kind": "Gateway", "namespace": parent.namespace, "name": parent.name}),
    );
    let written = function.http().map_or(&Value::Null, |(_, http)| &http.route.rules_written);
    let rules = made.rules.iter().enumerate().map(|(index, rule)| self::rule(rule, written.get(index), weights));
    let spec = json!({
        "parentRefs": parents.collect::<Vec<_>>(),
        "hostnames": made.hostnames,
        "rules": rules.collect::<Vec<_>>(),
    });
    manifest(&format!("{GATEWAY_GROUP}/v1"), "HTTPRoute", metadata, spec)
}

fn rule(rule: &HTTPRule, written: Option<&Value>, weights: &[(String, u32)]) -> Value {
    let matches = || -> Vec<Value> {
        let paths = rule.matches.iter().map(|matching| &matching.path);
        paths.map(|path| json!({"path": {"type": path.kind.as_str(), "value": path.value}})).collect()
    };
    let mut manifest = written.cloned().unwrap_or_else(|| json!({"matches": matches()}));
    let backends = weights.iter().map(|(service, weight)| {
        json!({"group": "", "kind": "Service", "name": service, "port": SERVICE_PORT, "weight": weight})
    });
    // a redirect has no backends
    let backends: Vec<Value> = if rule.backends.is_empty() { Vec::new() } else { backends.collect() };
    match manifest.as_object_mut() {
        Some(fields) if backends.is_empty() => drop(fields.shift_remove("backendRefs")),
        _ => manifest["backendRefs"] = json!(backends),
    }
    if let (Some(ms), true) = (rule.timeouts.request_ms, manifest["timeouts"]["request"].is_null()) {
        manifest["timeouts"]["request"] = json!(format!("{ms}ms"));
    }
    manifest
}
