//! What is to be said of an object, whole: what `translate` says, and what only the cluster knows. Never what others say.

use crate::folded::Folded;
use headgate_translate::{
    conditions::{
        ClassStatus, Condition, ConditionType, GatewayStatus, ListenerSetStatus, ListenerStatus, PolicyStatus, Reason,
        RouteStatus, Status,
    },
    features::{self, Ground},
    kinds::{GATEWAY_GROUP, INGRESS_GROUP, ObjectRef},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// The minor versions of Gateway API v1 whose definitions this program knows.
const MINORS: std::ops::RangeInclusive<u32> = 5..=7;

/// What is said of a Gateway without an address.
const NO_ADDRESS: &str = "no address has been assigned yet";

/// What is to be said of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Of a route or a policy: our entries of its list, whatever its kind.
    Said(Arc<Status>),
    /// Of an object that is served by one controller only (GatewayClass, Gateway): our part of its status, without times.
    Fields {
        /// Conditions, listeners, addresses, features.
        status: Folded,
        /// The data plane was told of this generation and has not answered: what it serves stays said of the generation before.
        awaiting: bool,
    },
    /// Of an Ingress: where it is found; nowhere, and what we said goes.
    Addresses(Vec<Address>),
    /// Of a Function: the fields of its status that are ours, without times.
    Function(Value),
}

/// What the cluster says of the gateways of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Where they are found.
    pub addresses: Vec<Address>,
    /// Which of the addresses that were asked for cannot be had, and why; for people.
    pub unusable: Option<String>,
    /// Why each entry of `spec.addresses` that got no address got none; for people.
    pub unassigned: Vec<String>,
    /// What must be written for anybody to reach them and is refused, with why; for people.
    pub blocked: Option<String>,
    /// How many of them are ready.
    pub ready: usize,
    /// Why none starts or takes what it is told, if that is known; for people.
    pub trouble: Option<String>,
    /// The newest generation of the Gateway that a ready one has acknowledged; 0 for none.
    pub acknowledged: i64,
}

/// `status.addresses[]` of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Address {
    /// `IPAddress` or `Hostname`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its value.
    pub value: String,
    /// From where it can be reached (experimental); not said where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routability: Option<&'static str>,
}

impl Address {
    /// The address of a text: an IP address or a host name.
    pub fn of(value: &str) -> Self {
        let kind = if value.parse::<std::net::IpAddr>().is_ok() { "IPAddress" } else { "Hostname" };
        Self { kind: kind.into(), value: value.into(), routability: None }
    }
}

/// What annotations of the CustomResourceDefinitions of Gateway API say of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// `gateway.networking.k8s.io/bundle-version` of each of them, `v1.7.0`; empty for one without it.
    pub versions: BTreeSet<String>,
    /// Whether their `gateway.networking.k8s.io/channel` is `experimental`.
    pub experimental: bool,
    /// Whether that of Gateways has what v1.7 brought to the experimental channel: filters of listeners, from where addresses can be reached.
    pub experimental_gateways: bool,
    /// Whether the API server knows ClusterTrustBundles, which no definition says.
    pub trust_bundles: bool,
}

impl Definitions {
    /// What the `metadata` of CustomResourceDefinitions say. Those of other groups than Gateway API's are passed over.
    pub fn of<'m>(metadata: impl IntoIterator<Item = &'m Value>) -> Self {
        let mut definitions = Self::default();
        let is_ours = |name: &Value| name.as_str().is_some_and(|name| name.ends_with(".gateway.networking.k8s.io"));
        for one in metadata.into_iter().filter(|one| is_ours(&one["name"])) {
            let text = |annotation: &str| one["annotations"][annotation].as_str().unwrap_or_default();
            definitions.versions.insert(text("gateway.networking.k8s.io/bundle-version").to_owned());
            let is_experimental = text("gateway.networking.k8s.io/channel") == "experimental";
            definitions.experimental |= is_experimental;
            let minor = minor(text("gateway.networking.k8s.io/bundle-version"));
            definitions.experimental_gateways |= is_experimental
                && one["name"] == "gateways.gateway.networking.k8s.io"
                && minor.is_some_and(|minor| minor >= 7);
        }
        definitions
    }

    /// What features need.
    pub fn ground(&self) -> Ground {
        let Self { experimental, experimental_gateways, trust_bundles, .. } = *self;
        Ground { experimental, experimental_gateways, trust_bundles }
    }

    /// Whether this program knows all of them.
    pub fn are_supported(&self) -> bool {
        self.versions.iter().all(|version| is_supported(version))
    }
}

impl Wanted {
    /// Of a GatewayClass: with the version of the definitions and the features that are claimed.
    ///
    /// Definitions of other versions are served as well as can be: `Accepted` stays, `SupportedVersion` says it.
    pub fn class(status: &ClassStatus, definitions: &Definitions) -> Self {
        let generation = status.conditions.first().map_or(0, |condition| condition.observed_generation);
        let mut conditions = status.conditions.clone();
        conditions.push(supported_version(definitions, generation));
        let features: Vec<Value> = features::claimed(&definitions.ground()).map(|name| json!({"name": name})).collect();
        let status = json!({"conditions": conditions, "supportedFeatures": features});
        Self::Fields { status: status.into(), awaiting: false }
    }

    /// Of a ListenerSet: whether the gateways of its Gateway have programmed it. `fleet` is theirs, with the newest generation of
    /// the ListenerSet that they have acknowledged.
    pub fn listener_set(status: &ListenerSetStatus, fleet: &Fleet) -> Self {
        let mut status = status.clone();
        let awaiting = judge(&mut status.conditions, &mut status.listeners, fleet);
        Self::Fields { status: json!(status).into(), awaiting }
    }

    /// Of a ScalingPolicy that is in force and cannot do what it says. Where what it names is not there or does not fit, it is not
    /// accepted either.
    pub fn scaling_policy(status: &PolicyStatus, reason: Reason, message: &str) -> Self {
        let mut status = status.clone();
        let is_of_policy = matches!(reason, Reason::TargetNotFound | Reason::Invalid);
        for condition in status.ancestors.iter_mut().flat_map(|ancestor| &mut ancestor.conditions) {
            let is_judged = condition.kind == ConditionType::Programmed
                || (condition.kind == ConditionType::Accepted && is_of_policy);
            if is_judged && condition.status {
                *condition = Condition::wrong(condition.kind, reason, message, condition.observed_generation);
            }
        }
        Self::Said(Arc::new(Status::Policy(status)))
    }

    /// Of a Gateway: with its addresses, and whether it is programmed. From where each can be reached, and which of those that were asked
    /// for there are, is said where the definitions have words for it.
    pub fn gateway(status: &GatewayStatus, fleet: &Fleet, definitions: &Definitions) -> Self {
        let mut status = status.clone();
        let generation = status.conditions.first().map_or(0, |condition| condition.observed_generation);
        let is_accepted = status.conditions.iter().any(|one| one.kind == ConditionType::Accepted && one.status);
        let awaiting = judge(&mut status.conditions, &mut status.listeners, fleet);
        let mut addresses = fleet.addresses.clone();
        if !definitions.experimental_gateways {
            addresses.iter_mut().for_each(|address| address.routability = None);
        } else if is_accepted {
            status.conditions.extend(assigned(fleet, generation));
        }
        let mut status = json!(status);
        status["addresses"] = json!(addresses);
        Self::Fields { status: status.into(), awaiting }
    }

    /// Of a Gateway of OpenFunction that names one of Gateway API which does not exist.
    pub fn without_gateway(gateway: &ObjectRef, generation: i64) -> Self {
        let message = format!(
            "spec.gatewayRef: {gateway} does not exist: functions on it are not reachable; create it, or write gatewayDef: \
             {{namespace, gatewayClassName}} instead"
        );
        let conditions: Vec<Condition> = [ConditionType::Accepted, ConditionType::Programmed]
            .into_iter()
            .map(|kind| Condition::wrong(kind, Reason::TargetNotFound, message.clone(), generation))
            .collect();
        let status = json!({"conditions": conditions, "listeners": []});
        Self::Fields { status: status.into(), awaiting: false }.openfunction_gateway(|_| false, generation)
    }

    /// Of a Gateway of OpenFunction: what is said of the Gateway of Gateway API behind it, for those of its listeners that it made.
    /// `Scheduled` and `Ready` are the words of the version that OpenFunction and its users know; `generation` is its own.
    pub fn openfunction_gateway(&self, is_ours: impl Fn(&str) -> bool, generation: i64) -> Self {
        let Self::Fields { status, awaiting } = self else { return self.clone() };
        let mut status = status.unfold();
        let old_words = [("Accepted", "Scheduled"), ("Programmed", "Ready")];
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let renamed = old_words.into_iter().filter_map(|(new, old)| {
            let mut condition = conditions.iter().find(|condition| condition["type"] == new)?.clone();
            condition["type"] = json!(old);
            if condition["reason"] == new {
                condition["reason"] = json!(old);
            }
            Some(condition)
        });
        let known = conditions.iter().filter(|condition| condition["type"] != "AddressesAssigned").cloned();
        status["conditions"] = known.chain(renamed).collect();
        for address in status["addresses"].as_array_mut().into_iter().flatten() {
            address.as_object_mut().map(|fields| fields.remove("routability"));
        }
        if let Some(listeners) = status["listeners"].as_array_mut() {
            listeners.retain(|listener| listener["name"].as_str().is_some_and(&is_ours));
        }
        observe(&mut status, generation);
        Self::Fields { status: status.into(), awaiting: *awaiting }
    }
}

/// What is said of an object of which nothing is to be said any more: that our entries go. `None` for kinds whose status belongs
/// to one controller, for it may have another one now.
pub fn nothing(object: &ObjectRef) -> Option<Wanted> {
    let status = match (&*object.group, &*object.kind) {
        (INGRESS_GROUP, "Ingress") => return Some(Wanted::Addresses(Vec::new())),
        (GATEWAY_GROUP, "BackendTLSPolicy") | ("headgate.dev", _) => Status::Policy(PolicyStatus::default()),
        (GATEWAY_GROUP, kind) if kind.ends_with("Route") => Status::Route(RouteStatus::default()),
        _ => return None,
    };
    Some(Wanted::Said(Arc::new(status)))
}

fn is_supported(version: &str) -> bool {
    minor(version).is_some_and(|minor| MINORS.contains(&minor))
}

/// Of a version of Gateway API v1.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("v1.")?.split('.').next()?.parse().ok()
}

fn supported_version(definitions: &Definitions, generation: i64) -> Condition {
    if definitions.are_supported() {
        return Condition::fine(ConditionType::SupportedVersion, Reason::SupportedVersion, generation);
    }
    let name = |version: &String| if version.is_empty() { "one without a version".to_owned() } else { version.clone() };
    let found: Vec<String> = definitions.versions.iter().map(name).collect();
    let (found, first, last) = (found.join(", "), MINORS.start(), MINORS.end());
    let message = format!(
        "found definitions of {found}, known are v1.{first} to v1.{last}, so some fields may do nothing; {}",
        Reason::UnsupportedVersion.remedy()
    );
    Condition::wrong(ConditionType::SupportedVersion, Reason::UnsupportedVersion, message, generation)
}

/// Says of a Gateway and its listeners whether they are programmed, where `translate` says that they could be. Whether only the
/// answer of a data plane is missing.
///
/// Source: Gateway API v1.7.0, GatewayConditionProgrammed and ListenerConditionProgrammed.
fn judge(conditions: &mut [Condition], listeners: &mut [ListenerStatus], fleet: &Fleet) -> bool {
    let Some(programmed) = conditions.iter_mut().find(|c| c.kind == ConditionType::Programmed && c.status) else {
        return false;
    };
    let generation = programmed.observed_generation;
    let Some((reason, message)) = obstacle(fleet, generation) else { return false };
    // what is refused says itself what to do
    let remedy = if fleet.blocked.is_some() { String::new() } else { format!("; {}", reason.remedy()) };
    *programmed = Condition::wrong(ConditionType::Programmed, reason, format!("{message}{remedy}"), generation);
    let of_listeners = listeners.iter_mut().flat_map(|listener| &mut listener.conditions);
    for condition in of_listeners.filter(|c| c.kind == ConditionType::Programmed && c.status) {
        *condition = Condition::wrong(ConditionType::Programmed, Reason::Pending, message.clone(), generation);
    }
    is_awaiting(fleet, generation)
}

/// Which of the addresses that were asked for there are; nothing while nobody has said anything of them.
///
/// Source: GEP-5093, GatewayConditionAddressesAssigned.
fn assigned(fleet: &Fleet, generation: i64) -> Option<Condition> {
    let (kind, missing) = (ConditionType::AddressesAssigned, fleet.unassigned.join(", "));
    let reason = match (fleet.addresses.is_empty(), missing.is_empty()) {
        (true, true) => return None,
        (false, true) => return Some(Condition::fine(kind, Reason::AddressesAssigned, generation)),
        (false, false) => Reason::PartiallyAssigned,
        (true, false) => Reason::NotAssigned,
    };
    Some(Condition::wrong(kind, reason, format!("{missing}; {}", reason.remedy()), generation))
}

/// What keeps the gateways from serving a generation: first what a person can do something about.
fn obstacle(fleet: &Fleet, generation: i64) -> Option<(Reason, String)> {
    if let Some(blocked) = &fleet.blocked {
        return Some((Reason::NoResources, blocked.clone()));
    }
    if let Some(unusable) = &fleet.unusable {
        return Some((Reason::AddressNotUsable, unusable.clone()));
    }
    if fleet.addresses.is_empty() {
        let missing = fleet.unassigned.join(", ");
        let why = if missing.is_empty() { NO_ADDRESS.to_owned() } else { missing };
        return Some((Reason::AddressNotAssigned, why));
    }
    if fleet.ready > 0 && fleet.acknowledged >= generation {
        return None;
    }
    Some(match &fleet.trouble {
        Some(trouble) => (Reason::NoResources, trouble.clone()),
        None if fleet.ready == 0 => (Reason::Pending, "no gateway is ready".into()),
        None => (Reason::Pending, format!("no gateway has taken generation {generation} yet")),
    })
}

/// Whether a gateway serves, and only its answer is missing: to a new generation, or to a controller that has just started.
fn is_awaiting(fleet: &Fleet, generation: i64) -> bool {
    let has_address = fleet.blocked.is_none() && fleet.unusable.is_none() && !fleet.addresses.is_empty();
    has_address && fleet.ready > 0 && fleet.trouble.is_none() && fleet.acknowledged < generation
}

/// Sets the generation that all conditions speak of.
fn observe(status: &mut Value, generation: i64) {
    let set = |conditions: Option<&mut Value>| {
        for condition in conditions.and_then(Value::as_array_mut).into_iter().flatten() {
            condition["observedGeneration"] = json!(generation);
        }
    };
    set(status.get_mut("conditions"));
    for listener in status.get_mut("listeners").and_then(Value::as_array_mut).into_iter().flatten() {
        set(listener.get_mut("conditions"));
    }
}
