//! XBackends as what a Service and its slices would say, so that everything else treats them alike. Never an address of a host: that is asked for where requests go out.

use crate::{
    Key, Objects, Settings, backend_tls,
    conditions::{Condition, ConditionType, Finding, PolicyStatus, Reason},
    kinds::{
        EXPERIMENTAL_GROUP, EndpointPort, EndpointSlice, ObjectMeta, ObjectRef, Pod, Service, ServicePort,
        SliceEndpoint, XBackend, XBackendKind, XBackendProtocol, XBackendTlsMode,
    },
    lookup::Lookup,
    schema::FieldPath,
    sessions,
};
use headgate_config::{BackendTls, Session, Text, Trust};
use std::{collections::BTreeSet, sync::Arc};

/// What the name of a Service that an XBackend becomes begins with: no Service of the API has a name with a slash.
const PREFIX: &str = "xbackend/";

/// The name of that Service.
pub(crate) fn service_name(backend: &str) -> String {
    [PREFIX, backend].concat()
}

/// Whether an XBackend became the Service of this name.
pub(crate) fn is_x_backend(service: &str) -> bool {
    service.starts_with(PREFIX)
}

/// The object that a Service of this name is.
pub(crate) fn object_of((namespace, service): (&str, &str)) -> ObjectRef {
    match service.strip_prefix(PREFIX) {
        Some(name) => ObjectRef::new(EXPERIMENTAL_GROUP, "XBackend", namespace, name),
        None => ObjectRef::new("", "Service", namespace, service),
    }
}

/// Adds to the Services and slices what XBackends and their Pods are.
pub(crate) fn add_to(objects: &mut Objects) {
    for backend in objects.x_backends.clone().values() {
        let key = key_of(&backend.meta);
        if backend.kind == XBackendKind::EndpointSelector {
            objects.endpoint_slices.insert(key.clone(), Arc::new(slice(backend, &key.1, objects)));
        }
        objects.services.insert(key, Arc::new(service(backend)));
    }
}

/// The key of that Service.
pub(crate) fn key_of(meta: &ObjectMeta) -> Key {
    (meta.namespace.clone(), service_name(&meta.name).into())
}

fn service(backend: &XBackend) -> Service {
    let port = ServicePort {
        port: backend.port,
        protocol: "TCP".into(),
        app_protocol: backend.protocol.as_ref().map(|protocol| app_protocol(protocol).into()),
        ..ServicePort::default()
    };
    let is_host = backend.kind == XBackendKind::ExternalHostname;
    Service {
        meta: derived(&backend.meta),
        ports: vec![port],
        external_name: is_host.then(|| backend.hostname.clone()),
        ..Service::default()
    }
}

/// What a Service says of the same protocol.
fn app_protocol(protocol: &XBackendProtocol) -> &str {
    match protocol {
        // MCP is spoken over HTTP (streamable HTTP)
        XBackendProtocol::Http | XBackendProtocol::Http11 | XBackendProtocol::Mcp => "http",
        XBackendProtocol::Http2 => "h2",
        XBackendProtocol::H2c => "kubernetes.io/h2c",
        XBackendProtocol::Grpc => "grpc",
        XBackendProtocol::Wss => "kubernetes.io/wss",
        XBackendProtocol::Tcp => "tcp",
        XBackendProtocol::Unknown(text) => text,
    }
}

fn slice(backend: &XBackend, service: &Text, objects: &Objects) -> EndpointSlice {
    let first = (backend.meta.namespace.clone(), Text::default());
    let near = objects.pods.range(first..).take_while(|(key, _)| key.0 == backend.meta.namespace);
    let selected = near.filter(|(_, pod)| selects(backend, pod));
    let endpoints = selected.filter_map(|(_, pod)| {
        let addresses = vec![pod.address.clone()?];
        Some(SliceEndpoint { addresses, ready: pod.ready, terminating: pod.terminating })
    });
    EndpointSlice {
        meta: derived(&backend.meta),
        service: service.clone(),
        endpoints: endpoints.collect(),
        ports: vec![EndpointPort { name: Text::default(), port: Some(backend.port) }],
        ..EndpointSlice::default()
    }
}

fn selects(backend: &XBackend, pod: &Pod) -> bool {
    backend.selector.iter().all(|(key, value)| pod.meta.labels.get(key) == Some(value))
}

fn derived(meta: &ObjectMeta) -> ObjectMeta {
    ObjectMeta { name: service_name(&meta.name).into(), ..meta.clone() }.slim()
}

/// How its clients are kept at a Pod.
pub(crate) fn session(backend: &XBackend, findings: &mut Vec<Finding>) -> Option<Session> {
    let of = format!("XBackend/{}/{}", backend.meta.namespace, backend.meta.name);
    let at = FieldPath::of("spec.sessionPersistence");
    sessions::session(backend.session.as_ref()?, &of, &at, ConditionType::Accepted, findings)
}

/// TLS to it; where it cannot be done as written, nothing is sent.
pub(crate) fn tls(lookup: &Lookup<'_>, backend: &XBackend, findings: &mut Vec<Finding>) -> Option<BackendTls> {
    let mode = &backend.tls.mode;
    if *mode == XBackendTlsMode::None {
        return None;
    }
    let validation = backend.tls.validation.clone().unwrap_or_default();
    let object = ("XBackend", backend.meta.namespace.as_str());
    let mut tls = backend_tls::validated(lookup, object, &validation, "spec.tls.validation", findings);
    if *mode != XBackendTlsMode::ServerOnly {
        let message = format!("TLS of mode {} is not supported", mode.as_str());
        findings.push(unsupported(
            "spec.tls.mode",
            &message,
            "write ServerOnly; a Gateway's client certificate is sent",
        ));
        tls.trust = Trust::Invalid(message);
    }
    Some(tls)
}

/// Why no request can be sent to it, whatever else it says.
pub(crate) fn refusal(backend: &XBackend, cluster_domain: &str) -> Option<Finding> {
    if let XBackendKind::Unknown(kind) = &backend.kind {
        let message = format!("XBackends of type {kind} are not supported");
        return Some(unsupported("spec.type", &message, "write EndpointSelector or ExternalHostname"));
    }
    if let Some(XBackendProtocol::Unknown(protocol)) = &backend.protocol {
        let message = format!("protocol {protocol} is not supported");
        return Some(unsupported("spec.protocol", &message, "write HTTP, HTTP2, H2C, GRPC, MCP, TCP or WSS"));
    }
    // the API knows the usual domain only
    let is_inside = backend.hostname.strip_suffix(cluster_domain).is_some_and(|rest| rest.ends_with('.'));
    is_inside.then(|| {
        let message = format!("{} is no host outside the cluster", backend.hostname);
        unsupported(
            "spec.externalHostname.hostname",
            &message,
            "write type: EndpointSelector for Pods, or name a Service",
        )
    })
}

fn unsupported(at: &'static str, message: &str, remedy: &str) -> Finding {
    Finding::new(ConditionType::Accepted, Reason::UnsupportedValue, FieldPath::of(at), message).remedy(remedy)
}

/// What is wrong with it.
pub(crate) fn findings(lookup: &Lookup<'_>, backend: &XBackend, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::from_iter(refusal(backend, &settings.cluster_domain));
    session(backend, &mut findings);
    tls(lookup, backend, &mut findings);
    findings
}

/// The status of an XBackend for the Gateways through which it is reached.
pub(crate) fn status(
    backend: &XBackend,
    findings: &[Finding],
    gateways: &BTreeSet<Key>,
    controller: &str,
) -> PolicyStatus {
    let generation = backend.meta.generation;
    let mut conditions = vec![Condition::of(ConditionType::Accepted, Reason::Accepted, findings, generation)];
    if backend.tls.mode != XBackendTlsMode::None {
        conditions.push(Condition::of(ConditionType::ResolvedRefs, Reason::ResolvedRefs, findings, generation));
    }
    PolicyStatus::of(gateways, std::iter::empty(), controller, |_| conditions.clone())
}
