//! Ingress and IngressClass of `networking.k8s.io/v1`, with the rules of its API server. Never what an implementation makes of an annotation.

use crate::{
    Key, choices,
    form::{Form, is_label, is_subdomain},
    kinds::{GATEWAY_GROUP, ObjectMeta},
    schema::{Fields, Reader},
};
use headgate_config::Text;

/// The group of Ingress.
pub const INGRESS_GROUP: &str = "networking.k8s.io";
/// What named the class of an Ingress before `spec.ingressClassName`.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingress {
    /// Metadata.
    pub meta: ObjectMeta,
    /// `ingressClassName`, else the annotation that came before it.
    pub class: Option<Text>,
    /// Takes what no rule of any Ingress takes.
    pub default_backend: Option<IngressBackend>,
    /// Certificates by host.
    pub tls: Vec<IngressTls>,
    /// Its rules.
    pub rules: Vec<IngressRule>,
}

/// `tls[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressTls {
    /// Hosts; any where none is written.
    pub hosts: Vec<String>,
    /// Secret with the certificate; the implementation's own where none is written.
    pub secret: Option<Text>,
}

/// `rules[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressRule {
    /// Its host; any where none is written.
    pub host: Option<String>,
    /// Its paths; everything goes to the default backend where none is written.
    pub paths: Vec<IngressPath>,
}

/// `http.paths[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressPath {
    /// How it is matched.
    pub kind: PathType,
    /// The path; may be empty for ImplementationSpecific.
    pub path: String,
    /// Where requests go.
    pub backend: IngressBackend,
}

choices! {
    /// `pathType`.
    PathType { ImplementationSpecific = "ImplementationSpecific", Prefix = "Prefix", Exact = "Exact" }
}

choices! {
    /// `parameters.scope` of a class.
    Scope { Cluster = "Cluster", Namespace = "Namespace" }
}

/// What serves requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressBackend {
    /// A port of a Service in the namespace of the Ingress.
    Service {
        /// The Service.
        name: Text,
        /// Its port.
        port: IngressPort,
    },
    /// An object of another kind, as `Kind name`.
    Resource(String),
}

impl Default for IngressBackend {
    fn default() -> Self {
        Self::Service { name: Text::default(), port: IngressPort::default() }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressPort {
    /// By number.
    Number(u16),
    /// By the name that the Service gives it.
    Name(Text),
}

impl Default for IngressPort {
    fn default() -> Self {
        Self::Number(0)
    }
}

/// IngressClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressClass {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Who serves its Ingresses.
    pub controller: String,
    /// The Gateway that its `parameters` name: namespace and name.
    pub gateway: Option<Key>,
}

impl IngressClass {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(spec) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = spec.fields();
        Self {
            meta,
            controller: spec.need_text("controller", Form::CONTROLLER),
            gateway: spec.get("parameters").and_then(|at| read_gateway(&at)),
        }
    }
}

/// Parameters of other kinds are of other controllers.
fn read_gateway(at: &Reader<'_>) -> Option<Key> {
    let mut fields = at.fields();
    let group = fields.name("apiGroup", Form::GROUP).unwrap_or_default();
    let (kind, name) = (fields.need_name("kind", Form::KIND), fields.need_name("name", Form::NAME));
    let scope: Scope = fields.choice("scope").unwrap_or_default();
    let namespace = fields.name("namespace", Form::LABEL);
    match (&scope, &namespace) {
        (Scope::Cluster, Some(_)) => at.error("has a namespace, but its scope is Cluster", "write scope: Namespace"),
        (Scope::Namespace, None) => at.error("has scope Namespace without a namespace", "write namespace:"),
        _ => {}
    }
    (group == GATEWAY_GROUP && kind == "Gateway").then_some((namespace?, name))
}

impl Ingress {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let annotated = meta.annotations.get(CLASS_ANNOTATION).map(Text::from);
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        let ingress = Self {
            meta,
            class: spec.name("ingressClassName", Form::SUBDOMAIN).or(annotated),
            default_backend: spec.get("defaultBackend").map(|at| IngressBackend::read(&at)),
            tls: spec.each("tls", 0..=usize::MAX, IngressTls::read),
            rules: spec.each("rules", 0..=usize::MAX, IngressRule::read),
        };
        if ingress.default_backend.is_none() && ingress.rules.is_empty() {
            at.error("has neither rules nor defaultBackend", "write rules: with a host and paths");
        }
        ingress
    }
}

impl IngressTls {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            hosts: fields.texts("hosts", 0..=usize::MAX, Form::HOSTNAME),
            secret: fields.name("secretName", Form::SUBDOMAIN),
        }
    }
}

impl IngressRule {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let host = fields.get("host").map(|at| read_host(&at)).filter(|host| !host.is_empty());
        let paths = fields.get("http").and_then(|http| {
            http.fields().need("paths").map(|at| at.list(1..=usize::MAX).iter().map(IngressPath::read).collect())
        });
        Self { host, paths: paths.unwrap_or_default() }
    }
}

/// A host, which is a name and never an address.
fn read_host(at: &Reader<'_>) -> String {
    if at.value().as_str().is_some_and(str::is_empty) {
        return String::new();
    }
    let host = at.text(Form::HOSTNAME);
    if host.parse::<std::net::IpAddr>().is_ok() {
        at.error("is an address", "write a DNS name, or leave host out for any host");
    }
    host
}

impl IngressPath {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let path = Self {
            kind: fields.need("pathType").map(|at| at.choice()).unwrap_or_default(),
            path: fields.text("path", Form::PATH).unwrap_or_default(),
            backend: fields.need("backend").map(|at| IngressBackend::read(&at)).unwrap_or_default(),
        };
        if let Some((message, remedy)) = path.fault() {
            let path_at = fields.get("path").unwrap_or_else(|| at.clone());
            path_at.error(format!("{:?} {message}", path.path), remedy);
        }
        path
    }

    /// What the API server refuses. A pattern of an implementation may be anything that begins with a slash.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        let path = self.path.as_str();
        if self.kind == PathType::ImplementationSpecific {
            return (!path.is_empty() && !path.starts_with('/'))
                .then_some(("does not start with /", "write / before it"));
        }
        let faults = [
            (!path.starts_with('/'), "does not start with /", "write / before it"),
            (path.contains("//"), "has // in it", "write one /"),
            (path.contains("/./") || path.ends_with("/."), "has a segment . in it", "write the path without it"),
            (path.contains("/../") || path.ends_with("/.."), "has a segment .. in it", "write the path that it means"),
            (path.contains("%2f") || path.contains("%2F"), "has an encoded slash in it", "write /"),
        ];
        faults.into_iter().find(|(holds, ..)| *holds).map(|(_, message, remedy)| (message, remedy))
    }
}

impl IngressBackend {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let (service, resource) = (fields.get("service"), fields.get("resource"));
        if service.is_some() == resource.is_some() {
            at.error("names not exactly one of service and resource", "write service: with name and port");
        }
        if let Some(resource) = resource {
            let mut fields = resource.fields();
            fields.skip("apiGroup");
            let (kind, name) = (fields.need_text("kind", Form::KIND), fields.need_text("name", Form::NAME));
            return Self::Resource(format!("{kind} {name}"));
        }
        let Some(service) = service else { return Self::default() };
        let mut fields = service.fields();
        Self::Service {
            name: fields.need_name("name", SERVICE_NAME),
            port: fields.need("port").map(|at| IngressPort::read(&at)).unwrap_or_default(),
        }
    }
}

/// As old as Services: a label that may be as long as any name.
const SERVICE_NAME: Form = Form::custom(1, 253, is_subdomain, "write the name of a Service");
const PORT_NAME: Form = Form::custom(1, 15, is_label, "write the name that the Service gives the port");

impl IngressPort {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let (number, name) = (fields.port("number").filter(|port| *port > 0), fields.name("name", PORT_NAME));
        match (number, name) {
            (Some(number), None) => Self::Number(number),
            (None, Some(name)) => Self::Name(name),
            _ => {
                at.error("needs one of number and name", "write number: with the port of the Service");
                Self::default()
            }
        }
    }
}
