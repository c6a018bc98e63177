//! ScalingPolicies in a cluster: from the policies in force and what watches show of their workloads to targets of the scaler and what is said. No I/O, no clock.
//!
//! Which policy applies where `translate` has decided; here stands what only the workload knows: where its Pods listen, how they are
//! asked whether they are ready, and what keeps them from running.

mod serving;
#[cfg(test)]
mod tests;

use super::workloads::{Workloads, scaled_by_other, workload_of_pod};
use crate::{
    scaling::{
        Bounds, Metric,
        cluster::{Advice, ServedBackend, StopOrder, TargetSpec, TargetState, Workload},
    },
    sources::cluster::{ClusterContent, ObjectChange},
};
use headgate_config::{BackendName, GatewayName};
use headgate_functions::PodSeen;
use headgate_translate::{
    Key, Objects, Translation,
    conditions::Reason,
    kinds::{HEADGATE_GROUP, ObjectRef, ScalingMetric, ScalingPolicy, WorkloadKind, WorkloadRef},
    schema::Choice,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What is seen of the workloads of all policies, and the targets that follow.
#[derive(Debug, Default)]
pub struct Policies {
    workloads: Workloads,
    /// Targets of which something else is seen.
    seen: BTreeSet<Key>,
    /// A workload is another one: its Pods may listen elsewhere.
    is_changed: bool,
    /// By target: what keeps it from being served, though its workload exists.
    faults: BTreeMap<String, String>,
    known: BTreeSet<String>,
}

/// The objects and what follows from them: what targets are made of.
pub struct Among<'a> {
    /// All objects.
    pub objects: &'a Objects,
    /// The policies in force, and their Backends.
    pub done: &'a Translation,
    /// The Gateways whose routes lead to a Backend.
    pub users: &'a dyn Fn(&BackendName) -> Vec<GatewayName>,
}

impl Policies {
    /// A watch showed something. What we made ourselves is passed over: it is not a policy's.
    pub fn see(&mut self, change: &ObjectChange) {
        let name = change.name();
        let key = (name.namespace.clone(), name.name.clone());
        let object = match change {
            ObjectChange::Upsert(object) if object.made.is_none() => Some(object),
            ObjectChange::Upsert(_) => return,
            ObjectChange::Remove(_) => None,
        };
        match (&*name.group, &*name.kind) {
            ("apps", kind @ ("Deployment" | "StatefulSet")) => {
                let reference = WorkloadRef { kind: WorkloadKind::of(kind), name: name.name.to_string() };
                let target = key_of(&reference.target(&name.namespace));
                let value = object.and_then(|object| match &object.content {
                    ClusterContent::Other(value) => Some(value.clone()),
                    _ => None,
                });
                match value {
                    Some(value) => self.workloads.set(target.clone(), value),
                    None if !self.workloads.remove(&target) => return,
                    None => {}
                }
                self.is_changed = true;
                self.seen.insert(target);
            }
            ("", "Pod") => {
                let now = object.and_then(|object| {
                    let ClusterContent::Other(value) = &object.content else { return None };
                    let workload = workload_of_pod(object)?;
                    let reference = WorkloadRef { kind: WorkloadKind::of(&workload.kind), name: workload.name.into() };
                    Some((key_of(&reference.target(&workload.namespace)), PodSeen::of(value)?))
                });
                self.seen.extend(now.as_ref().map(|(target, _)| target.clone()));
                self.seen.extend(self.workloads.note_pod(key, now));
            }
            _ => {}
        }
    }

    /// Whether targets may be others than before, though routes are not.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The targets of all policies in force through which something is reached. One that nobody can reach is not scaled: it has no
    /// requests of ours, and may have others.
    pub fn targets(&mut self, among: &Among<'_>) -> Vec<TargetSpec> {
        self.is_changed = false;
        let mut faults = BTreeMap::new();
        let specs = among.done.scaling.iter().filter_map(|(target, policy)| {
            let spec = self.spec(target, policy, among)?;
            faults.extend(spec.faulty.first().map(|(_, fault)| (target.clone(), fault.clone())));
            Some(spec)
        });
        let specs: Vec<TargetSpec> = specs.collect();
        let now: BTreeSet<String> = specs.iter().map(|spec| spec.name.clone()).collect();
        // a scaler that has just learned of a target wants to know what there is; what is said of its policy may be another thing
        let differ = |target: &&String| {
            !self.known.contains(*target) || !now.contains(*target) || self.faults.get(*target) != faults.get(*target)
        };
        let fresh: Vec<Key> = now.union(&self.known).filter(differ).map(|target| key_of(target)).collect();
        self.seen.extend(fresh);
        (self.faults, self.known) = (faults, now);
        specs
    }

    /// What is seen of workloads now, for the scaler, behind the targets; and the policies of which something else may be to be said.
    pub fn take_seen(&mut self, done: &Translation) -> (Vec<(String, Workload)>, BTreeSet<ObjectRef>) {
        let seen = std::mem::take(&mut self.seen);
        let of = |key: &Key| done.scaling.get(&name_of(key)).map(|policy| object(policy));
        let policies = seen.iter().filter_map(of).collect();
        let is_target = |key: &&Key| self.known.contains(&name_of(key));
        let workloads = seen.iter().filter(is_target).map(|key| (name_of(key), self.workloads.workload(key))).collect();
        (workloads, policies)
    }

    /// Whether a target is a policy's.
    pub fn has(&self, target: &str) -> bool {
        self.known.contains(target)
    }

    /// The scaler says something of a target; whether people are to be told something else now.
    pub fn scaled(&mut self, state: TargetState) -> bool {
        let target = key_of(&state.target);
        self.workloads.scaled(&target, state)
    }

    /// What keeps a policy that is in force from doing what it says: the reason of a condition, and the words.
    pub fn obstacle(&self, policy: &ScalingPolicy) -> Option<(Reason, String)> {
        let target = policy.workload.target(&policy.meta.namespace);
        let (key, kind, name) = (key_of(&target), policy.workload.kind.as_str(), &policy.workload.name);
        if self.workloads.value(&key).is_none() {
            let message = format!("spec.scaleTargetRef: {kind} {name} does not exist; create it, or name another one");
            return Some((Reason::TargetNotFound, message));
        }
        if let Some(fault) = self.faults.get(&target) {
            return Some((Reason::Invalid, fault.clone()));
        }
        let state = self.workloads.state(&key)?;
        if state.scaled_by.is_some() {
            return Some(scaled_by_other(kind, name));
        }
        let trouble = || self.workloads.trouble(&key).filter(|_| state.ready == 0);
        let reason = state.broken.clone().or_else(trouble)?;
        Some((Reason::StartFailed, format!("{kind} {name} does not start: {reason}; {}", Reason::StartFailed.remedy())))
    }

    /// The target of a policy; `None` for one through which nothing is reached.
    fn spec(&self, target: &str, policy: &ScalingPolicy, among: &Among<'_>) -> Option<TargetSpec> {
        let names: Vec<&BackendName> = backends(target, policy, among.done);
        let gateways: BTreeSet<GatewayName> = names.iter().flat_map(|name| (among.users)(name)).collect();
        if gateways.is_empty() {
            return None;
        }
        let workload = self.workloads.value(&key_of(target));
        let (mut served, mut faulty) = (Vec::new(), Vec::new());
        for name in names {
            match serving::served(among.objects, name, workload) {
                Ok((port, probe)) => served.push(ServedBackend { backend: name.clone(), port, probe }),
                Err(why) => faulty.push((name.clone(), why)),
            }
        }
        let is_ordered = policy.workload.kind == WorkloadKind::StatefulSet;
        let spec = TargetSpec {
            name: target.to_owned(),
            label: target.to_owned(),
            backends: served,
            faulty,
            bounds: bounds(policy),
            start_limit: Duration::from_millis(policy.start_ms),
            drain_limit: Duration::from_millis(policy.grace_ms),
            stops: if is_ordered { StopOrder::LastOrdinal } else { StopOrder::Marked },
            advice: Advice::OfWorkload,
            gateways,
        };
        Some(spec)
    }
}

/// The name of a policy.
pub fn object(policy: &ScalingPolicy) -> ObjectRef {
    ObjectRef::new(HEADGATE_GROUP, "ScalingPolicy", &policy.meta.namespace, &policy.meta.name)
}

/// The Backends that a target serves: those of the Services that its policy names.
fn backends<'d>(target: &str, policy: &ScalingPolicy, done: &'d Translation) -> Vec<&'d BackendName> {
    let services: BTreeSet<&str> = policy.targets.iter().map(|target| target.name.as_str()).collect();
    let namespace = &policy.meta.namespace;
    let mut names = Vec::new();
    for service in services {
        let first = BackendName::tcp(namespace.clone(), service, 0);
        let all = done.snapshot.backends.range(first..);
        let own = all.take_while(|(name, _)| name.namespace == *namespace && name.service == service);
        names.extend(own.filter(|(_, one)| one.scales.as_deref() == Some(target)).map(|(_, one)| &one.name));
    }
    names
}

fn bounds(policy: &ScalingPolicy) -> Bounds {
    let idle = Duration::from_millis(policy.idle_ms);
    let window = Duration::from_millis(policy.window_ms).min(idle);
    Bounds {
        min: policy.min,
        max: policy.max,
        concurrency: policy.concurrency,
        metric: match policy.metric {
            ScalingMetric::Rps => Metric::Rate(f64::from(policy.target)),
            ScalingMetric::Concurrency | ScalingMetric::Unknown(_) => {
                Metric::Concurrency(Some(f64::from(policy.target)))
            }
        },
        window,
        zero_grace: idle.saturating_sub(window),
    }
}

/// A target's name as a key: its namespace and the rest.
fn key_of(target: &str) -> Key {
    let (namespace, rest) = target.split_once('/').unwrap_or_default();
    (namespace.into(), rest.into())
}

fn name_of((namespace, rest): &Key) -> String {
    format!("{namespace}/{rest}")
}
