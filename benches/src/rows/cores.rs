//! Requests a second, and CPU time of a request, by how many threads serve. It is part of no other run: where clients and origins take from the same processors, it says how the machine is shared and nothing of Headgate.

use crate::{
    Plan,
    load::Clients,
    numbers::percentile,
    objects,
    process::{self, Gateway, Options, Origin},
    report::Row,
};
use std::{
    fs, io,
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Threads of the gateway.
const THREADS: [usize; 5] = [1, 2, 4, 8, 16];
/// Connections of each thread of clients.
const CONNECTIONS: usize = 64;

/// As many threads as this machine has processors, at most.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let processors = thread::available_parallelism()?.get();
    let mut rows = Vec::new();
    for threads in THREADS {
        if threads > processors {
            let why = format!("this machine has {processors} processors");
            rows.extend(names(threads).map(|name| Row::skipped(name, &*why)));
        } else {
            rows.extend(measure_at(plan, threads, processors)?);
        }
    }
    Ok(rows)
}

fn names(threads: usize) -> [String; 2] {
    let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
    ["HTTP/1.1 requests a second", "CPU per HTTP/1.1 request"].map(|figure| format!("{figure}, {threads}"))
}

/// An origin and a thread of clients for each thread of the gateway, so that none of them is what is measured where there are processors for all.
fn measure_at(plan: &Plan, threads: usize, processors: usize) -> io::Result<[Row; 2]> {
    let (count, turns) = (plan.count(50_000, 1_000) as u64, plan.count(5, 1));
    let folder = tempfile::tempdir()?;
    let routes = folder.path().join("routes");
    fs::create_dir(&routes)?;
    let origins: Vec<Origin> = (0..threads).map(|_| Origin::start(100)).collect::<io::Result<_>>()?;
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    fs::write(routes.join("routes.yaml"), objects::spread_route(&addresses))?;
    let gateway = Gateway::start(&Options {
        program: plan.headgate()?,
        folder: routes,
        cores: Some(threads),
        log: Some(folder.path().join("access.log")),
        ..Options::default()
    })?;
    let (mut per_second, mut cpu_us) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let (took, cpu_seconds) = loaded(&gateway, threads, count)?;
        let requests = (count * threads as u64) as f64;
        per_second.push(requests / took.as_secs_f64());
        cpu_us.push(cpu_seconds * 1e6 / requests);
    }
    // the gateway, its origins and its clients
    let room = if processors >= threads * 3 { "enough for all" } else { "NOT enough for all, so no figure of scaling" };
    let note = format!(
        "median of {turns} turns, access log to a file, {CONNECTIONS} connections a thread; as many origins and threads of clients \
         beside them on {processors} processors: {room}"
    );
    let [rate, cost] = names(threads);
    Ok([
        Row::new(rate, percentile(&per_second, 0.5), "requests/s", None).note(note.clone()),
        Row::new(cost, percentile(&cpu_us, 0.5), "us", None).note(note),
    ])
}

/// All threads of clients begin at once, after a warm-up; how long it takes until the last has its answers, and the gateway's CPU time.
fn loaded(gateway: &Gateway, threads: usize, count: u64) -> io::Result<(Duration, f64)> {
    let (at, ids) = (gateway.address, [gateway.id()]);
    thread::scope(|scope| {
        let (warm, warmed) = mpsc::channel();
        let mut clients = Vec::new();
        for _ in 0..threads {
            let (begin, told) = mpsc::channel::<()>();
            let warm = warm.clone();
            let client = scope.spawn(move || -> io::Result<()> {
                let mut clients = Clients::connect(at, CONNECTIONS, vec![crate::load::get(&objects::host(0), "/")])?;
                clients.ask(count / 10)?;
                let _ = warm.send(());
                drop(warm);
                // whoever does not begin ends without having asked
                if told.recv().is_ok() { clients.ask(count).map(|_| ()) } else { Ok(()) }
            });
            clients.push((begin, client));
        }
        drop(warm);
        let are_all_warm = warmed.iter().count() == threads;
        let (before, begun) = (process::cpu_seconds(&ids)?, Instant::now());
        let (tell, asking): (Vec<_>, Vec<_>) = clients.into_iter().unzip();
        if are_all_warm {
            for begin in &tell {
                let _ = begin.send(());
            }
        }
        drop(tell);
        for client in asking {
            client.join().map_err(|_| io::Error::other("a thread of clients ended early"))??;
        }
        Ok((begun.elapsed(), process::cpu_seconds(&ids)? - before))
    })
}
