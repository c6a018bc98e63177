//! S6: whom a request is for. One host, said once, the same in every place; anything else is refused, since routes and policies are found by it.

use crate::rig::{
    Case, HOST, Rig,
    Right::{Clean, Either, Refused},
    Way, head,
};

fn with(hosts: &[&str]) -> String {
    let fields: String = hosts.iter().map(|host| format!("Host:{host}\r\n")).collect();
    format!("GET / HTTP/1.1\r\n{fields}\r\n")
}

/// RFC 9112 §3.2 and RFC 3986 §3.2.2: none, two, a list, a user, or what is no host name.
#[tokio::test]
async fn a_request_has_one_host() {
    let mut cases = vec![
        Case::new("none", "GET / HTTP/1.1\r\n\r\n", Refused),
        Case::new("two", with(&[" app.localhost", " app.localhost"]), Refused),
        Case::new("two, not the same", with(&[" app.localhost", " other.localhost"]), Refused),
        Case::new("two, the other first", with(&[" other.localhost", " app.localhost"]), Refused),
        Case::new("two, one empty", with(&[" app.localhost", ""]), Refused),
        Case::new("the usual", with(&[" app.localhost"]), Clean(vec![""])),
        Case::new("no blank", with(&["app.localhost"]), Clean(vec![""])),
        Case::new("a port", with(&[" app.localhost:80"]), Clean(vec![""])),
        Case::new("upper case", with(&[" APP.LocalHost"]), Clean(vec![""])),
        Case::new("an empty port", with(&[" app.localhost:"]), Either("")),
        Case::new("a final dot", with(&[" app.localhost."]), Either("")),
    ];
    for host in [
        "",
        " ",
        " app.localhost, other.localhost",
        " app.localhost other.localhost",
        " a@app.localhost",
        " app.localhost@evil",
        " app.localhost:80:80",
        " app.localhost:99999",
        " app.localhost:x",
        " app.localhost:-80",
        " :80",
        " app.localhost/",
        " app.localhost/path",
        " app.localhost?x",
        " app.localhost#x",
        " app.localhost\\evil",
        " http://app.localhost",
        " [::1",
        " [::1]x",
        " app.local\thost",
        " app.localhost\x0b",
        " app%2elocalhost",
        " app.localhost%00",
        " \u{ff41}pp.localhost",
        " app..localhost",
        " .app.localhost",
    ] {
        cases.push(Case::new(format!("{host:?}"), with(&[host]), Refused));
    }
    Rig::start().await.judge(Way::Plain, &cases).await;
}

/// RFC 9112 §3.2.2: an absolute target names the host itself, and a Host field that differs is refused, not overruled.
#[tokio::test]
async fn an_absolute_target_and_its_host_agree() {
    let target = |target: &str| head(&format!("GET {target} HTTP/1.1"), "", "");
    let mut cases = vec![
        Case::new("the same", target("http://app.localhost/"), Clean(vec![""])),
        Case::new("without a path", target("http://app.localhost"), Clean(vec![""])),
        Case::new("upper case", target("HTTP://APP.localhost/"), Either("")),
        Case::new("of HTTP/1.0 without Host", "GET http://app.localhost/ HTTP/1.0\r\n\r\n", Either("")),
        Case::new("without Host", "GET http://app.localhost/ HTTP/1.1\r\n\r\n", Refused),
    ];
    for other in [
        "http://other.localhost/",
        "http://app.localhost:81/",
        "http://a@app.localhost/",
        "http:///",
        "http://",
        "http:/app.localhost/",
        "http:app.localhost",
        "//app.localhost:x/",
        "https://app.localhost/",
        "ftp://app.localhost/",
        "http://app.localhost\\@evil/",
        "http://app.localhost#@evil/",
        "http://app.localhost?@evil/ x",
        "http://[app.localhost]/",
    ] {
        // two slashes are a path of the same host
        let right = if other.starts_with("//") { Either("") } else { Refused };
        cases.push(Case::new(other, target(other), right));
    }
    Rig::start().await.judge(Way::Plain, &cases).await;
}

/// RFC 9112 §3.3: over TLS the scheme is https, and a target that says otherwise is not for this connection (RFC 9110 §7.4).
#[tokio::test]
async fn the_scheme_of_a_target_is_that_of_its_connection() {
    let target = |target: &str| head(&format!("GET {target} HTTP/1.1"), "", "");
    let cases = [
        Case::new("http over TLS", target("http://app.localhost/"), Refused),
        Case::new("https over TLS", target("https://app.localhost/"), Clean(vec![""])),
    ];
    Rig::start().await.judge(Way::Tls, &cases).await;
}

/// RFC 9110 §9.3.6 and §9.3.8: CONNECT would make a tunnel, TRACE sends back what hops added; neither is forwarded, with a body or without.
#[tokio::test]
async fn connect_and_trace_reach_nobody() {
    let rig = Rig::start().await;
    for (first, body) in [
        ("CONNECT app.localhost:80 HTTP/1.1", ""),
        ("CONNECT app.localhost:80 HTTP/1.1", "Content-Length: 5\r\n\r\nhello"),
        ("TRACE / HTTP/1.1", ""),
        ("TRACE / HTTP/1.1", "Content-Length: 5\r\n\r\nhello"),
        ("TRACE / HTTP/1.1", "Max-Forwards: 0\r\n"),
    ] {
        rig.origin.forget();
        let mut wire = rig.open(Way::Plain).await;
        wire.send(format!("{first}\r\nHost: {HOST}\r\n{body}\r\n")).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.failure()), (501, Some("method_not_supported")), "{first} {body:?}");
        assert!(rig.origin.received().is_empty(), "{first} {body:?}");
    }
    assert_eq!(rig.canary().await, 200);
    rig.headgate.stop().await;
}
