//! What many routes cost: memory when ready and later, time to load, time of one reload.

use super::save::{How, nowhere, saves_to_live};
use crate::{
    Plan,
    numbers::percentile,
    objects,
    process::{self, Gateway, Memory, Options},
    report::Row,
};
use std::{io, time::Duration};

/// What was needed for loading only is given back by then.
const SETTLE: Duration = Duration::from_secs(5);
const MIB: f64 = 1_048_576.0;

/// At 5,000 and at 40,000 routes.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (count, goal) in [(5_000, 20.0), (plan.count(40_000, 10_000), 60.0)] {
        rows.extend(measure_at(plan, count, goal)?);
    }
    Ok(rows)
}

fn measure_at(plan: &Plan, count: usize, goal_mib: f64) -> io::Result<Vec<Row>> {
    let reloads = plan.count(10, 2);
    let folder = tempfile::tempdir()?;
    objects::write_routes(folder.path(), count, nowhere())?;
    let gateway =
        Gateway::start(&Options { program: plan.headgate()?, folder: folder.path().into(), ..Options::default() })?;
    let at_ready = process::memory(gateway.id())?;
    std::thread::sleep(SETTLE);
    let settled = process::memory(gateway.id())?;
    let ms = saves_to_live(&gateway, folder.path(), count, How::Rename, 0..reloads)?;
    let reloaded = process::memory(gateway.id())?;
    let note = |memory: Memory| format!("private {:.1} MiB", memory.private / MIB);
    Ok(vec![
        Row::new(format!("time to ready, {count} routes"), gateway.ready.as_secs_f64() * 1_000.0, "ms", None)
            .note("HTTPRoute, Service and EndpointSlice each, files of 99 documents"),
        Row::new(format!("resident at ready, {count} routes"), at_ready.resident / MIB, "MiB", None)
            .note(note(at_ready)),
        Row::new(
            format!("resident after {} s, {count} routes", SETTLE.as_secs()),
            settled.resident / MIB,
            "MiB",
            goal_mib,
        )
        .note(note(settled)),
        Row::new(format!("resident after reloads, {count} routes"), reloaded.resident / MIB, "MiB", None)
            .note(format!("{}, {reloads} reloads", note(reloaded))),
        Row::new(format!("reload, {count} routes, p50"), percentile(&ms, 0.5), "ms", None)
            .note(format!("save to live, {reloads} saves renamed over")),
    ])
}
