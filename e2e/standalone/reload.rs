//! A save is live at once, without a lost request; what cannot be read keeps its last good version and says where and why.

use crate::stories;
use headgate_e2e::{Function, Headgate, Origin, Script, backend, marked_route, route, until};

const HOST: &str = "app.localhost";

#[tokio::test]
async fn no_request_fails_during_reloads() {
    stories::reloads(200, 20_000).await;
}

#[tokio::test]
async fn nonsense_is_named_by_its_place_and_disturbs_nothing_else() {
    let origin = Origin::start(|_| Script::ok("here")).await;
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("route.yaml", marked_route("app", HOST, 1, "app")),
        ("other.yaml", marked_route("other", "other.localhost", 1, "app")),
    ];
    let headgate = Headgate::run(&files).await;
    headgate.forget();
    let nonsense = marked_route("app", HOST, 2, "app").replace("port: 80", "port: eighty");
    let line = 1 + nonsense.lines().position(|line| line.contains("eighty")).unwrap();
    let column = 1 + nonsense.lines().nth(line - 1).unwrap().find("eighty").unwrap();
    headgate.save("route.yaml", &nonsense);
    headgate.save("other.yaml", &marked_route("other", "other.localhost", 2, "app"));
    headgate.printed(&format!("route.yaml:{line}:{column}: error")).await;
    headgate.printed("port: eighty}").await;
    headgate.printed("help:").await;
    headgate.printed("last good version").await;

    headgate.serves("other.localhost", "/", |answer| answer.field("x-version") == Some("2")).await;
    assert_eq!(headgate.get(HOST, "/").await.field("x-version"), Some("1"));

    // not even YAML: the same
    headgate.forget();
    headgate.save("route.yaml", "kind: [HTTPRoute\n");
    headgate.printed("route.yaml:").await;
    assert_eq!(headgate.get(HOST, "/").await.field("x-version"), Some("1"));

    // mended: live, and the error is forgotten
    headgate.save("route.yaml", &marked_route("app", HOST, 3, "app"));
    headgate.serves(HOST, "/", |answer| answer.field("x-version") == Some("3")).await;
    headgate.stop().await;
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_what_is_added_is_there() {
    let origin = Origin::start(|_| Script::ok("here")).await;
    let files =
        [("app.yaml", backend("app", None, &[origin.address])), ("route.yaml", marked_route("app", HOST, 1, "app"))];
    let headgate = Headgate::run(&files).await;
    assert_eq!(headgate.get(HOST, "/").await.status, 200);
    std::fs::remove_file(headgate.files.join("route.yaml")).unwrap();
    headgate.serves(HOST, "/", |answer| answer.status == 404).await;
    headgate.save("again.yaml", &route("app", HOST, &[("app", 1)]));
    headgate.serves(HOST, "/", |answer| answer.status == 200).await;
    headgate.save("f.yaml", &Function::named("late").to_string());
    headgate.serves("late.default.localhost", "/", |answer| answer.text() == "late\n").await;
    // a function that is deleted stops running
    std::fs::remove_file(headgate.files.join("f.yaml")).unwrap();
    headgate.serves("late.default.localhost", "/", |answer| answer.status == 404).await;
    until("its process gone", async || headgate.count("echo") == 0).await;
    headgate.stop().await;
}

#[tokio::test]
async fn a_request_that_waits_follows_its_route() {
    let origin = Origin::start(|_| Script::ok("elsewhere")).await;
    let stuck = Function::named("stuck").args(&["--start-delay", "1h"]);
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("stuck.yaml", stuck.to_string()),
        ("route.yaml", route("app", HOST, &[("stuck", 1)])),
    ];
    let headgate = Headgate::run(&files).await;
    let address = headgate.address;
    let waiting = tokio::spawn(async move { headgate_e2e::Wire::get(address, HOST, "/").await });
    until("it waits", async || headgate.metric("headgate_queue_depth", "stuck").await >= 1.0).await;
    headgate.save("route.yaml", &route("app", HOST, &[("app", 1)]));
    let answer = headgate_e2e::within("the answer", waiting).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "elsewhere"));
    headgate.stop().await;
}
