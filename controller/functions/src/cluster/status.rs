//! The status of a Function in a cluster: what the plan says, the conditions of its route, what keeps Pods from running. Never what others write there.

use crate::{expand::Expansion, kinds::NamespacedName};
use serde_json::{Value, json};

/// `status` of a Function, without times; null for one that was not expanded. `conditions` are those of the first parent of its
/// HTTPRoute, `trouble` is what keeps its newest revision from running, for people.
pub fn status(expansion: &Expansion, function: &NamespacedName, conditions: &Value, trouble: Option<&str>) -> Value {
    let mut status = expansion.status(function);
    if status.is_null() {
        return status;
    }
    if status["route"].is_object() {
        status["route"]["conditions"] =
            conditions.as_array().map_or_else(|| json!([]), |list| list.iter().map(untimed).collect());
    }
    let state = status["serving"]["state"].as_str().unwrap_or_default();
    if let (Some(trouble), "Starting" | "Running") = (trouble, state) {
        let said = status["serving"]["message"].as_str().map(|said| format!("{said}; ")).unwrap_or_default();
        status["serving"]["message"] = json!(format!("{said}{trouble}"));
        if status["serving"]["reason"].is_null() {
            status["serving"]["reason"] = json!("NotRunning");
        }
    }
    status
}

/// Who writes the status gives the times.
fn untimed(condition: &Value) -> Value {
    let mut condition = condition.clone();
    condition.as_object_mut().map(|fields| fields.shift_remove("lastTransitionTime"));
    condition
}
