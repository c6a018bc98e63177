//! Functions as rows: where they are found, and what of them runs. Never what their revisions are.

use super::{Sight, replicas, whole};
use headgate_functions::{cluster::FUNCTION_LABEL, kinds::FUNCTION_GROUP};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionRow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `status.serving.state`; empty where no controller has said anything.
    pub state: String,
    /// Why, where it is not simply running.
    pub reason: String,
    /// The same in words.
    pub message: String,
    /// Its addresses, the one from outside first.
    pub addresses: Vec<String>,
    /// How many replicas are to run now; 0 while nobody asks.
    pub wanted: u64,
    /// How many of them are ready.
    pub ready: u64,
}

impl FunctionRow {
    /// Whether it serves, or would once somebody asks.
    pub fn is_fine(&self) -> bool {
        is_fine(&self.state, &self.reason)
    }
}

/// Whether a function in this state serves, or would once somebody asks.
pub(super) fn is_fine(state: &str, reason: &str) -> bool {
    !["", "Failed"].contains(&state) && reason != "NotRunning"
}

/// All that are asked for.
pub(super) fn rows(sight: &Sight<'_>) -> Vec<FunctionRow> {
    let mut running: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for object in sight.all().filter(|object| object.name.kind == "Deployment") {
        let Some(value) = whole(object) else { continue };
        if let Some(function) = value["metadata"]["labels"][FUNCTION_LABEL].as_str() {
            let (wanted, ready) = replicas(value);
            let sum = running.entry((&object.name.namespace, function)).or_default();
            *sum = (sum.0 + wanted, sum.1 + ready);
        }
    }
    let functions = sight.asked().filter(|object| object.name.group == FUNCTION_GROUP);
    let row = |object: &std::sync::Arc<crate::sources::cluster::ClusterObject>| {
        let (name, status) = (&object.name, object.status.unfold());
        let text = |key: &str| status["serving"][key].as_str().unwrap_or_default().to_owned();
        let (wanted, ready) = running.get(&(&*name.namespace, &*name.name)).copied().unwrap_or_default();
        FunctionRow {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            state: text("state"),
            reason: text("reason"),
            message: text("message"),
            addresses: addresses(&status["addresses"]),
            wanted,
            ready,
        }
    };
    functions.map(row).collect()
}

fn addresses(list: &Value) -> Vec<String> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    let of = |external: bool| {
        let is_it = move |entry: &&Value| (entry["type"] == "External") == external;
        list.iter().filter(is_it).filter_map(|entry| entry["value"].as_str()).map(str::to_owned)
    };
    of(true).chain(of(false)).collect()
}
