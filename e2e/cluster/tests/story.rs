//! One story in a cluster: a namespace of its own, kubectl, and waiting for what objects say. It decides nothing about routes.

use crate::api::Api;
use headgate_e2e::{Answer, Wire};
use serde_json::Value;
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    process::Command,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Instant, timeout},
};

/// No condition takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(100);

/// Stories that break what others need are told alone; the others beside each other.
static CLUSTER: RwLock<()> = RwLock::const_new(());

/// How long a story has the cluster.
enum Turn {
    Shared(#[expect(dead_code, reason = "it is held")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "it is held")] RwLockWriteGuard<'static, ()>),
}

/// A story that is being told.
pub struct Story {
    namespace: String,
    /// The API server, where kubectl takes too long.
    pub api: Api,
    began: Instant,
    _turn: Turn,
}

/// What a story told leaves its namespace for others; one that failed is kept to look at.
impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        println!("told in {:.0} s: {}", self.began.elapsed().as_secs_f64(), self.namespace);
        let delete = ["delete", "namespace", &self.namespace, "--wait=false"];
        let _ = std::process::Command::new("kubectl").args(delete).stdout(Stdio::null()).status();
    }
}

impl Story {
    /// An empty namespace; `None`, and a line that says so, where there is no cluster of `e2e/cluster`. Others are told meanwhile.
    pub async fn begin(namespace: &str) -> Option<Self> {
        Self::with(namespace, async || Turn::Shared(CLUSTER.read().await)).await
    }

    /// The same, and nobody else is told anything until it ends.
    pub async fn alone(namespace: &str) -> Option<Self> {
        Self::with(namespace, async || Turn::Alone(CLUSTER.write().await)).await
    }

    async fn with(namespace: &str, turn: impl AsyncFnOnce() -> Turn) -> Option<Self> {
        // both: KUBECONFIG alone could be a cluster that somebody lives on
        if ["KUBECONFIG", "CLUSTER"].iter().any(|name| std::env::var_os(name).is_none()) {
            println!("not run: {namespace}: there is no cluster here; `make cluster` makes one");
            return None;
        }
        let turn = turn().await;
        let api = Api::new().await;
        let story = Self { namespace: namespace.to_owned(), api, began: Instant::now(), _turn: turn };
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

    /// What kubectl prints with this on its standard input, or what it complains of.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Result<String, String> {
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

    /// Where functions are found, once there is one.
    pub async fn functions(&self) -> SocketAddr {
        let of = ["--namespace", "headgate-system"];
        let gateway = "gateway/openfunction";
        self.until("functions have a Gateway", async || {
            let found = [&of[..], &["get", gateway, "--ignore-not-found", "--output=name"]].concat();
            !self.kubectl(&found).await.is_empty()
        })
        .await;
        let limit = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&[&of[..], &["wait", gateway, "--for=condition=Programmed", &limit]].concat()).await;
        let path = "--output=jsonpath={.status.addresses[0].value}";
        let address = self.kubectl(&[&of[..], &["get", gateway, path]].concat()).await;
        SocketAddr::new(address.parse().unwrap_or_else(|_| panic!("{gateway} has the address {address:?}")), 80)
    }

    /// How many replicas of Deployments whose names begin like this are wanted or there, whichever is more.
    pub async fn replicas(&self, namespace: &str, name: &str) -> u64 {
        let all = self.api.list(&format!("/apis/apps/v1/namespaces/{namespace}/deployments")).await;
        let of_name =
            all.iter().filter(|one| one["metadata"]["name"].as_str().is_some_and(|own| own.starts_with(name)));
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        of_name.map(|one| count(&one["spec"]["replicas"]).max(count(&one["status"]["replicas"]))).sum()
    }

    /// The image that was installed: of it `echo` is a function.
    pub async fn image(&self) -> String {
        let path = "--output=jsonpath={.spec.template.spec.containers[0].image}";
        self.kubectl(&["--namespace", "headgate-system", "get", "deployment/headgate-controller", path]).await
    }

    /// Where each Pod of a Gateway is reached, without its Service.
    pub async fn pods(&self, gateway: &str) -> Vec<SocketAddr> {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", self.namespace);
        let label = format!("?labelSelector=kubernetes.io/service-name%3D{gateway}-headgate");
        let mut found = Vec::new();
        for slice in self.api.list(&(path + &label)).await {
            let port = u16::try_from(slice["ports"][0]["port"].as_u64().expect("a port")).unwrap();
            let endpoints = slice["endpoints"].as_array().into_iter().flatten();
            let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
            let address = |endpoint: &Value| endpoint["addresses"][0].as_str().unwrap().parse().unwrap();
            found.extend(ready.map(|endpoint| SocketAddr::new(address(endpoint), port)));
        }
        found
    }

    /// Looks again until `holds`.
    pub async fn until(&self, what: &str, holds: impl AsyncFnMut() -> bool) {
        assert!(self.holds_in_time(holds).await, "{what}: not within {PATIENCE:?}");
    }

    /// Waits until it holds; false where it does not within what anybody waits for.
    pub async fn holds_in_time(&self, mut holds: impl AsyncFnMut() -> bool) -> bool {
        let begun = Instant::now();
        while !holds().await {
            if begun.elapsed() >= PATIENCE {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
        true
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
pub async fn ask_once(to: SocketAddr, host: &str) -> Result<Answer, String> {
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
