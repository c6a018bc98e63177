//! Values at numbered places, in chunks: growing copies no more than one of them. Never moves a value to another number.

/// Places of a chunk, except that the newest chunk grows up to this.
const CHUNK: usize = 32;

/// The end of the list of free places.
const NONE: u32 = u32::MAX;

/// A store whose numbers stay good until their value is taken out.
#[derive(Debug)]
pub struct Places<T> {
    chunks: Vec<Vec<Place<T>>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    /// And the next free one.
    Free(u32),
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: NONE, len: 0 }
    }
}

impl<T> Places<T> {
    /// Stores a value; its number.
    pub fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if self.free == NONE {
            return self.append(value);
        }
        let at = self.free;
        let place = self.place_mut(at);
        if let Place::Free(next) = std::mem::replace(place, Place::Taken(value)) {
            self.free = next;
        }
        at
    }

    fn append(&mut self, value: T) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // the first one is small: most stores hold a few
            self.chunks.push(Vec::with_capacity(if self.chunks.is_empty() { 0 } else { CHUNK }));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("one was pushed if there was none");
        chunk.push(Place::Taken(value));
        u32::try_from(before + chunk.len() - 1).expect("what is stored is bounded far below 2^32")
    }

    /// The value of a number.
    ///
    /// # Panics
    /// If it was taken out.
    pub fn get(&self, at: u32) -> &T {
        match &self.chunks[at as usize / CHUNK][at as usize % CHUNK] {
            Place::Taken(value) => value,
            Place::Free(_) => panic!("{GONE}"),
        }
    }

    /// The value of a number, to change.
    ///
    /// # Panics
    /// If it was taken out.
    pub fn get_mut(&mut self, at: u32) -> &mut T {
        match self.place_mut(at) {
            Place::Taken(value) => value,
            Place::Free(_) => panic!("{GONE}"),
        }
    }

    /// Takes a value out; its number may be given to another.
    ///
    /// # Panics
    /// If it was taken out.
    pub fn remove(&mut self, at: u32) -> T {
        let next = self.free;
        let Place::Taken(value) = std::mem::replace(self.place_mut(at), Place::Free(next)) else { panic!("{GONE}") };
        self.free = at;
        self.len -= 1;
        // after a burst nothing of it stays behind
        if self.len == 0 {
            *self = Self::default();
        }
        value
    }

    /// All values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().filter_map(|place| match place {
            Place::Taken(value) => Some(value),
            Place::Free(_) => None,
        })
    }

    fn place_mut(&mut self, at: u32) -> &mut Place<T> {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

const GONE: &str = "a number is good until its value is taken out, once";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn behaves_like_a_map() {
        for seed in 0..50 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let (mut places, mut model) = (Places::default(), BTreeMap::new());
            for step in 0..500 {
                if dice.u8(..5) < 3 {
                    assert!(model.insert(places.insert(step), step).is_none(), "a number was given twice");
                } else if let Some(&at) = model.keys().nth(dice.usize(..model.len().max(1))) {
                    assert_eq!(model.remove(&at), Some(places.remove(at)));
                }
                assert!(model.iter().all(|(at, value)| places.get(*at) == value));
                assert_eq!(places.iter().count(), model.len());
            }
        }
    }

    #[test]
    fn many_cost_hardly_more_than_themselves_and_none_cost_nothing() {
        let mut places = Places::default();
        let held = |places: &Places<u64>| places.chunks.iter().map(Vec::capacity).sum::<usize>();
        let numbers: Vec<u32> = (0..1_000).map(|value| places.insert(value)).collect();
        assert!(held(&places) < 1_000 + 2 * CHUNK, "{}", held(&places));
        numbers.into_iter().for_each(|at| assert!(places.remove(at) < 1_000));
        assert_eq!((held(&places), places.chunks.capacity()), (0, 0));
    }
}
