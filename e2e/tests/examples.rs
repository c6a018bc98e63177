//! Every folder of examples/ as its first lines say: nothing wrong in it, and it answers. An example without a test fails too.
#![allow(clippy::unwrap_used, reason = "a test, and a panic is its verdict")]

use headgate_e2e::{Authority, H2, Headgate, Origin, Script, Wire, binary, within};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples")
}

/// The objects of an example, with the given texts replaced: ports that other tests may use.
fn files(name: &str, replace: &[(&str, String)]) -> Vec<(String, String)> {
    let is_object = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let paths = fs::read_dir(examples().join(name)).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let text = replace.iter().fold(text, |text, (from, to)| text.replace(from, to));
        (path.file_name().unwrap().to_string_lossy().into_owned(), text)
    };
    paths.filter(is_object).map(read).collect()
}

async fn serve(name: &str, replace: &[(&str, String)]) -> Headgate {
    let files = files(name, replace);
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let headgate = Headgate::run(&files).await;
    headgate.printed(", 0 problems").await;
    headgate
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn each_example_is_clean_and_has_its_test_here() {
    let tests = ["canary", "grpc", "hello", "path-based", "plain-proxy", "tcp", "tls", "tls-passthrough", "websocket"];
    let folders = fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut names: Vec<String> = folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, tests);
    for name in names {
        let checked = Command::new(binary()).arg("check").arg(examples().join(&name)).output().unwrap();
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.status.success() && text.starts_with("no problems"), "{name}: {text}");
    }
}

#[tokio::test]
async fn hello() {
    let headgate = serve("hello", &[]).await;
    let answer = headgate.get("hello.default.localhost", "/").await;
    assert_eq!((answer.status, answer.text().trim()), (200, "hello"));
    headgate.stop().await;
}

#[tokio::test]
async fn canary() {
    let headgate = serve("canary", &[]).await;
    let mut counts = [0, 0];
    for _ in 0..300 {
        match headgate.get("hello.default.localhost", "/").await.text().trim() {
            "hello-v1" => counts[0] += 1,
            "hello-v2" => counts[1] += 1,
            other => panic!("{other}"),
        }
    }
    // 30 of 300 by weight; outside of these less often than once in a million runs
    assert!((4..=60).contains(&counts[1]), "{counts:?}");
    headgate.stop().await;
}

#[tokio::test]
async fn path_based() {
    let headgate = serve("path-based", &[]).await;
    for (path, expected) in [("/orders/17", "orders"), ("/default/users", "users")] {
        assert_eq!(headgate.get("shop.localhost", path).await.text().trim(), expected, "{path}");
    }
    assert_eq!(headgate.get("shop.localhost", "/").await.status, 404);
    let mut wire = Wire::open(headgate.address).await;
    let by_header = wire.ask("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Shop: orders\r\n\r\n").await;
    assert_eq!(by_header.text().trim(), "orders");
    headgate.stop().await;
}

#[tokio::test]
async fn grpc() {
    let headgate = serve("grpc", &[]).await;
    let client = H2::open(headgate.address).await;
    let mut call = client.grpc("grpc.default.localhost", "/echo.Echo/Unary").await;
    call.send(b"hello").await;
    call.end();
    assert_eq!(call.message().await.as_deref(), Some(&b"hello"[..]));
    assert_eq!(call.status().await, 0);
    headgate.stop().await;
}

#[tokio::test]
async fn websocket() {
    const ASK: &str = "GET / HTTP/1.1\r\nHost: chat.default.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let headgate = serve("websocket", &[]).await;
    let mut wire = Wire::open(headgate.address).await;
    assert_eq!(wire.ask(ASK).await.status, 101);
    // a text frame "hi", masked with zeros, and the same unmasked (RFC 6455 §5.2)
    wire.send(b"\x81\x82\0\0\0\0hi").await;
    assert_eq!(wire.bytes(4).await, b"\x81\x02hi");
    drop(wire);
    headgate.stop().await;
}

#[tokio::test]
async fn tls() {
    let port = free_port();
    let headgate = serve("tls", &[("8443", port.to_string())]).await;
    let redirect = headgate.get("secure.default.localhost", "/a").await;
    let location = format!("https://secure.default.localhost:{port}/a");
    assert_eq!((redirect.status, redirect.field("location")), (301, Some(location.as_str())));
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]).arg(examples().join("tls/localhost.crt"));
    curl.args(["--resolve", &format!("secure.default.localhost:{port}:127.0.0.1"), &location]);
    let answer = within("curl", curl.output()).await.unwrap();
    let said = (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
    assert_eq!((said.0.trim(), said.1.trim()), ("hello over TLS", ""));
    headgate.stop().await;
}

#[tokio::test]
async fn tcp() {
    let port = free_port();
    let headgate = serve("tcp", &[("9000", port.to_string())]).await;
    let answer = Wire::get(([127, 0, 0, 1], port).into(), "anything", "/").await;
    assert_eq!((answer.status, answer.text().trim()), (200, "hello over a connection that nobody read"));
    headgate.stop().await;
}

#[tokio::test]
async fn tls_passthrough() {
    let (port, authority) = (free_port(), Authority::default());
    let name = "sealed.default.localhost";
    let origin = Origin::start_tls(authority.acceptor(&[name], &[]), |_| Script::ok("sealed")).await;
    let replace = [("8443", port.to_string()), ("9443", origin.address.port().to_string())];
    let headgate = serve("tls-passthrough", &replace).await;
    let stream = authority.connect(([127, 0, 0, 1], port).into(), name, &[]).await.unwrap();
    let answer = Wire::over(stream).ask(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "sealed"));
    headgate.stop().await;
}

#[tokio::test]
async fn plain_proxy() {
    let (one, two) = (Origin::start(|_| Script::ok("one")).await, Origin::start(|_| Script::ok("two")).await);
    let port = |origin: &Origin| origin.address.port().to_string();
    let headgate = serve("plain-proxy", &[("9001", port(&one)), ("9002", port(&two))]).await;
    for _ in 0..40 {
        let answer = headgate.get("app.localhost", "/").await;
        assert_eq!((answer.status, answer.field("x-served-by")), (200, Some("headgate")));
    }
    let served = [one.requests().len(), two.requests().len()];
    assert!(served.iter().sum::<usize>() == 40 && served.iter().all(|count| *count > 0), "{served:?}");
    let redirect = headgate.get("app.localhost", "/old/x").await;
    assert_eq!(redirect.status, 301);
    assert!(redirect.field("location").unwrap().ends_with("/new/x"), "{redirect:?}");
    headgate.stop().await;
}
