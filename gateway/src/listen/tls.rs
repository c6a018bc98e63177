//! TLS of listeners: which certificate and client policy a server name gets. Keys live here only, and are never printed.

use crate::{core::Core, exchange::Fault, failure::Failure};
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
use tokio_rustls::{StartHandshake, server::TlsStream};

/// The TLS of all ports of one version of the routes.
#[derive(Default)]
pub struct TlsTable {
    ports: HashMap<u16, Vec<Entry>>,
}

struct Entry {
    listener: ListenerName,
    /// Whether it ends TLS for requests, and not for what is passed on.
    is_http: bool,
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
    is_http: bool,
}

/// What becomes of a TLS connection.
pub enum Way {
    /// TLS ends here, for requests.
    Requests(Arc<ServerConfig>, Arc<OpenedFor>),
    /// TLS ends here, and what was in it is passed on.
    Ended(Arc<ServerConfig>),
    /// It is passed on as it came.
    Through,
}

impl TlsTable {
    /// The configuration of a listener that ends TLS for what is passed on.
    fn config_of(&self, port: u16, hostname: &HostPattern) -> Option<Arc<ServerConfig>> {
        let mut entries = self.ports.get(&port)?.iter();
        entries
            .find(|entry| !entry.is_http && entry.opened_for.hostname == *hostname)
            .map(|entry| Arc::clone(&entry.config))
    }

    /// The configuration of a listener of HTTPS for a server name: the most specific listener of the port; without a name one for any host.
    fn config_for(&self, port: u16, name: Option<&HostName>) -> Option<(Arc<ServerConfig>, Arc<OpenedFor>)> {
        let entries = self.ports.get(&port)?;
        let fits = |entry: &&Entry| match name {
            Some(name) => entry.opened_for.hostname.matches(name),
            None => true,
        };
        let of_http = entries.iter().filter(|entry| entry.is_http);
        let best = of_http.filter(fits).max_by_key(|entry| match name {
            Some(_) => headgate_config::HostRank::of(&entry.opened_for.hostname),
            // Without a name nothing says which host is meant: the least specific listener is the one that may serve it.
            None => headgate_config::HostRank::Any.max(match entry.opened_for.hostname {
                HostPattern::Any => headgate_config::HostRank::Exact(usize::MAX),
                _ => headgate_config::HostRank::Any,
            }),
        })?;
        Some((best.config.clone(), best.opened_for.clone()))
    }

    /// Compiles the listeners of a Snapshot that end TLS. A listener without a usable certificate is left out and named.
    pub fn compile(
        snapshot: &Snapshot,
        certificates: &BTreeMap<CertificateName, Certificate>,
        cache: &mut TlsCache,
    ) -> (Self, Vec<(ListenerName, String)>) {
        let mut table = Self::default();
        let mut problems = Vec::new();
        let mut kept = HashMap::new();
        let ends_tls =
            |l: &&Listener| l.protocol == Protocol::Https || (l.protocol == Protocol::Tls && l.tls.is_some());
        for listener in snapshot.listeners.values().filter(ends_tls) {
            let entries = table.ports.entry(listener.port).or_default();
            match config_of(listener, certificates, cache) {
                Ok((key, config)) => {
                    kept.insert(key, config.clone());
                    entries.push(Entry {
                        listener: listener.name.clone(),
                        is_http: listener.protocol.is_http(),
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

/// What becomes of a connection for a server name: the most specific listener of the port decides.
///
/// # Errors
/// `NoServerName` where only a name could tell, `NoListener` where nothing is served under it.
pub fn way(core: &Core, port: u16, name: Option<&HostName>) -> Result<Way, Failure> {
    core.with_active(|active| {
        let listener = active.table.listener_for(port, name.map_or("", HostName::as_str));
        let of_transport = listener.filter(|listener| !listener.protocol.is_http());
        let refused = if name.is_none() { Failure::NoServerName } else { Failure::NoListener };
        match of_transport {
            // rules of TLSRoutes are found by the name
            Some(_) if name.is_none() => Err(refused),
            Some(listener) if listener.passes_tls_through() => Ok(Way::Through),
            Some(listener) => active.tls.config_of(port, &listener.hostname).map(Way::Ended).ok_or(refused),
            None => {
                let found = active.tls.config_for(port, name);
                found.map(|(config, opened_for)| Way::Requests(config, opened_for)).ok_or(refused)
            }
        }
    })
}

/// Does the handshake of a client that has said hello.
///
/// # Errors
/// `TlsRefused`, after the alert that says why.
pub async fn shake_hands(
    accepted: rustls::server::Accepted,
    socket: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<TlsStream<TcpStream>, Fault> {
    let start = StartHandshake::from_parts(accepted, socket);
    start.into_stream(config).await.map_err(|error| Fault::new(Failure::TlsRefused, error.to_string()))
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
        is_http: listener.protocol.is_http(),
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
    // what is passed on speaks whatever both ends agree on without us
    if listener.protocol.is_http() {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
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
