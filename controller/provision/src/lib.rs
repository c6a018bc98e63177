//! What a Gateway needs in a cluster, as manifests, and what is seen of it there: Deployment, Services, ServiceAccount. Pure; never talks to an API server.
//!
//! [`manifests`] says what there is to be, [`seen`] what became of it. Everything is in the namespace of the Gateway and owned by
//! it, so that it goes with it (GEP-1762).

mod address;
mod deployment;
mod names;
mod parameters;
mod seen;
mod service;
mod settings;
mod trouble;

pub use address::{Given, Routability, Unassigned, pins_own};
pub use deployment::TOKEN_AUDIENCE;
pub use names::{GATEWAY_NAME_LABEL, name, selector};
pub use parameters::{Disruption, ExternalTrafficPolicy, GROUP, KIND, LogLevel, Parameters, Proxied, ServiceType};
pub use seen::{Seen, own_addresses, seen};
pub use settings::Settings;

use headgate_translate::{
    kinds::{Gateway, ObjectRef, Protocol},
    manifest::manifest,
};
use names::metadata;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What carries a port of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Of a listener's protocol; `None` for one that this version does not know.
    pub fn of(protocol: &Protocol) -> Option<Self> {
        match protocol {
            Protocol::Http | Protocol::Https | Protocol::Tls | Protocol::Tcp => Some(Self::Tcp),
            Protocol::Udp => Some(Self::Udp),
            Protocol::Unknown(_) => None,
        }
    }
}

/// All objects of a Gateway, by name. What exists with its labels and is not among them is to be deleted.
///
/// `ports` are those of all its listeners, ListenerSets included, also of those that cannot serve now: a Service that goes gives up
/// its address. `parameters` are the Gateway's over those of its class. `own` are the addresses of the cluster's own that its Service has
/// already, as far as they matter ([`pins_own`]). Each carries [`MANIFEST_ANNOTATION`](headgate_translate::manifest::MANIFEST_ANNOTATION), so that an object holds
/// all of its manifest, and nothing of an earlier one, if it holds that annotation.
pub fn manifests(
    gateway: &Gateway,
    ports: &BTreeSet<(u16, Transport)>,
    parameters: &Parameters,
    settings: &Settings,
    own: &[IpAddr],
) -> BTreeMap<ObjectRef, Value> {
    let always =
        [account(gateway), authority(gateway, settings), deployment::deployment(gateway, ports, parameters, settings)];
    let services = service::services(gateway, ports, parameters, own);
    always.into_iter().chain(services).chain(budget(gateway, parameters)).map(names::stamped).collect()
}

fn account(gateway: &Gateway) -> (ObjectRef, Value) {
    manifest("v1", "ServiceAccount", plain_metadata(gateway), json!({"automountServiceAccountToken": false}))
}

fn authority(gateway: &Gateway, settings: &Settings) -> (ObjectRef, Value) {
    manifest("v1", "ConfigMap", plain_metadata(gateway), json!({"data": {"ca.crt": settings.authority}}))
}

/// One Pod needs no budget: it would keep its node from ever being emptied.
fn budget(gateway: &Gateway, parameters: &Parameters) -> Option<(ObjectRef, Value)> {
    let disruption = match &parameters.disruption {
        Some(disruption) => disruption.clone(),
        None if parameters.replicas.is_some_and(|replicas| replicas > 1) => Disruption::MaxUnavailable(json!(1)),
        None => return None,
    };
    let (field, many) = disruption.to_spec();
    let mut spec = json!({"selector": {"matchLabels": selector(gateway)}});
    spec[field] = many;
    Some(manifest("policy/v1", "PodDisruptionBudget", plain_metadata(gateway), json!({"spec": spec})))
}

fn plain_metadata(gateway: &Gateway) -> Value {
    metadata(gateway, &name(&gateway.meta.name, &gateway.class), &BTreeMap::new())
}
