//! ListenerSets: which of them may add listeners to a Gateway, and their status. Knows nothing of routes.

use crate::{
    conditions::{Condition, ConditionType, Finding, ListenerSetStatus, Reason},
    kinds::{From, GATEWAY_GROUP, Gateway, ListenerSet, ObjectRef},
    listeners::ListenerView,
    lookup::Lookup,
    schema::FieldPath,
};
use std::sync::Arc;

/// A ListenerSet that names a Gateway of ours.
#[derive(Clone, Debug)]
pub(crate) struct SetView {
    pub set: Arc<ListenerSet>,
    /// Its listeners; none where it may not attach.
    pub listeners: Vec<ListenerView>,
    /// Why it may not attach.
    pub findings: Vec<Finding>,
}

impl SetView {
    /// Its name.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::new(GATEWAY_GROUP, "ListenerSet", &self.set.meta.namespace, &self.set.meta.name)
    }

    /// Whether it adds a listener that serves.
    pub fn is_attached(&self) -> bool {
        self.listeners.iter().any(ListenerView::serves)
    }

    /// Whether a route that looks at it sees what it sees of another one.
    pub fn looks_like(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.listeners, &other.listeners);
        self.findings == other.findings
            && ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(ours, theirs)| ours.looks_like(theirs))
    }

    /// Its status, from the numbers of routes attached to its listeners.
    pub fn status(&self, attached: impl Fn(&ListenerView) -> u32) -> ListenerSetStatus {
        let generation = self.set.meta.generation;
        let is_wrong = |listener: &&ListenerView| !listener.serves();
        let invalid: Vec<&str> =
            self.listeners.iter().filter(is_wrong).map(|listener| listener.spec().name.as_str()).collect();
        let mut accepted = Condition::of(ConditionType::Accepted, Reason::Accepted, &self.findings, generation);
        if accepted.status && !invalid.is_empty() {
            let message = format!("listeners that are not valid: {}; see their conditions", invalid.join(", "));
            accepted = Condition::wrong(ConditionType::Accepted, Reason::ListenersNotValid, message, generation);
            accepted.status = self.is_attached();
        }
        let programmed = if accepted.status {
            Condition::fine(ConditionType::Programmed, Reason::Programmed, generation)
        } else {
            Condition::wrong(ConditionType::Programmed, accepted.reason, accepted.message.clone(), generation)
        };
        let listeners = self.listeners.iter().map(|listener| listener.status(attached(listener), generation));
        ListenerSetStatus { conditions: vec![accepted, programmed], listeners: listeners.collect() }
    }
}

/// Why a set may not attach to the Gateway that it names.
pub(crate) fn refusal(
    lookup: &Lookup<'_>,
    gateway: &Gateway,
    gateway_refused: bool,
    set: &ListenerSet,
) -> Option<Finding> {
    let refused =
        |reason, message| Finding::new(ConditionType::Accepted, reason, FieldPath::of("spec.parentRef"), message);
    let allowed = &gateway.allowed_listeners;
    let is_allowed = match &allowed.from {
        From::All => true,
        From::Same => set.meta.namespace == gateway.meta.namespace,
        From::Selector => {
            let labels = lookup.namespace_labels(&set.meta.namespace);
            allowed.selector.as_ref().is_some_and(|selector| selector.selects(&labels))
        }
        From::None | From::Unknown(_) => false,
    };
    let (namespace, name) = gateway.meta.key();
    if !is_allowed {
        let message = format!("Gateway {namespace}/{name} allows no ListenerSet of namespace {}", set.meta.namespace);
        return Some(refused(Reason::NotAllowed, message));
    }
    gateway_refused.then(|| refused(Reason::ParentNotAccepted, format!("Gateway {namespace}/{name} is not accepted")))
}
