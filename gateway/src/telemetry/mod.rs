//! What the gateway tells of itself: metrics, access log, past requests. Cores write what only they write; whoever reads waits, never a core.

mod access_log;
mod counters;
mod explain_ring;
mod metrics;
mod record;

pub use access_log::LogFormat;
pub use counters::{BackendSeries, RuleSeries, WaitEnd};
pub use metrics::{BackendGauges, Gauges};
pub use record::{Began, Record, Spoken};

use crate::{listen::Crowd, meter::Flood, sweep::Sweep};
use access_log::{Lane, Pen, Writer};
use counters::{Folded, Histogram, PortSeries, Series};
use explain_ring::ExplainRing;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use headgate_config::{BackendName, RuleName, Version};
use metrics::CoreFixed;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Display,
    hash::BuildHasher,
    io::Write,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The telemetry of one gateway; clones are the same.
#[derive(Clone, Debug)]
pub struct Telemetry {
    hub: Arc<Hub>,
    log: Option<Arc<Log>>,
}

/// Where the access log goes.
pub struct LogSink {
    /// What takes the lines.
    pub sink: Box<dyn Write + Send>,
    /// Whether they are JSON; see [`LogFormat::is_json`].
    pub json: bool,
    /// Bytes a core that may wait for the writer.
    pub bytes_max: usize,
}

#[derive(Debug)]
struct Log {
    writer: Writer,
    json: bool,
    bytes_max: usize,
}

/// What cores write and a scrape reads.
#[derive(Debug)]
struct Hub {
    cores: Vec<Arc<CoreCounters>>,
    refused_connections: [AtomicU64; Crowd::NAMES.len()],
    control: Mutex<Control>,
}

/// Counters of one core. The locks are taken by its core only when something is seen for the first time.
#[derive(Debug)]
struct CoreCounters {
    fixed: CoreFixed,
    rules: Mutex<Vec<Arc<RuleSeries>>>,
    backends: Mutex<Vec<Arc<BackendSeries>>>,
    ports: Mutex<Vec<(u16, Arc<PortSeries>)>>,
    ring: ExplainRing,
}

/// What the control thread counts.
#[derive(Debug, Default)]
struct Control {
    table_version: u64,
    rules: u64,
    reloads: u64,
    reloads_refused: u64,
    cold_starts: BTreeMap<String, ColdStarts>,
}

#[derive(Debug, Default)]
struct ColdStarts {
    count: u64,
    /// Ready, dispatched, first byte.
    phases: [Folded; 3],
}

impl Telemetry {
    /// For so many cores, with an access log or without, and a ring of past requests.
    ///
    /// # Errors
    /// If the log's thread cannot be started.
    pub fn new(cores: usize, log: Option<LogSink>, explain_count: usize) -> std::io::Result<Self> {
        let lanes: Vec<_> = (0..cores).map(|_| Arc::new(Lane::default())).collect();
        let ring_count = explain_count.div_ceil(cores.max(1));
        let core = |lane: &Arc<Lane>| Arc::new(CoreCounters::new(lane.clone(), ring_count));
        let hub = Hub {
            cores: lanes.iter().map(core).collect(),
            refused_connections: Default::default(),
            control: Mutex::default(),
        };
        let log = log.map(|LogSink { sink, json, bytes_max }| {
            Ok::<_, std::io::Error>(Arc::new(Log { writer: Writer::start(lanes, sink)?, json, bytes_max }))
        });
        Ok(Self { hub: Arc::new(hub), log: log.transpose()? })
    }

    /// The part of a core: made once by the core's own thread.
    pub fn shard(&self, core: usize) -> Shard {
        let counters = self.hub.cores[core].clone();
        let lane = counters.fixed.lane.clone();
        let pen = self.log.as_ref().map(|log| Pen::new(lane, log.writer.thread(), log.bytes_max, log.json));
        Shard {
            counters,
            pen: RefCell::new(pen),
            rules: RefCell::default(),
            backends: RefCell::default(),
            ports: RefCell::default(),
        }
    }

    /// A connection was closed before anything was read of it.
    pub fn refused_connection(&self, crowd: Crowd) {
        self.hub.refused_connections[crowd as usize].fetch_add(1, Relaxed);
    }

    /// Requests see a new version of the routes.
    pub fn reloaded(&self, version: Version, rules: usize) {
        let mut control = self.hub.control();
        control.table_version = version.0;
        control.rules = rules as u64;
        control.reloads += 1;
    }

    /// A change of the routes was refused as a whole.
    pub fn reload_refused(&self) {
        self.hub.control().reloads_refused += 1;
    }

    /// A backend started from zero; durations from the first request that waited.
    pub fn cold_started(
        &self,
        backend: &BackendName,
        ready: Duration,
        dispatched: Option<Duration>,
        first_byte: Option<Duration>,
    ) {
        let mut control = self.hub.control();
        let starts = control.cold_starts.entry(backend.to_string()).or_default();
        starts.count += 1;
        for (phase, time) in starts.phases.iter_mut().zip([Some(ready), dispatched, first_byte]) {
            if let Some(time) = time {
                let once = Histogram::default();
                once.observe(time);
                phase.add(&once);
            }
        }
    }

    /// Forgets the series of rules and backends that are gone, by their printed names. After a swap, on the control thread.
    pub fn retain(&self, rule_stays: impl Fn(&str) -> bool, backend_stays: impl Fn(&str) -> bool) {
        for core in &self.hub.cores {
            unlist(&mut core.rules(), &rule_stays);
            unlist(&mut core.backends(), &backend_stays);
        }
        self.hub.control().cold_starts.retain(|name, _| backend_stays(name));
    }

    /// Answers that a backend's requests got, and what was carried to it, over all cores.
    pub fn requests_to(&self, backend: &str) -> u64 {
        let of_core = |core: &Arc<CoreCounters>| -> u64 {
            let backends = core.backends();
            let named = backends.iter().filter(|series| series.name() == backend);
            named.map(|series| series.answers.total() + series.carried.total()).sum()
        };
        self.hub.cores.iter().map(of_core).sum()
    }

    /// Requests that are not over, over all cores.
    pub fn active_requests(&self) -> u64 {
        let of_core = |core: &Arc<CoreCounters>| core.begun.get().saturating_sub(core.told.get());
        self.hub.cores.iter().map(of_core).sum()
    }

    /// What `/metrics` says (OpenMetrics text).
    pub fn scrape(&self, gauges: Gauges) -> String {
        metrics::encode(&self.hub, gauges)
    }

    /// The newest past request of an id, as the JSON line of the access log.
    pub fn find(&self, request_id: &str) -> Option<String> {
        self.hub.cores.iter().find_map(|core| core.ring.find(request_id))
    }
}

fn unlist<S: Series>(series: &mut Vec<Arc<S>>, stays: impl Fn(&str) -> bool) {
    series.retain(|one| {
        let stays = stays(one.name());
        one.listed().store(stays, Relaxed);
        stays
    });
}

impl Hub {
    fn control(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }
}

impl CoreCounters {
    fn new(lane: Arc<Lane>, ring_count: usize) -> Self {
        Self {
            fixed: CoreFixed::new(lane),
            rules: Mutex::default(),
            backends: Mutex::default(),
            ports: Mutex::default(),
            ring: ExplainRing::new(ring_count),
        }
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Arc<RuleSeries>>> {
        lock(&self.rules)
    }

    fn backends(&self) -> MutexGuard<'_, Vec<Arc<BackendSeries>>> {
        lock(&self.backends)
    }

    fn ports(&self) -> MutexGuard<'_, Vec<(u16, Arc<PortSeries>)>> {
        lock(&self.ports)
    }
}

impl std::ops::Deref for CoreCounters {
    type Target = CoreFixed;

    fn deref(&self) -> &CoreFixed {
        &self.fixed
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}

/// What one core counts and logs with; lives on its thread.
#[derive(Debug)]
pub struct Shard {
    counters: Arc<CoreCounters>,
    pen: RefCell<Option<Pen>>,
    rules: RefCell<Seen<RuleName, RuleSeries>>,
    backends: RefCell<Seen<BackendName, BackendSeries>>,
    ports: RefCell<Vec<(u16, Arc<PortSeries>)>>,
}

/// What became of a mirrored copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorEnd {
    /// It was answered, with whatever.
    Sent,
    /// It could not be sent.
    Failed,
    /// There was no room for it.
    Dropped,
}

impl Shard {
    /// The series of a rule, for the `rule` of a [`Record`]. Allocates only when the rule is seen for the first time.
    pub fn rule(&self, name: &RuleName) -> Arc<RuleSeries> {
        self.rules.borrow_mut().series(name, &self.counters.rules)
    }

    /// The series of a backend, for the `backend` of a [`Record`].
    pub fn backend(&self, name: &BackendName) -> Arc<BackendSeries> {
        self.backends.borrow_mut().series(name, &self.counters.backends)
    }

    /// A connection was taken on.
    pub fn connection_opened(&self) {
        self.counters.opened.add(1);
    }

    /// A connection is gone.
    pub fn connection_closed(&self) {
        self.counters.closed.add(1);
    }

    /// A connection of HTTP/2 was ended, since its client sent too much of something.
    pub fn flooded(&self, flood: Flood) {
        self.counters.floods[flood as usize].add(1);
    }

    /// A request began; each is told once.
    pub fn request_began(&self) {
        self.counters.begun.add(1);
    }

    /// A connection, or the datagrams of a client, are carried from now on; each is told once.
    pub fn carrying_began(&self) {
        self.counters.carrying.add(1);
    }

    /// Counts what was carried and is over, and logs it.
    pub fn tell_carried(&self, record: Record) {
        self.counters.carried.add(1);
        let failed = record.failure.is_some();
        if let Some(failure) = record.failure {
            self.counters.failures[failure.id()].add(1);
        }
        if let Some(rule) = &record.rule {
            rule.carried.add(failed);
            rule.bytes_in.add(record.bytes_in);
            rule.bytes_out.add(record.bytes_out);
        }
        if let Some(backend) = &record.backend {
            backend.carried.add(failed);
        }
        if let Some(pen) = &mut *self.pen.borrow_mut() {
            pen.write(&record);
        }
    }

    /// A datagram was dropped.
    pub fn datagram_dropped(&self) {
        self.counters.datagrams_dropped.add(1);
    }

    /// A copy of a request is done with.
    pub fn mirrored(&self, end: MirrorEnd) {
        self.counters.mirrors[end as usize].add(1);
    }

    /// Counts a request that is over, logs it, and keeps it for `explain`.
    pub fn tell(&self, record: Record) {
        self.count(&record);
        if let Some(pen) = &mut *self.pen.borrow_mut() {
            pen.write(&record);
        }
        self.counters.ring.push(record);
    }

    fn count(&self, record: &Record) {
        let status = record.logged_status();
        self.counters.told.add(1);
        if let Some(failure) = record.failure {
            self.counters.failures[failure.id()].add(1);
        }
        if let Some(rule) = &record.rule {
            rule.answers.add(status);
            rule.bytes_in.add(record.bytes_in);
            rule.bytes_out.add(record.bytes_out);
        }
        if let Some(backend) = &record.backend {
            backend.answers.add(status);
            backend.times.observe(record.total);
        }
        self.port(record.port, |port| port.times.observe(record.total));
    }

    fn port(&self, port: u16, count: impl FnOnce(&PortSeries)) {
        let mut ports = self.ports.borrow_mut();
        // A gateway has a handful of ports.
        match ports.iter().find(|(known, _)| *known == port) {
            Some((_, series)) => count(series),
            None => {
                let series = Arc::new(PortSeries::default());
                count(&series);
                self.counters.ports().push((port, series.clone()));
                ports.push((port, series));
            }
        }
    }
}

/// A name of an object, found by where its texts stand: the texts of many names are many lines of memory, which no cache has.
trait Placed: Clone + Eq + Display {
    fn hash(&self, by: &RandomState) -> u64;
}

impl Placed for RuleName {
    fn hash(&self, by: &RandomState) -> u64 {
        by.hash_one((self.namespace.place(), self.route.place(), self.index, self.kind))
    }
}

impl Placed for BackendName {
    fn hash(&self, by: &RandomState) -> u64 {
        by.hash_one((self.namespace.place(), self.service.place(), self.uid.place(), self.port, self.transport))
    }
}

/// The series that a core has seen, by name. Names come from objects, never from requests.
#[derive(Debug)]
struct Seen<N, S> {
    by: RandomState,
    series: HashTable<(N, Arc<S>)>,
    sweep: Sweep,
}

impl<N, S> Default for Seen<N, S> {
    fn default() -> Self {
        Self { by: RandomState::default(), series: HashTable::new(), sweep: Sweep::default() }
    }
}

impl<N: Placed, S: Series> Seen<N, S> {
    fn series(&mut self, name: &N, listed: &Mutex<Vec<Arc<S>>>) -> Arc<S> {
        let Self { by, series: known, sweep } = self;
        let hash = name.hash(by);
        let found = known.find_mut(hash, |(other, _)| other == name);
        if let Some((_, series)) = &found
            && series.listed().load(Relaxed)
        {
            return series.clone();
        }
        let new = Arc::new(S::new(name.to_string()));
        lock(listed).push(new.clone());
        if let Some((_, series)) = found {
            *series = new.clone();
            return new;
        }
        sweep.before_adding(known.len(), || {
            known.retain(|(_, series)| series.listed().load(Relaxed));
            known.len()
        });
        known.insert_unique(hash, (name.clone(), new.clone()), |(other, _)| other.hash(by));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use headgate_config::{RouteKind, Scheme};
    use headgate_message::{Authority, Fields, Method, RequestHead, Span, Target, Version as HttpVersion};
    use std::time::Instant;

    pub(super) fn request(method: &str, host: &str, target: &str) -> RequestHead {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut fields = Fields::default();
        let raw = fields.store(target.as_bytes());
        let path = fields.store(path.as_bytes());
        let query = query.map(|query| fields.store(query.as_bytes()));
        let mut head = RequestHead {
            method: Method::parse(method.as_bytes()).unwrap(),
            scheme: Scheme::Http,
            authority: Authority { text: Span::default(), host: Span::default(), port: None },
            target: Target { raw, path, query },
            fields,
        };
        head.set_authority(host).unwrap();
        head
    }

    fn rule_name(route: &str) -> RuleName {
        RuleName { kind: RouteKind::HTTPRoute, namespace: "default".into(), route: route.into(), index: 0 }
    }

    fn backend_name(service: &str) -> BackendName {
        BackendName { uid: "1".into(), ..BackendName::tcp("default", service, 80) }
    }

    pub(super) fn series() -> (Arc<RuleSeries>, Arc<BackendSeries>) {
        let rule = RuleSeries::new(rule_name("hello").to_string());
        (Arc::new(rule), Arc::new(BackendSeries::new(backend_name("hello").to_string())))
    }

    fn told(shard: &Shard, route: &str, status: u16, failure: Option<Failure>) {
        shard.request_began();
        let arrived = Instant::now();
        let peer = "192.0.2.1".parse().unwrap();
        let mut record = Record::begin(peer, 80, &request("GET", "a.io", "/"), HttpVersion::Http11, arrived);
        record.set_request_id(route.as_bytes());
        record.rule = Some(shard.rule(&rule_name(route)));
        record.backend = Some(shard.backend(&backend_name(route)));
        record.status = status;
        record.failure = failure;
        record.bytes_in = 10;
        record.bytes_out = 20;
        record.end(arrived + Duration::from_millis(7));
        shard.tell(record);
    }

    fn line<'t>(text: &'t str, start: &str) -> Option<&'t str> {
        text.lines().find_map(|line| line.strip_prefix(start)).map(str::trim)
    }

    #[test]
    fn names_and_labels_are_an_interface() {
        let telemetry = Telemetry::new(1, None, 10).unwrap();
        let shard = telemetry.shard(0);
        told(&shard, "hello", 200, None);
        told(&shard, "hello", 503, Some(Failure::QueueFull));
        let backend = shard.backend(&backend_name("hello"));
        backend.connected(false);
        backend.retried();
        backend.waited(WaitEnd::Served, Duration::from_millis(3));
        shard.mirrored(MirrorEnd::Sent);
        shard.flooded(Flood::Ping);
        telemetry.refused_connection(Crowd::Memory);
        shard.carrying_began();
        let peer = "192.0.2.1".parse().unwrap();
        let mut carried = Record::carried(peer, 9000, Spoken::Tcp, "", Instant::now());
        carried.rule = Some(shard.rule(&RuleName { kind: RouteKind::TCPRoute, ..rule_name("db") }));
        shard.tell_carried(carried);
        telemetry.reloaded(Version(3), 1);
        telemetry.cold_started(&backend_name("hello"), Duration::from_secs(1), None, None);
        let gauges = BackendGauges {
            name: backend_name("hello"),
            in_flight: 1,
            queued: 2,
            queued_bytes: 3,
            endpoints: 4,
            endpoints_ready: 5,
        };
        let text = telemetry.scrape(Gauges { backends: vec![gauges], ..Gauges::default() });
        let mut shapes: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, labels) = line.split_once(['{', ' ']).unwrap();
            let labels: Vec<_> = match line.contains('{') {
                true => labels.split("\",").map(|label| label.split('=').next().unwrap()).collect(),
                false => Vec::new(),
            };
            let shape = format!("{name}{{{}}}", labels.join(","));
            if !shapes.contains(&shape) && !name.ends_with("_sum") && !name.ends_with("_count") {
                shapes.push(shape);
            }
        }
        assert_eq!(
            shapes.join("\n"),
            "headgate_build_info{version}\n\
             headgate_table_version{}\n\
             headgate_table_rules{}\n\
             headgate_reloads_total{result}\n\
             headgate_memory_bytes{}\n\
             headgate_memory_budget_bytes{}\n\
             headgate_memory_free_bytes{}\n\
             headgate_memory_level{}\n\
             headgate_connections_total{result}\n\
             headgate_connections_refused_total{limit}\n\
             headgate_connections_open{}\n\
             headgate_handshakes_open{}\n\
             headgate_http2_floods_total{kind}\n\
             headgate_log_lines_dropped_total{}\n\
             headgate_requests_active{}\n\
             headgate_requests_total{rule,code_class}\n\
             headgate_request_bytes_total{rule}\n\
             headgate_response_bytes_total{rule}\n\
             headgate_failures_total{failure}\n\
             headgate_mirrors_total{result}\n\
             headgate_request_duration_seconds_bucket{le,port}\n\
             headgate_carried_open{}\n\
             headgate_carried_total{rule,result}\n\
             headgate_carried_bytes_total{rule,direction}\n\
             headgate_datagrams_dropped_total{}\n\
             headgate_backend_requests_total{backend,code_class}\n\
             headgate_backend_request_duration_seconds_bucket{le,backend}\n\
             headgate_backend_connections_total{backend,connection}\n\
             headgate_backend_retries_total{backend}\n\
             headgate_queue_wait_seconds_bucket{le,backend,end}\n\
             headgate_backend_in_flight{backend}\n\
             headgate_queue_depth{backend}\n\
             headgate_queue_bytes{backend}\n\
             headgate_backend_endpoints{backend}\n\
             headgate_backend_endpoints_ready{backend}\n\
             headgate_cold_starts_total{backend}\n\
             headgate_cold_start_duration_seconds_bucket{le,backend,phase}"
        );
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn cores_are_summed_at_scrape() {
        let telemetry = Telemetry::new(2, None, 10).unwrap();
        let shards = [telemetry.shard(0), telemetry.shard(1)];
        for shard in &shards {
            told(shard, "hello", 200, None);
            told(shard, "hello", 0, Some(Failure::ClientGone));
            shard.connection_opened();
            shard.request_began();
        }
        shards[0].connection_closed();
        telemetry.refused_connection(Crowd::Connections);
        let text = telemetry.scrape(Gauges::default());
        let rule = "rule=\"HTTPRoute/default/hello/0\"";
        for (start, value) in [
            (format!("headgate_requests_total{{{rule},code_class=\"2xx\"}}"), "2"),
            (format!("headgate_requests_total{{{rule},code_class=\"4xx\"}}"), "2"),
            (format!("headgate_request_bytes_total{{{rule}}}"), "40"),
            ("headgate_failures_total{failure=\"client_gone\"}".into(), "2"),
            ("headgate_requests_active".into(), "2"),
            ("headgate_connections_open".into(), "1"),
            ("headgate_connections_total{result=\"refused\"}".into(), "1"),
            ("headgate_backend_request_duration_seconds_bucket{le=\"0.005\",backend=\"default/hello:80\"}".into(), "0"),
            ("headgate_backend_request_duration_seconds_bucket{le=\"0.01\",backend=\"default/hello:80\"}".into(), "4"),
            ("headgate_request_duration_seconds_bucket{le=\"+Inf\",port=\"80\"}".into(), "4"),
            ("headgate_request_duration_seconds_sum{port=\"80\"}".into(), "0.028"),
        ] {
            assert_eq!(line(&text, &format!("{start} ")), Some(value), "{start}\n{text}");
        }
    }

    #[test]
    fn series_go_with_their_rules_and_start_anew_when_they_come_back() {
        let telemetry = Telemetry::new(1, None, 0).unwrap();
        let shard = telemetry.shard(0);
        told(&shard, "kept", 200, None);
        told(&shard, "gone", 200, None);
        telemetry.retain(|rule| rule.contains("kept"), |backend| backend.contains("kept"));
        let text = telemetry.scrape(Gauges::default());
        assert!(text.contains("default/kept") && !text.contains("gone"), "{text}");
        told(&shard, "gone", 200, None);
        let text = telemetry.scrape(Gauges::default());
        let start = "headgate_requests_total{rule=\"HTTPRoute/default/gone/0\",code_class=\"2xx\"} ";
        assert_eq!(line(&text, start), Some("1"));
        assert_eq!(shard.rules.borrow().series.len(), 2);
    }

    #[test]
    fn what_clients_send_makes_no_series() {
        let telemetry = Telemetry::new(1, None, 5).unwrap();
        let shard = telemetry.shard(0);
        told(&shard, "hello", 200, None);
        let before = telemetry.scrape(Gauges::default()).lines().count();
        for at in 0..2000 {
            let head = request("GET", &format!("h{at}.io"), &format!("/{at}"));
            let mut record = Record::begin("::1".parse().unwrap(), 80, &head, HttpVersion::Http2, Instant::now());
            record.status = 200;
            shard.tell(record);
        }
        assert_eq!(telemetry.scrape(Gauges::default()).lines().count(), before);
    }

    #[test]
    fn past_requests_are_found_by_id() {
        let telemetry = Telemetry::new(2, None, 10).unwrap();
        let shards = [telemetry.shard(0), telemetry.shard(1)];
        told(&shards[1], "hello", 200, None);
        assert!(telemetry.find("hello").unwrap().contains("\"status\":200"));
        assert!(telemetry.find("nobody").is_none());
    }
}
