//! Headers of the PROXY protocol that are none, at ports that expect one (proxy-protocol.txt §2, §4): nobody is believed who did not say exactly who the client is, and what was not understood is not read on.

use crate::rig::{HOST, SMUG};
use headgate_e2e::{
    Authority, Headgate, Origin, Script, Wire, backend, block_v2, free_port, header_v1, header_v2, rules, until, within,
};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CLIENT: &str = "192.0.2.7:50000";
const EDGE: &str = "198.51.100.1:443";

struct Guarded {
    headgate: Headgate,
    origin: Origin,
    authority: Authority,
    http: SocketAddr,
    tls: SocketAddr,
    tcp: SocketAddr,
}

/// An application behind ports of HTTP, TLS and TCP that all expect a header.
async fn guarded(flags: &[&str]) -> Guarded {
    let authority = Authority::default();
    let origin = Origin::start(|_| Script::ok("app")).await;
    let ports = [free_port(), free_port(), free_port()];
    let [http, tls, tcp] = ports;
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: edge\nspec:\n  gatewayClassName: headgate\n  \
         listeners:\n  - {{name: http, port: {http}, protocol: HTTP}}\n  - {{name: tcp, port: {tcp}, protocol: TCP}}\n  \
         - {{name: tls, port: {tls}, protocol: HTTPS, hostname: {HOST}, tls: {{certificateRefs: [{{name: ours}}]}}}}\n"
    );
    let tcp_route = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata:\n  name: tcp\nspec:\n  \
                     parentRefs: [{name: edge, sectionName: tcp}]\n  rules:\n  - backendRefs: [{name: app, port: 80}]\n";
    let route = rules("app", HOST, "  - backendRefs: [{name: app, port: 80}]\n")
        .replace("spec:\n", "spec:\n  parentRefs: [{name: edge}]\n");
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("secret.yaml", authority.secret("ours", &[HOST])),
        ("gateway.yaml", gateway),
        ("route.yaml", route),
        ("route-tcp.yaml", tcp_route.to_owned()),
    ];
    let expected = ports.map(|port| port.to_string()).join(",");
    let flags = [&["--log-format", "json", "--proxy-protocol-in", &expected], flags].concat();
    let headgate = Headgate::run_with(&flags, &files).await;
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Guarded { headgate, origin, authority, http: at(http), tls: at(tls), tcp: at(tcp) }
}

impl Guarded {
    /// How many connections were refused for their header.
    fn refused(&self) -> usize {
        self.headgate.access_log().matches("\"failure\":\"bad_proxy_header\"").count()
    }

    /// An honest client is served all the same.
    async fn serves_others(&self) {
        let mut wire = Wire::open(self.http).await;
        let request = [header_v2(CLIENT, EDGE), get()].concat();
        assert_eq!(wire.ask(request).await.status, 200);
    }
}

fn get() -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes()
}

/// Sends bytes; what comes until the end.
async fn sent(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = within("connecting", TcpStream::connect(to)).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut got = Vec::new();
    // a reset is an end too
    let _ = within("the end of the connection", stream.read_to_end(&mut got)).await;
    got
}

/// §2: "the receiver MUST be configured to only receive the protocol described in this specification and MUST not try to guess".
#[tokio::test]
async fn nobody_is_served_without_a_header() {
    let guarded = guarded(&[]).await;
    let mut hello = TcpStream::connect(guarded.tls).await.unwrap();
    hello.write_all(b"\x16\x03\x01").await.unwrap();
    let mut count = 0;
    for to in [guarded.http, guarded.tls, guarded.tcp] {
        assert_eq!(sent(to, &get()).await, b"", "an answer would tell that a guess is made");
        assert_eq!(sent(to, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, b"");
        count += 2;
    }
    let direct = guarded.authority.connect(guarded.tls, HOST, &[]).await;
    assert!(direct.is_err(), "TLS began without a header");
    until("a line for each", async || guarded.refused() == count + 2).await;
    assert!(guarded.origin.received().is_empty());
    assert_eq!(guarded.headgate.metric("headgate_failures_total", "bad_proxy_header").await, count as f64 + 2.0);
    guarded.serves_others().await;
    guarded.headgate.stop().await;
}

/// §2.1, §2.2: anything that is not exactly a header.
#[tokio::test]
async fn what_is_nearly_a_header_is_none() {
    let guarded = guarded(&["--proxy-header-bytes", "1KiB"]).await;
    let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xc3, 0x50, 1, 187];
    let with = |more: &[u8]| block_v2(0x21, 0x11, &[&v4, more].concat());
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("an end of LF", b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n".to_vec()),
        ("an end of CR", b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\r\n".to_vec()),
        ("two spaces", b"PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n".to_vec()),
        ("small letters", b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n".to_vec()),
        ("a leading zero", b"PROXY TCP4 192.0.02.7 198.51.100.1 1 2\r\n".to_vec()),
        ("a port too large", b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n".to_vec()),
        ("a word too many", b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n".to_vec()),
        ("another family", b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n".to_vec()),
        ("an unknown family", b"PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n".to_vec()),
        ("nothing known, and a second line in it", b"PROXY UNKNOWN \nGET / HTTP/1.1\r\n".to_vec()),
        ("a byte of 0", b"PROXY UNKNOWN \0\r\n".to_vec()),
        ("an overlong line", [b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat()),
        ("version 1 in binary", block_v2(0x11, 0x11, &v4)),
        ("version 3", block_v2(0x31, 0x11, &v4)),
        ("an unknown command", block_v2(0x22, 0x11, &v4)),
        ("an unknown family", block_v2(0x21, 0x41, &v4)),
        ("an unspecified transport", block_v2(0x21, 0x10, &v4)),
        ("too few addresses", block_v2(0x21, 0x11, &v4[..11])),
        ("addresses of IPv4 for IPv6", block_v2(0x21, 0x21, &v4)),
        ("an extension that ends outside", with(&[1, 0, 9, b'h', b'2'])),
        ("half an extension", with(&[1, 0])),
        ("a wrong checksum", with(&[3, 0, 4, 1, 2, 3, 4])),
        ("a checksum of two bytes", with(&[3, 0, 2, 1, 2])),
        ("an overlong one", block_v2(0x20, 0, &[0; 2000])),
        ("a length that never ends", block_v2(0x20, 0, &[])[..14].iter().copied().chain([0xff, 0xff]).collect()),
        ("a signature that differs at its end", [&header_v2(CLIENT, EDGE)[..11], b"\r\n"].concat()),
    ];
    // a header is not the reason to look for another
    cases.push(("an empty line first", [b"\r\n".to_vec(), header_v1(CLIENT, EDGE)].concat()));
    for (count, (name, header)) in cases.iter().enumerate() {
        let attack = [&header[..], SMUG.as_bytes()].concat();
        assert_eq!(sent(guarded.http, &attack).await, b"", "{name}");
        until(name, async || guarded.refused() == count + 1).await;
        assert!(guarded.origin.received().is_empty(), "{name}");
    }
    guarded.serves_others().await;
    guarded.headgate.stop().await;
}

/// One header, and what follows is the client's: a second one is no request, and tells nothing.
#[tokio::test]
async fn a_second_header_is_no_request() {
    let guarded = guarded(&[]).await;
    let both = [header_v1(CLIENT, EDGE), header_v1("127.0.0.1:1", "127.0.0.1:2"), get()].concat();
    let got = sent(guarded.http, &both).await;
    assert!(got.starts_with(b"HTTP/1.1 400 "), "{}", got.escape_ascii());
    let both = [header_v2(CLIENT, EDGE), header_v2("127.0.0.1:1", "127.0.0.1:2"), get()].concat();
    let got = sent(guarded.http, &both).await;
    assert!(got.starts_with(b"HTTP/1.1 400 "), "{}", got.escape_ascii());
    assert!(guarded.origin.received().is_empty());
    // nor does one between two requests of a connection say anything
    let mut wire = Wire::open(guarded.http).await;
    assert_eq!(wire.ask([header_v1(CLIENT, EDGE), get()].concat()).await.status, 200);
    assert_eq!(wire.ask([header_v1("127.0.0.1:1", "127.0.0.1:2"), get()].concat()).await.status, 400);
    assert_eq!(guarded.origin.only().values("x-forwarded-for"), ["192.0.2.7"]);
    guarded.headgate.stop().await;
}

/// In whatever pieces it comes, a header takes its own bytes and no other.
#[tokio::test]
async fn pieces_make_no_difference() {
    let guarded = guarded(&[]).await;
    for header in [header_v1(CLIENT, EDGE), header_v2(CLIENT, EDGE)] {
        for to in [guarded.http, guarded.tcp] {
            guarded.origin.forget();
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for byte in [&header[..], &get()].concat() {
                stream.write_all(&[byte]).await.unwrap();
                // so that the other side sees this byte alone, most of the time
                tokio::task::yield_now().await;
            }
            assert_eq!(Wire::over(stream).answer().await.status, 200);
            assert_eq!(guarded.origin.only().target, "/");
            let received = guarded.origin.received();
            assert!(received.starts_with(b"GET / HTTP/1.1\r\n"), "{}", received.escape_ascii());
        }
    }
    guarded.headgate.stop().await;
}

/// A header has its time, from accept to its end, however steadily bytes come.
#[tokio::test]
async fn who_is_slow_is_not_waited_for() {
    let guarded = guarded(&["--proxy-header-timeout", "1s"]).await;
    let mut slow = TcpStream::connect(guarded.http).await.unwrap();
    let header = header_v2(CLIENT, EDGE);
    let dripping = async {
        for byte in header.iter().cycle() {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        }
    };
    within("the end of a slow one", dripping).await;
    // silence and a header that is cut off
    assert_eq!(sent(guarded.tls, b"").await, b"");
    assert_eq!(sent(guarded.tcp, &header[..20]).await, b"");
    until("a line for each", async || guarded.refused() == 3).await;
    let log = guarded.headgate.access_log();
    assert!(log.contains("within --proxy-header-timeout"), "{log}");
    assert!(guarded.origin.received().is_empty());
    guarded.serves_others().await;
    guarded.headgate.stop().await;
}

/// Who has said nothing yet does not hold a gateway that is to stop.
#[tokio::test]
async fn who_is_silent_holds_no_drain() {
    let guarded = guarded(&["--proxy-header-timeout", "1h", "--drain-grace", "10m"]).await;
    let silent = TcpStream::connect(guarded.http).await.unwrap();
    let open = || guarded.headgate.metric("headgate_connections_open", "");
    until("one connection", async || open().await == 1.0).await;
    guarded.headgate.stop().await;
    drop(silent);
}

/// A probe that connects and leaves is no mistake of anybody; nothing is told of it.
#[tokio::test]
async fn who_leaves_without_a_byte_is_nobody() {
    let guarded = guarded(&[]).await;
    drop(TcpStream::connect(guarded.http).await.unwrap());
    // in the middle is another matter
    let mut cut = TcpStream::connect(guarded.http).await.unwrap();
    cut.write_all(b"PROXY ").await.unwrap();
    drop(cut);
    until("a line", async || guarded.refused() == 1).await;
    guarded.serves_others().await;
    assert_eq!(guarded.refused(), 1);
    guarded.headgate.stop().await;
}
