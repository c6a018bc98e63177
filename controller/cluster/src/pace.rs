//! When an object may be written again: bursts collapse, failures back off, and a quarrel over a status slows down. Never reads a clock.

use std::time::{Duration, Instant};

/// After a write the next one of the same object waits this long, so that a burst becomes one.
pub const PAUSE: Duration = Duration::from_millis(150);
/// The pause of an object that changes all the time: routes that come by the thousand change the count of their Gateway each.
pub const PAUSE_BURST: Duration = Duration::from_secs(1);
/// So many writes follow each other at the shortest pause, before the pauses of a burst grow.
const BURST_FREE: u32 = 3;
/// What changes this long after a pause is no part of the burst any more.
const CALM: Duration = Duration::from_millis(500);
/// A status that others change back each time is written at most this seldom.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The answer to a write counts for this long against older versions that the watch still shows.
pub const ANSWER_HOLDS: Duration = Duration::from_secs(10);
/// The watch shows another version within this time of a conflict, or the write is tried again.
const CONFLICT: Duration = Duration::from_millis(500);
const FAILED: Duration = Duration::from_millis(200);
const FAILED_MAX: Duration = Duration::from_secs(10);
/// While nobody answers, little is lost by asking: what is to be said is to stand there soon after the API server is back.
const UNAVAILABLE_MAX: Duration = Duration::from_secs(2);
/// Whoever grants a right that was missing looks whether it helps.
const REFUSED: Duration = Duration::from_secs(10);
const REFUSED_MAX: Duration = Duration::from_secs(60);

/// Why a write is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The object was another one.
    Conflict,
    /// The same would be refused again.
    Refused,
    /// Its namespace is being deleted, and it with it: there is nobody to be told.
    Ending,
    /// There was no answer.
    Unavailable,
}

/// What an object waits for.
#[derive(Debug, Default)]
pub struct Delay {
    rest_until: Option<Instant>,
    retry: Option<(Failure, Instant)>,
    failures: u32,
    /// Writes that followed each other without calm between them.
    burst: u32,
    /// How often the same was written again, because somebody else changed it.
    quarrels: u32,
}

impl Delay {
    /// When it may be written.
    pub fn due(&self, now: Instant) -> Instant {
        let retry = self.retry.map(|(_, at)| at);
        [self.rest_until, retry].into_iter().flatten().fold(now, Instant::max)
    }

    /// It was written; `again` if that was only to say the same again.
    pub fn written(&mut self, now: Instant, again: bool) {
        self.quarrels = if again { self.quarrels.saturating_add(1) } else { 0 };
        let is_burst = self.rest_until.is_some_and(|until| now <= until + CALM);
        self.burst = if is_burst { self.burst.saturating_add(1) } else { 0 };
        let of_burst = doubled(PAUSE, self.burst.saturating_sub(BURST_FREE), PAUSE_BURST);
        self.rest_until = Some(now + of_burst.max(doubled(PAUSE, self.quarrels, PAUSE_MAX)));
        (self.retry, self.failures) = (None, 0);
    }

    /// It was not written. It is to be tried again: always true.
    pub fn failed(&mut self, failure: Failure, now: Instant, chance: f64) -> bool {
        let (first, most) = match failure {
            Failure::Conflict => (CONFLICT, FAILED_MAX),
            Failure::Refused => (REFUSED, REFUSED_MAX),
            Failure::Ending => (REFUSED_MAX, REFUSED_MAX),
            Failure::Unavailable => (FAILED, UNAVAILABLE_MAX),
        };
        let wait = doubled(first, self.failures, most).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        self.retry = Some((failure, now + wait));
        self.failures = self.failures.saturating_add(1);
        true
    }

    /// The watch shows another version of the object: what it was refused for may be over.
    pub fn shown(&mut self) {
        if self.retry.is_some_and(|(failure, _)| failure != Failure::Unavailable) {
            self.retry = None;
        }
    }

    /// Something else is to be written.
    pub fn renewed(&mut self) {
        if self.retry.is_some_and(|(failure, _)| matches!(failure, Failure::Refused | Failure::Ending)) {
            (self.retry, self.failures) = (None, 0);
        }
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}
