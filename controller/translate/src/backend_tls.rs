//! BackendTLSPolicies: which one applies to a Service port, and what it verifies. A broken policy stays in force: requests fail, and nothing is sent in plain.

use crate::{
    Key, Objects,
    applied::Applied,
    certificates,
    conditions::{Condition, ConditionType, Finding, PolicyStatus, Reason},
    kinds::{BackendTLSPolicy, BackendValidation, GATEWAY_GROUP, Holder, ObjectRef, WellKnownAuthorities},
    lookup::Lookup,
    schema::FieldPath,
    x_backends,
};
use headgate_config::{BackendTls, Certificate, Text, Trust};
use std::collections::{BTreeMap, BTreeSet};

/// All policies, evaluated once.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    applied: Applied<BackendTls>,
    /// Those that XBackends show.
    certificates: Vec<Certificate>,
    /// By policy: what is wrong with it.
    findings: BTreeMap<Key, Vec<Finding>>,
}

impl Policies {
    /// Evaluates them, oldest first.
    pub fn new(lookup: &Lookup<'_>) -> Self {
        let mut policies = Self::default();
        let mut list: Vec<_> = lookup.objects.backend_tls_policies.values().collect();
        list.sort_by_key(|policy| (policy.meta.created, policy.meta.key()));
        for policy in list {
            let mut findings = Vec::new();
            let tls = tls(lookup, policy, &mut findings);
            policies.apply(lookup, policy, &tls, &mut findings);
            findings.extend(Finding::options_without_effect(FieldPath::of("spec.options"), &policy.options));
            policies.findings.insert(policy.meta.key(), findings);
        }
        for backend in lookup.objects.x_backends.values() {
            // what is wrong with it is told of the object
            if let Some((tls, certificate)) = x_backends::tls(lookup, backend, &mut Vec::new()) {
                // nobody else can have claimed it
                let _ = policies.applied.claim((x_backends::key_of(&backend.meta), None), backend.meta.key(), tls);
                policies.certificates.extend(certificate);
            }
        }
        policies
    }

    fn apply(&mut self, lookup: &Lookup<'_>, policy: &BackendTLSPolicy, tls: &BackendTls, findings: &mut Vec<Finding>) {
        for (index, target) in policy.targets.iter().enumerate() {
            let at = FieldPath::of("spec.targetRefs").index(index);
            let wrong = |reason, message: String| Finding::new(ConditionType::Accepted, reason, at.clone(), message);
            if !target.group.is_empty() || target.kind != "Service" {
                let message = format!("{} of group {:?} cannot have this policy", target.kind, target.group);
                findings.push(wrong(Reason::TargetNotFound, message));
                continue;
            }
            let key = (policy.meta.namespace.clone(), target.name.clone());
            let service = lookup.objects.services.get(&key);
            let has_port = |section: &Text| service.is_some_and(|s| s.ports.iter().any(|port| port.name == *section));
            if service.is_none() || target.section.as_ref().is_some_and(|section| !has_port(section)) {
                findings.push(wrong(
                    Reason::TargetNotFound,
                    format!("Service {} or that port of it does not exist", key.1),
                ));
                continue;
            }
            let place = (key, target.section.clone());
            if self.applied.claim(place, policy.meta.key(), tls.clone()).is_err() {
                findings.push(wrong(Reason::Conflicted, "an older policy applies to this target".into()));
            }
        }
    }

    /// What applies to a port.
    pub fn tls(&self, service: &Key, port: &str) -> Option<&BackendTls> {
        self.applied.to_port(service, port)
    }

    /// The certificates that are shown to endpoints of XBackends.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Whether policies could come out in another way.
    pub fn depend_on_difference(before: &Objects, now: &Objects) -> bool {
        let is_empty = |objects: &Objects| objects.backend_tls_policies.is_empty() && objects.x_backends.is_empty();
        let none = is_empty(before) && is_empty(now);
        let same_secrets = now.x_backends.is_empty()
            || (before.secrets.ptr_eq(&now.secrets) && before.unusable_secrets.ptr_eq(&now.unusable_secrets));
        let same = same_secrets
            && before.backend_tls_policies.ptr_eq(&now.backend_tls_policies)
            && before.x_backends.ptr_eq(&now.x_backends)
            && before.services.ptr_eq(&now.services)
            && before.has_same_authorities(now)
            && before.reference_grants.ptr_eq(&now.reference_grants);
        !none && !same
    }

    /// The Services for which something else applies.
    pub fn differing<'p>(&'p self, other: &'p Self) -> impl Iterator<Item = &'p Key> {
        self.applied.differing(&other.applied)
    }

    /// What is wrong with each policy.
    pub fn findings(&self) -> impl Iterator<Item = (ObjectRef, &Finding)> {
        self.findings.iter().flat_map(|(key, findings)| {
            let policy = ObjectRef::new(GATEWAY_GROUP, "BackendTLSPolicy", &key.0, &key.1);
            findings.iter().map(move |finding| (policy.clone(), finding))
        })
    }

    /// The status of a policy for the Gateways (namespace, name) through which its Services are reached.
    pub fn status(&self, policy: &BackendTLSPolicy, gateways: &BTreeSet<Key>, controller: &str) -> PolicyStatus {
        let (empty, generation) = (Vec::new(), policy.meta.generation);
        let findings = self.findings.get(&policy.meta.key()).unwrap_or(&empty);
        let mut conditions = vec![
            Condition::of(ConditionType::Accepted, Reason::Accepted, findings, generation),
            Condition::of(ConditionType::ResolvedRefs, Reason::ResolvedRefs, findings, generation),
        ];
        conditions.extend(Condition::partially(findings, generation));
        PolicyStatus::of("BackendTLSPolicy", gateways, std::iter::empty(), controller, |_| conditions.clone())
    }
}

fn tls(lookup: &Lookup<'_>, policy: &BackendTLSPolicy, findings: &mut Vec<Finding>) -> BackendTls {
    let from = Holder::new("BackendTLSPolicy", &policy.meta.namespace);
    validated(lookup, from, &policy.validation, "spec.validation", findings)
}

/// TLS as an object has it validated; `at` is the path of the field.
pub(crate) fn validated(
    lookup: &Lookup<'_>,
    from: Holder<'_>,
    validation: &BackendValidation,
    at: &'static str,
    findings: &mut Vec<Finding>,
) -> BackendTls {
    BackendTls {
        hostname: validation.hostname.clone(),
        names: validation.names.iter().map(|name| name.value.clone()).filter(|name| !name.is_empty()).collect(),
        trust: trust(lookup, from, validation, &FieldPath::of(at), findings),
        certificate: None,
    }
}

fn trust(
    lookup: &Lookup<'_>,
    from: Holder<'_>,
    validation: &BackendValidation,
    at: &FieldPath,
    findings: &mut Vec<Finding>,
) -> Trust {
    if let Some(index) = validation.names.iter().position(|name| name.value.is_empty()) {
        // left out, it would make the check another one than was written
        let message = "is of a type that this version does not know".to_owned();
        let path = at.key("subjectAltNames").index(index);
        let finding = Finding::new(ConditionType::Accepted, Reason::Invalid, path, message.clone());
        findings.push(finding.remedy("write type: Hostname or URI"));
        return Trust::Invalid(format!("subjectAltNames[{index}] {message}"));
    }
    match &validation.well_known {
        Some(WellKnownAuthorities::System) => return Trust::System,
        Some(WellKnownAuthorities::Unknown(name)) => {
            let message = format!("authorities {name} are not known");
            let path = at.key("wellKnownCACertificates");
            findings.push(
                Finding::new(ConditionType::Accepted, Reason::Invalid, path, message.clone()).remedy("write System"),
            );
            return Trust::Invalid(message);
        }
        None => {}
    }
    let refs = at.key("caCertificateRefs");
    let (mut texts, mut first) = (Vec::new(), None);
    for (index, reference) in validation.authorities.iter().enumerate() {
        match certificates::authority(lookup, from, reference, Reason::InvalidKind) {
            Ok(pem) => texts.push(pem),
            Err((reason, message)) => {
                first.get_or_insert(message.clone());
                let remedy = "refer to a ConfigMap with ca.crt in PEM, or to a ClusterTrustBundle";
                let finding = Finding::new(ConditionType::ResolvedRefs, reason, refs.index(index), message);
                findings.push(finding.remedy(remedy));
            }
        }
    }
    if texts.is_empty() {
        let message = first.unwrap_or_else(|| "names no authority".into());
        findings.push(Finding::new(ConditionType::Accepted, Reason::NoValidCACertificate, refs, message.clone()));
        return Trust::Invalid(message);
    }
    Trust::Pem(texts)
}
