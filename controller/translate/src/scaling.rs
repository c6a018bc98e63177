//! ScalingPolicies: which one applies to a Service port and to a workload, and what it makes of the Backend. Of two the older one does. Knows nothing of Pods.

use crate::{
    Key, Objects, ServiceTraits,
    applied::{Applied, Place},
    conditions::{Condition, ConditionType, Finding, PolicyStatus, Reason},
    kinds::{GATEWAY_GROUP, HEADGATE_GROUP, ObjectRef, ParentRef, PolicyTarget, ScalingPolicy, Service, WorkloadKind},
    schema::FieldPath,
};
use headgate_config::{Probe, Text};
use imbl::OrdMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// All policies, evaluated once.
#[derive(Debug, Default)]
pub(crate) struct Scaling {
    /// What Backends are made of.
    applied: Applied<ServiceTraits>,
    /// By scale target: the policy that decides how it is scaled.
    in_force: OrdMap<String, Arc<ScalingPolicy>>,
    /// By policy: what is wrong with it.
    findings: BTreeMap<Key, Vec<Finding>>,
}

impl Scaling {
    /// Evaluates them, oldest first. `scales` says whether somebody here does.
    pub fn new(objects: &Objects, scales: bool) -> Self {
        let mut scaling = Self::default();
        let mut list: Vec<_> = objects.scaling_policies.values().collect();
        list.sort_by_key(|policy| (policy.meta.created, policy.meta.key()));
        let of_functions: BTreeSet<&str> = match list.is_empty() {
            true => BTreeSet::new(),
            false => objects.traits.values().filter_map(|traits| traits.scales.as_deref()).collect(),
        };
        for policy in list {
            let mut findings = Vec::new();
            if let Some(target) = scaling.workload(policy, &of_functions, &mut findings) {
                scaling.apply(objects, policy, scales.then_some(target), &mut findings);
            }
            if !scales {
                findings.push(nobody_scales(policy));
            }
            scaling.findings.insert(policy.meta.key(), findings);
        }
        scaling
    }

    /// The scale target of a policy, unless it is not its to scale.
    fn workload(
        &self,
        policy: &ScalingPolicy,
        of_functions: &BTreeSet<&str>,
        findings: &mut Vec<Finding>,
    ) -> Option<String> {
        let at = FieldPath::of("spec.scaleTargetRef");
        let (kind, name) = (policy.workload.kind.as_str(), &policy.workload.name);
        let target = policy.workload.target(&policy.meta.namespace);
        let finding = if let WorkloadKind::Unknown(kind) = &policy.workload.kind {
            let finding = wrong(Reason::Invalid, at.key("kind"), format!("{kind} is not a kind that is scaled"));
            finding.remedy("write Deployment or StatefulSet")
        } else if of_functions.contains(target.as_str()) {
            let message = format!("{kind} {name} is of a function, which scales it");
            wrong(Reason::Invalid, at, message).remedy("set bounds in the function")
        } else if let Some(older) = self.in_force.get(&target) {
            let message = format!("ScalingPolicy {} is older and scales {kind} {name}", older.meta.name);
            wrong(Reason::Conflicted, at, message)
        } else {
            return Some(target);
        };
        findings.push(finding);
        None
    }

    /// Applies a policy to the places that it names and that are free. `target` is what is scaled, if somebody does.
    fn apply(
        &mut self,
        objects: &Objects,
        policy: &Arc<ScalingPolicy>,
        target: Option<String>,
        findings: &mut Vec<Finding>,
    ) {
        let mut is_used = false;
        for (index, named) in policy.targets.iter().enumerate() {
            let at = FieldPath::of("spec.targetRefs").index(index);
            let place = match place(objects, policy, named, &at) {
                Ok(place) => place,
                Err(finding) => {
                    findings.push(*finding);
                    continue;
                }
            };
            match self.applied.claim(place, policy.meta.key(), traits(policy, target.clone())) {
                Ok(()) => is_used = true,
                Err((_, older)) => {
                    let message = format!("ScalingPolicy {older} is older and applies to this target");
                    findings.push(wrong(Reason::Conflicted, at, message));
                }
            }
        }
        if let Some(target) = target.filter(|_| is_used) {
            self.in_force.insert(target, policy.clone());
        }
    }

    /// What applies to a port.
    pub fn traits(&self, service: &Key, port: &str) -> Option<&ServiceTraits> {
        self.applied.to_port(service, port)
    }

    /// By scale target: the policy that decides how it is scaled.
    pub fn in_force(&self) -> &OrdMap<String, Arc<ScalingPolicy>> {
        &self.in_force
    }

    /// Whether policies could come out in another way.
    pub fn depends_on_difference(before: &Objects, now: &Objects) -> bool {
        let none = before.scaling_policies.is_empty() && now.scaling_policies.is_empty();
        let same = before.scaling_policies.ptr_eq(&now.scaling_policies)
            && before.services.ptr_eq(&now.services)
            && before.traits.ptr_eq(&now.traits)
            && before.aliases.ptr_eq(&now.aliases);
        !none && !same
    }

    /// The Services for which something else applies.
    pub fn differing<'p>(&'p self, other: &'p Self) -> impl Iterator<Item = &'p Key> {
        self.applied.differing(&other.applied)
    }

    /// What is wrong with each policy.
    pub fn findings(&self) -> impl Iterator<Item = (ObjectRef, &Finding)> {
        self.findings.iter().flat_map(|(key, findings)| {
            let policy = ObjectRef::new(HEADGATE_GROUP, "ScalingPolicy", &key.0, &key.1);
            findings.iter().map(move |finding| (policy.clone(), finding))
        })
    }

    /// The status of a policy for the Gateways (namespace, name) through which its Services are reached, or for its Services, so
    /// that a policy without a route says so. `Programmed` says here that it could be: whoever sees the workload adds whether it is.
    pub fn status(&self, policy: &ScalingPolicy, gateways: &BTreeSet<Key>, controller: &str) -> PolicyStatus {
        let generation = policy.meta.generation;
        let empty = Vec::new();
        let findings = self.findings.get(&policy.meta.key()).unwrap_or(&empty);
        let accepted = Condition::of(ConditionType::Accepted, Reason::Accepted, findings, generation);
        let said = Condition::of(ConditionType::Programmed, Reason::Programmed, findings, generation);
        let programmed = |is_reached: bool| match () {
            () if !accepted.status => {
                Condition::wrong(ConditionType::Programmed, Reason::Invalid, Reason::Invalid.remedy(), generation)
            }
            () if !is_reached => {
                let message = format!("no route leads to it, so nothing is scaled; {}", Reason::NotReached.remedy());
                Condition::wrong(ConditionType::Programmed, Reason::NotReached, message, generation)
            }
            () => said.clone(),
        };
        let targets = policy.targets.iter().map(|target| ParentRef {
            group: Text::default(),
            kind: "Service".into(),
            section: target.section.clone(),
            ..ParentRef::gateway(&policy.meta.namespace, &target.name)
        });
        PolicyStatus::of("ScalingPolicy", gateways, targets, controller, |ancestor| {
            vec![accepted.clone(), programmed(ancestor.group == GATEWAY_GROUP)]
        })
    }
}

fn wrong(reason: Reason, at: FieldPath, message: impl Into<String>) -> Finding {
    Finding::new(ConditionType::Accepted, reason, at, message)
}

/// A machine without a cluster starts and stops functions only.
fn nobody_scales(policy: &ScalingPolicy) -> Finding {
    let message = format!(
        "{} {} is not scaled: only a cluster scales ordinary Services; bounds of requests and queue hold all the same",
        policy.workload.kind.as_str(),
        policy.workload.name
    );
    let finding = Finding::new(
        ConditionType::Programmed,
        Reason::UnsupportedValue,
        FieldPath::of("spec.scaleTargetRef"),
        message,
    );
    finding.remedy("run it yourself, or write a Function to have it started on demand")
}

/// Where a policy applies by one of its targets.
fn place(
    objects: &Objects,
    policy: &ScalingPolicy,
    target: &PolicyTarget,
    at: &FieldPath,
) -> Result<Place, Box<Finding>> {
    let error = |reason, at, message: String| Box::new(wrong(reason, at, message));
    let of_pods = |finding: Box<Finding>| Box::new(finding.remedy("name a Service with Pods of its own"));
    if !target.group.is_empty() || target.kind != "Service" {
        let message = format!("{} of group {:?} cannot have this policy", target.kind, target.group);
        return Err(error(Reason::Invalid, at.key("kind"), message));
    }
    let key = (policy.meta.namespace.clone(), target.name.clone());
    if objects.traits.contains_key(&key) || objects.aliases.contains_key(&key) {
        let message = format!("Service {} is of a function, which says how it scales", key.1);
        return Err(of_pods(error(Reason::Invalid, at.key("name"), message)));
    }
    let Some(service) = objects.services.get(&key) else {
        return Err(error(Reason::TargetNotFound, at.key("name"), format!("Service {} does not exist", key.1)));
    };
    if service.external_name.is_some() {
        let message = format!("Service {} is of type ExternalName and has no Pods", key.1);
        return Err(of_pods(error(Reason::Invalid, at.key("name"), message)));
    }
    match &target.section {
        Some(port) if !has_port(service, port) => {
            let message = format!("Service {} has no port with the name {port}", key.1);
            Err(error(Reason::TargetNotFound, at.key("sectionName"), message))
        }
        section => Ok((key, section.clone())),
    }
}

fn has_port(service: &Service, name: &str) -> bool {
    service.ports.iter().any(|port| port.name == name)
}

fn traits(policy: &ScalingPolicy, scales: Option<String>) -> ServiceTraits {
    ServiceTraits {
        concurrency: policy.concurrency,
        scales,
        queue: policy.queue,
        wait: policy.wait,
        cold: policy.cold.arm(),
        probe: Probe::Tcp,
    }
}
