//! One kind as an API server tells of it: listed, then watched, and both again where they break. It says what is there and what failed; an end without a word is noticed. It never takes a failed list for an empty one.

use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use kube::{
    Api, Resource,
    api::{ListParams, WatchEvent, WatchParams},
    core::Status,
};
use serde::de::DeserializeOwned;
use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// Objects of one answer to a list.
const PAGE: u32 = 500;
/// The longest wait for one page, and for a watch to begin.
const ANSWER_MOST: Duration = Duration::from_secs(30);
/// A watch is begun anew after about this many seconds: one that is dead without a word does not stay so for longer.
const WATCH_SECONDS: u32 = 120;
/// How much later than it promised an API server may end a watch.
const LATE: Duration = Duration::from_secs(5);
/// A watch that lasted this long says that the API server is well.
const CALM: Duration = Duration::from_secs(5);
/// The first and the longest pause after a failure. An API server that comes back refuses once more before it knows who may what, and
/// all that changed is to be served within 5 s of its return.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1_500));
/// The longest pause that an API server may ask for.
const PATIENCE_MOST: Duration = Duration::from_secs(10);
const GONE: u16 = 410;

/// What is told of a kind.
#[derive(Debug)]
pub(super) enum Event<K> {
    /// All objects that there are.
    All(Vec<K>),
    /// The watch goes on: what was told is all that there is.
    Alive,
    /// An object is new or changed.
    Apply(K),
    /// An object is gone.
    Delete(K),
    /// A list or a watch failed, and is tried again.
    Failed(Failure),
}

/// Why a list or a watch failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// In words.
    pub why: String,
    /// The API server does not serve the kind.
    pub is_not_found: bool,
    /// It must be listed again: the API server has forgotten what came since.
    is_gone: bool,
    /// The API server asks for so much patience.
    patience: Duration,
}

/// Follows a kind for ever; `labels` selects among its objects. Safe to cancel between two events.
pub(super) fn feed<K>(api: Api<K>, labels: Option<&'static str>) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let feed = Feed { api, labels, step: Step::List, failures: 0, pause: None };
    stream::unfold(feed, async |mut feed| Some((feed.next().await, feed)))
}

struct Feed<K> {
    api: Api<K>,
    labels: Option<&'static str>,
    step: Step<K>,
    /// Failures since the API server was well.
    failures: u32,
    /// Before anything else.
    pause: Option<Duration>,
}

/// What is to be done next. Versions are those up to which all is told.
enum Step<K> {
    List,
    /// Directly after a list.
    Begin(String),
    /// After another watch: the API server may have been restored to an older state meanwhile, and would be silent until it is as new again.
    Resume(String),
    Watch(Watch<K>),
}

struct Watch<K> {
    version: String,
    events: BoxStream<'static, kube::Result<WatchEvent<K>>>,
    began: Instant,
    ends: Instant,
}

impl<K> Feed<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn next(&mut self) -> Event<K> {
        loop {
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            let event = match std::mem::replace(&mut self.step, Step::List) {
                Step::List => Some(self.list().await),
                Step::Begin(version) => Some(self.begin(version).await),
                Step::Resume(version) => self.resume(version).await,
                Step::Watch(watch) => self.watch(watch).await,
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    async fn list(&mut self) -> Event<K> {
        let mut params = ListParams { label_selector: self.labels.map(str::to_owned), ..ListParams::default() };
        params = params.limit(PAGE);
        let mut items = Vec::new();
        loop {
            let page = match in_time(self.api.list(&params)).await {
                Ok(page) => page,
                Err(failure) => return self.fail(failure, Step::List),
            };
            items.extend(page.items);
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_some() {
                continue;
            }
            return match page.metadata.resource_version.filter(|version| !version.is_empty()) {
                Some(version) => {
                    self.step = Step::Begin(version);
                    Event::All(items)
                }
                None => self.fail(Failure::of("a list without a resourceVersion"), Step::List),
            };
        }
    }

    /// `None`: it can begin.
    async fn resume(&mut self, version: String) -> Option<Event<K>> {
        let params = ListParams { label_selector: self.labels.map(str::to_owned), ..ListParams::default() };
        match in_time(self.api.list(&params.limit(1))).await {
            Ok(page) if is_before(page.metadata.resource_version.as_deref().unwrap_or_default(), &version) => {
                Some(self.fail(Failure::went_back(), Step::List))
            }
            Ok(_) => {
                self.step = Step::Begin(version);
                None
            }
            Err(failure) => Some(self.fail(failure, Step::Resume(version))),
        }
    }

    async fn begin(&mut self, version: String) -> Event<K> {
        let seconds = WATCH_SECONDS - WATCH_SECONDS / 8 + fastrand::u32(0..WATCH_SECONDS / 4);
        let params = WatchParams {
            label_selector: self.labels.map(str::to_owned),
            timeout: Some(seconds),
            bookmarks: true,
            ..WatchParams::default()
        };
        let begun = in_time(self.api.watch(&params, &version)).await.map(StreamExt::boxed);
        match begun {
            Ok(events) => {
                let began = Instant::now();
                let ends = began + Duration::from_secs(seconds.into()) + LATE;
                self.step = Step::Watch(Watch { version, events, began, ends });
                Event::Alive
            }
            Err(failure) => self.fail(failure, Step::Resume(version)),
        }
    }

    /// `None`: nothing to tell, and another step to do.
    async fn watch(&mut self, mut watch: Watch<K>) -> Option<Event<K>> {
        let event = tokio::time::timeout_at(watch.ends.into(), watch.events.next()).await;
        if watch.began.elapsed() > CALM {
            self.failures = 0;
        }
        match event {
            Ok(Some(Ok(WatchEvent::Error(status)))) => {
                Some(self.fail(Failure::from(kube::Error::Api(status)), Step::Resume(watch.version)))
            }
            Ok(Some(Ok(event))) => self.take(watch, event),
            // of one that cannot be read, what was known stays, and so does the watch
            Ok(Some(Err(error))) if is_unreadable(&error) => {
                self.step = Step::Watch(watch);
                Some(Event::Failed(Failure::of(&format!("an event that cannot be read: {error}"))))
            }
            Ok(Some(Err(error))) => Some(self.fail(error.into(), Step::Resume(watch.version))),
            Ok(None) if watch.began.elapsed() < CALM => {
                Some(self.fail(Failure::of("the watch ended early"), Step::Resume(watch.version)))
            }
            Ok(None) | Err(_) => {
                self.step = Step::Resume(watch.version);
                None
            }
        }
    }

    fn take(&mut self, mut watch: Watch<K>, event: WatchEvent<K>) -> Option<Event<K>> {
        let version_of = |object: &K| object.meta().resource_version.clone().unwrap_or_default();
        let (version, event) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                (version_of(&object), Some(Event::Apply(object)))
            }
            WatchEvent::Deleted(object) => (version_of(&object), Some(Event::Delete(object))),
            WatchEvent::Bookmark(bookmark) => (bookmark.metadata.resource_version, None),
            WatchEvent::Error(_) => return None,
        };
        if version.is_empty() || is_before(&version, &watch.version) {
            return Some(self.fail(Failure::went_back(), Step::List));
        }
        watch.version = version;
        self.step = Step::Watch(watch);
        event
    }

    fn fail(&mut self, failure: Failure, step: Step<K>) -> Event<K> {
        self.step = if failure.is_gone { Step::List } else { step };
        self.pause = Some(pause(self.failures, fastrand::f64()).max(failure.patience.min(PATIENCE_MOST)));
        self.failures = self.failures.saturating_add(1);
        Event::Failed(failure)
    }
}

impl Failure {
    fn of(why: &str) -> Self {
        Self { why: why.to_owned(), is_not_found: false, is_gone: false, patience: Duration::ZERO }
    }

    fn went_back() -> Self {
        Self::of("the API server has gone back to an older state, and all is listed again")
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        let failure = Self::of(&error.to_string());
        let kube::Error::Api(status) = error else { return failure };
        Self {
            is_not_found: status.code == 404,
            is_gone: status.code == GONE || status.reason == "Expired",
            patience: patience(&status),
            ..failure
        }
    }
}

fn patience(status: &Status) -> Duration {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Duration::from_secs(seconds.into())
}

async fn in_time<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(ANSWER_MOST, asked).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::of(&format!("no answer within {} s", ANSWER_MOST.as_secs()))),
    }
}

/// Whether this is about one event. The client takes what is no event for a refusal, which then has no code.
fn is_unreadable(error: &kube::Error) -> bool {
    match error {
        kube::Error::SerdeError(_) => true,
        kube::Error::Api(status) => status.code == 0,
        _ => false,
    }
}

/// The pause after so many failures before this one; `chance` is in 0..1.
fn pause(failures: u32, chance: f64) -> Duration {
    let most = PAUSE.0.saturating_mul(1 << failures.min(16)).min(PAUSE.1);
    most.mul_f64(1.0 - chance / 2.0)
}

/// Whether a version is older than another. Source: Kubernetes 1.35, resource versions can be compared as numbers.
fn is_before(version: &str, other: &str) -> bool {
    matches!((version.parse::<u128>(), other.parse::<u128>()), (Ok(version), Ok(other)) if version < other)
}

#[cfg(test)]
mod tests;
