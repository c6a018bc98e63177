//! What is equal as one: a table of all there is of a kind, and some that nothing has any more. Never more than twice what was in use when it was last full, and never what a client sent.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Things of a kind, each once.
pub struct Pool<T: ?Sized>(HashSet<Arc<T>>);

/// The one of the process.
pub type Shared<T> = Mutex<Pool<T>>;

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    /// The one that is equal; `make` gives it where there is none.
    fn find_or_add(&mut self, value: &T, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        if let Some(known) = self.0.get(value) {
            return Arc::clone(known);
        }
        if self.0.len() == self.0.capacity() {
            self.make_room();
        }
        let new = make();
        self.0.insert(Arc::clone(&new));
        new
    }

    /// Forgets what nothing has; what is left may double until the next time, so that it costs no square.
    fn make_room(&mut self) {
        // whoever is about to take one of them waits for the table
        self.0.retain(|one| Arc::strong_count(one) > 1);
        let room = (self.0.len() * 2).max(64);
        self.0.shrink_to(room);
        self.0.reserve(room - self.0.len());
    }
}

/// The equal one of the process.
pub fn pooled<T: ?Sized + Eq + Hash>(pool: &Shared<T>, value: &T, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
    pool.lock().unwrap_or_else(PoisonError::into_inner).find_or_add(value, make)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_has_is_forgotten_and_what_something_has_stays() {
        let mut pool = Pool::<str>::default();
        let mut add = |text: String| pool.find_or_add(&text, || text.as_str().into());
        let kept: Vec<Arc<str>> = (0..100).map(|at| add(format!("kept {at}"))).collect();
        for at in 0..100_000 {
            add(format!("gone {at}"));
        }
        kept.iter().for_each(|text| assert!(Arc::ptr_eq(text, &add(text.to_string()))));
        assert!(pool.0.len() < 1_000, "{}", pool.0.len());
    }
}
