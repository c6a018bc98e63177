//! Which policy a port of a Service has: that for its name before the one for all ports, and of two the one that came first. Never judges a policy.

use crate::Key;
use headgate_config::Text;
use std::collections::{BTreeMap, btree_map::Entry};

/// A Service, and the name of a port of it; `None` for all its ports.
pub(crate) type Place = (Key, Option<Text>);

/// What each place has, and the policy that says so.
#[derive(Debug)]
pub(crate) struct Applied<T>(BTreeMap<Place, (T, Key)>);

impl<T> Default for Applied<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: PartialEq> Applied<T> {
    /// Gives a place what a policy makes of it.
    ///
    /// # Errors
    /// The policy that has it already.
    pub fn claim(&mut self, place: Place, policy: Key, what: T) -> Result<(), &Key> {
        match self.0.entry(place) {
            Entry::Occupied(other) => Err(&other.into_mut().1),
            Entry::Vacant(free) => {
                free.insert((what, policy));
                Ok(())
            }
        }
    }

    /// What applies to a port.
    pub fn to_port(&self, service: &Key, port: &str) -> Option<&T> {
        if self.0.is_empty() {
            return None;
        }
        let named = self.0.get(&(service.clone(), Some(port.into())));
        named.or_else(|| self.0.get(&(service.clone(), None))).map(|(what, _)| what)
    }

    /// The Services for which something else applies.
    pub fn differing<'p>(&'p self, other: &'p Self) -> impl Iterator<Item = &'p Key> {
        let differs = |(here, there): (&'p Self, &'p Self)| {
            let is_other = |place: &Place, what: &T| there.0.get(place).is_none_or(|(known, _)| known != what);
            here.0.iter().filter(move |(place, (what, _))| is_other(place, what)).map(|((service, _), _)| service)
        };
        [(self, other), (other, self)].into_iter().flat_map(differs)
    }
}
