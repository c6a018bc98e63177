//! What is there of functions: Deployments, Pods, Services and routes that they were given, and what the scaler says. Never what should be.

use super::named;
use crate::{
    cluster::workloads::{Workloads, scaled_by_other},
    scaling::cluster::{TargetState, Workload},
    sources::cluster::{ClusterContent, ClusterObject},
};
use headgate_config::Text;
use headgate_functions::{
    Exit, FAILED_STARTS_BROKEN, PodSeen, Revision, Seen, Trouble,
    cluster::{FUNCTION_LABEL, REVISION_LABEL, revision},
    kinds::NamespacedName,
};
use headgate_status::Folded;
use headgate_translate::{
    Key,
    kinds::{GATEWAY_GROUP, ObjectRef},
};
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// The reason of a revision that has no Pod which serves.
pub(super) const NOT_RUNNING: &str = "NotRunning";

/// Everything that is seen. Revisions are named by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Sight {
    workloads: Workloads,
    /// Of each revision that has a Deployment: what that says of it.
    deployments: HashMap<Key, Deployment>,
    /// Of each revision: its function.
    functions: HashMap<Key, NamespacedName>,
    /// Of each function: its Deployments.
    revisions: HashMap<NamespacedName, BTreeSet<Key>>,
    /// Services and HTTPRoutes that functions were given.
    given: HashMap<ObjectRef, Given>,
}

#[derive(Debug)]
struct Deployment {
    is_leaving: bool,
    /// The uid of the Function that owns it.
    owner: String,
    record: Option<Revision>,
}

#[derive(Debug)]
struct Given {
    function: NamespacedName,
    uid: Text,
    /// Of the first parent of a route.
    conditions: Folded,
}

/// What something that was noted belongs to.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub function: Option<NamespacedName>,
    /// The revision whose workload it is a part of.
    pub workload: Option<Key>,
}

impl Sight {
    /// Something that was made here is as `object` says, or is gone.
    pub fn note(&mut self, name: ObjectRef, object: Option<&Arc<ClusterObject>>) -> Noted {
        match (&*name.group, &*name.kind) {
            ("apps", "Deployment") => self.note_deployment(&name, object),
            ("", "Pod") => self.note_pod(&name, object),
            ("", "Service") | (GATEWAY_GROUP, "HTTPRoute") => self.note_given(name, object),
            _ => Noted::default(),
        }
    }

    fn note_deployment(&mut self, name: &ObjectRef, object: Option<&Arc<ClusterObject>>) -> Noted {
        let key = (name.namespace.clone(), name.name.clone());
        let Some((value, function, _)) = object.and_then(|object| of_revision(object)) else {
            return self.forget_deployment(key);
        };
        let owners = value["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let owner = owners.filter(|owner| owner["kind"] == "Function").find_map(|owner| owner["uid"].as_str());
        let owner = owner.unwrap_or_default().to_owned();
        let is_leaving = !value["metadata"]["deletionTimestamp"].is_null();
        self.deployments.insert(key.clone(), Deployment { is_leaving, owner, record: revision(value, 0) });
        self.workloads.set(key.clone(), value.clone());
        self.functions.insert(key.clone(), function.clone());
        self.revisions.entry(function.clone()).or_default().insert(key.clone());
        Noted { function: Some(function), workload: Some(key) }
    }

    fn forget_deployment(&mut self, key: Key) -> Noted {
        self.deployments.remove(&key);
        if !self.workloads.remove(&key) {
            return Noted::default();
        }
        let function = self.functions.get(&key).cloned();
        if let Some(revisions) = function.as_ref().and_then(|function| self.revisions.get_mut(function)) {
            revisions.remove(&key);
        }
        self.tidy(&key);
        Noted { function, workload: Some(key) }
    }

    /// A revision of which nothing is left is of no function.
    fn tidy(&mut self, key: &Key) {
        if self.workloads.knows(key) {
            return;
        }
        let function = self.functions.remove(key);
        self.revisions.retain(|of, revisions| Some(of) != function.as_ref() || !revisions.is_empty());
    }

    fn note_pod(&mut self, name: &ObjectRef, object: Option<&Arc<ClusterObject>>) -> Noted {
        let pod = (name.namespace.clone(), name.name.clone());
        let now = object.and_then(|object| {
            let (value, function, revision) = of_revision(object)?;
            Some((PodSeen::of(value)?, function, (name.namespace.clone(), revision.into())))
        });
        let Some((seen, function, key)) = now else {
            let known = self.workloads.note_pod(pod, None);
            let function = known.as_ref().and_then(|key| self.functions.get(key).cloned());
            return Noted { function, workload: known };
        };
        self.workloads.note_pod(pod, Some((key.clone(), seen)));
        self.functions.insert(key.clone(), function.clone());
        Noted { function: Some(function), workload: Some(key) }
    }

    fn note_given(&mut self, name: ObjectRef, object: Option<&Arc<ClusterObject>>) -> Noted {
        let Some((object, owner)) = object.and_then(|object| Some((object, object.owner.as_ref()?))) else {
            return Noted { function: self.given.remove(&name).map(|given| given.function), workload: None };
        };
        let (function, uid) = (named(owner), object.uid.clone());
        let conditions = Folded::from(&object.status.unfold()["parents"][0]["conditions"]);
        let is_news = self.given.get(&name).is_none_or(|known| known.uid != uid || known.conditions != conditions);
        self.given.insert(name, Given { function: function.clone(), uid, conditions });
        Noted { function: is_news.then_some(function), workload: None }
    }

    /// What the scaler says; the function that it is about.
    pub fn scaled(&mut self, key: &Key, state: TargetState) -> Option<NamespacedName> {
        let is_news = self.workloads.scaled(key, state);
        self.functions.get(key).filter(|_| is_news).cloned()
    }

    /// The records of a function in the API server. Those that belonged to another function of the same name are on their way out.
    pub fn records(&self, function: &NamespacedName, uid: &str) -> Vec<Revision> {
        let all = self.revisions.get(function).into_iter().flatten().filter_map(|key| self.deployments.get(key));
        let own = all.filter(|one| one.owner == uid && !one.is_leaving);
        let mut records: Vec<Revision> = own.filter_map(|one| one.record.clone()).collect();
        records.sort_by(|a, b| (a.turn, &a.name).cmp(&(b.turn, &b.name)));
        records
    }

    /// A Deployment, whole.
    pub fn deployment(&self, key: &Key) -> Option<&Value> {
        self.workloads.value(key)
    }

    /// The uid of a Service that a function was given.
    pub fn service_uid(&self, (namespace, name): &Key) -> Option<&str> {
        self.given.get(&ObjectRef::new("", "Service", namespace, name)).map(|given| given.uid.as_str())
    }

    /// The conditions of a route that a function was given.
    pub fn conditions(&self, (namespace, name): &Key) -> Value {
        let given = self.given.get(&ObjectRef::new(GATEWAY_GROUP, "HTTPRoute", namespace, name));
        given.map(|given| given.conditions.unfold()).unwrap_or_default()
    }

    /// What the scaler must know of a workload.
    pub fn workload(&self, key: &Key) -> Workload {
        self.workloads.workload(key)
    }

    /// Whether a Service or an HTTPRoute that a function is to have is there.
    pub fn is_given(&self, name: &ObjectRef) -> bool {
        self.given.contains_key(name)
    }

    /// Whether a revision does not start.
    pub fn is_broken(&self, key: &Key) -> bool {
        self.seen(key).is_broken()
    }

    /// What is seen of a revision, by the word of watches and of the scaler, whichever has more.
    ///
    /// Requests are not counted here: whether a replica has something to do, and when it may stop, the scaler knows.
    pub fn seen(&self, key: &Key) -> Seen {
        let pods = || self.workloads.pods(key);
        let (state, replicas) = (self.workloads.state(key), self.workloads.replicas(key));
        let count = |pods: usize| u32::try_from(pods).unwrap_or(u32::MAX);
        let running = count(pods().count()).max(replicas).max(state.map_or(0, |state| state.running));
        let ready = count(pods().filter(|pod| pod.ready && pod.is_live()).count());
        let ready = ready.max(state.map_or(0, |state| state.ready));
        let fatal = pods().filter(|pod| pod.is_live()).filter_map(|pod| pod.trouble.as_ref());
        let fatal = fatal.filter(|trouble| trouble.is_fatal).map(Trouble::line).next();
        let broken = state.and_then(|state| state.broken.clone()).or(fatal).filter(|_| ready == 0);
        Seen {
            running,
            ready,
            in_flight: 0,
            queued: u32::from(running > 0),
            failed_starts: if broken.is_some() { FAILED_STARTS_BROKEN } else { 0 },
            last_exit: broken.map(|reason| Exit { at_ms: 0, reason }),
            closing_acknowledged: true,
        }
    }

    /// What keeps a revision from running as it should, whether or not it may come by itself: a reason, and the words for people.
    pub fn obstacle(&self, key: &Key) -> Option<(&'static str, String)> {
        let is_foreign = self.workloads.state(key).is_some_and(|state| state.scaled_by.is_some());
        if is_foreign {
            let (reason, words) = scaled_by_other("Deployment", &key.1);
            return Some((reason.as_str(), words));
        }
        let is_down = self.seen(key).ready == 0;
        self.workloads.trouble(key).filter(|_| is_down).map(|trouble| (NOT_RUNNING, trouble))
    }

    /// The function of a revision.
    pub fn function(&self, key: &Key) -> Option<&NamespacedName> {
        self.functions.get(key)
    }
}

/// Of an object with our labels: its value, its function and its revision.
fn of_revision(object: &Arc<ClusterObject>) -> Option<(&Arc<Value>, NamespacedName, String)> {
    let ClusterContent::Other(value) = &object.content else { return None };
    let label = |key: &str| value["metadata"]["labels"][key].as_str();
    let function = NamespacedName::new(object.name.namespace.clone(), label(FUNCTION_LABEL)?);
    Some((value, function, label(REVISION_LABEL)?.to_owned()))
}
