//! Functions in a cluster as their users see them: an API server that is a map, Pods that become ready by decree, and a scaler's word.

use super::*;
use crate::sources::decode::{Outcome, decode};
use headgate_functions::cluster::{REVISION_LABEL, TURN_ANNOTATION};
use serde_json::json;

/// A cluster with functions in it.
struct World {
    functions: Functions,
    api: BTreeMap<ObjectRef, Value>,
    version: u64,
    out: FunctionsOut,
    targets: Vec<TargetSpec>,
    statuses: BTreeMap<String, Value>,
}

fn function(image: &str) -> Value {
    json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
        "metadata": {"name": "hello", "namespace": "shop", "uid": "f-1", "generation": 1},
        "spec": {"version": "v1", "image": image, "serving": {"scaleOptions": {"maxReplicas": 3}}}})
}

fn object_ref(value: &Value) -> ObjectRef {
    let text = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
    ObjectRef::new(group, text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

fn upsert(value: &Value) -> ObjectChange {
    let (content, problems) = match decode(value) {
        // Pods are watched whole
        Outcome::Known(_, content, problems) if value["kind"] != "Pod" => (ClusterContent::Known(content), problems),
        Outcome::Known(..) | Outcome::Foreign(_) => (ClusterContent::Other(Arc::new(value.clone())), Vec::new()),
        Outcome::Refused(_, problems) => (ClusterContent::Unreadable, problems),
    };
    let metadata = &value["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let owner = metadata["ownerReferences"].as_array().and_then(|owners| owners.first());
    let owner = owner.map(|owner| {
        object_ref(&json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"],
            "metadata": {"namespace": metadata["namespace"], "name": owner["name"]}}))
    });
    let is_ours = metadata["labels"]["app.kubernetes.io/managed-by"] == "headgate";
    ObjectChange::Upsert(Arc::new(ClusterObject {
        name: object_ref(value),
        version: "v1",
        content,
        uid: text(&metadata["uid"]).into(),
        owner: owner.map(Box::new),
        generation: metadata["generation"].as_i64().unwrap_or_default(),
        resource_version: text(&metadata["resourceVersion"]),
        status: (&value["status"]).into(),
        appliers: Vec::new(),
        made: is_ours.then(|| Arc::new(value.clone())),
        problems,
    }))
}

impl World {
    fn new() -> Self {
        let defaults = Defaults {
            domain: "ofn.io".into(),
            namespace: "headgate".into(),
            make_gateways: false,
            ..Defaults::default()
        };
        Self {
            functions: Functions::new(defaults),
            api: BTreeMap::new(),
            version: 0,
            out: FunctionsOut::default(),
            targets: Vec::new(),
            statuses: BTreeMap::new(),
        }
    }

    /// Writes an object as a person or Kubernetes does, and lets everything follow from it.
    fn write(&mut self, value: &Value) -> &mut Self {
        self.store(value.clone());
        self.settle()
    }

    fn store(&mut self, mut value: Value) {
        self.version += 1;
        value["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if value["metadata"]["uid"].is_null() {
            value["metadata"]["uid"] = json!(format!("u-{}", self.version));
        }
        self.functions.see(&upsert(&value));
        self.api.insert(object_ref(&value), value);
    }

    fn delete(&mut self, name: &ObjectRef) {
        self.api.remove(name);
        self.functions.see(&ObjectChange::Remove(name.clone()));
    }

    /// Steps, and applies what is wanted, until nothing is new.
    fn settle(&mut self) -> &mut Self {
        for round in 0.. {
            assert!(round < 10, "it comes to no end");
            self.out = self.functions.step(self.version);
            let statuses = std::mem::take(&mut self.out.statuses);
            self.statuses
                .extend(statuses.into_iter().map(|(name, status)| (name.name.into(), status.unwrap_or_default())));
            self.targets = self.functions.targets().to_vec();
            if !self.out.manifests {
                break;
            }
            let manifests = self.functions.manifests().clone();
            self.apply(&manifests);
        }
        self
    }

    /// As the applier does.
    fn apply(&mut self, manifests: &BTreeMap<ObjectRef, Arc<Value>>) {
        let is_ours = |value: &Value| {
            value["metadata"]["labels"]["headgate.dev/function"].is_string()
                || value["metadata"]["labels"]["headgate.dev/openfunction-gateway"].is_string()
        };
        let gone: Vec<ObjectRef> =
            self.api.iter().filter(|(_, value)| is_ours(value)).map(|(name, _)| name).cloned().collect();
        for name in gone.into_iter().filter(|name| name.kind != "Pod" && !manifests.contains_key(name)) {
            self.delete(&name);
        }
        for (name, manifest) in manifests {
            let there = self.api.get(name);
            let version = &manifest["metadata"]["resourceVersion"];
            assert!(version.is_null() || Some(version) == there.map(|there| &there["metadata"]["resourceVersion"]));
            let mut value = Value::clone(manifest);
            if let Some(there) = there {
                value["metadata"]["uid"] = there["metadata"]["uid"].clone();
                value["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
                if value["spec"]["replicas"].is_null() && !there["spec"]["replicas"].is_null() {
                    value["spec"]["replicas"] = there["spec"]["replicas"].clone();
                }
                if value == *there {
                    continue;
                }
            }
            self.store(value);
        }
    }

    /// The Deployments of revisions, the oldest turn first.
    fn deployments(&self) -> Vec<&Value> {
        let mut all: Vec<&Value> =
            self.api.iter().filter(|(name, _)| name.kind == "Deployment").map(|(_, value)| value).collect();
        all.sort_by_key(|value| value["metadata"]["annotations"][TURN_ANNOTATION].to_string());
        all
    }

    /// The revision that runs an image.
    fn revision(&self, image: &str) -> String {
        let of_image = |value: &&&Value| value["spec"]["template"]["spec"]["containers"][0]["image"] == image;
        let deployments = self.deployments();
        let found = deployments.iter().find(of_image).unwrap_or_else(|| panic!("no Deployment of {image}"));
        found["metadata"]["name"].as_str().unwrap_or_default().to_owned()
    }

    /// A Pod of a revision with a status.
    fn pod(&mut self, revision: &str, status: Value) -> &mut Self {
        let deployment = self.api[&ObjectRef::new("apps", "Deployment", "shop", revision)].clone();
        let labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
        self.write(&json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{revision}-x"), "namespace": "shop", "labels": labels}, "status": status}))
    }

    fn ready(&mut self, revision: &str) -> &mut Self {
        self.pod(revision, json!({"podIP": "10.244.0.7", "conditions": [{"type": "Ready", "status": "True"}]}))
    }

    fn stop(&mut self, revision: &str) -> &mut Self {
        self.delete(&ObjectRef::new("", "Pod", "shop", &format!("{revision}-x")));
        self.settle()
    }

    fn get(&self, group: &str, kind: &str, namespace: &str, name: &str) -> &Value {
        let name = ObjectRef::new(group, kind, namespace, name);
        self.api.get(&name).unwrap_or_else(|| panic!("no {name} in {:?}", self.api.keys()))
    }

    fn route(&self) -> &Value {
        self.get("gateway.networking.k8s.io", "HTTPRoute", "shop", "hello")
    }

    /// Where the function's route leads.
    fn serving(&self) -> &str {
        self.route()["spec"]["rules"][0]["backendRefs"][0]["name"].as_str().unwrap_or_default()
    }

    fn status(&self) -> &Value {
        &self.statuses["hello"]["serving"]
    }

    /// Bounds of the targets by revision.
    fn bounds(&self) -> BTreeMap<String, (u32, u32)> {
        let one = |spec: &TargetSpec| (spec.name.clone(), (spec.bounds.min, spec.bounds.max));
        self.targets.iter().map(one).collect()
    }

    /// A controller that starts anew sees everything at once.
    fn restart(&mut self) -> &mut Self {
        let mut after = Self::new();
        after.api = self.api.clone();
        after.version = self.version;
        for value in self.api.values() {
            after.functions.see(&upsert(value));
        }
        *self = after;
        self.settle()
    }
}

fn begun() -> World {
    let mut world = World::new();
    world.write(&function("a:1"));
    world
}

#[test]
fn a_first_function_gets_its_objects_and_serves_on_demand() {
    let world = begun();
    let revision = world.revision("a:1");
    let deployment = world.deployments()[0];
    assert_eq!(deployment["spec"]["replicas"], 0, "nothing runs before somebody asks");
    assert_eq!(deployment["metadata"]["ownerReferences"][0]["uid"], "f-1");
    assert_eq!(deployment["spec"]["template"]["metadata"]["labels"][REVISION_LABEL], revision.as_str());
    let service = world.get("", "Service", "shop", &revision);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 8080);
    assert_eq!(world.serving(), revision);
    assert_eq!(world.route()["spec"]["hostnames"], json!(["hello.shop.ofn.io", "hello.shop.svc.cluster.local"]));
    assert_eq!(world.route()["metadata"]["labels"]["app.kubernetes.io/managed-by"], "openfunction.openfunction");
    let own = world.get("", "Service", "shop", "hello");
    assert_eq!(own["spec"]["externalName"], "gateway.headgate.svc.cluster.local");
    world.get("", "Service", "shop", "hello-v1");
    let entry = world.get("", "Service", "headgate", "gateway");
    assert_eq!(entry["spec"]["externalName"], "openfunction-headgate.headgate.svc.cluster.local");
    let gateway = world.get("gateway.networking.k8s.io", "Gateway", "headgate", "openfunction");
    assert_eq!(gateway["spec"]["gatewayClassName"], "headgate");
    let hosts: Vec<&Value> =
        gateway["spec"]["listeners"].as_array().into_iter().flatten().map(|l| &l["hostname"]).collect();
    assert_eq!(hosts, [&json!("*.ofn.io"), &json!("*.cluster.local")]);
    assert_eq!(
        (world.status()["state"].as_str(), world.status()["service"].as_str()),
        (Some("Running"), Some(&*revision))
    );
    assert_eq!(
        world.statuses["hello"]["addresses"][0],
        json!({"type": "External", "value": "http://hello.shop.ofn.io/"})
    );
    let spec = &world.targets[0];
    assert_eq!((spec.bounds.min, spec.bounds.max), (0, 3));
    let (backend, uid) = (&spec.backends[0].backend, service["metadata"]["uid"].as_str());
    assert_eq!((backend.service.as_str(), Some(backend.uid.as_str())), (revision.as_str(), uid));
}

#[test]
fn a_route_is_written_once_its_services_are_there() {
    let mut world = World::new();
    world.store(function("a:1"));
    world.functions.step(0);
    let kinds = |world: &World| -> BTreeSet<String> {
        world.functions.manifests().keys().map(|name| name.kind.to_string()).collect()
    };
    assert!(kinds(&world).contains("Service") && !kinds(&world).contains("HTTPRoute"), "{:?}", kinds(&world));
    let manifests = world.functions.manifests().clone();
    world.apply(&manifests);
    world.settle();
    assert!(kinds(&world).contains("HTTPRoute"), "{:?}", kinds(&world));
    let service = ObjectRef::new("", "Service", "shop", &world.revision("a:1"));
    world.delete(&service);
    world.functions.step(0);
    assert!(kinds(&world).contains("HTTPRoute"), "and stays whatever becomes of them");
}

#[test]
fn an_edit_is_proved_before_it_serves_and_a_rollback_serves_at_once() {
    let mut world = begun();
    let a = world.revision("a:1");
    world.ready(&a).write(&function("a:2"));
    let b = world.revision("a:2");
    assert_eq!(world.serving(), a, "the new one has not been ready yet");
    assert_eq!(world.bounds()[&format!("shop/{b}")], (1, 1), "it is started to be proved");
    assert_eq!(
        (world.status()["state"].as_str(), world.status()["reason"].as_str()),
        (Some("Starting"), Some("Proving"))
    );
    world.ready(&b);
    assert_eq!(world.serving(), b);
    assert_eq!(world.bounds()[&format!("shop/{a}")], (0, 3), "the old one runs until nobody asks");
    world.stop(&a).write(&function("a:1"));
    assert_eq!(world.serving(), a, "the same revision again, from nothing");
    assert_eq!(world.deployments().len(), 2, "and no new one");
    assert_eq!(world.status()["state"], "Running");
}

#[test]
fn a_route_edit_starts_nothing() {
    let mut world = begun();
    let a = world.revision("a:1");
    world.ready(&a);
    let mut edited = function("a:1");
    edited["spec"]["serving"]["triggers"] = json!({"http": {"route": {"hostnames": ["shop.ofn.io"],
        "rules": [{"matches": [{"path": {"type": "Exact", "value": "/buy"}}],
            "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "1"}]}}]}]}}});
    world.write(&edited);
    assert_eq!(world.deployments().len(), 1);
    assert_eq!(world.route()["spec"]["hostnames"], json!(["shop.ofn.io", "hello.shop.svc.cluster.local"]));
    let rule = &world.route()["spec"]["rules"][0];
    assert_eq!(rule["matches"][0]["path"]["value"], "/buy");
    assert_eq!(rule["filters"][0]["type"], "RequestHeaderModifier", "a filter of the user collides with none of ours");
    assert_eq!(rule["backendRefs"][0]["name"], a.as_str());
}

#[test]
fn a_bad_image_is_said_and_the_old_one_serves() {
    let mut world = begun();
    let a = world.revision("a:1");
    world.ready(&a).write(&function("nowhere:1"));
    let b = world.revision("nowhere:1");
    let waiting = json!({"containerStatuses": [{"image": "nowhere:1", "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}]});
    world.pod(&b, waiting);
    assert_eq!(world.serving(), a);
    assert_eq!(world.status()["state"], "Failed");
    let message = world.status()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("ImagePullBackOff") && message.contains("nowhere:1") && message.contains(&a), "{message}");
    // the fixed image is another revision, and the bad one goes
    world.write(&function("a:3"));
    let c = world.revision("a:3");
    world.stop(&b).ready(&c);
    assert_eq!(world.serving(), c);
    assert!(world.deployments().iter().all(|value| value["metadata"]["name"] != b.as_str()), "it was never proven");
}

#[test]
fn that_somebody_else_writes_the_replicas_is_said() {
    let mut world = begun();
    let a = world.revision("a:1");
    world.ready(&a);
    let other = Some("other".to_owned());
    let state = TargetState { target: format!("shop/{a}"), ready: 1, scaled_by: other, ..TargetState::default() };
    assert!(world.functions.scaled(state.clone()));
    world.settle();
    let reason = |world: &World| world.status()["reason"].as_str().unwrap_or_default().to_owned();
    assert_eq!((world.status()["state"].as_str(), reason(&world).as_str()), (Some("Running"), "ScaledByOther"));
    let message = world.status()["message"].as_str().unwrap_or_default();
    assert!(message.contains(&a) && message.contains("headgate.dev/scaled-by"), "{message}");
    world.functions.scaled(TargetState { scaled_by: None, ..state });
    world.settle();
    assert_eq!(reason(&world), "");
}

#[test]
fn a_replaced_bad_image_can_be_retried_by_writing_the_function() {
    let mut world = begun();
    let a = world.revision("a:1");
    world.pod(
        &a,
        json!({"containerStatuses": [{"image": "a:1", "restartCount": 0,
        "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]}),
    );
    assert_eq!(world.status()["reason"], "StartFailed");
    let mut touched = function("a:1");
    touched["metadata"]["annotations"] = json!({"note": "pushed now"});
    world.store(touched);
    let out = world.functions.step(0);
    assert_eq!(out.retries, [format!("shop/{a}")]);
}

#[test]
fn records_survive_the_controller() {
    let mut world = begun();
    let a = world.revision("a:1");
    world.ready(&a).write(&function("a:2"));
    let b = world.revision("a:2");
    world.ready(&b).write(&function("a:3"));
    let before = (world.api.clone(), world.bounds(), world.status().clone());
    world.restart();
    assert_eq!(world.serving(), b);
    assert_eq!((world.api.clone(), world.bounds(), world.status().clone()), before, "nothing is written");
    // nothing runs any more, and still everybody knows what was proven
    world.stop(&a).stop(&b);
    let images = world.restart().deployments().len();
    assert_eq!((images, world.serving()), (3, &*b));
}

#[test]
fn the_replicas_of_others_are_never_written() {
    let mut world = begun();
    let a = world.revision("a:1");
    let name = ObjectRef::new("apps", "Deployment", "shop", &a);
    let mut scaled = world.api[&name].clone();
    scaled["spec"]["replicas"] = json!(2);
    world.write(&scaled);
    assert_eq!(world.deployments()[0]["spec"]["replicas"], 2);
    // the record changes, and what is applied repeats what stands there, of this very version
    world.ready(&a);
    let deployment = world.deployments()[0];
    assert_eq!(deployment["metadata"]["annotations"]["headgate.dev/proven"], "true");
    assert_eq!(deployment["spec"]["replicas"], 2);
}

#[test]
fn what_was_edited_or_removed_by_hand_is_put_back() {
    let mut world = begun();
    let name = ObjectRef::new("gateway.networking.k8s.io", "HTTPRoute", "shop", "hello");
    let before = world.route()["spec"].clone();
    world.delete(&name);
    let manifests = world.functions.manifests.clone();
    assert!(manifests.contains_key(&name), "it is wanted as before");
    world.apply(&manifests);
    assert_eq!(world.route()["spec"], before);
}

#[test]
fn a_deleted_function_leaves_nothing() {
    let mut world = begun();
    let a = world.revision("a:1");
    world.ready(&a);
    world.delete(&ObjectRef::new("core.openfunction.io", "Function", "shop", "hello"));
    world.settle();
    let left: Vec<String> = world.api.keys().filter(|name| name.kind != "Pod").map(ToString::to_string).collect();
    assert_eq!(left, [""; 0]);
    assert!(world.targets.is_empty() && world.functions.traits.is_empty() && world.functions.aliases.is_empty());
}

#[test]
fn a_function_that_is_made_again_has_nothing_of_the_old_one() {
    let mut world = begun();
    let a = world.revision("a:1");
    world.ready(&a);
    let mut again = function("a:2");
    again["metadata"]["uid"] = json!("f-2");
    world.write(&again);
    assert_eq!(world.serving(), world.revision("a:2"), "there is nothing to protect");
}

#[test]
fn the_conditions_of_the_route_are_said_of_the_function() {
    let mut world = begun();
    let mut route = world.route().clone();
    route["status"] = json!({"parents": [{"conditions": [
        {"type": "Accepted", "status": "True", "reason": "Accepted", "lastTransitionTime": "2026-11-24T00:00:00Z"}]}]});
    world.write(&route);
    let conditions = &world.statuses["hello"]["route"]["conditions"];
    assert_eq!(*conditions, json!([{"type": "Accepted", "status": "True", "reason": "Accepted"}]));
}

#[test]
fn a_gateway_of_a_person_is_only_added_to() {
    let mut world = World::new();
    let edge = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "net", "uid": "g"},
        "spec": {"gatewayClassName": "headgate", "listeners": [{"name": "web", "protocol": "HTTP", "port": 8080}]}});
    let of = json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway",
        "metadata": {"name": "openfunction", "namespace": "openfunction", "uid": "o", "generation": 3},
        "spec": {"domain": "acme.io", "gatewayRef": {"name": "edge", "namespace": "net"},
            "gatewaySpec": {"listeners": [{"name": "ofn-http-external", "hostname": "*.x", "protocol": "HTTP", "port": 80,
                "allowedRoutes": {"namespaces": {"from": "All"}}}]}}});
    world.store(of);
    world.store(function("a:1"));
    world.functions.step(0);
    let manifests = world.functions.manifests().clone();
    assert!(manifests.keys().all(|name| name.kind != "Gateway"), "there is none yet to add to");
    world.store(edge);
    world.functions.step(0);
    let manifests = world.functions.manifests().clone();
    let gateway = &manifests[&ObjectRef::new("gateway.networking.k8s.io", "Gateway", "net", "edge")];
    assert!(gateway["metadata"]["labels"].is_null() && gateway["spec"]["gatewayClassName"].is_null());
    let listener = &gateway["spec"]["listeners"][0];
    assert_eq!(
        (listener["name"].as_str(), listener["hostname"].as_str()),
        (Some("ofn-http-external"), Some("*.acme.io"))
    );
    let service = &manifests[&ObjectRef::new("", "Service", "openfunction", "gateway")];
    assert_eq!(service["spec"]["externalName"], "edge-headgate.net.svc.cluster.local");
    let of = ObjectRef::new("networking.openfunction.io", "Gateway", "openfunction", "openfunction");
    let of = world.functions.gateway_behind(&of).unwrap_or_else(|| panic!("it was written"));
    assert_eq!((of.generation, of.listeners.len()), (3, 2));
}

#[test]
fn names_that_people_have_are_theirs() {
    let mut world = World::new();
    let service = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "uid": "s"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "x"}}})
    };
    world.store(service("hello"));
    world.write(&function("a:1"));
    assert_eq!(world.get("", "Service", "shop", "hello")["spec"]["selector"]["app"], "x");
    world.write(&service("hello-v1"));
    let out = &world.functions.manifests;
    assert!(!out.contains_key(&ObjectRef::new("", "Service", "shop", "hello-v1")));
}

#[test]
fn a_function_that_cannot_be_read_says_why() {
    let mut world = World::new();
    let mut broken = function("a:1");
    broken["spec"]["serving"]["triggers"] = json!({"http": {"engine": "nonsense"}});
    world.write(&broken);
    assert_eq!(world.status()["state"], "Failed");
    assert!(world.status()["message"].as_str().is_some_and(|text| text.contains("nonsense")), "{}", world.status());
    assert!(world.deployments().is_empty());
}

fn routed(name: &str, created: &str, path: &str) -> Value {
    let mut function = function("a:1");
    function["metadata"] =
        json!({"name": name, "namespace": "shop", "uid": name, "generation": 1, "creationTimestamp": created});
    function["spec"]["serving"]["triggers"] = json!({"http": {"route": {"hostnames": ["shop.ofn.io"],
        "rules": [{"matches": [{"path": {"value": path}}]}]}}});
    function
}

/// Reason and message of a condition of a function's route.
fn condition(world: &World, name: &str, kind: &str) -> Option<(String, String)> {
    let conditions = world.statuses[name]["route"]["conditions"].as_array()?.iter();
    let found =
        conditions.filter(|condition| condition["type"] == kind).find(|condition| condition["status"] == "True")?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("reason"), text("message")))
}

#[test]
fn of_two_functions_with_one_place_the_younger_is_told_until_the_place_is_free() {
    let mut world = World::new();
    world.write(&routed("young", "2026-02-01T00:00:00Z", "/buy"));
    assert_eq!(condition(&world, "young", "Conflicted"), None);
    world.write(&routed("old", "2026-01-01T00:00:00Z", "/buy"));
    let (reason, message) = condition(&world, "young", "Conflicted").unwrap_or_else(|| panic!("{:?}", world.statuses));
    assert!(reason == "Conflicted" && message.contains("shop.ofn.io/buy") && message.contains("shop/old"), "{message}");
    assert_eq!(condition(&world, "old", "Conflicted"), None, "it has the place");
    world.write(&routed("old", "2026-01-01T00:00:00Z", "/sell"));
    assert_eq!(condition(&world, "young", "Conflicted"), None, "nobody else wants it");
    world.write(&routed("old", "2026-01-01T00:00:00Z", "/buy"));
    assert!(condition(&world, "young", "Conflicted").is_some());
    world.delete(&ObjectRef::new("core.openfunction.io", "Function", "shop", "old"));
    world.settle();
    assert_eq!(condition(&world, "young", "Conflicted"), None);
}

#[test]
fn a_hostname_that_no_listener_takes_is_told() {
    let mut world = World::new();
    let mut function = routed("hello", "2026-01-01T00:00:00Z", "/");
    function["spec"]["serving"]["triggers"]["http"]["route"]["hostnames"] = json!(["podinfo.com", "shop.ofn.io"]);
    world.write(&function);
    let (reason, message) =
        condition(&world, "hello", "PartiallyInvalid").unwrap_or_else(|| panic!("{:?}", world.statuses));
    assert!(reason == "Invalid" && message.contains("podinfo.com") && message.contains("*.ofn.io"), "{message}");
}

#[test]
fn a_function_whose_gateway_is_missing_says_which() {
    let mut world = World::new();
    let mut function = routed("hello", "2026-01-01T00:00:00Z", "/");
    function["spec"]["serving"]["triggers"]["http"]["route"]["gatewayRef"] =
        json!({"name": "edge", "namespace": "net"});
    world.write(&function);
    let message = world.status()["message"].as_str().unwrap_or_default();
    assert!(message.contains("net/edge") && message.contains("does not exist"), "{}", world.status());
}

#[test]
fn what_was_added_to_a_gateway_of_a_person_goes_with_the_one_that_wanted_it() {
    let mut world = World::new();
    let edge = |listeners: &[&str]| {
        let listeners: Vec<Value> = listeners
            .iter()
            .map(|name| json!({"name": name, "protocol": "HTTP", "port": 8080, "hostname": name}))
            .collect();
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": "net", "uid": "g"},
            "spec": {"gatewayClassName": "headgate", "listeners": listeners}})
    };
    let name = ObjectRef::new("gateway.networking.k8s.io", "Gateway", "net", "edge");
    world.store(edge(&["web"]));
    world.functions.step(0);
    assert!(!world.functions.manifests().contains_key(&name), "nobody wants anything of it");
    let of = json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway",
        "metadata": {"name": "openfunction", "namespace": "openfunction", "uid": "o"},
        "spec": {"domain": "acme.io", "gatewayRef": {"name": "edge", "namespace": "net"}, "gatewaySpec": {"listeners": [{"name": "ofn-http-external", "hostname": "*.x", "protocol": "HTTP", "port": 80}]}}});
    world.store(of);
    world.functions.step(0);
    assert!(!world.functions.manifests()[&name]["spec"]["listeners"].is_null());
    world.store(edge(&["web", "ofn-http-internal"]));
    world.functions.step(0);
    world.delete(&ObjectRef::new("networking.openfunction.io", "Gateway", "openfunction", "openfunction"));
    assert!(world.functions.step(0).manifests);
    let without = &world.functions.manifests()[&name];
    assert_eq!(
        (&without["metadata"]["labels"], &without["spec"]),
        (&Value::Null, &Value::Null),
        "ours go, and only ours"
    );
    world.store(edge(&["web"]));
    assert!(world.functions.step(0).manifests);
    assert!(!world.functions.manifests().contains_key(&name), "and then it is the person's again");
}

/// What OpenFunction's own controller of 2026 fails at, each as it was found there: it works here, or a condition says why not.
mod openfunctions_failures {
    use super::*;

    fn with_serving(serving: Value) -> Value {
        let mut function = function("a:1");
        for (key, value) in serving.as_object().into_iter().flatten() {
            function["spec"]["serving"][key] = value.clone();
        }
        function
    }

    #[test]
    fn sixteen_hostnames_leave_no_room_for_the_name_in_the_cluster_and_that_is_said() {
        let names: Vec<String> = (0..16).map(|at| format!("n{at}.ofn.io")).collect();
        let mut world = World::new();
        world.write(&with_serving(json!({"triggers": {"http": {"route": {"hostnames": names}}}})));
        assert_eq!(world.route()["spec"]["hostnames"].as_array().map(Vec::len), Some(16), "an HTTPRoute has no more");
        let (_, message) =
            condition(&world, "hello", "PartiallyInvalid").unwrap_or_else(|| panic!("{:?}", world.statuses));
        assert!(message.contains("hello.shop.svc.cluster.local") && message.contains("leave one out"), "{message}");
        assert_eq!(world.status()["state"], "Running");
    }

    #[test]
    fn a_function_that_is_called_by_messages_only_has_no_route_any_more_and_comes_to_rest() {
        let mut world = begun();
        let a = world.revision("a:1");
        world.ready(&a);
        let dapr = json!({"dapr": [{"name": "c", "type": "bindings.kafka"}], "http": null});
        world.write(&with_serving(json!({"triggers": dapr}))).stop(&a);
        let left: Vec<&str> =
            world.api.keys().filter(|name| name.kind == "HTTPRoute").map(|name| &*name.name).collect();
        assert_eq!(left, [""; 0]);
        world.write(&function("a:1"));
        assert_eq!(world.serving(), a, "and back");
    }

    #[test]
    fn an_empty_keda_is_no_fault() {
        let mut world = World::new();
        world.write(&with_serving(json!({"scaleOptions": {"keda": {}, "maxReplicas": 4}})));
        assert_eq!(world.status()["state"], "Running");
        assert_eq!(world.targets[0].bounds.max, 4);
    }

    #[test]
    fn nothing_that_is_made_holds_up_a_deletion() {
        let world = begun();
        let held = world.api.values().find(|value| !value["metadata"]["finalizers"].is_null());
        assert_eq!(held, None);
    }

    #[test]
    fn a_revision_that_was_removed_by_hand_is_made_again() {
        let mut world = begun();
        let a = world.revision("a:1");
        world.ready(&a);
        for (group, kind) in [("apps", "Deployment"), ("", "Service")] {
            world.delete(&ObjectRef::new(group, kind, "shop", &a));
        }
        world.functions.step(0);
        let manifests = world.functions.manifests.clone();
        world.apply(&manifests);
        world.settle();
        assert_eq!((world.revision("a:1").as_str(), world.serving()), (&*a, &*a));
    }
}
