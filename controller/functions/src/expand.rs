//! `expand`: all functions at once, into the objects that `translate` works on. Pure; an object that a person wrote is never replaced.

use crate::{
    kinds::{Function, GatewayTarget, NamespacedName, OfGateway},
    places::Places,
    plan::{Plan, plan, retire},
    revision::{Observed, Revision},
    route::{FunctionRoute, SERVICE_PORT, route},
};
use headgate_config::{BackendProtocol, Probe, Text};
use headgate_translate::{
    AliasArm, Objects, ServiceTraits,
    kinds::{HTTPRoute, Object, ObjectMeta, Service, ServicePort, TargetPort},
    schema::{FieldPath, Problem},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What functions are expanded with.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// All functions.
    pub functions: &'a [Function],
    /// All OpenFunction Gateways.
    pub gateways: &'a [OfGateway],
    /// What people wrote of other kinds; nothing of it is replaced.
    pub objects: &'a Objects,
    /// Records of the last plans.
    pub revisions: &'a BTreeMap<NamespacedName, Vec<Revision>>,
    /// What is seen of revisions.
    pub observed: &'a BTreeMap<NamespacedName, Observed>,
    /// What holds where nobody wrote anything.
    pub defaults: &'a Defaults,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// What holds where nobody wrote anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Domain of the built-in gateway `openfunction/openfunction`.
    pub domain: String,
    /// Port of its listeners.
    pub port: u16,
    /// Class of Gateways that are made.
    pub class: String,
    /// Where the Gateway behind the built-in one is made, and its Service `gateway`.
    pub namespace: String,
    /// How names end within the cluster.
    pub cluster_domain: String,
    /// Make the Gateway that a `gatewayRef` names where there is none: without a cluster nobody else would.
    pub make_gateways: bool,
}

impl Default for Defaults {
    /// Those of a machine with no cluster.
    fn default() -> Self {
        Self {
            domain: "localhost".into(),
            port: 80,
            class: "headgate".into(),
            namespace: "openfunction".into(),
            cluster_domain: "cluster.local".into(),
            make_gateways: true,
        }
    }
}

impl Defaults {
    /// The gateway `openfunction/openfunction` where nobody wrote one.
    pub fn gateway(&self) -> OfGateway {
        let target = GatewayTarget::Made {
            gateway: NamespacedName::new(self.namespace.clone(), "openfunction"),
            class: self.class.clone(),
        };
        let mut gateway = OfGateway::built_in(&self.domain, self.port, target);
        gateway.entry_namespace.clone_from(&self.namespace);
        gateway.set_cluster_domain(&self.cluster_domain);
        gateway
    }
}

/// What comes out.
#[derive(Clone, Debug, Default)]
pub struct Expansion {
    /// Gateways, HTTPRoutes, Services, traits and aliases; see [`Expansion::merge_into`].
    pub objects: Objects,
    /// What should run, by function; also of functions that are gone, until nothing of them runs.
    pub plans: BTreeMap<NamespacedName, Plan>,
    /// Where functions are found; those that HTTP does not call have none.
    pub routes: BTreeMap<NamespacedName, FunctionRoute>,
    /// Problems by the object whose fields they name.
    pub problems: Vec<(Subject, Problem)>,
}

/// The object that a problem is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A Function.
    Function(NamespacedName),
    /// An OpenFunction Gateway.
    Gateway(NamespacedName),
}

/// Expands all functions.
pub fn expand(input: &Input<'_>) -> Expansion {
    let mut expansion = Expansion::default();
    let mut gateways = input.gateways.to_vec();
    gateways.extend(built_in(input));
    for gateway in gateways.iter().filter(|gateway| !is_adopted(gateway, input)) {
        expansion.add_gateway(gateway, input);
    }
    let none = (Vec::new(), Observed::default());
    let names: BTreeSet<NamespacedName> = input.functions.iter().map(Function::reference).collect();
    for function in input.functions {
        let name = function.reference();
        let revisions = input.revisions.get(&name).unwrap_or(&none.0);
        let plan = plan(function, revisions, input.observed.get(&name).unwrap_or(&none.1), input.now_ms);
        if function.http().is_some() {
            expansion.add_services(function, &plan, &names, input);
            expansion.add_route(function, &plan, &gateways, input);
        }
        expansion.plans.insert(name, plan);
    }
    for (name, revisions) in input.revisions {
        if !revisions.is_empty() && !expansion.plans.contains_key(name) {
            let observed = input.observed.get(name).unwrap_or(&none.1);
            expansion.plans.insert(name.clone(), retire(&name.name, revisions, observed, input.now_ms));
        }
    }
    expansion.find_collisions(input.functions);
    expansion
}

/// The built-in gateway, if a function wants it and nobody wrote it.
fn built_in(input: &Input<'_>) -> Option<OfGateway> {
    let mut gateway = input.defaults.gateway();
    let own = gateway.reference();
    let wanted = input.functions.iter().filter_map(Function::http).any(|(_, http)| http.route.gateway == own);
    let written = input.gateways.iter().any(|gateway| gateway.reference() == own);
    if is_adopted(&gateway, input) {
        gateway.take_any_host();
    }
    (wanted && !written).then_some(gateway)
}

/// Where nobody wrote a Gateway of any kind, `translate` has one of its own for any host, which adopts routes whose Gateway does
/// not exist: those of functions and those of people alike. Making one for functions would leave people's routes without.
fn is_adopted(gateway: &OfGateway, input: &Input<'_>) -> bool {
    let nothing_written = input.gateways.is_empty() && input.objects.gateways.is_empty();
    nothing_written && input.defaults.make_gateways && matches!(gateway.target, GatewayTarget::Made { .. })
}

impl Expansion {
    fn warn(&mut self, function: &Function, path: FieldPath, message: String, remedy: &str) {
        self.problems.push((Subject::Function(function.reference()), Problem::warning(path, message, remedy)));
    }

    fn add_gateway(&mut self, gateway: &OfGateway, input: &Input<'_>) {
        let reference = gateway.target.gateway();
        let key = (Text::from(&reference.namespace), Text::from(&reference.name));
        // a Gateway that another OpenFunction Gateway has added to already, or the one that was written
        let before = self.objects.gateways.get(&key).or_else(|| input.objects.gateways.get(&key));
        let missing = before.is_none() && matches!(gateway.target, GatewayTarget::Existing(_));
        if missing && !input.defaults.make_gateways {
            let message = format!("names Gateway {reference}, which does not exist: functions on it are not reachable");
            let remedy = "create it, or write gatewayDef: {namespace, gatewayClassName} instead";
            let problem = Problem::warning(FieldPath::of("spec.gatewayRef"), message, remedy);
            self.problems.push((Subject::Gateway(gateway.reference()), problem));
            return;
        }
        let mut made = gateway.kubernetes_gateway(before.map(AsRef::as_ref));
        if made.class.is_empty() {
            made.class.clone_from(&input.defaults.class);
        }
        self.objects.insert(Object::Gateway(made.into()));
    }

    /// Services, traits and aliases.
    fn add_services(
        &mut self,
        function: &Function,
        plan: &Plan,
        functions: &BTreeSet<NamespacedName>,
        input: &Input<'_>,
    ) {
        let namespace = &function.meta.namespace;
        let key = |name: &str| (namespace.clone(), Text::from(name));
        for revision in plan.revisions.iter().filter(|revision| !revision.dropped) {
            self.objects.insert(Object::Service(revision_service(namespace, revision).into()));
            self.objects.traits.insert(key(&revision.name), traits(function, revision));
        }
        for (alias, arms) in &plan.aliases {
            let is_function = *alias == function.meta.name;
            let taken = if input.objects.services.contains_key(&key(alias)) {
                Some("a Service")
            } else {
                let other = NamespacedName::new(namespace.clone(), alias.clone());
                (!is_function && functions.contains(&other)).then_some("another function")
            };
            if let Some(taken) = taken {
                let field = if is_function { "metadata.name" } else { "spec.version" };
                let message = format!("makes the name {alias}, which {taken} has: it does not lead to this function");
                self.warn(function, FieldPath::of(field), message, "give one of both another name");
                continue;
            }
            if !is_function {
                self.objects.insert(Object::Service(service(namespace, alias, None, function.protocol).into()));
            }
            let arms = arms.iter().map(|(service, weight)| AliasArm {
                service: service.clone(),
                port: SERVICE_PORT,
                weight: *weight,
            });
            self.objects.aliases.insert(key(alias), arms.collect());
        }
    }

    fn add_route(&mut self, function: &Function, plan: &Plan, gateways: &[OfGateway], input: &Input<'_>) {
        let Some((_, http)) = function.http() else { return };
        let wanted = &http.route.gateway;
        let Some(gateway) = gateways.iter().find(|gateway| gateway.reference() == *wanted) else {
            let path = function.route_path().key("gatewayRef");
            let message =
                format!("names OpenFunction Gateway {wanted}, which does not exist: the function has no route");
            self.warn(function, path, message, "create it, or leave out gatewayRef for openfunction/openfunction");
            return;
        };
        let Some(mut route) = route(function, gateway, &plan.weights) else { return };
        let subject = Subject::Function(function.reference());
        self.problems.extend(route.problems.iter().map(|problem| (subject.clone(), problem.clone())));
        let key = function.meta.key();
        if input.objects.http_routes.contains_key(&key) {
            // a name that no person is likely to have taken
            route.http_route.meta.name = format!("{}.function", function.meta.name).into();
            let message = format!(
                "is also the name of an HTTPRoute: the function's own is called {}",
                route.http_route.meta.name
            );
            self.warn(function, FieldPath::of("metadata.name"), message, "rename the HTTPRoute to keep them apart");
        }
        if !input.objects.services.contains_key(&key) {
            self.objects.insert(Object::Service(route.service.clone().into()));
        }
        self.objects.insert(Object::HTTPRoute(route.http_route.clone().into()));
        self.routes.insert(function.reference(), route);
    }

    /// Functions that want the same host and match: the older one wins, then the first by name.
    fn find_collisions(&mut self, functions: &[Function]) {
        let mut order: Vec<&Function> = functions.iter().collect();
        order.sort_by_key(|function| (function.meta.created, function.reference()));
        let mut places = Places::default();
        for function in &order {
            places.set(function, self.routes.get(&function.reference()));
        }
        for function in order {
            let lost = places.lost(function).into_iter();
            self.problems.extend(lost.map(|problem| (Subject::Function(function.reference()), problem)));
        }
    }

    /// Puts the objects among those that people wrote; Gateways with added listeners take the place of the written ones.
    pub fn merge_into(&self, objects: &mut Objects) {
        objects.gateways.extend(self.objects.gateways.clone());
        objects.http_routes.extend(self.objects.http_routes.clone());
        objects.services.extend(self.objects.services.clone());
        objects.traits.extend(self.objects.traits.clone());
        objects.aliases.extend(self.objects.aliases.clone());
    }

    /// `status` of a Function in the words of OpenFunction; null for a function that was not expanded.
    pub fn status(&self, function: &NamespacedName) -> Value {
        let Some(plan) = self.plans.get(function) else { return Value::Null };
        let status = &plan.status;
        let mut all = self.routes.get(function).map_or_else(|| json!({}), FunctionRoute::status);
        all["serving"] = json!({"state": status.state});
        for (key, text) in [("reason", &status.reason), ("message", &status.message)] {
            if !text.is_empty() {
                all["serving"][key] = json!(text);
            }
        }
        if let Some(service) = &status.serving {
            all["serving"]["service"] = json!(service);
        }
        all
    }

    /// The HTTPRoute of a function.
    pub fn http_route(&self, function: &NamespacedName) -> Option<&HTTPRoute> {
        self.routes.get(function).map(|route| &route.http_route)
    }
}

fn revision_service(namespace: &str, revision: &Revision) -> Service {
    let target = TargetPort::Number(revision.template.port);
    service(namespace, &revision.name, Some(target), revision.template.protocol)
}

fn service(namespace: &str, name: &str, target: Option<TargetPort>, protocol: BackendProtocol) -> Service {
    let app_protocol = matches!(protocol, BackendProtocol::Http2).then(|| "kubernetes.io/h2c".into());
    let port = ServicePort { name: "http".into(), port: SERVICE_PORT, target, protocol: "TCP".into(), app_protocol };
    let meta = ObjectMeta { name: name.into(), namespace: namespace.into(), ..ObjectMeta::default() };
    Service { meta, ports: vec![port], ..Service::default() }
}

fn traits(function: &Function, revision: &Revision) -> ServiceTraits {
    let settings = &function.settings;
    let path = revision.template.container.ready_path.clone();
    ServiceTraits {
        concurrency: revision.template.concurrency,
        scales: Some(format!("{}/{}", function.meta.namespace, revision.name)),
        queue: settings.queue,
        wait: settings.wait,
        cold: settings.cold,
        probe: path.map_or(Probe::Tcp, |path| Probe::Http { path }),
    }
}
