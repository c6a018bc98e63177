//! The Deployment of a revision. Never decides how many replicas it has.

use super::{
    names::{Owner, manifest, selector},
    pod, record,
};
use crate::{kinds::Function, revision::Revision};
use headgate_translate::kinds::ObjectRef;
use serde_json::{Value, json};

/// The manifest; `there` is the Deployment as it stands in the API server.
///
/// One that is there as it should be is left alone, its replicas included. What is applied must have replicas, for without the API
/// could take them back to 1: a new one has none, and any other what it has; the resourceVersion makes the write fail if somebody
/// has scaled it meanwhile.
pub(super) fn deployment(
    owner: &Owner<'_>,
    function: &Function,
    revision: &Revision,
    there: Option<&Value>,
) -> (ObjectRef, Value) {
    let mut metadata = owner.metadata(&revision.name, Some(&revision.name));
    metadata["annotations"] = record::annotations(revision);
    // a setting starts nothing, so it counts for the next revision only
    let known = there.and_then(|there| there["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64());
    let grace_seconds = known.unwrap_or_else(|| function.settings.grace_ms.div_ceil(1000));
    let spec = json!({
        "revisionHistoryLimit": 0,
        "selector": {"matchLabels": selector(&revision.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
        "template": pod::template(owner, function, revision, grace_seconds),
    });
    let (name, mut manifest) = manifest("apps/v1", "Deployment", metadata, spec);
    match there {
        None => manifest["spec"]["replicas"] = json!(0),
        Some(there) if is_within(&manifest, there) => {}
        Some(there) => {
            manifest["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
            manifest["spec"]["replicas"] = there["spec"]["replicas"].clone();
        }
    }
    (name, manifest)
}

/// Whether everything that is wanted stands there. Fields that are not wanted say nothing; lists are as long as they should be.
fn is_within(wanted: &Value, there: &Value) -> bool {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => wanted.iter().all(|(key, value)| match there.get(key) {
            Some(there) => is_within(value, there),
            None => value.is_null(),
        }),
        (Value::Array(wanted), Value::Array(there)) => {
            wanted.len() == there.len() && wanted.iter().zip(there).all(|(wanted, there)| is_within(wanted, there))
        }
        _ => wanted == there,
    }
}
