//! The status of a Function in a cluster: what the plan says, the conditions of its route, what keeps Pods from running. Never what others write there.

use crate::{
    expand::{Expansion, Subject},
    kinds::NamespacedName,
};
use headgate_translate::schema::Problem;
use serde_json::{Value, json};

/// `status` of a Function, without times; null for one that was not expanded. `conditions` are those of the first parent of its
/// HTTPRoute, `obstacle` is what keeps its newest revision from running as it should: a reason, and the words for people. `lost` are the
/// places of its route that another function has.
///
/// What OpenFunction has no condition for stands among the conditions of the route, in the words of Gateway API: `PartiallyInvalid`
/// for what has no effect, `Conflicted` for places that are lost.
pub fn status(
    expansion: &Expansion,
    function: &NamespacedName,
    conditions: &Value,
    lost: &[Problem],
    obstacle: Option<(&str, &str)>,
) -> Value {
    let mut status = expansion.status(function);
    if status.is_null() {
        return status;
    }
    if status["route"].is_object() {
        status["route"]["conditions"] =
            conditions.as_array().into_iter().flatten().map(untimed).chain(faults(expansion, function, lost)).collect();
    }
    let state = status["serving"]["state"].as_str().unwrap_or_default();
    if let (Some((reason, words)), "Starting" | "Running") = (obstacle, state) {
        let said = status["serving"]["message"].as_str().map(|said| format!("{said}; ")).unwrap_or_default();
        status["serving"]["message"] = json!(format!("{said}{words}"));
        if status["serving"]["reason"].is_null() {
            status["serving"]["reason"] = json!(reason);
        }
    }
    status
}

fn faults(expansion: &Expansion, function: &NamespacedName, lost: &[Problem]) -> impl Iterator<Item = Value> {
    let own = expansion.problems.iter().filter(|(subject, _)| *subject == Subject::Function(function.clone()));
    let own: Vec<String> = own.map(|(_, problem)| problem.to_string()).collect();
    let lost: Vec<String> = lost.iter().map(ToString::to_string).collect();
    let said = [("PartiallyInvalid", "Invalid", own), ("Conflicted", "Conflicted", lost)];
    said.into_iter().filter(|(_, _, what)| !what.is_empty()).map(
        |(kind, reason, what)| json!({"type": kind, "status": "True", "reason": reason, "message": what.join("\n")}),
    )
}

/// Who writes the status gives the times.
fn untimed(condition: &Value) -> Value {
    let mut condition = condition.clone();
    condition.as_object_mut().map(|fields| fields.shift_remove("lastTransitionTime"));
    condition
}
