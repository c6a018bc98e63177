//! Which endpoints are left out for a while because they fail. Pure: the time is an argument; never ejects so many that the rest would drown.

use super::Limits;
use std::time::{Duration, Instant};

/// The health of one endpoint as its requests show it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Consecutive failures.
    failures: u32,
    /// Consecutive ejections: each takes twice as long as the one before.
    ejections: u32,
    out_until: Option<Instant>,
}

impl Health {
    /// A request succeeded: all is forgotten, except that an ejection runs its time.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.ejections = 0;
    }

    /// A request failed; `true` if that ejects the endpoint now.
    pub fn failed(&mut self, now: Instant, limits: &Limits) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.out_until.is_some() || self.failures < limits.eject_failures {
            return false;
        }
        self.out_until = Some(now + ejection_time(self.ejections, limits));
        self.ejections = self.ejections.saturating_add(1);
        // One more failure after the return ejects again.
        self.failures = limits.eject_failures.saturating_sub(1);
        true
    }

    /// Ends an ejection whose time has come; `true` if it did.
    pub fn lapse(&mut self, now: Instant) -> bool {
        let over = self.out_until.is_some_and(|until| until <= now);
        if over {
            self.out_until = None;
        }
        over
    }

    /// When the ejection ends; `None` while the endpoint is in.
    pub fn out_until(&self) -> Option<Instant> {
        self.out_until
    }

    /// Whether a success would change anything.
    pub fn is_spotless(&self) -> bool {
        self.failures == 0 && self.ejections == 0
    }
}

fn ejection_time(before: u32, limits: &Limits) -> Duration {
    limits.eject_least.saturating_mul(1 << before.min(16)).min(limits.eject_most)
}

/// Whether ejections are ignored: more than half of the endpoints would be out, so the cause is likely not theirs, and the rest
/// could not bear the load (the panic threshold).
pub fn is_panic(out: usize, of: usize) -> bool {
    out * 2 > of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ejects_after_consecutive_failures_for_a_growing_time() {
        let limits = Limits::default();
        let t0 = Instant::now();
        let mut health = Health::default();
        for _ in 0..4 {
            assert!(!health.failed(t0, &limits));
        }
        health.succeeded();
        for _ in 0..4 {
            assert!(!health.failed(t0, &limits), "a success starts the count anew");
        }
        let mut now = t0;
        for expected_s in [1, 2, 4, 8, 16, 30, 30] {
            assert!(health.failed(now, &limits), "{expected_s}");
            assert_eq!(health.out_until(), Some(now + Duration::from_secs(expected_s)));
            assert!(!health.lapse(now));
            now += Duration::from_secs(expected_s);
            assert!(health.lapse(now));
            assert_eq!(health.out_until(), None);
        }
        health.succeeded();
        assert!(health.is_spotless());
    }

    #[test]
    fn panics_above_half() {
        let cases =
            [(0, 0, false), (0, 1, false), (1, 1, true), (1, 2, false), (2, 2, true), (1, 3, false), (2, 3, true)];
        for (out, of, panic) in cases {
            assert_eq!(is_panic(out, of), panic, "{out} of {of}");
        }
    }
}
