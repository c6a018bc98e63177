//! Watches against a real API server. Without one they do nothing, and say so; `e2e/cluster/in cargo test -p headgate-cluster --test watches` gives them one, and `-- --ignored` tries a restart of it. They leave their namespaces behind.

use headgate_cluster::{
    Client,
    watches::{Health, Watches},
};
use headgate_controller::sources::cluster::{ClusterContent, ClusterObject, ObjectChange};
use headgate_translate::kinds::{GATEWAY_GROUP, ObjectRef};
use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Resource,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Debug,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(40);
/// In this time a watch tells of what happened, and more.
const SOON: Duration = Duration::from_secs(1);

struct Ground {
    client: Client,
    namespace: String,
}

impl Ground {
    /// `None` without a cluster.
    async fn new(namespace: &str) -> Option<Self> {
        if std::env::var_os("KUBECONFIG").is_none() || std::env::var_os("CLUSTER").is_none() {
            println!("skipped: not in a cluster of e2e/cluster");
            return None;
        }
        let client = headgate_cluster::client().await.expect("a client");
        let ground = Self { client, namespace: namespace.into() };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        apply(&Api::<Namespace>::all(ground.client.clone()), namespace, &object).await;
        Some(ground)
    }

    fn named(&self, group: &str, kind: &str, name: &str) -> ObjectRef {
        ObjectRef::new(group, kind, &self.namespace, name)
    }

    fn api(&self, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: format!("{group}/{version}"),
            kind: kind.into(),
            plural: plural.into(),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    fn routes(&self) -> Api<DynamicObject> {
        self.api(GATEWAY_GROUP, "v1", "HTTPRoute", "httproutes")
    }

    async fn route(&self, name: &str, host: &str) -> ObjectRef {
        let body = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
            "spec": {"parentRefs": [{"name": "web"}], "hostnames": [host]}});
        apply(&self.routes(), name, &body).await;
        self.named(GATEWAY_GROUP, "HTTPRoute", name)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn secret(&self, name: &str, text: &str) -> ObjectRef {
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"a": text}});
        apply(&self.secrets(), name, &body).await;
        self.named("", "Secret", name)
    }
}

async fn apply<K: Resource + Clone + DeserializeOwned + Debug + Serialize>(api: &Api<K>, name: &str, body: &Value) {
    let params = PatchParams::apply("test").force();
    api.patch(name, &params, &Patch::Apply(body)).await.expect("it is taken");
}

async fn delete<K: Resource + Clone + DeserializeOwned + Debug>(api: &Api<K>, name: &str) {
    api.delete(name, &DeleteParams::default()).await.expect("it goes");
}

/// What is told, until it has what is looked for.
async fn until(watches: &mut Watches, is_it: impl Fn(&ObjectChange) -> bool) -> Vec<ObjectChange> {
    let mut told = Vec::new();
    let waiting = async {
        loop {
            let batch = watches.next().await;
            assert!(!batch.is_empty());
            told.extend(batch);
            if told.iter().any(&is_it) {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    assert!(waited.is_ok(), "not told in time; health: {:?}", watches.health().collect::<Vec<_>>());
    told
}

fn upserted<'c>(change: &'c ObjectChange, name: &ObjectRef) -> Option<&'c Arc<ClusterObject>> {
    match change {
        ObjectChange::Upsert(object) if object.name == *name => Some(object),
        _ => None,
    }
}

fn is_upsert(name: &ObjectRef) -> impl Fn(&ObjectChange) -> bool {
    let name = name.clone();
    move |change| upserted(change, &name).is_some()
}

fn is_remove(name: &ObjectRef) -> impl Fn(&ObjectChange) -> bool {
    let name = name.clone();
    move |change| *change == ObjectChange::Remove(name.clone())
}

#[tokio::test]
async fn first_all_there_is_in_one_batch_and_then_each_change() {
    let Some(ground) = Ground::new("watch-changes").await else { return };
    let route = ground.route("route", "a.example").await;
    let mut watches = Watches::start(ground.client.clone(), |_| true);
    let first = tokio::time::timeout(LIMIT, watches.next()).await.expect("all is listed");
    let found = first.iter().find_map(|change| upserted(change, &route)).expect("the route is among them");
    assert!(matches!(found.content, ClusterContent::Known(_)) && !found.uid.is_empty() && found.generation == 1);
    let namespace = ObjectRef::new("", "Namespace", "", &ground.namespace);
    assert!(first.iter().any(is_upsert(&namespace)));
    assert!(!first.iter().any(|change| matches!(change, ObjectChange::Remove(_))));

    ground.route("route", "b.example").await;
    let told = until(&mut watches, is_upsert(&route)).await;
    let changed = told.iter().rev().find_map(|change| upserted(change, &route)).expect("the route");
    assert_eq!(changed.generation, 2);
    delete(&ground.routes(), "route").await;
    until(&mut watches, is_remove(&route)).await;
    let is_well = |health: &Health| matches!(health, Health::Synced | Health::Missing);
    assert!(watches.health().all(|(_, health)| is_well(health)), "{:?}", watches.health().collect::<Vec<_>>());
}

#[tokio::test]
async fn secrets_are_read_while_they_are_referred_to() {
    let Some(ground) = Ground::new("watch-secrets").await else { return };
    let secret = ground.secret("tls", "one").await;
    let unreferred = ground.secret("other", "secret").await;
    let missing = ground.named("", "Secret", "missing");
    let mut watches = Watches::start(ground.client.clone(), |_| true);
    let first = tokio::time::timeout(LIMIT, watches.next()).await.expect("all is listed");
    assert!(!first.iter().any(|change| is_upsert(&secret)(change) || is_upsert(&unreferred)(change)));

    let read = watches.refer(BTreeSet::from([secret.clone(), missing.clone()]), LIMIT).await;
    let content = read.iter().find_map(|change| upserted(change, &secret)).map(|object| &object.content);
    assert!(matches!(content, Some(ClusterContent::Known(_))), "{read:?}");
    ground.secret("other", "changed").await;
    ground.secret("tls", "two").await;
    let told = until(&mut watches, is_upsert(&secret)).await;
    assert!(!told.iter().any(is_upsert(&unreferred)));
    ground.secret("missing", "came").await;
    until(&mut watches, is_upsert(&missing)).await;
    delete(&ground.secrets(), "missing").await;
    until(&mut watches, is_remove(&missing)).await;
    let gone = watches.refer(BTreeSet::new(), LIMIT).await;
    assert!(gone.iter().any(is_remove(&secret)), "{gone:?}");
}

#[tokio::test]
async fn a_definition_may_come_late_and_takes_its_objects_with_it() {
    const GROUP: &str = "networking.openfunction.io";
    let Some(ground) = Ground::new("watch-late").await else { return };
    let definitions: Api<CustomResourceDefinition> = Api::all(ground.client.clone());
    let name = format!("gateways.{GROUP}");
    if definitions.get_opt(&name).await.expect("an answer").is_some() {
        println!("skipped: {name} is installed already");
        return;
    }
    let mut watches = Watches::start(ground.client.clone(), |_| true);
    tokio::time::timeout(LIMIT, watches.next()).await.expect("what is not installed is not waited for");
    let body = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": {"kind": "Gateway", "plural": "gateways"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    apply(&definitions, &name, &body).await;
    let object = ground.named(GROUP, "Gateway", "late");
    let api = ground.api(GROUP, "v1alpha1", "Gateway", "gateways");
    let gateway =
        json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": "Gateway", "metadata": {"name": "late"}, "spec": {}});
    let created = async {
        // served a moment after it is defined
        let params = PatchParams::apply("test");
        while api.patch("late", &params, &Patch::Apply(&gateway)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, created).await.expect("it is served in time");
    until(&mut watches, is_upsert(&object)).await;
    delete(&definitions, &name).await;
    until(&mut watches, is_remove(&object)).await;
}

/// A component of the cluster: where its process is noted, and how it was started.
struct Component {
    pids: PathBuf,
    name: &'static str,
}

impl Component {
    fn line(&self) -> (String, u32) {
        let pids = std::fs::read_to_string(&self.pids).expect("what up noted");
        let line = pids.lines().find(|line| line.starts_with(&format!("{} ", self.name))).expect("the component");
        let pid = line.split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("a process");
        (line.to_owned(), pid)
    }

    /// Kills it, and gives how to start it again.
    fn kill(&self) -> Command {
        let (_, pid) = self.line();
        let process = Path::new("/proc").join(pid.to_string());
        let words = std::fs::read(process.join("cmdline")).expect("its words");
        let words = String::from_utf8(words).expect("text");
        let mut words = words.split_terminator('\0');
        let folder = std::fs::read_link(process.join("cwd")).expect("its folder");
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill");
        assert!(killed.success());
        while std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::yield_now();
        }
        command
    }

    /// Starts it, and notes it so that `down` ends it.
    #[expect(clippy::zombie_processes, reason = "it outlives the test, as what it replaces did")]
    fn start(&self, mut command: Command) {
        let (line, _) = self.line();
        let child = command.spawn().expect("it starts again");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("its times");
        let started = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19)).expect("a time").to_owned();
        let pids = std::fs::read_to_string(&self.pids).expect("what up noted");
        let pids = pids.replace(&line, &format!("{} {} {started}", self.name, child.id()));
        std::fs::write(&self.pids, pids).expect("noted");
    }
}

#[tokio::test]
#[ignore = "it kills and restarts the API server and etcd of the cluster, which other tests may need"]
async fn while_the_api_server_is_away_nothing_goes_and_what_happened_meanwhile_comes() {
    let Some(ground) = Ground::new("watch-restart").await else { return };
    let folder = PathBuf::from(std::env::var_os("KUBECONFIG").expect("checked")).with_file_name("pids");
    let (kept, gone) = (ground.route("kept", "a.example").await, ground.route("gone", "b.example").await);
    let secret = ground.secret("tls", "one").await;
    let mut watches = Watches::start(ground.client.clone(), |_| true);
    tokio::time::timeout(LIMIT, watches.next()).await.expect("all is listed");
    watches.refer(BTreeSet::from([secret.clone()]), LIMIT).await;

    for name in ["kube-apiserver", "etcd"] {
        let component = Component { pids: folder.clone(), name };
        let command = component.kill();
        let quiet = tokio::time::timeout(SOON, until(&mut watches, is_remove(&kept))).await;
        assert!(quiet.is_err(), "nothing goes because nobody answers");
        component.start(command);
        // whatever is asked of an API server before it is ready is tried again
        let ready = async {
            while ground.routes().get("kept").await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(LIMIT, ready).await.expect("it is ready again");
        let new = ground.route(&format!("new-{name}"), "c.example").await;
        ground.secret("tls", name).await;
        let mut told = until(&mut watches, is_upsert(&new)).await;
        if !told.iter().any(is_upsert(&secret)) {
            told.extend(until(&mut watches, is_upsert(&secret)).await);
        }
        assert!(!told.iter().any(|change| is_remove(&kept)(change) || is_remove(&secret)(change)), "{told:?}");
        delete(&ground.routes(), &new.name).await;
        until(&mut watches, is_remove(&new)).await;
    }
    delete(&ground.routes(), "gone").await;
    until(&mut watches, is_remove(&gone)).await;
}
