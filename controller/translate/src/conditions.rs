//! Conditions and their reasons: one table, in the words of Gateway API v1.7.0, each with what a person does about it. Times and addresses belong to who writes the status, never to this file.

use crate::{
    Key,
    kinds::{ParentRef, RouteGroupKind},
    schema::{FieldPath, Problem},
};
use headgate_config::GatewayName;
use serde::{
    Deserialize, Serialize, Serializer,
    de::{IntoDeserializer, value::Error},
    ser::SerializeMap,
};
use std::collections::{BTreeMap, BTreeSet};

/// `type` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the API")]
pub enum ConditionType {
    Accepted,
    ResolvedRefs,
    Programmed,
    Conflicted,
    PartiallyInvalid,
    InsecureFrontendValidationMode,
    DefaultGateway,
    AddressesAssigned,
    SupportedVersion,
}

impl ConditionType {
    /// The type of a name of the API, if it is one that we say.
    pub fn parse(name: &str) -> Option<Self> {
        let deserializer = IntoDeserializer::<Error>::into_deserializer(name);
        Self::deserialize(deserializer).ok()
    }

    /// Whether it names a fault, so that `True` is what is wrong.
    pub const fn names_fault(self) -> bool {
        matches!(self, Self::Conflicted | Self::PartiallyInvalid | Self::InsecureFrontendValidationMode)
    }
}

/// `reason` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named as in the API")]
pub enum Reason {
    Accepted,
    ResolvedRefs,
    Programmed,
    NoConflicts,
    ConfigurationChanged,
    DefaultGateway,
    Invalid,
    InvalidParameters,
    UnsupportedAddress,
    ListenersNotValid,
    NotAllowed,
    ParentNotAccepted,
    InvalidClientCertificateRef,
    UnsupportedProtocol,
    UnsupportedValue,
    HostnameConflict,
    ProtocolConflict,
    InvalidRouteKinds,
    InvalidCertificateRef,
    InvalidCACertificateRef,
    InvalidListenerFilterRef,
    InvalidCACertificateKind,
    NoValidCACertificate,
    RefNotPermitted,
    NoMatchingParent,
    NotAllowedByListeners,
    NoMatchingListenerHostname,
    IncompatibleFilters,
    InvalidKind,
    BackendNotFound,
    Conflicted,
    TargetNotFound,
    Pending,
    NoResources,
    AddressNotAssigned,
    AddressNotUsable,
    AddressesAssigned,
    PartiallyAssigned,
    NotAssigned,
    SupportedVersion,
    UnsupportedVersion,
    NotReached,
    ScaledByOther,
    StartFailed,
}

/// Text of a reason, and what to do about it (empty where nothing is wrong).
struct Row(&'static str, &'static str);

impl Reason {
    const fn row(self) -> Row {
        match self {
            Self::Accepted => Row("Accepted", ""),
            Self::ResolvedRefs => Row("ResolvedRefs", ""),
            Self::Programmed => Row("Programmed", ""),
            Self::NoConflicts => Row("NoConflicts", ""),
            Self::ConfigurationChanged => {
                Row("ConfigurationChanged", "write mode: AllowValidOnly to refuse clients without a valid certificate")
            }
            Self::DefaultGateway => Row("DefaultGateway", ""),
            Self::Invalid => Row("Invalid", "see the other conditions"),
            Self::InvalidParameters => Row(
                "InvalidParameters",
                "name GatewayParameters of group headgate.dev that exist and are valid, or leave out parametersRef",
            ),
            Self::UnsupportedAddress => Row("UnsupportedAddress", "write type IPAddress or Hostname"),
            Self::ListenersNotValid => Row("ListenersNotValid", "see the conditions of the listeners"),
            Self::NotAllowed => {
                Row("NotAllowed", "let the Gateway's allowedListeners allow this namespace; without it none is allowed")
            }
            Self::ParentNotAccepted => Row("ParentNotAccepted", "see the conditions of the Gateway"),
            Self::InvalidClientCertificateRef => {
                Row("InvalidClientCertificateRef", "name a Secret with tls.crt and tls.key in PEM")
            }
            Self::UnsupportedProtocol => Row("UnsupportedProtocol", "use HTTP, HTTPS, TLS, TCP or UDP"),
            Self::UnsupportedValue => Row("UnsupportedValue", "write a value that this version knows"),
            Self::HostnameConflict => Row("HostnameConflict", "give each listener of a port a hostname of its own"),
            Self::ProtocolConflict => Row("ProtocolConflict", "give each protocol a port of its own"),
            Self::InvalidRouteKinds => Row(
                "InvalidRouteKinds",
                "allow kinds of the protocol: HTTPRoute and GRPCRoute for HTTP and HTTPS, otherwise TLSRoute, TCPRoute or UDPRoute",
            ),
            Self::InvalidCertificateRef => {
                Row("InvalidCertificateRef", "name a Secret with tls.crt and tls.key in PEM")
            }
            Self::InvalidCACertificateRef => Row(
                "InvalidCACertificateRef",
                "name a ConfigMap with ca.crt in PEM, or a ClusterTrustBundle with certificates",
            ),
            Self::InvalidListenerFilterRef => Row("InvalidListenerFilterRef", "name a Service and one of its ports"),
            Self::InvalidCACertificateKind => Row(
                "InvalidCACertificateKind",
                "refer to a ConfigMap (group \"\") or a ClusterTrustBundle (group certificates.k8s.io)",
            ),
            Self::NoValidCACertificate => Row(
                "NoValidCACertificate",
                "give at least one reference to a ConfigMap with ca.crt in PEM, or to a ClusterTrustBundle",
            ),
            Self::RefNotPermitted => {
                Row("RefNotPermitted", "add a ReferenceGrant for it in the namespace that is referred to")
            }
            Self::NoMatchingParent => Row("NoMatchingParent", "write the sectionName or port of one of its listeners"),
            Self::NotAllowedByListeners => {
                Row("NotAllowedByListeners", "let the listener's allowedRoutes allow this namespace and kind")
            }
            Self::NoMatchingListenerHostname => {
                Row("NoMatchingListenerHostname", "write a hostname that one of the listeners has too")
            }
            Self::IncompatibleFilters => Row("IncompatibleFilters", "keep one of the filters"),
            Self::InvalidKind => Row("InvalidKind", "refer to a Service (group \"\")"),
            Self::BackendNotFound => Row("BackendNotFound", "name a Service and one of its ports"),
            Self::Conflicted => Row("Conflicted", "keep one policy for each target; the oldest one applies"),
            Self::TargetNotFound => {
                Row("TargetNotFound", "name a Service, and a port of it by name, in this namespace")
            }
            Self::Pending => Row("Pending", "wait; if it lasts, see the Pods of the Gateway"),
            Self::NoResources => Row("NoResources", "see the events of the Pods of the Gateway"),
            Self::AddressNotAssigned => {
                Row("AddressNotAssigned", "see whether the cluster gives addresses to Services of type LoadBalancer")
            }
            Self::AddressNotUsable => Row("AddressNotUsable", "name an address that is free and can be assigned"),
            Self::AddressesAssigned => Row("AddressesAssigned", ""),
            Self::PartiallyAssigned => Row("PartiallyAssigned", "leave out the addresses that the cluster cannot give"),
            Self::NotAssigned => Row("NotAssigned", "ask for addresses that the cluster can give"),
            Self::SupportedVersion => Row("SupportedVersion", ""),
            Self::UnsupportedVersion => {
                Row("UnsupportedVersion", "install CustomResourceDefinitions of a version that is supported")
            }
            Self::NotReached => Row("NotReached", "let a rule of a route to one of our Gateways name the Service"),
            Self::ScaledByOther => Row(
                "ScaledByOther",
                "let nobody else write replicas, and remove the annotation headgate.dev/scaled-by from the workload",
            ),
            Self::StartFailed => Row("StartFailed", "see the events and the logs of its Pods"),
        }
    }

    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// What a person does about it; empty where nothing is wrong.
    pub const fn remedy(self) -> &'static str {
        self.row().1
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A condition without its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// `True` or `False`.
    #[serde(serialize_with = "write_status")]
    pub status: bool,
    /// Its reason.
    pub reason: Reason,
    /// What is so, and what to do about it.
    pub message: String,
    /// Of which generation of the object it speaks.
    pub observed_generation: i64,
}

fn write_status<S: Serializer>(status: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *status { "True" } else { "False" })
}

impl Condition {
    /// A condition in which nothing is wrong.
    pub fn fine(kind: ConditionType, reason: Reason, generation: i64) -> Self {
        Self { kind, status: !kind.names_fault(), reason, message: String::new(), observed_generation: generation }
    }

    /// A condition that says what is wrong.
    pub fn wrong(kind: ConditionType, reason: Reason, message: impl Into<String>, generation: i64) -> Self {
        Self { kind, status: kind.names_fault(), reason, message: message.into(), observed_generation: generation }
    }

    /// That something is served without what cannot be done, if `findings` say so.
    pub(crate) fn partially(findings: &[Finding], generation: i64) -> Option<Self> {
        let kind = ConditionType::PartiallyInvalid;
        let is_it = findings.iter().any(|finding| finding.kind == kind);
        is_it.then(|| Self::of(kind, Reason::Accepted, findings, generation))
    }

    /// `wrong` with the first of `findings` of this type, `fine` if there is none.
    pub(crate) fn of(kind: ConditionType, fine: Reason, findings: &[Finding], generation: i64) -> Self {
        let mut of_kind = findings.iter().filter(|finding| finding.kind == kind);
        match of_kind.next() {
            None => Self::fine(kind, fine, generation),
            Some(first) => {
                let others = of_kind.count();
                let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
                Self::wrong(kind, first.reason, format!("{}{more}", first.text()), generation)
            }
        }
    }
}

/// Something wrong that a condition tells, where it stands, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub kind: ConditionType,
    pub reason: Reason,
    pub path: FieldPath,
    pub message: String,
    pub remedy: String,
}

impl Finding {
    /// With the remedy of its reason.
    pub fn new(kind: ConditionType, reason: Reason, path: FieldPath, message: impl Into<String>) -> Self {
        Self { kind, reason, path, message: message.into(), remedy: reason.remedy().to_owned() }
    }

    /// That options of TLS, which each implementation names for itself, do nothing here.
    pub fn options_without_effect(at: FieldPath, options: &BTreeMap<String, String>) -> Option<Self> {
        let names: Vec<&str> = options.keys().map(String::as_str).collect();
        let verb = if names.len() == 1 { "has" } else { "have" };
        let message = format!("{} {verb} no effect: no option of TLS is known here", names.join(", "));
        let finding = Self::new(ConditionType::PartiallyInvalid, Reason::UnsupportedValue, at, message);
        (!names.is_empty()).then(|| finding.remedy("leave them out"))
    }

    /// With another remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// For the message of a condition.
    pub fn text(&self) -> String {
        format!("{}: {}; {}", self.path, self.message, self.remedy)
    }

    /// As a problem of its object, which is taken nevertheless.
    pub fn problem(&self) -> Problem {
        Problem::warning(self.path.clone(), self.message.clone(), self.remedy.clone())
    }
}

/// What we say of an object: the parts of its status that are ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Status {
    /// Of a GatewayClass.
    Class(ClassStatus),
    /// Of a Gateway.
    Gateway(GatewayStatus),
    /// Of a ListenerSet.
    ListenerSet(ListenerSetStatus),
    /// Of a route.
    Route(RouteStatus),
    /// Of a policy.
    Policy(PolicyStatus),
    /// Of an Ingress.
    Ingress(IngressStatus),
}

/// Status of a GatewayClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClassStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// Status of a Gateway, without addresses. `Programmed` says here that it could be: who writes the status adds whether it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Listeners, in the order of the spec.
    pub listeners: Vec<ListenerStatus>,
    /// How many ListenerSets are attached; `None` where none may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_listener_sets: Option<u32>,
}

/// Status of a ListenerSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ListenerSetStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Listeners, in the order of the spec; none where it may not attach.
    pub listeners: Vec<ListenerStatus>,
}

/// Status of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Name.
    pub name: String,
    /// Kinds of routes that may attach.
    pub supported_kinds: Vec<RouteGroupKind>,
    /// How many routes are attached.
    pub attached_routes: u32,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// Status of a route: our entries of its list, in the order of `spec.parentRefs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// One for each parent that is ours.
    pub parents: Vec<ParentStatus>,
}

/// Status of a route for one parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The parent, as the route writes it.
    #[serde(serialize_with = "write_parent")]
    pub parent_ref: ParentRef,
    /// Who says so.
    pub controller_name: String,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// Status of an Ingress, without addresses: who writes it knows those of Gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IngressStatus {
    /// The Gateways on which it is served.
    pub gateways: BTreeSet<GatewayName>,
}

/// Status of a policy: our entries of its list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PolicyStatus {
    /// One for each Gateway through which it applies.
    pub ancestors: Vec<AncestorStatus>,
}

/// The most entries that the API takes in the list of a kind's status, those of other controllers included: `parents` of routes, `ancestors` of
/// policies and XBackends. `controller/tests/crds.rs` compares with the definitions.
pub fn entries_most(kind: &str) -> usize {
    match kind {
        "BackendTLSPolicy" | "XBackendTrafficPolicy" | "ScalingPolicy" => 16,
        _ => 32,
    }
}

impl PolicyStatus {
    /// What a controller says for each of the Gateways (namespace, name) through which an object of a kind applies. Where there is none, `targets` stand
    /// in their place, so that what is wrong with it is said (GEP-713: an ancestor may be the target itself).
    pub(crate) fn of(
        kind: &str,
        gateways: &BTreeSet<Key>,
        targets: impl Iterator<Item = ParentRef>,
        controller: &str,
        conditions: impl Fn(&ParentRef) -> Vec<Condition>,
    ) -> Self {
        let through = gateways.iter().map(|(namespace, name)| ParentRef::gateway(namespace, name));
        let instead = targets.filter(|_| gateways.is_empty());
        let entry = |ancestor_ref: ParentRef| AncestorStatus {
            conditions: conditions(&ancestor_ref),
            ancestor_ref,
            controller_name: controller.to_owned(),
        };
        Self { ancestors: through.chain(instead).take(entries_most(kind)).map(entry).collect() }
    }
}

/// Status of a policy for one Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AncestorStatus {
    /// The Gateway.
    #[serde(serialize_with = "write_parent")]
    pub ancestor_ref: ParentRef,
    /// Who says so.
    pub controller_name: String,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// A parent as `parentRef` of a status, without what is not set.
fn write_parent<S: Serializer>(parent: &ParentRef, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("group", &parent.group)?;
    map.serialize_entry("kind", &parent.kind)?;
    if let Some(namespace) = &parent.namespace {
        map.serialize_entry("namespace", namespace)?;
    }
    map.serialize_entry("name", &parent.name)?;
    if let Some(section) = &parent.section {
        map.serialize_entry("sectionName", section)?;
    }
    if let Some(port) = &parent.port {
        map.serialize_entry("port", port)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_written_as_the_api_has_it() {
        let condition = Condition::wrong(ConditionType::Accepted, Reason::NoMatchingParent, "m", 3);
        let parent_ref =
            ParentRef { section: Some("http".into()), port: Some(80), ..ParentRef::gateway("infra", "web") };
        let parent = ParentStatus { parent_ref, controller_name: "a.io/b".into(), conditions: vec![condition] };
        assert_eq!(
            json!(Status::Route(RouteStatus { parents: vec![parent] })),
            json!({"parents": [{
                "parentRef": {
                    "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "web",
                    "sectionName": "http", "port": 80,
                },
                "controllerName": "a.io/b",
                "conditions": [{
                    "type": "Accepted", "status": "False", "reason": "NoMatchingParent", "message": "m",
                    "observedGeneration": 3,
                }],
            }]})
        );
    }

    #[test]
    fn a_type_is_known_by_its_name() {
        assert_eq!(ConditionType::parse("PartiallyInvalid"), Some(ConditionType::PartiallyInvalid));
        assert_eq!(ConditionType::parse("example.com/Scanned"), None);
    }

    #[test]
    fn what_is_wrong_is_true_where_the_type_names_a_fault() {
        assert!(Condition::wrong(ConditionType::Conflicted, Reason::HostnameConflict, "", 0).status);
        assert!(!Condition::fine(ConditionType::Conflicted, Reason::NoConflicts, 0).status);
        assert!(!Condition::wrong(ConditionType::ResolvedRefs, Reason::InvalidKind, "", 0).status);
    }
}
