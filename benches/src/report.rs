//! What was measured, as a table for people and as JSON to compare later. It judges nothing beyond `measured ≤ goal`.

use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// One measured figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure; none where the row was skipped.
    pub measured: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// The figure is to be at most this.
    pub goal: Option<f64>,
    /// How it was measured, or why not.
    pub note: String,
    /// What it was beside a peer; none in rows of Headgate alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// What others' makers or users published of theirs, on another machine; none where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<PublishedText>,
    /// The commit that was checked out; set by [`Report::add`].
    pub commit: String,
}

/// A ratio to somebody who did the same job in the same rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beside {
    /// The job's short name.
    pub scenario: String,
    /// The job in words.
    pub job: String,
    /// What was compared: CPU time, or the 99th percentile.
    pub figure: String,
    /// Whom it is compared with.
    pub peer: String,
    /// The 95 % interval of the ratio; none where it was not measured.
    pub interval: Option<[f64; 2]>,
    /// Medians: ours, and theirs.
    pub medians: Option<[f64; 2]>,
    /// Of the medians.
    pub unit: String,
}

/// What gateway-api-bench found of others, with units; empty where it has nothing.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// agentgateway 2.2 alpha, with kgateway as its controller.
    pub agentgateway: &'static str,
    /// Istio 1.27 or 1.26.
    pub istio: &'static str,
    /// Envoy Gateway 1.5 or 1.4.
    pub envoy_gateway: &'static str,
    /// NGINX Gateway Fabric 2.1 or 1.6.
    pub nginx: &'static str,
}

/// The same as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublishedText(pub [String; 4]);

impl Beside {
    /// Where Headgate is: the whole interval on one side of the peer, or not.
    pub fn place(&self) -> &'static str {
        match self.interval {
            Some([_, high]) if high < 1.0 => "ahead",
            Some([low, _]) if low > 1.0 => "behind",
            Some(_) => "even",
            None => "",
        }
    }
}

impl Row {
    /// A figure with a goal.
    pub fn new(what: impl Into<String>, measured: f64, unit: &'static str, goal: impl Into<Option<f64>>) -> Self {
        Self {
            what: what.into(),
            measured: Some(measured),
            unit: unit.to_owned(),
            goal: goal.into(),
            note: String::new(),
            beside: None,
            published: None,
            commit: String::new(),
        }
    }

    /// A row that this machine cannot measure.
    pub fn skipped(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            measured: None,
            unit: String::new(),
            goal: None,
            note: format!("skipped: {}", why.into()),
            beside: None,
            published: None,
            commit: String::new(),
        }
    }

    /// Says how it was measured.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// What was published of others.
    pub fn published(mut self, published: Published) -> Self {
        let Published { agentgateway, istio, envoy_gateway, nginx } = published;
        self.published = Some(PublishedText([agentgateway, istio, envoy_gateway, nginx].map(str::to_owned)));
        self
    }

    /// Whom and what it compares.
    pub fn beside(mut self, beside: Beside) -> Self {
        self.beside = Some(beside);
        self
    }

    /// Whether the goal is met: by the whole interval where there is one.
    pub fn verdict(&self) -> &'static str {
        let high = self.beside.as_ref().and_then(|beside| beside.interval).map(|[_, high]| high);
        match (high.or(self.measured), self.goal) {
            (Some(measured), Some(goal)) if measured <= goal => "met",
            (Some(_), Some(_)) => "MISSED",
            _ => "",
        }
    }
}

/// Everything of one run.
#[derive(Serialize, Deserialize)]
pub struct Report {
    /// The day, as 2026-01-31.
    pub date: String,
    /// The machine.
    pub machine: Machine,
    #[serde(skip, default)]
    commit: String,
    /// The figures.
    pub rows: Vec<Row>,
}

/// The machine that measured; figures of different machines cannot be compared.
#[derive(Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of it.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Load average of the last minute, when the run began: figures of a busy machine are worse.
    pub load: f64,
}

impl Report {
    /// An empty one for this machine and day.
    pub fn new() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            machine: Machine {
                processor: processor.map_or("unknown", |(_, name)| name.trim()).to_owned(),
                processors: std::thread::available_parallelism().map_or(1, usize::from),
                kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
                load: read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN),
            },
            commit: commit(),
            rows: Vec::new(),
        }
    }

    /// Prints a row as soon as it is there.
    pub fn add(&mut self, row: Row) {
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), shown);
        let goal = row.goal.map_or(String::new(), |goal| format!("≤ {}", shown(goal)));
        let place = row.beside.as_ref().map_or("", Beside::place);
        println!(
            "{:<58} {:>12} {:<11} {:<10} {:<7} {:<6} {}",
            row.what,
            figure(row.measured),
            row.unit,
            goal,
            row.verdict(),
            place,
            row.note
        );
        self.rows.push(Row { commit: self.commit.clone(), ..row });
    }

    /// Writes `<date>-<machine>.json` into a folder. Rows that this run did not measure are kept from an earlier run of the day.
    pub fn write(&mut self, folder: &Path) -> io::Result<PathBuf> {
        let path = folder.join(format!("{}-{}.json", self.date, self.machine.slug()));
        fs::create_dir_all(folder)?;
        let mut value = serde_json::to_value(&*self).map_err(io::Error::other)?;
        let earlier = fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
        if let Some(earlier) = earlier {
            keep_earlier(&mut value, &earlier);
        }
        let text = serde_json::to_string_pretty(&value).map_err(io::Error::other)?;
        fs::write(&path, text + "\n")?;
        Ok(path)
    }
}

/// Adds the rows of `earlier` that `now` has not.
fn keep_earlier(now: &mut serde_json::Value, earlier: &serde_json::Value) {
    let (Some(rows), Some(before)) = (now["rows"].as_array_mut(), earlier["rows"].as_array()) else { return };
    let missing: Vec<_> =
        before.iter().filter(|old| rows.iter().all(|row| row["what"] != old["what"])).cloned().collect();
    rows.extend(missing);
}

impl Machine {
    /// As part of a file's name: `2x-amd-epyc-7b13`.
    fn slug(&self) -> String {
        let words = self.processor.to_lowercase();
        let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).take(3);
        format!("{}x-{}", self.processors, words.collect::<Vec<_>>().join("-"))
    }
}

/// As few digits as say something.
pub fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_above_its_goal_is_missed() {
        assert_eq!(Row::new("a", 1.0, "ms", 1.0).verdict(), "met");
        assert_eq!(Row::new("a", 1.1, "ms", 1.0).verdict(), "MISSED");
        assert_eq!(Row::new("a", 1.1, "ms", None).verdict(), "");
        assert_eq!(Row::skipped("a", "no peer").verdict(), "");
    }
}
