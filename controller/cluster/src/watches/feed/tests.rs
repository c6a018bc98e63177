//! A list and a watch against an API server that fails in every way it may, by a script.

use super::*;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use kube::{
    Client,
    api::{ApiResource, DynamicObject},
    client::Body,
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
};

/// Longer than a pause after a few failures, shorter than a test may take.
const LIMIT: Duration = Duration::from_secs(10);

/// An answer of the API server.
enum Answer {
    /// One body with this status.
    Says(u16, Value),
    /// These events, and then the end of the connection, or silence.
    Tells(Vec<Value>, Then),
}

enum Then {
    Ends,
    Hangs,
    Breaks,
}

/// What was asked for, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// A server that gives these answers one after the other, and then none.
fn server(answers: Vec<Answer>) -> (Client, Asked) {
    let asked = Asked::default();
    let (answers, noted) = (Arc::new(Mutex::new(VecDeque::from(answers))), asked.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        noted.lock().unwrap().push(query);
        let answer = answers.lock().unwrap().pop_front();
        async move {
            match answer {
                Some(answer) => Ok::<_, Infallible>(response(answer)),
                None => std::future::pending().await,
            }
        }
    });
    (Client::new(service, "default"), asked)
}

fn response(answer: Answer) -> Response<UnsyncBoxBody<Bytes, std::io::Error>> {
    match answer {
        Answer::Says(status, value) => {
            let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {});
            Response::builder().status(status).body(body.boxed_unsync()).unwrap()
        }
        Answer::Tells(events, then) => {
            let line = |event: Value| Ok(Frame::data(format!("{event}\n").into()));
            let told = stream::iter(events.into_iter().map(line).collect::<Vec<_>>());
            let end: Pin<Box<dyn Stream<Item = _> + Send>> = match then {
                Then::Ends => Box::pin(stream::empty()),
                Then::Hangs => Box::pin(stream::pending()),
                Then::Breaks => Box::pin(stream::iter([Err(std::io::Error::other("reset"))])),
            };
            Response::new(StreamBody::new(told.chain(end)).boxed_unsync())
        }
    }
}

fn object(name: &str, version: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default", "resourceVersion": version}})
}

fn list(version: &str, items: &[Value]) -> Answer {
    let body =
        json!({"apiVersion": "v1", "kind": "ServiceList", "metadata": {"resourceVersion": version}, "items": items});
    Answer::Says(200, body)
}

/// A list that goes on with another page.
fn page(version: &str, items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceList", "metadata": {"resourceVersion": version, "continue": "more"}, "items": items})
}

fn status(code: u16, reason: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code})
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

/// So many events, in short.
async fn told(answers: Vec<Answer>, count: usize) -> (Vec<String>, Vec<String>) {
    let (client, asked) = server(answers);
    let resource = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: "Service".into(),
        plural: "services".into(),
    };
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let name = |object: &DynamicObject| object.metadata.name.clone().unwrap_or_default();
    let short = |event: Event<DynamicObject>| match event {
        Event::All(all) => format!("all {}", all.iter().map(name).collect::<Vec<_>>().join(" ")),
        Event::Alive => "alive".into(),
        Event::Apply(object) => format!("apply {}", name(&object)),
        Event::Delete(object) => format!("delete {}", name(&object)),
        Event::Failed(failure) => format!("failed {}", failure.why),
    };
    let events = feed(api, None).take(count).map(short).collect();
    let told = tokio::time::timeout(LIMIT, events).await.expect("so many events in time");
    let asked = asked.lock().unwrap().clone();
    (told, asked)
}

#[tokio::test]
async fn what_is_there_comes_at_once_and_what_changes_after_it() {
    let page = page("7", &[object("a", "1")]);
    let events = vec![
        event("MODIFIED", object("a", "8")),
        event("BOOKMARK", json!({"apiVersion": "v1", "kind": "Service", "metadata": {"resourceVersion": "9"}})),
        event("DELETED", object("b", "10")),
    ];
    let answers = vec![Answer::Says(200, page), list("7", &[object("b", "2")]), Answer::Tells(events, Then::Hangs)];
    let (told, asked) = told(answers, 4).await;
    assert_eq!(told, ["all a b", "alive", "apply a", "delete b"]);
    assert!(asked[1].contains("continue=more"), "{asked:?}");
    assert!(asked[2].contains("watch=true") && asked[2].contains("resourceVersion=7"), "{asked:?}");
}

#[tokio::test]
async fn a_list_that_fails_says_nothing_of_what_is_there() {
    let answers = vec![
        Answer::Says(500, status(500, "etcd is away")),
        Answer::Says(403, status(403, "Forbidden")),
        Answer::Says(200, json!({"not": "a list"})),
        list("5", &[object("a", "1")]),
    ];
    let (told, _) = told(answers, 4).await;
    assert!(told[..3].iter().all(|event| event.starts_with("failed ")), "{told:?}");
    assert_eq!(told[3], "all a");
}

#[tokio::test]
async fn what_the_server_has_forgotten_is_listed_again_whether_it_says_so_in_the_head_or_in_an_event() {
    let gone = || status(410, "Expired");
    let answers = vec![
        list("5", &[object("a", "1"), object("b", "2")]),
        Answer::Tells(vec![event("ERROR", gone())], Then::Ends),
        list("20", &[object("b", "2")]),
        Answer::Says(410, gone()),
        list("30", &[object("c", "25")]),
        Answer::Tells(Vec::new(), Then::Hangs),
    ];
    let (mut told, _) = told(answers, 7).await;
    told.retain(|event| !event.starts_with("failed"));
    assert_eq!(told, ["all a b", "alive", "all b", "all c", "alive"]);
}

/// Pages are of one state of the API server: what came of them before is not the beginning of another list.
#[tokio::test]
async fn a_list_that_breaks_between_its_pages_is_begun_again_and_nothing_of_it_is_told() {
    let first = || page("7", &[object("a", "1")]);
    let answers = vec![
        Answer::Says(200, first()),
        Answer::Says(410, status(410, "Expired")),
        Answer::Says(200, first()),
        Answer::Tells(vec![page("7", &[object("b", "2")])], Then::Breaks),
        Answer::Says(200, first()),
        Answer::Says(503, status(503, "ServiceUnavailable")),
        Answer::Says(200, page("9", &[object("c", "8")])),
        list("9", &[object("d", "9")]),
        Answer::Tells(Vec::new(), Then::Hangs),
    ];
    let (told, asked) = told(answers, 5).await;
    assert!(told[..3].iter().all(|event| event.starts_with("failed ")), "{told:?}");
    assert_eq!(told[3..], ["all c d", "alive"]);
    let continued: Vec<_> = asked.iter().map(|query| query.contains("continue=")).collect();
    assert_eq!(continued, [false, true, false, true, false, true, false, true, false], "{asked:?}");
    assert!(asked[8].contains("watch=true") && asked[8].contains("resourceVersion=9"), "{asked:?}");
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_where_it_was_and_says_that_it_is_alive_again() {
    let answers = vec![
        list("5", &[object("a", "1")]),
        Answer::Tells(vec![event("ADDED", object("b", "8"))], Then::Breaks),
        Answer::Says(503, status(503, "ServiceUnavailable")),
        list("8", &[]),
        Answer::Tells(Vec::new(), Then::Hangs),
    ];
    let (told, asked) = told(answers, 6).await;
    assert_eq!(told[..3], ["all a", "alive", "apply b"]);
    assert!(told[3].starts_with("failed") && told[4].starts_with("failed"), "{told:?}");
    assert_eq!(told[5], "alive", "a kind in which nothing happens is known to be well again");
    assert!(asked[4].contains("watch=true") && asked[4].contains("resourceVersion=8"), "{asked:?}");
}

#[tokio::test]
async fn a_server_that_was_restored_to_an_older_state_is_listed_again() {
    let answers = vec![
        list("50", &[object("a", "40")]),
        Answer::Tells(Vec::new(), Then::Breaks),
        list("9", &[object("old", "3")]),
        list("9", &[object("old", "3")]),
        Answer::Tells(Vec::new(), Then::Hangs),
    ];
    let (mut told, asked) = told(answers, 6).await;
    told.retain(|event| !event.starts_with("failed"));
    assert_eq!(told, ["all a", "alive", "all old", "alive"]);
    assert!(asked[2].contains("limit=1"), "one object is enough to see it: {asked:?}");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_changes_nothing_and_the_watch_goes_on() {
    let events = vec![event("MODIFIED", json!({"metadata": {"name": 7}})), event("ADDED", object("b", "8"))];
    let (told, _) = told(vec![list("5", &[]), Answer::Tells(events, Then::Hangs)], 4).await;
    assert_eq!(told[1], "alive");
    assert!(told[2].starts_with("failed an event that cannot be read"), "{told:?}");
    assert_eq!(told[3], "apply b");
}

#[test]
fn pauses_grow_to_ten_seconds_and_are_never_the_same_for_all() {
    assert_eq!(pause(0, 0.0), Duration::from_millis(100));
    assert_eq!(pause(0, 1.0), Duration::from_millis(50));
    assert_eq!(pause(3, 0.0), Duration::from_millis(800));
    assert_eq!(pause(60, 0.0), PAUSE.1);
    assert_eq!(pause(60, 1.0), PAUSE.1 / 2);
}

#[test]
fn versions_are_compared_as_numbers_if_they_are() {
    assert!(is_before("9", "10"));
    assert!(!is_before("10", "10"));
    assert!(!is_before("a", "b"), "nothing is known");
}
