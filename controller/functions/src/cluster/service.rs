//! The Services of a function: one for each revision, one for each version, and the function's own name, which leads to the gateway. Never an address.

use super::names::{Owner, manifest, selector};
use crate::{revision::Revision, route::SERVICE_PORT};
use headgate_config::BackendProtocol;
use headgate_translate::kinds::{ObjectRef, Service, TargetPort};
use serde_json::{Value, json};

/// Of a revision: what routes name.
pub(super) fn of_revision(owner: &Owner<'_>, revision: &Revision) -> (ObjectRef, Value) {
    let metadata = owner.metadata(&revision.name, Some(&revision.name));
    manifest("v1", "Service", metadata, spec(revision))
}

/// `<function>-<version>`: another name of a revision.
pub(super) fn alias(owner: &Owner<'_>, name: &str, revision: &Revision) -> (ObjectRef, Value) {
    manifest("v1", "Service", owner.metadata(name, None), spec(revision))
}

fn spec(revision: &Revision) -> Value {
    let mut port =
        json!({"name": "http", "port": SERVICE_PORT, "targetPort": revision.template.port, "protocol": "TCP"});
    if revision.template.protocol == BackendProtocol::Http2 {
        port["appProtocol"] = json!("kubernetes.io/h2c");
    }
    json!({"type": "ClusterIP", "selector": selector(&revision.name), "ports": [port]})
}

/// `<function>`: a name for the Service of the gateway.
pub(super) fn of_gateway(owner: &Owner<'_>, service: &Service) -> (ObjectRef, Value) {
    manifest("v1", "Service", owner.metadata(&service.meta.name, None), external(service))
}

/// The spec of a Service that is another name of something.
pub(super) fn external(service: &Service) -> Value {
    let port = |port: &headgate_translate::kinds::ServicePort| {
        let target = match &port.target {
            Some(TargetPort::Number(number)) => json!(number),
            Some(TargetPort::Name(name)) => json!(name),
            None => json!(port.port),
        };
        json!({"name": port.name, "port": port.port, "targetPort": target, "protocol": port.protocol})
    };
    let ports: Vec<Value> = service.ports.iter().map(port).collect();
    json!({"type": "ExternalName", "externalName": service.external_name, "ports": ports})
}
