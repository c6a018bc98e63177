//! Reports of one session that its controller has not taken yet: the newest of each kind, so that it is bounded by what there is to know. Never blocks.

use crate::report::Report;
use headgate_config::{Demand, Version};
use std::collections::BTreeMap;

/// The newest of each kind.
#[derive(Debug, Default)]
pub struct Outbox {
    connected: Option<String>,
    following: Option<bool>,
    acknowledged: Option<(Version, Vec<String>)>,
    applied: Option<u64>,
    demand: BTreeMap<String, Demand>,
}

impl Outbox {
    /// Keeps a report until it is taken; what it makes out of date goes.
    pub fn put(&mut self, report: Report) {
        match report {
            Report::Connected { program } => self.connected = Some(program),
            Report::Following(follows) => self.following = Some(follows),
            Report::Acknowledged { version, problems } => self.acknowledged = Some((version, problems)),
            Report::EndpointsApplied { sequence } => self.applied = Some(sequence),
            Report::Demand(list) => self.demand.extend(list.into_iter().map(|one| (one.target.clone(), one))),
            // said by who ends the session
            Report::Gone => {}
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.connected.is_none()
            && self.following.is_none()
            && self.acknowledged.is_none()
            && self.applied.is_none()
            && self.demand.is_empty()
    }

    /// The next.
    pub fn take(&mut self) -> Option<Report> {
        if let Some(program) = self.connected.take() {
            return Some(Report::Connected { program });
        }
        if let Some(follows) = self.following.take() {
            return Some(Report::Following(follows));
        }
        if !self.demand.is_empty() {
            return Some(Report::Demand(std::mem::take(&mut self.demand).into_values().collect()));
        }
        if let Some(sequence) = self.applied.take() {
            return Some(Report::EndpointsApplied { sequence });
        }
        self.acknowledged.take().map(|(version, problems)| Report::Acknowledged { version, problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_kind_is_kept() {
        let demand = |target: &str, queued| Demand { target: target.into(), queued, ..Demand::default() };
        let mut outbox = Outbox::default();
        for round in 1..=1_000 {
            outbox.put(Report::Demand(vec![demand("a/x", round), demand("a/y", 1)]));
            outbox.put(Report::EndpointsApplied { sequence: round });
        }
        outbox.put(Report::Connected { program: "1".into() });
        assert_eq!(outbox.take(), Some(Report::Connected { program: "1".into() }));
        assert_eq!(outbox.take(), Some(Report::Demand(vec![demand("a/x", 1_000), demand("a/y", 1)])));
        assert_eq!(outbox.take(), Some(Report::EndpointsApplied { sequence: 1_000 }));
        assert_eq!(outbox.take(), None);
        assert!(outbox.is_empty());
    }
}
