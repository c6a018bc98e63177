//! Which events are to be written now: new ones in order, repeated ones as a series. Pure: time is an argument, and what does not fit is counted, never waited for.

use super::standing::{Standing, Trouble};
use headgate_status::Happening;
use headgate_translate::kinds::ObjectRef;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// The most events that wait.
pub const WAITING_MAX: usize = 1_000;
/// The most series that are remembered.
const SERIES_MAX: usize = 4_096;
/// What happens again within this time belongs to the series of before. As the API's own clients have it.
const SERIES_LASTS: SignedDuration = SignedDuration::from_mins(6);
/// An event is tried this often.
const TRIES_MAX: u32 = 4;
/// The most bytes of the fields that name who reports.
const REPORTER_BYTES_MAX: usize = 128;
/// The name of an event is that of its object, up to here, with a number behind.
const NAME_BYTES_MAX: usize = 220;
/// What was done when it happened: `action` of all of them.
const ACTION: &str = "WriteStatus";

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Regarding {
    /// Which one.
    pub object: ObjectRef,
    /// Its `metadata.uid`.
    pub uid: String,
    /// Its `apiVersion`.
    pub api_version: String,
}

/// Something to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// In which namespace.
    pub namespace: String,
    /// Name of the event.
    pub name: String,
    /// The whole event, or a merge patch of one that is there.
    pub body: Value,
    /// Whether it is a patch.
    pub is_patch: bool,
    about: About,
    tries: u32,
    /// What it tells, if that stands.
    trouble: Option<Trouble>,
}

/// How writing an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is there.
    Written,
    /// It will never be: its namespace goes, or the event of a series is gone.
    Hopeless,
    /// It may be later.
    Failed,
}

/// What happened to what: two of the same are a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct About {
    regarding: Regarding,
    severity: &'static str,
    reason: String,
    note: String,
}

#[derive(Debug)]
struct Series {
    name: String,
    count: u32,
    last: Timestamp,
    /// It stands in the queue, and its count is read when its turn comes.
    waits: bool,
}

/// What waits, and what was told.
#[derive(Debug)]
pub struct Bulletin {
    controller: String,
    instance: String,
    waiting: VecDeque<(About, u32)>,
    series: HashMap<About, Series>,
    /// Told where nothing else waits.
    standing: Standing,
    numbered: u64,
    dropped: u64,
}

impl Bulletin {
    /// Reports in the name of a controller, by one of its Pods.
    pub fn new(controller: &str, instance: &str) -> Self {
        Self {
            controller: shortened(controller),
            instance: shortened(instance),
            waiting: VecDeque::new(),
            series: HashMap::new(),
            standing: Standing::default(),
            numbered: 0,
            dropped: 0,
        }
    }

    /// Something happened.
    pub fn tell(&mut self, regarding: Regarding, happening: Happening, now: Timestamp) {
        let Happening { severity, reason, note } = happening;
        let about = About { regarding, severity: severity.as_str(), reason, note };
        let is_recent = |series: &Series| now.duration_since(series.last) < SERIES_LASTS;
        if let Some(series) = self.series.get_mut(&about).filter(|series| is_recent(series)) {
            series.count += 1;
            series.last = now;
            if !std::mem::replace(&mut series.waits, true) {
                self.wait(about);
            }
            return;
        }
        if self.series.len() >= SERIES_MAX {
            self.series.retain(|_, series| is_recent(series) || series.waits);
        }
        if self.series.len() >= SERIES_MAX || self.waiting.len() >= WAITING_MAX {
            self.dropped += 1;
            return;
        }
        let name = self.name(&about.regarding.object, now);
        self.series.insert(about.clone(), Series { name, count: 1, last: now, waits: true });
        self.wait(about);
    }

    /// This is wrong with an object, and nothing else, until something else is said.
    pub fn stand(&mut self, regarding: &Regarding, happenings: Vec<Happening>, now: Timestamp) {
        self.standing.set(regarding, happenings, now);
    }

    /// What is to be written next.
    pub fn take(&mut self) -> Option<Notice> {
        loop {
            let Some((about, tries)) = self.waiting.pop_front() else { return self.take_standing() };
            if let Some(series) = self.series.get_mut(&about) {
                series.waits = false;
                let (name, count, last) = (series.name.clone(), series.count, series.last);
                return Some(self.notice(about, tries, name, count, last));
            }
        }
    }

    /// An event that has the same name whoever makes it: as long as it is there, it is not made again.
    fn take_standing(&mut self) -> Option<Notice> {
        let trouble = self.standing.take()?;
        let Trouble { regarding, happening, since } = trouble.clone();
        let about =
            About { regarding, severity: happening.severity.as_str(), reason: happening.reason, note: happening.note };
        let mut hasher = DefaultHasher::new();
        about.hash(&mut hasher);
        let name = format!("{}.{:016x}", begin(&about.regarding.object.name), hasher.finish());
        Some(Notice { trouble: Some(trouble), ..self.notice(about, 0, name, 1, since) })
    }

    /// How that ended.
    pub fn done(&mut self, notice: Notice, ending: Ending) {
        if let Some(trouble) = notice.trouble {
            match ending {
                Ending::Written => {}
                Ending::Hopeless => self.dropped += 1,
                Ending::Failed => self.standing.again(trouble),
            }
            return;
        }
        match ending {
            Ending::Written => {}
            Ending::Failed if notice.tries + 1 < TRIES_MAX && self.waiting.len() < WAITING_MAX => {
                if let Some(series) = self.series.get_mut(&notice.about)
                    && !std::mem::replace(&mut series.waits, true)
                {
                    self.waiting.push_front((notice.about, notice.tries + 1));
                }
            }
            Ending::Failed | Ending::Hopeless => {
                self.series.remove(&notice.about);
                self.dropped += 1;
            }
        }
    }

    /// Whether this process leads. Where another does, what waits is not told.
    pub fn lead(&mut self, leads: bool) {
        self.standing.lead(leads);
        if !leads {
            self.waiting.clear();
            self.series.clear();
        }
    }

    /// How many were not written.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn wait(&mut self, about: About) {
        self.waiting.push_back((about, 0));
    }

    fn name(&mut self, object: &ObjectRef, now: Timestamp) -> String {
        self.numbered += 1;
        format!("{}.{:x}{:x}", begin(&object.name), now.as_microsecond(), self.numbered)
    }

    fn notice(&self, about: About, tries: u32, name: String, count: u32, last: Timestamp) -> Notice {
        let object = &about.regarding.object;
        // events of objects without a namespace stand in this one
        let namespace = if object.namespace.is_empty() { "default".to_owned() } else { object.namespace.to_string() };
        let is_patch = count > 1;
        let body = if is_patch {
            json!({"series": {"count": count, "lastObservedTime": micros(last)}})
        } else {
            self.event(&about, &namespace, &name, last)
        };
        Notice { namespace, name, body, is_patch, about, tries, trouble: None }
    }

    fn event(&self, about: &About, namespace: &str, name: &str, at: Timestamp) -> Value {
        let Regarding { object, uid, api_version } = &about.regarding;
        let mut regarding = json!({"apiVersion": api_version, "kind": object.kind, "name": object.name, "uid": uid});
        if !object.namespace.is_empty() {
            regarding["namespace"] = json!(object.namespace);
        }
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": name},
            "eventTime": micros(at),
            "reportingController": self.controller,
            "reportingInstance": self.instance,
            "action": ACTION,
            "reason": shortened(&about.reason),
            "regarding": regarding,
            "note": about.note,
            "type": about.severity,
        })
    }
}

/// The name of an object as that of an event can begin.
fn begin(name: &str) -> &str {
    let name = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
    name.trim_end_matches(|last: char| !last.is_ascii_alphanumeric())
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(REPORTER_BYTES_MAX)].to_owned()
}

fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests;
