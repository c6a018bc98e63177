//! From what a source holds to what a gateway serves: functions expanded, everything translated, problems placed. Pure; the one path for `run`, `check`, `routes` and `explain`.

use crate::sources::{
    directory::Loaded,
    findings::{Finding, Severity},
};
use headgate_functions::{
    Defaults, Expansion, Input, Observed, Revision, Subject, expand,
    kinds::{Function, NamespacedName, Object as FunctionObject, OfGateway},
};
use headgate_translate::{
    Objects, Settings, Translation, builtin_gateway,
    kinds::ObjectRef,
    schema::{self, Problem},
    translate,
};
use std::collections::BTreeMap;

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
        let settings = Settings { builtin_gateway: Some(builtin_gateway(port)), ..Settings::standalone() };
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

/// Assembles what `loaded` holds; `now_ms` is in milliseconds since 1970.
pub fn assemble(loaded: &Loaded, known: &Known, ground: &Ground, now_ms: u64) -> Assembly {
    let mut objects = Objects::default();
    loaded.kubernetes().for_each(|object| objects.insert(object.clone()));
    let (functions, gateways) = split(loaded);
    let input = Input {
        functions: &functions,
        gateways: &gateways,
        objects: &objects,
        revisions: &known.revisions,
        observed: &known.observed,
        defaults: &ground.defaults,
        now_ms,
    };
    let expansion = expand(&input);
    expansion.merge_into(&mut objects);
    let translation = translate(&objects, &ground.settings);
    let findings = place(loaded, &expansion, &translation);
    Assembly { functions, expansion, translation, findings }
}

fn split(loaded: &Loaded) -> (Vec<Function>, Vec<OfGateway>) {
    let (mut functions, mut gateways) = (Vec::new(), Vec::new());
    for object in loaded.openfunction() {
        match object {
            FunctionObject::Function(function) => functions.push(function.as_ref().clone()),
            FunctionObject::Gateway(gateway) => gateways.push(gateway.as_ref().clone()),
        }
    }
    (functions, gateways)
}

/// Problems of objects that a person wrote, at their lines; those of generated objects concern nobody.
fn place(loaded: &Loaded, expansion: &Expansion, translation: &Translation) -> Vec<Finding> {
    let of_functions = expansion.problems.iter().map(|(subject, problem)| (reference(subject), problem));
    let of_routes = translation.problems.iter().map(|problem| (problem.object.clone(), &problem.problem));
    of_functions.chain(of_routes).filter_map(|(object, problem)| find(loaded, &object, problem)).collect()
}

fn find(loaded: &Loaded, object: &ObjectRef, problem: &Problem) -> Option<Finding> {
    let source = loaded.objects.get(object)?;
    let severity = match problem.severity {
        schema::Severity::Error => Severity::Error,
        schema::Severity::Warning => Severity::Warning,
    };
    Some(loaded.locate(source, severity, &problem.path.to_string(), &problem.message, &problem.remedy))
}

fn reference(subject: &Subject) -> ObjectRef {
    match subject {
        Subject::Function(name) => ObjectRef::new("core.openfunction.io", "Function", &name.namespace, &name.name),
        Subject::Gateway(name) => ObjectRef::new("networking.openfunction.io", "Gateway", &name.namespace, &name.name),
    }
}
