//! `explain` from files, as a user types it. No gateway runs here.

use crate::program::{checkout, headgate, headgate_reading};

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  hostnames: [shop.localhost]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /orders}
      headers: [{name: X-Role, value: admin}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-Seen, value: \"1\"}]}
    timeouts: {request: 1500ms}
    retry: {attempts: 2, codes: [503]}
    backendRefs: [{name: orders, port: 80}]
  - matches:
    - {path: {type: PathPrefix, value: /orders}, method: POST}
    backendRefs: [{name: orders, port: 80}]
  - matches:
    - path: {type: PathPrefix, value: /}
    backendRefs: [{name: orders, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: orders}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: orders, labels: {kubernetes.io/service-name: orders}}
addressType: IPv4
ports: [{port: 9001}]
endpoints: [{addresses: [127.0.0.1]}]
";

#[test]
fn winner_losers_and_near_misses_are_told() {
    let told = headgate_reading(
        ROUTE,
        &["explain", "--from", "-", "-H", "X-Role: admin", "http://shop.localhost:8080/orders/1"],
    )
    .exits(0);
    told.prints("goes to HTTPRoute/default/shop/0\n")
        .prints("match     path /orders, header x-role=admin on host shop.localhost (matches[0])")
        .prints("filter    request headers: set x-seen: 1")
        .prints("to         100% default/orders:80")
        .prints("timeouts  request 1500ms, each try none")
        .prints("retry     2 more tries after connection errors and answers 503")
        .prints("HTTPRoute/default/shop/2: path / on host shop.localhost (matches[0]); lost by path")
        .prints("HTTPRoute/default/shop/1: path /orders, POST on host shop.localhost (matches[0]); fails in method");
    let posted = headgate_reading(ROUTE, &["explain", "--from", "-", "-d", "x", "shop.localhost/orders"]).exits(0);
    posted.prints("POST shop.localhost/orders").prints("goes to HTTPRoute/default/shop/1");
    posted.prints("HTTPRoute/default/shop/0: path /orders, header x-role=admin on host shop.localhost (matches[0]); fails in header x-role");
}

#[test]
fn what_nobody_takes_exits_with_one() {
    let from = checkout("examples/canary");
    let from = from.to_str().unwrap();
    let told = headgate(&["explain", "--from", from, "http://nobody.default.localhost:8080/"]).exits(1);
    told.prints("404: listener ").prints("takes nobody.default.localhost, but no rule on it does");
    let told = headgate(&["explain", "--from", from, "http://hello.default.localhost:8123/"]).exits(1);
    told.prints("404: no listener is on port 8123");
    let json = headgate(&["explain", "--from", from, "-o", "json", "hello.default.localhost"]).exits(0).json();
    assert_eq!((&json["verdict"], &json["winner"]["rule"]), (&"found".into(), &"HTTPRoute/default/hello/0".into()));
    headgate(&["explain", "--from", from, "-o", "yaml", "hello.default.localhost"]).exits(0).prints("verdict: found\n");
}

#[test]
fn what_is_no_request_is_wrong_usage() {
    let from = checkout("examples/canary");
    let explain = |arguments: &[&str]| headgate(&[&["explain", "--from", from.to_str().unwrap()], arguments].concat());
    explain(&["http://a.localhost/%00"]).exits(2).complains("the gateway refuses this request with 400");
    explain(&["-H", "X-Role", "http://a.localhost/"]).exits(2).complains("write 'Name: value'");
    explain(&["-X", "G T", "http://a.localhost/"]).exits(2);
    explain(&["gopher://a.localhost/"]).exits(2).complains("http:// or https://");
}

#[test]
fn nobody_to_ask_is_exit_code_three() {
    headgate(&["explain", "--admin", "127.0.0.1:1", "a.localhost"]).exits(3).complains("--from PATH");
    headgate(&["explain", "--admin", "127.0.0.1:1", "--request-id", "x"]).exits(3);
}
