//! Half of the load that this machine bears, for as long as is wanted, while backends, files, functions and clients misbehave by a seeded schedule; then everything has to be back at its base. `make soak` runs it and keeps its report.
//!
//! `SOAK_MINUTES` (30), `SOAK_SEED` (one that is printed), `SOAK_RATE` (exchanges a second; half of what this machine bears if not given), `SOAK_REPORT` (a path without an extension; none is written otherwise).
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

mod ask;
mod clients;
mod happen;
mod ledger;
mod load;
mod log;
mod plan;
mod report;
mod verdict;
mod watch;
mod world;

use headgate_e2e::Headgate;
use ledger::Ledger;
use load::Load;
use report::{Report, Setting};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use verdict::{Evidence, is_idle, judge};
use watch::Sample;
use world::{SERVICES, World};

/// Clients ask without pauses for so long, before it is known what half of that is.
const CALIBRATION: Duration = Duration::from_secs(10);
/// After the load, until everything is back: unused connections to endpoints are kept for a minute.
const SETTLING: Duration = Duration::from_secs(180);

#[test]
fn the_gateway_holds_under_half_load_with_everything_going_wrong_around_it() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let minutes = number("SOAK_MINUTES").unwrap_or(30);
    let seed = number("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..100_000));
    println!("soak: {minutes} minutes, SOAK_SEED={seed}, {}", headgate_e2e::binary().display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let report = runtime.block_on(run(Duration::from_secs(minutes * 60), seed, number("SOAK_RATE")));
    println!("\n{}", report.text());
    if let Some(path) = std::env::var_os("SOAK_REPORT") {
        report.write(path.as_ref()).unwrap();
    }
    assert!(report.holds(), "SOAK_SEED={seed} repeats the schedule");
}

async fn run(time: Duration, seed: u64, rate: Option<u64>) -> Report {
    // made once, and not while it is measured
    ask::bytes(ask::BYTES_MAX);
    let ledger = Arc::new(Ledger::open());
    let world = Arc::new(World::start(ledger.clone()).await);
    let base = at_rest(&world.headgate).await;
    let processes = world.headgate.processes().len();
    let (load, clients) = Load::start(world.clone(), seed);
    let over = Arc::new(AtomicBool::new(false));
    let collecting = tokio::spawn(collect(world.clone(), over.clone()));
    let rate = load.settle(CALIBRATION, rate).await;
    ledger.say(&format!("{rate:.0} exchanges a second to the split from here on"));

    let begun = Instant::now();
    let watching = tokio::spawn(watch(world.clone(), begun, over.clone()));
    let events = plan::events(seed, time, world.proxies.len(), SERVICES.len());
    let happened = happen::all(world.clone(), events).await;
    tokio::time::sleep_until((begun + time).into()).await;
    over.store(true, Relaxed);
    load.end();
    let samples = watching.await.unwrap();
    collecting.await.unwrap();
    clients.join_all().await;
    drop(load);
    ledger.say("the load is over");

    let (rest, processes_after) = settle(&world, &base, processes).await;
    ledger.say(&format!("settled; {} descriptors", rest.fds));
    world.collect();
    world.collect_functions();
    let world = Arc::into_inner(world).expect("nobody uses it any more");
    let (log, ended_well, panics) = world.end().await;
    let (lanes, faults) = (ledger.lanes(), ledger.faults());
    let verdicts = judge(&Evidence {
        base: &base,
        samples: &samples,
        rest: &rest,
        processes: (processes, processes_after),
        lanes: &lanes,
        faults: &faults,
        log: &log,
        panics: &panics,
        ended_well,
    });
    let setting = Setting { time, seed, rate, base, rest, posts: ledger.posts() };
    Report { setting, samples, lanes, happened, failures: log.by_failure, verdicts }
}

/// Waits until nothing that was needed for the start is open any more.
async fn at_rest(headgate: &Headgate) -> Sample {
    /// So many looks that see the same.
    const SAME: u32 = 20;
    let (mut same, mut last) = (0, Sample::default());
    while same < SAME {
        let sample = Sample::take(headgate, Duration::ZERO, 0).await;
        same = if sample.fds == last.fds && is_idle(&sample.metrics) { same + 1 } else { 0 };
        last = sample;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    last
}

/// Looks once a second.
async fn watch(world: Arc<World>, begun: Instant, over: Arc<AtomicBool>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    while !over.load(Relaxed) {
        second.tick().await;
        samples.push(Sample::take(&world.headgate, begun.elapsed(), world.ledger.answered()).await);
    }
    samples
}

/// Books what reaches applications, so often that little of it is kept.
async fn collect(world: Arc<World>, over: Arc<AtomicBool>) {
    while !over.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.collect();
    }
}

/// Waits until everything is as it was, or long enough.
async fn settle(world: &World, base: &Sample, processes: usize) -> (Sample, usize) {
    let begun = Instant::now();
    loop {
        world.collect();
        let sample = Sample::take(&world.headgate, begun.elapsed(), world.ledger.answered()).await;
        let count = world.headgate.processes().len();
        let is_back =
            is_idle(&sample.metrics) && sample.fds <= base.fds && sample.threads <= base.threads && count <= processes;
        if is_back || begun.elapsed() > SETTLING {
            return (sample, count);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
