//! TLS on both sides: names choose certificates, ALPN chooses the protocol, a connection serves its own host only, and nothing is ever sent in plain instead.

use headgate_e2e::{Authority, H2, Headgate, Origin, Script, Wire, backend, rules};
use std::net::{SocketAddr, TcpListener};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A Gateway with an HTTPS listener for each of two hosts.
fn gateway(port: u16) -> String {
    let listener = |name: &str| {
        format!(
            "  - name: {name}\n    port: {port}\n    protocol: HTTPS\n    hostname: {name}.example\n    \
             tls: {{certificateRefs: [{{name: {name}}}]}}\n"
        )
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: edge\nspec:\n  gatewayClassName: headgate\n  \
         listeners:\n{}{}",
        listener("one"),
        listener("two")
    )
}

fn attached(name: &str) -> String {
    rules(name, &format!("{name}.example"), "  - backendRefs: [{name: app, port: 80}]\n")
        .replace("spec:\n", "spec:\n  parentRefs: [{name: edge}]\n")
}

#[tokio::test]
async fn a_listener_chooses_its_certificate_by_name_and_its_protocol_by_alpn() {
    let authority = Authority::default();
    let origin = Origin::start(|request| Script::ok(request.field("x-forwarded-proto").unwrap_or("none"))).await;
    let port = free_port();
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("gateway.yaml", gateway(port)),
        ("one.yaml", attached("one")),
        ("two.yaml", attached("two")),
        ("secret-one.yaml", authority.secret("one", &["one.example"])),
        ("secret-two.yaml", authority.secret("two", &["two.example"])),
    ];
    let headgate = Headgate::run(&files).await;
    let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for name in ["one.example", "two.example"] {
        // the client checks the certificate against the name
        let stream = authority.connect(at(port), name, &["http/1.1"]).await.unwrap();
        let mut wire = Wire::over(stream);
        let answer = wire.ask(get(name)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "https"));

        let stream = authority.connect(at(port), name, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let client = H2::over(stream).await;
        let request = http::Request::get(format!("https://{name}/")).body(()).unwrap();
        assert_eq!(client.call(request, "").await.unwrap().status, 200);
    }
    // a connection for one host must not carry requests for the other
    let mut wire = Wire::over(authority.connect(at(port), "one.example", &[]).await.unwrap());
    let answer = wire.ask(get("two.example")).await;
    assert_eq!((answer.status, answer.failure()), (421, Some("misdirected")));
    assert!(authority.connect(at(port), "three.example", &[]).await.is_err(), "no listener has this name");

    // a new certificate is used by the next connection
    let (before, mut kept) = (port, Wire::over(authority.connect(at(port), "one.example", &[]).await.unwrap()));
    let other = Authority::default();
    headgate.save("secret-one.yaml", &other.secret("one", &["one.example"]));
    headgate_e2e::until("the new certificate", async || other.connect(at(before), "one.example", &[]).await.is_ok())
        .await;
    assert_eq!(kept.ask(get("one.example")).await.status, 200, "connections outlive their certificate");
    assert!(authority.connect(at(port), "two.example", &[]).await.is_ok());

    // one that is of no use is named, and the one before stays
    let of_other = other.secret("one", &["one.example"]);
    let (head, key) = of_other.split_once("  tls.key").unwrap();
    let mixed = authority.secret("one", &["one.example"]);
    let mixed = format!("{}  tls.key{key}", mixed.split_once("  tls.key").unwrap().0);
    for (secret, fault) in [
        (format!("{head}  tls.key: nothing\n"), "holds no private key in PEM"),
        (mixed, "is not the key of the certificate"),
    ] {
        headgate.save("secret-one.yaml", &secret);
        headgate.printed(fault).await;
        headgate.printed("the version before it is served on").await;
        let mut wire = Wire::over(other.connect(at(port), "one.example", &[]).await.unwrap());
        assert_eq!(wire.ask(get("one.example")).await.status, 200);
        headgate.forget();
    }
    // one that is gone is not
    std::fs::remove_file(headgate.files.join("secret-one.yaml")).unwrap();
    headgate_e2e::until("no certificate", async || other.connect(at(port), "one.example", &[]).await.is_err()).await;
    headgate.stop().await;
}

#[tokio::test]
async fn plain_http_at_a_tls_port_and_noise_end_cleanly() {
    let authority = Authority::default();
    let origin = Origin::start(|_| Script::ok("ok")).await;
    let port = free_port();
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("gateway.yaml", gateway(port)),
        ("one.yaml", attached("one")),
        ("secret-one.yaml", authority.secret("one", &["one.example"])),
        ("secret-two.yaml", authority.secret("two", &["two.example"])),
    ];
    let headgate = Headgate::run(&files).await;
    for bytes in [&b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"\0\0\0\0\0\0\0\0"] {
        let mut wire = Wire::open(at(port)).await;
        wire.send(bytes).await;
        if bytes[0] == 0x16 {
            continue; // a record that never ends is left to its time limit
        }
        let rest = wire.rest().await;
        assert!(!rest.starts_with(b"HTTP"), "nothing is served in plain here");
    }
    let mut wire = Wire::over(authority.connect(at(port), "one.example", &[]).await.unwrap());
    assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n").await.status, 200);
    headgate.stop().await;
}

#[tokio::test]
async fn a_client_that_has_not_said_hello_does_not_hold_the_end() {
    let authority = Authority::default();
    let port = free_port();
    let files = [
        ("gateway.yaml", gateway(port)),
        ("secret-one.yaml", authority.secret("one", &["one.example"])),
        ("secret-two.yaml", authority.secret("two", &["two.example"])),
    ];
    let mut headgate = Headgate::run_with(&["--drain-grace", "10m", "--tls-handshake", "10m"], &files).await;
    let mut wire = Wire::open(at(port)).await;
    headgate_e2e::until("its connection", async || headgate.metric("headgate_connections_open", "").await >= 1.0).await;
    headgate.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(wire.rest().await, b"");
    assert!(headgate.exit().await.success());
}

const POLICY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata:\n  name: app\nspec:\n  \
                      targetRefs: [{group: \"\", kind: Service, name: app}]\n  validation:\n    hostname: inner.example\n    \
                      caCertificateRefs: [{group: \"\", kind: ConfigMap, name: ca}]\n";

#[tokio::test]
async fn a_backend_with_a_policy_is_spoken_to_in_tls_only_and_verified() {
    let (authority, stranger) = (Authority::default(), Authority::default());
    let ok = |_: &headgate_e2e::Request| Script::ok("over TLS");
    let right = Origin::start_tls(authority.acceptor(&["inner.example"], &["http/1.1"]), ok).await;
    let wrong_name = Origin::start_tls(authority.acceptor(&["other.example"], &[]), ok).await;
    let wrong_authority = Origin::start_tls(stranger.acceptor(&["inner.example"], &[]), ok).await;
    let plain = Origin::start(ok).await;
    for (origin, expected) in [
        (&right, (200, None)),
        (&wrong_name, (502, Some("upstream_tls"))),
        (&wrong_authority, (502, Some("upstream_tls"))),
    ] {
        let files = [
            ("app.yaml", backend("app", None, &[origin.address])),
            ("route.yaml", rules("app", "app.localhost", "  - backendRefs: [{name: app, port: 80}]\n")),
            ("policy.yaml", POLICY.to_owned()),
            ("ca.yaml", authority.config_map("ca")),
        ];
        let headgate = Headgate::run(&files).await;
        for _ in 0..3 {
            let answer = headgate.get("app.localhost", "/").await;
            assert_eq!((answer.status, answer.failure()), expected, "{}", answer.text());
        }
        assert_eq!(origin.requests().len(), if expected.0 == 200 { 3 } else { 0 });
        headgate.stop().await;
    }
    // no TLS at the other end, or no authority at all: nothing is sent in plain instead
    for config_map in [authority.config_map("ca"), authority.config_map("elsewhere")] {
        let files = [
            ("app.yaml", backend("app", None, &[plain.address])),
            ("route.yaml", rules("app", "app.localhost", "  - backendRefs: [{name: app, port: 80}]\n")),
            ("policy.yaml", POLICY.to_owned()),
            ("ca.yaml", config_map),
        ];
        let headgate = Headgate::run(&files).await;
        let answer = headgate.get("app.localhost", "/").await;
        assert!(answer.status >= 500, "{}", answer.status);
        assert_eq!(plain.complete(), 0);
        headgate.stop().await;
    }
}

const BUNDLE: &str = "example.com:inner:v1";

/// References to it.
fn bundle_refs() -> String {
    format!("caCertificateRefs: [{{group: certificates.k8s.io, kind: ClusterTrustBundle, name: \"{BUNDLE}\"}}]")
}

#[tokio::test]
async fn a_backend_is_verified_by_the_authorities_that_a_bundle_has_now() {
    let (authority, stranger) = (Authority::default(), Authority::default());
    let origin = Origin::start_tls(authority.acceptor(&["inner.example"], &[]), |_| Script::ok("over TLS")).await;
    let policy = POLICY.replace("caCertificateRefs: [{group: \"\", kind: ConfigMap, name: ca}]", &bundle_refs());
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("route.yaml", rules("app", "app.localhost", "  - backendRefs: [{name: app, port: 80}]\n")),
        ("policy.yaml", policy),
        ("bundle.yaml", authority.trust_bundle(BUNDLE)),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.printed(", 0 problems").await;
    let answers = async |status: u16, failure: Option<&str>| {
        let wanted = |answer: &headgate_e2e::Answer| (answer.status, answer.failure()) == (status, failure);
        headgate.serves("app.localhost", "/", wanted).await;
    };
    answers(200, None).await;
    headgate.save("bundle.yaml", &stranger.trust_bundle(BUNDLE));
    answers(502, Some("upstream_tls")).await;
    headgate.save("bundle.yaml", &authority.trust_bundle(BUNDLE));
    answers(200, None).await;
    // none at all is no reason to trust anybody, nor are those that were there before
    for (bundle, why) in [
        (authority.trust_bundle("other"), "does not exist"),
        (authority.trust_bundle(BUNDLE).replace("CERTIFICATE", "NOTHING"), "has no certificate in PEM"),
    ] {
        headgate.save("bundle.yaml", &bundle);
        answers(502, Some("upstream_trust")).await;
        headgate.printed(why).await;
        headgate.save("bundle.yaml", &authority.trust_bundle(BUNDLE));
        answers(200, None).await;
    }
    headgate.stop().await;
}

#[tokio::test]
async fn clients_are_verified_by_the_authorities_that_a_bundle_has_now() {
    let (authority, clients) = (Authority::default(), Authority::default());
    let origin = Origin::start(|_| Script::ok("known")).await;
    let port = free_port();
    let validation = format!("spec:\n  tls: {{frontend: {{default: {{validation: {{{}}}}}}}}}\n", bundle_refs());
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("gateway.yaml", gateway(port).replace("spec:\n", &validation)),
        ("one.yaml", attached("one")),
        ("secret-one.yaml", authority.secret("one", &["one.example"])),
        ("secret-two.yaml", authority.secret("two", &["two.example"])),
        ("bundle.yaml", clients.trust_bundle(BUNDLE)),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.printed(", 0 problems").await;
    let known = clients.issue(&["client.example"]);
    let passes = async || {
        let Ok(stream) = authority.connect_as(at(port), "one.example", &known).await else { return false };
        let mut wire = Wire::over(stream);
        wire.send("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n").await;
        wire.try_answer(false).await.is_ok_and(|answer| answer.status == 200)
    };
    assert!(passes().await);
    headgate.save("bundle.yaml", &Authority::default().trust_bundle(BUNDLE));
    headgate_e2e::until("another authority", async || !passes().await).await;
    headgate.save("bundle.yaml", &clients.trust_bundle(BUNDLE));
    headgate_e2e::until("the first authority", passes).await;
    std::fs::remove_file(headgate.files.join("bundle.yaml")).unwrap();
    headgate_e2e::until("no authority", async || !passes().await).await;
    headgate.printed("no client certificate could be validated, so the listener does not serve").await;
    headgate.stop().await;
}

#[tokio::test]
async fn a_gateway_shows_its_certificate_to_backends_and_no_other_gateway_does() {
    let (authority, port) = (Authority::default(), free_port());
    let origin = Origin::start_tls(authority.acceptor_for_known(&["inner.example"]), |_| Script::ok("known")).await;
    let gateway = |name: &str, tls: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: {name}\nspec:\n  \
             gatewayClassName: any\n{tls}  listeners: [{{name: web, port: {port}, protocol: HTTP, hostname: {name}.example}}]\n"
        )
    };
    let shown = "  tls: {backend: {clientCertificateRef: {name: mine}}}\n";
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: app\nspec:\n  \
                 parentRefs: [{name: known}, {name: stranger}]\n  rules: [{backendRefs: [{name: app, port: 80}]}]\n";
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("known.yaml", gateway("known", shown)),
        ("stranger.yaml", gateway("stranger", "")),
        ("route.yaml", route.to_owned()),
        ("policy.yaml", POLICY.to_owned()),
        ("ca.yaml", authority.config_map("ca")),
        ("mine.yaml", authority.secret("mine", &["gateway.example"])),
    ];
    let headgate = Headgate::run(&files).await;
    for _ in 0..2 {
        let mut wire = Wire::open(at(port)).await;
        assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: known.example\r\n\r\n").await.text(), "known");
        // the connection that is idle now belongs to the other Gateway
        let mut wire = Wire::open(at(port)).await;
        let answer = wire.ask("GET / HTTP/1.1\r\nHost: stranger.example\r\n\r\n").await;
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
    headgate.stop().await;
}
