//! Z2 and F4 with a budget: clients that make the gateway keep much until its memory is short. Room to wait is given up first, then new connections; who is served is served on, and afterwards all is as before.

use crate::rig::HOST;
use headgate_e2e::{Answer, Function, H2, Headgate, Origin, Script, Wire, backend, route, rules, until};
use std::time::Duration;
use tokio::task::JoinSet;

const COLD: &str = "busy.default.localhost";
const BUDGET_MIB: u64 = 64;
const BODY: usize = 64 << 10;

fn percent(headgate: &Headgate) -> u64 {
    headgate.own_bytes() * 100 / (BUDGET_MIB << 20)
}

async fn level(headgate: &Headgate) -> f64 {
    headgate.metric("headgate_memory_level", "").await
}

async fn depth(headgate: &Headgate) -> usize {
    headgate.metric("headgate_queue_depth", "busy").await as usize
}

fn post(host: &str) -> Vec<u8> {
    let mut bytes = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {BODY}\r\n\r\n").into_bytes();
    bytes.extend(headgate_e2e::pattern(BODY));
    bytes
}

fn assert_shed(answer: &Answer) {
    assert_eq!((answer.status, answer.failure()), (503, Some("memory_shed")), "{}", answer.text());
    let retry: u32 = answer.field("retry-after").expect("a Retry-After").parse().unwrap();
    assert!(retry >= 1);
}

/// RFC 9110 §15.6.4: who would have to wait is told so at once, and who waits with a large body after a while; a function that runs is not slower to reach.
#[tokio::test]
async fn who_must_wait_is_shed_first_and_others_are_served() {
    let home = tempfile::tempdir().unwrap();
    let listen = home.path().join("listen");
    let cold = Function::named("busy")
        .command(&[env!("CARGO_BIN_EXE_app")])
        .env("LISTEN_WHEN", listen.display())
        .annotation("headgate.dev/queue", 5_000);
    let origin = Origin::start(|_| Script::ok("warm")).await;
    let files = [
        ("busy.yaml", cold.to_string()),
        ("app.yaml", backend("app", None, &[origin.address])),
        ("route.yaml", route("app", HOST, &[("app", 1)])),
    ];
    let headgate = Headgate::run_with(&["--cores", "1", "--memory", &format!("{BUDGET_MIB}MiB")], &files).await;
    let get = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut warm = Wire::open(headgate.address).await;
    assert_eq!(warm.ask(&get).await.status, 200);

    let (bytes, address) = (post(COLD), headgate.address);
    let (mut waiting, mut answers, mut sent) = (JoinSet::new(), Vec::new(), 0);
    while answers.is_empty() {
        // a little at a time, so that it gets tight and not critical
        for _ in 0..4 {
            let bytes = bytes.clone();
            waiting.spawn(async move {
                let mut wire = Wire::open(address).await;
                wire.send(bytes).await;
                wire.answer().await
            });
            sent += 1;
        }
        until("all sent ones wait or are answered", async || {
            while let Some(answer) = waiting.try_join_next() {
                answers.push(answer.unwrap());
            }
            depth(&headgate).await + answers.len() >= sent
        })
        .await;
        assert!(sent < 2_000, "nobody is shed at {} %", percent(&headgate));
        if percent(&headgate) >= 91 {
            until("it is tight", async || level(&headgate).await >= 1.0).await;
        }
    }
    println!("{sent} waited when memory was {} % of its budget", percent(&headgate));
    headgate.printed("memory is tight").await;
    assert_eq!(warm.ask(&get).await.text(), "warm");
    assert_eq!(headgate.get(HOST, "/").await.text(), "warm");

    // nothing of it is waited for by hand: those who keep much are ended, and memory is there again
    while let Some(answer) = waiting.join_next().await {
        answers.push(answer.unwrap());
    }
    answers.iter().for_each(assert_shed);
    until("the log of it", async || headgate.access_log().contains("memory_shed")).await;
    assert!(headgate.metric("headgate_failures_total", "memory_shed").await >= answers.len() as f64);
    until("all as before", async || level(&headgate).await == 0.0).await;
    headgate.printed("memory is normal again").await;
    println!("{} % of the budget afterwards", percent(&headgate));

    let mut held = Wire::open(headgate.address).await;
    held.send(format!("GET / HTTP/1.1\r\nHost: {COLD}\r\n\r\n")).await;
    until("it waits", async || depth(&headgate).await == 1).await;
    std::fs::write(&listen, "").unwrap();
    assert_eq!(held.answer().await.status, 200);
    headgate.stop().await;
}

/// RFC 9110 §15.6.4 and RFC 9113 §6.8: when what runs takes all memory, idle connections end, new ones and new streams are refused, and what runs goes on.
#[tokio::test]
async fn who_is_new_is_refused_when_it_is_critical_and_who_is_served_is_served_on() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "POST" => Script::default().wait(Duration::from_secs(600)),
        _ => Script::ok("ok"),
    })
    .await;
    // a body is kept while another try may follow
    let text = "  - backendRefs: [{name: app, port: 80}]\n    retry: {codes: [503], attempts: 1}\n";
    let files = [("app.yaml", backend("app", None, &[origin.address])), ("route.yaml", rules("app", HOST, text))];
    let budget = format!("{BUDGET_MIB}MiB");
    let flags = ["--cores", "1", "--memory", &budget, "--drain-grace", "1s"];
    let headgate = Headgate::run_with(&flags, &files).await;
    let get = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut idle = Wire::open(headgate.address).await;
    assert_eq!(idle.ask(&get).await.status, 200);
    let idle_h2 = H2::open(headgate.address).await;
    assert_eq!(idle_h2.get(HOST, "/").await.unwrap().status, 200);
    let busy_h2 = H2::open(headgate.address).await;
    let request = http::Request::post(format!("http://{HOST}/")).body(()).unwrap();
    let _running = busy_h2.start(request, true).await.unwrap();

    let bytes = post(HOST);
    let mut running = Vec::new();
    while level(&headgate).await < 2.0 {
        let mut wire = Wire::open(headgate.address).await;
        wire.send(&bytes).await;
        running.push(wire);
        let sent = running.len();
        until("it runs", async || origin.complete() > sent || level(&headgate).await == 2.0).await;
        assert!(sent < 2_000, "not critical at {} %", percent(&headgate));
        if percent(&headgate) >= 96 {
            until("it is critical", async || level(&headgate).await == 2.0).await;
        }
    }
    println!("{} ran when memory was {} % of its budget", running.len(), percent(&headgate));
    headgate.printed("memory is critical").await;
    assert_eq!(idle.rest().await, b"", "an idle connection ends without a word");
    until("the idle one of HTTP/2 ends", async || idle_h2.get(HOST, "/").await.is_err()).await;
    assert_eq!(Wire::open(headgate.address).await.rest().await, b"");
    assert!(headgate.metric("headgate_connections_refused_total", "limit=\"memory\"").await >= 1.0);
    let refused = busy_h2.get(HOST, "/").await.unwrap();
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    assert!(refused.field("proxy-status").unwrap().contains("memory_shed"));
    assert!(headgate.metric("headgate_backend_in_flight", "app").await >= running.len() as f64, "what runs goes on");

    drop(running);
    until("all as before", async || level(&headgate).await == 0.0).await;
    assert_eq!(headgate.get(HOST, "/").await.status, 200);
    assert_eq!(busy_h2.get(HOST, "/").await.unwrap().status, 200);
    headgate.stop().await;
}
