//! XBackends: requests go to a host by its name, and to Pods by their labels.

use headgate_e2e::{Answer, Authority, Headgate, Origin, Script, Wire, free_port, rules, secret, until};
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::Semaphore;

const HOST: &str = "shop.localhost";

fn route() -> String {
    let backend = "{group: gateway.networking.x-k8s.io, kind: XBackend, name: pay}";
    rules("shop", HOST, &format!("  - backendRefs: [{backend}]\n"))
}

fn x_backend(spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackend\nmetadata: {{name: pay}}\nspec:\n  {spec}\n"
    )
}

fn host(name: &str, port: u16) -> String {
    x_backend(&format!("{{type: ExternalHostname, port: {{number: {port}}}, externalHostname: {{hostname: {name}}}}}"))
}

fn pod(name: &str, label: &str, address: &str, ready: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {label}}}}}\nstatus:\n  podIP: {address}\n  \
         conditions: [{{type: Ready, status: \"{ready}\"}}]\n---\n"
    )
}

async fn ask(headgate: &Headgate) -> Answer {
    let mut wire = Wire::open(headgate.address).await;
    wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await
}

async fn until_answered(headgate: &Headgate, status: u16) -> Answer {
    until(&format!("{status}"), async || ask(headgate).await.status == status).await;
    ask(headgate).await
}

#[tokio::test]
async fn a_host_is_found_by_its_name_and_what_was_another_host_is_forgotten() {
    let app = Origin::start(|head| Script::ok(head.field("host").unwrap_or_default())).await;
    let port = app.address.port();
    let headgate = Headgate::run(&[("pay.yaml", host("localhost", port)), ("route.yaml", route())]).await;
    // what the client asked for is asked of the host too; a filter may write another name
    assert_eq!(until_answered(&headgate, 200).await.text(), HOST);

    // RFC 6761: no such name, ever
    headgate.save("pay.yaml", &host("pay.invalid", port));
    let refused = until_answered(&headgate, 503).await;
    assert!(refused.text().contains("no_endpoints"), "{}", refused.text());
    headgate.save("pay.yaml", &host("localhost", port));
    until_answered(&headgate, 200).await;
    headgate.stop().await;
}

#[tokio::test]
async fn pods_are_found_by_their_labels_while_they_are_ready() {
    let app = Origin::start(|_| Script::ok("pod")).await;
    let port = app.address.port();
    let selector = "endpointSelector: {matchLabels: {app: pay}}";
    let pods = |ready: &str| {
        // of the second one nothing listens: whoever asked it would see
        pod("pay-1", "pay", "127.0.0.1", ready) + &pod("other-1", "other", "127.0.0.9", "True")
    };
    let headgate = Headgate::run(&[
        ("pay.yaml", x_backend(&format!("{{type: EndpointSelector, port: {{number: {port}}}, {selector}}}"))),
        ("pods.yaml", pods("True")),
        ("route.yaml", route()),
    ])
    .await;
    for _ in 0..20 {
        let answer = ask(&headgate).await;
        assert_eq!((answer.status, answer.text()), (200, "pod".to_owned()));
    }
    headgate.save("pods.yaml", &pods("False"));
    until_answered(&headgate, 503).await;
    headgate.save("pods.yaml", &pods("True"));
    until_answered(&headgate, 200).await;
    headgate.stop().await;
}

/// A host that is spoken to over TLS and shown the certificate of a Secret.
fn mutual(port: u16, certificate: &str) -> String {
    let validation = "{hostname: inner.example, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: ca}]}";
    x_backend(&format!(
        "type: ExternalHostname\n  port: {{number: {port}}}\n  externalHostname: {{hostname: localhost}}\n  tls:\n    \
         mode: ClientAndServer\n    clientCertificateRef: {{name: {certificate}}}\n    validation: {validation}"
    ))
}

#[tokio::test]
async fn a_backend_is_shown_its_own_certificate_and_a_new_one_at_once() {
    let (authority, stranger, port) = (Authority::default(), Authority::default(), free_port());
    let (acceptor, shown) = authority.acceptor_that_notes(&["inner.example"]);
    let turns = Arc::new(Semaphore::new(0));
    let app = {
        let turns = turns.clone();
        Origin::start_tls(acceptor, move |head| match head.target.as_str() {
            "/slow" => Script::default().wait_for(&turns).then(Script::ok("known")),
            _ => Script::ok("known"),
        })
        .await
    };
    let (first, second) = (authority.issue(&["first.example"]), authority.issue(&["second.example"]));
    // the Gateway shows another one, which this application does not take
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web}}\nspec:\n  gatewayClassName: any\n  \
         tls: {{backend: {{clientCertificateRef: {{name: gateways}}}}}}\n  listeners: [{{name: web, port: {port}, protocol: HTTP}}]\n"
    );
    let files = [
        ("gateway.yaml", gateway),
        ("pay.yaml", mutual(app.address.port(), "own")),
        ("route.yaml", route().replace("spec:\n", "spec:\n  parentRefs: [{name: web}]\n")),
        ("ca.yaml", authority.config_map("ca")),
        ("gateways.yaml", stranger.secret("gateways", &["gateway.example"])),
        ("own.yaml", secret("own", &first)),
    ];
    // one pool of connections
    let headgate = Headgate::run_with(&["--cores", "1"], &files).await;
    let ask = async |target: &str| {
        let mut wire = Wire::open(SocketAddr::from(([127, 0, 0, 1], port))).await;
        wire.ask(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await
    };
    let served = |answer: Answer| assert_eq!((answer.status, answer.text()), (200, "known".to_owned()));
    for _ in 0..3 {
        served(ask("/").await);
    }
    assert_eq!((shown.count(&first.0), app.connections()), (1, 1), "one connection, shown the backend's own");

    let under_way = ask("/slow");
    let rotate = async {
        until("the slow request is there", async || app.received().windows(5).any(|bytes| bytes == b"/slow")).await;
        served(ask("/").await);
        headgate.save("own.yaml", &secret("own", &second));
        // what is idle was opened with the old one: nothing new goes over it
        until("the new certificate is shown", async || {
            served(ask("/").await);
            shown.count(&second.0) > 0
        })
        .await;
        let connections = app.connections();
        for _ in 0..20 {
            served(ask("/").await);
        }
        assert_eq!((shown.count(&second.0), app.connections()), (1, connections));
        turns.add_permits(1);
    };
    served(tokio::join!(under_way, rotate).0);

    // without a usable one nothing is sent
    headgate.save("pay.yaml", &mutual(app.address.port(), "missing"));
    until("502", async || ask("/").await.status == 502).await;
    let requests = app.complete();
    let refused = ask("/").await;
    assert_eq!(refused.failure(), Some("upstream_trust"), "{}", refused.text());
    assert_eq!(app.complete(), requests);
    headgate.stop().await;
}
