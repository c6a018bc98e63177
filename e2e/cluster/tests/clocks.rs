//! Controllers and gateways whose clocks are five minutes ahead or behind, and jump: streams, tokens, leadership, statuses, cold starts and sessions are as if they were right. It installs copies of both beside their Deployments, and takes them away.

use crate::{
    api::routes,
    audit::{Write, ours, summary},
    load::Load,
    objects::{backend, backends, gateway, policy, route, split},
    shop,
    story::{PATIENCE, Story, open, told},
};
use headgate_e2e::Answer;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const NAMESPACE: &str = "e2e-clocks";
const SYSTEM: &str = "headgate-system";
const CONTROLLERS: &str = "headgate-controller";
const GATEWAYS: &str = "web-headgate";
const HOST: &str = "shop.example";
/// The clocks that are wrong, and by how many seconds.
const CLOCKS: [(&str, i64); 2] = [("ahead", 300), ("behind", -300)];

/// A Service of both applications, and a route to it whose sessions end after an hour.
const SESSIONS: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  selector: {tier: shop}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stay}
spec:
  parentRefs: [{name: web}]
  hostnames: [stay.example]
  rules:
  - backendRefs: [{name: both, port: 80}]
    sessionPersistence: {absoluteTimeout: 1h, cookie: {name: stay, lifetimeType: Permanent}}
";

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_wrong_by_five_minutes_and_jump_harm_nothing() {
    let Some(story) = Story::alone(NAMESPACE).await else { return };
    let apps = ["a", "b"].iter().fold(backends(), |apps, name| {
        apps.replace(&format!("labels: {{app: {name}}}"), &format!("labels: {{app: {name}, tier: shop}}"))
    });
    // of a workload of its own: those of sessions must not come and go
    let to_cold = route(&split(0, &[("c", 1)])).replace("shop", "cold");
    let scaled = policy().replace("name: b", "name: c");
    let objects = apps + &backend("c") + &gateway(1) + &route(&split(1, &[("a", 1)])) + &to_cold + &scaled + SESSIONS;
    story.apply(&objects).await;
    let to = story.address("web").await;
    for deployment in [&format!("deployment/{GATEWAYS}"), "deployment/a", "deployment/b"] {
        story.rolled_out(NAMESPACE, deployment).await;
    }
    story.until_answered(to, HOST, "200 a edit 1").await;

    let load = Load::begin(to, HOST);
    let clocks = Clocks::begin();
    // whoever comes makes a new authority by its own clock
    let copies = Copies::of_controllers(&story).await;
    for (clock, _) in CLOCKS {
        copy(&story, NAMESPACE, GATEWAYS, clock).await;
    }
    for (clock, ahead_s) in CLOCKS {
        story.rolled_out(NAMESPACE, &format!("deployment/{GATEWAYS}-{clock}")).await;
        is_wrong_by(&story, SYSTEM, &format!("{CONTROLLERS}-{clock}"), ahead_s).await;
        is_wrong_by(&story, NAMESPACE, &format!("{GATEWAYS}-{clock}"), ahead_s).await;
    }
    story.until("three gateways are ready", async || story.pods("web").await.len() == 3).await;
    shop::edit_until_said(&story, NAMESPACE, &load, 2, "b").await;
    let first = only_leader(&story).await;
    starts_from_zero(&story, "ahead").await;
    sessions_hold(&story).await;

    // the other one leads, and sees a status as the first one left it
    let said = conditions(&story).await;
    let of_first = first.trim_start_matches(CONTROLLERS).split('-').nth(1).unwrap().to_owned();
    let first_copy = format!("deployment/{CONTROLLERS}-{of_first}");
    story.kubectl(&["--namespace", SYSTEM, "scale", &first_copy, "--replicas=0"]).await;
    story.until("the other leads", async || leaders(&story).await.is_some_and(|all| !all.contains(&first))).await;
    shop::edit_until_said(&story, NAMESPACE, &load, 3, "a").await;
    assert_eq!(conditions(&story).await, said, "what is as it was has its time");
    story.kubectl(&["--namespace", SYSTEM, "scale", &first_copy, "--replicas=1"]).await;
    story.rolled_out(SYSTEM, &first_copy).await;

    // ten minutes in a moment
    let second = only_leader(&story).await;
    clocks.turn_around();
    shop::edit_until_said(&story, NAMESPACE, &load, 4, "b").await;
    starts_from_zero(&story, "behind").await;
    sessions_hold(&story).await;
    assert_eq!(only_leader(&story).await, second, "it leads on");
    assert_eq!(conditions(&story).await, said, "what is as it was has its time");
    nothing_is_written(&story).await;
    drop(copies);
    let counts = load.end().await;
    println!("clocks that are wrong: {counts:?}");
    assert!(counts.keys().all(|outcome| outcome.starts_with("200 ")), "{counts:?}");
}

/// The folder of the cluster.
fn run() -> PathBuf {
    PathBuf::from(std::env::var_os("KUBECONFIG").expect("a cluster")).parent().expect("a folder").to_owned()
}

/// The library that turns clocks, and a file for each of them.
struct Clocks(PathBuf);

impl Clocks {
    /// Makes images whose programs have a wrong clock.
    fn begin() -> Self {
        let run = run();
        let library = run.join("clock.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/clock.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-Wall", "-o"]).arg(&library).arg(source);
        assert!(compile.status().expect("a C compiler").success());
        let images = fs::read_to_string(run.join("images")).unwrap();
        let ours = images.lines().find(|line| line.starts_with("headgate:")).expect("an image that was installed");
        let mut lines = String::new();
        for (clock, _) in CLOCKS {
            let file = run.join(format!("clock-{clock}"));
            let rest = ours.split_once(' ').unwrap().1;
            let (library, file) = (library.display(), file.display());
            lines += &format!("headgate-{clock}:* {rest} file=/clock.so:{library} file=/clock:{file} ");
            lines += "env=LD_PRELOAD=/clock.so env=CLOCK_FILE=/clock\n";
        }
        let clocks = Self(run.clone());
        clocks.turn(1);
        fs::write(run.join("images"), images + &lines).unwrap();
        clocks
    }

    /// Who was ahead is behind, and the other way round.
    fn turn_around(&self) {
        self.turn(-1);
    }

    fn turn(&self, sign: i64) {
        for (clock, ahead_s) in CLOCKS {
            // in place: programs look at this very file
            let mut file = fs::OpenOptions::new();
            let file =
                file.write(true).create(true).truncate(false).open(self.0.join(format!("clock-{clock}"))).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &(sign * ahead_s).to_ne_bytes(), 0).unwrap();
        }
    }
}

/// Controllers whose clocks are wrong, in place of those that were there; these come back when it is dropped.
struct Copies {
    replicas: String,
}

impl Copies {
    async fn of_controllers(story: &Story) -> Self {
        let of = ["--namespace", SYSTEM];
        let deployment = format!("deployment/{CONTROLLERS}");
        let get = [&of[..], &["get", &deployment, "--output=jsonpath={.spec.replicas}"]].concat();
        let copies = Self { replicas: story.kubectl(&get).await };
        story.kubectl(&[&of[..], &["scale", &deployment, "--replicas=0"]].concat()).await;
        let label = "app.kubernetes.io/component=controller";
        story.until("they are gone", async || story.names(SYSTEM, "pods", label).await.is_empty()).await;
        story.kubectl(&[&of[..], &["delete", "secret", "headgate-stream"]].concat()).await;
        for (clock, _) in CLOCKS {
            copy(story, SYSTEM, CONTROLLERS, clock).await;
        }
        for (clock, _) in CLOCKS {
            story.rolled_out(SYSTEM, &format!("deployment/{CONTROLLERS}-{clock}")).await;
        }
        copies
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        let replicas = format!("--replicas={}", self.replicas);
        let steps: [&[&str]; 3] = [
            &["delete", "deployment", "--selector=clock", "--timeout=60s"],
            &["scale", "deployment", CONTROLLERS, &replicas],
            &["rollout", "status", "deployment", CONTROLLERS, "--timeout=60s"],
        ];
        for step in steps {
            let of = ["--namespace", SYSTEM];
            let _ = Command::new("kubectl").args(of).args(step).stdout(Stdio::null()).status();
        }
    }
}

/// A Deployment like another one, with one Pod whose clock is wrong. Its Pods have the labels of those, by which Services find them.
async fn copy(story: &Story, namespace: &str, deployment: &str, clock: &str) {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let mut spec = story.api.get(&format!("{path}/{deployment}")).await["spec"].take();
    spec["replicas"] = json!(1);
    spec["selector"]["matchLabels"]["clock"] = json!(clock);
    spec["template"]["metadata"]["labels"]["clock"] = json!(clock);
    spec["template"]["spec"]["containers"][0]["image"] = json!(format!("headgate-{clock}:any"));
    let metadata = json!({"name": format!("{deployment}-{clock}"), "labels": {"clock": clock}});
    let copy = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec});
    story.api.create(&path, &copy).await;
}

/// By the times in its log.
async fn is_wrong_by(story: &Story, namespace: &str, deployment: &str, ahead_s: i64) {
    let log = ["--namespace", namespace, "logs", &format!("deployment/{deployment}"), "--tail=1"];
    let log = story.kubectl(&log).await;
    let line: Value = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"));
    let at = line.get("timestamp").or(line.get("time")).and_then(Value::as_str).expect("a time");
    let ahead = at.parse::<Timestamp>().unwrap().duration_since(Timestamp::now()).as_secs();
    assert!((ahead - ahead_s).abs() < 120, "{deployment} is {ahead} s ahead");
}

/// The controllers that say of themselves that they lead; `None` if one of them does not answer.
async fn leaders(story: &Story) -> Option<BTreeSet<String>> {
    let pods = story.api.list(&format!("/api/v1/namespaces/{SYSTEM}/pods")).await;
    let mut found = BTreeSet::new();
    for pod in pods.iter().filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/component"] == "controller") {
        let address = SocketAddr::new(pod["status"]["podIP"].as_str()?.parse().ok()?, 9901);
        let metrics = get(address, "/metrics", "Host: any\r\n").await.ok()?.text();
        if metrics.contains("\nheadgate_controller_leading 1\n") {
            found.insert(pod["metadata"]["name"].as_str()?.to_owned());
        }
    }
    Some(found)
}

/// One leads, whenever one looks.
async fn only_leader(story: &Story) -> String {
    let mut last = String::new();
    story
        .until("one leads", async || {
            let all = leaders(story).await.unwrap_or_default();
            assert!(all.len() <= 1, "{all:?} lead");
            last = all.into_iter().next().unwrap_or_default();
            !last.is_empty()
        })
        .await;
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{CONTROLLERS}");
    assert_eq!(story.api.get(&lease).await["spec"]["holderIdentity"], last);
    last
}

/// What is not there is started, by what the gateway says whose clock is, or was, so.
async fn starts_from_zero(story: &Story, clock: &str) {
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=clock%3D{clock}");
    let address = story.api.list(&pods).await[0]["status"]["podIP"].as_str().unwrap().parse().unwrap();
    let gateway = SocketAddr::new(address, story.pods("web").await[0].port());
    story.until("nobody asks, and it stops", async || story.replicas(NAMESPACE, "c").await == 0).await;
    let answer = get(gateway, "/", "Host: cold.example\r\n").await.unwrap();
    assert_eq!(told(&answer), "200 c edit 0", "through the gateway {clock}");
}

/// A session that begins at one gateway is the same at each other.
async fn sessions_hold(story: &Story) {
    let gateways = story.pods("web").await;
    for begins in &gateways {
        let first = get(*begins, "/", "Host: stay.example\r\n").await.unwrap();
        let cookie = first.field("set-cookie").and_then(|set| set.split(';').next()).expect("a cookie").to_owned();
        for at in &gateways {
            let answer = get(*at, "/", &format!("Host: stay.example\r\nCookie: {cookie}\r\n")).await.unwrap();
            let is_same = told(&answer) == told(&first) && answer.field("set-cookie").is_none();
            assert!(is_same, "{begins} said {cookie} and {}, {at}: {answer:?}", told(&first));
        }
    }
}

/// One GET on a connection of its own.
async fn get(to: SocketAddr, path: &str, fields: &str) -> Result<Answer, String> {
    let mut wire = open(to).await?;
    wire.send(format!("GET {path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n")).await;
    tokio::time::timeout(PATIENCE, wire.try_answer(false)).await.map_err(|_| "no answer".to_owned())?
}

/// Each condition of the route and of the Gateway, and since when it is so.
async fn conditions(story: &Story) -> BTreeSet<String> {
    let route = story.api.get(&(routes(NAMESPACE) + "/shop")).await;
    let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/gateways/web");
    let gateway = story.api.get(&path).await;
    let all = [&route["status"]["parents"][0]["conditions"], &gateway["status"]["conditions"]];
    let each = all.into_iter().flat_map(|list| list.as_array().expect("conditions"));
    each.map(|one| format!("{} {} {}", one["type"], one["status"], one["lastTransitionTime"])).collect()
}

/// Once all is said, for some seconds.
async fn nothing_is_written(story: &Story) {
    const QUIET: Duration = Duration::from_secs(4);
    let real = || ours().into_iter().filter(|write| !write.is_housekeeping()).collect::<Vec<Write>>();
    let mut before = real().len();
    story
        .until("statuses have settled", async || {
            tokio::time::sleep(QUIET).await;
            let after = real();
            let new = std::mem::replace(&mut before, after.len());
            if after.len() > new {
                println!("still written: {:?}", summary(&after[new..]));
            }
            after.len() == new
        })
        .await;
}
