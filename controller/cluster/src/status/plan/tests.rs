//! Which write is due when, as time passes and answers come. No API server.

use super::*;
use crate::pace::{PAUSE, PAUSE_MAX};
use headgate_controller::sources::cluster::ClusterContent;
use headgate_translate::{
    conditions::{Condition, ConditionType, ParentStatus, Reason, RouteStatus, Status},
    kinds::{GATEWAY_GROUP, ParentRef},
};
use serde_json::json;
use std::time::Duration;

const OURS: &str = "headgate.dev/gateway-controller";

/// A plan with a clock, and an API server in which one route and one Gateway can stand.
struct Scene {
    plan: Plan,
    now: Instant,
}

fn route() -> ObjectRef {
    ObjectRef::new(GATEWAY_GROUP, "HTTPRoute", "ns", "route")
}

fn gateway() -> ObjectRef {
    ObjectRef::new(GATEWAY_GROUP, "Gateway", "ns", "web")
}

fn object(name: &ObjectRef, uid: &str, version: u32, status: Value) -> ObjectChange {
    ObjectChange::Upsert(Arc::new(ClusterObject {
        name: name.clone(),
        version: "v1",
        content: ClusterContent::Unreadable,
        uid: uid.into(),
        owner: None,
        generation: 1,
        resource_version: version.to_string(),
        status: status.into(),
        appliers: Vec::new(),
        made: None,
        problems: Vec::new(),
    }))
}

fn said(message: &str) -> Wanted {
    let condition = Condition::wrong(ConditionType::Accepted, Reason::NoMatchingParent, message, 1);
    let parent_ref = ParentRef::gateway("ns", "web");
    let parent = ParentStatus { parent_ref, controller_name: OURS.into(), conditions: vec![condition] };
    Wanted::Said(Arc::new(Status::Route(RouteStatus { parents: vec![parent] })))
}

fn fields() -> Wanted {
    let condition = json!({"type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": 1});
    Wanted::Fields { status: json!({"conditions": [condition]}).into(), awaiting: false }
}

/// What the API server answers a merge patch of a status in which nobody else says anything.
fn answer(write: &Write, version: u32) -> Answer {
    let status = write.body["status"].clone();
    Answer {
        uid: write.uid.clone(),
        generation: 1,
        resource_version: version.to_string(),
        status: status.into(),
        appliers: Vec::new(),
    }
}

impl Scene {
    fn new() -> Self {
        let (mut plan, now) = (Plan::new(OURS), Instant::now());
        plan.lead(true, now);
        Self { plan, now }
    }

    fn see(&mut self, change: &ObjectChange) {
        self.plan.see(change, self.now);
    }

    fn want(&mut self, object: &ObjectRef, wanted: Option<Wanted>) {
        self.plan.want(object, wanted.map(Arc::new), self.now);
    }

    fn write(&mut self) -> Option<Write> {
        loop {
            match self.plan.next(self.now, Timestamp::UNIX_EPOCH) {
                Step::Write(write) => return Some(*write),
                Step::More => {}
                Step::Wait(_) => return None,
            }
        }
    }

    fn done(&mut self, write: &Write, outcome: Outcome) {
        self.plan.done(write, outcome, self.now, 1.0);
    }

    /// How long until there is something to do, without news.
    fn idle(&mut self) -> Option<Duration> {
        match self.plan.next(self.now, Timestamp::UNIX_EPOCH) {
            Step::Wait(until) => until.map(|until| until - self.now),
            step => panic!("not idle: {step:?}"),
        }
    }

    /// A route of which something was written, and the watch showed it: version 2.
    fn settled() -> (Self, Value) {
        let mut scene = Self::new();
        scene.see(&object(&route(), "a", 1, json!(null)));
        scene.want(&route(), Some(said("one")));
        let write = scene.write().unwrap();
        scene.done(&write, Outcome::Written(answer(&write, 2)));
        let status = write.body["status"].clone();
        scene.see(&object(&route(), "a", 2, status.clone()));
        assert_eq!(scene.idle(), None);
        (scene, status)
    }
}

#[test]
fn what_is_wanted_is_written_at_once_and_then_nothing_more() {
    let (mut scene, status) = Scene::settled();
    scene.now += Duration::from_secs(3_600);
    scene.see(&object(&route(), "a", 3, status));
    assert!(scene.write().is_none(), "a change of something else needs no write");
    assert_eq!(scene.idle(), None);
}

#[test]
fn it_is_written_in_the_version_in_which_its_object_is_served() {
    let mut scene = Scene::new();
    let read_as = |version, change| match change {
        ObjectChange::Upsert(object) => ObjectChange::Upsert(Arc::new(ClusterObject { version, ..(*object).clone() })),
        ObjectChange::Remove(_) => panic!("it is there"),
    };
    scene.see(&read_as("v1beta1", object(&route(), "a", 1, json!(null))));
    scene.want(&route(), Some(said("one")));
    let write = scene.write().unwrap();
    assert_eq!(write.resource.api_version, "gateway.networking.k8s.io/v1beta1");
    scene.done(&write, Outcome::Failed);
    // the definition is upgraded, and the object is what it was
    scene.see(&read_as("v1", object(&route(), "a", 1, json!(null))));
    scene.now += Duration::from_secs(60);
    assert_eq!(scene.write().unwrap().resource.api_version, "gateway.networking.k8s.io/v1");
}

#[test]
fn a_burst_becomes_two_writes() {
    let (mut scene, _) = Scene::settled();
    scene.now += PAUSE;
    scene.want(&route(), Some(said("two")));
    let write = scene.write().unwrap();
    for text in ["three", "four", "five"] {
        scene.want(&route(), Some(said(text)));
        assert!(scene.write().is_none(), "one write of an object at a time");
    }
    scene.done(&write, Outcome::Written(answer(&write, 3)));
    assert_eq!(scene.idle(), Some(PAUSE));
    scene.now += PAUSE;
    let write = scene.write().unwrap();
    assert_eq!(write.body["status"]["parents"][0]["conditions"][0]["message"], "five");
    assert_eq!(write.body["metadata"]["resourceVersion"], "3", "the answer counts before the watch shows it");
}

#[test]
fn what_changes_all_the_time_is_written_once_a_second() {
    let (mut scene, _) = Scene::settled();
    let began = scene.now;
    let (mut writes, mut version) = (0, 2);
    while scene.now - began < Duration::from_secs(20) {
        scene.now += Duration::from_millis(10);
        scene.want(&route(), Some(said(&format!("{:?}", scene.now))));
        if let Some(write) = scene.write() {
            (writes, version) = (writes + 1, version + 1);
            scene.done(&write, Outcome::Written(answer(&write, version)));
        }
    }
    assert!((20..30).contains(&writes), "{writes}");
    // and after a calm it is prompt again
    scene.now += Duration::from_secs(2);
    scene.want(&route(), Some(said("calm")));
    let write = scene.write().unwrap();
    scene.done(&write, Outcome::Written(answer(&write, version + 1)));
    scene.want(&route(), Some(said("again")));
    assert_eq!(scene.idle(), Some(PAUSE));
}

#[test]
fn an_answer_counts_against_older_events_for_a_while() {
    let mut scene = Scene::new();
    scene.see(&object(&route(), "a", 1, json!(null)));
    scene.want(&route(), Some(said("one")));
    let write = scene.write().unwrap();
    scene.done(&write, Outcome::Written(answer(&write, 5)));
    scene.now += Duration::from_secs(1);
    scene.see(&object(&route(), "a", 3, json!(null)));
    assert!(scene.write().is_none(), "version 3 is older than our own write");
    // an etcd that was restored counts anew
    scene.now += ANSWER_HOLDS;
    scene.see(&object(&route(), "a", 4, json!(null)));
    assert!(scene.write().is_some());
}

#[test]
fn a_conflict_waits_for_the_watch() {
    let mut scene = Scene::new();
    scene.see(&object(&route(), "a", 1, json!(null)));
    scene.want(&route(), Some(said("one")));
    let write = scene.write().unwrap();
    scene.done(&write, Outcome::Conflict);
    assert!(scene.idle().is_some_and(|wait| wait <= Duration::from_millis(500)), "but not for ever");
    scene.see(&object(&route(), "a", 2, json!({"parents": [{"controllerName": "other.io/x"}]})));
    let write = scene.write().unwrap();
    assert_eq!(write.body["metadata"]["resourceVersion"], "2");
    assert_eq!(write.body["status"]["parents"][0], json!({"controllerName": "other.io/x"}));
}

#[test]
fn a_conflict_that_the_watch_has_shown_already_is_tried_again_at_once() {
    let mut scene = Scene::new();
    scene.see(&object(&route(), "a", 1, json!(null)));
    scene.want(&route(), Some(said("one")));
    let write = scene.write().unwrap();
    scene.see(&object(&route(), "a", 2, json!(null)));
    scene.done(&write, Outcome::Conflict);
    assert!(scene.write().is_some());
}

#[test]
fn an_object_made_anew_is_written_anew() {
    let (mut scene, _) = Scene::settled();
    scene.see(&ObjectChange::Remove(route()));
    assert!(scene.write().is_none());
    scene.see(&object(&route(), "b", 9, json!(null)));
    let write = scene.write().unwrap();
    assert_eq!((&*write.uid, &write.body["metadata"]["resourceVersion"]), ("b", &json!("9")));
}

#[test]
fn an_answer_of_an_object_that_is_gone_is_forgotten() {
    let mut scene = Scene::new();
    scene.see(&object(&route(), "a", 1, json!(null)));
    scene.want(&route(), Some(said("one")));
    let write = scene.write().unwrap();
    scene.see(&ObjectChange::Remove(route()));
    scene.see(&object(&route(), "b", 3, json!(null)));
    scene.done(&write, Outcome::Written(answer(&write, 2)));
    scene.now += PAUSE;
    assert_eq!(scene.write().unwrap().uid, "b");
}

#[test]
fn what_is_not_found_is_not_asked_for_again() {
    let mut scene = Scene::new();
    scene.see(&object(&route(), "a", 1, json!(null)));
    scene.want(&route(), Some(said("one")));
    let write = scene.write().unwrap();
    scene.done(&write, Outcome::Gone);
    assert_eq!(scene.idle(), None);
}

#[test]
fn what_fails_is_tried_ever_more_seldom() {
    let mut scene = Scene::new();
    scene.see(&object(&route(), "a", 1, json!(null)));
    scene.want(&route(), Some(said("one")));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let write = scene.write().unwrap();
        scene.done(&write, Outcome::Failed);
        let wait = scene.idle().unwrap();
        waits.push(wait.as_millis());
        scene.now += wait;
    }
    assert_eq!(waits, [200, 400, 800, 1_600, 2_000, 2_000, 2_000, 2_000], "soon again once the API server is back");
}

#[test]
fn what_is_refused_waits_until_something_else_is_wanted() {
    let mut scene = Scene::new();
    scene.see(&object(&route(), "a", 1, json!(null)));
    scene.want(&route(), Some(said("one")));
    let write = scene.write().unwrap();
    scene.done(&write, Outcome::Refused);
    assert_eq!(scene.idle(), Some(Duration::from_secs(10)));
    scene.want(&route(), Some(said("two")));
    assert!(scene.write().is_some());
}

#[test]
fn a_field_that_the_api_server_drops_is_not_written_again_and_again() {
    let mut scene = Scene::new();
    scene.see(&object(&route(), "a", 1, json!(null)));
    scene.want(&route(), Some(said("one")));
    let write = scene.write().unwrap();
    let mut kept = answer(&write, 2);
    let mut status = kept.status.unfold();
    status["parents"][0]["conditions"] = json!([]);
    kept.status = (&status).into();
    scene.done(&write, Outcome::Written(kept));
    scene.see(&object(&route(), "a", 2, status.clone()));
    scene.see(&object(&route(), "a", 3, status));
    scene.now += PAUSE_MAX;
    assert!(scene.write().is_none());
    scene.want(&route(), Some(said("two")));
    assert!(scene.write().is_some());
}

#[test]
fn a_quarrel_over_a_status_slows_down() {
    let (mut scene, _) = Scene::settled();
    let mut waits = Vec::new();
    for version in (3..23).step_by(2) {
        scene.see(&object(&route(), "a", version, json!(null)));
        let wait = scene.idle_or_now();
        waits.push(wait.as_millis());
        scene.now += wait;
        let write = scene.write().unwrap();
        scene.done(&write, Outcome::Written(answer(&write, version + 1)));
    }
    assert_eq!(waits, [150, 300, 600, 1_200, 2_400, 4_800, 9_600, 10_000, 10_000, 10_000]);
}

impl Scene {
    fn idle_or_now(&self) -> Duration {
        self.plan.first_due().map_or(Duration::ZERO, |due| due.saturating_duration_since(self.now))
    }
}

#[test]
fn entries_that_nobody_wants_go_and_unknown_ones_stay() {
    let mut scene = Scene::new();
    let entry = |controller: &str| json!({"parentRef": {"name": "web"}, "controllerName": controller});
    let status = json!({"parents": [entry("other.io/x"), entry(OURS)]});
    scene.see(&object(&route(), "a", 1, status));
    assert!(scene.write().is_none(), "nothing is said of an object before somebody has looked at it");
    scene.want(&route(), None);
    assert_eq!(scene.write().unwrap().body["status"], json!({"parents": [entry("other.io/x")]}));
}

#[test]
fn only_the_leader_writes() {
    let mut scene = Scene::new();
    scene.plan.lead(false, scene.now);
    scene.see(&object(&route(), "a", 1, json!(null)));
    scene.want(&route(), Some(said("one")));
    assert!(scene.write().is_none());
    scene.plan.lead(true, scene.now);
    assert!(scene.write().is_some());
}

#[test]
fn gateways_come_before_routes_and_never_more_than_so_many_at_once() {
    let mut scene = Scene::new();
    for number in 0..100 {
        let name = ObjectRef::new(GATEWAY_GROUP, "HTTPRoute", "ns", &format!("r{number}"));
        scene.see(&object(&name, "a", 1, json!(null)));
        scene.want(&name, Some(said("one")));
    }
    scene.now += Duration::from_secs(1);
    scene.see(&object(&gateway(), "a", 1, json!(null)));
    scene.want(&gateway(), Some(fields()));
    let writes: Vec<Write> = std::iter::from_fn(|| scene.write()).collect();
    assert_eq!((writes.len(), &writes[0].object), (WRITES_MAX, &gateway()));
    scene.done(&writes[0], Outcome::Written(answer(&writes[0], 2)));
    assert!(scene.write().is_some());
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let (mut scene, _) = Scene::settled();
    scene.see(&ObjectChange::Remove(route()));
    scene.want(&route(), None);
    assert!(scene.plan.entries.is_empty());
    scene.see(&object(&ObjectRef::new("", "Secret", "ns", "s"), "a", 1, json!(null)));
    assert!(scene.plan.entries.is_empty(), "of kinds without a status of ours nothing is kept at all");
}
