//! What is known of starting a backend: how long starts took, what follows for waiting, and the release after one. Pure: the time is an argument.

use super::Limits;
use headgate_config::BackendName;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How many starts are remembered for the 90th percentile.
const STARTS_KEPT: usize = 32;

/// Observed start times, from the first request that waited to the first ready endpoint.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    ewma: Option<Duration>,
    recent: Vec<Duration>,
    next: usize,
}

impl Starts {
    /// Remembers a start.
    pub fn observe(&mut self, took: Duration) {
        self.ewma = Some(self.ewma.map_or(took, |old| old.mul_f64(0.7) + took.mul_f64(0.3)));
        if self.recent.len() < STARTS_KEPT {
            self.recent.push(took);
        } else {
            self.recent[self.next] = took;
        }
        self.next = (self.next + 1) % STARTS_KEPT;
    }

    /// The 90th percentile (nearest rank); `None` without history.
    pub fn p90(&self) -> Option<Duration> {
        let mut sorted = self.recent.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * 9).div_ceil(10);
        sorted.get(rank.checked_sub(1)?).copied()
    }

    /// How long a request may wait where nothing else is configured.
    pub fn wait_limit(&self, limits: &Limits) -> Duration {
        self.p90().map_or(limits.wait_unknown, |p90| p90.mul_f64(3.5).max(limits.wait_least))
    }

    /// When a caller should come again, `elapsed` after the start began: when it is likely over.
    pub fn retry_after(&self, elapsed: Duration, limits: &Limits) -> Duration {
        let Some(expected) = self.ewma else { return limits.retry_unknown };
        let late = elapsed > expected;
        let until = if late { self.p90().unwrap_or(expected) } else { expected };
        until.saturating_sub(elapsed).max(limits.retry_least)
    }
}

/// A start that runs.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// When the first request waited.
    pub since: Instant,
}

/// The release after a cold start without a concurrency bound: one request, then twice as many with each that succeeds, so that
/// the first endpoint is not flooded by all who waited.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    opened: Instant,
    window: u32,
}

/// A window this wide is no bound any more.
const RAMP_WINDOW_OPEN: u32 = 1 << 10;

impl Ramp {
    /// Begins.
    pub fn new(now: Instant) -> Self {
        Self { opened: now, window: 1 }
    }

    /// Whether one more may be released while `outstanding` are under way.
    pub fn has_room(&self, outstanding: u32) -> bool {
        outstanding < self.window
    }

    /// A released request got the first byte of its answer.
    pub fn succeeded(&mut self) {
        self.window = self.window.saturating_mul(2);
    }

    /// Whether the release is fully open.
    pub fn is_over(&self, now: Instant, limits: &Limits) -> bool {
        self.window >= RAMP_WINDOW_OPEN || self.ends_at(limits) <= now
    }

    /// When it opens fully at the latest.
    pub fn ends_at(&self, limits: &Limits) -> Instant {
        self.opened + limits.ramp
    }
}

/// A cold start as it happened, for the program to print and for histograms. All times count from the first request that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdStart {
    /// Of which backend.
    pub backend: BackendName,
    /// Its scale target.
    pub target: Option<Arc<str>>,
    /// Until an endpoint was ready.
    pub ready: Duration,
    /// Until the first request was given an endpoint; `None` if all had left.
    pub dispatched: Option<Duration>,
    /// Until the first byte of the first answer; `None` if none came within 30 s.
    pub first_byte: Option<Duration>,
    /// Requests that waited when it was ready.
    pub held: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn estimates() {
        let limits = Limits::default();
        let mut starts = Starts::default();
        assert_eq!((starts.p90(), starts.wait_limit(&limits)), (None, ms(60_000)));
        assert_eq!(starts.retry_after(ms(0), &limits), ms(5_000));
        (1..=10).for_each(|n| starts.observe(ms(n * 1_000)));
        assert_eq!((starts.p90(), starts.wait_limit(&limits)), (Some(ms(9_000)), ms(31_500)));
        let ewma = starts.ewma.unwrap();
        assert!(ewma > ms(7_000) && ewma < ms(9_000), "{ewma:?}");
        assert_eq!(starts.retry_after(ms(2_000), &limits), ewma - ms(2_000));
        assert_eq!(starts.retry_after(ms(60_000), &limits), ms(1_000), "late: the least");
        (0..100).for_each(|_| starts.observe(ms(120)));
        assert_eq!((starts.p90(), starts.wait_limit(&limits)), (Some(ms(120)), ms(10_000)), "only the newest count");
        assert_eq!(starts.recent.len(), STARTS_KEPT);
    }

    #[test]
    fn ramp_doubles_with_each_success_and_opens_by_itself() {
        let (limits, t0) = (Limits::default(), Instant::now());
        let mut ramp = Ramp::new(t0);
        assert!(ramp.has_room(0) && !ramp.has_room(1));
        ramp.succeeded();
        ramp.succeeded();
        assert!(ramp.has_room(3) && !ramp.has_room(4));
        assert!(!ramp.is_over(t0 + ms(1_999), &limits) && ramp.is_over(t0 + ms(2_000), &limits));
        (0..8).for_each(|_| ramp.succeeded());
        assert!(ramp.is_over(t0, &limits));
    }
}
