//! How short memory is, as the cores see it: what is refused follows from a level that one thread works out. A request never measures, and pays one relaxed load where it may be refused.
//!
//! Read `policy.rs` for what is done when, `usage.rs` for what is counted.

mod policy;
mod usage;
mod watch;

pub use policy::{Level, Reading};
pub use watch::watch;

use policy::{Policy, Verdict};
use std::sync::{
    Mutex,
    atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

/// The memory of one gateway.
#[derive(Debug)]
pub struct Memory {
    level: AtomicU8,
    ends_from: AtomicU64,
    bytes: AtomicU64,
    budget: AtomicU64,
    free: AtomicU64,
    policy: Mutex<Policy>,
}

/// Memory as an operator sees it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the system cannot take back.
    pub bytes: u64,
    /// What there may be; 0 where nothing bounds it.
    pub budget: u64,
    /// What of the bytes is taken to be free.
    pub free: u64,
    /// A [`Level`] as a number: 0 normal, 1 tight, 2 critical.
    pub level: u8,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            level: AtomicU8::new(Level::Normal as u8),
            ends_from: AtomicU64::new(u64::MAX),
            bytes: AtomicU64::default(),
            budget: AtomicU64::default(),
            free: AtomicU64::default(),
            policy: Mutex::default(),
        }
    }
}

impl Memory {
    /// Whether nothing more is kept: who would have to wait is refused, and who waits may not grow.
    pub fn is_tight(&self) -> bool {
        self.level.load(Relaxed) >= Level::Tight as u8
    }

    /// Whether no new connection and no new stream is taken, and idle connections end.
    pub fn is_critical(&self) -> bool {
        self.level.load(Relaxed) >= Level::Critical as u8
    }

    /// Requests that wait and keep so many bytes or more are to end; `u64::MAX` while none is.
    pub fn ends_from(&self) -> u64 {
        self.ends_from.load(Relaxed)
    }

    /// What was last measured, and what followed.
    pub fn report(&self) -> Report {
        Report {
            bytes: self.bytes.load(Relaxed),
            budget: self.budget.load(Relaxed),
            free: self.free.load(Relaxed),
            level: self.level.load(Relaxed),
        }
    }

    /// Takes what was measured; from here on the cores see what follows.
    pub fn look(&self, reading: Reading) -> Verdict {
        let verdict = self.policy.lock().expect("nothing panics while it holds this lock").look(reading);
        self.bytes.store(reading.bytes, Relaxed);
        self.budget.store(reading.budget, Relaxed);
        self.free.store(verdict.free, Relaxed);
        self.ends_from.store(verdict.ends_from, Relaxed);
        self.level.store(verdict.level as u8, Relaxed);
        verdict
    }
}
