//! Cold dispatch: from the application's listen() to the arrival of the request that was held for it, over many starts.

use crate::{
    Plan, load,
    load::Asker,
    numbers::percentile,
    objects,
    process::{Gateway, Options},
    report::Row,
};
use std::io;

/// Each start is of another function, so that none waits for an earlier one to stop.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let starts = plan.count(300, 20);
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or_else(|| io::Error::other("the path of this program is no text"))?;
    let settings = [("idle", "500ms"), ("window", "500ms"), ("grace", "1s")];
    objects::write_functions(folder.path(), starts, &[program, "app", "--listen-after-ms", "50"], &settings)?;
    let gateway =
        Gateway::start(&Options { program: plan.headgate()?, folder: folder.path().into(), ..Options::default() })?;
    let mut asker = Asker::connect(gateway.address)?;
    let mut ms = Vec::with_capacity(starts);
    for at in 0..starts {
        let answer = asker.ask(&load::get(&objects::function_host(at), "/"))?;
        let body = String::from_utf8_lossy(answer.body);
        let us: f64 = match answer.status {
            200 => body.parse().map_err(io::Error::other)?,
            status => return Err(io::Error::other(format!("function {at} answered {status}: {body}"))),
        };
        ms.push(us / 1_000.0);
    }
    let note = format!("{starts} starts, the application listens after 50 ms, TCP probe");
    Ok(vec![
        Row::new("cold dispatch after listen(), p50", percentile(&ms, 0.5), "ms", 1.0).note(note.clone()),
        Row::new("cold dispatch after listen(), p99", percentile(&ms, 0.99), "ms", 5.0).note(note),
    ])
}
