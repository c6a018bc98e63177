//! Translates again and again, at the cost of what changed: it keeps what became of each object, and works out anew only what looked at something else. Its result is that of `translate`, whatever came before.

use crate::{
    Key, ObjectProblem, Objects, Settings, Translation,
    backend_tls::Policies,
    backends::Backends,
    certificates::of_secret,
    changed::{Changed, RouteName, Users},
    conditions::{ClassStatus, Condition, ConditionType, Finding, Reason, Status},
    endpoints::endpoints,
    gateways::{Gateways, gateway_status},
    ingress::serve,
    kinds::{EXPERIMENTAL_GROUP, GATEWAY_GROUP, HEADGATE_GROUP, ObjectRef, PolicyTarget, XBackendKind},
    listener_sets::SetView,
    listeners::{GatewayView, ListenerView, Owner},
    lookup::{Lookup, Slices},
    outcome::{Around, Outcome, Told, outcome},
    parameters,
    route::reference,
    scaling::Scaling,
    schema::{FieldPath, Problem},
    traffic::Traffic,
    x_backends,
};
use headgate_config::{
    BackendName, ByName, Certificate, CertificateName, Filter, List, Listener, ListenerName, Named, Rule, RuleName,
    Text,
};
use imbl::OrdMap;
use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    mem,
    sync::Arc,
};

/// Objects, and what became of them.
#[derive(Debug)]
pub struct Translator {
    settings: Settings,
    /// As they were given, and with what Ingresses and XBackends are.
    given: Objects,
    objects: Objects,
    slices: Slices,
    users: Users,
    policies: Policies,
    scaling: Scaling,
    traffic: Traffic,
    /// Nothing before the first time.
    gateways: Option<Gateways>,
    memory: Memory,
}

/// What became of routes and Backends, each by its own name.
#[derive(Debug, Default)]
struct Memory {
    done: Translation,
    uses: Uses,
    /// By route that says something of others.
    told: BTreeMap<RouteName, Told>,
    /// What those say of Services that policies are about.
    reach: Reach,
    /// By listener: how many routes are attached.
    attached: HashMap<ListenerName, u32>,
    /// The listeners of which that is another number since their status was made.
    recounted: BTreeSet<ListenerName>,
    /// By object that has any.
    route_problems: BTreeMap<RouteName, Vec<Arc<ObjectProblem>>>,
    backend_problems: BTreeMap<BackendName, Arc<ObjectProblem>>,
    class_problems: Vec<Arc<ObjectProblem>>,
    /// Of Gateways and ListenerSets.
    gateway_problems: Vec<Arc<ObjectProblem>>,
    policy_problems: Vec<Arc<ObjectProblem>>,
    /// The classes and policies of which something is said.
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
            users: Users::default(),
            policies: Policies::default(),
            scaling: Scaling::default(),
            traffic: Traffic::default(),
            gateways: None,
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
        let mut changed = Changed::between(&before, objects, &mut self.slices, &mut self.users);
        let Self { settings, slices, users, policies, scaling, traffic, gateways, memory, .. } = self;
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
        let mut has_other_policies = false;
        if Policies::depend_on_difference(&before, objects) {
            let new = Policies::new(&lookup);
            changed.policies(new.differing(policies));
            *policies = new;
            has_other_policies = true;
        }
        changed.aliases(&before.aliases, &objects.aliases);
        let mut gateways_before = None;
        // a built-in Gateway is there before any object
        if gateways.as_ref().is_none_or(|known| known.depend_on_difference(&before, objects, &changed)) {
            let old = gateways.take().unwrap_or_default();
            let backends = Backends::new(&lookup, policies, traffic, &settings.cluster_domain);
            let new = old.next(&before, &changed, backends, settings);
            let builtin = settings.builtin_gateway.as_ref().map(|gateway| gateway.meta.key());
            changed.gateways(old.moved(&new), builtin.as_ref());
            (gateways_before, *gateways) = (Some(old), Some(new));
        }
        let gateways = &*gateways.get_or_insert_default();

        let around = Around { settings, lookup: &lookup, gateways, policies, scaling, traffic };
        let mut touched = Touched::new();
        for (name, route) in changed.routes(objects, users) {
            let outcome = route.map(|route| outcome(route, around)).unwrap_or_default();
            memory.take(name, outcome, &mut touched);
        }
        if let Some(before) = &gateways_before {
            memory.take_gates(before, gateways, &mut touched);
        }
        for service in changed.backends() {
            memory.touch(service, &mut touched);
        }
        touched.into_iter().for_each(|(name, uses)| memory.settle(&name, uses, around));
        if let Some(before) = &gateways_before {
            memory.take_gateways(before, around);
        }
        memory.recount(around);
        if gateways_before.is_some() || has_other_policies {
            memory.collect_certificates(around);
        }
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
        let counted = |told: &Option<Told>| -> List<ListenerName> {
            let told = told.as_ref().filter(|told| told.is_counted);
            told.map(|told| told.places.clone()).unwrap_or_default()
        };
        let before = self.told.remove(name);
        before.iter().for_each(|told| self.reach.remove(told));
        told.iter().for_each(|told| self.reach.add(told));
        let (old, new) = (counted(&before), counted(&told));
        if old != new {
            for place in old.iter().cloned() {
                if let Entry::Occupied(mut count) = self.attached.entry(place.clone()) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
                self.recounted.insert(place);
            }
            for place in new.iter().cloned() {
                *self.attached.entry(place.clone()).or_default() += 1;
                self.recounted.insert(place);
            }
        }
        if let Some(told) = told {
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

    /// Puts the rules of the filters of listeners in place of those before. Few have any.
    fn take_gates(&mut self, before: &Gateways, now: &Gateways, touched: &mut Touched) {
        let gated = |gateways: &'_ Gateways| -> BTreeMap<RouteName, Vec<Rule>> {
            let mut owners = BTreeMap::<_, Vec<Rule>>::new();
            let views = gateways.views.iter().filter(|_| gateways.have_gates);
            for listener in views.flat_map(GatewayView::listeners).filter(|listener| listener.has_gate()) {
                let rule = listener.is_told().then(|| listener.gate()).flatten();
                owners.entry(listener.owner.rules()).or_default().extend(rule);
            }
            owners
        };
        let mut owners = gated(now);
        for owner in gated(before).into_keys() {
            owners.entry(owner).or_default();
        }
        for (owner, rules) in owners {
            let places: Vec<ListenerName> =
                rules.iter().flat_map(|rule| &rule.attachments).map(|attachment| attachment.listener.clone()).collect();
            let backends = rules.iter().flat_map(Rule::backends);
            let services: BTreeSet<Key> =
                backends.map(|backend| (backend.namespace.clone(), backend.service.clone())).collect();
            let told = (!services.is_empty()).then(|| Told {
                places: places.into(),
                is_counted: false,
                services: services.into_iter().collect(),
            });
            self.take_told(&owner, told);
            self.take_rules(&owner, rules, touched);
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

    /// Puts the Gateways in place of those before. A ListenerSet that is the same value is not looked into.
    fn take_gateways(&mut self, before: &Gateways, around: Around<'_, '_>) {
        let now = around.gateways;
        let is_same = |key: &Key| {
            before.set(key).zip(now.set(key)).is_some_and(|((was_of, old), (is_of, new))| {
                Arc::ptr_eq(old, new) && was_of.backend_certificate == is_of.backend_certificate
            })
        };
        let old_sets: Vec<_> =
            before.set_keys().filter(|key| !is_same(key)).filter_map(|key| before.set(key)).collect();
        let new_sets: Vec<_> = now.set_keys().filter(|key| !is_same(key)).filter_map(|key| now.set(key)).collect();
        let own = now.views.iter().map(|view| (view, view.own.as_slice()));
        let all = own.chain(new_sets.iter().map(|(view, set)| (*view, set.listeners.as_slice())));
        let all = all.flat_map(|(view, listeners)| listeners.iter().map(move |listener| (view, listener)));
        let serving = all.filter(|(_, listener)| listener.is_told()).filter_map(|(view, listener)| {
            let made = listener.to_config(view.backend_certificate.as_ref())?;
            Some((made.name.clone(), made))
        });
        let serving: BTreeMap<ListenerName, Listener> = serving.collect();
        let listeners = &mut self.done.snapshot.listeners;
        let old = before.views.iter().flat_map(|view| &view.own);
        let old = old.chain(old_sets.iter().flat_map(|(_, set)| &set.listeners));
        for gone in old.map(|listener| &listener.name).filter(|name| !serving.contains_key(name)) {
            listeners.remove(gone);
        }
        serving.into_iter().for_each(|(name, made)| keep_or_set_named(listeners, &name, Some(made)));

        let gone = before.views.iter().map(|view| &view.gateway).filter(|one| now.view(&one.meta.key()).is_none());
        let gone = gone.map(|gateway| Owner::Gateway(Arc::clone(gateway)).object());
        let gone_sets =
            old_sets.iter().filter(|(_, set)| now.set(&set.set.meta.key()).is_none()).map(|(_, set)| set.object());
        gone.chain(gone_sets).for_each(|object| drop(self.done.conditions.remove(&object)));
        now.views.iter().for_each(|view| self.say_of_gateway(view, around));
        new_sets.iter().for_each(|(_, set)| self.say_of_set(set, around));
        self.gateway_problems = keep_known(&self.gateway_problems, gateway_problems(around));
    }

    /// Says of those Gateways and ListenerSets how many routes they have that have another number of them now.
    fn recount(&mut self, around: Around<'_, '_>) {
        let owners: BTreeSet<(Key, Option<Key>)> = mem::take(&mut self.recounted).iter().map(owner).collect();
        for (gateway, set) in owners {
            match set {
                None => around.gateways.view(&gateway).into_iter().for_each(|view| self.say_of_gateway(view, around)),
                Some(set) => around.gateways.set(&set).into_iter().for_each(|(_, set)| self.say_of_set(set, around)),
            }
        }
    }

    fn say_of_gateway(&mut self, view: &GatewayView, around: Around<'_, '_>) {
        if around.settings.conditions {
            let status = gateway_status(view, |listener| self.routes_of(listener));
            let object = Owner::Gateway(Arc::clone(&view.gateway)).object();
            keep_or_set(&mut self.done.conditions, object, Some(Status::Gateway(status)));
        }
    }

    fn say_of_set(&mut self, set: &SetView, around: Around<'_, '_>) {
        if around.settings.conditions {
            let status = set.status(|listener| self.routes_of(listener));
            keep_or_set(&mut self.done.conditions, set.object(), Some(Status::ListenerSet(status)));
        }
    }

    fn routes_of(&self, listener: &ListenerView) -> u32 {
        self.attached.get(&listener.name).copied().unwrap_or_default()
    }

    /// The certificates that are named, from the Secrets that have them.
    fn collect_certificates(&mut self, around: Around<'_, '_>) {
        let listeners = self.done.snapshot.listeners.values();
        let named: BTreeSet<&CertificateName> = listeners.flat_map(|listener| listener.certificates()).collect();
        let found = named.into_iter().filter_map(|name| of_secret(around.lookup.objects, name));
        let all = found.chain(around.policies.certificates().iter().cloned());
        let all: BTreeMap<CertificateName, Certificate> = all.map(|one| (one.name.clone(), one)).collect();
        if !self.done.certificates.iter().eq(all.values()) {
            self.done.certificates = Arc::new(all.into_values().collect());
        }
    }

    /// Classes and policies are few: they are worked out anew each time.
    fn take_few(&mut self, around: Around<'_, '_>) {
        self.reach.keep(services_of_policies(around.lookup.objects), &self.told);
        let mut few = Few { around, said: BTreeMap::new(), problems: Vec::new() };
        few.classes();
        self.class_problems = keep_known(&self.class_problems, mem::take(&mut few.problems));
        few.policies(&self.reach);
        few.scaling(&self.reach);
        few.traffic(&self.reach);
        few.x_backends(&self.reach);
        self.done.scaling.clone_from(around.scaling.in_force());
        self.policy_problems = keep_known(&self.policy_problems, few.problems);
        let said = if around.settings.conditions { few.said } else { BTreeMap::new() };
        for gone in self.few_said.iter().filter(|object| !said.contains_key(*object)) {
            self.done.conditions.remove(gone);
        }
        self.few_said = said.keys().cloned().collect();
        said.into_iter().for_each(|(object, status)| keep_or_set(&mut self.done.conditions, object, Some(status)));
    }

    fn collect_problems(&mut self) {
        let routes = self.route_problems.values().flatten();
        let all = self.class_problems.iter().chain(routes).chain(&self.gateway_problems).chain(&self.policy_problems);
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

    fn policies(&mut self, reach: &Reach) {
        for (policy, finding) in self.around.policies.findings() {
            self.problems.push(ObjectProblem { object: policy, problem: finding.problem() });
        }
        for policy in self.around.lookup.objects.backend_tls_policies.values() {
            let gateways = reach.of(targets(&policy.meta.namespace, &policy.targets));
            let controller = &self.around.settings.controller_name;
            let status = self.around.policies.status(policy, &gateways, controller);
            let object = ObjectRef::new(GATEWAY_GROUP, "BackendTLSPolicy", &policy.meta.namespace, &policy.meta.name);
            self.said.insert(object, Status::Policy(status));
        }
    }

    fn scaling(&mut self, reach: &Reach) {
        for (policy, finding) in self.around.scaling.findings() {
            self.problems.push(ObjectProblem { object: policy, problem: finding.problem() });
        }
        for policy in self.around.lookup.objects.scaling_policies.values() {
            let gateways = reach.of(targets(&policy.meta.namespace, &policy.targets));
            let status = self.around.scaling.status(policy, &gateways, &self.around.settings.controller_name);
            let object = ObjectRef::new(HEADGATE_GROUP, "ScalingPolicy", &policy.meta.namespace, &policy.meta.name);
            self.said.insert(object, Status::Policy(status));
        }
    }

    fn traffic(&mut self, reach: &Reach) {
        for (policy, finding) in self.around.traffic.findings() {
            self.problems.push(ObjectProblem { object: policy, problem: finding.problem() });
        }
        for policy in self.around.lookup.objects.traffic_policies.values() {
            let (namespace, name) = (&policy.meta.namespace, &policy.meta.name);
            let gateways = reach.of(targets(namespace, &policy.targets));
            let status = self.around.traffic.status(policy, &gateways, &self.around.settings.controller_name);
            let object = ObjectRef::new(EXPERIMENTAL_GROUP, "XBackendTrafficPolicy", namespace, name);
            self.said.insert(object, Status::Policy(status));
        }
    }

    fn x_backends(&mut self, reach: &Reach) {
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
            let gateways = reach.of([x_backends::key_of(&backend.meta)]);
            let status = x_backends::status(backend, &findings, &gateways, &settings.controller_name);
            self.said.insert(object, Status::Policy(status));
        }
    }

    fn tell(&mut self, object: &ObjectRef, findings: &[Finding]) {
        self.problems.extend(problems_of(object, findings));
    }
}

fn problems_of<'f>(object: &'f ObjectRef, findings: &'f [Finding]) -> impl Iterator<Item = ObjectProblem> + use<'f> {
    findings.iter().map(|finding| ObjectProblem { object: object.clone(), problem: finding.problem() })
}

/// The Gateway of a listener, and its ListenerSet if it is of one.
fn owner(listener: &ListenerName) -> (Key, Option<Key>) {
    let set = listener.set.split_once('/').map(|(namespace, name)| (namespace.into(), name.into()));
    ((listener.namespace.clone(), listener.gateway.clone()), set)
}

/// What is wrong with Gateways and ListenerSets.
fn gateway_problems(around: Around<'_, '_>) -> Vec<ObjectProblem> {
    let mut problems = Vec::new();
    for view in &around.gateways.views {
        let object = Owner::Gateway(Arc::clone(&view.gateway)).object();
        problems.extend(problems_of(&object, &view.findings));
        view.own.iter().for_each(|listener| problems.extend(problems_of(&object, &listener.findings)));
        let is_wrong = |set: &&Arc<SetView>| {
            !set.findings.is_empty() || set.listeners.iter().any(|listener| !listener.findings.is_empty())
        };
        for set in view.sets.iter().filter(is_wrong) {
            let object = set.object();
            problems.extend(problems_of(&object, &set.findings));
            set.listeners.iter().for_each(|listener| problems.extend(problems_of(&object, &listener.findings)));
        }
    }
    let objects = around.lookup.objects;
    for set in objects.listener_sets.values().filter(|set| set.parent.is_gateway()) {
        let key = set.parent.key(&set.meta.namespace);
        if !objects.gateways.contains_key(&key) && around.gateways.find(&key).is_none() {
            let object = Owner::Set(Arc::clone(set)).object();
            let message = format!("Gateway {}/{} does not exist", key.0, key.1);
            let remedy = "name a Gateway that exists; write its namespace if it is another one";
            let problem = Problem::warning(FieldPath::of("spec.parentRef"), message, remedy);
            problems.push(ObjectProblem { object, problem });
        }
    }
    problems
}

/// Through which Gateways Services are reached: those that policies name, so that of all others nothing is kept.
#[derive(Debug, Default)]
struct Reach {
    /// By Service: how many routes lead there from each Gateway.
    by_service: BTreeMap<Key, BTreeMap<Key, usize>>,
}

impl Reach {
    /// Keeps these Services, and no others; what routes say of them is read anew where there are new ones.
    fn keep(&mut self, services: BTreeSet<Key>, told: &BTreeMap<RouteName, Told>) {
        if services.iter().eq(self.by_service.keys()) {
            return;
        }
        self.by_service = services.into_iter().map(|service| (service, BTreeMap::new())).collect();
        told.values().for_each(|told| self.add(told));
    }

    fn add(&mut self, told: &Told) {
        self.each(told, |gateways, gateway| *gateways.entry(gateway).or_default() += 1);
    }

    fn remove(&mut self, told: &Told) {
        self.each(told, |gateways, gateway| {
            if let Some(count) = gateways.get_mut(&gateway) {
                *count -= 1;
                if *count == 0 {
                    gateways.remove(&gateway);
                }
            }
        });
    }

    fn each(&mut self, told: &Told, change: impl Fn(&mut BTreeMap<Key, usize>, Key)) {
        for service in &told.services {
            let Some(gateways) = self.by_service.get_mut(service) else { continue };
            for place in &told.places {
                change(gateways, (place.namespace.clone(), place.gateway.clone()));
            }
        }
    }

    /// The Gateways through which any of these is reached.
    fn of(&self, services: impl IntoIterator<Item = Key>) -> BTreeSet<Key> {
        let gateways = services.into_iter().filter_map(|service| self.by_service.get(&service));
        gateways.flat_map(|gateways| gateways.keys().cloned()).collect()
    }
}

/// The Services that policies and XBackends of all kinds are about.
fn services_of_policies(objects: &Objects) -> BTreeSet<Key> {
    let tls = objects.backend_tls_policies.values().flat_map(|policy| targets(&policy.meta.namespace, &policy.targets));
    let scaling = objects.scaling_policies.values().flat_map(|policy| targets(&policy.meta.namespace, &policy.targets));
    let traffic = objects.traffic_policies.values().flat_map(|policy| targets(&policy.meta.namespace, &policy.targets));
    let hosts = objects.x_backends.values().map(|backend| x_backends::key_of(&backend.meta));
    tls.chain(scaling).chain(traffic).chain(hosts).collect()
}

/// The Services that a policy names.
fn targets(namespace: &str, targets: &[PolicyTarget]) -> impl Iterator<Item = Key> {
    let services = targets.iter().filter(|target| target.group.is_empty() && target.kind == "Service");
    services.map(move |target| (Text::from(namespace), target.name.clone()))
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
fn keep_or_set_named<T, N: Ord>(map: &mut OrdMap<ByName<T>, Arc<T>>, name: &N, value: Option<T>)
where
    T: Named + PartialEq,
    ByName<T>: Borrow<N>,
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
    let mut of_object = HashMap::<&ObjectRef, Vec<&Arc<ObjectProblem>>>::new();
    known.iter().for_each(|known| of_object.entry(&known.object).or_default().push(known));
    let keep = |problem: ObjectProblem| {
        let mut all = of_object.get(&problem.object).into_iter().flatten();
        let equal = all.find(|known| ****known == problem).map(|known| Arc::clone(known));
        equal.unwrap_or_else(|| Arc::new(problem))
    };
    new.into_iter().map(keep).collect()
}
