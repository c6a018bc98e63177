//! Headgate beside its peers at the same jobs, all in turn in each round. A machine without a peer skips its rows and says so; figures without those beside them mean little.

use crate::{
    Plan,
    drive::{Ask, Cost, Work},
    numbers::Estimate,
    objects,
    peers::{Certificate, Job, Name, PEERS, Running, Upstream},
    process::{self, Origin},
    report::{Beside, Row},
    scenario::{SCENARIOS, Scenario},
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

/// Of the bootstrap: the same draws each time.
const SEED: u64 = 7;
/// Seconds of load for one figure.
const SECONDS: f64 = 0.45;
/// Those far behind are measured in one of so many rounds: what they cost in time, the others need for their intervals.
const FAR_EVERY: usize = 3;
/// The least share of the requests that has to be mirrored where all are to be: whoever has too many under way may drop some.
const MIRRORED: f64 = 0.95;
/// Copies that take longer do not come.
const COPIES_COME: Duration = Duration::from_secs(5);

/// Every job that is wanted.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let certificate = certificate(folder.path())?;
    let is_one_wanted = SCENARIOS.iter().any(|scenario| plan.wants(scenario.name));
    let mut rows = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| !is_one_wanted || plan.wants(scenario.name)) {
        let folder = folder.path().join(scenario.name);
        match measure_one(plan, scenario, &certificate, &folder) {
            Ok(found) => rows.extend(found),
            Err(error) => rows.push(Row::skipped(scenario.job, error.to_string())),
        }
        // logs of saturated gateways are long
        fs::remove_dir_all(&folder)?;
    }
    Ok(rows)
}

fn certificate(folder: &Path) -> io::Result<Certificate> {
    let made = rcgen::generate_simple_self_signed([objects::host(0), "*.default.example.com".to_owned()])
        .map_err(io::Error::other)?;
    let [chain, key, both] = ["chain.pem", "key.pem", "both.pem"].map(|name| folder.join(name));
    fs::write(&chain, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    fs::write(&both, made.cert.pem() + &made.signing_key.serialize_pem())?;
    Ok(Certificate { chain, key, both })
}

/// Somebody in a job.
struct Entrant {
    name: Name,
    running: Running,
    /// Units of one figure.
    count: u64,
    /// By round.
    costs: BTreeMap<usize, Cost>,
}

fn measure_one(plan: &Plan, scenario: &Scenario, certificate: &Certificate, folder: &Path) -> io::Result<Vec<Row>> {
    fs::create_dir_all(folder)?;
    if matches!(scenario.work, Work::H2 { .. }) && !process::is_installed("h2load") {
        return Err(io::Error::other("h2load is not installed"));
    }
    let origin = match scenario.upstream {
        Upstream::Http1 => Origin::start(scenario.body_bytes)?,
        Upstream::H2c | Upstream::Grpc => Origin::start_http2(scenario.body_bytes)?,
    };
    let mirror = if scenario.mirrors { Some(Origin::start(scenario.body_bytes)?) } else { None };
    let site = (scenario.site)();
    let (heads, host) = (site.heads(), objects::host(0));
    let start = |name: Name| {
        let job = Job {
            site: &site,
            retries: scenario.retries,
            mirror: mirror.as_ref().map(|mirror| mirror.address),
            upstream: scenario.upstream,
            origins: origin.addresses,
            certificate: scenario.is_tls().then_some(certificate),
            folder: &folder.join(name.shown()),
        };
        if let Some(why) = name.lacks(&job) {
            return Err(io::Error::other(why));
        }
        name.start(plan, &job).map(|running| Entrant { name, running, count: 0, costs: BTreeMap::new() })
    };
    let mut entrants = vec![start(Name::Headgate)?];
    let mut missing = Vec::new();
    for peer in PEERS {
        match start(peer) {
            Ok(entrant) => entrants.push(entrant),
            Err(error) => missing.push((peer, error.to_string())),
        }
    }
    let mut load = Load { work: scenario.work, heads: &heads, host: &host, mirror: mirror.as_ref() };
    if let Work::Paced(_) = load.work {
        load.work = Work::Paced(third_of_saturation(plan, &mut entrants, &load)?);
    }
    measure_rounds(plan, &load, &mut entrants, &mut missing)?;
    Ok(rows(scenario, load.work, &entrants, &missing))
}

/// What each is asked.
struct Load<'a> {
    work: Work,
    heads: &'a [Vec<u8>],
    host: &'a str,
    /// Who is to get a copy of each request.
    mirror: Option<&'a Origin>,
}

impl Load<'_> {
    /// What a unit costs somebody.
    ///
    /// # Errors
    /// If anything is not answered as it should be, or what is to be mirrored is not: then there would be less work in the figure.
    fn cost(&self, running: &Running, count: u64) -> io::Result<Cost> {
        let ask = Ask { heads: self.heads, host: self.host, count };
        let Some(mirror) = self.mirror else { return self.work.cost(running, &ask) };
        let before = mirror.asked()?;
        let cost = self.work.cost(running, &ask)?;
        let wanted = (ask.with_warm_up() as f64 * MIRRORED) as u64;
        let until = Instant::now() + COPIES_COME;
        loop {
            match mirror.asked()? - before {
                copies if copies >= wanted => return Ok(cost),
                _ if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                copies => {
                    let all = ask.with_warm_up();
                    return Err(io::Error::other(format!("only {copies} of {all} requests were mirrored")));
                }
            }
        }
    }
}

/// A third of what the slowest of Headgate and its nearest peers can, in requests a second.
fn third_of_saturation(plan: &Plan, entrants: &mut [Entrant], load: &Load<'_>) -> io::Result<f64> {
    let mut slowest = f64::INFINITY;
    let load = Load { work: Work::Kept(64), ..*load };
    for entrant in entrants.iter().filter(|entrant| is_near(entrant.name)) {
        let cost = load.cost(&entrant.running, plan.count(20_000, 1_000) as u64)?;
        slowest = slowest.min(cost.per_second);
    }
    Ok(slowest / 3.0)
}

fn is_near(name: Name) -> bool {
    matches!(name, Name::Headgate | Name::Nginx | Name::Haproxy)
}

/// All in turn, in each second round the other way round, so that a machine that slows down favours nobody. Whoever fails leaves, and why is told.
fn measure_rounds(
    plan: &Plan,
    load: &Load<'_>,
    entrants: &mut Vec<Entrant>,
    missing: &mut Vec<(Name, String)>,
) -> io::Result<()> {
    let rounds = plan.count(12, 2);
    for round in 0..=rounds {
        if round % 2 == 1 {
            entrants.reverse();
        }
        let mut failed = Vec::new();
        for entrant in entrants.iter_mut() {
            let is_left_out = !is_near(entrant.name) && round > 1 && round % FAR_EVERY != 0;
            if is_left_out {
                continue;
            }
            // round 0 finds out how many fill the time
            let count = if round == 0 { first_count(load.work) } else { entrant.count };
            match load.cost(&entrant.running, count) {
                Ok(cost) if round == 0 => entrant.count = count_for(plan, load.work, cost),
                Ok(cost) => drop(entrant.costs.insert(round, cost)),
                Err(error) if entrant.name == Name::Headgate => return Err(error),
                Err(error) => failed.push((entrant.name, error.to_string())),
            }
        }
        if round % 2 == 1 {
            entrants.reverse();
        }
        entrants.retain(|entrant| failed.iter().all(|(name, _)| *name != entrant.name));
        missing.extend(failed);
    }
    Ok(())
}

fn first_count(work: Work) -> u64 {
    match work {
        Work::Download(_) | Work::Upload(_) => 2,
        Work::Tls(_) => 50,
        Work::Handshakes { .. } | Work::Fresh(_) => 400,
        _ => 2_000,
    }
}

fn count_for(plan: &Plan, work: Work, seen: Cost) -> u64 {
    let seconds = if plan.quick { SECONDS / 4.0 } else { SECONDS };
    let per_second = if let Work::Paced(rate) = work { rate } else { seen.per_second };
    ((per_second * seconds) as u64).max(first_count(work) / 2).max(2)
}

fn rows(scenario: &Scenario, work: Work, entrants: &[Entrant], missing: &[(Name, String)]) -> Vec<Row> {
    let Some(ours) = entrants.iter().find(|entrant| entrant.name == Name::Headgate) else { return Vec::new() };
    let mut rows = Vec::new();
    for peer in PEERS {
        if let Some((_, why)) = missing.iter().find(|(name, _)| *name == peer) {
            let row = Row::skipped(format!("{}: CPU time beside {}", scenario.job, peer.shown()), why);
            rows.push(row.beside(beside(scenario, "CPU time", peer, "us")));
        }
        let Some(theirs) = entrants.iter().find(|entrant| entrant.name == peer) else { continue };
        rows.push(row(scenario, ours, theirs, "CPU time", "us", |cost| Some(cost.cpu_us), scenario.goal(peer)));
        if let Work::Paced(rate) = work {
            let row = row(scenario, ours, theirs, "p99", "ms", |cost| cost.p99_ms, 1.0);
            let note = format!("{}, {rate:.0} a second", row.note);
            rows.push(row.note(note));
        }
    }
    rows
}

fn beside(scenario: &Scenario, figure: &str, peer: Name, unit: &str) -> Beside {
    Beside {
        scenario: scenario.name.to_owned(),
        job: scenario.job.to_owned(),
        figure: figure.to_owned(),
        peer: peer.shown().to_owned(),
        interval: None,
        medians: None,
        unit: unit.to_owned(),
    }
}

fn row(
    scenario: &Scenario,
    ours: &Entrant,
    theirs: &Entrant,
    figure: &str,
    unit: &str,
    value: impl Fn(&Cost) -> Option<f64>,
    goal: f64,
) -> Row {
    let pairs: Vec<(f64, f64)> = theirs
        .costs
        .iter()
        .filter_map(|(round, theirs)| Some((value(ours.costs.get(round)?)?, value(theirs)?)))
        .collect();
    let estimate = |of: fn(&(f64, f64)) -> f64| Estimate::of(&pairs.iter().map(of).collect::<Vec<_>>(), SEED);
    let (ratio, ours, peer) = (estimate(|(a, b)| a / b), estimate(|(a, _)| *a), estimate(|(_, b)| *b));
    let note = format!(
        "95 % {:.3} to {:.3}, {} rounds; {:.1} and {:.1} {unit} a {}",
        ratio.low,
        ratio.high,
        pairs.len(),
        ours.median,
        peer.median,
        scenario.unit
    );
    let row =
        Row::new(format!("{}: {figure} beside {}", scenario.job, theirs.name.shown()), ratio.median, "ratio", goal);
    row.note(note).beside(Beside {
        interval: Some([ratio.low, ratio.high]),
        medians: Some([ours.median, peer.median]),
        ..beside(scenario, figure, theirs.name, unit)
    })
}
