//! Filters of listeners, as client, applications and authorization services see them: who somebody is decides the route, and nobody gets round them.

use crate::auth::{field, header};
use headgate_e2e::{Answer, Function, H2, H2Origin, Headgate, Origin, Script, Wire, backend, free_port, until};
use std::net::SocketAddr;

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

/// A Gateway with a listener for the host that has filters, and one for all others that has none.
fn gateway(port: u16, filters: &[String]) -> String {
    let filters = match filters {
        [] => String::new(),
        filters => format!(", filters: {{requests: [{}]}}", filters.join(", ")),
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  gatewayClassName: headgate\n  listeners:\n  \
         - {{name: open, port: {port}, protocol: HTTP}}\n  \
         - {{name: web, port: {port}, protocol: HTTP, hostname: {HOST}{filters}}}\n"
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

/// What `headgate explain` prints of a request of the tenant red.
async fn explain(headgate: &Headgate, url: &str) -> String {
    let mut command = tokio::process::Command::new(headgate_e2e::binary());
    command.args(["explain", url, "-H", "X-Tenant: red", "--from"]).arg(headgate.home().join("served"));
    String::from_utf8_lossy(&command.output().await.unwrap().stdout).into_owned()
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

    let explained = explain(&headgate, &format!("http://{HOST}:{port}/app")).await;
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

/// Two services that let everybody pass in their order, an application, a function that never starts, and a request that waits for it.
struct Waiting {
    headgate: Headgate,
    app: Origin,
    steps: [Origin; 2],
    port: u16,
    answer: tokio::task::JoinHandle<Answer>,
}

fn passing(name: &str) -> String {
    asks(name, ", http: {allowedHeaders: [X-Step], allowedResponseHeaders: [X-Step]}")
}

fn to(name: &str) -> String {
    route(&format!("  - backendRefs: [{{name: {name}, port: 80}}]\n"))
}

impl Waiting {
    async fn begin() -> Self {
        let app = Origin::start(|_| Script::ok("app")).await;
        let steps = [Origin::start(step(0)).await, Origin::start(step(1)).await];
        let port = free_port();
        let files = [
            ("app.yaml", backend("app", None, &[app.address])),
            ("s0.yaml", backend("s0", None, &[steps[0].address])),
            ("s1.yaml", backend("s1", None, &[steps[1].address])),
            ("slow.yaml", Function::named("slow").args(&["--start-delay", "1h"]).to_string()),
            ("gateway.yaml", gateway(port, &["s0", "s1"].map(passing))),
            ("route.yaml", to("slow")),
        ];
        let headgate = Headgate::run(&files).await;
        let answer = tokio::spawn(async move { ask(port, "/", "").await });
        until("it waits", async || headgate.metric("headgate_queue_depth", "slow").await >= 1.0).await;
        Self { headgate, app, steps, port, answer }
    }

    /// Its route comes to lead to the application, which is called with what the filters had said, each of them asked so often in all.
    async fn ends_answered(self, x_step: &str, asked: [usize; 2]) {
        self.headgate.save("route.yaml", &to("app"));
        let answer = self.answer.await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "app"));
        let steps = self.steps.each_ref().map(|one| one.requests().len());
        assert_eq!((self.app.only().field("x-step"), steps), (Some(x_step), asked));
        self.headgate.stop().await;
    }
}

#[tokio::test]
async fn who_was_let_pass_is_not_asked_about_again_when_its_route_changes_while_it_waits() {
    Waiting::begin().await.ends_answered("2", [1, 1]).await;
}

/// As it came: what the filters before had said of it is not among what others are asked.
#[tokio::test]
async fn other_filters_are_asked_about_a_request_that_waits_as_it_came() {
    let waiting = Waiting::begin().await;
    waiting.headgate.save("gateway.yaml", &gateway(waiting.port, &[passing("s0")]));
    waiting.ends_answered("1", [2, 1]).await;
}

/// `response_headers_to_add` of `envoy.service.auth.v3.OkHttpResponse`.
#[tokio::test]
async fn what_they_add_to_the_answer_is_there_whichever_route_it_is_of() {
    let app = Origin::start(|_| Script::ok("app")).await;
    let auth = H2Origin::start_grpc(|_| [field(1, &[]), field(3, &header(6, "x-session", "s1"))].concat()).await;
    let port = free_port();
    let filter = "{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: auth, port: 80}, grpc: {}}}";
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("auth.yaml", backend("auth", None, &[auth.address])),
        ("slow.yaml", Function::named("slow").args(&["--start-delay", "1h"]).to_string()),
        ("gateway.yaml", gateway(port, &[filter.to_owned()])),
        ("route.yaml", to("slow")),
    ];
    let headgate = Headgate::run(&files).await;
    let answer = tokio::spawn(async move { ask(port, "/", "").await });
    until("it waits", async || headgate.metric("headgate_queue_depth", "slow").await >= 1.0).await;
    headgate.save("route.yaml", &to("app"));
    let answer = answer.await.unwrap();
    assert_eq!((answer.status, answer.field("x-session"), auth.requests().len()), (200, Some("s1"), 1));
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

    // what this program does not know it does not leave out, nor do others get the requests that it is for
    app.forget();
    let unknown = "{type: ExtensionRef, extensionRef: {group: example.com, kind: Claims, name: tenant}}".to_owned();
    headgate.save("gateway.yaml", &gateway(port, &[asks("auth", ", http: {}"), unknown]));
    headgate.printed("listeners have no filter ExtensionRef, and it does not serve without it").await;
    until("nobody passes", async || {
        ask(port, "/", "Authorization: alice\r\n").await.failure() == Some("filter_unsupported")
    })
    .await;
    let explained = explain(&headgate, &format!("http://{HOST}:{port}/")).await;
    assert!(
        explained.contains("500: listener default/edge/web takes it, and its filters come to nothing"),
        "{explained}"
    );
    assert!(app.requests().is_empty());
    headgate.save("gateway.yaml", &gateway(port, &[]));
    until("without any", async || ask(port, "/", "").await.status == 200).await;
    headgate.save("gateway.yaml", &gateway(port, &[asks("auth", ", http: {}")]));
    until("with one again", async || ask(port, "/", "").await.status == 401).await;
    headgate.stop().await;
}
