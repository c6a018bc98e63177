//! One machine without a cluster: from files and counts to routes, endpoints and processes, as one state machine. It does no I/O and reads no clock.
//!
//! [`Standalone`] is told what files hold ([`Standalone::loaded`]), what the scaler did ([`Standalone::scaled`]) and what gateways
//! count ([`Standalone::counted`]); it answers with what is to be done, in order.

use crate::{
    assemble::{Assembler, Assembly, Ground, Known},
    listing::{Listing, differences},
    runtimes::Launch,
    scaling::{Reading, Report, TargetSpec, TargetState, Told, of_function},
    sources::{
        directory::Loaded,
        findings::{Finding, Severity},
    },
};
use headgate_config::{Activation, Backend, BackendName, ByName, Certificate, Endpoints, QueueBounds, Snapshot, Wait};
use headgate_functions::{
    Exit, FAILED_STARTS_BROKEN, Observed, Plan, Revision, SERVICE_PORT, Seen, Step, environment,
    kinds::{Function, NamespacedName},
    plan,
};
use headgate_translate::kinds::ObjectRef;
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A port that no process is given: stands for the real one until a process starts.
const PORT_TO_BE: u16 = 65_535;

/// What is to be done.
pub enum Output {
    /// These routes are to be served.
    Routes(Box<Snapshot>, Vec<Certificate>),
    /// These are the endpoints of a backend.
    Endpoints(Endpoints),
    /// These targets are to be scaled.
    Targets(Vec<TargetSpec>),
    /// What a target needs was mended: its failures are to be forgotten.
    Retry(String),
    /// A line for a person.
    Say(String),
    /// A finding for a person.
    Find(Finding),
}

/// Endpoints by Backend.
type EndpointMap = OrdMap<ByName<Endpoints>, Arc<Endpoints>>;

/// The state.
pub struct Standalone {
    assembler: Assembler,
    known: Known,
    loaded: Arc<Loaded>,
    assembly: Option<Assembly>,
    targets: BTreeMap<String, TargetState>,
    readings: BTreeMap<String, Counts>,
    specs: Vec<TargetSpec>,
    findings: BTreeSet<String>,
    said: BTreeSet<String>,
    /// Which function a target is of.
    owners: BTreeMap<String, NamespacedName>,
    /// When a function is to be planned again though nothing else happens.
    deadlines: BTreeMap<NamespacedName, u64>,
}

/// What gateways count of one target.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    in_flight: u32,
    queued: u32,
    /// Endpoints that take requests.
    ready: u32,
}

impl Counts {
    fn of(reading: &Reading) -> Self {
        let ready = reading.endpoints.iter().filter(|endpoint| endpoint.ready).count() as u32;
        Self { in_flight: reading.in_flight, queued: reading.queued, ready }
    }
}

impl Standalone {
    /// Nothing yet; `revisions` are the records of an earlier run, if they were kept.
    pub fn new(ground: Ground, revisions: BTreeMap<NamespacedName, Vec<Revision>>) -> Self {
        Self {
            assembler: Assembler::new(ground),
            known: Known { revisions, ..Known::default() },
            loaded: Arc::default(),
            assembly: None,
            targets: BTreeMap::new(),
            readings: BTreeMap::new(),
            specs: Vec::new(),
            findings: BTreeSet::new(),
            said: BTreeSet::new(),
            owners: BTreeMap::new(),
            deadlines: BTreeMap::new(),
        }
    }

    /// The records to keep.
    pub fn revisions(&self) -> &BTreeMap<NamespacedName, Vec<Revision>> {
        &self.known.revisions
    }

    /// What was assembled last.
    pub fn assembly(&self) -> Option<&Assembly> {
        self.assembly.as_ref()
    }

    /// When to call [`Standalone::tick`] though nothing else happens, in milliseconds since 1970.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.values().min().copied()
    }

    /// Where things are found, each with its split and state. Made when it is asked for.
    pub fn listing(&self) -> Listing {
        self.assembly.as_ref().map(|assembly| Listing::of(assembly, self.cluster_domain())).unwrap_or_default()
    }

    fn cluster_domain(&self) -> &str {
        &self.assembler.settings().cluster_domain
    }

    /// What was found, for the first lines of `run`.
    pub fn found(&self) -> String {
        let report = self.loaded.report();
        let problems = report.count(Severity::Error) + report.count(Severity::Warning) + self.later_findings();
        format!("{}, {}, {}", self.functions(), self.routes(), count(problems, "problem"))
    }

    /// What is served, in one line for a service manager.
    pub fn serving(&self, version: u64) -> String {
        format!("serving {} and {} of version {version}", self.routes(), self.functions())
    }

    fn functions(&self) -> String {
        count(self.assembly.as_ref().map_or(0, |assembly| assembly.functions.len()), "function")
    }

    fn routes(&self) -> String {
        count(
            self.loaded.objects.keys().filter(|name| name.kind.ends_with("Route") || name.kind == "Ingress").count(),
            "route",
        )
    }

    fn later_findings(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.findings.len())
    }

    /// Files were read.
    pub fn loaded(&mut self, loaded: Arc<Loaded>, now_ms: u64) -> Vec<Output> {
        let mended = self.mended(&loaded);
        self.loaded = loaded;
        let mut outputs = self.assemble(now_ms);
        outputs.extend(mended.into_iter().map(Output::Retry));
        outputs
    }

    /// Broken targets whose function was written anew.
    fn mended(&self, loaded: &Loaded) -> Vec<String> {
        let is_broken = |state: &TargetState| broken(state).is_some();
        let touched = |target: &str| {
            let function = self.function_of(target)?;
            let name = object_ref(function);
            let (before, after) = (self.loaded.objects.get(&name)?, loaded.objects.get(&name)?);
            (!Arc::ptr_eq(before, after)).then_some(())
        };
        let names = self.targets.iter().filter(|(_, state)| is_broken(state)).map(|(name, _)| name);
        names.filter(|name| touched(name).is_some()).cloned().collect()
    }

    fn function_of(&self, target: &str) -> Option<&Function> {
        let name = self.owners.get(target)?;
        self.assembly.as_ref()?.functions.iter().find(|function| function.reference() == *name)
    }

    /// The scaler did something.
    pub fn scaled(&mut self, told: Told, now_ms: u64) -> Vec<Output> {
        match told {
            Told::State(state) => {
                let mut outputs: Vec<Output> = state.endpoints.iter().cloned().map(Output::Endpoints).collect();
                let owner = self.owners.get(&state.target).cloned();
                self.targets.insert(state.target.clone(), state);
                outputs.extend(self.plan(&owner.into_iter().collect(), now_ms));
                outputs
            }
            // cold starts are told by the gateway, which sees the whole of them
            Told::Report(Report::Starting { .. } | Report::Ready { .. } | Report::Closing { .. }) => Vec::new(),
            Told::Report(report) => vec![Output::Say(report.to_string())],
        }
    }

    /// Gateways counted; targets that are not among the readings have nothing in flight and nobody waiting.
    pub fn counted(&mut self, readings: &[Reading], now_ms: u64) -> Vec<Output> {
        let counts = |reading: &Reading| (reading.target.clone(), Counts::of(reading));
        let before = std::mem::replace(&mut self.readings, readings.iter().map(counts).collect());
        let changed =
            before.keys().chain(self.readings.keys()).filter(|one| before.get(*one) != self.readings.get(*one));
        let functions = changed.filter_map(|target| self.owners.get(target).cloned()).collect();
        self.plan(&functions, now_ms)
    }

    /// A deadline came.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Output> {
        let due = self.deadlines.iter().filter(|(_, at_ms)| **at_ms <= now_ms).map(|(name, _)| name.clone()).collect();
        self.plan(&due, now_ms)
    }

    /// Plans some functions anew; assembles everything only if routes or targets follow from it.
    fn plan(&mut self, functions: &BTreeSet<NamespacedName>, now_ms: u64) -> Vec<Output> {
        let mut outputs = Vec::new();
        for name in functions {
            let observed = self.observe(name, now_ms);
            let Some(assembly) = &self.assembly else { return Vec::new() };
            // one that was deleted is planned with all others, for its record must go
            let function = assembly.functions.iter().find(|function| function.reference() == *name);
            let (Some(function), Some(records)) = (function, self.known.revisions.get(name)) else {
                return self.assemble(now_ms);
            };
            let next = plan(function, records, &observed, now_ms);
            if assembly.expansion.plans.get(name).is_none_or(|before| leads_elsewhere(before, &next)) {
                return self.assemble(now_ms);
            }
            outputs.extend(next.steps.iter().filter_map(|step| say_step(function, step)).map(Output::Say));
            match next.next_deadline_ms {
                Some(at_ms) => self.deadlines.insert(name.clone(), at_ms),
                None => self.deadlines.remove(name),
            };
            self.known.revisions.insert(name.clone(), next.revisions);
        }
        outputs
    }

    /// What is seen of the revisions of a function, from the scaler's states and the gateways' counts.
    fn observe(&self, name: &NamespacedName, now_ms: u64) -> Observed {
        let revisions = self.known.revisions.get(name).into_iter().flatten();
        Observed(revisions.map(|revision| (revision.name.clone(), self.seen(name, revision, now_ms))).collect())
    }

    fn seen(&self, function: &NamespacedName, revision: &Revision, now_ms: u64) -> Seen {
        let target = target_name(&function.namespace, &revision.name);
        let Counts { in_flight, queued, ready } = self.readings.get(&target).copied().unwrap_or_default();
        let Some(state) = self.targets.get(&target) else { return Seen { in_flight, queued, ..Seen::default() } };
        let broken = broken(state);
        Seen {
            running: state.processes,
            // what a gateway sees ready is ready, though the scaler has not said so yet: a save may come right behind it
            ready: state.ready.max(ready.min(state.processes)),
            in_flight,
            queued,
            failed_starts: if broken.is_some() { FAILED_STARTS_BROKEN } else { 0 },
            last_exit: broken.map(|reason| Exit { at_ms: now_ms, reason: reason.to_owned() }),
            // the gateway of this process applies endpoints at once
            closing_acknowledged: matches!(revision.state, headgate_functions::State::Closing { .. }),
        }
    }

    fn assemble(&mut self, now_ms: u64) -> Vec<Output> {
        let names = self.known.revisions.keys();
        self.known.observed = names.map(|name| (name.clone(), self.observe(name, now_ms))).collect();
        let assembly = self.assembler.assemble(&self.loaded, &self.known, now_ms);
        let mut outputs = Vec::new();
        let plans = &assembly.expansion.plans;
        self.deadlines = plans.iter().filter_map(|(name, plan)| Some((name.clone(), plan.next_deadline_ms?))).collect();
        let target = |(name, revision): (&NamespacedName, &Revision)| {
            (target_name(&name.namespace, &revision.name), name.clone())
        };
        let revisions =
            plans.iter().flat_map(|(name, plan)| plan.revisions.iter().map(move |revision| (name, revision)));
        self.owners = revisions.map(target).collect();
        for function in &assembly.functions {
            if let Some(plan) = assembly.expansion.plans.get(&function.reference()) {
                outputs.extend(plan.steps.iter().filter_map(|step| say_step(function, step)).map(Output::Say));
            }
        }
        self.known.revisions =
            assembly.expansion.plans.iter().map(|(name, plan)| (name.clone(), plan.revisions.clone())).collect();
        outputs.extend(self.say_once(&assembly));
        outputs.extend(self.find(&assembly));
        let specs = self.specs(&assembly);
        if specs != self.specs {
            self.specs.clone_from(&specs);
            outputs.push(Output::Targets(specs));
        }
        let translation = &assembly.translation;
        let mut snapshot = translation.snapshot.clone();
        add_unreached(&mut snapshot, &assembly);
        let before = self.assembly.as_ref();
        let (there, gone) = plain_endpoints(before.map(|before| &before.translation.endpoints), &translation.endpoints);
        let routes = Output::Routes(Box::new(snapshot), Vec::clone(&translation.certificates));
        // Endpoints are there before a request can be routed to them, and go when none can be any more. Only the first ones come
        // behind the routes: nobody asks yet, and they may be more than a gateway keeps for Backends that it does not know.
        match before {
            Some(_) => outputs.extend(there.into_iter().chain([routes]).chain(gone)),
            None => outputs.extend([routes].into_iter().chain(there)),
        }
        if let Some(before) = before {
            outputs.extend(differences(before, &assembly, self.cluster_domain()).into_iter().map(Output::Say));
        }
        self.assembly = Some(assembly);
        outputs
    }

    /// What is said once of a function.
    fn say_once(&mut self, assembly: &Assembly) -> Vec<Output> {
        let mut lines = Vec::new();
        for function in &assembly.functions {
            let Some(serving) = &function.serving else { continue };
            let name = &function.meta.name;
            if !serving.container.command.is_empty() && !function.image.is_empty() {
                lines.push(format!(
                    "{name}: runs its command on this machine; the image {} is not used",
                    function.image
                ));
            }
        }
        lines.into_iter().filter(|line| self.said.insert(line.clone())).map(Output::Say).collect()
    }

    /// Findings that were not there before.
    fn find(&mut self, assembly: &Assembly) -> Vec<Output> {
        let all = || self.loaded.findings.iter().chain(&assembly.findings);
        let key = |finding: &Finding| format!("{} {}", finding.place(), finding.message);
        let now: BTreeSet<String> = all().map(key).collect();
        let new = all().filter(|finding| !self.findings.contains(&key(finding))).cloned().map(Output::Find).collect();
        self.findings = now;
        new
    }

    fn specs(&self, assembly: &Assembly) -> Vec<TargetSpec> {
        let mut specs = Vec::new();
        for function in &assembly.functions {
            let Some(plan) = assembly.expansion.plans.get(&function.reference()) else { continue };
            let origin = self.loaded.objects.get(&object_ref(function)).map(|object| object.origin.file.clone());
            for revision in plan.revisions.iter().filter(|revision| plan.targets.contains_key(&revision.name)) {
                specs.push(spec(function, revision, origin.as_deref()));
            }
        }
        specs
    }
}

/// What is new of the endpoints of plain backends: those that have some, and those that have none any more.
fn plain_endpoints(before: Option<&EndpointMap>, now: &EndpointMap) -> (Vec<Output>, Vec<Output>) {
    let none = EndpointMap::new();
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for item in before.unwrap_or(&none).diff(now) {
        match item {
            DiffItem::Add(_, one) | DiffItem::Update { new: (_, one), .. } => {
                there.push(Output::Endpoints(Endpoints::clone(one)));
            }
            DiffItem::Remove(backend, _) => gone.push(Output::Endpoints(Endpoints {
                backend: (**backend).clone(),
                list: Vec::new(),
                activation: Activation::default(),
            })),
        }
    }
    (there, gone)
}

/// Revisions that no route leads to, because they are being proved or closed: the gateway must know them to probe and to count.
fn add_unreached(snapshot: &mut Snapshot, assembly: &Assembly) {
    for (function, plan) in &assembly.expansion.plans {
        for revision in plan.revisions.iter().filter(|revision| plan.targets.contains_key(&revision.name)) {
            let name = backend_name(&function.namespace, revision);
            if snapshot.backends.contains_key(&name) {
                continue;
            }
            snapshot.insert_backend(Arc::new(Backend {
                name,
                protocol: revision.template.protocol,
                hostname: None,
                tls: None,
                proxy_protocol: None,
                concurrency: revision.template.concurrency,
                queue: QueueBounds::default(),
                scales: Some(target_name(&function.namespace, &revision.name).into()),
                wait: Wait::default(),
                retries: None,
            }));
        }
    }
}

fn backend_name(namespace: &str, revision: &Revision) -> BackendName {
    BackendName::tcp(namespace, revision.name.clone(), SERVICE_PORT)
}

/// What runs for a revision, and how many.
fn spec(function: &Function, revision: &Revision, manifest: Option<&Path>) -> TargetSpec {
    let limits = of_function::limits(function);
    TargetSpec {
        launch: Arc::new(launch(function, revision, manifest)),
        backends: vec![backend_name(&function.meta.namespace, revision)],
        bounds: of_function::bounds(function, revision),
        start_limit: limits.start,
        drain_limit: limits.drain,
    }
}

fn launch(function: &Function, revision: &Revision, manifest: Option<&Path>) -> Launch {
    let container = &revision.template.container;
    let words = container.command.iter().chain(&container.args).cloned();
    let env = environment(function, revision, PORT_TO_BE);
    // what is expanded already must not be expanded again, but the port is known only to the runtime
    let keep = |text: String| {
        let port = format!("\"port\":\"{PORT_TO_BE}\"");
        text.replace('$', "$$").replace("$$(PORT)", "$(PORT)").replace(&port, "\"port\":\"$(PORT)\"")
    };
    let home = manifest.and_then(Path::parent).filter(|home| !home.as_os_str().is_empty()).map(PathBuf::from);
    let working_dir = match (&container.working_dir, home) {
        (Some(dir), Some(home)) => Some(home.join(dir)),
        (Some(dir), None) => Some(PathBuf::from(dir)),
        (None, home) => home,
    };
    Launch {
        name: target_name(&function.meta.namespace, &revision.name),
        function: function.meta.name.to_string(),
        command: if container.command.is_empty() { Vec::new() } else { words.collect() },
        env: env.into_iter().filter(|(name, _)| name != "PORT").map(|(name, text)| (name, keep(text))).collect(),
        working_dir,
        grace: Duration::from_millis(function.settings.grace_ms),
        probe: container.ready_path.clone().map(|path| headgate_config::Probe::Http { path }),
    }
}

fn target_name(namespace: &str, revision: &str) -> String {
    format!("{namespace}/{revision}")
}

fn object_ref(function: &Function) -> ObjectRef {
    ObjectRef::new("core.openfunction.io", "Function", &function.meta.namespace, &function.meta.name)
}

fn broken(state: &TargetState) -> Option<&str> {
    state.endpoints.iter().find_map(|endpoints| match &endpoints.activation {
        Activation::Broken { reason } => Some(reason.as_str()),
        _ => None,
    })
}

/// Whether routes, Services or targets follow from the difference of two plans.
fn leads_elsewhere(before: &Plan, next: &Plan) -> bool {
    let shape = |plan: &Plan| -> Vec<(String, bool, bool, bool)> {
        let one = |revision: &Revision| (revision.name.clone(), revision.proven, revision.serving, revision.dropped);
        plan.revisions.iter().map(one).collect()
    };
    let kept = |plan: &Plan| plan.targets.keys().cloned().collect::<Vec<_>>();
    before.weights != next.weights
        || before.aliases != next.aliases
        || shape(before) != shape(next)
        || kept(before) != kept(next)
}

fn say_step(function: &Function, step: &Step) -> Option<String> {
    use headgate_functions::State;
    let name = &function.meta.name;
    match step {
        Step::Created { revision, proving: true } => {
            Some(format!("{name}: new revision {revision}; it serves once it has become ready"))
        }
        Step::Created { .. } => None,
        Step::CutOver { from: Some(from), to, rollback: false } => {
            Some(format!("{name}: {to} serves now instead of {from}"))
        }
        Step::CutOver { from: Some(from), to, rollback: true } => Some(format!("{name}: back to {to} from {from}")),
        Step::CutOver { from: None, .. } => None,
        Step::Turned { revision, to: State::Broken, reason, .. } => {
            Some(format!("{name}: {revision} is broken: {reason}"))
        }
        Step::Turned { .. } | Step::Removed { .. } => None,
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
