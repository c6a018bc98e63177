//! Canaries of ingress-nginx: a second Ingress for the same host and path becomes an arm with a weight, and rules for a header. Never a route of its own.

use super::{
    IngressReport,
    annotations::{LOOK, NO_FORM, PREFIX, at, is_silent},
    rules,
};
use crate::{
    Objects,
    kinds::{BackendRef, HTTPMatch, HTTPRule, HeaderMatch, Ingress, IngressPath, ValueKind, WeightedBackend},
    schema::FieldPath,
};
use std::{cell::Cell, collections::BTreeMap, sync::Arc};

/// The canary of each place: namespace, host and path.
#[derive(Default)]
pub(super) struct Canaries(BTreeMap<Place, Canary>);

type Place = (String, Option<String>, String);

struct Canary {
    ingress: Arc<Ingress>,
    at: FieldPath,
    /// `None` if it names no port of a Service, which was told.
    backend: Option<BackendRef>,
    split: Split,
    is_used: Cell<bool>,
}

/// Which requests go to a canary.
#[derive(Clone, Default)]
struct Split {
    /// Its weight, and that of all.
    weight: Option<(u32, u32)>,
    header: Option<Header>,
}

#[derive(Clone)]
struct Header {
    name: String,
    value: Value,
}

#[derive(Clone)]
enum Value {
    /// `always` and `never`.
    Words,
    Exact(String),
    Pattern(String),
}

/// Whether an Ingress is a canary of another one.
pub(super) fn is_canary(ingress: &Ingress) -> bool {
    ingress.meta.annotations.get(&format!("{PREFIX}canary")).is_some_and(|text| text == "true")
}

impl Canaries {
    /// Those of the Ingresses; of two for one place the older.
    pub fn of<'a>(
        ingresses: impl Iterator<Item = &'a Arc<Ingress>>,
        objects: &Objects,
        report: &mut IngressReport,
    ) -> Self {
        let mut all: Vec<&Arc<Ingress>> = ingresses.filter(|ingress| is_canary(ingress)).collect();
        all.sort_by_key(|ingress| (ingress.meta.created, ingress.meta.key()));
        let mut canaries = Self::default();
        for ingress in all {
            canaries.add(ingress, objects, report);
        }
        canaries
    }

    fn add(&mut self, ingress: &Arc<Ingress>, objects: &Objects, report: &mut IngressReport) {
        let split = Split::read(ingress, report);
        for (index, rule) in ingress.rules.iter().enumerate() {
            for (path_index, path) in rule.paths.iter().enumerate() {
                let at = FieldPath::of("spec.rules").index(index).key("http").key("paths").index(path_index);
                let place = place(ingress, rule.host.as_deref(), path);
                if let Some(other) = self.0.get(&place) {
                    let key = &other.ingress.meta.key();
                    let message = format!("has a canary already, {}/{}, which is older or first by name", key.0, key.1);
                    report.warn(ingress, at, message, "write one canary for each path");
                    continue;
                }
                let backend = rules::backend(ingress, objects, &path.backend, &at.key("backend"), report);
                let canary =
                    Canary { ingress: ingress.clone(), at, backend, split: split.clone(), is_used: Cell::default() };
                self.0.insert(place, canary);
            }
        }
    }

    /// The rules that a rule becomes with the canary of its place.
    pub fn apply(&self, ingress: &Ingress, host: Option<&str>, path: &IngressPath, rule: HTTPRule) -> Vec<HTTPRule> {
        let Some(canary) = self.0.get(&place(ingress, host, path)) else { return vec![rule] };
        canary.is_used.set(true);
        // a rule without backends is a redirect, or guarded
        match canary.backend.as_ref().filter(|_| !rule.backends.is_empty()) {
            Some(backend) => canary.split.apply(rule, backend),
            None => vec![rule],
        }
    }

    /// Tells of canaries of nothing.
    pub fn tell_unused(&self, report: &mut IngressReport) {
        for canary in self.0.values().filter(|canary| !canary.is_used.get()) {
            let message = "is a canary of no other Ingress, which would need this host and path: nothing goes there";
            report.warn(&canary.ingress, canary.at.clone(), message, "give both the same host, path and namespace");
        }
    }
}

fn place(ingress: &Ingress, host: Option<&str>, path: &IngressPath) -> Place {
    (ingress.meta.namespace.to_string(), host.map(str::to_owned), path.path.clone())
}

impl Split {
    fn read(ingress: &Ingress, report: &mut IngressReport) -> Self {
        let get = |name: &str| {
            let text = ingress.meta.annotations.get(&format!("{PREFIX}{name}"));
            text.map(String::as_str).filter(|text| !text.is_empty())
        };
        let mut number = |name: &str, default: u32| match get(name).map(str::parse::<u32>) {
            Some(Ok(number)) => number,
            None => default,
            Some(Err(_)) => {
                report.error(ingress, at(name), "is no whole number", "write one, without a sign");
                default
            }
        };
        let total = number("canary-weight-total", 100).clamp(1, 1_000_000);
        let weight = get("canary-weight").map(|_| (number("canary-weight", 0).min(total), total));
        let header = get("canary-by-header").map(|name| Header {
            name: name.to_owned(),
            value: match (get("canary-by-header-value"), get("canary-by-header-pattern")) {
                (Some(value), _) => Value::Exact(value.to_owned()),
                (None, Some(pattern)) => Value::Pattern(pattern.to_owned()),
                (None, None) => Value::Words,
            },
        });
        if matches!(header, Some(Header { value: Value::Pattern(_), .. })) {
            let message =
                "is an expression, whose syntax is that of the implementation; it is found anywhere in the value";
            report.warn(
                ingress,
                at("canary-by-header-pattern"),
                message,
                "look whether canary-by-header-value would do",
            );
        }
        if get("canary-by-cookie").is_some() {
            let message = "has no form in Gateway API: a cookie is one of several in its header";
            report.warn(ingress, at("canary-by-cookie"), message, "choose by a header, or by weight alone");
        }
        Self::tell_of_others(ingress, report);
        Self { weight, header }
    }

    /// What else stands on a canary holds for nothing.
    fn tell_of_others(ingress: &Ingress, report: &mut IngressReport) {
        for key in ingress.meta.annotations.keys().filter(|key| !is_silent(key)) {
            match key.strip_prefix(PREFIX) {
                Some(name) if name.starts_with("canary") => {}
                Some(name) => {
                    let message = "has no effect on a canary: what its main Ingress says holds for both";
                    report.warn(ingress, at(name), message, "leave it out");
                }
                None => {
                    let path = FieldPath::of("metadata.annotations").key(key.clone());
                    report.warn(ingress, path, NO_FORM, LOOK);
                }
            }
        }
    }

    fn apply(&self, mut rule: HTTPRule, canary: &BackendRef) -> Vec<HTTPRule> {
        let to =
            |backend: &BackendRef, weight| WeightedBackend { backend: backend.clone(), weight, filters: Vec::new() };
        let mut rules = Vec::new();
        if let Some(header) = &self.header {
            let matching = |kind, value: &str| {
                let test = HeaderMatch { kind, name: header.name.clone(), value: value.to_owned() };
                let matches = rule.matches.iter().map(|m| HTTPMatch { headers: vec![test.clone()], ..m.clone() });
                matches.collect::<Vec<_>>()
            };
            let with = |matches, backends| HTTPRule { matches, backends, ..rule.clone() };
            let chosen = vec![to(canary, 1)];
            match &header.value {
                Value::Exact(value) => rules.push(with(matching(ValueKind::Exact, value), chosen)),
                Value::Pattern(pattern) => {
                    let anywhere = format!(".*(?:{pattern}).*");
                    rules.push(with(matching(ValueKind::RegularExpression, &anywhere), chosen));
                }
                Value::Words => {
                    rules.push(with(matching(ValueKind::Exact, "always"), chosen));
                    if self.weight.is_some() {
                        rules.push(with(matching(ValueKind::Exact, "never"), rule.backends.clone()));
                    }
                }
            }
        }
        if let Some((weight, total)) = self.weight {
            rule.backends.iter_mut().for_each(|main| main.weight = total - weight);
            rule.backends.push(to(canary, weight));
        }
        rules.push(rule);
        rules
    }
}
