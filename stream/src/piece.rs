//! Rules, backends and listeners as pieces of a version: written as JSON, read with tolerance. A rule that cannot be read becomes one that answers 500, and so does one whose filter is not known; never nothing.

use crate::{digest::Digest, wire};
use bytes::Bytes;
use headgate_config::{
    Action, Attachment, Backend, Filter, Host, Listener, ListenerName, Match, PathMatch, Rule, RuleName, Seniority,
    Timeouts,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::sync::Arc;

/// One piece of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A rule.
    Rule(Arc<Rule>),
    /// A backend.
    Backend(Arc<Backend>),
    /// A listener.
    Listener(Arc<Listener>),
}

const RULE: u32 = 1;
const BACKEND: u32 = 2;
const LISTENER: u32 = 3;

impl Piece {
    /// As it travels.
    pub fn write(&self) -> wire::Piece {
        let (kind, json) = match self {
            Self::Rule(rule) => (RULE, serde_json::to_vec(rule)),
            Self::Backend(backend) => (BACKEND, serde_json::to_vec(backend)),
            Self::Listener(listener) => (LISTENER, serde_json::to_vec(listener)),
        };
        wire::Piece { kind, json: json.expect("configuration is plain data with texts as keys").into() }
    }

    /// What it is called.
    pub fn digest(&self) -> Digest {
        digest(&self.write())
    }
}

/// What a piece is called: of the bytes as they travel, so that an older reader calls it the same.
pub fn digest(piece: &wire::Piece) -> Digest {
    Digest::of(&[&piece.kind.to_be_bytes(), &piece.json])
}

/// What was read of a piece, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// `None` for what cannot be served at all.
    pub piece: Option<Piece>,
    /// One sentence.
    pub problem: Option<String>,
}

/// Reads a piece of this or another version of the program.
pub fn read(piece: &wire::Piece) -> Read {
    match piece.kind {
        RULE => read_rule(&piece.json),
        BACKEND => plain("backend", &piece.json, |backend| Piece::Backend(Arc::new(backend))),
        LISTENER => plain("listener", &piece.json, |listener| Piece::Listener(Arc::new(listener))),
        kind => {
            unreadable(format!("a piece of kind {kind}, which this version of the gateway does not know: upgrade it"))
        }
    }
}

fn unreadable(problem: String) -> Read {
    Read { piece: None, problem: Some(problem) }
}

fn plain<T: DeserializeOwned>(what: &str, json: &Bytes, piece: impl Fn(T) -> Piece) -> Read {
    match serde_json::from_slice(json) {
        Ok(read) => Read { piece: Some(piece(read)), problem: None },
        Err(error) => {
            let value = serde_json::from_slice::<Value>(json).unwrap_or_default();
            let name = value.get("name").map(Value::to_string).unwrap_or_default();
            unreadable(format!("{what} {name} cannot be read by this version of the gateway: {error}"))
        }
    }
}

fn read_rule(json: &Bytes) -> Read {
    let mut value = match serde_json::from_slice::<Value>(json) {
        Ok(value) => value,
        Err(error) => return unreadable(format!("a rule that is no JSON: {error}")),
    };
    let unknown = mark_unknown_filters(&mut value);
    let why = match Rule::deserialize(&value) {
        // a condition that is ignored would take requests that are not meant for this rule
        Ok(rule) => match lost_condition(&value, &rule) {
            None => {
                let name = &rule.name;
                let said = |filter| {
                    format!(
                        "rule {name}: the filter {filter} is not known to this version of the gateway, and answers 500"
                    )
                };
                let problem = unknown.map(said);
                return Read { piece: Some(Piece::Rule(Arc::new(rule))), problem };
            }
            Some(condition) => format!("unknown condition {condition}"),
        },
        Err(error) => error.to_string(),
    };
    let Some(name) = part::<RuleName>(&value, "name") else {
        return unreadable(format!("a rule whose name cannot be read: {why}"));
    };
    let problem = format!("rule {name} cannot be read by this version of the gateway and answers 500: {why}");
    let rule = Rule {
        title: part(&value, "title").unwrap_or_default(),
        // the youngest, so that it takes nothing from a rule that can be read
        created: part::<Seniority>(&value, "seniority").map_or(i64::MAX, |seniority| seniority.created),
        attachments: list(&value, "attachments").iter().filter_map(attachment).collect(),
        matches: matches(&value).into(),
        filters: Vec::new(),
        action: Action::Invalid(problem.clone()),
        timeouts: Timeouts::default(),
        retry: None,
        name,
    };
    Read { piece: Some(Piece::Rule(Arc::new(rule))), problem: Some(problem) }
}

/// Puts a filter in the place of each that is not known as it stands, by which the rule or the arm answers 500; names the last. One that is
/// passed over, or a part of one, could be the one that lets nobody in.
fn mark_unknown_filters(rule: &mut Value) -> Option<String> {
    fn each(value: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
        value.and_then(Value::as_array_mut).into_iter().flatten()
    }
    let Value::Object(rule) = rule else { return None };
    let mut unknown = None;
    let mut mark = |filter: &mut Value| {
        if let Some(what) = unknown_filter(filter) {
            *filter = json!(Filter::Unsupported(what.clone()));
            unknown = Some(what);
        }
    };
    each(rule.get_mut("filters")).for_each(&mut mark);
    let split = rule.get_mut("action").and_then(|action| action.get_mut("forward"));
    for arm in each(split.and_then(|split| split.get_mut("arms"))) {
        each(arm.get_mut("filters")).for_each(&mut mark);
    }
    unknown
}

fn unknown_filter(raw: &Value) -> Option<String> {
    let name = || raw.as_object().and_then(|fields| fields.keys().next().cloned()).unwrap_or_else(|| raw.to_string());
    match Filter::deserialize(raw) {
        Ok(filter) => lost(raw, &json!(filter)).map(|field| format!("{} with {field}", name())),
        Err(_) => Some(name()),
    }
}

fn part<T: DeserializeOwned>(value: &Value, field: &str) -> Option<T> {
    T::deserialize(value.get(field)?).ok()
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn attachment(value: &Value) -> Option<Attachment> {
    let listener = part::<ListenerName>(value, "listener")?;
    let hosts: Vec<Host> = list(value, "hosts").iter().filter_map(|host| Host::deserialize(host).ok()).collect();
    (!hosts.is_empty()).then_some(Attachment { listener, hosts })
}

/// What can be read of each match. One without a readable path says nothing; if none is left the rule takes what no other rule does.
fn matches(value: &Value) -> Vec<Match> {
    let mut read: Vec<Match> = list(value, "matches").iter().filter_map(one_match).collect();
    if read.is_empty() {
        read.push(Match {
            path: PathMatch::Prefix("/".into()),
            method: None,
            headers: Vec::new(),
            queries: Vec::new(),
        });
    }
    read
}

fn one_match(value: &Value) -> Option<Match> {
    Match::deserialize(value).ok().or_else(|| {
        let path = part::<PathMatch>(value, "path")?;
        let tests = |field| list(value, field).iter().filter_map(|test| Deserialize::deserialize(test).ok());
        Some(Match {
            path,
            method: part(value, "method"),
            headers: tests("headers").collect(),
            queries: tests("queries").collect(),
        })
    })
}

/// The name of a field of a match that was not understood.
fn lost_condition(raw: &Value, rule: &Rule) -> Option<String> {
    let understood = serde_json::to_value(&rule.matches).unwrap_or_default();
    lost(raw.get("matches")?, &understood)
}

fn lost(raw: &Value, understood: &Value) -> Option<String> {
    match (raw, understood) {
        (Value::Object(raw), Value::Object(understood)) => {
            raw.iter().find_map(|(name, value)| match understood.get(name) {
                Some(known) => lost(value, known),
                None if says_nothing(value) => None,
                None => Some(name.clone()),
            })
        }
        (Value::Array(raw), Value::Array(understood)) => raw.iter().zip(understood).find_map(|(a, b)| lost(a, b)),
        _ => None,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
