//! What differs between two outlooks: rules and listeners by Gateway, and what is said of objects. Pure; it knows no file and no cluster.

use headgate_config::{BackendName, GatewayName, Rule, Snapshot, Version};
use headgate_controller::cluster::outlook::{Outlook, Said, Subject};
use headgate_routing::Table;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What would change.
#[derive(Debug, Default, Serialize)]
pub struct Changes {
    /// Gateways of which something would.
    pub gateways: Vec<GatewayChanges>,
    /// What would be said otherwise.
    pub conditions: Conditions,
}

/// What one Gateway would serve otherwise.
#[derive(Debug, Default, Serialize)]
pub struct GatewayChanges {
    /// `namespace/name`.
    pub gateway: String,
    /// Whether it is new or would go; nothing if neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<&'static str>,
    /// Its listeners.
    pub listeners: Vec<Change>,
    /// Its rules, in the order in which they are tried: by place, that is listener, host and match.
    pub rules: Vec<Change>,
    /// Backends whose settings would be others: protocol, TLS, concurrency, queue.
    pub backends: Vec<String>,
}

/// One thing that differs; without `before` it is new, without `after` it goes.
#[derive(Debug, Default, Serialize)]
pub struct Change {
    /// As it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// As it would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// The fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// What would be said otherwise.
#[derive(Debug, Default, Serialize)]
pub struct Conditions {
    /// Newly wrong, or wrong for another reason.
    pub worse: Vec<Statement>,
    /// Wrong no more.
    pub better: Vec<Statement>,
}

/// One condition.
#[derive(Debug, Serialize)]
pub struct Statement {
    /// `Kind namespace/name`.
    pub object: String,
    /// By whom or where in it.
    pub at: String,
    /// The condition.
    pub condition: Value,
    /// Its reason.
    pub reason: String,
    /// What is so, and what to do about it.
    pub message: String,
}

impl Changes {
    /// What is otherwise in `after`.
    pub fn between(before: &Outlook, after: &Outlook) -> Self {
        let (none, mut changes) = (Snapshot::default(), Self::default());
        for gateway in after.gateways_with(before) {
            let of = |outlook: &'_ Outlook| outlook.gateways.get(gateway).cloned();
            let (old, new) = (of(before), of(after));
            let exists = match (&old, &new) {
                (None, Some(_)) => Some("new"),
                (Some(_), None) => Some("gone"),
                _ => None,
            };
            let change = gateway_changes(gateway, old.as_ref().unwrap_or(&none), new.as_ref().unwrap_or(&none));
            let change = GatewayChanges { exists, ..change };
            if !change.is_empty() {
                changes.gateways.push(change);
            }
        }
        changes.conditions.worse = after.worse_than(before).map(|(subject, said)| statement(subject, said)).collect();
        // one that goes is said nothing of, which is no cure
        let is_mended = |(subject, _): &(&Subject, &Said)| after.said.get(*subject).is_some_and(|said| !said.is_wrong);
        let wrong = before.said.iter().filter(|(_, said)| said.is_wrong);
        changes.conditions.better = wrong.filter(is_mended).map(|(subject, said)| statement(subject, said)).collect();
        changes
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.gateways.is_empty() && self.conditions.worse.is_empty() && self.conditions.better.is_empty()
    }
}

impl GatewayChanges {
    fn is_empty(&self) -> bool {
        self.exists.is_none() && self.listeners.is_empty() && self.rules.is_empty() && self.backends.is_empty()
    }
}

fn statement(subject: &Subject, said: &Said) -> Statement {
    Statement {
        object: subject.object.to_string(),
        at: subject.at.clone(),
        condition: json!(subject.condition),
        reason: said.reason.to_owned(),
        message: said.message.clone(),
    }
}

fn gateway_changes(gateway: &GatewayName, before: &Snapshot, after: &Snapshot) -> GatewayChanges {
    let listeners = |snapshot: &Snapshot| -> Vec<(String, Value)> {
        snapshot.listeners.values().map(|listener| (listener.name.to_string(), json!(listener))).collect()
    };
    GatewayChanges {
        gateway: gateway.to_string(),
        exists: None,
        listeners: differences(listeners(before), listeners(after)),
        rules: differences(rules(before), rules(after)),
        backends: backends(before, after),
    }
}

/// What of two lists differs, by key, in the order of the second; what goes comes behind.
fn differences(before: Vec<(String, Value)>, after: Vec<(String, Value)>) -> Vec<Change> {
    let mut old: BTreeMap<String, Value> = before.iter().cloned().collect();
    let mut changes = Vec::new();
    for (key, after) in after {
        match old.remove(&key) {
            None => changes.push(Change { after: Some(after), ..Change::default() }),
            Some(before) if before != after => {
                let fields = fields(&before, &after);
                changes.push(Change { before: Some(before), after: Some(after), fields });
            }
            Some(_) => {}
        }
    }
    let gone = before.into_iter().filter_map(|(key, _)| old.remove(&key));
    changes.extend(gone.map(|before| Change { before: Some(before), ..Change::default() }));
    changes
}

fn fields(before: &Value, after: &Value) -> Vec<String> {
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let all = names(before).union(&names(after)).cloned().collect::<Vec<_>>();
    all.into_iter().filter(|name| before.get(name) != after.get(name)).collect()
}

/// The rules as `routes` shows them, with what else they do; each under the place where it is tried.
fn rules(snapshot: &Snapshot) -> Vec<(String, Value)> {
    let table = Table::<BackendName>::compile(snapshot, Version::default(), None, |backend| backend.name.clone()).table;
    let by_name: BTreeMap<String, &Arc<Rule>> =
        snapshot.rules.values().map(|rule| (rule.name.to_string(), rule)).collect();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let rows = table.rules_in_order();
    let rows = rows.iter().map(|row| {
        let mut row = json!(row);
        let place =
            ["port", "listener", "host", "path", "method", "headers", "queries"].map(|field| row[field].clone());
        // the first of a place serves it; those behind it are there all the same
        let place = json!(place).to_string();
        let time = times.entry(place.clone()).or_default();
        let key = format!("{place} {time}");
        *time += 1;
        if let Some(rule) = row["rule"].as_str().and_then(|name| by_name.get(name)) {
            row["filters"] = json!(rule.filters);
            row["timeouts"] = json!(rule.timeouts);
            row["retry"] = json!(rule.retry);
        }
        (key, row)
    });
    rows.collect()
}

/// Those that both have, with other settings.
fn backends(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let both = after.backends.values().filter_map(|new| Some((before.backends.get(&new.name)?, new)));
    both.filter(|(old, new)| old != new).map(|(_, new)| new.name.to_string()).collect()
}
