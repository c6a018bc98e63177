//! Translates again and again, at the cost of what changed: it keeps what became of each object, and works out anew only what looked at something else. Its result is that of `translate`, whatever came before.

use crate::{
    Key, ObjectProblem, Objects, Settings, Translation,
    backend_tls::Policies,
    changed::Changed,
    conditions::{ClassStatus, Condition, ConditionType, Finding, Reason, Status},
    endpoints::endpoints,
    gateways::{Gateways, Seen, gateway_status},
    ingress::serve,
    kinds::{EXPERIMENTAL_GROUP, GATEWAY_GROUP, HEADGATE_GROUP, ObjectRef, PolicyTarget, XBackendKind},
    listeners::GatewayView,
    lookup::{Lookup, Slices},
    outcome::{Around, Outcome, Told, outcome},
    parameters,
    route::reference,
    scaling::Scaling,
    schema::{FieldPath, Problem},
    traffic::Traffic,
    x_backends,
};
use headgate_config::{BackendName, ByName, Filter, Named, RouteKind, Rule, RuleName, Text};
use imbl::OrdMap;
use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
};

/// A route of any kind.
type RouteName = (RouteKind, Key);

/// Objects, and what became of them.
#[derive(Debug)]
pub struct Translator {
    settings: Settings,
    /// As they were given, and with what Ingresses and XBackends are.
    given: Objects,
    objects: Objects,
    slices: Slices,
    policies: Policies,
    scaling: Scaling,
    traffic: Traffic,
    /// What routes saw of our Gateways.
    seen: BTreeMap<Key, Seen>,
    memory: Memory,
}

/// What became of routes and Backends, each by its own name.
#[derive(Debug, Default)]
struct Memory {
    done: Translation,
    uses: Uses,
    /// By route that says something of others.
    told: BTreeMap<RouteName, Told>,
    /// By Gateway and index of its listener: how many routes are attached.
    attached: HashMap<(Key, usize), u32>,
    /// By object that has any.
    route_problems: BTreeMap<RouteName, Vec<Arc<ObjectProblem>>>,
    backend_problems: BTreeMap<BackendName, Arc<ObjectProblem>>,
    /// Of classes, and of Gateways and policies.
    front_problems: Vec<Arc<ObjectProblem>>,
    back_problems: Vec<Arc<ObjectProblem>>,
    /// The classes, Gateways and policies of which something is said.
    few_said: BTreeSet<ObjectRef>,
}

/// How many rules name each Backend of the Snapshot.
#[derive(Debug, Default)]
struct Uses {
    /// Beyond the first one.
    more: HashMap<BackendName, usize>,
    /// Rules of GRPCRoutes.
    grpc: HashMap<BackendName, usize>,
}

/// By Backend: how many uses are new less how many are gone, of any rules and of those of GRPCRoutes.
type Touched = BTreeMap<BackendName, (isize, isize)>;

impl Translator {
    /// Knows of no object yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            given: Objects::default(),
            objects: Objects::default(),
            slices: Slices::default(),
            policies: Policies::default(),
            scaling: Scaling::default(),
            traffic: Traffic::default(),
            seen: BTreeMap::new(),
            memory: Memory::default(),
        }
    }

    /// What an operator decided.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What follows from the objects that it was given last.
    pub fn translation(&self) -> &Translation {
        &self.memory.done
    }

    /// Translates objects. Fast where they share most of their maps with those before, as clones do.
    pub fn translate(&mut self, objects: &Objects) -> &Translation {
        let given = Objects { served_ingresses: serve(objects, &self.given, &self.settings), ..objects.clone() };
        let with = x_backends::add_to(&given, (&self.given, &self.objects));
        let objects = &with;
        self.given = given;
        let before = mem::replace(&mut self.objects, objects.clone());
        let mut changed = Changed::between(&before, objects, &mut self.slices);
        let Self { settings, slices, policies, scaling, traffic, seen, memory, .. } = self;
        if Scaling::depends_on_difference(&before, objects) {
            let new = Scaling::new(objects, settings.scales_services);
            changed.policies(new.differing(scaling));
            *scaling = new;
        }
        if Traffic::depends_on_difference(&before, objects) {
            let new = Traffic::new(objects);
            changed.policies(new.differing(traffic));
            *traffic = new;
        }
        let lookup = Lookup::new(objects, slices, scaling);
        if Policies::depend_on_difference(&before, objects) {
            let new = Policies::new(&lookup);
            changed.policies(new.differing(policies));
            *policies = new;
        }
        let gateways = Gateways::new(&lookup, settings);
        let now_seen = gateways.seen();
        let builtin = settings.builtin_gateway.as_ref().map(|gateway| gateway.meta.key());
        changed.gateways(&mem::replace(seen, now_seen.clone()), &now_seen, builtin.as_ref());
        changed.aliases(&before.aliases, &objects.aliases);

        let around = Around { settings, lookup: &lookup, gateways: &gateways, policies, scaling, traffic };
        let mut touched = Touched::new();
        for (name, route) in changed.routes(objects) {
            let outcome = route.map(|route| outcome(route, around)).unwrap_or_default();
            memory.take(name, outcome, &mut touched);
        }
        for service in changed.backends() {
            memory.touch(service, &mut touched);
        }
        touched.into_iter().for_each(|(name, uses)| memory.settle(&name, uses, around));
        memory.take_few(around);
        memory.collect_problems();
        &self.memory.done
    }
}

impl Memory {
    /// Puts what became of a route in place of what was.
    fn take(&mut self, name: RouteName, outcome: Outcome, touched: &mut Touched) {
        let object = reference(name.0, &name.1.0, &name.1.1);
        let (status, told) = outcome.told.unzip();
        keep_or_set(&mut self.done.conditions, object, status);
        self.take_told(&name, told);
        self.take_rules(&name, outcome.rules, touched);
        let known = self.route_problems.remove(&name).unwrap_or_default();
        let problems = keep_known(&known, outcome.problems);
        if !problems.is_empty() {
            self.route_problems.insert(name, problems);
        }
    }

    fn take_told(&mut self, name: &RouteName, told: Option<Told>) {
        for place in self.told.remove(name).filter(|told| told.is_counted).into_iter().flat_map(|told| told.places) {
            self.attached.entry(place).and_modify(|count| *count -= 1);
        }
        if let Some(told) = told {
            let counted = told.places.iter().filter(|_| told.is_counted);
            counted.for_each(|place| *self.attached.entry(place.clone()).or_default() += 1);
            self.told.insert(name.clone(), told);
        }
    }

    fn take_rules(&mut self, (kind, (namespace, route)): &RouteName, rules: Vec<Rule>, touched: &mut Touched) {
        let first = RuleName { kind: *kind, namespace: namespace.clone(), route: route.clone(), index: 0 };
        let ours = |name: &RuleName| name.kind == *kind && name.namespace == *namespace && name.route == *route;
        let old = self.done.snapshot.rules.range(first..).take_while(|(name, _)| ours(name));
        let old: Vec<Arc<Rule>> = old.map(|(_, rule)| Arc::clone(rule)).collect();
        let grpc = isize::from(kind.is_grpc());
        let mut count = |rule: &Rule, sign: isize| {
            for backend in rule.backends() {
                let uses = match touched.get_mut(backend) {
                    Some(uses) => uses,
                    None => touched.entry(backend.clone()).or_default(),
                };
                *uses = (uses.0 + sign, uses.1 + sign * grpc);
            }
            for backend in rule.all_filters().filter(|filter| filter.speaks_grpc()).filter_map(Filter::backend) {
                touched.entry(backend.clone()).or_default().1 += sign;
            }
        };
        old.iter().for_each(|rule| count(rule, -1));
        rules.iter().for_each(|rule| count(rule, 1));
        for gone in old.iter().filter(|old| !rules.iter().any(|rule| rule.name == old.name)) {
            self.done.snapshot.rules.remove(&gone.name);
        }
        for rule in rules.into_iter().filter(|rule| !old.iter().any(|old| **old == *rule)) {
            self.done.snapshot.insert_rule(Arc::new(rule));
        }
    }

    /// Adds the Backends of a Service to those that may have become others.
    fn touch(&self, (namespace, service): (&str, &str), touched: &mut Touched) {
        let first = BackendName::tcp(namespace, service, 0);
        let ours = |name: &BackendName| name.namespace == namespace && name.service == service;
        let known = self.done.snapshot.backends.range(first..).take_while(|(name, _)| ours(name));
        for (name, _) in known {
            touched.entry((**name).clone()).or_default();
        }
    }

    /// Makes a Backend, its endpoints and what is wrong with it anew, or forgets it if no rule names it any more.
    fn settle(&mut self, name: &BackendName, new_uses: (isize, isize), around: Around<'_, '_>) {
        let is_known = self.done.snapshot.backends.contains_key(name);
        let (used, grpc) = self.uses.add(name, is_known, new_uses);
        let made = used.then(|| around.backends().make(name, grpc)).flatten();
        let found = made.is_some().then(|| endpoints(around.lookup, name)).flatten();
        let alone = made.is_some() && found.is_none() && around.settings.adopt_orphans;
        let problem = alone.then(|| without_endpoints(around.lookup, name)).flatten();
        match problem {
            None => drop(self.backend_problems.remove(name)),
            Some(problem) if self.backend_problems.get(name).is_some_and(|known| **known == problem) => {}
            Some(problem) => drop(self.backend_problems.insert(name.clone(), Arc::new(problem))),
        }
        keep_or_set_named(&mut self.done.snapshot.backends, name, made);
        keep_or_set_named(&mut self.done.endpoints, name, found);
    }

    /// Classes, Gateways and policies are few: they are worked out anew each time.
    fn take_few(&mut self, around: Around<'_, '_>) {
        let mut few = Few { around, said: BTreeMap::new(), problems: Vec::new() };
        few.classes();
        self.front_problems = keep_known(&self.front_problems, mem::take(&mut few.problems));
        few.gateways(&mut self.done, &self.attached);
        few.policies(&self.told);
        few.scaling(&self.told);
        few.traffic(&self.told);
        few.x_backends(&self.told);
        self.done.scaling.clone_from(around.scaling.in_force());
        self.back_problems = keep_known(&self.back_problems, few.problems);
        let said = if around.settings.conditions { few.said } else { BTreeMap::new() };
        for gone in self.few_said.iter().filter(|object| !said.contains_key(*object)) {
            self.done.conditions.remove(gone);
        }
        self.few_said = said.keys().cloned().collect();
        said.into_iter().for_each(|(object, status)| keep_or_set(&mut self.done.conditions, object, Some(status)));
    }

    fn collect_problems(&mut self) {
        let routes = self.route_problems.values().flatten();
        let all = self.front_problems.iter().chain(routes).chain(&self.back_problems);
        self.done.problems = all.chain(self.backend_problems.values()).cloned().collect();
    }
}

impl Uses {
    /// Counts; whether any rule, and any over gRPC, names the Backend now.
    fn add(&mut self, name: &BackendName, is_known: bool, (new, new_grpc): (isize, isize)) -> (bool, bool) {
        let beyond_first = self.more.remove(name).unwrap_or_default();
        let uses = (usize::from(is_known) + beyond_first).saturating_add_signed(new);
        if uses > 1 {
            self.more.insert(name.clone(), uses - 1);
        }
        let grpc = self.grpc.remove(name).unwrap_or_default().saturating_add_signed(new_grpc);
        if grpc > 0 {
            self.grpc.insert(name.clone(), grpc);
        }
        (uses > 0, grpc > 0)
    }
}

/// Classes, Gateways and policies on their way.
struct Few<'w, 'a> {
    around: Around<'w, 'a>,
    said: BTreeMap<ObjectRef, Status>,
    problems: Vec<ObjectProblem>,
}

impl Few<'_, '_> {
    fn classes(&mut self) {
        let controller = &self.around.settings.controller_name;
        let all = self.around.lookup.objects.gateway_classes.values();
        for class in all.filter(|class| class.controller == *controller) {
            let mut findings = Vec::new();
            let (reference, path) = (class.parameters.as_ref(), FieldPath::of("spec.parametersRef"));
            findings.extend(parameters::finding(self.around.lookup.objects, reference, "", path));
            let accepted = Condition::of(ConditionType::Accepted, Reason::Accepted, &findings, class.meta.generation);
            let object = ObjectRef::new(GATEWAY_GROUP, "GatewayClass", "", &class.meta.name);
            self.tell(&object, &findings);
            self.said.insert(object, Status::Class(ClassStatus { conditions: vec![accepted] }));
        }
    }

    fn gateways(&mut self, done: &mut Translation, attached: &HashMap<(Key, usize), u32>) {
        // those that say the same are the same, so that nobody compares them again
        let before = std::mem::take(&mut done.snapshot.listeners);
        done.certificates.clear();
        for view in &self.around.gateways.views {
            let meta = &view.gateway.meta;
            let object = ObjectRef::new(GATEWAY_GROUP, "Gateway", &meta.namespace, &meta.name);
            self.tell(&object, &view.findings);
            done.certificates.extend(view.backend_certificate.iter().cloned());
            view.own().iter().for_each(|listener| self.tell(&object, &listener.findings));
            for listener in &view.listeners {
                let serving = listener.serves().then(|| listener.to_config(view.backend_certificate.as_ref()));
                if let Some(serving) = serving.flatten() {
                    let same = before.get(&listener.name).filter(|before| ***before == serving).cloned();
                    done.snapshot.insert_listener(same.unwrap_or_else(|| Arc::new(serving)));
                    done.certificates.extend(listener.certificates.iter().cloned());
                }
            }
            let routes = |at| attached.get(&(meta.key(), at)).copied().unwrap_or_default();
            let attached: Vec<u32> = (0..view.listeners.len()).map(routes).collect();
            self.said.insert(object, Status::Gateway(gateway_status(view, &attached)));
            self.listener_sets(view, &attached);
        }
        if done.snapshot.listeners == before {
            done.snapshot.listeners = before;
        }
        self.sets_without_gateway();
        done.certificates.extend(self.around.policies.certificates().iter().cloned());
        done.certificates.sort_by(|a, b| a.name.cmp(&b.name));
        done.certificates.dedup_by(|a, b| a.name == b.name);
    }

    fn listener_sets(&mut self, view: &GatewayView<'_>, attached: &[u32]) {
        for set in &view.sets {
            let meta = &set.set.meta;
            let object = ObjectRef::new(GATEWAY_GROUP, "ListenerSet", &meta.namespace, &meta.name);
            self.tell(&object, &set.findings);
            for listener in &view.listeners[set.listeners.clone()] {
                self.tell(&object, &listener.findings);
            }
            self.said.insert(object, Status::ListenerSet(set.status(view, attached)));
        }
    }

    fn sets_without_gateway(&mut self) {
        let objects = self.around.lookup.objects;
        for set in objects.listener_sets.values() {
            let key = set.parent.key(&set.meta.namespace);
            let is_known = objects.gateways.contains_key(&key) || self.around.gateways.find(&key).is_some();
            if set.parent.is_gateway() && !is_known {
                let object = ObjectRef::new(GATEWAY_GROUP, "ListenerSet", &set.meta.namespace, &set.meta.name);
                let message = format!("Gateway {}/{} does not exist", key.0, key.1);
                let remedy = "name a Gateway that exists; write its namespace if it is another one";
                let problem = Problem::warning(FieldPath::of("spec.parentRef"), message, remedy);
                self.problems.push(ObjectProblem { object, problem });
            }
        }
    }

    fn policies(&mut self, told: &BTreeMap<RouteName, Told>) {
        for (policy, finding) in self.around.policies.findings() {
            self.problems.push(ObjectProblem { object: policy, problem: finding.problem() });
        }
        for policy in self.around.lookup.objects.backend_tls_policies.values() {
            let gateways = reaching(told, &policy.meta.namespace, &policy.targets);
            let controller = &self.around.settings.controller_name;
            let status = self.around.policies.status(policy, &gateways, controller);
            let object = ObjectRef::new(GATEWAY_GROUP, "BackendTLSPolicy", &policy.meta.namespace, &policy.meta.name);
            self.said.insert(object, Status::Policy(status));
        }
    }

    fn scaling(&mut self, told: &BTreeMap<RouteName, Told>) {
        for (policy, finding) in self.around.scaling.findings() {
            self.problems.push(ObjectProblem { object: policy, problem: finding.problem() });
        }
        for policy in self.around.lookup.objects.scaling_policies.values() {
            let gateways = reaching(told, &policy.meta.namespace, &policy.targets);
            let status = self.around.scaling.status(policy, &gateways, &self.around.settings.controller_name);
            let object = ObjectRef::new(HEADGATE_GROUP, "ScalingPolicy", &policy.meta.namespace, &policy.meta.name);
            self.said.insert(object, Status::Policy(status));
        }
    }

    fn traffic(&mut self, told: &BTreeMap<RouteName, Told>) {
        for (policy, finding) in self.around.traffic.findings() {
            self.problems.push(ObjectProblem { object: policy, problem: finding.problem() });
        }
        for policy in self.around.lookup.objects.traffic_policies.values() {
            let (namespace, name) = (&policy.meta.namespace, &policy.meta.name);
            let gateways = reaching(told, namespace, &policy.targets);
            let status = self.around.traffic.status(policy, &gateways, &self.around.settings.controller_name);
            let object = ObjectRef::new(EXPERIMENTAL_GROUP, "XBackendTrafficPolicy", namespace, name);
            self.said.insert(object, Status::Policy(status));
        }
    }

    fn x_backends(&mut self, told: &BTreeMap<RouteName, Told>) {
        let Around { settings, lookup, .. } = self.around;
        for backend in lookup.objects.x_backends.values() {
            let object = ObjectRef::new(EXPERIMENTAL_GROUP, "XBackend", &backend.meta.namespace, &backend.meta.name);
            let findings = x_backends::findings(lookup, backend, settings);
            self.tell(&object, &findings);
            if settings.adopt_orphans && backend.kind == XBackendKind::EndpointSelector {
                let key = x_backends::key_of(&backend.meta);
                let has_endpoints = lookup.slices(&key).iter().any(|slice| !slice.endpoints.is_empty());
                // without a cluster nobody starts one later
                let problem = (!has_endpoints).then(|| {
                    let message = "no Pod here has these labels, so its requests are answered 503";
                    let remedy = "add a Pod with its status, or name a Service with an EndpointSlice in its place";
                    Problem::warning(FieldPath::of("spec.endpointSelector"), message, remedy)
                });
                self.problems.extend(problem.map(|problem| ObjectProblem { object: object.clone(), problem }));
            }
            let gateways = reached_by(told, &BTreeSet::from([x_backends::key_of(&backend.meta)]));
            let status = x_backends::status(backend, &findings, &gateways, &settings.controller_name);
            self.said.insert(object, Status::Policy(status));
        }
    }

    fn tell(&mut self, object: &ObjectRef, findings: &[Finding]) {
        let told = findings.iter().map(|finding| ObjectProblem { object: object.clone(), problem: finding.problem() });
        self.problems.extend(told);
    }
}

/// The Gateways through which Services that a policy names are reached.
fn reaching(told: &BTreeMap<RouteName, Told>, namespace: &str, targets: &[PolicyTarget]) -> BTreeSet<Key> {
    let targets = targets.iter().filter(|target| target.group.is_empty() && target.kind == "Service");
    reached_by(told, &targets.map(|target| (Text::from(namespace), target.name.clone())).collect())
}

/// The Gateways through which any of these Services is reached.
fn reached_by(told: &BTreeMap<RouteName, Told>, services: &BTreeSet<Key>) -> BTreeSet<Key> {
    let reach = |told: &&Told| !told.services.is_disjoint(services);
    let reached = told.values().filter(reach).flat_map(|told| &told.places);
    reached.map(|(gateway, _)| gateway.clone()).collect()
}

/// Without a cluster nobody else makes slices: a Service that does not scale and has none will never serve.
fn without_endpoints(lookup: &Lookup<'_>, name: &BackendName) -> Option<ObjectProblem> {
    let key = (name.namespace.clone(), name.service.clone());
    let is_host = lookup.service(name).is_some_and(|service| service.external_name.is_some());
    if is_host || lookup.objects.traits.contains_key(&key) {
        return None;
    }
    let message = "has no EndpointSlice, so its requests are answered 503";
    let remedy = format!("add an EndpointSlice with the label kubernetes.io/service-name: {}", name.service);
    let problem = Problem::warning(FieldPath::of("metadata.name"), message, remedy);
    Some(ObjectProblem { object: x_backends::object_of((&name.namespace, &name.service)), problem })
}

/// Sets a value, or removes it; one that is equal already stays the same, so that a later difference need not look into it.
fn keep_or_set<K: Ord + Clone, V: PartialEq>(map: &mut OrdMap<K, Arc<V>>, key: K, value: Option<V>) {
    match (map.get(&key), value) {
        (None, None) => {}
        (Some(_), None) => drop(map.remove(&key)),
        (Some(known), Some(value)) if **known == value => {}
        (_, Some(value)) => drop(map.insert(key, Arc::new(value))),
    }
}

/// The same of what is a key of itself.
fn keep_or_set_named<T>(map: &mut OrdMap<ByName<T>, Arc<T>>, name: &BackendName, value: Option<T>)
where
    T: Named + PartialEq,
    ByName<T>: Borrow<BackendName>,
{
    let known = map.get(name);
    match value {
        None if known.is_none() => {}
        None => drop(map.remove(name)),
        Some(value) if known.is_some_and(|known| **known == value) => {}
        Some(value) => {
            let value = Arc::new(value);
            map.insert(ByName::of(&value), value);
        }
    }
}

/// The same list with those that were known already in place of their equals.
fn keep_known(known: &[Arc<ObjectProblem>], new: Vec<ObjectProblem>) -> Vec<Arc<ObjectProblem>> {
    let keep = |problem: ObjectProblem| {
        let equal = known.iter().find(|known| ***known == problem).cloned();
        equal.unwrap_or_else(|| Arc::new(problem))
    };
    new.into_iter().map(keep).collect()
}
