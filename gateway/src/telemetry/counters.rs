//! Counters that one core writes and the scraper reads: no lock, no shared cache line. Never written by two threads.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// A number that only its core adds to.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds; a load and a store, since there is one writer.
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the buckets, in milliseconds: from a warm function to the longest default request.
pub(super) const BUCKETS_MS: [f64; 16] = [
    1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0, 60_000.0,
    300_000.0,
];

/// Durations by bucket.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    // One more: beyond the last bound.
    counts: [Count; BUCKETS_MS.len() + 1],
    sum_us: Count,
}

impl Histogram {
    pub(super) fn observe(&self, time: Duration) {
        let ms = time.as_secs_f64() * 1000.0;
        self.counts[BUCKETS_MS.partition_point(|bound| *bound < ms)].add(1);
        self.sum_us.add(time.as_micros() as u64);
    }
}

/// The sum of the histograms of all cores.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Folded {
    pub counts: [u64; BUCKETS_MS.len() + 1],
    pub sum_us: u64,
}

impl Folded {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *sum += count.get();
        }
        self.sum_us += histogram.sum_us.get();
    }
}

/// Answers by hundreds of their status; the last is of those without an answer.
pub(super) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

#[derive(Debug, Default)]
pub(super) struct ByClass([Count; CLASSES.len()]);

impl ByClass {
    pub(super) fn add(&self, status: u16) {
        let class = usize::from(status / 100);
        self.0[if (1..=5).contains(&class) { class - 1 } else { CLASSES.len() - 1 }].add(1);
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(Count::get).sum()
    }

    pub(super) fn fold_into(&self, sums: &mut [u64; CLASSES.len()]) {
        for (sum, count) in sums.iter_mut().zip(&self.0) {
            *sum += count.get();
        }
    }
}

/// What became of a request that waited for a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// It was given an endpoint.
    Served,
    /// It was answered by the gateway.
    Refused,
    /// Its client left.
    Gone,
    /// Its rule changed, and it was routed again.
    Rerouted,
}

/// The ends of a wait, as labels.
pub(super) const WAIT_ENDS: [&str; 4] = ["served", "refused", "gone", "rerouted"];

/// The counters of one rule on one core.
#[derive(Debug)]
pub struct RuleSeries {
    pub(super) name: Box<str>,
    /// Whether it is still scraped; a core that finds it is not makes a new one.
    pub(super) listed: AtomicBool,
    pub(super) answers: ByClass,
    pub(super) bytes_in: Count,
    pub(super) bytes_out: Count,
    pub(super) carried: Carried,
}

/// What was carried and not read, and is over.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) ended: Count,
    pub(super) failed: Count,
}

impl Carried {
    pub(super) fn add(&self, failed: bool) {
        if failed { &self.failed } else { &self.ended }.add(1);
    }

    pub(super) fn total(&self) -> u64 {
        self.ended.get() + self.failed.get()
    }
}

/// The counters of one backend on one core.
#[derive(Debug)]
pub struct BackendSeries {
    pub(super) name: Box<str>,
    pub(super) listed: AtomicBool,
    pub(super) answers: ByClass,
    pub(super) times: Histogram,
    pub(super) waits: [Histogram; WAIT_ENDS.len()],
    pub(super) connects: Count,
    pub(super) reuses: Count,
    pub(super) retries: Count,
    pub(super) carried: Carried,
}

/// The counters of one listener's port on one core.
#[derive(Debug, Default)]
pub(super) struct PortSeries {
    pub times: Histogram,
}

/// What the sets of series have in common.
pub(super) trait Series {
    fn new(name: String) -> Self;
    fn name(&self) -> &str;
    fn listed(&self) -> &AtomicBool;
}

impl Series for RuleSeries {
    fn new(name: String) -> Self {
        Self {
            name: name.into(),
            listed: AtomicBool::new(true),
            answers: ByClass::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            carried: Carried::default(),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn listed(&self) -> &AtomicBool {
        &self.listed
    }
}

impl Series for BackendSeries {
    fn new(name: String) -> Self {
        Self {
            name: name.into(),
            listed: AtomicBool::new(true),
            answers: ByClass::default(),
            times: Histogram::default(),
            waits: Default::default(),
            connects: Count::default(),
            reuses: Count::default(),
            retries: Count::default(),
            carried: Carried::default(),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn listed(&self) -> &AtomicBool {
        &self.listed
    }
}

impl RuleSeries {
    /// The rule's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl BackendSeries {
    /// The backend's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection was taken: a new one, or one that was idle. On the series' own core only.
    pub fn connected(&self, reused: bool) {
        if reused { &self.reuses } else { &self.connects }.add(1);
    }

    /// A request is tried again. On the series' own core only.
    pub fn retried(&self) {
        self.retries.add(1);
    }

    /// A request waited. On the series' own core only.
    pub fn waited(&self, end: WaitEnd, time: Duration) {
        self.waits[end as usize].observe(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_bounds_it() {
        let histogram = Histogram::default();
        for us in [0, 1_000, 1_001, 300_000_000, 300_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut folded = Folded::default();
        folded.add(&histogram);
        assert_eq!((folded.counts[0], folded.counts[1], folded.counts[15], folded.counts[16]), (2, 1, 1, 1));
        assert_eq!(folded.sum_us, 600_002_002);
    }

    #[test]
    fn answers_fall_into_their_class() {
        let answers = ByClass::default();
        [101, 200, 204, 302, 404, 499, 503, 0, 999].iter().for_each(|status| answers.add(*status));
        let mut sums = [0; 6];
        answers.fold_into(&mut sums);
        assert_eq!(sums, [1, 2, 1, 2, 1, 2]);
    }
}
