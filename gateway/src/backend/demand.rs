//! What is demanded of each scale target, and which cold starts there were: all that flows up. Counts only; never decides to scale.

use super::{Backend, ColdStart, Limits};
use crate::sweep::Sweep;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Instant,
};
use tokio::sync::Notify;

/// Cold starts kept until somebody takes them; the oldest go first.
const COLD_STARTS_KEPT: usize = 1_024;

/// What is demanded of one scale target, over all its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// `namespace/name`.
    pub target: Arc<str>,
    /// Requests sent and not yet over, those to endpoints that are listed no more included.
    pub in_flight: u64,
    /// Requests that wait.
    pub queued: u64,
    /// Whether a start that was asked for is still owed one instance, though nobody may wait any more.
    pub leased: bool,
    /// Endpoints in service.
    pub serving: u64,
}

impl Demand {
    /// The whole: in-flight + queued, and at least 1 while leased.
    pub fn total(&self) -> u64 {
        (self.in_flight + self.queued).max(u64::from(self.leased))
    }
}

/// The one place where demand can be read.
#[derive(Debug, Default)]
pub struct Board {
    backends: Mutex<Shown>,
    cold_starts: Mutex<VecDeque<ColdStart>>,
    edge: Notify,
    started: Notify,
}

/// The backends whose demand can be read.
#[derive(Debug, Default)]
struct Shown {
    list: Vec<Weak<Backend>>,
    sweep: Sweep,
}

impl Shown {
    fn add(&mut self, backend: Weak<Backend>) {
        let list = &mut self.list;
        self.sweep.before_adding(list.len(), || {
            list.retain(|backend| backend.strong_count() > 0);
            list.len()
        });
        list.push(backend);
    }
}

impl Board {
    /// The demand of every scale target, by name.
    pub fn read(&self, now: Instant) -> Vec<Demand> {
        let backends: Vec<_> = lock(&self.backends).list.iter().filter_map(Weak::upgrade).collect();
        let mut sums = BTreeMap::<Arc<str>, Demand>::new();
        for backend in backends {
            let Some(one) = backend.demand(now) else { continue };
            let target = Arc::clone(&one.target);
            sums.entry(target).and_modify(|sum| sum.add(&one)).or_insert(one);
        }
        sums.into_values().collect()
    }

    /// Returns once a target is newly demanded or a queue has formed since the last call. For one reader.
    pub async fn changed(&self) {
        self.edge.notified().await;
    }

    /// The cold starts since the last call, oldest first.
    pub fn take_cold_starts(&self) -> Vec<ColdStart> {
        lock(&self.cold_starts).drain(..).collect()
    }

    /// Returns once there was a cold start since the last call. For one reader.
    pub async fn cold_started(&self) {
        self.started.notified().await;
    }

    pub(super) fn add(&self, backend: Weak<Backend>) {
        lock(&self.backends).add(backend);
    }

    pub(super) fn signal(&self) {
        self.edge.notify_one();
    }

    pub(super) fn report(&self, start: ColdStart) {
        let mut starts = lock(&self.cold_starts);
        if starts.len() == COLD_STARTS_KEPT {
            starts.pop_front();
        }
        starts.push_back(start);
        drop(starts);
        self.started.notify_one();
    }
}

impl Demand {
    fn add(&mut self, other: &Self) {
        self.in_flight += other.in_flight;
        self.queued += other.queued;
        self.leased |= other.leased;
        self.serving += other.serving;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}

/// Keeps a woken target demanded until it has served its purpose, whoever left meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lease {
    /// Nothing is owed.
    #[default]
    None,
    /// Woken at this time, not yet ready.
    UntilReady(Instant),
    /// Ready; ends at this time.
    Until(Instant),
}

impl Lease {
    /// Somebody needs it; `true` if that is news.
    pub fn wake(&mut self, now: Instant, limits: &Limits) -> bool {
        let news = !self.holds(now, limits);
        if !matches!(self, Self::UntilReady(_)) || news {
            *self = Self::UntilReady(now);
        }
        news
    }

    /// An endpoint is ready.
    pub fn ready(&mut self, now: Instant, limits: &Limits) {
        if matches!(self, Self::UntilReady(_)) {
            *self = Self::Until(now + limits.lease);
        }
    }

    /// Whether one instance is owed.
    pub fn holds(self, now: Instant, limits: &Limits) -> bool {
        match self {
            Self::None => false,
            Self::UntilReady(since) => now < since + limits.lease_unready_most,
            Self::Until(end) => now < end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lease_outlives_the_client() {
        let (limits, t0) = (Limits::default(), Instant::now());
        let at = |s| t0 + Duration::from_secs(s);
        let mut lease = Lease::None;
        assert!(!lease.holds(t0, &limits));
        assert!(lease.wake(t0, &limits), "the first wake is news");
        assert!(!lease.wake(at(1), &limits), "the second is not: never two starts for one need");
        assert!(lease.holds(at(599), &limits) && !lease.holds(at(600), &limits));
        lease.ready(at(10), &limits);
        assert!(lease.holds(at(24), &limits) && !lease.holds(at(25), &limits));
        lease.ready(at(20), &limits);
        assert!(!lease.holds(at(25), &limits), "a second endpoint does not renew it");
        assert!(lease.wake(at(30), &limits));
        assert!(lease.wake(at(30 + 600), &limits), "given up: asked again");
    }
}
