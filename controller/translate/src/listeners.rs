//! The listeners of a Gateway, its own and those of ListenerSets: which of them serve, with which certificates, and why others do not. Knows nothing of routes.

use crate::{
    Key, Objects,
    backends::{Backends, Referrer},
    certificates,
    certificates::Usable,
    conditions::{Condition, ConditionType, Finding, ListenerStatus, Reason},
    kinds::{
        self, FrontendValidation, GATEWAY_GROUP, Gateway, Holder, ListenerSet, ObjectMeta, ObjectRef, Protocol,
        RouteGroupKind, TlsMode, ValidationMode,
    },
    listener_sets::SetView,
    lookup::Lookup,
    parameters,
    schema::FieldPath,
};
use headgate_config::{
    self as config, Action, Attachment, Certificate, ClientAuth, ColdArm, Filter, HostPattern, ListenerName, Match,
    RouteKind, Rule, RuleName, Split, Timeouts,
};
use std::sync::Arc;

/// A Gateway of ours with what its listeners became.
#[derive(Debug)]
pub(crate) struct GatewayView {
    pub gateway: Arc<Gateway>,
    /// The listeners that it has itself.
    pub own: Vec<ListenerView>,
    /// The ListenerSets that name it, in the order of precedence, each with its listeners; those of its own have precedence over all.
    pub sets: Vec<Arc<SetView>>,
    /// Shown to endpoints that ask for one.
    pub backend_certificate: Option<Certificate>,
    /// Of the Gateway itself.
    pub findings: Vec<Finding>,
}

/// A listener of a GatewayView: the index of its set, if it is of one, and its index there. In the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub set: Option<usize>,
    pub at: usize,
}

impl GatewayView {
    /// All of its listeners, in the order of precedence.
    pub fn listeners(&self) -> impl Iterator<Item = &ListenerView> {
        self.own.iter().chain(self.sets.iter().flat_map(|set| &set.listeners))
    }

    /// The listeners of a set, or its own.
    pub fn of(&self, set: Option<usize>) -> &[ListenerView] {
        set.map_or(&self.own, |set| &self.sets[set].listeners)
    }

    /// One of them.
    pub fn listener(&self, place: Place) -> &ListenerView {
        &self.of(place.set)[place.at]
    }
}

/// Where a listener is written.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    Gateway(Arc<Gateway>),
    Set(Arc<ListenerSet>),
}

impl Owner {
    /// Its metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Gateway(gateway) => &gateway.meta,
            Self::Set(set) => &set.meta,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gateway(_) => "Gateway",
            Self::Set(_) => "ListenerSet",
        }
    }

    /// What the names of the rules of its listeners begin with.
    pub fn rules(&self) -> (RouteKind, Key) {
        let kind = match self {
            Self::Gateway(_) => RouteKind::Gateway,
            Self::Set(_) => RouteKind::ListenerSet,
        };
        (kind, self.meta().key())
    }

    /// Its name.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::new(GATEWAY_GROUP, self.kind(), &self.meta().namespace, &self.meta().name)
    }

    fn listeners(&self) -> &[kinds::Listener] {
        match self {
            Self::Gateway(gateway) => &gateway.listeners,
            Self::Set(set) => &set.listeners,
        }
    }
}

/// A listener, and whether it serves.
#[derive(Clone, Debug)]
pub(crate) struct ListenerView {
    pub owner: Owner,
    /// Its index among those of its owner.
    index: usize,
    pub name: ListenerName,
    pub hostname: HostPattern,
    pub supported_kinds: Vec<RouteGroupKind>,
    pub tls: Option<config::ListenerTls>,
    /// Its filters.
    gate: Vec<Filter>,
    /// How many of the findings that refuse it are of its filters.
    refused_by_filters: usize,
    pub findings: Vec<Finding>,
    /// The Gateway as a whole is not accepted.
    gateway_refused: bool,
}

impl ListenerView {
    /// What is written of it.
    pub fn spec(&self) -> &kinds::Listener {
        &self.owner.listeners()[self.index]
    }

    /// Where in its owner it stands.
    pub fn path(&self) -> FieldPath {
        FieldPath::of("spec.listeners").index(self.index)
    }

    /// Whether requests reach it.
    pub fn serves(&self) -> bool {
        self.has_certificate() && !self.gateway_refused && self.is_accepted()
    }

    fn has_certificate(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.certificates.is_empty())
    }

    /// Whether nothing is wrong with it but perhaps what it refers to.
    pub fn is_accepted(&self) -> bool {
        let refused = |finding: &Finding| matches!(finding.kind, ConditionType::Accepted | ConditionType::Conflicted);
        !self.findings.iter().any(refused)
    }

    /// Whether no other listener may have its host: it is accepted, or refused for its filters alone. Left out, it would give its requests to a
    /// listener of more hosts, and past the filters that should stop some.
    pub fn holds_host(&self) -> bool {
        let of_kind = |kind| self.findings.iter().filter(move |finding| finding.kind == kind).count();
        of_kind(ConditionType::Accepted) == self.refused_by_filters && of_kind(ConditionType::Conflicted) == 0
    }

    /// Whether the data plane is told of it: it serves, or holds its host and answers all requests that it cannot serve them.
    pub fn is_told(&self) -> bool {
        self.has_certificate() && !self.gateway_refused && self.holds_host()
    }

    /// Whether a route that looks at it sees what it sees of another one.
    pub fn looks_like(&self, other: &Self) -> bool {
        let (spec, others) = (self.spec(), other.spec());
        self.name == other.name
            && self.hostname == other.hostname
            && self.supported_kinds == other.supported_kinds
            && self.serves() == other.serves()
            && (spec.port, &spec.protocol, &spec.allowed_routes)
                == (others.port, &others.protocol, &others.allowed_routes)
    }

    /// Whether it has filters.
    pub fn has_gate(&self) -> bool {
        !self.spec().filters.is_empty()
    }

    /// The Services that its filters name.
    pub fn gate_services(&self) -> impl Iterator<Item = Key> {
        let own = &self.owner.meta().namespace;
        self.spec().filters.iter().filter_map(kinds::Filter::backend).filter_map(move |reference| {
            let namespace = reference.namespace.as_deref().unwrap_or(own);
            Some((namespace.into(), reference.service_name()?.as_ref().into()))
        })
    }

    /// The rule that its filters are, if it has some.
    pub fn gate(&self) -> Option<Rule> {
        let meta = self.owner.meta();
        (!self.gate.is_empty()).then(|| Rule {
            name: self.gate_name(),
            title: self.name.section.clone(),
            created: meta.created,
            attachments: vec![Attachment { listener: self.name.clone(), hosts: Vec::new() }].into(),
            matches: vec![Match::everything()].into(),
            filters: self.gate.clone(),
            action: Action::Forward(Split { arms: Vec::new().into(), cold: ColdArm::default() }),
            timeouts: Timeouts::default(),
            retry: None,
        })
    }

    fn gate_name(&self) -> RuleName {
        let (kind, (namespace, route)) = self.owner.rules();
        RuleName { kind, namespace, route, index: self.index as u32 }
    }

    /// As the data plane is told, with the certificate of its Gateway; `None` for one of a protocol that is not served.
    pub fn to_config(&self, backend_certificate: Option<&Certificate>) -> Option<config::Listener> {
        Some(config::Listener {
            name: self.name.clone(),
            port: self.spec().port,
            protocol: self.protocol()?,
            hostname: self.hostname.clone(),
            tls: self.tls.clone(),
            backend_certificate: backend_certificate.map(|certificate| certificate.name.clone()),
            gate: (!self.gate.is_empty()).then(|| self.gate_name()),
        })
    }

    /// What it speaks; `None` for what this version does not know.
    pub fn protocol(&self) -> Option<config::Protocol> {
        match self.spec().protocol {
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
            name: self.spec().name.clone(),
            supported_kinds: self.supported_kinds.clone(),
            attached_routes,
            conditions,
        }
    }

    pub fn add(&mut self, kind: ConditionType, reason: Reason, path: FieldPath, message: impl Into<String>) {
        self.findings.push(Finding::new(kind, reason, path, message));
    }
}

/// What is to be known of a Gateway to see the listeners of its sets.
pub(crate) struct Beginning<'l, 'a> {
    lookup: &'l Lookup<'a>,
    backends: Backends<'l, 'a>,
    pub gateway: Arc<Gateway>,
    pub findings: Vec<Finding>,
    pub backend_certificate: Option<Certificate>,
}

impl<'l, 'a> Beginning<'l, 'a> {
    /// Looks at the Gateway itself.
    pub fn new(backends: Backends<'l, 'a>, gateway: &Arc<Gateway>) -> Self {
        let lookup = backends.lookup();
        let mut findings = gateway_findings(lookup.objects, gateway);
        let backend_certificate = backend_certificate(lookup, gateway, &mut findings);
        Self { lookup, backends, gateway: Arc::clone(gateway), findings, backend_certificate }
    }

    /// Whether it is not accepted as a whole.
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind == ConditionType::Accepted)
    }

    /// The listeners of an owner, but for conflicts.
    pub fn listeners(&self, owner: &Owner) -> Vec<ListenerView> {
        (0..owner.listeners().len()).map(|index| self.listener(owner, index)).collect()
    }

    fn listener(&self, owner: &Owner, index: usize) -> ListenerView {
        let mut view = listener(self.lookup, self.backends, &self.gateway, owner, index);
        view.gateway_refused = self.is_refused();
        view
    }

    /// The whole, from the listeners as they are with their conflicts.
    pub fn with(self, own: Vec<ListenerView>, sets: Vec<Arc<SetView>>) -> GatewayView {
        let Self { gateway, findings, backend_certificate, .. } = self;
        let mut view = GatewayView { gateway, own, sets, backend_certificate, findings };
        let without = validations_of_nobody(&view);
        view.findings.extend(without);
        view
    }
}

fn listener(
    lookup: &Lookup<'_>,
    backends: Backends<'_, '_>,
    gateway: &Gateway,
    owner: &Owner,
    index: usize,
) -> ListenerView {
    let (namespace, name) = gateway.meta.key();
    let set = match owner {
        Owner::Gateway(_) => String::new(),
        Owner::Set(set) => format!("{}/{}", set.meta.namespace, set.meta.name),
    };
    let (spec, at) = (&owner.listeners()[index], FieldPath::of("spec.listeners").index(index));
    let mut view = ListenerView {
        owner: owner.clone(),
        index,
        name: ListenerName { namespace, gateway: name, set: set.into(), section: spec.name.as_str().into() },
        hostname: HostPattern::Any,
        supported_kinds: Vec::new(),
        tls: None,
        gate: Vec::new(),
        refused_by_filters: 0,
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
        close_gate(backends, &mut view, &at.key("filters").key("requests"));
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

/// The filters of a listener. Served without one of them, it would let through what that should stop: it does not serve then.
fn close_gate(backends: Backends<'_, '_>, view: &mut ListenerView, at: &FieldPath) {
    let owner = view.owner.clone();
    let filters = &owner.listeners()[view.index].filters;
    let mut findings = Vec::new();
    for (index, filter) in filters.iter().enumerate() {
        if !matches!(filter, kinds::Filter::ExternalAuth(_)) {
            let message = format!("listeners have no filter {}, and it does not serve without it", filter.kind());
            let (kind, at) = (ConditionType::Accepted, at.index(index).key("type"));
            findings.push(Finding::new(kind, Reason::UnsupportedValue, at, message).remedy("leave out the filter"));
            view.gate = vec![Filter::Unsupported(filter.kind().to_owned())];
        }
    }
    if findings.is_empty() {
        let from = Referrer { kind: owner.rules().0, namespace: &owner.meta().namespace, grpc: false };
        view.gate = backends.filters(from, filters, at, &mut findings);
    }
    for finding in &mut findings {
        match finding.kind {
            ConditionType::Accepted => view.refused_by_filters += 1,
            ConditionType::ResolvedRefs if finding.reason != Reason::RefNotPermitted => {
                finding.reason = Reason::InvalidListenerFilterRef;
            }
            _ => {}
        }
    }
    view.findings.extend(findings);
}

/// Of the kinds that a listener allows, those that its protocol can serve.
fn allow_kinds(view: &mut ListenerView, at: &FieldPath, served: &[&str]) {
    let kind = |kind: &&str| RouteGroupKind { group: GATEWAY_GROUP.into(), kind: (*kind).into() };
    let ours: Vec<RouteGroupKind> = served.iter().map(kind).collect();
    let owner = view.owner.clone();
    let allowed = &owner.listeners()[view.index].allowed_routes.kinds;
    if allowed.is_empty() {
        view.supported_kinds = ours;
        return;
    }
    for (index, kind) in allowed.iter().enumerate() {
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

fn terminate_tls(lookup: &Lookup<'_>, view: &mut ListenerView, at: &FieldPath) {
    let mut tls = config::ListenerTls::default();
    let owner = view.owner.clone();
    let listener = &owner.listeners()[view.index];
    let Some(spec) = &listener.tls else {
        let message = format!("protocol {} needs a certificate", listener.protocol.as_str());
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
        let from = Holder::new(owner.kind(), &owner.meta().namespace);
        match certificates::certificate(lookup, from, reference) {
            Ok(Usable { certificate, wrong }) => {
                tls.certificates.push(certificate.name);
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
fn validations_of_nobody(view: &GatewayView) -> Vec<Finding> {
    let at = FieldPath::of("spec.tls.frontend.perPort");
    let is_https = |listener: &kinds::Listener, port| listener.protocol == Protocol::Https && listener.port == port;
    let has = |port: u16| view.listeners().any(|one| is_https(one.spec(), port));
    let all = view.gateway.frontend_tls.iter().flat_map(|frontend| frontend.per_port.iter().enumerate());
    let without = all.filter(|(_, config)| !has(config.port)).map(|(index, config)| {
        let message = format!("has no effect: no listener of protocol HTTPS has port {}", config.port);
        let (kind, path) = (ConditionType::PartiallyInvalid, at.index(index));
        Finding::new(kind, Reason::UnsupportedValue, path, message)
            .remedy("write the port of a listener, or leave it out")
    });
    without.collect()
}

fn validate_clients(lookup: &Lookup<'_>, gateway: &Gateway, view: &mut ListenerView) {
    let Some((validation, at)) = validation(gateway, view.spec().port) else { return };
    let refs = at.key("caCertificateRefs");
    let (from, mut authorities) = (Holder::new("Gateway", &gateway.meta.namespace), Vec::new());
    for (index, reference) in validation.authorities.iter().enumerate() {
        let wrong_kind = Reason::InvalidCACertificateKind;
        match certificates::authority(lookup, from, reference, wrong_kind) {
            Ok(pem) => authorities.push(pem),
            Err((reason, message)) => {
                let finding = Finding::new(ConditionType::ResolvedRefs, reason, refs.index(index), message);
                let is_kind = matches!(reason, Reason::InvalidKind | Reason::InvalidCACertificateKind);
                let remedy = Reason::InvalidCACertificateKind.remedy();
                view.findings.push(if is_kind { finding.remedy(remedy) } else { finding });
            }
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
