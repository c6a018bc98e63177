//! Matches and filters of an HTTPRoute, each as the application and the client see it.

use headgate_e2e::{Headgate, Origin, Script, Wire, backend, rules, until};

const HOST: &str = "app.localhost";

async fn serving(text: &str) -> (Headgate, Origin, Origin) {
    let app = Origin::start(|request| {
        Script::default().write(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-App: yes\r\nServer: app\r\nAccess-Control-Allow-Origin: *\r\n\r\n{}",
            request.target.len(),
            request.target
        ))
    })
    .await;
    let other = Origin::start(|_| Script::ok("other")).await;
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("other.yaml", backend("other", None, &[other.address])),
        ("route.yaml", rules("app", HOST, text)),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.printed(", 0 problems").await;
    (headgate, app, other)
}

#[tokio::test]
async fn header_edits_of_rule_and_backend() {
    let (headgate, app, _other) = serving(
        r#"  - filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Set, value: new}]
        add: [{name: X-Add, value: more}]
        remove: [X-Remove]
    - type: ResponseHeaderModifier
      responseHeaderModifier:
        set: [{name: X-App, value: changed}]
        add: [{name: X-Extra, value: "1"}]
        remove: [Server]
    backendRefs:
    - name: app
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier:
          add: [{name: X-Arm, value: app}]
"#,
    )
    .await;
    let mut wire = Wire::open(headgate.address).await;
    let fields = "X-Set: old\r\nX-Set: older\r\nX-Add: first\r\nX-Remove: gone\r\n";
    let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await;
    let got = app.only();
    assert_eq!(got.values("x-set"), ["new"]);
    assert_eq!(got.values("x-add").join(",").replace(' ', ""), "first,more");
    assert_eq!((got.field("x-remove"), got.field("x-arm")), (None, Some("app")));
    assert_eq!(
        (answer.field("x-app"), answer.field("x-extra"), answer.field("server")),
        (Some("changed"), Some("1"), None)
    );
    headgate.stop().await;
}

#[tokio::test]
async fn redirects_and_rewrites() {
    let (headgate, app, _other) = serving(
        r#"  - matches: [{path: {type: PathPrefix, value: /old}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: new.example, port: 8443, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
  - matches: [{path: {type: PathPrefix, value: /moved}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /there}}
  - matches: [{path: {type: PathPrefix, value: /api/v1}}]
    filters:
    - type: URLRewrite
      urlRewrite: {hostname: inner.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    backendRefs: [{name: app, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /full}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}
    backendRefs: [{name: app, port: 80}]
"#,
    )
    .await;
    let redirect = headgate.get(HOST, "/old/a/b?c=d").await;
    assert_eq!((redirect.status, redirect.field("location")), (301, Some("https://new.example:8443/new/a/b?c=d")));
    let redirect = headgate.get(HOST, "/moved/x").await;
    let location = redirect.field("location").unwrap();
    assert_eq!(redirect.status, 302);
    assert!(location.starts_with(&format!("http://{HOST}")) && location.ends_with("/there"), "{location}");
    assert!(app.requests().is_empty(), "a redirect asks nobody");
    for (target, forwarded) in
        [("/api/v1", "/"), ("/api/v1/", "/"), ("/api/v1/users?x=%20y", "/users?x=%20y"), ("/full/a/b?c", "/one?c")]
    {
        app.forget();
        assert_eq!(headgate.get(HOST, target).await.text(), forwarded, "{target}");
        let host = if target.starts_with("/api") { "inner.example" } else { HOST };
        assert_eq!(app.only().field("host"), Some(host), "{target}");
    }
    headgate.stop().await;
}

#[tokio::test]
async fn mirrors_get_a_copy_and_nobody_waits_for_them() {
    let (headgate, app, other) = serving(
        r#"  - filters:
    - type: RequestMirror
      requestMirror: {backendRef: {name: other, port: 80}}
    backendRefs: [{name: app, port: 80}]
"#,
    )
    .await;
    let answer = Wire::post(headgate.address, HOST, "/copied?x", b"a body of some bytes").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "/copied?x"));
    until("the copy", async || !other.requests().is_empty()).await;
    let (original, copy) = (app.only(), other.only());
    assert_eq!((copy.method.as_str(), copy.target.as_str(), &copy.body), ("POST", "/copied?x", &original.body));
    headgate.stop().await;
}

#[tokio::test]
async fn cors_is_answered_here_and_decorated() {
    let (headgate, app, _other) = serving(
        r#"  - filters:
    - type: CORS
      cors:
        allowOrigins: ["https://shop.example", "https://*.trusted.example"]
        allowMethods: [GET, PUT]
        allowHeaders: [X-Token]
        exposeHeaders: [X-App]
        allowCredentials: true
        maxAge: 600
    backendRefs: [{name: app, port: 80}]
"#,
    )
    .await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /x HTTP/1.1\r\nHost: {HOST}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\
             Access-Control-Request-Headers: x-token\r\n\r\n"
        )
    };
    let mut wire = Wire::open(headgate.address).await;
    for origin in ["https://shop.example", "https://a.b.trusted.example"] {
        let answer = wire.ask(preflight(origin)).await;
        assert!(matches!(answer.status, 200 | 204), "{}", answer.status);
        assert_eq!(answer.field("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.field("access-control-allow-credentials"), Some("true"));
        assert!(answer.field("access-control-allow-methods").unwrap().contains("PUT"));
        assert_eq!(answer.field("access-control-allow-headers").map(str::to_lowercase).as_deref(), Some("x-token"));
        assert_eq!(answer.field("access-control-max-age"), Some("600"));
    }
    for origin in
        ["https://evil.example", "https://trusted.example", "http://shop.example", "https://shop.example.evil"]
    {
        assert_eq!(wire.ask(preflight(origin)).await.field("access-control-allow-origin"), None, "{origin}");
    }
    assert!(app.requests().is_empty(), "a preflight asks nobody");
    let get = |origin: &str| format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nOrigin: {origin}\r\n\r\n");
    let answer = wire.ask(get("https://shop.example")).await;
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://shop.example"), "one policy, one writer");
    assert_eq!(answer.field("access-control-expose-headers").map(str::to_lowercase).as_deref(), Some("x-app"));
    assert_eq!(wire.ask(get("https://evil.example")).await.field("access-control-allow-origin"), None);
    headgate.stop().await;
}

#[tokio::test]
async fn the_most_specific_match_wins_and_a_broken_rule_costs_its_share_only() {
    let (headgate, _app, _other) = serving(
        r#"  - matches: [{path: {type: PathPrefix, value: /}}]
    backendRefs: [{name: app, port: 80}]
  - matches: [{path: {type: Exact, value: /exact}}]
    backendRefs: [{name: other, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /deep/er}, headers: [{name: X-Kind, value: other}]}]
    backendRefs: [{name: other, port: 80}]
  - matches: [{path: {type: RegularExpression, value: "/r[0-9]+"}}]
    backendRefs: [{name: other, port: 80}]
  - matches: [{method: DELETE, queryParams: [{name: q, value: "1"}]}]
    backendRefs: [{name: other, port: 80}]
"#,
    )
    .await;
    let mut wire = Wire::open(headgate.address).await;
    for (request, to_other) in [
        ("GET /exact HTTP/1.1", true),
        ("GET /exact/ HTTP/1.1", false),
        ("GET /deep/er/x HTTP/1.1\r\nX-Kind: other", true),
        ("GET /deep/er/x HTTP/1.1\r\nX-Kind: else", false),
        ("GET /deep/erx HTTP/1.1\r\nX-Kind: other", false),
        ("GET /r42 HTTP/1.1", true),
        ("GET /rx HTTP/1.1", false),
        ("DELETE /z?q=1 HTTP/1.1", true),
        ("DELETE /z?q=2 HTTP/1.1", false),
        ("GET /z?q=1 HTTP/1.1", false),
    ] {
        let answer = wire.ask(format!("{request}\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.text() == "other"), (200, to_other), "{request}");
    }
    headgate.save("route.yaml", &rules("app", HOST, "  - matches: [{path: {value: /gone}}]\n    backendRefs: [{name: missing, port: 80}]\n  - backendRefs: [{name: app, port: 80}, {name: missing, port: 80, weight: 0}]\n"));
    headgate.serves(HOST, "/gone", |answer| answer.status == 500).await;
    let broken = headgate.get(HOST, "/gone").await;
    assert_eq!(broken.failure(), Some("backend_invalid"), "{}", broken.text());
    assert_eq!(headgate.get(HOST, "/fine").await.status, 200);
    headgate.stop().await;
}
