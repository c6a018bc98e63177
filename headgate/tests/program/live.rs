//! `routes` and `explain` of a gateway that runs.

use crate::program::{Running, checkout, exchange, headgate};

/// A gateway on free ports, and its admin address.
fn gateway(example: &str) -> (Running, String) {
    let files = checkout("examples").join(example);
    let arguments = ["run", files.to_str().unwrap(), "--port", "0", "--admin", "127.0.0.1:0", "--access-log", "none"];
    let (running, line) = Running::start(&arguments, "admin: http://");
    let admin = line.split("http://").nth(1).unwrap().trim().trim_end_matches('/').to_owned();
    (running, admin)
}

#[test]
fn a_running_gateway_tells_its_routes_and_explains() {
    let (_running, admin) = gateway("canary");
    let routes = headgate(&["routes", "--admin", &admin]).exits(0);
    routes.prints("hello.default.localhost").prints("90%");
    let explain = |arguments: &[&str]| headgate(&[&["explain", "--admin", &admin], arguments].concat());
    let told = explain(&["-H", "X-A: b c", "http://hello.default.localhost:8080/x?y=%2F"]).exits(0);
    told.prints("goes to HTTPRoute/default/hello/0").prints("routes v").prints("cold").prints("if cold   hold");
    explain(&["http://nobody.default.localhost:8080/"]).exits(1).prints("404: ");
    let json = explain(&["-o", "json", "http://hello.default.localhost:8080/"]).exits(0).json();
    assert_eq!(json["backends"].as_array().unwrap().len(), 2);
    explain(&["--request-id", "no-such"]).exits(1).complains("no such request is remembered");
}

#[test]
fn a_question_that_cannot_be_read_is_told_by_the_admin_port() {
    let (_running, admin) = gateway("hello");
    let answer = exchange(&admin, "GET /explain?url=gopher://x HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 400"), "{answer}");
    assert!(answer.contains("write http:// or https://"), "{answer}");
}
