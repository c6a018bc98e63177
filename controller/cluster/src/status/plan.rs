//! Which status is to be written now: the state behind the writer. Pure: time and chance are arguments, and it never does I/O.

use crate::kinds::{is_told, status_resource};
use crate::pace::{ANSWER_HOLDS, Delay, Failure};
use headgate_controller::sources::cluster::{ClusterObject, ObjectChange};
use headgate_status::{Current, Folded, Happening, Method, Patch, Wanted, nothing, patch};
use headgate_translate::kinds::ObjectRef;
use jiff::Timestamp;
use kube::api::ApiResource;
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

/// The most writes at the same time.
pub const WRITES_MAX: usize = 16;
/// The most objects that are looked at in one step.
const LOOKS_MAX: usize = 64;

/// What is to be done now.
#[derive(Debug)]
pub enum Step {
    /// This is to be written; its end must be told to [`Plan::done`].
    Write(Box<Write>),
    /// Many objects were looked at and there are more: ask again.
    More,
    /// Nothing before this time, or before something is seen, wanted or done.
    Wait(Option<Instant>),
}

/// One write.
#[derive(Debug)]
pub struct Write {
    /// Of which object.
    pub object: ObjectRef,
    /// Its `metadata.uid`.
    pub uid: String,
    /// How its kind is addressed.
    pub resource: ApiResource,
    /// How.
    pub method: Method,
    /// The patch, as `headgate_status` makes it.
    pub body: Value,
    /// To be told of in events once it is written.
    pub happenings: Vec<Happening>,
    wish: Arc<Wanted>,
    /// The version of the object that it was made for.
    version: String,
}

/// The status of an object as the API server answered a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `status`.
    pub status: Folded,
    /// Who has applied a part of it.
    pub appliers: Vec<String>,
}

/// How a write ended.
#[derive(Debug)]
pub enum Outcome {
    /// It is written.
    Written(Answer),
    /// There is no such object.
    Gone,
    /// The object is another one by now; the watch is about to show it.
    Conflict,
    /// The API server does not take it, and will not take the same again.
    Refused,
    /// The API server could not be asked, or has too much to do.
    Failed,
}

/// What is known and wanted of all objects.
#[derive(Debug)]
pub struct Plan {
    controller: String,
    leading: bool,
    entries: HashMap<ObjectRef, Entry>,
    /// Objects to look at, by time: those of which many others depend, and all others.
    queues: [BTreeSet<(Instant, ObjectRef)>; 2],
    in_flight: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// As the watch showed it last.
    seen: Option<Arc<ClusterObject>>,
    /// As the last write left it, until the watch shows that.
    answer: Option<Box<(Answer, Instant)>>,
    wish: Option<Arc<Wanted>>,
    /// Its place in the queue.
    at: Option<Instant>,
    /// A write is under way.
    busy: bool,
    /// Something came meanwhile.
    again: bool,
    /// The wish was written once.
    settled: bool,
    /// What stands there although the wish was written: the API server does not keep it.
    futile: Option<Folded>,
    delay: Delay,
}

impl Plan {
    /// Knows of nothing yet, and writes nothing before [`Plan::lead`]. Entries of `controller` are ours.
    pub fn new(controller: &str) -> Self {
        Self {
            controller: controller.into(),
            leading: false,
            entries: HashMap::new(),
            queues: Default::default(),
            in_flight: 0,
        }
    }

    /// Only the leader writes. What is under way when it ends is not taken back.
    pub fn lead(&mut self, leading: bool, now: Instant) {
        if std::mem::replace(&mut self.leading, leading) == leading {
            return;
        }
        self.queues = Default::default();
        for entry in self.entries.values_mut() {
            entry.at = None;
        }
        if leading {
            let wished = self.entries.iter().filter(|(_, entry)| entry.wish.is_some());
            let objects: Vec<ObjectRef> = wished.map(|(object, _)| object.clone()).collect();
            objects.iter().for_each(|object| self.schedule(object, now));
        }
    }

    /// A watch showed this.
    pub fn see(&mut self, change: &ObjectChange, now: Instant) {
        match change {
            ObjectChange::Upsert(object) if is_told(&object.name) => {
                let entry = self.entries.entry(object.name.clone()).or_default();
                if entry.see(object, now) {
                    self.schedule(&object.name, now);
                }
            }
            ObjectChange::Upsert(_) => {}
            ObjectChange::Remove(object) => {
                if let Some(entry) = self.entries.get_mut(object) {
                    entry.forget();
                    self.tidy(object);
                }
            }
        }
    }

    /// This is to be said of an object: nothing of ours where it is `None`. Of one that was never named here nothing is written.
    pub fn want(&mut self, object: &ObjectRef, wanted: Option<Arc<Wanted>>, now: Instant) {
        let wanted = wanted.or_else(|| nothing(object).map(Arc::new));
        if !is_told(object) || (wanted.is_none() && !self.entries.contains_key(object)) {
            return;
        }
        let entry = self.entries.entry(object.clone()).or_default();
        if entry.wish == wanted {
            return;
        }
        entry.wish = wanted;
        entry.settled = false;
        entry.futile = None;
        entry.delay.renewed();
        self.schedule(object, now);
        self.tidy(object);
    }

    /// The next write, if one is due. `wall` is the time of conditions that change with it.
    pub fn next(&mut self, now: Instant, wall: Timestamp) -> Step {
        if !self.leading || self.in_flight >= WRITES_MAX {
            return Step::Wait(None);
        }
        for _ in 0..LOOKS_MAX {
            let Some(object) = self.pop(now) else { return Step::Wait(self.first_due()) };
            if let Some(write) = self.look_at(&object, wall) {
                self.in_flight += 1;
                return Step::Write(Box::new(write));
            }
        }
        Step::More
    }

    /// How many objects wait to be looked at or are being written.
    pub fn pending(&self) -> usize {
        self.queues.iter().map(BTreeSet::len).sum::<usize>() + self.in_flight
    }

    /// A write has ended. `chance` in `0.0..1.0` spreads what is tried again.
    pub fn done(&mut self, write: &Write, outcome: Outcome, now: Instant, chance: f64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(entry) = self.entries.get_mut(&write.object) else { return };
        entry.busy = false;
        let fresh = entry.wish.as_ref().is_some_and(|wish| Arc::ptr_eq(wish, &write.wish));
        let mut again = std::mem::take(&mut entry.again);
        match outcome {
            Outcome::Written(answer) => {
                let is_it = entry.seen.as_ref().is_some_and(|seen| seen.uid == answer.uid);
                entry.delay.written(now, fresh && entry.settled);
                if is_it {
                    entry.settled = fresh;
                    let status = answer.status.unfold();
                    let left = current(&write.object, &answer, &status);
                    let remains = fresh && patch(left, &write.wish, &self.controller, Timestamp::UNIX_EPOCH).is_some();
                    entry.futile = remains.then(|| answer.status.clone());
                    entry.take(answer, now);
                }
            }
            Outcome::Gone => entry.forget(),
            // the watch was faster than the answer
            Outcome::Conflict if entry.version() != Some(&write.version) => again = true,
            Outcome::Conflict => again |= entry.delay.failed(Failure::Conflict, now, chance),
            Outcome::Refused => again |= entry.delay.failed(Failure::Refused, now, chance),
            Outcome::Failed => again |= entry.delay.failed(Failure::Unavailable, now, chance),
        }
        if again {
            self.schedule(&write.object, now);
        }
        self.tidy(&write.object);
    }

    fn schedule(&mut self, object: &ObjectRef, now: Instant) {
        let Some(entry) = self.entries.get_mut(object) else { return };
        if entry.busy {
            entry.again = true;
            return;
        }
        if !self.leading || entry.wish.is_none() || entry.seen.is_none() {
            return;
        }
        let due = entry.delay.due(now);
        let queue = &mut self.queues[priority(object)];
        if let Some(at) = entry.at.replace(due) {
            if at == due {
                return;
            }
            queue.remove(&(at, object.clone()));
        }
        queue.insert((due, object.clone()));
    }

    fn pop(&mut self, now: Instant) -> Option<ObjectRef> {
        let queue = self.queues.iter_mut().find(|queue| queue.first().is_some_and(|(due, _)| *due <= now))?;
        let (_, object) = queue.pop_first()?;
        if let Some(entry) = self.entries.get_mut(&object) {
            entry.at = None;
        }
        Some(object)
    }

    fn first_due(&self) -> Option<Instant> {
        self.queues.iter().filter_map(|queue| queue.first()).map(|(due, _)| *due).min()
    }

    fn look_at(&mut self, object: &ObjectRef, wall: Timestamp) -> Option<Write> {
        let entry = self.entries.get_mut(object)?;
        let (wish, seen) = (entry.wish.clone()?, entry.seen.clone()?);
        let status = entry.answer.as_ref().map_or(&seen.status, |answer| &answer.0.status).unfold();
        let current = match &entry.answer {
            Some(answer) => current(object, &answer.0, &status),
            None => Current {
                object,
                generation: seen.generation,
                resource_version: &seen.resource_version,
                status: &status,
                appliers: &seen.appliers,
            },
        };
        if entry.futile.as_ref().is_some_and(|futile| futile.unfold() == status) {
            return None;
        }
        let version = current.resource_version.to_owned();
        let Patch { method, body, happenings } = patch(current, &wish, &self.controller, wall)?;
        let resource = status_resource(object, seen.version)?;
        entry.busy = true;
        let (object, uid) = (object.clone(), seen.uid.to_string());
        Some(Write { object, uid, resource, method, body, happenings, wish, version })
    }

    /// Nothing is kept of what is neither there nor wanted.
    fn tidy(&mut self, object: &ObjectRef) {
        let Some(entry) = self.entries.get_mut(object) else { return };
        if entry.seen.is_some() || entry.busy {
            return;
        }
        if let Some(at) = entry.at.take() {
            self.queues[priority(object)].remove(&(at, object.clone()));
        }
        if entry.wish.is_none() || nothing(object).as_ref() == entry.wish.as_deref() {
            self.entries.remove(object);
        }
    }
}

impl Entry {
    /// Takes what the watch shows; whether it is news.
    fn see(&mut self, object: &Arc<ClusterObject>, now: Instant) -> bool {
        let is_other = self.seen.as_ref().is_none_or(|seen| seen.uid != object.uid);
        if is_other {
            self.forget();
        }
        self.seen = Some(object.clone());
        match self.answer.as_deref() {
            Some((answer, _)) if answer.resource_version == object.resource_version => {
                self.answer = None;
                false
            }
            Some((answer, until)) if now < *until && is_older(&object.resource_version, &answer.resource_version) => {
                false
            }
            _ => {
                self.answer = None;
                self.delay.shown();
                true
            }
        }
    }

    /// The newest version that is known.
    fn version(&self) -> Option<&String> {
        let answered = self.answer.as_deref().map(|(answer, _)| &answer.resource_version);
        answered.or_else(|| self.seen.as_deref().map(|seen| &seen.resource_version))
    }

    fn take(&mut self, answer: Answer, now: Instant) {
        let shown = self.seen.as_ref().is_some_and(|seen| !is_older(&seen.resource_version, &answer.resource_version));
        self.answer = (!shown).then(|| Box::new((answer, now + ANSWER_HOLDS)));
    }

    /// The object is gone, or another one of its name is there.
    fn forget(&mut self) {
        (self.seen, self.answer, self.futile, self.settled) = (None, None, None, false);
        self.delay = Delay::default();
    }
}

fn current<'a>(object: &'a ObjectRef, answer: &'a Answer, status: &'a Value) -> Current<'a> {
    Current {
        object,
        generation: answer.generation,
        resource_version: &answer.resource_version,
        status,
        appliers: &answer.appliers,
    }
}

/// Whether one version of an object is older than another. They are numbers wherever the API server keeps its objects in etcd; of
/// others nobody can tell, and what was delivered last counts.
///
/// Source: Kubernetes, API concepts, "Resource versions".
fn is_older(version: &str, than: &str) -> bool {
    let number = |text: &str| text.parse::<u128>().ok();
    number(version).zip(number(than)).is_some_and(|(version, than)| version < than)
}

/// Gateways before routes: thousands of routes wait for one Gateway.
fn priority(object: &ObjectRef) -> usize {
    usize::from(!matches!(&*object.kind, "GatewayClass" | "Gateway" | "ListenerSet"))
}

#[cfg(test)]
mod tests;
