//! The writer of statuses: what is to be said of objects goes to the API server, as little and as seldom as can be. It never decides what is said.
//!
//! [`StatusWriter`] is told what watches show and what is wanted; its task asks [`Plan`] what is due and does only the I/O.

mod plan;

pub use plan::{Answer, Outcome, Plan, Step, WRITES_MAX, Write};

use crate::{
    events::{EventWriter, Regarding},
    leader::Leading,
    object::appliers,
    said_once::SaidOnce,
};
use headgate_controller::sources::cluster::ObjectChange;
use headgate_status::{Folded, Happening, Method, Wanted, applier};
use headgate_translate::kinds::ObjectRef;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

/// Owner of the fields that are applied.
const FIELD_MANAGER: &str = "headgate-status";
/// The longest wait for one write. Shorter than what is left of a lease when its holder gives it up, so that no write comes later.
const WRITE_MAX: Duration = Duration::from_secs(4);

/// Writes statuses from a task of its own until it is dropped.
#[derive(Debug)]
pub struct StatusWriter {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// Writes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that succeeded.
    pub written: u64,
    /// Those that met another version of the object, and are tried again.
    pub conflicts: u64,
    /// Those that failed otherwise.
    pub failed: u64,
    /// Events that were not written, because there were too many or the API server took none.
    pub events_dropped: u64,
}

#[derive(Debug)]
struct Shared {
    plan: Mutex<Plan>,
    news: Notify,
    events: EventWriter,
    written: AtomicU64,
    conflicts: AtomicU64,
    failed: AtomicU64,
}

impl StatusWriter {
    /// Starts it. Entries of `controller_name` are ours; `instance` is the Pod, for events. It writes only while `leading` says so, too.
    pub fn start(client: Client, controller_name: &str, instance: &str, leading: Leading) -> Self {
        let shared = Arc::new(Shared {
            plan: Mutex::new(Plan::new(controller_name)),
            news: Notify::new(),
            events: EventWriter::start(client.clone(), controller_name, instance),
            written: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        Self { task: tokio::spawn(run(client, controller_name.into(), shared.clone(), leading)), shared }
    }

    /// Watches showed this: each batch, in order. Other kinds than those with a status of ours are passed over.
    pub fn see(&self, changes: &[ObjectChange]) {
        let now = Instant::now();
        let mut plan = self.shared.plan();
        changes.iter().for_each(|change| plan.see(change, now));
        drop(plan);
        self.shared.news.notify_one();
    }

    /// This is to be said of an object; nothing of ours where it is `None`.
    pub fn want(&self, object: &ObjectRef, wanted: Option<Arc<Wanted>>) {
        self.shared.plan().want(object, wanted, Instant::now());
        self.shared.news.notify_one();
    }

    /// Something happened to an object that is no matter of its status. Nobody waits for it.
    pub fn tell(&self, regarding: Regarding, happening: Happening) {
        self.shared.events.tell(regarding, happening);
    }

    /// This is wrong with an object that has no conditions, and nothing else, until something else is said.
    pub fn stand(&self, regarding: &Regarding, happenings: Vec<Happening>) {
        self.shared.events.stand(regarding, happenings);
    }

    /// Whether this process leads: only then it writes.
    pub fn lead(&self, leading: bool) {
        self.shared.plan().lead(leading, Instant::now());
        self.shared.events.lead(leading);
        self.shared.news.notify_one();
    }

    /// How many objects wait to be looked at or are being written.
    pub fn pending(&self) -> usize {
        self.shared.plan().pending()
    }

    /// What was written.
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            written: of(&self.shared.written),
            conflicts: of(&self.shared.conflicts),
            failed: of(&self.shared.failed),
            events_dropped: self.shared.events.dropped(),
        }
    }
}

impl Drop for StatusWriter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, write: &mut Write) {
        for happening in std::mem::take(&mut write.happenings) {
            let (object, uid) = (write.object.clone(), write.uid.clone());
            let regarding = Regarding { object, uid, api_version: write.resource.api_version.clone() };
            self.events.tell(regarding, happening);
        }
    }
}

async fn run(client: Client, controller: Arc<str>, shared: Arc<Shared>, mut leading: Leading) {
    let mut writes = JoinSet::new();
    let mut log = SaidOnce::default();
    loop {
        // a statement of its own: the lock is free again before anything is waited for
        let step = match leading.is_now() {
            true => shared.plan().next(Instant::now(), Timestamp::now()),
            false => Step::Wait(None),
        };
        let until = match step {
            Step::Write(write) => {
                writes.spawn(carry_out(client.clone(), controller.clone(), *write));
                continue;
            }
            Step::More => {
                tokio::task::yield_now().await;
                continue;
            }
            Step::Wait(until) => until,
        };
        tokio::select! {
            Some(ended) = writes.join_next() => match ended {
                Ok((write, result)) => end(&shared, &mut log, write, result),
                // a task panics only where this program is wrong: its object is not written again
                Err(error) => tracing::error!(%error, "a write of a status broke off"),
            },
            () = shared.news.notified() => {}
            () = leading.changed() => {}
            () = sleep_until(until) => {}
        }
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// Why a write has failed.
#[derive(Debug)]
enum Failure {
    Api(Box<kube::core::Status>),
    Other(String),
}

async fn carry_out(client: Client, controller: Arc<str>, write: Write) -> (Write, Result<Answer, Failure>) {
    let result = tokio::time::timeout(WRITE_MAX, send(client, &controller, &write)).await;
    (write, result.unwrap_or_else(|_| Err(Failure::Other(format!("no answer within {WRITE_MAX:?}")))))
}

async fn send(client: Client, controller: &str, write: &Write) -> Result<Answer, Failure> {
    let ObjectRef { namespace, name, .. } = &write.object;
    let api: Api<DynamicObject> = match &**namespace {
        "" => Api::all_with(client, &write.resource),
        namespace => Api::namespaced_with(client, namespace, &write.resource),
    };
    let result = match write.method {
        Method::Apply | Method::ApplyAsController => {
            let is_controller = write.method == Method::ApplyAsController;
            let params = PatchParams::apply(if is_controller { applier(controller) } else { FIELD_MANAGER }).force();
            api.patch_status(name, &params, &Patch::Apply(applied(write))).await
        }
        Method::Merge => {
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
            api.patch_status(name, &params, &Patch::Merge(&write.body)).await
        }
    };
    match result {
        Ok(object) => Ok(answer(object)),
        Err(kube::Error::Api(status)) => Err(Failure::Api(status)),
        Err(error) => Err(Failure::Other(with_causes(&error))),
    }
}

/// What is applied names its object. With the uid, for an object that was made anew meanwhile is another one.
fn applied(write: &Write) -> Value {
    let mut body = write.body.clone();
    body["apiVersion"] = json!(write.resource.api_version);
    body["kind"] = json!(write.resource.kind);
    body["metadata"] = json!({"name": write.object.name, "uid": write.uid});
    if !write.object.namespace.is_empty() {
        body["metadata"]["namespace"] = json!(write.object.namespace);
    }
    body
}

fn answer(object: DynamicObject) -> Answer {
    Answer {
        appliers: appliers(&object.metadata),
        uid: object.metadata.uid.unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        status: object.data.get("status").map(Folded::from).unwrap_or_default(),
    }
}

fn end(shared: &Shared, log: &mut SaidOnce, mut write: Write, result: Result<Answer, Failure>) {
    let outcome = match result {
        Ok(answer) => {
            shared.written.fetch_add(1, Ordering::Relaxed);
            shared.tell(&mut write);
            Outcome::Written(answer)
        }
        Err(failure) => failed(shared, log, &write, &failure),
    };
    shared.plan().done(&write, outcome, Instant::now(), fastrand::f64());
}

fn failed(shared: &Shared, log: &mut SaidOnce, write: &Write, failure: &Failure) -> Outcome {
    let outcome = match failure {
        Failure::Api(status) => match status.code {
            404 => return Outcome::Gone,
            409 => {
                shared.conflicts.fetch_add(1, Ordering::Relaxed);
                return Outcome::Conflict;
            }
            400 | 403 | 413 | 415 | 422 => Outcome::Refused,
            _ => Outcome::Failed,
        },
        Failure::Other(_) => Outcome::Failed,
    };
    shared.failed.fetch_add(1, Ordering::Relaxed);
    let (code, error) = match failure {
        Failure::Api(status) => (status.code, &status.message),
        Failure::Other(error) => (0, error),
    };
    if let Some(untold) = log.say(format!("{} {code}", write.object.kind), Instant::now()) {
        let untold = (untold > 0).then_some(untold);
        tracing::warn!(object = %write.object, %error, untold, "a status was not written; it will be tried again");
    }
    outcome
}

/// The text of an error with those of its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
