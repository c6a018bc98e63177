//! Questions to the loop of a controller, and what it answers of itself. An answer is waited for only so long: a loop that does not answer is an answer too.

use crate::health::{Follow, Health, Statuses, Unwritten, Watch};
use headgate_cluster::{
    StatusWriter,
    apply::Applier,
    kinds::Reading,
    watches::{Health as Standing, Watched, Watches},
};
use headgate_controller::cluster::{Cluster, Following};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Questions that wait to be answered; further ones are not asked.
const WAITING_MOST: usize = 8;
/// The longest that the loop may be busy with something else.
const ANSWER_MOST: Duration = Duration::from_secs(5);

/// To ask the loop.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<oneshot::Sender<Health>>);

/// To answer.
pub type Questions = mpsc::Receiver<oneshot::Sender<Health>>;

/// Both ends.
pub fn questions() -> (Asker, Questions) {
    let (asker, questions) = mpsc::channel(WAITING_MOST);
    (Asker(asker), questions)
}

impl Asker {
    /// How it stands; `None` if the loop does not say in time.
    pub async fn ask(&self) -> Option<Health> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(answer).ok()?;
        tokio::time::timeout(ANSWER_MOST, answered).await.ok()?.ok()
    }
}

/// What there is to look at.
pub struct Look<'a> {
    pub identity: &'a str,
    pub leading: bool,
    pub watches: &'a Watches,
    pub applier: &'a Applier,
    pub writer: &'a StatusWriter,
    pub cluster: &'a Cluster,
}

impl Look<'_> {
    /// How it stands now.
    pub fn health(&self) -> Health {
        let now = Instant::now();
        let (counts, pending) = (self.writer.counts(), self.writer.pending());
        let troubles = self.applier.troubles().into_iter();
        Health {
            program: env!("CARGO_PKG_VERSION").into(),
            identity: self.identity.to_owned(),
            leading: self.leading,
            synced: self.watches.is_synced(),
            watches: self.watches.watched().iter().map(|watched| watch(watched, now)).collect(),
            unwritten: troubles.map(|(object, why)| Unwritten { object: object.to_string(), why }).collect(),
            statuses: Statuses {
                written: counts.written,
                conflicts: counts.conflicts,
                failed: counts.failed,
                pending: pending as u64,
                events_dropped: counts.events_dropped,
            },
            gateways: self.cluster.following().map(follow).collect(),
        }
    }
}

fn watch(watched: &Watched, now: Instant) -> Watch {
    let seconds = |at: Instant| now.saturating_duration_since(at).as_secs();
    let (state, failing) = match &watched.health {
        Standing::Syncing => ("syncing", None),
        Standing::Missing => ("missing", None),
        Standing::Synced => ("synced", None),
        Standing::Failing { since, why } => ("failing", Some((seconds(*since), why.clone()))),
    };
    let kind = watched.kind;
    let group = if kind.group.is_empty() { String::new() } else { format!(".{}", kind.group) };
    let part = match kind.reading {
        Reading::Ours => " (ours)",
        Reading::Referred => " (referred to)",
        Reading::Scaled => " (scaled by a policy)",
        Reading::Whole | Reading::Metadata => "",
    };
    Watch {
        kind: format!("{}{group}{part}", kind.kind),
        state: state.into(),
        last_event_seconds: watched.heard.map(seconds),
        failures: watched.failures,
        failing_seconds: failing.as_ref().map(|(seconds, _)| *seconds),
        why: failing.map(|(_, why)| why).unwrap_or_default(),
    }
}

fn follow(following: Following) -> Follow {
    Follow {
        gateway: following.gateway.to_string(),
        version: following.newest.map_or(0, |version| version.0),
        pods: following.pods.into_iter().map(|(pod, version)| (pod, version.0)).collect(),
    }
}
