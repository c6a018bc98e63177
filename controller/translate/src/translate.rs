//! Objects in; routes and conditions out, together, so that the two cannot disagree. Pure and total: no input makes it fail, and equal objects make equal output.

use crate::{
    Key, Objects,
    attachment::attach,
    backend_tls::Policies,
    backends::Backends,
    conditions::{
        ClassStatus, Condition, ConditionType, Finding, GatewayStatus, ParentStatus, Reason, RouteStatus, Status,
    },
    endpoints::endpoints,
    kinds::{AllowedRoutes, From, GATEWAY_GROUP, Gateway, Listener, ObjectMeta, ObjectRef, ParentRef, Protocol},
    listeners::{GatewayView, find_conflicts, listeners},
    lookup::Lookup,
    route::{Resolved, Route},
    schema::{FieldPath, Problem},
};
use headgate_config::{
    Action, ArmTarget, Attachment, BackendName, Certificate, Endpoints, Filter, Host, Rule, Snapshot,
};
use std::collections::{BTreeMap, BTreeSet};

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Classes with this `controllerName` are ours.
    pub controller_name: String,
    /// Domain of the cluster, such as `cluster.local`.
    pub cluster_domain: String,
    /// Serves where no Gateway object exists at all; see `builtin_gateway`.
    pub builtin_gateway: Option<Gateway>,
    /// Without a cluster: routes that name no Gateway, or one that does not exist, attach to the built-in Gateway, and Gateways whose
    /// class does not exist are ours.
    pub adopt_orphans: bool,
    /// All Gateways are served by one process, so that their listeners share its ports: of two that cannot be told apart the one of
    /// the older Gateway serves.
    pub shared_ports: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            controller_name: "headgate.dev/gateway-controller".into(),
            cluster_domain: "cluster.local".into(),
            builtin_gateway: None,
            adopt_orphans: false,
            shared_ports: false,
        }
    }
}

impl Settings {
    /// For a machine without a cluster.
    pub fn standalone() -> Self {
        Self { builtin_gateway: Some(builtin_gateway(80)), adopt_orphans: true, shared_ports: true, ..Self::default() }
    }
}

/// Gateway `headgate` in namespace `headgate`: one listener `http` on a port, for routes of all namespaces.
pub fn builtin_gateway(port: u16) -> Gateway {
    let listener = Listener {
        name: "http".into(),
        port,
        protocol: Protocol::Http,
        allowed_routes: AllowedRoutes { from: From::All, ..AllowedRoutes::default() },
        ..Listener::default()
    };
    Gateway {
        meta: ObjectMeta { name: "headgate".into(), namespace: "headgate".into(), ..ObjectMeta::default() },
        class: "headgate".into(),
        listeners: vec![listener],
        ..Gateway::default()
    }
}

/// All that follows from the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Routes, as the data plane takes them.
    pub snapshot: Snapshot,
    /// Certificates that listeners of the Snapshot name, by name; they travel apart.
    pub certificates: Vec<Certificate>,
    /// Endpoints of the Backends of the Snapshot whose Services have slices.
    pub endpoints: Vec<Endpoints>,
    /// What we say of each object.
    pub conditions: BTreeMap<ObjectRef, Status>,
    /// The same for people: what is wrong, in which object, where.
    pub problems: Vec<ObjectProblem>,
}

/// A problem of an object that was taken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ObjectProblem {
    /// The object.
    pub object: ObjectRef,
    /// What is wrong.
    pub problem: Problem,
}

/// Translates everything.
pub fn translate(objects: &Objects, settings: &Settings) -> Translation {
    let lookup = Lookup::new(objects);
    let policies = Policies::new(&lookup);
    let mut gateways: Vec<GatewayView<'_>> =
        our_gateways(objects, settings).into_iter().map(|gateway| listeners(&lookup, gateway)).collect();
    find_conflicts(&mut gateways, settings.shared_ports);
    let mut work = Work {
        settings,
        lookup: &lookup,
        by_name: gateways.iter().enumerate().map(|(index, view)| (view.gateway.meta.key(), index)).collect(),
        attached: gateways.iter().map(|view| vec![0; view.listeners.len()]).collect(),
        gateways: &gateways,
        backends: Backends::new(&lookup, &policies, &settings.cluster_domain),
        reached: BTreeMap::new(),
        done: Translation::default(),
    };
    work.classes();
    for route in objects.http_routes.values() {
        work.route(Route::Http(route));
    }
    for route in objects.grpc_routes.values() {
        work.route(Route::Grpc(route));
    }
    work.gateways();
    work.policies(&policies);
    work.finish()
}

/// The Gateways that we serve, oldest first.
fn our_gateways<'a>(objects: &'a Objects, settings: &'a Settings) -> Vec<&'a Gateway> {
    if objects.gateways.is_empty() {
        return settings.builtin_gateway.iter().collect();
    }
    let is_ours = |gateway: &&Gateway| match Objects::get(&objects.gateway_classes, "", &gateway.class) {
        Some(class) => class.controller == settings.controller_name && class.parameters.is_none(),
        None => settings.adopt_orphans,
    };
    let mut ours: Vec<&Gateway> = objects.gateways.values().map(AsRef::as_ref).filter(is_ours).collect();
    ours.sort_by_key(|gateway| (gateway.meta.created, gateway.meta.key()));
    ours
}

/// A translation on its way.
struct Work<'w, 'a> {
    settings: &'w Settings,
    lookup: &'w Lookup<'a>,
    gateways: &'w [GatewayView<'a>],
    by_name: BTreeMap<Key, usize>,
    /// By Gateway and listener: how many routes are attached.
    attached: Vec<Vec<u32>>,
    backends: Backends<'w, 'a>,
    /// By Service: the Gateways through which it is reached.
    reached: BTreeMap<Key, BTreeSet<Key>>,
    done: Translation,
}

/// What became of a reference to a parent.
struct Parent<'w> {
    reference: ParentRef,
    gateway: usize,
    result: Result<Vec<crate::attachment::Attached>, Finding>,
    note: &'w str,
}

impl<'w> Work<'w, '_> {
    fn classes(&mut self) {
        for class in self.lookup.objects.gateway_classes.values() {
            if class.controller != self.settings.controller_name {
                continue;
            }
            let mut findings = Vec::new();
            if class.parameters.is_some() {
                let path = FieldPath::of("spec.parametersRef");
                let message = "parameters of this kind are not known";
                findings.push(Finding::new(ConditionType::Accepted, Reason::InvalidParameters, path, message));
            }
            let accepted = Condition::of(ConditionType::Accepted, Reason::Accepted, &findings, class.meta.generation);
            let object = ObjectRef::new(GATEWAY_GROUP, "GatewayClass", "", &class.meta.name);
            self.tell(&object, &findings);
            self.done.conditions.insert(object, Status::Class(ClassStatus { conditions: vec![accepted] }));
        }
    }

    fn route(&mut self, route: Route<'_>) {
        let parents = self.parents(route);
        if parents.is_empty() {
            return;
        }
        let resolved = route.resolve(&mut self.backends);
        let (object, generation) = (route.reference(), route.meta().generation);
        let mut places = BTreeMap::new();
        for parent in &parents {
            match &parent.result {
                Ok(attached) => {
                    places.extend(attached.iter().cloned().map(|(at, hosts)| ((parent.gateway, at), hosts)))
                }
                Err(finding) => self.tell(&object, std::slice::from_ref(finding)),
            }
        }
        self.count(&places);
        self.reach(&resolved.rules, &places);
        self.tell(&object, &resolved.findings);
        let entry = |parent: &Parent<'_>| ParentStatus {
            parent_ref: parent.reference.clone(),
            controller_name: self.settings.controller_name.clone(),
            conditions: route_conditions(parent, &resolved, generation),
        };
        let status = RouteStatus { parents: parents.iter().map(entry).collect() };
        self.done.conditions.insert(object, Status::Route(status));
        self.add_rules(resolved.rules, places);
    }

    /// The parents of a route that are ours, and what became of each.
    fn parents(&mut self, route: Route<'_>) -> Vec<Parent<'w>> {
        let mut parents = Vec::new();
        for (index, reference) in route.parents().iter().enumerate() {
            let at = FieldPath::of("spec.parentRefs").index(index);
            if reference.group != GATEWAY_GROUP || reference.kind != "Gateway" {
                self.warn_of_kind(route, reference, &at);
                continue;
            }
            let namespace = reference.namespace.as_ref().unwrap_or(&route.meta().namespace);
            let key = (namespace.clone(), reference.name.clone());
            if let Some(&gateway) = self.by_name.get(&key) {
                let result = attach(self.lookup, route.candidate(), reference, &self.gateways[gateway], &at);
                parents.push(Parent { reference: reference.clone(), gateway, result, note: "" });
            } else if !self.lookup.objects.gateways.contains_key(&key) {
                match self.adopted(route, reference.clone(), &at) {
                    Some(parent) => parents.push(parent),
                    None => self.warn_of_missing(route, &key, &at),
                }
            }
        }
        if route.parents().is_empty() {
            let at = FieldPath::of("spec.parentRefs");
            match self.builtin().map(|gateway| gateway.gateway.meta.key()) {
                Some((namespace, name)) if self.settings.adopt_orphans => {
                    parents.extend(self.adopted(route, ParentRef::gateway(&namespace, &name), &at));
                }
                _ => self.warn_of_orphan(route, at),
            }
        }
        parents
    }

    fn builtin(&self) -> Option<&'w GatewayView<'w>> {
        let builtin = self.settings.builtin_gateway.as_ref().filter(|_| self.lookup.objects.gateways.is_empty())?;
        self.by_name.get(&builtin.meta.key()).map(|&index| &self.gateways[index])
    }

    /// A reference to a Gateway that does not exist, attached to the built-in one if the settings allow it.
    fn adopted(&self, route: Route<'_>, reference: ParentRef, at: &FieldPath) -> Option<Parent<'w>> {
        let view = self.builtin().filter(|_| self.settings.adopt_orphans)?;
        let (namespace, name) = view.gateway.meta.key();
        let gateway = *self.by_name.get(&(namespace.clone(), name.clone()))?;
        let any_listener = ParentRef::gateway(&namespace, &name);
        let result = attach(self.lookup, route.candidate(), &any_listener, view, at);
        Some(Parent { reference, gateway, result, note: "attached to the built-in Gateway" })
    }

    /// A parent of the Gateway API that is no Gateway; parents of other groups are other people's.
    fn warn_of_kind(&mut self, route: Route<'_>, reference: &ParentRef, at: &FieldPath) {
        if reference.group == GATEWAY_GROUP {
            let message = format!("parents of kind {} are not supported", reference.kind);
            let problem = Problem::warning(at.key("kind"), message, "name a Gateway");
            self.done.problems.push(ObjectProblem { object: route.reference(), problem });
        }
    }

    fn warn_of_missing(&mut self, route: Route<'_>, (namespace, name): &Key, at: &FieldPath) {
        let message = format!("Gateway {namespace}/{name} does not exist");
        let remedy = "name a Gateway that exists; write its namespace if it is another one";
        let problem = Problem::warning(at.clone(), message, remedy);
        self.done.problems.push(ObjectProblem { object: route.reference(), problem });
    }

    fn warn_of_orphan(&mut self, route: Route<'_>, at: FieldPath) {
        let problem =
            Problem::warning(at, "names no Gateway, so the route serves nothing", "write parentRefs: with a Gateway");
        self.done.problems.push(ObjectProblem { object: route.reference(), problem });
    }

    /// Counts a route once on each of its listeners, those that do not serve included: the number says how many routes wait for it.
    fn count(&mut self, places: &BTreeMap<(usize, usize), Vec<Host>>) {
        for (gateway, listener) in places.keys() {
            self.attached[*gateway][*listener] += 1;
        }
    }

    fn reach(&mut self, rules: &[Rule], places: &BTreeMap<(usize, usize), Vec<Host>>) {
        let gateways: BTreeSet<Key> =
            places.keys().map(|(gateway, _)| self.gateways[*gateway].gateway.meta.key()).collect();
        for name in rules.iter().flat_map(named_backends) {
            self.reached.entry((name.namespace, name.service)).or_default().extend(gateways.iter().cloned());
        }
    }

    fn add_rules(&mut self, rules: Vec<Rule>, places: BTreeMap<(usize, usize), Vec<Host>>) {
        let attachment = |((gateway, listener), hosts): ((usize, usize), Vec<Host>)| {
            let view = &self.gateways[gateway].listeners[listener];
            view.serves().then(|| Attachment { listener: view.name.clone(), hosts })
        };
        let attachments: Vec<Attachment> = places.into_iter().filter_map(attachment).collect();
        if attachments.is_empty() {
            return;
        }
        for mut rule in rules {
            rule.attachments = attachments.clone();
            self.done.snapshot.rules.insert(rule.name.clone(), rule.into());
        }
    }

    fn gateways(&mut self) {
        for (view, attached) in self.gateways.iter().zip(self.attached.clone()) {
            let meta = &view.gateway.meta;
            let object = ObjectRef::new(GATEWAY_GROUP, "Gateway", &meta.namespace, &meta.name);
            self.tell(&object, &view.findings);
            for listener in &view.listeners {
                self.tell(&object, &listener.findings);
                if listener.serves() {
                    self.done.snapshot.listeners.insert(listener.name.clone(), listener.to_config());
                    self.done.certificates.extend(listener.certificates.iter().cloned());
                }
            }
            self.done.conditions.insert(object, Status::Gateway(gateway_status(view, &attached)));
        }
        self.done.certificates.sort_by(|a, b| a.name.cmp(&b.name));
        self.done.certificates.dedup_by(|a, b| a.name == b.name);
    }

    fn policies(&mut self, policies: &Policies) {
        for (policy, finding) in policies.findings() {
            self.done.problems.push(ObjectProblem { object: policy, problem: finding.problem() });
        }
        for policy in self.lookup.objects.backend_tls_policies.values() {
            let targets = policy.targets.iter().filter(|target| target.group.is_empty() && target.kind == "Service");
            let services = targets.map(|target| (policy.meta.namespace.clone(), target.name.clone()));
            let gateways = services.filter_map(|key| self.reached.get(&key)).flatten().cloned().collect();
            let status = policies.status(policy, &gateways, &self.settings.controller_name);
            let object = ObjectRef::new(GATEWAY_GROUP, "BackendTLSPolicy", &policy.meta.namespace, &policy.meta.name);
            self.done.conditions.insert(object, Status::Policy(status));
        }
    }

    /// Keeps the Backends that rules of the Snapshot name, and finds their endpoints.
    fn finish(mut self) -> Translation {
        let named: BTreeSet<BackendName> =
            self.done.snapshot.rules.values().flat_map(|rule| named_backends(rule)).collect();
        self.done.snapshot.backends = self
            .backends
            .made
            .into_iter()
            .filter(|(name, _)| named.contains(name))
            .map(|(name, made)| (name, std::sync::Arc::new(made)))
            .collect();
        for name in &named {
            match endpoints(self.lookup, name) {
                Some(endpoints) => self.done.endpoints.push(endpoints),
                None if self.settings.adopt_orphans => self.done.problems.extend(without_endpoints(self.lookup, name)),
                None => {}
            }
        }
        self.done
    }

    fn tell(&mut self, object: &ObjectRef, findings: &[Finding]) {
        let told = findings.iter().map(|finding| ObjectProblem { object: object.clone(), problem: finding.problem() });
        self.done.problems.extend(told);
    }
}

/// Without a cluster nobody else makes slices: a Service that does not scale and has none will never serve.
fn without_endpoints(lookup: &Lookup<'_>, name: &BackendName) -> Option<ObjectProblem> {
    let key = (name.namespace.clone(), name.service.clone());
    if lookup.objects.traits.contains_key(&key) {
        return None;
    }
    let message = "has no EndpointSlice, so its requests are answered 503";
    let remedy = format!("add an EndpointSlice with the label kubernetes.io/service-name: {}", name.service);
    let problem = Problem::warning(FieldPath::of("metadata.name"), message, remedy);
    Some(ObjectProblem { object: ObjectRef::new("", "Service", &name.namespace, &name.service), problem })
}

/// The Backends that a rule names.
fn named_backends(rule: &Rule) -> Vec<BackendName> {
    let arms = match &rule.action {
        Action::Forward(split) => split.arms.as_slice(),
        Action::Invalid(_) => &[],
    };
    let targets = arms.iter().filter_map(|arm| match &arm.target {
        ArmTarget::Backend(name) => Some(name.clone()),
        ArmTarget::Invalid(_) => None,
    });
    let filters = rule.filters.iter().chain(arms.iter().flat_map(|arm| &arm.filters));
    let mirrors = filters.filter_map(|filter| match filter {
        Filter::Mirror { backend, .. } => Some(backend.clone()),
        _ => None,
    });
    targets.chain(mirrors).collect()
}

/// Conditions of a route for one parent.
fn route_conditions(parent: &Parent<'_>, resolved: &Resolved, generation: i64) -> Vec<Condition> {
    let findings = &resolved.findings;
    let resolved_refs = Condition::of(ConditionType::ResolvedRefs, Reason::ResolvedRefs, findings, generation);
    let refused = match &parent.result {
        Err(finding) => Some((finding.reason, finding.text())),
        Ok(_) if resolved.valid == 0 && resolved.declared > 0 => {
            let first = findings.iter().find(|finding| finding.kind == ConditionType::Accepted);
            first.map(|finding| (finding.reason, format!("no rule can be served: {}", finding.text())))
        }
        Ok(_) => None,
    };
    if let Some((reason, message)) = refused {
        return vec![Condition::wrong(ConditionType::Accepted, reason, message, generation), resolved_refs];
    }
    let mut accepted = Condition::fine(ConditionType::Accepted, Reason::Accepted, generation);
    accepted.message = parent.note.to_owned();
    let mut conditions = vec![accepted, resolved_refs];
    let partial = |finding: &&Finding| finding.kind == ConditionType::Accepted;
    if let Some(first) = findings.iter().find(partial) {
        let message = format!("Dropped Rule: {}", first.text());
        conditions.push(Condition::wrong(ConditionType::PartiallyInvalid, first.reason, message, generation));
    }
    conditions
}

/// Status of a Gateway from its listeners and the numbers of routes attached to them.
fn gateway_status(view: &GatewayView<'_>, attached: &[u32]) -> GatewayStatus {
    let generation = view.gateway.meta.generation;
    let listeners: Vec<_> =
        view.listeners.iter().zip(attached).map(|(listener, routes)| listener.status(*routes, generation)).collect();
    let serving = view.listeners.iter().filter(|listener| listener.serves()).count();
    let invalid: Vec<&str> = view
        .listeners
        .iter()
        .filter(|listener| listener.findings.iter().any(|finding| finding.kind != ConditionType::ResolvedRefs))
        .map(|listener| listener.spec.name.as_str())
        .collect();
    let mut accepted = Condition::of(ConditionType::Accepted, Reason::Accepted, &view.findings, generation);
    if accepted.status && !invalid.is_empty() {
        let message = format!("listeners that are not valid: {}; see their conditions", invalid.join(", "));
        accepted = Condition::wrong(ConditionType::Accepted, Reason::ListenersNotValid, message, generation);
        accepted.status = invalid.len() < view.listeners.len();
    }
    let programmed = if accepted.status && serving > 0 {
        Condition::fine(ConditionType::Programmed, Reason::Programmed, generation)
    } else {
        let message = "no listener serves; see the conditions of the listeners";
        Condition::wrong(ConditionType::Programmed, Reason::Invalid, message, generation)
    };
    let mut conditions = vec![accepted, programmed];
    if view.gateway.backend_certificate.is_some() {
        conditions.push(Condition::of(ConditionType::ResolvedRefs, Reason::ResolvedRefs, &view.findings, generation));
    }
    let insecure = Condition::of(
        ConditionType::InsecureFrontendValidationMode,
        Reason::ConfigurationChanged,
        &view.findings,
        generation,
    );
    if insecure.message.is_empty() {
        return GatewayStatus { conditions, listeners };
    }
    conditions.push(insecure);
    GatewayStatus { conditions, listeners }
}
