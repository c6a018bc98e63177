//! User instructions of a warm request, counted by valgrind: the one figure of speed that a busy machine does not change. Neither the kernel's part nor the time is in it.

use crate::{
    Plan,
    callgrind::{self, AT_ONCE},
    report::Row,
    warm::{Origins, WARM_PATHS, WarmPath},
};
use std::io;

fn name(path: &WarmPath) -> String {
    format!("user instructions per warm {}", path.what)
}

/// All warm paths.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    if !callgrind::is_installed() {
        let skipped = |path| Row::skipped(name(path), "valgrind is not installed");
        return Ok(WARM_PATHS.iter().map(skipped).collect());
    }
    let folder = tempfile::tempdir()?;
    let origins = Origins::start()?;
    let count = plan.count(5_000, 500) as u64;
    let note = format!("{AT_ONCE} requests at once, 1 core, no access log, {count} requests");
    let mut rows = Vec::new();
    for path in &WARM_PATHS {
        let measured = path.instructions(plan, folder.path(), &origins, count)?;
        rows.push(Row::new(name(path), measured, "instructions", None).note(note.clone()));
    }
    Ok(rows)
}
