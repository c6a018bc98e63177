//! Who asks is said by trusted hops only, what is of one hop ends here, and each line of the log is one object.

use headgate_e2e::{Headgate, Origin, Script, Wire, backend, rules};

const HOST: &str = "app.localhost";

async fn gateway(flags: &[&str]) -> (Headgate, Origin) {
    let origin = Origin::start(|request| Script::ok(&request.target)).await;
    let paths = "  - matches: [{path: {type: PathPrefix, value: /admin}}]\n    backendRefs: [{name: nobody, port: 80}]\n  \
                 - backendRefs: [{name: app, port: 80}]\n";
    let files = [("app.yaml", backend("app", None, &[origin.address])), ("route.yaml", rules("app", HOST, paths))];
    (Headgate::run_with(flags, &files).await, origin)
}

const SPOOFED: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
                       X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nx-headgate-revision: evil\r\n";

#[tokio::test]
async fn what_an_untrusted_client_says_of_itself_is_dropped() {
    let (headgate, origin) = gateway(&[]).await;
    let mut wire = Wire::open(headgate.address).await;
    let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{SPOOFED}\r\n")).await;
    assert_eq!(answer.status, 200);
    let got = origin.only();
    assert_eq!(got.values("x-forwarded-for"), ["127.0.0.1"], "{got:#?}");
    assert_eq!(got.values("x-forwarded-proto"), ["http"]);
    assert_eq!(got.values("host"), [HOST]);
    for name in ["forwarded", "x-real-ip", "x-headgate-revision", "x-forwarded-host", "x-forwarded-port"] {
        assert!(got.values(name).iter().all(|value| !value.contains("6.6.6.6") && !value.contains("evil")), "{got:#?}");
    }
    assert!(got.field("x-request-id").is_some());
    // nor can a client have such a field dropped by calling it one of its connection
    origin.forget();
    let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: x-forwarded-for\r\n\r\n")).await;
    assert!(answer.status == 400 && origin.requests().is_empty());
    headgate.stop().await;
}

#[tokio::test]
async fn what_a_trusted_hop_says_is_kept_and_added_to() {
    let (headgate, origin) = gateway(&["--trusted-hops", "127.0.0.0/8"]).await;
    let mut wire = Wire::open(headgate.address).await;
    let fields = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Request-Id: abc-1\r\n";
    assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await.status, 200);
    let got = origin.only();
    assert_eq!(got.values("x-forwarded-for").join(", ").replace(' ', ""), "192.0.2.7,127.0.0.1");
    assert_eq!(got.field("x-forwarded-proto"), Some("https"));
    assert_eq!(got.field("x-request-id"), Some("abc-1"));
    headgate.stop().await;
}

#[tokio::test]
async fn hop_by_hop_fields_end_here() {
    let (headgate, origin) = gateway(&[]).await;
    let mut wire = Wire::open(headgate.address).await;
    let fields = "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
                  Proxy-Authorization: x\r\nX-Other: 2\r\n";
    assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await.status, 200);
    let got = origin.only();
    for name in ["x-mine", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert_eq!(got.field(name), None, "{got:#?}");
    }
    assert_eq!(got.field("x-other"), Some("2"));
    headgate.stop().await;
}

#[tokio::test]
async fn each_line_of_the_log_is_one_object() {
    let (headgate, _origin) = gateway(&["--log-format", "json"]).await;
    let mut wire = Wire::open(headgate.address).await;
    let agent = "User-Agent: a\"b\\c\u{1b}[0m\u{2028}</script>{}\r\n";
    wire.send(format!("GET /%22%0a{{}} HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", agent.replace('\u{1b}', ""))).await;
    let _ = wire.try_answer(false).await;
    let _ = headgate.get("nobody.localhost", "/\"x\"").await;
    headgate_e2e::until("two lines", async || headgate.access_log().lines().count() >= 2).await;
    for line in headgate.access_log().lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(object["status"].is_number() && object["request_id"].is_string(), "{line}");
    }
    headgate.stop().await;
}
