//! The listeners of a Gateway, its own and those of ListenerSets: which of them serve, with which certificates, and why others do not. Knows nothing of routes.

use crate::{
    Objects, certificates,
    certificates::Usable,
    conditions::{Condition, ConditionType, Finding, ListenerStatus, Reason},
    kinds::{
        self, FrontendValidation, GATEWAY_GROUP, Gateway, Holder, ListenerSet, ObjectMeta, Protocol, RouteGroupKind,
        TlsMode, ValidationMode,
    },
    listener_sets::{SetView, refusal},
    lookup::Lookup,
    parameters,
    schema::FieldPath,
};
use headgate_config::{self as config, Certificate, ClientAuth, HostPattern, ListenerName};

/// A Gateway of ours with what its listeners became.
pub(crate) struct GatewayView<'a> {
    pub gateway: &'a Gateway,
    /// Its own, then those of the sets that may attach, in the order of precedence.
    pub listeners: Vec<ListenerView<'a>>,
    /// The ListenerSets that name it, in the order of precedence.
    pub sets: Vec<SetView<'a>>,
    /// Shown to endpoints that ask for one.
    pub backend_certificate: Option<Certificate>,
    /// Of the Gateway itself.
    pub findings: Vec<Finding>,
}

impl<'a> GatewayView<'a> {
    /// The listeners that it has itself, with their indexes.
    pub fn own(&self) -> &[ListenerView<'a>] {
        &self.listeners[..self.gateway.listeners.len()]
    }
}

/// Where a listener is written.
#[derive(Clone, Copy)]
pub(crate) enum Owner<'a> {
    Gateway(&'a Gateway),
    /// With its index among the sets of the Gateway.
    Set(&'a ListenerSet, usize),
}

impl<'a> Owner<'a> {
    /// Its metadata.
    pub fn meta(self) -> &'a ObjectMeta {
        match self {
            Self::Gateway(gateway) => &gateway.meta,
            Self::Set(set, _) => &set.meta,
        }
    }

    /// Its kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Gateway(_) => "Gateway",
            Self::Set(..) => "ListenerSet",
        }
    }

    /// Which of the sets of the Gateway it is.
    pub fn set(self) -> Option<usize> {
        match self {
            Self::Gateway(_) => None,
            Self::Set(_, index) => Some(index),
        }
    }
}

/// A listener, and whether it serves.
pub(crate) struct ListenerView<'a> {
    pub spec: &'a kinds::Listener,
    pub owner: Owner<'a>,
    /// Where in its owner it stands.
    pub path: FieldPath,
    pub name: ListenerName,
    pub hostname: HostPattern,
    pub supported_kinds: Vec<RouteGroupKind>,
    pub tls: Option<config::ListenerTls>,
    pub certificates: Vec<Certificate>,
    pub findings: Vec<Finding>,
    /// The Gateway as a whole is not accepted.
    pub gateway_refused: bool,
}

impl ListenerView<'_> {
    /// Whether requests reach it.
    pub fn serves(&self) -> bool {
        let has_certificate = self.tls.as_ref().is_none_or(|tls| !tls.certificates.is_empty());
        has_certificate && !self.gateway_refused && self.is_accepted()
    }

    /// Whether nothing is wrong with it but perhaps what it refers to.
    pub fn is_accepted(&self) -> bool {
        let refused = |finding: &Finding| matches!(finding.kind, ConditionType::Accepted | ConditionType::Conflicted);
        !self.findings.iter().any(refused)
    }

    /// As the data plane is told, with the certificate of its Gateway; `None` for one of a protocol that is not served.
    pub fn to_config(&self, backend_certificate: Option<&Certificate>) -> Option<config::Listener> {
        Some(config::Listener {
            name: self.name.clone(),
            port: self.spec.port,
            protocol: self.protocol()?,
            hostname: self.hostname.clone(),
            tls: self.tls.clone(),
            backend_certificate: backend_certificate.map(|certificate| certificate.name.clone()),
        })
    }

    /// What it speaks; `None` for what this version does not know.
    pub fn protocol(&self) -> Option<config::Protocol> {
        match self.spec.protocol {
            Protocol::Http => Some(config::Protocol::Http),
            Protocol::Https => Some(config::Protocol::Https),
            Protocol::Tls => Some(config::Protocol::Tls),
            Protocol::Tcp => Some(config::Protocol::Tcp),
            Protocol::Udp => Some(config::Protocol::Udp),
            Protocol::Unknown(_) => None,
        }
    }

    /// Its status.
    pub fn status(&self, attached_routes: u32, generation: i64) -> ListenerStatus {
        let of = |kind, fine| Condition::of(kind, fine, &self.findings, generation);
        let conflicted = of(ConditionType::Conflicted, Reason::NoConflicts);
        let mut accepted = of(ConditionType::Accepted, Reason::Accepted);
        if conflicted.status {
            let message = conflicted.message.clone();
            accepted = Condition::wrong(ConditionType::Accepted, conflicted.reason, message, generation);
        }
        let programmed = if self.serves() {
            Condition::fine(ConditionType::Programmed, Reason::Programmed, generation)
        } else {
            let reason = if conflicted.status { conflicted.reason } else { Reason::Invalid };
            Condition::wrong(ConditionType::Programmed, reason, "does not serve; see the other conditions", generation)
        };
        let mut conditions =
            vec![accepted, conflicted, of(ConditionType::ResolvedRefs, Reason::ResolvedRefs), programmed];
        conditions.extend(Condition::partially(&self.findings, generation));
        ListenerStatus {
            name: self.spec.name.clone(),
            supported_kinds: self.supported_kinds.clone(),
            attached_routes,
            conditions,
        }
    }

    pub fn add(&mut self, kind: ConditionType, reason: Reason, path: FieldPath, message: impl Into<String>) {
        self.findings.push(Finding::new(kind, reason, path, message));
    }
}

/// The listeners of a Gateway, but for conflicts.
pub(crate) fn listeners<'a>(lookup: &Lookup<'a>, gateway: &'a Gateway) -> GatewayView<'a> {
    let mut findings = gateway_findings(lookup.objects, gateway);
    let backend_certificate = backend_certificate(lookup, gateway, &mut findings);
    let is_refused = findings.iter().any(|finding| finding.kind == ConditionType::Accepted);
    let mut listeners = of_owner(lookup, gateway, Owner::Gateway(gateway), &gateway.listeners);
    let mut sets = Vec::new();
    for set in lookup.sets(gateway) {
        let findings: Vec<Finding> = refusal(lookup, gateway, is_refused, set).into_iter().collect();
        let first = listeners.len();
        if findings.is_empty() {
            listeners.extend(of_owner(lookup, gateway, Owner::Set(set, sets.len()), &set.listeners));
        }
        sets.push(SetView { set, listeners: first..listeners.len(), findings });
    }
    listeners.iter_mut().for_each(|listener| listener.gateway_refused = is_refused);
    findings.extend(validations_of_nobody(gateway, &listeners));
    GatewayView { gateway, listeners, sets, backend_certificate, findings }
}

fn of_owner<'a>(
    lookup: &Lookup<'a>,
    gateway: &'a Gateway,
    owner: Owner<'a>,
    list: &'a [kinds::Listener],
) -> Vec<ListenerView<'a>> {
    let path = |index| FieldPath::of("spec.listeners").index(index);
    list.iter().enumerate().map(|(index, spec)| listener(lookup, gateway, owner, path(index), spec)).collect()
}

fn listener<'a>(
    lookup: &Lookup<'a>,
    gateway: &'a Gateway,
    owner: Owner<'a>,
    at: FieldPath,
    spec: &'a kinds::Listener,
) -> ListenerView<'a> {
    let (namespace, name) = gateway.meta.key();
    let set = owner.set().map(|_| format!("{}/{}", owner.meta().namespace, owner.meta().name));
    let mut view = ListenerView {
        spec,
        owner,
        path: at.clone(),
        name: ListenerName {
            namespace,
            gateway: name,
            set: set.unwrap_or_default().into(),
            section: spec.name.as_str().into(),
        },
        hostname: HostPattern::Any,
        supported_kinds: Vec::new(),
        tls: None,
        certificates: Vec::new(),
        findings: Vec::new(),
        gateway_refused: false,
    };
    match spec.hostname.as_deref().unwrap_or_default().parse() {
        Ok(pattern) => view.hostname = pattern,
        Err(error) => {
            let error: config::InvalidHost = error;
            view.add(ConditionType::Accepted, Reason::UnsupportedValue, at.key("hostname"), error.to_string());
        }
    }
    let kinds: &[&str] = match spec.protocol {
        Protocol::Http | Protocol::Https => &["HTTPRoute", "GRPCRoute"],
        Protocol::Tls => &["TLSRoute"],
        Protocol::Tcp => &["TCPRoute"],
        Protocol::Udp => &["UDPRoute"],
        Protocol::Unknown(_) => &[],
    };
    allow_kinds(&mut view, &at.key("allowedRoutes").key("kinds"), kinds);
    if matches!(spec.protocol, Protocol::Unknown(_)) {
        let message = format!("protocol {} is not served", spec.protocol.as_str());
        view.add(ConditionType::Accepted, Reason::UnsupportedProtocol, at.key("protocol"), message);
        return view;
    }
    if !spec.filters.is_empty() {
        // Served without its filters, it would let through what they should stop.
        let message = "filters of listeners are not supported, and it does not serve without them";
        view.add(ConditionType::Accepted, Reason::UnsupportedValue, at.key("filters"), message);
    }
    if let Some(tls) = &spec.tls {
        let options = Finding::options_without_effect(at.key("tls").key("options"), &tls.options);
        view.findings.extend(options);
    }
    if spec.protocol == Protocol::Https || (spec.protocol == Protocol::Tls && !passes_through(spec)) {
        terminate_tls(lookup, &mut view, &at.key("tls"));
    }
    if spec.protocol == Protocol::Https {
        validate_clients(lookup, gateway, &mut view);
    }
    view
}

/// Of the kinds that a listener allows, those that its protocol can serve.
fn allow_kinds(view: &mut ListenerView<'_>, at: &FieldPath, served: &[&str]) {
    let kind = |kind: &&str| RouteGroupKind { group: GATEWAY_GROUP.into(), kind: (*kind).into() };
    let ours: Vec<RouteGroupKind> = served.iter().map(kind).collect();
    if view.spec.allowed_routes.kinds.is_empty() {
        view.supported_kinds = ours;
        return;
    }
    for (index, kind) in view.spec.allowed_routes.kinds.iter().enumerate() {
        if ours.contains(kind) {
            view.supported_kinds.push(kind.clone());
        } else {
            let message = format!("{} of group {:?} cannot attach to this protocol", kind.kind, kind.group);
            view.add(ConditionType::ResolvedRefs, Reason::InvalidRouteKinds, at.index(index), message);
        }
    }
    view.supported_kinds.dedup();
}

fn passes_through(spec: &kinds::Listener) -> bool {
    spec.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Passthrough)
}

fn terminate_tls(lookup: &Lookup<'_>, view: &mut ListenerView<'_>, at: &FieldPath) {
    let mut tls = config::ListenerTls::default();
    let Some(spec) = &view.spec.tls else {
        let message = format!("protocol {} needs a certificate", view.spec.protocol.as_str());
        view.add(ConditionType::ResolvedRefs, Reason::InvalidCertificateRef, at.clone(), message);
        view.tls = Some(tls);
        return;
    };
    if spec.mode != TlsMode::Terminate {
        let message = format!("mode {} is not served", spec.mode.as_str());
        view.add(ConditionType::Accepted, Reason::UnsupportedValue, at.key("mode"), message);
    }
    let refs = at.key("certificateRefs");
    for (index, reference) in spec.certificates.iter().enumerate() {
        let from = Holder::new(view.owner.kind(), &view.owner.meta().namespace);
        match certificates::certificate(lookup, from, reference) {
            Ok(Usable { certificate, wrong }) => {
                tls.certificates.push(certificate.name.clone());
                view.certificates.push(certificate);
                if let Some((reason, message)) = wrong {
                    view.add(ConditionType::ResolvedRefs, reason, refs.index(index), message);
                }
            }
            Err((reason, message)) => view.add(ConditionType::ResolvedRefs, reason, refs.index(index), message),
        }
    }
    if spec.certificates.is_empty() {
        view.add(ConditionType::ResolvedRefs, Reason::InvalidCertificateRef, refs, "names no certificate");
    }
    view.tls = Some(tls);
}

/// The validation that holds for a port: its own if it has an entry, otherwise the default.
fn validation(gateway: &Gateway, port: u16) -> Option<(&FrontendValidation, FieldPath)> {
    let frontend = gateway.frontend_tls.as_ref()?;
    let at = FieldPath::of("spec.tls.frontend");
    match frontend.per_port.iter().position(|config| config.port == port) {
        Some(index) => {
            let validation = frontend.per_port[index].validation.as_ref()?;
            Some((validation, at.key("perPort").index(index).key("tls").key("validation")))
        }
        None => Some((frontend.default.as_ref()?, at.key("default").key("validation"))),
    }
}

/// Validations for ports that no listener has which they could hold for.
fn validations_of_nobody(gateway: &Gateway, listeners: &[ListenerView<'_>]) -> Vec<Finding> {
    let at = FieldPath::of("spec.tls.frontend.perPort");
    let has = |port: u16| listeners.iter().any(|one| one.spec.protocol == Protocol::Https && one.spec.port == port);
    let all = gateway.frontend_tls.iter().flat_map(|frontend| frontend.per_port.iter().enumerate());
    let without = all.filter(|(_, config)| !has(config.port)).map(|(index, config)| {
        let message = format!("has no effect: no listener of protocol HTTPS has port {}", config.port);
        let (kind, path) = (ConditionType::PartiallyInvalid, at.index(index));
        Finding::new(kind, Reason::UnsupportedValue, path, message)
            .remedy("write the port of a listener, or leave it out")
    });
    without.collect()
}

fn validate_clients(lookup: &Lookup<'_>, gateway: &Gateway, view: &mut ListenerView<'_>) {
    let Some((validation, at)) = validation(gateway, view.spec.port) else { return };
    let refs = at.key("caCertificateRefs");
    let (from, mut authorities) = (Holder::new("Gateway", &gateway.meta.namespace), Vec::new());
    for (index, reference) in validation.authorities.iter().enumerate() {
        let wrong_kind = Reason::InvalidCACertificateKind;
        match certificates::authority(lookup, from, reference, wrong_kind) {
            Ok(pem) => authorities.push(pem),
            Err((reason, message)) => view.add(ConditionType::ResolvedRefs, reason, refs.index(index), message),
        }
    }
    if authorities.is_empty() {
        let message = "no client certificate could be validated, so the listener does not serve";
        view.add(ConditionType::Accepted, Reason::NoValidCACertificate, refs, message);
    }
    let insecure_fallback = validation.mode == ValidationMode::AllowInsecureFallback;
    if let Some(tls) = &mut view.tls {
        tls.client_auth = Some(ClientAuth { authorities, insecure_fallback });
    }
}

/// The certificate for endpoints. Without a usable one none is shown, and those that ask for it refuse.
fn backend_certificate(lookup: &Lookup<'_>, gateway: &Gateway, findings: &mut Vec<Finding>) -> Option<Certificate> {
    let reference = gateway.backend_certificate.as_ref()?;
    let (from, at) = (Holder::new("Gateway", &gateway.meta.namespace), "spec.tls.backend.clientCertificateRef");
    certificates::for_endpoints(lookup, from, reference, at, findings).ok()
}

fn gateway_findings(objects: &Objects, gateway: &Gateway) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = FieldPath::of("spec.infrastructure.parametersRef");
    let reference = gateway.infrastructure.parameters.as_ref();
    findings.extend(parameters::finding(objects, reference, &gateway.meta.namespace, path));
    for (index, address) in gateway.addresses.iter().enumerate() {
        if !["IPAddress", "Hostname"].contains(&address.kind.as_str()) {
            let path = FieldPath::of("spec.addresses").index(index).key("type");
            let message = format!("addresses of type {} are not supported", address.kind);
            findings.push(Finding::new(ConditionType::Accepted, Reason::UnsupportedAddress, path, message));
        }
        // an address for callers within the cluster, given by a load balancer, would be one for everybody
        if let Some(routability) = address.routability.as_deref().filter(|text| !text.is_empty()) {
            let path = FieldPath::of("spec.addresses").index(index).key("routability");
            let message = format!("addresses of routability {routability} are not supported");
            let remedy =
                "leave it out; serviceType: ClusterIP of GatewayParameters gives an address within the cluster";
            let finding = Finding::new(ConditionType::Accepted, Reason::UnsupportedAddress, path, message);
            findings.push(finding.remedy(remedy));
        }
    }
    if let Some(path) = insecure_fallback(gateway) {
        let kind = ConditionType::InsecureFrontendValidationMode;
        let message = "clients without a valid certificate are let through";
        findings.push(Finding::new(kind, Reason::ConfigurationChanged, path, message));
    }
    findings
}

fn insecure_fallback(gateway: &Gateway) -> Option<FieldPath> {
    let frontend = gateway.frontend_tls.as_ref()?;
    let per_port = frontend.per_port.iter().map(|config| &config.validation);
    let mut all = std::iter::once(&frontend.default).chain(per_port).flatten();
    all.any(|validation| validation.mode == ValidationMode::AllowInsecureFallback)
        .then(|| FieldPath::of("spec.tls.frontend"))
}
