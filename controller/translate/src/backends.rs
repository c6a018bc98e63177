//! From a backendRef to what serves it: arms with exact weights, and the Backend of a name. A reference that leads nowhere keeps its share, as an arm that answers 500.

use crate::{
    AliasArm, Key, Objects,
    backend_tls::Policies,
    conditions::{ConditionType, Finding, Reason},
    filters::filters,
    kinds::{self, BackendRef, Holder, ObjectRef, PROXY_PROTOCOL_ANNOTATION, Service, ServicePort},
    lookup::Lookup,
    schema::FieldPath,
    traffic::Traffic,
    x_backends::refusal,
};
use headgate_config::{
    ArmTarget, Backend, BackendName, BackendProtocol, ColdArm, Filter, RouteKind, Session, Text, Transport,
};
use std::sync::Arc;

/// Resolves references.
#[derive(Clone, Copy)]
pub(crate) struct Backends<'l, 'a> {
    lookup: &'l Lookup<'a>,
    policies: &'l Policies,
    traffic: &'l Traffic,
    cluster_domain: &'l str,
}

/// Who refers.
#[derive(Clone, Copy)]
pub(crate) struct Referrer<'a> {
    pub kind: RouteKind,
    pub namespace: &'a str,
    /// Whether what is named is spoken to over gRPC, whatever the kind.
    pub grpc: bool,
}

impl Referrer<'_> {
    /// The kind of a route that speaks the same.
    fn speaks(self) -> RouteKind {
        match self.kind {
            _ if self.grpc => RouteKind::GRPCRoute,
            RouteKind::Gateway | RouteKind::ListenerSet => RouteKind::HTTPRoute,
            kind => kind,
        }
    }
}

/// What is named, and the Service that it is.
#[derive(Clone, Copy)]
struct Named<'n> {
    object: &'n ObjectRef,
    service: Option<(&'n Key, &'n Arc<Service>)>,
}

/// One target of a reference, with its share of the reference: numerator of the sum of all.
pub(crate) type Share = (ArmTarget, u32);

impl<'l, 'a> Backends<'l, 'a> {
    /// Resolves them among these.
    pub fn new(lookup: &'l Lookup<'a>, policies: &'l Policies, traffic: &'l Traffic, cluster_domain: &'l str) -> Self {
        Self { lookup, policies, traffic, cluster_domain }
    }

    /// What it resolves among.
    pub fn lookup(&self) -> &'l Lookup<'a> {
        self.lookup
    }

    /// Where a reference leads: one target, or those of an alias.
    pub fn resolve(
        &self,
        from: Referrer<'_>,
        reference: &BackendRef,
        at: &FieldPath,
        findings: &mut Vec<Finding>,
    ) -> Vec<Share> {
        match self.try_resolve(from, reference, at, findings) {
            Ok(shares) => shares,
            Err(finding) => vec![(invalid(finding, findings), 1)],
        }
    }

    /// Filters, with the backends that they name.
    pub fn filters(
        &self,
        from: Referrer<'_>,
        list: &[kinds::Filter],
        at: &FieldPath,
        findings: &mut Vec<Finding>,
    ) -> Vec<Filter> {
        filters(list, at, findings, |named, grpc, at, findings| {
            heaviest(self.resolve(Referrer { grpc, ..from }, named, at, findings))
        })
    }

    fn try_resolve(
        &self,
        from: Referrer<'_>,
        reference: &BackendRef,
        at: &FieldPath,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Share>, Finding> {
        let wrong = |reason, path, message: String| Finding::new(ConditionType::ResolvedRefs, reason, path, message);
        let Some(service) = reference.service_name() else {
            let message = format!("{} of group {:?} cannot serve", reference.kind, reference.group);
            return Err(wrong(Reason::InvalidKind, at.key("kind"), message));
        };
        let namespace = reference.namespace.as_deref().unwrap_or(from.namespace);
        let to = ObjectRef::new(&reference.group, &reference.kind, namespace, &reference.name);
        if reference.is_x_backend() && namespace != from.namespace {
            let message = format!("{to} is in another namespace, and XBackends are for routes of their own (GEP-4894)");
            let remedy = format!("name an XBackend of namespace {}", from.namespace);
            return Err(wrong(Reason::RefNotPermitted, at.key("namespace"), message).remedy(remedy));
        }
        if !self.lookup.permits(Holder::new(from.kind.as_str(), from.namespace), &to) {
            let message = format!("{to} is in another namespace, and no grant allows to use it");
            let remedy = format!(
                "add a ReferenceGrant in namespace {namespace}: from {} of namespace {} to {} {}",
                from.kind.as_str(),
                from.namespace,
                reference.kind,
                reference.name
            );
            return Err(wrong(Reason::RefNotPermitted, at.clone(), message).remedy(remedy));
        }
        let key = (Text::from(namespace), Text::from(service.as_ref()));
        let x_backends = reference.is_x_backend().then_some(&self.lookup.objects.x_backends);
        let backend = x_backends.and_then(|all| Objects::get(all, namespace, &reference.name));
        if let Some(refused) = backend.and_then(|backend| refusal(backend, self.cluster_domain)) {
            return Err(wrong(Reason::UnsupportedValue, at.key("name"), format!("{to}: {}", refused.message)));
        }
        if let Some(arms) = self.lookup.objects.aliases.get(&key) {
            return self.alias(from.speaks(), namespace, arms, at, findings);
        }
        let objects = self.lookup.objects;
        let (services, port) = match backend {
            Some(backend) => (&objects.x_services, backend.port),
            None => (&objects.services, reference.port.unwrap_or_default()),
        };
        let name =
            self.backend(from.speaks(), Named { object: &to, service: services.get_key_value(&key) }, port, at)?;
        Ok(vec![(ArmTarget::Backend(name), 1)])
    }

    /// The arms of an alias; one that leads nowhere keeps its share.
    fn alias(
        &self,
        kind: RouteKind,
        namespace: &str,
        arms: &[AliasArm],
        at: &FieldPath,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Share>, Finding> {
        if arms.iter().all(|arm| arm.weight == 0) {
            let message = "the function has no revision that takes requests";
            let finding = Finding::new(ConditionType::ResolvedRefs, Reason::BackendNotFound, at.clone(), message);
            return Err(finding.remedy("see the status of the function"));
        }
        let mut shares = Vec::with_capacity(arms.len());
        for arm in arms {
            let object = ObjectRef::new("", "Service", namespace, &arm.service);
            let key = (object.namespace.clone(), object.name.clone());
            let named = Named { object: &object, service: self.lookup.objects.services.get_key_value(&key) };
            let target = match self.backend(kind, named, arm.port, at) {
                Ok(name) => ArmTarget::Backend(name),
                Err(finding) => invalid(finding, findings),
            };
            shares.push((target, arm.weight));
        }
        Ok(shares)
    }

    /// The name of the Backend of a Service port, if requests of a kind of route can be sent there.
    fn backend(&self, kind: RouteKind, named: Named<'_>, port: u16, at: &FieldPath) -> Result<BackendName, Finding> {
        let to = named.object;
        let (key, service) = self.service(named, at)?;
        let transport = kind.transport();
        let any = || service.ports.iter().find(|spec| spec.port == port);
        let Some(spec) = find_port(service, port, transport).or_else(any) else {
            let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
            let message = format!("{to} has no port {port}");
            let finding = Finding::new(ConditionType::ResolvedRefs, Reason::BackendNotFound, at.key("port"), message);
            return Err(finding.remedy(format!("write one of its ports: {}", ports.join(", "))));
        };
        if let (Some(Err(written)), true) = (&service.proxy_protocol, transport.is_tcp()) {
            let message = format!("{to} has the annotation {PROXY_PROTOCOL_ANNOTATION} {written:?}");
            let reason = Reason::UnsupportedProtocol;
            let finding = Finding::new(ConditionType::ResolvedRefs, reason, at.clone(), message);
            return Err(finding.remedy("write v1 or v2, or leave the annotation out"));
        }
        let has_tls = self.policies.tls(key, &spec.name).is_some();
        protocol(kind, spec, has_tls).map_err(|(message, remedy)| {
            let is_x_backend = to.kind == "XBackend";
            let remedy = if is_x_backend { "write another protocol in the XBackend, or leave it out" } else { remedy };
            let message = format!("port {port} of {to} {message}");
            Finding::new(ConditionType::ResolvedRefs, Reason::UnsupportedProtocol, at.clone(), message).remedy(remedy)
        })?;
        Ok(BackendName {
            namespace: key.0.clone(),
            service: key.1.clone(),
            port,
            transport,
            uid: service.meta.uid.clone(),
        })
    }

    /// The Backend of a name that a rule has; `grpc` where it is spoken to so: by a GRPCRoute, or an ExternalAuth filter. For what serves gRPC speaks HTTP/2.
    pub fn make(&self, name: &BackendName, grpc: bool) -> Option<Backend> {
        let key = (name.namespace.clone(), name.service.clone());
        let service = self.lookup.service(name)?;
        let spec = find_port(service, name.port, name.transport)?;
        let tls = self.policies.tls(&key, &spec.name);
        let kind = if grpc { RouteKind::GRPCRoute } else { RouteKind::HTTPRoute };
        let traits = self.lookup.traits(name).cloned().unwrap_or_default();
        Some(Backend {
            name: name.clone(),
            // what requests cannot be sent to gets none: a route of the transport layer names it
            protocol: protocol(kind, spec, tls.is_some()).unwrap_or(BackendProtocol::Opaque),
            hostname: self.lookup.objects.x_services.get(&key).and_then(|one| hostname(one)),
            tls: tls.cloned().map(Box::new),
            proxy_protocol: service.proxy_protocol.clone().and_then(Result::ok).filter(|_| name.transport.is_tcp()),
            concurrency: traits.concurrency,
            queue: traits.queue,
            scales: traits.scales.map(Text::from),
            wait: traits.wait,
            retries: self.traffic.budget(&key).map(Box::new),
        })
    }

    /// How a policy keeps clients of an arm at an endpoint.
    pub fn session(&self, target: &ArmTarget) -> Option<&'l Session> {
        match target {
            ArmTarget::Backend(name) => self.traffic.session(&(name.namespace.clone(), name.service.clone())),
            ArmTarget::Invalid(_) => None,
        }
    }

    fn service<'n>(&self, named: Named<'n>, at: &FieldPath) -> Result<(&'n Key, &'n Service), Finding> {
        let to = named.object;
        let wrong = |message: String| {
            Finding::new(ConditionType::ResolvedRefs, Reason::BackendNotFound, at.key("name"), message)
        };
        let Some((key, service)) = named.service else { return Err(wrong(format!("{to} does not exist"))) };
        match &service.external_name {
            Some(target) if to.kind == "Service" => {
                let remedy = match cluster_service(target, self.cluster_domain) {
                    Some((name, namespace)) => format!("name Service {name} of namespace {namespace} instead"),
                    None => "name a Service that has endpoints".to_owned(),
                };
                Err(wrong(format!("{to} is of type ExternalName, which is not supported")).remedy(remedy))
            }
            _ => Ok((key, service)),
        }
    }

    /// What happens if an arm is cold: as the first Service that scales says.
    pub fn cold(&self, shares: &[ArmTarget]) -> ColdArm {
        let traits = |target: &ArmTarget| match target {
            ArmTarget::Backend(name) => self.lookup.traits(name),
            ArmTarget::Invalid(_) => None,
        };
        shares.iter().find_map(traits).map(|traits| traits.cold).unwrap_or_default()
    }
}

/// A filter has one backend: of an alias the one with the most weight.
fn heaviest(shares: Vec<Share>) -> ArmTarget {
    let heaviest = shares.into_iter().max_by_key(|(_, share)| *share);
    heaviest.map_or_else(|| ArmTarget::Invalid("the reference leads nowhere".to_owned()), |(target, _)| target)
}

/// The port of a Service with a number, which it may have once for each transport.
pub(crate) fn find_port(service: &Service, port: u16, transport: Transport) -> Option<&ServicePort> {
    service.ports.iter().find(|spec| spec.port == port && spec.protocol == transport.as_str())
}

/// The host that an XBackend is.
fn hostname(service: &Service) -> Option<Box<Text>> {
    service.external_name.as_deref().map(|host| Box::new(host.into()))
}

/// An arm that answers 500, with its reason.
fn invalid(finding: Finding, findings: &mut Vec<Finding>) -> ArmTarget {
    let reason = format!("{}: {}", finding.reason.as_str(), finding.message);
    findings.push(finding);
    ArmTarget::Invalid(reason)
}

/// The Service that a name within the cluster means.
fn cluster_service<'t>(target: &'t str, cluster_domain: &str) -> Option<(&'t str, &'t str)> {
    let target = target.trim_end_matches('.');
    let name = target
        .strip_suffix(cluster_domain)
        .and_then(|name| name.strip_suffix(".svc."))
        .or(target.strip_suffix(".svc"))?;
    name.split_once('.').filter(|(_, namespace)| !namespace.contains('.'))
}

/// What is spoken to a port. Sources: `appProtocol` of Service (KEP-3726); GRPCRoute, "implementations may infer".
fn protocol(kind: RouteKind, port: &ServicePort, tls: bool) -> Result<BackendProtocol, (String, &'static str)> {
    let default = if kind.is_grpc() { BackendProtocol::Http2 } else { BackendProtocol::Http1 };
    if port.protocol != kind.transport().as_str() {
        let remedy = match kind.transport() {
            Transport::Tcp => "name a port with protocol TCP",
            Transport::Udp => "name a port with protocol UDP",
        };
        return Err((format!("speaks {}", port.protocol), remedy));
    }
    if !kind.is_http() {
        return Ok(BackendProtocol::Opaque);
    }
    let app = port.app_protocol.as_deref().unwrap_or_default();
    match app.to_ascii_lowercase().as_str() {
        "" | "http" => Ok(default),
        "kubernetes.io/h2c" | "h2c" | "http2" | "grpc" | "h2" => Ok(BackendProtocol::Http2),
        "kubernetes.io/ws" | "ws" if !kind.is_grpc() => Ok(BackendProtocol::Http1),
        "https" if tls => Ok(default),
        "kubernetes.io/wss" | "wss" if tls && !kind.is_grpc() => Ok(BackendProtocol::Http1),
        "https" | "kubernetes.io/wss" | "wss" if !tls => {
            Err((format!("has appProtocol {app}, which needs TLS"), "add a BackendTLSPolicy for this Service"))
        }
        _ => {
            let remedy = "write appProtocol kubernetes.io/h2c for HTTP/2, or leave it out for HTTP/1.1";
            Err((format!("has appProtocol {app}, which a {} does not speak", kind.as_str()), remedy))
        }
    }
}

/// Weights of arms, from the weight of each reference and the shares within it, exact as long as they fit in the weights of the
/// API (0 to 1,000,000).
pub(crate) fn weigh(references: &[(u32, Vec<u32>)]) -> Vec<Vec<u32>> {
    let sums: Vec<u128> =
        references.iter().map(|(_, shares)| shares.iter().map(|share| u128::from(*share)).sum()).collect();
    // at most 16 references of sums below 2^36 each: bounded, and scaled down below where it is too large
    let common = sums.iter().filter(|sum| **sum > 0).fold(1_u128, |a, b| lcm(a, *b).unwrap_or(a));
    let exact = |(weight, shares): &(u32, Vec<u32>), sum: u128| -> Vec<u128> {
        let of = |share: &u32| u128::from(*weight) * u128::from(*share) * common / sum.max(1);
        shares.iter().map(of).collect()
    };
    let mut weights: Vec<Vec<u128>> =
        references.iter().zip(sums).map(|(reference, sum)| exact(reference, sum)).collect();
    // plain references keep what was written; an alias anywhere makes the smallest numbers of the same proportion
    let plain = references.iter().all(|(_, shares)| shares.as_slice() == [1]);
    let divisor = if plain { 1 } else { weights.iter().flatten().fold(0, |a, b| gcd(a, *b)).max(1) };
    weights.iter_mut().flatten().for_each(|weight| *weight /= divisor);
    let most = weights.iter().flatten().max().copied().unwrap_or_default();
    let scale = |weight: u128| match weight {
        0 => 0,
        weight if most > MOST => (weight * MOST / most).max(1),
        weight => weight,
    };
    let narrow = |weight: u128| u32::try_from(scale(weight)).unwrap_or(u32::MAX);
    weights.into_iter().map(|shares| shares.into_iter().map(narrow).collect()).collect()
}

/// The greatest weight of the API.
const MOST: u128 = 1_000_000;

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `None` where it would leave what later products can hold.
fn lcm(a: u128, b: u128) -> Option<u128> {
    (a / gcd(a, b)).checked_mul(b).filter(|product| *product < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_multiply_exactly() {
        type Case = (&'static [(u32, &'static [u32])], &'static [&'static [u32]]);
        let table: &[Case] = &[
            // plain references keep what was written
            (&[(90, &[1]), (10, &[1])], &[&[90], &[10]]),
            // half of a 90/10 function, half of a plain Service
            (&[(1, &[90, 10]), (1, &[1])], &[&[9, 1], &[10]]),
            (&[(3, &[1, 2]), (1, &[1, 1])], &[&[2, 4], &[1, 1]]),
            (&[(0, &[1, 1]), (5, &[1])], &[&[0, 0], &[1]]),
            (&[(1, &[0, 7])], &[&[0, 1]]),
        ];
        for (references, expected) in table {
            let references: Vec<(u32, Vec<u32>)> = references.iter().map(|(w, s)| (*w, s.to_vec())).collect();
            assert_eq!(weigh(&references), expected.iter().map(|s| s.to_vec()).collect::<Vec<_>>(), "{references:?}");
        }
    }

    #[test]
    fn weights_too_large_for_the_api_keep_their_proportion() {
        let made = weigh(&[(1_000_000, vec![999_983, 1]), (999_999, vec![999_979, 2])]);
        assert!(made.iter().flatten().all(|weight| (1..=1_000_000).contains(weight)), "{made:?}");
        assert!(made[0][0] > 999_000 && made[1][0] > 999_000, "{made:?}");
    }

    #[test]
    fn a_name_within_the_cluster_is_a_service() {
        assert_eq!(cluster_service("hello.default.svc.cluster.local", "cluster.local"), Some(("hello", "default")));
        assert_eq!(cluster_service("hello.default.svc", "cluster.local"), Some(("hello", "default")));
        assert_eq!(cluster_service("example.com", "cluster.local"), None);
    }
}
