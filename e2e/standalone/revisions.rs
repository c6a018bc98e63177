//! An edit of a template is proved before it serves; a broken one never serves; the old one again is a way back.

use crate::stories::{let_listen, waiting};
use headgate_e2e::{Function, Headgate, Wire, until};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use tokio::task::JoinHandle;

const HOST: &str = "hello.default.localhost";

fn saying(text: &str) -> Function {
    Function::named("hello").command(&["headgate", "echo", "--text", text])
}

/// Asks without a pause; each answer is 200, and each text that came stands once in the end, in order.
fn asking(headgate: &Headgate) -> (Arc<AtomicBool>, JoinHandle<Vec<String>>) {
    let (stop, to) = (Arc::new(AtomicBool::new(false)), headgate.address);
    let told = stop.clone();
    let task = tokio::spawn(async move {
        let mut wire = Wire::open(to).await;
        let mut texts: Vec<String> = Vec::new();
        while !told.load(Relaxed) {
            let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let text = answer.text().trim().to_owned();
            if texts.last() != Some(&text) {
                texts.push(text);
            }
        }
        texts
    });
    (stop, task)
}

#[tokio::test]
async fn an_edit_is_proved_and_then_serves_without_a_failed_request() {
    let headgate = Headgate::run(&[("f.yaml", saying("one").to_string())]).await;
    assert_eq!(headgate.get(HOST, "/").await.text(), "one\n");
    let (stop, asking) = asking(&headgate);
    let home = tempfile::tempdir().unwrap();
    // the new one listens when it is let
    headgate.save("f.yaml", &waiting(&home).renamed("hello").to_string());
    headgate.printed("it serves once it has become ready").await;
    until("both run", async || headgate.count("app") == 1 && headgate.count("echo") == 1).await;
    assert_eq!(headgate.get(HOST, "/").await.text(), "one\n");
    let_listen(&home);
    headgate.serves(HOST, "/", |answer| answer.text() == "0 0 true").await;
    headgate.printed("serves now instead of").await;
    // the old one drains and stops
    until("the old one gone", async || headgate.count("echo") == 0).await;
    stop.store(true, Relaxed);
    assert_eq!(asking.await.unwrap(), ["one", "0 0 true"]);
    headgate.stop().await;
}

#[tokio::test]
async fn a_broken_edit_never_serves_and_says_why() {
    let headgate = Headgate::run(&[("f.yaml", saying("one").to_string())]).await;
    assert_eq!(headgate.get(HOST, "/").await.text(), "one\n");
    let (stop, asking) = asking(&headgate);
    headgate.save("f.yaml", &saying("two").command(&["sh", "-c", "echo no database >&2; exit 3"]).to_string());
    let said = headgate.printed("is broken").await;
    assert!(said.contains("no database") && said.contains("code 3"), "{said}");
    // back to what it was: nothing is proved anew, nothing is started
    let processes = headgate.processes();
    headgate.forget();
    headgate.save("f.yaml", &saying("one").to_string());
    headgate.save("other.yaml", &Function::named("other").to_string());
    headgate.serves("other.default.localhost", "/", |answer| answer.status == 200).await;
    assert!(!headgate.output().iter().any(|line| line.contains("new revision")), "{:?}", headgate.output());
    let kept = headgate.processes();
    assert!(processes.iter().filter(|(_, line)| line.contains("one")).all(|(pid, _)| kept.contains_key(pid)));
    stop.store(true, Relaxed);
    assert_eq!(asking.await.unwrap(), ["one"]);
    headgate.stop().await;
}

#[tokio::test]
async fn the_old_template_again_is_a_way_back_without_a_proof() {
    let headgate = Headgate::run(&[("f.yaml", saying("one").to_string())]).await;
    assert_eq!(headgate.get(HOST, "/").await.text(), "one\n");
    headgate.save("f.yaml", &saying("two").to_string());
    headgate.serves(HOST, "/", |answer| answer.text() == "two\n").await;
    headgate.forget();
    headgate.save("f.yaml", &saying("one").to_string());
    headgate.serves(HOST, "/", |answer| answer.text() == "one\n").await;
    headgate.printed("back to").await;
    assert!(!headgate.output().iter().any(|line| line.contains("new revision")), "{:?}", headgate.output());
    headgate.stop().await;
}

#[tokio::test]
async fn bounds_and_settings_are_not_the_template() {
    let headgate = Headgate::run(&[("f.yaml", saying("one").to_string())]).await;
    assert_eq!(headgate.get(HOST, "/").await.text(), "one\n");
    let processes = headgate.processes();
    headgate.forget();
    headgate.save("f.yaml", &saying("one").replicas(0, 7).annotation("headgate.dev/queue", 5).to_string());
    headgate.save("other.yaml", &Function::named("other").to_string());
    headgate.serves("other.default.localhost", "/", |answer| answer.status == 200).await;
    let (before, after) = (processes.len(), headgate.processes());
    assert!(
        processes.keys().all(|pid| after.contains_key(pid)) && after.len() == before + 1,
        "{processes:?} {after:?}"
    );
    assert!(!headgate.output().iter().any(|line| line.contains("new revision")), "{:?}", headgate.output());
    // a lower bound starts the replica that is missing
    headgate.save("f.yaml", &saying("one").replicas(2, 7).to_string());
    until("two replicas", async || headgate.count("--text one") == 2).await;
    headgate.stop().await;
}
