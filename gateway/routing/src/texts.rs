//! A hash map from (owner, text) whose texts lie in one buffer: three allocations for 100,000 hosts. Only grows; never shared while it does.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};

/// Values by an owner's number and a text.
#[derive(Debug)]
pub(crate) struct Texts<V> {
    hasher: RandomState,
    bytes: Vec<u8>,
    table: HashTable<Entry<V>>,
}

#[derive(Debug)]
struct Entry<V> {
    owner: u32,
    start: u32,
    len: u32,
    value: V,
}

impl<V> Default for Texts<V> {
    fn default() -> Self {
        Self::hashed_by(&RandomState::default())
    }
}

impl<V> Texts<V> {
    /// None yet; hashes are those of [`hash`] by this hasher.
    pub(crate) fn hashed_by(hasher: &RandomState) -> Self {
        Self { hasher: hasher.clone(), bytes: Vec::new(), table: HashTable::new() }
    }

    /// None, by the same hashes.
    pub(crate) fn emptied(&self) -> Self {
        Self::hashed_by(&self.hasher)
    }

    /// The value of `text` under `owner`.
    pub(crate) fn get(&self, owner: u32, text: &[u8]) -> Option<&V> {
        self.get_hashed(hash(&self.hasher, owner, text), owner, text)
    }

    /// The same for who knows the hash already.
    pub(crate) fn get_hashed(&self, hash: u64, owner: u32, text: &[u8]) -> Option<&V> {
        let found = self.table.find(hash, |entry| entry.is(&self.bytes, owner, text))?;
        Some(&found.value)
    }

    /// The value of `text` under `owner`; `make` gives it where there is none.
    pub(crate) fn get_or_insert(&mut self, owner: u32, text: &[u8], make: impl FnOnce() -> V) -> &mut V {
        let Self { hasher, bytes, table } = self;
        let key = hash(hasher, owner, text);
        // Found twice rather than once through an `entry`, which would borrow the buffer that a new text must go to.
        if table.find(key, |entry| entry.is(bytes, owner, text)).is_none() {
            let (start, len) = (bytes.len() as u32, text.len() as u32);
            bytes.extend_from_slice(text);
            let entry = Entry { owner, start, len, value: make() };
            table.insert_unique(key, entry, |old| hash(hasher, old.owner, old.text(bytes)));
        }
        let found = table.find_mut(key, |entry| entry.is(bytes, owner, text)).expect("it was found or inserted");
        &mut found.value
    }

    /// All values, in no order.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.table.iter_mut().map(|entry| &mut entry.value)
    }

    /// Gives back what growing took in advance.
    pub(crate) fn shrink(&mut self) {
        let Self { hasher, bytes, table } = self;
        bytes.shrink_to_fit();
        table.shrink_to_fit(|old| hash(hasher, old.owner, old.text(bytes)));
    }
}

impl<V> Entry<V> {
    fn text<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.start as usize..self.start as usize + self.len as usize]
    }

    fn is(&self, bytes: &[u8], owner: u32, text: &[u8]) -> bool {
        self.owner == owner && self.len as usize == text.len() && self.text(bytes) == text
    }
}

/// The hash of `text` under `owner`.
pub(crate) fn hash(hasher: &RandomState, owner: u32, text: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(owner);
    state.write(text);
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_belongs_to_its_owner() {
        let mut texts = Texts::default();
        for owner in 0..100 {
            for text in ["", "/", "/a", "/a/b"] {
                let next = format!("{owner}{text}");
                assert_eq!(*texts.get_or_insert(owner, text.as_bytes(), || next.clone()), next);
                assert_eq!(*texts.get_or_insert(owner, text.as_bytes(), String::new), next, "the first stays");
            }
        }
        texts.shrink();
        assert_eq!(texts.get(7, b"/a").map(String::as_str), Some("7/a"));
        assert_eq!(texts.get(7, b"/b"), None);
        assert_eq!(texts.get(100, b"/a"), None);
    }
}
