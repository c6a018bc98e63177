//! XBackends: requests go to a host by its name, and to Pods by their labels.

use headgate_e2e::{Answer, Headgate, Origin, Script, Wire, rules, until};

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
