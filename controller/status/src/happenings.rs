//! What of a new status people are told in events: what has become wrong, and what is right again. Never the same twice, for it follows from a difference.

use crate::stamp::find;
use headgate_translate::conditions::ConditionType;
use serde_json::Value;

/// The most bytes of the note of an event (`events.k8s.io/v1`).
const NOTE_BYTES_MAX: usize = 1024;
/// Reasons of what is on its way, and of what another condition tells.
const UNTOLD: [&str; 4] = ["Pending", "AddressNotAssigned", "NotAssigned", "ListenersNotValid"];

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Its type.
    pub severity: Severity,
    /// The reason of the condition, in the words of the API.
    pub reason: String,
    /// What is so, where, and what to do about it; at most 1,024 bytes.
    pub note: String,
}

impl Happening {
    /// That something is wrong.
    pub fn warning(reason: impl Into<String>, note: &str) -> Self {
        Self { severity: Severity::Warning, reason: reason.into(), note: shortened(note.to_owned()) }
    }
}

fn shortened(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
    note
}

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something is right again.
    Normal,
    /// Something has become wrong.
    Warning,
}

impl Severity {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What happens when `new` takes the place of `known`.
pub(crate) fn happenings(known: &Value, new: &Value) -> Vec<Happening> {
    let mut told = Told::default();
    told.conditions("", &known["conditions"], &new["conditions"]);
    for listener in list(&new["listeners"]) {
        let before = find(&known["listeners"], "name", &listener["name"]).unwrap_or(&Value::Null);
        let place = format!("listener {}: ", listener["name"].as_str().unwrap_or_default());
        told.conditions(&place, &before["conditions"], &listener["conditions"]);
    }
    for (field, reference) in [("parents", "parentRef"), ("ancestors", "ancestorRef")] {
        for entry in list(&new[field]) {
            let same = |before: &&Value| {
                before[reference] == entry[reference] && before["controllerName"] == entry["controllerName"]
            };
            let before = list(&known[field]).find(same).unwrap_or(&Value::Null);
            told.conditions(&place(&entry[reference]), &before["conditions"], &entry["conditions"]);
        }
    }
    told.function(&known["serving"], &new["serving"]);
    told.conditions("", &known["route"]["conditions"], &new["route"]["conditions"]);
    told.happenings
}

#[derive(Default)]
struct Told {
    happenings: Vec<Happening>,
    /// Reasons with their messages: what holds for several parents is told once.
    told: Vec<(String, String)>,
}

impl Told {
    fn conditions(&mut self, place: &str, known: &Value, new: &Value) {
        for condition in list(new) {
            let Some(kind) = condition["type"].as_str().and_then(ConditionType::parse) else { continue };
            let before = find(known, "type", &condition["type"]);
            let was_wrong = before.is_some_and(|before| is_wrong(kind, before));
            if is_wrong(kind, condition) {
                let new = !was_wrong || before.is_some_and(|before| before["reason"] != condition["reason"]);
                if new && is_told_of(kind, condition) {
                    self.tell(Severity::Warning, place, condition);
                }
            } else if was_wrong && before.is_some_and(|before| is_told_of(kind, before)) {
                self.tell(Severity::Normal, place, condition);
            }
        }
    }

    /// A Function says why it does not run in `serving`, and has no condition for it.
    fn function(&mut self, known: &Value, new: &Value) {
        let new = |field: &str| new[field].as_str().map(str::to_owned);
        if let Some(reason) = new("reason").filter(|reason| !reason.is_empty() && known["reason"] != **reason) {
            let note = new("message").unwrap_or_else(|| known["message"].as_str().unwrap_or_default().to_owned());
            self.push(Severity::Warning, reason, note);
        }
    }

    fn tell(&mut self, severity: Severity, place: &str, condition: &Value) {
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let (reason, message) = (text("reason"), text("message"));
        let mark = (reason.clone(), message.clone());
        if !self.told.contains(&mark) {
            self.told.push(mark);
            let note =
                if message.is_empty() { format!("{place}{} again", text("type")) } else { format!("{place}{message}") };
            self.push(severity, reason, note);
        }
    }

    fn push(&mut self, severity: Severity, reason: String, note: String) {
        self.happenings.push(Happening { severity, reason, note: shortened(note) });
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn is_wrong(kind: ConditionType, condition: &Value) -> bool {
    let fault = if kind.names_fault() { "True" } else { "False" };
    condition["status"] == fault
}

/// `Programmed` mostly says again what other conditions say.
fn is_told_of(kind: ConditionType, condition: &Value) -> bool {
    let reason = condition["reason"].as_str().unwrap_or_default();
    let own = kind != ConditionType::Programmed || ["AddressNotUsable", "NoResources"].contains(&reason);
    own && !UNTOLD.contains(&reason)
}

/// A reference to a parent, as people read it.
fn place(reference: &Value) -> String {
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    match text("namespace") {
        "" => format!("{} {}: ", text("kind"), text("name")),
        namespace => format!("{} {namespace}/{}: ", text("kind"), text("name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message})
    }

    fn told(known: &Value, new: &Value) -> Vec<(&'static str, String)> {
        happenings(known, new)
            .into_iter()
            .map(|it| (it.severity.as_str(), format!("{}: {}", it.reason, it.note)))
            .collect()
    }

    #[test]
    fn a_condition_is_told_of_when_it_becomes_wrong_and_when_it_is_right_again() {
        let pending = json!({"conditions": [condition("Accepted", "Unknown", "Pending", "Waiting for controller")]});
        let fine = json!({"conditions": [condition("Accepted", "True", "Accepted", "")]});
        let wrong = json!({"conditions": [condition("Accepted", "False", "InvalidParameters", "no such object")]});
        let warning = vec![("Warning", "InvalidParameters: no such object".to_owned())];
        assert_eq!(told(&pending, &fine), []);
        assert_eq!(told(&pending, &wrong), warning);
        assert_eq!(told(&fine, &wrong), warning);
        assert_eq!(told(&wrong, &wrong), []);
        assert_eq!(told(&wrong, &fine), [("Normal", "Accepted: Accepted again".to_owned())]);
    }

    #[test]
    fn what_is_on_its_way_is_no_event() {
        let pending = json!({"conditions": [condition("Programmed", "False", "AddressNotAssigned", "none yet")]});
        let unusable =
            json!({"conditions": [condition("Programmed", "False", "AddressNotUsable", "10.0.0.1 is taken")]});
        assert_eq!(told(&Value::Null, &pending), []);
        assert_eq!(told(&pending, &unusable), [("Warning", "AddressNotUsable: 10.0.0.1 is taken".to_owned())]);
    }

    #[test]
    fn what_is_wrong_for_several_parents_is_told_once() {
        let entry = |name: &str| {
            json!({
                "parentRef": {"kind": "Gateway", "namespace": "infra", "name": name}, "controllerName": "a/b",
                "conditions": [condition("ResolvedRefs", "False", "BackendNotFound", "no Service hello")],
            })
        };
        let new = json!({"parents": [entry("one"), entry("two")]});
        let told = told(&Value::Null, &new);
        assert_eq!(told, [("Warning", "BackendNotFound: Gateway infra/one: no Service hello".to_owned())]);
    }

    #[test]
    fn a_fault_is_wrong_when_it_is_true() {
        let fine = condition("Conflicted", "False", "NoConflicts", "");
        let wrong = condition("Conflicted", "True", "HostnameConflict", "as listener b");
        let status = |condition: Value| json!({"listeners": [{"name": "a", "conditions": [condition]}]});
        let expected = [("Warning", "HostnameConflict: listener a: as listener b".to_owned())];
        assert_eq!(told(&status(fine), &status(wrong)), expected);
    }

    #[test]
    fn a_function_that_does_not_start_says_why() {
        let known = json!({"serving": {"state": "Starting"}});
        let new = json!({"serving": {"reason": "ImagePullBackOff", "message": "no image x:1"}});
        assert_eq!(told(&known, &new), [("Warning", "ImagePullBackOff: no image x:1".to_owned())]);
        assert_eq!(told(&new, &new), []);
    }

    #[test]
    fn a_note_is_no_longer_than_the_api_takes() {
        let long = "ü".repeat(NOTE_BYTES_MAX);
        let new = json!({"conditions": [condition("Accepted", "False", "Invalid", &long)]});
        assert_eq!(happenings(&Value::Null, &new)[0].note.len(), NOTE_BYTES_MAX);
    }
}
