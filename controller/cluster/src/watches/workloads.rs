//! Workloads that ScalingPolicies name with their Pods, and the Pods that XBackends select: followed in the namespaces of those objects, and nothing kept of any other. It never takes a failed list for an empty one.

use super::{
    Context, Health, News,
    feed::{Event, feed},
    follow::Deaf,
};
use crate::{
    kinds::{KINDS, Kind, NOT_OURS},
    object,
};
use futures_util::{
    StreamExt,
    stream::{self, AbortHandle, BoxStream, SelectAll},
};
use headgate_controller::{
    cluster::workload_of_pod,
    sources::cluster::{ClusterObject, ObjectChange},
};
use headgate_translate::{kinds::ObjectRef, selections};
use kube::{Api, api::DynamicObject};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// After this long without a word it says that it goes on, as every watch does.
const QUIET: Duration = Duration::from_secs(100);

type Referred = Arc<BTreeSet<ObjectRef>>;

/// One namespace that is followed.
struct Followed {
    /// What is followed there: workloads, and selections of Pods.
    wanted: BTreeSet<ObjectRef>,
    /// The labels of those selections.
    selections: Vec<BTreeMap<String, String>>,
    /// Ends the feed.
    abort: AbortHandle,
    /// Which of the feeds of this namespace it is: what an earlier one still says is not heard.
    turn: u64,
    is_listed: bool,
    is_failing: bool,
    told: HashMap<ObjectRef, Arc<ClusterObject>>,
}

struct Reader<'c> {
    context: &'c Context,
    at: usize,
    kind: &'static Kind,
    namespaces: BTreeMap<String, Followed>,
    feeds: SelectAll<BoxStream<'static, (String, u64, Event<DynamicObject>)>>,
    turn: u64,
    /// The set that was last said to be read.
    settled: Option<Referred>,
}

/// Runs until nobody listens.
pub(super) async fn run(context: &Context, at: usize) -> Result<(), Deaf> {
    let mut referred = context.referred.clone();
    let (namespaces, feeds) = (BTreeMap::new(), SelectAll::new());
    let mut reader = Reader { context, at, kind: &KINDS[at], namespaces, feeds, turn: 0, settled: None };
    loop {
        let wanted = referred.borrow_and_update().clone();
        reader.turn_to(&wanted).await?;
        tokio::select! {
            Some((namespace, turn, event)) = reader.feeds.next() => reader.hear(&namespace, turn, event).await?,
            changed = referred.changed() => changed.map_err(|_| Deaf)?,
            // where nothing is to be followed there is nothing that could be late
            () = tokio::time::sleep(QUIET) => reader.tell(Vec::new(), None).await?,
        }
    }
}

impl Reader<'_> {
    /// Follows what is wanted, forgets the rest, and says once all is read.
    async fn turn_to(&mut self, wanted: &Referred) -> Result<(), Deaf> {
        let mut by_namespace: BTreeMap<&str, BTreeSet<ObjectRef>> = BTreeMap::new();
        let has_pods = self.kind.kind == "Pod";
        let is_followed = |one: &&ObjectRef| one.group == "apps" || has_pods && is_selection(one);
        for one in wanted.iter().filter(is_followed) {
            by_namespace.entry(&one.namespace).or_default().insert(one.clone());
        }
        let gone: Vec<String> =
            self.namespaces.keys().filter(|name| !by_namespace.contains_key(name.as_str())).cloned().collect();
        let left = gone.iter().filter_map(|name| self.namespaces.remove(name));
        let mut changes: Vec<ObjectChange> = left
            .flat_map(|followed| {
                followed.abort.abort();
                let selections = followed.wanted.into_iter().filter(is_selection);
                selections.chain(followed.told.into_keys()).map(ObjectChange::Remove)
            })
            .collect();
        for (namespace, wanted) in by_namespace {
            let followed = self.namespaces.get(namespace);
            if followed.is_none_or(|followed| followed.wanted != wanted) {
                let before = followed.into_iter().flat_map(|followed| &followed.wanted);
                let gone = before.filter(|one| is_selection(one) && !wanted.contains(*one));
                changes.extend(gone.cloned().map(ObjectChange::Remove));
                self.follow(namespace, wanted);
            }
        }
        let is_read = self.namespaces.values().all(|followed| followed.is_listed);
        let is_news = is_read && !self.settled.as_ref().is_some_and(|settled| Arc::ptr_eq(settled, wanted));
        if is_news {
            self.settled = Some(wanted.clone());
        }
        if !is_news && changes.is_empty() {
            return Ok(());
        }
        self.tell(changes, is_news.then(|| wanted.clone())).await
    }

    /// Lists a namespace and watches it from then on. What was told of it stays until it is listed.
    fn follow(&mut self, namespace: &str, wanted: BTreeSet<ObjectRef>) {
        self.turn += 1;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.context.client.clone(), namespace, &self.kind.resource("v1"));
        let (events, abort) = stream::abortable(feed(api, Some(NOT_OURS)));
        let (name, turn) = (namespace.to_owned(), self.turn);
        self.feeds.push(events.map(move |event| (name.clone(), turn, event)).boxed());
        let before = self.namespaces.remove(namespace);
        let told = before.map_or_else(HashMap::new, |before| {
            before.abort.abort();
            before.told
        });
        let selections = wanted.iter().filter_map(selections::labels).collect();
        let followed = Followed { wanted, selections, abort, turn, is_listed: false, is_failing: false, told };
        self.namespaces.insert(namespace.to_owned(), followed);
    }

    async fn hear(&mut self, namespace: &str, turn: u64, event: Event<DynamicObject>) -> Result<(), Deaf> {
        let kind = self.kind;
        let Some(followed) = self.namespaces.get_mut(namespace).filter(|followed| followed.turn == turn) else {
            return Ok(());
        };
        let mut changes = Vec::new();
        followed.is_failing = false;
        match event {
            Event::All(objects) => {
                let now: HashMap<_, _> =
                    objects.into_iter().filter_map(|object| followed.read(kind, object, &mut changes)).collect();
                let gone = followed.told.keys().filter(|name| !now.contains_key(*name)).cloned();
                changes.extend(gone.map(ObjectChange::Remove));
                let read = followed.wanted.iter().filter(|one| is_selection(one)).map(object::standing_for);
                changes.extend(read.map(|one| ObjectChange::Upsert(Arc::new(one))));
                (followed.told, followed.is_listed) = (now, true);
            }
            Event::Alive => {}
            Event::Apply(object) => {
                let name = object::name_of(kind, &object);
                match followed.read(kind, object, &mut changes) {
                    Some((name, read)) => drop(followed.told.insert(name, read)),
                    // it has left its workload
                    None => changes.extend(followed.told.remove(&name).map(|_| ObjectChange::Remove(name))),
                }
            }
            Event::Delete(object) => {
                let name = object::name_of(kind, &object);
                changes.extend(followed.told.remove(&name).map(|_| ObjectChange::Remove(name)));
            }
            Event::Failed(failure) => {
                followed.is_failing = true;
                let why = format!("in namespace {namespace}: {}", failure.why);
                return self.send(Health::failing(&why), changes, None).await;
            }
        }
        self.tell(changes, None).await
    }

    async fn tell(&mut self, changes: Vec<ObjectChange>, referred: Option<Referred>) -> Result<(), Deaf> {
        let is_failing = self.namespaces.values().any(|followed| followed.is_failing);
        let health = if is_failing { Health::failing("some namespaces cannot be watched") } else { Health::Synced };
        self.send(health, changes, referred).await
    }

    async fn send(
        &mut self,
        health: Health,
        changes: Vec<ObjectChange>,
        referred: Option<Referred>,
    ) -> Result<(), Deaf> {
        self.context.news.send(News { kind: self.at, health, changes, referred }).await.map_err(|_| Deaf)
    }
}

/// Whether it stands for Pods with some labels.
fn is_selection(object: &ObjectRef) -> bool {
    selections::labels(object).is_some()
}

impl Followed {
    /// The object, if it is one that is followed; a change too, unless it is known just so.
    fn read(
        &self,
        kind: &'static Kind,
        mut object: DynamicObject,
        changes: &mut Vec<ObjectChange>,
    ) -> Option<(ObjectRef, Arc<ClusterObject>)> {
        let name = object::name_of(kind, &object);
        if kind.kind == "Pod" {
            // what it runs nobody asks, and it is most of it
            object.data.as_object_mut().map(|fields| fields.remove("spec"));
        }
        let before = self.told.get(&name);
        let same = before.filter(|same| object.metadata.resource_version.as_ref() == Some(&same.resource_version));
        let labels = object.metadata.labels.as_ref();
        let has = |(key, value): (&String, &String)| labels.is_some_and(|labels| labels.get(key) == Some(value));
        let is_selected = self.selections.iter().any(|wanted| wanted.iter().all(has));
        let read = match same {
            Some(same) => same.clone(),
            None => Arc::new(object::read(kind, "v1", object, before.map(|before| &**before))),
        };
        let is_followed = match kind.kind {
            "Pod" => is_selected || workload_of_pod(&read).is_some_and(|workload| self.wanted.contains(&workload)),
            _ => self.wanted.contains(&name),
        };
        if !is_followed {
            return None;
        }
        if same.is_none() {
            changes.push(ObjectChange::Upsert(read.clone()));
        }
        Some((name, read))
    }
}
