//! What `/metrics` says: the counters of all cores, folded at scrape. Labels are rules, backends, ports and names of our own tables, never what a client sent.

use super::{
    Hub, Lane,
    counters::{BUCKETS_MS, BackendSeries, CLASSES, Count, Folded, RuleSeries, WAIT_ENDS},
};
use crate::{failure::Failure, listen::Crowd, memory, meter::Flood};
use headgate_config::BackendName;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// What a backend is doing at the time of a scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendGauges {
    /// Which.
    pub name: BackendName,
    /// Requests that are being served.
    pub in_flight: u64,
    /// Requests that wait.
    pub queued: u64,
    /// Bytes that they keep.
    pub queued_bytes: u64,
    /// Endpoints.
    pub endpoints: u64,
    /// Those that get requests.
    pub endpoints_ready: u64,
}

/// What is the case at the time of a scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Of each backend.
    pub backends: Vec<BackendGauges>,
    /// Memory as last measured.
    pub memory: memory::Report,
    /// TLS handshakes under way.
    pub handshakes: u64,
}

/// The whole text, in the OpenMetrics format.
pub(super) fn encode(hub: &Arc<Hub>, gauges: Gauges) -> String {
    let mut registry = Registry::with_prefix("headgate");
    registry.register_collector(Box::new(Scrape { hub: hub.clone(), gauges }));
    let mut out = String::new();
    // A String takes every write.
    let _ = text::encode(&mut out, &registry);
    out
}

#[derive(Debug)]
struct Scrape {
    hub: Arc<Hub>,
    gauges: Gauges,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        self.process(&mut sheet)?;
        self.memory(&mut sheet)?;
        self.connections(&mut sheet)?;
        self.requests(&mut sheet)?;
        self.carried(&mut sheet)?;
        self.backends(&mut sheet)?;
        self.gauges(&mut sheet)?;
        self.cold_starts(&mut sheet)
    }
}

impl Scrape {
    fn process(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let control = self.hub.control();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        sheet.gauges("build_info", "Always 1; the version of the program", [(version, 1)])?;
        sheet.gauge("table_version", "Version of the routes that are served", control.table_version)?;
        sheet.gauge("table_rules", "Rules that are served", control.rules)?;
        let reloads = [([("result", "applied")], control.reloads), ([("result", "refused")], control.reloads_refused)];
        sheet.counters("reloads", "Changes of the routes", reloads)
    }

    fn memory(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let memory = &self.gauges.memory;
        sheet.gauge("memory_bytes", "Memory that the system cannot take back", memory.bytes)?;
        sheet.gauge("memory_budget_bytes", "What there may be of it; 0 where nothing bounds it", memory.budget)?;
        sheet.gauge("memory_free_bytes", "What of memory_bytes is taken to be free", memory.free)?;
        let help = "0 normal; 1 requests that would have to wait are refused; 2 new connections too";
        sheet.gauge("memory_level", help, u64::from(memory.level))
    }

    fn connections(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let opened = self.sum(|core| core.opened.get());
        let closed = self.sum(|core| core.closed.get());
        let by_limit = Crowd::NAMES
            .map(|(crowd, limit)| ([("limit", limit)], self.hub.refused_connections[crowd as usize].load(Relaxed)));
        let refused = by_limit.iter().map(|(_, count)| count).sum();
        let results = [([("result", "accepted")], opened), ([("result", "refused")], refused)];
        sheet.counters("connections", "Connections of clients", results)?;
        let help = "Those that were closed before anything was read, by the limit that they met";
        sheet.counters("connections_refused", help, by_limit.into_iter().filter(|(_, count)| *count > 0))?;
        sheet.gauge("connections_open", "Open connections of clients", opened.saturating_sub(closed))?;
        sheet.gauge("handshakes_open", "TLS handshakes of clients under way", self.gauges.handshakes)?;
        let floods = Flood::NAMES
            .iter()
            .map(|(flood, name)| ([("kind", *name)], self.sum(|core| core.floods[*flood as usize].get())));
        let help = "Connections of HTTP/2 that were ended, by what their clients sent too much of";
        sheet.counters("http2_floods", help, floods.filter(|(_, count)| *count > 0))?;
        let dropped = self.sum(|core| core.lane.dropped.load(Relaxed));
        sheet.counter(
            "log_lines_dropped",
            "Lines of the access log that found no room, or could not be written",
            dropped,
        )
    }

    fn requests(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let begun = self.sum(|core| core.begun.get());
        let told = self.sum(|core| core.told.get());
        sheet.gauge("requests_active", "Requests that are not over", begun.saturating_sub(told))?;

        let mut rules: BTreeMap<String, RuleSum> = BTreeMap::new();
        self.each_rule(|rule| rules.entry(rule.name().to_owned()).or_default().add(rule));
        let answers = rules.iter().flat_map(|(rule, sum)| by_class("rule", rule, &sum.answers));
        sheet.counters("requests", "Requests that a rule took, by the status of their answer", answers)?;
        let of_requests = || rules.iter().filter(|(_, sum)| sum.carried.iter().all(|(_, count)| *count == 0));
        let bytes_in = of_requests().map(|(rule, sum)| ([("rule", rule.as_str())], sum.bytes_in));
        sheet.counters("request_bytes", "Bytes of request bodies", bytes_in)?;
        let bytes_out = of_requests().map(|(rule, sum)| ([("rule", rule.as_str())], sum.bytes_out));
        sheet.counters("response_bytes", "Bytes of answer bodies", bytes_out)?;

        let failures = Failure::ALL.iter().filter_map(|failure| {
            let count = self.sum(|core| core.failures[failure.id()].get());
            (count > 0).then_some(([("failure", failure.name())], count))
        });
        sheet.counters("failures", "Answers of the gateway's own, by reason", failures)?;
        let mirrors = ["sent", "failed", "dropped"].into_iter().enumerate();
        let mirrors = mirrors.map(|(at, end)| ([("result", end)], self.sum(|core| core.mirrors[at].get())));
        sheet.counters("mirrors", "Copies of requests", mirrors)?;

        let mut ports: BTreeMap<u16, Folded> = BTreeMap::new();
        for core in &self.hub.cores {
            for (port, series) in core.ports().iter() {
                ports.entry(*port).or_default().add(&series.times);
            }
        }
        let times = ports.iter().map(|(port, times)| ([("port", port.to_string())], times));
        sheet.histograms("request_duration", "From a request's head to the end of its answer, by listener port", times)
    }

    /// Connections and datagrams that are passed on and not read.
    fn carried(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let (begun, over) = (self.sum(|core| core.carrying.get()), self.sum(|core| core.carried.get()));
        let help = "Connections of TCPRoutes and TLSRoutes, and clients of UDPRoutes, that are not over";
        sheet.gauge("carried_open", help, begun.saturating_sub(over))?;
        let mut rules: BTreeMap<String, RuleSum> = BTreeMap::new();
        self.each_rule(|rule| rules.entry(rule.name().to_owned()).or_default().add(rule));
        rules.retain(|_, sum| sum.carried.iter().any(|(_, count)| *count > 0));
        let ends = rules.iter().flat_map(|(rule, sum)| {
            sum.carried.iter().map(|(result, count)| ([("rule", rule.as_str()), ("result", *result)], *count))
        });
        sheet.counters("carried", "Those that are over", ends)?;
        let bytes = rules.iter().flat_map(|(rule, sum)| {
            let labels = |direction| [("rule", rule.as_str()), ("direction", direction)];
            [(labels("up"), sum.bytes_in), (labels("down"), sum.bytes_out)]
        });
        sheet.counters("carried_bytes", "What they carried, once they are over", bytes)?;
        let dropped = self.sum(|core| core.datagrams_dropped.get());
        sheet.counter("datagrams_dropped", "Datagrams that found no rule, no endpoint or no room", dropped)
    }

    fn backends(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let mut sums: BTreeMap<String, BackendSum> = BTreeMap::new();
        self.each_backend(|backend| sums.entry(backend.name().to_owned()).or_default().add(backend));
        let answers = sums.iter().flat_map(|(name, sum)| by_class("backend", name, &sum.answers));
        sheet.counters("backend_requests", "Requests that a backend was chosen for, by status", answers)?;
        let times = sums.iter().map(|(name, sum)| ([("backend", name.as_str())], &sum.times));
        sheet.histograms("backend_request_duration", "The same as request_duration, by backend", times)?;
        let connects = sums.iter().flat_map(|(name, sum)| {
            let labels = |how| [("backend", name.as_str()), ("connection", how)];
            [(labels("new"), sum.connects), (labels("reused"), sum.reuses)]
        });
        sheet.counters("backend_connections", "Connections taken for requests", connects)?;
        let retries = sums.iter().map(|(name, sum)| ([("backend", name.as_str())], sum.retries));
        sheet.counters("backend_retries", "Tries after the first", retries)?;
        let waits = sums.iter().flat_map(|(name, sum)| {
            let ends = WAIT_ENDS.into_iter().zip(&sum.waits).filter(|(_, times)| **times != Folded::default());
            ends.map(move |(end, times)| ([("backend", name.as_str()), ("end", end)], times))
        });
        sheet.histograms("queue_wait", "How long requests waited for an endpoint", waits)
    }

    fn gauges(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let names: Vec<_> = self.gauges.backends.iter().map(|backend| backend.name.to_string()).collect();
        let mut gauge = |name, help, value: fn(&BackendGauges) -> u64| {
            let values = names.iter().zip(&self.gauges.backends);
            sheet.gauges(name, help, values.map(|(name, backend)| ([("backend", name.as_str())], value(backend))))
        };
        gauge("backend_in_flight", "Requests that are being served", |backend| backend.in_flight)?;
        gauge("queue_depth", "Requests that wait for an endpoint", |backend| backend.queued)?;
        gauge("queue_bytes", "What they keep", |backend| backend.queued_bytes)?;
        gauge("backend_endpoints", "Endpoints", |backend| backend.endpoints)?;
        gauge("backend_endpoints_ready", "Endpoints that get requests", |backend| backend.endpoints_ready)
    }

    fn cold_starts(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let control = self.hub.control();
        let counts = control.cold_starts.iter().map(|(name, starts)| ([("backend", name.as_str())], starts.count));
        sheet.counters("cold_starts", "Starts from zero that got ready", counts)?;
        let phases = control.cold_starts.iter().flat_map(|(name, starts)| {
            let phases = ["ready", "dispatched", "first_byte"].into_iter().zip(&starts.phases);
            phases.map(move |(phase, times)| ([("backend", name.as_str()), ("phase", phase)], times))
        });
        sheet.histograms("cold_start_duration", "From the first request that waited to each phase of the start", phases)
    }

    fn sum(&self, of: impl Fn(&super::CoreCounters) -> u64) -> u64 {
        self.hub.cores.iter().map(|core| of(core)).sum()
    }

    fn each_rule(&self, mut each: impl FnMut(&RuleSeries)) {
        self.hub.cores.iter().for_each(|core| core.rules().iter().for_each(|rule| each(rule)));
    }

    fn each_backend(&self, mut each: impl FnMut(&BackendSeries)) {
        self.hub.cores.iter().for_each(|core| core.backends().iter().for_each(|backend| each(backend)));
    }
}

#[derive(Default)]
struct RuleSum {
    answers: [u64; CLASSES.len()],
    bytes_in: u64,
    bytes_out: u64,
    carried: [(&'static str, u64); 2],
}

impl RuleSum {
    fn add(&mut self, rule: &RuleSeries) {
        rule.answers.fold_into(&mut self.answers);
        self.bytes_in += rule.bytes_in.get();
        self.bytes_out += rule.bytes_out.get();
        let counts = [("ended", rule.carried.ended.get()), ("failed", rule.carried.failed.get())];
        for (sum, (result, count)) in self.carried.iter_mut().zip(counts) {
            *sum = (result, sum.1 + count);
        }
    }
}

#[derive(Default)]
struct BackendSum {
    answers: [u64; CLASSES.len()],
    times: Folded,
    waits: [Folded; WAIT_ENDS.len()],
    connects: u64,
    reuses: u64,
    retries: u64,
}

impl BackendSum {
    fn add(&mut self, backend: &BackendSeries) {
        backend.answers.fold_into(&mut self.answers);
        self.times.add(&backend.times);
        self.waits.iter_mut().zip(&backend.waits).for_each(|(sum, waits)| sum.add(waits));
        self.connects += backend.connects.get();
        self.reuses += backend.reuses.get();
        self.retries += backend.retries.get();
    }
}

type TwoLabels<'a> = [(&'static str, &'a str); 2];

/// Only classes that occurred: most rules never see a 1xx.
fn by_class<'a>(
    label: &'static str,
    name: &'a str,
    sums: &'a [u64; CLASSES.len()],
) -> impl Iterator<Item = (TwoLabels<'a>, u64)> {
    let occurred = CLASSES.into_iter().zip(sums).filter(|(_, count)| **count > 0);
    occurred.map(move |(class, count)| ([(label, name), ("code_class", class)], *count))
}

/// Writes one metric after the other.
struct Sheet<'e>(DescriptorEncoder<'e>);

impl Sheet<'_> {
    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// Durations, in seconds as Prometheus wants them.
    fn histograms<'h, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, &'h Folded)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, folded) in values {
            encode_histogram(metric.encode_family(&labels)?, folded)?;
        }
        Ok(())
    }
}

fn encode_histogram(mut metric: MetricEncoder<'_>, folded: &Folded) -> fmt::Result {
    let bounds = BUCKETS_MS.iter().map(|ms| ms / 1000.0).chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(folded.counts).collect();
    let count = folded.counts.iter().sum();
    metric.encode_histogram::<NoLabelSet>(folded.sum_us as f64 / 1e6, count, &buckets, None)
}

/// Counters of a core that belong to no rule, backend or port.
#[derive(Debug)]
pub(super) struct CoreFixed {
    pub opened: Count,
    pub closed: Count,
    pub begun: Count,
    pub told: Count,
    pub carrying: Count,
    pub carried: Count,
    pub datagrams_dropped: Count,
    pub floods: [Count; Flood::NAMES.len()],
    pub failures: Box<[Count]>,
    pub mirrors: [Count; 3],
    pub lane: Arc<Lane>,
}

impl CoreFixed {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        Self {
            opened: Count::default(),
            closed: Count::default(),
            begun: Count::default(),
            told: Count::default(),
            carrying: Count::default(),
            carried: Count::default(),
            datagrams_dropped: Count::default(),
            floods: Default::default(),
            failures: Failure::ALL.iter().map(|_| Count::default()).collect(),
            mirrors: Default::default(),
            lane,
        }
    }
}
