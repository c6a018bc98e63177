//! One kind, followed: found, listed, watched, listed again where a watch breaks. Only a definition that is known to be gone takes its objects with it.

use super::{Context, Health, News, refer};
use crate::{
    kinds::{KINDS, Kind, OURS, Reading},
    object,
};
use futures_util::{Stream, StreamExt, TryStreamExt, pin_mut};
use headgate_controller::sources::cluster::{ClusterObject, ObjectChange};
use headgate_translate::kinds::ObjectRef;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often a definition that is missing is looked for, if nothing says that one came.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The first and the longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A watch is begun anew after this many seconds, so that one that is dead without a word does not stay so.
const WATCH_SECONDS: u32 = 290;

/// Nobody listens any more.
pub(super) struct Deaf;

/// Pauses after failures in a row, each up to twice as long as the one before.
#[derive(Default)]
struct Pauses(u32);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = PAUSE.0.saturating_mul(2_u32.saturating_pow(self.0)).min(PAUSE.1);
        self.0 = self.0.saturating_add(1);
        Some(pause.mul_f64(1.0 - fastrand::f64() / 2.0))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Follows the kind at this place until nobody listens.
pub(super) async fn follow(context: Context, at: usize) {
    let mut follower = Follower { context, at, kind: &KINDS[at], known: HashMap::new(), failing_since: None };
    loop {
        let followed = match follower.find().await {
            Ok(Some(version)) => follower.watch(version).await,
            Ok(None) => follower.miss().await,
            Err(error) => follower.fail(&error.to_string()).await,
        };
        if followed.is_err() {
            return;
        }
    }
}

struct Follower {
    context: Context,
    at: usize,
    kind: &'static Kind,
    known: HashMap<ObjectRef, Arc<ClusterObject>>,
    failing_since: Option<Instant>,
}

impl Follower {
    /// The version in which it is read; `None` while there is no definition. The definition is asked for itself: after a restart an API
    /// server serves the kinds of definitions a while later than the definitions.
    async fn find(&self) -> Result<Option<&'static str>, kube::Error> {
        if !self.kind.is_custom {
            return Ok(self.kind.versions.first().copied());
        }
        let definitions: Api<CustomResourceDefinition> = Api::all(self.context.client.clone());
        let name = format!("{}.{}", self.kind.plural, self.kind.group);
        let Some(definition) = definitions.get_opt(&name).await? else { return Ok(None) };
        let is_served =
            |wanted: &&&str| definition.spec.versions.iter().any(|version| version.served && version.name == **wanted);
        Ok(self.kind.versions.iter().find(is_served).copied())
    }

    /// There is no definition: what was known is gone.
    async fn miss(&mut self) -> Result<(), Deaf> {
        let gone = self.known.drain().map(|(name, _)| ObjectChange::Remove(name)).collect();
        self.tell(Health::Missing, gone).await?;
        let defined = self.context.defined.clone();
        tokio::select! {
            () = defined.notified() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        Ok(())
    }

    async fn fail(&mut self, why: &str) -> Result<(), Deaf> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        self.tell(Health::Failing { since, why: why.to_owned() }, Vec::new()).await?;
        tokio::time::sleep(PAUSE.0 + PAUSE.0.mul_f64(fastrand::f64())).await;
        Ok(())
    }

    async fn watch(&mut self, version: &'static str) -> Result<(), Deaf> {
        let kind = self.kind;
        let resource = kind.resource(version);
        let client = self.context.client.clone();
        let whole: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let metadata: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource);
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        match kind.reading {
            Reading::Whole => self.run(version, watcher(whole, config).backoff(Pauses::default())).await,
            Reading::Ours => {
                let config = config.labels(OURS);
                self.run(version, watcher(whole, config).backoff(Pauses::default())).await
            }
            Reading::Metadata => {
                let events = watcher(metadata, config).backoff(Pauses::default());
                self.run(version, events.map_ok(|event| event_of_metadata(event, &resource))).await
            }
            Reading::Referred => {
                let events = watcher(metadata, config).backoff(Pauses::default());
                refer::run(&self.context, self.at, events).await
            }
        }
    }

    async fn run(
        &mut self,
        version: &str,
        events: impl Stream<Item = watcher::Result<Event<DynamicObject>>>,
    ) -> Result<(), Deaf> {
        pin_mut!(events);
        let mut listed: Option<HashMap<ObjectRef, Arc<ClusterObject>>> = None;
        let mut changes = Vec::new();
        loop {
            let Some(event) = events.next().await else { return Ok(()) };
            match event {
                Ok(Event::Init) => {
                    listed = Some(HashMap::new());
                    changes.clear();
                }
                Ok(Event::InitApply(object)) => {
                    let (name, read) = self.read(version, object, &mut changes);
                    listed.get_or_insert_default().insert(name, read);
                }
                Ok(Event::InitDone) => {
                    let now = listed.take().unwrap_or_default();
                    let gone = self.known.keys().filter(|name| !now.contains_key(*name)).cloned();
                    changes.extend(gone.map(ObjectChange::Remove));
                    self.known = now;
                    self.tell(Health::Synced, std::mem::take(&mut changes)).await?;
                }
                Ok(Event::Apply(object)) => {
                    let (name, read) = self.read(version, object, &mut changes);
                    self.known.insert(name, read);
                    self.tell(Health::Synced, std::mem::take(&mut changes)).await?;
                }
                Ok(Event::Delete(object)) => {
                    let name = object::name_of(self.kind, &object);
                    let gone = self.known.remove(&name).map(|_| ObjectChange::Remove(name));
                    self.tell(Health::Synced, gone.into_iter().collect()).await?;
                }
                Err(error) => {
                    let is_unknown = is_not_found(&error);
                    self.fail(&error.to_string()).await?;
                    if is_unknown {
                        // its definition may have changed or gone
                        return Ok(());
                    }
                }
            }
        }
    }

    fn read(
        &self,
        version: &str,
        object: DynamicObject,
        changes: &mut Vec<ObjectChange>,
    ) -> (ObjectRef, Arc<ClusterObject>) {
        let name = object::name_of(self.kind, &object);
        let before = self.known.get(&name);
        let same = before.filter(|before| object.metadata.resource_version.as_ref() == Some(&before.resource_version));
        if let Some(same) = same {
            return (name, same.clone());
        }
        let read = Arc::new(object::read(self.kind, version, object, before.map(|before| &**before)));
        changes.push(ObjectChange::Upsert(read.clone()));
        (name, read)
    }

    async fn tell(&mut self, health: Health, changes: Vec<ObjectChange>) -> Result<(), Deaf> {
        if !matches!(health, Health::Failing { .. }) {
            self.failing_since = None;
        }
        if self.kind.reading == Reading::Metadata && !changes.is_empty() {
            self.context.defined.notify_waiters();
        }
        let news = News { kind: self.at, health, changes, referred: None };
        self.context.news.send(news).await.map_err(|_| Deaf)
    }
}

/// Metadata as an object that has nothing else.
fn event_of_metadata<K: Resource>(event: Event<PartialObjectMeta<K>>, resource: &ApiResource) -> Event<DynamicObject> {
    let object = |partial: PartialObjectMeta<K>| {
        let mut object = DynamicObject::new("", resource);
        object.metadata = partial.metadata;
        object
    };
    match event {
        Event::Apply(one) => Event::Apply(object(one)),
        Event::Delete(one) => Event::Delete(object(one)),
        Event::Init => Event::Init,
        Event::InitApply(one) => Event::InitApply(object(one)),
        Event::InitDone => Event::InitDone,
    }
}

fn is_not_found(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}
