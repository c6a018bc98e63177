//! The endpoints of one Gateway's backends, the newest of each, in the order in which they became known. Pure; never keeps two of one backend.

use crate::digest::Digest;
use headgate_config::{Activation, BackendName, Endpoints};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Backends that no route names and whose endpoints are kept all the same: routes may name them again.
const UNNAMED_KEPT: usize = 1_000;

/// The newest endpoints of each backend.
#[derive(Debug, Default)]
pub struct Ledger {
    sequence: u64,
    urgent: u64,
    entries: HashMap<BackendName, Entry>,
    order: BTreeMap<u64, BackendName>,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    digest: Digest,
    endpoints: Arc<Endpoints>,
}

impl Ledger {
    /// Takes the endpoints of a backend. Returns the number that stands for them in acknowledgements; what is known already keeps its own.
    pub fn tell(&mut self, endpoints: Endpoints) -> u64 {
        let before = self.entries.get(&endpoints.backend);
        if let Some(before) = before.filter(|before| *before.endpoints == endpoints) {
            return before.sequence;
        }
        self.sequence += 1;
        if is_urgent(before.map(|before| &*before.endpoints), &endpoints) {
            self.urgent = self.sequence;
        }
        if let Some(before) = before {
            self.order.remove(&before.sequence);
        }
        let name = endpoints.backend.clone();
        self.order.insert(self.sequence, name.clone());
        let (sequence, digest) = (self.sequence, digest(&write(&endpoints)));
        self.entries.insert(name, Entry { sequence, digest, endpoints: Arc::new(endpoints) });
        self.sequence
    }

    /// The number of the newest.
    pub fn newest(&self) -> u64 {
        self.sequence
    }

    /// The number of the newest that cannot wait for others.
    pub fn urgent(&self) -> u64 {
        self.urgent
    }

    /// What came after a number, oldest first.
    pub fn after(&self, sequence: u64) -> impl Iterator<Item = (u64, Digest, Arc<Endpoints>)> + '_ {
        self.order.range(sequence + 1..).filter_map(|(sequence, name)| {
            let entry = self.entries.get(name)?;
            Some((*sequence, entry.digest, Arc::clone(&entry.endpoints)))
        })
    }

    /// Forgets the oldest of those that no route names, beyond a bound.
    pub fn trim(&mut self, named: usize, is_named: impl Fn(&BackendName) -> bool) {
        if self.entries.len() <= named + UNNAMED_KEPT {
            return;
        }
        let unnamed: Vec<u64> =
            self.order.iter().filter(|(_, name)| !is_named(name)).map(|(sequence, _)| *sequence).collect();
        for sequence in &unnamed[..unnamed.len().saturating_sub(UNNAMED_KEPT)] {
            if let Some(name) = self.order.remove(sequence) {
                self.entries.remove(&name);
            }
        }
    }
}

/// What cannot wait: a backend gets its first endpoint that is ready or can be asked, or is started, stopped or broken.
fn is_urgent(before: Option<&Endpoints>, now: &Endpoints) -> bool {
    let none = Activation::default();
    let activation = before.map_or(&none, |before| &before.activation);
    let had = before.is_some_and(|before| !before.list.is_empty());
    let was_ready = before.is_some_and(|before| before.list.iter().any(|endpoint| endpoint.ready));
    let is_ready = now.list.iter().any(|endpoint| endpoint.ready);
    (!had && !now.list.is_empty()) || (!was_ready && is_ready) || *activation != now.activation
}

/// As they travel.
pub fn write(endpoints: &Endpoints) -> bytes::Bytes {
    serde_json::to_vec(endpoints).expect("endpoints are plain data with texts as keys").into()
}

/// What they are called.
pub fn digest(json: &[u8]) -> Digest {
    Digest::of(&[b"endpoints", json])
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_config::{Endpoint, Probe};

    fn endpoints(service: &str, ports: &[u16], activation: Activation) -> Endpoints {
        let list = ports.iter().map(|port| Endpoint {
            address: ([10, 0, 0, 1], *port).into(),
            ready: true,
            probe: Probe::Tcp,
        });
        Endpoints { backend: BackendName::tcp("a", service, 80), list: list.collect(), activation }
    }

    #[test]
    fn only_the_newest_of_a_backend_is_kept_and_in_order() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.tell(endpoints("x", &[1], Activation::Ready)), 1);
        assert_eq!(ledger.tell(endpoints("y", &[1], Activation::Ready)), 2);
        assert_eq!(ledger.tell(endpoints("x", &[1, 2], Activation::Ready)), 3);
        let order: Vec<_> =
            ledger.after(0).map(|(at, _, one)| (at, one.backend.service.clone(), one.list.len())).collect();
        assert_eq!(order, [(2, "y".into(), 1), (3, "x".into(), 2)]);
        assert_eq!(ledger.after(3).count(), 0);
    }

    #[test]
    fn what_is_known_already_keeps_its_number() {
        let mut ledger = Ledger::default();
        ledger.tell(endpoints("x", &[1], Activation::Ready));
        ledger.tell(endpoints("y", &[1], Activation::Ready));
        assert_eq!(ledger.tell(endpoints("x", &[1], Activation::Ready)), 1);
        assert_eq!(ledger.newest(), 2);
    }

    #[test]
    fn a_first_endpoint_and_an_activation_cannot_wait() {
        let mut ledger = Ledger::default();
        for (ports, activation, urgent) in [
            (&[][..], Activation::Ready, false),
            (&[1], Activation::Ready, true),
            (&[1, 2], Activation::Ready, false),
            (&[2], Activation::Ready, false),
            (&[2], Activation::Closing, true),
            (&[], Activation::Closing, false),
        ] {
            let at = ledger.tell(endpoints("x", ports, activation.clone()));
            assert_eq!(ledger.urgent() == at, urgent, "{ports:?} {activation:?}");
        }
    }

    #[test]
    fn endpoints_that_no_route_names_are_bounded_and_the_oldest_go() {
        let mut ledger = Ledger::default();
        for at in 0..UNNAMED_KEPT + 10 {
            ledger.tell(endpoints(&format!("s{at}"), &[1], Activation::Ready));
        }
        ledger.tell(endpoints("named", &[1], Activation::Ready));
        ledger.trim(1, |name| name.service == "named");
        let left: Vec<_> = ledger.after(0).map(|(_, _, one)| one.backend.service.clone()).collect();
        assert_eq!(left.len(), UNNAMED_KEPT + 1);
        assert_eq!((left.first().unwrap().as_str(), left.last().unwrap().as_str()), ("s10", "named"));
    }
}
