//! The listeners of a Table and which of them takes a host: the most specific one of the port, and no other (GatewayHTTPListenerIsolation).

use crate::{Problem, grounds::owner::TAG_MAX, texts::Texts};
use headgate_config::{HostPattern, Listener, Snapshot, Transport};
use std::sync::Arc;

/// The listeners, and an index of them by port and host.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Ordered by transport, port and name. The listeners that say the same as one before them are not in the list.
    list: Box<[Arc<Listener>]>,
    /// By their numbers in the list: what each is known by for as long as it is served, whatever comes and goes beside it.
    tags: Box<[u32]>,
    next_tag: u32,
    problems: Box<[Problem]>,
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

impl Listeners {
    /// Takes the listeners of a Snapshot; those of `previous` that are equal are shared, and those of a name there keep their tag.
    pub(crate) fn gather(snapshot: &Snapshot, previous: &Self) -> Self {
        let mut all: Vec<&Arc<Listener>> = snapshot.listeners.values().collect();
        all.sort_by_key(|listener| place_of(listener)); // stable: by name within a port
        let mut problems = Vec::new();
        let mut made = Self { next_tag: previous.next_tag, ..Self::default() };
        let mut list: Vec<Arc<Listener>> = Vec::new();
        let mut tags: Vec<u32> = Vec::new();
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
            if let Some(same) = list.get(number as usize).filter(|same| !says_the_same(same, listener)) {
                let field = if has_same_tls(same, listener) { "filters" } else { "tls" };
                problems.push(conflict(listener, same, field));
                continue;
            }
            if number == next {
                port.range.1 += 1;
                let known = previous.known(listener);
                list.push(known.map(|(known, _)| known).filter(|known| *known == listener).unwrap_or(listener).clone());
                tags.push(known.map_or_else(|| made.new_tag(), |(_, tag)| tag));
            }
        }
        made.hosts.shrink();
        Self { list: list.into(), tags: tags.into(), ports: ports.into(), problems: problems.into(), ..made }
    }

    fn new_tag(&mut self) -> u32 {
        self.next_tag += 1;
        self.next_tag - 1
    }

    /// Whether there is no room for the tags of as many listeners again: then nothing may be taken over from this one.
    pub(crate) fn is_worn(&self) -> bool {
        self.next_tag > TAG_MAX / 2
    }

    /// The one of the same place and name, and its tag.
    fn known(&self, listener: &Listener) -> Option<(&Arc<Listener>, u32)> {
        let key = (place_of(listener), &listener.name);
        let at = self.list.binary_search_by(|known| (place_of(known), &known.name).cmp(&key)).ok()?;
        Some((&self.list[at], self.tags[at]))
    }

    /// The number of the one that serves what is attached to a listener of the same Snapshot: itself, or one before it that says the same. `None` where it is in conflict with one.
    pub(crate) fn serving(&self, listener: &Listener) -> Option<u32> {
        let place = place_of(listener);
        let number = match &listener.hostname {
            HostPattern::Any => self.port(place)?.any?,
            HostPattern::Exact(host) => *self.hosts.get(place, host.as_str().as_bytes())?,
            HostPattern::Wildcard(suffix) => *self.hosts.get(place + WILDCARD, suffix.as_str().as_bytes())?,
        };
        says_the_same(self.get(number), listener).then_some(number)
    }

    fn port(&self, place: u32) -> Option<&PortIndex> {
        Some(&self.ports[self.ports.binary_search_by_key(&place, |known| known.place).ok()?])
    }

    /// What the listener of a number is known by.
    pub(crate) fn tag(&self, number: u32) -> u32 {
        self.tags[number as usize]
    }

    /// What is wrong with those that are not served.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
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
        let known = self.port(owner)?;
        let exact = self.hosts.get(owner, host).copied();
        let wildcard = || {
            let mut suffixes = known.wildcards.then(|| suffixes(host)).into_iter().flatten();
            suffixes.find_map(|suffix| self.hosts.get(owner + WILDCARD, suffix).copied())
        };
        exact.or_else(wildcard).or(known.any)
    }

    /// The first listener of a port.
    pub(crate) fn first(&self, transport: Transport, port: u16) -> Option<&Arc<Listener>> {
        self.list.get(self.port(place(transport, port))?.range.0 as usize)
    }

    /// The listener of a number that `find` gave.
    pub(crate) fn get(&self, number: u32) -> &Arc<Listener> {
        &self.list[number as usize]
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

/// Whether two listeners of one port and hostname are one to clients.
fn says_the_same(one: &Listener, other: &Listener) -> bool {
    has_same_tls(one, other) && one.gate == other.gate
}

fn has_same_tls(one: &Listener, other: &Listener) -> bool {
    (one.protocol, &one.tls, &one.backend_certificate) == (other.protocol, &other.tls, &other.backend_certificate)
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
