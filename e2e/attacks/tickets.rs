//! T3: tickets of TLS sessions, offered where they were not issued. One is good at its own listener under its own policy, and nowhere else: nobody gets around a certificate that is asked for.

use crate::rig::free_port;
use headgate_e2e::{Authority, Headgate, Origin, Script, Wire, backend, rules, until};
use rustls::{
    ClientConfig, HandshakeKind, NamedGroup, SupportedProtocolVersion,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Offers what one server gave to all others, as no honest client does.
#[derive(Debug)]
struct Anywhere(ClientSessionMemoryCache);

fn anywhere() -> ServerName<'static> {
    ServerName::try_from("anywhere.example").unwrap()
}

impl ClientSessionStore for Anywhere {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(anywhere(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&anywhere())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(anywhere(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&anywhere())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&anywhere());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(anywhere(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&anywhere())
    }
}

struct Client(TlsConnector);

type Version = &'static SupportedProtocolVersion;

impl Client {
    /// One without a certificate, or with one of `known`.
    fn new(server: &Authority, version: Version, known: Option<&Authority>) -> Self {
        let builder = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(server.roots());
        let mut config = match known {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let (chain, key) = authority.issue(&["client.example"]);
                let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.resumption = Resumption::store(Arc::new(Anywhere(ClientSessionMemoryCache::new(8))));
        Self(Arc::new(config).into())
    }

    /// One request, and whether its session was resumed; `None` if it was not served.
    async fn visit(&self, to: SocketAddr, host: &str) -> Option<HandshakeKind> {
        let socket = TcpStream::connect(to).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = headgate_e2e::within("a handshake", self.0.connect(name, socket)).await.ok()?;
        let kind = stream.get_ref().1.handshake_kind();
        let mut wire = Wire::over(stream);
        wire.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let answer = wire.try_answer(false).await.ok()?;
        // a connection of the policy before is no longer served under the new one
        if answer.status == 200 { kind } else { None }
    }
}

const ONE: &str = "one.example";
const TWO: &str = "two.example";

/// Two listeners on a port, and one of the first name on another; the ports that are named ask for certificates.
fn gateway([open, closed]: [u16; 2], asking: &[u16]) -> String {
    let asked: String = asking
        .iter()
        .map(|port| {
            format!(
                "      - {{port: {port}, tls: {{validation: {{caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: clients}}]}}}}}}\n"
            )
        })
        .collect();
    let listener = |name: &str, port: u16, host: &str| {
        format!(
            "  - {{name: {name}, port: {port}, protocol: HTTPS, hostname: {host}, tls: {{certificateRefs: [{{name: app}}]}}}}\n"
        )
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: edge\nspec:\n  gatewayClassName: any\n  \
         tls:\n    frontend:\n      default: {{}}\n      perPort:\n{asked}  listeners:\n{}{}{}",
        listener("one", open, ONE),
        listener("two", open, TWO),
        listener("closed", closed, ONE)
    )
}

fn route(name: &str, host: &str) -> String {
    crate::rig::attached(&rules(name, host, "  - backendRefs: [{name: app, port: 80}]\n"))
}

/// CVE-2025-23419: a ticket opens nothing but what it was issued for: another listener shakes hands anew, and one that asks for a certificate gets it.
#[tokio::test]
async fn a_ticket_is_good_where_it_was_issued_only() {
    let (server, clients, strangers) = (Authority::default(), Authority::default(), Authority::default());
    let origin = Origin::start(|_| Script::ok("ok")).await;
    let ports = [free_port(), free_port()];
    let [open, closed] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("edge.yaml", gateway(ports, &ports[1..])),
        ("one.yaml", route("one", ONE)),
        ("two.yaml", route("two", TWO)),
        ("secret.yaml", server.secret("app", &[ONE, TWO])),
        ("clients.yaml", clients.config_map("clients")),
    ];
    let headgate = Headgate::run(&files).await;
    let (full, resumed) = (Some(HandshakeKind::Full), Some(HandshakeKind::Resumed));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        headgate.save("edge.yaml", &gateway(ports, &ports[1..]));
        headgate.save("clients.yaml", &clients.config_map("clients"));
        let fresh = |known: Option<&Authority>| Client::new(&server, version, known);
        until("the routes of the start", async || {
            fresh(None).visit(open, ONE).await == full && fresh(Some(&clients)).visit(closed, ONE).await == full
        })
        .await;

        // the means of this test work: a ticket is used where it was issued
        let client = fresh(None);
        assert_eq!([client.visit(open, ONE).await, client.visit(open, ONE).await], [full, resumed], "{version:?}");
        let known = fresh(Some(&clients));
        assert_eq!([known.visit(closed, ONE).await, known.visit(closed, ONE).await], [full, resumed], "{version:?}");

        let client = fresh(None);
        assert_eq!([client.visit(open, ONE).await, client.visit(open, TWO).await], [full, full], "{version:?}");
        let client = fresh(None);
        assert_eq!([client.visit(open, ONE).await, client.visit(closed, ONE).await], [full, None], "{version:?}");
        let client = fresh(None);
        assert_eq!([client.visit(open, TWO).await, client.visit(closed, ONE).await], [full, None], "{version:?}");
        let known = fresh(Some(&clients));
        assert_eq!([known.visit(closed, ONE).await, known.visit(open, ONE).await], [full, full], "{version:?}");

        // what is asked for changes while a ticket is out
        let (before, known_before) = (fresh(None), fresh(Some(&clients)));
        assert_eq!([before.visit(open, ONE).await, known_before.visit(closed, ONE).await], [full, full]);
        headgate.save("edge.yaml", &gateway(ports, &ports));
        headgate.save("clients.yaml", &strangers.config_map("clients"));
        until("the new policy", async || {
            fresh(None).visit(open, ONE).await.is_none() && fresh(Some(&strangers)).visit(closed, ONE).await == full
        })
        .await;
        assert_eq!([before.visit(open, ONE).await, known_before.visit(closed, ONE).await], [None, None], "{version:?}");
    }
    headgate.stop().await;
}
