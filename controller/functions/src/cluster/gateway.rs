//! An OpenFunction Gateway in a cluster: the Gateway behind it, and the Service by whose name functions are found. Never a listener of somebody else.

use super::{
    names::{OF_GATEWAY_LABEL, manifest},
    service::external,
};
use crate::kinds::{GatewayTarget, INTERNAL_LISTENER, NamespacedName, OF_GATEWAY_GROUP, OfGateway};
use headgate_translate::{
    kinds::{GATEWAY_GROUP, ObjectRef, Service, ServicePort, TargetPort},
    manifest::{MANAGED_BY, own},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What of a Gateway of Gateway API an OpenFunction Gateway speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayBehind {
    /// The Gateway.
    pub gateway: NamespacedName,
    /// The names of its listeners that are made for functions.
    pub listeners: Vec<String>,
    /// It is named (`gatewayRef`), and not made.
    pub is_named: bool,
    /// Generation of the OpenFunction Gateway.
    pub generation: i64,
}

impl GatewayBehind {
    /// Of an OpenFunction Gateway.
    pub fn of(gateway: &OfGateway) -> Self {
        Self {
            gateway: gateway.target.gateway().clone(),
            listeners: gateway.listeners.iter().map(|listener| listener.name.clone()).collect(),
            is_named: matches!(gateway.target, GatewayTarget::Existing(_)),
            generation: gateway.meta.generation,
        }
    }
}

/// The objects of an OpenFunction Gateway. `entry` is the name within the cluster of the Service of the gateways behind it.
///
/// A Gateway that somebody else made (`gatewayRef`) is only added to: the manifest has nothing but our listeners, which are a map by
/// name, and does not carry our label, so that it is never deleted.
pub fn gateway_manifests(gateway: &OfGateway, entry: &str) -> BTreeMap<ObjectRef, Value> {
    let target = gateway.target.gateway();
    let labels = || {
        let of = format!("{}.{}", gateway.meta.namespace, gateway.meta.name);
        json!({MANAGED_BY.0: MANAGED_BY.1, OF_GATEWAY_LABEL: of})
    };
    let mut metadata = json!({"name": target.name, "namespace": target.namespace});
    let mut spec = json!({"listeners": gateway.listener_manifests()});
    if let GatewayTarget::Made { class, .. } = &gateway.target {
        metadata["labels"] = labels();
        spec["gatewayClassName"] = json!(class);
    }
    let mut service = json!({"name": "gateway", "namespace": gateway.entry_namespace, "labels": labels()});
    own(&mut service, &format!("{OF_GATEWAY_GROUP}/v1alpha1"), "Gateway", &gateway.meta);
    BTreeMap::from([
        manifest(&format!("{GATEWAY_GROUP}/v1"), "Gateway", metadata, spec),
        manifest("v1", "Service", service, external(&entry_service(gateway, entry))),
    ])
}

/// A Gateway that somebody else made without any listener of ours: those that we added to it go with that, and no others.
pub fn without_ours(gateway: &NamespacedName) -> (ObjectRef, Value) {
    let metadata = json!({"name": gateway.name, "namespace": gateway.namespace});
    headgate_translate::manifest::manifest(&format!("{GATEWAY_GROUP}/v1"), "Gateway", metadata, json!({}))
}

/// Service `gateway`: a port for each listener of names outside the cluster (`createOrUpdateService`), and for the internal one,
/// where there is no other.
fn entry_service(gateway: &OfGateway, entry: &str) -> Service {
    let ports = gateway.listeners.iter().filter(|listener| listener.name != INTERNAL_LISTENER);
    let ports = ports.map(|listener| ServicePort {
        name: listener.name.as_str().into(),
        port: listener.port,
        target: Some(TargetPort::Number(listener.port)),
        protocol: "TCP".into(),
        app_protocol: None,
    });
    Service { ports: ports.collect(), external_name: Some(entry.into()), ..Service::default() }
}
