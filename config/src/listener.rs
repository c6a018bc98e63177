//! Listeners and certificates. Keys travel beside the Snapshot, never in it, and are never printed.

use crate::{CertificateName, HostPattern, ListenerName, RuleName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A listener that accepts connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name.
    pub name: ListenerName,
    /// The port as the API says; where the process binds it may differ (see `run`).
    pub port: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// The hosts that it takes.
    pub hostname: HostPattern,
    /// For HTTPS, and for TLS that ends here; TLS without it passes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Shown to endpoints that ask for a certificate under TLS, on connections made for requests of this listener
    /// (`spec.tls.backend` of its Gateway).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_certificate: Option<CertificateName>,
    /// The rule whose filters all its requests pass before a route is chosen for them (`filters.requests` of the API); it has no arms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<RuleName>,
}

impl Listener {
    /// Whether what is encrypted goes on as it came: the endpoint has the key.
    pub fn passes_tls_through(&self) -> bool {
        self.protocol == Protocol::Tls && self.tls.is_none()
    }

    /// All certificates whose keys it needs: those that it shows to clients, and the one for endpoints.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateName> {
        self.tls.iter().flat_map(|tls| &tls.certificates).chain(&self.backend_certificate)
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 by prior knowledge.
    #[serde(rename = "HTTP")]
    Http,
    /// The same under TLS, HTTP/2 by ALPN.
    #[serde(rename = "HTTPS")]
    Https,
    /// TLS with whatever is in it; the server name decides.
    #[serde(rename = "TLS")]
    Tls,
    /// Connections.
    #[serde(rename = "TCP")]
    Tcp,
    /// Datagrams.
    #[serde(rename = "UDP")]
    Udp,
}

impl Protocol {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// What carries it.
    pub const fn transport(self) -> Transport {
        match self {
            Self::Http | Self::Https | Self::Tls | Self::Tcp => Transport::Tcp,
            Self::Udp => Transport::Udp,
        }
    }

    /// Whether listeners of both can have one port: the server name tells those of TLS apart, HTTPS among them.
    pub fn shares_port_with(self, other: Self) -> bool {
        let named = |protocol| matches!(protocol, Self::Https | Self::Tls);
        self == other || (named(self) && named(other))
    }

    /// Whether requests are read; of the others no more than a server name is.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// What carries a protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// Connections.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// Datagrams.
    #[serde(rename = "UDP")]
    Udp,
}

impl Transport {
    /// Whether it is TCP, which goes without saying.
    pub const fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp)
    }

    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// In the order of the API; the first that fits the SNI serves, the very first is the default.
    pub certificates: Vec<CertificateName>,
    /// What is asked of clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
}

/// Validation of client certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuth {
    /// PEM texts of the authorities.
    pub authorities: Vec<String>,
    /// Ask, but let pass whatever comes (AllowInsecureFallback).
    pub insecure_fallback: bool,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its name.
    pub name: CertificateName,
    /// PEM, leaf first.
    pub chain: String,
    /// PEM.
    pub key: Redacted,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.name)
    }
}

/// A secret text: it has no wire form and prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
