//! What is routed and what is asked in the comparison with others: hosts and rules as data, which each peer writes in its own words.

use crate::{load, objects};

/// The field by which rules differ where they differ by a field.
pub const FIELD: &str = "x-tenant";

/// Hosts that all have the same rules, in order; the first one that fits wins where a peer keeps an order.
#[derive(Clone, Debug)]
pub struct Site {
    /// How many hosts, `objects::host(0)` and so on.
    pub hosts: usize,
    /// What is matched on each.
    pub rules: Vec<Rule>,
    /// What clients ask for in turn.
    asked: Vec<Asked>,
}

/// What a rule matches.
#[derive(Clone, Debug)]
pub enum Rule {
    /// The path begins so.
    Prefix(String),
    /// All of the path fits.
    Regex(String),
    /// Any path where [`FIELD`] has this value.
    Field(String),
}

#[derive(Clone, Debug)]
struct Asked {
    target: String,
    /// The value of [`FIELD`].
    field: Option<String>,
}

impl Asked {
    fn target(target: impl Into<String>) -> Self {
        Self { target: target.into(), field: None }
    }
}

impl Site {
    /// Hosts with four prefixes each.
    pub fn hosts(hosts: usize) -> Self {
        let asked = ["/orders/7", "/users/42?full=1", "/static/app.js", "/"];
        let rules = objects::PEER_PATHS.map(|path| Rule::Prefix(path.to_owned()));
        Self { hosts, rules: rules.to_vec(), asked: asked.map(Asked::target).to_vec() }
    }

    /// One host with so many prefixes.
    pub fn rules(count: usize) -> Self {
        let path = |at: usize| format!("/rule-{at}/x");
        Self {
            hosts: 1,
            rules: (0..count).map(|at| Rule::Prefix(path(at))).collect(),
            asked: (0..count).map(|at| Asked::target(format!("{}/7", path(at)))).collect(),
        }
    }

    /// One host with so many regular expressions.
    pub fn regexes(count: usize) -> Self {
        Self {
            hosts: 1,
            rules: (0..count).map(|at| Rule::Regex(format!("/v[0-9]+/kind-{at}/[a-z0-9-]+"))).collect(),
            asked: (0..count).map(|at| Asked::target(format!("/v2/kind-{at}/order-7"))).collect(),
        }
    }

    /// One host with so many rules that differ by the value of a field only.
    pub fn fields(count: usize) -> Self {
        let value = |at: usize| format!("tenant-{at}");
        Self {
            hosts: 1,
            rules: (0..count).map(|at| Rule::Field(value(at))).collect(),
            asked: (0..count).map(|at| Asked { field: Some(value(at)), ..Asked::target("/orders/7") }).collect(),
        }
    }

    /// Names of the hosts.
    pub fn names(&self) -> impl Iterator<Item = String> {
        (0..self.hosts).map(objects::host)
    }

    /// Requests over all hosts and rules. They jump, so that no peer has what it needs next in its cache only because of the order.
    pub fn heads(&self) -> Vec<Vec<u8>> {
        /// No number of hosts here is a multiple of it.
        const JUMP: usize = 7_919;
        let count = self.hosts.max(self.asked.len());
        let head = |at: usize| {
            let at = at * JUMP % count;
            let Asked { target, field } = &self.asked[at % self.asked.len()];
            let field = field.as_ref().map_or(String::new(), |value| format!("{FIELD}: {value}\r\n"));
            load::get_with(&objects::host(at % self.hosts), target, &field)
        };
        (0..count).map(head).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_host_and_every_rule_is_asked() {
        assert_eq!(Site::hosts(1_000).heads().into_iter().collect::<BTreeSet<_>>().len(), 1_000);
        assert_eq!(Site::hosts(10).heads().len(), 10);
        assert_eq!(Site::rules(100).heads().into_iter().collect::<BTreeSet<_>>().len(), 100);
        assert_eq!(Site::hosts(1).heads().len(), 4);
        let heads = Site::fields(100).heads().concat();
        let heads = String::from_utf8(heads).unwrap();
        assert!((0..100).all(|at| heads.contains(&format!("\r\nx-tenant: tenant-{at}\r\n"))), "{heads}");
    }
}
