//! Filters of listeners, as client, applications and authorization services see them: who somebody is decides the route, and nobody gets round them.

use headgate_e2e::{Answer, Function, H2, Headgate, Origin, Script, Wire, backend, free_port, until};
use std::{net::SocketAddr, process::Command};

const HOST: &str = "app.example";

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Knows two users by their tokens and says of which tenant they are.
fn tenants(request: &headgate_e2e::Request) -> Script {
    let pass = |tenant: &str| {
        let head =
            format!("HTTP/1.1 200 OK\r\nX-Tenant: {tenant}\r\nHost: other.example\r\nX-Got: {}", request.body.len());
        Script::default().write(format!("{head}\r\nContent-Length: 0\r\n\r\n"))
    };
    match request.field("authorization") {
        Some("alice") => pass("red"),
        Some("bob") => pass("blue"),
        _ => Script::default().write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nwho are you?"),
    }
}

/// An entry of `filters.requests`.
fn asks(service: &str, more: &str) -> String {
    format!("{{type: ExternalAuth, externalAuth: {{protocol: HTTP, backendRef: {{name: {service}, port: 80}}{more}}}}}")
}

/// A Gateway with a listener that has filters, and one for another host that has none.
fn gateway(port: u16, filters: &[String]) -> String {
    let filters = match filters {
        [] => String::new(),
        filters => format!(", filters: {{requests: [{}]}}", filters.join(", ")),
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  gatewayClassName: headgate\n  listeners:\n  \
         - {{name: open, port: {port}, protocol: HTTP, hostname: open.example}}\n  \
         - {{name: web, port: {port}, protocol: HTTP{filters}}}\n"
    )
}

/// An HTTPRoute of every host of the Gateway.
fn route(rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: app}}\nspec:\n  parentRefs: [{{name: edge}}]\n  rules:\n{rules}"
    )
}

/// By the tenant, below `/app`.
const BY_TENANT: &str = "  - matches: [{path: {value: /app}, headers: [{name: X-Tenant, value: red}]}]\n    \
                         backendRefs: [{name: red, port: 80}]\n  \
                         - matches: [{path: {value: /app}, headers: [{name: X-Tenant, value: blue}]}]\n    \
                         backendRefs: [{name: blue, port: 80}]\n";

fn get(host: &str, target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
}

async fn ask(port: u16, target: &str, fields: &str) -> Answer {
    Wire::open(at(port)).await.ask(get(HOST, target, fields)).await
}

#[tokio::test]
async fn who_somebody_is_decides_the_route() {
    let (red, blue) = (Origin::start(|_| Script::ok("red")).await, Origin::start(|_| Script::ok("blue")).await);
    let auth = Origin::start(tenants).await;
    let port = free_port();
    let files = [
        ("red.yaml", backend("red", None, &[red.address])),
        ("blue.yaml", backend("blue", None, &[blue.address])),
        ("auth.yaml", backend("auth", None, &[auth.address])),
        ("gateway.yaml", gateway(port, &[asks("auth", ", http: {allowedResponseHeaders: [X-Tenant]}")])),
        ("route.yaml", route(BY_TENANT)),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.printed(", 0 problems").await;
    let forged = "Authorization: bob\r\nX-Tenant: red\r\n";
    for (fields, text) in [("Authorization: alice\r\n", "red"), ("Authorization: bob\r\n", "blue"), (forged, "blue")] {
        let answer = ask(port, "/app", fields).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, text), "{fields}");
    }
    let client = H2::open(at(port)).await;
    let request = http::Request::get(format!("http://{HOST}/app")).header("authorization", "alice");
    assert_eq!(&client.call(request.body(()).unwrap(), "").await.unwrap().body[..], b"red");
    assert_eq!((red.requests().len(), blue.requests().len(), auth.requests().len()), (2, 2, 4));
    assert_eq!(red.requests()[0].field("host"), Some(HOST), "the host is the client's, whatever the service says");

    // whoever may not pass learns nothing of the routes
    for target in ["/app", "/no/such/path"] {
        let answer = ask(port, target, "").await;
        assert_eq!((answer.status, answer.text().as_str()), (401, "who are you?"), "{target}");
    }
    let answer = ask(port, "/no/such/path", "Authorization: alice\r\n").await;
    assert_eq!((answer.status, answer.failure()), (404, Some("no_route")));
    assert_eq!(headgate.metric("headgate_requests_total", "Gateway/default/edge/1").await, 2.0);

    // the other listener has none
    auth.forget();
    let answer = Wire::open(at(port)).await.ask(get("open.example", "/app", "X-Tenant: red\r\n")).await;
    assert_eq!((answer.status, answer.text().as_str(), auth.requests().len()), (200, "red", 0));

    let explained = Command::new(headgate_e2e::binary())
        .args(["explain", &format!("http://{HOST}:{port}/app"), "-H", "X-Tenant: red", "--from"])
        .arg(headgate.home().join("served"))
        .output()
        .unwrap();
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains("first     authorization over HTTP: asks default/auth:80"), "{explained}");
    headgate.stop().await;
}

/// Lets everybody pass who has `X-Step` of the step before, and says its own.
fn step(number: usize) -> impl Fn(&headgate_e2e::Request) -> Script + Send + Sync + 'static {
    move |request| match request.field("x-step").unwrap_or("0") == number.to_string() {
        true => {
            let next = number + 1;
            Script::default().write(format!("HTTP/1.1 200 OK\r\nX-Step: {next}\r\nContent-Length: 0\r\n\r\n"))
        }
        false => Script::status(403, format!("not after step {number}")),
    }
}

#[tokio::test]
async fn filters_run_in_their_order_before_those_of_the_route_and_each_once() {
    let app = Origin::start(|request| Script::ok(&request.body)).await;
    let steps = [Origin::start(step(0)).await, Origin::start(step(1)).await, Origin::start(step(2)).await];
    let port = free_port();
    let passing = |name: &str| {
        asks(name, ", http: {allowedHeaders: [X-Step], allowedResponseHeaders: [X-Step]}, forwardBody: {maxSize: 100}")
    };
    let rules = format!("  - filters: [{}]\n    backendRefs: [{{name: app, port: 80}}]\n", passing("s2"));
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("s0.yaml", backend("s0", None, &[steps[0].address])),
        ("s1.yaml", backend("s1", None, &[steps[1].address])),
        ("s2.yaml", backend("s2", None, &[steps[2].address])),
        ("gateway.yaml", gateway(port, &["s0", "s1"].map(passing))),
        ("route.yaml", route(&rules)),
    ];
    let headgate = Headgate::run(&files).await;
    let post = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello");
    let answer = Wire::open(at(port)).await.ask(&post).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "the body is there for each of them");
    assert_eq!(app.only().field("x-step"), Some("3"));
    for one in &steps {
        assert_eq!(one.only().body, b"hello");
        one.forget();
    }

    // the other way round the first one lets nobody pass, and nobody else is asked
    headgate.save("gateway.yaml", &gateway(port, &["s1", "s0"].map(passing)));
    until("the other order", async || Wire::open(at(port)).await.ask(&post).await.status == 403).await;
    let first = |asked: &headgate_e2e::Request| asked.field("x-step").is_none();
    steps.iter().for_each(Origin::forget);
    assert_eq!(Wire::open(at(port)).await.ask(&post).await.text(), "not after step 1");
    assert_eq!(steps.each_ref().map(|one| one.requests().iter().filter(|asked| first(asked)).count()), [0, 1, 0]);
    headgate.stop().await;
}

#[tokio::test]
async fn who_was_let_pass_is_not_asked_about_again_when_its_route_changes_while_it_waits() {
    let app = Origin::start(|_| Script::ok("app")).await;
    let steps = [Origin::start(step(0)).await, Origin::start(step(1)).await];
    let port = free_port();
    let passing = |name: &str| asks(name, ", http: {allowedHeaders: [X-Step], allowedResponseHeaders: [X-Step]}");
    let to = |name: &str| route(&format!("  - backendRefs: [{{name: {name}, port: 80}}]\n"));
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("s0.yaml", backend("s0", None, &[steps[0].address])),
        ("s1.yaml", backend("s1", None, &[steps[1].address])),
        ("slow.yaml", Function::named("slow").args(&["--start-delay", "1h"]).to_string()),
        ("gateway.yaml", gateway(port, &["s0", "s1"].map(passing))),
        ("route.yaml", to("slow")),
    ];
    let headgate = Headgate::run(&files).await;
    let waiting = tokio::spawn(async move { ask(port, "/", "").await });
    until("it waits", async || headgate.metric("headgate_queue_depth", "slow").await >= 1.0).await;
    headgate.save("route.yaml", &to("app"));
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, answer.text().as_str(), app.only().field("x-step")), (200, "app", Some("2")));
    assert_eq!(steps.each_ref().map(|one| one.requests().len()), [1, 1]);
    headgate.stop().await;
}

#[tokio::test]
async fn nobody_gets_round_a_filter_that_cannot_ask() {
    let (app, auth) = (Origin::start(|_| Script::ok("app")).await, Origin::start(tenants).await);
    let port = free_port();
    let all = "  - backendRefs: [{name: app, port: 80}]\n";
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("auth.yaml", backend("auth", None, &[auth.address])),
        ("gateway.yaml", gateway(port, &[asks("gone", ", http: {}")])),
        ("route.yaml", route(all)),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.printed("Service default/gone does not exist").await;
    let answer = ask(port, "/", "Authorization: alice\r\n").await;
    assert_eq!((answer.status, answer.failure()), (500, Some("backend_invalid")), "{}", answer.text());
    // once there is such a Service it is asked
    headgate.save("gone.yaml", &backend("gone", None, &[auth.address]));
    until("it is asked", async || ask(port, "/", "Authorization: alice\r\n").await.status == 200).await;
    assert_eq!(ask(port, "/", "").await.status, 401);
    std::fs::remove_file(headgate.files.join("gone.yaml")).unwrap();
    until("it is gone", async || ask(port, "/", "Authorization: alice\r\n").await.status == 500).await;

    // what this program does not know it does not leave out
    app.forget();
    let unknown = "{type: ExtensionRef, extensionRef: {group: example.com, kind: Claims, name: tenant}}".to_owned();
    headgate.save("gateway.yaml", &gateway(port, &[asks("auth", ", http: {}"), unknown]));
    headgate.printed("listeners have no filter ExtensionRef, and it does not serve without it").await;
    until("the listener is gone", async || {
        ask(port, "/", "Authorization: alice\r\n").await.failure() == Some("no_listener")
    })
    .await;
    headgate.save("gateway.yaml", &gateway(port, &[]));
    until("without any", async || ask(port, "/", "").await.status == 200).await;
    headgate.save("gateway.yaml", &gateway(port, &[asks("auth", ", http: {}")]));
    until("with one again", async || ask(port, "/", "").await.status == 401).await;
    headgate.stop().await;
}
