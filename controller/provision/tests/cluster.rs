//! That an API server takes the manifests as they are, and what a load balancer makes of them. Without KUBECONFIG it does nothing, and says so; `e2e/cluster/in cargo test -p headgate-provision --test cluster` gives it one. It leaves its namespaces behind.

use headgate_provision::{Parameters, Routability, Seen, Settings, Transport, manifests, seen};
use headgate_translate::kinds::{Address, Gateway};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(20);

/// Whether there is a cluster; a namespace of this name is made in it then.
fn cluster(namespace: &str) -> bool {
    if std::env::var_os("KUBECONFIG").is_none() {
        println!("skipped: no KUBECONFIG");
        return false;
    }
    let level = "restricted";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {
        "pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/warn": level,
    }}});
    let made = kubectl(&["apply", "--server-side", "-f", "-"], &namespace);
    assert!(made.status.success(), "{}", text(&made));
    true
}

fn kubectl(arguments: &[&str], input: &Value) -> Output {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl");
    child.stdin.take().expect("piped").write_all(input.to_string().as_bytes()).expect("taken");
    child.wait_with_output().expect("it ends")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn manifests_are_taken_in_a_restricted_namespace() {
    const NAMESPACE: &str = "provision-restricted";
    if !cluster(NAMESPACE) {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let goldens = std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    for golden in goldens.filter(|path| path.extension().is_some_and(|ext| ext == "json")) {
        let manifests = std::fs::read_to_string(&golden).expect("readable");
        let mut manifests: Vec<Value> = serde_json::from_str(&manifests).expect("JSON");
        manifests.iter_mut().for_each(|manifest| manifest["metadata"]["namespace"] = json!(NAMESPACE));
        for manifest in &manifests {
            let tried =
                kubectl(&["apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-"], manifest);
            // IPv6 is not everywhere
            let told = text(&tried);
            let no_ipv6 = told.contains("IPv6") && told.contains("not configured on this cluster");
            assert!(no_ipv6 || (tried.status.success() && told.is_empty()), "{}: {told}", golden.display());
        }
    }
}

#[test]
fn examples_of_the_chart_are_taken() {
    const NAMESPACE: &str = "provision-examples";
    if !cluster(NAMESPACE) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let definition = root.join("charts/headgate/crds");
    let defined = kubectl(
        &["apply", "--server-side", "--force-conflicts", "-f", definition.to_str().expect("a path")],
        &Value::Null,
    );
    assert!(defined.status.success(), "{}", text(&defined));
    let readme = std::fs::read_to_string(root.join("charts/headgate/README.md")).expect("readable");
    let blocks: Vec<&str> = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 1);
    for block in blocks {
        for object in serde_saphyr::from_multiple::<Value>(block).expect("YAML") {
            let tried =
                kubectl(&["apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-"], &object);
            assert!(tried.status.success(), "{object}: {}", text(&tried));
            if object["kind"] == "GatewayParameters" {
                Parameters::decode(&object).expect("parameters");
            }
        }
    }
}

/// A Gateway with a load balancer, as its controller would keep it: applied, looked at, applied again.
struct Kept {
    gateway: Gateway,
}

impl Kept {
    const NAMESPACE: &'static str = "provision-addresses";

    fn new() -> Self {
        let mut gateway = Gateway { class: "headgate".into(), ..Gateway::default() };
        (gateway.meta.name, gateway.meta.namespace) = ("web".into(), Self::NAMESPACE.into());
        Self { gateway }
    }

    /// Asks for these addresses, and deletes what is not wanted any more.
    fn ask(&mut self, addresses: &[&str]) {
        let address =
            |value: &&str| Address { kind: "IPAddress".into(), value: Some((*value).into()), routability: None };
        self.ask_for(addresses.iter().map(address).collect());
    }

    fn ask_for(&mut self, addresses: Vec<Address>) {
        self.gateway.addresses = addresses;
        let ports = BTreeSet::from([(8080, Transport::Tcp)]);
        let wanted = manifests(&self.gateway, &ports, &Parameters::default(), &Settings::default(), &[]);
        let services = wanted.into_values().filter(|manifest| manifest["kind"] == "Service");
        let services: Vec<Value> = services.collect();
        for service in &services {
            let applied = kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], service);
            assert!(applied.status.success(), "{}", text(&applied));
        }
        for there in self.services() {
            if !services.iter().any(|wanted| wanted["metadata"]["name"] == there["metadata"]["name"]) {
                let gone = kubectl(&["delete", "-f", "-"], &there);
                assert!(gone.status.success(), "{}", text(&gone));
            }
        }
    }

    fn services(&self) -> Vec<Value> {
        let got = kubectl(&["get", "services", "-n", Self::NAMESPACE, "-o", "json"], &Value::Null);
        let list: Value = serde_json::from_slice(&got.stdout).expect("JSON");
        let with_kind = |mut service: Value| {
            service["apiVersion"] = json!("v1");
            service["kind"] = json!("Service");
            service
        };
        list["items"].as_array().expect("a list").iter().cloned().map(with_kind).collect()
    }

    /// Waits until what is seen is as it should be.
    fn until(&self, what: &str, holds: impl Fn(&Seen) -> bool) -> Seen {
        let start = Instant::now();
        loop {
            let services = self.services();
            let services: Vec<&Value> = services.iter().collect();
            let found = seen(&self.gateway, &Parameters::default(), &services, None, &[]);
            if holds(&found) {
                return found;
            }
            assert!(start.elapsed() < LIMIT, "{what}: {found:?}");
        }
    }
}

#[test]
fn exact_addresses_are_had_or_told() {
    if !cluster(Kept::NAMESPACE) {
        return;
    }
    // the test cluster gives 10.99.250.1, and never 192.0.2.1
    let mut kept = Kept::new();
    kept.ask(&["192.0.2.1", "10.99.250.1"]);
    let exactly = |seen: &Seen| seen.addresses.iter().map(|given| &*given.value).eq(["10.99.250.1"]);
    let found = kept.until("one of two", exactly);
    assert!(matches!(&*found.unassigned, [one] if one.is_unusable && one.why.contains("192.0.2.1")), "{found:?}");
    kept.ask(&["10.99.250.1"]);
    let found = kept.until("the one that is left", exactly);
    assert_eq!(found.unassigned, []);
    kept.ask(&[]);
    let found = kept.until("any", |seen| seen.addresses.len() == 1);
    assert_eq!(found.unassigned, []);
    kept.ask(&["192.0.2.1"]);
    let found = kept.until("none", |seen| seen.addresses.is_empty());
    assert_eq!(found.unassigned.len(), 1);
    kept.ask(&["10.99.250.1"]);
    kept.until("again", |seen| exactly(seen) && seen.unassigned.is_empty());
    // the cluster's own are 10.96.0.0/16
    let own = |value: Option<&str>| {
        let (kind, routability) = ("IPAddress".to_owned(), Some("Cluster".to_owned()));
        Address { kind, value: value.map(str::to_owned), routability }
    };
    kept.ask_for(vec![own(Some("10.96.77.77")), own(None)]);
    let found = kept.until("two of the cluster's own", |seen| seen.addresses.len() == 2);
    assert!(found.addresses.iter().all(|given| given.routability == Routability::Cluster), "{found:?}");
    assert_eq!(found.addresses[0].value, "10.96.77.77");
}
