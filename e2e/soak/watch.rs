//! What the gateway's process costs and what it counts, second by second. It asks /proc and the admin port, and judges nothing.

use headgate_e2e::{Headgate, Wire};
use serde_json::{Value, json};
use std::{fs, time::Duration};

/// One look.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Time since the load began.
    pub at: Duration,
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// Open descriptors.
    pub fds: usize,
    /// Threads.
    pub threads: usize,
    /// Exchanges that were over by then.
    pub answered: usize,
    /// The load average of the machine.
    pub load: f64,
    /// `/metrics`.
    pub metrics: Metrics,
}

impl Sample {
    /// Looks.
    pub async fn take(headgate: &Headgate, at: Duration, answered: usize) -> Self {
        let id = headgate.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            at,
            rss_kib: number("VmRSS:"),
            fds: fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count),
            threads: number("Threads:") as usize,
            answered,
            load: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            metrics: Metrics::read(&Wire::get(headgate.admin, "localhost", "/metrics").await.text()),
        }
    }

    /// The line of a report.
    pub fn json(&self) -> Value {
        json!({
            "at_s": self.at.as_secs(),
            "rss_kib": self.rss_kib,
            "fds": self.fds,
            "threads": self.threads,
            "connections": self.metrics.sum("headgate_connections_open"),
            "requests": self.metrics.sum("headgate_requests_active"),
            "queued": self.metrics.sum("headgate_queue_depth"),
            "answered": self.answered,
            "load": self.load,
        })
    }
}

/// The series of a page of metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    fn read(page: &str) -> Self {
        let series = page.lines().filter(|line| !line.starts_with('#'));
        Self(
            series
                .filter_map(|line| line.rsplit_once(' '))
                .filter_map(|(s, v)| Some((s.into(), v.parse().ok()?)))
                .collect(),
        )
    }

    /// Whether there was a page at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of a metric: the labels of each series, and its value.
    pub fn series<'m>(&'m self, name: &'m str) -> impl Iterator<Item = (&'m str, f64)> {
        self.0.iter().filter_map(move |(series, value)| {
            let labels = series.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }

    /// The sum of a metric.
    pub fn sum(&self, name: &str) -> u64 {
        self.series(name).map(|(_, value)| value).sum::<f64>() as u64
    }
}

/// The value of a label.
pub fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    labels.split_once(&format!("{name}=\""))?.1.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_its_own_series_only() {
        let page = "# TYPE a gauge\na{x=\"1\",y=\"b\"} 2\na{x=\"2\"} 3\na_total 7\nc 1.5e3\n# EOF\n";
        let metrics = Metrics::read(page);
        assert_eq!((metrics.sum("a"), metrics.sum("a_total"), metrics.sum("c"), metrics.sum("d")), (5, 7, 1_500, 0));
        let (labels, value) = metrics.series("a").next().unwrap();
        assert_eq!((label(labels, "y"), value), (Some("b"), 2.0));
    }
}
