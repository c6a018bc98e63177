//! ListenerSets: which of them may add listeners to a Gateway, and their status. Knows nothing of routes.

use crate::{
    conditions::{Condition, ConditionType, Finding, ListenerSetStatus, Reason},
    kinds::{From, Gateway, ListenerSet},
    listeners::GatewayView,
    lookup::Lookup,
    schema::FieldPath,
};
use std::ops::Range;

/// A ListenerSet that names a Gateway of ours.
pub(crate) struct SetView<'a> {
    pub set: &'a ListenerSet,
    /// Its listeners among those of the Gateway; none where it may not attach.
    pub listeners: Range<usize>,
    /// Why it may not attach.
    pub findings: Vec<Finding>,
}

impl SetView<'_> {
    /// Whether it adds a listener that serves.
    pub fn is_attached(&self, gateway: &GatewayView<'_>) -> bool {
        gateway.listeners[self.listeners.clone()].iter().any(|listener| listener.serves())
    }

    /// Its status, from the numbers of routes attached to each of the Gateway's listeners.
    pub fn status(&self, gateway: &GatewayView<'_>, attached: &[u32]) -> ListenerSetStatus {
        let generation = self.set.meta.generation;
        let listeners = &gateway.listeners[self.listeners.clone()];
        let is_wrong = |listener: &&crate::listeners::ListenerView<'_>| !listener.serves();
        let invalid: Vec<&str> = listeners.iter().filter(is_wrong).map(|l| l.spec.name.as_str()).collect();
        let mut accepted = Condition::of(ConditionType::Accepted, Reason::Accepted, &self.findings, generation);
        if accepted.status && !invalid.is_empty() {
            let message = format!("listeners that are not valid: {}; see their conditions", invalid.join(", "));
            accepted = Condition::wrong(ConditionType::Accepted, Reason::ListenersNotValid, message, generation);
            accepted.status = self.is_attached(gateway);
        }
        let programmed = if accepted.status {
            Condition::fine(ConditionType::Programmed, Reason::Programmed, generation)
        } else {
            Condition::wrong(ConditionType::Programmed, accepted.reason, accepted.message.clone(), generation)
        };
        let counts = &attached[self.listeners.clone()];
        ListenerSetStatus {
            conditions: vec![accepted, programmed],
            listeners: listeners.iter().zip(counts).map(|(view, count)| view.status(*count, generation)).collect(),
        }
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
