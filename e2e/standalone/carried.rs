//! Connections that are passed on and not read: TCPRoutes, and TLSRoutes by server name, whether TLS ends here or not. Every byte arrives, both ends learn of the end, and who is refused learns why.

use headgate_e2e::{Authority, Function, Headgate, Origin, Script, Wire, backend, pattern, rules, until, within};
use nix::sys::signal::Signal;
use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A Gateway with these listeners, as they stand in a file.
fn gateway(listeners: &[String]) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: edge\nspec:\n  gatewayClassName: headgate\n  \
         listeners:\n{}",
        listeners.concat()
    )
}

fn listener(name: &str, port: u16, protocol: &str, more: &str) -> String {
    format!("  - {{name: {name}, port: {port}, protocol: {protocol}{more}}}\n")
}

/// A route of the transport layer on a listener of that Gateway.
fn transport(kind: &str, name: &str, section: &str, hostname: Option<&str>, arms: &[(&str, u32)]) -> String {
    let hostnames = hostname.map(|hostname| format!("  hostnames: [{hostname:?}]\n")).unwrap_or_default();
    let arms: String =
        arms.iter().map(|(arm, weight)| format!("    - {{name: {arm}, port: 80, weight: {weight}}}\n")).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n  \
         parentRefs: [{{name: edge, sectionName: {section}}}]\n{hostnames}  rules:\n  - backendRefs:\n{arms}"
    )
}

/// An application that says its name first, reads to the end, and sends back what it read.
async fn echo(name: &'static str) -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                stream.write_all(name.as_bytes()).await?;
                let mut read = Vec::new();
                stream.read_to_end(&mut read).await?;
                stream.write_all(&read).await
            });
        }
    });
    address
}

/// Sends bytes, ends its side, and reads to the end of the other.
async fn talk(to: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let talking = async {
        let (mut reading, mut writing) = TcpStream::connect(to).await?.into_split();
        let sending = async {
            writing.write_all(bytes).await?;
            writing.shutdown().await
        };
        let mut read = Vec::new();
        let (sent, got) = tokio::join!(sending, reading.read_to_end(&mut read));
        sent.and(got).map(|_| read)
    };
    within("a conversation", talking).await
}

#[tokio::test]
async fn tcp_carries_every_byte_and_the_end_of_each_side() {
    let (one, two) = (echo("one").await, echo("two").await);
    let port = free_port();
    let route = |arms: &[(&str, u32)]| transport("TCPRoute", "db", "tcp", None, arms);
    let files = [
        ("one.yaml", backend("one", None, &[one])),
        ("two.yaml", backend("two", Some("mysql"), &[two])),
        ("gateway.yaml", gateway(&[listener("tcp", port, "TCP", "")])),
        ("route.yaml", route(&[("one", 1), ("two", 0)])),
    ];
    let headgate = Headgate::run(&files).await;
    // the endpoint speaks first, and what is longer than every buffer arrives
    let sent = pattern(3_000_001);
    let got = talk(at(port), &sent).await.unwrap();
    assert!(got.starts_with(b"one") && got[3..] == sent[..], "{} bytes", got.len());

    let mut kept = TcpStream::connect(at(port)).await.unwrap();
    let mut name = [0; 3];
    within("a name", kept.read_exact(&mut name)).await.unwrap();
    headgate.save("route.yaml", &route(&[("one", 1), ("two", 1)]));
    let mut seen = [0, 0];
    until("both arms", async || {
        let got = talk(at(port), b"").await.unwrap();
        seen[usize::from(got == b"two")] += 1;
        seen.iter().all(|count| *count > 3)
    })
    .await;
    kept.write_all(b"still here").await.unwrap();
    kept.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("what was sent before", kept.read_to_end(&mut rest)).await.unwrap();
    assert_eq!((name, rest.as_slice()), (*b"one", &b"still here"[..]), "a connection outlives its routes");

    until("a count", async || headgate.metric("headgate_carried_total", "result=\"ended\"").await > 9.0).await;
    assert!(headgate.metric("headgate_carried_bytes_total", "direction=\"up\"").await >= 3_000_001.0);
    until("none open", async || headgate.metric("headgate_carried_open", "").await == 0.0).await;
    headgate.stop().await;
}

#[tokio::test]
async fn who_cannot_be_served_is_cut_off_and_told_of() {
    let nobody = at(free_port());
    let port = free_port();
    let files = [
        ("app.yaml", backend("app", None, &[nobody])),
        ("gateway.yaml", gateway(&[listener("tcp", port, "TCP", "")])),
        ("route.yaml", transport("TCPRoute", "db", "tcp", None, &[("app", 1)])),
    ];
    let headgate = Headgate::run_with(&["--log-format", "json"], &files).await;
    let answer = talk(at(port), b"hello").await;
    assert!(answer.is_err(), "an end without a reset would be taken for an empty answer: {answer:?}");
    until("a line", async || headgate.access_log().contains("\"failure\":\"connect_refused\"")).await;
    let log = headgate.access_log();
    assert!(log.contains("\"protocol\":\"TCP\"") && log.contains("\"rule\":\"TCPRoute/default/db/0\""), "{log}");
    assert_eq!(headgate.metric("headgate_failures_total", "connect_refused").await, 1.0);
    headgate.stop().await;
}

#[tokio::test]
async fn tcp_waits_for_a_function_and_is_its_first_request() {
    let port = free_port();
    let files = [
        ("hello.yaml", Function::named("hello").to_string()),
        ("gateway.yaml", gateway(&[listener("tcp", port, "TCP", "")])),
        ("route.yaml", transport("TCPRoute", "hello", "tcp", None, &[("hello", 1)])),
    ];
    let headgate = Headgate::run_with(&["--log-format", "json"], &files).await;
    assert_eq!(headgate.count("echo"), 0, "it runs before anybody asked");
    let mut wire = Wire::open(at(port)).await;
    let answer = wire.ask("GET / HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.text().trim()), (200, "hello"));
    drop(wire);
    until("a line", async || headgate.access_log().contains("wait_ms")).await;
    headgate.stop().await;
}

#[tokio::test]
async fn tls_passes_through_by_name() {
    let authority = Authority::default();
    let origin = |names: &'static [&'static str]| {
        Origin::start_tls(authority.acceptor(names, &["http/1.1"]), move |_| Script::ok(names[0]))
    };
    let (exact, wild) = (origin(&["a.pass.example"]).await, origin(&["*.pass.example"]).await);
    let port = free_port();
    let through = ", hostname: \"*.pass.example\", tls: {mode: Passthrough}";
    let files = [
        ("exact.yaml", backend("exact", None, &[exact.address])),
        ("wild.yaml", backend("wild", None, &[wild.address])),
        ("gateway.yaml", gateway(&[listener("tls", port, "TLS", through)])),
        ("route-exact.yaml", transport("TLSRoute", "exact", "tls", Some("a.pass.example"), &[("exact", 1)])),
        ("route-wild.yaml", transport("TLSRoute", "wild", "tls", Some("*.example"), &[("wild", 1)])),
    ];
    let headgate = Headgate::run_with(&["--log-format", "json"], &files).await;
    for (name, expected) in [("a.pass.example", "a.pass.example"), ("b.pass.example", "*.pass.example")] {
        // the certificate, and so the key, is the endpoint's own
        let stream = authority.connect(at(port), name, &["http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "both ends agree without the gateway");
        let answer = Wire::over(stream).ask(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    }
    assert!(authority.connect(at(port), "other.example", &[]).await.is_err(), "no listener has this name");
    assert!(authority.connect(at(port), "127.0.0.1", &[]).await.is_err(), "there is no name to go by");
    let mut plain = Wire::open(at(port)).await;
    plain.send("GET / HTTP/1.1\r\nHost: a.pass.example\r\n\r\n").await;
    assert!(plain.try_answer(false).await.is_err());
    for failure in ["no_listener", "no_server_name", "not_tls"] {
        until(failure, async || headgate.access_log().contains(&format!("\"failure\":\"{failure}\""))).await;
    }
    let log = headgate.access_log();
    assert!(log.contains("\"server_name\":\"a.pass.example\"") && log.contains("TLSRoute/default/exact/0"), "{log}");
    headgate.stop().await;
}

#[tokio::test]
async fn one_port_ends_tls_for_some_names_and_not_for_others() {
    let (ours, theirs) = (Authority::default(), Authority::default());
    let sealed = Origin::start_tls(theirs.acceptor(&["sealed.example"], &[]), |_| Script::ok("sealed")).await;
    let plain = Origin::start(|_| Script::ok("ended")).await;
    let again = Origin::start_tls(theirs.acceptor(&["inside.example"], &[]), |_| Script::ok("again")).await;
    let web = Origin::start(|request| Script::ok(request.field("x-forwarded-proto").unwrap_or("none"))).await;
    let port = free_port();
    let names = ["sealed", "ended", "again", "web"];
    let ends = |name: &str| format!(", hostname: {name}.example, tls: {{certificateRefs: [{{name: ours}}]}}");
    let sealing = ", hostname: sealed.example, tls: {mode: Passthrough}";
    let policy = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata:\n  name: again\nspec:\n  \
                  targetRefs: [{group: \"\", kind: Service, name: again}]\n  validation:\n    hostname: inside.example\n    \
                  caCertificateRefs: [{group: \"\", kind: ConfigMap, name: theirs}]\n";
    let route = |name: &str| transport("TLSRoute", name, name, Some(&format!("{name}.example")), &[(name, 1)]);
    let listeners = [
        listener("sealed", port, "TLS", sealing),
        listener("ended", port, "TLS", &ends("ended")),
        listener("again", port, "TLS", &ends("again")),
        listener("web", port, "HTTPS", &ends("web")),
    ];
    let web_route = rules("web", "web.example", "  - backendRefs: [{name: web, port: 80}]\n")
        .replace("spec:\n", "spec:\n  parentRefs: [{name: edge}]\n");
    let files = [
        ("sealed.yaml", backend("sealed", None, &[sealed.address])),
        ("ended.yaml", backend("ended", None, &[plain.address])),
        ("again.yaml", backend("again", None, &[again.address])),
        ("web.yaml", backend("web", None, &[web.address])),
        ("policy.yaml", policy.to_owned()),
        ("authority.yaml", theirs.config_map("theirs")),
        ("secret.yaml", ours.secret("ours", &["ended.example", "again.example", "web.example"])),
        ("gateway.yaml", gateway(&listeners)),
        ("route-sealed.yaml", route("sealed")),
        ("route-ended.yaml", route("ended")),
        ("route-again.yaml", route("again")),
        ("route-web.yaml", web_route),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.printed(", 0 problems").await;
    for name in names {
        let host = format!("{name}.example");
        let authority = if name == "sealed" { &theirs } else { &ours };
        let stream = authority.connect(at(port), &host, &["http/1.1"]).await.unwrap();
        let answer = Wire::over(stream).ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let expected = if name == "web" { "https" } else { name };
        assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    }
    // a connection for requests carries none for a name whose TLS is not read here
    let mut wire = Wire::over(ours.connect(at(port), "web.example", &[]).await.unwrap());
    let answer = wire.ask("GET / HTTP/1.1\r\nHost: sealed.example\r\n\r\n").await;
    assert_eq!((answer.status, answer.failure()), (421, Some("misdirected")));
    headgate.stop().await;
}

#[tokio::test]
async fn silence_and_the_end_of_the_gateway_have_their_limits() {
    let app = echo("app").await;
    let port = free_port();
    let files = [
        ("app.yaml", backend("app", None, &[app])),
        ("gateway.yaml", gateway(&[listener("tcp", port, "TCP", "")])),
        ("route.yaml", transport("TCPRoute", "db", "tcp", None, &[("app", 1)])),
    ];
    let flags = ["--tunnel-idle", "500ms", "--drain-grace", "1s", "--log-format", "json"];
    let mut headgate = Headgate::run_with(&flags, &files).await;
    let mut silent = TcpStream::connect(at(port)).await.unwrap();
    let mut read = Vec::new();
    let _ = within("the end of a silent one", silent.read_to_end(&mut read)).await;
    assert_eq!(read, b"app");
    until("a line", async || headgate.access_log().contains("\"failure\":\"carried_idle\"")).await;

    let mut busy = TcpStream::connect(at(port)).await.unwrap();
    within("a name", busy.read_exact(&mut [0; 3])).await.unwrap();
    headgate.signal(Signal::SIGTERM);
    headgate.printed("draining").await;
    let talking = async {
        while busy.write_all(b"on and on").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the end of the drain", talking).await;
    assert!(headgate.exit().await.success());
    let log = headgate.access_log();
    let drained = log.lines().find(|line| line.contains("\"failure\":\"draining\"")).unwrap_or_else(|| panic!("{log}"));
    assert!(!drained.contains("\"bytes_in\":9,"), "it was cut off at once: {drained}");
}
