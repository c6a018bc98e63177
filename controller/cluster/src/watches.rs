//! Everything that is watched, as one sequence of batches: nothing before every kind has been listed once. It never takes a failed list for an empty one.

mod feed;
mod follow;
mod refer;

use crate::kinds::KINDS;
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
    /// Its definition is not installed.
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

/// What one kind's watch says.
#[derive(Debug)]
struct News {
    /// The place of the kind in [`KINDS`].
    kind: usize,
    health: Health,
    changes: Vec<ObjectChange>,
    /// For kinds that are read by reference: all of this set is read, or known to be missing.
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
    health: Vec<Health>,
    /// By kind: it has been listed once, or is missing.
    is_known: Vec<bool>,
    refer: watch::Sender<Arc<BTreeSet<ObjectRef>>>,
    /// By kind: the set that is read.
    settled: Vec<Option<Arc<BTreeSet<ObjectRef>>>>,
    /// Changes that were taken while something else was waited for.
    kept: Vec<ObjectChange>,
    is_first: bool,
    _tasks: JoinSet<()>,
}

impl Watches {
    /// Starts watching; ends when it is dropped.
    pub fn start(client: Client) -> Self {
        let (news, inbox) = mpsc::channel(NEWS_MOST);
        let (refer, referred) = watch::channel(Arc::default());
        let context = Context { client, news, defined: watch::Sender::default(), referred };
        let mut tasks = JoinSet::new();
        for at in 0..KINDS.len() {
            tasks.spawn(follow::follow(context.clone(), at));
        }
        Self {
            inbox,
            health: vec![Health::Syncing; KINDS.len()],
            is_known: vec![false; KINDS.len()],
            refer,
            settled: vec![None; KINDS.len()],
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

    /// Reads these Secrets and ConfigMaps from now on and no others, and waits until all of them are read or known to be missing, or
    /// `limit` is over. Gives what came meanwhile.
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
            tracing::warn!("Secrets and ConfigMaps that are referred to could not all be read in time");
        }
        std::mem::take(&mut self.kept)
    }

    /// How it stands with each kind, as `group/kind`.
    pub fn health(&self) -> impl Iterator<Item = (String, &Health)> {
        KINDS.iter().zip(&self.health).map(|(kind, health)| (format!("{}/{}", kind.group, kind.kind), health))
    }

    fn is_synced(&self) -> bool {
        self.is_known.iter().all(|is_known| *is_known)
    }

    fn is_settled(&self, wanted: &Arc<BTreeSet<ObjectRef>>) -> bool {
        let is_by_reference = |kind: &crate::kinds::Kind| kind.reading == crate::kinds::Reading::Referred;
        let mut kinds = KINDS.iter().zip(&self.settled).filter(|(kind, _)| is_by_reference(kind));
        kinds.all(|(_, settled)| settled.as_ref().is_some_and(|settled| Arc::ptr_eq(settled, wanted)))
    }

    fn take_ready(&mut self) {
        while self.kept.len() < BATCH_MOST {
            let Ok(news) = self.inbox.try_recv() else { return };
            self.take(news);
        }
    }

    fn take(&mut self, News { kind, health, changes, referred }: News) {
        let before = &mut self.health[kind];
        let (group, name) = (KINDS[kind].group, KINDS[kind].kind);
        match (&*before, health) {
            (Health::Failing { since, .. }, Health::Failing { why, .. }) => {
                *before = Health::Failing { since: *since, why };
            }
            (Health::Failing { since, .. }, health) => {
                tracing::info!(group, kind = name, seconds = since.elapsed().as_secs(), "objects are watched again");
                *before = health;
            }
            (_, health) => {
                if let Health::Failing { why, .. } = &health {
                    tracing::warn!(group, kind = name, why, "objects cannot be watched; what is known of them stays");
                }
                *before = health;
            }
        }
        // one that fails before it was ever listed is waited for; one that was keeps what it has
        self.is_known[kind] |= matches!(self.health[kind], Health::Synced | Health::Missing);
        if referred.is_some() {
            self.settled[kind] = referred;
        }
        self.kept.extend(changes);
    }
}
