//! The first minute: a function from zero, a reason for what is not there, and an end that leaves nothing behind.

use headgate_e2e::{Function, Headgate};
use nix::sys::signal::Signal;

#[tokio::test]
async fn a_function_answers_from_zero_and_nothing_is_left_after_ctrl_c() {
    let mut headgate = Headgate::run(&[("function.yaml", Function::named("hello").to_string())]).await;
    assert_eq!(headgate.count("echo"), 0, "nothing starts without a request");
    let url = headgate.printed("http://hello.default.localhost").await;
    assert!(url.contains("cold"), "{url}");

    let answer = headgate.get("hello.default.localhost", "/").await;
    assert_eq!((answer.status, answer.text().trim()), (200, "hello"));
    assert_eq!(headgate.count("echo"), 1);
    let told = headgate.printed("cold start of hello").await;
    assert!(told.contains("ready after") && told.contains("first byte after") && told.contains("1 held"), "{told}");

    headgate.signal(Signal::SIGINT);
    let status = headgate.exit().await;
    assert!(status.success(), "{status}");
    headgate.printed("draining").await;
    headgate.printed("no process is left").await;
}

#[tokio::test]
async fn an_unknown_host_is_404_with_a_reason() {
    let headgate = Headgate::run(&[("function.yaml", Function::named("hello").to_string())]).await;
    let answer = headgate.get("nobody.default.localhost", "/").await;
    assert_eq!((answer.status, answer.failure()), (404, Some("no_route")));
    assert!(answer.text().contains("nobody.default.localhost"), "{}", answer.text());
    assert!(answer.text().contains("no_route"), "{}", answer.text());
    assert!(answer.field("x-request-id").is_some() && answer.keeps_alive());
    headgate.stop().await;
}

#[tokio::test]
async fn a_gateway_that_is_killed_leaves_no_process_either() {
    let mut headgate = Headgate::run(&[("function.yaml", Function::named("hello").to_string())]).await;
    assert_eq!(headgate.get("hello.default.localhost", "/").await.status, 200);
    headgate.signal(Signal::SIGKILL);
    headgate.exit().await;
}
