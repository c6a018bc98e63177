//! Session persistence and retry budgets, as clients and applications see them.

use headgate_e2e::{Answer, Headgate, Origin, Script, Wire, backend, rules, until};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

const HOST: &str = "shop.localhost";

/// Applications that say which they are.
async fn applications(names: &'static [&'static str]) -> Vec<Origin> {
    let mut started = Vec::new();
    for name in names {
        started.push(Origin::start(move |_| Script::ok(name)).await);
    }
    started
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(|origin| origin.address).collect()
}

fn rule(session: &str) -> String {
    let session = if session.is_empty() { String::new() } else { format!("    sessionPersistence: {session}\n") };
    rules("shop", HOST, &format!("  - backendRefs: [{{name: shop, port: 80}}]\n{session}"))
}

fn policy(spec: &str) -> String {
    "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackendTrafficPolicy\nmetadata: {name: shop}\nspec:\n  \
     targetRefs: [{group: '', kind: Service, name: shop}]\n"
        .to_owned()
        + spec
}

async fn ask(headgate: &Headgate, fields: &str) -> Answer {
    let mut wire = Wire::open(headgate.address).await;
    let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// `name=value` of the cookie that an answer sets.
fn cookie(answer: &Answer) -> Option<&str> {
    answer.field("set-cookie").map(|set| set.split(';').next().unwrap())
}

/// A client with this field gets one answer 20 times, and is told nothing new.
async fn stays(headgate: &Headgate, fields: &str) -> String {
    let first = ask(headgate, fields).await;
    for _ in 0..20 {
        let answer = ask(headgate, fields).await;
        assert_eq!((answer.text(), cookie(&answer)), (first.text(), None));
    }
    first.text()
}

#[tokio::test]
async fn a_client_with_a_cookie_stays_until_its_endpoint_is_gone() {
    let apps = applications(&["a", "b", "c"]).await;
    let files =
        [("app.yaml", backend("shop", None, &addresses(&apps))), ("route.yaml", rule("{cookie: {name: stay}}"))];
    let headgate = Headgate::run(&files).await;
    let mut found = BTreeSet::new();
    for _ in 0..30 {
        let answer = ask(&headgate, "").await;
        let set = answer.field("set-cookie").unwrap().to_owned();
        assert!(set.starts_with("stay=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
        let (port, address) = (addresses(&apps)[0].port().to_string(), "127.0.0.1");
        assert!(!set.contains(&port) && !set.contains(address), "{set}");
        found.insert(answer.text());
    }
    assert_eq!(found.len(), 3, "without a cookie all are used: {found:?}");

    let first = ask(&headgate, "").await;
    let field = format!("Cookie: other=1; {}\r\n", cookie(&first).unwrap());
    assert_eq!(stays(&headgate, &field).await, first.text());
    // a made-up one is none, and one of two is enough
    assert!(cookie(&ask(&headgate, "Cookie: stay=AAAAAAAAAAAAAAAAAAA\r\n").await).is_some());

    // gone: another one, and a cookie that holds
    let left: Vec<SocketAddr> = addresses(&apps);
    let gone = ["a", "b", "c"].iter().position(|name| *name == first.text()).unwrap();
    let left: Vec<SocketAddr> =
        left.into_iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, one)| one).collect();
    headgate.save("app.yaml", &backend("shop", None, &left));
    let moved = within_reload(&headgate, &field, &first.text()).await;
    assert_ne!(moved.text(), first.text());
    let field = format!("Cookie: {}\r\n", cookie(&moved).unwrap());
    assert_eq!(stays(&headgate, &field).await, moved.text());
    headgate.stop().await;
}

/// The first answer of another one than `old`.
async fn within_reload(headgate: &Headgate, fields: &str, old: &str) -> Answer {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask(headgate, fields).await;
        if answer.text() != old {
            return answer;
        }
        assert!(Instant::now() < until, "still {old}");
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_left_for_another_and_the_client_is_told() {
    // kept connections would go on
    let app = async |name: &'static str| Origin::start(move |_| Script::ok(name).close()).await;
    let apps = [app("a").await, app("b").await];
    let files =
        [("app.yaml", backend("shop", None, &addresses(&apps))), ("route.yaml", rule("{cookie: {name: stay}}"))];
    let headgate = Headgate::run(&files).await;
    let first = ask(&headgate, "").await;
    let field = format!("Cookie: {}\r\n", cookie(&first).unwrap());
    assert_eq!(stays(&headgate, &field).await, first.text());
    apps[usize::from(first.text() == "b")].stop();
    let moved = within_reload(&headgate, &field, &first.text()).await;
    assert!(cookie(&moved).is_some_and(|new| !field.contains(new)));
    headgate.stop().await;
}

#[tokio::test]
async fn a_client_with_a_header_stays_and_is_told_it_each_time() {
    let apps = applications(&["a", "b", "c"]).await;
    let session = rule("{type: Header, header: {name: X-Stay}}");
    let files = [("app.yaml", backend("shop", None, &addresses(&apps))), ("route.yaml", session)];
    let headgate = Headgate::run(&files).await;
    let first = ask(&headgate, "").await;
    let field = format!("x-stay: {}\r\n", first.field("x-stay").unwrap());
    for _ in 0..20 {
        let answer = ask(&headgate, &field).await;
        assert_eq!((answer.text(), answer.field("x-stay")), (first.text(), first.field("x-stay")));
    }
    let seen = apps.iter().flat_map(Origin::requests).filter(|request| request.field("x-stay").is_some()).count();
    assert_eq!(seen, 20, "the application sees it");
    headgate.stop().await;
}

/// GEP-1619: persistence chooses within the backend that the weights chose, and never the backend.
#[tokio::test]
async fn weights_are_kept_and_each_arm_remembers_its_endpoint() {
    let (old, new) = (applications(&["old 1", "old 2"]).await, applications(&["new 1", "new 2"]).await);
    let text = "  - backendRefs: [{name: old, port: 80, weight: 1}, {name: new, port: 80, weight: 1}]\n    \
                sessionPersistence: {absoluteTimeout: 1h, cookie: {name: stay, lifetimeType: Permanent}}\n";
    let files = [
        ("old.yaml", backend("old", None, &addresses(&old))),
        ("new.yaml", backend("new", None, &addresses(&new))),
        ("route.yaml", rules("shop", HOST, text)),
    ];
    let headgate = Headgate::run(&files).await;
    let (mut jar, mut seen) = (String::new(), BTreeSet::new());
    for _ in 0..60 {
        let answer = ask(&headgate, &format!("Cookie: {jar}\r\n")).await;
        if let Some(set) = answer.field("set-cookie") {
            assert!(set.contains("; Max-Age=3600;"), "{set}");
            jar = cookie(&answer).unwrap().to_owned();
        }
        seen.insert(answer.text());
    }
    let arms: BTreeSet<&str> = seen.iter().map(|name| &name[..3]).collect();
    assert_eq!((arms.len(), seen.len()), (2, 2), "one endpoint of each: {seen:?}");
    headgate.stop().await;
}

#[tokio::test]
async fn a_policy_of_the_service_does_it_for_all_its_routes() {
    let apps = applications(&["a", "b", "c"]).await;
    let files = [
        ("app.yaml", backend("shop", None, &addresses(&apps))),
        ("route.yaml", rule("")),
        ("policy.yaml", policy("  sessionPersistence: {cookie: {}}\n")),
    ];
    let headgate = Headgate::run(&files).await;
    let first = ask(&headgate, "").await;
    let field = format!("Cookie: {}\r\n", cookie(&first).unwrap());
    assert!(field.starts_with("Cookie: headgate-"), "{field}");
    assert_eq!(stays(&headgate, &field).await, first.text());
    headgate.stop().await;
}

#[tokio::test]
async fn a_budget_bounds_the_tries_of_a_backend_that_fails() {
    let bad = Origin::start(|_| Script::status(503, "bad")).await;
    let retry = "  - backendRefs: [{name: shop, port: 80}]\n    retry: {codes: [503], attempts: 3, backoff: 1ms}\n";
    let budget = "  retryConstraint: {budget: {percent: 10, interval: 1h}, minRetryRate: {count: 5, interval: 1h}}\n";
    let files = [
        ("app.yaml", backend("shop", None, &[bad.address])),
        ("route.yaml", rules("shop", HOST, retry)),
        ("policy.yaml", policy(budget)),
    ];
    let headgate = Headgate::run(&files).await;
    let (mut spent, mut theirs) = (0, 0);
    let mut wire = Wire::open(headgate.address).await;
    for _ in 0..100 {
        let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(answer.status, 503);
        match answer.failure() {
            Some("retry_budget_spent") => spent += 1,
            None => theirs += 1,
            other => panic!("{other:?}"),
        }
    }
    let tries = bad.requests().len();
    // 10 % of all tries: 11 of 111
    assert!((105..=112).contains(&tries), "{tries} tries of 100 requests; without a budget 400");
    assert!(spent >= 95 && spent + theirs == 100, "{spent} and {theirs}");
    // the last one is counted after its answer
    let counted = async || headgate.metric("headgate_failures_total", "retry_budget_spent").await;
    until("the metric has all", async || counted().await >= f64::from(spent)).await;
    headgate.stop().await;

    // without a budget all tries are made, and the last answer is the application's
    let headgate = Headgate::run(&files[..2]).await;
    bad.forget();
    let answer = headgate.get(HOST, "/").await;
    assert_eq!((answer.status, answer.text().as_str(), bad.requests().len()), (503, "bad", 4));
    headgate.stop().await;
}
