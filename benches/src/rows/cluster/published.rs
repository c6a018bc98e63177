//! The tests of gateway-api-bench (<https://github.com/howardjohn/gateway-api-bench>) by their method, each beside what its author published. Those ran on 16 cores of their own, and these on whatever machine this is beside
//! the whole control plane: memory and writes compare, times and cores hardly. What else differs stands in each note.

use super::{
    bed::{Bed, NAMESPACE, application, watch},
    flapping::Flapping,
    until_answered,
};
use crate::{
    Plan, drive,
    load::{self, Asker},
    process,
    report::{Published, Row},
};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What does not happen within this is lost.
const LOST: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(20);
/// Objects that are not made within this are not waited for.
const MAKING: Duration = Duration::from_secs(600);

/// Who published what, version 2 of autumn 2025 where it has a figure, else version 1.
const ATTACHED: Published = Published { agentgateway: "", istio: "2 s", envoy_gateway: "23 s", nginx: "29 s" };
const DETACHED: Published = Published { agentgateway: "", istio: "20 s", envoy_gateway: "45 s", nginx: "15 s" };
const WRITES: Published = Published { agentgateway: "", istio: "311", envoy_gateway: "1,383", nginx: "82" };
const CHANGES: Published = Published { agentgateway: "0", istio: "0", envoy_gateway: "503s", nginx: "500s" };
const SCALE: [Published; 4] = [
    Published { agentgateway: "40 MiB", istio: "1,485 MiB", envoy_gateway: "927 MiB", nginx: "1,382 MiB" },
    Published { agentgateway: "428 MiB", istio: "570 MiB", envoy_gateway: "2,437 MiB", nginx: "447 MiB" },
    Published { agentgateway: "0.0025", istio: "0.144", envoy_gateway: "0.470", nginx: "1.39" },
    Published { agentgateway: "0.10", istio: "0.207", envoy_gateway: "3.70", nginx: "0.41" },
];
const SETS: [Published; 4] = [
    Published { agentgateway: "140 MiB", istio: "2,171 MiB", envoy_gateway: "unsupported", nginx: "unsupported" },
    Published { agentgateway: "944 MiB", istio: "1,331 MiB", envoy_gateway: "unsupported", nginx: "unsupported" },
    Published { agentgateway: "0.0016", istio: "0.077", envoy_gateway: "unsupported", nginx: "unsupported" },
    Published { agentgateway: "0.13", istio: "0.37", envoy_gateway: "unsupported", nginx: "unsupported" },
];
const FAILING: Published =
    Published { agentgateway: "a quarter of all", istio: "all", envoy_gateway: "all", nginx: "nearly none" };

/// Propagation: quiet, and under load.
pub const PROPAGATION: [Published; 2] = [
    Published { agentgateway: "10 to 30 ms", istio: "120 to 300 ms", envoy_gateway: "≤ 600 ms", nginx: "≤ 800 ms" },
    Published { agentgateway: "30 ms", istio: "375 ms", envoy_gateway: "2,000 ms", nginx: "> 5 min" },
];

/// All but [`listener_sets`]. What one part cannot show is no reason to forget the others.
pub async fn rows(bed: &Bed, plan: &Plan) -> Vec<Row> {
    let parts = [
        ("attached routes", attached(bed, plan).await),
        ("route changes", changes(bed, plan).await),
        ("failing backend", failing(bed, plan).await),
        ("route scale", scale(bed, plan).await),
    ];
    let or_skipped = |(what, rows): (&str, io::Result<Vec<Row>>)| {
        rows.unwrap_or_else(|error| vec![Row::skipped(what, error.to_string())])
    };
    parts.into_iter().flat_map(or_skipped).collect()
}

/// `attached-routes.sh split`: routes are made as fast as the API server takes them, and deleted again.
async fn attached(bed: &Bed, plan: &Plan) -> io::Result<Vec<Row>> {
    let routes = plan.count(1_000, 50);
    let api = bed.api("gateway.networking.k8s.io", "v1", "Gateway");
    let count = |gateway: &DynamicObject| gateway.data["status"]["listeners"][0]["attachedRoutes"].as_u64();
    let at_first = count(&api.get("web").await.map_err(io::Error::other)?).unwrap_or_default() as usize;
    let (last, writes) = (Arc::new(AtomicUsize::new(at_first)), Arc::new(AtomicUsize::new(0)));
    let noted = (last.clone(), writes.clone());
    watch(api, move |gateway| {
        if gateway.metadata.name.as_deref() == Some("web") {
            noted.0.store(count(&gateway).unwrap_or_default() as usize, Relaxed);
            noted.1.fetch_add(1, Relaxed);
        }
    });
    let is = async |count: usize| {
        let begun = Instant::now();
        while last.load(Relaxed) != count {
            if begun.elapsed() > LOST {
                return Err(io::Error::other(format!("attachedRoutes never became {count}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(begun.elapsed().as_secs_f64())
    };
    let before = writes.load(Relaxed);
    let begun = Instant::now();
    bed.create_routes(0..routes).await?;
    let created = begun.elapsed().as_secs_f64();
    let up = is(at_first + routes).await?;
    let begun = Instant::now();
    bed.delete_routes(0..routes).await?;
    let deleted = begun.elapsed().as_secs_f64();
    let down = is(at_first).await?;
    let writes = (writes.load(Relaxed) - before) as f64;
    let row = |what: &str, measured, unit, note: String| {
        Row::new(format!("attached routes: {what}, {routes} routes"), measured, unit, None).note(note)
    };
    Ok(vec![
        row("all are counted", up, "s", format!("after the last was made; making took {created:.1} s"))
            .published(ATTACHED),
        row(
            "none is counted",
            down,
            "s",
            format!("after the last was deleted; deleting took {deleted:.1} s, and is part of the published figures"),
        )
        .published(DETACHED),
        row("writes of the Gateway's status", writes, "writes", "as a watch saw them, both ways".into())
            .published(WRITES),
    ])
}

/// `routechange.sh --iterations=20`: a route flips its port and a filter each 200 ms while it is asked again and again.
async fn changes(bed: &Bed, plan: &Plan) -> io::Result<Vec<Row>> {
    const EACH: Duration = Duration::from_millis(200);
    const HOST: &str = "route.example";
    let iterations = plan.count(20, 4);
    let [deployment, service] = application("backend");
    let mut service = service;
    service["spec"]["ports"] = json!([
        {"name": "http", "port": 80, "targetPort": 8080}, {"name": "http-alt", "port": 8080, "targetPort": 8080}
    ]);
    bed.create(&deployment).await?;
    bed.create(&service).await?;
    let rules = |even: bool| {
        let add = json!([{"name": "my-added-header", "value": "added-value"}]);
        let filter = json!([{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": add}}]);
        let mut reference = json!({"name": "backend", "port": if even { 80 } else { 8080 }});
        if even {
            reference["filters"] = filter;
        }
        json!([{"backendRefs": [reference]}])
    };
    let mut route = route(NAMESPACE, "change", HOST, "/", "backend");
    route["spec"]["rules"] = rules(true);
    bed.create(&route).await?;
    let address = bed.address;
    tokio::task::spawn_blocking(move || until_answered(address, HOST)).await.map_err(io::Error::other)??;
    let asking = Asking::begin(address, 1, HOST);
    for iteration in 0..iterations {
        bed.patch_route(NAMESPACE, "change", &json!({"spec": {"rules": rules(iteration % 2 == 0)}})).await?;
        tokio::time::sleep(EACH).await;
    }
    let (asked, failed) = asking.end().await?;
    let note = format!(
        "of {asked}; {iterations} changes of port and filter; both ports lead to one container port, where the original has two"
    );
    Ok(vec![
        Row::new("route changes: requests that failed", failed as f64, "requests", 0.0).note(note).published(CHANGES),
    ])
}

/// `backendfailover.sh`: one of four endpoints refuses connections now and then.
async fn failing(bed: &Bed, plan: &Plan) -> io::Result<Vec<Row>> {
    const HOST: &str = "failing.example";
    let (turns, each) = (plan.count(3, 1), Duration::from_secs(plan.count(8, 2) as u64));
    let [mut deployment, _] = application("healthy");
    deployment["spec"]["replicas"] = json!(3);
    bed.create(&deployment).await?;
    let healthy = bed.pods("healthy", 3).await?;
    let mut flapping = Flapping::start(bed.address).await?;
    bed.create(&service(NAMESPACE, "failing")).await?;
    bed.create(&slice(NAMESPACE, "failing", "a", &healthy, 8080)).await?;
    let at = flapping.address();
    bed.create(&slice(NAMESPACE, "failing", "b", &[at.ip().to_string()], at.port())).await?;
    let mut route = route(NAMESPACE, "failing", HOST, "/", "failing");
    route["spec"]["rules"][0]["retry"] = json!({"attempts": 0});
    bed.create(&route).await?;
    let address = bed.address;
    tokio::task::spawn_blocking(move || until_answered(address, HOST)).await.map_err(io::Error::other)??;
    let (mut asked, mut failed, mut reached) = (0, 0, 0);
    for _ in 0..turns {
        let before = flapping.answered();
        let asking = Asking::begin(address, 4, HOST);
        tokio::time::sleep(each).await;
        asking.end().await?;
        reached += flapping.answered() - before;
        flapping.fail();
        let asking = Asking::begin(address, 4, HOST);
        tokio::time::sleep(each).await;
        let (these, of_them) = asking.end().await?;
        (asked, failed) = (asked + these, failed + of_them);
        flapping.mend().await?;
    }
    if reached == 0 {
        return Err(io::Error::other("the endpoint that is to fail was never asked while it was well"));
    }
    let note = format!(
        "of {asked} while one of four endpoints refused connections, {turns} times {} s, `retry.attempts: 0`; the original has five times 22 s, 256 rules",
        each.as_secs()
    );
    Ok(vec![
        Row::new("failing backend: requests that failed", failed as f64, "requests", None)
            .note(note)
            .published(FAILING),
    ])
}

/// `route-load.sh 50 100`: 5,000 routes, each with a Service and an endpoint, of which one is edited each second and one endpoint each two.
async fn scale(bed: &Bed, plan: &Plan) -> io::Result<Vec<Row>> {
    let (namespaces, apps) = (plan.count(50, 2), plan.count(100, 5));
    let place = Place::find(bed, "web", 80).await?;
    let all = (0..namespaces).flat_map(|space| (0..apps).map(move |app| (space, app)));
    let mut objects = Vec::new();
    for (space, app) in all {
        let (space, app) = (format!("{NAMESPACE}-routes-{space}"), format!("app-{app}"));
        let host = format!("{app}.{space}.example");
        objects.extend([
            service(&space, &app),
            slice(&space, &app, "a", std::slice::from_ref(&place.pod), 8080),
            of_gateway(route(&space, &app, &host, "/", &app), "web"),
        ]);
    }
    let made = make(bed, "routes", namespaces, &objects).await?;
    place.answers(format!("app-{}.{NAMESPACE}-routes-{}.example", apps - 1, namespaces - 1), "/", false).await?;
    bed.settled().await?;
    let what = format!("{} routes", namespaces * apps);
    let jitter = Jitter { group: "routes", namespaces, apps, paths: 0, pod: place.pod.clone() };
    let mut rows = loaded(
        bed,
        plan,
        "web",
        &what,
        &jitter,
        &SCALE,
        if namespaces * apps == 5_000 { [None, Some(60.0), None, Some(0.003)] } else { [None; 4] },
    )
    .await?;
    rows.iter_mut().for_each(|row| row.note.push_str(&format!("; made in {made:.0} s; endpoints are objects of their own that lead to one Pod, where the original has a Pod each")));
    unmake(bed, "routes", namespaces).await?;
    Ok(rows)
}

/// `listenerset-load.sh 50 50`: 2,500 ListenerSets with 16 routes each.
pub async fn listener_sets(bed: &Bed, plan: &Plan) -> io::Result<Vec<Row>> {
    const ROUTES: usize = 16;
    let (namespaces, apps) = (plan.count(50, 2), plan.count(50, 5));
    bed.create(&gateway("sets")).await?;
    let place = Place::find(bed, "sets", 443).await?;
    let mut objects = Vec::new();
    for space in 0..namespaces {
        let space = format!("{NAMESPACE}-sets-{space}");
        objects.push(certificate(&space)?);
        for app in 0..apps {
            let app = format!("app-{app}");
            let host = format!("{app}.{space}.example");
            objects.extend([
                service(&space, &app),
                slice(&space, &app, "a", std::slice::from_ref(&place.pod), 8080),
                listener_set(&space, &app, &host),
            ]);
            objects.extend((0..ROUTES).map(|at| {
                let mut route = route(&space, &format!("{app}-{at}"), &host, &format!("/{at}"), &app);
                route["spec"]["parentRefs"] = json!([{"name": app, "kind": "ListenerSet"}]);
                route
            }));
        }
    }
    let made = make(bed, "sets", namespaces, &objects).await?;
    let host = format!("app-{}.{NAMESPACE}-sets-{}.example", apps - 1, namespaces - 1);
    place.answers(host.clone(), &format!("/{}", ROUTES - 1), true).await?;
    bed.settled().await?;
    let what = format!("{} routes of {} ListenerSets", namespaces * apps * ROUTES, namespaces * apps);
    let jitter = Jitter { group: "sets", namespaces, apps, paths: ROUTES, pod: place.pod.clone() };
    let mut rows = loaded(bed, plan, "sets", &what, &jitter, &SETS, [Some(60.0), None, None, None]).await?;
    rows.iter_mut().for_each(|row| row.note.push_str(&format!("; made in {made:.0} s")));
    unmake(bed, "sets", namespaces).await?;
    Ok(rows)
}

/// Memory of gateway and controllers, and their CPU while there is jitter.
async fn loaded(
    bed: &Bed,
    plan: &Plan,
    gateway: &str,
    what: &str,
    jitter: &Jitter,
    published: &[Published; 4],
    goals: [Option<f64>; 4],
) -> io::Result<Vec<Row>> {
    let (gateways, controllers) = (bed.gateways(gateway)?, bed.controllers()?);
    let time = Duration::from_secs(plan.count(60, 4) as u64);
    let each = |ids: &[u32]| ids.iter().map(|id| process::cpu_seconds(&[*id])).collect::<io::Result<Vec<f64>>>();
    let before = (each(&gateways)?, each(&controllers)?);
    let begun = Instant::now();
    jitter.go_on(bed, time).await?;
    let wall = begun.elapsed().as_secs_f64();
    let busiest = |before: &[f64], after: &[f64]| {
        let spent = before.iter().zip(after).map(|(before, after)| (after - before) / wall);
        spent.fold(0.0, f64::max)
    };
    let cores = [busiest(&before.0, &each(&gateways)?), busiest(&before.1, &each(&controllers)?)];
    let most = |ids: &[u32]| {
        let all =
            ids.iter().map(|id| Ok(process::memory(*id)?.resident / 1_048_576.0)).collect::<io::Result<Vec<_>>>()?;
        Ok::<_, io::Error>(all.into_iter().fold(0.0, f64::max))
    };
    let leader = format!("the one of {} that leads", controllers.len());
    let memory = "resident, the largest of all Pods, at the end".to_owned();
    let jittered = format!("a route edited each second and an endpoint each two, {} s", time.as_secs());
    let figures = [
        ("memory of a gateway", most(&gateways)?, "MiB", memory.clone()),
        ("memory of a controller", most(&controllers)?, "MiB", memory),
        ("CPU of a gateway", cores[0], "cores", jittered.clone()),
        ("CPU of a controller", cores[1], "cores", format!("{leader}; {jittered}")),
    ];
    let rows =
        figures.into_iter().zip(published).zip(goals).map(|(((name, measured, unit, note), published), goal)| {
            Row::new(format!("{what}: {name}"), measured, unit, goal).note(note).published(*published)
        });
    Ok(rows.collect())
}

/// What changes by itself in a cluster.
struct Jitter {
    group: &'static str,
    namespaces: usize,
    apps: usize,
    /// Routes of each application; 0 for one that has its name.
    paths: usize,
    pod: String,
}

impl Jitter {
    async fn go_on(&self, bed: &Bed, time: Duration) -> io::Result<()> {
        const STEP: usize = 7;
        let until = Instant::now() + time;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut turn = 0;
        while Instant::now() < until {
            second.tick().await;
            turn += 1;
            let at = turn * STEP;
            let space = format!("{NAMESPACE}-{}-{}", self.group, at % self.namespaces);
            let app = format!("app-{}", at % self.apps);
            let name = if self.paths == 0 { app.clone() } else { format!("{app}-{}", at % self.paths) };
            let matches =
                json!([{"path": {"type": "PathPrefix", "value": format!("/{}/{turn}", at % self.paths.max(1))}}]);
            let rules = json!([{"matches": matches, "backendRefs": [{"name": app, "port": 80}]}]);
            bed.patch_route(&space, &name, &json!({"spec": {"rules": rules}})).await?;
            if turn % 2 == 0 {
                let ready = turn % 4 == 0;
                let endpoints = json!([{"addresses": [self.pod], "conditions": {"ready": ready}}]);
                let api = bed.api_in(&space, "discovery.k8s.io", "v1", "EndpointSlice");
                let patch = Patch::Merge(json!({"endpoints": endpoints}));
                api.patch(&format!("{app}-a"), &PatchParams::default(), &patch).await.map_err(io::Error::other)?;
            }
        }
        Ok(())
    }
}

/// Where the objects lead, and where they are asked.
struct Place {
    address: SocketAddr,
    pod: String,
}

impl Place {
    async fn find(bed: &Bed, gateway: &str, port: u16) -> io::Result<Self> {
        let pod = bed.pods("hello", 1).await?.remove(0);
        Ok(Self { address: SocketAddr::new(bed.programmed(gateway).await?.ip(), port), pod })
    }

    /// Waits until a host answers, over TLS where it is wanted.
    async fn answers(&self, host: String, path: &str, over_tls: bool) -> io::Result<()> {
        let (address, question) = (self.address, load::get(&host, path));
        let asked = move || {
            let begun = Instant::now();
            loop {
                let status = if over_tls {
                    drive::tls_asker(address, &host).and_then(|mut asker| Ok(asker.ask(&question)?.status))
                } else {
                    Asker::connect(address).and_then(|mut asker| Ok(asker.ask(&question)?.status))
                };
                match status {
                    Ok(200) => return Ok(()),
                    other if begun.elapsed() > LOST => return Err(io::Error::other(format!("{host}: {other:?}"))),
                    _ => std::thread::sleep(PAUSE),
                }
            }
        };
        tokio::task::spawn_blocking(asked).await.map_err(io::Error::other)?
    }
}

/// Clients that ask one host without a pause until they are told to end.
struct Asking {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<(u64, u64)>>,
}

impl Asking {
    fn begin(address: SocketAddr, clients: usize, host: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let question = load::get(host, "/");
        let client = |_| {
            let (stop, question) = (stop.clone(), question.clone());
            tokio::task::spawn_blocking(move || {
                let (mut asked, mut failed) = (0, 0);
                let mut asker = None;
                while !stop.load(Relaxed) {
                    asked += 1;
                    let status = match &mut asker {
                        None => Asker::connect(address).and_then(|new| Ok(asker.insert(new).ask(&question)?.status)),
                        Some(known) => known.ask(&question).map(|answer| answer.status),
                    };
                    if !matches!(status, Ok(200)) {
                        failed += 1;
                        asker = None;
                    }
                }
                (asked, failed)
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// How many were asked, and how many failed.
    async fn end(self) -> io::Result<(u64, u64)> {
        self.stop.store(true, Relaxed);
        let mut sum = (0, 0);
        for client in self.clients {
            let (asked, failed) = client.await.map_err(io::Error::other)?;
            sum = (sum.0 + asked, sum.1 + failed);
        }
        Ok(sum)
    }
}

/// Makes namespaces and objects in them; in seconds. Not for ever: an API server beside everything else may take twenty a second.
async fn make(bed: &Bed, group: &str, namespaces: usize, objects: &[Value]) -> io::Result<f64> {
    let begun = Instant::now();
    for at in 0..namespaces {
        let name = format!("{NAMESPACE}-{group}-{at}");
        bed.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await?;
    }
    let Ok(made) = tokio::time::timeout(MAKING, bed.create_all(objects)).await else {
        return Err(io::Error::other(format!("{} objects were not made within {} s", objects.len(), MAKING.as_secs())));
    };
    made?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Lets them go; nobody waits for it.
async fn unmake(bed: &Bed, group: &str, namespaces: usize) -> io::Result<()> {
    let api = bed.api("", "v1", "Namespace");
    for at in 0..namespaces {
        let name = format!("{NAMESPACE}-{group}-{at}");
        api.delete(&name, &DeleteParams::default()).await.map_err(io::Error::other)?;
    }
    Ok(())
}

fn gateway(name: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "gatewayClassName": "headgate",
            "allowedListeners": {"namespaces": {"from": "All"}},
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        },
    })
}

fn service(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn slice(namespace: &str, service: &str, part: &str, addresses: &[String], port: u16) -> Value {
    let endpoint = |address: &String| json!({"addresses": [address], "conditions": {"ready": true}});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{part}"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port}],
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn listener_set(namespace: &str, name: &str, host: &str) -> Value {
    let tls = json!({"mode": "Terminate", "certificateRefs": [{"name": "ns-cert"}]});
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "ListenerSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "parentRef": {"name": "sets", "namespace": NAMESPACE},
            "listeners": [{"name": name, "hostname": host, "protocol": "HTTPS", "port": 443, "tls": tls}],
        },
    })
}

fn certificate(namespace: &str) -> io::Result<Value> {
    let made = rcgen::generate_simple_self_signed([format!("*.{namespace}.example")]).map_err(io::Error::other)?;
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ns-cert", "namespace": namespace},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()},
    }))
}

fn route(namespace: &str, name: &str, host: &str, path: &str, service: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": "web"}],
            "hostnames": [host],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": path}}],
                "backendRefs": [{"name": service, "port": 80}],
            }],
        },
    })
}

fn of_gateway(mut route: Value, gateway: &str) -> Value {
    route["spec"]["parentRefs"] = json!([{"name": gateway, "namespace": NAMESPACE}]);
    route
}
