//! Backends and their endpoints: what the data plane must know to admit, queue and connect. Never a Kubernetes object.

use crate::{BackendName, CertificateName, Text};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A Service port: how to speak to it and how much it bears. Its endpoints come in a lane of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its name.
    pub name: BackendName,
    /// What is spoken to its endpoints.
    pub protocol: BackendProtocol,
    /// The host outside the cluster that it is: its endpoints are the addresses of this name, which gateways ask DNS for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // boxed: as `tls`
    pub hostname: Option<Box<Text>>,
    /// TLS to its endpoints, by BackendTLSPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // boxed: most backends have none
    pub tls: Option<Box<BackendTls>>,
    /// The header that tells its endpoints who a connection comes from, before all else on it; `None` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Requests at once per endpoint (`containerConcurrency`); 0 is no bound.
    #[serde(default)]
    pub concurrency: u32,
    /// Bounds of its queue.
    #[serde(default)]
    pub queue: QueueBounds,
    /// The scale target that its demand counts for (`namespace/name`); `None` for a backend that cannot start from zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<Text>,
    /// How long a request may wait for it.
    #[serde(default)]
    pub wait: Wait,
    /// How many of its requests may be tries after the first; `None` is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // boxed: as `tls`
    pub retries: Option<Box<RetryBudget>>,
}

impl Backend {
    /// The certificate that it has endpoints shown.
    pub fn certificate(&self) -> Option<&CertificateName> {
        self.tls.as_ref()?.certificate.as_ref()
    }
}

/// What is spoken to an endpoint (`appProtocol` of the Service port).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendProtocol {
    /// HTTP/1.1, with upgrades.
    #[default]
    Http1,
    /// HTTP/2: by prior knowledge, or by ALPN under TLS.
    Http2,
    /// Nothing that is known here: it gets connections or datagrams, never requests.
    Opaque,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// TLS to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTls {
    /// Sent as SNI, and verified unless `names` is not empty.
    pub hostname: String,
    /// Names of which the certificate must carry one (subjectAltNames), instead of `hostname`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Who may have signed.
    pub trust: Trust,
    /// Shown to endpoints that ask for a certificate, in place of that of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateName>,
}

/// Certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trust {
    /// The system's.
    System,
    /// PEM texts.
    Pem(Vec<String>),
    /// The policy is broken: every request is answered 502 with the reason, never sent in plain.
    Invalid(String),
}

/// Bounds of a queue; `None` is the gateway's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueBounds {
    /// Requests that may wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Bytes that they may keep, heads and spooled bodies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// How many of a backend's requests may be tries after the first (`retryConstraint` of XBackendTrafficPolicy, GEP-3388). Counted by each
/// gateway for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// Percent of the requests of an interval, 0 to 100.
    pub percent: u32,
    /// That interval, in milliseconds.
    pub interval_ms: u64,
    /// So many are allowed whatever the percentage, in the time of `least_interval_ms`.
    pub least_count: u32,
    /// See `least_count`, in milliseconds.
    pub least_interval_ms: u64,
}

/// How long a request may wait for a cold or full backend, in milliseconds; `None` is the gateway's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// The limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
}

/// What happens to a request whose arm of a split is cold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ColdArm {
    /// It waits.
    #[default]
    Hold,
    /// It goes to a warm arm, and the cold one is woken.
    Shift,
    /// It is answered 503, and the cold one is woken.
    Reject,
}

/// The endpoints of a backend now, and why there may be none: the whole list each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Whose.
    pub backend: BackendName,
    /// Where; an endpoint that is not in the list gets no new request.
    pub list: Vec<Endpoint>,
    /// What the scaler says.
    #[serde(default)]
    pub activation: Activation,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// IP and port.
    pub address: SocketAddr,
    /// Known to be ready; otherwise the gateway asks `probe` and decides itself.
    pub ready: bool,
    /// How readiness is asked.
    #[serde(default)]
    pub probe: Probe,
}

/// How an endpoint is asked whether it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// It accepts a connection.
    #[default]
    Tcp,
    /// It answers a GET with 200 to 399.
    Http {
        /// The path.
        path: String,
    },
}

/// What is known of starting a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Activation {
    /// Nothing is wrong: with no endpoints it is cold and may be woken.
    #[default]
    Ready,
    /// It starts; requests wait.
    Waking,
    /// It is about to stop: send nothing new; requests wait for the next start.
    Closing,
    /// It cannot start: requests are answered at once with the reason.
    Broken {
        /// What an operator reads.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A gateway and its controllers may be one version apart.
    #[test]
    fn a_backend_of_another_version_is_read() {
        let name = serde_json::to_value(BackendName::tcp("a", "b", 80)).unwrap();
        let before = json!({"name": name, "protocol": "http1"});
        let read = |value: &serde_json::Value| serde_json::from_value::<Backend>(value.clone()).unwrap();
        assert_eq!(read(&before).proxy_protocol, None);
        let mut now = before.clone();
        now["proxyProtocol"] = json!("v2");
        assert_eq!(read(&now).proxy_protocol, Some(ProxyProtocol::V2));
        let mut later = before.clone();
        later["ofALaterVersion"] = json!(true);
        assert_eq!(read(&later), read(&before));
        // what earlier versions do not know stands there only where it says something
        assert_eq!(serde_json::to_value(read(&before)).unwrap().get("proxyProtocol"), None);
    }
}
