//! Which Secrets, ConfigMaps, workloads and Pods are referred to: only these are read from an API server. Never their content.

use headgate_translate::{
    Objects,
    kinds::{Gateway, Listener, ObjectRef, ObjectReference, WorkloadKind, WorkloadRef, XBackendKind},
    selections,
};
use std::collections::BTreeSet;

/// What is referred to, as long as the objects stay that refer.
#[derive(Debug, Default)]
pub struct References {
    of: Objects,
    found: BTreeSet<ObjectRef>,
}

impl References {
    /// What is referred to, if it is something else than before.
    pub fn take(&mut self, objects: &Objects) -> Option<BTreeSet<ObjectRef>> {
        // the maps of the others are not kept: what is old in them would never go
        let mut now = Objects::default();
        now.gateways.clone_from(&objects.gateways);
        now.listener_sets.clone_from(&objects.listener_sets);
        now.backend_tls_policies.clone_from(&objects.backend_tls_policies);
        now.x_backends.clone_from(&objects.x_backends);
        now.scaling_policies.clone_from(&objects.scaling_policies);
        let is_same = now.gateways.ptr_eq(&self.of.gateways)
            && now.listener_sets.ptr_eq(&self.of.listener_sets)
            && now.backend_tls_policies.ptr_eq(&self.of.backend_tls_policies)
            && now.x_backends.ptr_eq(&self.of.x_backends)
            && now.scaling_policies.ptr_eq(&self.of.scaling_policies);
        if is_same {
            return None;
        }
        let found = referenced(&now);
        self.of = now;
        (found != self.found).then(|| {
            self.found.clone_from(&found);
            found
        })
    }
}

/// The Secrets and ConfigMaps that Gateways, ListenerSets, policies and XBackends name, whether or not they may, the workloads that
/// policies scale, and the Pods that XBackends select ([`selections`]).
pub fn referenced(objects: &Objects) -> BTreeSet<ObjectRef> {
    let mut found = BTreeSet::new();
    for gateway in objects.gateways.values() {
        found.extend(of_gateway(gateway));
    }
    for set in objects.listener_sets.values() {
        found.extend(certificates(&set.listeners).filter_map(|one| target(one, &set.meta.namespace)));
    }
    for policy in objects.backend_tls_policies.values() {
        let namespace = &policy.meta.namespace;
        found.extend(policy.validation.authorities.iter().filter_map(|one| target(one, namespace)));
    }
    for backend in objects.x_backends.values() {
        let namespace = &backend.meta.namespace;
        let authorities = backend.tls.validation.iter().flat_map(|validation| &validation.authorities);
        found.extend(authorities.chain(&backend.tls.certificate).filter_map(|one| target(one, namespace)));
        if backend.kind == XBackendKind::EndpointSelector {
            found.insert(selections::object(namespace, &backend.selector));
        }
    }
    for policy in objects.scaling_policies.values() {
        let WorkloadRef { kind, name } = &policy.workload;
        if !matches!(kind, WorkloadKind::Unknown(_)) {
            found.insert(ObjectRef::new("apps", kind.as_str(), &policy.meta.namespace, name));
        }
    }
    found
}

fn of_gateway(gateway: &Gateway) -> impl Iterator<Item = ObjectRef> {
    let validations = gateway
        .frontend_tls
        .iter()
        .flat_map(|tls| tls.default.iter().chain(tls.per_port.iter().filter_map(|port| port.validation.as_ref())));
    let authorities = validations.flat_map(|validation| &validation.authorities);
    let namespace = &gateway.meta.namespace;
    certificates(&gateway.listeners)
        .chain(authorities)
        .chain(&gateway.backend_certificate)
        .filter_map(|one| target(one, namespace))
}

fn certificates(listeners: &[Listener]) -> impl Iterator<Item = &ObjectReference> {
    listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| &tls.certificates)
}

/// The object, if it is of a kind that is read on demand.
fn target(reference: &ObjectReference, namespace: &str) -> Option<ObjectRef> {
    let is_read = reference.group.is_empty() && matches!(reference.kind.as_str(), "Secret" | "ConfigMap");
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    is_read.then(|| ObjectRef::new("", &reference.kind, namespace, &reference.name))
}
