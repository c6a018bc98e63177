//! C2 and T5: objects that are wrong, and keys that change, beside ones that are served. The wrong ones cost their own share only.

use crate::rig::{HOST, Rig, Way, head};
use headgate_e2e::{Headgate, Origin, Script, Wire, backend, route, rules, until};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// Routes of which each is wrong in another way.
fn poison(number: usize) -> String {
    let (name, host) = (format!("bad-{number}"), format!("bad-{number}.localhost"));
    let to = "    backendRefs: [{name: app, port: 80}]\n";
    let filter = |filter: &str| rules(&name, &host, &format!("  - filters: [{filter}]\n{to}"));
    let rule = "  - backendRefs: [{name: app, port: 80}]\n";
    match number % 10 {
        0 => rules(&name, &host, &format!("  - matches: [{{path: {{type: RegularExpression, value: \"/(\"}}}}]\n{to}")),
        1 => rules(&name, &host, "  - backendRefs: [{name: nowhere, port: 80}]\n"),
        2 => rules(&name, &host, "  - backendRefs: [{name: app, namespace: elsewhere, port: 80}]\n"),
        3 => filter("{type: RequestRedirect, requestRedirect: {hostname: \"a b\"}}"),
        4 => filter(
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: \"x y\", value: \"a\\r\\nb: c\"}]}}",
        ),
        5 => filter("{type: ExtensionRef, extensionRef: {group: example.com, kind: Thing, name: thing}}"),
        6 => rules(&name, &host, &format!("  - matches: [{{path: {{type: PathPrefix, value: \"no-slash\"}}}}]\n{to}")),
        7 => rules(&name, &host, rule).replace("port: 80", "port: eighty"),
        // the same match as a good one, and younger by name
        8 => rules(&format!("z-{name}"), "good-1.localhost", rule),
        _ => rules(&name, &"x".repeat(300), rule),
    }
}

/// Gateway API: a rule that cannot be served answers for its own share (`PartiallyInvalid`), and nobody else's; also when all is read anew.
#[tokio::test]
async fn wrong_routes_disturb_no_others() {
    let origin = Origin::start(|_| Script::ok("ok")).await;
    let good = |number: usize| format!("good-{number}.localhost");
    let mut files = vec![("app.yaml".to_owned(), backend("app", None, &[origin.address]))];
    for number in 0..100 {
        let name = format!("good-{number}");
        files.push((format!("{name}.yaml"), route(&name, &good(number), &[("app", 1)])));
    }
    files.extend((0..50).map(|number| (format!("bad-{number}.yaml"), poison(number))));
    files.push(("noise.yaml".to_owned(), "kind: [HTTPRoute\n".to_owned()));
    let large = format!("  - matches: [{{headers: [{{name: x, value: {}}}]}}]\n", "y".repeat(1_000_000));
    files.push(("large.yaml".to_owned(), rules("large", "large.localhost", &large)));
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    for _ in 0..2 {
        let headgate = Headgate::run(&files).await;
        for number in 0..100 {
            assert_eq!(headgate.get(&good(number), "/").await.status, 200, "{number}");
        }
        for number in 0..50 {
            let answer = headgate.get(&format!("bad-{number}.localhost"), "/").await;
            assert!([404, 500].contains(&answer.status), "{number}: {}", answer.status);
        }
        assert!(origin.malformed().is_empty());
        headgate.stop().await;
    }
}

/// A certificate that is replaced again and again costs no handshake; one that is none is told of, prints no key, and costs its own listener only.
#[tokio::test]
async fn keys_that_change_cost_no_handshake() {
    let rig = Rig::start().await;
    let enough = Arc::new(AtomicBool::new(false));
    let ask = async || rig.open(Way::Tls).await.ask(head("GET / HTTP/1.1", "", "")).await.status;
    let asking = async {
        let mut count = 0;
        while !enough.load(Relaxed) {
            assert_eq!(ask().await, 200);
            count += 1;
        }
        count
    };
    let changing = async {
        for _ in 0..40 {
            rig.headgate.save("secret.yaml", &rig.authority().secret("app", &[HOST]));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        enough.store(true, Relaxed);
    };
    let (count, ()) = tokio::join!(asking, changing);
    println!("{count} handshakes");
    assert!(count > 5);

    let secret = rig.authority().secret("app", &[HOST]);
    let key = secret.lines().rev().nth(1).unwrap().trim().to_owned();
    rig.headgate.save("secret.yaml", &secret.replace("BEGIN CERT", "BEGUN CERT"));
    rig.headgate.printed("no certificate in PEM").await;
    assert_eq!(rig.canary().await, 200);
    assert!(!rig.headgate.output().join("\n").contains(&key), "a key was printed");
    rig.headgate.save("secret.yaml", &secret);
    let authority = rig.authority();
    // meanwhile its port is closed
    let again = async || {
        let Ok(stream) = authority.connect(rig.tls(), HOST, &[]).await else { return false };
        let mut wire = Wire::over(stream);
        wire.send(head("GET / HTTP/1.1", "", "")).await;
        wire.try_answer(false).await.is_ok_and(|answer| answer.status == 200)
    };
    until("TLS again", again).await;
    rig.headgate.stop().await;
}
