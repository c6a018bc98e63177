//! A rule ready to serve: its config, its regular expressions compiled, its backends resolved, its weights summed. Never changes; shared by consecutive Tables.

use crate::{
    Problem,
    check::{self, Defects},
    query,
    regexes::Regexes,
    split::Weights,
};
use headgate_config::{
    Action, Arm, ArmTarget, BackendName, ColdArm, Filter, HostPattern, Match, PathMatch, Rank, Retry, Rule, RuleName,
    Timeouts, ValueMatch, ValueTest,
};
use headgate_message::{Fields, RequestHead};
use regex::bytes::Regex;
use std::{borrow::Cow, fmt, sync::Arc};

/// A compiled rule. `B` is the handle of a backend: what the process that serves makes of a `config::Backend`.
#[derive(Debug)]
pub struct CompiledRule<B> {
    config: Arc<Rule>,
    arms: Box<[CompiledArm<B>]>,
    weights: Weights,
    has: Has,
    // boxed: most rules have none of it
    rare: Option<Box<Rare<B>>>,
}

/// What the configuration has. Most rules have nothing of it, and then the request path does not look there: each look is a line of memory
/// that no cache has where very many rules are served in turn.
#[derive(Debug)]
struct Has {
    filters: bool,
    arm_filters: bool,
    timeouts: bool,
    retry: bool,
    cold: ColdArm,
}

impl Has {
    fn of(config: &Rule) -> Self {
        let (arm_filters, cold) = match &config.action {
            Action::Forward(split) => (split.arms.iter().any(|arm| !arm.filters.is_empty()), split.cold),
            Action::Invalid(_) => (false, ColdArm::default()),
        };
        Self {
            filters: !config.filters.is_empty(),
            arm_filters,
            timeouts: config.timeouts != Timeouts::default(),
            retry: config.retry.is_some(),
            cold,
        }
    }
}

/// What few rules have.
#[derive(Debug)]
struct Rare<B> {
    /// By the index of the match; empty where no match has an expression.
    expressions: Box<[Expressions]>,
    invalid: Option<Box<str>>,
    filter_backends: Box<[FilterBackend<B>]>,
    problems: Box<[Problem]>,
}

impl<B> Rare<B> {
    fn kept(self) -> Option<Box<Self>> {
        let is_empty = self.expressions.is_empty()
            && self.invalid.is_none()
            && self.filter_backends.is_empty()
            && self.problems.is_empty();
        (!is_empty).then(|| Box::new(self))
    }
}

/// One weighted backend, resolved. Its filters: `CompiledRule::arm_filters`; its name: `CompiledRule::arm_name`.
#[derive(Debug)]
pub struct CompiledArm<B> {
    backend: Option<B>,
    /// Its share of the sum.
    pub weight: u32,
    // boxed: most arms have none of it
    rare: Option<Box<RareOfArm<B>>>,
}

/// What few arms have.
#[derive(Debug)]
struct RareOfArm<B> {
    invalid: Option<Box<str>>,
    filter_backends: Box<[FilterBackend<B>]>,
}

impl<B> CompiledArm<B> {
    /// Where to, or why the share of this arm is answered 500.
    pub fn target(&self) -> Result<&B, &str> {
        match (&self.backend, self.rare.as_ref().and_then(|rare| rare.invalid.as_deref())) {
            (Some(backend), None) => Ok(backend),
            (_, reason) => Err(reason.unwrap_or("no backend")),
        }
    }

    /// The backends that the filters of this arm name.
    pub fn filter_backends(&self) -> &[FilterBackend<B>] {
        self.rare.as_ref().map_or(&[], |rare| &rare.filter_backends)
    }
}

/// The backend of a filter that names one, resolved.
#[derive(Debug)]
pub struct FilterBackend<B> {
    /// The filter's index in the list of filters that it is one of.
    pub at: usize,
    /// `None` where there is no such backend: copies are dropped, and what must be asked fails its requests.
    pub backend: Option<B>,
}

/// The part of a match that a request fails; in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed<'t> {
    /// The path.
    Path,
    /// The rule takes gRPC only.
    Grpc,
    /// The method.
    Method,
    /// The header of this name.
    Header(&'t str),
    /// The query parameter of this name.
    Query(&'t str),
}

/// The regular expressions of one match.
#[derive(Debug, Default)]
struct Expressions {
    path: Option<Regex>,
    /// By the index of the test; `None` where it is no expression, or a broken one.
    headers: Box<[Option<Regex>]>,
    queries: Box<[Option<Regex>]>,
}

impl<B> CompiledRule<B> {
    /// Its name.
    pub fn name(&self) -> &RuleName {
        &self.config.name
    }

    /// All that was configured.
    pub fn config(&self) -> &Arc<Rule> {
        &self.config
    }

    /// Why every request that it takes is answered 500, if so: no expression that compiles, a filter that is not known, ….
    pub fn invalid(&self) -> Option<&str> {
        self.rare.as_ref()?.invalid.as_deref()
    }

    /// Applied in order, whatever arm is chosen.
    pub fn filters(&self) -> &[Filter] {
        if self.has.filters { &self.config.filters } else { &[] }
    }

    /// The backends that `filters` name.
    pub fn filter_backends(&self) -> &[FilterBackend<B>] {
        self.rare.as_ref().map_or(&[], |rare| &rare.filter_backends)
    }

    /// Limits of time.
    pub fn timeouts(&self) -> Timeouts {
        if self.has.timeouts { self.config.timeouts } else { Timeouts::default() }
    }

    /// Tries after the first.
    pub fn retry(&self) -> Option<&Retry> {
        if self.has.retry { self.config.retry.as_deref() } else { None }
    }

    /// What happens if the chosen arm is cold.
    pub fn cold(&self) -> ColdArm {
        self.has.cold
    }

    /// The arms.
    pub fn arms(&self) -> &[CompiledArm<B>] {
        &self.arms
    }

    /// Applied after `filters` to what goes to an arm.
    pub fn arm_filters(&self, arm: usize) -> &[Filter] {
        let arms = if self.has.arm_filters { self.config_arms() } else { &[] };
        arms.get(arm).map_or(&[], |arm| &arm.filters)
    }

    /// The name of the backend of an arm, where it has one.
    pub fn arm_name(&self, arm: usize) -> Option<&BackendName> {
        match &self.config_arms().get(arm)?.target {
            ArmTarget::Backend(name) => Some(name),
            ArmTarget::Invalid(_) => None,
        }
    }

    /// The sum of the weights; 0 answers 500.
    pub fn total_weight(&self) -> u64 {
        self.weights.total()
    }

    /// The arm for 64 uniform bits, of a rule that is not `invalid`; `None` where there is no arm or the total weight is 0, which is answered 500.
    pub fn choose(&self, dice: u64) -> Option<usize> {
        self.weights.choose(dice)
    }

    /// The same among the arms that `allowed` takes, by their weights among themselves; asks about each arm once.
    pub fn choose_among(&self, dice: u64, allowed: impl FnMut(usize) -> bool) -> Option<usize> {
        self.weights.choose_among(dice, allowed)
    }

    /// The precedence of the match `at` on a host that the route calls `declared`.
    pub fn rank(&self, declared: &HostPattern, at: usize) -> Rank {
        Rank::of(declared, &self.config.matches[at], self.config.seniority(at as u32))
    }

    /// What is wrong with it.
    pub fn problems(&self) -> &[Problem] {
        self.rare.as_ref().map_or(&[], |rare| &rare.problems)
    }

    pub(crate) fn config_arms(&self) -> &[Arm] {
        match &self.config.action {
            Action::Forward(split) => &split.arms,
            Action::Invalid(_) => &[],
        }
    }
}

/// Matching.
impl<B> CompiledRule<B> {
    /// Whether the match `at` takes every request whose host and path it takes.
    pub(crate) fn is_plain(&self, at: usize) -> bool {
        let matching = &self.config.matches[at];
        let tests = matching.headers.len() + matching.queries.len();
        tests == 0 && matching.method.is_none() && !self.config.name.kind.is_grpc()
    }

    fn expressions(&self, at: usize) -> Option<&Expressions> {
        self.rare.as_ref()?.expressions.get(at)
    }

    /// Whether the path, canonical, is one that the expression of the match `at` takes.
    pub(crate) fn path_is_match(&self, at: usize, path: &[u8]) -> bool {
        self.expressions(at).and_then(|known| known.path.as_ref()).is_some_and(|regex| regex.is_match(path))
    }

    /// The length in bytes of what the match `at` takes of the path, or `None` where it does not match.
    pub(crate) fn path_taken(&self, at: usize, path: &str) -> Option<usize> {
        match &self.config.matches[at].path {
            PathMatch::Exact(text) => (text == path).then_some(path.len()),
            PathMatch::Regex(_) => self.path_is_match(at, path.as_bytes()).then_some(path.len()),
            PathMatch::Prefix(text) => {
                let text = text.trim_end_matches('/');
                let rest = path.strip_prefix(text)?;
                (rest.starts_with('/') || (rest.is_empty() && !text.is_empty())).then_some(text.len())
            }
        }
    }

    /// The first part but the path in which the match `at` fails.
    pub(crate) fn failing(&self, at: usize, head: &RequestHead) -> Option<Failed<'_>> {
        let matching = &self.config.matches[at];
        let expressions = self.expressions(at);
        if self.config.name.kind.is_grpc() && !head.is_grpc() {
            return Some(Failed::Grpc);
        }
        if matching.method.as_ref().is_some_and(|method| method != head.method.as_str()) {
            return Some(Failed::Method);
        }
        let header = matching.headers.iter().enumerate().find(|(index, test)| {
            let regex = expressions.and_then(|known| known.headers.get(*index)?.as_ref());
            !header_holds(head, test, regex)
        });
        if let Some((_, test)) = header {
            return Some(Failed::Header(&test.name));
        }
        let query = matching.queries.iter().enumerate().find(|(index, test)| {
            let regex = expressions.and_then(|known| known.queries.get(*index)?.as_ref());
            !query_holds(head.query().unwrap_or_default(), test, regex)
        });
        query.map(|(_, test)| Failed::Query(&test.name))
    }
}

/// A broken expression takes every value: the rule is invalid, and what could be its share is answered 500 rather than passed
/// on to a rule that was not meant for it.
fn holds(value: Cow<'_, [u8]>, regex: Option<&Regex>) -> bool {
    regex.is_none_or(|regex| regex.is_match(&value))
}

/// All values of a name count as one, joined: a request that adds `x-role: admin` to `x-role: user` is neither.
fn header_holds(head: &RequestHead, test: &ValueMatch, regex: Option<&Regex>) -> bool {
    // The parsers took the Host field out; it is still a field to who writes a match.
    let host = (test.name == "host").then(|| head.authority());
    match (&test.test, host) {
        (ValueTest::Exact(value), Some(host)) => host == value,
        (ValueTest::Exact(value), None) => joined_is(&head.fields, &test.name, value.as_bytes()),
        (ValueTest::Regex(_), Some(host)) => holds(host.as_bytes().into(), regex),
        (ValueTest::Regex(_), None) => head.fields.joined(&test.name).is_some_and(|value| holds(value, regex)),
    }
}

/// Whether `Fields::joined` would be `expected`, without making it.
fn joined_is(fields: &Fields, name: &str, expected: &[u8]) -> bool {
    let mut values = fields.all(name);
    let rest = values.next().and_then(|first| expected.strip_prefix(first));
    let rest = values.fold(rest, |rest, value| rest?.strip_prefix(b", ")?.strip_prefix(value));
    rest.is_some_and(<[u8]>::is_empty)
}

fn query_holds(query: &str, test: &ValueMatch, regex: Option<&Regex>) -> bool {
    let value = query::first(query, &test.name);
    value.is_some_and(|value| match &test.test {
        ValueTest::Exact(expected) => query::is(value, expected),
        ValueTest::Regex(_) => holds(query::decode(value), regex),
    })
}

/// Compiling.
impl<B: Clone + PartialEq> CompiledRule<B> {
    /// Compiles a rule; `backend` finds the handle of a backend of the Snapshot. Total: what is wrong stands in `problems`.
    pub(crate) fn new<'b>(
        config: &Arc<Rule>,
        regexes: &mut Regexes,
        backend: impl Fn(&BackendName) -> Option<&'b B>,
    ) -> Self
    where
        B: 'b,
    {
        let mut defects = Defects::of(&config.name);
        let expressions = compile_matches(&config.matches, regexes, &mut defects);
        check::filters(&config.filters, "filters", &mut defects);
        let mut invalid = defects.since(0).map(Box::from);
        if let Action::Invalid(reason) = &config.action {
            // Not a problem found here: who made the rule invalid has told it.
            invalid = Some(reason.as_str().into());
        }
        let filter_backends = compile_backends(&config.filters, "filters", &backend, &mut defects);
        let arms: Box<[_]> = match &config.action {
            Action::Forward(split) => {
                split.arms.iter().enumerate().map(|(at, arm)| compile_arm(arm, at, &backend, &mut defects)).collect()
            }
            Action::Invalid(_) => Box::default(),
        };
        let weights = Weights::new(arms.iter().map(|arm| arm.weight));
        let problems = defects.into_problems();
        Self {
            config: Arc::clone(config),
            arms,
            weights,
            has: Has::of(config),
            rare: Rare { expressions, invalid, filter_backends, problems }.kept(),
        }
    }

    /// Whether it leads to one of these.
    pub(crate) fn leads_to(&self, backends: &[B]) -> bool {
        let of_filters = |known: &[FilterBackend<B>]| {
            known.iter().any(|one| one.backend.as_ref().is_some_and(|one| backends.contains(one)))
        };
        let mut arms = self.arms.iter();
        arms.any(|arm| {
            arm.backend.as_ref().is_some_and(|one| backends.contains(one)) || of_filters(arm.filter_backends())
        }) || of_filters(self.filter_backends())
    }

    /// Whether it still leads to the backends that there are now.
    pub(crate) fn is_current<'b>(&self, backend: impl Fn(&BackendName) -> Option<&'b B>) -> bool
    where
        B: 'b,
    {
        let mut arms = self.config_arms().iter().zip(&self.arms);
        same_backends(&self.config.filters, self.filter_backends(), &backend)
            && arms.all(|(config, arm)| {
                let target = match &config.target {
                    ArmTarget::Backend(name) => backend(name),
                    ArmTarget::Invalid(_) => None,
                };
                arm.backend.as_ref() == target && same_backends(&config.filters, arm.filter_backends(), &backend)
            })
    }
}

fn same_backends<'b, B: PartialEq + 'b>(
    filters: &[Filter],
    known: &[FilterBackend<B>],
    backend: impl Fn(&BackendName) -> Option<&'b B>,
) -> bool {
    known.iter().all(|known| known.backend.as_ref() == filters[known.at].backend().and_then(&backend))
}

fn compile_arm<'b, B: Clone + 'b>(
    arm: &Arm,
    at: usize,
    backend: impl Fn(&BackendName) -> Option<&'b B>,
    defects: &mut Defects<'_>,
) -> CompiledArm<B> {
    let mark = defects.len();
    let field = format!("backendRefs[{at}]");
    let handle = match &arm.target {
        ArmTarget::Backend(name) => backend(name).cloned(),
        ArmTarget::Invalid(_) => None,
    };
    if let (ArmTarget::Backend(name), None) = (&arm.target, &handle) {
        defects.add(&field, format!("no backend {name} is known: write one that exists"));
    }
    let filters = format!("{field}.filters");
    check::filters(&arm.filters, &filters, defects);
    let invalid = match &arm.target {
        // Not a problem found here: who made the arm invalid has told it.
        ArmTarget::Invalid(reason) => Some(reason.as_str()),
        ArmTarget::Backend(_) => defects.since(mark),
    };
    let invalid = invalid.map(Box::from);
    let filter_backends = compile_backends(&arm.filters, &filters, &backend, defects);
    let is_rare = invalid.is_some() || !filter_backends.is_empty();
    let rare = is_rare.then(|| Box::new(RareOfArm { invalid, filter_backends }));
    CompiledArm { backend: handle, weight: arm.weight, rare }
}

fn compile_backends<'b, B: Clone + 'b>(
    filters: &[Filter],
    field: &str,
    backend: impl Fn(&BackendName) -> Option<&'b B>,
    defects: &mut Defects<'_>,
) -> Box<[FilterBackend<B>]> {
    let named = filters.iter().enumerate().filter_map(|(at, filter)| Some((at, filter, filter.backend()?)));
    named
        .map(|(at, filter, name)| {
            let known = backend(name).cloned();
            if known.is_none() {
                let (kind, so) = match filter {
                    Filter::ExternalAuth(_) => ("externalAuth", "requests are answered 500"),
                    _ => ("requestMirror", "nothing is mirrored"),
                };
                let message = format!("no backend {name} is known, so {so}: write one that exists");
                defects.add(&format!("{field}[{at}].{kind}.backendRef"), message);
            }
            FilterBackend { at, backend: known }
        })
        .collect()
}

fn compile_matches(matches: &[Match], regexes: &mut Regexes, defects: &mut Defects<'_>) -> Box<[Expressions]> {
    let mut any = false;
    let compiled: Vec<_> = matches
        .iter()
        .enumerate()
        .map(|(at, matching)| {
            let field = format!("matches[{at}]");
            check::matching(matching, &field, defects);
            let mut compile = |text: &str, field: String| {
                any = true;
                regexes.get(text).map_err(|message| defects.add(&field, message)).ok()
            };
            let path = match &matching.path {
                PathMatch::Regex(text) => compile(text, format!("{field}.path.value")),
                _ => None,
            };
            let headers = compile_tests(&matching.headers, &format!("{field}.headers"), &mut compile);
            let queries = compile_tests(&matching.queries, &format!("{field}.queryParams"), &mut compile);
            Expressions { path, headers, queries }
        })
        .collect();
    if any { compiled.into() } else { Box::default() }
}

fn compile_tests(
    tests: &[ValueMatch],
    field: &str,
    compile: &mut impl FnMut(&str, String) -> Option<Regex>,
) -> Box<[Option<Regex>]> {
    let compiled = tests.iter().enumerate().map(|(at, test)| match &test.test {
        ValueTest::Regex(text) => compile(text, format!("{field}[{at}].value")),
        ValueTest::Exact(_) => None,
    });
    compiled.collect()
}

impl Failed<'_> {
    /// How far a match came: greater is nearer to matching.
    pub(crate) const fn stage(self) -> u8 {
        match self {
            Self::Path => 0,
            Self::Grpc => 1,
            Self::Method => 2,
            Self::Header(_) => 3,
            Self::Query(_) => 4,
        }
    }
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("path"),
            Self::Grpc => f.write_str("gRPC"),
            Self::Method => f.write_str("method"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Query(name) => write!(f, "query parameter {name}"),
        }
    }
}
