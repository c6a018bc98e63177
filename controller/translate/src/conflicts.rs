//! Listeners that cannot be told apart: which of them stand, and which fall. Never judges what else is wrong with one.

use crate::{
    conditions::{ConditionType, Reason},
    listener_sets::SetView,
    listeners::ListenerView,
};
use headgate_config::{HostPattern, ListenerName, Protocol, Transport};
use std::{collections::HashMap, sync::Arc};

/// Finds which of a Gateway's own listeners are in conflict: all of those fall, as the specification says.
pub(crate) fn within(own: &mut [ListenerView]) {
    let conflict = |at: usize| {
        let listener = &own[at];
        let (protocol, port) = (listener.protocol()?, listener.spec().port);
        let others = own.iter().enumerate().filter(|(index, other)| *index != at && other.spec().port == port);
        let speaking = others.filter_map(|(_, other)| Some((other, other.protocol()?)));
        let mut beside = speaking.filter(|(_, known)| known.transport() == protocol.transport());
        beside.find_map(|(other, known)| {
            let speaks = (!known.shares_port_with(protocol)).then_some(known);
            let is_conflict = speaks.is_some() || other.hostname == listener.hostname;
            is_conflict.then(|| describe(port, speaks, &named(&other.name)))
        })
    };
    let marks: Vec<Conflict> = (0..own.len()).map(conflict).collect();
    own.iter_mut().zip(marks).for_each(|(listener, mark)| tell(listener, mark));
}

/// Finds what is in conflict with the listeners of ListenerSets, in the order of precedence: the one that has it stands, and the
/// Gateway's own before any of them.
pub(crate) fn of_sets(own: &[ListenerView], sets: &mut [Arc<SetView>]) {
    let mut standing = Standing::default();
    own.iter().filter(|listener| listener.holds_host()).for_each(|listener| standing.add(listener));
    for set in sets {
        // whose listener it is may be a secret of another namespace
        for at in 0..set.listeners.len() {
            let mark = standing.conflict(&set.listeners[at], |_| "a listener with precedence".into());
            tell_in(set, at, mark);
            if set.listeners[at].holds_host() {
                standing.add(&set.listeners[at]);
            }
        }
    }
}

/// The listeners that have precedence, by port, so that another one is compared with few of them.
#[derive(Default)]
pub(crate) struct Standing {
    count: usize,
    /// The first that speaks each protocol on a port.
    protocols: HashMap<(u16, Transport), Vec<(Protocol, First)>>,
    /// The first that has a hostname there.
    hosts: HashMap<(u16, Protocol, HostPattern), First>,
}

/// A listener, and how many came before it.
#[derive(Clone)]
struct First {
    order: usize,
    name: ListenerName,
}

type Conflict = Option<(Reason, String)>;

impl Standing {
    /// Adds one, behind the others. One that is not served takes no port from those that are.
    pub fn add(&mut self, listener: &ListenerView) {
        let Some(protocol) = listener.protocol() else { return };
        let port = listener.spec().port;
        let first = First { order: self.count, name: listener.name.clone() };
        self.count += 1;
        let protocols = self.protocols.entry((port, protocol.transport())).or_default();
        if protocols.iter().all(|(known, _)| *known != protocol) {
            protocols.push((protocol, first.clone()));
        }
        self.hosts.entry((port, protocol, listener.hostname.clone())).or_insert(first);
    }

    /// Of Gateways that share their ports the older one stands.
    pub fn fell(&self, own: &mut [ListenerView], sets: &mut [Arc<SetView>]) {
        own.iter_mut().for_each(|listener| tell(listener, self.conflict(listener, named)));
        for set in sets {
            (0..set.listeners.len()).for_each(|at| tell_in(set, at, self.conflict(&set.listeners[at], named)));
        }
    }

    /// The first of these that cannot be told apart from a listener. One of UDP takes no port from those of TCP.
    fn conflict(&self, listener: &ListenerView, name: impl Fn(&ListenerName) -> String) -> Conflict {
        let (protocol, port) = (listener.protocol()?, listener.spec().port);
        let there = self.protocols.get(&(port, protocol.transport()))?;
        let found = there.iter().filter_map(|(known, first)| {
            if !known.shares_port_with(protocol) {
                return Some((first, Some(*known)));
            }
            let first = self.hosts.get(&(port, *known, listener.hostname.clone()))?;
            Some((first, None))
        });
        let (first, speaks) = found.min_by_key(|(first, _)| first.order)?;
        Some(describe(port, speaks, &name(&first.name)))
    }
}

/// What it is: the other one speaks something else, or has the same hostname.
fn describe(port: u16, speaks: Option<Protocol>, other: &str) -> (Reason, String) {
    match speaks {
        Some(known) => (Reason::ProtocolConflict, format!("port {port} speaks {} for {other}", known.as_str())),
        None => (Reason::HostnameConflict, format!("{other} has port {port} and the same hostname")),
    }
}

fn named(listener: &ListenerName) -> String {
    format!("listener {listener}")
}

fn tell(listener: &mut ListenerView, conflict: Conflict) {
    if let Some((reason, message)) = conflict {
        listener.add(ConditionType::Conflicted, reason, listener.path(), message);
    }
}

/// Tells a listener of a set, which stays the same value where there is nothing to tell.
fn tell_in(set: &mut Arc<SetView>, at: usize, conflict: Conflict) {
    if conflict.is_some() {
        tell(&mut Arc::make_mut(set).listeners[at], conflict);
    }
}
