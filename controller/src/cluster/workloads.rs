//! Workloads and their Pods as watches show them, and what the scaler says of them, by scale target. Never whose they are, and never what should be.

use crate::{
    scaling::cluster::{OWNER_ANNOTATION, Scale, TargetState, Workload},
    sources::cluster::{ClusterContent, ClusterObject},
};
use headgate_functions::{PodSeen, Trouble};
use headgate_translate::{Key, conditions::Reason, kinds::ObjectRef};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The label of a ReplicaSet's Pods that is the end of the name of the ReplicaSet.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// Everything that is seen. A scale target is named by its namespace and the rest of its name.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    /// Deployments and StatefulSets, whole.
    values: HashMap<Key, Arc<Value>>,
    pods: HashMap<Key, BTreeMap<String, PodSeen>>,
    /// Of each Pod, by namespace and name: its target.
    pods_of: HashMap<Key, Key>,
    states: HashMap<Key, TargetState>,
}

impl Workloads {
    /// A workload is as `value` says.
    pub fn set(&mut self, target: Key, value: Arc<Value>) {
        self.values.insert(target, value);
    }

    /// A workload is gone; whether it was known.
    pub fn remove(&mut self, target: &Key) -> bool {
        self.states.remove(target);
        self.values.remove(target).is_some()
    }

    /// A Pod is as it says, or is gone or nobody's; the target that it was of before.
    pub fn note_pod(&mut self, pod: Key, now: Option<(Key, PodSeen)>) -> Option<Key> {
        let known = self.pods_of.remove(&pod);
        if let Some(pods) = known.as_ref().and_then(|target| self.pods.get_mut(target)) {
            pods.remove(pod.1.as_str());
        }
        if let Some((target, seen)) = now {
            self.pods.entry(target.clone()).or_default().insert(seen.name.clone(), seen);
            self.pods_of.insert(pod, target);
        }
        if let Some(target) = known.as_ref().filter(|target| self.pods.get(*target).is_some_and(BTreeMap::is_empty)) {
            self.pods.remove(target);
        }
        known
    }

    /// What the scaler says; whether people are to be told something else now.
    pub fn scaled(&mut self, target: &Key, state: TargetState) -> bool {
        let said = |state: &TargetState| {
            (state.running, state.ready, state.broken.clone(), state.trouble.clone(), state.scaled_by.clone())
        };
        let before = self.states.insert(target.clone(), state);
        before.as_ref().map(said) != self.states.get(target).map(said)
    }

    /// A workload, whole.
    pub fn value(&self, target: &Key) -> Option<&Value> {
        self.values.get(target).map(|value| &**value)
    }

    /// What the scaler said last.
    pub fn state(&self, target: &Key) -> Option<&TargetState> {
        self.states.get(target)
    }

    /// The Pods of a target.
    pub fn pods(&self, target: &Key) -> impl Iterator<Item = &PodSeen> {
        self.pods.get(target).into_iter().flat_map(BTreeMap::values)
    }

    /// Whether there is anything of a target: itself, or a Pod.
    pub fn knows(&self, target: &Key) -> bool {
        self.values.contains_key(target) || self.pods.contains_key(target)
    }

    /// What the scaler must know.
    pub fn workload(&self, target: &Key) -> Workload {
        let value = self.value(target);
        Workload {
            scale: value.map(scale),
            pods: self.pods(target).cloned().collect(),
            trouble: value.and_then(trouble),
        }
    }

    /// Replicas that are asked for.
    pub fn replicas(&self, target: &Key) -> u32 {
        self.value(target).map_or(0, |value| scale(value).replicas)
    }

    /// What keeps a target from running, whether or not it may come by itself; for people.
    pub fn trouble(&self, target: &Key) -> Option<String> {
        let of_pod = self.pods(target).filter(|pod| pod.is_live()).filter_map(|pod| pod.trouble.as_ref());
        let of_pod = of_pod.map(Trouble::line).next();
        let of_workload = || self.value(target).and_then(trouble).map(|trouble| trouble.line());
        of_pod.or_else(of_workload).or_else(|| self.states.get(target)?.trouble.clone())
    }
}

/// What is said of a workload whose replicas somebody else writes: the reason of a condition, and the words.
pub fn scaled_by_other(kind: &str, name: &str) -> (Reason, String) {
    let reason = Reason::ScaledByOther;
    (reason, format!("somebody else writes the replicas of {kind} {name}; {}", reason.remedy()))
}

/// The workload that a Pod belongs to, by its owner: of a ReplicaSet the Deployment, whose name stands before the hash of its template.
pub fn workload_of_pod(pod: &ClusterObject) -> Option<ObjectRef> {
    let owner = pod.owner.as_ref().filter(|owner| owner.group == "apps")?;
    let ClusterContent::Other(value) = &pod.content else { return None };
    let of = |kind: &str, name: &str| Some(ObjectRef::new("apps", kind, &pod.name.namespace, name));
    match &*owner.kind {
        "StatefulSet" => of("StatefulSet", &owner.name),
        "ReplicaSet" => {
            let hash = value["metadata"]["labels"][TEMPLATE_HASH].as_str()?;
            of("Deployment", owner.name.strip_suffix(hash)?.strip_suffix('-')?)
        }
        _ => None,
    }
}

fn scale(workload: &Value) -> Scale {
    let metadata = &workload["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Scale {
        uid: text(&metadata["uid"]),
        version: metadata["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default(),
        replicas: workload["spec"]["replicas"].as_u64().and_then(|many| u32::try_from(many).ok()).unwrap_or(1),
        scaled_by: metadata["annotations"][OWNER_ANNOTATION].as_str().map(str::to_owned),
    }
}

/// Why a workload makes no Pods.
fn trouble(workload: &Value) -> Option<Trouble> {
    let mut conditions = workload["status"]["conditions"].as_array().into_iter().flatten();
    let failure = conditions.find(|one| one["type"] == "ReplicaFailure" && one["status"] == "True")?;
    let text = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
    Some(Trouble { reason: text("reason"), message: text("message"), is_fatal: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(owner: &str, name: &str, hash: Option<&str>) -> ClusterObject {
        let owner = ObjectRef::new("apps", owner, "shop", name);
        ClusterObject {
            name: ObjectRef::new("", "Pod", "shop", "p"),
            version: "v1",
            content: ClusterContent::Other(Arc::new(json!({"metadata": {"labels": {TEMPLATE_HASH: hash}}}))),
            uid: Default::default(),
            owner: Some(Box::new(owner)),
            generation: 0,
            resource_version: String::new(),
            status: Default::default(),
            appliers: Vec::new(),
            made: None,
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_pod_belongs_to_the_deployment_of_its_replica_set() {
        let of = |pod: ClusterObject| workload_of_pod(&pod).map(|it| format!("{} {}", it.kind, it.name));
        assert_eq!(of(pod("ReplicaSet", "web-app-5d7f", Some("5d7f"))).as_deref(), Some("Deployment web-app"));
        assert_eq!(of(pod("StatefulSet", "db", None)).as_deref(), Some("StatefulSet db"));
        assert_eq!(of(pod("ReplicaSet", "by-hand", None)), None);
        assert_eq!(of(pod("Job", "once", None)), None);
    }
}
