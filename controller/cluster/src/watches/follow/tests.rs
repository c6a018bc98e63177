//! What becomes of lists, changes and failures of one kind, without an API server.

use super::*;
use headgate_controller::sources::cluster::ClusterContent;
use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use std::{collections::BTreeSet, convert::Infallible};
use tokio::sync::mpsc;

/// A follower of HTTPRoutes, and what it tells.
fn follower() -> (Follower, mpsc::Receiver<News>) {
    let nobody =
        tower::service_fn(async |_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>().await);
    let (news, told) = mpsc::channel(16);
    let referred = watch::channel(Arc::new(BTreeSet::new())).1;
    let context = Context { client: Client::new(nobody, "default"), news, defined: watch::Sender::default(), referred };
    let at = KINDS.iter().position(|kind| kind.kind == "HTTPRoute").expect("a kind that is watched");
    let defined = context.defined.subscribe();
    let (kind, definition) = (&KINDS[at], String::new());
    (Follower { context, at, kind, defined, definition, seen: None, version: "", known: HashMap::new() }, told)
}

fn route(name: &str, version: &str, spec: &Value) -> DynamicObject {
    let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn good(name: &str, version: &str) -> DynamicObject {
    route(name, version, &json!({"hostnames": ["a.example"]}))
}

/// What one event makes of it, in short.
async fn heard(
    follower: &mut Follower,
    told: &mut mpsc::Receiver<News>,
    version: &'static str,
    event: Event<DynamicObject>,
) -> (Health, Vec<String>) {
    assert!(follower.hear(version, event).await.is_ok());
    let news = told.try_recv().unwrap();
    let short = |change: &ObjectChange| match change {
        ObjectChange::Upsert(object) => format!("+{}", object.name.name),
        ObjectChange::Remove(name) => format!("-{}", name.name),
    };
    let mut changes: Vec<String> = news.changes.iter().map(short).collect();
    changes.sort();
    (news.health, changes)
}

#[tokio::test]
async fn a_list_tells_only_what_differs_and_what_is_missing_from_it_is_gone() {
    let (mut follower, mut told) = follower();
    let all = |objects| Event::All(objects);
    let first = heard(&mut follower, &mut told, "v1", all(vec![good("a", "1"), good("b", "2")])).await;
    assert_eq!(first, (Health::Synced, vec!["+a".into(), "+b".into()]));
    let second = heard(&mut follower, &mut told, "v1", all(vec![good("b", "2"), good("c", "3")])).await;
    assert_eq!(second.1, ["+c", "-a"]);
    let other = heard(&mut follower, &mut told, "v1beta1", all(vec![good("b", "2"), good("c", "3")])).await;
    assert_eq!(other.1, ["+b", "+c"], "another version may say it otherwise");
    assert_eq!(heard(&mut follower, &mut told, "v1beta1", Event::Delete(good("c", "4"))).await.1, ["-c"]);
    assert_eq!(heard(&mut follower, &mut told, "v1beta1", Event::Delete(good("c", "5"))).await.1, [""; 0]);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_keeps_what_it_was_and_says_why() {
    let (mut follower, mut told) = follower();
    heard(&mut follower, &mut told, "v1", Event::All(vec![good("a", "1")])).await;
    let before = follower.known.values().next().unwrap().clone();
    let broken = route("a", "2", &json!({"hostnames": 7}));
    assert_eq!(heard(&mut follower, &mut told, "v1", Event::Apply(broken)).await.1, ["+a"]);
    let after = follower.known.values().next().unwrap().clone();
    assert_eq!(after.content, before.content);
    assert_eq!((after.resource_version.as_str(), after.problems.is_empty()), ("2", false));
    let never = route("b", "3", &json!({"hostnames": 7}));
    heard(&mut follower, &mut told, "v1", Event::Apply(never)).await;
    assert!(follower.known.values().any(|object| object.content == ClusterContent::Unreadable));
}
