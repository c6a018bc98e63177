//! Whether a route may attach to a parent, to which of its listeners, and on which hosts. Knows nothing of rules.

use crate::{
    conditions::{ConditionType, Finding, Reason},
    kinds::{From, GATEWAY_GROUP, ObjectMeta, ParentRef},
    listeners::{GatewayView, ListenerView, Place},
    lookup::Lookup,
    schema::FieldPath,
};
use headgate_config::{Host, HostPattern, RouteKind};

/// What of a route decides where it attaches.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub kind: RouteKind,
    pub meta: &'a ObjectMeta,
    pub hostnames: &'a [String],
}

/// A listener of the Gateway, and the hosts there.
pub(crate) type Attached = (Place, Vec<Host>);

/// Where a route attaches among the Gateway's own listeners or those of one of its sets, or why nowhere. `at` is the path of the
/// reference.
pub(crate) fn attach(
    lookup: &Lookup<'_>,
    route: Candidate<'_>,
    parent: &ParentRef,
    gateway: &GatewayView,
    set: Option<usize>,
    at: &FieldPath,
) -> Result<Vec<Attached>, Finding> {
    let refused = |reason, path, message| Err(Finding::new(ConditionType::Accepted, reason, path, message));
    if let Some(finding) = set.and_then(|set| gateway.sets[set].findings.first()) {
        let message = format!("the ListenerSet is not attached to its Gateway: {}", finding.message);
        let finding = Finding::new(ConditionType::Accepted, Reason::NoMatchingParent, at.clone(), message);
        return Err(finding.remedy("see the conditions of the ListenerSet"));
    }
    let listeners = gateway.of(set);
    let named: Vec<usize> = (0..listeners.len()).filter(|&at| names(parent, &listeners[at])).collect();
    if named.is_empty() {
        let (kind, meta) = match set {
            None => ("Gateway", &gateway.gateway.meta),
            Some(set) => ("ListenerSet", &gateway.sets[set].set.meta),
        };
        let message = format!("{kind} {}/{} has no listener {}", meta.namespace, meta.name, wanted(parent));
        return refused(Reason::NoMatchingParent, at.clone(), message);
    }
    let allowed = |at: &usize| allows(lookup, route, &listeners[*at]);
    let allowing: Vec<usize> = named.into_iter().filter(allowed).collect();
    if allowing.is_empty() {
        let message = format!("no listener allows {} from namespace {}", route.kind.as_str(), route.meta.namespace);
        return refused(Reason::NotAllowedByListeners, at.clone(), message);
    }
    let hosts = |at: usize| (Place { set, at }, hosts(route.hostnames, &listeners[at].hostname));
    let attached: Vec<Attached> = allowing.into_iter().map(hosts).filter(|(_, hosts)| !hosts.is_empty()).collect();
    if attached.is_empty() {
        let message = "no listener that allows this route has any of its hostnames".to_owned();
        return refused(Reason::NoMatchingListenerHostname, FieldPath::of("spec.hostnames"), message);
    }
    Ok(attached)
}

fn names(parent: &ParentRef, listener: &ListenerView) -> bool {
    let spec = listener.spec();
    parent.section.as_ref().is_none_or(|section| *section == spec.name)
        && parent.port.is_none_or(|port| port == spec.port)
}

fn wanted(parent: &ParentRef) -> String {
    let section = parent.section.as_ref().map(|section| format!("named {section}"));
    let port = parent.port.map(|port| format!("on port {port}"));
    section.into_iter().chain(port).collect::<Vec<_>>().join(" ")
}

fn allows(lookup: &Lookup<'_>, route: Candidate<'_>, listener: &ListenerView) -> bool {
    let kind = |kind: &crate::kinds::RouteGroupKind| kind.group == GATEWAY_GROUP && kind.kind == route.kind.as_str();
    let allowed = &listener.spec().allowed_routes;
    let from_namespace = match &allowed.from {
        From::All => true,
        From::Same => route.meta.namespace == listener.owner.meta().namespace,
        From::Selector => {
            let labels = lookup.namespace_labels(&route.meta.namespace);
            allowed.selector.as_ref().is_some_and(|selector| selector.selects(&labels))
        }
        From::None | From::Unknown(_) => false,
    };
    from_namespace && listener.supported_kinds.iter().any(kind)
}

/// What a route and a listener both match; the hosts of the listener for a route that says none.
fn hosts(declared: &[String], listener: &HostPattern) -> Vec<Host> {
    if declared.is_empty() {
        return vec![Host { pattern: listener.clone(), declared: HostPattern::Any }];
    }
    let parsed = declared.iter().filter_map(|text| text.parse::<HostPattern>().ok());
    let both = |declared: HostPattern| Some(Host { pattern: declared.intersect(listener)?, declared });
    let mut hosts: Vec<Host> = Vec::with_capacity(declared.len());
    for host in parsed.filter_map(both) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}
