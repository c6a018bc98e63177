//! What is given up for memory, in which order: room to wait first, then large requests that wait, then new connections. Pure: what was measured is an argument; never looks at a clock.
//!
//! An allocator keeps much of what is freed, so a process that was large stays so, and nobody can tell from outside what of it is in use. What is
//! known is the load: where less is served and kept than when memory was as large as it still is, the difference is taken to be free. Only
//! while memory stays the same: what grows again is in use.

/// From here on nothing more is kept, in percent of the budget.
const TIGHT_PERCENT: u64 = 90;
/// From here on no new connection is taken.
const CRITICAL_PERCENT: u64 = 95;
/// Below this all is as usual again: what was given up is not wanted back at once.
const NORMAL_PERCENT: u64 = 85;

/// Looks at too much memory before requests that wait are ended, and between two such steps: what is freed shows a moment later.
const LOOKS_BETWEEN_STEPS: u32 = 4;
/// What a request keeps that is ended at the first step, the second and so on, in bytes. Smaller ones free nothing to speak of.
const STEPS_BYTES: [u64; 4] = [256 << 10, 64 << 10, 16 << 10, 4 << 10];

/// Looks at memory that stays the same, after which what is known to be free counts as free; twice as many each time that it grew after that.
const LOOKS_SETTLED: u32 = 16;
const LOOKS_SETTLED_MOST: u32 = 512;
/// A change that is none, in percent of the budget.
const SAME_PERCENT: u64 = 1;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing is refused.
    #[default]
    Normal,
    /// Nothing more is kept: who would have to wait is refused.
    Tight,
    /// Nor are new connections and streams taken.
    Critical,
}

impl Level {
    /// The level after this one, by bytes in use of a budget; 0 is no budget.
    #[must_use]
    pub fn next(self, reading: Reading) -> Self {
        match self {
            _ if reading.reaches(CRITICAL_PERCENT) => Self::Critical,
            Self::Critical if reading.reaches(TIGHT_PERCENT) => Self::Critical,
            _ if reading.reaches(TIGHT_PERCENT) => Self::Tight,
            Self::Tight | Self::Critical if reading.reaches(NORMAL_PERCENT) => Self::Tight,
            _ => Self::Normal,
        }
    }
}

/// What was measured, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// In use, without what the system can take back.
    pub bytes: u64,
    /// What there may be; 0 where nothing bounds it.
    pub budget: u64,
    /// What is known to need memory now, roughly: what is kept, connections and requests.
    pub load: u64,
}

impl Reading {
    fn reaches(self, percent: u64) -> bool {
        self.budget > 0 && u128::from(self.bytes) * 100 >= u128::from(self.budget) * u128::from(percent)
    }
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The level before.
    pub before: Level,
    /// The level now.
    pub level: Level,
    /// Requests that wait and keep so many bytes or more are to end.
    pub ends_from: u64,
    /// What of the bytes is taken to be free.
    pub free: u64,
    /// Whether something changed that those who wait or rest must be told.
    pub is_news: bool,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    level: Level,
    /// Looks at too much memory since the last step.
    looks: u32,
    /// Steps taken, of [`STEPS_BYTES`].
    steps: usize,
    freed: Freed,
}

/// What was freed and is still there.
#[derive(Clone, Copy, Debug, Default)]
struct Freed {
    /// The most load that there was while memory was as large as now, or shortly before.
    load_most: u64,
    /// What memory is the same as, for so many looks.
    same_as: u64,
    looks: u32,
    /// How often it grew although something counted as free.
    errors: u32,
}

impl Freed {
    fn look(&mut self, reading: Reading) -> u64 {
        if !reading.reaches(NORMAL_PERCENT) {
            let fades = self.load_most / 8 * 7;
            *self = Self { load_most: fades.max(reading.load), same_as: reading.bytes, ..Self::default() };
            return 0;
        }
        let needed = LOOKS_SETTLED_MOST.min(LOOKS_SETTLED << self.errors.min(8));
        self.load_most = self.load_most.max(reading.load);
        if reading.bytes.abs_diff(self.same_as) > reading.budget / 100 * SAME_PERCENT {
            let grew = reading.bytes > self.same_as && self.looks >= needed && reading.load < self.load_most;
            self.errors += u32::from(grew);
            (self.same_as, self.looks) = (reading.bytes, 0);
        } else {
            self.looks = self.looks.saturating_add(1);
        }
        match self.looks >= needed {
            true => reading.bytes.min((self.load_most - reading.load) / 8 * 7),
            false => 0,
        }
    }
}

impl Policy {
    /// One look, of many at about the same distance in time.
    pub fn look(&mut self, measured: Reading) -> Verdict {
        let free = self.freed.look(measured);
        let reading = Reading { bytes: measured.bytes - free, ..measured };
        let (before, steps) = (self.level, self.steps);
        self.level = before.next(reading);
        if self.level == Level::Normal {
            (self.looks, self.steps) = (0, 0);
        } else if reading.reaches(TIGHT_PERCENT) {
            self.looks += 1;
        } else {
            self.looks = 0;
        }
        if self.looks >= LOOKS_BETWEEN_STEPS {
            self.looks = 0;
            self.steps = STEPS_BYTES.len().min(self.steps + 1);
        }
        let ends_from = self.steps.checked_sub(1).map_or(u64::MAX, |step| STEPS_BYTES[step]);
        let is_news = self.level != before || self.steps > steps;
        Verdict { before, level: self.level, ends_from, free, is_news }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Level::{Critical, Normal, Tight};

    fn percent(bytes: u64) -> Reading {
        Reading { bytes, budget: 100, load: 0 }
    }

    #[test]
    fn a_level_begins_above_where_it_ends() {
        for (before, bytes, after) in [
            (Normal, 0, Normal),
            (Normal, 89, Normal),
            (Normal, 90, Tight),
            (Normal, 94, Tight),
            (Normal, 95, Critical),
            (Normal, 200, Critical),
            (Tight, 84, Normal),
            (Tight, 85, Tight),
            (Tight, 89, Tight),
            (Tight, 95, Critical),
            (Critical, 94, Critical),
            (Critical, 90, Critical),
            (Critical, 89, Tight),
            (Critical, 84, Normal),
        ] {
            assert_eq!(before.next(percent(bytes)), after, "{before:?} at {bytes} %");
        }
    }

    #[test]
    fn without_a_budget_nothing_is_short_and_large_numbers_are_numbers() {
        for before in [Normal, Tight, Critical] {
            assert_eq!(before.next(Reading { bytes: u64::MAX, budget: 0, load: 0 }), Normal);
        }
        let large = |bytes| Reading { bytes, budget: u64::MAX, load: 0 };
        assert_eq!([u64::MAX, u64::MAX / 2].map(|bytes| Normal.next(large(bytes))), [Critical, Normal]);
    }

    #[test]
    fn the_largest_of_those_who_wait_end_first_and_only_while_it_helps_not() {
        let mut policy = Policy::default();
        let mut steps = Vec::new();
        for look in 1..=40 {
            let verdict = policy.look(percent(91));
            if verdict.is_news && look > 1 {
                steps.push((look, verdict.ends_from));
            }
        }
        assert_eq!(steps, [(4, 256 << 10), (8, 64 << 10), (12, 16 << 10), (16, 4 << 10)]);
        // what is left is below the level at which more is ended, and the level holds
        let verdict = policy.look(percent(87));
        assert_eq!((verdict.level, verdict.is_news, verdict.ends_from), (Tight, false, 4 << 10));
        let verdict = policy.look(percent(80));
        assert_eq!((verdict.level, verdict.is_news, verdict.ends_from), (Normal, true, u64::MAX));
    }

    #[test]
    fn a_moment_of_too_much_ends_nobody() {
        let mut policy = Policy::default();
        for _ in 0..20 {
            assert!((0..3).all(|_| policy.look(percent(92)).ends_from == u64::MAX));
            assert_eq!(policy.look(percent(88)).ends_from, u64::MAX);
        }
    }

    fn loaded(bytes: u64, load: u64) -> Reading {
        Reading { bytes, budget: 1_000, load }
    }

    /// Looks at the same until the level changes; how often, and to what.
    fn until_change(policy: &mut Policy, reading: Reading) -> Option<(u32, Level)> {
        (1..=100).find_map(|look| {
            let verdict = policy.look(reading);
            (verdict.level != verdict.before).then_some((look, verdict.level))
        })
    }

    #[test]
    fn what_an_allocator_keeps_of_a_load_that_is_gone_counts_as_free() {
        let mut policy = Policy::default();
        assert_eq!(until_change(&mut policy, loaded(960, 800)), Some((1, Critical)));
        // as long as the load is there nothing changes, however long
        assert_eq!(until_change(&mut policy, loaded(960, 800)), None);
        assert_eq!(until_change(&mut policy, loaded(960, 20)), Some((1, Normal)));
        assert_eq!(policy.look(loaded(960, 20)).free, 679);
        // the same load in the same memory is as much as before
        assert_eq!(policy.look(loaded(960, 400)).level, Normal);
        assert_eq!(policy.look(loaded(960, 800)).level, Critical);
    }

    #[test]
    fn what_grows_is_in_use_whatever_the_load_was() {
        let mut policy = Policy::default();
        until_change(&mut policy, loaded(920, 800));
        let settled = until_change(&mut policy, loaded(920, 0)).unwrap();
        assert_eq!(settled, (16, Normal));
        // a little more is no growth, more is, and it takes its time until that is believed
        assert_eq!(policy.look(loaded(929, 0)).level, Normal);
        assert_eq!(policy.look(loaded(940, 0)).level, Tight);
        assert_eq!(until_change(&mut policy, loaded(940, 0)), Some((32, Normal)));
        assert_eq!(policy.look(loaded(955, 0)).level, Critical);
        assert_eq!(until_change(&mut policy, loaded(955, 0)), Some((64, Normal)));
        assert_eq!(policy.look(loaded(840, 0)).level, Normal);
    }

    #[test]
    fn a_load_that_ended_between_two_looks_is_remembered_for_a_moment() {
        let mut policy = Policy::default();
        policy.look(loaded(700, 600));
        policy.look(loaded(910, 10));
        assert_eq!(until_change(&mut policy, loaded(910, 10)), Some((16, Normal)));
        let mut policy = Policy::default();
        policy.look(loaded(700, 600));
        for _ in 0..100 {
            policy.look(loaded(700, 10));
        }
        policy.look(loaded(910, 10));
        assert_eq!(until_change(&mut policy, loaded(910, 10)), None, "it is not that load that is still there");
    }
}
