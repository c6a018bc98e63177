//! The inputs of S1 while the function that they are for does not run (Z1): what is refused is refused at once, what waits becomes one request or none, and nothing of a body is ever one.

use crate::{framing, rig::HOST};
use headgate_e2e::{Function, Headgate, Wire, arrivals, route, until};

/// RFC 9112 §6.3, as for a function that runs: waiting reads ahead, and what it read is still a body.
#[tokio::test]
async fn malformed_input_for_a_cold_function_is_no_request_either() {
    let home = tempfile::tempdir().unwrap();
    let (log, listen) = (home.path().join("arrivals"), home.path().join("listen"));
    let function = Function::named("busy")
        .command(&[env!("CARGO_BIN_EXE_app")])
        .env("LOG", log.display())
        .env("LISTEN_WHEN", listen.display());
    let files = [("busy.yaml", function.to_string()), ("route.yaml", route("busy", HOST, &[("busy", 1)]))];
    let headgate = Headgate::run_with(&["--cores", "1"], &files).await;
    let (mut waiting, mut owed, mut refused) = (Vec::new(), 0, 0);
    for case in framing::all() {
        let mut wire = Wire::open(headgate.address).await;
        wire.send(&case.bytes).await;
        if case.is_refused_at_its_head() {
            let answer = wire.answer().await;
            assert!(answer.status >= 400 && !answer.keeps_alive(), "{}: {}", case.name, answer.status);
            refused += 1;
        } else {
            owed += case.owed();
            waiting.push(wire);
        }
    }
    assert!(refused > 80, "{refused}");
    assert!(arrivals(&log).is_empty());
    std::fs::write(&listen, "").unwrap();
    for wire in &mut waiting {
        // one answer, of the function or ours; pipelined ones have more, and are counted below
        let answer = wire.try_answer(false).await;
        assert!(answer.as_ref().map_or_else(|why| !why.contains("malformed"), |got| got.status < 502), "{answer:?}");
    }
    drop(waiting);
    let canary = headgate.get(HOST, "/canary").await;
    assert_eq!(canary.status, 200);
    until("all over", async || headgate.metric("headgate_requests_active", "").await == 0.0).await;
    let arrived = arrivals(&log).len();
    assert!(arrived <= owed + 1, "{arrived} requests of {owed}");
    // the application stops at what is no HTTP, and says so
    assert!(!headgate.output().iter().any(|line| line.contains("no HTTP")), "{:#?}", headgate.output());
    headgate.stop().await;
}
