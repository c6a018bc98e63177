//! From a save to the first answer that shows it, at many routes: renamed over as editors do, and written in place. A poll every fifth of a millisecond is part of the figure.

use crate::{
    Plan, load,
    load::Asker,
    numbers::percentile,
    objects,
    process::{Gateway, Options},
    report::Row,
};
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_micros(200);
/// A save that is not seen for this long was lost.
const LOST: Duration = Duration::from_secs(30);

/// Where routes lead whose backend is never asked.
pub fn nowhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 9))
}

/// How a file is saved.
#[derive(Clone, Copy)]
pub enum How {
    /// Another file is renamed over it.
    Rename,
    /// It is emptied and written.
    InPlace,
}

/// Saves in both ways at 5,000 routes.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let (count, saves) = (5_000, plan.count(100, 10));
    let folder = tempfile::tempdir()?;
    objects::write_routes(folder.path(), count, nowhere())?;
    let gateway =
        Gateway::start(&Options { program: plan.headgate()?, folder: folder.path().into(), ..Options::default() })?;
    let mut rows = Vec::new();
    let mut version = 0;
    for (how, name) in [(How::Rename, "renamed over"), (How::InPlace, "written in place")] {
        let ms = saves_to_live(&gateway, folder.path(), count, how, version..version + saves)?;
        version += saves;
        let note = format!("{saves} saves of one of {} files, {count} routes", count.div_ceil(33));
        let row = |name: String, share| Row::new(name, percentile(&ms, share), "ms", None).note(note.clone());
        rows.push(row(format!("save to live, {name}, p50"), 0.5));
        rows.push(Row { goal: Some(10.0), ..row(format!("save to live, {name}, p99"), 0.99) });
    }
    Ok(rows)
}

/// Saves versions one after the other and waits until each is live; milliseconds from the begin of a save.
pub fn saves_to_live(
    gateway: &Gateway,
    folder: &Path,
    count: usize,
    how: How,
    versions: std::ops::Range<usize>,
) -> io::Result<Vec<f64>> {
    let mut asker = Asker::connect(gateway.address)?;
    let question = load::get(&objects::host(0), "/");
    versions
        .map(|version| {
            let (name, text) = objects::edited_file(count, nowhere(), version + 1);
            let path = folder.join(name);
            let begun = Instant::now();
            save(&path, &text, how)?;
            let wanted = format!("//v{}.example.com", version + 1);
            while !asker.ask(&question)?.head.contains(&wanted) {
                if begun.elapsed() > LOST {
                    return Err(io::Error::other(format!("a save was not live after {} s", LOST.as_secs())));
                }
                std::thread::sleep(POLL);
            }
            Ok(begun.elapsed().as_secs_f64() * 1_000.0)
        })
        .collect()
}

/// Saves a file.
pub fn save(path: &Path, text: &str, how: How) -> io::Result<()> {
    match how {
        How::InPlace => fs::write(path, text),
        How::Rename => {
            // a name that sources skip, as editors use
            let other = path.with_extension("yaml.tmp");
            fs::write(&other, text)?;
            fs::rename(other, path)
        }
    }
}
