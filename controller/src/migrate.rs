//! From what files hold of Ingresses, and of Domains of OpenFunction 0.5 and 0.6, to the same in Gateway API, each object with what could not be carried over. It writes nothing, and asks no cluster.

use crate::{
    assemble::find,
    sources::{decode::Content, directory::Loaded, findings::Finding},
};
use headgate_config::Text;
use headgate_functions::{
    kinds::{Domain, FUNCTION_GROUP, Object as FunctionObject},
    path_mode,
};
use headgate_translate::{
    Key, ObjectProblem, Objects,
    form::Form,
    ingress,
    kinds::{INGRESS_GROUP, ObjectRef},
    schema::{FieldPath, Problem, Severity},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// An object to be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it comes from, and what of that it does not say: one line each.
    pub comments: Vec<String>,
    /// The object.
    pub manifest: Value,
}

/// All that comes of files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Migration {
    /// Gateways, then routes.
    pub documents: Vec<Document>,
    /// What is wrong with the files, and what has no form, at its lines.
    pub findings: Vec<Finding>,
}

/// Brings everything that files hold of Ingresses and Domains into the form of Gateway API, for Gateways of a class. `written` are the
/// objects of the files as they stand there: functions of a version that nothing else reads are found in them.
pub fn migrate(loaded: &Loaded, written: &[Value], class: &str) -> Migration {
    let mut objects = Objects::default();
    for object in loaded.objects.values() {
        if let Content::Kubernetes(content) = &object.content {
            objects.insert(content.clone());
        }
    }
    let mut place = Place { loaded, functions: BTreeMap::new() };
    let mut problems = place.add_functions(written, &mut objects);
    let mut derivation = ingress::derive(&objects, |_| true);
    let gateways = ingress::gateways(&mut derivation, &objects, class);
    problems.extend(derivation.problems.iter().map(|told| place.written(told)));
    let mut told = BTreeSet::new();
    problems.retain(|problem| told.insert(format!("{} {}", problem.object, problem.problem)));

    let mut documents = Vec::new();
    for gateway in &gateways {
        let comments = gateway.ingresses.iter().map(|key| place.origin(key)).collect::<BTreeSet<_>>();
        documents.push(Document { comments: comments.into_iter().collect(), manifest: gateway.manifest() });
    }
    let mut commented = BTreeSet::new();
    for route in &derivation.routes {
        let mut comments = vec![place.origin(&route.ingress)];
        if commented.insert(&route.ingress) {
            let object = reference(&route.ingress);
            let of_it = derivation.problems.iter().filter(|told| told.object == object);
            comments.extend(of_it.map(|told| comment(&place.written(told).problem)));
        }
        documents.push(Document { comments, manifest: route.manifest() });
    }
    let mut findings = loaded.findings.clone();
    findings.extend(problems.iter().filter_map(|problem| place.finding(problem)));
    Migration { documents, findings }
}

/// Where what Ingresses say is written.
struct Place<'a> {
    loaded: &'a Loaded,
    /// By Ingress that a Domain makes: the Domain.
    functions: BTreeMap<Key, ObjectRef>,
}

impl Place<'_> {
    /// Adds the Ingresses by which functions are found below a Domain, and tells of Domains that are not used.
    fn add_functions(&mut self, written: &[Value], objects: &mut Objects) -> Vec<ObjectProblem> {
        let domains = || {
            self.loaded.openfunction().filter_map(|object| match object {
                FunctionObject::Domain(domain) => Some(&**domain),
                _ => None,
            })
        };
        let Some(first) = path_mode::first_domain(domains()) else { return Vec::new() };
        let name =
            |domain: &Domain| ObjectRef::new(FUNCTION_GROUP, "Domain", &domain.meta.namespace, &domain.meta.name);
        let mut problems: Vec<ObjectProblem> = domains()
            .filter(|domain| domain.meta.key() != first.meta.key())
            .map(|domain| {
                let message = format!("has no effect: {} is the first, and OpenFunction took that one", name(first));
                let problem = Problem::warning(FieldPath::of("metadata.name"), message, "leave it out");
                ObjectProblem { object: name(domain), problem }
            })
            .collect();
        let mut functions = self.functions();
        functions.extend(written.iter().filter_map(old_function));
        if functions.is_empty() {
            let message = "is the host of no function: none that HTTP calls is in these files";
            let problem = Problem::warning(FieldPath::of("metadata.name"), message, "give the Functions as well");
            problems.push(ObjectProblem { object: name(first), problem });
        }
        for (namespace, function) in functions {
            let class = first.class.as_deref().map(Text::from);
            let ingress = path_mode::ingress(first, &namespace, &function, class);
            let key = ingress.meta.key();
            if !objects.ingresses.contains_key(&key) {
                self.functions.insert(key.clone(), name(first));
                objects.ingresses.insert(key, Arc::new(ingress));
            }
        }
        problems
    }

    /// The functions that HTTP calls.
    fn functions(&self) -> BTreeSet<Key> {
        let functions = self.loaded.openfunction().filter_map(|object| match object {
            FunctionObject::Function(function) => function.http().map(|_| function.meta.key()),
            _ => None,
        });
        functions.collect()
    }

    /// A problem where a person wrote what it is about.
    fn written(&self, told: &ObjectProblem) -> ObjectProblem {
        match self.functions.get(&(told.object.namespace.clone(), told.object.name.clone())) {
            Some(domain) => {
                let problem = Problem { path: path_mode::written_at(&told.problem.path), ..told.problem.clone() };
                ObjectProblem { object: domain.clone(), problem }
            }
            None => told.clone(),
        }
    }

    fn finding(&self, problem: &ObjectProblem) -> Option<Finding> {
        let object = self.loaded.objects.get(&problem.object)?;
        Some(find(self.loaded, object, &problem.problem))
    }

    fn origin(&self, key: &Key) -> String {
        let name = self.functions.get(key).cloned().unwrap_or_else(|| reference(key));
        let place = self.loaded.objects.get(&name).map(|object| {
            let origin = &object.origin;
            format!(", {}:{}", origin.file.display(), origin.line)
        });
        one_line(&format!("from {name}{}", place.unwrap_or_default()))
    }
}

fn reference((namespace, name): &Key) -> ObjectRef {
    ObjectRef::new(INGRESS_GROUP, "Ingress", namespace, name)
}

/// A function of v1alpha2 that HTTP calls: of these nothing but the name is needed.
fn old_function(value: &Value) -> Option<Key> {
    if value["apiVersion"] != "core.openfunction.io/v1alpha2" || value["kind"] != "Function" {
        return None;
    }
    let runtime = value.pointer("/spec/serving/runtime").and_then(Value::as_str)?;
    let namespace = value.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let name = value.pointer("/metadata/name").and_then(Value::as_str)?;
    let are_names = [namespace, name].into_iter().all(|name| Form::LABEL.check(name).is_ok());
    (are_names && runtime.eq_ignore_ascii_case("knative")).then(|| (namespace.into(), name.into()))
}

fn comment(problem: &Problem) -> String {
    let word = if problem.severity == Severity::Error { "error" } else { "warning" };
    one_line(&format!("{word}: {problem}"))
}

/// A comment ends with its line, whatever a file holds.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
