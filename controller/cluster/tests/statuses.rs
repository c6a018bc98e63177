//! The writer of statuses against a real API server. Without one it does nothing, and says so; `e2e/cluster/in cargo test -p headgate-cluster --test statuses` gives it one. It leaves its namespaces behind.

use futures_util::TryStreamExt;
use headgate_cluster::{Client, StatusWriter, kinds::status_resource, leader::Leading, status::Counts};
use headgate_controller::sources::cluster::{ClusterContent, ClusterObject, ObjectChange};
use headgate_status::{Folded, Wanted};
use headgate_translate::{
    conditions::{Condition, ConditionType, ParentStatus, Reason, RouteStatus, Status},
    kinds::{GATEWAY_GROUP, ObjectRef, ParentRef},
};
use k8s_openapi::api::{core::v1::Namespace, events::v1::Event};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    runtime::watcher,
};
use serde_json::{Value, json};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

const OURS: &str = "headgate.dev/gateway-controller";
const LIMIT: Duration = Duration::from_secs(20);
/// Longer than any pause between two writes of an object that nobody else writes.
const QUIET: Duration = Duration::from_secs(2);

/// A namespace of the API server, and a client for it.
struct Ground {
    client: Client,
    namespace: String,
}

/// A writer of which the watches of routes and Gateways are those of a namespace.
struct Watched {
    writer: Arc<StatusWriter>,
    watches: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watches.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Ground {
    /// `None` without a cluster.
    async fn new(namespace: &str) -> Option<Self> {
        if std::env::var_os("KUBECONFIG").is_none() || std::env::var_os("CLUSTER").is_none() {
            println!("skipped: not in a cluster of e2e/cluster");
            return None;
        }
        let client = Client::try_default().await.expect("a client");
        let api: Api<Namespace> = Api::all(client.clone());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        api.patch(namespace, &PatchParams::apply("test"), &Patch::Apply(&object)).await.expect("a namespace");
        Some(Self { client, namespace: namespace.into() })
    }

    fn named(&self, kind: &str, name: &str) -> ObjectRef {
        ObjectRef::new(GATEWAY_GROUP, kind, &self.namespace, name)
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = status_resource(&self.named(kind, ""), "v1").expect("a kind that is written");
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    async fn apply(&self, object: &ObjectRef, spec: Value) -> DynamicObject {
        let body = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": object.kind, "metadata": {"name": object.name}, "spec": spec,
        });
        let params = PatchParams::apply("test").force();
        self.api(&object.kind).patch(&object.name, &params, &Patch::Apply(&body)).await.expect("it is taken")
    }

    async fn route(&self, name: &str) -> ObjectRef {
        let object = self.named("HTTPRoute", name);
        self.apply(&object, json!({"parentRefs": [{"name": "web"}]})).await;
        object
    }

    async fn gateway(&self, name: &str) -> ObjectRef {
        let object = self.named("Gateway", name);
        let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
        self.apply(&object, json!({"gatewayClassName": "nobody", "listeners": listeners})).await;
        object
    }

    async fn get(&self, object: &ObjectRef) -> DynamicObject {
        self.api(&object.kind).get(&object.name).await.expect("it is there")
    }

    async fn status(&self, object: &ObjectRef) -> Value {
        self.get(object).await.data["status"].take()
    }

    /// What another controller does.
    async fn merge_status(&self, object: &ObjectRef, status: Value) {
        let body = json!({"status": status});
        let params = PatchParams { field_manager: Some("other".into()), ..PatchParams::default() };
        self.api(&object.kind).patch_status(&object.name, &params, &Patch::Merge(&body)).await.expect("it is taken");
    }

    /// A writer that leads, in the name of a controller.
    fn watched(&self, controller: &str) -> Watched {
        let writer = Arc::new(StatusWriter::start(self.client.clone(), controller, "test", Leading::always()));
        writer.lead(true);
        let watches = ["HTTPRoute", "Gateway"].map(|kind| tokio::spawn(watch(self.api(kind), writer.clone())));
        Watched { writer, watches: watches.into() }
    }

    async fn until<F: Future<Output = bool>>(&self, what: &str, is_so: impl Fn() -> F) {
        let began = Instant::now();
        while !is_so().await {
            assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_says(&self, object: &ObjectRef, controller: &str, message: &str) {
        let says = || async { message_of(&self.status(object).await, controller) == Some(message.into()) };
        self.until(&format!("{object} says {message} for {controller}"), says).await;
    }
}

/// Shows a writer all that a watch shows.
async fn watch(api: Api<DynamicObject>, writer: Arc<StatusWriter>) {
    let events = watcher(api, watcher::Config::default());
    let seen = events.try_for_each(|event| {
        match event {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => writer.see(&[upsert(object)]),
            watcher::Event::Delete(object) => writer.see(&[ObjectChange::Remove(reference(&object))]),
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
        std::future::ready(Ok(()))
    });
    seen.await.expect("the watch lasts");
}

fn reference(object: &DynamicObject) -> ObjectRef {
    let kind = object.types.as_ref().map_or("", |types| &types.kind);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ObjectRef::new(GATEWAY_GROUP, kind, &text(&object.metadata.namespace), &text(&object.metadata.name))
}

fn upsert(object: DynamicObject) -> ObjectChange {
    ObjectChange::Upsert(Arc::new(ClusterObject {
        name: reference(&object),
        version: "v1",
        content: ClusterContent::Unreadable,
        uid: object.metadata.uid.clone().unwrap_or_default().into(),
        owner: None,
        generation: object.metadata.generation.unwrap_or_default(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        status: object.data.get("status").map(Folded::from).unwrap_or_default(),
        appliers: Vec::new(),
        made: None,
        problems: Vec::new(),
    }))
}

/// What is said of a route for its Gateway.
fn said(controller: &str, message: &str) -> Arc<Wanted> {
    let condition = Condition::wrong(ConditionType::Accepted, Reason::NoMatchingParent, message, 1);
    let parent_ref = ParentRef { namespace: None, ..ParentRef::gateway("", "web") };
    let parent = ParentStatus { parent_ref, controller_name: controller.into(), conditions: vec![condition] };
    Arc::new(Wanted::Said(Arc::new(Status::Route(RouteStatus { parents: vec![parent] }))))
}

fn of_gateway(accepted: bool, message: &str) -> Arc<Wanted> {
    let of = |kind: &str, status: bool| {
        let (status, reason) = if status { ("True", kind) } else { ("False", "InvalidParameters") };
        json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1})
    };
    let listener = json!({
        "name": "http", "attachedRoutes": 0, "conditions": [of("Accepted", true)],
        "supportedKinds": [{"group": GATEWAY_GROUP, "kind": "HTTPRoute"}],
    });
    let status = json!({"conditions": [of("Accepted", accepted)], "listeners": [listener]});
    Arc::new(Wanted::Fields { status: status.into(), awaiting: false })
}

/// The message of the first condition of the entry of a controller.
fn message_of(status: &Value, controller: &str) -> Option<String> {
    let entry = status["parents"].as_array()?.iter().find(|entry| entry["controllerName"] == controller)?;
    Some(entry["conditions"][0]["message"].as_str()?.to_owned())
}

fn foreign(status: &Value) -> Vec<String> {
    let entries = status["parents"].as_array().into_iter().flatten();
    entries.filter(|entry| entry["controllerName"] != OURS).map(ToString::to_string).collect()
}

#[tokio::test]
async fn entries_of_others_stay_as_they_are_to_the_byte() {
    let Some(ground) = Ground::new("status-foreign").await else { return };
    let route = ground.route("route").await;
    let entry = |name: &str| {
        json!({
            "controllerName": name,
            "conditions": [{
                "type": "example.com/Scanned", "status": "Unknown", "reason": "Later", "message": "ü \u{1F600}",
                "lastTransitionTime": "2020-02-29T23:59:59Z",
            }],
            "parentRef": {"name": "web", "sectionName": "http", "port": 80},
        })
    };
    ground.merge_status(&route, json!({"parents": [entry("other.io/a"), entry("other.io/b")]})).await;
    let before = foreign(&ground.status(&route).await);
    let watched = ground.watched(OURS);
    for message in ["one", "two", "three"] {
        watched.writer.want(&route, Some(said(OURS, message)));
        ground.until_says(&route, OURS, message).await;
    }
    assert_eq!(foreign(&ground.status(&route).await), before);
    watched.writer.want(&route, None);
    ground.until("ours is gone", || async { message_of(&ground.status(&route).await, OURS).is_none() }).await;
    assert_eq!(foreign(&ground.status(&route).await), before);
    assert_eq!(watched.writer.counts().failed, 0);
}

#[tokio::test]
async fn conditions_of_others_on_a_gateway_stay() {
    let Some(ground) = Ground::new("status-conditions").await else { return };
    let gateway = ground.gateway("web").await;
    let watched = ground.watched(OURS);
    watched.writer.want(&gateway, Some(of_gateway(true, "one")));
    let message = || async { ground.status(&gateway).await["listeners"][0]["conditions"][0]["message"].clone() };
    ground.until("the first", || async { message().await == "one" }).await;
    let mut status = ground.status(&gateway).await;
    let scanned = json!({
        "type": "example.com/Scanned", "status": "True", "reason": "Seeded", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2020-02-29T23:59:59Z",
    });
    let add = |conditions: &mut Value| conditions.as_array_mut().expect("a list").push(scanned.clone());
    add(&mut status["conditions"]);
    add(&mut status["listeners"][0]["conditions"]);
    ground.merge_status(&gateway, status).await;
    watched.writer.want(&gateway, Some(of_gateway(false, "two")));
    ground.until("the second", || async { message().await == "two" }).await;
    let status = ground.status(&gateway).await;
    for conditions in [&status["conditions"], &status["listeners"][0]["conditions"]] {
        assert!(conditions.as_array().expect("a list").contains(&scanned), "{conditions}");
    }
    assert_eq!(watched.writer.counts(), Counts { written: 2, ..Counts::default() });
}

#[tokio::test]
async fn two_controllers_write_one_route() {
    let Some(ground) = Ground::new("status-two").await else { return };
    let route = ground.route("route").await;
    let names = [OURS, "headgate.dev/second"];
    let watched = names.map(|name| (name, ground.watched(name)));
    for number in 0..30 {
        for (name, watched) in &watched {
            watched.writer.want(&route, Some(said(name, &number.to_string())));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for name in names {
        ground.until_says(&route, name, "29").await;
    }
    let counts = watched.each_ref().map(|(_, watched)| watched.writer.counts());
    assert!(counts.iter().all(|counts| counts.failed == 0 && counts.written <= 15), "{counts:?}");
}

#[tokio::test]
async fn nothing_is_written_while_nothing_differs() {
    let Some(ground) = Ground::new("status-quiet").await else { return };
    let (route, gateway) = (ground.route("route").await, ground.gateway("web").await);
    let watched = ground.watched(OURS);
    watched.writer.want(&route, Some(said(OURS, "one")));
    watched.writer.want(&gateway, Some(of_gateway(true, "one")));
    ground.until("both are written", || async { watched.writer.counts().written == 2 }).await;
    let version = |object: DynamicObject| object.metadata.resource_version;
    let before = version(ground.get(&gateway).await);
    for number in 0..5 {
        let body = json!({"metadata": {"annotations": {"touched": number.to_string()}}});
        let params = PatchParams::default();
        ground.api("HTTPRoute").patch("route", &params, &Patch::Merge(&body)).await.expect("it is taken");
    }
    tokio::time::sleep(QUIET).await;
    assert_eq!(watched.writer.counts(), Counts { written: 2, ..Counts::default() });
    assert_eq!(version(ground.get(&gateway).await), before);
    // another process takes over: all of it is looked at, and nothing is written
    let second = ground.watched(OURS);
    second.writer.want(&route, Some(said(OURS, "one")));
    second.writer.want(&gateway, Some(of_gateway(true, "one")));
    tokio::time::sleep(QUIET).await;
    assert_eq!(second.writer.counts(), Counts::default());
}

#[tokio::test]
async fn an_object_that_is_made_anew_is_told_again() {
    let Some(ground) = Ground::new("status-anew").await else { return };
    let watched = ground.watched(OURS);
    let route = ground.route("route").await;
    watched.writer.want(&route, Some(said(OURS, "one")));
    ground.until_says(&route, OURS, "one").await;
    ground.api("HTTPRoute").delete("route", &DeleteParams::default()).await.expect("it goes");
    ground.route("route").await;
    ground.until_says(&route, OURS, "one").await;
}

#[tokio::test]
async fn what_was_said_of_an_object_is_not_written_to_the_next_of_its_name() {
    let Some(ground) = Ground::new("status-uid").await else { return };
    let gateway = ground.gateway("web").await;
    let writer = StatusWriter::start(ground.client.clone(), OURS, "test", Leading::always());
    writer.lead(true);
    let first = ground.get(&gateway).await;
    ground.api("Gateway").delete("web", &DeleteParams::default()).await.expect("it goes");
    ground.gateway("web").await;
    // the watch shows only the first one
    writer.see(&[upsert(first)]);
    writer.want(&gateway, Some(of_gateway(true, "of the first")));
    ground.until("it was tried", || async { writer.counts() != Counts::default() }).await;
    assert_eq!(writer.counts().written, 0, "{:?}", writer.counts());
    let status = ground.status(&gateway).await;
    assert!(!status.to_string().contains("of the first"), "{status}");
    writer.see(&[upsert(ground.get(&gateway).await)]);
    ground.until("the second is told", || async { writer.counts().written == 1 }).await;
}

#[tokio::test]
async fn what_becomes_wrong_is_an_event() {
    let Some(ground) = Ground::new("status-events").await else { return };
    let (route, gateway) = (ground.route("route").await, ground.gateway("web").await);
    let watched = ground.watched(OURS);
    watched.writer.want(&route, Some(said(OURS, "no listener fits")));
    watched.writer.want(&gateway, Some(of_gateway(true, "fine")));
    let events: Api<Event> = Api::namespaced(ground.client.clone(), &ground.namespace);
    let of = |kind: &'static str| {
        let events = &events;
        async move {
            let all = events.list(&ListParams::default()).await.expect("events").items;
            let about = |event: &Event| event.regarding.as_ref().is_some_and(|it| it.kind.as_deref() == Some(kind));
            all.into_iter().filter(about).collect::<Vec<_>>()
        }
    };
    ground.until("the event of the route", || async { !of("HTTPRoute").await.is_empty() }).await;
    let event = of("HTTPRoute").await.remove(0);
    let uid = ground.get(&route).await.metadata.uid;
    assert_eq!(event.regarding.and_then(|it| it.uid), uid);
    assert_eq!(event.reason.as_deref(), Some("NoMatchingParent"));
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.note.as_deref(), Some("Gateway web: no listener fits"));
    assert_eq!(event.reporting_controller.as_deref(), Some(OURS));
    // wrong, right, wrong again: two warnings are one series
    for accepted in [false, true, false] {
        watched.writer.want(&gateway, Some(of_gateway(accepted, "fine or not")));
        let status = json!(if accepted { "True" } else { "False" });
        ground
            .until("it is told", || async { ground.status(&gateway).await["conditions"][0]["status"] == status })
            .await;
    }
    let count = || async {
        let all = of("Gateway").await.into_iter().filter(|event| event.type_.as_deref() == Some("Warning"));
        all.map(|event| event.series.map_or(1, |series| series.count)).collect::<Vec<_>>()
    };
    ground.until("a series", || async { count().await == [2] }).await;
    assert_eq!(watched.writer.counts().events_dropped, 0);
}
