//! Listeners and certificates. Keys travel beside the Snapshot, never in it, and are never printed.

use crate::{CertificateName, HostPattern, ListenerName};
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
    /// For HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Shown to endpoints that ask for a certificate under TLS, on connections made for requests of this listener
    /// (`spec.tls.backend` of its Gateway).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_certificate: Option<CertificateName>,
}

impl Listener {
    /// All certificates whose keys it needs: those that it shows to clients, and the one for endpoints.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateName> {
        self.tls.iter().flat_map(|tls| &tls.certificates).chain(&self.backend_certificate)
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 by prior knowledge.
    #[serde(rename = "HTTP")]
    Http,
    /// The same under TLS, HTTP/2 by ALPN.
    #[serde(rename = "HTTPS")]
    Https,
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
