//! What has a name, as the key of itself: a name more for each would cost as much memory as the rest. Never compares anything but names.

use crate::{Backend, BackendName, Endpoints, Listener, ListenerName, Rule, RuleName};
use std::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// What is found by its name.
pub trait Named {
    /// Its name.
    type Name: Ord + Hash + fmt::Display;

    /// Its name, which never changes.
    fn name(&self) -> &Self::Name;
}

impl Named for Rule {
    type Name = RuleName;

    fn name(&self) -> &RuleName {
        &self.name
    }
}

impl Named for Listener {
    type Name = ListenerName;

    fn name(&self) -> &ListenerName {
        &self.name
    }
}

impl Named for Backend {
    type Name = BackendName;

    fn name(&self) -> &BackendName {
        &self.name
    }
}

impl Named for Endpoints {
    type Name = BackendName;

    fn name(&self) -> &BackendName {
        &self.backend
    }
}

/// A key that is looked up by the name alone.
#[derive(Debug)]
pub struct ByName<T>(Arc<T>);

impl<T> ByName<T> {
    /// The key of a thing.
    pub fn of(thing: &Arc<T>) -> Self {
        Self(Arc::clone(thing))
    }
}

impl<T> Clone for ByName<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Named> Deref for ByName<T> {
    type Target = T::Name;

    fn deref(&self) -> &T::Name {
        self.0.name()
    }
}

impl<T: Named<Name = RuleName>> Borrow<RuleName> for ByName<T> {
    fn borrow(&self) -> &RuleName {
        self
    }
}

impl<T: Named<Name = ListenerName>> Borrow<ListenerName> for ByName<T> {
    fn borrow(&self) -> &ListenerName {
        self
    }
}

impl<T: Named<Name = BackendName>> Borrow<BackendName> for ByName<T> {
    fn borrow(&self) -> &BackendName {
        self
    }
}

impl<T: Named> fmt::Display for ByName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Named> Hash for ByName<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Named> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }
}

impl<T: Named> Eq for ByName<T> {}

impl<T: Named> PartialOrd for ByName<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Named> Ord for ByName<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}
