//! Atomic lists of entries by controller (`status.parents`, `status.ancestors`): ours are replaced inside the list. Never changes an entry of another controller, nor its place.

use crate::{overlay::overlay, stamp::Stamp};
use headgate_translate::conditions::{Status, entries_most};
use serde_json::{Value, json};

/// Such a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryList {
    /// Its field of the status.
    pub field: &'static str,
    /// The field of an entry that says of what it speaks.
    pub reference: &'static str,
    /// The most entries that the API takes.
    pub most: usize,
}

impl EntryList {
    /// The list of the status of a kind, with our entries; `None` for a status without one.
    pub fn of(status: &Status, kind: &str) -> Option<(Self, Vec<Value>)> {
        let most = entries_most(kind);
        match status {
            Status::Route(route) => {
                let list = Self { field: "parents", reference: "parentRef", most };
                Some((list, route.parents.iter().map(|entry| json!(entry)).collect()))
            }
            Status::Policy(policy) => {
                let list = Self { field: "ancestors", reference: "ancestorRef", most };
                Some((list, policy.ancestors.iter().map(|entry| json!(entry)).collect()))
            }
            Status::Class(_) | Status::Gateway(_) | Status::ListenerSet(_) | Status::Ingress(_) => None,
        }
    }

    /// The list with `wanted` in place of the entries of `controller`. Those of others come first where there is no room for all.
    pub fn replace(self, known: &Value, mut wanted: Vec<Value>, controller: &str, stamp: Stamp) -> Vec<Value> {
        let known = known.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_ours = |entry: &&Value| entry["controllerName"] == controller;
        let foreign = known.iter().filter(|entry| !is_ours(entry)).count();
        wanted.truncate(self.most.saturating_sub(foreign));
        let mut list = Vec::with_capacity(foreign + wanted.len());
        for entry in known {
            if !is_ours(&entry) {
                list.push(entry.clone());
            } else if let Some(at) = wanted.iter().position(|own| self.speak_of_the_same(own, entry)) {
                list.push(renew(wanted.remove(at), entry, stamp));
            }
        }
        list.extend(wanted.into_iter().map(|own| renew(own, &Value::Null, stamp)));
        list
    }

    fn speak_of_the_same(self, own: &Value, entry: &Value) -> bool {
        own[self.reference] == entry[self.reference]
    }
}

/// Our entry with the times of the one before, and with conditions in it that are not ours.
fn renew(mut own: Value, before: &Value, stamp: Stamp) -> Value {
    stamp.all(&mut own, before);
    overlay(before, &own).status
}
