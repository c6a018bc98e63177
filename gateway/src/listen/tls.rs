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
    ports: HashMap<u16, Ends>,
}

/// Where TLS ends on a port.
#[derive(Default)]
struct Ends {
    /// By the hostname of the listener; the first of those with the same one, as they are one to clients.
    requests: HashMap<HostPattern, Entry>,
    /// The same of what is passed on.
    passed: HashMap<HostPattern, Arc<ServerConfig>>,
    has_wildcards: bool,
    /// For a client that gives no name: nothing says which host it means, so the listener of every host is the one that may serve it,
    /// else the last by name.
    nameless: Option<Entry>,
}

#[derive(Clone)]
struct Entry {
    opened_for: Arc<OpenedFor>,
    config: Arc<ServerConfig>,
}

/// Which requests a TLS connection may carry: those of hosts of this listener, under its policy.
#[derive(Debug)]
pub struct OpenedFor(Arc<Listener>);

impl OpenedFor {
    /// Whether requests of a listener may come this way.
    pub fn fits(&self, listener: &Arc<Listener>) -> bool {
        fn policy(listener: &Listener) -> Option<&ClientAuth> {
            listener.tls.as_ref()?.client_auth.as_ref()
        }
        Arc::ptr_eq(&self.0, listener) || self.0.hostname == listener.hostname && policy(&self.0) == policy(listener)
    }
}

/// What tables of TLS are made of: what is equal outlives them, and with configurations their session tickets.
#[derive(Default)]
pub struct TlsCache {
    kept: HashMap<ListenerName, Kept>,
    keys: HashMap<CertificateName, Key>,
}

/// A certificate as it was given, and as it is used.
struct Key {
    given: Certificate,
    made: Result<Arc<CertifiedKey>, String>,
}

/// A configuration, and what it is made of.
#[derive(Clone)]
struct Kept {
    is_http: bool,
    client_auth: Option<ClientAuth>,
    keys: Box<[Arc<CertifiedKey>]>,
    config: Arc<ServerConfig>,
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
        self.ports.get(&port)?.passed.get(hostname).cloned()
    }

    /// The configuration of a listener of HTTPS for a server name: the most specific listener of the port; without a name one for any host.
    fn config_for(&self, port: u16, name: Option<&HostName>) -> Option<(Arc<ServerConfig>, Arc<OpenedFor>)> {
        let ends = self.ports.get(&port)?;
        let best = match name {
            Some(name) => ends.for_name(name)?,
            None => ends.nameless.as_ref()?,
        };
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
        cache.keys.retain(|name, key| certificates.get(name) == Some(&key.given));
        let ends_tls =
            |l: &&Arc<Listener>| l.protocol == Protocol::Https || (l.protocol == Protocol::Tls && l.tls.is_some());
        for listener in snapshot.listeners.values().filter(ends_tls) {
            let ends = table.ports.entry(listener.port).or_default();
            match kept_of(listener, certificates, cache) {
                Ok(made) => {
                    ends.take(listener, made.config.clone());
                    kept.insert(listener.name.clone(), made);
                }
                Err(problem) => problems.push((listener.name.clone(), problem)),
            }
        }
        cache.kept = kept;
        (table, problems)
    }
}

impl Ends {
    /// Takes the next listener by name.
    fn take(&mut self, listener: &Arc<Listener>, config: Arc<ServerConfig>) {
        let hostname = &listener.hostname;
        if !listener.protocol.is_http() {
            self.passed.entry(hostname.clone()).or_insert(config);
            return;
        }
        let has_any = self.requests.contains_key(&HostPattern::Any);
        let entry = Entry { opened_for: Arc::new(OpenedFor(listener.clone())), config };
        let entry = self.requests.entry(hostname.clone()).or_insert(entry);
        if *hostname == HostPattern::Any || !has_any {
            self.nameless = Some(entry.clone());
        }
        self.has_wildcards |= matches!(hostname, HostPattern::Wildcard(_));
    }

    /// The most specific one.
    fn for_name(&self, name: &HostName) -> Option<&Entry> {
        let text = name.as_str();
        let with_wildcards = self.has_wildcards && !name.is_address();
        let suffixes =
            text.match_indices('.').take_while(|_| with_wildcards).filter_map(|(at, _)| text[at + 1..].parse().ok());
        let exact = self.requests.get(&HostPattern::Exact(name.clone()));
        let wildcard = || suffixes.map(HostPattern::Wildcard).find_map(|pattern| self.requests.get(&pattern));
        exact.or_else(wildcard).or_else(|| self.requests.get(&HostPattern::Any))
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

/// The configuration of a listener, the one before where it would be the same.
fn kept_of(
    listener: &Listener,
    certificates: &BTreeMap<CertificateName, Certificate>,
    cache: &mut TlsCache,
) -> Result<Kept, String> {
    let tls = listener.tls.as_ref().ok_or("no tls section")?;
    let found = tls.certificates.iter().filter_map(|name| certificates.get(name));
    let keys = found.map(|certificate| cache.key(certificate)).collect::<Result<Box<[_]>, _>>()?;
    let is_http = listener.protocol.is_http();
    let is_same = |kept: &&Kept| {
        kept.is_http == is_http
            && kept.client_auth == tls.client_auth
            && kept.keys.iter().map(Arc::as_ptr).eq(keys.iter().map(Arc::as_ptr))
    };
    if let Some(kept) = cache.kept.get(&listener.name).filter(is_same) {
        return Ok(kept.clone());
    }
    if keys.is_empty() {
        return Err("no usable certificate".into());
    }
    let config = Arc::new(config_of(is_http, tls.client_auth.as_ref(), keys.to_vec())?);
    Ok(Kept { is_http, client_auth: tls.client_auth.clone(), keys, config })
}

impl TlsCache {
    fn key(&mut self, certificate: &Certificate) -> Result<Arc<CertifiedKey>, String> {
        let made = || Key { given: certificate.clone(), made: certified_key(certificate) };
        self.keys.entry(certificate.name.clone()).or_insert_with(made).made.clone()
    }
}

fn config_of(is_http: bool, auth: Option<&ClientAuth>, keys: Vec<Arc<CertifiedKey>>) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder();
    let builder = match auth {
        Some(auth) => builder.with_client_cert_verifier(verifier(&auth.authorities, auth.insecure_fallback)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName(keys)));
    // what is passed on speaks whatever both ends agree on without us
    if is_http {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
    config.send_tls13_tickets = 2;
    Ok(config)
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
