//! The state machine of a cluster, told what watches and gateways would tell it. No API server.

use super::*;
use crate::sources::{
    cluster::{ClusterContent, ClusterObject},
    decode::{Outcome, decode},
};
use serde_json::json;

const API: &str = "gateway.networking.k8s.io/v1";

pub(super) fn object(value: &Value) -> ObjectChange {
    let (name, content) = match decode(value) {
        // Pods are watched whole
        Outcome::Known(name, content, _) if value["kind"] != "Pod" => (name, ClusterContent::Known(content)),
        _ => {
            let text = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default();
            let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
            let name = ObjectRef::new(group, text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
            (name, ClusterContent::Other(Arc::new(value.clone())))
        }
    };
    ObjectChange::Upsert(Arc::new(ClusterObject {
        name,
        version: "v1",
        content,
        uid: String::new(),
        owner: None,
        generation: value["metadata"]["generation"].as_i64().unwrap_or_default(),
        resource_version: "1".into(),
        status: value["status"].clone(),
        made: Some(Arc::new(value.clone())),
        problems: Vec::new(),
    }))
}

pub(super) fn class() -> Value {
    json!({"apiVersion": API, "kind": "GatewayClass", "metadata": {"name": "headgate", "generation": 1},
        "spec": {"controllerName": "headgate.dev/gateway-controller"}})
}

pub(super) fn gateway_at(generation: i64, hostname: Option<&str>) -> Value {
    json!({"apiVersion": API, "kind": "Gateway",
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": generation},
        "spec": {"gatewayClassName": "headgate",
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP", "hostname": hostname}]}})
}

pub(super) fn route(service: &str) -> Value {
    json!({"apiVersion": API, "kind": "HTTPRoute", "metadata": {"name": "hello", "namespace": "default", "generation": 1},
        "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [{"name": service, "port": 80}]}]}})
}

pub(super) fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80, "targetPort": 8080}]}})
}

pub(super) fn slice(service: &str, address: &str) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-1"), "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"port": 8080}], "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]})
}

pub(super) fn changed(cluster: &mut Cluster, changes: &[ObjectChange]) -> Vec<Output> {
    cluster.take(changes);
    cluster.work(0)
}

fn web() -> GatewayName {
    GatewayName { namespace: "default".into(), name: "web".into() }
}

pub(super) fn cluster() -> Cluster {
    Cluster::new(Ground {
        settings: Settings::default(),
        provision: headgate_provision::Settings::default(),
        functions: Some(headgate_functions::Defaults::default()),
        ingress: false,
    })
}

/// What happens, in short; conditions of the Gateway by type.
fn told(outputs: &[Output]) -> Vec<String> {
    let tell = |output: &Output| match output {
        Output::Endpoints(gateway, endpoints) => {
            format!("endpoints {} {} {}", gateway.name, endpoints.backend.service, endpoints.list.len())
        }
        Output::Publish { gateway, snapshot, .. } => format!("publish {} {}", gateway.name, snapshot.rules.len()),
        Output::Forget(gateway) => format!("forget {}", gateway.name),
        Output::Say(object, None) => format!("say nothing of {}", object.kind),
        Output::Say(object, Some(_)) => format!("say {}", object.kind),
        Output::Targets(targets) => format!("targets {}", targets.len()),
        Output::Seen(target, _) => format!("seen {target}"),
        Output::Retry(target) => format!("retry {target}"),
        Output::Running(pods) => format!("running {}", pods.len()),
        Output::Manifests(manifests, _) => format!("manifests {}", if manifests.is_empty() { "none" } else { "some" }),
    };
    outputs.iter().map(tell).collect()
}

fn programmed(outputs: &[Output]) -> Option<(String, i64)> {
    outputs.iter().rev().find_map(|output| match output {
        Output::Say(object, Some(Wanted::Fields { status, .. })) if object.kind == "Gateway" => {
            let conditions = status["conditions"].as_array()?;
            let programmed = conditions.iter().find(|condition| condition["type"] == "Programmed")?;
            Some((programmed["status"].as_str()?.to_owned(), programmed["observedGeneration"].as_i64()?))
        }
        _ => None,
    })
}

fn begun() -> (Cluster, Vec<Output>) {
    let mut cluster = cluster();
    let all = [class(), gateway_at(1, None), route("a"), service("a"), slice("a", "10.0.0.1")];
    let outputs = changed(&mut cluster, &all.iter().map(object).collect::<Vec<_>>());
    (cluster, outputs)
}

#[test]
fn endpoints_come_before_the_routes_that_need_them_and_nothing_is_told_of_those_that_go() {
    let (mut cluster, outputs) = begun();
    let told_first = told(&outputs);
    let at = |what: &str| {
        told_first.iter().position(|one| one == what).unwrap_or_else(|| panic!("{what} in {told_first:?}"))
    };
    assert!(at("endpoints web a 1") < at("publish web 1"), "{told_first:?}");
    for kind in ["GatewayClass", "Gateway", "HTTPRoute"] {
        at(&format!("say {kind}"));
    }
    let other = [service("b"), slice("b", "10.0.0.2"), route("b")];
    let outputs = told(&changed(&mut cluster, &other.iter().map(object).collect::<Vec<_>>()));
    assert_eq!(outputs, ["endpoints web b 1", "publish web 1"]);
}

#[test]
fn a_slice_alone_makes_no_version() {
    let (mut cluster, _) = begun();
    cluster.published(&web(), Version(1));
    assert_eq!(told(&changed(&mut cluster, &[object(&slice("a", "10.0.0.9"))])), ["endpoints web a 1"]);
}

#[test]
fn a_status_that_somebody_wrote_is_no_news() {
    let (mut cluster, _) = begun();
    cluster.published(&web(), Version(1));
    let mut same = route("a");
    same["status"] = json!({"parents": [{"controllerName": "example.com/other"}]});
    assert_eq!(told(&changed(&mut cluster, &[object(&same)])), [""; 0]);
}

#[test]
fn what_we_said_while_we_were_another_process_is_taken_back() {
    let (mut cluster, _) = begun();
    cluster.published(&web(), Version(1));
    let mut foreign = route("a");
    foreign["metadata"]["name"] = json!("foreign");
    foreign["spec"]["parentRefs"] = json!([{"name": "somebody-elses"}]);
    foreign["status"] = json!({"parents": [{"controllerName": "headgate.dev/gateway-controller"}]});
    assert_eq!(told(&changed(&mut cluster, &[object(&foreign)])), ["say nothing of HTTPRoute"]);
}

#[test]
fn a_gateway_that_is_gone_is_forgotten_with_what_was_made_for_it() {
    let (mut cluster, _) = begun();
    cluster.published(&web(), Version(1));
    let outputs = told(&changed(&mut cluster, &[ObjectChange::Remove(gateway_object(&web()))]));
    for what in ["forget web", "manifests none", "say nothing of HTTPRoute"] {
        assert!(outputs.iter().any(|one| one == what), "{what} in {outputs:?}");
    }
    assert!(!outputs.iter().any(|one| one.starts_with("publish")), "{outputs:?}");
}

#[test]
fn a_new_generation_is_published_though_nothing_else_differs() {
    let (mut cluster, _) = begun();
    cluster.published(&web(), Version(1));
    let mut same = gateway_at(2, None);
    same["metadata"]["labels"] = json!({"team": "a"});
    let outputs = changed(&mut cluster, &[object(&same)]);
    assert!(told(&outputs).contains(&"publish web 1".to_owned()), "{outputs:?}");
    assert_eq!(programmed(&outputs), Some(("False".to_owned(), 2)), "nobody serves it");
}

/// `ResolvedRefs` and `Programmed` of the only listener, and the certificates that are to be served.
fn listener(outputs: &[Output]) -> (String, String, usize) {
    let said = outputs.iter().rev().find_map(|output| match output {
        Output::Say(object, Some(Wanted::Fields { status, .. })) if object.kind == "Gateway" => {
            status["listeners"][0]["conditions"].as_array()
        }
        _ => None,
    });
    let condition = |kind: &str| {
        let found = said.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
        let text = |field: &str| found.map(|found| found[field].as_str().unwrap_or_default()).unwrap_or_default();
        format!("{} {}: {}", text("status"), text("reason"), text("message"))
    };
    let certificates = outputs.iter().rev().find_map(|output| match output {
        Output::Publish { certificates, .. } => Some(certificates.len()),
        _ => None,
    });
    (condition("ResolvedRefs"), condition("Programmed"), certificates.unwrap_or_default())
}

#[test]
fn a_secret_that_breaks_is_served_on_and_told_and_one_that_is_gone_is_not() {
    let gateway = json!({"apiVersion": API, "kind": "Gateway",
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {"gatewayClassName": "headgate", "listeners": [{"name": "tls", "port": 443, "protocol": "HTTPS",
            "tls": {"certificateRefs": [{"name": "leaf"}]}}]}});
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let good =
        object(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "leaf", "namespace": "default"},
        "stringData": {"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()}}));
    let ObjectChange::Upsert(known) = &good else { panic!("it is there") };
    let path = headgate_translate::schema::FieldPath::of("data").key("tls.key");
    let problem = headgate_translate::schema::Problem::error(path, "is not the key of the certificate", "write both");
    let broken = |content| {
        let problems = vec![problem.clone()];
        ObjectChange::Upsert(Arc::new(ClusterObject { content, problems, ..ClusterObject::clone(known) }))
    };
    let why = "cannot be used, since data[tls.key] is not the key of the certificate";

    // from the start: nothing could be served
    let mut cluster = cluster();
    let all = [object(&class()), object(&gateway), broken(ClusterContent::Unreadable)];
    let (resolved, serves, certificates) = listener(&changed(&mut cluster, &all));
    assert!(resolved.starts_with("False InvalidCertificateRef:") && resolved.contains(why), "{resolved}");
    assert!(serves.starts_with("False Invalid"), "{serves}");
    assert_eq!(certificates, 0);

    let (resolved, _, certificates) = listener(&changed(&mut cluster, std::slice::from_ref(&good)));
    assert!(resolved.starts_with("True ResolvedRefs"), "{resolved}");
    assert_eq!(certificates, 1);

    // the same content as before, as whoever reads objects keeps it
    let outputs = changed(&mut cluster, &[broken(known.content.clone())]);
    let (resolved, serves, _) = listener(&outputs);
    assert!(resolved.starts_with("False InvalidCertificateRef:") && resolved.contains(why), "{resolved}");
    assert!(resolved.contains("the version before it is served on"), "{resolved}");
    assert!(!serves.contains("Invalid"), "{serves}");

    let (resolved, ..) = listener(&changed(&mut cluster, std::slice::from_ref(&good)));
    assert!(resolved.starts_with("True ResolvedRefs"), "mended: {resolved}");

    // another one of its name, where nobody saw that the first was deleted
    let ObjectChange::Upsert(unreadable) = broken(ClusterContent::Unreadable) else { panic!("it is there") };
    let another = ClusterObject { uid: "another".into(), ..ClusterObject::clone(&unreadable) };
    let (resolved, serves, certificates) = listener(&changed(&mut cluster, &[ObjectChange::Upsert(Arc::new(another))]));
    assert!(resolved.contains(why) && !resolved.contains("served on"), "{resolved}");
    assert!(serves.starts_with("False Invalid") && certificates == 0, "{serves}");
    changed(&mut cluster, std::slice::from_ref(&good));

    changed(&mut cluster, &[broken(known.content.clone())]);
    let (resolved, serves, certificates) =
        listener(&changed(&mut cluster, &[ObjectChange::Remove(known.name.clone())]));
    assert!(resolved.contains("does not exist") && serves.starts_with("False Invalid"), "{resolved}, {serves}");
    assert_eq!(certificates, 0);
}

/// A function and what was made of it, as an API server has it.
#[test]
fn a_function_is_routed_to_and_scaled_by_what_its_gateway_counts() {
    let mut cluster = cluster();
    let function = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
        "metadata": {"name": "hello", "namespace": "shop", "uid": "f"}, "spec": {"image": "a:1", "serving": {}}});
    let made = |outputs: &[Output]| -> Vec<ObjectChange> {
        let manifests = outputs.iter().rev().find_map(|output| match output {
            Output::Manifests(manifests, _) => Some(manifests),
            _ => None,
        });
        let owned = |value: &Value| {
            let ObjectChange::Upsert(object) = object(value) else { panic!("it is there") };
            let owner = value["metadata"]["ownerReferences"][0]["kind"].as_str();
            let owner = owner.map(|kind| ObjectRef::new("core.openfunction.io", kind, "shop", "hello"));
            ObjectChange::Upsert(Arc::new(ClusterObject { owner, ..ClusterObject::clone(&object) }))
        };
        manifests.into_iter().flatten().map(|(_, value)| owned(value)).collect()
    };
    let first = changed(&mut cluster, &[object(&class()), object(&function)]);
    let routed = changed(&mut cluster, &made(&first)); // its route waits for its Services
    let outputs = changed(&mut cluster, &made(&routed));
    let gateway = GatewayName { namespace: "openfunction".into(), name: "openfunction".into() };
    let targets = outputs.iter().position(|output| match output {
        Output::Targets(targets) => targets[0].gateways == BTreeSet::from([gateway.clone()]),
        _ => false,
    });
    let published = outputs.iter().position(|output| match output {
        Output::Publish { snapshot, .. } => snapshot.backends.values().any(|backend| backend.scales.is_some()),
        _ => false,
    });
    assert!(targets.is_some() && targets < published, "{:?}", told(&outputs));
    let provisioned = changed(&mut cluster, &made(&outputs));
    assert!(!told(&provisioned).contains(&"manifests none".to_owned()), "{:?}", told(&provisioned));
}

#[test]
fn a_gateway_says_which_of_its_objects_is_refused_until_it_is_not() {
    let (mut cluster, _) = begun();
    cluster.published(&web(), Version(1));
    let service = ObjectRef::new("", "Service", "default", "web-headgate");
    let refused = |why: &str| BTreeMap::from([(service.clone(), why.to_owned())]);
    let said = |outputs: &[Output]| -> Vec<String> {
        let message = |output: &Output| match output {
            Output::Say(_, Some(Wanted::Fields { status, .. })) => {
                let mut conditions = status["conditions"].as_array()?.iter();
                let programmed = conditions.find(|condition| condition["type"] == "Programmed")?;
                Some(format!("{}: {}", programmed["reason"].as_str()?, programmed["message"].as_str()?))
            }
            _ => None,
        };
        outputs.iter().filter_map(message).collect()
    };
    let told = said(&cluster.refused(refused("the controller may not create services")));
    assert_eq!(told.len(), 1, "{told:?}");
    let begins = "NoResources: Service default/web-headgate cannot be written: the controller may not create services";
    assert_eq!(told[0], begins, "it says itself what to do");
    assert_eq!(said(&cluster.refused(refused("the controller may not create services"))), [""; 0], "said once");
    let told = said(&cluster.refused(BTreeMap::new()));
    assert!(told.len() == 1 && !told[0].contains("cannot be written"), "{told:?}");
}
