//! When a target that fails to start is tried again, and when it counts as broken. Never reads a clock.

use std::time::{Duration, Instant};

/// This many failures in a row are a broken target.
const BROKEN_AFTER: u32 = 3;
/// Pauses before the first two retries.
const PAUSES_FIRST: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
/// Later ones double from a second up to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Failures to start, in a row; as CrashLoopBackOff of Kubernetes, but faster, for somebody waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    failed_at: Option<Instant>,
    retry_at: Option<Instant>,
    broken: Option<String>,
}

impl Backoff {
    /// A replica that was started at `started` ended before it could serve.
    ///
    /// Replicas that were started together fail together: that is one attempt, and makes one pause.
    pub fn failed(&mut self, now: Instant, started: Instant, reason: &str) {
        let same_attempt = self.failed_at.is_some_and(|failed_at| started < failed_at);
        self.failures = match self.failures + 1 {
            more if same_attempt => more.min(BROKEN_AFTER).max(self.failures),
            more => more,
        };
        self.note(now, reason);
    }

    /// It can never start as it is (no such command): broken at once, and tried again as rarely.
    pub fn hopeless(&mut self, now: Instant, reason: &str) {
        self.failures = (self.failures + 1).max(BROKEN_AFTER);
        self.note(now, reason);
    }

    /// A replica serves.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A replica serves, but has not yet shown that it stays: no longer broken, and the next failure counts on.
    pub fn serves(&mut self) {
        self.retry_at = None;
        self.broken = None;
    }

    /// Nobody asked for long: the next request is tried in earnest, and its first failure is enough to be broken again.
    pub fn forget_gently(&mut self) {
        self.broken = None;
        self.failures = self.failures.min(BROKEN_AFTER - 1);
    }

    /// Why it is broken.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Whether the last attempt failed: then one replica at a time is tried.
    pub fn is_careful(&self) -> bool {
        self.retry_at.is_some()
    }

    /// Whether a failure still counts.
    pub fn remembers(&self) -> bool {
        self.failures > 0
    }

    /// Whether a start is allowed now.
    pub fn may_start(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// When the next start is allowed, if the last attempt failed.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    fn note(&mut self, now: Instant, reason: &str) {
        self.failed_at = Some(now);
        self.retry_at = Some(now + pause_after(self.failures));
        if self.failures >= BROKEN_AFTER {
            self.broken = Some(reason.to_owned());
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    let index = failures.saturating_sub(1);
    PAUSES_FIRST.get(index as usize).copied().unwrap_or_else(|| {
        let doubled = index - PAUSES_FIRST.len() as u32;
        Duration::from_secs(1 << doubled.min(6)).min(PAUSE_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_failure_breaks_and_pauses_double_to_a_minute() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        let expected_ms = [100, 300, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
        for (index, expected_ms) in expected_ms.into_iter().enumerate() {
            backoff.failed(now, now, "exited with code 3");
            let pause = backoff.retry_at().unwrap() - now;
            assert_eq!(pause, Duration::from_millis(expected_ms), "failure {index}");
            assert_eq!(backoff.broken(), (index >= 2).then_some("exited with code 3"), "failure {index}");
            assert!(!backoff.may_start(now));
            now += pause;
            assert!(backoff.may_start(now));
        }
        backoff.succeeded();
        assert_eq!(backoff, Backoff::default());
    }

    #[test]
    fn failures_of_one_attempt_break_but_do_not_lengthen_the_pause() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for index in 1..=10 {
            backoff.failed(now + Duration::from_millis(index), now, "x");
        }
        assert!(backoff.broken().is_some());
        assert_eq!(backoff.retry_at(), Some(now + Duration::from_millis(1_010)));
    }

    #[test]
    fn hopeless_is_broken_at_once_and_tried_again() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.hopeless(now, "not found");
        assert_eq!((backoff.broken(), backoff.retry_at()), (Some("not found"), Some(now + Duration::from_secs(1))));
    }

    #[test]
    fn after_serving_briefly_the_count_goes_on() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        (0..3).for_each(|_| backoff.failed(now, now, "x"));
        backoff.serves();
        assert!(backoff.broken().is_none() && backoff.may_start(now));
        backoff.failed(now, now, "y");
        assert_eq!(backoff.broken(), Some("y"));
        backoff.forget_gently();
        assert!(backoff.broken().is_none());
        backoff.failed(now, now, "z");
        assert_eq!(backoff.broken(), Some("z"));
    }
}
