//! Kinds that are not everybody's: XBackends, default Gateways, Ingresses, sessions. What they say is served, told in their status, and forgotten with them.

use crate::{
    load::Load,
    objects::{backends, gateway, route},
    story::{Story, ask, open, told},
};
use headgate_e2e::{Authority, Wire};
use serde_json::Value;
use std::net::SocketAddr;

const HOST: &str = "shop.example";

/// An XBackend of the Pods of an application.
fn x_backend(app: &str) -> String {
    format!(
        "
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {{name: shop}}
spec:
  type: EndpointSelector
  port: {{number: 8080}}
  endpointSelector: {{matchLabels: {{app: {app}}}}}
"
    )
}

/// The condition of a type, as `status reason`, of the first entry of a list of the status.
async fn condition(story: &Story, object: &str, list: &str, kind: &str) -> String {
    let found: Value = serde_json::from_str(&story.kubectl(&["get", object, "--output=json"]).await).unwrap();
    let conditions = found["status"][list][0]["conditions"].as_array().cloned().unwrap_or_default();
    let of_kind = conditions.iter().find(|condition| condition["type"] == kind);
    of_kind.map_or_else(String::new, |one| {
        format!("{} {}", one["status"].as_str().unwrap(), one["reason"].as_str().unwrap())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_x_backend_is_the_pods_that_it_selects() {
    const NAMESPACE: &str = "e2e-selects";
    let Some(story) = Story::begin(NAMESPACE).await else { return };
    let to_x_backend = r#"[{"backendRefs":[{"group":"gateway.networking.x-k8s.io","kind":"XBackend","name":"shop"}]}]"#;
    story.apply(&(backends() + &gateway(2) + &route(to_x_backend) + &x_backend("a"))).await;
    let to = story.address("web").await;
    for deployment in ["deployment/web-headgate", "deployment/a", "deployment/b"] {
        story.rolled_out(NAMESPACE, deployment).await;
    }
    story.until_answered(to, HOST, "200 a").await;
    story
        .until("it is told", async || {
            condition(&story, "xbackend/shop", "ancestors", "Accepted").await == "True Accepted"
        })
        .await;

    // Pods come and go, and none of their requests is lost
    story.kubectl(&["delete", "service/a"]).await;
    let load = Load::begin(to, HOST);
    story.kubectl(&["scale", "deployment/a", "--replicas=3"]).await;
    story.rolled_out(NAMESPACE, "deployment/a").await;
    let before = story.names(NAMESPACE, "pods", "app=a").await;
    story.kubectl(&["rollout", "restart", "deployment/a"]).await;
    story.rolled_out(NAMESPACE, "deployment/a").await;
    for pod in &before {
        story.until(&format!("{pod} is gone"), async || !story.is_there(pod).await).await;
    }
    let answered = load.end_with_only("200 a").await;
    println!("Pods of an XBackend one to three, and all replaced: {answered} requests, none failed");

    story.apply(&x_backend("b")).await;
    story.until_answered(to, HOST, "200 b").await;
    story.apply(&x_backend("nobody")).await;
    story.until_answered(to, HOST, "503 no_endpoints").await;
    story.kubectl(&["delete", "xbackend/shop"]).await;
    story
        .until("the route says that it is gone", async || {
            let said = condition(&story, "httproute/shop", "parents", "ResolvedRefs").await;
            said == "False BackendNotFound"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_gateway_takes_the_routes_that_ask_for_one() {
    let Some(story) = Story::begin("e2e-default").await else { return };
    let default = gateway(1).replace("gatewayClassName: headgate", "gatewayClassName: headgate\n  defaultScope: All");
    let rules = r#"[{"backendRefs":[{"name":"a","port":80}]}]"#;
    let asks = route(rules).replace("parentRefs: [{name: web}]", "useDefaultGateways: All");
    story.apply(&(backends() + &default + &asks)).await;
    let to = story.address("web").await;
    story.until_answered(to, HOST, "200 a").await;
    story
        .until("both are told", async || {
            let gateway =
                story.kubectl(&["get", "gateway/web", "--output=jsonpath={.status.conditions[*].type}"]).await;
            let route = condition(&story, "httproute/shop", "parents", "Accepted").await;
            gateway.contains("DefaultGateway") && route == "True Accepted"
        })
        .await;

    story.patch("gateway/web", r#"{"spec":{"defaultScope":"None"}}"#).await;
    story.until_answered(to, HOST, "404 no_route").await;
    story
        .until("neither is told any more", async || {
            let gateway =
                story.kubectl(&["get", "gateway/web", "--output=jsonpath={.status.conditions[*].type}"]).await;
            let route = condition(&story, "httproute/shop", "parents", "Accepted").await;
            !gateway.contains("DefaultGateway") && route.is_empty()
        })
        .await;
}

/// The HTTPS listener `web` of the host, whose clients show a certificate of the authorities of a bundle.
fn verifying_gateway() -> String {
    let refs = "[{group: certificates.k8s.io, kind: ClusterTrustBundle, name: e2e-bundle}]";
    let tls = format!("tls: {{frontend: {{default: {{validation: {{caCertificateRefs: {refs}}}}}}}}}");
    let listener =
        "name: https, port: 443, protocol: HTTPS, hostname: shop.example, tls: {certificateRefs: [{name: web}]}";
    gateway(1).replace("[{name: http, port: 80, protocol: HTTP}]", &format!("[{{{listener}}}]\n  {tls}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_verified_by_a_bundle_of_the_cluster_while_it_is_there() {
    let Some(story) = Story::begin("e2e-bundle").await else { return };
    let bundle = ["clustertrustbundle/e2e-bundle", "--ignore-not-found"];
    story.kubectl(&[&["delete"], &bundle[..]].concat()).await;
    let (authority, clients) = (Authority::default(), Authority::default());
    let rules = r#"[{"backendRefs":[{"name":"a","port":80}]}]"#;
    let secret = format!("---\n{}", authority.secret("web", &[HOST]));
    story.apply(&(backends() + &verifying_gateway() + &route(rules) + &secret)).await;
    let resolved = async |wanted: &str| {
        let said = async || condition(&story, "gateway/web", "listeners", "ResolvedRefs").await;
        story.until(wanted, async || said().await == wanted).await;
    };
    resolved("False InvalidCACertificateRef").await;

    story.apply(&clients.trust_bundle("e2e-bundle")).await;
    resolved("True ResolvedRefs").await;
    let to = SocketAddr::new(story.address("web").await.ip(), 443);
    let known = clients.issue(&["client.example"]);
    let passes = async || {
        let Ok(stream) = authority.connect_as(to, HOST, &known).await else { return false };
        ask(&mut Wire::over(stream), HOST).await.is_ok_and(|answer| told(&answer) == "200 a")
    };
    story.until("a client of the authority passes", passes).await;
    // another authority under the same name: whom it does not know does not pass any more
    story.apply(&Authority::default().trust_bundle("e2e-bundle")).await;
    story.until("it does not pass any more", async || !passes().await).await;
    story.apply(&clients.trust_bundle("e2e-bundle")).await;
    story.until("it passes again", passes).await;
    story.kubectl(&[&["delete"], &bundle[..]].concat()).await;
    resolved("False InvalidCACertificateRef").await;
    story.until("nobody passes", async || !passes().await).await;

    let features = "--output=jsonpath={.status.supportedFeatures[*].name}";
    let claimed = story.kubectl(&["get", "gatewayclass/headgate", features]).await;
    assert!(claimed.split(' ').any(|name| name == "ClusterTrustBundle"), "{claimed}");
}

/// An Ingress to an application, of a class, that asks for what has no form; and to a Service that does not exist.
fn ingress(name: &str, class: &str, app: &str) -> String {
    let to = |app: &str| format!("pathType: Prefix, backend: {{service: {{name: {app}, port: {{number: 80}}}}}}");
    format!(
        "
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, annotations: {{nginx.ingress.kubernetes.io/limit-rps: \"5\"}}}}
spec:
  ingressClassName: {class}
  rules:
  - host: {name}.example
    http: {{paths: [{{path: /, {}}}, {{path: /gone, {}}}]}}
",
        to(app),
        to("nobody")
    )
}

/// Where an Ingress says that it is found.
async fn found(story: &Story, ingress: &str) -> String {
    let path = "--output=jsonpath={.status.loadBalancer.ingress[*].ip}";
    story.kubectl(&["get", "ingress", ingress, path]).await
}

/// What is told of an Ingress in Events: each with how often.
async fn events(story: &Story, ingress: &str) -> Vec<(String, u64)> {
    let of = format!("--field-selector=regarding.kind=Ingress,regarding.name={ingress}");
    let told = story.kubectl(&["get", "events.v1.events.k8s.io", &of, "--output=json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let all = told["items"].as_array().cloned().unwrap_or_default();
    let mut notes: Vec<_> = all
        .iter()
        .map(|event| {
            assert_eq!(
                (&event["reason"], &event["type"]),
                (&"NotServedAsWritten".into(), &"Warning".into()),
                "{event}"
            );
            (event["note"].as_str().unwrap().to_owned(), event["series"]["count"].as_u64().unwrap_or(1))
        })
        .collect();
    notes.sort();
    notes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_is_served_where_its_class_says() {
    const NAMESPACE: &str = "e2e-ingress";
    const CLASS: &str = "e2e-headgate";
    let Some(story) = Story::begin(NAMESPACE).await else { return };
    let class = format!(
        "
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: {CLASS}}}
spec:
  controller: headgate.dev/ingress-controller
  parameters: {{apiGroup: gateway.networking.k8s.io, kind: Gateway, scope: Namespace, namespace: {NAMESPACE}, name: web}}
"
    );
    story.apply(&(backends() + &gateway(1) + &class + &ingress("shop", CLASS, "a"))).await;
    let to = story.address("web").await;
    story.until_answered(to, HOST, "200 a").await;
    // it says where it is found, and what of it is not served
    let address = to.ip().to_string();
    story.until("it is found", async || found(&story, "shop").await == address).await;
    let is_told = |told: &[(String, u64)]| {
        let has = |text: &str| told.iter().any(|(note, _)| note.contains(text));
        has("limit-rps") && has(&format!("Service {NAMESPACE}/nobody does not exist"))
    };
    story.until("it is told", async || is_told(&events(&story, "shop").await)).await;
    let told = events(&story, "shop").await;

    story.apply(&ingress("shop", CLASS, "b")).await;
    story.until_answered(to, HOST, "200 b").await;
    // what others of another class say of themselves stays, and what is said of one that goes there goes
    story.apply(&ingress("theirs", "e2e-another", "a")).await;
    let their = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#;
    story.kubectl(&["patch", "ingress/theirs", "--subresource=status", "--type=merge", "--patch", their]).await;
    story.patch("ingress/shop", r#"{"spec":{"ingressClassName":"e2e-another"}}"#).await;
    story.until("it is found here no more", async || found(&story, "shop").await.is_empty()).await;
    story.until_answered(to, HOST, "404 no_route").await;
    story.kubectl(&["patch", "ingress/shop", "--subresource=status", "--type=merge", "--patch", their]).await;
    story.patch("ingress/shop", r#"{"metadata":{"labels":{"edited":"again"}}}"#).await;
    story.apply(&ingress("later", CLASS, "a")).await;
    story.until("a later one is found", async || found(&story, "later").await == address).await;
    assert_eq!((found(&story, "shop").await, found(&story, "theirs").await), ("192.0.2.1".into(), "192.0.2.1".into()));
    // it comes back, and what was told is not told again for ever
    story.patch("ingress/shop", &format!(r#"{{"spec":{{"ingressClassName":"{CLASS}"}}}}"#)).await;
    story.until("it is found again", async || found(&story, "shop").await == address).await;
    story.until("the later one is told", async || is_told(&events(&story, "later").await)).await;
    assert_eq!(events(&story, "shop").await, told);
    assert_eq!(events(&story, "theirs").await, []);

    story.kubectl(&["delete", "ingress/shop"]).await;
    story.until_answered(to, HOST, "404 no_route").await;
    story.kubectl(&["delete", &format!("ingressclass/{CLASS}")]).await;
    story.until("nothing is ours any more", async || found(&story, "later").await.is_empty()).await;
}

/// A Service of both applications.
const BOTH: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  selector: {tier: shop}
  ports: [{port: 80, targetPort: 8080}]
";

/// Which application answers who brings a cookie.
async fn with_cookie(to: SocketAddr, cookie: &str) -> String {
    let mut wire = open(to).await.unwrap();
    told(&wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n")).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_the_same_at_each_gateway_and_outlives_them() {
    const NAMESPACE: &str = "e2e-session";
    let Some(story) = Story::begin(NAMESPACE).await else { return };
    let apps = ["a", "b"].iter().fold(backends(), |apps, name| {
        apps.replace(&format!("labels: {{app: {name}}}"), &format!("labels: {{app: {name}, tier: shop}}"))
    });
    let rules = r#"[{"backendRefs":[{"name":"both","port":80}],"sessionPersistence":{"cookie":{"name":"stay"}}}]"#;
    story.apply(&(apps + BOTH + &gateway(2) + &route(rules))).await;
    let to = story.address("web").await;
    for deployment in ["deployment/web-headgate", "deployment/a", "deployment/b"] {
        story.rolled_out(NAMESPACE, deployment).await;
    }
    for name in ["200 a", "200 b"] {
        story.until_answered(to, HOST, name).await;
    }
    let first = ask(&mut open(to).await.unwrap(), HOST).await.unwrap();
    let cookie = first.field("set-cookie").and_then(|set| set.split(';').next()).unwrap().to_owned();
    story.until("both gateways are there", async || story.pods("web").await.len() == 2).await;
    for at in story.pods("web").await {
        for _ in 0..20 {
            assert_eq!(with_cookie(at, &cookie).await, told(&first), "{at}");
        }
    }

    story.kubectl(&["rollout", "restart", "deployment/web-headgate"]).await;
    story.rolled_out(NAMESPACE, "deployment/web-headgate").await;
    for _ in 0..20 {
        assert_eq!(with_cookie(to, &cookie).await, told(&first), "after the gateways were replaced");
    }

    // who was there is gone: another one, and the next cookie holds
    let (gone, left) = if told(&first) == "200 a" { ("a", "200 b") } else { ("b", "200 a") };
    story.kubectl(&["scale", &format!("deployment/{gone}"), "--replicas=0"]).await;
    story.until("it is moved", async || with_cookie(to, &cookie).await == left).await;
}
