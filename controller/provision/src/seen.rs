//! What is seen of the gateways of a Gateway in a cluster: addresses, ready Pods, and what is wrong. Never what to do about it.

use crate::{
    Parameters, ServiceType,
    address::{Exactly, Given, Offer, Routability, Unassigned, assign, main_service, wants_any},
    names::selector,
    trouble,
};
use headgate_translate::kinds::Gateway;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// As many addresses as a status may have.
const ADDRESSES_MOST: usize = 16;

/// What is seen of the gateways of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Where they are found, at most 16. Only those that were asked for, if any were.
    pub addresses: Vec<Given>,
    /// The entries of `spec.addresses` that got none.
    pub unassigned: Vec<Unassigned>,
    /// Names of the Pods that are ready and stay.
    pub ready: BTreeSet<String>,
    /// Why Pods do not start, if that is known; for people.
    pub trouble: Option<String>,
}

/// The addresses of the cluster's own that the Service of a Gateway has which is always there.
pub fn own_addresses(service: &Value) -> Vec<IpAddr> {
    cluster_ips(service).map(|(_, ip)| ip).collect()
}

/// The addresses that a Service has within the cluster: as each is written, and what it is.
fn cluster_ips(service: &Value) -> impl Iterator<Item = (&str, IpAddr)> {
    let all = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).filter_map(|text| Some((text, text.parse().ok()?)))
}

/// Looks at the objects as the API server has them. Services and Pods that are not the Gateway's are passed over.
pub fn seen(
    gateway: &Gateway,
    parameters: &Parameters,
    services: &[&Value],
    deployment: Option<&Value>,
    pods: &[&Value],
) -> Seen {
    let selector = selector(gateway);
    let pods: Vec<&Value> = pods.iter().copied().filter(|pod| is_selected(pod, &selector)).collect();
    let services = Services { named: services.iter().map(|service| (name_of(service), *service)).collect() };
    let (addresses, unassigned) = services.addresses(gateway, parameters, &pods);
    Seen {
        addresses,
        unassigned,
        ready: pods.iter().filter(|pod| is_ready(pod)).map(|pod| name_of(pod).to_owned()).collect(),
        trouble: trouble::of_pods(&pods)
            .or_else(|| deployment.and_then(trouble::of_deployment))
            .or_else(|| services.trouble(gateway)),
    }
}

struct Services<'a> {
    named: BTreeMap<&'a str, &'a Value>,
}

impl Services<'_> {
    /// Addresses, and the entries of `spec.addresses` for which there is none.
    fn addresses(&self, gateway: &Gateway, parameters: &Parameters, pods: &[&Value]) -> (Vec<Given>, Vec<Unassigned>) {
        let name = main_service(gateway);
        let any = if wants_any(gateway) { self.any_address(&name, parameters, pods) } else { Vec::new() };
        let mut known = BTreeSet::new();
        let any = any.into_iter().filter(|given| known.insert(given.clone()));
        if gateway.addresses.is_empty() {
            return (any.take(ADDRESSES_MOST).collect(), Vec::new());
        }
        let any = any.collect();
        let has = |service: &str, one: Exactly| {
            let given = if one.is_own() { self.cluster_addresses(service) } else { self.ingress(service) };
            given.iter().any(|given| given.is(one.ip))
        };
        let offer = Offer {
            any,
            own: self.cluster_addresses(&name),
            has: &has,
            is_there: self.named.contains_key(&*name),
            is_balanced: parameters.service_type() == ServiceType::LoadBalancer,
            given: Vec::new(),
        };
        assign(gateway, offer)
    }

    fn any_address(&self, main: &str, parameters: &Parameters, pods: &[&Value]) -> Vec<Given> {
        match parameters.service_type() {
            ServiceType::NodePort => of_nodes(pods),
            ServiceType::ClusterIP => self.cluster_addresses(main),
            ServiceType::LoadBalancer | ServiceType::Unknown(_) => self.ingress(main),
        }
    }

    /// What a load balancer gave.
    fn ingress(&self, name: &str) -> Vec<Given> {
        let ingress = self.list(name, "/status/loadBalancer/ingress");
        let address = |entry: &Value| {
            let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty());
            text("ip").or_else(|| text("hostname")).map(|value| Given::new(value, Routability::Default))
        };
        ingress.iter().filter_map(address).collect()
    }

    fn cluster_addresses(&self, name: &str) -> Vec<Given> {
        let addresses = self.named.get(name).into_iter().flat_map(|service| cluster_ips(service));
        addresses.map(|(text, _)| Given::new(text, Routability::Cluster)).collect()
    }

    /// What a load balancer says of ports that it cannot open.
    fn trouble(&self, gateway: &Gateway) -> Option<String> {
        let name = main_service(gateway);
        let ingress = self.list(&name, "/status/loadBalancer/ingress");
        let mut ports = ingress.iter().filter_map(|entry| entry["ports"].as_array()).flatten();
        let (port, error) = ports.find_map(|port| Some((&port["port"], port["error"].as_str()?)))?;
        Some(format!("port {port} of Service {name}: {error}"))
    }

    fn list(&self, name: &str, pointer: &str) -> &[Value] {
        let found = self.named.get(name).and_then(|service| service.pointer(pointer));
        found.and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// A Service of type NodePort is found at each node; those that run a Pod are sure to be there.
fn of_nodes(pods: &[&Value]) -> Vec<Given> {
    let nodes = pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| pod["status"]["hostIP"].as_str());
    let nodes = nodes.collect::<BTreeSet<_>>().into_iter();
    nodes.map(|address| Given::new(address, Routability::Default)).collect()
}

fn is_selected(pod: &Value, selector: &BTreeMap<String, String>) -> bool {
    let labels = &pod["metadata"]["labels"];
    selector.iter().all(|(key, value)| labels[key].as_str() == Some(value))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && pod["metadata"]["deletionTimestamp"].is_null()
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
