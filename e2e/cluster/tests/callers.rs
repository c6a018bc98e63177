//! Who a caller is, and whether it may pass, where others than the gateway know: a load balancer that says it in a header of the PROXY protocol, and a service that is asked. It trusts nobody else.

use crate::{
    objects::{backends, gateway, route},
    story::{Story, open},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_says_who_calls() {
    let Some(story) = Story::begin("e2e-proxied").await else { return };
    let believes = gateway(1).replace("replicas: 1", "replicas: 1, proxyProtocol: {ports: [80]}");
    let tells = backends().replace("--text, a,", "--output, json,");
    story.apply(&(tells + &believes + &route(r#"[{"backendRefs":[{"name":"a","port":80}]}]"#))).await;
    let to = story.address("web").await;
    let get = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    let header = "PROXY TCP4 203.0.113.7 198.51.100.1 5555 80\r\n";
    let ask = async |with: &str| match open(to).await {
        Ok(mut wire) => {
            wire.send(format!("{with}{get}")).await;
            wire.try_answer(false).await.ok()
        }
        Err(_) => None,
    };
    story
        .until("the application learns whom the load balancer names", async || {
            let answer = ask(header).await.filter(|answer| answer.status == 200);
            answer.is_some_and(|answer| answer.text().contains("203.0.113.7"))
        })
        .await;
    let unsaid = ask("").await.map(|answer| answer.status);
    assert_eq!(unsaid, None, "who does not say is not answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_asked_whether_a_request_may_pass() {
    let Some(story) = Story::begin("e2e-auth").await else { return };
    // `b` is asked: it answers 200, or the status that the request's query says
    let filter = r#"{"type":"ExternalAuth","externalAuth":{"protocol":"HTTP","backendRef":{"name":"b","port":80},"http":{"allowedResponseHeaders":["x-user"]}}}"#;
    let rules = format!(r#"[{{"filters":[{filter}],"backendRefs":[{{"name":"a","port":80}}]}}]"#);
    story.apply(&(backends() + &gateway(1) + &route(&rules))).await;
    let to = story.address("web").await;
    story.until_answered(to, "shop.example", "200 a").await;
    let mut wire = open(to).await.unwrap();
    let denied = wire.ask("GET /?status=401 HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    assert_eq!((denied.status, denied.text().trim()), (401, "b"), "its answer goes to the client");
    let passed = wire.ask("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    assert_eq!((passed.status, passed.text().trim()), (200, "a"));

    // whom nobody can ask for may not pass
    story.kubectl(&["delete", "service/b"]).await;
    story
        .until("nothing passes", async || {
            let answer = crate::story::ask_once(to, "shop.example").await;
            answer.is_ok_and(|answer| answer.status == 500)
        })
        .await;
}
