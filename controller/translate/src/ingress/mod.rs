//! Ingresses as HTTPRoutes: one pure function, for serving and for `headgate migrate` alike. What has no form in Gateway API is a problem, and never passed over.
//!
//! Of annotations those of ingress-nginx are read, and what they mean is what that controller does. An annotation that decides who may
//! pass and has no exact form leaves its rules without backends: better an answer of 500 than an open door.

mod annotations;
mod canary;
mod cors;
mod listeners;
mod names;
mod paths;
mod redirects;
mod rules;
mod served;
mod written;

pub use annotations::ISSUER_ANNOTATIONS;
pub use listeners::{DerivedGateway, gateways};
pub(crate) use served::{ServedIngress, serve};

use crate::{
    Key, ObjectProblem, Objects,
    ingress::{
        annotations::Annotations,
        canary::Canaries,
        names::Names,
        rules::{Group, Rules},
    },
    kinds::{HTTPRoute, INGRESS_GROUP, Ingress, ObjectMeta, ObjectRef, Protocol},
    schema::{FieldPath, Problem, Step},
};
use std::sync::Arc;

/// The most rules of an HTTPRoute.
const RULES_MOST: usize = 16;
/// The controller of ingress-nginx, as its IngressClasses name it.
const NGINX_CONTROLLER: &str = "k8s.io/ingress-nginx";

/// An HTTPRoute that says what an Ingress says of one host. It names no parent: that is for whoever serves or prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressRoute {
    /// The route.
    pub route: HTTPRoute,
    /// The Ingress.
    pub ingress: Key,
    /// By rule: the field of the Ingress that it comes from.
    pub fields: Vec<FieldPath>,
    /// On which listeners it belongs.
    pub scheme: Scheme,
}

/// The listeners that a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// All that take its host.
    Any,
    /// Those without TLS: a redirect to the others.
    Http,
    /// Those with TLS.
    Https,
}

impl Scheme {
    /// Whether a listener of a protocol is one of them.
    pub(crate) fn fits(self, protocol: &Protocol) -> bool {
        match self {
            Self::Any => true,
            Self::Http => *protocol == Protocol::Http,
            Self::Https => *protocol == Protocol::Https,
        }
    }
}

impl IngressRoute {
    /// Where in the Ingress a field of the route comes from.
    pub(crate) fn written_at(&self, path: &FieldPath) -> FieldPath {
        let [Step::Key(spec), Step::Key(rules), Step::Index(index), rest @ ..] = path.0.as_slice() else {
            return FieldPath::of("spec");
        };
        let Some(field) = self.fields.get(*index).filter(|_| spec == "spec" && rules == "rules") else {
            return FieldPath::of("spec");
        };
        let is_path = field.0.iter().any(|step| *step == Step::Key("paths".into()));
        match rest.first() {
            Some(Step::Key(key)) if key == "backendRefs" && is_path => field.key("backend"),
            _ => field.clone(),
        }
    }
}

/// All that becomes of Ingresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Derivation {
    /// Their routes, in the order of the Ingresses.
    pub routes: Vec<IngressRoute>,
    /// What is wrong, and what has no form.
    pub problems: Vec<ObjectProblem>,
}

/// Derives the routes of those Ingresses that are chosen. Services say what number a named port has.
pub fn derive(objects: &Objects, is_chosen: impl Fn(&Ingress) -> bool) -> Derivation {
    let chosen = || objects.ingresses.values().filter(|ingress| is_chosen(ingress));
    let mut report = IngressReport::default();
    let canaries = Canaries::of(chosen(), objects, &mut report);
    let mut names = Names::default();
    let mut routes = Vec::new();
    for ingress in chosen().filter(|ingress| !canary::is_canary(ingress)) {
        let work = Derive { ingress, objects, annotations: Annotations::read(ingress, &mut report) };
        work.derive(&canaries, &mut names, &mut report, &mut routes);
    }
    canaries.tell_unused(&mut report);
    Derivation { routes, problems: report.problems }
}

/// Problems of Ingresses.
#[derive(Default)]
struct IngressReport {
    problems: Vec<ObjectProblem>,
}

impl IngressReport {
    /// Adds one, once.
    fn add(&mut self, ingress: &Ingress, problem: Problem) {
        let told = ObjectProblem { object: reference(ingress), problem };
        let mut of_it = self.problems.iter().rev().take_while(|other| other.object == told.object);
        if !of_it.any(|other| *other == told) {
            self.problems.push(told);
        }
    }

    fn error(&mut self, ingress: &Ingress, at: FieldPath, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(ingress, Problem::error(at, message, remedy));
    }

    fn warn(&mut self, ingress: &Ingress, at: FieldPath, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(ingress, Problem::warning(at, message, remedy));
    }
}

fn reference(ingress: &Ingress) -> ObjectRef {
    ObjectRef::new(INGRESS_GROUP, "Ingress", &ingress.meta.namespace, &ingress.meta.name)
}

/// One Ingress on its way.
struct Derive<'a> {
    ingress: &'a Arc<Ingress>,
    objects: &'a Objects,
    annotations: Annotations,
}

impl Derive<'_> {
    fn derive(
        &self,
        canaries: &Canaries,
        names: &mut Names,
        report: &mut IngressReport,
        routes: &mut Vec<IngressRoute>,
    ) {
        let rules = Rules { ingress: self.ingress, objects: self.objects, annotations: &self.annotations };
        let groups = rules.by_host(canaries, report);
        let several = groups.len() > 1;
        for group in groups {
            let redirects = self.redirects_to_tls(&group, report);
            let mut add = |suffix: &str, group: Group, scheme: Scheme| {
                let name = |names: &mut Names| names.choose(self.ingress, several.then_some(&group.host), suffix);
                for (rules, fields) in group.chunks(RULES_MOST) {
                    let route = HTTPRoute {
                        meta: self.meta(name(names)),
                        hostnames: group.host.iter().cloned().collect(),
                        rules,
                        ..HTTPRoute::default()
                    };
                    routes.push(IngressRoute { route, ingress: self.ingress.meta.key(), fields, scheme });
                }
            };
            if redirects {
                add("", group.clone(), Scheme::Https);
                add("-redirect", group.redirecting(), Scheme::Http);
            } else {
                add("", group, Scheme::Any);
            }
        }
    }

    fn meta(&self, name: String) -> ObjectMeta {
        let meta = &self.ingress.meta;
        ObjectMeta {
            name: name.into(),
            namespace: meta.namespace.clone(),
            created: meta.created,
            generation: meta.generation,
            labels: meta.labels.clone(),
            ..ObjectMeta::default()
        }
    }

    /// Whether clients of a host without TLS are sent to the same place with TLS.
    fn redirects_to_tls(&self, group: &Group, report: &mut IngressReport) -> bool {
        let (wanted, at) = match self.annotations.tls_redirect() {
            Some(asked) => asked,
            None if self.is_of_nginx() => (true, FieldPath::of("spec.tls")),
            None => return false,
        };
        let has_tls = self.ingress.tls.iter().any(|tls| listeners::covers(tls, group.host.as_deref()));
        if wanted && !has_tls && self.annotations.forces_tls() {
            let message = format!(
                "sends clients of {} to TLS, which somebody else ends: Gateway API has no form for that",
                group.host.as_deref().unwrap_or("any host")
            );
            report.warn(self.ingress, at, message, "redirect where TLS is ended, or write tls: with the host");
            return false;
        }
        wanted && has_tls
    }

    /// Whether ingress-nginx serves it: that redirects to TLS unless it is told not to.
    fn is_of_nginx(&self) -> bool {
        let Some(class) = &self.ingress.class else { return false };
        match Objects::get(&self.objects.ingress_classes, "", class) {
            Some(class) => class.controller == NGINX_CONTROLLER,
            None => class.as_str() == "nginx",
        }
    }
}
