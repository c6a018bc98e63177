//! A namespace of a cluster and its gateway: objects by kubectl, requests over a plain connection. Never more than one request a connection.

use serde_json::{Value, json};
use std::{
    cell::OnceCell,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The Gateway that functions are found at.
const GATEWAY: [&str; 2] = ["headgate-system", "openfunction"];
/// Longer than any request may wait.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// A namespace of its own.
pub struct Cluster {
    namespace: String,
    /// Namespace and name.
    gateway: [String; 2],
    /// Of the Gateway, once it has one.
    address: OnceCell<SocketAddr>,
}

impl Cluster {
    /// `None` without a cluster.
    pub fn new(namespace: &str) -> Option<Self> {
        if std::env::var_os("KUBECONFIG").is_none() || std::env::var_os("CLUSTER").is_none() {
            println!("skipped: not in a cluster of e2e/cluster");
            return None;
        }
        let gateway = GATEWAY.map(str::to_owned);
        let cluster = Self { namespace: namespace.into(), gateway, address: OnceCell::new() };
        kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--wait"], None);
        kubectl(&["create", "namespace", namespace], None);
        Some(cluster)
    }

    /// With a Gateway of its own, `web`, that has two Pods.
    pub fn with_gateway(namespace: &str) -> Option<Self> {
        let cluster = Self { gateway: [namespace, "web"].map(str::to_owned), ..Self::new(namespace)? };
        let parameters = json!({"group": "headgate.dev", "kind": "GatewayParameters", "name": "web"});
        cluster.apply(&json!({"apiVersion": "headgate.dev/v1alpha1", "kind": "GatewayParameters",
            "metadata": {"name": "web"}, "spec": {"replicas": 2}}));
        cluster.apply(&json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "web"}, "spec": {"gatewayClassName": "headgate",
                "infrastructure": {"parametersRef": parameters},
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
        Some(cluster)
    }

    /// The image that was installed: of it `echo` is a function.
    pub fn image(&self) -> String {
        let image = "jsonpath={.spec.template.spec.containers[0].image}";
        kubectl(&["-n", GATEWAY[0], "get", "deployment", "headgate-controller", "-o", image], None)
    }

    pub fn apply(&self, object: &Value) {
        kubectl(&["-n", &self.namespace, "apply", "-f", "-"], Some(&object.to_string()));
    }

    pub fn delete(&self, kind: &str, name: &str) {
        kubectl(&["-n", &self.namespace, "delete", kind, name], None);
    }

    /// A command of a person, in this namespace.
    pub fn kubectl(&self, args: &[&str]) {
        kubectl(&[&["-n", &self.namespace], args].concat(), None);
    }

    pub fn json(&self, kind: &str, name: &str) -> Value {
        let text = kubectl(&["-n", &self.namespace, "get", kind, name, "-o", "json"], None);
        serde_json::from_str(&text).expect("kubectl writes JSON")
    }

    pub fn list(&self, kind: &str) -> Vec<Value> {
        let text = kubectl(&["-n", &self.namespace, "get", kind, "-o", "json"], None);
        let list: Value = serde_json::from_str(&text).expect("kubectl writes JSON");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// The status and the body of a GET of `/`.
    pub fn get(&self, host: &str) -> Result<(u16, String), String> {
        let text = |error: std::io::Error| error.to_string();
        let address = match self.address.get() {
            Some(address) => address,
            None => {
                let address = self.find_address().ok_or("the Gateway has no address yet")?;
                self.address.get_or_init(|| address)
            }
        };
        let mut stream = TcpStream::connect_timeout(address, Duration::from_secs(2)).map_err(text)?;
        stream.set_read_timeout(Some(REQUEST_MAX)).map_err(text)?;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(text)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(text)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no answer")?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        Ok((status, body))
    }

    fn find_address(&self) -> Option<SocketAddr> {
        let path = "jsonpath={.status.addresses[*].value}";
        let [namespace, name] = &self.gateway;
        let address = kubectl(&["-n", namespace, "get", "gateway", name, "--ignore-not-found", "-o", path], None);
        Some(SocketAddr::new(address.parse().ok()?, 80))
    }

    /// The first answer from a route of ours: the gateway may not be there yet, or not know the route.
    pub fn get_within(&self, limit: Duration, host: &str) -> (u16, String) {
        let mut last = None;
        within(limit, &format!("{host} is served"), || {
            last = self.get(host).ok().filter(|(status, _)| *status != 404);
            last.is_some()
        });
        last.expect("it was served")
    }
}

/// Polls until something holds.
#[track_caller]
pub fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < until, "not within {} s: {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What kubectl prints.
#[track_caller]
fn kubectl(arguments: &[&str], input: Option<&str>) -> String {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is there");
    if let Some(input) = input {
        child.stdin.as_mut().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    }
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "kubectl {}: {}", arguments.join(" "), text(&output.stderr));
    text(&output.stdout)
}
