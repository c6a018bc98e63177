//! Lists of the API that are maps, such as conditions by type: what of them is ours, laid over what stands there. Never drops what others say.

use crate::stamp::find;
use headgate_translate::conditions::ConditionType;
use serde_json::{Map, Value};

/// A status with ours laid over it.
pub(crate) struct Overlaid {
    /// What stands there afterwards.
    pub status: Value,
    /// Whether something that was there is gone: something that we say no more.
    pub dropped: bool,
}

/// Lays our fields over a status. Only fields that ours has are in the result.
pub(crate) fn overlay(known: &Value, ours: &Value) -> Overlaid {
    let mut work = Work { dropped: false };
    let status = work.lay(known, ours, Map::new());
    Overlaid { status, dropped: work.dropped }
}

/// Whether an element belongs to others.
type IsForeign = fn(&Value) -> bool;

/// The key of a list that is a map, and whether an element that we do not say (any more) is someone else's.
fn list_key(field: &str) -> Option<(&'static str, IsForeign)> {
    match field {
        "conditions" => Some(("type", |condition| {
            condition["type"].as_str().is_none_or(|kind| ConditionType::parse(kind).is_none())
        })),
        // these belong to the controller of the object alone
        "listeners" | "supportedFeatures" => Some(("name", |_| false)),
        _ => None,
    }
}

struct Work {
    dropped: bool,
}

impl Work {
    fn lay(&mut self, known: &Value, ours: &Value, mut fields: Map<String, Value>) -> Value {
        for (field, value) in ours.as_object().into_iter().flatten() {
            let known = &known[field.as_str()];
            let laid = match (list_key(field), value) {
                (Some((key, is_foreign)), Value::Array(ours)) => self.lay_list(known, ours, key, is_foreign),
                _ => value.clone(),
            };
            fields.insert(field.clone(), laid);
        }
        Value::Object(fields)
    }

    fn lay_list(&mut self, known: &Value, ours: &[Value], key: &str, is_foreign: IsForeign) -> Value {
        let mut list = Vec::new();
        for element in known.as_array().into_iter().flatten() {
            match ours.iter().find(|own| own[key] == element[key]) {
                // fields of it that we do not know stay
                Some(own) => list.push(self.lay(element, own, element.as_object().cloned().unwrap_or_default())),
                None if is_foreign(element) => list.push(element.clone()),
                None => self.dropped = true,
            }
        }
        list.extend(ours.iter().filter(|own| find(known, key, &own[key]).is_none()).cloned());
        Value::Array(list)
    }
}

/// Whether a status has all that `laid` says.
pub(crate) fn holds(known: &Value, laid: &Value) -> bool {
    laid.as_object().into_iter().flatten().all(|(field, value)| is_same(&known[field.as_str()], value))
}

/// Whether two values say the same: an empty list and none do.
pub(crate) fn is_same(one: &Value, other: &Value) -> bool {
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    one == other || is_empty(one) && is_empty(other)
}
