//! When a collection that only grows is to drop what is stale. Never at each addition, which would cost the square of their number.

/// Swept before, a collection may double until the next time.
#[derive(Debug, Default)]
pub struct Sweep {
    most: usize,
}

impl Sweep {
    /// Has `sweep` drop what is stale if a collection of `len` has doubled since; it gives what is left.
    pub fn before_adding(&mut self, len: usize, sweep: impl FnOnce() -> usize) {
        const LEAST: usize = 64;
        if len >= self.most {
            self.most = LEAST.max(sweep() * 2);
        }
    }
}
