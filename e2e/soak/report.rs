//! What a run was and whether the gateway held, for people and as JSON. It judges nothing itself.

use crate::{
    ledger::{Counts, Lane},
    verdict::Verdict,
    watch::Sample,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

/// Of every so many samples one is kept.
const KEPT_OF: usize = 10;

/// How it was run.
pub struct Setting {
    /// How long.
    pub time: Duration,
    /// By which schedule.
    pub seed: u64,
    /// Exchanges a second to the split.
    pub rate: f64,
    /// The process before.
    pub base: Sample,
    /// The process after.
    pub rest: Sample,
    /// POSTs that reached an application.
    pub posts: usize,
}

/// All of it.
pub struct Report {
    /// How it was run.
    pub setting: Setting,
    /// Each second.
    pub samples: Vec<Sample>,
    /// What clients saw.
    pub lanes: BTreeMap<Lane, Counts>,
    /// What happened, by kind.
    pub happened: BTreeMap<&'static str, u64>,
    /// Lines of the log by reason.
    pub failures: BTreeMap<String, u64>,
    /// What holds.
    pub verdicts: Vec<Verdict>,
}

fn mib(sample: &Sample) -> f64 {
    sample.rss_kib as f64 / 1024.0
}

fn list(counts: impl IntoIterator<Item = (impl AsRef<str>, u64)>) -> String {
    counts.into_iter().map(|(name, count)| format!("{} {count}", name.as_ref())).collect::<Vec<_>>().join(", ")
}

impl Report {
    /// Whether nothing that was judged fails.
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.holds != Some(false))
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // a String takes every write
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let Setting { time, seed, rate, base, rest, posts } = &self.setting;
        let day = jiff::Timestamp::try_from(SystemTime::now()).map(|now| now.strftime("%Y-%m-%d").to_string());
        // target/<profile>/headgate
        let folder = headgate_e2e::binary().parent().and_then(Path::file_name).unwrap_or_default();
        let profile = folder.to_string_lossy();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let loads = self.samples.iter().map(|sample| sample.load).sum::<f64>() / self.samples.len().max(1) as f64;
        writeln!(
            out,
            "{}  headgate {} ({profile} build), {} minutes, SOAK_SEED={seed}, {cores} cores, load average {loads:.1}",
            day.unwrap_or_default(),
            env!("CARGO_PKG_VERSION"),
            time.as_secs() / 60
        )?;
        writeln!(out, "load: {rate:.0} exchanges a second to the split; {posts} POSTs reached applications")?;
        writeln!(out, "happened: {}", list(self.happened.iter().map(|(kind, count)| (kind, *count))))?;
        writeln!(out, "\n{:<10} {:>9} {:>9} {:>7} {:>7} {:>7}", "lane", "asked", "good", "refused", "cut", "left")?;
        for (lane, counts) in &self.lanes {
            let refused: u64 = counts.refused.values().sum();
            let Counts { asked, good, cut, left, .. } = counts;
            writeln!(out, "{:<10} {asked:>9} {good:>9} {refused:>7} {cut:>7} {left:>7}", lane.name())?;
        }
        writeln!(out, "\nreasons in the log: {}", list(self.failures.iter().map(|(name, count)| (name, *count))))?;
        let most = |of: fn(&Sample) -> f64| self.samples.iter().map(of).fold(0.0, f64::max);
        writeln!(
            out,
            "memory: {:.1} MiB before, {:.1} at most, {:.1} after; descriptors: {} before, {} at most, {} after\n",
            mib(base),
            most(mib),
            mib(rest),
            base.fds,
            most(|sample| sample.fds as f64),
            rest.fds
        )?;
        for Verdict { what, holds, told } in &self.verdicts {
            let word = match holds {
                Some(true) => "holds",
                Some(false) => "FAILS",
                None => "not judged",
            };
            writeln!(out, "{word:<10}  {what}: {told}")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let lanes = self.lanes.iter().map(|(lane, counts)| {
            let Counts { asked, good, refused, cut, left } = counts;
            json!({"lane": lane.name(), "asked": asked, "good": good, "refused": refused, "cut": cut, "left": left})
        });
        let verdicts = self
            .verdicts
            .iter()
            .map(|verdict| json!({"what": verdict.what, "holds": verdict.holds, "told": verdict.told}));
        json!({
            "minutes": self.setting.time.as_secs() / 60,
            "seed": self.setting.seed,
            "rate": self.setting.rate.round(),
            "before": self.setting.base.json(),
            "after": self.setting.rest.json(),
            "happened": self.happened,
            "lanes": lanes.collect::<Vec<_>>(),
            "failures": self.failures,
            "verdicts": verdicts.collect::<Vec<_>>(),
            "samples": self.samples.iter().step_by(KEPT_OF).map(Sample::json).collect::<Vec<_>>(),
        })
    }

    /// Writes `path.txt` and `path.json`.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path.with_extension("txt"), self.text())?;
        fs::write(path.with_extension("json"), format!("{:#}\n", self.json()))
    }
}
