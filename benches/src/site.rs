//! What is routed and what is asked in the comparison with others: hosts and paths as data, which each peer writes in its own words.

use crate::{load, objects};

/// Hosts that all have the same paths, in order; the first one that fits wins where a peer keeps an order.
#[derive(Clone, Debug)]
pub struct Site {
    /// How many hosts, `objects::host(0)` and so on.
    pub hosts: usize,
    /// What is matched on each.
    pub paths: Vec<Path>,
    /// Targets that clients ask for in turn.
    asked: Vec<String>,
}

/// How a path is matched.
#[derive(Clone, Debug)]
pub enum Path {
    /// It begins so.
    Prefix(String),
    /// All of it fits.
    Regex(String),
}

impl Site {
    /// Hosts with four prefixes each.
    pub fn hosts(hosts: usize) -> Self {
        let texts = |list: [&str; 4]| list.map(str::to_owned).to_vec();
        Self {
            hosts,
            paths: texts(objects::PEER_PATHS).into_iter().map(Path::Prefix).collect(),
            asked: texts(["/orders/7", "/users/42?full=1", "/static/app.js", "/"]),
        }
    }

    /// One host with so many prefixes.
    pub fn rules(count: usize) -> Self {
        let path = |at: usize| format!("/rule-{at}/x");
        Self {
            hosts: 1,
            paths: (0..count).map(|at| Path::Prefix(path(at))).collect(),
            asked: (0..count).map(|at| format!("{}/7", path(at))).collect(),
        }
    }

    /// One host with so many regular expressions.
    pub fn regexes(count: usize) -> Self {
        Self {
            hosts: 1,
            paths: (0..count).map(|at| Path::Regex(format!("/v[0-9]+/kind-{at}/[a-z0-9-]+"))).collect(),
            asked: (0..count).map(|at| format!("/v2/kind-{at}/order-7")).collect(),
        }
    }

    /// Names of the hosts.
    pub fn names(&self) -> impl Iterator<Item = String> {
        (0..self.hosts).map(objects::host)
    }

    /// Requests over all hosts and paths. They jump, so that no peer has what it needs next in its cache only because of the order.
    pub fn heads(&self) -> Vec<Vec<u8>> {
        /// No number of hosts here is a multiple of it.
        const JUMP: usize = 7_919;
        let count = self.hosts.max(self.asked.len());
        let head = |at: usize| {
            let at = at * JUMP % count;
            load::get(&objects::host(at % self.hosts), &self.asked[at % self.asked.len()])
        };
        (0..count).map(head).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_host_and_every_path_is_asked() {
        assert_eq!(Site::hosts(1_000).heads().into_iter().collect::<BTreeSet<_>>().len(), 1_000);
        assert_eq!(Site::hosts(10).heads().len(), 10);
        assert_eq!(Site::rules(100).heads().into_iter().collect::<BTreeSet<_>>().len(), 100);
        assert_eq!(Site::hosts(1).heads().len(), 4);
    }
}
