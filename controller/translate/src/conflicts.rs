//! Listeners that cannot be told apart: which of them stand, and which fall. Never judges what else is wrong with one.

use crate::{
    conditions::{ConditionType, Reason},
    listeners::{GatewayView, ListenerView},
};

/// Finds them. Of the listeners that a Gateway has itself all fall, as the specification says; of those of ListenerSets the one
/// with precedence stands, and the Gateway's own before any of them. Between Gateways that share their ports (`shared`), the older
/// Gateway stands.
pub(crate) fn find_conflicts(gateways: &mut [GatewayView<'_>], shared: bool) {
    for gateway in gateways.iter_mut() {
        let marks: Vec<Conflict> = (0..gateway.own().len()).map(|at| conflict_within(gateway.own(), at)).collect();
        gateway.listeners.iter_mut().zip(marks).for_each(|(listener, mark)| tell(listener, mark));
        for at in gateway.own().len()..gateway.listeners.len() {
            let (earlier, rest) = gateway.listeners.split_at_mut(at);
            let standing = earlier.iter().filter(|listener| listener.is_accepted());
            // whose listener it is may be a secret of another namespace
            let mark = conflict(&rest[0], standing, |_| "a listener with precedence".into());
            tell(&mut rest[0], mark);
        }
    }
    for at in 0..gateways.len() {
        if shared {
            let (older, rest) = gateways.split_at_mut(at);
            let marks: Vec<Conflict> =
                rest[0].listeners.iter().map(|listener| conflict_with(listener, older)).collect();
            rest[0].listeners.iter_mut().zip(marks).for_each(|(listener, mark)| tell(listener, mark));
        }
    }
}

type Conflict = Option<(Reason, String)>;

fn tell(listener: &mut ListenerView<'_>, conflict: Conflict) {
    if let Some((reason, message)) = conflict {
        listener.add(ConditionType::Conflicted, reason, listener.path.clone(), message);
    }
}

fn conflict_within(listeners: &[ListenerView<'_>], at: usize) -> Conflict {
    let others = listeners.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, listener)| listener);
    conflict(&listeners[at], others, named)
}

fn conflict_with(listener: &ListenerView<'_>, older: &[GatewayView<'_>]) -> Conflict {
    let serving = older.iter().flat_map(|gateway| &gateway.listeners).filter(|other| other.serves());
    conflict(listener, serving, named)
}

fn named(listener: &ListenerView<'_>) -> String {
    format!("listener {}", listener.name)
}

fn conflict<'v, 'a: 'v>(
    listener: &ListenerView<'_>,
    others: impl Iterator<Item = &'v ListenerView<'a>>,
    name: impl Fn(&ListenerView<'_>) -> String,
) -> Conflict {
    // one that is not served takes no port from those that are, nor does one of UDP from those of TCP
    let protocol = listener.protocol()?;
    let mut same_port = others.filter_map(|other| {
        let known = other.protocol().filter(|known| known.transport() == protocol.transport());
        known.filter(|_| other.spec.port == listener.spec.port).map(|known| (other, known))
    });
    same_port.find_map(|(other, known)| {
        let port = listener.spec.port;
        if !known.shares_port_with(protocol) {
            let message = format!("port {port} speaks {} for {}", other.spec.protocol.as_str(), name(other));
            return Some((Reason::ProtocolConflict, message));
        }
        let message = || format!("{} has port {port} and the same hostname", name(other));
        (other.hostname == listener.hostname).then(|| (Reason::HostnameConflict, message()))
    })
}
