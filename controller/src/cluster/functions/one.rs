//! One function: its records, and everything that follows from them. Never looks at another function.

use super::sight::{NOT_RUNNING, Sight};
use crate::{
    scaling::{
        cluster::{Advice, ServedBackend, StopOrder, TargetSpec},
        of_function::{self, Limits},
    },
    sources::cluster::ClusterObject,
};
use headgate_config::{BackendName, Text};
use headgate_functions::{
    Defaults, Expansion, Input, Observed, Places, Plan, Revision, SERVICE_PORT,
    cluster::{manifests, probe, status},
    expand,
    kinds::{Function, NamespacedName, OfGateway},
};
use headgate_translate::{
    AliasArm, Key, Objects, ServiceTraits,
    kinds::ObjectRef,
    schema::{Problem, Severity},
};
use imbl::OrdMap;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A function.
#[derive(Debug, Default)]
pub(super) struct One {
    function: Option<Arc<Function>>,
    /// What keeps its newest version from being read.
    problem: Option<String>,
    /// It was deleted: nothing of it is wanted any more.
    pub is_gone: bool,
    revisions: Vec<Revision>,
    pub manifests: BTreeMap<ObjectRef, Arc<Value>>,
    pub traits: OrdMap<Key, ServiceTraits>,
    pub aliases: OrdMap<Key, Vec<AliasArm>>,
    pub specs: Vec<TargetSpec>,
    pub status: Value,
    /// Revisions that became targets in the last plan.
    pub fresh: Vec<String>,
}

/// What a function is planned among.
pub(super) struct Surroundings<'a> {
    /// OpenFunction's.
    pub gateways: &'a [OfGateway],
    pub people: &'a Objects,
    pub sight: &'a Sight,
    pub defaults: &'a Defaults,
    /// Whether there is another function of a name.
    pub is_function: &'a dyn Fn(&NamespacedName) -> bool,
    pub now_ms: u64,
}

impl One {
    /// It is new or changed; whether that is worth a plan. Without a function, it cannot be read.
    pub fn write(&mut self, object: &ClusterObject, function: Option<&Function>) -> bool {
        let errors = object.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let problem = errors.map(ToString::to_string).next();
        let is_new = match (function, &self.function) {
            // one that was deleted and made again has another uid, and nothing of the old one is its
            (Some(function), Some(known)) if known.meta.uid != function.meta.uid => {
                self.revisions.clear();
                true
            }
            (Some(function), Some(known)) => **known != *function,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if let Some(function) = function.filter(|_| is_new) {
            self.function = Some(Arc::new(function.clone()));
        }
        let was_gone = std::mem::take(&mut self.is_gone);
        let is_said = std::mem::replace(&mut self.problem, problem) == self.problem;
        is_new || was_gone || !is_said
    }

    /// As it was read last.
    pub fn function(&self) -> Option<&Function> {
        self.function.as_deref()
    }

    /// The OpenFunction Gateway that it wants.
    pub fn gateway(&self) -> Option<&NamespacedName> {
        self.function.as_ref()?.http().map(|(_, http)| &http.route.gateway)
    }

    /// The revisions that are scale targets.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.revisions.iter().map(|revision| revision.name.as_str())
    }

    /// Plans it anew. Names the functions that want places of its route, where those are others than before.
    pub fn plan(&mut self, around: &Surroundings<'_>, places: &mut Places) -> BTreeSet<NamespacedName> {
        let known: BTreeSet<String> = self.targets().map(str::to_owned).collect();
        let rivals = match self.function.clone().filter(|_| !self.is_gone) {
            Some(function) => self.plan_function(&function, around, places),
            None => {
                let rivals = self.function.as_ref().map(|function| places.remove(&function.reference()));
                let status = self.unreadable();
                *self = Self { problem: self.problem.take(), is_gone: self.is_gone, status, ..Self::default() };
                rivals.unwrap_or_default()
            }
        };
        self.fresh = self.targets().filter(|name| !known.contains(*name)).map(str::to_owned).collect();
        rivals
    }

    fn plan_function(
        &mut self,
        function: &Arc<Function>,
        around: &Surroundings<'_>,
        places: &mut Places,
    ) -> BTreeSet<NamespacedName> {
        let name = function.reference();
        let key = |revision: &str| (Text::from(&name.namespace), Text::from(revision));
        self.adopt(around.sight.records(&name, &function.meta.uid), around.now_ms);
        let seen = self.revisions.iter().map(|one| (one.name.clone(), around.sight.seen(&key(&one.name))));
        let observed = BTreeMap::from([(name.clone(), Observed(seen.collect()))]);
        let mut expansion = expand(&Input {
            functions: std::slice::from_ref(&**function),
            gateways: around.gateways,
            objects: around.people,
            revisions: &BTreeMap::from([(name.clone(), std::mem::take(&mut self.revisions))]),
            observed: &observed,
            defaults: around.defaults,
            now_ms: around.now_ms,
        });
        yield_names(&mut expansion, &name, around.is_function);
        let there = |object: &ObjectRef| around.sight.deployment(&key(&object.name));
        let mut made = BTreeMap::new();
        for (object, value) in manifests(function, &expansion, there) {
            // what is the same keeps its place in memory, so that others see at once that it is
            let known = self.manifests.remove(&object).filter(|known| **known == value);
            made.insert(object, known.unwrap_or_else(|| Arc::new(value)));
        }
        hold_back(&mut made, around.sight);
        self.manifests = made;
        let rivals = places.set(function, expansion.routes.get(&name));
        self.status = self.say(function, &expansion, &places.lost(function), around.sight);
        self.traits = expansion.objects.traits.clone();
        self.aliases = expansion.objects.aliases.clone();
        if let Some(plan) = expansion.plans.remove(&name) {
            self.specs = specs(function, &plan, around.sight);
            self.revisions = plan.revisions;
        }
        rivals
    }

    /// What the API server has of records only ever adds to what is known.
    fn adopt(&mut self, records: Vec<Revision>, now_ms: u64) {
        for record in records {
            match self.revisions.iter_mut().find(|known| known.name == record.name) {
                Some(known) => {
                    known.proven |= record.proven;
                    known.turn = known.turn.max(record.turn);
                }
                None => self.revisions.push(Revision { since_ms: now_ms, ..record }),
            }
        }
    }

    fn say(&self, function: &Function, expansion: &Expansion, lost: &[Problem], sight: &Sight) -> Value {
        let name = &function.reference();
        let route = expansion.http_route(name).map(|route| route.meta.key());
        let conditions = route.map(|key| sight.conditions(&key)).unwrap_or_default();
        let plan = expansion.plans.get(name);
        let newest = plan.and_then(|plan| plan.status.proving.clone().or_else(|| plan.status.serving.clone()));
        let obstacle = newest.and_then(|revision| sight.obstacle(&(name.namespace.as_str().into(), revision.into())));
        let problem = self.problem.clone().or_else(|| {
            let unreachable = expansion.http_route(name).is_none();
            let (_, problem) = expansion.problems.first().filter(|_| unreachable)?;
            Some(problem.to_string())
        });
        let obstacle = obstacle.or(problem.map(|problem| (NOT_RUNNING, problem)));
        status(expansion, name, &conditions, lost, obstacle.as_ref().map(|(reason, words)| (*reason, words.as_str())))
    }

    fn unreadable(&self) -> Value {
        let message = self.problem.clone().unwrap_or_default();
        json!({"serving": {"state": "Failed", "reason": "Invalid", "message": message}})
    }
}

/// Another function's name leads to that one.
fn yield_names(expansion: &mut Expansion, name: &NamespacedName, is_function: &dyn Fn(&NamespacedName) -> bool) {
    let is_theirs = |(namespace, alias): &Key| {
        *alias != name.name && is_function(&NamespacedName::new(namespace.clone(), alias.clone()))
    };
    let theirs: Vec<Key> = expansion.objects.aliases.keys().filter(|key| is_theirs(key)).cloned().collect();
    for key in theirs {
        expansion.objects.aliases.remove(&key);
        expansion.objects.services.remove(&key);
    }
}

fn specs(function: &Function, plan: &Plan, sight: &Sight) -> Vec<TargetSpec> {
    let targets = plan.revisions.iter().filter(|revision| plan.targets.contains_key(&revision.name));
    targets.map(|revision| spec(function, revision, sight)).collect()
}

/// What the scaler is told of a revision. Its Service has its name once the API server has given it a uid.
fn spec(function: &Function, revision: &Revision, sight: &Sight) -> TargetSpec {
    let namespace = &function.meta.namespace;
    let uid = sight.service_uid(&(namespace.clone(), revision.name.as_str().into()));
    let served = uid.map(|uid| ServedBackend {
        backend: BackendName {
            uid: uid.into(),
            ..BackendName::tcp(namespace.clone(), revision.name.clone(), SERVICE_PORT)
        },
        port: revision.template.port,
        probe: probe(&revision.template),
    });
    let Limits { start, drain } = of_function::limits(function);
    TargetSpec {
        name: format!("{namespace}/{}", revision.name),
        label: format!("{namespace}/{}", revision.name),
        backends: served.into_iter().collect(),
        bounds: of_function::bounds(function, revision),
        start_limit: start,
        drain_limit: drain,
        stops: StopOrder::Marked,
        faulty: Vec::new(),
        advice: Advice::OfFunction,
        gateways: BTreeSet::new(),
    }
}

/// A route that is not there yet waits for the Services that it names: it would be called wrong for a moment.
fn hold_back(manifests: &mut BTreeMap<ObjectRef, Arc<Value>>, sight: &Sight) {
    manifests.retain(|name, route| {
        let is_new = name.kind == "HTTPRoute" && !sight.is_given(name);
        !is_new || services(&name.namespace, route).all(|service| sight.is_given(&service))
    });
}

fn services<'r>(namespace: &'r str, route: &'r Value) -> impl Iterator<Item = ObjectRef> + 'r {
    let rules = route["spec"]["rules"].as_array().into_iter().flatten();
    let backends = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
    let names = backends.filter_map(|backend| backend["name"].as_str());
    names.map(move |name| ObjectRef::new("", "Service", namespace, name))
}
