//! How many of a backend's requests may be tries after the first: a share of those of late, and a least rate whatever the share (GEP-3388). Pure: the time is an argument. Bounded: two windows of ten counts each, however many requests come.

use headgate_config::RetryBudget;
use std::time::{Duration, Instant};

/// A window is counted in so many slices, so that what is over leaves it bit by bit.
const SLICES: usize = 10;

/// The budget of one backend.
#[derive(Debug)]
pub(super) struct Retries {
    spec: RetryBudget,
    /// All tries of the interval.
    tries: Window,
    /// Those of them after the first.
    again: Window,
    /// Those after the first, in the time of the least rate.
    least: Window,
}

impl Retries {
    /// Nothing was tried yet.
    pub fn new(spec: RetryBudget, now: Instant) -> Self {
        let window = |ms: u64| Window::new(Duration::from_millis(ms), now);
        let (tries, again) = (window(spec.interval_ms), window(spec.interval_ms));
        Self { spec, tries, again, least: window(spec.least_interval_ms) }
    }

    /// What it was made for.
    pub fn spec(&self) -> &RetryBudget {
        &self.spec
    }

    /// A request is tried for the first time.
    pub fn begin(&mut self, now: Instant) {
        self.tries.add(now);
    }

    /// Whether one may be tried again; if so, that counts.
    pub fn spend(&mut self, now: Instant) -> bool {
        // with the one that is asked for
        let (tries, again) = (self.tries.sum(now) + 1, self.again.sum(now) + 1);
        let is_within = again * 100 <= tries * u64::from(self.spec.percent);
        let is_granted = is_within || self.least.sum(now) < u64::from(self.spec.least_count);
        if is_granted {
            [&mut self.tries, &mut self.again, &mut self.least].into_iter().for_each(|window| window.add(now));
        }
        is_granted
    }
}

/// What was counted in the time that has just been.
#[derive(Debug)]
struct Window {
    began: Instant,
    slice: Duration,
    /// The newest slice, by number since it began; it is at this number modulo their count.
    newest: u64,
    counts: [u32; SLICES],
}

impl Window {
    fn new(length: Duration, now: Instant) -> Self {
        let slice = (length / SLICES as u32).max(Duration::from_micros(1));
        Self { began: now, slice, newest: 0, counts: [0; SLICES] }
    }

    fn add(&mut self, now: Instant) {
        self.advance(now);
        let count = &mut self.counts[(self.newest % SLICES as u64) as usize];
        *count = count.saturating_add(1);
    }

    fn sum(&mut self, now: Instant) -> u64 {
        self.advance(now);
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Forgets what is over; a time before the newest counts as that.
    fn advance(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_nanos() / self.slice.as_nanos();
        let at = u64::try_from(since).unwrap_or(u64::MAX).max(self.newest);
        let passed = (at - self.newest).min(SLICES as u64);
        for slice in 1..=passed {
            // all of them where so much passed
            self.counts[((self.newest.wrapping_add(slice)) % SLICES as u64) as usize] = 0;
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(percent: u32, least_count: u32) -> RetryBudget {
        RetryBudget { percent, interval_ms: 10_000, least_count, least_interval_ms: 1_000 }
    }

    /// How many of these many asked at once are granted.
    fn granted(retries: &mut Retries, asked: u32, now: Instant) -> u32 {
        (0..asked).map(|_| u32::from(retries.spend(now))).sum()
    }

    #[test]
    fn a_share_of_all_tries_may_be_later_ones() {
        let now = Instant::now();
        let mut retries = Retries::new(spec(20, 0), now);
        assert_eq!(granted(&mut retries, 10, now), 0, "of nothing nothing");
        (0..800).for_each(|_| retries.begin(now));
        assert_eq!(granted(&mut retries, 1_000, now), 200, "200 of 1000 tries");
        assert_eq!(granted(&mut Retries::new(spec(100, 0), now), 50, now), 50, "all may be");
    }

    #[test]
    fn a_least_rate_holds_whatever_the_share() {
        let now = Instant::now();
        let mut retries = Retries::new(spec(0, 3), now);
        for second in 0..5 {
            let now = now + Duration::from_secs(2 * second);
            assert_eq!(granted(&mut retries, 10, now), 3, "{second}");
        }
    }

    #[test]
    fn what_is_over_counts_no_more_and_a_clock_that_stands_or_jumps_does_no_harm() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut retries = Retries::new(spec(50, 0), now);
        (0..10).for_each(|_| retries.begin(at(500)));
        assert_eq!(granted(&mut retries, 20, at(9_000)), 10);
        assert_eq!(granted(&mut retries, 20, at(10_000)), 0, "those of the first slice left, the later tries are here");
        assert_eq!(granted(&mut retries, 20, at(500)), 0, "from a core that is late");
        (0..10).for_each(|_| retries.begin(at(30_000)));
        assert_eq!(granted(&mut retries, 20, at(30_000)), 10, "all of before is over");
        (0..4).for_each(|_| retries.begin(at(86_400_000)));
        assert_eq!(granted(&mut retries, 20, at(86_400_000)), 4);
    }

    #[test]
    fn it_stays_small() {
        assert!(size_of::<Retries>() <= 320, "{}", size_of::<Retries>());
    }
}
