//! What becomes of one route: its rules, its status and its problems. A pure function of the route and of what it names; it remembers nothing.

use crate::{
    Key, ObjectProblem, Settings,
    attachment::{Attached, attach},
    backend_tls::Policies,
    backends::Backends,
    conditions::{Condition, ConditionType, Finding, IngressStatus, ParentStatus, Reason, RouteStatus, Status},
    gateways::Gateways,
    ingress::ServedIngress,
    kinds::{BackendRef, GATEWAY_GROUP, ParentRef},
    listeners::{GatewayView, Place},
    lookup::Lookup,
    route::{Resolved, Route},
    scaling::Scaling,
    schema::{FieldPath, Problem},
    traffic::Traffic,
    x_backends,
};
use headgate_config::{Attachment, GatewayName, Host, List, ListenerName, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// All that routes look at.
#[derive(Clone, Copy)]
pub(crate) struct Around<'w, 'a> {
    pub settings: &'w Settings,
    pub lookup: &'w Lookup<'a>,
    pub gateways: &'w Gateways,
    pub policies: &'w Policies,
    pub scaling: &'w Scaling,
    pub traffic: &'w Traffic,
}

impl<'w, 'a> Around<'w, 'a> {
    /// Where references lead.
    pub fn backends(self) -> Backends<'w, 'a> {
        Backends::new(self.lookup, self.policies, self.traffic, &self.settings.cluster_domain)
    }
}

/// What became of a route.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Its rules, where it is attached to a listener that serves.
    pub rules: Vec<Rule>,
    /// What is wrong with it.
    pub problems: Vec<ObjectProblem>,
    /// What is said of it and counted elsewhere, if it has a parent of ours and the settings want to know.
    pub told: Option<(Status, Told)>,
}

/// What a route adds to the status of others.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The listeners that it is attached to, those that do not serve included: the number says how many routes wait for one.
    pub places: List<ListenerName>,
    /// Whether these count it: an Ingress is no route to them.
    pub is_counted: bool,
    /// The Services that it names, in order.
    pub services: Box<[Key]>,
}

/// By the index of a Gateway, and its listener: the hosts there.
type Places = BTreeMap<(usize, Place), Vec<Host>>;

/// What became of a reference to a parent.
struct Parent {
    reference: ParentRef,
    gateway: usize,
    result: Result<Vec<Attached>, Finding>,
    note: &'static str,
}

/// What becomes of a route; of an Ingress, what becomes of all its routes.
pub(crate) fn outcome(route: Route<'_>, around: Around<'_, '_>) -> Outcome {
    let Route::Ingress(ingress, _) = route else { return of_one(route, around) };
    let object = route.reference();
    let own = ingress.problems.iter().map(|problem| ObjectProblem { object: object.clone(), problem: problem.clone() });
    let mut whole = Outcome { problems: own.collect(), ..Outcome::default() };
    let (mut places, mut services) = (Vec::new(), BTreeSet::new());
    for part in (0..ingress.routes.len()).map(|at| of_one(Route::Ingress(ingress, at), around)) {
        whole.rules.extend(part.rules);
        let new = part.problems.into_iter().filter(|problem| !whole.problems.contains(problem));
        let new: Vec<ObjectProblem> = new.collect();
        whole.problems.extend(new);
        if let Some((_, told)) = part.told {
            places.extend(told.places.iter().cloned());
            services.extend(told.services);
        }
    }
    let gateway =
        |place: &ListenerName| GatewayName { namespace: place.namespace.to_string(), name: place.gateway.to_string() };
    let gateways: BTreeSet<GatewayName> = places.iter().map(gateway).collect();
    if !gateways.is_empty() {
        let all = Told { places: places.into(), is_counted: false, services: services.into_iter().collect() };
        whole.told = Some((Status::Ingress(IngressStatus { gateways }), all));
    }
    whole
}

fn of_one(route: Route<'_>, around: Around<'_, '_>) -> Outcome {
    let mut work = Work { route, around, problems: Vec::new() };
    let parents = work.parents();
    if parents.is_empty() {
        return Outcome { problems: work.problems, ..Outcome::default() };
    }
    let resolved = route.resolve(&around.backends());
    let mut places = Places::new();
    for parent in &parents {
        match &parent.result {
            Ok(attached) => places.extend(attached.iter().cloned().map(|(at, hosts)| ((parent.gateway, at), hosts))),
            Err(finding) => work.tell(std::slice::from_ref(finding)),
        }
    }
    work.tell(&resolved.findings);
    let told = around.settings.conditions.then(|| work.told(&parents, &resolved, &places));
    Outcome { rules: work.attached(resolved.rules, places), problems: work.problems, told }
}

/// One route on its way.
struct Work<'w, 'a> {
    route: Route<'w>,
    around: Around<'w, 'a>,
    problems: Vec<ObjectProblem>,
}

impl Work<'_, '_> {
    /// The parents of the route that are ours, and what became of each.
    fn parents(&mut self) -> Vec<Parent> {
        let (route, around) = (self.route, self.around);
        if let Route::Ingress(ingress, at) = route {
            return self.parents_of_ingress(ingress, at);
        }
        let mut parents = Vec::new();
        for (index, reference) in route.parents().iter().enumerate() {
            let at = FieldPath::of("spec.parentRefs").index(index);
            if reference.is_listener_set() {
                parents.extend(self.listener_set(reference, &at));
                continue;
            }
            if !reference.is_gateway() {
                self.warn_of_kind(reference, &at);
                continue;
            }
            let key = reference.key(&route.meta().namespace);
            if let Some(gateway) = around.gateways.find(&key) {
                let result = attach(around.lookup, route.candidate(), reference, self.view(gateway), None, &at);
                parents.push(Parent { reference: reference.clone(), gateway, result, note: "" });
            } else if !around.lookup.objects.gateways.contains_key(&key) {
                match self.adopted(reference.clone(), &at) {
                    Some(parent) => parents.push(parent),
                    None => self.warn_of_missing("Gateway", &key, &at),
                }
            }
        }
        self.add_default_gateways(&mut parents);
        if route.parents().is_empty() && parents.is_empty() {
            let at = FieldPath::of("spec.parentRefs");
            let any = around.gateways.builtin().map(|builtin| self.view(builtin).gateway.meta.key());
            let parent = any.and_then(|(namespace, name)| self.adopted(ParentRef::gateway(&namespace, &name), &at));
            match parent {
                Some(parent) => parents.push(parent),
                None => self.warn_of_orphan(at),
            }
        }
        parents
    }

    /// The default Gateways that the route asks for, as if it named them (GEP-3793): those that its own references do not name.
    fn add_default_gateways(&self, parents: &mut Vec<Parent>) {
        let (route, around) = (self.route, self.around);
        let is_named = |parent: &&Parent| parent.reference.is_gateway();
        let named: Vec<usize> = parents.iter().filter(is_named).map(|parent| parent.gateway).collect();
        for (gateway, view) in around.gateways.views.iter().enumerate() {
            if !view.gateway.default_scope.takes(route.default_gateways()) || named.contains(&gateway) {
                continue;
            }
            let (namespace, name) = view.gateway.meta.key();
            let reference = ParentRef::gateway(&namespace, &name);
            let at = FieldPath::of("spec.useDefaultGateways");
            let result = attach(around.lookup, route.candidate(), &reference, view, None, &at);
            parents.push(Parent { reference, gateway, result, note: "attached to a default Gateway" });
        }
    }

    /// The Gateways on which a route of an Ingress is served: the one that its class names, or all.
    fn parents_of_ingress(&mut self, ingress: &ServedIngress, at: usize) -> Vec<Parent> {
        let (around, mut parents, mut refused) = (self.around, Vec::new(), None);
        let part = &ingress.routes[at];
        for (gateway, view) in around.gateways.views.iter().enumerate() {
            let (namespace, name) = view.gateway.meta.key();
            if ingress.gateway.as_ref().is_some_and(|named| *named != (namespace.clone(), name.clone())) {
                continue;
            }
            let reference = ParentRef::gateway(&namespace, &name);
            for set in std::iter::once(None).chain((0..view.sets.len()).map(Some)) {
                let path = FieldPath::of("spec");
                match attach(around.lookup, self.route.candidate(), &reference, view, set, &path) {
                    Ok(mut attached) => {
                        attached.retain(|(place, _)| part.scheme.fits(&view.listener(*place).spec().protocol));
                        let result = Ok(attached);
                        parents.push(Parent { reference: reference.clone(), gateway, result, note: "" });
                    }
                    Err(finding) => drop(refused.get_or_insert(finding.message)),
                }
            }
        }
        let protocols = parents.iter().filter_map(|parent| Some((parent.gateway, parent.result.as_ref().ok()?)));
        let protocols = protocols.flat_map(|(gateway, attached)| {
            attached.iter().map(move |(place, _)| &around.gateways.views[gateway].listener(*place).spec().protocol)
        });
        let problem = ingress.served_badly(part, protocols, refused.as_deref());
        problem.into_iter().for_each(|problem| self.warn(problem));
        parents
    }

    /// A reference to a ListenerSet; `None` for one of somebody else's Gateway, and for one that does not exist.
    fn listener_set(&mut self, reference: &ParentRef, at: &FieldPath) -> Option<Parent> {
        let key = reference.key(&self.route.meta().namespace);
        let Some((gateway, set)) = self.around.gateways.find_set(&key) else {
            if !self.around.lookup.objects.listener_sets.contains_key(&key) {
                self.warn_of_missing("ListenerSet", &key, at);
            }
            return None;
        };
        let view = self.view(gateway);
        let result = attach(self.around.lookup, self.route.candidate(), reference, view, Some(set), at);
        Some(Parent { reference: reference.clone(), gateway, result, note: "" })
    }

    /// A reference to a Gateway that does not exist, attached to the built-in one if the settings allow it.
    fn adopted(&self, reference: ParentRef, at: &FieldPath) -> Option<Parent> {
        let gateway = self.around.gateways.builtin().filter(|_| self.around.settings.adopt_orphans)?;
        let view = self.view(gateway);
        let (namespace, name) = view.gateway.meta.key();
        let any_listener = ParentRef::gateway(&namespace, &name);
        let result = attach(self.around.lookup, self.route.candidate(), &any_listener, view, None, at);
        Some(Parent { reference, gateway, result, note: "attached to the built-in Gateway" })
    }

    /// A parent of the Gateway API that is no Gateway; parents of other groups are other people's.
    fn warn_of_kind(&mut self, reference: &ParentRef, at: &FieldPath) {
        if reference.group == GATEWAY_GROUP {
            let message = format!("parents of kind {} are not supported", reference.kind);
            self.warn(Problem::warning(at.key("kind"), message, "name a Gateway or a ListenerSet"));
        }
    }

    fn warn_of_missing(&mut self, kind: &str, (namespace, name): &Key, at: &FieldPath) {
        let message = format!("{kind} {namespace}/{name} does not exist");
        let remedy = format!("name a {kind} that exists; write its namespace if it is another one");
        self.warn(Problem::warning(at.clone(), message, remedy));
    }

    fn warn_of_orphan(&mut self, at: FieldPath) {
        let message = "names no Gateway, so the route serves nothing";
        self.warn(Problem::warning(at, message, "write parentRefs: with a Gateway"));
    }

    fn warn(&mut self, problem: Problem) {
        self.problems.push(ObjectProblem { object: self.route.reference(), problem });
    }

    fn tell(&mut self, findings: &[Finding]) {
        let object = self.route.reference();
        for finding in findings {
            let mut problem = finding.problem();
            problem.path = self.route.written_at(&problem.path);
            self.problems.push(ObjectProblem { object: object.clone(), problem });
        }
    }

    fn told(&self, parents: &[Parent], resolved: &Resolved, places: &Places) -> (Status, Told) {
        let entry = |parent: &Parent| ParentStatus {
            parent_ref: parent.reference.clone(),
            controller_name: self.around.settings.controller_name.clone(),
            conditions: route_conditions(parent, resolved, self.route.meta().generation),
        };
        let status = RouteStatus { parents: parents.iter().map(entry).collect() };
        let place = |(gateway, place): &(usize, Place)| self.view(*gateway).listener(*place).name.clone();
        let named = resolved.rules.iter().flat_map(Rule::backends);
        // of an XBackend that is refused no rule has anything
        let namespace = &self.route.meta().namespace;
        let is_own = |backend: &&BackendRef| {
            backend.is_x_backend() && backend.namespace.as_ref().is_none_or(|other| other == namespace)
        };
        let own = self.route.backends().filter(is_own);
        let own = own.map(|backend| (namespace.clone(), x_backends::service_name(&backend.name).into()));
        let services = named.map(|name| (name.namespace.clone(), name.service.clone())).chain(own);
        let services: BTreeSet<Key> = services.collect();
        (
            Status::Route(status),
            Told {
                places: places.keys().map(place).collect(),
                is_counted: true,
                services: services.into_iter().collect(),
            },
        )
    }

    fn view(&self, gateway: usize) -> &GatewayView {
        &self.around.gateways.views[gateway]
    }

    /// The rules with the listeners that serve; none where there is no such listener.
    fn attached(&self, mut rules: Vec<Rule>, places: Places) -> Vec<Rule> {
        let attachment = |((gateway, place), hosts): ((usize, Place), Vec<Host>)| {
            let view = self.view(gateway).listener(place);
            view.serves().then(|| Attachment { listener: view.name.clone(), hosts })
        };
        let attachments: List<Attachment> = places.into_iter().filter_map(attachment).collect();
        if attachments.is_empty() {
            return Vec::new();
        }
        rules.iter_mut().for_each(|rule| rule.attachments = attachments.clone());
        rules
    }
}

/// Conditions of a route for one parent.
fn route_conditions(parent: &Parent, resolved: &Resolved, generation: i64) -> Vec<Condition> {
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
    } else {
        conditions.extend(Condition::partially(findings, generation));
    }
    conditions
}
