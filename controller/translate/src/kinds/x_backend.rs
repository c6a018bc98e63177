//! XBackend (experimental, v1alpha1; GEP-4894): Pods by their labels or a host outside the cluster, with how they are spoken to. Never an address.

use crate::{
    choices,
    form::Form,
    kinds::{BackendValidation, ObjectMeta, ObjectReference, SessionPersistence},
    schema::{Fields, Reader},
};
use std::{collections::BTreeMap, net::IpAddr};

/// XBackend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XBackend {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Which of the two it is.
    pub kind: XBackendKind,
    /// The labels of its Pods (type EndpointSelector); each must hold.
    pub selector: BTreeMap<String, String>,
    /// The host (type ExternalHostname).
    pub hostname: String,
    /// The port of Pods or host.
    pub port: u16,
    /// What is spoken; as the route has it where none is written.
    pub protocol: Option<XBackendProtocol>,
    /// TLS.
    pub tls: XBackendTls,
    /// How clients are kept at a Pod.
    pub session: Option<SessionPersistence>,
}

choices! {
    /// `type`.
    XBackendKind { EndpointSelector = "EndpointSelector", ExternalHostname = "ExternalHostname" }
}

choices! {
    /// `protocol`.
    XBackendProtocol {
        Http = "HTTP",
        Http11 = "HTTP11",
        Http2 = "HTTP2",
        H2c = "H2C",
        Grpc = "GRPC",
        Mcp = "MCP",
        Tcp = "TCP",
        Wss = "WSS",
    }
}

/// `tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XBackendTls {
    /// Who shows a certificate.
    pub mode: XBackendTlsMode,
    /// What is verified; there unless the mode is None.
    pub validation: Option<BackendValidation>,
    /// The certificate that is shown (mode ClientAndServer).
    pub certificate: Option<ObjectReference>,
}

choices! {
    /// `tls.mode`.
    XBackendTlsMode { None = "None", ServerOnly = "ServerOnly", ClientAndServer = "ClientAndServer" }
}

/// What the API calls the names of Services, which are for objects of that kind.
const IN_CLUSTER: &str = ".cluster.local";

impl XBackend {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        let backend = Self {
            meta,
            kind: spec.need("type").map(|at| at.choice()).unwrap_or_default(),
            selector: spec.get("endpointSelector").map(|at| read_selector(&at)).unwrap_or_default(),
            hostname: spec.get("externalHostname").map(|at| read_hostname(&at)).unwrap_or_default(),
            port: spec.need("port").map(|at| at.fields().need_port("number")).unwrap_or_default(),
            protocol: spec.choice("protocol"),
            tls: spec.get("tls").map(|at| XBackendTls::read(&at)).unwrap_or_default(),
            session: spec.get("sessionPersistence").map(|at| SessionPersistence::read(&at)),
        };
        for (of, field) in
            [(XBackendKind::EndpointSelector, "endpointSelector"), (XBackendKind::ExternalHostname, "externalHostname")]
        {
            match (backend.kind == of, spec.has(field)) {
                (true, false) => at.error(format!("{field} is missing"), format!("write {field}: for this type")),
                (false, true) => {
                    let message = format!("has {field}, but its type is {}", backend.kind.as_str());
                    at.error(message, format!("leave out {field}"));
                }
                _ => {}
            }
        }
        backend.check(&at);
        backend
    }

    fn check(&self, at: &Reader<'_>) {
        let has_tls = self.tls.mode != XBackendTlsMode::None;
        let wrong = match &self.protocol {
            Some(XBackendProtocol::H2c) if has_tls => Some(("H2C goes without TLS", "write HTTP2 for HTTP/2 over TLS")),
            Some(XBackendProtocol::Http2) if !has_tls => {
                Some(("HTTP2 goes with TLS", "write H2C for HTTP/2 without TLS, or tls: with a mode"))
            }
            Some(XBackendProtocol::Wss) if !has_tls => Some(("WSS goes with TLS", "write tls: with a mode")),
            _ => None,
        };
        if let Some((message, remedy)) = wrong {
            at.error(format!("protocol {message}"), remedy);
        }
        if self.session.is_some() && self.kind == XBackendKind::ExternalHostname {
            at.error("has sessionPersistence, but its type is ExternalHostname", "leave out sessionPersistence");
        }
    }
}

fn read_selector(at: &Reader<'_>) -> BTreeMap<String, String> {
    let labels = at.fields().map("matchLabels", Form::LABEL_VALUE);
    if labels.is_empty() {
        at.error("has no matchLabels", "write matchLabels: with the labels of the Pods");
    }
    labels
}

fn read_hostname(at: &Reader<'_>) -> String {
    let hostname = at.fields().need_text("hostname", Form::PRECISE_HOSTNAME);
    if hostname.ends_with(IN_CLUSTER) || hostname.parse::<IpAddr>().is_ok() {
        let message = format!("{hostname:?} is no host outside the cluster");
        at.error(message, "write a name of DNS; for Pods write type: EndpointSelector");
    }
    hostname
}

impl XBackendTls {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let tls = Self {
            mode: fields.need("mode").map(|at| at.choice()).unwrap_or_default(),
            validation: fields.get("validation").map(|at| BackendValidation::read(&at)),
            certificate: fields.get("clientCertificateRef").map(|at| ObjectReference::read_secret(&at)),
        };
        let mode = tls.mode.as_str();
        let agree = |field: &str, is_there: bool, is_wanted: bool| match (is_there, is_wanted) {
            (false, true) => at.error(format!("mode {mode} needs {field}"), format!("write {field}:")),
            (true, false) => at.error(format!("has {field}, but its mode is {mode}"), format!("leave out {field}")),
            _ => {}
        };
        agree("validation", tls.validation.is_some(), tls.mode != XBackendTlsMode::None);
        agree("clientCertificateRef", tls.certificate.is_some(), tls.mode == XBackendTlsMode::ClientAndServer);
        tls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{Decoded, Object, decode};
    use serde_json::{Value, json};

    fn read(spec: &Value) -> Result<XBackend, String> {
        let value = json!({"apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackend",
            "metadata": {"name": "pay", "namespace": "shop"}, "spec": spec});
        match decode(&value) {
            Ok(Decoded::Known(Object::XBackend(backend), _)) => Ok(XBackend::clone(&backend)),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    #[test]
    fn both_types_are_read() {
        let pods = json!({"type": "EndpointSelector", "port": {"number": 8080}, "protocol": "H2C",
            "endpointSelector": {"matchLabels": {"app": "cart"}}});
        let pods = read(&pods).unwrap();
        assert_eq!((pods.port, pods.selector["app"].as_str()), (8080, "cart"));
        let host = json!({"type": "ExternalHostname", "port": {"number": 443},
            "externalHostname": {"hostname": "api.example.com"},
            "tls": {"mode": "ServerOnly", "validation": {"hostname": "api.example.com", "wellKnownCACertificates": "System"}}});
        let host = read(&host).unwrap();
        assert_eq!((host.hostname.as_str(), host.tls.mode), ("api.example.com", XBackendTlsMode::ServerOnly));
    }

    #[test]
    fn what_the_api_refuses_is_refused() {
        let host = |extra: Value| {
            let mut spec = json!({"type": "ExternalHostname", "port": {"number": 443},
                "externalHostname": {"hostname": "api.example.com"}});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            spec
        };
        for (spec, place) in [
            (json!({"type": "EndpointSelector", "port": {"number": 80}}), "endpointSelector is missing"),
            (host(json!({"type": "EndpointSelector"})), "has externalHostname"),
            (host(json!({"port": {}})), "number"),
            (
                json!({"type": "EndpointSelector", "port": {"number": 80}, "endpointSelector": {"matchLabels": {}}}),
                "has no matchLabels",
            ),
            (host(json!({"externalHostname": {"hostname": "10.0.0.1"}})), "no host outside"),
            (host(json!({"externalHostname": {"hostname": "a.b.svc.cluster.local"}})), "no host outside"),
            (host(json!({"protocol": "HTTP2"})), "HTTP2 goes with TLS"),
            (host(json!({"protocol": "WSS"})), "WSS goes with TLS"),
            (host(json!({"tls": {"mode": "ServerOnly"}})), "needs validation"),
            (host(json!({"tls": {"mode": "None", "clientCertificateRef": {"name": "a"}}})), "has clientCertificateRef"),
            (host(json!({"sessionPersistence": {"cookie": {}}})), "has sessionPersistence"),
        ] {
            let problems = read(&spec).unwrap_err();
            assert!(problems.contains(place), "{spec}: {problems}");
        }
    }
}
