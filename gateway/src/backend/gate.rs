//! Whether requests may be sent without asking the backend, in one word. Never open while anything must be counted exactly.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
    fence,
};

/// A generation and whether it is open. Whoever goes through counts itself first, then looks whether the gate still says what it
/// said before; whoever shuts it looks at the counters afterwards. So one of the two sees the other (Dekker), with no write shared by cores:
/// the gate is written only when endpoints, health or bounds change.
#[derive(Debug, Default)]
pub(super) struct Gate {
    word: AtomicU64,
    /// Whether a first byte must be told: the backend just started.
    starting: AtomicBool,
    /// Whether a first try must be told, for a budget of those after it. Here, where each request looks anyway.
    counts_tries: AtomicBool,
}

/// What a gate said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading(u64);

impl Reading {
    pub fn is_open(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Gate {
    pub fn read(&self) -> Reading {
        Reading(self.word.load(SeqCst))
    }

    /// Begins a new generation. Called under the backend's lock only.
    pub fn turn(&self, open: bool) {
        let generation = (self.word.load(SeqCst) >> 1) + 1;
        self.word.store(generation << 1 | u64::from(open), SeqCst);
        // what is read from here on is as new as what any core did that saw the gate as it was
        fence(SeqCst);
    }

    pub fn is_starting(&self) -> bool {
        self.starting.load(Relaxed)
    }

    pub fn counts_tries(&self) -> bool {
        self.counts_tries.load(Relaxed)
    }

    pub fn set_counts_tries(&self, counts: bool) {
        self.counts_tries.store(counts, Relaxed);
    }

    /// Called under the backend's lock only.
    pub fn set_starting(&self, starting: bool) {
        self.starting.store(starting, Relaxed);
    }
}
