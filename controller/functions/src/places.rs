//! Which function gets the requests for a host and a match: of several that want a place, the oldest, then the first by name. Never a route of a person, which Gateway API weighs against ours.

use crate::{
    kinds::{Function, NamespacedName},
    route::{FunctionRoute, lost},
};
use headgate_translate::{kinds::HTTPMatch, schema::Problem};
use std::collections::{BTreeMap, BTreeSet};

/// Seconds since 1970, and the name: the least wins.
type Rank = (i64, NamespacedName);

/// A host and a match of it.
type Place = (String, HTTPMatch);

/// The places that functions want. A change costs as many as share a host with it.
#[derive(Debug, Default)]
pub struct Places {
    /// By host, each match with all that want it.
    wanted: BTreeMap<String, Vec<(HTTPMatch, BTreeSet<Rank>)>>,
    of: BTreeMap<NamespacedName, (i64, Vec<Place>)>,
}

impl Places {
    /// A function wants the places of its route, and no others; without one it wants none. Names the other functions that want any of
    /// those places or of the ones before: what is said of them may be another thing.
    pub fn set(&mut self, function: &Function, route: Option<&FunctionRoute>) -> BTreeSet<NamespacedName> {
        let places = route.map(|route| route.places().collect()).unwrap_or_default();
        self.put(&function.reference(), function.meta.created, places)
    }

    /// There is no such function any more; as `set`.
    pub fn remove(&mut self, function: &NamespacedName) -> BTreeSet<NamespacedName> {
        self.put(function, 0, Vec::new())
    }

    fn put(&mut self, function: &NamespacedName, created: i64, places: Vec<Place>) -> BTreeSet<NamespacedName> {
        let mut others = BTreeSet::new();
        if self.of.get(function).is_some_and(|(known, of)| *known == created && *of == places) {
            return others;
        }
        if let Some((created, before)) = self.of.remove(function) {
            let rank = (created, function.clone());
            for place in &before {
                others.extend(self.leave(place, &rank));
            }
        }
        let rank = (created, function.clone());
        for (host, matching) in &places {
            let of_host = self.wanted.entry(host.clone()).or_default();
            match of_host.iter_mut().find(|(known, _)| known == matching) {
                Some((_, ranks)) => {
                    others.extend(ranks.iter().map(|(_, name)| name.clone()));
                    ranks.insert(rank.clone());
                }
                None => of_host.push((matching.clone(), BTreeSet::from([rank.clone()]))),
            }
        }
        if !places.is_empty() {
            self.of.insert(function.clone(), (created, places));
        }
        others.remove(function);
        others
    }

    /// Takes a function out of a place; those that want it still.
    fn leave(&mut self, (host, matching): &Place, rank: &Rank) -> Vec<NamespacedName> {
        let Some(of_host) = self.wanted.get_mut(host) else { return Vec::new() };
        let mut left = Vec::new();
        for (_, ranks) in of_host.iter_mut().filter(|(known, _)| known == matching) {
            ranks.remove(rank);
            left.extend(ranks.iter().map(|(_, name)| name.clone()));
        }
        of_host.retain(|(_, ranks)| !ranks.is_empty());
        if of_host.is_empty() {
            self.wanted.remove(host);
        }
        left
    }

    /// A warning for each place that a function wants and another one has.
    pub fn lost(&self, function: &Function) -> Vec<Problem> {
        let name = function.reference();
        let Some((_, places)) = self.of.get(&name) else { return Vec::new() };
        let owner = |(host, matching): &Place| {
            let mut of_host = self.wanted.get(host)?.iter();
            let (_, first) = of_host.find(|(known, _)| known == matching)?.1.first()?;
            (*first != name).then(|| lost(function, host, matching, first))
        };
        places.iter().filter_map(owner).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_translate::kinds::PathMatch;

    fn place(host: &str, path: &str) -> Place {
        let path = PathMatch { value: path.into(), ..PathMatch::default() };
        (host.into(), HTTPMatch { path, ..HTTPMatch::default() })
    }

    fn name(text: &str) -> NamespacedName {
        NamespacedName::new("shop".to_owned(), text)
    }

    #[test]
    fn the_oldest_has_a_place_until_it_leaves() {
        let mut places = Places::default();
        let first = |places: &Places, host: &str| {
            places.wanted.get(host).and_then(|all| all[0].1.first()).map(|(_, name)| name.name.clone())
        };
        assert_eq!(places.put(&name("b"), 20, vec![place("a.io", "/"), place("b.io", "/")]), BTreeSet::new());
        assert_eq!(
            places.put(&name("a"), 20, vec![place("a.io", "/x")]),
            BTreeSet::new(),
            "another path is another place"
        );
        assert_eq!(places.put(&name("c"), 10, vec![place("a.io", "/")]), BTreeSet::from([name("b")]));
        assert_eq!(first(&places, "a.io").as_deref(), Some("c"), "it is older");
        assert_eq!(places.put(&name("c"), 10, vec![place("a.io", "/")]), BTreeSet::new(), "nothing is new");
        assert_eq!(places.put(&name("c"), 10, vec![place("c.io", "/")]), BTreeSet::from([name("b")]));
        assert_eq!(first(&places, "a.io").as_deref(), Some("b"));
        places.remove(&name("b"));
        assert_eq!(places.wanted.keys().collect::<Vec<_>>(), ["a.io", "c.io"], "nothing is kept");
    }
}
