//! Lists that many rules and routes have alike: each is there once in the process, however many have it. Never holds what a client sent, for whoever makes one looks into one table.

use crate::{
    Arm, Attachment, ListenerName, Match,
    pool::{Shared, pooled},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    fmt,
    hash::Hash,
    ops::Deref,
    slice,
    sync::{Arc, LazyLock},
};

/// A list of the configuration, which never changes: an edit is another one. A clone costs a count; making one costs a look into the table.
pub struct List<T>(Arc<[T]>);

/// What there are lists of.
pub trait Listed: table::Of {}

impl<T: table::Of> Listed for T {}

mod table {
    use super::{Hash, Shared};

    /// Each kind has a table of its own.
    pub trait Of: Eq + Hash + Sized + 'static {
        fn table() -> &'static Shared<[Self]>;
    }
}

macro_rules! listed {
    ($($kind:ty),*) => {$(
        impl table::Of for $kind {
            fn table() -> &'static Shared<[Self]> {
                static TABLE: LazyLock<Shared<[$kind]>> = LazyLock::new(Shared::default);
                &TABLE
            }
        }
    )*};
}

listed!(Attachment, Match, Arm, ListenerName);

impl<T: Listed> From<Vec<T>> for List<T> {
    fn from(list: Vec<T>) -> Self {
        let new = Arc::from(list);
        Self(pooled(T::table(), &new, || Arc::clone(&new)))
    }
}

impl<T: Listed + Clone> List<T> {
    /// Becomes what `change` makes of its items.
    pub fn edit(&mut self, change: impl FnOnce(&mut Vec<T>)) {
        let mut items = self.to_vec();
        change(&mut items);
        *self = items.into();
    }
}

impl<T: Listed> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().collect::<Vec<_>>().into()
    }
}

impl<T: Listed> Default for List<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'l, T> IntoIterator for &'l List<T> {
    type Item = &'l T;
    type IntoIter = slice::Iter<'l, T>;

    fn into_iter(self) -> slice::Iter<'l, T> {
        self.iter()
    }
}

impl<T: Eq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<T: Eq> Eq for List<T> {}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Listed + Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_one() {
        let made: List<Match> = vec![Match::everything()].into();
        let read: List<Match> = serde_json::from_str(&serde_json::to_string(&made).unwrap()).unwrap();
        assert!(Arc::ptr_eq(&made.0, &read.0));
        let other: List<Match> = [Match::everything(), Match::everything()].into_iter().collect();
        assert_ne!(made, other);
    }
}
