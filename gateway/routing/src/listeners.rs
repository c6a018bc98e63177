//! The listeners of a Table and which of them takes a host: the most specific one of the port, and no other (GatewayHTTPListenerIsolation).

use crate::{Problem, texts::Texts};
use headgate_config::{HostPattern, Listener, ListenerName, Snapshot, Transport};
use std::{collections::HashMap, sync::Arc};

/// The listeners, and an index of them by port and host.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Ordered by transport, port and name. The listeners that say the same as one before them are not in the list.
    list: Box<[Arc<Listener>]>,
    /// Those, with the number of the one that stands for them.
    merged: Vec<(ListenerName, u32)>,
    /// By place for a host, by place + `WILDCARD` for a suffix.
    hosts: Texts<u32>,
    ports: Box<[PortIndex]>,
}

/// What is known of a port.
#[derive(Debug)]
struct PortIndex {
    place: u32,
    /// The listener without a hostname.
    any: Option<u32>,
    wildcards: bool,
    /// Its first listener and the one after its last.
    range: (u32, u32),
}

/// Added to a place to make the owner of its suffixes.
const WILDCARD: u32 = 1 << 16;
/// Added to the number of a port of UDP.
const UDP: u32 = 1 << 17;

/// A port of a transport as one number.
fn place(transport: Transport, port: u16) -> u32 {
    match transport {
        Transport::Tcp => u32::from(port),
        Transport::Udp => u32::from(port) + UDP,
    }
}

fn place_of(listener: &Listener) -> u32 {
    place(listener.protocol.transport(), listener.port)
}

/// Listeners by name, also those that were merged into another.
pub(crate) type ListenerNumbers<'s> = HashMap<&'s ListenerName, u32, foldhash::fast::RandomState>;

impl Listeners {
    /// Takes the listeners of a Snapshot; those of `previous` that are equal are shared.
    pub(crate) fn gather<'s>(
        snapshot: &'s Snapshot,
        previous: Option<&Self>,
        problems: &mut Vec<Problem>,
    ) -> (Self, ListenerNumbers<'s>) {
        let mut all: Vec<&Listener> = snapshot.listeners.values().collect();
        all.sort_by_key(|listener| place_of(listener)); // stable: by name within a port
        let mut numbers = ListenerNumbers::default();
        let mut made = Self::default();
        let mut list: Vec<Arc<Listener>> = Vec::new();
        let mut ports: Vec<PortIndex> = Vec::new();
        for listener in all {
            if ports.last().is_none_or(|last| last.place != place_of(listener)) {
                let at = list.len() as u32;
                ports.push(PortIndex { place: place_of(listener), any: None, wildcards: false, range: (at, at) });
            }
            let port = ports.last_mut().expect("one was just pushed");
            let first = list.get(port.range.0 as usize);
            if let Some(first) = first.filter(|first| !first.protocol.shares_port_with(listener.protocol)) {
                problems.push(conflict(listener, first, "protocol"));
                continue;
            }
            let next = list.len() as u32;
            let number = *made.number(port, &listener.hostname, next);
            if let Some(same) = list.get(number as usize)
                && (same.protocol, &same.tls, &same.backend_certificate)
                    != (listener.protocol, &listener.tls, &listener.backend_certificate)
            {
                problems.push(conflict(listener, same, "tls"));
                continue;
            }
            numbers.insert(&listener.name, number);
            if number == next {
                port.range.1 += 1;
                list.push(share(listener, previous));
            } else {
                made.merged.push((listener.name.clone(), number));
            }
        }
        made.hosts.shrink();
        (Self { list: list.into(), ports: ports.into(), ..made }, numbers)
    }

    /// The number of the listener of a port that has this very hostname; `next` where there is none yet.
    fn number<'s>(&'s mut self, port: &'s mut PortIndex, hostname: &HostPattern, next: u32) -> &'s mut u32 {
        let owner = port.place;
        match hostname {
            HostPattern::Any => port.any.get_or_insert(next),
            HostPattern::Exact(host) => self.hosts.get_or_insert(owner, host.as_str().as_bytes(), || next),
            HostPattern::Wildcard(suffix) => {
                port.wildcards = true;
                self.hosts.get_or_insert(owner + WILDCARD, suffix.as_str().as_bytes(), || next)
            }
        }
    }

    /// The number of the most specific listener of a port that takes a canonical host.
    pub(crate) fn find(&self, transport: Transport, port: u16, host: &[u8]) -> Option<u32> {
        let owner = place(transport, port);
        let known = &self.ports[self.ports.binary_search_by_key(&owner, |known| known.place).ok()?];
        let exact = self.hosts.get(owner, host).copied();
        let wildcard = || {
            let mut suffixes = known.wildcards.then(|| suffixes(host)).into_iter().flatten();
            suffixes.find_map(|suffix| self.hosts.get(owner + WILDCARD, suffix).copied())
        };
        exact.or_else(wildcard).or(known.any)
    }

    /// The first listener of a port.
    pub(crate) fn first(&self, transport: Transport, port: u16) -> Option<&Arc<Listener>> {
        let wanted = place(transport, port);
        let known = &self.ports[self.ports.binary_search_by_key(&wanted, |known| known.place).ok()?];
        self.list.get(known.range.0 as usize)
    }

    /// The listener of a number that `find` gave.
    pub(crate) fn get(&self, number: u32) -> &Arc<Listener> {
        &self.list[number as usize]
    }

    /// Whether the listener of a number serves what is attached to `name`.
    pub(crate) fn serves(&self, number: u32, name: &ListenerName) -> bool {
        self.get(number).name == *name || self.merged.iter().any(|(merged, by)| *by == number && merged == name)
    }

    /// Those of a port, with their numbers.
    pub(crate) fn on(&self, transport: Transport, port: u16) -> impl Iterator<Item = (u32, &Arc<Listener>)> {
        let wanted = place(transport, port);
        (0..).zip(&self.list).filter(move |(_, listener)| place_of(listener) == wanted)
    }

    /// All of them, by port and name.
    pub(crate) fn list(&self) -> &[Arc<Listener>] {
        &self.list
    }

    /// Each port with its listeners, never none.
    pub(crate) fn ports(&self) -> impl Iterator<Item = &[Arc<Listener>]> {
        self.ports.iter().map(|port| &self.list[port.range.0 as usize..port.range.1 as usize])
    }
}

/// What remains of a host when labels are dropped, longest first; nothing of an address, which no wildcard matches.
pub(crate) fn suffixes(host: &[u8]) -> impl Iterator<Item = &[u8]> {
    let host = if headgate_config::is_address(host) { b"" } else { host };
    host.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(dot, _)| &host[dot + 1..])
}

fn share(listener: &Listener, previous: Option<&Listeners>) -> Arc<Listener> {
    let known = previous.and_then(|previous| {
        let key = (place_of(listener), &listener.name);
        let at = previous.list.binary_search_by(|known| (place_of(known), &known.name).cmp(&key)).ok()?;
        Some(&previous.list[at])
    });
    known.filter(|known| ***known == *listener).map_or_else(|| Arc::new(listener.clone()), Arc::clone)
}

fn conflict(listener: &Listener, first: &Listener, field: &str) -> Problem {
    let message = format!(
        "port {} is taken by listener {} with another {field}: write the same {field}, another hostname or another port",
        listener.port, first.name
    );
    Problem { rule: None, listener: Some(listener.name.clone()), field: field.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_dropped_but_not_those_of_an_address() {
        let all = |host: &'static str| suffixes(host.as_bytes()).collect::<Vec<_>>();
        assert_eq!(all("a.b.c"), [&b"b.c"[..], b"c"]);
        assert_eq!(all("v1.2"), [b"2"]);
        assert!(all("localhost").is_empty());
        assert!(all("10.0.0.1").is_empty());
        assert!(all("[::ffff:10.0.0.1]").is_empty());
    }
}
