//! The route of a function: hosts, paths and addresses exactly as OpenFunction has them, and the HTTPRoute that serves them.
//!
//! Two things are not as in OpenFunction, and nobody sees them in status. Requests go to the Services of revisions by weight, and
//! Host stays what the client sent: the gateway finds revisions by Service, so nothing needs to be written into Host. And since
//! no filter of ours is appended, users' own filters collide with nothing.

use crate::{
    address::Address,
    kinds::{Function, NamespacedName, OfGateway},
};
use headgate_translate::{
    kinds::{
        BackendRef, DefaultScope, Filter, HTTPMatch, HTTPRoute, HTTPRule, ObjectMeta, ParentRef, PathMatch, Service,
        ServicePort, TargetPort, WeightedBackend,
    },
    schema::{FieldPath, Problem},
};
use serde_json::{Value, json};

/// The port of a revision's Service.
pub const SERVICE_PORT: u16 = 80;
/// The most hostnames of an HTTPRoute.
const HOSTS_MOST: usize = 16;

/// Where a function is found.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionRoute {
    /// `status.route.hosts`.
    pub hosts: Vec<String>,
    /// `status.route.paths`.
    pub paths: Vec<PathMatch>,
    /// `status.addresses`.
    pub addresses: Vec<Address>,
    /// The route itself.
    pub http_route: HTTPRoute,
    /// Service `<function>`, which leads to the gateway by name.
    pub service: Service,
    /// Warnings about hosts.
    pub problems: Vec<Problem>,
}

/// The route of a function that HTTP calls, by the algorithm of OpenFunction's function controller (`mutateHTTPRoute`); `None`
/// for every other. `weights` are revisions and their shares.
pub fn route(function: &Function, gateway: &OfGateway, weights: &[(String, u32)]) -> Option<FunctionRoute> {
    let (_, http) = function.http()?;
    let (name, namespace) = (&function.meta.name, &function.meta.namespace);
    let hosts = hosts(function, gateway)?;
    let rules = match &http.route.rules {
        Some(rules) => rules.clone(),
        None => vec![default_rule(match http.route.hostnames {
            None => "/".into(),
            Some(_) => gateway.path(name, namespace),
        })],
    };
    let paths: Vec<PathMatch> =
        rules.iter().flat_map(|rule| &rule.matches).map(|matching| matching.path.clone()).collect();
    let addresses = hosts
        .iter()
        .flat_map(|host| paths.iter().map(|path| Address::new(host, &path.value, &gateway.cluster_domain)))
        .collect();
    let parent = gateway.target.gateway();
    let http_route = HTTPRoute {
        meta: route_meta(function, gateway),
        parents: vec![ParentRef::gateway(&parent.namespace, &parent.name)],
        hostnames: hosts.clone(),
        rules: rules.into_iter().map(|rule| to_revisions(rule, function, weights)).collect(),
        default_gateways: DefaultScope::None,
    };
    let problems = check_hosts(function, gateway, &hosts);
    Some(FunctionRoute { hosts, paths, addresses, http_route, service: gateway_service(function, gateway), problems })
}

impl FunctionRoute {
    /// What the status of the Function says of its route.
    pub fn status(&self) -> Value {
        let paths = self.paths.iter().map(|path| json!({"type": path.kind.as_str(), "value": path.value}));
        json!({
            "route": {"hosts": self.hosts, "paths": paths.collect::<Vec<_>>()},
            "addresses": self.addresses,
        })
    }
}

/// The given hosts or the one of the template, and then the one inside the cluster, where an HTTPRoute has room for it.
fn hosts(function: &Function, gateway: &OfGateway) -> Option<Vec<String>> {
    let (_, http) = function.http()?;
    let (name, namespace) = (&function.meta.name, &function.meta.namespace);
    let mut hosts = http.route.hostnames.clone().unwrap_or_else(|| vec![gateway.host(name, namespace)]);
    let inside = gateway.cluster_host(name, namespace);
    if !hosts.contains(&inside) && hosts.len() < HOSTS_MOST {
        hosts.push(inside);
    }
    Some(hosts)
}

fn default_rule(path: String) -> HTTPRule {
    let path = PathMatch { value: path.into(), ..PathMatch::default() };
    HTTPRule { matches: vec![HTTPMatch { path, ..HTTPMatch::default() }], ..HTTPRule::default() }
}

/// The rule with the revisions as its backends; a redirect has none.
fn to_revisions(mut rule: HTTPRule, function: &Function, weights: &[(String, u32)]) -> HTTPRule {
    let redirects = rule.filters.iter().any(|filter| matches!(filter, Filter::Redirect(_)));
    let backend = |(revision, weight): &(String, u32)| WeightedBackend {
        backend: BackendRef::service(revision, SERVICE_PORT),
        weight: *weight,
        filters: Vec::new(),
    };
    rule.backends = if redirects { Vec::new() } else { weights.iter().map(backend).collect() };
    rule.timeouts.request_ms = rule.timeouts.request_ms.or(function.settings.request_ms);
    rule
}

fn route_meta(function: &Function, gateway: &OfGateway) -> ObjectMeta {
    let label = gateway.reference();
    ObjectMeta {
        name: function.meta.name.clone(),
        namespace: function.meta.namespace.clone(),
        generation: function.meta.generation,
        // where nothing has an age, a route that a person wrote counts as older and wins
        created: function.meta.created.max(1),
        labels: [(gateway.label_key.clone(), format!("{}.{}", label.namespace, label.name))].into(),
        ..ObjectMeta::default()
    }
}

/// Service `<function>`: a name for the Service of the gateway (`mutateService`).
fn gateway_service(function: &Function, gateway: &OfGateway) -> Service {
    let internal = |hostname: &Option<String>| hostname.as_ref().is_some_and(|h| h.ends_with(&gateway.cluster_domain));
    let ports = gateway.listeners.iter().filter(|listener| internal(&listener.hostname)).map(|listener| ServicePort {
        name: listener.name.as_str().into(),
        port: listener.port,
        target: Some(TargetPort::Number(listener.port)),
        protocol: "TCP".into(),
        app_protocol: None,
    });
    Service {
        meta: ObjectMeta {
            name: function.meta.name.clone(),
            namespace: function.meta.namespace.clone(),
            ..ObjectMeta::default()
        },
        ports: ports.collect(),
        external_name: Some(format!("gateway.{}.svc.{}", gateway.entry_namespace, gateway.cluster_domain)),
        ..Service::default()
    }
}

fn check_hosts(function: &Function, gateway: &OfGateway, hosts: &[String]) -> Vec<Problem> {
    let given = function.http().and_then(|(_, http)| http.route.hostnames.as_ref());
    let mut problems = Vec::new();
    let inside = gateway.cluster_host(&function.meta.name, &function.meta.namespace);
    if !hosts.contains(&inside) {
        let path = function.route_path().key("hostnames");
        let message =
            format!("has {HOSTS_MOST} names, so that there is no room for {inside}: nothing reaches it there");
        problems.push(Problem::warning(path, message, "leave one out"));
    }
    for (index, host) in hosts.iter().enumerate() {
        let path = match given {
            Some(given) if index < given.len() => function.route_path().key("hostnames").index(index),
            _ => FieldPath::of("metadata.name"),
        };
        if host.parse::<headgate_config::HostPattern>().is_err() {
            let remedy = "use shorter names, or change hostTemplate and domain of the gateway";
            problems.push(Problem::warning(
                path,
                format!("makes {host:?}, which is no host name: nothing reaches it"),
                remedy,
            ));
        } else if !gateway.takes(host) {
            let message = format!(
                "{host:?} is outside the listeners of gateway {}, which take {}: nothing reaches it",
                gateway.reference(),
                listener_hosts(gateway)
            );
            let remedy = format!("write a name under {}, or add a listener for {host}", gateway.domain);
            problems.push(Problem::warning(path, message, remedy));
        }
    }
    problems
}

fn listener_hosts(gateway: &OfGateway) -> String {
    let mut hosts: Vec<&str> =
        gateway.listeners.iter().map(|listener| listener.hostname.as_deref().unwrap_or("any host")).collect();
    hosts.dedup();
    hosts.join(" and ")
}

impl FunctionRoute {
    /// All hosts with all matches.
    pub(crate) fn places(&self) -> impl Iterator<Item = (String, HTTPMatch)> + '_ {
        let matches = self.http_route.rules.iter().flat_map(|rule| &rule.matches);
        matches.flat_map(|matching| self.hosts.iter().map(|host| (host.clone(), matching.clone())))
    }
}

/// A warning for a function that loses a place to another.
pub(crate) fn lost(function: &Function, host: &str, matching: &HTTPMatch, winner: &NamespacedName) -> Problem {
    let message = format!(
        "{host}{} ({}) is also a place of function {winner}, which is older or first by name and gets the requests",
        matching.path.value,
        matching.path.kind.as_str()
    );
    Problem::warning(function.route_path(), message, "give one of both another hostname or path")
}
