//! The ExternalAuth filter, as client, application and authorization service see it: nothing passes that the service did not let pass.

use headgate_e2e::{Function, H2, H2Origin, Headgate, Origin, Script, Wire, backend, rules, until};
use std::{net::SocketAddr, process::Command, time::Duration};

const HOST: &str = "app.localhost";

/// Knows one user, and says who it is; `/odd…` below its path is answered in odd ways.
fn decide(request: &headgate_e2e::Request) -> Script {
    let odd = request.target.split_once("/odd/").map(|(_, how)| how.trim_end_matches('/'));
    match (odd, request.field("authorization")) {
        (Some("204"), _) => Script::default().write("HTTP/1.1 204 No Content\r\n\r\n"),
        (Some("twice"), _) => {
            Script::default().write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n").close()
        }
        (Some("closes"), _) => Script::ok("").close(),
        (Some("cut"), _) => Script::default().write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal").close(),
        (Some("slow"), _) => Script::default().wait(Duration::from_secs(60)),
        (Some("long"), _) => Script::status(403, vec![b'x'; 100_000]),
        (Some("interim"), _) => Script::default().write("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (_, Some("Basic YWxpY2U=")) => Script::default().write(format!(
            "HTTP/1.1 200 OK\r\nX-User: alice\r\nX-Internal: yes\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nX-Got: {}\r\n\r\nok",
            request.body.len()
        )),
        _ => Script::default().write(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 12\r\n\r\nwho are you?",
        ),
    }
}

/// A rule for a path, with one such filter.
fn rule(path: &str, auth: &str) -> String {
    format!(
        "  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    filters:\n    - {{type: ExternalAuth, externalAuth: {{{auth}}}}}\n    \
         backendRefs: [{{name: app, port: 80}}]\n"
    )
}

fn http(more: &str) -> String {
    format!("protocol: HTTP, backendRef: {{name: auth, port: 80}}, {more}")
}

async fn serving(flags: &[&str], app: SocketAddr, auth: SocketAddr, text: &str) -> Headgate {
    let files = [
        ("app.yaml", backend("app", None, &[app])),
        ("auth.yaml", backend("auth", None, &[auth])),
        ("route.yaml", rules("app", HOST, text)),
    ];
    Headgate::run_with(flags, &files).await
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")
}

const ALICE: &str = "Authorization: Basic YWxpY2U=\r\n";

#[tokio::test]
async fn who_may_pass_passes_with_what_the_service_says_of_them() {
    let (app, auth) = (Origin::start(|_| Script::ok("app")).await, Origin::start(decide).await);
    let rule = rule(
        "/",
        &http("http: {path: /check/, allowedHeaders: [X-Tenant], allowedResponseHeaders: [X-User, X-Groups]}"),
    );
    let headgate = serving(&[], app.address, auth.address, &rule).await;
    let mut wire = Wire::open(headgate.address).await;
    let spoofed =
        "X-User: root\r\nX_User: root\r\nX-Groups: wheel\r\nX-Internal: mine\r\nCookie: c=d\r\nX-Tenant: t\r\n";
    let answer = wire.ask(get("/a/b?c=/d", &format!("{ALICE}{spoofed}"))).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.field("x-user")), (200, "app", None));
    let asked = auth.only();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str(), asked.field("host")),
        ("GET", "/check/a/b?c=/d", Some(HOST))
    );
    let mut names: Vec<_> = asked.fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["authorization", "content-length", "host", "x-tenant"],
        "what it always gets, and what is named"
    );
    assert_eq!(asked.field("content-length"), Some("0"));
    let got = app.only();
    assert_eq!((got.target.as_str(), got.values("x-user"), got.values("x_user")), ("/a/b?c=/d", vec!["alice"], vec![]));
    assert_eq!(
        (got.field("x-groups"), got.field("x-internal"), got.field("cookie")),
        (None, Some("mine"), Some("c=d"))
    );
    assert_eq!((got.field("authorization"), got.field("content-type")), (Some("Basic YWxpY2U="), None));
    // the same connection to the service serves the next request
    let client = H2::open(headgate.address).await;
    let request = http::Request::get(format!("http://{HOST}/")).header("authorization", "Basic YWxpY2U=");
    assert_eq!(client.call(request.body(()).unwrap(), "").await.unwrap().status, 200);
    assert_eq!(auth.requests().len(), 2);
    headgate.stop().await;
}

#[tokio::test]
async fn who_may_not_gets_the_answer_of_the_service_and_the_application_nothing() {
    let (app, auth) = (Origin::start(|_| Script::ok("app")).await, Origin::start(decide).await);
    let headgate = serving(&[], app.address, auth.address, &rule("/", &http("http: {}"))).await;
    let mut wire = Wire::open(headgate.address).await;
    let answer = wire.ask(get("/", "")).await;
    assert_eq!((answer.status, answer.text().as_str()), (401, "who are you?"));
    assert_eq!((answer.field("www-authenticate"), answer.keeps_alive()), (Some("Basic"), true));
    let cookies: Vec<_> =
        answer.fields.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    wire.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let head = wire.answer_to_head().await;
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (401, Some("12"), 0));
    // a client that waits for a 100 gets none, and sends no body
    let expecting = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = Wire::open(headgate.address).await.ask(expecting).await;
    assert_eq!((answer.status, answer.interim.len(), answer.keeps_alive()), (401, 0, false));
    let upgrade =
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n";
    assert_eq!(Wire::open(headgate.address).await.ask(get("/", upgrade)).await.status, 401);
    assert!(auth.requests().iter().all(|asked| asked.field("upgrade").is_none()), "the service is asked plainly");
    let client = H2::open(headgate.address).await;
    let answer = client.get(HOST, "/").await.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..], answer.field("www-authenticate")),
        (401, &b"who are you?"[..], Some("Basic"))
    );
    let mut call = client.grpc(HOST, "/a.B/C").await;
    call.end();
    assert_eq!(call.status().await, 16, "UNAUTHENTICATED");
    assert!(app.requests().is_empty() && app.received().is_empty());
    until("the log", async || headgate.access_log().lines().filter(|line| line.contains("auth_denied")).count() == 6)
        .await;
    assert_eq!(headgate.metric("headgate_failures_total", "auth_denied").await, 6.0);
    headgate.stop().await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_the_service_nothing_passes() {
    let (app, auth) = (Origin::start(|_| Script::ok("app")).await, Origin::start(decide).await);
    let asking = |name: &str| format!("protocol: HTTP, http: {{}}, backendRef: {{name: {name}, port: 80}}");
    let rule_of = |(path, name): (&str, &str)| rule(path, &asking(name));
    let text: String = [("/gone", "gone"), ("/down", "down"), ("/empty", "empty"), ("/", "auth")].map(rule_of).concat();
    // bound and not listening: nobody else gets the port
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("auth.yaml", backend("auth", None, &[auth.address])),
        ("down.yaml", backend("down", None, &[unused.local_addr().unwrap()])),
        ("empty.yaml", backend("empty", None, &[])),
        ("route.yaml", rules("app", HOST, &text)),
    ];
    let headgate = Headgate::run_with(&["--auth-timeout", "2s", "--wait-unknown", "300ms"], &files).await;
    let mut wire = Wire::open(headgate.address).await;
    for (target, status, failure) in [
        ("/odd/204", 403, "auth_denied"),
        ("/odd/twice", 502, "auth_answer_invalid"),
        ("/odd/cut", 502, "auth_answer_invalid"),
        ("/odd/slow", 504, "auth_timeout"),
        ("/odd/long", 502, "auth_answer_invalid"),
        ("/gone", 500, "backend_invalid"),
        ("/down", 503, "auth_unavailable"),
        ("/empty", 503, "auth_unavailable"),
    ] {
        let answer = wire.ask(get(target, ALICE)).await;
        assert_eq!((answer.status, answer.failure()), (status, Some(failure)), "{target}: {}", answer.text());
        if !answer.keeps_alive() {
            wire = Wire::open(headgate.address).await;
        }
    }
    assert!(app.requests().is_empty());
    assert_eq!(wire.ask(get("/odd/interim", "")).await.status, 200, "hints are no answer");
    // a connection that the service has closed meanwhile costs nobody a request, whatever its method
    for _ in 0..20 {
        assert_eq!(Wire::post(headgate.address, HOST, "/odd/closes", b"body").await.status, 200);
    }
    headgate.stop().await;
}

#[tokio::test]
async fn the_service_gets_the_body_where_the_filter_says_so() {
    let (app, auth) = (Origin::start(|request| Script::ok(&request.body)).await, Origin::start(decide).await);
    let text = [
        rule("/with", &http("http: {}, forwardBody: {maxSize: 10}")),
        rule("/without", &http("http: {}, forwardBody: {maxSize: 0}")),
    ]
    .concat();
    let headgate = serving(&[], app.address, auth.address, &text).await;
    let mut wire = Wire::open(headgate.address).await;
    let post = |target: &str, fields: &str, body: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\n{ALICE}{fields}\r\n{body}")
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (fields, body) in [("Content-Length: 10\r\n", "0123456789"), (chunked, "a\r\n0123456789\r\n0\r\n\r\n")] {
        auth.forget();
        let answer = wire.ask(post("/with", fields, body)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"), "{fields}");
        let asked = auth.only();
        assert_eq!((&asked.body[..], asked.field("content-length")), (&b"0123456789"[..], Some("10")));
    }
    assert_eq!(app.requests().last().unwrap().field("x-got"), Some("10"));
    auth.forget();
    // the client waits for the word to send, which it gets since the service wants the body
    let mut expecting = Wire::open(headgate.address).await;
    expecting.send(post("/with", "Content-Length: 4\r\nExpect: 100-continue\r\n", "")).await;
    assert_eq!(String::from_utf8(expecting.bytes(21).await).unwrap(), "HTTP/1.1 100 Continue");
    expecting.bytes(4).await;
    expecting.send("body").await;
    assert_eq!((expecting.answer().await.text().as_str(), &auth.only().body[..]), ("body", &b"body"[..]));
    auth.forget();
    app.forget();
    for (fields, body) in [("Content-Length: 11\r\n", "0123456789a"), (chunked, "b\r\n0123456789a\r\n0\r\n\r\n")] {
        let answer = Wire::open(headgate.address).await.ask(post("/with", fields, body)).await;
        assert_eq!((answer.status, answer.failure()), (413, Some("auth_body_too_large")), "{fields}");
    }
    assert!(auth.requests().is_empty() && app.requests().is_empty());
    let client = H2::open(headgate.address).await;
    let request = http::Request::post(format!("http://{HOST}/with")).header("authorization", "Basic YWxpY2U=");
    assert_eq!(client.call(request.body(()).unwrap(), "h2").await.unwrap().body, "h2");
    assert_eq!(&auth.only().body[..], b"h2");
    auth.forget();
    let answer = wire.ask(post("/without", "Content-Length: 20\r\n", "01234567890123456789")).await;
    assert_eq!((answer.status, answer.text().len()), (200, 20));
    assert_eq!((auth.only().body.len(), auth.only().field("content-length")), (0, Some("0")));
    headgate.stop().await;
}

#[tokio::test]
async fn a_service_that_must_start_first_is_waited_for() {
    let app = Origin::start(|_| Script::ok("app")).await;
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("gate.yaml", Function::named("gate").to_string()),
        (
            "route.yaml",
            rules(
                "app",
                HOST,
                &rule("/", "protocol: HTTP, http: {}, backendRef: {name: gate, port: 80}, forwardBody: {maxSize: 99}"),
            ),
        ),
    ];
    let headgate = Headgate::run(&files).await;
    assert_eq!(headgate.count("--text gate"), 0);
    let answer = Wire::post(headgate.address, HOST, "/", b"kept meanwhile").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "app"));
    assert_eq!(app.only().body, b"kept meanwhile");
    assert_eq!(headgate.count("--text gate"), 1);
    headgate.stop().await;
}

#[tokio::test]
async fn a_body_that_the_service_got_reaches_a_function_that_must_start() {
    let home = tempfile::tempdir().unwrap();
    let auth = Origin::start(decide).await;
    let text = rule("/", &http("http: {}, forwardBody: {maxSize: 100000}")).replace("name: app", "name: busy");
    let files = [
        ("busy.yaml", crate::stories::recording(&home).to_string()),
        ("auth.yaml", backend("auth", None, &[auth.address])),
        ("route.yaml", rules("app", HOST, &text)),
    ];
    let headgate = Headgate::run(&files).await;
    let body = headgate_e2e::pattern(90_000);
    let post = |fields: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{fields}X-Order: 7\r\nContent-Length: 90000\r\n\r\n");
        [head.as_bytes(), &body].concat()
    };
    let refused = Wire::open(headgate.address).await.ask(post("")).await;
    assert_eq!((refused.status, headgate.count("app")), (401, 0), "who may not pass starts nothing");
    let answer = Wire::open(headgate.address).await.ask(post(ALICE)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "7 90000 true"));
    assert!(auth.requests().iter().all(|asked| asked.body == body));
    headgate.stop().await;
}

/// A function that never starts, an application, a service that lets Alice pass, and a route.
async fn stuck(text: &str) -> (Headgate, Origin, Origin) {
    let (app, auth) = (Origin::start(|_| Script::ok("app")).await, Origin::start(decide).await);
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("auth.yaml", backend("auth", None, &[auth.address])),
        ("stuck.yaml", Function::named("stuck").args(&["--start-delay", "1h"]).to_string()),
        ("route.yaml", rules("app", HOST, text)),
    ];
    (Headgate::run(&files).await, app, auth)
}

/// Sends a request that waits for the function, then saves other rules; what it is answered.
async fn rerouted(headgate: &Headgate, fields: &'static str, text: &str) -> headgate_e2e::Answer {
    let mut wire = Wire::open(headgate.address).await;
    let waiting = tokio::spawn(async move { wire.ask(get("/", fields)).await });
    until("it waits", async || headgate.metric("headgate_queue_depth", "stuck").await >= 1.0).await;
    headgate.save("route.yaml", &rules("app", HOST, text));
    waiting.await.unwrap()
}

#[tokio::test]
async fn a_request_that_waits_for_the_service_follows_its_route() {
    let text = rule("/", &http("http: {}").replace("name: auth", "name: stuck"));
    let (headgate, app, _auth) = stuck(&text).await;
    let answer = rerouted(&headgate, "X-A: kept\r\n", "  - backendRefs: [{name: app, port: 80}]\n").await;
    assert_eq!((answer.status, answer.text().as_str(), app.only().field("x-a")), (200, "app", Some("kept")));
    headgate.stop().await;
    // and to another service, which is asked then
    let (headgate, app, auth) = stuck(&text).await;
    let answer = rerouted(&headgate, "", &rule("/", &http("http: {}"))).await;
    assert_eq!((answer.status, auth.requests().len(), app.requests().len()), (401, 1, 0));
    headgate.stop().await;
}

#[tokio::test]
async fn who_passed_under_old_routes_is_asked_about_again_under_new_ones() {
    let to_stuck = |auth: &str| rule("/", auth).replace("name: app", "name: stuck");
    let (headgate, app, auth) = stuck(&to_stuck(&http("http: {}"))).await;
    // an update asks for what Alice does not have
    let stricter = rule("/", &http("http: {path: /odd/204}"));
    let answer = rerouted(&headgate, ALICE, &stricter).await;
    assert_eq!((answer.status, answer.failure()), (403, Some("auth_denied")), "{}", answer.text());
    assert_eq!((auth.requests().len(), app.requests().len()), (2, 0));
    headgate.stop().await;
}

#[tokio::test]
async fn who_may_not_pass_wakes_nothing() {
    let (app, auth) = (Origin::start(|_| Script::ok("app")).await, Origin::start(decide).await);
    let arms = "backendRefs: [{name: cold, port: 80, weight: 1}, {name: app, port: 80, weight: 0}]";
    let text = rule("/", &http("http: {}")).replace("backendRefs: [{name: app, port: 80}]", arms);
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("auth.yaml", backend("auth", None, &[auth.address])),
        ("cold.yaml", Function::named("cold").annotation("headgate.dev/cold", "reject").to_string()),
        ("route.yaml", rules("app", HOST, &text)),
    ];
    let headgate = Headgate::run(&files).await;
    let mut wire = Wire::open(headgate.address).await;
    for _ in 0..5 {
        assert_eq!(wire.ask(get("/", "")).await.status, 401);
    }
    assert_eq!(headgate.count("--text cold"), 0);
    let answer = wire.ask(get("/", ALICE)).await;
    assert_eq!((answer.status, answer.failure()), (503, Some("arm_cold")), "{}", answer.text());
    until("its start", async || wire.ask(get("/", ALICE)).await.status == 200).await;
    headgate.stop().await;
}

#[tokio::test]
async fn filters_apply_in_their_order_and_an_upgrade_goes_on() {
    let auth = Origin::start(decide).await;
    let app = Origin::start(|request| match request.field("upgrade") {
        Some(_) => Script::default()
            .write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            .tunnel(),
        None => Script::ok("app"),
    })
    .await;
    let text = r#"  - filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Order, value: seen}]}}
    - {type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: auth, port: 80}, http: {allowedHeaders: [X-Order], allowedResponseHeaders: [X-User]}}}
    - {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}}
    - {type: CORS, cors: {allowOrigins: ["https://shop.example"], allowMethods: [GET]}}
    backendRefs: [{name: app, port: 80}]
"#;
    let headgate = serving(&[], app.address, auth.address, text).await;
    let mut wire = Wire::open(headgate.address).await;
    assert_eq!(wire.ask(get("/two", &format!("{ALICE}X-Order: forged\r\n"))).await.status, 200);
    assert_eq!((auth.only().target.as_str(), auth.only().values("x-order")), ("/two", vec!["seen"]));
    assert_eq!((app.only().target.as_str(), app.only().field("x-user")), ("/one", Some("alice")));
    let upgrade = format!("{ALICE}Connection: upgrade\r\nUpgrade: echo\r\n");
    wire.send(get("/", &upgrade)).await;
    assert_eq!(wire.head().await.status, 101);
    wire.send("ping").await;
    assert_eq!(wire.bytes(4).await, b"ping");
    drop(wire);
    let explained = Command::new(headgate_e2e::binary())
        .args(["explain", &format!("http://{HOST}/"), "--from"])
        .arg(headgate.home().join("served"))
        .output()
        .unwrap();
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains("authorization over HTTP: asks default/auth:80"), "{explained}");
    headgate.stop().await;
}

/// A field of a message of Protocol Buffers that has a length: short ones only.
pub fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).ok().filter(|length| *length < 128).unwrap();
    [&[number << 3 | 2, length], bytes].concat()
}

pub fn header(number: u8, name: &str, value: &str) -> Vec<u8> {
    field(number, &field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat()))
}

/// `envoy.service.auth.v3.CheckResponse`, for a request whose attributes have Alice's credentials or not.
fn check(request: &headgate_e2e::Request) -> Vec<u8> {
    let has = |text: &str| request.body.windows(text.len()).any(|window| window == text.as_bytes());
    if has("contradiction") {
        return [field(1, &[]), field(2, &[])].concat();
    }
    if has("Basic YWxpY2U=") {
        let ok = [header(2, "X-User", "alice"), field(5, b"authorization"), header(6, "x-session", "s1")].concat();
        return [field(1, &[]), field(3, &ok)].concat();
    }
    // 401, in two bytes
    let denied = [field(1, &[8, 0x91, 3]), header(2, "www-authenticate", "Basic"), field(3, b"who?")].concat();
    [field(1, &[8, 16]), field(2, &denied)].concat()
}

#[tokio::test]
async fn a_service_that_speaks_grpc_is_asked_as_envoy_asks_it() {
    let (app, auth) = (Origin::start(|_| Script::ok("app")).await, H2Origin::start_grpc(check).await);
    let filter = "protocol: GRPC, grpc: {}, backendRef: {name: auth, port: 80}, forwardBody: {maxSize: 16}";
    let headgate = serving(&[], app.address, auth.address, &rule("/", filter)).await;
    let mut wire = Wire::open(headgate.address).await;
    let answer = wire.ask(get("/a?b", &format!("{ALICE}X-User: root\r\n"))).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.field("x-session")), (200, "app", Some("s1")));
    let got = app.only();
    assert_eq!((got.values("x-user"), got.field("authorization")), (vec!["alice"], None));
    let asked = &auth.requests()[0];
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str(), asked.field("content-type"), asked.field("te")),
        ("POST", "/envoy.service.auth.v3.Authorization/Check", Some("application/grpc"), Some("trailers"))
    );
    for part in ["/a?b", HOST, "127.0.0.1", "HTTP/1.1", "x-forwarded-for"] {
        assert!(asked.body.windows(part.len()).any(|window| window == part.as_bytes()), "{part}: {:?}", asked.body);
    }
    let answer = wire.ask(get("/", "")).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.field("www-authenticate")), (401, "who?", Some("Basic")));
    let answer = wire.ask(get("/contradiction", ALICE)).await;
    assert_eq!((answer.status, answer.failure()), (502, Some("auth_answer_invalid")), "{}", answer.text());
    let answer = Wire::post(headgate.address, HOST, "/", b"the body too").await;
    assert_eq!(answer.status, 401);
    let asked = auth.requests().pop().unwrap();
    assert!(asked.body.windows(12).any(|window| window == b"the body too"));
    assert_eq!(app.requests().len(), 1);
    headgate.stop().await;
}

#[tokio::test]
async fn what_is_kept_of_a_body_is_counted_for_as_long_as_it_is_kept() {
    let app = Origin::start(|_| Script::default().wait(Duration::from_secs(60))).await;
    let auth = H2Origin::start_grpc(check).await;
    let filter = "protocol: GRPC, grpc: {}, backendRef: {name: auth, port: 80}, forwardBody: {maxSize: 1000}";
    let headgate = serving(&[], app.address, auth.address, &rule("/", filter)).await;
    let mut wire = Wire::open(headgate.address).await;
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{ALICE}Content-Length: 1000\r\n\r\n");
    wire.send([head.as_bytes(), &[b'x'; 1000]].concat()).await;
    until("the application", async || app.complete() == 1).await;
    assert_eq!(headgate.metric("headgate_queue_bytes", "auth").await, 1000.0, "the messages to the service are gone");
    drop(wire);
    until("the end", async || headgate.metric("headgate_queue_bytes", "auth").await == 0.0).await;
    headgate.stop().await;
}

#[tokio::test]
async fn what_clients_of_http2_may_have_sent_is_counted_while_the_service_starts() {
    const WINDOW: f64 = 65536.0;
    let to_stuck = |path, more: &str| rule(path, &http(more).replace("name: auth", "name: stuck"));
    let text = [to_stuck("/read", "http: {}, forwardBody: {maxSize: 9}"), to_stuck("/", "http: {}")].concat();
    let (headgate, _app, _auth) = stuck(&text).await;
    let waiting = async |requests: f64| {
        until("the wait", async || headgate.metric("headgate_queue_depth", "stuck").await == requests).await;
        headgate.metric("headgate_queue_bytes", "stuck").await
    };
    let client = H2::open(headgate.address).await;
    let call = client.grpc(HOST, "/a.B/C").await;
    let kept = waiting(1.0).await;
    assert!((WINDOW..2.0 * WINDOW).contains(&kept), "{kept}");
    let request = http::Request::post(format!("http://{HOST}/read")).body(()).unwrap();
    let (answer, mut body) = client.start(request, false).await.unwrap();
    body.send_data("whole".into(), true).unwrap();
    let kept = waiting(2.0).await;
    assert!((WINDOW..2.0 * WINDOW).contains(&kept), "{kept}: of a body that was read no more will come");
    drop((call, answer, body));
    headgate.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_for_mirrors_reaches_the_service_and_no_mirror() {
    let (app, auth) = (Origin::start(|_| Script::ok("app")).await, Origin::start(decide).await);
    let mirror = Origin::start(|_| Script::ok("")).await;
    let filter = "    - {type: RequestMirror, requestMirror: {backendRef: {name: mirror, port: 80}}}\n";
    let text = rule("/", &http("http: {}, forwardBody: {maxSize: 1000}"))
        .replace("    backendRefs", &format!("{filter}    backendRefs"));
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("auth.yaml", backend("auth", None, &[auth.address])),
        ("mirror.yaml", backend("mirror", None, &[mirror.address])),
        ("route.yaml", rules("app", HOST, &text)),
    ];
    let headgate = Headgate::run_with(&["--mirror-bytes", "10"], &files).await;
    let mut wire = Wire::open(headgate.address).await;
    for body in ["0123456789a", "0123456789"] {
        let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{ALICE}Content-Length: {}\r\n\r\n", body.len());
        assert_eq!(wire.ask(head + body).await.status, 200);
    }
    until("a copy", async || headgate.metric("headgate_mirrors_total", "sent").await >= 1.0).await;
    assert_eq!((mirror.only().body.len(), auth.requests().len(), app.requests().len()), (10, 2, 2));
    headgate.stop().await;
}

#[tokio::test]
async fn who_is_asked_about_when_the_gateway_stops_is_answered_before_the_end() {
    let (app, auth) = (Origin::start(|_| Script::ok("app")).await, Origin::start(decide).await);
    let text = [rule("/with", &http("http: {}, forwardBody: {maxSize: 10}")), rule("/", &http("http: {}"))].concat();
    let flags = ["--drain-grace", "2s", "--auth-timeout", "60s"];
    let mut headgate = serving(&flags, app.address, auth.address, &text).await;
    let (mut asked, mut sending) = (Wire::open(headgate.address).await, Wire::open(headgate.address).await);
    asked.send(get("/odd/slow", "")).await;
    until("the service", async || auth.complete() == 1).await;
    // told to send its body, it does not
    sending
        .send(format!("POST /with HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"))
        .await;
    assert_eq!(sending.bytes(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    headgate.signal(nix::sys::signal::Signal::SIGTERM);
    for mut wire in [asked, sending] {
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.failure()), (503, Some("draining")), "{}", answer.text());
    }
    assert!(headgate.exit().await.success());
    assert!(app.requests().is_empty());
}
