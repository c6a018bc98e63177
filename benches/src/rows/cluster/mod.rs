//! What a cluster shows: cold starts, from a created route to its first 200 beside the API server's own watch, memory, and writes. Needs a cluster with Headgate in it that nobody else uses; makes and removes one namespace.

mod bed;
mod cold;
mod flapping;
mod published;

use crate::{
    Plan, load,
    load::Asker,
    numbers::percentile,
    process,
    report::{Published, Row},
};
use bed::{Bed, host};
use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Between two questions to the gateway; part of each figure.
const POLL: Duration = Duration::from_micros(300);
/// A route that does not answer for this long was lost.
const LOST: Duration = Duration::from_secs(60);
/// Between two edits while routes churn.
const CHURN: Duration = Duration::from_millis(20);

/// Propagation at 3,000 routes, quiet and while others are edited; then memory and writes.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    in_cluster("propagation of a route", async |bed| rows(plan, bed).await)
}

/// The tests of gateway-api-bench but for the largest.
pub fn published(plan: &Plan) -> io::Result<Vec<Row>> {
    in_cluster("the tests of gateway-api-bench", async |bed| Ok(published::rows(bed, plan).await))
}

/// The largest of them, which wants a cluster of its own: what was deleted before is long on its way.
pub fn published_sets(plan: &Plan) -> io::Result<Vec<Row>> {
    in_cluster("ListenerSet scale", async |bed| published::listener_sets(bed, plan).await)
}

fn in_cluster(what: &str, rows: impl AsyncFnOnce(&Bed) -> io::Result<Vec<Row>>) -> io::Result<Vec<Row>> {
    if ["KUBECONFIG", "CLUSTER"].iter().any(|name| std::env::var_os(name).is_none()) {
        return Ok(vec![Row::skipped(what, "no cluster; `make bench-cluster` makes one")]);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let bed = Bed::make().await?;
        let rows = rows(&bed).await;
        // of a cluster that is taken down next nobody misses it
        if let Err(error) = bed.remove().await {
            eprintln!("what was made is still there: {error}");
        }
        rows
    })
}

async fn rows(plan: &Plan, bed: &Bed) -> io::Result<Vec<Row>> {
    let mut rows = cold::rows(bed, plan.count(10, 3)).await?;
    let (routes, samples) = (plan.count(3_000, 50), plan.count(200, 10));
    let before = bed.status_writes().await?;
    bed.create_routes(0..routes).await?;
    let filled = bed.address;
    let last = host(routes - 1);
    tokio::task::spawn_blocking(move || until_answered(filled, &last)).await.map_err(io::Error::other)??;
    rows.extend(memory(bed, routes)?);
    let (controllers, gateways) = (bed.controllers()?, bed.gateways("web")?);

    let seen = bed.watch_routes();
    let quiet = propagation(bed, &seen, routes..routes + samples).await?;
    rows.extend(quiet.rows(&format!("at {routes} routes"), 10.0, published::PROPAGATION[0]));

    let stop = Arc::new(AtomicBool::new(false));
    let begun = (Instant::now(), process::cpu_seconds(&controllers)?);
    let churn = tokio::spawn(bed.clone().churn(0..routes, CHURN, stop.clone()));
    let busy = propagation(bed, &seen, routes + samples..routes + 2 * samples).await;
    stop.store(true, Relaxed);
    let edits = churn.await.map_err(io::Error::other)??;
    let wall = begun.0.elapsed().as_secs_f64();
    let cores = (process::cpu_seconds(&controllers)? - begun.1) / wall;
    let note = format!("{edits} edits in {wall:.0} s, {} controllers", controllers.len());
    rows.extend(busy?.rows(&format!("at {routes} routes, others edited"), 20.0, published::PROPAGATION[1]));
    rows.push(Row::new("CPU of the controllers while routes are edited", cores, "cores", None).note(note));

    bed.settled().await?;
    let made = routes + 2 * samples + edits;
    let writes = bed.status_writes().await?.minus(&before);
    let a_thousand = |writes: u64, of: usize| writes as f64 * 1_000.0 / of as f64;
    let note = format!("{} writes for {made} routes made and edited", writes.routes);
    rows.push(
        Row::new("status writes of routes, per 1,000", a_thousand(writes.routes, made), "writes", None).note(note),
    );
    let note = format!("{} writes; attachedRoutes changes with each route", writes.gateways);
    rows.push(
        Row::new("status writes of the Gateway, per 1,000 routes", a_thousand(writes.gateways, made), "writes", None)
            .note(note),
    );

    let idle = Duration::from_secs(plan.count(30, 3) as u64);
    let all = [controllers, gateways].concat();
    let (cpu, before) = (process::cpu_seconds(&all)?, bed.status_writes().await?);
    tokio::time::sleep(idle).await;
    let cores = (process::cpu_seconds(&all)? - cpu) / idle.as_secs_f64();
    let writes = bed.status_writes().await?.minus(&before);
    rows.push(
        Row::new("CPU of controllers and gateways, idle", cores, "cores", None).note(format!("{} s", idle.as_secs())),
    );
    rows.push(Row::new("status writes while idle", (writes.routes + writes.gateways) as f64, "writes", 0.0));

    let more = plan.count(5_000, 60);
    bed.create_routes(routes + 2 * samples..more.max(routes + 2 * samples)).await?;
    let last = host(more.max(routes + 2 * samples) - 1);
    tokio::task::spawn_blocking(move || until_answered(filled, &last)).await.map_err(io::Error::other)??;
    rows.extend(memory(bed, more)?);
    Ok(rows)
}

fn memory(bed: &Bed, routes: usize) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, ids, goal) in [("a gateway", bed.gateways("web")?, 20.0), ("a controller", bed.controllers()?, 60.0)] {
        let most =
            ids.iter().map(|id| Ok(process::memory(*id)?.resident / 1_048_576.0)).collect::<io::Result<Vec<f64>>>()?;
        let most = most.into_iter().fold(0.0, f64::max);
        // the goals are for 5,000
        let goal = (routes == 5_000).then_some(goal);
        rows.push(
            Row::new(format!("resident memory of {what}, {routes} routes"), most, "MiB", goal)
                .note(format!("the largest of {}", ids.len())),
        );
    }
    Ok(rows)
}

/// Milliseconds of each sample.
#[derive(Default)]
struct Propagation {
    /// From the request that creates it to the first 200.
    whole: Vec<f64>,
    /// From the API server's answer to the event of a watch of our own.
    watch: Vec<f64>,
    /// From that event to the first 200; nothing if that came first.
    beyond: Vec<f64>,
}

impl Propagation {
    fn rows(&self, when: &str, goal: f64, published: Published) -> Vec<Row> {
        let samples = self.whole.len();
        let note = |values: &[f64], what: &str| {
            format!("{what}; p50 {:.1} ms, {samples} routes one after the other", percentile(values, 0.5))
        };
        let row = |name: &str, values: &[f64], goal: Option<f64>, what: &str| {
            let name = format!("{name} {when}, p99");
            Row::new(name, percentile(values, 0.99), "ms", goal).note(note(values, what))
        };
        vec![
            row("route live beyond the watch", &self.beyond, Some(goal), "from the event of a watch to the first 200"),
            row("the watch itself", &self.watch, None, "from the API server's answer to its event"),
            row("route live", &self.whole, None, "from the request that creates it to the first 200")
                .published(published),
        ]
    }
}

/// When a watch first told of each.
type Seen<K> = Arc<Mutex<HashMap<K, Instant>>>;

fn note<K: Eq + Hash>(seen: &Seen<K>, what: K) {
    seen.lock().expect("nothing panics while it holds this lock").entry(what).or_insert_with(Instant::now);
}

async fn propagation(bed: &Bed, seen: &Seen<String>, routes: std::ops::Range<usize>) -> io::Result<Propagation> {
    let mut measured = Propagation::default();
    let ms = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1_000.0;
    for at in routes {
        let (address, name) = (bed.address, host(at));
        let answered = tokio::task::spawn_blocking(move || until_answered(address, &name));
        let begun = Instant::now();
        bed.create_routes(at..at + 1).await?;
        let created = Instant::now();
        let live = answered.await.map_err(io::Error::other)??;
        let event = seen_at(seen, bed::name(at)).await?;
        measured.whole.push(ms(begun, live));
        measured.watch.push(ms(created, event));
        measured.beyond.push(ms(event, live));
    }
    Ok(measured)
}

/// Waits for it: a watch may tell of something after it has shown itself.
async fn seen_at<K: Eq + Hash + Debug>(seen: &Seen<K>, what: K) -> io::Result<Instant> {
    let begun = Instant::now();
    loop {
        if let Some(at) = seen.lock().expect("nothing panics while it holds this lock").get(&what) {
            return Ok(*at);
        }
        if begun.elapsed() > LOST {
            return Err(io::Error::other(format!("the watch never told of {what:?}")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Asks until the answer is 200, and says when that was.
fn until_answered(address: std::net::SocketAddr, host: &str) -> io::Result<Instant> {
    let question = load::get(host, "/");
    let begun = Instant::now();
    let mut asker = Asker::connect(address)?;
    loop {
        match asker.ask(&question)?.status {
            200 => return Ok(Instant::now()),
            _ if begun.elapsed() > LOST => return Err(io::Error::other(format!("{host} never answered 200"))),
            _ => std::thread::sleep(POLL),
        }
    }
}
