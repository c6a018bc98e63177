//! One kind, followed: found, listed, watched, listed again where a watch breaks. Only a definition that is known to be gone takes its objects with it.

use super::{
    Context, Health, News,
    feed::{Event, feed},
    refer, workloads,
};
use crate::{
    discovery,
    kinds::{KINDS, Kind, OURS, Presence, Reading},
    object,
};
use futures_util::{Stream, StreamExt, pin_mut};
use headgate_controller::sources::cluster::{ClusterObject, ClusterObjects, ObjectChange};
use headgate_translate::kinds::ObjectRef;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How often a definition that is missing is looked for, if nothing says that one came.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often a kind that is not enabled is looked for: whoever runs an API server starts it anew for that.
const ENABLED_WITHIN: Duration = Duration::from_secs(60);
/// Before a definition that could not be asked for is asked for again.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest wait for a definition.
const ANSWER_MOST: Duration = Duration::from_secs(10);

/// After a definition has changed an API server may for a moment go on as it was before: all is listed again so much later.
const CHANGED_WITHIN: Duration = Duration::from_secs(3);

/// Versions of the definitions that there are, by name.
pub(super) type Definitions = HashMap<String, String>;

/// Nobody listens any more.
pub(super) struct Deaf;

/// As what a kind is defined: the version in which it is read, and the generation of its definition. By another one the same object may
/// be read otherwise, without being another version of itself: fields come, go and get defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    version: &'static str,
    generation: i64,
}

/// Follows the kind at this place until nobody listens.
pub(super) async fn follow(context: Context, at: usize) {
    let mut follower = Follower::new(context, at);
    loop {
        let followed = match follower.find().await {
            Ok(Some(form)) => follower.watch(form).await,
            Ok(None) => follower.miss().await,
            Err(why) => follower.fail(&why).await,
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
    defined: watch::Receiver<Definitions>,
    /// Name of its definition, if it has one.
    definition: String,
    /// The version of the definition that was known when it was asked for.
    seen: Option<String>,
    /// As what those that are known were read, if they surely were.
    form: Option<Form>,
    /// When all is to be listed again.
    again: Option<Instant>,
    known: ClusterObjects,
}

impl Follower {
    fn new(context: Context, at: usize) -> Self {
        let kind = &KINDS[at];
        let defined = context.defined.subscribe();
        let definition = format!("{}.{}", kind.plural, kind.group);
        Self {
            context,
            at,
            kind,
            defined,
            definition,
            seen: None,
            form: None,
            again: None,
            known: ClusterObjects::default(),
        }
    }

    /// As what it is read; `None` while the API server does not know it.
    async fn find(&mut self) -> Result<Option<Form>, String> {
        let plain = |version: &'static str| Form { version, generation: 0 };
        match self.kind.presence {
            Presence::Always => Ok(self.kind.versions.first().copied().map(plain)),
            Presence::Enabled => {
                let asked = in_time(discovery::enabled(&self.context.client, self.kind)).await?;
                Ok(asked.map_err(|error| error.to_string())?.map(plain))
            }
            Presence::Defined => self.find_definition().await,
        }
    }

    /// The definition is asked for itself: after a restart an API server serves the kinds of definitions a while later than the definitions.
    async fn find_definition(&mut self) -> Result<Option<Form>, String> {
        self.seen = self.defined.borrow_and_update().get(&self.definition).cloned();
        let definitions: Api<CustomResourceDefinition> = Api::all(self.context.client.clone());
        let asked = in_time(definitions.get_opt(&self.definition)).await?;
        let Some(definition) = asked.map_err(|error| error.to_string())? else { return Ok(None) };
        let is_served =
            |wanted: &&&str| definition.spec.versions.iter().any(|version| version.served && version.name == **wanted);
        let generation = definition.metadata.generation.unwrap_or_default();
        Ok(self.kind.versions.iter().find(is_served).map(|version| Form { version, generation }))
    }

    /// The API server does not know it: what was known is gone.
    async fn miss(&mut self) -> Result<(), Deaf> {
        let known = std::mem::take(&mut self.known);
        let gone = known.iter().map(|object| ObjectChange::Remove(object.name.clone())).collect();
        self.tell(Health::Missing, gone).await?;
        let came = redefined(&mut self.defined, &self.definition, self.seen.as_ref());
        let pause = if self.kind.presence == Presence::Enabled { ENABLED_WITHIN } else { LOOK_AGAIN };
        let _ = tokio::time::timeout(pause, came).await;
        Ok(())
    }

    async fn fail(&self, why: &str) -> Result<(), Deaf> {
        self.tell(Health::failing(why), Vec::new()).await?;
        tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        Ok(())
    }

    async fn watch(&mut self, form: Form) -> Result<(), Deaf> {
        let kind = self.kind;
        let resource = kind.resource(form.version);
        let client = self.context.client.clone();
        let whole = || Api::<DynamicObject>::all_with(client.clone(), &resource);
        let metadata = || Api::<PartialObjectMeta<DynamicObject>>::all_with(client.clone(), &resource);
        match kind.reading {
            Reading::Whole => self.run(form, feed(whole(), None)).await,
            Reading::Ours => self.run(form, feed(whole(), Some(OURS))).await,
            Reading::Metadata => {
                let events = feed(metadata(), None);
                self.run(form, events.map(|event| event_of_metadata(event, &resource))).await
            }
            Reading::Scaled => workloads::run(&self.context, self.at).await,
            Reading::Referred => refer::run(&self.context, self.at, feed(metadata(), None)).await,
        }
    }

    /// Runs until nobody listens, or until all is to be listed anew.
    async fn run(&mut self, form: Form, events: impl Stream<Item = Event<DynamicObject>>) -> Result<(), Deaf> {
        pin_mut!(events);
        loop {
            let (is_defined, again) = (self.kind.presence == Presence::Defined, self.again);
            let event = tokio::select! {
                event = events.next() => event,
                () = redefined(&mut self.defined, &self.definition, self.seen.as_ref()), if is_defined => {
                    if self.is_another(form).await {
                        return Ok(());
                    }
                    continue;
                }
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                    (self.again, self.form) = (None, None);
                    return Ok(());
                }
            };
            let Some(event) = event else { return Ok(()) };
            let is_not_found = matches!(&event, Event::Failed(failure) if failure.is_not_found);
            self.hear(form, event).await?;
            // its definition may be gone, or serve another version
            if is_not_found && self.is_another(form).await {
                return Ok(());
            }
        }
    }

    /// Whether it is not defined so any more, as far as that can be known.
    async fn is_another(&mut self, form: Form) -> bool {
        let is_another = self.find().await != Ok(Some(form));
        if is_another {
            self.again = Some(Instant::now() + CHANGED_WITHIN);
        }
        is_another
    }

    async fn hear(&mut self, form: Form, event: Event<DynamicObject>) -> Result<(), Deaf> {
        let mut changes = Vec::new();
        match event {
            Event::All(objects) => {
                let mut now: ClusterObjects =
                    objects.into_iter().map(|object| self.read(form, object, &mut changes)).collect();
                if self.kind.presence == Presence::Enabled {
                    now.insert(self.presence(&mut changes));
                }
                changes.extend(self.known.without(&now).cloned().map(ObjectChange::Remove));
                (self.known, self.form) = (now, Some(form));
            }
            Event::Alive => {}
            Event::Apply(object) => {
                let read = self.read(form, object, &mut changes);
                self.known.insert(read);
            }
            Event::Delete(object) => {
                let name = object::name_of(self.kind, &object);
                changes.extend(self.known.remove(&name).map(|_| ObjectChange::Remove(name)));
            }
            Event::Failed(failure) => return self.tell(Health::failing(&failure.why), changes).await,
        }
        self.tell(Health::Synced, changes).await
    }

    /// What stands for the kind as a whole; a change too, unless it was known before.
    fn presence(&self, changes: &mut Vec<ObjectChange>) -> Arc<ClusterObject> {
        let all = ObjectRef::all_of(self.kind.group, self.kind.kind);
        self.known.get(&all).cloned().unwrap_or_else(|| {
            let object = Arc::new(object::standing_for(&all));
            changes.push(ObjectChange::Upsert(object.clone()));
            object
        })
    }

    /// The object; a change too, unless it is known just so.
    fn read(&self, form: Form, object: DynamicObject, changes: &mut Vec<ObjectChange>) -> Arc<ClusterObject> {
        let name = object::name_of(self.kind, &object);
        let before = self.known.get(&name);
        let is_same = |before: &&Arc<ClusterObject>| {
            self.form == Some(form) && object.metadata.resource_version.as_ref() == Some(&before.resource_version)
        };
        if let Some(same) = before.filter(is_same) {
            return same.clone();
        }
        let read = Arc::new(object::read(self.kind, form.version, object, before.map(|before| &**before)));
        if let Some(same) = before.filter(|before| **before == read) {
            return same.clone();
        }
        changes.push(ObjectChange::Upsert(read.clone()));
        read
    }

    async fn tell(&self, health: Health, changes: Vec<ObjectChange>) -> Result<(), Deaf> {
        if self.kind.reading == Reading::Metadata && !changes.is_empty() {
            let entry = |object: &Arc<ClusterObject>| (object.name.name.to_string(), object.resource_version.clone());
            self.context.defined.send_replace(self.known.iter().map(entry).collect());
        }
        let news = News { kind: self.at, health, changes, referred: None };
        self.context.news.send(news).await.map_err(|_| Deaf)
    }
}

async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, String> {
    let answer = tokio::time::timeout(ANSWER_MOST, answer).await;
    answer.map_err(|_| format!("no answer within {} s", ANSWER_MOST.as_secs()))
}

/// Waits until a definition comes, changes or goes.
async fn redefined(defined: &mut watch::Receiver<Definitions>, definition: &str, seen: Option<&String>) {
    // whoever tells of definitions lives as long as this
    let _ = defined.wait_for(|now| now.get(definition) != seen).await;
}

/// Metadata as an object that has nothing else.
fn event_of_metadata(event: Event<PartialObjectMeta<DynamicObject>>, resource: &ApiResource) -> Event<DynamicObject> {
    let object = |partial: PartialObjectMeta<DynamicObject>| {
        let mut object = DynamicObject::new("", resource);
        object.metadata = partial.metadata;
        object
    };
    match event {
        Event::All(all) => Event::All(all.into_iter().map(object).collect()),
        Event::Alive => Event::Alive,
        Event::Apply(one) => Event::Apply(object(one)),
        Event::Delete(one) => Event::Delete(object(one)),
        Event::Failed(failure) => Event::Failed(failure),
    }
}

#[cfg(test)]
mod tests;
