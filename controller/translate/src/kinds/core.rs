//! The kinds of Kubernetes itself that routes lead to: of each, what is used. Contents of Secrets are never printed.

use crate::{
    choices,
    form::Form,
    kinds::ObjectMeta,
    schema::{Fields, Problem, Reader},
};
use base64::Engine;
use headgate_config::{ProxyProtocol, Redacted, Text};
use serde_json::Value;
use std::collections::BTreeMap;

/// Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Set for type ExternalName: where it leads.
    pub external_name: Option<String>,
    /// Whether it has no address of its own (`clusterIP: None`).
    pub headless: bool,
    /// The labels of its Pods; empty where somebody else says which endpoints it has.
    pub selector: Box<[(Text, Text)]>,
    /// How its endpoints are told of clients; what is written where that is no version of the PROXY protocol.
    pub proxy_protocol: Option<Result<ProxyProtocol, Text>>,
}

/// `ports[]` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; may be empty for a single port.
    pub name: Text,
    /// Port.
    pub port: u16,
    /// Port of the endpoints; the same one where none is written.
    pub target: Option<TargetPort>,
    /// `TCP` by default.
    pub protocol: Text,
    /// What is spoken.
    pub app_protocol: Option<Text>,
}

/// A port by number or by the name that containers give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

/// EndpointSlice of `discovery.k8s.io/v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Metadata.
    pub meta: ObjectMeta,
    /// The Service it belongs to (label `kubernetes.io/service-name`), empty for none.
    pub service: Text,
    /// Kind of the addresses.
    pub family: AddressFamily,
    /// Endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// Ports, by the names of the Service's ports.
    pub ports: Vec<EndpointPort>,
}

choices! {
    /// `addressType`.
    AddressFamily { IPv4 = "IPv4", IPv6 = "IPv6", FQDN = "FQDN" }
}

/// `endpoints[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Addresses; the first is used.
    pub addresses: Vec<String>,
    /// Ready, or not known.
    pub ready: bool,
    /// About to stop.
    pub terminating: bool,
}

/// `ports[]` of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointPort {
    /// Name of the Service's port.
    pub name: Text,
    /// Port of the endpoints.
    pub port: Option<u16>,
}

/// Pod: whether it can be asked, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Metadata, with the labels by which it is selected.
    pub meta: ObjectMeta,
    /// `status.podIP`, unless it has ended or has none yet.
    pub address: Option<String>,
    /// Condition `Ready`.
    pub ready: bool,
    /// Whether it is to go.
    pub terminating: bool,
}

/// Secret: texts only; what is not UTF-8 is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    /// Metadata.
    pub meta: ObjectMeta,
    /// `type`.
    pub kind: String,
    /// Decoded contents.
    pub data: BTreeMap<String, Redacted>,
}

/// ConfigMap: texts only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Contents.
    pub data: BTreeMap<String, String>,
}

/// API group of ClusterTrustBundles.
pub const CERTIFICATES_GROUP: &str = "certificates.k8s.io";

/// ClusterTrustBundle of `certificates.k8s.io`: authorities for all namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterTrustBundle {
    /// Metadata.
    pub meta: ObjectMeta,
    /// `spec.trustBundle`: certificates in PEM.
    pub pem: String,
}

/// Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Metadata.
    pub meta: ObjectMeta,
}

/// Fields of a Service that are known and of no use here.
const UNUSED_SERVICE_FIELDS: [&str; 16] = [
    "clusterIPs",
    "externalIPs",
    "sessionAffinity",
    "sessionAffinityConfig",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "loadBalancerClass",
    "externalTrafficPolicy",
    "internalTrafficPolicy",
    "healthCheckNodePort",
    "publishNotReadyAddresses",
    "ipFamilies",
    "ipFamilyPolicy",
    "allocateLoadBalancerNodePorts",
    "trafficDistribution",
    "topologyKeys",
];

/// What a Service says of the header that tells its endpoints of clients: `v1`, `v2`.
pub const PROXY_PROTOCOL_ANNOTATION: &str = "headgate.dev/proxy-protocol";

impl Service {
    pub(crate) fn read(top: &mut Fields<'_>, mut meta: ObjectMeta) -> Self {
        let proxy_protocol = meta.annotations.remove(PROXY_PROTOCOL_ANNOTATION).map(|text| match text.as_str() {
            "v1" => Ok(ProxyProtocol::V1),
            "v2" => Ok(ProxyProtocol::V2),
            _ => Err(text.into()),
        });
        let meta = meta.slim();
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        UNUSED_SERVICE_FIELDS.into_iter().for_each(|field| spec.skip(field));
        let external = spec.text("type", Form::ANY).as_deref() == Some("ExternalName");
        let external_name = spec.text("externalName", Form::ANY).filter(|_| external);
        let ports = spec.each("ports", 0..=usize::MAX, ServicePort::read);
        if ports.is_empty() && !external && !spec.has("clusterIP") {
            at.error("has no ports", "write ports: with at least one port");
        }
        if let Some(second) = ports.iter().enumerate().skip(1).find(|(_, port)| port.name.is_empty()) {
            let path = at.path().key("ports").index(second.0).key("name");
            at.report().add(Problem::error(path, "is missing", "name each port if there are several"));
        }
        Self {
            meta,
            ports,
            external_name: external.then(|| external_name.unwrap_or_default()),
            headless: spec.text("clusterIP", Form::ANY).as_deref() == Some("None"),
            selector: spec
                .map("selector", Form::ANY)
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
            proxy_protocol,
        }
    }
}

impl ServicePort {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        fields.skip("nodePort");
        Self {
            name: fields
                .text("name", Form::custom(0, 63, |_| true, "write at most 63 characters"))
                .unwrap_or_default()
                .into(),
            port: fields.need_port("port"),
            target: fields.get("targetPort").map(|at| TargetPort::read(&at)),
            protocol: fields.text("protocol", Form::ANY).as_deref().unwrap_or("TCP").into(),
            app_protocol: fields.text("appProtocol", Form::ANY).map(Text::from),
        }
    }
}

impl TargetPort {
    fn read(at: &Reader<'_>) -> Self {
        if at.value().is_string() {
            let form =
                Form::custom(1, 15, crate::form::is_label, "write a port number, or the name of a container's port");
            Self::Name(at.text(form))
        } else {
            Self::Number(u16::try_from(at.number(1..=65535)).unwrap_or_default())
        }
    }
}

impl EndpointSlice {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let slice = Self {
            service: meta.labels.get("kubernetes.io/service-name").map(Text::from).unwrap_or_default(),
            family: top.need("addressType").map(|at| at.choice()).unwrap_or_default(),
            endpoints: top.each("endpoints", 0..=1000, SliceEndpoint::read),
            ports: top.each("ports", 0..=20_000, EndpointPort::read),
            meta: meta.slim(),
        };
        slice.check(top.at());
        slice
    }

    fn check(&self, at: &Reader<'_>) {
        let fits = |text: &str| match self.family {
            AddressFamily::IPv4 => text.parse::<std::net::Ipv4Addr>().is_ok(),
            AddressFamily::IPv6 => text.parse::<std::net::Ipv6Addr>().is_ok(),
            AddressFamily::FQDN | AddressFamily::Unknown(_) => true,
        };
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if let Some(wrong) = endpoint.addresses.iter().find(|text| !fits(text)) {
                let path = at.path().key("endpoints").index(index).key("addresses");
                let message = format!("{wrong:?} is no {} address", self.family.as_str());
                at.report().add(Problem::error(path, message, "write an address of the addressType, without a port"));
            }
        }
        if self.family == AddressFamily::FQDN {
            let path = at.path().key("addressType");
            let message = "endpoints that are given by name are not supported and get no requests";
            at.report().add(Problem::warning(path, message, "write IPv4 or IPv6 addresses"));
        }
        if self.service.is_empty() {
            let path = at.path().key("metadata").key("labels");
            let remedy = "write the label kubernetes.io/service-name with the name of the Service";
            at.report().add(Problem::warning(path, "belongs to no Service", remedy));
        }
    }
}

impl SliceEndpoint {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        for unused in ["hostname", "nodeName", "targetRef", "zone", "hints", "deprecatedTopology"] {
            fields.skip(unused);
        }
        let addresses = fields.need("addresses").map(|at| at.list(1..=100)).unwrap_or_default();
        let mut endpoint = Self {
            addresses: addresses.iter().map(|at| at.text(Form::ANY)).collect(),
            // absent is "unknown", which the API tells consumers to take as ready
            ready: true,
            terminating: false,
        };
        if let Some(conditions) = fields.get("conditions") {
            let mut conditions = conditions.fields();
            conditions.skip("serving");
            endpoint.ready = conditions.flag("ready").unwrap_or(true);
            endpoint.terminating = conditions.flag("terminating").unwrap_or(false);
        }
        endpoint
    }
}

impl EndpointPort {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        fields.skip("protocol");
        fields.skip("appProtocol");
        Self { name: fields.text("name", Form::ANY).unwrap_or_default().into(), port: fields.port("port") }
    }
}

impl Pod {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        top.skip("spec");
        // what nobody writes by hand needs no remedy
        let value = top.at().value();
        let status = &value["status"];
        let has_ended = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
        let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        Self {
            address: status["podIP"].as_str().filter(|ip| !ip.is_empty() && !has_ended).map(str::to_owned),
            ready: status["conditions"].as_array().is_some_and(|all| all.iter().any(is_ready)),
            terminating: !value["metadata"]["deletionTimestamp"].is_null(),
            meta: ObjectMeta { annotations: BTreeMap::new(), generation: 0, ..meta },
        }
    }
}

impl Secret {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        top.skip("immutable");
        let mut data = BTreeMap::new();
        for (key, at) in top.get("data").map(|at| at.entries()).unwrap_or_default() {
            if let Some(text) = decode_base64(&at) {
                data.insert(key, Redacted::new(text));
            }
        }
        // as the API server does it: stringData is written over data
        data.extend(top.map("stringData", Form::ANY).into_iter().map(|(key, text)| (key, Redacted::new(text))));
        Self { meta, kind: top.text("type", Form::ANY).unwrap_or_default(), data }
    }
}

/// `None` for what is no text (reported if it is no base64 either).
fn decode_base64(at: &Reader<'_>) -> Option<String> {
    let packed: String = at.text(Form::ANY).split_ascii_whitespace().collect();
    match base64::engine::general_purpose::STANDARD.decode(packed) {
        Ok(bytes) => String::from_utf8(bytes).ok(),
        Err(_) => {
            at.error("is not base64", "write plain text under stringData instead of data");
            None
        }
    }
}

impl ConfigMap {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        top.skip("immutable");
        top.skip("binaryData");
        Self { meta, data: top.map("data", Form::ANY) }
    }
}

impl ClusterTrustBundle {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let pem = top.need("spec").map(|at| {
            let mut spec = at.fields();
            spec.skip("signerName");
            spec.need_text("trustBundle", Form::ANY)
        });
        Self { meta, pem: pem.unwrap_or_default() }
    }
}

impl Namespace {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        top.skip("spec");
        Self { meta }
    }
}
