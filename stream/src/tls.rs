//! TLS of both ends: a serving certificate that can be replaced while connections go on, and a client that trusts one file. Never the system's authorities; TLS 1.3 only.

use headgate_config::Redacted;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{fmt, sync::Arc};
use tokio_rustls::TlsAcceptor;

/// What HTTP/2 is called in a handshake.
const ALPN: &[u8] = b"h2";

/// What a server shows; clones are the same one.
#[derive(Clone)]
pub struct ServerTls {
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

struct Current(arc_swap::ArcSwap<CertifiedKey>);

/// Why a certificate, key or authority cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTls(pub String);

impl ServerTls {
    /// Serves with a chain (PEM, leaf first) and its key (PEM).
    ///
    /// # Errors
    /// If they cannot be read, or do not belong to each other.
    pub fn new(chain: &str, key: &Redacted) -> Result<Self, InvalidTls> {
        let current = Arc::new(Current(arc_swap::ArcSwap::from_pointee(certified(chain, key)?)));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { current, config: Arc::new(config) })
    }

    /// Serves with another chain and key from the next connection on.
    ///
    /// # Errors
    /// As [`ServerTls::new`]; then the one before stays.
    pub fn replace(&self, chain: &str, key: &Redacted) -> Result<(), InvalidTls> {
        self.current.0.store(Arc::new(certified(chain, key)?));
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// A client that trusts the authorities of a PEM text.
pub(crate) fn client(authorities: &str) -> Result<ClientConfig, InvalidTls> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|der| roots.add(der).map_err(|error| error.to_string()));
        added.map_err(InvalidTls)?;
    }
    if roots.is_empty() {
        return Err(InvalidTls("no certificate of an authority in it".into()));
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn certified(chain: &str, key: &Redacted) -> Result<CertifiedKey, InvalidTls> {
    let invalid = |what: &str, error: &dyn fmt::Display| InvalidTls(format!("{what}: {error}"));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| invalid("the certificate cannot be read", &error))?;
    let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
        .map_err(|error| invalid("the key cannot be read", &error))?;
    let certified = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| invalid("certificate and key do not fit", &error))?;
    Ok(certified)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
