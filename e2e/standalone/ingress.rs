//! Ingresses of a directory, served: what a client asks for and what the application gets of it.

use headgate_e2e::{Function, Headgate, Origin, Script, Wire, backend};

/// An application that answers with its name and remembers what it got.
async fn named(name: &'static str) -> Origin {
    Origin::start(move |_| Script::ok(name)).await
}

fn ingress(name: &str, annotations: &[(&str, &str)], host: &str, path: &str, kind: &str, service: &str) -> String {
    let lines: String =
        annotations.iter().map(|(key, text)| format!("    nginx.ingress.kubernetes.io/{key}: {text:?}\n")).collect();
    let annotations = if lines.is_empty() { String::new() } else { format!("  annotations:\n{lines}") };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n{annotations}spec:\n  rules:\n  - host: {host}\n    \
         http:\n      paths:\n      - path: {path}\n        pathType: {kind}\n        backend: {{service: {{name: {service}, \
         port: {{name: http}}}}}}\n"
    )
}

async fn get(headgate: &Headgate, host: &str, target: &str) -> (u16, String) {
    let answer = headgate.get(host, target).await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn an_ingress_is_served_and_its_rewrite_is_seen_by_the_application() {
    let (app, api) = (named("app").await, named("api").await);
    let strip = [("rewrite-target", "/$2")];
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("api.yaml", backend("api", None, &[api.address])),
        ("plain.yaml", ingress("plain", &[], "shop.localhost", "/", "Prefix", "app")),
        ("strip.yaml", ingress("strip", &strip, "shop.localhost", "/api(/|$)(.*)", "ImplementationSpecific", "api")),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.printed(", 0 problems").await;
    assert_eq!(get(&headgate, "shop.localhost", "/any/thing?q=1").await, (200, "app".into()));
    assert_eq!(app.only().target, "/any/thing?q=1");
    assert_eq!(get(&headgate, "shop.localhost", "/api/v1/items?q=1").await, (200, "api".into()));
    assert_eq!(api.only().target, "/v1/items?q=1");
    assert_eq!(get(&headgate, "shop.localhost", "/apis").await, (200, "app".into()), "prefixes are whole segments");
    assert_eq!(get(&headgate, "other.localhost", "/").await.0, 404);
    headgate.stop().await;
}

#[tokio::test]
async fn a_default_backend_takes_what_no_rule_takes_and_a_save_moves_requests() {
    let (app, rest) = (named("app").await, named("rest").await);
    let default = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: rest}\nspec: {ingressClassName: headgate, defaultBackend: {service: {name: rest, port: {number: 80}}}}\n";
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("rest.yaml", backend("rest", None, &[rest.address])),
        ("plain.yaml", ingress("plain", &[], "shop.localhost", "/shop", "Exact", "app")),
        ("default.yaml", default.to_owned()),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.printed(", 0 problems").await;
    assert_eq!(get(&headgate, "shop.localhost", "/shop").await.1, "app");
    assert_eq!(get(&headgate, "shop.localhost", "/shop/more").await.1, "rest", "of a host whose rules do not take it");
    assert_eq!(get(&headgate, "other.localhost", "/").await.1, "rest");
    headgate.save("plain.yaml", &ingress("plain", &[], "other.localhost", "/", "Prefix", "app"));
    headgate.serves("other.localhost", "/", |answer| answer.text() == "app").await;
    assert_eq!(get(&headgate, "shop.localhost", "/shop").await.1, "rest");
    headgate.stop().await;
}

#[tokio::test]
async fn a_canary_splits_and_what_guards_is_never_open() {
    let (old, new, secret) = (named("old").await, named("new").await, named("secret").await);
    let canary = [("canary", "true"), ("canary-by-header", "X-Canary"), ("canary-weight", "100")];
    let files = [
        ("old.yaml", backend("old", None, &[old.address])),
        ("new.yaml", backend("new", None, &[new.address])),
        ("secret.yaml", backend("secret", None, &[secret.address])),
        ("main.yaml", ingress("main", &[], "shop.localhost", "/", "Prefix", "old")),
        ("canary.yaml", ingress("canary", &canary, "shop.localhost", "/", "Prefix", "new")),
        ("guard.yaml", ingress("guard", &[("auth-url", "http://a/")], "secret.localhost", "/", "Prefix", "secret")),
        (
            "other.yaml",
            ingress("other", &[], "away.localhost", "/", "Prefix", "old")
                .replace("spec:", "spec:\n  ingressClassName: traefik"),
        ),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.printed("decides who may pass").await;
    assert_eq!(get(&headgate, "shop.localhost", "/").await.1, "new");
    let mut wire = Wire::open(headgate.address).await;
    let never = wire.ask("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Canary: never\r\n\r\n").await;
    assert_eq!(never.text(), "old");
    assert_eq!(get(&headgate, "secret.localhost", "/").await.0, 500);
    assert!(secret.requests().is_empty(), "nothing reaches what is guarded");
    assert_eq!(get(&headgate, "away.localhost", "/").await.0, 404, "an Ingress of another class is another's");
    headgate.stop().await;
}

/// As OpenFunction 0.5 and 0.6 had it: one host, and each function below it.
#[tokio::test]
async fn functions_below_a_domain_are_found_at_their_paths() {
    let domain = "apiVersion: core.openfunction.io/v1beta1\nkind: Domain\nmetadata: {name: openfunction, namespace: io}\nspec:\n  \
        ingress:\n    annotations:\n      nginx.ingress.kubernetes.io/rewrite-target: /$2\n      \
        nginx.ingress.kubernetes.io/upstream-vhost: $service_name.$namespace\n    ingressClassName: nginx\n    \
        service: {name: nginx, namespace: nginx, port: 80}\n";
    let mut hello = Function::named("hello");
    hello = hello.command(&["headgate", "echo"]);
    let files = [("domain.yaml", domain.to_owned()), ("hello.yaml", hello.to_string())];
    let headgate = Headgate::run(&files).await;
    headgate.printed("1 function, 0 routes, 0 problems").await;
    let answer = headgate.get("openfunction.io", "/default/hello/world?q=1").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("/world?q=1") && !answer.text().contains("/default/hello"), "{}", answer.text());
    assert_eq!(headgate.get("openfunction.io", "/default/nobody").await.status, 404);
    headgate.stop().await;
}
