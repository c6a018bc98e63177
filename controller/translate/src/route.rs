//! The rules of a route, resolved: matches, filters, arms. One bad rule costs its own share, told in findings; where a route attaches is decided elsewhere.

use crate::{
    attachment::Candidate,
    backends::{Backends, Referrer, weigh},
    conditions::{ConditionType, Finding},
    ingress::ServedIngress,
    kinds::{
        self, BackendRef, DefaultScope, GRPCRoute, HTTPRoute, ObjectMeta, ObjectRef, ParentRef, SessionPersistence,
        TransportRoute, WeightedBackend,
    },
    matches,
    schema::FieldPath,
    sessions,
};
use headgate_config::{
    Action, Arm, ArmTarget, Filter, List, Match, Retry, RouteKind, Rule, RuleName, Session, Split, Text, Timeouts,
};
use std::borrow::Cow;

/// A route of any kind.
#[derive(Clone, Copy)]
pub(crate) enum Route<'a> {
    Http(&'a HTTPRoute),
    Grpc(&'a GRPCRoute),
    Transport(RouteKind, &'a TransportRoute),
    /// One of the routes that an Ingress becomes, by its index.
    Ingress(&'a ServedIngress, usize),
}

/// How a route of a kind is called.
pub(crate) fn reference(kind: RouteKind, namespace: &str, name: &str) -> ObjectRef {
    let group = if kind == RouteKind::Ingress { kinds::INGRESS_GROUP } else { kinds::GATEWAY_GROUP };
    ObjectRef::new(group, kind.as_str(), namespace, name)
}

/// The rules of a route without their attachments, and what is wrong with them.
pub(crate) struct Resolved {
    pub rules: Vec<Rule>,
    pub findings: Vec<Finding>,
    /// How many rules the route has, and how many of them serve.
    pub declared: usize,
    pub valid: usize,
}

impl<'a> Route<'a> {
    /// Its metadata.
    pub fn meta(self) -> &'a ObjectMeta {
        match self {
            Self::Http(route) => &route.meta,
            Self::Grpc(route) => &route.meta,
            Self::Transport(_, route) => &route.meta,
            Self::Ingress(ingress, _) => &ingress.meta,
        }
    }

    /// Its kind.
    pub fn kind(self) -> RouteKind {
        match self {
            Self::Http(_) => RouteKind::HTTPRoute,
            Self::Grpc(_) => RouteKind::GRPCRoute,
            Self::Transport(kind, _) => kind,
            Self::Ingress(..) => RouteKind::Ingress,
        }
    }

    /// What it wants to attach to.
    pub fn parents(self) -> &'a [ParentRef] {
        match self {
            Self::Http(route) => &route.parents,
            Self::Grpc(route) => &route.parents,
            Self::Transport(_, route) => &route.parents,
            Self::Ingress(..) => &[],
        }
    }

    /// The default Gateways that it asks for.
    pub fn default_gateways(self) -> &'a DefaultScope {
        match self {
            Self::Http(route) => &route.default_gateways,
            Self::Grpc(route) => &route.default_gateways,
            Self::Transport(_, route) => &route.default_gateways,
            Self::Ingress(..) => &DefaultScope::None,
        }
    }

    /// What decides where it attaches.
    pub fn candidate(self) -> Candidate<'a> {
        let hostnames = match self {
            Self::Http(route) => route.hostnames.as_slice(),
            Self::Grpc(route) => &route.hostnames,
            Self::Transport(_, route) => &route.hostnames,
            Self::Ingress(ingress, at) => ingress.routes.get(at).map_or([].as_slice(), |part| &part.route.hostnames),
        };
        let kind = match self.kind() {
            RouteKind::Ingress => RouteKind::HTTPRoute,
            kind => kind,
        };
        Candidate { kind, meta: self.meta(), hostnames }
    }

    /// Where in the object that a person wrote a field of the route comes from.
    pub fn written_at(self, path: &FieldPath) -> FieldPath {
        match self {
            Self::Ingress(ingress, at) => {
                ingress.routes.get(at).map_or_else(|| path.clone(), |part| part.written_at(path))
            }
            _ => path.clone(),
        }
    }

    /// How many rules of the same object come before its own.
    fn first_index(self) -> usize {
        match self {
            Self::Ingress(ingress, at) => ingress.routes.iter().take(at).map(|part| part.route.rules.len()).sum(),
            _ => 0,
        }
    }

    /// The rules of an HTTPRoute, written or derived.
    fn http_rules(self) -> &'a [kinds::HTTPRule] {
        match self {
            Self::Http(route) => &route.rules,
            Self::Ingress(ingress, at) => ingress.routes.get(at).map_or([].as_slice(), |part| &part.route.rules),
            Self::Grpc(_) | Self::Transport(..) => &[],
        }
    }

    /// How it is called.
    pub fn reference(self) -> ObjectRef {
        let meta = self.meta();
        reference(self.kind(), &meta.namespace, &meta.name)
    }

    /// The Services that its rules name, each as namespace and name; those that XBackends become as well.
    pub fn services(self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let meta = self.meta();
        self.backends().filter_map(move |backend| {
            let namespace = backend.namespace.as_deref().unwrap_or(&meta.namespace);
            backend.service_name().map(|service| (namespace, service))
        })
    }

    /// All that its rules send to, and their filters.
    pub fn backends(self) -> impl Iterator<Item = &'a BackendRef> {
        let filtered = |filters: &'a [kinds::Filter]| filters.iter().filter_map(kinds::Filter::backend);
        let of_rule = move |(filters, backends): (&'a [kinds::Filter], &'a [WeightedBackend])| {
            let own = backends.iter().flat_map(move |one| filtered(&one.filters).chain([&one.backend]));
            filtered(filters).chain(own)
        };
        let (grpc, transport) = match self {
            Self::Http(_) | Self::Ingress(..) => ([].as_slice(), [].as_slice()),
            Self::Grpc(route) => (route.rules.as_slice(), [].as_slice()),
            Self::Transport(_, route) => ([].as_slice(), route.rules.as_slice()),
        };
        let parts = match self {
            Self::Ingress(ingress, _) => ingress.routes.as_slice(),
            _ => &[],
        };
        let own = if parts.is_empty() { self.http_rules() } else { &[] };
        let http = own.iter().chain(parts.iter().flat_map(|part| &part.route.rules));
        let http = http.map(|rule: &kinds::HTTPRule| (rule.filters.as_slice(), rule.backends.as_slice()));
        let grpc = grpc.iter().map(|rule: &kinds::GRPCRule| (rule.filters.as_slice(), rule.backends.as_slice()));
        let transport = transport.iter().map(|rule: &kinds::TransportRule| ([].as_slice(), rule.backends.as_slice()));
        http.chain(grpc).chain(transport).flat_map(of_rule)
    }

    /// Its rules.
    pub fn resolve(self, backends: &Backends<'_, '_>) -> Resolved {
        let mut resolved = Resolved { rules: Vec::new(), findings: Vec::new(), declared: 0, valid: 0 };
        for (index, draft) in self.drafts().into_iter().enumerate() {
            resolved.declared += 1;
            let mut work = RuleWork { route: self, index, backends, findings: Vec::new() };
            let rule = work.rule(draft);
            let refused = |finding: &Finding| finding.kind == ConditionType::Accepted;
            resolved.valid += usize::from(!work.findings.iter().any(refused));
            resolved.findings.append(&mut work.findings);
            resolved.rules.extend(rule);
        }
        resolved
    }

    /// What all kinds say of a rule, in one shape.
    fn drafts(self) -> Vec<Draft<'a>> {
        match self {
            Self::Http(_) | Self::Ingress(..) => self.http_rules().iter().map(Draft::of_http).collect(),
            Self::Grpc(route) => route.rules.iter().map(Draft::of_grpc).collect(),
            Self::Transport(_, route) => route.rules.iter().map(Draft::of_transport).collect(),
        }
    }
}

/// A rule of any kind.
struct Draft<'a> {
    title: &'a Text,
    matches: Vec<AnyMatch<'a>>,
    filters: &'a [kinds::Filter],
    backends: &'a [WeightedBackend],
    timeouts: Timeouts,
    retry: Option<Retry>,
    session: Option<&'a SessionPersistence>,
}

enum AnyMatch<'a> {
    Http(&'a kinds::HTTPMatch),
    Grpc(&'a kinds::GRPCMatch),
}

impl<'a> Draft<'a> {
    fn of_http(rule: &'a kinds::HTTPRule) -> Self {
        let retry = rule.retry.as_ref().map(|retry| Retry {
            attempts: retry.attempts.unwrap_or(1),
            codes: retry.codes.clone(),
            backoff_ms: retry.backoff_ms,
        });
        Self {
            title: &rule.name,
            matches: rule.matches.iter().map(AnyMatch::Http).collect(),
            filters: &rule.filters,
            backends: &rule.backends,
            timeouts: Timeouts { request_ms: rule.timeouts.request_ms, attempt_ms: rule.timeouts.backend_request_ms },
            retry,
            session: rule.session.as_deref(),
        }
    }

    fn of_grpc(rule: &'a kinds::GRPCRule) -> Self {
        Self {
            title: &rule.name,
            matches: rule.matches.iter().map(AnyMatch::Grpc).collect(),
            filters: &rule.filters,
            backends: &rule.backends,
            timeouts: Timeouts::default(),
            retry: None,
            session: rule.session.as_deref(),
        }
    }

    /// Without a match, which takes everything.
    fn of_transport(rule: &'a kinds::TransportRule) -> Self {
        Self {
            title: &rule.name,
            matches: Vec::new(),
            filters: &[],
            backends: &rule.backends,
            timeouts: Timeouts::default(),
            retry: None,
            session: None,
        }
    }
}

/// One rule being resolved.
struct RuleWork<'w, 'l, 'a> {
    route: Route<'w>,
    index: usize,
    backends: &'w Backends<'l, 'a>,
    findings: Vec<Finding>,
}

impl<'w> RuleWork<'w, '_, '_> {
    /// `None` if no match is left that could be decided: the rule takes no request then.
    fn rule(&mut self, draft: Draft<'_>) -> Option<Rule> {
        let at = FieldPath::of("spec.rules").index(self.index);
        let (matches, undecided) = self.matches(&draft.matches, &at.key("matches"));
        if matches.is_empty() {
            return None;
        }
        let session = draft.session.and_then(|spec| self.session(spec, &at.key("sessionPersistence")));
        let mut filters = self.filters(draft.filters, &at.key("filters"));
        let mut split = self.split(draft.backends, &at.key("backendRefs"));
        match session {
            // before all others, which may edit the token away
            Some(session) => filters.insert(0, Filter::Session(Box::new(session))),
            None => self.add_sessions(&mut split),
        }
        let action = match undecided {
            Some(reason) => Action::Invalid(reason),
            None => Action::Forward(split),
        };
        let meta = self.route.meta();
        let index = u32::try_from(self.route.first_index() + self.index).unwrap_or(u32::MAX);
        Some(Rule {
            name: RuleName {
                kind: self.route.kind(),
                namespace: meta.namespace.clone(),
                route: meta.name.clone(),
                index,
            },
            title: draft.title.clone(),
            created: meta.created,
            attachments: List::default(),
            matches: matches.into(),
            filters,
            action,
            timeouts: draft.timeouts,
            retry: draft.retry.map(Box::new),
        })
    }

    /// How the rule keeps clients at an endpoint.
    fn session(&mut self, spec: &SessionPersistence, at: &FieldPath) -> Option<Session> {
        let meta = self.route.meta();
        let of = format!("{}/{}/{}/{}", self.route.kind().as_str(), meta.namespace, meta.name, self.index);
        sessions::session(spec, &of, at, ConditionType::PartiallyInvalid, &mut self.findings)
    }

    /// What policies say of the arms' Services, where the rule itself says nothing.
    fn add_sessions(&self, split: &mut Split) {
        let has_session = |arm: &Arm| self.backends.session(&arm.target).is_some();
        if !self.route.kind().is_http() || !split.arms.iter().any(has_session) {
            return;
        }
        split.arms.edit(|arms| {
            for arm in arms {
                if let Some(session) = self.backends.session(&arm.target) {
                    arm.filters.insert(0, Filter::Session(Box::new(session.clone())));
                }
            }
        });
    }

    /// The matches that can be decided, and why others cannot.
    fn matches(&mut self, list: &[AnyMatch<'_>], at: &FieldPath) -> (Vec<Match>, Option<String>) {
        if list.is_empty() {
            return (vec![Match::everything()], None);
        }
        let (mut made, mut undecided) = (Vec::with_capacity(list.len()), None);
        for (index, matching) in list.iter().enumerate() {
            let at = at.index(index);
            let result = match matching {
                AnyMatch::Http(matching) => matches::http(matching, &at),
                AnyMatch::Grpc(matching) => matches::grpc(matching, &at),
            };
            match result {
                Ok(matching) => made.push(matching),
                Err(finding) => {
                    undecided.get_or_insert_with(|| format!("{}: {}", finding.path, finding.message));
                    self.findings.push(finding);
                }
            }
        }
        (made, undecided)
    }

    fn filters(&mut self, list: &[kinds::Filter], at: &FieldPath) -> Vec<Filter> {
        let (backends, from) = (self.backends, self.referrer());
        backends.filters(from, list, at, &mut self.findings)
    }

    fn referrer(&self) -> Referrer<'w> {
        Referrer { kind: self.route.kind(), namespace: &self.route.meta().namespace, grpc: false }
    }

    fn split(&mut self, list: &[WeightedBackend], at: &FieldPath) -> Split {
        let from = self.referrer();
        let (mut targets, mut weights) = (Vec::with_capacity(list.len()), Vec::with_capacity(list.len()));
        for (index, weighted) in list.iter().enumerate() {
            let at = at.index(index);
            let shares = self.backends.resolve(from, &weighted.backend, &at, &mut self.findings);
            let filters = self.filters(&weighted.filters, &at.key("filters"));
            weights.push((weighted.weight, shares.iter().map(|(_, share)| *share).collect()));
            targets.push((shares, filters));
        }
        let weights = weigh(&weights);
        let mut arms = Vec::with_capacity(list.len());
        for ((shares, filters), weights) in targets.into_iter().zip(weights) {
            for ((target, _), weight) in shares.into_iter().zip(weights) {
                arms.push(Arm { target, weight, filters: filters.clone() });
            }
        }
        let named: Vec<ArmTarget> = arms.iter().map(|arm| arm.target.clone()).collect();
        Split { arms: arms.into(), cold: self.backends.cold(&named) }
    }
}
