//! What is told of happenings in which order, with repeats and bounds. No API server.

use super::*;
use headgate_status::Severity;
use headgate_translate::kinds::GATEWAY_GROUP;

fn regarding(namespace: &str, name: &str) -> Regarding {
    let kind = if namespace.is_empty() { "GatewayClass" } else { "HTTPRoute" };
    let object = ObjectRef::new(GATEWAY_GROUP, kind, namespace, name);
    Regarding { object, uid: "u1".into(), api_version: "gateway.networking.k8s.io/v1".into() }
}

fn warning(note: &str) -> Happening {
    Happening { severity: Severity::Warning, reason: "BackendNotFound".into(), note: note.into() }
}

fn bulletin() -> Bulletin {
    Bulletin::new("headgate.dev/gateway-controller", "headgate-7d9")
}

fn minutes(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

#[test]
fn an_event_is_as_the_api_has_it() {
    let mut bulletin = bulletin();
    bulletin.tell(regarding("ns", "hello"), warning("no Service hello"), minutes(1));
    let notice = bulletin.take().unwrap();
    assert_eq!(
        notice.body,
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": "ns", "name": notice.name},
            "eventTime": "1970-01-01T00:01:00.000000Z",
            "reportingController": "headgate.dev/gateway-controller",
            "reportingInstance": "headgate-7d9",
            "action": "WriteStatus",
            "reason": "BackendNotFound",
            "regarding": {
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "namespace": "ns", "name": "hello",
                "uid": "u1",
            },
            "note": "no Service hello",
            "type": "Warning",
        })
    );
    assert!(notice.name.starts_with("hello."));
    assert!(bulletin.take().is_none());
}

#[test]
fn the_same_again_is_a_series() {
    let mut bulletin = bulletin();
    let tell = |bulletin: &mut Bulletin, at| bulletin.tell(regarding("ns", "hello"), warning("no"), at);
    tell(&mut bulletin, minutes(1));
    let first = bulletin.take().unwrap();
    bulletin.done(first.clone(), Ending::Written);
    tell(&mut bulletin, minutes(2));
    tell(&mut bulletin, minutes(3));
    let again = bulletin.take().unwrap();
    assert_eq!((&again.name, again.is_patch), (&first.name, true));
    let last = "1970-01-01T00:03:00.000000Z";
    assert_eq!(again.body, json!({"series": {"count": 3, "lastObservedTime": last}}));
    assert!(bulletin.take().is_none(), "one patch for both");
    tell(&mut bulletin, minutes(20));
    assert!(!bulletin.take().unwrap().is_patch, "long after it is a new event");
}

#[test]
fn an_event_of_a_class_stands_in_the_default_namespace() {
    let mut bulletin = bulletin();
    bulletin.tell(regarding("", "headgate"), warning("no"), minutes(1));
    let notice = bulletin.take().unwrap();
    assert_eq!(notice.namespace, "default");
    assert_eq!(notice.body["regarding"].get("namespace"), None);
}

#[test]
fn the_longest_name_of_an_object_leaves_room_for_a_number() {
    let mut bulletin = bulletin();
    let name = format!("{}.{}", "a".repeat(219), "b".repeat(33));
    bulletin.tell(regarding("ns", &name), warning("no"), minutes(1));
    let notice = bulletin.take().unwrap();
    assert!(notice.name.len() <= 253);
    assert!(!notice.name.contains(".."));
}

#[test]
fn what_fails_is_tried_some_times_and_then_counted() {
    let mut bulletin = bulletin();
    bulletin.tell(regarding("ns", "hello"), warning("no"), minutes(1));
    let mut tries = 0;
    while let Some(notice) = bulletin.take() {
        tries += 1;
        bulletin.done(notice, Ending::Failed);
    }
    assert_eq!((tries, bulletin.dropped()), (4, 1));
}

#[test]
fn too_many_are_dropped_and_counted() {
    let mut bulletin = bulletin();
    for number in 0..WAITING_MAX + 5 {
        bulletin.tell(regarding("ns", &format!("r{number}")), warning("no"), minutes(1));
    }
    assert_eq!(bulletin.dropped(), 5);
    bulletin.lead(false);
    assert!(bulletin.take().is_none(), "another process tells now");
}

#[test]
fn what_stands_is_one_event_whoever_tells_it_and_waits_for_all_that_happens() {
    let name = |uid: &str, note: &str| {
        let mut bulletin = bulletin();
        bulletin.lead(true);
        let regarding = Regarding { uid: uid.into(), ..regarding("ns", "hello") };
        bulletin.stand(&regarding, vec![warning(note)], minutes(1));
        bulletin.tell(regarding, warning("something else"), minutes(2));
        let first = bulletin.take().unwrap();
        assert_eq!(first.body["note"], "something else");
        let standing = bulletin.take().unwrap();
        assert_eq!((standing.body["note"].as_str(), standing.is_patch), (Some(note), false));
        let name = standing.name.clone();
        bulletin.done(standing, Ending::Failed);
        let again = bulletin.take().unwrap();
        assert_eq!(again.name, name);
        bulletin.done(again, Ending::Written);
        assert_eq!((bulletin.take(), bulletin.dropped()), (None, 0));
        name
    };
    assert_eq!(name("u1", "no Service"), name("u1", "no Service"));
    assert_ne!(name("u1", "no Service"), name("u1", "no port"));
    assert_ne!(name("u1", "no Service"), name("u2", "no Service"));
}
