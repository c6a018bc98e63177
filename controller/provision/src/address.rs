//! Which addresses a Gateway asks for, how a cluster is asked for each, and which of those that it has satisfy what. Never a Service itself.

use crate::{Parameters, ServiceType, names};
use headgate_translate::kinds::{Address, Gateway};
use std::{collections::BTreeSet, net::IpAddr};

/// From where an address can be reached.
///
/// Source: GEP-5093.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Routability {
    /// From wherever the cluster makes it reachable.
    #[default]
    Default,
    /// From within the cluster: the ClusterIP of a Service.
    Cluster,
    /// Promises nothing: what conformance tests ask for.
    Sentinel,
}

impl Routability {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Cluster => "Cluster",
            Self::Sentinel => "testing.x-k8s.io/sentinel",
        }
    }

    fn of(text: &str) -> Option<Self> {
        [Self::Default, Self::Cluster, Self::Sentinel].into_iter().find(|one| one.as_str() == text)
    }
}

/// An address that a cluster gave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Given {
    /// An IP address or a host name.
    pub value: String,
    /// From where it can be reached.
    pub routability: Routability,
}

impl Given {
    pub(crate) fn new(value: &str, routability: Routability) -> Self {
        Self { value: value.to_owned(), routability }
    }

    /// Whether it is this address.
    pub(crate) fn is(&self, ip: IpAddr) -> bool {
        self.ip() == Some(ip)
    }

    fn is_host(&self) -> bool {
        self.ip().is_none()
    }

    fn ip(&self) -> Option<IpAddr> {
        self.value.parse().ok()
    }
}

/// What an entry of `spec.addresses` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Some IP address, or some host name.
    Any { is_host: bool, routability: Routability },
    /// Just this one.
    Exactly(Exactly),
}

/// Just one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exactly {
    pub ip: IpAddr,
    pub routability: Routability,
}

impl Exactly {
    /// Whether it is to be one of the cluster's own, and not one from a load balancer or at the nodes.
    pub fn is_own(self) -> bool {
        self.routability == Routability::Cluster
    }
}

/// An entry that is not satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unassigned {
    /// Why, for people.
    pub why: String,
    /// Whether nobody is served for it: an address that was written down is not to be missing in silence.
    pub is_unusable: bool,
    /// The Service that asks for it alone, if one does.
    pub service: Option<String>,
}

impl Unassigned {
    fn never(why: impl Into<String>, is_unusable: bool) -> Self {
        Self { why: why.into(), is_unusable, service: None }
    }
}

/// What `spec.addresses` of a Gateway comes to: for each entry what it asks for, or why nobody can give that.
fn wishes(gateway: &Gateway) -> Vec<Result<Wish, Unassigned>> {
    gateway.addresses.iter().map(wish).collect()
}

fn wish(address: &Address) -> Result<Wish, Unassigned> {
    let asked = address.routability.as_deref().unwrap_or_default();
    let Some(routability) = Routability::of(asked) else {
        return Err(Unassigned::never(format!("addresses of routability {asked} are not supported"), false));
    };
    let value = address.value.as_deref().unwrap_or_default();
    let is_host = match address.kind.as_str() {
        "IPAddress" => false,
        "Hostname" => true,
        kind => return Err(Unassigned::never(format!("addresses of type {kind} are not supported"), true)),
    };
    match (is_host, value.parse::<IpAddr>()) {
        (true, _) if routability == Routability::Cluster => {
            Err(Unassigned::never("the cluster gives no host names of its own", false))
        }
        _ if value.is_empty() => Ok(Wish::Any { is_host, routability }),
        (true, _) => Err(Unassigned::never(format!("a host name such as {value:?} cannot be asked for"), true)),
        (false, Ok(ip)) => Ok(Wish::Exactly(Exactly { ip, routability })),
        (false, Err(_)) => Err(Unassigned::never(format!("{value:?} is no IP address"), true)),
    }
}

/// Whether the Service that is always there is to get an address for everybody: none is asked for, or any of them will do.
pub(crate) fn wants_any(gateway: &Gateway) -> bool {
    let is_any = |wish: &Result<Wish, Unassigned>| matches!(wish, Ok(Wish::Any { routability, .. }) if *routability != Routability::Cluster);
    gateway.addresses.is_empty() || wishes(gateway).iter().any(is_any)
}

/// Whether nobody outside the cluster is to reach it: all that it asks for are addresses of the cluster's own, or such as nobody can give.
pub(crate) fn is_inside_only(gateway: &Gateway) -> bool {
    let is_outside = |wish: &Result<Wish, Unassigned>| match wish {
        Ok(Wish::Any { routability, .. } | Wish::Exactly(Exactly { routability, .. })) => {
            *routability != Routability::Cluster
        }
        Err(_) => false,
    };
    !gateway.addresses.is_empty() && !wishes(gateway).iter().any(is_outside)
}

/// Whether it asks for certain addresses of the cluster's own.
pub fn pins_own(gateway: &Gateway) -> bool {
    exactly(gateway).any(Exactly::is_own)
}

/// The addresses that are asked for exactly and that nodes can have, each once.
pub(crate) fn at_nodes(gateway: &Gateway) -> Vec<IpAddr> {
    let mut known = BTreeSet::new();
    let at_nodes = exactly(gateway).filter(|exactly| !exactly.is_own());
    at_nodes.map(|exactly| exactly.ip).filter(|ip| known.insert(*ip)).collect()
}

fn exactly(gateway: &Gateway) -> impl Iterator<Item = Exactly> {
    wishes(gateway).into_iter().flatten().filter_map(|wish| match wish {
        Wish::Exactly(exactly) => Some(exactly),
        Wish::Any { .. } => None,
    })
}

/// The Service that all Gateways have, which a cluster finds them by.
pub(crate) fn main_service(gateway: &Gateway) -> String {
    names::name(&gateway.meta.name, &gateway.class)
}

/// The Services that ask for one address each: a Service can ask for one only. None for those of the cluster's own that the Service has which
/// is always there: no other could get them.
pub(crate) fn address_services(gateway: &Gateway, parameters: &Parameters, own: &[IpAddr]) -> Vec<(String, Exactly)> {
    let is_balanced = parameters.service_type() == ServiceType::LoadBalancer;
    let mut known = BTreeSet::new();
    let services = exactly(gateway).filter(|one| !(one.is_own() && own.contains(&one.ip)));
    let services = services.filter_map(|one| Some((service_of(gateway, one, is_balanced)?, one)));
    services.filter(|(name, _)| known.insert(name.clone())).collect()
}

fn service_of(gateway: &Gateway, one: Exactly, is_balanced: bool) -> Option<String> {
    match one.is_own() {
        true => Some(names::address_service(gateway, &format!("cluster/{}", one.ip))),
        false => is_balanced.then(|| names::address_service(gateway, &one.ip.to_string())),
    }
}

/// What a cluster has for a Gateway.
pub(crate) struct Offer<'o> {
    /// Those for whoever asks for any.
    pub any: Vec<Given>,
    /// Those of the cluster's own that the Service has which is always there.
    pub own: Vec<Given>,
    /// Whether a Service that asks for one address has it.
    pub has: &'o dyn Fn(&str, Exactly) -> bool,
    /// Whether the Service is there that is always there.
    pub is_there: bool,
    /// Whether exact addresses come from a load balancer.
    pub is_balanced: bool,
    /// Those that satisfy an entry already.
    pub given: Vec<IpAddr>,
}

/// For each entry of `spec.addresses` an address of its own; and the entries for which there is none.
pub(crate) fn assign(gateway: &Gateway, mut offer: Offer<'_>) -> (Vec<Given>, Vec<Unassigned>) {
    let wishes = wishes(gateway);
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    // the less somebody asks for, the later: what others ask for must not be gone by then
    order.sort_by_key(|&at| match &wishes[at] {
        Ok(Wish::Exactly(_)) => 0,
        Ok(Wish::Any { routability: Routability::Default, .. }) => 2,
        _ => 1,
    });
    let mut given: Vec<Option<Given>> = vec![None; wishes.len()];
    for at in order {
        given[at] = wishes[at].as_ref().ok().and_then(|wish| offer.take(gateway, *wish));
    }
    let without = wishes.into_iter().zip(&given).filter(|(_, given)| given.is_none());
    let without = without.map(|(wish, _)| wish.map_or_else(|never| never, |wish| offer.lacks(gateway, wish)));
    let unassigned = without.collect();
    (given.into_iter().flatten().collect(), unassigned)
}

impl Offer<'_> {
    fn take(&mut self, gateway: &Gateway, wish: Wish) -> Option<Given> {
        match wish {
            Wish::Any { routability: Routability::Cluster, .. } => {
                let taken = self.own.first().cloned()?;
                Some(self.gives(taken))
            }
            Wish::Any { is_host, routability } => {
                let taken = self.any.iter().find(|given| given.is_host() == is_host).cloned()?;
                let taken = self.gives(taken);
                Some(if routability == Routability::Default { taken } else { Given { routability, ..taken } })
            }
            Wish::Exactly(one) => {
                let is_held = one.is_own() && self.own.iter().any(|given| given.is(one.ip));
                let has = match service_of(gateway, one, self.is_balanced) {
                    Some(service) => is_held || (self.has)(&service, one),
                    None => self.is_there,
                };
                let is_free = !self.given.contains(&one.ip);
                (has && is_free).then(|| self.gives(Given::new(&one.ip.to_string(), one.routability)))
            }
        }
    }

    /// An address satisfies one entry.
    fn gives(&mut self, taken: Given) -> Given {
        let ip = taken.ip();
        let is_other = |given: &Given| given.value != taken.value && !ip.is_some_and(|ip| given.is(ip));
        self.any.retain(is_other);
        self.own.retain(is_other);
        self.given.extend(ip);
        taken
    }

    fn lacks(&self, gateway: &Gateway, wish: Wish) -> Unassigned {
        let (what, one) = match wish {
            Wish::Any { is_host: true, .. } => ("a host name".to_owned(), None),
            Wish::Any { routability: Routability::Cluster, .. } => ("one more address of its own".to_owned(), None),
            Wish::Any { .. } => ("one more IP address".to_owned(), None),
            Wish::Exactly(one) => (one.ip.to_string(), Some(one)),
        };
        let service = one.and_then(|one| service_of(gateway, one, self.is_balanced));
        let by = service.clone().unwrap_or_else(|| main_service(gateway));
        let why = format!("the cluster has not given {what} to Service {by}");
        Unassigned { why, is_unusable: one.is_some_and(|one| one.routability == Routability::Default), service }
    }
}
