//! Ordinary workloads that scale by policies, as their people see them: what the scaler is told, which endpoints gateways get, what the policy says.

use crate::{
    cluster::{
        Cluster, Output,
        tests::{changed, class, cluster, gateway_at, object, route, service, slice},
    },
    scaling::cluster::{StopOrder, TargetSpec, TargetState, Workload},
    sources::cluster::{ClusterObject, ObjectChange},
};
use headgate_config::Probe;
use headgate_status::Wanted;
use headgate_translate::kinds::ObjectRef;
use serde_json::{Value, json};
use std::sync::Arc;

fn policy(name: &str, created: &str, workload: &Value) -> Value {
    json!({"apiVersion": "headgate.dev/v1alpha1", "kind": "ScalingPolicy",
        "metadata": {"name": name, "namespace": "default", "uid": "p", "generation": 4, "creationTimestamp": created},
        "spec": {"targetRefs": [{"kind": "Service", "name": "hello"}], "scaleTargetRef": workload, "maxReplicas": 3}})
}

fn hello() -> Value {
    policy("hello", "2026-01-01T00:00:00Z", &json!({"name": "app"}))
}

/// An object that is nobody's of ours, with the workload that owns it.
fn foreign(value: &Value, owner: Option<ObjectRef>) -> ObjectChange {
    let ObjectChange::Upsert(object) = object(value) else { unreachable!("it is one") };
    ObjectChange::Upsert(Arc::new(ClusterObject { made: None, owner: owner.map(Box::new), ..(*object).clone() }))
}

fn deployment(replicas: u32, container: &Value) -> ObjectChange {
    foreign(
        &json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "app", "namespace": "default", "uid": "d", "resourceVersion": "7"},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}}}),
        None,
    )
}

fn listening() -> Value {
    json!({"name": "app", "ports": [{"containerPort": 8080}]})
}

fn pod(name: &str) -> ObjectChange {
    foreign(
        &json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"pod-template-hash": "77"}},
            "status": {"podIP": "10.0.0.9"}}),
        Some(ObjectRef::new("apps", "ReplicaSet", "default", "app-77")),
    )
}

/// A route to Service `hello`, and what else there is.
fn begun(more: &[ObjectChange]) -> (Cluster, Vec<Output>) {
    let mut cluster = cluster();
    let mut all =
        vec![object(&class()), object(&gateway_at(1, None)), object(&route("hello")), object(&service("hello"))];
    all.extend(more.iter().cloned());
    let outputs = changed(&mut cluster, &all);
    (cluster, outputs)
}

fn targets(outputs: &[Output]) -> Vec<TargetSpec> {
    let last = outputs.iter().rev().find_map(|output| match output {
        Output::Targets(targets) => Some(targets.clone()),
        _ => None,
    });
    last.unwrap_or_default()
}

fn seen(outputs: &[Output]) -> Option<(&str, &Workload)> {
    outputs.iter().rev().find_map(|output| match output {
        Output::Seen(target, workload) => Some((target.as_str(), workload)),
        _ => None,
    })
}

/// `type status reason` of the conditions that are said of a policy now, if anything new is.
fn said(outputs: &[Output], name: &str) -> Vec<String> {
    let of = |output: &Output| match output {
        Output::Say(object, Some(wanted)) if object.kind == "ScalingPolicy" && object.name == name => match &**wanted {
            Wanted::Said(status) => Some(json!(**status)),
            other => panic!("{other:?}"),
        },
        _ => None,
    };
    let Some(status) = outputs.iter().rev().find_map(of) else { return Vec::new() };
    let conditions = status["ancestors"][0]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    conditions
        .iter()
        .map(|one| format!("{} {} {}", text(one, "type"), text(one, "status"), text(one, "reason")))
        .collect()
}

fn state(broken: Option<&str>, scaled_by: Option<&str>) -> TargetState {
    TargetState {
        target: "default/app".into(),
        broken: broken.map(str::to_owned),
        scaled_by: scaled_by.map(str::to_owned),
        ..TargetState::default()
    }
}

#[test]
fn a_policy_makes_a_target_of_a_deployment_with_its_pods() {
    let (mut cluster, outputs) = begun(&[object(&hello()), deployment(0, &listening())]);
    let targets = targets(&outputs);
    let [target] = targets.as_slice() else { panic!("{targets:?}") };
    assert_eq!((target.name.as_str(), target.bounds.min, target.bounds.max), ("default/app", 0, 3));
    assert_eq!(target.gateways.iter().map(ToString::to_string).collect::<Vec<_>>(), ["default/web"]);
    let served = &target.backends[0];
    assert_eq!((&*served.backend.service, served.port, served.probe.clone()), ("hello", 8080, Some(Probe::Tcp)));
    let (name, workload) = seen(&outputs).expect("the scaler is told what there is");
    assert_eq!((name, workload.scale.as_ref().map(|scale| scale.replicas)), ("default/app", Some(0)));
    assert_eq!(said(&outputs, "hello"), ["Accepted True Accepted", "Programmed True Programmed"]);
    // its Pods are seen as soon as they are there, and go as soon as they go
    let outputs = changed(&mut cluster, &[pod("app-77-x")]);
    assert_eq!(seen(&outputs).map(|(_, workload)| workload.pods.len()), Some(1));
    let gone = ObjectChange::Remove(ObjectRef::new("", "Pod", "default", "app-77-x"));
    let outputs = changed(&mut cluster, &[gone]);
    assert_eq!(seen(&outputs).map(|(_, workload)| workload.pods.len()), Some(0));
}

#[test]
fn while_a_policy_is_in_force_the_scaler_knows_the_endpoints_and_afterwards_the_slices() {
    let plain = |outputs: &[Output]| -> Vec<usize> {
        let lists = outputs.iter().filter_map(|output| match output {
            Output::Endpoints(_, endpoints) => Some(endpoints.list.len()),
            _ => None,
        });
        lists.collect()
    };
    let (mut cluster, outputs) =
        begun(&[object(&hello()), deployment(1, &listening()), object(&slice("hello", "10.0.0.1"))]);
    assert_eq!(plain(&outputs), [0; 0], "of one that scales, the scaler tells");
    let gone = ObjectChange::Remove(ObjectRef::new("headgate.dev", "ScalingPolicy", "default", "hello"));
    let outputs = changed(&mut cluster, &[gone]);
    assert_eq!((plain(&outputs), targets(&outputs).len()), (vec![1], 0));
    let outputs = changed(&mut cluster, &[object(&hello())]);
    assert_eq!((plain(&outputs), targets(&outputs).len()), (vec![], 1));
}

#[test]
fn what_only_the_workload_knows_is_said() {
    let missing = ["Accepted False TargetNotFound", "Programmed False TargetNotFound"];
    let (mut cluster, outputs) = begun(&[object(&hello())]);
    assert_eq!(said(&outputs, "hello"), missing);
    let outputs = changed(&mut cluster, &[deployment(0, &listening())]);
    assert_eq!(said(&outputs, "hello"), ["Accepted True Accepted", "Programmed True Programmed"]);
    let outputs = cluster.scaled(state(Some("ErrImagePull: nowhere:1"), None), 0);
    assert_eq!(said(&outputs, "hello"), ["Accepted True Accepted", "Programmed False StartFailed"]);
    let outputs = cluster.scaled(state(None, Some("other")), 0);
    assert_eq!(said(&outputs, "hello"), ["Accepted True Accepted", "Programmed False ScaledByOther"]);
    let outputs = cluster.scaled(state(None, None), 0);
    assert_eq!(said(&outputs, "hello"), ["Accepted True Accepted", "Programmed True Programmed"]);
    let gone = ObjectChange::Remove(ObjectRef::new("apps", "Deployment", "default", "app"));
    assert_eq!(said(&changed(&mut cluster, &[gone]), "hello"), missing);
}

#[test]
fn a_port_by_name_is_found_in_the_containers_or_told() {
    let mut named = service("hello");
    named["spec"]["ports"][0]["targetPort"] = json!("web");
    let (mut cluster, _) = begun(&[object(&hello()), deployment(0, &listening())]);
    let outputs = changed(&mut cluster, &[object(&named)]);
    assert_eq!(said(&outputs, "hello"), ["Accepted False Invalid", "Programmed False Invalid"]);
    assert_eq!(targets(&outputs)[0].backends.len(), 0);
    let web = json!({"name": "app", "ports": [{"name": "web", "containerPort": 9000}]});
    let outputs = changed(&mut cluster, &[deployment(0, &web)]);
    assert_eq!(targets(&outputs)[0].backends[0].port, 9000);
    assert_eq!(said(&outputs, "hello"), ["Accepted True Accepted", "Programmed True Programmed"]);
}

#[test]
fn a_workload_whose_pods_are_not_of_the_service_gets_none_of_its_requests() {
    let mut selecting = service("hello");
    selecting["spec"]["selector"] = json!({"app": "hello"});
    let with_label = |label: &str| {
        foreign(
            &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app", "namespace": "default", "uid": "d"},
                "spec": {"template": {"metadata": {"labels": {"app": label, "tier": "web"}}, "spec": {"containers": [listening()]}}}}),
            None,
        )
    };
    let (mut cluster, _) = begun(&[object(&hello()), with_label("hello")]);
    let outputs = changed(&mut cluster, &[object(&selecting)]);
    assert_eq!(said(&outputs, "hello"), [""; 0], "nothing is wrong");
    let outputs = changed(&mut cluster, &[with_label("other")]);
    assert_eq!(said(&outputs, "hello"), ["Accepted False Invalid", "Programmed False Invalid"]);
    let target = &targets(&outputs)[0];
    assert_eq!((target.backends.len(), target.faulty.len()), (0, 1));
    assert!(target.faulty[0].1.contains("whose selector has app=hello; name the workload"), "{:?}", target.faulty);
    let outputs = changed(&mut cluster, &[with_label("hello")]);
    assert_eq!(said(&outputs, "hello"), ["Accepted True Accepted", "Programmed True Programmed"]);
    assert_eq!(targets(&outputs)[0].backends.len(), 1);
}

#[test]
fn of_two_policies_the_older_scales_and_the_other_is_told() {
    let late = policy("late", "2026-02-01T00:00:00Z", &json!({"name": "other"}));
    let (mut cluster, outputs) = begun(&[object(&late), object(&hello()), deployment(0, &listening())]);
    assert_eq!(targets(&outputs).iter().map(|target| &*target.name).collect::<Vec<_>>(), ["default/app"]);
    assert_eq!(said(&outputs, "late"), ["Accepted False Conflicted", "Programmed False Invalid"]);
    let gone = ObjectChange::Remove(ObjectRef::new("headgate.dev", "ScalingPolicy", "default", "hello"));
    let outputs = changed(&mut cluster, &[gone]);
    assert_eq!(targets(&outputs).iter().map(|target| &*target.name).collect::<Vec<_>>(), ["default/other"]);
    assert_eq!(said(&outputs, "late")[1], "Programmed False TargetNotFound", "its Deployment does not exist");
}

#[test]
fn what_nobody_reaches_is_not_scaled() {
    let (mut cluster, outputs) = begun(&[object(&hello()), deployment(2, &listening())]);
    assert_eq!(targets(&outputs).len(), 1);
    let outputs = changed(&mut cluster, &[object(&route("elsewhere"))]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Targets(targets) if targets.is_empty())));
    assert_eq!(said(&outputs, "hello"), ["Accepted True Accepted", "Programmed False NotReached"]);
}

#[test]
fn a_stateful_set_stops_its_last_pod_first() {
    let ordered = policy("hello", "2026-01-01T00:00:00Z", &json!({"kind": "StatefulSet", "name": "db"}));
    let (mut cluster, outputs) = begun(&[object(&ordered)]);
    let target = &targets(&outputs)[0];
    assert_eq!((target.name.as_str(), target.stops), ("default/StatefulSet/db", StopOrder::LastOrdinal));
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "default", "uid": "s"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [listening()]}}}});
    let outputs = changed(&mut cluster, &[foreign(&set, None)]);
    assert_eq!(seen(&outputs).map(|(name, _)| name), Some("default/StatefulSet/db"));
    assert_eq!(said(&outputs, "hello"), ["Accepted True Accepted", "Programmed True Programmed"]);
}
