//! Reloads under load: each save changes the rule that all requests take, and none of them may fail. A figure above 0 is a defect, not a slow machine.

use super::save::{How, save};
use crate::{
    Plan, load,
    load::Asker,
    mixed::{Mixed, Tally},
    numbers::percentile,
    objects,
    process::{Gateway, Options, Origin},
    report::Row,
};
use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

/// A save that is not seen for this long was lost.
const LOST: Duration = Duration::from_secs(30);

/// Saves one after the other, spread evenly over the requests.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let (reloads, least) = (plan.count(1_000, 50), plan.count(1_000_000, 20_000));
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("route.yaml");
    let origin = Origin::start(100)?;
    fs::write(&file, objects::versioned_route(origin.address, 0))?;
    let gateway =
        Gateway::start(&Options { program: plan.headgate()?, folder: folder.path().into(), ..Options::default() })?;
    let load = Mixed::start(gateway.address, &objects::host(0));
    let mut asker = Asker::connect(gateway.address)?;
    let mut ms = Vec::with_capacity(reloads);
    for version in 1..=reloads {
        // both ways of saving in turn
        let how = if version % 2 == 0 { How::Rename } else { How::InPlace };
        ms.push(to_live(&mut asker, &file, &objects::versioned_route(origin.address, version), version, how)?);
        load.reach((least * version / reloads) as u64)?;
    }
    Ok(vec![row(&load.end()?, reloads, &ms)])
}

/// Milliseconds from the begin of a save to the first answer that shows it.
fn to_live(asker: &mut Asker, file: &Path, text: &str, version: usize, how: How) -> io::Result<f64> {
    let question = load::get(&objects::host(0), "/");
    let wanted = format!("x-version: {version}");
    let begun = Instant::now();
    save(file, text, how)?;
    while !asker.ask(&question)?.head.split("\r\n").any(|line| line == wanted) {
        if begun.elapsed() > LOST {
            return Err(io::Error::other(format!("version {version} was not live after {} s", LOST.as_secs())));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(begun.elapsed().as_secs_f64() * 1_000.0)
}

fn row(tally: &Tally, reloads: usize, ms: &[f64]) -> Row {
    let kinds: Vec<_> = tally.requests.iter().map(|(kind, count)| format!("{kind:?} {count}")).collect();
    let failures: Vec<_> = tally.failures.iter().map(|(what, count)| format!("{count} times {what}")).collect();
    let failures = if failures.is_empty() { "every answer was 200".to_owned() } else { failures.join(", ") };
    let note = format!(
        "{} requests ({}); {failures}; save to live under this load p50 {:.1} ms, p99 {:.1} ms",
        tally.requests.values().sum::<u64>(),
        kinds.join(", "),
        percentile(ms, 0.5),
        percentile(ms, 0.99),
    );
    Row::new(format!("failed requests over {reloads} reloads"), tally.failed() as f64, "requests", 0.0).note(note)
}
