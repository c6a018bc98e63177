//! The rules of an Ingress by their host, as rules of HTTPRoutes. Never the order of rules: that is the rank's, in one place.

use super::{IngressReport, annotations::Annotations, canary::Canaries, paths, redirects};
use crate::{
    Objects,
    kinds::{
        BackendRef, Filter, HTTPMatch, HTTPRule, Ingress, IngressBackend, IngressPath, IngressPort, PathKind,
        PathMatch, PathType, Redirect, UrlRewrite, WeightedBackend,
    },
    schema::FieldPath,
};
use headgate_config::Text;
use std::sync::Arc;

/// The rules of one host, and the field that each comes from.
#[derive(Clone)]
pub(super) struct Group {
    /// The host, `None` for any.
    pub host: Option<String>,
    rules: Vec<(HTTPRule, FieldPath)>,
}

impl Group {
    /// The rules in parts of at most so many, each with its fields.
    pub fn chunks(&self, most: usize) -> impl Iterator<Item = (Vec<HTTPRule>, Vec<FieldPath>)> {
        self.rules.chunks(most).map(|chunk| chunk.iter().cloned().unzip())
    }

    /// The same places, sent to the same URL with TLS.
    pub fn redirecting(&self) -> Self {
        let redirect = |(rule, at): &(HTTPRule, FieldPath)| {
            let https = Redirect { scheme: Some("https".into()), status: 308, ..Redirect::default() };
            let filters = vec![Filter::Redirect(https)];
            (HTTPRule { matches: rule.matches.clone(), filters, ..HTTPRule::default() }, at.clone())
        };
        Self { host: self.host.clone(), rules: self.rules.iter().map(redirect).collect() }
    }
}

/// What rules are made of.
pub(super) struct Rules<'a> {
    pub ingress: &'a Arc<Ingress>,
    pub objects: &'a Objects,
    pub annotations: &'a Annotations,
}

impl Rules<'_> {
    /// The rules, grouped by host in the order in which hosts stand there.
    pub fn by_host(&self, canaries: &Canaries, report: &mut IngressReport) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (index, rule) in self.ingress.rules.iter().enumerate() {
            let at = FieldPath::of("spec.rules").index(index);
            self.check_host(rule.host.as_deref(), &at, report);
            let mut rules = self.app_root(&at);
            if rule.paths.is_empty() {
                rules.extend(self.without_paths(&at, report));
            }
            for (path_index, path) in rule.paths.iter().enumerate() {
                let at = at.key("http").key("paths").index(path_index);
                let Some(made) = self.rule(path, &at, report) else { continue };
                let host = rule.host.as_deref();
                rules.extend(canaries.apply(self.ingress, host, path, made).into_iter().map(|rule| (rule, at.clone())));
            }
            match groups.iter_mut().find(|group| group.host == rule.host) {
                Some(group) => group.rules.extend(rules),
                None => groups.push(Group { host: rule.host.clone(), rules }),
            }
        }
        self.add_default(&mut groups, report);
        groups.retain(|group| !group.rules.is_empty());
        groups
    }

    fn check_host(&self, host: Option<&str>, at: &FieldPath, report: &mut IngressReport) {
        let Some(below) = host.and_then(|host| host.strip_prefix("*.")) else { return };
        let message = format!("*.{below} takes one label before .{below} in an Ingress, and any number in Gateway API");
        let remedy = format!("nothing need be done unless names such as a.b.{below} must not be served");
        report.warn(self.ingress, at.key("host"), message, remedy);
    }

    /// A rule without paths sends its host to the default backend.
    fn without_paths(&self, at: &FieldPath, report: &mut IngressReport) -> Option<(HTTPRule, FieldPath)> {
        let Some(backend) = &self.ingress.default_backend else {
            let message = "has no paths, and the Ingress has no defaultBackend: nothing is served there";
            report.warn(self.ingress, at.clone(), message, "write http: with paths, or leave the rule out");
            return None;
        };
        let default_at = FieldPath::of("spec.defaultBackend");
        Some((self.default_rule(backend, &default_at, report), at.clone()))
    }

    /// What no rule takes goes to the default backend, whatever its host: the least specific route of all.
    fn add_default(&self, groups: &mut Vec<Group>, report: &mut IngressReport) {
        let Some(backend) = &self.ingress.default_backend else { return };
        let at = FieldPath::of("spec.defaultBackend");
        let rule = (self.default_rule(backend, &at, report), at);
        match groups.iter_mut().find(|group| group.host.is_none()) {
            Some(group) => group.rules.push(rule),
            None => groups.push(Group { host: None, rules: vec![rule] }),
        }
    }

    fn default_rule(&self, backend: &IngressBackend, at: &FieldPath, report: &mut IngressReport) -> HTTPRule {
        let path = IngressPath { kind: PathType::Prefix, path: "/".into(), backend: backend.clone() };
        let mut rule = HTTPRule { matches: vec![HTTPMatch::default()], ..HTTPRule::default() };
        self.fill(&mut rule, &path, at, report);
        rule
    }

    /// What a path says; `None` for one that takes nothing.
    fn rule(&self, path: &IngressPath, at: &FieldPath, report: &mut IngressReport) -> Option<HTTPRule> {
        let mut rule = HTTPRule::default();
        match paths::plan(path, self.annotations) {
            Ok(plan) => {
                for (message, remedy) in plan.notes {
                    report.warn(self.ingress, at.key(plan.about), message, remedy);
                }
                rule.matches = vec![HTTPMatch { path: plan.path, ..HTTPMatch::default() }];
                self.rewrite(&mut rule, plan.rewrite);
                self.fill(&mut rule, path, &at.key("backend"), report);
            }
            Err(paths::NoForm { path, message, remedy }) => {
                report.error(self.ingress, at.key("path"), message, remedy);
                rule.matches = vec![HTTPMatch { path: path?, ..HTTPMatch::default() }];
            }
        }
        Some(rule)
    }

    fn rewrite(&self, rule: &mut HTTPRule, path: Option<crate::kinds::PathModifier>) {
        let hostname = self.annotations.vhost();
        if path.is_some() || hostname.is_some() {
            rule.filters.push(Filter::Rewrite(UrlRewrite { hostname, path }));
        }
    }

    /// Adds what becomes of a request: a redirect, or filters and the backend. Nothing, where something guards it that has no form.
    fn fill(&self, rule: &mut HTTPRule, path: &IngressPath, at: &FieldPath, report: &mut IngressReport) {
        if let Some(redirect) = self.annotations.redirect() {
            rule.filters = vec![Filter::Redirect(redirect.clone())];
            return;
        }
        rule.filters.extend(self.annotations.filters().cloned());
        let backend = backend(self.ingress, self.objects, &path.backend, at, report);
        if let Some(backend) = backend.filter(|_| !self.annotations.is_blocked()) {
            self.annotations.check_protocol(self.ingress, self.objects, &backend, report);
            rule.backends = vec![WeightedBackend { backend, weight: 1, filters: Vec::new() }];
        }
    }

    fn app_root(&self, at: &FieldPath) -> Vec<(HTTPRule, FieldPath)> {
        let Some(to) = self.annotations.app_root() else { return Vec::new() };
        let path = PathMatch { kind: PathKind::Exact, value: "/".into() };
        let rule = HTTPRule {
            matches: vec![HTTPMatch { path, ..HTTPMatch::default() }],
            filters: vec![Filter::Redirect(redirects::to_path(to))],
            ..HTTPRule::default()
        };
        vec![(rule, at.clone())]
    }
}

/// The Service port that a backend names, by number; `None` if there is none, which is told.
pub(super) fn backend(
    ingress: &Ingress,
    objects: &Objects,
    backend: &IngressBackend,
    at: &FieldPath,
    report: &mut IngressReport,
) -> Option<BackendRef> {
    let (name, port) = match backend {
        IngressBackend::Service { name, port } => (name, port),
        IngressBackend::Resource(what) => {
            let message = format!("names {what}, and what is no Service has no form in Gateway API that all know");
            report.error(ingress, at.key("resource"), message, "name a Service, or write its backendRef by hand");
            return None;
        }
    };
    match number(port, name, &ingress.meta.namespace, objects) {
        Ok(port) => Some(BackendRef::service(name, port)),
        Err((message, remedy)) => {
            report.error(ingress, at.key("service").key("port").key("name"), message, remedy);
            None
        }
    }
}

fn number(port: &IngressPort, service: &Text, namespace: &Text, objects: &Objects) -> Result<u16, (String, String)> {
    let name = match port {
        IngressPort::Number(number) => return Ok(*number),
        IngressPort::Name(name) => name,
    };
    let Some(known) = objects.service(namespace, service) else {
        let message =
            format!("port {name} needs Service {namespace}/{service} to be read too: Gateway API has numbers");
        return Err((message, "write number: instead of name:, or give the Service as well".to_owned()));
    };
    match known.ports.iter().find(|port| port.name == *name) {
        Some(port) => Ok(port.port),
        None => {
            let names: Vec<&str> = known.ports.iter().map(|port| port.name.as_str()).collect();
            let message = format!("Service {namespace}/{service} has no port named {name}");
            Err((message, format!("its ports are named {}", names.join(", "))))
        }
    }
}
