//! The state machine of a cluster, told what watches and gateways would tell it. No API server.

use super::*;
use crate::sources::{
    cluster::{ClusterContent, ClusterObject},
    decode::{Outcome, decode},
};
use headgate_translate::conditions::ConditionType;
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
        uid: Text::default(),
        owner: None,
        generation: value["metadata"]["generation"].as_i64().unwrap_or_default(),
        resource_version: "1".into(),
        status: (&value["status"]).into(),
        appliers: Vec::new(),
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
        Output::Troubles(about, all) => format!("troubles of {} {}", about.object.kind, all.len()),
        Output::Targets(targets) => format!("targets {}", targets.len()),
        Output::Seen(target, _) => format!("seen {target}"),
        Output::Retry(target) => format!("retry {target}"),
        Output::Running(pods) => format!("running {}", pods.len()),
        Output::Manifests(manifests, _) => format!("manifests {}", if manifests.is_empty() { "none" } else { "some" }),
    };
    outputs.iter().map(tell).collect()
}

/// What is said of an object that one controller serves.
fn fields(wanted: &Wanted) -> Option<Value> {
    match wanted {
        Wanted::Fields { status, .. } => Some(status.unfold()),
        _ => None,
    }
}

fn programmed(outputs: &[Output]) -> Option<(String, i64)> {
    outputs.iter().rev().find_map(|output| match output {
        Output::Say(object, Some(wanted)) if object.kind == "Gateway" => {
            let status = fields(wanted)?;
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

/// The Services among the manifests of the last output that has some.
fn services_wanted(outputs: &[Output]) -> Option<usize> {
    outputs.iter().rev().find_map(|output| match output {
        Output::Manifests(manifests, _) => Some(manifests.keys().filter(|name| name.kind == "Service").count()),
        _ => None,
    })
}

#[test]
fn an_address_that_the_service_of_a_gateway_has_already_is_asked_for_by_no_other() {
    let mut cluster = cluster();
    let mut gateway = gateway_at(1, None);
    gateway["spec"]["addresses"] = json!([{"type": "IPAddress", "value": "10.96.0.9", "routability": "Cluster"}]);
    let first = changed(&mut cluster, &[object(&class()), object(&gateway)]);
    assert_eq!(services_wanted(&first), Some(2));
    let service = |ip: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web-headgate", "namespace": "default"},
            "spec": {"ports": [{"port": 80}], "clusterIP": ip, "clusterIPs": [ip]}})
    };
    let owned = |ip: &str| {
        let ObjectChange::Upsert(made) = object(&service(ip)) else { panic!("an object") };
        let owner = Some(Box::new(ObjectRef::new("gateway.networking.k8s.io", "Gateway", "default", "web")));
        ObjectChange::Upsert(Arc::new(ClusterObject { owner, ..ClusterObject::clone(&made) }))
    };
    assert_eq!(services_wanted(&changed(&mut cluster, &[owned("10.96.0.9")])), Some(1));
    assert_eq!(services_wanted(&changed(&mut cluster, &[owned("10.96.0.50")])), Some(2));
}

/// Whether the class claims ClusterTrustBundle, and the reason of `ResolvedRefs` of a policy, as they are said last.
fn of_bundles(outputs: &[Output]) -> (Option<bool>, Option<&'static str>) {
    let last = |kind: &str| {
        outputs.iter().rev().find_map(|output| match output {
            Output::Say(object, Some(wanted)) if object.kind == kind => Some(wanted),
            _ => None,
        })
    };
    let features =
        last("GatewayClass").and_then(|wanted| fields(wanted)).map(|status| status["supportedFeatures"].clone());
    let claims = features.map(|all| all.as_array().unwrap().iter().any(|one| one["name"] == "ClusterTrustBundle"));
    let reason = last("BackendTLSPolicy").map(|wanted| match &**wanted {
        Wanted::Said(status) => match &**status {
            Status::Policy(policy) => {
                let mut conditions = policy.ancestors[0].conditions.iter();
                conditions.find(|one| one.kind == ConditionType::ResolvedRefs).unwrap().reason.as_str()
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    });
    (claims, reason)
}

#[test]
fn a_bundle_can_be_named_where_the_api_server_knows_bundles() {
    let (mut cluster, _) = begun();
    let refs = json!([{"group": "certificates.k8s.io", "kind": "ClusterTrustBundle", "name": "roots"}]);
    let policy = json!({"apiVersion": API, "kind": "BackendTLSPolicy", "metadata": {"name": "a", "namespace": "default"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "a"}],
            "validation": {"hostname": "a.example", "caCertificateRefs": refs}}});
    let experimental = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gateways.gateway.networking.k8s.io", "annotations": {
            "gateway.networking.k8s.io/bundle-version": "v1.7.0", "gateway.networking.k8s.io/channel": "experimental"}}});
    let outputs = changed(&mut cluster, &[object(&policy), object(&experimental)]);
    assert_eq!(of_bundles(&outputs), (Some(false), Some("InvalidKind")));

    let all = ObjectRef::all_of("certificates.k8s.io", "ClusterTrustBundle");
    let known = object(
        &json!({"apiVersion": "certificates.k8s.io/v1", "kind": &*all.kind, "metadata": {"name": all.name.as_str()}}),
    );
    let outputs = changed(&mut cluster, &[known]);
    assert_eq!(of_bundles(&outputs), (Some(true), Some("InvalidCACertificateRef")));
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let bundle = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
        "metadata": {"name": "roots"}, "spec": {"trustBundle": pem}});
    assert_eq!(of_bundles(&changed(&mut cluster, &[object(&bundle)])), (None, Some("ResolvedRefs")));

    let gone = [ObjectRef { name: "roots".into(), ..all.clone() }, all].map(ObjectChange::Remove);
    assert_eq!(of_bundles(&changed(&mut cluster, &gone)), (Some(false), Some("InvalidKind")));
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
        Output::Say(object, Some(wanted)) if object.kind == "Gateway" => {
            fields(wanted)?["listeners"][0]["conditions"].as_array().cloned()
        }
        _ => None,
    });
    let condition = |kind: &str| {
        let found = said.iter().flatten().find(|condition| condition["type"] == kind);
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
            ObjectChange::Upsert(Arc::new(ClusterObject {
                owner: owner.map(Box::new),
                ..ClusterObject::clone(&object)
            }))
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
            Output::Say(_, Some(wanted)) => {
                let status = fields(wanted)?;
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

/// Where an Ingress is said to be found, and how much is said to be wrong with it.
fn of_ingress(outputs: &[Output]) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let said = outputs.iter().rev().find_map(|output| match output {
        Output::Say(object, wanted) if object.kind == "Ingress" => Some(match wanted.as_deref() {
            Some(Wanted::Addresses(all)) => all.iter().map(|address| address.value.clone()).collect(),
            other => panic!("{other:?}"),
        }),
        _ => None,
    });
    let wrong = outputs.iter().rev().find_map(|output| match output {
        Output::Troubles(about, all) => {
            assert_eq!((&*about.object.kind, &*about.api_version), ("Ingress", "networking.k8s.io/v1"));
            Some(all.iter().map(|one| one.note.clone()).collect())
        }
        _ => None,
    });
    (said, wrong)
}

#[test]
fn an_ingress_is_found_where_its_gateway_is_and_says_once_what_is_wrong() {
    let (mut cluster, _) = begun();
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "ours"},
        "spec": {"controller": "headgate.dev/ingress-controller", "parameters": {"apiGroup": "gateway.networking.k8s.io",
            "kind": "Gateway", "scope": "Namespace", "namespace": "default", "name": "web"}}});
    let ingress = |class: &str, service: &str| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "shop", "namespace": "default", "annotations": {"nginx.ingress.kubernetes.io/limit-rps": "5"}},
            "spec": {"ingressClassName": class, "rules": [{"host": "a.io", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}})
    };
    let load_balancer = |address: &str| {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web-headgate", "namespace": "default"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        let ObjectChange::Upsert(made) = object(&service) else { panic!("it is there") };
        let owner = Some(ObjectRef::new(GATEWAY_GROUP, "Gateway", "default", "web"));
        ObjectChange::Upsert(Arc::new(ClusterObject { owner: owner.map(Box::new), ..ClusterObject::clone(&made) }))
    };
    changed(&mut cluster, &[load_balancer("10.0.0.1"), object(&class)]);
    let (found, wrong) = of_ingress(&changed(&mut cluster, &[object(&ingress("ours", "nobody"))]));
    assert_eq!(found, Some(vec!["10.0.0.1".to_owned()]));
    let wrong = wrong.unwrap();
    let has = |text: &str| wrong.iter().any(|one| one.contains(text));
    assert!(wrong.len() == 2 && has("limit-rps") && has("Service default/nobody does not exist"), "{wrong:?}");

    // what is not new is not said
    assert_eq!(of_ingress(&changed(&mut cluster, &[object(&slice("a", "10.0.0.9"))])), (None, None));
    let (found, wrong) = of_ingress(&changed(&mut cluster, &[load_balancer("10.0.0.2")]));
    assert_eq!((found, wrong), (Some(vec!["10.0.0.2".to_owned()]), None));
    let (found, wrong) = of_ingress(&changed(&mut cluster, &[object(&service("nobody"))]));
    assert_eq!((found, wrong.map(|all| all.len())), (None, Some(1)), "one is mended");

    // another class, and it is another's
    let outputs = changed(&mut cluster, &[object(&ingress("theirs", "nobody"))]);
    assert!(told(&outputs).contains(&"say nothing of Ingress".to_owned()), "{outputs:?}");
    assert!(told(&outputs).contains(&"troubles of Ingress 0".to_owned()), "{outputs:?}");
}

#[test]
fn an_ingress_that_was_ours_while_nobody_looked_is_let_go_and_no_other() {
    let (mut cluster, _) = begun();
    let ingress = |name: &str, applier: &str| {
        let value = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": "default"}, "spec": {"ingressClassName": "theirs",
                "defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}});
        let ObjectChange::Upsert(object) = object(&value) else { panic!("it is there") };
        ObjectChange::Upsert(Arc::new(ClusterObject {
            appliers: vec![applier.into()],
            ..ClusterObject::clone(&object)
        }))
    };
    let changes = [ingress("mine", "headgate.dev/gateway-controller"), ingress("theirs", "another")];
    let outputs = changed(&mut cluster, &changes);
    let let_go = outputs.iter().filter_map(|output| match output {
        Output::Say(object, None) => Some(object.name.to_string()),
        _ => None,
    });
    assert_eq!(let_go.collect::<Vec<_>>(), ["mine"]);
}

#[test]
fn the_certificate_of_an_x_backend_is_read_and_goes_to_the_gateways_that_lead_there_and_nowhere_else() {
    let group = "gateway.networking.x-k8s.io";
    let backend = json!({"apiVersion": format!("{group}/v1alpha1"), "kind": "XBackend",
        "metadata": {"name": "pay", "namespace": "default"},
        "spec": {"type": "ExternalHostname", "port": {"number": 443}, "externalHostname": {"hostname": "pay.example"},
            "tls": {"mode": "ClientAndServer", "clientCertificateRef": {"name": "ours"},
                "validation": {"hostname": "pay.example", "wellKnownCACertificates": "System"}}}});
    let mut to_it = route("a");
    to_it["spec"]["rules"] = json!([{"backendRefs": [{"group": group, "kind": "XBackend", "name": "pay"}]}]);
    let mut other = gateway_at(1, None);
    other["metadata"]["name"] = json!("other");
    let (mut cluster, _) = begun();
    let referred = cluster.take(&[object(&backend), object(&to_it), object(&other)]);
    assert_eq!(referred, Some(BTreeSet::from([ObjectRef::new("", "Secret", "default", "ours")])));
    let secret = |chain: &str| {
        let block = |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        let data = json!({"tls.crt": block("CERTIFICATE", chain), "tls.key": block("PRIVATE KEY", "KEY")});
        let ObjectChange::Upsert(known) = object(&json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "ours", "namespace": "default"}, "stringData": data}))
        else {
            panic!("it is there")
        };
        let content = headgate_translate::kinds::decode_admitted(&json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "ours", "namespace": "default"}, "stringData": data}));
        let Ok(headgate_translate::kinds::Decoded::Known(content, _)) = content else { panic!("{content:?}") };
        let content = ClusterContent::Known(crate::sources::decode::Content::Kubernetes(content));
        ObjectChange::Upsert(Arc::new(ClusterObject { content, ..ClusterObject::clone(&known) }))
    };
    let published = |outputs: &[Output]| -> Vec<(String, Vec<String>)> {
        let of = |output: &Output| match output {
            Output::Publish { gateway, certificates, .. } => {
                let chains = certificates.values().map(|one| one.chain.lines().nth(1).unwrap().to_owned());
                Some((gateway.name.clone(), chains.collect()))
            }
            _ => None,
        };
        outputs.iter().filter_map(of).collect()
    };
    let with_key = |chain: &str| ("web".to_owned(), vec![chain.to_owned()]);
    let first = published(&changed(&mut cluster, &[secret("AAAA")]));
    assert_eq!(first.iter().find(|(gateway, _)| gateway == "web"), Some(&with_key("AAAA")));
    assert_eq!(first.iter().find(|(gateway, _)| gateway == "other"), Some(&("other".to_owned(), Vec::new())));
    assert_eq!(published(&changed(&mut cluster, &[secret("BBBB")])), [with_key("BBBB")]);
    let debug = format!("{:?}", cluster.translation());
    assert!(!debug.contains("KEY"), "a key is printed");
}

/// What may happen to a cluster with two Gateways, ListenerSets on them, and Pods that follow.
struct World {
    cluster: Cluster,
    dice: fastrand::Rng,
    version: u64,
    generation: i64,
    /// What Gateways are to have.
    manifests: BTreeMap<ObjectRef, Arc<Value>>,
}

impl World {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.dice.usize(..from.len())]
    }

    /// One change; gives what follows.
    fn happen(&mut self) -> Vec<Output> {
        let (name, pod) = (self.pick(&["web", "other"]), self.pick(&["p", "q"]));
        let gateway = GatewayName { namespace: "default".into(), name: name.into() };
        self.generation += 1;
        match self.dice.u8(..16) {
            0 => self.cluster.connected(&gateway, pod),
            1..4 => self.cluster.acknowledged(&gateway, pod, Version(self.version)),
            4 => self.cluster.gone(&gateway, pod),
            5 => {
                let service = ObjectRef::new("", "Service", "default", &format!("{name}-headgate"));
                let all = if self.dice.bool() { BTreeMap::from([(service, "no".to_owned())]) } else { BTreeMap::new() };
                self.cluster.refused(all)
            }
            _ => {
                let count = self.dice.usize(1..3);
                let changes: Vec<ObjectChange> = (0..count).map(|_| self.change(name, pod)).collect();
                changed(&mut self.cluster, &changes)
            }
        }
    }

    fn change(&mut self, gateway: &str, pod: &str) -> ObjectChange {
        let owner = Some(Box::new(ObjectRef::new(GATEWAY_GROUP, "Gateway", "default", gateway)));
        let (generation, kind) = (self.generation, self.dice.u8(..9));
        let deployment =
            self.manifests.get(&ObjectRef::new("apps", "Deployment", "default", &format!("{gateway}-headgate")));
        let labels = deployment.map(|made| made["spec"]["template"]["metadata"]["labels"].clone());
        let set = self.pick(&["s", "t"]);
        let mut value = match kind {
            0 | 1 => {
                let host = self.pick(&["a.io", "b.io"]);
                let mut value = gateway_at(generation, Some(host));
                value["metadata"]["name"] = json!(gateway);
                value["spec"]["allowedListeners"] = json!({"namespaces": {"from": self.pick(&["All", "All", "None"])}});
                value
            }
            2 | 3 => json!({"apiVersion": API, "kind": "ListenerSet",
                "metadata": {"name": set, "namespace": "default", "generation": generation},
                "spec": {"parentRef": {"name": gateway}, "listeners": [{"name": "x", "port": 80, "protocol": "HTTP",
                    "hostname": self.pick(&["a.io", "c.io", "d.io"])}]}}),
            4 | 5 => {
                let mut value = route(self.pick(&["a", "b"]));
                let parent = if self.dice.bool() {
                    json!({"name": gateway})
                } else {
                    json!({"name": set, "kind": "ListenerSet"})
                };
                value["metadata"]["name"] = json!(self.pick(&["one", "two", "three"]));
                value["metadata"]["generation"] = json!(generation);
                value["spec"]["parentRefs"] = json!([parent]);
                value
            }
            6 => service(self.pick(&["a", "b"])),
            7 => {
                let mut value = service(&format!("{gateway}-headgate"));
                let address = json!([{"ip": self.pick(&["10.0.0.1", "10.0.0.2"])}]);
                value["status"] =
                    if self.dice.bool() { json!({"loadBalancer": {"ingress": address}}) } else { json!({}) };
                value
            }
            _ => {
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": "default", "labels": labels},
                "spec": {"serviceAccountName": format!("{gateway}-headgate")},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": self.pick(&["True", "True", "False"])}]}})
            }
        };
        if value["spec"]["type"].is_null() && kind == 7 {
            value["spec"]["type"] = json!("LoadBalancer");
        }
        let ObjectChange::Upsert(made) = object(&value) else { panic!("it is there") };
        if self.dice.u8(..5) == 0 {
            return ObjectChange::Remove(made.name.clone());
        }
        let mut new = ClusterObject { owner: owner.filter(|_| kind >= 7), ..ClusterObject::clone(&made) };
        let known = self.cluster.stock.content(&new.name);
        if let Some(known) = known.filter(|_| kind < 4 && self.dice.u8(..4) == 0) {
            // it cannot be read: what could last stays
            let path = headgate_translate::schema::FieldPath::of("spec");
            new.problems = vec![headgate_translate::schema::Problem::error(path, "is wrong", "write another")];
            new.content = known;
        }
        ObjectChange::Upsert(Arc::new(new))
    }
}

#[test]
fn nothing_that_is_to_be_said_is_left_unsaid() {
    let (mut programmed, mut waiting) = (0, 0);
    for seed in 0..70 {
        let mut world = World {
            cluster: cluster(),
            dice: fastrand::Rng::with_seed(seed),
            version: 0,
            generation: 0,
            manifests: BTreeMap::new(),
        };
        changed(&mut world.cluster, &[object(&class()), object(&service("a"))]);
        for step in 0..80 {
            let outputs = world.happen();
            for output in outputs {
                match output {
                    Output::Publish { gateway, .. } => {
                        world.version += 1;
                        world.cluster.published(&gateway, Version(world.version));
                    }
                    Output::Manifests(manifests, _) => world.manifests = manifests,
                    _ => {}
                }
            }
            let cluster = &world.cluster;
            for name in cluster.done.conditions.keys() {
                let (said, wanted) = (cluster.said.get(name).map(|said| &**said), cluster.wanted(name));
                assert_eq!(said, wanted.as_ref(), "of {name}, seed {seed}, step {step}");
                if let Some(Wanted::Fields { awaiting, status }) = wanted.filter(|_| name.kind != "GatewayClass") {
                    let is_programmed = status.unfold()["conditions"][1]["status"] == "True";
                    (programmed, waiting) = (programmed + usize::from(is_programmed), waiting + usize::from(awaiting));
                }
            }
        }
    }
    assert!(programmed > 200 && waiting > 300, "gateways serve and are waited for: {programmed}, {waiting}");
}
