//! What was wrong in a Snapshot: whose, which field, and what to write instead. Never an error that stops a compilation.

use headgate_config::{ListenerName, RuleName};
use serde::{Serialize, Serializer};
use std::fmt;

/// One defect. The object that has it costs its own share and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The rule, where one has it.
    #[serde(serialize_with = "text_or_null", skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// The listener, where one has it or is meant.
    #[serde(serialize_with = "text_or_null", skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerName>,
    /// Path of the field in the object, as `spec.rules[0].matches[1].path.value`.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.rule, &self.listener) {
            (Some(rule), _) => write!(f, "{rule}: ")?,
            (None, Some(listener)) => write!(f, "listener {listener}: ")?,
            (None, None) => {}
        }
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The form of a name in JSON: its one text, as logs and metrics have it.
pub(crate) fn text<S: Serializer>(name: &impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(name)
}

/// The same where there may be none.
pub(crate) fn text_or_null<S: Serializer>(name: &Option<impl fmt::Display>, to: S) -> Result<S::Ok, S::Error> {
    match name {
        Some(name) => to.collect_str(name),
        None => to.serialize_none(),
    }
}
