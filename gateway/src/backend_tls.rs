//! TLS to endpoints by BackendTLSPolicy: what is verified, and with which name. A broken policy is never answered with plain text.

use crate::listen::tls::{certified_key, roots_of};
use headgate_config::{BackendProtocol, BackendTls, Certificate, CertificateName, Snapshot, Trust};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::{WebPkiSupportedAlgorithms, ring},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::BuildHasher,
    sync::Arc,
};

/// How to speak TLS to the endpoints of a backend.
pub struct EndpointTls {
    /// What rustls needs.
    pub config: Arc<ClientConfig>,
    /// SNI, and the name that is verified unless the policy names others.
    pub name: ServerName<'static>,
}

impl EndpointTls {
    /// Compiles a policy, with what is shown to an endpoint that asks; the error is what an operator reads.
    pub fn compile(tls: &BackendTls, protocol: BackendProtocol, shown: Option<&CertifiedKey>) -> Result<Self, String> {
        let roots = match &tls.trust {
            Trust::Pem(pems) => roots_of(pems)?,
            Trust::System => system_roots(),
            Trust::Invalid(reason) => return Err(reason.clone()),
        };
        let name =
            ServerName::try_from(tls.hostname.clone()).map_err(|_| format!("{:?} is no server name", tls.hostname))?;
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider)
            .build()
            .map_err(|error| error.to_string())?;
        let names = tls.names.clone();
        let verifier: Arc<dyn ServerCertVerifier> =
            if names.is_empty() { verifier } else { Arc::new(AnyNameOf { names, roots, inner: verifier }) };
        let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match shown {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone()))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match protocol {
            BackendProtocol::Http1 => vec![b"http/1.1".to_vec()],
            BackendProtocol::Http2 => vec![b"h2".to_vec()],
            BackendProtocol::Opaque => Vec::new(),
        };
        Ok(Self { config: Arc::new(config), name })
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// The certificates that are shown to endpoints, by name.
#[derive(Default)]
pub struct Identities(HashMap<CertificateName, Identity>);

#[derive(Clone)]
struct Identity {
    key: Arc<CertifiedKey>,
    /// What the key was made of, in PEM: one key fits a chain.
    chain: String,
    /// Tells this chain from others.
    mark: u64,
}

impl Identities {
    /// Those that listeners and Backends name. One that cannot be used is left out and told: connections that need it fail.
    pub fn compile(
        snapshot: &Snapshot,
        certificates: &BTreeMap<CertificateName, Certificate>,
        before: &Self,
    ) -> (Self, Vec<String>) {
        let of_listeners = snapshot.listeners.values().filter_map(|one| one.backend_certificate.as_ref());
        let of_backends = snapshot.backends.values().filter_map(|one| one.certificate());
        let names: BTreeSet<_> = of_listeners.chain(of_backends).collect();
        let (mut made, mut problems) = (Self::default(), Vec::new());
        for name in names {
            let found = certificates.get(name).ok_or_else(|| "has not come".to_owned());
            match found.and_then(|certificate| Identity::of(certificate, before.0.get(name))) {
                Ok(identity) => drop(made.0.insert(name.clone(), identity)),
                Err(why) => problems.push(format!("the certificate {name} for endpoints: {why}")),
            }
        }
        (made, problems)
    }

    /// One of them.
    pub fn get(&self, name: &CertificateName) -> Result<Arc<CertifiedKey>, String> {
        let found = self.0.get(name).map(|one| one.key.clone());
        found.ok_or_else(|| format!("the certificate {name} that is to be shown cannot be used"))
    }

    /// Tells what is shown under a name from what was shown before.
    pub fn mark(&self, name: &CertificateName) -> u64 {
        self.0.get(name).map_or(0, |one| one.mark)
    }
}

impl Identity {
    fn of(certificate: &Certificate, before: Option<&Self>) -> Result<Self, String> {
        if let Some(same) = before.filter(|before| before.chain == certificate.chain) {
            return Ok(same.clone());
        }
        let (key, chain) = (certified_key(certificate)?, certificate.chain.clone());
        let mark = foldhash::fast::FixedState::default().hash_one(&chain);
        Ok(Self { key, chain, mark })
    }
}

/// Verifies the chain as usual, but that the leaf carries one of several names (`subjectAltNames`, host names and URIs) instead of the
/// SNI. Source: Gateway API v1.7.0, BackendTLSPolicyValidation.
#[derive(Debug)]
struct AnyNameOf {
    names: Vec<String>,
    roots: Arc<RootCertStore>,
    inner: Arc<WebPkiServerVerifier>,
}

/// Whether a leaf carries a name: a URI, the same to the letter, or a host name. A host name has no colon.
fn carries(leaf: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>, name: &str) -> bool {
    if name.contains(':') {
        return webpki::EndEntityCert::try_from(leaf).is_ok_and(|leaf| leaf.valid_uri_names().any(|uri| uri == name));
    }
    ServerName::try_from(name).is_ok_and(|name| verify_server_name(parsed, &name).is_ok())
}

impl ServerCertVerifier for AnyNameOf {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _sni: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms.all)?;
        if self.names.iter().any(|name| carries(leaf, &parsed, name)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("the certificate carries none of the policy's subjectAltNames".into()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Asks clients for a certificate and takes whatever comes (AllowInsecureFallback of Gateway API); signatures are still checked.
#[derive(Debug)]
pub struct AcceptAnyClient(WebPkiSupportedAlgorithms);

impl AcceptAnyClient {
    /// The verifier.
    pub fn new() -> Self {
        Self(ring::default_provider().signature_verification_algorithms)
    }
}

impl ClientCertVerifier for AcceptAnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
