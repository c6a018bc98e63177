//! One story in a cluster: a namespace of its own, kubectl, and waiting for what objects say. It decides nothing about routes.

use headgate_e2e::{Answer, Wire};
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    process::Command,
    sync::{Mutex, MutexGuard},
    time::{Instant, timeout},
};

/// No condition takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(100);

/// Stories take controllers away from each other, so one is told at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A story that is being told.
pub struct Story {
    namespace: String,
    _alone: MutexGuard<'static, ()>,
}

impl Story {
    /// An empty namespace; `None`, and a line that says so, where there is no cluster of `e2e/cluster`.
    pub async fn begin(namespace: &str) -> Option<Self> {
        // both: KUBECONFIG alone could be a cluster that somebody lives on
        if ["KUBECONFIG", "CLUSTER"].iter().any(|name| std::env::var_os(name).is_none()) {
            println!("not run: {namespace}: there is no cluster here; `make cluster` makes one");
            return None;
        }
        let story = Self { namespace: namespace.to_owned(), _alone: ALONE.lock().await };
        story.kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s"]).await;
        story.kubectl(&["create", "namespace", namespace]).await;
        Some(story)
    }

    /// What kubectl prints; a panic if it fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.run(arguments, "").await.unwrap_or_else(|why| panic!("kubectl {}: {why}", arguments.join(" ")))
    }

    /// Applies objects.
    pub async fn apply(&self, objects: &str) {
        self.run(&["apply", "-f", "-"], objects).await.unwrap_or_else(|why| panic!("{why}\n{objects}"));
    }

    /// Merges `patch` into an object.
    pub async fn patch(&self, object: &str, patch: &str) {
        self.kubectl(&["patch", object, "--type=merge", "--patch", patch]).await;
    }

    /// What kubectl prints, or what it complains of.
    async fn run(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new("kubectl");
        command.args(["--namespace", &self.namespace]).args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let told = async {
            let mut child = command.spawn()?;
            let mut stdin = child.stdin.take().expect("it is piped");
            stdin.write_all(input.as_bytes()).await?;
            drop(stdin);
            child.wait_with_output().await
        };
        let output = timeout(PATIENCE * 2, told).await.map_err(|_| "kubectl does not end".to_owned())?;
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Waits until a Deployment of any namespace has all its Pods, new ones only.
    pub async fn rolled_out(&self, namespace: &str, deployment: &str) {
        let limit = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["--namespace", namespace, "rollout", "status", deployment, &limit]).await;
    }

    /// Whether an object of the namespace is there, Pods that are ending included.
    pub async fn is_there(&self, object: &str) -> bool {
        !self.kubectl(&["get", object, "--ignore-not-found", "--output=name"]).await.is_empty()
    }

    /// Names of objects with a label.
    pub async fn names(&self, namespace: &str, kind: &str, label: &str) -> Vec<String> {
        let found = self.kubectl(&["--namespace", namespace, "get", kind, "-l", label, "--output=name"]).await;
        found.lines().map(str::to_owned).collect()
    }

    /// Where a Gateway is reached, by its own status.
    pub async fn address(&self, gateway: &str) -> SocketAddr {
        let limit = format!("--timeout={}s", PATIENCE.as_secs());
        let gateway = format!("gateway/{gateway}");
        self.kubectl(&["wait", &gateway, "--for=condition=Programmed", &limit]).await;
        let address = self.kubectl(&["get", &gateway, "--output=jsonpath={.status.addresses[0].value}"]).await;
        SocketAddr::new(address.parse().unwrap_or_else(|_| panic!("{gateway} has the address {address:?}")), 80)
    }

    /// Looks again until `holds`.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let begun = Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks until an answer is `wanted`, as [`told`] tells it.
    pub async fn until_answered(&self, to: SocketAddr, host: &str, wanted: &str) {
        let mut last = String::new();
        let begun = Instant::now();
        while last != wanted {
            assert!(begun.elapsed() < PATIENCE, "{host} does not answer {wanted:?}; the last was {last:?}");
            last = match ask_once(to, host).await {
                Ok(answer) => told(&answer),
                Err(why) => why,
            };
            tokio::time::sleep(PAUSE / 4).await;
        }
    }
}

/// Opens a connection, or says why not.
pub async fn open(to: SocketAddr) -> Result<Wire, String> {
    let stream = timeout(Duration::from_secs(10), TcpStream::connect(to)).await.map_err(|_| "connect: no answer")?;
    Ok(Wire::over(stream.map_err(|why| format!("connect: {why}"))?))
}

/// One GET on a connection of its own.
async fn ask_once(to: SocketAddr, host: &str) -> Result<Answer, String> {
    ask(&mut open(to).await?, host).await
}

/// One GET.
pub async fn ask(wire: &mut Wire, host: &str) -> Result<Answer, String> {
    wire.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    wire.try_answer(false).await
}

/// What a story compares: the status, the text, and the edit of the route that answered, if it names one.
pub fn told(answer: &Answer) -> String {
    let text = match answer.status {
        200 => answer.text().trim().to_owned(),
        _ => answer.failure().unwrap_or("no failure of ours").to_owned(),
    };
    let edit = answer.field("x-edit").map(|edit| format!(" edit {edit}")).unwrap_or_default();
    format!("{} {text}{edit}", answer.status)
}

/// Deployments and Services `a` and `b`, each of which answers its name.
pub fn backends() -> String {
    ["a", "b"].map(backend).concat()
}

fn backend(name: &str) -> String {
    format!(
        "
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: echo
        image: headgate:echo
        args: [echo, --text, {name}, --address, 0.0.0.0, --port, '8080']
        readinessProbe: {{tcpSocket: {{port: 8080}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: 8080}}]
"
    )
}

/// The Gateway `web`, with so many Pods.
pub fn gateway(replicas: u32) -> String {
    format!(
        "
---
apiVersion: headgate.dev/v1alpha1
kind: GatewayParameters
metadata: {{name: web}}
spec: {{replicas: {replicas}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: headgate
  infrastructure: {{parametersRef: {{group: headgate.dev, kind: GatewayParameters, name: web}}}}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
"
    )
}

/// The HTTPRoute `shop` of the host `shop.example` with these rules, as JSON.
pub fn route(rules: &str) -> String {
    format!(
        "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [shop.example]
  rules: {rules}
"
    )
}

/// Rules that send to backends by weight, and name the edit in the answer.
pub fn split(edit: usize, weights: &[(&str, u32)]) -> String {
    let arm = |&(name, weight): &(&str, u32)| format!(r#"{{"name":"{name}","port":80,"weight":{weight}}}"#);
    let arms = weights.iter().map(arm).collect::<Vec<_>>().join(",");
    let set = format!(r#"{{"name":"x-edit","value":"{edit}"}}"#);
    let filter = format!(r#"{{"type":"ResponseHeaderModifier","responseHeaderModifier":{{"set":[{set}]}}}}"#);
    format!(r#"[{{"filters":[{filter}],"backendRefs":[{arms}]}}]"#)
}
