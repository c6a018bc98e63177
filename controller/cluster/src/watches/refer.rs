//! Secrets and ConfigMaps: of all only name and version are known, and those that are referred to are got. Never keeps the content of another.

use super::{Context, Health, News, feed::Event, follow::Deaf};
use crate::{
    kinds::{KINDS, Kind},
    object,
    said_once::SaidOnce,
};
use futures_util::{Stream, StreamExt, pin_mut};
use headgate_controller::sources::cluster::ObjectChange;
use headgate_translate::kinds::ObjectRef;
use kube::{
    Api,
    api::{DynamicObject, PartialObjectMeta},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How many are got at once.
const GETS_MOST: usize = 8;
/// The longest wait for one.
const ANSWER_MOST: Duration = Duration::from_secs(10);
/// The first and the longest pause before one that could not be got is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

type Referred = Arc<BTreeSet<ObjectRef>>;

/// What became of getting one.
struct Got {
    name: ObjectRef,
    /// The version for which it was asked for.
    asked: String,
    /// `None`: a pause is over, and it is to be asked for again.
    result: Option<Result<Option<DynamicObject>, String>>,
}

struct Reader<'c> {
    context: &'c Context,
    at: usize,
    kind: &'static Kind,
    /// Versions of all, once they were listed.
    versions: HashMap<ObjectRef, String>,
    is_listed: bool,
    /// Of those that were told: the version for which they were asked for, and that of the answer, which may be newer than what the
    /// watch has shown.
    told: HashMap<ObjectRef, [String; 2]>,
    getting: HashSet<ObjectRef>,
    /// How often in a row one could not be got.
    failures: HashMap<ObjectRef, u32>,
    log: SaidOnce,
    gets: JoinSet<Got>,
    /// The set that was last said to be read.
    settled: Option<Referred>,
}

/// Runs until nobody listens.
pub(super) async fn run(
    context: &Context,
    at: usize,
    events: impl Stream<Item = Event<PartialObjectMeta<DynamicObject>>>,
) -> Result<(), Deaf> {
    pin_mut!(events);
    let mut referred = context.referred.clone();
    let mut reader = Reader {
        context,
        at,
        kind: &KINDS[at],
        versions: HashMap::new(),
        is_listed: false,
        told: HashMap::new(),
        getting: HashSet::new(),
        failures: HashMap::new(),
        log: SaidOnce::default(),
        gets: JoinSet::new(),
        settled: None,
    };
    loop {
        let wanted = referred.borrow_and_update().clone();
        reader.settle(&wanted).await?;
        tokio::select! {
            event = events.next() => match event {
                Some(event) => reader.hear(event).await?,
                None => return Ok(()),
            },
            changed = referred.changed() => changed.map_err(|_| Deaf)?,
            Some(got) = reader.gets.join_next() => if let Ok(got) = got {
                reader.take(got, &wanted).await?;
            },
        }
    }
}

impl Reader<'_> {
    async fn hear(&mut self, event: Event<PartialObjectMeta<DynamicObject>>) -> Result<(), Deaf> {
        let mut changes = Vec::new();
        match event {
            Event::All(all) => {
                self.versions = all.iter().map(|one| self.named(one)).collect();
                self.is_listed = true;
                let is_gone = |name: &&ObjectRef| !self.versions.contains_key(*name);
                let gone: Vec<ObjectRef> = self.told.keys().filter(is_gone).cloned().collect();
                gone.iter().for_each(|name| drop(self.told.remove(name)));
                changes.extend(gone.into_iter().map(ObjectChange::Remove));
            }
            Event::Alive => {}
            Event::Apply(one) => {
                let named = self.named(&one);
                self.versions.extend([named]);
                return Ok(());
            }
            Event::Delete(one) => {
                let (name, _) = self.named(&one);
                self.versions.remove(&name);
                if self.told.remove(&name).is_none() {
                    return Ok(());
                }
                changes.push(ObjectChange::Remove(name));
            }
            Event::Failed(failure) => return self.tell(Health::failing(&failure.why), changes).await,
        }
        self.tell(Health::Synced, changes).await
    }

    fn named(&self, partial: &PartialObjectMeta<DynamicObject>) -> (ObjectRef, String) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let meta = &partial.metadata;
        let name = ObjectRef::new(self.kind.group, self.kind.kind, &text(&meta.namespace), &text(&meta.name));
        (name, text(&meta.resource_version))
    }

    /// Gets what is referred to and not known in its newest version, forgets the rest, and says once all is read.
    async fn settle(&mut self, wanted: &Referred) -> Result<(), Deaf> {
        if !self.is_listed {
            return Ok(());
        }
        let unwanted: Vec<ObjectRef> = self.told.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        unwanted.iter().for_each(|name| drop(self.told.remove(name)));
        self.failures.retain(|name, _| wanted.contains(name));
        let mut is_read = true;
        for name in wanted.iter().filter(|name| name.kind == self.kind.kind && name.group == self.kind.group) {
            let Some(version) = self.versions.get(name) else { continue };
            if self.told.get(name).is_some_and(|told| told.contains(version)) {
                continue;
            }
            is_read = false;
            if self.gets.len() < GETS_MOST && self.getting.insert(name.clone()) {
                let name = name.clone();
                let api = Api::namespaced_with(self.context.client.clone(), &name.namespace, &self.kind.resource("v1"));
                self.gets.spawn(get(api, name, version.clone()));
            }
        }
        let is_news = is_read && !self.settled.as_ref().is_some_and(|settled| Arc::ptr_eq(settled, wanted));
        if is_news {
            self.settled = Some(wanted.clone());
        }
        if is_news || !unwanted.is_empty() {
            let changes = unwanted.into_iter().map(ObjectChange::Remove).collect();
            let referred = is_news.then(|| wanted.clone());
            let news = News { kind: self.at, health: Health::Synced, changes, referred };
            self.context.news.send(news).await.map_err(|_| Deaf)?;
        }
        Ok(())
    }

    async fn take(&mut self, Got { name, asked, result }: Got, wanted: &Referred) -> Result<(), Deaf> {
        self.getting.remove(&name);
        match result {
            // the watch says what goes: an answer may be older than that
            Some(Ok(Some(object))) if wanted.contains(&name) && self.versions.contains_key(&name) => {
                self.failures.remove(&name);
                let version = object.metadata.resource_version.clone().unwrap_or_default();
                self.told.insert(name, [asked, version]);
                let read = object::read(self.kind, "v1", object, None);
                self.tell(Health::Synced, vec![ObjectChange::Upsert(Arc::new(read))]).await
            }
            None | Some(Ok(Some(_))) => Ok(()),
            Some(Ok(None)) => {
                // gone before the watch says so; if it is not, it is asked for again
                if self.versions.get(&name) == Some(&asked) {
                    self.versions.remove(&name);
                }
                match self.told.remove(&name) {
                    Some(_) => self.tell(Health::Synced, vec![ObjectChange::Remove(name)]).await,
                    None => Ok(()),
                }
            }
            Some(Err(why)) => {
                self.fail(name, asked, &why);
                Ok(())
            }
        }
    }

    /// What was known of it stays, and it is asked for again after a pause.
    fn fail(&mut self, name: ObjectRef, asked: String, why: &str) {
        if let Some(untold) = self.log.say(name.to_string(), Instant::now()) {
            tracing::warn!(object = %name, why, untold, "not read, and tried again");
        }
        let failures = self.failures.entry(name.clone()).or_default();
        let pause = PAUSE.0.saturating_mul(1 << (*failures).min(16)).min(PAUSE.1);
        *failures = failures.saturating_add(1);
        self.getting.insert(name.clone());
        self.gets.spawn(async move {
            tokio::time::sleep(pause.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
            Got { name, asked, result: None }
        });
    }

    async fn tell(&self, health: Health, changes: Vec<ObjectChange>) -> Result<(), Deaf> {
        let news = News { kind: self.at, health, changes, referred: None };
        self.context.news.send(news).await.map_err(|_| Deaf)
    }
}

async fn get(api: Api<DynamicObject>, name: ObjectRef, asked: String) -> Got {
    let got = tokio::time::timeout(ANSWER_MOST, api.get_opt(&name.name)).await;
    let result = match got {
        Ok(got) => got.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MOST.as_secs())),
    };
    Got { name, asked, result: Some(result) }
}
