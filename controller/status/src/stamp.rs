//! Times of conditions: kept where the status of a condition is what it was, now where it is not. Never reads a clock.

use jiff::Timestamp;
use serde_json::{Value, json};

/// The most bytes of a message that the API takes.
const MESSAGE_BYTES_MAX: usize = 32_768;

/// What decides the times of conditions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// The time of what is new.
    pub now: Timestamp,
    /// What the data plane serves is not known yet, so `Programmed` stays as it was.
    pub awaiting: bool,
}

impl Stamp {
    /// Stamps all conditions in `wanted`, at any depth, by those that stand at the same place in `known`.
    pub fn all(self, wanted: &mut Value, known: &Value) {
        let Value::Object(fields) = wanted else { return };
        for (key, value) in fields {
            let known = &known[key.as_str()];
            match (key.as_str(), value) {
                ("conditions", Value::Array(conditions)) => self.conditions(conditions, known),
                ("listeners", Value::Array(listeners)) => listeners.iter_mut().for_each(|listener| {
                    let known = find(known, "name", &listener["name"]).unwrap_or(&Value::Null);
                    self.all(listener, known);
                }),
                (_, value) => self.all(value, known),
            }
        }
    }

    fn conditions(self, conditions: &mut [Value], known: &Value) {
        for condition in conditions {
            let known = find(known, "type", &condition["type"]);
            if let Some(known) = known.filter(|known| self.holds(known, condition)) {
                condition.clone_from(known);
                continue;
            }
            shorten(condition);
            let same = known.filter(|known| known["status"] == condition["status"]);
            let time = same.and_then(|known| known.get("lastTransitionTime")).cloned();
            condition["lastTransitionTime"] = time.unwrap_or_else(|| json!(text(self.now)));
        }
    }

    /// Whether a condition stays as it is, since all that is known against it is that an answer is missing.
    fn holds(self, known: &Value, wanted: &Value) -> bool {
        let is_programmed = ["Programmed", "Ready"].iter().any(|kind| known["type"] == *kind);
        self.awaiting && is_programmed && known["status"] == "True" && wanted["reason"] == "Pending"
    }
}

/// The element of a list that is a map by `key`.
pub(crate) fn find<'v>(list: &'v Value, key: &str, name: &Value) -> Option<&'v Value> {
    list.as_array()?.iter().find(|element| element[key] == *name)
}

/// Seconds, as the API server keeps times of conditions.
fn text(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn shorten(condition: &mut Value) {
    if let Some(Value::String(message)) = condition.get_mut("message")
        && message.len() > MESSAGE_BYTES_MAX
    {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - 4));
        message.push_str(" ...");
    }
}
