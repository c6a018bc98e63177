//! A whole version of the routes, and the difference between two. Applying a difference equals taking the whole; never in part.

use crate::{Backend, BackendName, ByName, CertificateName, Listener, ListenerName, Named, Rule, RuleName};
use imbl::{OrdMap, ordmap::DiffItem};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Counts published Snapshots of one publisher, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// All that the data plane is told at once. Certificates and endpoints travel apart.
///
/// Versions share what is equal in them: a clone costs nothing, and a difference as much as differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Listeners by name.
    pub listeners: OrdMap<ByName<Listener>, Arc<Listener>>,
    /// Rules by name.
    pub rules: OrdMap<ByName<Rule>, Arc<Rule>>,
    /// Backends by name: each that an arm or a mirror names, and revisions that are being proved or closed.
    pub backends: OrdMap<ByName<Backend>, Arc<Backend>>,
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
    pub listeners: Vec<Arc<Listener>>,
    /// Rules new or changed.
    pub rules: Vec<Arc<Rule>>,
    /// Backends new or changed.
    pub backends: Vec<Arc<Backend>>,
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
    /// Adds a listener, or puts it in place of the one of that name.
    pub fn insert_listener(&mut self, listener: Arc<Listener>) {
        self.listeners.insert(ByName::of(&listener), listener);
    }

    /// Adds a rule, or puts it in place of the one of that name.
    pub fn insert_rule(&mut self, rule: Arc<Rule>) {
        self.rules.insert(ByName::of(&rule), rule);
    }

    /// Adds a Backend, or puts it in place of the one of that name.
    pub fn insert_backend(&mut self, backend: Arc<Backend>) {
        self.backends.insert(ByName::of(&backend), backend);
    }

    /// All certificates whose keys it needs.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateName> {
        let of_backends = self.backends.values().filter_map(|backend| backend.certificate());
        self.listeners.values().flat_map(|listener| listener.certificates()).chain(of_backends)
    }

    /// What makes `next` of `self`.
    pub fn change_to(&self, next: &Self, from: Version, to: Version) -> Change {
        let (rules, removed_rules) = difference(&self.rules, &next.rules);
        let (backends, removed_backends) = difference(&self.backends, &next.backends);
        let (listeners, removed_listeners) = difference(&self.listeners, &next.listeners);
        Change {
            from,
            to,
            listeners,
            rules,
            backends,
            removes: Removes { listeners: removed_listeners, rules: removed_rules, backends: removed_backends },
        }
    }

    /// Applies a difference; the caller has checked that `change.from` is the version of `self`.
    pub fn apply(&mut self, change: Change) {
        change.listeners.into_iter().for_each(|listener| self.insert_listener(listener));
        change.rules.into_iter().for_each(|rule| self.insert_rule(rule));
        change.backends.into_iter().for_each(|backend| self.insert_backend(backend));
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

/// What is new or changed, and what is gone; what both maps share is not looked at.
fn difference<V: Eq + Named<Name: Clone>>(
    old: &OrdMap<ByName<V>, Arc<V>>,
    new: &OrdMap<ByName<V>, Arc<V>>,
) -> (Vec<Arc<V>>, Vec<V::Name>) {
    let (mut upserts, mut removes) = (Vec::new(), Vec::new());
    for item in old.diff(new) {
        match item {
            DiffItem::Add(_, value) | DiffItem::Update { new: (_, value), .. } => upserts.push(Arc::clone(value)),
            DiffItem::Remove(name, _) => removes.push((**name).clone()),
        }
    }
    (upserts, removes)
}
