//! A certificate authority for one test: certificates as PEM for manifests, and both ends of TLS. Its keys are worth nothing.

use crate::{wire::Stream, within};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

/// An authority that a test trusts.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }
}

impl Authority {
    /// Its certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// What a client has that trusts nobody else.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// A certificate for names, and its key.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A Secret with a certificate for names.
    pub fn secret(&self, name: &str, names: &[&str]) -> String {
        secret(name, &self.issue(names))
    }

    /// A ConfigMap with its own certificate, for a BackendTLSPolicy.
    pub fn config_map(&self, name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  ca.crt: |\n{}",
            indented(&self.pem())
        )
    }

    /// A ClusterTrustBundle with its own certificate.
    pub fn trust_bundle(&self, name: &str) -> String {
        format!(
            "apiVersion: certificates.k8s.io/v1beta1\nkind: ClusterTrustBundle\nmetadata:\n  name: {name}\nspec:\n  trustBundle: |\n{}",
            indented(&self.pem())
        )
    }

    /// Accepts TLS with a certificate for names.
    pub fn acceptor(&self, names: &[&str], alpn: &[&str]) -> TlsAcceptor {
        let (certificate, key) = self.issue(names);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config).into()
    }

    /// The same, and refuses clients without a certificate of this authority.
    pub fn acceptor_for_known(&self, names: &[&str]) -> TlsAcceptor {
        self.acceptor_that_notes(names).0
    }

    /// The same, and notes what each client shows.
    pub fn acceptor_that_notes(&self, names: &[&str]) -> (TlsAcceptor, Shown) {
        let (certificate, key) = self.issue(names);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let shown = Shown::default();
        let inner = WebPkiClientVerifier::builder(Arc::new(self.roots())).build().unwrap();
        let builder =
            ServerConfig::builder().with_client_cert_verifier(Arc::new(Noting { inner, shown: shown.clone() }));
        (Arc::new(builder.with_single_cert(chain, key).unwrap()).into(), shown)
    }

    /// Connects with TLS and trusts nobody else.
    pub async fn connect(&self, to: SocketAddr, name: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = within("connecting", TcpStream::connect(to)).await?;
        self.shake_hands(socket, name, alpn).await
    }

    /// The same on a stream that is open already.
    pub async fn shake_hands<S: Stream>(&self, stream: S, name: &str, alpn: &[&str]) -> std::io::Result<TlsStream<S>> {
        let mut config = ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        within("the TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    /// Connects with TLS, and shows a certificate with its key. Whether that is taken shows the first thing that is read.
    pub async fn connect_as(
        &self,
        to: SocketAddr,
        name: &str,
        shown: &(String, String),
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = within("connecting", TcpStream::connect(to)).await?;
        let chain = vec![CertificateDer::from_pem_slice(shown.0.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(shown.1.as_bytes()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(self.roots());
        let config = config.with_client_auth_cert(chain, key).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        within("the TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, socket)).await
    }
}

/// A Secret with a certificate and its key.
pub fn secret(name: &str, (certificate, key): &(String, String)) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(certificate),
        indented(key)
    )
}

/// The certificates that clients showed, one for each handshake.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<Vec<CertificateDer<'static>>>>);

impl Shown {
    /// How often a certificate was, in PEM.
    pub fn count(&self, certificate: &str) -> usize {
        let wanted = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        self.0.lock().unwrap().iter().filter(|one| **one == wanted).count()
    }
}

#[derive(Debug)]
struct Noting {
    inner: Arc<dyn ClientCertVerifier>,
    shown: Shown,
}

impl ClientCertVerifier for Noting {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.shown.0.lock().unwrap().push(leaf.clone().into_owned());
        self.inner.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("    {line}\n")).collect()
}
