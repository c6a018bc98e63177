//! Names: how a listener, a rule, a backend and a certificate are called everywhere, in logs, metrics and files alike. Never reused for another object.

use crate::{Text, Transport};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A Gateway: `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A listener of a Gateway: `namespace/gateway/section`, of a ListenerSet attached to it `namespace/gateway/set/section` where the
/// set is `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerName {
    /// Namespace of the Gateway.
    pub namespace: Text,
    /// Name of the Gateway.
    pub gateway: Text,
    /// `namespace/name` of the ListenerSet, empty for the Gateway's own listeners: names are unique within each only.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub set: Text,
    /// The listener's `name`.
    pub section: Text,
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = if self.set.is_empty() { "" } else { "/" };
        write!(f, "{}/{}{set}{}/{}", self.namespace, self.gateway, self.set, self.section)
    }
}

/// The kinds of objects that a rule can come from: of routes, and of listeners whose filters come before any route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    /// `gateway.networking.k8s.io` HTTPRoute.
    HTTPRoute,
    /// `gateway.networking.k8s.io` GRPCRoute.
    GRPCRoute,
    /// `gateway.networking.k8s.io` TLSRoute.
    TLSRoute,
    /// `gateway.networking.k8s.io` TCPRoute.
    TCPRoute,
    /// `gateway.networking.k8s.io` UDPRoute.
    UDPRoute,
    /// `networking.k8s.io` Ingress, whose rules are those of HTTPRoutes.
    Ingress,
    /// `gateway.networking.k8s.io` Gateway: a rule is what a listener does with all requests.
    Gateway,
    /// `gateway.networking.k8s.io` ListenerSet, as a Gateway.
    ListenerSet,
}

impl RouteKind {
    /// The kind's name as the API has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HTTPRoute => "HTTPRoute",
            Self::GRPCRoute => "GRPCRoute",
            Self::TLSRoute => "TLSRoute",
            Self::TCPRoute => "TCPRoute",
            Self::UDPRoute => "UDPRoute",
            Self::Ingress => "Ingress",
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
        }
    }

    /// Whether its rules take requests; the others take connections or datagrams, of which nothing but a server name is read.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::HTTPRoute | Self::GRPCRoute | Self::Ingress) || self.is_of_listeners()
    }

    /// What carries what its rules take.
    pub const fn transport(self) -> Transport {
        match self {
            Self::HTTPRoute
            | Self::GRPCRoute
            | Self::TLSRoute
            | Self::TCPRoute
            | Self::Ingress
            | Self::Gateway
            | Self::ListenerSet => Transport::Tcp,
            Self::UDPRoute => Transport::Udp,
        }
    }

    /// Whether its rules are of a listener.
    pub const fn is_of_listeners(self) -> bool {
        matches!(self, Self::Gateway | Self::ListenerSet)
    }
}

/// A rule of a route: `HTTPRoute/namespace/name/index`, the index counted from 0; of a listener `Gateway/namespace/name/index`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleName {
    /// Kind of the route, or of the owner of the listener.
    pub kind: RouteKind,
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub route: Text,
    /// Index in `spec.rules`, of listeners in `spec.listeners`, from 0.
    pub index: u32,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.kind.as_str(), self.namespace, self.route, self.index)
    }
}

/// A Service port as the data plane knows it: `namespace/service:port`, for UDP `namespace/service:port/udp`. The uid tells a Service from one deleted and made again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendName {
    /// Namespace of the Service.
    pub namespace: Text,
    /// Name of the Service.
    pub service: Text,
    /// Port number of the Service.
    pub port: u16,
    /// What carries it: a Service may have one number for both.
    #[serde(default, skip_serializing_if = "Transport::is_tcp")]
    pub transport: Transport,
    /// `metadata.uid`, empty where no API server gave one.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub uid: Text,
}

impl BackendName {
    /// A port for connections of a Service without a uid.
    pub fn tcp(namespace: impl Into<Text>, service: impl Into<Text>, port: u16) -> Self {
        let (namespace, service) = (namespace.into(), service.into());
        Self { namespace, service, port, transport: Transport::Tcp, uid: Text::default() }
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)?;
        if self.transport.is_tcp() { Ok(()) } else { f.write_str("/udp") }
    }
}

/// A certificate with its key: `namespace/secret`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateName {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.secret)
    }
}
