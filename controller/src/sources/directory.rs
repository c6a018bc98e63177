//! Objects from files and folders: what is good goes live, what is broken keeps its last good version and is told. It reads files and
//! nothing else: no clock (the time is given), no watching, no routes.

use super::{
    decode::{self, Content, Outcome},
    findings::{Finding, Report, Severity, Skipped},
    tree::{self, Found, Stamp, Tree},
    yaml::{self, Broken, Document, Hint, Parsed, Place, Position},
};
use headgate_config::Text as Name;
use headgate_functions::kinds::{FUNCTION_GROUP, OF_GATEWAY_GROUP};
use headgate_translate::{
    Key,
    kinds::{self, ObjectRef},
};
use imbl::{OrdMap, ordmap::DiffItem};
use serde_json::Value;
use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How long a file that ends too early is given to be written to its end, counted from its last modification.
pub const HALF_WRITTEN_MS_MAX: u64 = 100;
/// How long a file that is gone is given to come back, as editors move a file away before they write it anew.
pub const GONE_MS_MIN: u64 = 30;
/// A file this young may change again without a new time stamp, so it is read again at the next look.
const STAMP_SETTLES_MS: u64 = 50;

/// Everything that the paths hold now.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The objects that are live, last good versions included.
    pub objects: SourceObjects,
    /// What is wrong, in the order of the files.
    pub findings: Vec<Finding>,
    /// The kinds that are not used, each once.
    pub skipped: Vec<Skipped>,
    /// The folders in which a change can change this.
    pub folders: BTreeSet<PathBuf>,
    /// When to look again though nothing else changes: a file seems half written, or is gone for a moment only.
    pub again: Option<Duration>,
    files: Vec<Arc<Source>>,
    /// The text of [`load_text`], which cannot be read again.
    text: Option<Arc<str>>,
    by_path: Arc<HashMap<PathBuf, usize>>,
    tree_findings: Vec<Finding>,
    /// Nothing is broken or stands twice, so each live object is the one that its file says.
    plain: bool,
}

/// Objects by their names.
pub type SourceObjects = OrdMap<ByName, Arc<SourceObject>>;

/// An object as the key of itself: a name more for each would cost more memory than the object.
#[derive(Clone, Debug)]
pub struct ByName(Arc<SourceObject>);

impl Deref for ByName {
    type Target = ObjectRef;

    fn deref(&self) -> &ObjectRef {
        &self.0.name
    }
}

impl Borrow<ObjectRef> for ByName {
    fn borrow(&self) -> &ObjectRef {
        &self.0.name
    }
}

impl fmt::Display for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.name.fmt(f)
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.cmp(&other.0.name)
    }
}

/// An object, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceObject {
    /// Its name.
    pub name: ObjectRef,
    /// What it says.
    pub content: Content,
    /// Where it stands.
    pub origin: Origin,
}

impl SourceObject {
    /// The object, if it is of Kubernetes or of Gateway API.
    #[must_use]
    pub fn kubernetes(&self) -> Option<&kinds::Object> {
        match &self.content {
            Content::Kubernetes(object) => Some(object),
            Content::OpenFunction(_) | Content::Parameters => None,
        }
    }
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file, as it was named or found; `-` for standard input.
    pub file: Arc<Path>,
    /// The line on which it begins, from 1.
    pub line: u32,
}

/// How to look at the paths.
#[derive(Clone, Debug)]
pub struct Look {
    /// The time.
    pub now: SystemTime,
    /// What may have changed since the look before.
    pub touched: Touched,
    /// Whether a file that seems half written or gone gets time to be finished (see [`HALF_WRITTEN_MS_MAX`], [`GONE_MS_MIN`]). Wrong
    /// for a single look, which has no second chance.
    pub patient: bool,
}

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// Anything: every file is looked at, and those whose stamp changed are read.
    Anything,
    /// These files; everything else is as it was.
    Files(BTreeSet<PathBuf>),
}

/// Looks at the paths. Costs one read for each file that changed since `previous`, and one look at each other file if anything may
/// have changed.
#[must_use]
pub fn load(paths: &[PathBuf], previous: &Loaded, look: &Look) -> Loaded {
    let mut next = Next { previous, look, files: Vec::new(), again: None };
    let (folders, tree_findings) = match next.only_touched() {
        Some(files) => {
            next.files = files;
            (previous.folders.clone(), previous.tree_findings.clone())
        }
        None => next.walk(tree::walk(paths)),
    };
    let Next { files, again, .. } = next;
    let objects = if let Touched::Files(touched) = &look.touched { replaced(previous, &files, touched) } else { None };
    merge(Looked { files, folders, tree_findings, again, objects }, previous)
}

/// The objects of one text, as [`load`] gives those of a file; for standard input.
#[must_use]
pub fn load_text(name: &Path, text: &str) -> Loaded {
    let source = Source {
        path: name.to_owned(),
        stamp: None,
        hash: hash(text),
        young: false,
        gone_since: None,
        slots: slots(name, text),
    };
    let looked = Looked { files: vec![Arc::new(source)], ..Looked::default() };
    Loaded { text: Some(text.into()), ..merge(looked, &Loaded::default()) }
}

impl Loaded {
    /// The findings and counts, ready to be rendered.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        Report {
            findings: &self.findings,
            skipped: &self.skipped,
            files: self.files.len(),
            objects: self.objects.len(),
        }
    }

    /// The live objects of Kubernetes and of Gateway API.
    pub fn kubernetes(&self) -> impl Iterator<Item = &kinds::Object> {
        self.objects.values().filter_map(|object| object.kubernetes())
    }

    /// The live objects of OpenFunction.
    pub fn openfunction(&self) -> impl Iterator<Item = &headgate_functions::kinds::Object> {
        // their groups alone are looked through: there may be thousands of others
        [FUNCTION_GROUP, OF_GATEWAY_GROUP].into_iter().flat_map(|group| {
            let first = ObjectRef { group: group.into(), ..ObjectRef::default() };
            let of_group = self.objects.range(first..).take_while(move |(name, _)| name.group == group);
            of_group.filter_map(|(_, object)| match &object.content {
                Content::OpenFunction(object) => Some(object),
                Content::Kubernetes(_) | Content::Parameters => None,
            })
        })
    }

    /// Secrets whose newest version is of no use, each with why.
    #[must_use]
    pub fn unusable_secrets(&self) -> OrdMap<Key, Name> {
        if self.plain {
            return OrdMap::new();
        }
        let slots = || self.files.iter().flat_map(|source| &source.slots);
        let is_live = |(namespace, name): &Key| {
            let is_it = |of: &ObjectRef| of.is_secret() && of.namespace == *namespace && of.name == *name;
            slots().any(|slot| matches!(&slot.state, State::Live(object) if is_it(&object.name)))
        };
        let broken = slots().filter_map(|slot| match &slot.state {
            State::Broken { name, .. } => {
                // a broken copy does not make the good one useless
                let key = name.secret().filter(|key| !is_live(key))?;
                let why = slot.findings.iter().find(|finding| finding.severity == Severity::Error)?;
                Some((key, decode::unusable(&why.field, &why.message)))
            }
            _ => None,
        });
        broken.collect()
    }

    /// Whether objects or findings differ.
    #[must_use]
    pub fn differs(&self, other: &Self) -> bool {
        self.objects != other.objects || self.findings != other.findings || self.skipped != other.skipped
    }

    /// The finding for a problem that was seen later than at reading, in a field of an object; with its line if the file still says
    /// what was read.
    #[must_use]
    pub fn locate(
        &self,
        object: &SourceObject,
        severity: Severity,
        field: &str,
        message: &str,
        remedy: &str,
    ) -> Finding {
        let place = Finding {
            severity,
            file: object.origin.file.to_path_buf(),
            position: Some(Position { line: object.origin.line, column: 1 }),
            line_text: String::new(),
            object: object.name.to_string(),
            field: field.to_owned(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
            kept: false,
        };
        let unchanged =
            |text: &String| self.by_path.get(&*object.origin.file).is_some_and(|at| self.files[*at].hash == hash(text));
        let text = self.text.as_deref().map(str::to_owned).or_else(|| read(&object.origin.file).ok());
        let Some(text) = text.filter(unchanged) else { return place };
        let position = position_of(&text, object, field).unwrap_or(Position { line: object.origin.line, column: 1 });
        Finding { line_text: yaml::line(&text, position).to_owned(), position: Some(position), ..place }
    }

    /// The object as it is here already, if it says the same: whoever compares later need not look into it.
    fn share(&self, object: &Arc<SourceObject>) -> Arc<SourceObject> {
        match self.objects.get(&object.name) {
            Some(known) if known == object => known.clone(),
            Some(known) if known.content == object.content => {
                Arc::new(SourceObject { content: known.content.clone(), ..SourceObject::clone(object) })
            }
            _ => object.clone(),
        }
    }

    fn source(&self, path: &Path) -> Option<&Arc<Source>> {
        self.by_path.get(path).map(|at| &self.files[*at])
    }
}

fn position_of(text: &str, object: &SourceObject, field: &str) -> Option<Position> {
    let documents = yaml::parse(text);
    let documents = documents.iter().filter_map(|parsed| match parsed {
        Parsed::Document(document) => Some(document),
        Parsed::Broken(_) => None,
    });
    let mut items = documents.flat_map(|document| items(&document.value, &document.places));
    let (_, place) = items.find(|(_, place)| place.value.line == object.origin.line)?;
    let (found, _) = place.find(field);
    Some(found.pointer())
}

/// A file as it was read.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    stamp: Option<Stamp>,
    hash: u64,
    young: bool,
    gone_since: Option<SystemTime>,
    slots: Vec<Slot>,
}

/// What one object of a file, or one document that holds none, came to.
#[derive(Clone, Debug)]
struct Slot {
    /// Position of the document in the file, from 0.
    document: usize,
    findings: Vec<Finding>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Live(Arc<SourceObject>),
    /// The object is broken, its name is known; an earlier version may be kept.
    Broken {
        name: Box<decode::Identity>,
        kept: Option<Arc<SourceObject>>,
    },
    /// Not even its name can be read; kept is what stood at the same position.
    Nameless {
        kept: Vec<Arc<SourceObject>>,
    },
    Skipped(String),
}

/// A look in progress.
struct Next<'l> {
    previous: &'l Loaded,
    look: &'l Look,
    files: Vec<Arc<Source>>,
    again: Option<Duration>,
}

impl Next<'_> {
    /// The files when nothing but known ones was touched; `None` when the tree must be walked.
    fn only_touched(&mut self) -> Option<Vec<Arc<Source>>> {
        let Touched::Files(touched) = &self.look.touched else { return None };
        // Whoever waits to be finished is looked at with every look.
        if self.previous.again.is_some() {
            return None;
        }
        let mut files = self.previous.files.clone();
        for path in touched {
            let at = *self.previous.by_path.get(path)?;
            let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
            files[at] = self.read_again(&Found { path: path.clone(), stamp: Stamp::from(&metadata) });
        }
        Some(files)
    }

    fn walk(&mut self, tree: Tree) -> (BTreeSet<PathBuf>, Vec<Finding>) {
        let mut findings = tree.findings;
        for found in &tree.files {
            let source = match self.previous.source(&found.path) {
                Some(source) if source.stamp == Some(found.stamp) && !source.young && source.gone_since.is_none() => {
                    source.clone()
                }
                _ => self.read_again(found),
            };
            self.files.push(source);
        }
        let present: HashSet<&Path> = tree.files.iter().map(|found| found.path.as_path()).collect();
        let previous = self.previous;
        for source in previous.files.iter().filter(|source| !present.contains(source.path.as_path())) {
            if tree.unreachable.iter().any(|path| source.path.starts_with(path)) {
                self.files.push(source.clone());
            } else {
                self.gone(source);
            }
        }
        for finding in findings.iter_mut().filter(|finding| tree.unreachable.contains(&finding.file)) {
            finding.kept = self.files.iter().any(|source| source.path.starts_with(&finding.file) && source.holds());
        }
        (tree.folders, findings)
    }

    /// A file that is gone may be on its way back.
    fn gone(&mut self, source: &Arc<Source>) {
        let since = source.gone_since.unwrap_or(self.look.now);
        let left =
            Duration::from_millis(GONE_MS_MIN).saturating_sub(self.look.now.duration_since(since).unwrap_or_default());
        if self.look.patient && !left.is_zero() {
            self.look_again(left);
            let waits =
                Source { gone_since: Some(since), slots: source.slots.clone(), path: source.path.clone(), ..**source };
            self.files.push(Arc::new(waits));
        }
    }

    fn read_again(&mut self, found: &Found) -> Arc<Source> {
        let previous = self.previous.source(&found.path);
        let age = found.stamp.age(self.look.now);
        let young = age < Duration::from_millis(STAMP_SETTLES_MS);
        let source = Source {
            path: found.path.clone(),
            stamp: Some(found.stamp),
            hash: 0,
            young,
            gone_since: None,
            slots: Vec::new(),
        };
        let text = match read(&found.path) {
            Ok(text) => text,
            Err(finding) => {
                let findings = vec![*finding];
                return Arc::new(Source {
                    slots: vec![Slot { document: 0, findings, state: nameless(previous, None) }],
                    ..source
                });
            }
        };
        let hash = hash(&text);
        if let Some(previous) = previous.filter(|previous| previous.hash == hash) {
            return Arc::new(Source { hash, slots: previous.slots.clone(), ..source });
        }
        let parsed = yaml::parse(&text);
        let left = Duration::from_millis(HALF_WRITTEN_MS_MAX).saturating_sub(age);
        if self.look.patient && !left.is_zero() && seems_half_written(&parsed) {
            self.look_again(left);
            let slots = previous.map(|previous| previous.slots.clone()).unwrap_or_default();
            return Arc::new(Source { young: true, slots, ..source });
        }
        let mut slots = slots_of(&found.path, &text, parsed);
        for slot in &mut slots {
            slot.keep(self.previous, previous);
        }
        Arc::new(Source { hash, slots, ..source })
    }

    fn look_again(&mut self, after: Duration) {
        self.again = Some(self.again.map_or(after, |again| again.min(after)));
    }
}

impl Source {
    /// Its objects, unless one is broken.
    fn live(&self) -> Option<Vec<&Arc<SourceObject>>> {
        let objects = self.slots.iter().filter_map(|slot| match &slot.state {
            State::Live(object) => Some(Some(object)),
            State::Skipped(_) => None,
            State::Broken { .. } | State::Nameless { .. } => Some(None),
        });
        objects.collect()
    }

    fn holds(&self) -> bool {
        self.slots.iter().any(|slot| slot.objects().next().is_some())
    }
}

impl Slot {
    /// The objects that this slot makes or keeps live.
    fn objects(&self) -> impl Iterator<Item = &Arc<SourceObject>> {
        let (one, many) = match &self.state {
            State::Live(object) => (Some(object), [].as_slice()),
            State::Broken { kept, .. } => (kept.as_ref(), [].as_slice()),
            State::Nameless { kept } => (None, kept.as_slice()),
            State::Skipped(_) => (None, [].as_slice()),
        };
        one.into_iter().chain(many)
    }

    fn keep(&mut self, loaded: &Loaded, source: Option<&Arc<Source>>) {
        match &mut self.state {
            State::Broken { name, kept } => *kept = name.find(&loaded.objects).cloned(),
            State::Nameless { .. } => self.state = nameless(source, Some(self.document)),
            State::Live(object) => *object = loaded.share(object),
            State::Skipped(_) => {}
        }
    }
}

/// Keeps what a file held at a position, or everything.
fn nameless(source: Option<&Arc<Source>>, document: Option<usize>) -> State {
    let slots = source.map_or([].as_slice(), |source| source.slots.as_slice());
    let there = slots.iter().filter(|slot| document.is_none_or(|document| slot.document == document));
    State::Nameless { kept: there.flat_map(Slot::objects).cloned().collect() }
}

/// Nothing but a beginning: no document at all, or one that is cut off.
fn seems_half_written(parsed: &[Parsed]) -> bool {
    parsed.is_empty() || parsed.iter().any(|parsed| matches!(parsed, Parsed::Broken(Broken { cut_off: true, .. })))
}

fn slots(path: &Path, text: &str) -> Vec<Slot> {
    slots_of(path, text, yaml::parse(text))
}

fn slots_of(path: &Path, text: &str, parsed: Vec<Parsed>) -> Vec<Slot> {
    let mut slots = Vec::new();
    let origin: Arc<Path> = path.into();
    for (document, parsed) in parsed.into_iter().enumerate() {
        let file = Text { path, origin: origin.clone(), text, document };
        match parsed {
            Parsed::Document(parsed) => file.document(&parsed, &mut slots),
            Parsed::Broken(broken) => slots.push(file.broken(broken)),
        }
    }
    // kept as long as the file
    slots.shrink_to_fit();
    slots
}

/// A document of a file that is read.
struct Text<'t> {
    path: &'t Path,
    /// The same, for the objects to share.
    origin: Arc<Path>,
    text: &'t str,
    document: usize,
}

impl Text<'_> {
    fn document(&self, document: &Document, slots: &mut Vec<Slot>) {
        let items = items(&document.value, &document.places);
        for (at, (value, place)) in items.iter().enumerate() {
            let mut slot = self.object(value, place);
            let next_line = items.get(at + 1).map_or(u32::MAX, |(_, next)| next.value.line);
            if !matches!(slot.state, State::Skipped(_)) {
                let here = |hint: &&Hint| (place.value.line..next_line).contains(&hint.position.line);
                document.hints.iter().filter(here).for_each(|hint| self.hint(hint, value, &mut slot));
            }
            slot.findings.sort_by_key(|finding| finding.position);
            slots.push(slot);
        }
    }

    fn object(&self, value: &Value, place: &Place) -> Slot {
        let (state, problems) = match decode::decode(value) {
            Outcome::Foreign(kind) => (State::Skipped(kind), Vec::new()),
            Outcome::Refused(name, problems) => (
                name.map_or(State::Nameless { kept: Vec::new() }, |name| State::Broken {
                    name: name.into(),
                    kept: None,
                }),
                problems,
            ),
            Outcome::Known(name, content, problems) => {
                let origin = Origin { file: self.origin.clone(), line: place.value.line };
                (State::Live(Arc::new(SourceObject { name, content, origin })), problems)
            }
        };
        let object = match &state {
            State::Live(object) => object.name.to_string(),
            _ => decode::describe(value),
        };
        let findings = problems.into_iter().map(|problem| {
            let field = problem.path.to_string();
            let (found, _) = place.find(&field);
            let position = found.key.filter(|_| decode::is_about_key(&problem)).unwrap_or_else(|| found.pointer());
            let severity = problem.severity.into();
            Finding { severity, field, ..self.finding(position, object.clone(), problem.message, problem.remedy) }
        });
        Slot { document: self.document, findings: findings.collect(), state }
    }

    fn broken(&self, broken: Broken) -> Slot {
        let object = decode::describe(&broken.before);
        let name = decode::identity(&broken.before);
        // Other programs keep YAML and JSON of their own, with comments or templates, beside ours.
        let ours = name.is_some() || self.text.contains("apiVersion") || self.text.contains("kind:");
        let severity = if ours { Severity::Error } else { Severity::Warning };
        let fault = broken.fault;
        let finding = Finding { severity, ..self.finding(fault.position, object, fault.message, fault.remedy) };
        let state =
            name.map_or(State::Nameless { kept: Vec::new() }, |name| State::Broken { name: name.into(), kept: None });
        Slot { document: self.document, findings: vec![finding], state }
    }

    /// Tells what kubectl would read differently, unless that value is told to be wrong anyway.
    fn hint(&self, hint: &Hint, value: &Value, slot: &mut Slot) {
        if slot.findings.iter().any(|finding| finding.position == Some(hint.position)) {
            return;
        }
        let Hint { position, written, elsewhere } = hint;
        let message = format!("kubectl reads `{written}` as {elsewhere}, here it stays the text `{written}`");
        let remedy = format!("write \"{written}\" in quotes if text is meant, otherwise {elsewhere}");
        let finding = self.finding(*position, decode::describe(value), message, remedy);
        slot.findings.push(Finding { severity: Severity::Warning, ..finding });
    }

    fn finding(&self, position: Position, object: String, message: String, remedy: String) -> Finding {
        Finding {
            severity: Severity::Error,
            file: self.path.to_owned(),
            position: Some(position),
            line_text: yaml::line(self.text, position).to_owned(),
            object,
            field: String::new(),
            message,
            remedy,
            kept: false,
        }
    }
}

/// The objects of a document: itself, or the items of a `List`, as `kubectl get -o yaml` writes them.
pub(super) fn items<'d>(value: &'d Value, place: &'d Place) -> Vec<(&'d Value, &'d Place)> {
    let is_list = value.get("apiVersion").is_some()
        && value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    if let (true, Some(Value::Array(values)), (at, true)) = (is_list, value.get("items"), place.find("items"))
        && let yaml::Parts::Items(places) = &at.parts
    {
        return values.iter().zip(places).collect();
    }
    vec![(value, place)]
}

/// What a look found, to be merged.
#[derive(Default)]
struct Looked {
    files: Vec<Arc<Source>>,
    folders: BTreeSet<PathBuf>,
    tree_findings: Vec<Finding>,
    again: Option<Duration>,
    /// The live objects, where they are known already.
    objects: Option<SourceObjects>,
}

/// The live objects when the touched files name the same ones as before, which is what most saves do: then nothing has to be compared
/// with all the others. `None` where that does not hold.
fn replaced(previous: &Loaded, files: &[Arc<Source>], touched: &BTreeSet<PathBuf>) -> Option<SourceObjects> {
    if !previous.plain || files.len() != previous.files.len() {
        return None;
    }
    let mut objects = previous.objects.clone();
    for path in touched {
        let at = *previous.by_path.get(path)?;
        let (before, after) = (previous.files[at].live()?, files.get(at)?.live()?);
        if !before.iter().map(|object| &object.name).eq(after.iter().map(|object| &object.name)) {
            return None;
        }
        for object in after {
            if objects.get(&object.name)? != object {
                objects.insert(ByName(object.clone()), object.clone());
            }
        }
    }
    Some(objects)
}

fn merge(looked: Looked, previous: &Loaded) -> Loaded {
    let Looked { files, folders, tree_findings, again, objects } = looked;
    let known = objects.is_some();
    let objects = objects.unwrap_or_default();
    let mut loaded =
        Loaded { objects, folders, again, findings: tree_findings.clone(), tree_findings, ..Loaded::default() };
    let mut skipped = BTreeMap::<&str, usize>::new();
    // What is kept from another place yields to an object that is read, which may be the same one, moved.
    let mut elsewhere = Vec::new();
    let (mut plain, mut live) = (true, 0);
    for (source, slot) in files.iter().flat_map(|source| source.slots.iter().map(move |slot| (source, slot))) {
        let first = loaded.findings.len();
        plain &= matches!(slot.state, State::Live(_) | State::Skipped(_));
        live += usize::from(matches!(slot.state, State::Live(_)));
        loaded.findings.extend_from_slice(&slot.findings);
        match &slot.state {
            State::Skipped(kind) => *skipped.entry(kind).or_default() += 1,
            State::Live(_) if known => {}
            State::Live(object) => loaded.add(object),
            State::Broken { kept: Some(object), .. } if *object.origin.file == *source.path => loaded.add(object),
            State::Broken { .. } | State::Nameless { .. } => {
                // an old key does not come back from a file that never held it
                let is_kept =
                    |object: &&Arc<SourceObject>| !object.name.is_secret() || *object.origin.file == *source.path;
                elsewhere.extend(slot.objects().filter(is_kept));
            }
        }
        let kept = !matches!(slot.state, State::Live(_)) && slot.objects().next().is_some();
        loaded.findings[first..].iter_mut().for_each(|finding| finding.kept |= kept);
    }
    for object in elsewhere {
        loaded.objects.entry(ByName(object.clone())).or_insert_with(|| object.clone());
    }
    loaded.plain = known || (plain && loaded.objects.len() == live);
    if !known {
        loaded.objects = sharing(&previous.objects, &loaded.objects);
    }
    loaded.skipped = skipped.into_iter().map(|(kind, objects)| Skipped { kind: kind.to_owned(), objects }).collect();
    let same_paths =
        files.len() == previous.files.len() && files.iter().zip(&previous.files).all(|(a, b)| a.path == b.path);
    loaded.by_path = if same_paths {
        previous.by_path.clone()
    } else {
        Arc::new(files.iter().enumerate().map(|(at, source)| (source.path.clone(), at)).collect())
    };
    loaded.files = files;
    loaded
}

/// The same map as `now`, made of `before`: what is equal in them is shared, so that nobody need compare it later.
fn sharing(before: &SourceObjects, now: &SourceObjects) -> SourceObjects {
    let mut made = before.clone();
    for item in before.diff(now) {
        match item {
            DiffItem::Add(name, object) | DiffItem::Update { new: (name, object), .. } => {
                made.insert(name.clone(), object.clone());
            }
            DiffItem::Remove(name, _) => drop(made.remove::<ObjectRef>(name)),
        }
    }
    made
}

impl Loaded {
    /// Adds an object, unless one of that name is there: then both places are told.
    fn add(&mut self, object: &Arc<SourceObject>) {
        use imbl::ordmap::Entry;
        let first = match self.objects.entry(ByName(object.clone())) {
            Entry::Vacant(entry) => {
                entry.insert(object.clone());
                return;
            }
            Entry::Occupied(entry) => entry.get().origin.clone(),
        };
        if first == object.origin {
            return;
        }
        let message =
            format!("the same object stands in {}:{} already, and that one is used", first.file.display(), first.line);
        self.findings.push(Finding {
            severity: Severity::Error,
            file: object.origin.file.to_path_buf(),
            position: Some(Position { line: object.origin.line, column: 1 }),
            line_text: String::new(),
            object: object.name.to_string(),
            field: String::new(),
            message,
            remedy: "remove one of the two, or give it another name or namespace".to_owned(),
            kept: false,
        });
    }
}

/// The text of a file, or what to tell.
fn read(path: &Path) -> Result<String, Box<Finding>> {
    let told = |message: String, remedy| Box::new(tree::of_file(path, message, remedy));
    let failed =
        |error: io::Error| told(format!("cannot be read: {}", tree::plain(&error)), "allow this user to read it");
    let limit = yaml::TEXT_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > yaml::TEXT_BYTES_MAX {
        return Err(told(format!("is longer than {} MiB", yaml::TEXT_BYTES_MAX >> 20), "split it into several files"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        told(format!("line {line} is not UTF-8"), "save the file as UTF-8")
    })
}

/// The text of a file and its documents.
///
/// # Errors
/// What to tell when the file cannot be read.
pub(super) fn documents_of(path: &Path) -> Result<(String, Vec<Parsed>), Box<Finding>> {
    let text = read(path)?;
    let documents = yaml::parse(&text);
    Ok((text, documents))
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
