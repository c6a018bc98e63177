//! `gateway` with a controller that this test is: what it serves while there is one, and without.

use crate::program::{Running, exchange, headgate};
use headgate_config::{
    Action, Activation, Arm, ArmTarget, Attachment, Backend, BackendName, BackendProtocol, Certificate,
    CertificateName, Endpoint, Endpoints, GatewayName, Host, HostPattern, Listener, ListenerName, ListenerTls, Match,
    PathMatch, Probe, Protocol, QueueBounds, RouteKind, Rule, RuleName, Snapshot, Split, Timeouts, Wait,
};
use headgate_stream::{Identity, Pace, Publisher, ServerTls, authority::Material, serve};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

fn name() -> GatewayName {
    GatewayName { namespace: "a".into(), name: "web".into() }
}

/// A controller of one Gateway; gone once it is dropped.
struct Controller {
    _runtime: tokio::runtime::Runtime,
    publisher: Publisher,
    at: String,
}

impl Controller {
    /// Writes what a Pod gets into a folder: authority, token, a place for state.
    fn start(folder: &Path) -> Self {
        Self::start_at(folder, 0)
    }

    fn start_at(folder: &Path, port: u16) -> Self {
        let names = ["localhost".to_owned()];
        let material = Material::renewed(None, &names, SystemTime::now()).unwrap().unwrap();
        std::fs::write(folder.join("ca.crt"), material.trusted()).unwrap();
        std::fs::write(folder.join("token"), "the token").unwrap();
        std::fs::create_dir_all(folder.join("state")).unwrap();
        let tls = ServerTls::new(material.chain(), material.key()).unwrap();
        let (publisher, mut reports) = Publisher::new("test", 1, "test", Pace::default());
        publisher.lead(true);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bind = || runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", port))).ok();
        let listener = std::cell::OnceCell::new();
        // a controller that was there before, or a connection of another test, may have it for a moment
        until("the port is free", || bind().is_some_and(|bound| listener.set(bound).is_ok()));
        let listener = listener.into_inner().unwrap();
        let at = format!("localhost:{}", listener.local_addr().unwrap().port());
        let authenticate = |_| std::future::ready(Ok(Identity { gateway: name(), pod: "pod".into() }));
        runtime.spawn(serve(listener, tls, authenticate, publisher.clone()));
        runtime.spawn(async move { while reports.recv().await.is_some() {} });
        Self { _runtime: runtime, publisher, at }
    }

    /// Everything on a port goes to an endpoint.
    fn publish(&self, port: u16, endpoint: SocketAddr) {
        self.publish_with(port, endpoint, None);
    }

    /// The same, and a listener with TLS on a second port.
    fn publish_with(&self, port: u16, endpoint: SocketAddr, tls: Option<(u16, Certificate)>) {
        let backend = BackendName::tcp("a", "s", 80);
        let endpoint = Endpoint { address: endpoint, ready: true, probe: Probe::default() };
        let list = vec![endpoint];
        let endpoints = Endpoints { backend: backend.clone(), list, activation: Activation::Ready };
        self.publisher.endpoints(&name(), endpoints);
        let mut snapshot = snapshot(port, backend);
        let mut certificates = BTreeMap::new();
        if let Some((port, certificate)) = tls {
            let names = vec![certificate.name.clone()];
            let name =
                ListenerName { section: "https".into(), ..snapshot.listeners.values().next().unwrap().name.clone() };
            let listener = Listener {
                name: name.clone(),
                port,
                protocol: Protocol::Https,
                hostname: HostPattern::Any,
                tls: Some(ListenerTls { certificates: names, client_auth: None }),
                backend_certificate: None,
                gate: None,
            };
            snapshot.insert_listener(listener.into());
            certificates.insert(certificate.name.clone(), certificate);
        }
        self.publisher.publish(&name(), snapshot, Arc::new(certificates));
    }
}

pub fn snapshot(port: u16, backend: BackendName) -> Snapshot {
    let listener =
        ListenerName { namespace: "a".into(), gateway: "web".into(), set: "".into(), section: "http".into() };
    let any = Host { pattern: HostPattern::Any, declared: HostPattern::Any };
    let path = PathMatch::Prefix("/".into());
    let arm = Arm { target: ArmTarget::Backend(backend.clone()), weight: 1, filters: Vec::new() };
    let mut snapshot = Snapshot::default();
    snapshot.insert_listener(Arc::new(Listener {
        name: listener.clone(),
        port,
        protocol: Protocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None,
        gate: None,
    }));
    snapshot.insert_rule(Arc::new(Rule {
        name: RuleName { kind: RouteKind::HTTPRoute, namespace: "a".into(), route: "r".into(), index: 0 },
        title: "".into(),
        created: 0,
        attachments: vec![Attachment { listener, hosts: vec![any] }].into(),
        matches: vec![Match { path, method: None, headers: Vec::new(), queries: Vec::new() }].into(),
        filters: Vec::new(),
        action: Action::Forward(Split { arms: vec![arm].into(), cold: Default::default() }),
        timeouts: Timeouts::default(),
        retry: None,
    }));
    snapshot.insert_backend(Arc::new(Backend {
        name: backend,
        protocol: BackendProtocol::Http1,
        hostname: None,
        tls: None,
        proxy_protocol: None,
        concurrency: 0,
        queue: QueueBounds::default(),
        scales: None,
        wait: Wait::default(),
        retries: None,
    }));
    snapshot
}

/// Answers each connection with 200 and closes it.
pub fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    address
}

/// A gateway's Pod, and its admin address.
pub fn pod(folder: &Path, controller: &str, more: &[&str]) -> (Running, String) {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (ca, token, state) = (file("ca.crt"), file("token"), file("state"));
    let own = ["gateway", "--gateway", "a/web", "--controller", controller, "--ca", &ca, "--token", &token, "--state"];
    let rest = [&state, "--pod", "pod", "--admin", "127.0.0.1:0", "--access-log", "none", "--log-format", "json"];
    let (running, line) = Running::start(&[&own[..], &rest, more].concat(), "\"admin\":");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    (running, line["admin"].as_str().unwrap().to_owned())
}

pub fn get(address: &str, path: &str) -> String {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n"))
}

/// The answer of [`backend`] on a connection that may go on.
fn ask_on(kept: &mut TcpStream) -> String {
    kept.write_all(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n").unwrap();
    let (mut answer, mut byte) = (String::new(), [0]);
    while !answer.ends_with("\r\n\r\nhello") {
        kept.read_exact(&mut byte).unwrap();
        answer.push(char::from(byte[0]));
    }
    answer
}

pub fn is_ready(admin: &str) -> bool {
    get(admin, "/readyz").starts_with("HTTP/1.1 200")
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_gateway_serves_what_its_controller_says_and_serves_on_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let controller = Controller::start(folder.path());
    let at = controller.at.clone();
    let (running, admin) = pod(folder.path(), &at, &[]);
    assert!(get(&admin, "/livez").starts_with("HTTP/1.1 200"), "alive before there are routes");
    assert!(!is_ready(&admin), "not ready before there are routes");

    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    controller.publish(port, backend());
    until("it becomes ready", || is_ready(&admin));
    assert!(get(&address, "/x").ends_with("\r\n\r\nhello"));
    let kept = folder.path().join("state/routes");
    until("the routes are kept", || kept.exists());

    drop(controller);
    assert!(get(&address, "/x").ends_with("\r\n\r\nhello"), "without a controller");
    running.signal("KILL");
    running.wait();
    let (running, admin) = pod(folder.path(), &at, &[]);
    until("it is ready again", || is_ready(&admin));
    assert!(get(&address, "/x").ends_with("\r\n\r\nhello"), "after a restart, without a controller");
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn a_gateway_that_can_keep_nothing_for_its_next_start_serves_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let controller = Controller::start(folder.path());
    std::fs::remove_dir(folder.path().join("state")).unwrap();
    // as on a full disk, no file can be written below it
    std::fs::write(folder.path().join("state"), "").unwrap();
    let (running, admin) = pod(folder.path(), &controller.at, &[]);
    for _ in 0..2 {
        let port = free_port();
        controller.publish(port, backend());
        until("the routes are live", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(get(&format!("127.0.0.1:{port}"), "/x").ends_with("\r\n\r\nhello"));
        until("it is ready", || is_ready(&admin));
    }
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn a_gateway_that_waits_for_its_keys_serves_what_needs_none_and_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = backend();
    let (port, tls_port) = (free_port(), free_port());
    let publish = |controller: &Controller| {
        let material = Material::renewed(None, &["example.com".to_owned()], SystemTime::now()).unwrap().unwrap();
        let name = CertificateName { namespace: "a".into(), secret: "s".into() };
        let certificate = Certificate { name, chain: material.chain().into(), key: material.key().clone() };
        controller.publish_with(port, endpoint, Some((tls_port, certificate)));
    };
    let controller = Controller::start(folder.path());
    publish(&controller);
    let (running, admin) = pod(folder.path(), &controller.at, &[]);
    until("it becomes ready", || is_ready(&admin));
    let kept = folder.path().join("state/routes");
    until("the routes are kept", || kept.exists());
    let at = controller.at.clone();
    drop(controller);
    running.signal("KILL");
    running.wait();

    let (_running, admin) = pod(folder.path(), &at, &[]);
    until("its routes are live", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let answer = get(&format!("127.0.0.1:{port}"), "/x");
    assert!(answer.ends_with("\r\n\r\nhello"), "what needs no key: {answer}");
    assert!(!is_ready(&admin), "no key has come");
    let controller_port = at.rsplit_once(':').unwrap().1.parse().unwrap();
    let controller = Controller::start_at(folder.path(), controller_port);
    publish(&controller);
    until("it is ready", || is_ready(&admin));
}

#[test]
fn a_gateway_that_is_asked_to_stop_takes_connections_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let controller = Controller::start(folder.path());
    let (mut running, admin) = pod(folder.path(), &controller.at, &["--shutdown-delay", "60"]);
    let port = free_port();
    let endpoint = backend();
    controller.publish(port, endpoint);
    until("it becomes ready", || is_ready(&admin));
    running.signal("TERM");
    let mut kept = TcpStream::connect(("127.0.0.1", port)).unwrap();
    until("a kept connection ends with its next answer", || ask_on(&mut kept).contains("\r\nconnection: close\r\n"));
    // a version that comes meanwhile is served
    let other = free_port();
    controller.publish(other, endpoint);
    until("the version is live", || TcpStream::connect(("127.0.0.1", other)).is_ok());
    assert!(get(&format!("127.0.0.1:{other}"), "/").ends_with("\r\n\r\nhello"));
    assert!(is_ready(&admin), "a Service that has no other Pod sends to this one");
    assert!(running.runs());
    running.signal("INT");
    until("a second signal ends the wait", || TcpStream::connect(("127.0.0.1", other)).is_err());
}

#[test]
fn a_gateway_whose_gateway_is_gone_does_not_wait_for_connections() {
    let folder = tempfile::tempdir().unwrap();
    let controller = Controller::start(folder.path());
    let (mut running, admin) = pod(folder.path(), &controller.at, &["--shutdown-delay", "3600"]);
    let port = free_port();
    controller.publish(port, backend());
    until("it becomes ready", || is_ready(&admin));
    running.signal("TERM");
    assert!(get(&format!("127.0.0.1:{port}"), "/").ends_with("\r\n\r\nhello"));
    controller.publisher.forget(&name());
    until("it is over", || !running.runs());
    running.wait();
}

#[test]
fn a_gateway_without_a_namespace_is_wrong_usage() {
    let arguments = ["gateway", "--gateway", "web", "--controller", "x:1", "--ca", "x", "--token", "x", "--pod", "x"];
    headgate(&arguments).exits(2).complains("write namespace/name");
}
