//! Which generation of a Gateway its Pods serve: from versions as they were published and as Pods acknowledged them. Never asks a Pod.

use headgate_config::Version;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Generations of a Gateway (under its own name) and of the ListenerSets attached to it, each under its name. The same value as long as they are the
/// same, for there may be thousands.
pub type Generations<K> = Arc<BTreeMap<K, i64>>;

/// Versions that are remembered while no Pod acknowledges them; the oldest is given up.
const VERSIONS_MOST: usize = 1_000;

/// What is known of the Pods of one Gateway.
#[derive(Debug)]
pub struct Followers<K> {
    /// Of versions that not every Pod has acknowledged yet, and of the newest that one has.
    published: BTreeMap<u64, Generations<K>>,
    /// By Pod: the newest version that it serves.
    acknowledged: BTreeMap<String, u64>,
}

impl<K> Default for Followers<K> {
    fn default() -> Self {
        Self { published: BTreeMap::new(), acknowledged: BTreeMap::new() }
    }
}

impl<K: Ord> Followers<K> {
    /// A version was published; the same one again if nothing differed but generations.
    pub fn published(&mut self, version: Version, generations: Generations<K>) {
        self.published.insert(version.0, generations);
        while self.published.len() > VERSIONS_MOST {
            self.published.pop_first();
        }
    }

    /// A Pod is here; what it serves is not known yet.
    pub fn connected(&mut self, pod: &str) {
        self.acknowledged.insert(pod.to_owned(), 0);
    }

    /// A Pod serves a version.
    pub fn acknowledged(&mut self, pod: &str, version: Version) {
        self.acknowledged.insert(pod.to_owned(), version.0);
        let oldest = self.acknowledged.values().copied().min().unwrap_or_default();
        // the one that the slowest serves is the oldest of which anything can be asked
        if let Some((keep, _)) = self.published.range(..=oldest).next_back() {
            self.published = self.published.split_off(&keep.clone());
        }
    }

    /// A Pod is gone.
    pub fn gone(&mut self, pod: &str) {
        self.acknowledged.remove(pod);
    }

    /// The newest version that was published, if any was.
    pub fn newest(&self) -> Option<Version> {
        self.published.last_key_value().map(|(version, _)| Version(*version))
    }

    /// Each Pod that is here, with the newest version that it serves; 0 where it has not said yet.
    pub fn pods(&self) -> impl Iterator<Item = (&str, Version)> {
        self.acknowledged.iter().map(|(pod, version)| (pod.as_str(), Version(*version)))
    }

    /// The newest generations that one of these Pods serves; nothing where none serves.
    pub fn served(&self, ready: &BTreeSet<String>) -> Generations<K> {
        let newest =
            self.acknowledged.iter().filter(|(pod, _)| ready.contains(*pod)).map(|(_, version)| *version).max();
        let served = newest.and_then(|newest| self.published.range(..=newest).next_back());
        served.map(|(_, generations)| generations.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(pods: &[&str]) -> BTreeSet<String> {
        pods.iter().map(ToString::to_string).collect()
    }

    fn served(followers: &Followers<&str>, ready: &BTreeSet<String>) -> i64 {
        followers.served(ready).get("web").copied().unwrap_or_default()
    }

    #[test]
    fn a_generation_counts_once_a_ready_pod_serves_it() {
        let mut followers = Followers::default();
        followers.published(Version(1), Arc::new(BTreeMap::from([("web", 1)])));
        followers.connected("a");
        assert_eq!(served(&followers, &ready(&["a"])), 0);
        followers.acknowledged("a", Version(1));
        assert_eq!(served(&followers, &ready(&["a"])), 1);
        assert_eq!(served(&followers, &ready(&[])), 0);
        followers.published(Version(2), Arc::new(BTreeMap::from([("web", 2)])));
        followers.connected("b");
        followers.acknowledged("b", Version(2));
        assert_eq!(served(&followers, &ready(&["a"])), 1);
        assert_eq!(served(&followers, &ready(&["a", "b"])), 2);
        followers.gone("b");
        assert_eq!(served(&followers, &ready(&["a", "b"])), 1);
    }

    #[test]
    fn pods_are_told_with_the_version_that_they_serve_and_the_newest_that_there_is() {
        let mut followers = Followers::default();
        assert_eq!(followers.newest(), None);
        followers.published(Version(1), Arc::new(BTreeMap::from([("web", 1)])));
        followers.connected("a");
        followers.connected("b");
        followers.acknowledged("a", Version(1));
        followers.published(Version(2), Arc::new(BTreeMap::from([("web", 1)])));
        assert_eq!(followers.newest(), Some(Version(2)));
        assert_eq!(followers.pods().collect::<Vec<_>>(), [("a", Version(1)), ("b", Version(0))]);
        followers.acknowledged("a", Version(2));
        followers.acknowledged("b", Version(2));
        assert_eq!(followers.newest(), Some(Version(2)), "what all serve is still the newest");
    }

    #[test]
    fn a_generation_that_changes_nothing_is_served_at_once() {
        let mut followers = Followers::default();
        followers.published(Version(1), Arc::new(BTreeMap::from([("web", 1)])));
        followers.acknowledged("a", Version(1));
        followers.published(Version(1), Arc::new(BTreeMap::from([("web", 2)])));
        assert_eq!(served(&followers, &ready(&["a"])), 2);
    }
}
