//! What is wrong with objects that have no conditions: told once for as long as it is so, and once more by each process that begins to lead. Pure.

use super::Regarding;
use headgate_status::Happening;
use headgate_translate::kinds::ObjectRef;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// One of them, and since when it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// The object.
    pub regarding: Regarding,
    /// What is wrong.
    pub happening: Happening,
    /// Since when.
    pub since: Timestamp,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Standing {
    leads: bool,
    by_object: BTreeMap<ObjectRef, Vec<Trouble>>,
    /// To be told.
    open: VecDeque<Trouble>,
}

impl Standing {
    /// This is wrong with an object now, and nothing else.
    pub fn set(&mut self, regarding: &Regarding, happenings: Vec<Happening>, now: Timestamp) {
        let known = self.by_object.remove(&regarding.object).unwrap_or_default();
        if !known.is_empty() {
            let is_so = |open: &Trouble| open.regarding == *regarding && happenings.contains(&open.happening);
            self.open.retain(|open| open.regarding.object != regarding.object || is_so(open));
        }
        let trouble = |happening: Happening| {
            let is_it = |known: &&Trouble| known.regarding == *regarding && known.happening == happening;
            let before = known.iter().find(is_it).cloned();
            let is_new = before.is_none();
            let new = || Trouble { regarding: regarding.clone(), happening: happening.clone(), since: now };
            (before.unwrap_or_else(new), is_new)
        };
        let all: Vec<(Trouble, bool)> = happenings.iter().cloned().map(trouble).collect();
        if self.leads {
            self.open.extend(all.iter().filter(|(_, is_new)| *is_new).map(|(trouble, _)| trouble.clone()));
        }
        if !all.is_empty() {
            self.by_object.insert(regarding.object.clone(), all.into_iter().map(|(trouble, _)| trouble).collect());
        }
    }

    /// Whether this process leads: then it tells all that it does not know to be told.
    pub fn lead(&mut self, leads: bool) {
        if std::mem::replace(&mut self.leads, leads) == leads {
            return;
        }
        self.open.clear();
        if leads {
            self.open.extend(self.by_object.values().flatten().cloned());
        }
    }

    /// The next to be told.
    pub fn take(&mut self) -> Option<Trouble> {
        self.open.pop_front()
    }

    /// It could not be told now: again, after the others, if it still is so.
    pub fn again(&mut self, trouble: Trouble) {
        let stands = self.by_object.get(&trouble.regarding.object).is_some_and(|all| all.contains(&trouble));
        if self.leads && stands {
            self.open.push_back(trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regarding(name: &str, uid: &str) -> Regarding {
        let object = ObjectRef::new("networking.k8s.io", "Ingress", "shop", name);
        Regarding { object, uid: uid.into(), api_version: "networking.k8s.io/v1".into() }
    }

    fn set(standing: &mut Standing, uid: &str, notes: &[&str]) {
        let happenings = notes.iter().map(|note| Happening::warning("Wrong", note)).collect();
        standing.set(&regarding("a", uid), happenings, Timestamp::UNIX_EPOCH);
    }

    fn told(standing: &mut Standing) -> Vec<String> {
        std::iter::from_fn(|| standing.take()).map(|trouble| trouble.happening.note).collect()
    }

    #[test]
    fn what_stays_wrong_is_told_once_by_each_that_leads() {
        let mut standing = Standing::default();
        set(&mut standing, "u", &["one", "two"]);
        assert_eq!(told(&mut standing), [""; 0], "it does not lead");
        standing.lead(true);
        assert_eq!(told(&mut standing), ["one", "two"]);
        standing.lead(true);
        set(&mut standing, "u", &["two", "three"]);
        assert_eq!(told(&mut standing), ["three"]);
        standing.lead(false);
        standing.lead(true);
        assert_eq!(told(&mut standing), ["two", "three"]);
        set(&mut standing, "another", &["two"]);
        assert_eq!(told(&mut standing), ["two"], "another object of that name");
    }

    #[test]
    fn what_was_mended_before_it_was_told_is_not_told() {
        let mut standing = Standing::default();
        standing.lead(true);
        set(&mut standing, "u", &["one", "two"]);
        let first = standing.take().unwrap();
        set(&mut standing, "u", &[]);
        standing.again(first);
        assert_eq!(told(&mut standing), [""; 0]);
    }
}
