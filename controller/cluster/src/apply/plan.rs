//! What of the manifests is to be written now: a pure function of what is wanted, what is there and what was answered. It reads no clock.

use crate::pace::{Delay, Failure};
use headgate_config::GatewayName;
use headgate_controller::sources::cluster::{ClusterObject, ObjectChange};
use headgate_functions::cluster::{FUNCTION_LABEL, OF_GATEWAY_LABEL, REVISION_LABEL};
use headgate_translate::kinds::{GATEWAY_GROUP, ObjectRef};
use headgate_translate::manifest::MANAGED_BY;
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

/// Writes under way at once.
const WRITES_MOST: usize = 8;

/// What to do.
#[derive(Debug)]
pub enum Step {
    /// This object is to be written.
    Work(ObjectRef, Work),
    /// Nothing until then, or until something is new.
    Wait(Option<Instant>),
}

/// How an object is to be written.
#[derive(Debug)]
pub enum Work {
    /// By server-side apply.
    Apply {
        /// What is wanted.
        manifest: Arc<Value>,
        /// None of ours was seen: what is there all the same is somebody else's, and must not be taken over.
        is_new: bool,
    },
    /// Removed, if it is still this one.
    Delete {
        /// `metadata.uid`.
        uid: String,
    },
}

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    /// Applied; this is the answer.
    Applied(Value),
    /// Gone.
    Deleted,
    /// Not written.
    Failed(Failure, String),
}

/// What is wanted and known.
#[derive(Debug, Default)]
pub struct Plan {
    wanted: BTreeMap<ObjectRef, Arc<Value>>,
    gateways: BTreeSet<GatewayName>,
    there: HashMap<ObjectRef, Arc<ClusterObject>>,
    /// What was applied last, and the answer to it.
    applied: HashMap<ObjectRef, (Arc<Value>, Value)>,
    delays: HashMap<ObjectRef, Delay>,
    working: HashMap<ObjectRef, Option<Arc<Value>>>,
    /// Those that must be looked at.
    open: BTreeSet<ObjectRef>,
    /// Those that were asked to be removed and are still shown.
    removed: HashSet<(ObjectRef, String)>,
    /// Why those that could not be written last were not, and whether that passes by itself.
    troubles: BTreeMap<ObjectRef, (Failure, String)>,
    leading: bool,
    /// Whether it was said what is wanted: until then that something is not wanted means nothing.
    is_told: bool,
    serves_functions: bool,
}

impl Plan {
    /// Wants nothing yet, and knows of nothing.
    pub fn new(serves_functions: bool) -> Self {
        Self { serves_functions, ..Self::default() }
    }

    /// See [`super::Applier::want`].
    pub fn want(&mut self, manifests: BTreeMap<ObjectRef, Arc<Value>>, gateways: BTreeSet<GatewayName>) {
        for (name, manifest) in &manifests {
            if self.wanted.get(name) != Some(manifest) {
                self.open.insert(name.clone());
                self.delays.entry(name.clone()).or_default().renewed();
            }
        }
        self.open.extend(self.wanted.keys().filter(|name| !manifests.contains_key(*name)).cloned());
        if gateways != self.gateways {
            self.open.extend(self.there.keys().cloned());
        }
        (self.wanted, self.gateways) = (manifests, gateways);
        self.is_told = true;
    }

    /// See [`super::Applier::see`].
    pub fn see(&mut self, change: &ObjectChange) {
        let name = match change {
            ObjectChange::Upsert(object) if object.made.is_some() => {
                self.there.insert(object.name.clone(), object.clone());
                &object.name
            }
            // one that has lost its label is as good as gone: what is wanted of it is applied again
            ObjectChange::Upsert(object) => self.unseen(&object.name),
            ObjectChange::Remove(name) => self.unseen(name),
        };
        if self.there.contains_key(name) || self.wanted.contains_key(name) {
            self.open.insert(name.clone());
            self.delays.entry(name.clone()).or_default().shown();
        } else {
            self.forget(name);
        }
    }

    fn unseen<'n>(&mut self, name: &'n ObjectRef) -> &'n ObjectRef {
        if self.there.remove(name).is_some() {
            self.applied.remove(name);
            self.removed.retain(|(removed, _)| removed != name);
        }
        name
    }

    /// Of an object that is neither there nor wanted, nothing is kept.
    fn forget(&mut self, name: &ObjectRef) {
        self.applied.remove(name);
        self.delays.remove(name);
        self.troubles.remove(name);
    }

    /// See [`super::Applier::troubles`].
    pub fn troubles(&self) -> BTreeMap<ObjectRef, String> {
        self.troubles.iter().map(|(name, (_, why))| (name.clone(), why.clone())).collect()
    }

    /// See [`super::Applier::refusals`].
    pub fn refusals(&self) -> BTreeMap<ObjectRef, String> {
        let refused = self.troubles.iter().filter(|(_, (failure, _))| matches!(failure, Failure::Refused));
        refused.map(|(name, (_, why))| (name.clone(), why.clone())).collect()
    }

    /// See [`super::Applier::lead`]. What was answered while another led says nothing, and whoever leads no more has no troubles.
    pub fn lead(&mut self, leading: bool) {
        if !leading {
            self.troubles.clear();
        }
        if leading && !self.leading {
            self.applied.clear();
            self.removed.clear();
            self.open = self.wanted.keys().chain(self.there.keys()).cloned().collect();
        }
        self.leading = leading;
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant) -> Step {
        if !self.leading || !self.is_told || self.working.len() >= WRITES_MOST {
            return Step::Wait(None);
        }
        let mut earliest: Option<Instant> = None;
        let (mut settled, mut found) = (Vec::new(), None);
        for name in self.open.iter().filter(|name| !self.working.contains_key(*name)) {
            let Some(work) = self.work(name) else {
                settled.push(name.clone());
                continue;
            };
            let due = self.delays.get(name).map_or(now, |delay| delay.due(now));
            if due <= now {
                found = Some((name.clone(), work));
                break;
            }
            earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
        }
        for name in &settled {
            self.open.remove(name);
            if !self.there.contains_key(name) && !self.wanted.contains_key(name) {
                self.forget(name);
            }
        }
        if let Some((name, work)) = found {
            self.open.remove(&name);
            let applying = match &work {
                Work::Apply { manifest, .. } => Some(manifest.clone()),
                Work::Delete { uid } => {
                    self.removed.insert((name.clone(), uid.clone()));
                    None
                }
            };
            self.working.insert(name.clone(), applying);
            return Step::Work(name, work);
        }
        Step::Wait(earliest)
    }

    /// What became of the work on an object; `chance` is in 0..1.
    pub fn done(&mut self, name: &ObjectRef, outcome: Outcome, now: Instant, chance: f64) {
        let manifest = self.working.remove(name).flatten();
        self.open.insert(name.clone());
        self.troubles.remove(name);
        let delay = self.delays.entry(name.clone()).or_default();
        match (outcome, manifest) {
            (Outcome::Applied(answer), Some(manifest)) => {
                let again = self.applied.get(name).is_some_and(|(before, _)| *before == manifest);
                delay.written(now, again);
                self.applied.insert(name.clone(), (manifest, answer));
            }
            (Outcome::Failed(failure, why), _) => {
                // of what goes with its namespace nobody is to be told
                if self.leading && failure != Failure::Ending {
                    self.troubles.insert(name.clone(), (failure, why));
                }
                self.removed.retain(|(removed, _)| removed != name);
                delay.failed(failure, now, chance);
            }
            (Outcome::Applied(_) | Outcome::Deleted, _) => delay.written(now, false),
        }
    }

    fn work(&self, name: &ObjectRef) -> Option<Work> {
        let there = self.there.get(name);
        match (self.wanted.get(name), there) {
            (Some(wanted), there) => {
                // one without our label only adds to what somebody else made
                let is_whole = wanted["metadata"]["labels"][MANAGED_BY.0].is_string();
                let is_new = is_whole && there.is_none() && !self.applied.contains_key(name);
                self.must_apply(name, wanted, there).then(|| Work::Apply { manifest: wanted.clone(), is_new })
            }
            (None, Some(there)) if self.is_removable(there) => {
                let is_asked = self.removed.contains(&(name.clone(), there.uid.to_string()));
                (!is_asked).then(|| Work::Delete { uid: there.uid.to_string() })
            }
            (None, _) => None,
        }
    }

    /// An object is applied if it is not as wanted: not as it was answered, once it was applied, for an API server may have had its own
    /// mind about a field.
    fn must_apply(&self, name: &ObjectRef, wanted: &Arc<Value>, there: Option<&Arc<ClusterObject>>) -> bool {
        let made = there.and_then(|there| there.made.as_deref());
        let wanted = &*without_replicas(wanted);
        match self.applied.get(name) {
            Some((applied, answer)) if *without_replicas(applied) == *wanted => {
                let Some(made) = made else { return false };
                is_newer(made, answer) && !holds(made, &common(wanted, answer)) && !holds(made, wanted)
            }
            // a field that is wanted no more goes with the apply only
            Some(_) => true,
            None => made.is_none_or(|made| !holds(made, wanted)),
        }
    }

    /// Whether an object that nobody wants is ours to remove: it belongs to a Gateway that we serve, or to a function, if we serve those. One whose
    /// Gateway is gone goes with it, and one of another controller's Gateway is that controller's.
    fn is_removable(&self, there: &ClusterObject) -> bool {
        let labels = there.made.as_ref().map_or(&Value::Null, |made| &made["metadata"]["labels"]);
        // Kubernetes gives our labels to what it makes itself: Pods, EndpointSlices
        let is_made_here = matches!(&*there.name.kind, "Deployment" | "Service" | "HTTPRoute" | "Gateway");
        let of_function = is_made_here && [FUNCTION_LABEL, OF_GATEWAY_LABEL].iter().any(|key| labels[*key].is_string());
        (of_function && self.serves_functions)
            || there.owner.as_ref().is_some_and(|owner| {
                let gateway = GatewayName { namespace: owner.namespace.to_string(), name: owner.name.to_string() };
                owner.group == GATEWAY_GROUP && owner.kind == "Gateway" && self.gateways.contains(&gateway)
            })
    }
}

/// Whether everything that is wanted stands in an object. Lists are compared item by item; of more items than wanted nothing is said
/// where the items are objects, for a server adds to them.
fn holds(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| match there.get(key) {
            Some(there) => holds(there, wanted),
            None => is_empty(wanted),
        }),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| holds(there, wanted))
        }
        _ => there == wanted || quantity(there).is_some_and(|there| Some(there) == quantity(wanted)),
    }
}

/// The manifest of a revision without what it only repeats of the object as it was seen: that differing is no reason to write.
fn without_replicas(manifest: &Value) -> Cow<'_, Value> {
    if !manifest["metadata"]["labels"][REVISION_LABEL].is_string() || manifest["kind"] != "Deployment" {
        return Cow::Borrowed(manifest);
    }
    let mut manifest = manifest.clone();
    for (part, field) in [("spec", "replicas"), ("metadata", "resourceVersion")] {
        manifest[part].as_object_mut().map(|fields| fields.shift_remove(field));
    }
    Cow::Owned(manifest)
}

/// Whether an object is a later version than the answer to a write. Source: Kubernetes 1.35, resource versions can be compared as numbers.
fn is_newer(there: &Value, answer: &Value) -> bool {
    let version =
        |object: &Value| object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u128>().ok());
    match (version(there), version(answer)) {
        (Some(there), Some(answer)) => there > answer,
        _ => there["metadata"]["resourceVersion"] != answer["metadata"]["resourceVersion"],
    }
}

/// What the API leaves out rather than keep.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// A number that may be written as text.
fn quantity(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// What is wanted, with the values that the server made of it.
fn common(wanted: &Value, answer: &Value) -> Value {
    match (wanted, answer) {
        (Value::Object(wanted), Value::Object(answer)) => {
            let both = wanted.iter().filter_map(|(key, wanted)| Some((key.clone(), common(wanted, answer.get(key)?))));
            Value::Object(both.collect())
        }
        (_, answer) => answer.clone(),
    }
}

#[cfg(test)]
mod tests;
