//! Secrets and ConfigMaps: of all only name and version are known, and those that are referred to are got. Never keeps the content of another.

use super::{Context, Health, News, follow::Deaf};
use crate::{
    kinds::{KINDS, Kind},
    object,
};
use futures_util::{Stream, StreamExt, pin_mut};
use headgate_controller::sources::cluster::ObjectChange;
use headgate_translate::kinds::ObjectRef;
use kube::{
    Api,
    api::{DynamicObject, PartialObjectMeta},
    runtime::watcher::{self, Event},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How many are got at once.
const GETS_MOST: usize = 8;
/// Before one that could not be got is tried again.
const PAUSE: Duration = Duration::from_secs(1);

type Referred = Arc<BTreeSet<ObjectRef>>;

/// What became of getting one.
struct Got {
    name: ObjectRef,
    /// `None`: a pause is over, and it is to be asked for again.
    result: Option<Result<Option<DynamicObject>, kube::Error>>,
}

struct Reader<'c> {
    context: &'c Context,
    at: usize,
    kind: &'static Kind,
    /// Versions of all, once they were listed.
    versions: HashMap<ObjectRef, String>,
    is_listed: bool,
    /// Versions of those that were told.
    told: HashMap<ObjectRef, String>,
    getting: HashSet<ObjectRef>,
    gets: JoinSet<Got>,
    /// The set that was last said to be read.
    settled: Option<Referred>,
}

/// Runs until nobody listens.
pub(super) async fn run(
    context: &Context,
    at: usize,
    events: impl Stream<Item = watcher::Result<Event<PartialObjectMeta<DynamicObject>>>>,
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
        gets: JoinSet::new(),
        settled: None,
    };
    let mut listed = HashMap::new();
    loop {
        let wanted = referred.borrow_and_update().clone();
        reader.settle(&wanted).await?;
        tokio::select! {
            event = events.next() => match event {
                Some(event) => reader.hear(event, &mut listed).await?,
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
    async fn hear(
        &mut self,
        event: watcher::Result<Event<PartialObjectMeta<DynamicObject>>>,
        listed: &mut HashMap<ObjectRef, String>,
    ) -> Result<(), Deaf> {
        let named = |partial: &PartialObjectMeta<DynamicObject>| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let meta = &partial.metadata;
            let name = ObjectRef::new(self.kind.group, self.kind.kind, &text(&meta.namespace), &text(&meta.name));
            (name, text(&meta.resource_version))
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(one)) => listed.extend([named(&one)]),
            Ok(Event::InitDone) => {
                self.versions = std::mem::take(listed);
                self.is_listed = true;
                let is_gone = |name: &&ObjectRef| !self.versions.contains_key(*name);
                let gone: Vec<ObjectRef> = self.told.keys().filter(is_gone).cloned().collect();
                gone.iter().for_each(|name| drop(self.told.remove(name)));
                self.tell(Health::Synced, gone.into_iter().map(ObjectChange::Remove).collect()).await?;
            }
            Ok(Event::Apply(one)) => self.versions.extend([named(&one)]),
            Ok(Event::Delete(one)) => {
                let (name, _) = named(&one);
                self.versions.remove(&name);
                if self.told.remove(&name).is_some() {
                    self.tell(Health::Synced, vec![ObjectChange::Remove(name)]).await?;
                }
            }
            Err(error) => {
                self.tell(Health::Failing { since: Instant::now(), why: error.to_string() }, Vec::new()).await?;
            }
        }
        Ok(())
    }

    /// Gets what is referred to and not known in its newest version, forgets the rest, and says once all is read.
    async fn settle(&mut self, wanted: &Referred) -> Result<(), Deaf> {
        if !self.is_listed {
            return Ok(());
        }
        let unwanted: Vec<ObjectRef> = self.told.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        unwanted.iter().for_each(|name| drop(self.told.remove(name)));
        let mut is_read = true;
        for name in wanted.iter().filter(|name| name.kind == self.kind.kind && name.group == self.kind.group) {
            let Some(version) = self.versions.get(name) else { continue };
            if self.told.get(name) == Some(version) {
                continue;
            }
            is_read = false;
            if self.gets.len() < GETS_MOST && self.getting.insert(name.clone()) {
                let name = name.clone();
                let api = Api::namespaced_with(self.context.client.clone(), &name.namespace, &self.kind.resource("v1"));
                self.gets.spawn(get(api, name));
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

    async fn take(&mut self, Got { name, result }: Got, wanted: &Referred) -> Result<(), Deaf> {
        self.getting.remove(&name);
        match result {
            None => Ok(()),
            Some(Ok(Some(object))) if wanted.contains(&name) => {
                let version = object.metadata.resource_version.clone().unwrap_or_default();
                self.told.insert(name.clone(), version.clone());
                // it may be newer than the watch has shown
                self.versions.insert(name, version);
                let read = object::read(self.kind, "v1", object, None);
                self.tell(Health::Synced, vec![ObjectChange::Upsert(Arc::new(read))]).await
            }
            Some(Ok(Some(_))) => Ok(()),
            Some(Ok(None)) => {
                self.versions.remove(&name);
                Ok(())
            }
            Some(Err(error)) => {
                tracing::warn!(object = %name, %error, "not read, and tried again");
                let why = format!("{name}: {error}");
                self.getting.insert(name.clone());
                self.gets.spawn(async move {
                    tokio::time::sleep(PAUSE).await;
                    Got { name, result: None }
                });
                self.tell(Health::Failing { since: Instant::now(), why }, Vec::new()).await
            }
        }
    }

    async fn tell(&self, health: Health, changes: Vec<ObjectChange>) -> Result<(), Deaf> {
        let news = News { kind: self.at, health, changes, referred: None };
        self.context.news.send(news).await.map_err(|_| Deaf)
    }
}

async fn get(api: Api<DynamicObject>, name: ObjectRef) -> Got {
    let result = Some(api.get_opt(&name.name).await);
    Got { name, result }
}
