//! Everything that is watched, as one sequence of batches: nothing before every kind has been listed once. It never takes a failed list for an empty one.

mod feed;
mod follow;
mod refer;
mod workloads;

use crate::kinds::{KINDS, Kind};
use headgate_controller::sources::cluster::ObjectChange;
use headgate_translate::kinds::ObjectRef;
use kube::Client;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Messages of all kinds that wait to be taken; then watching itself waits.
const NEWS_MOST: usize = 1_024;
/// Changes of one batch, but for those of one list.
const BATCH_MOST: usize = 10_000;

/// How it stands with a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not been listed yet.
    Syncing,
    /// Its definition is not installed, or nobody asked for it.
    Missing,
    /// All is known.
    Synced,
    /// It cannot be listed or watched; what is known may be old.
    Failing {
        /// Since when.
        since: Instant,
        /// Why.
        why: String,
    },
}

impl Health {
    fn failing(why: &str) -> Self {
        Self::Failing { since: Instant::now(), why: why.to_owned() }
    }
}

/// What is known of the watch of one kind.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The kind.
    pub kind: &'static Kind,
    /// How it stands.
    pub health: Health,
    /// When it said anything last, be it only that it goes on: each watch is begun anew about every two minutes, and says so.
    pub heard: Option<Instant>,
    /// How often listing or watching failed since the start.
    pub failures: u64,
    /// It has been listed once, or is missing.
    pub is_known: bool,
    /// Of kinds that are read by reference: the set that is read.
    settled: Option<Arc<BTreeSet<ObjectRef>>>,
}

impl Watched {
    fn new(kind: &'static Kind) -> Self {
        Self { kind, health: Health::Syncing, heard: None, failures: 0, is_known: false, settled: None }
    }

    fn take(&mut self, health: Health, now: Instant) {
        let (group, name) = (self.kind.group, self.kind.kind);
        self.heard = Some(now);
        self.failures += u64::from(matches!(health, Health::Failing { .. }));
        self.health = match (&self.health, health) {
            (Health::Failing { since, .. }, Health::Failing { why, .. }) => Health::Failing { since: *since, why },
            (Health::Failing { since, .. }, health) => {
                tracing::info!(group, kind = name, seconds = since.elapsed().as_secs(), "objects are watched again");
                health
            }
            (_, health) => {
                if let Health::Failing { why, .. } = &health {
                    tracing::warn!(group, kind = name, why, "objects cannot be watched; what is known of them stays");
                }
                health
            }
        };
        // one that fails before it was ever listed is waited for; one that was keeps what it has
        self.is_known |= matches!(self.health, Health::Synced | Health::Missing);
    }
}

/// What one kind's watch says.
#[derive(Debug)]
struct News {
    /// The place of the kind in [`KINDS`].
    kind: usize,
    health: Health,
    changes: Vec<ObjectChange>,
    /// For kinds of which only some are read: all of this set is read, or known to be missing.
    referred: Option<Arc<BTreeSet<ObjectRef>>>,
}

/// What watches share.
#[derive(Clone)]
struct Context {
    client: Client,
    news: mpsc::Sender<News>,
    /// The definitions that there are.
    defined: watch::Sender<follow::Definitions>,
    referred: watch::Receiver<Arc<BTreeSet<ObjectRef>>>,
}

/// The watches.
pub struct Watches {
    inbox: mpsc::Receiver<News>,
    /// As [`KINDS`] has them.
    watched: Vec<Watched>,
    refer: watch::Sender<Arc<BTreeSet<ObjectRef>>>,
    /// Changes that were taken while something else was waited for.
    kept: Vec<ObjectChange>,
    is_first: bool,
    _tasks: JoinSet<()>,
}

impl Watches {
    /// Starts watching the kinds that it `wants`, of which there seems to be nothing otherwise; ends when it is dropped.
    pub fn start(client: Client, wants: impl Fn(&Kind) -> bool) -> Self {
        let (news, inbox) = mpsc::channel(NEWS_MOST);
        let (refer, referred) = watch::channel(Arc::default());
        let context = Context { client, news, defined: watch::Sender::default(), referred };
        let mut tasks = JoinSet::new();
        for (at, _) in KINDS.iter().enumerate().filter(|(_, kind)| wants(kind)) {
            tasks.spawn(follow::follow(context.clone(), at));
        }
        let unwanted = |kind| Watched { health: Health::Missing, is_known: true, ..Watched::new(kind) };
        Self {
            inbox,
            watched: KINDS.iter().map(|kind| if wants(kind) { Watched::new(kind) } else { unwanted(kind) }).collect(),
            refer,
            kept: Vec::new(),
            is_first: true,
            _tasks: tasks,
        }
    }

    /// What is new, never nothing. The first time it waits until all kinds that exist have been listed. Safe to cancel.
    pub async fn next(&mut self) -> Vec<ObjectChange> {
        loop {
            if !self.is_first || self.is_synced() {
                self.take_ready();
                if !self.kept.is_empty() {
                    self.is_first = false;
                    return std::mem::take(&mut self.kept);
                }
                self.is_first &= !self.is_synced();
            }
            match self.inbox.recv().await {
                Some(news) => self.take(news),
                None => std::future::pending().await,
            }
        }
    }

    /// Reads these Secrets, ConfigMaps, Pods and workloads, with the Pods of those, from now on and no others, and waits until all of them are
    /// read or known to be missing, or `limit` is over. Gives what came meanwhile.
    pub async fn refer(&mut self, objects: BTreeSet<ObjectRef>, limit: Duration) -> Vec<ObjectChange> {
        let wanted = Arc::new(objects);
        self.refer.send_replace(wanted.clone());
        let settle = async {
            while !self.is_settled(&wanted) {
                match self.inbox.recv().await {
                    Some(news) => self.take(news),
                    None => return,
                }
            }
        };
        if tokio::time::timeout(limit, settle).await.is_err() {
            tracing::warn!("Secrets, ConfigMaps and workloads that are referred to could not all be read in time");
        }
        std::mem::take(&mut self.kept)
    }

    /// How it stands with each kind, as `group/kind`.
    pub fn health(&self) -> impl Iterator<Item = (String, &Health)> {
        self.watched.iter().map(|one| (format!("{}/{}", one.kind.group, one.kind.kind), &one.health))
    }

    /// What is known of each watch, as [`KINDS`] has them.
    pub fn watched(&self) -> &[Watched] {
        &self.watched
    }

    /// Whether every kind has been listed once, or is missing.
    pub fn is_synced(&self) -> bool {
        self.watched.iter().all(|one| one.is_known)
    }

    fn is_settled(&self, wanted: &Arc<BTreeSet<ObjectRef>>) -> bool {
        let mut by_reference = self.watched.iter().filter(|one| one.kind.is_by_reference());
        by_reference.all(|one| one.settled.as_ref().is_some_and(|settled| Arc::ptr_eq(settled, wanted)))
    }

    fn take_ready(&mut self) {
        while self.kept.len() < BATCH_MOST {
            let Ok(news) = self.inbox.try_recv() else { return };
            self.take(news);
        }
    }

    fn take(&mut self, News { kind, health, changes, referred }: News) {
        let watched = &mut self.watched[kind];
        watched.take(health, Instant::now());
        if referred.is_some() {
            watched.settled = referred;
        }
        self.kept.extend(changes);
    }
}
