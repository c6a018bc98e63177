//! Writes events (`events.k8s.io/v1`) about objects, for people who ask `kubectl describe`. Nothing waits for it, and it never decides what is told.

mod bulletin;
mod standing;

pub use bulletin::{Bulletin, Ending, Notice, Regarding};
pub use headgate_status::{Happening, Severity};

use crate::{object::names_an_ending_namespace, said_once::SaidOnce, status::with_causes};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::JoinHandle};

/// The longest wait for one event.
const WRITE_MAX: Duration = Duration::from_secs(4);
/// After each event the next one waits, so that events never load an API server.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_FAILED: Duration = Duration::from_secs(1);

/// Writes events from a task of its own until it is dropped.
#[derive(Debug)]
pub struct EventWriter {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    bulletin: Mutex<Bulletin>,
    news: Notify,
    leading: AtomicBool,
}

impl Shared {
    fn bulletin(&self) -> MutexGuard<'_, Bulletin> {
        self.bulletin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventWriter {
    /// Starts it, in the name of a controller and of one of its Pods.
    pub fn start(client: Client, controller_name: &str, instance: &str) -> Self {
        let bulletin = Mutex::new(Bulletin::new(controller_name, instance));
        let shared = Arc::new(Shared { bulletin, news: Notify::new(), leading: AtomicBool::new(false) });
        Self { task: tokio::spawn(run(client, shared.clone())), shared }
    }

    /// Something happened to an object. Told by the leader only.
    pub fn tell(&self, regarding: Regarding, happening: Happening) {
        if self.shared.leading.load(Ordering::Relaxed) {
            self.shared.bulletin().tell(regarding, happening, Timestamp::now());
            self.shared.news.notify_one();
        }
    }

    /// This is wrong with an object, and nothing else, until something else is said. Told by the leader only, once.
    pub fn stand(&self, regarding: &Regarding, happenings: Vec<Happening>) {
        self.shared.bulletin().stand(regarding, happenings, Timestamp::now());
        self.shared.news.notify_one();
    }

    /// Whether this process leads. What waits when that ends is not told.
    pub fn lead(&self, leading: bool) {
        self.shared.leading.store(leading, Ordering::Relaxed);
        self.shared.bulletin().lead(leading);
        self.shared.news.notify_one();
    }

    /// How many events were not written, because there were too many or the API server took none.
    pub fn dropped(&self) -> u64 {
        self.shared.bulletin().dropped()
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(client: Client, shared: Arc<Shared>) {
    let mut log = SaidOnce::default();
    loop {
        // a statement of its own: the lock is free again before anything is waited for
        let notice = shared.bulletin().take();
        let Some(notice) = notice else {
            shared.news.notified().await;
            continue;
        };
        let ending = match tokio::time::timeout(WRITE_MAX, write(client.clone(), &notice)).await {
            Ok(Ok(())) => Ending::Written,
            Ok(Err(error)) => judged(&error, &notice, &mut log),
            Err(_) => Ending::Failed,
        };
        shared.bulletin().done(notice, ending);
        tokio::time::sleep(if ending == Ending::Failed { PAUSE_FAILED } else { PAUSE }).await;
    }
}

async fn write(client: Client, notice: &Notice) -> kube::Result<()> {
    let api: Api<Event> = Api::namespaced(client, &notice.namespace);
    if notice.is_patch {
        return api.patch(&notice.name, &PatchParams::default(), &Patch::Merge(&notice.body)).await.map(drop);
    }
    let event: Event = serde_json::from_value(notice.body.clone()).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &event).await {
        // a try before this one has come through
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        result => result.map(drop),
    }
}

fn judged(error: &kube::Error, notice: &Notice, log: &mut SaidOnce) -> Ending {
    let (code, ending) = match error {
        // a namespace that goes takes no events, and its objects go too
        kube::Error::Api(status) if [403, 404].contains(&status.code) && is_gone(status) => return Ending::Hopeless,
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
            (status.code, Ending::Hopeless)
        }
        kube::Error::Api(status) => (status.code, Ending::Failed),
        kube::Error::SerdeError(_) => (0, Ending::Hopeless),
        _ => (0, Ending::Failed),
    };
    if let Some(untold) = log.say(code.to_string(), Instant::now()) {
        let (untold, error) = ((untold > 0).then_some(untold), with_causes(error));
        tracing::warn!(namespace = notice.namespace, %error, untold, "an event was not written");
    }
    ending
}

/// Whether the namespace goes, or the event of a series is gone.
fn is_gone(status: &kube::core::Status) -> bool {
    status.code == 404 || names_an_ending_namespace(status)
}
