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
    demand: Option<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    list: BTreeMap<String, Demand>,
    whole: bool,
}

impl Outbox {
    /// Keeps a report until it is taken; what it makes out of date goes.
    pub fn put(&mut self, report: Report) {
        match report {
            Report::Connected { program } => self.connected = Some(program),
            Report::Following(follows) => self.following = Some(follows),
            Report::Acknowledged { version, problems } => self.acknowledged = Some((version, problems)),
            Report::EndpointsApplied { sequence } => self.applied = Some(sequence),
            Report::Demand { list, whole } => {
                let counts = self.demand.get_or_insert_default();
                if whole {
                    *counts = Counts { list: BTreeMap::new(), whole };
                }
                counts.list.extend(list.into_iter().map(|one| (one.target.clone(), one)));
            }
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
            && self.demand.is_none()
    }

    /// The next.
    pub fn take(&mut self) -> Option<Report> {
        if let Some(program) = self.connected.take() {
            return Some(Report::Connected { program });
        }
        if let Some(follows) = self.following.take() {
            return Some(Report::Following(follows));
        }
        if let Some(Counts { list, whole }) = self.demand.take() {
            return Some(Report::Demand { list: list.into_values().collect(), whole });
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
            outbox.put(Report::Demand { list: vec![demand("a/x", round), demand("a/y", 1)], whole: false });
            outbox.put(Report::EndpointsApplied { sequence: round });
        }
        outbox.put(Report::Connected { program: "1".into() });
        assert_eq!(outbox.take(), Some(Report::Connected { program: "1".into() }));
        let list = vec![demand("a/x", 1_000), demand("a/y", 1)];
        assert_eq!(outbox.take(), Some(Report::Demand { list, whole: false }));
        assert_eq!(outbox.take(), Some(Report::EndpointsApplied { sequence: 1_000 }));
        assert_eq!(outbox.take(), None);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_whole_list_stays_whole_and_takes_the_place_of_all_before() {
        let demand = |target: &str, queued| Demand { target: target.into(), queued, ..Demand::default() };
        let mut outbox = Outbox::default();
        outbox.put(Report::Demand { list: vec![demand("a/gone", 1)], whole: false });
        outbox.put(Report::Demand { list: vec![demand("a/x", 1)], whole: true });
        outbox.put(Report::Demand { list: vec![demand("a/x", 2)], whole: false });
        assert_eq!(outbox.take(), Some(Report::Demand { list: vec![demand("a/x", 2)], whole: true }));
        outbox.put(Report::Demand { list: Vec::new(), whole: true });
        assert_eq!(outbox.take(), Some(Report::Demand { list: Vec::new(), whole: true }));
    }
}
