//! TLSRoute, TCPRoute and UDPRoute, v1.7.0: one shape, for they differ in nothing but hostnames. Never a match: what they carry is not read.

use crate::{
    form::Form,
    kinds::{DefaultScope, ObjectMeta, ParentRef, WeightedBackend},
    schema::{Fields, Reader},
};
use headgate_config::Text;

/// A route of connections or datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportRoute {
    /// Metadata.
    pub meta: ObjectMeta,
    /// What it attaches to.
    pub parents: Vec<ParentRef>,
    /// The server names that a TLSRoute takes; empty for the others.
    pub hostnames: Vec<String>,
    /// Its rules: exactly one, by the API.
    pub rules: Vec<TransportRule>,
    /// `spec.useDefaultGateways` (experimental).
    pub default_gateways: DefaultScope,
}

/// `rules[]` of such a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportRule {
    /// Name, empty where none is written.
    pub name: Text,
    /// Where connections or datagrams go; each as a whole to one.
    pub backends: Vec<WeightedBackend>,
}

/// The most hostnames of a TLSRoute.
const HOSTNAMES_MAX: usize = 1024;

impl TransportRoute {
    /// Reads one that has hostnames: a TLSRoute.
    pub(crate) fn read_named(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        Self::read_with(top, meta, |spec| {
            let names = spec.need("hostnames").map(|at| at.list(1..=HOSTNAMES_MAX)).unwrap_or_default();
            names.iter().map(read_name).collect()
        })
    }

    /// Reads one that has none: a TCPRoute or a UDPRoute.
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        Self::read_with(top, meta, |_| Vec::new())
    }

    fn read_with(
        top: &mut Fields<'_>,
        meta: ObjectMeta,
        hostnames: impl FnOnce(&mut Fields<'_>) -> Vec<String>,
    ) -> Self {
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        let rules = spec.need("rules").map(|at| at.list(1..=1).iter().map(TransportRule::read).collect());
        Self {
            meta,
            parents: ParentRef::read_list(&mut spec, at.report()),
            hostnames: hostnames(&mut spec),
            rules: rules.unwrap_or_default(),
            default_gateways: spec.choice("useDefaultGateways").unwrap_or_default(),
        }
    }
}

/// A name as clients send it in TLS: never an address (RFC 6066 §3).
fn read_name(at: &Reader<'_>) -> String {
    let name = at.text(Form::HOSTNAME);
    if name.parse::<std::net::IpAddr>().is_ok() {
        at.error("is an address, which no client sends as a server name", "write a DNS name");
    }
    name
}

impl TransportRule {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let backends = fields.need("backendRefs").map(|at| at.list(1..=16)).unwrap_or_default();
        Self {
            name: fields.name("name", Form::SUBDOMAIN).unwrap_or_default(),
            backends: backends.iter().map(WeightedBackend::read_plain).collect(),
        }
    }
}
