//! What is told of a Gateway from the objects that a cluster has for it. It asserts the words that people read in conditions.

use headgate_provision::{
    Given, Parameters, Seen, ServiceType, Settings, Transport, manifests, name, own_addresses, seen, selector,
};
use headgate_translate::kinds::{Address, Gateway};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr};

fn gateway(addresses: &[(&str, Option<&str>)]) -> Gateway {
    let plain: Vec<_> = addresses.iter().map(|&(kind, value)| (kind, value, "")).collect();
    gateway_with(&plain)
}

/// Each with its type, its value and its routability.
fn gateway_with(addresses: &[(&str, Option<&str>, &str)]) -> Gateway {
    let mut gateway = Gateway { class: "headgate".into(), ..Gateway::default() };
    (gateway.meta.name, gateway.meta.namespace) = ("web".into(), "shop".into());
    let address = |(kind, value, routability): &(&str, Option<&str>, &str)| Address {
        kind: (*kind).into(),
        value: value.map(Into::into),
        routability: (!routability.is_empty()).then(|| (*routability).into()),
    };
    gateway.addresses = addresses.iter().map(address).collect();
    gateway
}

/// The Services that the Gateway gets, each with an ingress where its `loadBalancerIP` (none: `any`) has one.
fn balanced(gateway: &Gateway, parameters: &Parameters, given: &[(&str, &str)]) -> Vec<Value> {
    let ports = BTreeSet::from([(80, Transport::Tcp)]);
    let made = manifests(gateway, &ports, parameters, &Settings::default(), &[]).into_values();
    let mut services: Vec<Value> = made.filter(|object| object["kind"] == "Service").collect();
    for service in &mut services {
        let asked = service["spec"]["loadBalancerIP"].as_str().unwrap_or("any").to_owned();
        if let Some((_, ip)) = given.iter().find(|(for_, _)| *for_ == asked) {
            service["status"] = json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
        }
    }
    services
}

/// Its addresses, each with where it can be reached from, if that is said.
fn found(seen: &Seen) -> Vec<String> {
    let text = |given: &Given| format!("{} {}", given.value, given.routability.as_str()).trim().to_owned();
    seen.addresses.iter().map(text).collect()
}

fn unusable(seen: &Seen) -> Vec<&str> {
    seen.unassigned.iter().filter(|entry| entry.is_unusable).map(|entry| &*entry.why).collect()
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
    let all = gateway(&[]);
    let mut services = balanced(&all, &Parameters::default(), &[]);
    assert_eq!(look(&all, &services), Seen::default());
    services[0]["status"] =
        json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"hostname": "lb.example.com"}]}});
    assert_eq!(found(&look(&all, &services)), ["198.51.100.1", "lb.example.com"]);
    // who asks for one gets one, of the type that is asked for
    assert_eq!(found(&look(&gateway(&[("Hostname", None)]), &services)), ["lb.example.com"]);
    assert_eq!(found(&look(&gateway(&[("IPAddress", None)]), &services)), ["198.51.100.1"]);
    let two = look(&gateway(&[("IPAddress", None), ("IPAddress", None)]), &services);
    assert_eq!(found(&two), ["198.51.100.1"]);
    assert_eq!(unusable(&two), [""; 0]);
    assert_eq!(two.unassigned[0].why, "the cluster has not given one more IP address to Service web-headgate");
}

#[test]
fn no_address_is_given_twice() {
    // a load balancer that gives the same address of a node to every Service
    let twice = gateway(&[("IPAddress", None), ("IPAddress", Some("198.51.100.1"))]);
    let services =
        balanced(&twice, &Parameters::default(), &[("any", "198.51.100.1"), ("198.51.100.1", "198.51.100.1")]);
    let seen = look(&twice, &services);
    assert_eq!(found(&seen), ["198.51.100.1"]);
    assert_eq!(seen.unassigned.len(), 1, "{seen:?}");
}

/// The Services that the Gateway gets, as the cluster has them once it gave each a ClusterIP, and those with a load balancer an address.
fn in_cluster(gateway: &Gateway, refused: &str) -> Vec<Value> {
    let mut services = balanced(gateway, &Parameters::default(), &[("any", "198.51.100.1")]);
    services.retain(|service| service["spec"]["clusterIP"] != refused);
    for service in &mut services {
        let ip = service["spec"]["clusterIP"].as_str().unwrap_or("10.96.0.9").to_owned();
        service["spec"]["clusterIPs"] = json!([ip]);
        if service["spec"]["type"] != "LoadBalancer" {
            service["status"] = json!({});
        }
    }
    services
}

#[test]
fn an_address_within_the_cluster_is_the_one_of_a_service_and_never_one_for_everybody() {
    let ip = |value, routability| ("IPAddress", value, routability);
    let only = gateway_with(&[ip(None, "Cluster")]);
    let services = in_cluster(&only, "");
    assert_eq!(services.len(), 1);
    assert_eq!(services[0]["spec"]["type"], "ClusterIP", "no load balancer is asked");
    assert_eq!(found(&look(&only, &services)), ["10.96.0.9 Cluster"]);

    for both in [[ip(None, ""), ip(None, "Cluster")], [ip(None, "Cluster"), ip(None, "")]] {
        let both = gateway_with(&both);
        let services = in_cluster(&both, "");
        let mut addresses = found(&look(&both, &services));
        addresses.sort();
        assert_eq!(addresses, ["10.96.0.9 Cluster", "198.51.100.1"]);
    }

    let nodes = Parameters { service_type: Some(ServiceType::NodePort), ..Parameters::default() };
    let services = balanced(&only, &nodes, &[]);
    assert_eq!(services[0]["spec"]["type"], "ClusterIP", "no node lets anybody in");

    // one that its Service has already needs no other
    let held = gateway_with(&[ip(Some("10.96.0.9"), "Cluster")]);
    let services = in_cluster(&only, "");
    assert_eq!(found(&look(&held, &services)), ["10.96.0.9 Cluster"]);
    assert_eq!(own_addresses(&services[0]).iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.96.0.9"]);
    let ports = BTreeSet::from([(80, Transport::Tcp)]);
    let made = |own: &[IpAddr]| manifests(&held, &ports, &Parameters::default(), &Settings::default(), own);
    let count = |own: &[IpAddr]| made(own).values().filter(|object| object["kind"] == "Service").count();
    assert_eq!((count(&[]), count(&own_addresses(&services[0]))), (2, 1));

    // one that is written down has a Service of its own, and where the cluster cannot give it, the others serve
    let exact = gateway_with(&[ip(Some("10.96.7.7"), "Cluster"), ip(None, "")]);
    let services = in_cluster(&exact, "");
    assert_eq!(found(&look(&exact, &services)), ["10.96.7.7 Cluster", "198.51.100.1"]);
    let seen = look(&exact, &in_cluster(&exact, "10.96.7.7"));
    assert_eq!((found(&seen), unusable(&seen)), (vec!["198.51.100.1".to_owned()], vec![]));
    let missing = &seen.unassigned[0];
    let service = services.iter().find(|service| service["spec"]["clusterIP"] == "10.96.7.7").expect("it is asked for");
    assert_eq!(missing.service.as_deref(), service["metadata"]["name"].as_str());
    assert!(missing.why.starts_with("the cluster has not given 10.96.7.7 to Service web-headgate-"), "{}", missing.why);
}

#[test]
fn a_routability_that_nobody_knows_is_never_satisfied() {
    let ip = |routability| ("IPAddress", None, routability);
    let exactly = gateway_with(&[("IPAddress", Some("192.0.2.1"), "testing.x-k8s.io/sentinel")]);
    let services = balanced(&exactly, &Parameters::default(), &[("192.0.2.1", "192.0.2.1")]);
    assert_eq!(found(&look(&exactly, &services)), ["192.0.2.1 testing.x-k8s.io/sentinel"]);
    let gateway =
        gateway_with(&[ip("example.com/vpc"), ip("testing.x-k8s.io/sentinel"), ("Hostname", None, "Cluster")]);
    let seen = look(&gateway, &in_cluster(&gateway, ""));
    assert_eq!(found(&seen), ["198.51.100.1 testing.x-k8s.io/sentinel"]);
    let why: Vec<_> = seen.unassigned.iter().map(|entry| &*entry.why).collect();
    let expected =
        ["addresses of routability example.com/vpc are not supported", "the cluster gives no host names of its own"];
    assert_eq!((why, unusable(&seen)), (expected.to_vec(), vec![]));
}

#[test]
fn of_exact_addresses_those_that_were_given_are_used_and_the_others_told() {
    let both = gateway(&[("IPAddress", Some("192.0.2.1")), ("IPAddress", Some("10.99.250.1"))]);
    let services = balanced(&both, &Parameters::default(), &[("10.99.250.1", "10.99.250.1")]);
    let seen = look(&both, &services);
    assert_eq!(found(&seen), ["10.99.250.1"]);
    let pending = services.iter().find(|service| service["spec"]["loadBalancerIP"] == "192.0.2.1").expect("there");
    let expected =
        format!("the cluster has not given 192.0.2.1 to Service {}", pending["metadata"]["name"].as_str().unwrap());
    assert_eq!(unusable(&seen), [expected]);

    // the address that cannot be had is edited away: the Service of the other stays the same
    let one = gateway(&[("IPAddress", Some("10.99.250.1"))]);
    let seen = look(&one, &services);
    assert_eq!((found(&seen), seen.unassigned), (vec!["10.99.250.1".to_owned()], vec![]));
}

#[test]
fn another_address_than_the_one_asked_for_is_none() {
    let gateway = gateway(&[("IPAddress", Some("192.0.2.1"))]);
    let services = balanced(&gateway, &Parameters::default(), &[("192.0.2.1", "198.51.100.1")]);
    let seen = look(&gateway, &services);
    assert_eq!(found(&seen), [""; 0]);
    assert_eq!(unusable(&seen).len(), 1);
}

#[test]
fn what_no_cluster_can_give_is_told_at_once() {
    let gateway =
        gateway(&[("Hostname", Some("a.example.com")), ("IPAddress", Some("300.0.0.1")), ("example.com/x", None)]);
    assert_eq!(
        unusable(&look(&gateway, &[])),
        [
            "a host name such as \"a.example.com\" cannot be asked for",
            "\"300.0.0.1\" is no IP address",
            "addresses of type example.com/x are not supported"
        ]
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
        found(&seen(gateway, &parameters, &[&service], None, &[&pod]))
    };
    assert_eq!(at(&plain, ServiceType::ClusterIP), ["10.96.0.9 Cluster", "fd00::9 Cluster"]);
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
