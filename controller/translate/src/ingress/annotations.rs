//! The annotations of an Ingress: those of ingress-nginx that have an exact form are read, each of the others is told. Never one in silence.

use super::{IngressReport, cors, redirects};
use crate::{
    Objects,
    kinds::{BackendRef, CLASS_ANNOTATION, Filter, HeaderModifier, Ingress, Redirect},
    schema::FieldPath,
};
use std::collections::BTreeMap;

/// What ingress-nginx's annotations begin with.
pub(super) const PREFIX: &str = "nginx.ingress.kubernetes.io/";
/// Annotations by which cert-manager knows what to sign; it reads them from Gateways too.
pub const ISSUER_ANNOTATIONS: &str = "cert-manager.io/";
/// Whose annotations say nothing of requests.
const SILENT: [&str; 4] =
    ["kubectl.kubernetes.io/", "meta.helm.sh/", "argocd.argoproj.io/", "ingressclass.kubernetes.io/"];
/// Read here.
const READ: [&str; 20] = [
    "rewrite-target",
    "use-regex",
    "ssl-redirect",
    "force-ssl-redirect",
    "permanent-redirect",
    "permanent-redirect-code",
    "temporal-redirect",
    "temporal-redirect-code",
    "app-root",
    "upstream-vhost",
    "x-forwarded-prefix",
    "backend-protocol",
    "enable-cors",
    "cors-allow-origin",
    "cors-allow-methods",
    "cors-allow-headers",
    "cors-expose-headers",
    "cors-allow-credentials",
    "cors-max-age",
    "canary",
];
/// Without effect in the first place: Gateway API gateways do so anyway, or have no such thing to tune.
const NEEDLESS: [&str; 4] =
    ["service-upstream", "preserve-trailing-slash", "enable-access-log", "connection-proxy-header"];

/// What decides who may pass: without an exact form nobody may.
const GUARDS: [(&str, &str); 13] = [
    ("auth-url", "write an ExternalAuth filter, and then the backendRefs"),
    ("auth-type", "let the application ask, or write an ExternalAuth filter; then write the backendRefs"),
    ("auth-secret", "let the application ask, or write an ExternalAuth filter; then write the backendRefs"),
    ("auth-tls-secret", "write tls.frontend of the Gateway, and then the backendRefs"),
    ("auth-tls-verify-client", "write tls.frontend of the Gateway, and then the backendRefs"),
    ("whitelist-source-range", "let a NetworkPolicy or the load balancer decide, and then write the backendRefs"),
    ("allowlist-source-range", "let a NetworkPolicy or the load balancer decide, and then write the backendRefs"),
    ("denylist-source-range", "let a NetworkPolicy or the load balancer decide, and then write the backendRefs"),
    ("satisfy", "see the annotations that it joins"),
    ("enable-modsecurity", "put the firewall elsewhere, and then write the backendRefs"),
    ("modsecurity-snippet", "put the firewall elsewhere, and then write the backendRefs"),
    ("configuration-snippet", "write what it does as filters, and then the backendRefs"),
    ("server-snippet", "write what it does as filters, and then the backendRefs"),
];

/// Where something else says nearly the same.
const NEARLY: [(&str, &str); 14] = [
    ("proxy-read-timeout", "timeouts.request and backendRequest of a rule bound the whole answer"),
    ("proxy-send-timeout", "timeouts.request of a rule bounds the whole exchange"),
    ("proxy-connect-timeout", "a gateway has a limit of its own for that"),
    ("proxy-next-upstream", "retry of a rule says which answers are tried again"),
    ("proxy-next-upstream-tries", "retry.attempts of a rule"),
    ("proxy-body-size", "let the application refuse what is too long"),
    ("mirror-target", "write a RequestMirror filter"),
    ("affinity", "sessionPersistence of a rule, where the implementation has it"),
    ("server-alias", "write the names as further hosts of rules"),
    ("from-to-www-redirect", "write a route for the other name with a RequestRedirect"),
    ("ssl-passthrough", "write a TLSRoute and a listener that passes TLS through"),
    ("proxy-ssl-secret", "write a BackendTLSPolicy"),
    ("custom-headers", "write a ResponseHeaderModifier filter"),
    ("limit-rps", "let the application or the load balancer bound it"),
];

/// What is told of one that nobody here knows.
pub(super) const NO_FORM: &str = "has no form in Gateway API";
pub(super) const LOOK: &str = "look what it did, and whether that is needed";

/// Whether an annotation says nothing of requests, or is read from other kinds too.
pub(super) fn is_silent(key: &str) -> bool {
    key == CLASS_ANNOTATION || key.starts_with(ISSUER_ANNOTATIONS) || SILENT.iter().any(|all| key.starts_with(all))
}

/// What the annotations of one Ingress mean.
#[derive(Default)]
pub(super) struct Annotations {
    values: BTreeMap<String, String>,
    redirect: Option<Redirect>,
    filters: Vec<Filter>,
    is_blocked: bool,
}

impl Annotations {
    /// Reads them, and tells of each that has no form.
    pub fn read(ingress: &Ingress, report: &mut IngressReport) -> Self {
        let nginx = ingress.meta.annotations.iter().filter_map(|(key, text)| {
            let name = key.strip_prefix(PREFIX)?;
            Some((name.to_owned(), text.clone()))
        });
        let mut read = Self { values: nginx.collect(), ..Self::default() };
        for key in ingress.meta.annotations.keys() {
            read.tell(ingress, key, report);
        }
        read.read_redirect(ingress, report);
        read.read_filters(ingress, report);
        read
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// `rewrite-target`.
    pub fn rewrite_target(&self) -> Option<&str> {
        self.get("rewrite-target")
    }

    /// `use-regex`.
    pub fn uses_regex(&self) -> bool {
        self.is_true("use-regex")
    }

    /// `app-root`.
    pub fn app_root(&self) -> Option<&str> {
        self.get("app-root").filter(|path| crate::form::is_path(path) && path.starts_with('/'))
    }

    /// The Host that applications get, if it is one for all.
    pub fn vhost(&self) -> Option<String> {
        self.get("upstream-vhost").filter(|host| !host.contains('$')).map(str::to_owned)
    }

    /// Where everything is sent.
    pub fn redirect(&self) -> Option<&Redirect> {
        self.redirect.as_ref()
    }

    /// What holds for all rules.
    pub fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.filters.iter()
    }

    /// Whether something guards the rules that has no form.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Whether clients are sent to TLS, where anybody said so, and where.
    pub fn tls_redirect(&self) -> Option<(bool, FieldPath)> {
        let asked = ["force-ssl-redirect", "ssl-redirect"].into_iter().find(|name| self.get(name).is_some())?;
        Some((self.forces_tls() || self.is_true("ssl-redirect"), at(asked)))
    }

    /// Whether they are even where the Ingress has no certificate.
    pub fn forces_tls(&self) -> bool {
        self.is_true("force-ssl-redirect")
    }

    /// Tells of an annotation that has no form.
    fn tell(&mut self, ingress: &Ingress, key: &str, report: &mut IngressReport) {
        let at = FieldPath::of("metadata.annotations").key(key.to_owned());
        if is_silent(key) {
            return;
        }
        let Some(name) = key.strip_prefix(PREFIX) else {
            report.warn(ingress, at, NO_FORM, LOOK);
            return;
        };
        let find =
            |table: &[(&str, &'static str)]| table.iter().find(|(known, _)| *known == name).map(|(_, remedy)| *remedy);
        if READ.contains(&name) || NEEDLESS.contains(&name) || self.is_off(name) {
            return;
        }
        if let Some(remedy) = find(&GUARDS) {
            self.is_blocked = true;
            let message = "decides who may pass, and has no exact form: the rules have no backends, and answer 500";
            report.error(ingress, at, message, remedy);
        } else {
            let remedy = find(&NEARLY).unwrap_or(LOOK);
            report.warn(ingress, at, "has no exact form in Gateway API", remedy);
        }
    }

    /// Switched off, or of a canary, of which is told elsewhere.
    fn is_off(&self, name: &str) -> bool {
        name.starts_with("canary-") || matches!(self.get(name), None | Some("false" | "off"))
    }

    fn read_redirect(&mut self, ingress: &Ingress, report: &mut IngressReport) {
        let kinds = [
            ("permanent-redirect", "permanent-redirect-code", 301),
            ("temporal-redirect", "temporal-redirect-code", 302),
        ];
        let Some((name, code, default)) = kinds.into_iter().rev().find(|(name, ..)| self.get(name).is_some()) else {
            return;
        };
        let url = self.get(name).unwrap_or_default().to_owned();
        let status = self.get(code).map_or(Some(default), |text| text.parse().ok());
        self.redirect = status.and_then(|status| redirects::to_url(&url, status));
        if self.redirect.is_none() {
            self.is_blocked = true;
            let message = format!("{url:?} has no form in Gateway API: the rules have no backends, and answer 500");
            report.error(
                ingress,
                at(name),
                message,
                "write a RequestRedirect by hand: scheme, hostname, port and path",
            );
        } else if !url.ends_with("$request_uri") {
            let message = "drops the query of a request, and a redirect of Gateway API keeps it";
            report.warn(ingress, at(name), message, "nothing need be done unless the new place minds");
        }
    }

    fn read_filters(&mut self, ingress: &Ingress, report: &mut IngressReport) {
        if let Some(prefix) = self.get("x-forwarded-prefix") {
            let set = vec![("X-Forwarded-Prefix".to_owned(), prefix.to_owned())];
            self.filters.push(Filter::RequestHeaders(HeaderModifier { set, ..HeaderModifier::default() }));
        }
        if self.is_true("enable-cors") {
            let values = self.values.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
            let (cors, left_out) = cors::cors(&values);
            for name in left_out {
                let message = "has a value that the CORS filter does not know, which is left out";
                report.warn(ingress, at(name), message, "write origins with their scheme, and methods of HTTP");
            }
            self.filters.push(Filter::Cors(cors));
        }
        if self.get("upstream-vhost").is_some() && self.vhost().is_none() {
            let message =
                "is made of variables, and a rewrite of Gateway API knows none: Host stays as clients send it";
            report.warn(
                ingress,
                at("upstream-vhost"),
                message,
                "write a URLRewrite with a hostname if applications need it",
            );
        }
        if self.get("app-root").is_some() && self.app_root().is_none() {
            report.error(ingress, at("app-root"), "is no path", "write a RequestRedirect by hand");
        }
    }

    /// What a backend speaks is said by its Service in Gateway API.
    pub fn check_protocol(
        &self,
        ingress: &Ingress,
        objects: &Objects,
        backend: &BackendRef,
        report: &mut IngressReport,
    ) {
        let Some(protocol) = self.get("backend-protocol").map(str::to_uppercase) else { return };
        let service = format!("Service {}/{}", ingress.meta.namespace, backend.name);
        let known = objects.service(&ingress.meta.namespace, &backend.name);
        let port = known.and_then(|known| known.ports.iter().find(|port| Some(port.port) == backend.port));
        let speaks_h2c = port.and_then(|port| port.app_protocol.as_deref()) == Some("kubernetes.io/h2c");
        let at = at("backend-protocol");
        match protocol.as_str() {
            "HTTP" | "AUTO_HTTP" => {}
            "GRPC" | "H2C" if speaks_h2c => {}
            "GRPC" | "H2C" => {
                let message = format!("{protocol} is said by the Service in Gateway API");
                let port = backend.port.unwrap_or_default();
                report.warn(
                    ingress,
                    at,
                    message,
                    format!("write appProtocol: kubernetes.io/h2c at port {port} of {service}"),
                );
            }
            "HTTPS" | "GRPCS" => {
                let message =
                    format!("{protocol} is said by a policy in Gateway API, and without one requests go unencrypted");
                report.warn(ingress, at, message, format!("write a BackendTLSPolicy for {service}"));
            }
            _ => report.error(ingress, at, format!("{protocol} has no form in Gateway API"), "serve HTTP instead"),
        }
    }
}

/// Where an annotation of ingress-nginx stands.
pub(super) fn at(name: &str) -> FieldPath {
    FieldPath::of("metadata.annotations").key(format!("{PREFIX}{name}"))
}
