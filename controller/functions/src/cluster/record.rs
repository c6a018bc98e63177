//! The record of a revision in annotations of its Deployment: what a controller that starts anew cannot find elsewhere. Never what is seen anyway.
//!
//! Which revision serves is not in it: the newest proven one does, or the first of all. What is in it only ever grows, so that two
//! controllers that read each other's records come to the same.

use crate::{
    revision::{Revision, State},
    template::Template,
};
use serde_json::{Value, json};

/// The template, as JSON. It never changes.
pub const TEMPLATE_ANNOTATION: &str = "headgate.dev/template";
/// The turn: the greatest is of the template that is wanted now.
pub const TURN_ANNOTATION: &str = "headgate.dev/turn";
/// `true` once a replica has been ready.
pub const PROVEN_ANNOTATION: &str = "headgate.dev/proven";

/// The annotations.
pub(super) fn annotations(revision: &Revision) -> Value {
    let template = serde_json::to_string(&revision.template).unwrap_or_default();
    json!({
        TEMPLATE_ANNOTATION: template,
        TURN_ANNOTATION: revision.turn.to_string(),
        PROVEN_ANNOTATION: revision.proven.to_string(),
    })
}

/// The revision of a Deployment; `None` for one without a record that can be read. `now_ms` is in milliseconds since 1970.
pub fn revision(deployment: &Value, now_ms: u64) -> Option<Revision> {
    let metadata = &deployment["metadata"];
    let text = |key: &str| metadata["annotations"][key].as_str();
    let template: Template = serde_json::from_str(text(TEMPLATE_ANNOTATION)?).ok()?;
    let proven = text(PROVEN_ANNOTATION)? == "true";
    Some(Revision {
        name: metadata["name"].as_str()?.to_owned(),
        template,
        turn: text(TURN_ANNOTATION)?.parse().ok()?,
        proven,
        serving: false,
        dropped: false,
        state: if proven { State::Cold } else { State::New },
        since_ms: now_ms,
    })
}
