//! The line of those who wait: exact order of arrival, removal anywhere in O(1). Pure; never loses or repeats an entry.
//!
//! An entry stays stored until its owner takes it out, but may leave the line before (it was served or refused and its owner has
//! not looked yet), so the owner's [`Key`] is always good and needs no generation.

use crate::places::Places;

/// Where an entry is stored. Whoever got it from [`Line::insert`] owns the entry and must [`Line::remove`] it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u32);

/// When a request came, in a count of its own kind over all backends; smaller is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival(pub u64);

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry<T> {
    arrival: Arrival,
    before: u32,
    behind: u32,
    in_line: bool,
    value: T,
}

/// A line, front first: neighbours know each other by their numbers.
#[derive(Debug)]
pub struct Line<T> {
    entries: Places<Entry<T>>,
    front: u32,
    back: u32,
    len: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { entries: Places::default(), front: NONE, back: NONE, len: 0 }
    }
}

impl<T> Line<T> {
    /// How many are in line.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is in line.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an entry in its place by arrival: at the back if it is the newest, behind all that came with it or before it. The
    /// search goes from both ends at once, since one who comes back is near the front and a new one at the back.
    pub fn insert(&mut self, arrival: Arrival, value: T) -> Key {
        let before = self.place(arrival);
        let behind = if before == NONE { self.front } else { self.entry(before).behind };
        let entry = Entry { arrival, before, behind, in_line: true, value };
        let at = self.entries.insert(entry);
        *self.behind_of(before) = at;
        *self.before_of(behind) = at;
        self.len += 1;
        Key(at)
    }

    /// Whom the newcomer stands behind; `NONE` for the very front.
    fn place(&self, arrival: Arrival) -> u32 {
        let (mut last, mut first) = (self.back, self.front);
        loop {
            if last == NONE || self.entry(last).arrival <= arrival {
                return last;
            }
            // `last` came later, so somebody in line did, and `first` is never NONE here.
            let front = self.entry(first);
            if front.arrival > arrival {
                return front.before;
            }
            (last, first) = (self.entry(last).before, front.behind);
        }
    }

    /// The front of the line.
    pub fn front(&self) -> Option<Key> {
        (self.front != NONE).then_some(Key(self.front))
    }

    /// Who stands behind.
    pub fn behind(&self, key: Key) -> Option<Key> {
        let behind = self.entry(key.0).behind;
        (behind != NONE).then_some(Key(behind))
    }

    /// When an entry came.
    pub fn arrival(&self, key: Key) -> Arrival {
        self.entry(key.0).arrival
    }

    /// What is stored.
    pub fn get(&self, key: Key) -> &T {
        &self.entry(key.0).value
    }

    /// What is stored, to change.
    pub fn get_mut(&mut self, key: Key) -> &mut T {
        &mut self.entry_mut(key.0).value
    }

    /// Takes an entry out of the line; it stays stored. No effect if it left before.
    pub fn leave(&mut self, key: Key) {
        let entry = self.entry_mut(key.0);
        if !std::mem::take(&mut entry.in_line) {
            return;
        }
        let (before, behind) = (entry.before, entry.behind);
        *self.behind_of(before) = behind;
        *self.before_of(behind) = before;
        self.len -= 1;
    }

    /// Takes an entry out of line and store.
    pub fn remove(&mut self, key: Key) -> T {
        self.leave(key);
        self.entries.remove(key.0).value
    }

    fn entry(&self, at: u32) -> &Entry<T> {
        self.entries.get(at)
    }

    fn entry_mut(&mut self, at: u32) -> &mut Entry<T> {
        self.entries.get_mut(at)
    }

    fn behind_of(&mut self, at: u32) -> &mut u32 {
        if at == NONE { &mut self.front } else { &mut self.entry_mut(at).behind }
    }

    fn before_of(&mut self, at: u32) -> &mut u32 {
        if at == NONE { &mut self.back } else { &mut self.entry_mut(at).before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(line: &Line<u64>) -> Vec<u64> {
        std::iter::successors(line.front(), |&key| line.behind(key)).map(|key| *line.get(key)).collect()
    }

    #[test]
    fn keeps_the_order_of_arrival() {
        let mut line = Line::default();
        for arrival in [5, 1, 3, 9, 7, 5, 2] {
            line.insert(Arrival(arrival), arrival);
        }
        assert_eq!(listed(&line), [1, 2, 3, 5, 5, 7, 9]);
    }

    #[test]
    fn behaves_like_a_sorted_vector() {
        for seed in 0..200 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let (mut line, mut model) = (Line::default(), Vec::<(u64, u64, Key)>::new());
            let mut left = Vec::new();
            for step in 0..200 {
                match dice.u8(..4) {
                    0 | 1 => {
                        let arrival = dice.u64(..50);
                        let key = line.insert(Arrival(arrival), step);
                        let at = model.partition_point(|(a, ..)| *a <= arrival);
                        model.insert(at, (arrival, step, key));
                    }
                    2 if !model.is_empty() => {
                        let (_, value, key) = model.remove(dice.usize(..model.len()));
                        if dice.bool() {
                            line.leave(key);
                            left.push((value, key));
                        } else {
                            assert_eq!(line.remove(key), value);
                        }
                    }
                    _ => {
                        if let Some((value, key)) = left.pop() {
                            assert_eq!(line.remove(key), value);
                        }
                    }
                }
                assert_eq!(listed(&line), model.iter().map(|m| m.1).collect::<Vec<_>>(), "seed {seed} step {step}");
                assert_eq!(line.len(), model.len());
            }
        }
    }
}
