//! Tells when files may have changed, and reads them then. It never says that something changed when it only might have: whoever
//! waits gets a new state of the objects, or nothing.
//!
//! A change is told once the files have been quiet for [`QUIET_MS`], and after [`DELAY_MS_MAX`] even if they are not. A file that is
//! being written in place is waited for until its writer closes it, [`HALF_WRITTEN_MS_MAX`] at most; one that is empty or ends too early
//! is given that time too. So a half-written save is never live and never told, unless its writer stops in the middle.

use super::{
    directory::{self, HALF_WRITTEN_MS_MAX, Loaded, Look, Touched},
    tree,
};
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

/// How long files must be quiet before a change is told: so long only that files which are written one after another are one change.
pub const QUIET_MS: u64 = 1;
/// How long a change waits at most for files to be quiet.
pub const DELAY_MS_MAX: u64 = 40;
/// How often files are looked at where the system cannot watch them.
pub const POLL_MS: u64 = 250;
/// Beyond this many files everything is looked at.
const TOUCHED_MAX: usize = 1000;

/// Paths, what they hold, and the watch over them.
#[derive(Debug)]
pub struct Directory {
    paths: Vec<PathBuf>,
    loaded: Arc<Loaded>,
    watch: Watch,
    /// Taken from the watch, not yet read; kept so that a caller who stops waiting loses nothing.
    unread: Option<Touched>,
}

impl Directory {
    /// Reads the paths and begins to watch them. Needs a runtime of tokio with time.
    #[must_use]
    pub fn open(paths: Vec<PathBuf>) -> Self {
        let look = Look { now: SystemTime::now(), touched: Touched::Anything, patient: false };
        let loaded = Arc::new(directory::load(&paths, &Loaded::default(), &look));
        let mut watch = Watch::new(&paths);
        watch.follow(&loaded.folders);
        // What changed between the reading and the watching is seen by another look.
        Self { paths, loaded, watch, unread: Some(Touched::Anything) }
    }

    /// What the paths hold now.
    #[must_use]
    pub fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// Why the paths are looked at every [`POLL_MS`] instead of being watched, if they are.
    #[must_use]
    pub fn polls_because(&self) -> Option<&str> {
        self.watch.polls_because.as_deref()
    }

    /// Waits until objects or findings differ, and gives the new state. May be dropped and called again at any time.
    pub async fn next(&mut self) -> Arc<Loaded> {
        loop {
            let touched = match self.unread.clone() {
                Some(touched) => touched,
                None => self.touched().await,
            };
            if self.look(touched).await {
                return self.loaded.clone();
            }
        }
    }

    /// Looks at everything once, whether something was heard of it or not, and gives the state after that.
    pub async fn read_again(&mut self) -> Arc<Loaded> {
        self.look(Touched::Anything).await;
        self.loaded.clone()
    }

    /// Whether objects or findings differ. Nothing is lost of one that is dropped.
    async fn look(&mut self, touched: Touched) -> bool {
        self.unread = Some(touched.clone());
        let (paths, previous) = (self.paths.clone(), self.loaded.clone());
        let look = Look { now: SystemTime::now(), touched, patient: true };
        // Reading files blocks, and the runtime may have other work.
        let all = look.touched == Touched::Anything;
        let reading = tokio::task::spawn_blocking(move || directory::load(&paths, &previous, &look));
        let loaded = Arc::new(finished(reading).await);
        let more = all && self.watch.follow(&loaded.folders);
        self.unread = more.then_some(Touched::Anything);
        let before = std::mem::replace(&mut self.loaded, loaded);
        self.loaded.differs(&before)
    }

    async fn touched(&mut self) -> Touched {
        let Some(again) = self.loaded.again else { return self.watch.changed().await };
        tokio::select! {
            touched = self.watch.changed() => touched,
            () = sleep(again) => Touched::Anything,
        }
    }
}

async fn finished<T>(work: tokio::task::JoinHandle<T>) -> T {
    match work.await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down, and the caller with it.
        Err(_) => std::future::pending().await,
    }
}

/// What the system says about the folders.
#[derive(Debug)]
struct Watch {
    events: Arc<Events>,
    watcher: Option<RecommendedWatcher>,
    /// Each watched folder as the system names it, and as we do.
    names: HashMap<PathBuf, PathBuf>,
    roots: BTreeSet<PathBuf>,
    polls_because: Option<String>,
}

impl Watch {
    fn new(paths: &[PathBuf]) -> Self {
        let events = Arc::new(Events::default());
        let heard = events.clone();
        let watcher =
            notify::recommended_watcher(move |event: notify::Result<Event>| heard.hear(event, Instant::now()));
        let (watcher, polls_because) = match watcher {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(reason(&error))),
        };
        let roots = paths.iter().map(|path| tree::plain_path(path).to_owned()).collect();
        Self { events, watcher, names: HashMap::new(), roots, polls_because }
    }

    /// Watches these folders and no others; whether one is new, in which something may have happened before it was watched.
    fn follow(&mut self, folders: &BTreeSet<PathBuf>) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let wanted: HashMap<PathBuf, PathBuf> =
            folders.iter().filter_map(|folder| Some((std::path::absolute(folder).ok()?, folder.clone()))).collect();
        let left: Vec<PathBuf> = self.names.keys().filter(|folder| !wanted.contains_key(*folder)).cloned().collect();
        for folder in &left {
            // An error says that it is gone already.
            let _ = watcher.unwatch(folder);
        }
        if !left.is_empty() {
            // Two names of one folder share one watch of the system, so all others are watched anew.
            self.names.clear();
        }
        let known = self.names.len();
        for (folder, name) in wanted {
            if self.names.contains_key(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.names.insert(folder, name)),
                Err(error) if is_exhausted(&error) => {
                    self.polls_because = Some(reason(&error));
                    self.watcher = None;
                    return true;
                }
                // Gone since it was found: its parent tells when it is back.
                Err(_) => {}
            }
        }
        self.names.len() > known
    }

    /// Waits for a change. May be dropped and called again at any time.
    async fn changed(&mut self) -> Touched {
        if self.watcher.is_none() {
            sleep(Duration::from_millis(POLL_MS)).await;
            return Touched::Anything;
        }
        loop {
            let events = self.events.clone();
            match events.due(Instant::now()) {
                Due::Now { paths, anything } => {
                    if let Some(touched) = self.meant(paths, anything) {
                        return touched;
                    }
                }
                Due::At(time) => tokio::select! {
                    () = sleep_until(time) => {}
                    () = events.woken.notified() => {}
                },
                Due::Never => events.woken.notified().await,
            }
        }
    }

    /// What was heard, in our names; nothing if it was only about files that hold no objects.
    fn meant(&mut self, paths: BTreeSet<PathBuf>, mut anything: bool) -> Option<Touched> {
        let mut files = BTreeSet::new();
        for path in paths {
            // A watched folder itself was moved, removed or made anew: what is watched is perhaps not what bears the name now.
            if self.names.remove(&path).is_some() {
                anything = true;
                continue;
            }
            let (Some(folder), Some(name)) =
                (path.parent().and_then(|parent| self.names.get(parent)), path.file_name())
            else {
                anything = true;
                continue;
            };
            let (ours, name) = (tree::below(folder, name), name.to_string_lossy());
            if tree::holds_objects(&name) || self.roots.contains(&ours) {
                files.insert(ours);
            } else {
                // Kubernetes swaps this link when it writes a mount anew.
                anything |= name == "..data" || (tree::is_entered(&name) && path.is_dir());
            }
        }
        match (anything, files.is_empty()) {
            (true, _) => Some(Touched::Anything),
            (false, false) => Some(Touched::Files(files)),
            (false, true) => None,
        }
    }
}

fn is_exhausted(error: &notify::Error) -> bool {
    use nix::errno::Errno;
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => {
            let exhausted = [Errno::ENOSPC, Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM];
            error.raw_os_error().is_some_and(|code| exhausted.contains(&Errno::from_raw(code)))
        }
        _ => false,
    }
}

fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the system's limit of watched folders is reached (fs.inotify.max_user_watches)".to_owned()
        }
        notify::ErrorKind::Io(error) => format!("the system cannot watch more folders: {error}"),
        _ => format!("the system cannot watch folders: {error}"),
    }
}

/// What came in since the last time it was asked for; the system's thread writes, the waiting task reads.
#[derive(Debug, Default)]
struct Events {
    heard: Mutex<Heard>,
    woken: Notify,
}

/// Whether what was heard can be told.
enum Due {
    Now { paths: BTreeSet<PathBuf>, anything: bool },
    At(Instant),
    Never,
}

impl Events {
    fn hear(&self, event: notify::Result<Event>, now: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.take_in(event, now) {
            self.woken.notify_one();
        }
    }

    fn due(&self, now: Instant) -> Due {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).due(now)
    }
}

#[derive(Debug, Default)]
struct Heard {
    paths: BTreeSet<PathBuf>,
    /// Something was missed, or too much happened.
    anything: bool,
    /// When the first and the last of it happened.
    span: Option<(Instant, Instant)>,
    /// Files being written, since when.
    writing: BTreeMap<PathBuf, Instant>,
}

impl Heard {
    /// Takes in an event; whether it is about a change.
    fn take_in(&mut self, event: notify::Result<Event>, now: Instant) -> bool {
        let Ok(event) = event else {
            self.anything = true;
            self.touch(now);
            return true;
        };
        self.anything |= event.need_rescan();
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                for path in &event.paths {
                    self.writing.remove(path);
                }
            }
            EventKind::Access(_) => return false,
            // Only inotify tells when the writer is done.
            EventKind::Modify(ModifyKind::Data(_)) if cfg!(target_os = "linux") => {
                for path in &event.paths {
                    self.writing.entry(path.clone()).or_insert(now);
                }
            }
            _ => {}
        }
        self.paths.extend(event.paths);
        if self.paths.len() > TOUCHED_MAX {
            self.paths.clear();
            self.writing.clear();
            self.anything = true;
        }
        self.touch(now);
        true
    }

    fn touch(&mut self, now: Instant) {
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
    }

    fn due(&mut self, now: Instant) -> Due {
        let Some((first, last)) = self.span else { return Due::Never };
        let time = (last + Duration::from_millis(QUIET_MS)).min(first + Duration::from_millis(DELAY_MS_MAX));
        if time > now {
            return Due::At(time);
        }
        self.writing.retain(|_, since| *since + Duration::from_millis(HALF_WRITTEN_MS_MAX) > now);
        let (still_written, paths): (BTreeSet<_>, _) =
            std::mem::take(&mut self.paths).into_iter().partition(|path| self.writing.contains_key(path));
        self.paths = still_written;
        if self.paths.is_empty() {
            self.span = None;
        }
        let anything = std::mem::take(&mut self.anything);
        if anything || !paths.is_empty() {
            return Due::Now { paths, anything };
        }
        let done = self.writing.values().min().map(|since| *since + Duration::from_millis(HALF_WRITTEN_MS_MAX));
        done.map_or(Due::Never, Due::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange};
    use std::path::Path;

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const CREATED: EventKind = EventKind::Create(CreateKind::File);

    fn event(kind: EventKind, path: &str) -> notify::Result<Event> {
        Ok(Event::new(kind).add_path(Path::new(path).to_owned()))
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// What is told, and when, in milliseconds after the start: each file once it may be read.
    fn told(events: &[(u64, EventKind, &str)]) -> Vec<(u64, Vec<String>)> {
        let (start, mut heard, mut told) = (Instant::now(), Heard::default(), Vec::new());
        for at in 0..1000 {
            for (_, kind, path) in events.iter().filter(|(when, ..)| *when == at) {
                heard.take_in(event(*kind, path), start + ms(at));
            }
            if let Due::Now { paths, .. } = heard.due(start + ms(at)) {
                told.push((at, paths.iter().map(|path| path.display().to_string()).collect()));
            }
        }
        told
    }

    #[test]
    fn a_change_is_told_once_files_are_quiet() {
        let file = |name: &str| vec![name.to_owned()];
        assert_eq!(told(&[(0, CREATED, "a")]), [(QUIET_MS, file("a"))]);
        assert_eq!(told(&[(0, CREATED, "a"), (1, CREATED, "a")]), [(1 + QUIET_MS, file("a"))]);
        let busy: Vec<_> = (0..60).map(|at| (at, CREATED, "a")).collect();
        assert_eq!(told(&busy)[0].0, DELAY_MS_MAX, "someone who never rests does not hold it up for ever");
    }

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let file = |name: &str| vec![name.to_owned()];
        assert_eq!(told(&[(0, WRITTEN, "a"), (60, WRITTEN, "a"), (70, CLOSED, "a")]), [(70, file("a"))]);
        assert_eq!(told(&[(0, WRITTEN, "a")]), [(HALF_WRITTEN_MS_MAX, file("a"))], "for a while only");
        assert_eq!(
            told(&[(0, WRITTEN, "a"), (2, CREATED, "b"), (20, CLOSED, "a")]),
            [(2 + QUIET_MS, file("b")), (20 + QUIET_MS, file("a"))]
        );
    }

    #[test]
    fn reading_a_file_is_no_change_and_a_lost_event_may_be_any() {
        let mut heard = Heard::default();
        assert!(!heard.take_in(event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "a"), Instant::now()));
        assert!(matches!(heard.due(Instant::now()), Due::Never));
        let now = Instant::now();
        assert!(heard.take_in(Err(notify::Error::generic("lost")), now));
        assert!(matches!(heard.due(now + ms(QUIET_MS)), Due::Now { anything: true, .. }));
        for at in 0..=TOUCHED_MAX {
            heard.take_in(event(CREATED, &at.to_string()), now);
        }
        assert!(heard.paths.is_empty() && heard.anything, "too many files are anything");
    }
}
