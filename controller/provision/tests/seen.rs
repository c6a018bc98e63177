//! What is told of a Gateway from the objects that a cluster has for it. It asserts the words that people read in conditions.

use headgate_provision::{Parameters, Seen, ServiceType, Settings, Transport, manifests, name, seen, selector};
use headgate_translate::kinds::{Address, Gateway};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn gateway(addresses: &[(&str, Option<&str>)]) -> Gateway {
    let mut gateway = Gateway { class: "headgate".into(), ..Gateway::default() };
    (gateway.meta.name, gateway.meta.namespace) = ("web".into(), "shop".into());
    let address = |(kind, value): &(&str, Option<&str>)| Address {
        kind: (*kind).into(),
        value: value.map(Into::into),
        routability: None,
    };
    gateway.addresses = addresses.iter().map(address).collect();
    gateway
}

/// The Services that the Gateway gets, each with an ingress where its `loadBalancerIP` (none: `any`) has one.
fn balanced(gateway: &Gateway, parameters: &Parameters, given: &[(&str, &str)]) -> Vec<Value> {
    let ports = BTreeSet::from([(80, Transport::Tcp)]);
    let made = manifests(gateway, &ports, parameters, &Settings::default()).into_values();
    let mut services: Vec<Value> = made.filter(|object| object["kind"] == "Service").collect();
    for service in &mut services {
        let asked = service["spec"]["loadBalancerIP"].as_str().unwrap_or("any").to_owned();
        if let Some((_, ip)) = given.iter().find(|(for_, _)| *for_ == asked) {
            service["status"] = json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
        }
    }
    services
}

fn look(gateway: &Gateway, services: &[Value]) -> Seen {
    seen(gateway, &Parameters::default(), &services.iter().collect::<Vec<_>>(), None, &[])
}

fn pod(gateway: &Gateway, name: &str, status: Value) -> Value {
    json!({"metadata": {"name": name, "labels": selector(gateway)}, "status": status})
}

fn pods(gateway: &Gateway, pods: &[Value]) -> Seen {
    seen(gateway, &Parameters::default(), &[], None, &pods.iter().collect::<Vec<_>>())
}

const READY: &str = r#"{"conditions": [{"type": "Ready", "status": "True"}], "hostIP": "10.0.0.7"}"#;

fn ready() -> Value {
    serde_json::from_str(READY).expect("JSON")
}

#[test]
fn any_address_is_what_the_load_balancer_gave() {
    let gateway = gateway(&[("Hostname", None)]);
    let mut services = balanced(&gateway, &Parameters::default(), &[]);
    assert_eq!(look(&gateway, &services), Seen::default());
    services[0]["status"] =
        json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"hostname": "lb.example.com"}]}});
    assert_eq!(look(&gateway, &services).addresses, ["198.51.100.1", "lb.example.com"]);
}

#[test]
fn of_exact_addresses_those_that_were_given_are_used_and_the_others_told() {
    let both = gateway(&[("IPAddress", Some("192.0.2.1")), ("IPAddress", Some("10.99.250.1"))]);
    let services = balanced(&both, &Parameters::default(), &[("10.99.250.1", "10.99.250.1")]);
    let found = look(&both, &services);
    assert_eq!(found.addresses, ["10.99.250.1"]);
    let pending = services.iter().find(|service| service["spec"]["loadBalancerIP"] == "192.0.2.1").expect("there");
    let expected =
        format!("the cluster has not given 192.0.2.1 to Service {}", pending["metadata"]["name"].as_str().unwrap());
    assert_eq!(found.unusable, Some(expected));

    // the address that cannot be had is edited away: the Service of the other stays the same
    let one = gateway(&[("IPAddress", Some("10.99.250.1"))]);
    let found = look(&one, &services);
    assert_eq!((found.addresses, found.unusable), (vec!["10.99.250.1".to_owned()], None));
}

#[test]
fn another_address_than_the_one_asked_for_is_none() {
    let gateway = gateway(&[("IPAddress", Some("192.0.2.1"))]);
    let services = balanced(&gateway, &Parameters::default(), &[("192.0.2.1", "198.51.100.1")]);
    let found = look(&gateway, &services);
    assert_eq!(found.addresses, [""; 0]);
    assert!(found.unusable.is_some());
}

#[test]
fn what_no_cluster_can_give_is_told_at_once() {
    let gateway =
        gateway(&[("Hostname", Some("a.example.com")), ("IPAddress", Some("300.0.0.1")), ("example.com/x", None)]);
    assert_eq!(
        look(&gateway, &[]).unusable.expect("told"),
        "a host name such as \"a.example.com\" cannot be asked for, \"300.0.0.1\" is no IP address, \
         addresses of type example.com/x are not supported"
    );
}

#[test]
fn without_a_load_balancer_addresses_are_those_of_the_service_or_of_nodes() {
    let plain = gateway(&[]);
    let service =
        json!({"metadata": {"name": name("web", "headgate")}, "spec": {"clusterIPs": ["10.96.0.9", "fd00::9"]}});
    let pod = pod(&plain, "web-1", ready());
    let at = |gateway: &Gateway, kind| {
        let parameters = Parameters { service_type: Some(kind), ..Parameters::default() };
        seen(gateway, &parameters, &[&service], None, &[&pod]).addresses
    };
    assert_eq!(at(&plain, ServiceType::ClusterIP), ["10.96.0.9", "fd00::9"]);
    assert_eq!(at(&plain, ServiceType::NodePort), ["10.0.0.7"]);
    let external = gateway(&[("IPAddress", Some("192.0.2.1"))]);
    assert_eq!(at(&external, ServiceType::ClusterIP), ["192.0.2.1"]);
}

#[test]
fn a_pod_counts_that_is_ready_and_stays_and_is_the_gateways() {
    let gateway = gateway(&[]);
    let mut leaving = pod(&gateway, "leaving", ready());
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut foreign = pod(&gateway, "foreign", ready());
    foreign["metadata"]["labels"]["app.kubernetes.io/component"] = json!("controller");
    let starting = pod(&gateway, "starting", json!({"conditions": [{"type": "Ready", "status": "False"}]}));
    let found = pods(&gateway, &[pod(&gateway, "here", ready()), leaving, foreign, starting]);
    assert_eq!(found.ready.into_iter().collect::<Vec<_>>(), ["here"]);
    assert_eq!(found.trouble, None);
}

#[test]
fn why_a_pod_does_not_start_is_told_in_the_words_of_the_cluster() {
    let gateway = gateway(&[]);
    let waiting = |state: Value| json!({"containerStatuses": [{"image": "a:1", "state": {"waiting": state}}]});
    let ended =
        |state: Value| json!({"containerStatuses": [{"state": state, "lastState": {"terminated": {"exitCode": 3}}}]});
    let unpulled = Some("Pod p: ImagePullBackOff: image a:1 cannot be pulled");
    let crashed = Some("Pod p: CrashLoopBackOff: its container ended with exit code 3; see its log");
    let cases = [
        (json!({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}), None),
        // a kubelet says these by turns
        (waiting(json!({"reason": "ErrImagePull", "message": "failed to pull image \"a\""})), unpulled),
        (waiting(json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image \"a\""})), unpulled),
        (ended(json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}})), crashed),
        (ended(json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}})), crashed),
        (ended(json!({"running": {}})), crashed),
        (
            waiting(json!({"reason": "CreateContainerConfigError", "message": "no ConfigMap x"})),
            Some("Pod p: CreateContainerConfigError: no ConfigMap x"),
        ),
        (
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]}),
            Some("Pod p: Unschedulable: 0/3 nodes are available"),
        ),
        (
            json!({"phase": "Failed", "reason": "SysctlForbidden", "message": "forbidden sysctl"}),
            Some("Pod p: SysctlForbidden: forbidden sysctl"),
        ),
    ];
    for (status, expected) in cases {
        assert_eq!(pods(&gateway, &[pod(&gateway, "p", status)]).trouble.as_deref(), expected);
    }
}

#[test]
fn pods_that_cannot_even_be_made_are_told_by_their_deployment() {
    let quota = json!({"metadata": {"name": "web-headgate"}, "status": {"conditions": [
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated"},
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small"},
    ]}});
    let found = seen(&gateway(&[]), &Parameters::default(), &[], Some(&quota), &[]);
    assert_eq!(found.trouble.as_deref(), Some("Deployment web-headgate: FailedCreate: exceeded quota: small"));
}

#[test]
fn a_port_that_the_load_balancer_cannot_open_is_told() {
    let gateway = gateway(&[]);
    let mut services = balanced(&gateway, &Parameters::default(), &[]);
    let port = json!({"port": 80, "protocol": "TCP", "error": "example.com/PortInUse"});
    services[0]["status"] = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.1", "ports": [port]}]}});
    let trouble = look(&gateway, &services).trouble.expect("told");
    assert_eq!(trouble, "port 80 of Service web-headgate: example.com/PortInUse");
}
