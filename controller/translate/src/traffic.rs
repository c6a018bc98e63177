//! XBackendTrafficPolicies, and the sessions of XBackends: which one applies to a Service, and what it makes of its requests. Of two the older one does. Never a count, never a token.

use crate::{
    Key, Objects,
    applied::Applied,
    conditions::{Condition, ConditionType, Finding, PolicyStatus, Reason},
    kinds::{EXPERIMENTAL_GROUP, ObjectRef, ParentRef, PolicyTarget, RetryConstraint, TrafficPolicy},
    schema::FieldPath,
    sessions, x_backends,
};
use headgate_config::{RetryBudget, Session};
use std::collections::{BTreeMap, BTreeSet};

/// All policies, evaluated once.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    applied: Applied<Manner>,
    /// By policy: what is wrong with it.
    findings: BTreeMap<Key, Vec<Finding>>,
}

/// What a policy makes of the requests of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Manner {
    session: Option<Session>,
    budget: Option<RetryBudget>,
}

impl Traffic {
    /// Evaluates them, oldest first.
    pub fn new(objects: &Objects) -> Self {
        let mut traffic = Self::default();
        let mut list: Vec<_> = objects.traffic_policies.values().collect();
        list.sort_by_key(|policy| (policy.meta.created, policy.meta.key()));
        for policy in list {
            let mut findings = Vec::new();
            let manner = Manner::of(policy, &mut findings);
            traffic.apply(objects, policy, &manner, &mut findings);
            traffic.findings.insert(policy.meta.key(), findings);
        }
        for backend in objects.x_backends.values() {
            // what is wrong with it is told of the object
            if let Some(session) = x_backends::session(backend, &mut Vec::new()) {
                let manner = Manner { session: Some(session), budget: None };
                // nobody else can have claimed it
                let _ = traffic.applied.claim((x_backends::key_of(&backend.meta), None), backend.meta.key(), manner);
            }
        }
        traffic
    }

    fn apply(&mut self, objects: &Objects, policy: &TrafficPolicy, manner: &Manner, findings: &mut Vec<Finding>) {
        for (index, target) in policy.targets.iter().enumerate() {
            let at = FieldPath::of("spec.targetRefs").index(index);
            let finding = match named(objects, policy, target, &at) {
                Err(finding) => *finding,
                Ok(service) => match self.applied.claim((service, None), policy.meta.key(), manner.clone()) {
                    Ok(()) => continue,
                    Err((_, older)) => {
                        let message = format!("XBackendTrafficPolicy {older} is older and applies to this target");
                        wrong(Reason::Conflicted, at, message)
                    }
                },
            };
            findings.push(finding);
        }
    }

    /// How clients of a Service are kept at an endpoint.
    pub fn session(&self, service: &Key) -> Option<&Session> {
        self.applied.to_port(service, "")?.session.as_ref()
    }

    /// How often its requests may be tried again.
    pub fn budget(&self, service: &Key) -> Option<RetryBudget> {
        self.applied.to_port(service, "")?.budget
    }

    /// Whether policies could come out in another way.
    pub fn depends_on_difference(before: &Objects, now: &Objects) -> bool {
        let is_empty = |objects: &Objects| objects.traffic_policies.is_empty() && objects.x_backends.is_empty();
        let none = is_empty(before) && is_empty(now);
        let same = before.traffic_policies.ptr_eq(&now.traffic_policies)
            && before.x_backends.ptr_eq(&now.x_backends)
            && before.services.ptr_eq(&now.services);
        !none && !same
    }

    /// The Services for which something else applies.
    pub fn differing<'p>(&'p self, other: &'p Self) -> impl Iterator<Item = &'p Key> {
        self.applied.differing(&other.applied)
    }

    /// What is wrong with each policy.
    pub fn findings(&self) -> impl Iterator<Item = (ObjectRef, &Finding)> {
        self.findings.iter().flat_map(|(key, findings)| {
            let policy = ObjectRef::new(EXPERIMENTAL_GROUP, "XBackendTrafficPolicy", &key.0, &key.1);
            findings.iter().map(move |finding| (policy.clone(), finding))
        })
    }

    /// The status of a policy for the Gateways (namespace, name) through which its Services are reached, or for its Services.
    pub fn status(&self, policy: &TrafficPolicy, gateways: &BTreeSet<Key>, controller: &str) -> PolicyStatus {
        let (empty, generation) = (Vec::new(), policy.meta.generation);
        let findings = self.findings.get(&policy.meta.key()).unwrap_or(&empty);
        let accepted = Condition::of(ConditionType::Accepted, Reason::Accepted, findings, generation);
        let targets = policy.targets.iter().map(|target| ParentRef {
            group: target.group.clone(),
            kind: target.kind.clone(),
            ..ParentRef::gateway(&policy.meta.namespace, &target.name)
        });
        PolicyStatus::of("XBackendTrafficPolicy", gateways, targets, controller, |_| vec![accepted.clone()])
    }
}

impl Manner {
    fn of(policy: &TrafficPolicy, findings: &mut Vec<Finding>) -> Self {
        let name = format!("XBackendTrafficPolicy/{}/{}", policy.meta.namespace, policy.meta.name);
        let session = policy.session.as_ref().and_then(|spec| {
            let at = FieldPath::of("spec.sessionPersistence");
            sessions::session(spec, &name, &at, ConditionType::Accepted, findings)
        });
        Self { session, budget: policy.retry.map(budget) }
    }
}

fn budget(constraint: RetryConstraint) -> RetryBudget {
    let RetryConstraint { percent, interval_ms, least_count, least_interval_ms } = constraint;
    RetryBudget { percent, interval_ms, least_count, least_interval_ms }
}

/// The Service that a target names.
fn named(
    objects: &Objects,
    policy: &TrafficPolicy,
    target: &PolicyTarget,
    at: &FieldPath,
) -> Result<Key, Box<Finding>> {
    let error = |at, message: String, remedy: &str| Err(Box::new(wrong(Reason::Invalid, at, message).remedy(remedy)));
    if !target.group.is_empty() || target.kind != "Service" {
        let message = format!("{} of group {:?} cannot have this policy", target.kind, target.group);
        return error(at.key("kind"), message, "name a Service (group \"\")");
    }
    if target.section.is_some() {
        let message = "this policy is for all ports of a Service".to_owned();
        return error(at.key("sectionName"), message, "leave out sectionName");
    }
    let key = (policy.meta.namespace.clone(), target.name.clone());
    if objects.services.get(&key).is_some() {
        return Ok(key);
    }
    let message = format!("Service {} does not exist", key.1);
    Err(Box::new(wrong(Reason::TargetNotFound, at.key("name"), message)))
}

fn wrong(reason: Reason, at: FieldPath, message: impl Into<String>) -> Finding {
    Finding::new(ConditionType::Accepted, reason, at, message)
}
