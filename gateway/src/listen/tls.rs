//! TLS of listeners: which certificate and client policy a server name gets. Keys live here only, and are never printed.

use crate::core::Core;
use headgate_config::{
    Certificate, CertificateName, ClientAuth, HostName, HostPattern, Listener, ListenerName, Protocol, Snapshot,
};
use rustls::{
    RootCertStore, ServerConfig,
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

/// The TLS of all ports of one version of the routes.
#[derive(Default)]
pub struct TlsTable {
    ports: HashMap<u16, Vec<Entry>>,
}

struct Entry {
    listener: ListenerName,
    opened_for: Arc<OpenedFor>,
    config: Arc<ServerConfig>,
}

/// Which requests a TLS connection may carry: those of hosts of this listener, under this policy.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenedFor {
    /// Hosts of the listener.
    pub hostname: HostPattern,
    /// What was asked of the client.
    pub client_auth: Option<ClientAuth>,
}

impl OpenedFor {
    /// Whether requests of a listener may come this way.
    pub fn fits(&self, listener: &Listener) -> bool {
        let policy = listener.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
        self.hostname == listener.hostname && self.client_auth.as_ref() == policy
    }
}

/// Configurations by what they are made of: equal ones outlive tables, and with them their session tickets.
#[derive(Default)]
pub struct TlsCache {
    kept: HashMap<CacheKey, Arc<ServerConfig>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct CacheKey {
    listener: ListenerName,
    chains: Vec<String>,
    authorities: Vec<String>,
    insecure_fallback: bool,
}

/// An accepted TLS connection.
pub struct Accepted {
    /// The stream, after the handshake.
    pub stream: TlsStream<TcpStream>,
    /// What it was opened for.
    pub opened_for: Arc<OpenedFor>,
}

impl TlsTable {
    /// Whether a port speaks TLS.
    pub fn has(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    /// The configuration for a server name: the most specific listener of the port; without a name one for any host.
    fn config_for(&self, port: u16, name: Option<&HostName>) -> Option<(Arc<ServerConfig>, Arc<OpenedFor>)> {
        let entries = self.ports.get(&port)?;
        let fits = |entry: &&Entry| match name {
            Some(name) => entry.opened_for.hostname.matches(name),
            None => true,
        };
        let best = entries.iter().filter(fits).max_by_key(|entry| match name {
            Some(_) => headgate_config::HostRank::of(&entry.opened_for.hostname),
            // Without a name nothing says which host is meant: the least specific listener is the one that may serve it.
            None => headgate_config::HostRank::Any.max(match entry.opened_for.hostname {
                HostPattern::Any => headgate_config::HostRank::Exact(usize::MAX),
                _ => headgate_config::HostRank::Any,
            }),
        })?;
        Some((best.config.clone(), best.opened_for.clone()))
    }

    /// Compiles the HTTPS listeners of a Snapshot. A listener without a usable certificate is left out and named.
    pub fn compile(
        snapshot: &Snapshot,
        certificates: &BTreeMap<CertificateName, Certificate>,
        cache: &mut TlsCache,
    ) -> (Self, Vec<(ListenerName, String)>) {
        let mut table = Self::default();
        let mut problems = Vec::new();
        let mut kept = HashMap::new();
        for listener in snapshot.listeners.values().filter(|l| l.protocol == Protocol::Https) {
            let entries = table.ports.entry(listener.port).or_default();
            match config_of(listener, certificates, cache) {
                Ok((key, config)) => {
                    kept.insert(key, config.clone());
                    entries.push(Entry {
                        listener: listener.name.clone(),
                        opened_for: Arc::new(OpenedFor {
                            hostname: listener.hostname.clone(),
                            client_auth: listener.tls.as_ref().and_then(|tls| tls.client_auth.clone()),
                        }),
                        config,
                    });
                }
                Err(problem) => problems.push((listener.name.clone(), problem)),
            }
        }
        table.ports.values_mut().for_each(|entries| entries.sort_by(|a, b| a.listener.cmp(&b.listener)));
        cache.kept = kept;
        (table, problems)
    }
}

/// Does the handshake of a client; `None` where it fails, after the alert that says why.
pub async fn accept(core: &Core, socket: TcpStream, port: u16) -> Option<Accepted> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await.ok()?;
    let name: Option<HostName> = start.client_hello().server_name().and_then(|name| name.parse().ok());
    let (config, opened_for) = core.with_active(|active| active.tls.config_for(port, name.as_ref()))?;
    let stream = start.into_stream(config).await.ok()?;
    Some(Accepted { stream, opened_for })
}

fn config_of(
    listener: &Listener,
    certificates: &BTreeMap<CertificateName, Certificate>,
    cache: &TlsCache,
) -> Result<(CacheKey, Arc<ServerConfig>), String> {
    let tls = listener.tls.as_ref().ok_or("no tls section")?;
    let found: Vec<&Certificate> = tls.certificates.iter().filter_map(|name| certificates.get(name)).collect();
    let auth = tls.client_auth.as_ref();
    let key = CacheKey {
        listener: listener.name.clone(),
        chains: found.iter().map(|c| c.chain.clone()).collect(),
        authorities: auth.map(|a| a.authorities.clone()).unwrap_or_default(),
        insecure_fallback: auth.is_some_and(|a| a.insecure_fallback),
    };
    if let Some(config) = cache.kept.get(&key) {
        return Ok((key, config.clone()));
    }
    let keys = found.iter().map(|c| certified_key(c)).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err("no usable certificate".into());
    }
    let builder = ServerConfig::builder();
    let builder = match auth {
        Some(auth) => builder.with_client_cert_verifier(verifier(&auth.authorities, auth.insecure_fallback)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName(keys)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
    config.send_tls13_tickets = 2;
    Ok((key, Arc::new(config)))
}

pub fn certified_key(certificate: &Certificate) -> Result<Arc<CertifiedKey>, String> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("certificate {}: {error}", certificate.name))?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.reveal().as_bytes())
        .map_err(|_| format!("certificate {}: its key is no PEM private key", certificate.name))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)
        .map_err(|_| format!("certificate {}: its key is of an unsupported type", certificate.name))?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| format!("certificate {}: {error}", certificate.name))?;
    Ok(Arc::new(certified))
}

fn verifier(authorities: &[String], insecure_fallback: bool) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = Arc::new(roots_of(authorities)?);
    if insecure_fallback {
        return Ok(Arc::new(crate::backend_tls::AcceptAnyClient::new()));
    }
    WebPkiClientVerifier::builder(roots).build().map(|v| v as Arc<dyn ClientCertVerifier>).map_err(|e| e.to_string())
}

/// The certificates of PEM texts as a store of roots.
pub fn roots_of(pems: &[String]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for pem in pems {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("authority: {error}"))?;
            roots.add(certificate).map_err(|error| format!("authority: {error}"))?;
        }
    }
    if roots.is_empty() { Err("no certificate in the authority's PEM".into()) } else { Ok(roots) }
}

/// Chooses among a listener's certificates: the first whose names fit, otherwise the first.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| {
            let name = hello.server_name().and_then(|name| rustls_pki_types::ServerName::try_from(name).ok());
            let leaf = key.end_entity_cert().ok().and_then(|der| rustls::server::ParsedCertificate::try_from(der).ok());
            matches!((name, leaf), (Some(name), Some(leaf)) if rustls::client::verify_server_name(&leaf, &name).is_ok())
        };
        self.0.iter().find(fits).or(self.0.first()).cloned()
    }
}
