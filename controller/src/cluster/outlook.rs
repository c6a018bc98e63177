//! What a cluster would serve and say if its objects were these: the state machine of the controller, told of them once. No I/O, no clock, no gateways; what only these know (addresses, Pods, acknowledgements) is left out.

use super::{Cluster, Ground, ObjectChange, Output};
use crate::sources::cluster::ClusterObject;
use headgate_config::{GatewayName, Snapshot};
use headgate_translate::{
    conditions::{Condition, ConditionType, Status},
    kinds::{ObjectRef, ParentRef},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What is made of functions makes more: their Gateways, and what these need. It ends long before.
const ROUNDS_MOST: usize = 6;

/// What would follow from objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    /// What each Gateway of ours would serve.
    pub gateways: BTreeMap<GatewayName, Snapshot>,
    /// What would be said of objects.
    pub said: BTreeMap<Subject, Said>,
}

/// Of what a condition speaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The object.
    pub object: ObjectRef,
    /// By whom or where in it: `Gateway namespace/name`, `listener https`; empty for the object as a whole.
    pub at: String,
    /// The condition.
    pub condition: ConditionType,
}

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether something is wrong.
    pub is_wrong: bool,
    /// The reason.
    pub reason: &'static str,
    /// What is so, and what to do about it.
    pub message: String,
}

/// What would follow. `read` reads a manifest as the API server would give it back, in place of the object that is there, if one is;
/// `now_ms` is in milliseconds since 1970.
pub fn outlook(
    ground: Ground,
    objects: &[Arc<ClusterObject>],
    read: impl Fn(Value, Option<&ClusterObject>) -> Option<ClusterObject>,
    now_ms: u64,
) -> Outlook {
    let mut cluster = Cluster::new(ground);
    let mut there: BTreeMap<ObjectRef, Arc<ClusterObject>> =
        objects.iter().map(|object| (object.name.clone(), object.clone())).collect();
    let mut changes: Vec<ObjectChange> = there.values().cloned().map(ObjectChange::Upsert).collect();
    for _ in 0..ROUNDS_MOST {
        cluster.take(&changes);
        let outputs = cluster.work(now_ms);
        let wanted = outputs.into_iter().rev().find_map(|output| match output {
            Output::Manifests(manifests, _) => Some(manifests),
            _ => None,
        });
        changes = applied(wanted.unwrap_or_default(), &mut there, &read);
        if changes.is_empty() {
            break;
        }
    }
    let names = cluster.fleets.names().into_iter();
    Outlook { gateways: names.map(|name| (name.clone(), cluster.shares.of(&name))).collect(), said: said(&cluster) }
}

/// The objects of which routes are made, as they would be once these manifests are applied; only those that differ.
fn applied(
    manifests: BTreeMap<ObjectRef, Arc<Value>>,
    there: &mut BTreeMap<ObjectRef, Arc<ClusterObject>>,
    read: &impl Fn(Value, Option<&ClusterObject>) -> Option<ClusterObject>,
) -> Vec<ObjectChange> {
    let is_route = |name: &ObjectRef| matches!(&*name.kind, "HTTPRoute" | "Service" | "Gateway" | "Deployment");
    let mut changes = Vec::new();
    for (name, manifest) in manifests.into_iter().filter(|(name, _)| is_route(name)) {
        let before = there.get(&name);
        let known = before.and_then(|object| object.made.as_deref());
        let mut whole = known.cloned().unwrap_or_else(|| manifest_of_nobody(&name));
        lay(&mut whole, &manifest);
        if known == Some(&whole) {
            continue;
        }
        if let Some(object) = read(whole, before.map(|object| &**object)) {
            let object = Arc::new(object);
            there.insert(name, object.clone());
            changes.push(ObjectChange::Upsert(object));
        }
    }
    changes
}

/// An object that an API server has just made: with a uid, which what it owns needs.
fn manifest_of_nobody(name: &ObjectRef) -> Value {
    serde_json::json!({"metadata": {"uid": new_uid(name)}})
}

/// The uid of an object that is not there yet.
pub fn new_uid(name: &ObjectRef) -> String {
    format!("new/{name}")
}

/// Lays a manifest over an object, as server-side apply does but for lists, which are replaced.
fn lay(over: &mut Value, manifest: &Value) {
    match (over, manifest) {
        (Value::Object(there), Value::Object(fields)) => {
            for (key, value) in fields {
                lay(there.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (there, value) => *there = value.clone(),
    }
}

fn said(cluster: &Cluster) -> BTreeMap<Subject, Said> {
    let mut all = BTreeMap::new();
    for (object, status) in &cluster.done.conditions {
        let mut add = |at: String, conditions: &[Condition]| {
            // whether it is programmed is for gateways to say
            for condition in conditions.iter().filter(|condition| condition.kind != ConditionType::Programmed) {
                let subject = Subject { object: object.clone(), at: at.clone(), condition: condition.kind };
                let is_wrong = condition.status == condition.kind.names_fault();
                let (reason, message) = (condition.reason.as_str(), condition.message.clone());
                all.insert(subject, Said { is_wrong, reason, message });
            }
        };
        let listener = |name: &str| format!("listener {name}");
        match &**status {
            Status::Class(class) => add(String::new(), &class.conditions),
            Status::Gateway(gateway) => {
                add(String::new(), &gateway.conditions);
                gateway.listeners.iter().for_each(|one| add(listener(&one.name), &one.conditions));
            }
            Status::ListenerSet(set) => {
                add(String::new(), &set.conditions);
                set.listeners.iter().for_each(|one| add(listener(&one.name), &one.conditions));
            }
            Status::Route(route) => {
                route.parents.iter().for_each(|one| add(parent(&one.parent_ref, object), &one.conditions));
            }
            Status::Policy(policy) => {
                policy.ancestors.iter().for_each(|one| add(parent(&one.ancestor_ref, object), &one.conditions));
            }
            // it has no conditions
            Status::Ingress(_) => {}
        }
    }
    all
}

fn parent(reference: &ParentRef, object: &ObjectRef) -> String {
    let namespace = reference.namespace.as_deref().unwrap_or(&object.namespace);
    let section = reference.section.as_ref().map(|section| format!(", listener {section}")).unwrap_or_default();
    format!("{} {namespace}/{}{section}", reference.kind, reference.name)
}

impl Outlook {
    /// The Gateways of both, in order.
    pub fn gateways_with<'o>(&'o self, other: &'o Self) -> BTreeSet<&'o GatewayName> {
        self.gateways.keys().chain(other.gateways.keys()).collect()
    }

    /// What is said newly wrong, or wrong for another reason, of objects that are said to be otherwise in `before`.
    pub fn worse_than<'o>(&'o self, before: &'o Self) -> impl Iterator<Item = (&'o Subject, &'o Said)> {
        let wrong = self.said.iter().filter(|(_, said)| said.is_wrong);
        wrong.filter(|(subject, said)| before.said.get(*subject) != Some(*said))
    }
}

#[cfg(test)]
mod tests;
