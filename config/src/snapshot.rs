//! A whole version of the routes, and the difference between two. Applying a difference equals taking the whole; never in part.

use crate::{Backend, BackendName, Listener, ListenerName, Rule, RuleName};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Counts published Snapshots of one publisher, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// All that the data plane is told at once. Certificates and endpoints travel apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Listeners by name.
    pub listeners: BTreeMap<ListenerName, Listener>,
    /// Rules by name.
    pub rules: BTreeMap<RuleName, Rule>,
    /// Backends by name: each that an arm or a mirror names, and revisions that are being proved or closed.
    pub backends: BTreeMap<BackendName, Backend>,
}

/// The difference between two Snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What it applies to.
    pub from: Version,
    /// What it makes.
    pub to: Version,
    /// Listeners new or changed.
    pub listeners: Vec<Listener>,
    /// Rules new or changed.
    pub rules: Vec<Rule>,
    /// Backends new or changed.
    pub backends: Vec<Backend>,
    /// What is gone.
    pub removes: Removes,
}

/// Names that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removes {
    /// Listeners.
    pub listeners: Vec<ListenerName>,
    /// Rules.
    pub rules: Vec<RuleName>,
    /// Backends.
    pub backends: Vec<BackendName>,
}

impl Snapshot {
    /// What makes `next` of `self`.
    pub fn change_to(&self, next: &Self, from: Version, to: Version) -> Change {
        Change {
            from,
            to,
            listeners: upserts(&self.listeners, &next.listeners),
            rules: upserts(&self.rules, &next.rules),
            backends: upserts(&self.backends, &next.backends),
            removes: Removes {
                listeners: removes(&self.listeners, &next.listeners),
                rules: removes(&self.rules, &next.rules),
                backends: removes(&self.backends, &next.backends),
            },
        }
    }

    /// Applies a difference; the caller has checked that `change.from` is the version of `self`.
    pub fn apply(&mut self, change: Change) {
        self.listeners.extend(change.listeners.into_iter().map(|l| (l.name.clone(), l)));
        self.rules.extend(change.rules.into_iter().map(|r| (r.name.clone(), r)));
        self.backends.extend(change.backends.into_iter().map(|b| (b.name.clone(), b)));
        change.removes.listeners.iter().for_each(|name| drop(self.listeners.remove(name)));
        change.removes.rules.iter().for_each(|name| drop(self.rules.remove(name)));
        change.removes.backends.iter().for_each(|name| drop(self.backends.remove(name)));
    }
}

impl Change {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
            && self.rules.is_empty()
            && self.backends.is_empty()
            && self.removes == Removes::default()
    }
}

fn upserts<K: Ord, V: Clone + PartialEq>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Vec<V> {
    new.iter().filter(|(name, value)| old.get(name) != Some(value)).map(|(_, value)| value.clone()).collect()
}

fn removes<K: Ord + Clone, V>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Vec<K> {
    old.keys().filter(|name| !new.contains_key(name)).cloned().collect()
}
