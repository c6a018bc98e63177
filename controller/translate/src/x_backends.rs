//! XBackends as what a Service and its slices would say, so that everything else treats them alike. Never an address of a host: that is asked for where requests go out.

use crate::{
    Key, Objects, Settings, backend_tls, certificates,
    conditions::{Condition, ConditionType, Finding, PolicyStatus, Reason},
    kinds::{
        EXPERIMENTAL_GROUP, EndpointPort, EndpointSlice, Holder, ObjectMeta, ObjectRef, Pod, Service, ServicePort,
        SliceEndpoint, XBackend, XBackendKind, XBackendProtocol, XBackendTlsMode,
    },
    lookup::Lookup,
    schema::FieldPath,
    selections, sessions,
};
use headgate_config::{BackendTls, Certificate, Session, Text, Trust};
use imbl::OrdMap;
use std::{collections::BTreeSet, sync::Arc};

/// What the name of a Service that an XBackend becomes begins with: no Service of the API has a name with a slash. It keeps the names of Backends
/// apart; what an object names is told apart by its kind, and is looked for in `Objects::services` or in `Objects::x_services`.
const PREFIX: &str = "xbackend/";

/// The name of that Service.
pub(crate) fn service_name(backend: &str) -> String {
    [PREFIX, backend].concat()
}

/// The object of a Backend.
pub(crate) fn object_of((namespace, service): (&str, &str)) -> ObjectRef {
    match service.strip_prefix(PREFIX) {
        Some(name) => ObjectRef::new(EXPERIMENTAL_GROUP, "XBackend", namespace, name),
        None => ObjectRef::new("", "Service", namespace, service),
    }
}

/// Adds what XBackends and their Pods are as Services and slices. `given` are the objects without, `before` those of the last time, without and
/// with: what did not change stays the same value, so that nobody looks into it.
pub(crate) fn add_to(given: &Objects, (given_before, before): (&Objects, &Objects)) -> Objects {
    let mut objects = given.clone();
    if given.x_backends.is_empty() {
        return objects;
    }
    let is_same = given.x_backends.ptr_eq(&given_before.x_backends);
    if is_same {
        objects.x_services.clone_from(&before.x_services);
    } else {
        for backend in given.x_backends.values() {
            let key = key_of(&backend.meta);
            let made = kept(&before.x_services, &key, service(backend));
            objects.x_services.insert(key, made);
        }
    }
    let has_same_pods =
        given.pods.ptr_eq(&given_before.pods) && given.known_selections == given_before.known_selections;
    if is_same && has_same_pods && given.endpoint_slices.ptr_eq(&given_before.endpoint_slices) {
        objects.endpoint_slices.clone_from(&before.endpoint_slices);
        return objects;
    }
    let selecting = given.x_backends.values().filter(|backend| backend.kind == XBackendKind::EndpointSelector);
    for backend in selecting.filter(|backend| is_known(given, backend)) {
        let key = key_of(&backend.meta);
        let made = kept(&before.endpoint_slices, &key, slice(backend, &key.1, given));
        objects.endpoint_slices.insert(key, made);
    }
    objects
}

/// The value that is known already where it is equal.
fn kept<T: PartialEq>(known: &OrdMap<Key, Arc<T>>, key: &Key, made: T) -> Arc<T> {
    known.get(key).filter(|known| ***known == made).cloned().unwrap_or_else(|| Arc::new(made))
}

/// Whether all of its Pods are known: of one that was never listed nothing is said, and not that it has none.
fn is_known(objects: &Objects, backend: &XBackend) -> bool {
    let key = selections::key(&backend.meta.namespace, &backend.selector);
    objects.known_selections.as_ref().is_none_or(|known| known.contains_key(&key))
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

/// TLS to it, with the certificate that is shown; where it cannot be done as written, nothing is sent.
pub(crate) fn tls(
    lookup: &Lookup<'_>,
    backend: &XBackend,
    findings: &mut Vec<Finding>,
) -> Option<(BackendTls, Option<Certificate>)> {
    let mode = &backend.tls.mode;
    if *mode == XBackendTlsMode::None {
        return None;
    }
    let validation = backend.tls.validation.clone().unwrap_or_default();
    let from = Holder { group: EXPERIMENTAL_GROUP, kind: "XBackend", namespace: &backend.meta.namespace };
    let mut tls = backend_tls::validated(lookup, from, &validation, "spec.tls.validation", findings);
    let mut certificate = None;
    match (mode, &backend.tls.certificate) {
        (XBackendTlsMode::ServerOnly, _) => {}
        (XBackendTlsMode::ClientAndServer, Some(reference)) => {
            let at = "spec.tls.clientCertificateRef";
            match certificates::for_endpoints(lookup, from, reference, at, findings) {
                Ok(found) => {
                    tls.certificate = Some(found.name.clone());
                    certificate = Some(found);
                }
                Err(why) => tls.trust = Trust::Invalid(why),
            }
        }
        (mode, _) => {
            let message = format!("TLS of mode {} is not supported", mode.as_str());
            findings.push(unsupported("spec.tls.mode", &message, "write None, ServerOnly or ClientAndServer"));
            tls.trust = Trust::Invalid(message);
        }
    }
    Some((tls, certificate))
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
    PolicyStatus::of("XBackend", gateways, std::iter::empty(), controller, |_| conditions.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Translator,
        conditions::Status,
        kinds::{Decoded, decode_admitted},
        translate,
    };
    use headgate_config::BackendName;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn objects(spec: Value) -> Objects {
        let api = "gateway.networking.k8s.io/v1";
        let mut objects = Objects::default();
        for value in [
            json!({"apiVersion": api, "kind": "GatewayClass", "metadata": {"name": "ours"},
                "spec": {"controllerName": "headgate.dev/gateway-controller"}}),
            json!({"apiVersion": api, "kind": "Gateway", "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"gatewayClassName": "ours", "listeners": [{"name": "web", "port": 80, "protocol": "HTTP"}]}}),
            json!({"apiVersion": api, "kind": "HTTPRoute", "metadata": {"name": "pay", "namespace": "shop"},
                "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [
                    {"group": EXPERIMENTAL_GROUP, "kind": "XBackend", "name": "pay"}]}]}}),
            json!({"apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackend",
                "metadata": {"name": "pay", "namespace": "shop"}, "spec": spec}),
        ] {
            match decode_admitted(&value) {
                Ok(Decoded::Known(object, _)) => objects.insert(object),
                other => panic!("{value}: {other:?}"),
            }
        }
        objects
    }

    /// What the XBackend and the route say.
    fn said(spec: Value, cluster_domain: &str) -> (String, String) {
        let settings = Settings { cluster_domain: cluster_domain.to_owned(), ..Settings::default() };
        let translation = translate(&objects(spec), &settings);
        let of =
            |group: &str, kind: &str| translation.conditions.get(&ObjectRef::new(group, kind, "shop", "pay")).unwrap();
        let Status::Policy(own) = &**of(EXPERIMENTAL_GROUP, "XBackend") else { panic!("no ancestors") };
        let Status::Route(route) = &**of("gateway.networking.k8s.io", "HTTPRoute") else { panic!("no parents") };
        let text = |condition: &Condition| format!("{} {}", condition.status, condition.reason.as_str());
        let own = own.ancestors.first().map(|one| text(&one.conditions[0])).unwrap_or_default();
        (own, text(&route.parents[0].conditions[1]))
    }

    #[test]
    fn what_is_refused_is_told_of_the_object_and_of_its_routes() {
        let host = |name: &str| json!({"type": "ExternalHostname", "port": {"number": 80}, "externalHostname": {"hostname": name}});
        let fine = ("true Accepted".to_owned(), "true ResolvedRefs".to_owned());
        let refused = ("false UnsupportedValue".to_owned(), "false UnsupportedValue".to_owned());
        assert_eq!(said(host("db.shop.svc.corp.local"), "cluster.local"), fine);
        assert_eq!(said(host("db.shop.svc.corp.local"), "corp.local"), refused);
        assert_eq!(said(host("notcorp.local"), "corp.local"), fine);
        let mut later = host("api.example.com");
        later["protocol"] = json!("LATER");
        assert_eq!(said(later, "cluster.local"), refused);
        assert_eq!(said(json!({"type": "Later", "port": {"number": 80}}), "cluster.local"), refused);
    }

    #[test]
    fn as_many_gateways_are_told_as_the_kind_has_room_for() {
        let gateways = (0..40).map(|at| ("shop".into(), format!("g{at}").into())).collect();
        let none = || std::iter::empty();
        let count = |kind: &str| PolicyStatus::of(kind, &gateways, none(), "a.io/b", |_| Vec::new()).ancestors.len();
        assert_eq!((count("XBackend"), count("XBackendTrafficPolicy"), count("BackendTLSPolicy")), (32, 16, 16));
    }

    #[test]
    fn pods_that_were_not_listed_yet_are_not_taken_for_none() {
        let labels = BTreeMap::from([("app".to_owned(), "pay".to_owned())]);
        let mut objects = objects(json!({"type": "EndpointSelector", "port": {"number": 80},
            "endpointSelector": {"matchLabels": labels}}));
        objects.known_selections = Some(OrdMap::new());
        let mut translator = Translator::new(Settings::default());
        assert!(translator.translate(&objects).endpoints.is_empty());
        let key = selections::key("shop", &labels);
        objects.known_selections = Some(OrdMap::unit(key, ()));
        let made = translator.translate(&objects);
        let backend = BackendName::tcp("shop", service_name("pay"), 80);
        assert_eq!(made.endpoints.get(&backend).map(|known| known.list.len()), Some(0));
    }
}
