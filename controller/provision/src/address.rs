//! Which addresses a Gateway asks for, and how a cluster is asked for each. Never whether it got one.

use crate::{Parameters, ServiceType, names};
use headgate_translate::kinds::Gateway;
use std::net::IpAddr;

/// What `spec.addresses` of a Gateway comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// Any address will do.
    pub any: bool,
    /// These ones, in the order of the spec, each once.
    pub exactly: Vec<IpAddr>,
    /// What can never be had, and why; for people.
    pub impossible: Vec<String>,
}

impl Request {
    /// No address at all is asked for: any will do. One without a value is the same.
    pub fn of(gateway: &Gateway) -> Self {
        let mut request = Self { any: gateway.addresses.is_empty(), ..Self::default() };
        for address in &gateway.addresses {
            let value = address.value.as_deref().unwrap_or_default();
            match (address.kind.as_str(), value.parse::<IpAddr>()) {
                ("IPAddress" | "Hostname", _) if value.is_empty() => request.any = true,
                ("IPAddress", Ok(ip)) if !request.exactly.contains(&ip) => request.exactly.push(ip),
                ("IPAddress", Ok(_)) => {}
                ("IPAddress", Err(_)) => request.impossible.push(format!("{value:?} is no IP address")),
                ("Hostname", _) => {
                    request.impossible.push(format!("a host name such as {value:?} cannot be asked for"));
                }
                (kind, _) => request.impossible.push(format!("addresses of type {kind} are not supported")),
            }
        }
        request
    }
}

/// The Service that all Gateways have, which a cluster finds them by.
pub(crate) fn main_service(gateway: &Gateway) -> String {
    names::name(&gateway.meta.name, &gateway.class)
}

/// The Services that ask a load balancer for one address each: a Service can ask for one only.
pub(crate) fn address_services(gateway: &Gateway, parameters: &Parameters) -> Vec<(String, IpAddr)> {
    if parameters.service_type() != ServiceType::LoadBalancer {
        return Vec::new();
    }
    let named = |ip: IpAddr| (names::address_service(gateway, &ip.to_string()), ip);
    Request::of(gateway).exactly.into_iter().map(named).collect()
}
