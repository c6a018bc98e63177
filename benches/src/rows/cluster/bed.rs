//! A namespace with a Gateway, a backend and as many routes as wanted. It removes what it made.

use super::{Seen, note};
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::watcher,
};
use serde_json::{Value, json};
use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Where everything is.
pub const NAMESPACE: &str = "headgate-bench";
/// No condition takes longer.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(50);
/// Routes that are created at the same time.
const TOGETHER: usize = 32;

/// The namespace, filled.
#[derive(Clone)]
pub struct Bed {
    client: Client,
    /// Where the Gateway is reached.
    pub address: SocketAddr,
}

/// Writes of status that the API server has counted.
pub struct Writes {
    /// Of HTTPRoutes.
    pub routes: u64,
    /// Of Gateways.
    pub gateways: u64,
}

impl Writes {
    /// Those since.
    pub fn minus(&self, before: &Self) -> Self {
        Self { routes: self.routes - before.routes, gateways: self.gateways - before.gateways }
    }
}

/// Name of a route.
pub fn name(at: usize) -> String {
    format!("route-{at}")
}

/// Its host.
pub fn host(at: usize) -> String {
    format!("route-{at}.example")
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

impl Bed {
    /// Makes the namespace anew, and waits until the Gateway serves.
    pub async fn make() -> io::Result<Self> {
        let client = Client::try_default().await.map_err(failed)?;
        let mut bed = Self { client, address: SocketAddr::from(([0, 0, 0, 0], 80)) };
        bed.remove().await?;
        bed.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})).await?;
        for object in objects() {
            bed.create(&object).await?;
        }
        bed.address = bed.programmed("web").await?;
        Ok(bed)
    }

    /// Removes the namespace, if it is there, and waits until it is gone.
    pub async fn remove(&self) -> io::Result<()> {
        let namespaces = self.api("", "v1", "Namespace");
        if namespaces.get_opt(NAMESPACE).await.map_err(failed)?.is_some() {
            namespaces.delete(NAMESPACE, &DeleteParams::default()).await.map_err(failed)?;
        }
        self.until("the namespace is gone", async || {
            Ok(namespaces.get_opt(NAMESPACE).await.map_err(failed)?.is_none().then_some(()))
        })
        .await
    }

    /// Creates routes, some at the same time.
    pub async fn create_routes(&self, routes: Range<usize>) -> io::Result<()> {
        self.create_all(&routes.map(|at| route(at, 0)).collect::<Vec<_>>()).await
    }

    /// Deletes them, some at the same time.
    pub async fn delete_routes(&self, routes: Range<usize>) -> io::Result<()> {
        let api = self.routes();
        let delete = async |at: usize| api.delete(&name(at), &DeleteParams::default()).await.map_err(failed).map(drop);
        stream::iter(routes.map(Ok)).try_for_each_concurrent(TOGETHER, delete).await
    }

    /// Creates objects, some at the same time.
    pub async fn create_all(&self, objects: &[Value]) -> io::Result<()> {
        stream::iter(objects.iter().map(Ok)).try_for_each_concurrent(TOGETHER, async |one| self.create(one).await).await
    }

    /// Changes a route.
    pub async fn patch_route(&self, namespace: &str, name: &str, patch: &Value) -> io::Result<()> {
        let api = self.api_in(namespace, "gateway.networking.k8s.io", "v1", "HTTPRoute");
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(failed).map(drop)
    }

    /// The addresses of the Pods of an application, once all are ready.
    pub async fn pods(&self, app: &str, count: usize) -> io::Result<Vec<String>> {
        let api = self.api("", "v1", "Pod");
        let wanted = ListParams::default().labels(&format!("app={app}"));
        self.until("the Pods are ready", async || {
            let pods = api.list(&wanted).await.map_err(failed)?;
            let is_ready = |pod: &&DynamicObject| {
                let conditions = pod.data["status"]["conditions"].as_array();
                conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
            };
            let address = |pod: &DynamicObject| pod.data["status"]["podIP"].as_str().map(str::to_owned);
            let ready: Vec<String> = pods.items.iter().filter(is_ready).filter_map(address).collect();
            Ok((ready.len() == count).then_some(ready))
        })
        .await
    }

    /// Edits one route after the other until it is told to stop; how many.
    pub async fn churn(self, routes: Range<usize>, pause: Duration, stop: Arc<AtomicBool>) -> io::Result<usize> {
        let api = self.routes();
        let mut edits = 0;
        while !stop.load(Relaxed) {
            let at = routes.start + edits % routes.len().max(1);
            let patch = Patch::Merge(json!({"spec": route(at, edits + 1)["spec"]}));
            api.patch(&name(at), &PatchParams::default(), &patch).await.map_err(failed)?;
            edits += 1;
            tokio::time::sleep(pause).await;
        }
        Ok(edits)
    }

    /// Notes when a watch first tells of each route, for as long as the program runs.
    pub fn watch_routes(&self) -> Seen<String> {
        let seen = Seen::default();
        let noted = seen.clone();
        watch(self.routes(), move |object| note(&noted, object.metadata.name.unwrap_or_default()));
        seen
    }

    /// Waits until no status was written for a while.
    pub async fn settled(&self) -> io::Result<()> {
        const QUIET: Duration = Duration::from_secs(3);
        self.until("statuses are written", async || {
            let before = self.status_writes().await?;
            tokio::time::sleep(QUIET).await;
            let since = self.status_writes().await?.minus(&before);
            Ok((since.routes + since.gateways == 0).then_some(()))
        })
        .await
    }

    /// By the API server's own metrics.
    pub async fn status_writes(&self) -> io::Result<Writes> {
        let request = http::Request::get("/metrics").body(Vec::new()).map_err(failed)?;
        let text = self.client.request_text(request).await.map_err(failed)?;
        let count = |resource: &str| {
            let marks = [format!("resource=\"{resource}\""), "subresource=\"status\"".to_owned()];
            let is_write = |line: &&str| {
                ["verb=\"PATCH\"", "verb=\"APPLY\"", "verb=\"PUT\""].iter().any(|verb| line.contains(verb))
            };
            let counted = text.lines().filter(|line| line.starts_with("apiserver_request_total{"));
            let ours = counted.filter(|line| marks.iter().all(|mark| line.contains(mark))).filter(is_write);
            ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
        };
        Ok(Writes { routes: count("httproutes"), gateways: count("gateways") })
    }

    /// Processes of a Gateway's Pods.
    pub fn gateways(&self, name: &str) -> io::Result<Vec<u32>> {
        processes(&["gateway", "--gateway", &format!("{NAMESPACE}/{name}")])
    }

    /// Processes of controllers.
    pub fn controllers(&self) -> io::Result<Vec<u32>> {
        processes(&["controller", "--namespace"])
    }

    /// Creates an object.
    pub async fn create(&self, object: &Value) -> io::Result<()> {
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let read: DynamicObject = serde_json::from_value(object.clone())?;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE);
        let api = self.api_in(namespace, group, version, text("kind"));
        api.create(&PostParams::default(), &read).await.map_err(failed).map(drop)
    }

    fn routes(&self) -> Api<DynamicObject> {
        self.api("gateway.networking.k8s.io", "v1", "HTTPRoute")
    }

    /// The objects of a kind.
    pub fn api(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        self.api_in(NAMESPACE, group, version, kind)
    }

    /// Those of another namespace.
    pub fn api_in(&self, namespace: &str, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match kind {
            "Namespace" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    /// Where a Gateway is reached, once it is.
    pub async fn programmed(&self, name: &str) -> io::Result<SocketAddr> {
        let api = self.api("gateway.networking.k8s.io", "v1", "Gateway");
        self.until("the Gateway is programmed", async || {
            let gateway = api.get(name).await.map_err(failed)?;
            let status = &gateway.data["status"];
            let conditions = status["conditions"].as_array();
            let is_programmed = |one: &Value| one["type"] == "Programmed" && one["status"] == "True";
            let address = status["addresses"][0]["value"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
            let programmed = conditions.is_some_and(|list| list.iter().any(is_programmed));
            Ok(address.filter(|_| programmed).map(|address| SocketAddr::new(address, 80)))
        })
        .await
    }

    /// Looks again until there is something.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> io::Result<Option<T>>) -> io::Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{what}: not within {} s", PATIENCE.as_secs())));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Hands over what a watch tells of objects from now on, for as long as the program runs.
pub fn watch(api: Api<DynamicObject>, mut tell: impl FnMut(DynamicObject) + Send + 'static) {
    tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            if let Ok(watcher::Event::Apply(object)) = event {
                tell(object);
            }
        }
    });
}

/// Those whose arguments begin so, after the program.
fn processes(arguments: &[&str]) -> io::Result<Vec<u32>> {
    let ids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        let program = words.next().unwrap_or_default();
        program.ends_with(b"headgate") && arguments.iter().all(|one| words.next() == Some(one.as_bytes()))
    };
    Ok(ids.filter(is_one).collect())
}

fn objects() -> Vec<Value> {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "gatewayClassName": "headgate",
            "listeners": [{
                "name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}},
            }],
        },
    });
    application("hello").into_iter().chain([gateway]).collect()
}

/// A Deployment that answers, and its Service.
pub fn application(name: &str) -> [Value; 2] {
    let pods = json!({"app": name});
    let container = json!({
        "name": "echo", "image": "headgate:echo", "args": ["echo", "--text", name, "--address", "0.0.0.0", "--port", "8080"],
        "readinessProbe": {"tcpSocket": {"port": 8080}},
    });
    [
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "selector": {"matchLabels": pods},
                "template": {"metadata": {"labels": pods}, "spec": {"containers": [container]}},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"selector": pods, "ports": [{"port": 80, "targetPort": 8080}]},
        }),
    ]
}

/// A route, and which edit of it.
fn route(at: usize, edit: usize) -> Value {
    let set = json!([{"name": "x-edit", "value": edit.to_string()}]);
    let filter = json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": set}});
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name(at), "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"name": "web"}],
            "hostnames": [host(at)],
            "rules": [{"filters": [filter], "backendRefs": [{"name": "hello", "port": 80}]}],
        },
    })
}
