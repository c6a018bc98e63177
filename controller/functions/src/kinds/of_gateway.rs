//! OpenFunction's Gateway: how hosts and paths of functions are made, and which listeners they stand on. With the defaults of its webhook.

use super::{function::NamespacedName, parts};
use crate::name_template::{HOST_VARIABLES, NameTemplate, PATH_VARIABLES, Values, Variable};
use headgate_translate::{
    form::{Form, is_subdomain},
    kinds::{AllowedRoutes, From, Gateway, Listener, ObjectMeta, Protocol},
    schema::{FieldPath, Fields, Problem, Reader, Report},
};
use serde_json::{Value, json};

/// The listener that internal names use (`DefaultHttpListenerName`).
pub const INTERNAL_LISTENER: &str = "ofn-http-internal";
/// Name and namespace of the gateway that functions use without a `gatewayRef`.
pub const DEFAULT_GATEWAY: &str = "openfunction";
/// The name of the listener for everybody else, where we make it.
const EXTERNAL_LISTENER: &str = "ofn-http-external";
const DEFAULT_HOST_TEMPLATE: &str = "{{.Name}}.{{.Namespace}}.{{.Domain}}";
const DEFAULT_PATH_TEMPLATE: &str = "{{.Namespace}}/{{.Name}}";
const DOMAIN: Form = Form::custom(
    1,
    253,
    is_subdomain,
    "write a domain such as ofn.io, in lower case, without scheme, port or wildcard",
);
const DEFAULT_LABEL: &str = "app.kubernetes.io/managed-by";

/// `networking.openfunction.io/v1alpha1` Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct OfGateway {
    /// Metadata.
    pub meta: ObjectMeta,
    /// `spec.domain`.
    pub domain: String,
    /// `spec.clusterDomain`.
    pub cluster_domain: String,
    /// `spec.hostTemplate`.
    pub host_template: NameTemplate,
    /// `spec.pathTemplate`.
    pub path_template: NameTemplate,
    /// `spec.httpRouteLabelKey`.
    pub label_key: String,
    /// The Gateway of Kubernetes behind it.
    pub target: GatewayTarget,
    /// Listeners after the defaults.
    pub listeners: Vec<Listener>,
    /// The same as they were written, before the defaults.
    pub listeners_written: Vec<Value>,
    /// Where the Service `gateway` is, which leads to the Gateway of Kubernetes.
    pub entry_namespace: String,
}

/// The Gateway of Kubernetes behind an OpenFunction Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayTarget {
    /// `gatewayRef`: it exists, and our listeners are added to it.
    Existing(NamespacedName),
    /// `gatewayDef`: it is made.
    Made {
        /// Its name.
        gateway: NamespacedName,
        /// Its class.
        class: String,
    },
}

impl GatewayTarget {
    /// The name of the Gateway.
    pub fn gateway(&self) -> &NamespacedName {
        match self {
            Self::Existing(gateway) | Self::Made { gateway, .. } => gateway,
        }
    }
}

impl OfGateway {
    /// The gateway `openfunction/openfunction` where nobody wrote one, with its listeners on `port`.
    pub fn built_in(domain: &str, port: u16, target: GatewayTarget) -> Self {
        let mut gateway = Self {
            meta: ObjectMeta {
                name: DEFAULT_GATEWAY.into(),
                namespace: DEFAULT_GATEWAY.into(),
                ..ObjectMeta::default()
            },
            domain: domain.into(),
            cluster_domain: "cluster.local".into(),
            host_template: parsed(DEFAULT_HOST_TEMPLATE, HOST_VARIABLES),
            path_template: parsed(DEFAULT_PATH_TEMPLATE, PATH_VARIABLES),
            label_key: DEFAULT_LABEL.into(),
            target,
            listeners: vec![Listener { name: EXTERNAL_LISTENER.into(), port, ..open_listener() }],
            listeners_written: vec![open_listener_written(EXTERNAL_LISTENER, port)],
            entry_namespace: DEFAULT_GATEWAY.into(),
        };
        gateway.default_listeners();
        gateway.listeners.iter_mut().for_each(|listener| listener.port = port);
        gateway
    }

    /// Names within the cluster end otherwise.
    pub(crate) fn set_cluster_domain(&mut self, domain: &str) {
        domain.clone_into(&mut self.cluster_domain);
        let internal = self.listeners.iter_mut().filter(|listener| listener.name == INTERNAL_LISTENER);
        internal.for_each(|listener| listener.hostname = Some(format!("*.{domain}")));
    }

    /// Takes every host, not only those below its domain: for a machine that has one gateway for all.
    pub(crate) fn take_any_host(&mut self) {
        for listener in self.listeners.iter_mut().filter(|listener| listener.name != INTERNAL_LISTENER) {
            listener.hostname = None;
        }
    }

    /// Its namespace and name.
    pub fn reference(&self) -> NamespacedName {
        NamespacedName::new(self.meta.namespace.clone(), self.meta.name.clone())
    }

    /// The host of a function by the template.
    pub fn host(&self, name: &str, namespace: &str) -> String {
        self.host_template.render(Values { name, namespace, domain: &self.domain })
    }

    /// The path of a function by the template, with a slash before it.
    pub fn path(&self, name: &str, namespace: &str) -> String {
        let path = self.path_template.render(Values { name, namespace, domain: &self.domain });
        if path.starts_with('/') { path } else { format!("/{path}") }
    }

    /// The host of a function inside the cluster.
    pub fn cluster_host(&self, name: &str, namespace: &str) -> String {
        format!("{name}.{namespace}.svc.{}", self.cluster_domain)
    }

    /// Whether a listener of ours takes a host.
    pub fn takes(&self, host: &str) -> bool {
        let within = |pattern: &str| match pattern.strip_prefix("*.") {
            Some(suffix) => host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')),
            None => pattern == host,
        };
        self.listeners.iter().any(|listener| listener.hostname.as_deref().is_none_or(within))
    }

    /// The Gateway of Kubernetes with our listeners: those of `existing` with other names stay.
    pub fn kubernetes_gateway(&self, existing: Option<&Gateway>) -> Gateway {
        let reference = self.target.gateway();
        let mut gateway = existing.cloned().unwrap_or_else(|| Gateway {
            meta: ObjectMeta {
                name: reference.name.as_str().into(),
                namespace: reference.namespace.as_str().into(),
                ..ObjectMeta::default()
            },
            ..Gateway::default()
        });
        if let (GatewayTarget::Made { class, .. }, None) = (&self.target, existing) {
            gateway.class.clone_from(class);
        }
        gateway.listeners.retain(|listener| self.listeners.iter().all(|ours| ours.name != listener.name));
        gateway.listeners.extend(self.listeners.iter().cloned());
        gateway
    }

    /// The listeners as they stand in the manifest of a Gateway: as written, with the defaults.
    pub fn listener_manifests(&self) -> Vec<Value> {
        let one = |listener: &Listener| {
            let is_internal = listener.name == INTERNAL_LISTENER;
            let written = self.listeners_written.iter().find(|written| written["name"] == listener.name.as_str());
            let mut manifest = match written {
                Some(written) if !is_internal => written.clone(),
                _ => open_listener_written(&listener.name, listener.port),
            };
            if let Some(hostname) = &listener.hostname {
                manifest["hostname"] = json!(hostname);
            }
            manifest
        };
        self.listeners.iter().map(one).collect()
    }

    /// The webhook's defaults: hostnames of all listeners, and the internal one, which is added where it is missing.
    fn default_listeners(&mut self) {
        for listener in self.listeners.iter_mut().filter(|listener| listener.name != INTERNAL_LISTENER) {
            listener.hostname = Some(format!("*.{}", self.domain));
        }
        let internal = Listener {
            name: INTERNAL_LISTENER.into(),
            hostname: Some(format!("*.{}", self.cluster_domain)),
            port: 80,
            ..open_listener()
        };
        match self.listeners.iter_mut().find(|listener| listener.name == INTERNAL_LISTENER) {
            Some(listener) => *listener = internal,
            None => self.listeners.push(internal),
        }
    }
}

/// The same as a person would write it.
fn open_listener_written(name: &str, port: u16) -> Value {
    json!({"name": name, "port": port, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}})
}

/// A plain listener for routes of all namespaces.
fn open_listener() -> Listener {
    let allowed_routes = AllowedRoutes { from: From::All, ..AllowedRoutes::default() };
    Listener { protocol: Protocol::Http, allowed_routes, ..Listener::default() }
}

fn parsed(text: &str, variables: &[(&str, Variable)]) -> NameTemplate {
    NameTemplate::parse(text, variables).expect("the default templates are right")
}

/// Reads an OpenFunction Gateway; what is wrong goes to the report.
pub(super) fn read(value: &Value, report: &Report) -> OfGateway {
    let meta = parts::read_meta(value, report);
    let mut top = Reader::new(value, report).fields();
    ["apiVersion", "kind", "metadata", "status"].into_iter().for_each(|key| top.skip(key));
    let target = GatewayTarget::Existing(NamespacedName::new("", ""));
    let entry_namespace = meta.namespace.clone();
    let mut gateway =
        OfGateway { meta, entry_namespace: entry_namespace.into(), ..OfGateway::built_in("", 80, target) };
    let Some(spec) = top.need("spec") else { return gateway };
    let mut spec = spec.fields();
    gateway.domain = spec.need("domain").map(|at| at.text(DOMAIN)).unwrap_or_default();
    if let Some(domain) = spec.text("clusterDomain", DOMAIN) {
        gateway.cluster_domain = domain;
    }
    if let Some(template) = read_template(&mut spec, "hostTemplate", HOST_VARIABLES) {
        gateway.host_template = template;
    }
    if let Some(template) = read_template(&mut spec, "pathTemplate", PATH_VARIABLES) {
        gateway.path_template = template;
    }
    if let Some(key) = spec.text("httpRouteLabelKey", Form::NAME) {
        gateway.label_key = key;
    }
    gateway.target = read_target(&mut spec, &gateway.meta, report);
    if let Some(at) = spec.need("gatewaySpec") {
        let listeners = at.fields().need("listeners");
        gateway.listeners_written = at.value()["listeners"].as_array().cloned().unwrap_or_default();
        gateway.listeners = listeners.map(|at| read_listeners(&at, report)).unwrap_or_default();
    }
    gateway.default_listeners();
    if gateway.listeners.len() == 1 {
        let remedy = "add a listener with protocol: HTTP and port: 80 for names outside the cluster";
        report.add(Problem::error(
            FieldPath::of("spec.gatewaySpec.listeners"),
            "has none but the internal listener",
            remedy,
        ));
    }
    gateway
}

/// Listeners as written; the defaults come after.
fn read_listeners(at: &Reader<'_>, report: &Report) -> Vec<Listener> {
    for (index, listener) in at.value().as_array().into_iter().flatten().enumerate() {
        if listener["name"] != INTERNAL_LISTENER && listener.get("allowedRoutes").is_none() {
            let path = at.path().index(index);
            let remedy = "write allowedRoutes: {namespaces: {from: All}}";
            report.add(Problem::warning(path, "takes routes of the gateway's own namespace only", remedy));
        }
    }
    parts::read_listeners(at, report)
}

fn read_template(spec: &mut Fields<'_>, key: &'static str, variables: &[(&str, Variable)]) -> Option<NameTemplate> {
    let at = spec.get(key)?;
    let text = at.text(Form::ANY);
    match NameTemplate::parse(&text, variables) {
        Ok(template) => Some(template),
        Err(error) => {
            at.error(format!("is wrong {error}"), "write for example \"{{.Name}}.{{.Namespace}}\"");
            None
        }
    }
}

fn read_target(spec: &mut Fields<'_>, meta: &ObjectMeta, report: &Report) -> GatewayTarget {
    let read = |at: &Reader<'_>, own: Option<&str>| {
        let mut fields = at.fields();
        let class = own.map(|_| fields.need_text("gatewayClassName", Form::NAME)).unwrap_or_default();
        let name = match own {
            Some(own) => {
                fields.text("name", Form::NAME).filter(|name| !name.is_empty()).unwrap_or_else(|| own.to_owned())
            }
            None => fields.need_text("name", Form::NAME),
        };
        (NamespacedName::new(fields.need_text("namespace", Form::LABEL), name), class)
    };
    let (existing, made) = (spec.get("gatewayRef"), spec.get("gatewayDef"));
    if existing.is_some() == made.is_some() {
        let message =
            if made.is_some() { "has gatewayRef and gatewayDef" } else { "has neither gatewayRef nor gatewayDef" };
        let remedy = "write one of gatewayRef: {name, namespace} and gatewayDef: {namespace, gatewayClassName}";
        report.add(Problem::error(FieldPath::of("spec"), message, remedy));
    }
    match (existing, made) {
        (_, Some(at)) => {
            let (gateway, class) = read(&at, Some(&meta.name));
            GatewayTarget::Made { gateway, class }
        }
        (Some(at), None) => GatewayTarget::Existing(read(&at, None).0),
        (None, None) => GatewayTarget::Existing(NamespacedName::new("", "")),
    }
}
