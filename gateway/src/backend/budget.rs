//! What waiting requests may keep in the whole gateway, shared fairly between backends. Never above its total, never all for one.

use super::{Backend, Refusal};
use crate::failure::Failure;
use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
        fence,
    },
};

/// Requests and bytes that wait in this gateway.
#[derive(Debug)]
pub struct Budget {
    requests: Pot,
    bytes: Pot,
}

impl Budget {
    /// An empty budget of this size.
    pub fn new(requests: u64, bytes: u64) -> Self {
        Self { requests: Pot::new(requests), bytes: Pot::new(bytes) }
    }

    /// Requests that wait now.
    pub fn requests(&self) -> u64 {
        self.requests.used.load(Relaxed)
    }

    /// Bytes that they keep now.
    pub fn bytes(&self) -> u64 {
        self.bytes.used.load(Relaxed)
    }

    /// Whether nobody waits. Who begins to wait counts here, and then looks at the routes once more; who makes routes live looks here
    /// after that. Of two such steps, each a write and then a look at what the other wrote, one sees the other only with a fence between.
    pub(super) fn nobody_waits(&self) -> bool {
        fence(SeqCst);
        self.requests() == 0
    }

    pub(super) fn take_request(&self, own: u64) -> bool {
        let is_taken = self.requests.take(1, own);
        fence(SeqCst);
        is_taken
    }

    pub(super) fn give_request(&self) {
        self.requests.give(1);
    }
}

/// One who holds nothing may take this many times what is free, one who holds that much nothing.
///
/// So one backend alone gets at most 4/5 of the total, and the last fifth is there for the others, the same rule within it. Source: Choudhury
/// and Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998).
const TIMES_FREE: u64 = 4;

#[derive(Debug)]
struct Pot {
    total: u64,
    used: AtomicU64,
}

impl Pot {
    fn new(total: u64) -> Self {
        Self { total, used: AtomicU64::new(0) }
    }

    /// Takes for one who holds `own` already.
    fn take(&self, amount: u64, own: u64) -> bool {
        let fits = |used: u64| {
            let after = used.checked_add(amount).filter(|after| *after <= self.total)?;
            (own.saturating_add(amount) <= TIMES_FREE.saturating_mul(self.total - used)).then_some(after)
        };
        self.used.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    fn give(&self, amount: u64) {
        self.used.fetch_sub(amount, Relaxed);
    }
}

/// Bytes that a request keeps, counted against its backend and the gateway until it is dropped.
#[derive(Debug)]
pub struct Charge {
    backend: Arc<Backend>,
    bytes: u64,
}

impl Charge {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, bytes: 0 }
    }

    /// Bytes counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts more, or refuses and counts nothing more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        // who wants nothing more is not refused because others took what was free
        if bytes == 0 {
            return Ok(());
        }
        let backend = &self.backend;
        if backend.shared.memory.is_tight() {
            return Err(backend.refusal(Failure::MemoryShed));
        }
        let bound = backend.bytes_bound.load(Relaxed);
        let fits = |used: u64| used.checked_add(bytes).filter(|after| *after <= bound);
        let Ok(own) = backend.bytes.fetch_update(Relaxed, Relaxed, fits) else {
            return Err(backend.refusal(Failure::QueueFull));
        };
        if !backend.shared.budget.bytes.take(bytes, own) {
            backend.bytes.fetch_sub(bytes, Relaxed);
            return Err(backend.refusal(Failure::GatewayFull));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Whether what it counts may stay, however short memory is.
    ///
    /// # Errors
    /// If it is so much that its request is to end.
    pub fn may_stay(&self) -> Result<(), Refusal> {
        match self.bytes >= self.backend.shared.memory.ends_from() {
            true => Err(self.backend.refusal(Failure::MemoryShed)),
            false => Ok(()),
        }
    }

    /// Counts less: what was given back.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.backend.bytes.fetch_sub(bytes, Relaxed);
        self.backend.shared.budget.bytes.give(bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cannot_take_what_others_need() {
        let pot = Pot::new(10_000);
        let fill = |pot: &Pot| (0..).take_while(|own| pot.take(1, *own)).count() as u64;
        let first = fill(&pot);
        let second = fill(&pot);
        let third = fill(&pot);
        assert_eq!((first, second, third), (8_000, 1_600, 320));
        pot.give(first);
        assert!(fill(&pot) > 6_000, "what is given back can be taken again");
    }

    #[test]
    fn never_above_the_total() {
        let pot = Pot::new(100);
        assert!(!pot.take(101, 0) && !pot.take(u64::MAX, 0) && pot.take(100, 0) && !pot.take(1, 0));
    }
}
