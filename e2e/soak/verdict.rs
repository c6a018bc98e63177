//! Whether the gateway held: pure judgements of what was measured and counted. A judgement that cannot be made is told, never taken as passed.

use crate::{
    ledger::{Counts, Lane, Promise},
    log::Tally,
    watch::{Metrics, Sample, label},
};
use std::{collections::BTreeMap, time::Duration};

/// Growth of memory that is none, in MiB in ten minutes.
const SLOPE_MIB_MAX: f64 = 1.0;
/// A shorter run says nothing about a slope.
const SLOPE_TIME_MIN: Duration = Duration::from_secs(600);

/// One judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What is to hold.
    pub what: &'static str,
    /// Whether it does; `None` where that cannot be said.
    pub holds: Option<bool>,
    /// The figures.
    pub told: String,
}

impl Verdict {
    /// One that is made.
    pub fn new(what: &'static str, holds: bool, told: impl Into<String>) -> Self {
        Self { what, holds: Some(holds), told: told.into() }
    }
}

/// All that a run leaves behind.
pub struct Evidence<'e> {
    /// Before the load.
    pub base: &'e Sample,
    /// Under load, after its calibration.
    pub samples: &'e [Sample],
    /// After the load, when nothing changed any more.
    pub rest: &'e Sample,
    /// Processes before and after.
    pub processes: (usize, usize),
    /// What clients saw.
    pub lanes: &'e BTreeMap<Lane, Counts>,
    /// What must not be.
    pub faults: &'e [String],
    /// The access log.
    pub log: &'e Tally,
    /// Lines of the program's own output that tell of a panic.
    pub panics: &'e [String],
    /// Whether it ended as it should.
    pub ended_well: bool,
}

/// Judges it all.
pub fn judge(evidence: &Evidence<'_>) -> Vec<Verdict> {
    let Evidence { base, rest, log, .. } = evidence;
    let mut verdicts = vec![
        promises(evidence),
        slope(evidence.samples),
        Verdict::new("descriptors are back", rest.fds <= base.fds, before_after(base.fds, rest.fds)),
        Verdict::new("threads are back", rest.threads <= base.threads, before_after(base.threads, rest.threads)),
        Verdict::new(
            "processes are back",
            evidence.processes.1 <= evidence.processes.0,
            before_after(evidence.processes.0, evidence.processes.1),
        ),
        gauges(&rest.metrics),
    ];
    verdicts.extend([
        requests(&rest.metrics, log),
        lanes(evidence),
        rules(&rest.metrics, log),
        failures(&rest.metrics, log),
    ]);
    verdicts.push(Verdict::new(
        "each line of the log is one JSON object with a documented reason",
        log.wrong.is_empty(),
        format!("{} lines{}", log.lines, shown(&log.wrong)),
    ));
    let told = if evidence.ended_well { "ended by itself" } else { "it did not end by itself" };
    let told = format!("{told}{}", shown(evidence.panics));
    verdicts.push(Verdict::new("no panic", evidence.panics.is_empty() && evidence.ended_well, told));
    verdicts
}

fn before_after(before: usize, after: usize) -> String {
    format!("{before} before, {after} after")
}

fn shown(lines: &[String]) -> String {
    lines.iter().take(20).map(|line| format!("\n        {line}")).collect()
}

fn promises(evidence: &Evidence<'_>) -> Verdict {
    let promised = evidence.lanes.iter().filter(|(lane, _)| lane.promise() == Promise::All);
    let asked: u64 = promised.map(|(_, counts)| counts.asked).sum();
    let told = format!("{asked} to healthy backends, {} faults{}", evidence.faults.len(), shown(evidence.faults));
    Verdict::new("nothing failed that must not", evidence.faults.is_empty() && asked > 0, told)
}

/// The growth of memory, over the last two thirds.
fn slope(samples: &[Sample]) -> Verdict {
    let late = &samples[samples.len() / 3..];
    let points: Vec<(f64, f64)> =
        late.iter().map(|sample| (sample.at.as_secs_f64() / 600.0, sample.rss_kib as f64 / 1024.0)).collect();
    let slope = least_squares(&points);
    let time = samples.last().map_or(Duration::ZERO, |sample| sample.at);
    let told = format!(
        "{slope:.2} MiB in 10 minutes, less than {SLOPE_MIB_MAX} wanted{}",
        if time < SLOPE_TIME_MIN { ", judged from 10 minutes on" } else { "" }
    );
    let holds = (time >= SLOPE_TIME_MIN).then_some(slope < SLOPE_MIB_MAX);
    Verdict { what: "memory does not grow", holds, told }
}

/// The slope of the line that fits best; 0 where there is none.
fn least_squares(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut both, mut square) = (0.0, 0.0);
    for point in points {
        both += (point.0 - x) * (point.1 - y);
        square += (point.0 - x).powi(2);
    }
    if square > 0.0 { both / square } else { 0.0 }
}

/// What has to be zero when nobody asks.
const GAUGES: [&str; 6] = [
    "headgate_connections_open",
    "headgate_requests_active",
    "headgate_carried_open",
    "headgate_backend_in_flight",
    "headgate_queue_depth",
    "headgate_queue_bytes",
];

/// Whether nothing is left of any request.
pub fn is_idle(metrics: &Metrics) -> bool {
    !metrics.is_empty() && GAUGES.iter().all(|gauge| metrics.sum(gauge) == 0)
}

fn gauges(metrics: &Metrics) -> Verdict {
    let left: Vec<String> = GAUGES
        .iter()
        .filter(|gauge| metrics.sum(gauge) > 0)
        .map(|gauge| format!("{gauge} {}", metrics.sum(gauge)))
        .collect();
    let accepted: f64 = metrics
        .series("headgate_connections_total")
        .filter(|(labels, _)| labels.contains("accepted"))
        .map(|(_, count)| count)
        .sum();
    let told = if left.is_empty() { format!("{accepted} connections accepted, all closed") } else { left.join(", ") };
    Verdict::new("gauges are at zero", is_idle(metrics), told)
}

/// Every request that was begun is a line of the log and one duration.
fn requests(metrics: &Metrics, log: &Tally) -> Verdict {
    let told = metrics.sum("headgate_request_duration_seconds_count");
    let dropped = metrics.sum("headgate_log_lines_dropped_total");
    Verdict::new(
        "requests of the counters are those of the log",
        told == log.requests + dropped && told > 0,
        format!("{told} counted, {} lines and {dropped} dropped", log.requests),
    )
}

/// Every exchange of a client is one line of the log, answered or aborted; a client that leaves early may have none.
fn lanes(evidence: &Evidence<'_>) -> Verdict {
    let mut wrong = Vec::new();
    let (mut asked, mut lines) = (0, 0);
    for lane in Lane::ALL {
        let counts = evidence.lanes.get(&lane).cloned().unwrap_or_default();
        let logged = evidence.log.by_agent.get(&format!("soak-{}", lane.name())).copied().unwrap_or(0);
        (asked, lines) = (asked + counts.asked, lines + logged);
        let holds = if lane.promise() == Promise::None { logged <= counts.asked } else { logged == counts.asked };
        if !holds {
            wrong.push(format!("{}: {} asked, {logged} lines", lane.name(), counts.asked));
        }
    }
    Verdict::new(
        "accepted = answered + aborted",
        wrong.is_empty(),
        format!("{asked} asked, {lines} lines{}", shown(&wrong)),
    )
}

fn rules(metrics: &Metrics, log: &Tally) -> Verdict {
    let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
    for (labels, count) in metrics.series("headgate_requests_total") {
        *counted.entry(label(labels, "rule").unwrap_or_default()).or_default() += count as u64;
    }
    compare("requests of each rule are those of the log", &counted, &log.by_rule)
}

fn failures(metrics: &Metrics, log: &Tally) -> Verdict {
    let mut counted: BTreeMap<&str, u64> = log.by_failure.keys().map(|reason| (reason.as_str(), 0)).collect();
    for (labels, count) in metrics.series("headgate_failures_total") {
        *counted.entry(label(labels, "failure").unwrap_or_default()).or_default() += count as u64;
    }
    compare("reasons of the counters are those of the log", &counted, &log.by_failure)
}

fn compare(what: &'static str, counted: &BTreeMap<&str, u64>, logged: &BTreeMap<String, u64>) -> Verdict {
    let of_log = |name: &str| logged.get(name).copied().unwrap_or(0);
    let wrong: Vec<String> = counted
        .iter()
        .filter(|(name, count)| of_log(name) != **count)
        .map(|(name, count)| format!("{name}: {count} counted, {} lines", of_log(name)))
        .collect();
    Verdict::new(what, wrong.is_empty() && !counted.is_empty(), format!("{} of them{}", counted.len(), shown(&wrong)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growing(minutes: u64, mib_in_ten_minutes: f64) -> Vec<Sample> {
        let sample = |s: u64| {
            // the first third is the warm-up, and rises
            let warm = (s as f64 / (minutes as f64 * 20.0)).min(1.0) * 20.0;
            let mib = 20.0 + warm + s as f64 / 600.0 * mib_in_ten_minutes + if s.is_multiple_of(2) { 0.5 } else { 0.0 };
            Sample { at: Duration::from_secs(s), rss_kib: (mib * 1024.0) as u64, ..Sample::default() }
        };
        (0..=minutes * 60).map(sample).collect()
    }

    #[test]
    fn growth_is_judged_after_the_warm_up_and_from_ten_minutes_on() {
        assert_eq!(slope(&growing(30, 0.2)).holds, Some(true));
        assert_eq!(slope(&growing(30, 1.5)).holds, Some(false));
        assert_eq!(slope(&growing(1, 9.0)).holds, None);
        assert!(slope(&growing(30, 1.5)).told.starts_with("1.50 MiB"), "{}", slope(&growing(30, 1.5)).told);
        assert_eq!(slope(&[]).holds, None);
    }

    #[test]
    fn a_line_that_is_missing_is_found() {
        let sample = Sample::default();
        let counts = |asked| Counts { asked, good: asked, ..Counts::default() };
        let lanes = BTreeMap::from([(Lane::Kept, counts(2)), (Lane::Leaving, counts(5))]);
        let judged = |kept: u64, leaving: u64| {
            let by_agent = BTreeMap::from([("soak-kept".into(), kept), ("soak-leaving".into(), leaving)]);
            let log = Tally { by_agent, ..Tally::default() };
            let evidence = Evidence {
                base: &sample,
                samples: &[],
                rest: &sample,
                processes: (1, 1),
                lanes: &lanes,
                faults: &[],
                log: &log,
                panics: &[],
                ended_well: true,
            };
            super::lanes(&evidence).holds
        };
        assert_eq!((judged(2, 5), judged(2, 3)), (Some(true), Some(true)));
        assert_eq!((judged(1, 5), judged(3, 5), judged(2, 6)), (Some(false), Some(false), Some(false)));
    }

    #[test]
    fn what_is_left_is_named() {
        let verdict = gauges(&Metrics::default());
        assert_eq!(verdict.holds, Some(false), "no metrics are no zeros");
    }
}
