//! The Services of a Gateway: one that is always there, and one for each address that is asked for. Never an Ingress, never a load balancer itself.

use crate::{
    Parameters, ServiceType, Transport,
    address::{Exactly, address_services, at_nodes, is_inside_only, main_service, wants_any},
    names::{metadata, selector},
};
use headgate_translate::{
    kinds::{Gateway, ObjectRef},
    manifest::manifest,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The Services for these ports; none without a port, since a Service must have one.
pub(crate) fn services(
    gateway: &Gateway,
    ports: &BTreeSet<(u16, Transport)>,
    parameters: &Parameters,
    own: &[IpAddr],
) -> Vec<(ObjectRef, Value)> {
    if ports.is_empty() {
        return Vec::new();
    }
    let mut services = vec![always(gateway, ports, parameters)];
    for (name, one) in address_services(gateway, parameters, own) {
        services.push(for_address(gateway, &name, one, ports, parameters));
    }
    services
}

/// Asks for any address if the Gateway does. If all that it asks for are exact ones, the name stays for callers within the cluster.
fn always(gateway: &Gateway, ports: &BTreeSet<(u16, Transport)>, parameters: &Parameters) -> (ObjectRef, Value) {
    let at_nodes = at_nodes(gateway);
    let kind = match parameters.service_type() {
        ServiceType::LoadBalancer if !wants_any(gateway) => ServiceType::ClusterIP,
        _ if is_inside_only(gateway) => ServiceType::ClusterIP,
        other => other,
    };
    let mut spec = spec(gateway, ports);
    spec["type"] = json!(kind.as_str());
    if parameters.service_type() != ServiceType::LoadBalancer && !at_nodes.is_empty() {
        spec["externalIPs"] = json!(at_nodes.iter().map(IpAddr::to_string).collect::<Vec<_>>());
    }
    dress(&mut spec, &kind, parameters);
    service(gateway, &main_service(gateway), spec, parameters)
}

/// `loadBalancerIP` is old and said to depend on the load balancer, but there is no other word that all of them know.
fn for_address(
    gateway: &Gateway,
    name: &str,
    one: Exactly,
    ports: &BTreeSet<(u16, Transport)>,
    parameters: &Parameters,
) -> (ObjectRef, Value) {
    let mut spec = spec(gateway, ports);
    let (kind, field) = match one.is_own() {
        true => (ServiceType::ClusterIP, "clusterIP"),
        false => (ServiceType::LoadBalancer, "loadBalancerIP"),
    };
    spec["type"] = json!(kind.as_str());
    spec[field] = json!(one.ip.to_string());
    spec["ipFamilies"] = json!([if one.ip.is_ipv4() { "IPv4" } else { "IPv6" }]);
    dress(&mut spec, &kind, parameters);
    service(gateway, name, spec, parameters)
}

fn service(gateway: &Gateway, name: &str, spec: Value, parameters: &Parameters) -> (ObjectRef, Value) {
    let metadata = metadata(gateway, name, &parameters.service_annotations);
    manifest("v1", "Service", metadata, json!({"spec": spec}))
}

/// The gateways listen on the ports of the listeners themselves, so the numbers are equal.
fn spec(gateway: &Gateway, ports: &BTreeSet<(u16, Transport)>) -> Value {
    let port = |(port, transport): &(u16, Transport)| {
        let (name, protocol) = match transport {
            Transport::Tcp => (format!("tcp-{port}"), "TCP"),
            Transport::Udp => (format!("udp-{port}"), "UDP"),
        };
        json!({"name": name, "port": port, "targetPort": port, "protocol": protocol})
    };
    json!({"selector": selector(gateway), "ports": ports.iter().map(port).collect::<Vec<_>>()})
}

/// What parameters say of Services of a type.
fn dress(spec: &mut Value, kind: &ServiceType, parameters: &Parameters) {
    let is_balanced = *kind == ServiceType::LoadBalancer;
    let mut set: BTreeMap<&str, &str> = BTreeMap::new();
    if let Some(class) = parameters.load_balancer_class.as_deref().filter(|_| is_balanced) {
        set.insert("loadBalancerClass", class);
    }
    if let Some(policy) = parameters.external_traffic_policy.as_ref().filter(|_| *kind != ServiceType::ClusterIP) {
        set.insert("externalTrafficPolicy", policy.as_str());
    }
    for (key, value) in set {
        spec[key] = json!(value);
    }
}
