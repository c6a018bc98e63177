//! HTTPRoute and GRPCRoute, v1.7.0 with its experimental fields.

use crate::{
    choices, duration,
    form::{Form, is_path},
    kinds::{
        DefaultScope, Filter, ObjectMeta, ParentRef, PathModifier, SessionPersistence, WeightedBackend,
        reference::refuse_repeats,
    },
    schema::{Fields, Problem, Reader},
};
use headgate_config::Text;

/// HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HTTPRoute {
    /// Metadata.
    pub meta: ObjectMeta,
    /// What it attaches to.
    pub parents: Vec<ParentRef>,
    /// Its hosts; those of the listener where none is written.
    pub hostnames: Vec<String>,
    /// Its rules.
    pub rules: Vec<HTTPRule>,
    /// `spec.useDefaultGateways` (experimental).
    pub default_gateways: DefaultScope,
}

/// `rules[]` of HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HTTPRule {
    /// Name, empty where none is written.
    pub name: Text,
    /// Any of these; the default prefix `/` is written out.
    pub matches: Vec<HTTPMatch>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Where requests go.
    pub backends: Vec<WeightedBackend>,
    /// Limits of time.
    pub timeouts: Timeouts,
    /// Tries after the first.
    pub retry: Option<Box<Retry>>,
    /// Persistence (experimental).
    pub session: Option<Box<SessionPersistence>>,
}

/// `matches[]` of HTTPRoute: all parts must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HTTPMatch {
    /// Path, prefix `/` by default.
    pub path: PathMatch,
    /// Method.
    pub method: Option<Text>,
    /// Headers.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters.
    pub queries: Vec<HeaderMatch>,
}

/// `path` of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMatch {
    /// How.
    pub kind: PathKind,
    /// What.
    pub value: Text,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self { kind: PathKind::PathPrefix, value: "/".into() }
    }
}

choices! {
    /// `type` of a path match.
    PathKind { PathPrefix = "PathPrefix", Exact = "Exact", RegularExpression = "RegularExpression" }
}

/// A test of a header or a query parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMatch {
    /// How.
    pub kind: ValueKind,
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

choices! {
    /// `type` of a test.
    ValueKind { Exact = "Exact", RegularExpression = "RegularExpression" }
}

choices! {
    /// Methods that can be matched.
    Method {
        Get = "GET", Head = "HEAD", Post = "POST", Put = "PUT", Delete = "DELETE", Connect = "CONNECT",
        Options = "OPTIONS", Trace = "TRACE", Patch = "PATCH",
    }
}

/// `timeouts`, in milliseconds; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Over all tries.
    pub request_ms: Option<u64>,
    /// Of one try.
    pub backend_request_ms: Option<u64>,
}

/// `retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Answers that are tried again.
    pub codes: Vec<u16>,
    /// Tries after the first, 1 by default.
    pub attempts: Option<u32>,
    /// Least pause, in milliseconds.
    pub backoff_ms: Option<u64>,
}

/// GRPCRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GRPCRoute {
    /// Metadata.
    pub meta: ObjectMeta,
    /// What it attaches to.
    pub parents: Vec<ParentRef>,
    /// Its hosts; those of the listener where none is written.
    pub hostnames: Vec<String>,
    /// Its rules.
    pub rules: Vec<GRPCRule>,
    /// `spec.useDefaultGateways` (experimental).
    pub default_gateways: DefaultScope,
}

/// `rules[]` of GRPCRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GRPCRule {
    /// Name, empty where none is written.
    pub name: Text,
    /// Any of these; none matches every call.
    pub matches: Vec<GRPCMatch>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Where calls go.
    pub backends: Vec<WeightedBackend>,
    /// Persistence (experimental).
    pub session: Option<Box<SessionPersistence>>,
}

/// `matches[]` of GRPCRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GRPCMatch {
    /// The call; any where none is written.
    pub method: Option<GRPCMethod>,
    /// Headers.
    pub headers: Vec<HeaderMatch>,
}

/// `method` of a match; at least one of the two is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GRPCMethod {
    /// How.
    pub kind: ValueKind,
    /// Service, with its package.
    pub service: Option<String>,
    /// Method.
    pub method: Option<String>,
}

impl HTTPRoute {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let rule = HTTPRule { matches: vec![HTTPMatch::default()], ..HTTPRule::default() };
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        let rules = spec.get("rules").map(|at| (HTTPRule::read_list(&at), at));
        if let Some((rules, at)) = &rules {
            check_rules(at, rules.iter().map(|rule| (&rule.name, rule.matches.len())));
        }
        Self {
            meta,
            parents: ParentRef::read_list(&mut spec, at.report()),
            hostnames: spec.texts("hostnames", 0..=16, Form::HOSTNAME),
            rules: rules.map_or_else(|| vec![rule], |(rules, _)| rules),
            default_gateways: spec.choice("useDefaultGateways").unwrap_or_default(),
        }
    }
}

impl GRPCRoute {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        let rules = spec.get("rules");
        let read = rules.as_ref().map(|at| at.list(0..=16).iter().map(GRPCRule::read).collect::<Vec<_>>());
        if let (Some(at), Some(rules)) = (&rules, &read) {
            check_rules(at, rules.iter().map(|rule| (&rule.name, rule.matches.len())));
        }
        Self {
            meta,
            parents: ParentRef::read_list(&mut spec, at.report()),
            hostnames: spec.texts("hostnames", 0..=16, Form::HOSTNAME),
            rules: read.unwrap_or_default(),
            default_gateways: spec.choice("useDefaultGateways").unwrap_or_default(),
        }
    }
}

/// Rules of the API over all rules of a route: names are unique, matches at most 128.
fn check_rules<'r>(at: &Reader<'_>, rules: impl Iterator<Item = (&'r Text, usize)> + Clone) {
    let matches: usize = rules.clone().map(|(_, matches)| matches).sum();
    if matches > 128 {
        at.error(format!("have {matches} matches together, 128 are allowed"), "move some rules into another route");
    }
    let mut seen: Vec<&Text> = Vec::new();
    for (index, (name, _)) in rules.enumerate().filter(|(_, (name, _))| !name.is_empty()) {
        if seen.contains(&name) {
            let path = at.path().index(index).key("name");
            at.report().add(Problem::error(path, format!("another rule is named {name} too"), "write another name"));
        }
        seen.push(name);
    }
}

impl HTTPRule {
    fn read_list(at: &Reader<'_>) -> Vec<Self> {
        at.list(1..=16).iter().map(Self::read).collect()
    }

    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let matches = fields.get("matches").map(|at| at.list(0..=64).iter().map(HTTPMatch::read).collect());
        let rule = Self {
            name: fields.name("name", Form::SUBDOMAIN).unwrap_or_default(),
            matches: matches.unwrap_or_else(|| vec![HTTPMatch::default()]),
            filters: Filter::read_list(&mut fields, false),
            backends: fields.each("backendRefs", 0..=16, |at| WeightedBackend::read(at, false)),
            timeouts: fields.get("timeouts").map(|at| Timeouts::read(&at)).unwrap_or_default(),
            retry: fields.get("retry").map(|at| Retry::read(&at).into()),
            session: fields.get("sessionPersistence").map(|at| SessionPersistence::read(&at).into()),
        };
        rule.check(at);
        rule
    }

    fn check(&self, at: &Reader<'_>) {
        let redirects = |filter: &Filter| matches!(filter, Filter::Redirect(_));
        if !self.backends.is_empty() && self.filters.iter().any(redirects) {
            at.error(
                "has backendRefs and a RequestRedirect",
                "leave out one of them: a redirected request is not forwarded",
            );
        }
        let on_backends = self.backends.iter().flat_map(|backend| &backend.filters);
        let one_prefix = matches!(self.matches.as_slice(), [only] if only.path.kind == PathKind::PathPrefix);
        if !one_prefix && self.filters.iter().chain(on_backends).any(replaces_prefix) {
            let message = "replaces the matched prefix, but has not exactly one match, of type PathPrefix";
            at.error(message, "write one match with path type PathPrefix, or use ReplaceFullPath");
        }
    }
}

fn replaces_prefix(filter: &Filter) -> bool {
    let path = match filter {
        Filter::Redirect(redirect) => &redirect.path,
        Filter::Rewrite(rewrite) => &rewrite.path,
        _ => &None,
    };
    matches!(path, Some(PathModifier::Prefix(_)))
}

impl HTTPMatch {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            path: fields.get("path").map(|at| PathMatch::read(&at)).unwrap_or_default(),
            method: fields.choice::<Method>("method").map(|method| method.as_str().into()),
            headers: HeaderMatch::read_list(&mut fields, "headers", Form::HEADER_VALUE),
            queries: HeaderMatch::read_list(&mut fields, "queryParams", Form::QUERY_VALUE),
        }
    }
}

impl PathMatch {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let path = Self {
            kind: fields.choice("type").unwrap_or_default(),
            value: fields.name("value", Form::PATH).unwrap_or_else(|| "/".into()),
        };
        if matches!(path.kind, PathKind::Exact | PathKind::PathPrefix)
            && let Some((message, remedy)) = path.fault()
        {
            at.report().add(Problem::error(at.path().key("value"), format!("{:?} {message}", path.value), remedy));
        }
        path
    }

    /// Why an exact path or prefix is none.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        let path = self.value.as_str();
        let faults = [
            (!path.starts_with('/'), "does not start with /", "write / before it"),
            (path.contains("//"), "has // in it", "write one /"),
            (path.contains("/./") || path.ends_with("/."), "has a segment . in it", "write the path without it"),
            (path.contains("/../") || path.ends_with("/.."), "has a segment .. in it", "write the path that it means"),
            (
                path.contains("%2f") || path.contains("%2F"),
                "has an encoded slash in it",
                "match by RegularExpression, or write /",
            ),
            (path.contains('#'), "has # in it", "leave out the fragment: it is never sent"),
            (
                !is_path(path),
                "has characters that a path cannot have",
                "encode them as %XX; a query is matched by queryParams",
            ),
        ];
        faults.into_iter().find(|(holds, ..)| *holds).map(|(_, message, remedy)| (message, remedy))
    }
}

impl HeaderMatch {
    fn read_list(fields: &mut Fields<'_>, key: &'static str, value: Form) -> Vec<Self> {
        let tests = fields.each(key, 0..=16, |at| {
            let mut fields = at.fields();
            Self {
                kind: fields.choice("type").unwrap_or_default(),
                name: fields.need_text("name", Form::HEADER_NAME),
                value: fields.need_text("value", value),
            }
        });
        refuse_repeats(fields.at().report(), &fields.at().path().key(key), tests.iter().map(|test| &test.name), "name");
        tests
    }
}

impl Timeouts {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let timeouts = Self {
            request_ms: read_duration(&mut fields, "request"),
            backend_request_ms: read_duration(&mut fields, "backendRequest"),
        };
        if let (Some(request), Some(backend)) = (timeouts.request_ms, timeouts.backend_request_ms)
            && request != 0
            && backend > request
        {
            at.error("backendRequest is longer than request", "write a backendRequest of at most request");
        }
        timeouts
    }
}

/// Milliseconds of a duration, if set and one.
pub(super) fn read_duration(fields: &mut Fields<'_>, key: &'static str) -> Option<u64> {
    fields.text(key, Form::DURATION).and_then(|text| duration::parse(&text))
}

impl Retry {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let codes = fields.each("codes", 0..=usize::MAX, |at| u16::try_from(at.number(400..=599)).unwrap_or_default());
        Self {
            codes,
            attempts: fields
                .number("attempts", 0..=i64::from(i32::MAX))
                .map(|attempts| u32::try_from(attempts).unwrap_or_default()),
            backoff_ms: read_duration(&mut fields, "backoff"),
        }
    }
}

impl GRPCRule {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            name: fields.name("name", Form::SUBDOMAIN).unwrap_or_default(),
            matches: fields.each("matches", 0..=64, GRPCMatch::read),
            filters: Filter::read_list(&mut fields, true),
            backends: fields.each("backendRefs", 0..=16, |at| WeightedBackend::read(at, true)),
            session: fields.get("sessionPersistence").map(|at| SessionPersistence::read(&at).into()),
        }
    }
}

impl GRPCMatch {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            method: fields.get("method").map(|at| GRPCMethod::read(&at)),
            headers: HeaderMatch::read_list(&mut fields, "headers", Form::MATCH_VALUE),
        }
    }
}

impl GRPCMethod {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let call = Self {
            kind: fields.choice("type").unwrap_or_default(),
            service: fields.text("service", Form::PATH),
            method: fields.text("method", Form::PATH),
        };
        if call.service.is_none() && call.method.is_none() {
            at.error("has neither service nor method", "write one of them or both; leave out the match for every call");
        }
        if call.kind == ValueKind::Exact {
            let service = call.service.as_ref().is_some_and(|text| !is_grpc_service(text));
            let method = call.method.as_ref().is_some_and(|text| !is_identifier(text));
            for (field, _) in [("service", service), ("method", method)].into_iter().filter(|(_, wrong)| *wrong) {
                let path = at.path().key(field);
                let remedy = "use letters, digits and _ (a service has dots), without slashes";
                at.report().add(Problem::error(path, format!("is no {field} of gRPC"), remedy));
            }
        }
        call
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_grpc_service(text: &str) -> bool {
    text.strip_prefix('.').unwrap_or(text).split('.').all(is_identifier)
}
