//! GatewayClass and Gateway of `gateway.networking.k8s.io`, v1.7.0 with its experimental fields.

use crate::{
    choices,
    form::Form,
    kinds::{
        CERTIFICATES_GROUP, Filter, LabelSelector, ObjectMeta, ObjectReference,
        reference::{GATEWAY_GROUP, refuse_repeats},
    },
    schema::{Choice, Fields, Problem, Reader, Report, suggestion},
};
use std::collections::BTreeMap;

/// GatewayClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayClass {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Whose class it is.
    pub controller: String,
    /// Parameters of an implementation.
    pub parameters: Option<ObjectReference>,
    /// For people.
    pub description: String,
}

/// Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Name of its class.
    pub class: String,
    /// Listeners; names are unique.
    pub listeners: Vec<Listener>,
    /// Addresses that are asked for.
    pub addresses: Vec<Address>,
    /// What its workloads carry.
    pub infrastructure: Infrastructure,
    /// Which ListenerSets may attach.
    pub allowed_listeners: AllowedListeners,
    /// Validation of client certificates.
    pub frontend_tls: Option<FrontendTls>,
    /// Certificate that is shown to backends.
    pub backend_certificate: Option<ObjectReference>,
    /// `spec.defaultScope` (experimental): which routes may attach without naming it.
    pub default_scope: DefaultScope,
}

/// `listeners[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// Name within the Gateway.
    pub name: String,
    /// Host; any where none is written.
    pub hostname: Option<String>,
    /// Port.
    pub port: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// TLS.
    pub tls: Option<ListenerTls>,
    /// Which routes may attach.
    pub allowed_routes: AllowedRoutes,
    /// Filters before routing (experimental), as their types.
    pub filters: Vec<Filter>,
}

choices! {
    /// What a listener speaks.
    Protocol { Http = "HTTP", Https = "HTTPS", Tls = "TLS", Tcp = "TCP", Udp = "UDP" }
}

/// `listeners[].tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTls {
    /// Terminate by default.
    pub mode: TlsMode,
    /// Certificates.
    pub certificates: Vec<ObjectReference>,
    /// Options of an implementation.
    pub options: BTreeMap<String, String>,
}

choices! {
    /// What becomes of TLS.
    TlsMode { Terminate = "Terminate", Passthrough = "Passthrough" }
}

/// `listeners[].allowedRoutes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedRoutes {
    /// From which namespaces; Same by default.
    pub from: From,
    /// For Selector; none selects nothing.
    pub selector: Option<LabelSelector>,
    /// Kinds; those of the protocol where none is written.
    pub kinds: Vec<RouteGroupKind>,
}

choices! {
    /// Namespaces that something is allowed from.
    From { Same = "Same", All = "All", Selector = "Selector", None = "None" }
}

/// A kind of route.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct RouteGroupKind {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
}

/// `addresses[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// `IPAddress` by default.
    pub kind: String,
    /// Value, empty for any address of the type.
    pub value: Option<String>,
    /// Routability (experimental).
    pub routability: Option<String>,
}

/// `infrastructure`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Infrastructure {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Parameters of an implementation.
    pub parameters: Option<ObjectReference>,
}

/// `allowedListeners.namespaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedListeners {
    /// From which namespaces; None by default.
    pub from: From,
    /// For Selector; none selects nothing.
    pub selector: Option<LabelSelector>,
}

impl Default for AllowedListeners {
    fn default() -> Self {
        Self { from: From::None, selector: None }
    }
}

/// `tls.frontend`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontendTls {
    /// For ports that have none of their own.
    pub default: Option<FrontendValidation>,
    /// By port; a port without validation asks for none.
    pub per_port: Vec<FrontendTlsPort>,
}

/// `tls.frontend.perPort[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontendTlsPort {
    /// Port.
    pub port: u16,
    /// Validation.
    pub validation: Option<FrontendValidation>,
}

/// How client certificates are validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontendValidation {
    /// Authorities.
    pub authorities: Vec<ObjectReference>,
    /// What becomes of clients without a valid one.
    pub mode: ValidationMode,
}

choices! {
    /// What becomes of clients without a valid certificate.
    ValidationMode { AllowValidOnly = "AllowValidOnly", AllowInsecureFallback = "AllowInsecureFallback" }
}

choices! {
    /// Operations of listener filters.
    ListenerFilterKind { ExternalAuth = "ExternalAuth", ExtensionRef = "ExtensionRef" }
}

choices! {
    /// Which routes a default Gateway takes, and which default Gateways a route asks for (GEP-3793).
    DefaultScope { None = "None", All = "All" }
}

impl DefaultScope {
    /// Whether a Gateway of this scope takes a route that asks for that one. A scope of a later version takes nothing.
    pub fn takes(&self, asked: &Self) -> bool {
        matches!((self, asked), (Self::All, Self::All))
    }
}

impl GatewayClass {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(spec) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = spec.fields();
        Self {
            meta,
            controller: spec.need_text("controllerName", Form::CONTROLLER),
            parameters: spec.get("parametersRef").map(|at| ObjectReference::read_full(&at)),
            description: spec.text("description", Form::DESCRIPTION).unwrap_or_default(),
        }
    }
}

impl Gateway {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        let listeners = spec.need("listeners").map(|at| Listener::read_list(&at)).unwrap_or_default();
        let mut gateway = Self {
            meta,
            class: spec.need_text("gatewayClassName", Form::NAME),
            listeners,
            addresses: read_addresses(&mut spec),
            infrastructure: spec.get("infrastructure").map(|at| Infrastructure::read(&at)).unwrap_or_default(),
            allowed_listeners: spec.get("allowedListeners").map(|at| AllowedListeners::read(&at)).unwrap_or_default(),
            frontend_tls: None,
            backend_certificate: None,
            default_scope: spec.choice("defaultScope").unwrap_or_default(),
        };
        if let Some(tls) = spec.get("tls") {
            let mut tls = tls.fields();
            gateway.frontend_tls = tls.get("frontend").map(|at| FrontendTls::read(&at));
            if let Some(backend) = tls.get("backend") {
                let reference = backend.fields().get("clientCertificateRef");
                gateway.backend_certificate = reference.map(|at| ObjectReference::read_secret(&at));
            }
        }
        gateway
    }
}

impl Listener {
    pub(super) fn read_list(at: &Reader<'_>) -> Vec<Self> {
        let elements = at.list(1..=64);
        let listeners: Vec<Self> = elements.iter().map(Self::read).collect();
        refuse_repeats(at.report(), at.path(), listeners.iter().map(|listener| &listener.name), "name");
        for (index, listener) in listeners.iter().enumerate() {
            let same = |other: &&Self| {
                (other.port, &other.protocol, &other.hostname)
                    == (listener.port, &listener.protocol, &listener.hostname)
            };
            if let Some(other) = listeners[..index].iter().find(same) {
                let message = format!("has port, protocol and hostname of listener {}", other.name);
                elements[index].error(message, "give it another port or hostname, or leave it out");
            }
        }
        listeners
    }

    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let listener = Self {
            name: fields.need_text("name", Form::SUBDOMAIN),
            hostname: fields.text("hostname", Form::HOSTNAME),
            port: fields.need_port("port"),
            protocol: Protocol::of(&fields.need_text("protocol", Form::PROTOCOL)),
            tls: fields.get("tls").map(|at| ListenerTls::read(&at)),
            allowed_routes: fields.get("allowedRoutes").map(|at| AllowedRoutes::read(&at)).unwrap_or_default(),
            filters: fields.get("filters").map(|at| read_filters(&at)).unwrap_or_default(),
        };
        listener.check(at);
        listener
    }

    fn check(&self, at: &Reader<'_>) {
        let name = self.protocol.as_str();
        match (&self.protocol, &self.tls) {
            (Protocol::Http | Protocol::Tcp | Protocol::Udp, Some(_)) => {
                at.error(format!("has tls, but protocol {name} has none"), "write protocol: HTTPS, or leave out tls");
            }
            (Protocol::Https, Some(tls)) if tls.mode == TlsMode::Passthrough => {
                at.error("passes TLS through, but its protocol is HTTPS", "write mode: Terminate, or protocol: TLS");
            }
            (Protocol::Tls, None) => at.error("has no tls, but protocol TLS needs it", "write tls: with a mode"),
            _ => {}
        }
        if matches!(self.protocol, Protocol::Tcp | Protocol::Udp) && self.hostname.is_some() {
            at.error(format!("has a hostname, but protocol {name} knows none"), "leave out hostname");
        }
        if !self.filters.is_empty() && !matches!(self.protocol, Protocol::Http | Protocol::Https) {
            at.error(format!("has filters, but protocol {name} has none"), "leave out filters");
        }
    }
}

/// Filters of listeners stand beside those of routes in type and body, but may be of two types only.
fn read_filters(at: &Reader<'_>) -> Vec<Filter> {
    at.fields().each("requests", 0..=16, |at| {
        let kind = at.value().get("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        if !ListenerFilterKind::NAMES.contains(&kind) {
            let remedy = suggestion(kind, ListenerFilterKind::NAMES.iter().copied());
            at.warn(format!("{kind:?} is no filter of listeners"), remedy);
        }
        Filter::read(at, false)
    })
}

impl ListenerTls {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let tls = Self {
            mode: fields.get("mode").map(|at| read_mode(&at)).unwrap_or_default(),
            certificates: fields.each("certificateRefs", 0..=64, ObjectReference::read_secret),
            options: fields.map("options", Form::OPTION),
        };
        if tls.mode == TlsMode::Terminate && tls.certificates.is_empty() && tls.options.is_empty() {
            at.error("terminates TLS without a certificate", "write certificateRefs: with the name of a Secret");
        }
        tls
    }
}

/// A mode of a later version is kept as data: it costs its listener, not the Gateway.
fn read_mode(at: &Reader<'_>) -> TlsMode {
    let mode = TlsMode::of(&at.text(Form::ANY));
    if let TlsMode::Unknown(text) = &mode {
        let remedy = suggestion(text, TlsMode::NAMES.iter().copied());
        at.warn(format!("{text:?} is no TLS mode of this version, so its listener does not serve"), remedy);
    }
    mode
}

impl AllowedRoutes {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let (from, selector) = read_namespaces(&mut fields, From::Same);
        Self { from, selector, kinds: fields.each("kinds", 0..=8, RouteGroupKind::read) }
    }
}

impl AllowedListeners {
    fn read(at: &Reader<'_>) -> Self {
        let (from, selector) = read_namespaces(&mut at.fields(), From::None);
        Self { from, selector }
    }
}

fn read_namespaces(fields: &mut Fields<'_>, default: From) -> (From, Option<LabelSelector>) {
    let Some(at) = fields.get("namespaces") else { return (default, None) };
    let mut fields = at.fields();
    let from = fields.choice("from").unwrap_or(default);
    let selector = fields.get("selector").map(|at| LabelSelector::read(&at));
    if from == From::Selector && selector.is_none() {
        at.warn("has from: Selector without a selector, which selects nothing", "write selector: with matchLabels");
    }
    (from, selector)
}

impl RouteGroupKind {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            group: fields.text("group", Form::GROUP).unwrap_or_else(|| GATEWAY_GROUP.into()),
            kind: fields.need_text("kind", Form::KIND),
        }
    }
}

fn read_addresses(spec: &mut Fields<'_>) -> Vec<Address> {
    let addresses = spec.each("addresses", 0..=16, |at| {
        let mut fields = at.fields();
        let address = Address {
            kind: fields.text("type", Form::NAME).unwrap_or_else(|| "IPAddress".into()),
            value: fields.text("value", Form::custom(0, 253, |_| true, "write at most 253 characters")),
            routability: fields.text("routability", Form::ROUTABILITY),
        };
        if let ("Hostname", Some(value)) = (address.kind.as_str(), &address.value)
            && let Err(message) = Form::HOSTNAME.check(value)
        {
            at.error(message, Form::HOSTNAME.remedy);
        }
        address
    });
    let report = spec.at().report();
    refuse_repeated_addresses(report, spec, &addresses);
    addresses
}

fn refuse_repeated_addresses(report: &Report, spec: &Fields<'_>, addresses: &[Address]) {
    for (index, address) in addresses.iter().enumerate().filter(|(_, address)| address.value.is_some()) {
        if addresses[..index].iter().any(|other| (&other.kind, &other.value) == (&address.kind, &address.value)) {
            let path = spec.at().path().key("addresses").index(index);
            report.add(Problem::error(path, "is the same address as another one", "leave it out"));
        }
    }
}

impl Infrastructure {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let infrastructure = Self {
            labels: fields.map("labels", Form::LABEL_VALUE),
            annotations: fields.map("annotations", Form::OPTION),
            parameters: fields.get("parametersRef").map(|at| ObjectReference::read_local(&at)),
        };
        let sizes = [("labels", infrastructure.labels.len(), 8), ("annotations", infrastructure.annotations.len(), 16)];
        let keys = [("labels", &infrastructure.labels), ("annotations", &infrastructure.annotations)];
        for (field, key) in keys.into_iter().flat_map(|(field, map)| map.keys().map(move |key| (field, key))) {
            if let Err(message) = Form::LABEL_KEY.check(key) {
                let path = at.path().key(field).key(key.clone());
                at.report().add(Problem::error(path, message, Form::LABEL_KEY.remedy));
            }
        }
        for (field, count, most) in sizes {
            if count > most {
                let message = format!("has {count} entries, {most} are allowed");
                at.report().add(Problem::error(at.path().key(field), message, "leave some out"));
            }
        }
        infrastructure
    }
}

impl FrontendTls {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let default = fields.need("default").and_then(|at| FrontendValidation::read_config(&at));
        let per_port = fields.each("perPort", 0..=64, |at| {
            let mut fields = at.fields();
            FrontendTlsPort {
                port: fields.need_port("port"),
                validation: fields.need("tls").and_then(|at| FrontendValidation::read_config(&at)),
            }
        });
        let ports = per_port.iter().map(|config| config.port);
        refuse_repeats(at.report(), &at.path().key("perPort"), ports, "port");
        Self { default, per_port }
    }
}

impl FrontendValidation {
    fn read_config(at: &Reader<'_>) -> Option<Self> {
        at.fields().get("validation").map(|at| {
            let mut fields = at.fields();
            let authorities = fields.need("caCertificateRefs").map(|at| at.list(1..=16)).unwrap_or_default();
            Self {
                authorities: authorities.iter().map(read_authority).collect(),
                mode: fields.choice("mode").unwrap_or_default(),
            }
        })
    }
}

fn read_authority(at: &Reader<'_>) -> ObjectReference {
    let reference = ObjectReference::read_full(at);
    let bundle = (reference.group.as_str(), reference.kind.as_str()) == (CERTIFICATES_GROUP, "ClusterTrustBundle");
    if bundle && reference.namespace.is_some() {
        at.error("names a namespace, but a ClusterTrustBundle has none", "leave out namespace");
    }
    reference
}
