//! From what a source holds to what a gateway serves: functions expanded, everything translated, problems placed. Pure; the one path for `run`, `check`, `routes` and `explain`.

use crate::sources::{
    decode::Content,
    directory::{Loaded, SourceObject, SourceObjects},
    findings::Finding,
};
use headgate_functions::{
    Defaults, Expansion, Input, Observed, Revision, Subject, expand,
    kinds::{Domain, FUNCTION_GROUP, Function, NamespacedName, Object as FunctionObject, OfGateway},
    path_mode,
};
use headgate_translate::{
    ObjectProblem, Objects, Settings, Translation, Translator, builtin_gateway,
    kinds::{INGRESS_GROUP, ObjectRef},
    schema::Problem,
};
use imbl::ordmap::DiffItem;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// What an operator decides for a machine without a cluster.
#[derive(Clone, Debug)]
pub struct Ground {
    /// For functions.
    pub defaults: Defaults,
    /// For routes.
    pub settings: Settings,
}

impl Ground {
    /// A machine without a cluster: functions below `domain`, built-in listeners on `port`.
    pub fn standalone(domain: &str, port: u16) -> Self {
        let defaults = Defaults { domain: domain.into(), port, ..Defaults::default() };
        // nobody reads conditions without a cluster
        let settings =
            Settings { builtin_gateway: Some(builtin_gateway(port)), conditions: false, ..Settings::standalone() };
        Self { defaults, settings }
    }
}

/// What is known of functions besides their objects.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Records of the last plans.
    pub revisions: BTreeMap<NamespacedName, Vec<Revision>>,
    /// What is seen of them.
    pub observed: BTreeMap<NamespacedName, Observed>,
}

/// Everything that follows from a source.
pub struct Assembly {
    /// The functions, in order.
    pub functions: Vec<Function>,
    /// What they became.
    pub expansion: Expansion,
    /// What is served.
    pub translation: Translation,
    /// What is wrong beyond the reading of files, each at its place.
    pub findings: Vec<Finding>,
}

/// Assembles what `loaded` holds; `now_ms` is in milliseconds since 1970. Whoever assembles again and again keeps an [`Assembler`].
pub fn assemble(loaded: &Loaded, known: &Known, ground: &Ground, now_ms: u64) -> Assembly {
    Assembler::new(ground.clone()).assemble(loaded, known, now_ms)
}

/// Assembles again and again, at the cost of what changed; gives what [`assemble`] gives.
pub struct Assembler {
    defaults: Defaults,
    translator: Translator,
    /// What was loaded last, and of it the objects that `translate` knows.
    loaded: SourceObjects,
    written: Objects,
    placed: Placed,
}

/// Problems with their places, which are found by reading files: each as long as it and its object stay.
type Placed = HashMap<*const ObjectProblem, (Arc<ObjectProblem>, Arc<SourceObject>, Finding)>;

impl Assembler {
    /// Knows of no object yet.
    pub fn new(ground: Ground) -> Self {
        Self {
            defaults: ground.defaults,
            translator: Translator::new(ground.settings),
            loaded: SourceObjects::new(),
            written: Objects::default(),
            placed: Placed::new(),
        }
    }

    /// For routes.
    pub fn settings(&self) -> &Settings {
        self.translator.settings()
    }

    /// Assembles what `loaded` holds; `now_ms` is in milliseconds since 1970.
    pub fn assemble(&mut self, loaded: &Loaded, known: &Known, now_ms: u64) -> Assembly {
        self.take_in(loaded);
        let Written { functions, gateways, domains } = Written::of(loaded);
        let input = Input {
            functions: &functions,
            gateways: &gateways,
            objects: &self.written,
            revisions: &known.revisions,
            observed: &known.observed,
            defaults: &self.defaults,
            now_ms,
        };
        let expansion = expand(&input);
        let mut objects = self.written.clone();
        expansion.merge_into(&mut objects);
        let domain = path_mode::first_domain(domains.iter().copied());
        let by_path = domain.map(|domain| by_path(domain, &functions, &mut objects)).unwrap_or_default();
        let translation = self.translator.translate(&objects).clone();
        let mut findings = self.place(loaded, &expansion, &translation);
        findings.extend(domain.into_iter().flat_map(|domain| of_domain(loaded, domain, &by_path, &translation)));
        Assembly { functions, expansion, translation, findings }
    }

    fn take_in(&mut self, loaded: &Loaded) {
        for item in std::mem::replace(&mut self.loaded, loaded.objects.clone()).diff(&loaded.objects) {
            match item {
                DiffItem::Add(_, object) | DiffItem::Update { new: (_, object), .. } => match &object.content {
                    Content::Kubernetes(content) => self.written.insert(content.clone()),
                    Content::Parameters => drop(self.written.parameters.insert(object.name.clone(), None)),
                    Content::OpenFunction(_) => {}
                },
                DiffItem::Remove(name, _) => drop(self.written.remove(name)),
            }
        }
        self.written.unusable_secrets = loaded.unusable_secrets();
    }

    /// Problems of objects that a person wrote, at their lines; those of generated objects concern nobody.
    fn place(&mut self, loaded: &Loaded, expansion: &Expansion, translation: &Translation) -> Vec<Finding> {
        let of_functions = expansion.problems.iter().filter_map(|(subject, problem)| {
            let object = loaded.objects.get(&reference(subject))?;
            Some(find(loaded, object, problem))
        });
        let mut findings: Vec<Finding> = of_functions.collect();
        let mut placed = Placed::with_capacity(self.placed.len());
        for problem in &translation.problems {
            let Some(object) = loaded.objects.get(&problem.object) else { continue };
            let known = self.placed.remove(&Arc::as_ptr(problem)).filter(|(_, known, _)| Arc::ptr_eq(known, object));
            let (_, _, finding) = placed.entry(Arc::as_ptr(problem)).or_insert_with(|| {
                known.unwrap_or_else(|| (problem.clone(), object.clone(), find(loaded, object, &problem.problem)))
            });
            findings.push(finding.clone());
        }
        self.placed = placed;
        findings
    }
}

/// What is written of OpenFunction.
#[derive(Default)]
struct Written<'l> {
    functions: Vec<Function>,
    gateways: Vec<OfGateway>,
    domains: Vec<&'l Domain>,
}

impl<'l> Written<'l> {
    fn of(loaded: &'l Loaded) -> Self {
        let mut written = Self::default();
        for object in loaded.openfunction() {
            match object {
                FunctionObject::Function(function) => written.functions.push(function.as_ref().clone()),
                FunctionObject::Gateway(gateway) => written.gateways.push(gateway.as_ref().clone()),
                FunctionObject::Domain(domain) => written.domains.push(domain),
            }
        }
        written
    }
}

/// Adds the Ingresses of the functions that HTTP calls, and gives them. One that a person wrote is not replaced.
fn by_path(domain: &Domain, functions: &[Function], objects: &mut Objects) -> BTreeSet<ObjectRef> {
    let mut made = BTreeSet::new();
    for function in functions.iter().filter(|function| function.http().is_some()) {
        let ingress = path_mode::ingress(domain, &function.meta.namespace, &function.meta.name, None);
        let key = ingress.meta.key();
        if !objects.ingresses.contains_key(&key) {
            made.insert(ObjectRef::new(INGRESS_GROUP, "Ingress", &key.0, &key.1));
            objects.ingresses.insert(key, Arc::new(ingress));
        }
    }
    made
}

/// The problems of such Ingresses, each once, where they stand in the Domain.
fn of_domain(loaded: &Loaded, domain: &Domain, made: &BTreeSet<ObjectRef>, translation: &Translation) -> Vec<Finding> {
    let name = ObjectRef::new(FUNCTION_GROUP, "Domain", &domain.meta.namespace, &domain.meta.name);
    let Some(object) = loaded.objects.get(&name) else { return Vec::new() };
    let mut findings = Vec::new();
    for told in translation.problems.iter().filter(|told| made.contains(&told.object)) {
        let problem = Problem { path: path_mode::written_at(&told.problem.path), ..told.problem.clone() };
        let finding = find(loaded, object, &problem);
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

pub(crate) fn find(loaded: &Loaded, object: &SourceObject, problem: &Problem) -> Finding {
    loaded.locate(object, problem.severity.into(), &problem.path.to_string(), &problem.message, &problem.remedy)
}

fn reference(subject: &Subject) -> ObjectRef {
    match subject {
        Subject::Function(name) => ObjectRef::new("core.openfunction.io", "Function", &name.namespace, &name.name),
        Subject::Gateway(name) => ObjectRef::new("networking.openfunction.io", "Gateway", &name.namespace, &name.name),
    }
}
