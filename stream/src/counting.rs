//! When a gateway tells its counts, and which. Pure: time comes as an argument; a count that is not told is never lost, since the next one is newer.

use headgate_config::Demand;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// While requests wait for something to start.
const BUSY: Duration = Duration::from_millis(10);
/// While something is listed or asked for.
const LIVE: Duration = Duration::from_millis(100);
/// Otherwise; and all counts are told this often.
const WHOLE: Duration = Duration::from_secs(1);

/// What was told on one stream, and when the next count is due.
#[derive(Debug)]
pub struct Counting {
    told: HashMap<String, Demand>,
    counted: Instant,
    period: Duration,
    whole_due: Instant,
}

impl Counting {
    /// Nothing was told yet: everything is due.
    pub fn new(now: Instant) -> Self {
        Self { told: HashMap::new(), counted: now, period: Duration::ZERO, whole_due: now }
    }

    /// Nothing could be told: everything is due again, a little later.
    pub fn after(now: Instant) -> Self {
        Self { told: HashMap::new(), counted: now, period: LIVE, whole_due: now + LIVE }
    }

    /// When to count next.
    pub fn due(&self) -> Instant {
        (self.counted + self.period).min(self.whole_due)
    }

    /// Whether all targets are to be counted.
    pub fn is_whole(&self, now: Instant) -> bool {
        self.whole_due <= now
    }

    /// Something is newly demanded.
    pub fn stir(&mut self) {
        self.period = self.period.min(BUSY);
    }

    /// Takes a count; gives what is to be told of it: all if `whole`, otherwise what differs from what was told.
    pub fn count(&mut self, now: Instant, demand: Vec<Demand>, whole: bool) -> Vec<Demand> {
        self.counted = now;
        self.period = demand.iter().map(period).min().unwrap_or(WHOLE);
        if whole {
            self.whole_due = now + WHOLE;
            self.told = demand.iter().map(|one| (one.target.clone(), one.clone())).collect();
            return demand;
        }
        let is_news = |one: &Demand| self.told.get(&one.target) != Some(one);
        let news: Vec<Demand> = demand.into_iter().filter(is_news).collect();
        self.told.extend(news.iter().map(|one| (one.target.clone(), one.clone())));
        news
    }
}

fn period(demand: &Demand) -> Duration {
    match demand {
        demand if demand.queued > 0 || demand.leased => BUSY,
        demand if demand.in_flight > 0 || !demand.endpoints.is_empty() => LIVE,
        _ => WHOLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(target: &str, queued: u64) -> Demand {
        Demand { target: target.into(), queued, ..Demand::default() }
    }

    #[test]
    fn all_at_first_and_every_second_and_between_only_what_changed() {
        let start = Instant::now();
        let mut counting = Counting::new(start);
        assert!(counting.due() <= start && counting.is_whole(start));
        let both = vec![demand("a/x", 1), demand("a/y", 0)];
        assert_eq!(counting.count(start, both.clone(), true), both);
        assert_eq!(counting.due(), start + BUSY);
        let later = start + BUSY;
        assert!(!counting.is_whole(later));
        assert_eq!(counting.count(later, vec![demand("a/x", 2), demand("a/y", 0)], false), [demand("a/x", 2)]);
        assert_eq!(counting.count(later, vec![demand("a/x", 2)], false), []);
        assert!(counting.is_whole(start + WHOLE));
    }

    #[test]
    fn what_rests_is_counted_once_a_second_until_it_stirs() {
        let start = Instant::now();
        let mut counting = Counting::new(start);
        counting.count(start, vec![demand("a/x", 0)], true);
        assert_eq!(counting.due(), start + WHOLE);
        counting.stir();
        assert_eq!(counting.due(), start + BUSY);
    }
}
