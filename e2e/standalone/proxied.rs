//! The PROXY protocol: who comes through a load balancer that tells of its clients is seen as that client, and a backend that wants to be told is told, before all else on the connection.

use headgate_e2e::{
    Authority, Door, H2, H2Origin, Headgate, Origin, Script, Wire, backend, block_v2, free_port, header_v1, header_v2,
    rules, until, within,
};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HOST: &str = "app.example";
const CLIENT: &str = "192.0.2.7:50000";
const EDGE: &str = "198.51.100.1:443";
const CLIENT_V6: &str = "[2001:db8::7]:50000";
const EDGE_V6: &str = "[2001:db8::1]:443";

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A Gateway with these listeners: name, port, protocol, and what else they say.
fn gateway(listeners: &[(&str, u16, &str, &str)]) -> String {
    let one = |(name, port, protocol, more): &(&str, u16, &str, &str)| {
        format!("  - {{name: {name}, port: {port}, protocol: {protocol}{more}}}\n")
    };
    let listeners: String = listeners.iter().map(one).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: edge\nspec:\n  gatewayClassName: headgate\n  \
         listeners:\n{listeners}"
    )
}

/// Rules for requests, at all listeners of that Gateway that take them.
fn http_route(name: &str, host: &str, text: &str) -> String {
    rules(name, host, text).replace("spec:\n", "spec:\n  parentRefs: [{name: edge}]\n")
}

fn to_app() -> String {
    http_route("app", HOST, "  - backendRefs: [{name: app, port: 80}]\n")
}

/// What leads from one port to this Service `app`.
fn one_port(port: u16, app: String) -> [(&'static str, String); 3] {
    [("app.yaml", app), ("gateway.yaml", gateway(&[("http", port, "HTTP", "")])), ("route.yaml", to_app())]
}

fn transport(kind: &str, name: &str, section: &str, hostname: Option<&str>) -> String {
    let hostnames = hostname.map(|hostname| format!("  hostnames: [{hostname:?}]\n")).unwrap_or_default();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n  \
         parentRefs: [{{name: edge, sectionName: {section}}}]\n{hostnames}  rules:\n  - backendRefs: [{{name: {name}, port: 80}}]\n"
    )
}

/// A Service whose endpoints are told of clients.
fn told(service: &str, version: &str) -> String {
    service.replacen(
        "metadata:\n",
        &format!("metadata:\n  annotations: {{headgate.dev/proxy-protocol: {version:?}}}\n"),
        1,
    )
}

/// Connects as a load balancer does.
async fn through(port: u16, header: &[u8]) -> TcpStream {
    let mut stream = within("connecting", TcpStream::connect(at(port))).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

fn get() -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

fn lines(headgate: &Headgate) -> Vec<Value> {
    headgate.access_log().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The client of a line of the log that fits.
async fn client_of(headgate: &Headgate, fits: impl Fn(&Value) -> bool) -> String {
    until("a line", async || lines(headgate).iter().any(&fits)).await;
    let found = lines(headgate).into_iter().find(|line| fits(line)).unwrap();
    found["client"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_is_of_the_client_that_its_load_balancer_tells_of() {
    let origin = Origin::start(|_| Script::ok("app")).await;
    let (port, other) = (free_port(), free_port());
    let listeners = [("http", port, "HTTP", ""), ("direct", other, "HTTP", "")];
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("gateway.yaml", gateway(&listeners)),
        ("route.yaml", to_app()),
    ];
    let flags = ["--log-format", "json", "--proxy-protocol-in", &port.to_string()];
    let headgate = Headgate::run_with(&flags, &files).await;
    let local = "127.0.0.1".to_owned();
    for (header, client) in [
        (header_v1(CLIENT, EDGE), "192.0.2.7"),
        (header_v2(CLIENT, EDGE), "192.0.2.7"),
        (header_v1(CLIENT_V6, EDGE_V6), "2001:db8::7"),
        (header_v2(CLIENT_V6, EDGE_V6), "2001:db8::7"),
        (header_v2("[::ffff:192.0.2.9]:1", "[::ffff:192.0.2.1]:2"), "192.0.2.9"),
        // connections of the load balancer's own, and of clients of which it can tell nothing
        (b"PROXY UNKNOWN\r\n".to_vec(), &local),
        (block_v2(0x20, 0x00, &[]), &local),
        (block_v2(0x21, 0x00, &[]), &local),
        (block_v2(0x21, 0x31, &[b'/'; 216]), &local),
    ] {
        origin.forget();
        let mut wire = Wire::over(through(port, &header).await);
        // each request of the connection is of this client
        for _ in 0..2 {
            assert_eq!(wire.ask(get()).await.status, 200, "{}", header.escape_ascii());
        }
        let requests = origin.requests();
        for request in &requests {
            assert_eq!(request.values("x-forwarded-for"), [client], "{}", header.escape_ascii());
        }
        let id = requests[1].field("x-request-id").unwrap();
        assert_eq!(client_of(&headgate, |line| line["request_id"] == id).await, client);
        let past = Wire::get(headgate.admin, "localhost", &format!("/requests?id={id}")).await;
        assert!(past.text().contains(client), "{}", past.text());
    }
    // another port is for those who come directly, and a header is nothing there
    origin.forget();
    let mut wire = Wire::open(at(other)).await;
    assert_eq!(wire.ask(get()).await.status, 200);
    assert_eq!(origin.only().values("x-forwarded-for"), ["127.0.0.1"]);
    let mut wire = Wire::over(through(other, &header_v1(CLIENT, EDGE)).await);
    assert_eq!(wire.ask(get()).await.status, 400);
    headgate.stop().await;
}

#[tokio::test]
async fn who_is_believed_is_asked_of_the_client_and_not_of_the_load_balancer() {
    let origin = Origin::start(|_| Script::ok("app")).await;
    let port = free_port();
    let files = one_port(port, backend("app", None, &[origin.address]));
    let flags = ["--proxy-protocol-in", &port.to_string(), "--trusted-hops", "192.0.2.0/24"];
    let headgate = Headgate::run_with(&flags, &files).await;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
    for (client, expected) in
        [(CLIENT, "203.0.113.9, 192.0.2.7"), ("198.51.100.7:1", "198.51.100.7"), ("127.0.0.1:1", "127.0.0.1")]
    {
        origin.forget();
        let mut wire = Wire::over(through(port, &header_v2(client, EDGE)).await);
        assert_eq!(wire.ask(&request).await.status, 200);
        assert_eq!(origin.only().values("x-forwarded-for"), [expected]);
    }
    headgate.stop().await;
}

#[tokio::test]
async fn a_header_is_taken_from_those_who_may_send_one() {
    let origin = Origin::start(|_| Script::ok("app")).await;
    let port = free_port();
    let files = one_port(port, backend("app", None, &[origin.address]));
    let port_text = port.to_string();
    for (from, is_served) in [("127.0.0.0/8,::1", true), ("192.0.2.0/24", false)] {
        let flags = ["--log-format", "json", "--proxy-protocol-in", &port_text, "--proxy-protocol-from", from];
        let headgate = Headgate::run_with(&flags, &files).await;
        let mut wire = Wire::over(through(port, &header_v1(CLIENT, EDGE)).await);
        wire.send(get()).await;
        assert_eq!(wire.try_answer(false).await.is_ok(), is_served, "from {from}");
        if !is_served {
            assert_eq!(client_of(&headgate, |line| line["failure"] == "bad_proxy_header").await, "127.0.0.1");
            let log = headgate.access_log();
            assert!(log.contains("127.0.0.1 is not in --proxy-protocol-from"), "{log}");
        }
        headgate.stop().await;
    }
}

#[tokio::test]
async fn every_protocol_may_follow_a_header() {
    let (ours, theirs) = (Authority::default(), Authority::default());
    let app = Origin::start(|request| Script::ok(request.field("x-forwarded-for").unwrap_or("none"))).await;
    let sealed = Origin::start_tls(theirs.acceptor(&["sealed.example"], &[]), |_| Script::ok("sealed")).await;
    let (plain, tls, tcp) = (free_port(), free_port(), free_port());
    let ends = format!(", hostname: {HOST}, tls: {{certificateRefs: [{{name: ours}}]}}");
    let listeners = [
        ("http", plain, "HTTP", ""),
        ("https", tls, "HTTPS", ends.as_str()),
        ("sealed", tls, "TLS", ", hostname: sealed.example, tls: {mode: Passthrough}"),
        ("tcp", tcp, "TCP", ""),
    ];
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("sealed.yaml", backend("sealed", None, &[sealed.address])),
        ("secret.yaml", ours.secret("ours", &[HOST])),
        ("gateway.yaml", gateway(&listeners)),
        ("route.yaml", to_app()),
        ("route-sealed.yaml", transport("TLSRoute", "sealed", "sealed", Some("sealed.example"))),
        ("route-tcp.yaml", transport("TCPRoute", "app", "tcp", None)),
    ];
    let ports = format!("{plain},{tls},{tcp}");
    let headgate = Headgate::run_with(&["--log-format", "json", "--proxy-protocol-in", &ports], &files).await;
    headgate.printed(", 0 problems").await;
    for header in [header_v1(CLIENT, EDGE), header_v2(CLIENT, EDGE)] {
        let h2 = H2::over(through(plain, &header).await).await;
        assert_eq!(h2.get(HOST, "/").await.unwrap().body, "192.0.2.7");
        let stream = ours.shake_hands(through(tls, &header).await, HOST, &["http/1.1"]).await.unwrap();
        assert_eq!(Wire::over(stream).ask(get()).await.text(), "192.0.2.7");
        let stream = ours.shake_hands(through(tls, &header).await, HOST, &["h2"]).await.unwrap();
        assert_eq!(H2::over(stream).await.get(HOST, "/").await.unwrap().body, "192.0.2.7");
        let stream = theirs.shake_hands(through(tls, &header).await, "sealed.example", &[]).await.unwrap();
        assert_eq!(Wire::over(stream).ask(get()).await.text(), "sealed");
        let mut wire = Wire::over(through(tcp, &header).await);
        assert_eq!(wire.ask(get()).await.text(), "none", "what is not read is not added to");
    }
    let told = |protocol: &'static str| client_of(&headgate, move |line| line["protocol"] == protocol);
    for protocol in ["HTTP/1.1", "HTTP/2", "TLS", "TCP"] {
        assert_eq!(told(protocol).await, "192.0.2.7", "{protocol}");
    }
    headgate.stop().await;
}

#[tokio::test]
async fn who_is_carried_is_told_to_the_endpoint() {
    let authority = Authority::default();
    let app = Origin::start(|_| Script::ok("app")).await;
    let sealed = Origin::start_tls(authority.acceptor(&["sealed.example"], &[]), |_| Script::ok("sealed")).await;
    let (plain_door, sealed_door) = (Door::before(app.address).await, Door::before(sealed.address).await);
    let (tcp, tls) = (free_port(), free_port());
    let listeners = [("tcp", tcp, "TCP", ""), ("tls", tls, "TLS", ", tls: {mode: Passthrough}")];
    let files = [
        ("app.yaml", told(&backend("app", None, &[plain_door.address]), "v1")),
        ("sealed.yaml", told(&backend("sealed", None, &[sealed_door.address]), "v2")),
        ("gateway.yaml", gateway(&listeners)),
        ("route-app.yaml", transport("TCPRoute", "app", "tcp", None)),
        ("route-sealed.yaml", transport("TLSRoute", "sealed", "tls", Some("sealed.example"))),
    ];
    let headgate = Headgate::run(&files).await;
    let stream = TcpStream::connect(at(tcp)).await.unwrap();
    let from = stream.local_addr().unwrap().port();
    assert_eq!(Wire::over(stream).ask(get()).await.text(), "app");
    let visits = plain_door.visits();
    assert_eq!((visits.len(), visits[0].version), (1, 1));
    assert_eq!(visits[0].header, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {tcp}"));

    let stream = TcpStream::connect(at(tls)).await.unwrap();
    let from = stream.local_addr().unwrap().port();
    let stream = authority.shake_hands(stream, "sealed.example", &[]).await.unwrap();
    assert_eq!(Wire::over(stream).ask(get()).await.text(), "sealed");
    let visits = sealed_door.visits();
    assert_eq!((visits.len(), visits[0].version), (1, 2));
    assert_eq!(visits[0].header, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {tls}"));
    // another version is one save away
    headgate.save("app.yaml", &told(&backend("app", None, &[plain_door.address]), "v2"));
    until("version 2", async || {
        let mut stream = TcpStream::connect(at(tcp)).await.unwrap();
        stream.write_all(get().as_bytes()).await.unwrap();
        let _ = within("a byte", stream.read_u8()).await;
        plain_door.visits().last().is_some_and(|visit| visit.version == 2)
    })
    .await;
    headgate.stop().await;
}

#[tokio::test]
async fn who_is_told_of_is_passed_on_from_hop_to_hop() {
    let app = Origin::start(|_| Script::ok("app")).await;
    let door = Door::before(app.address).await;
    let port = free_port();
    let files = one_port(port, told(&backend("app", None, &[door.address]), "v2"));
    let headgate = Headgate::run_with(&["--proxy-protocol-in", &port.to_string()], &files).await;
    for (client, to, header) in [
        (CLIENT, EDGE, "PROXY TCP4 192.0.2.7 198.51.100.1 50000 443"),
        (CLIENT_V6, EDGE_V6, "PROXY TCP6 2001:db8::7 2001:db8::1 50000 443"),
    ] {
        let mut wire = Wire::over(through(port, &header_v1(client, to)).await);
        assert_eq!(wire.ask(get()).await.text(), "app");
        assert_eq!(door.visits().last().unwrap().header, header);
    }
    headgate.stop().await;
}

/// What an endpoint was told of a connection must hold for each request on it.
#[tokio::test]
async fn a_connection_that_tells_of_a_client_serves_nobody_else() {
    let app = Origin::start(|_| Script::ok("app")).await;
    let door = Door::before(app.address).await;
    let port = free_port();
    let files = one_port(port, told(&backend("app", None, &[door.address]), "v1"));
    // one core, which all clients share
    let headgate = Headgate::run_with(&["--cores", "1"], &files).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let stream = TcpStream::connect(at(port)).await.unwrap();
        let from = stream.local_addr().unwrap().port();
        clients.push((from, Wire::over(stream)));
    }
    for _ in 0..4 {
        for (_, wire) in &mut clients {
            assert_eq!(wire.ask(get()).await.text(), "app");
        }
    }
    let visits = door.visits();
    let headers: Vec<&str> = visits.iter().map(|visit| visit.header.as_str()).collect();
    let expected: Vec<String> =
        clients.iter().map(|(from, _)| format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {port}")).collect();
    assert_eq!(headers, expected, "one connection for each client, kept from request to request");
    assert!(visits.iter().all(|visit| !visit.over));
    // it ends with its client
    drop(clients.remove(1));
    until("the end of one", async || door.visits()[1].over).await;
    assert!(!door.visits()[0].over && !door.visits()[2].over);
    headgate.stop().await;
}

#[tokio::test]
async fn over_http_2_an_endpoint_is_told_of_each_client_once() {
    let app = H2Origin::start().await;
    let door = Door::before(app.address).await;
    let port = free_port();
    let files = one_port(port, told(&backend("app", Some("kubernetes.io/h2c"), &[door.address]), "v2"));
    let headgate = Headgate::run_with(&["--cores", "1"], &files).await;
    let mut expected = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(at(port)).await.unwrap();
        let from = stream.local_addr().unwrap().port();
        expected.push(format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {port}"));
        let client = H2::over(stream).await;
        for _ in 0..3 {
            let request = http::Request::post(format!("http://{HOST}/")).body(()).unwrap();
            assert_eq!(client.call(request, "a body").await.unwrap().body, "a body");
        }
        clients.push(client);
    }
    let headers: Vec<String> = door.visits().into_iter().map(|visit| visit.header).collect();
    assert_eq!(headers, expected);
    drop(clients);
    until("the end of both", async || door.visits().iter().all(|visit| visit.over)).await;
    headgate.stop().await;
}

#[tokio::test]
async fn a_copy_for_a_mirror_is_of_the_same_client() {
    let app = Origin::start(|_| Script::ok("app")).await;
    let shadow = Origin::start(|_| Script::ok("shadow")).await;
    let door = Door::before(shadow.address).await;
    let port = free_port();
    let mirrored = "  - filters:\n    - type: RequestMirror\n      requestMirror: {backendRef: {name: shadow, port: 80}}\n    \
                    backendRefs: [{name: app, port: 80}]\n";
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("shadow.yaml", told(&backend("shadow", None, &[door.address]), "v1")),
        ("gateway.yaml", gateway(&[("http", port, "HTTP", "")])),
        ("route.yaml", http_route("app", HOST, mirrored)),
    ];
    let headgate = Headgate::run(&files).await;
    let stream = TcpStream::connect(at(port)).await.unwrap();
    let from = stream.local_addr().unwrap().port();
    assert_eq!(Wire::over(stream).ask(get()).await.text(), "app");
    until("the copy", async || shadow.complete() == 1).await;
    assert_eq!(door.visits()[0].header, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {port}"));
    headgate.stop().await;
}

#[tokio::test]
async fn a_version_that_does_not_exist_is_told_with_its_remedy() {
    let app = Origin::start(|_| Script::ok("app")).await;
    let port = free_port();
    let files = one_port(port, told(&backend("app", None, &[app.address]), "v3"));
    let headgate = Headgate::run(&files).await;
    let said = headgate.printed("headgate.dev/proxy-protocol").await;
    let output = headgate.output().join("\n");
    assert!(said.contains("\"v3\"") && output.contains("write v1 or v2"), "{output}");
    assert_eq!(Wire::open(at(port)).await.ask(get()).await.status, 500);
    assert!(app.requests().is_empty(), "it is not called as if nothing were wrong");
    headgate.save("app.yaml", &backend("app", None, &[app.address]));
    until("the mended one", async || Wire::open(at(port)).await.ask(get()).await.status == 200).await;
    headgate.stop().await;
}
