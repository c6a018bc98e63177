//! Endpoints of Backends from EndpointSlices. They travel apart from routes and never make a new version of them.

use crate::{
    Objects,
    backends::find_port,
    kinds::{AddressFamily, EndpointSlice, ServicePort, SliceEndpoint, TargetPort},
    lookup::{Lookup, Slices},
    scaling::Scaling,
};
use headgate_config::{Activation, BackendName, Endpoint, Endpoints, Probe, Snapshot};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// Endpoints of all Backends of a Snapshot whose Services have slices, without translating anything else: for a change of slices
/// alone.
pub fn endpoints_of(objects: &Objects, snapshot: &Snapshot) -> Vec<Endpoints> {
    let slices = Slices::of(objects);
    let scaling = Scaling::new(objects, true);
    let lookup = Lookup::new(objects, &slices, &scaling);
    snapshot.backends.keys().filter_map(|backend| endpoints(&lookup, backend)).collect()
}

/// Endpoints of one Backend; `None` for a Service that has no slices, whose endpoints another source knows or nobody.
///
/// Endpoints that are not ready are in the list only where the Service scales: there the gateway asks itself, within milliseconds.
pub(crate) fn endpoints(lookup: &Lookup<'_>, backend: &BackendName) -> Option<Endpoints> {
    let key = (backend.namespace.clone(), backend.service.clone());
    let slices = lookup.slices(&key);
    let service = lookup.service(backend)?;
    let port = find_port(service, backend.port, backend.transport)?;
    if slices.is_empty() {
        return None;
    }
    let traits = lookup.traits(backend);
    let asks = traits.is_some_and(|traits| traits.scales.is_some());
    let probe = traits.map_or(Probe::Tcp, |traits| traits.probe.clone());
    let mut found: BTreeMap<SocketAddr, bool> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| !matches!(slice.family, AddressFamily::FQDN)) {
        let Some(number) = number(slice, port, service.ports.len()) else { continue };
        for endpoint in slice.endpoints.iter().filter(|endpoint| !endpoint.terminating && (endpoint.ready || asks)) {
            if let Some(ip) = address(endpoint) {
                *found.entry(SocketAddr::new(ip, number)).or_default() |= endpoint.ready;
            }
        }
    }
    let list = found.into_iter().map(|(address, ready)| Endpoint { address, ready, probe: probe.clone() });
    Some(Endpoints { backend: backend.clone(), list: list.collect(), activation: Activation::Ready })
}

/// The port of a slice's endpoints: the one with the name of the Service's port. A slice written by hand for a Service with one port
/// may call it otherwise; its only port is meant then.
fn number(slice: &EndpointSlice, port: &ServicePort, service_ports: usize) -> Option<u16> {
    let named = slice.ports.iter().find(|candidate| candidate.name == port.name);
    let only = || match slice.ports.as_slice() {
        [only] if service_ports == 1 => Some(only),
        _ => None,
    };
    match named.or_else(only) {
        Some(found) => found.port.or(match &port.target {
            Some(TargetPort::Number(number)) => Some(*number),
            Some(TargetPort::Name(_)) | None => Some(port.port),
        }),
        None => None,
    }
}

fn address(endpoint: &SliceEndpoint) -> Option<IpAddr> {
    endpoint.addresses.first()?.parse().ok()
}
