//! One line a request: JSON for machines, text for a terminal. Never blocks a core, and never lets a byte of a request break a line.

use super::record::Record;
use std::{
    io::{IsTerminal, Write},
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is no log format: write auto, text or json")),
        }
    }
}

impl LogFormat {
    /// Whether lines to `sink` are JSON.
    pub fn is_json(self, sink: &impl IsTerminal) -> bool {
        match self {
            Self::Auto => !sink.is_terminal(),
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// Lines of one core on their way to the writer.
#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: Mutex<Vec<u8>>,
    pub(super) dropped: AtomicU64,
}

impl Lane {
    fn swap(&self, taken: &mut Vec<u8>) {
        if let Ok(mut waiting) = self.waiting.lock() {
            std::mem::swap(&mut *waiting, taken);
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().is_ok_and(|waiting| waiting.is_empty())
    }
}

/// A core's end of its lane.
#[derive(Debug)]
pub(super) struct Pen {
    lane: Arc<Lane>,
    writer: Thread,
    /// Lines that found the lane locked; they go with the next.
    unsent: Vec<u8>,
    bytes_max: usize,
    json: bool,
}

impl Pen {
    pub(super) fn new(lane: Arc<Lane>, writer: Thread, bytes_max: usize, json: bool) -> Self {
        Self { lane, writer, unsent: Vec::new(), bytes_max, json }
    }

    /// Writes a record's line; one that finds no room is dropped and counted.
    pub(super) fn write(&mut self, record: &Record) {
        let kept = self.unsent.len();
        if self.json {
            json_line(record, &mut self.unsent)
        } else {
            text_line(record, &mut self.unsent)
        }
        // The writer holds the lock for the length of a swap. A core does not wait even for that.
        let Ok(mut waiting) = self.lane.waiting.try_lock() else {
            if self.unsent.len() > self.bytes_max {
                self.unsent.truncate(kept);
                self.lane.dropped.fetch_add(1, Relaxed);
            }
            return;
        };
        if waiting.len() + self.unsent.len() > self.bytes_max {
            let lines = self.unsent.iter().filter(|&&byte| byte == b'\n').count();
            self.lane.dropped.fetch_add(lines as u64, Relaxed);
        } else {
            let was_empty = waiting.is_empty();
            waiting.extend_from_slice(&self.unsent);
            drop(waiting);
            if was_empty {
                self.writer.unpark();
            }
        }
        self.unsent.clear();
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        // The end of a core: here a wait is no harm.
        if let Ok(mut waiting) = self.lane.waiting.lock() {
            waiting.extend_from_slice(&self.unsent);
        }
        self.writer.unpark();
    }
}

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

/// Lines are gathered for this long, so that a busy core wakes the writer seldom.
const GATHERED: Duration = Duration::from_millis(5);

impl Writer {
    /// Starts it over the lanes of all cores.
    pub(super) fn start(lanes: Vec<Arc<Lane>>, sink: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let mut sink = Sink { to: sink, is_torn: false, is_failing: false };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut taken = Vec::new();
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || {
            loop {
                let last = stopped.load(Relaxed);
                for lane in &lanes {
                    lane.swap(&mut taken);
                    lane.dropped.fetch_add(sink.put(&taken), Relaxed);
                    taken.clear();
                }
                if last {
                    return;
                }
                // The sink may park too, and so eat a wake-up: what came meanwhile is looked for before this thread parks.
                if !stopped.load(Relaxed) && lanes.iter().all(|lane| lane.is_empty()) {
                    std::thread::park();
                }
                std::thread::sleep(GATHERED);
            }
        })?;
        Ok(Self { thread: Some(thread), stop })
    }

    pub(super) fn thread(&self) -> Thread {
        self.thread.as_ref().expect("it is taken only by drop").thread().clone()
    }
}

impl Drop for Writer {
    /// Writes what is left, and ends.
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It panics only if the sink does.
            let _ = thread.join();
        }
    }
}

/// Where lines go. One that takes nothing, a full disk or a closed pipe, does not stop the gateway.
struct Sink {
    to: Box<dyn Write + Send>,
    /// The last line was not written to its end: the next one begins on a line of its own.
    is_torn: bool,
    is_failing: bool,
}

impl Sink {
    /// Writes lines; how many of them were lost.
    fn put(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        let mut left = lines;
        let mut failed = if self.is_torn { self.to.write_all(b"\n").err() } else { None };
        self.is_torn &= failed.is_some();
        while !left.is_empty() && failed.is_none() {
            match self.to.write(left) {
                Ok(0) => failed = Some(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => failed = Some(error),
            }
        }
        let failed = failed.or_else(|| self.to.flush().err());
        self.is_torn |= !left.is_empty() && lines.len() > left.len() && lines[lines.len() - left.len() - 1] != b'\n';
        if let Some(error) = failed.as_ref().filter(|_| !self.is_failing) {
            tracing::warn!(%error, "lines of the access log are lost");
        }
        if failed.is_none() && self.is_failing {
            tracing::info!("the access log is written again");
        }
        self.is_failing = failed.is_some();
        left.iter().filter(|byte| **byte == b'\n').count() as u64
    }
}

/// One JSON object and a line end. What is not known is left out.
pub(super) fn json_line(record: &Record, out: &mut Vec<u8>) {
    if record.is_carried() {
        return carried_json_line(record, out);
    }
    let mut line = Object::begin(out);
    line.plain("time", &timestamp(record.unix_ms));
    line.text("request_id", record.request_id().as_bytes());
    line.client(record.client);
    if let Some(method) = &record.method {
        line.text("method", method.as_str().as_bytes());
        line.text("host", record.host());
        line.text("path", record.path());
    }
    line.plain("protocol", record.spoken.as_str().as_bytes());
    line.number("status", record.logged_status());
    if let Some(code) = record.grpc_status {
        line.number("grpc_status", code);
    }
    line.why_and_where(record);
    line.ms("first_byte_ms", record.first_byte);
    if !record.agent().is_empty() {
        line.text("user_agent", record.agent());
    }
    line.end();
}

/// The same for what was carried and not read.
fn carried_json_line(record: &Record, out: &mut Vec<u8>) {
    let mut line = Object::begin(out);
    line.plain("time", &timestamp(record.unix_ms));
    line.client(record.client);
    line.plain("protocol", record.spoken.as_str().as_bytes());
    line.number("port", record.port);
    if !record.host().is_empty() {
        line.text("server_name", record.host());
    }
    line.why_and_where(record);
    line.end();
}

/// One line for a person: `12:00:01.123 GET a.io/path 200 12.3ms ns/svc:80 …`.
pub(super) fn text_line(record: &Record, out: &mut Vec<u8>) {
    let time = timestamp(record.unix_ms);
    out.extend_from_slice(&time[11..23]);
    out.push(b' ');
    match &record.method {
        Some(method) => {
            put(out, format_args!("{method} "));
            escape(record.host(), out);
            escape(record.path(), out);
        }
        None if record.is_carried() => {
            put(out, format_args!("{} ", record.spoken.as_str()));
            escape(record.host(), out);
            put(out, format_args!(":{}", record.port));
        }
        None => put(out, format_args!("- ")),
    }
    match record.is_carried() {
        true => put(out, format_args!(" {}B up {}B down", record.bytes_in, record.bytes_out)),
        false => put(out, format_args!(" {}", record.logged_status())),
    }
    put(out, format_args!(" {}", Ms(record.total)));
    if let Some(backend) = &record.backend {
        put(out, format_args!(" {}", backend.name()));
    }
    if let Some(waited) = record.waited {
        put(out, format_args!(" waited {}", Ms(waited)));
    }
    if record.attempts > 1 {
        put(out, format_args!(" {} tries", record.attempts));
    }
    if let Some(code) = record.grpc_status {
        put(out, format_args!(" grpc {code}"));
    }
    if let Some(failure) = record.failure {
        put(out, format_args!(" ({failure}"));
        if let Some(detail) = &record.detail {
            out.extend_from_slice(b": ");
            escape(detail.as_bytes(), out);
        }
        out.push(b')');
    }
    put(out, format_args!(" {}\n", record.request_id()));
}

struct Ms(Duration);

impl std::fmt::Display for Ms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1}ms", self.0.as_secs_f64() * 1000.0)
    }
}

/// RFC 3339 with milliseconds, in UTC. By hand, since each request pays for it.
fn timestamp(unix_ms: u64) -> [u8; 24] {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = date(days);
    let (s, ms) = (ms / 1000, ms % 1000);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let fields = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, s / 3600),
        (14, 2, s / 60 % 60),
        (17, 2, s % 60),
        (20, 3, ms),
    ];
    for (at, digits, value) in fields {
        let mut left = value;
        for place in text[at..at + digits].iter_mut().rev() {
            *place = b'0' + (left % 10) as u8;
            left /= 10;
        }
    }
    text
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day is the last of its year; an era is 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day_of_month)
}

/// A JSON object under way.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    started: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, started: false }
    }

    fn key(&mut self, key: &str) {
        let start: &[u8] = if std::mem::replace(&mut self.started, true) { b",\"" } else { b"\"" };
        self.out.extend_from_slice(start);
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        escape(value, self.out);
        self.out.push(b'"');
    }

    /// What has nothing to escape.
    fn plain(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value);
        self.out.push(b'"');
    }

    fn client(&mut self, address: IpAddr) {
        self.key("client");
        self.out.push(b'"');
        ip(self.out, address);
        self.out.push(b'"');
    }

    fn endpoint(&mut self, address: SocketAddr) {
        self.key("endpoint");
        self.out.push(b'"');
        match address {
            SocketAddr::V4(v4) => {
                ip(self.out, (*v4.ip()).into());
                self.out.push(b':');
                integer(self.out, v4.port());
            }
            SocketAddr::V6(v6) => put(self.out, format_args!("{v6}")),
        }
        self.out.push(b'"');
    }

    fn number(&mut self, key: &str, value: impl itoa::Integer) {
        self.key(key);
        integer(self.out, value);
    }

    /// Milliseconds with three places.
    fn ms(&mut self, key: &str, time: Option<Duration>) {
        let Some(time) = time else { return };
        // rounded, as a float would be
        let us = (time.as_nanos() as u64 + 500) / 1000;
        self.number(key, us / 1000);
        let (hundreds, tens, ones) = (us / 100 % 10, us / 10 % 10, us % 10);
        self.out.push(b'.');
        self.out.extend([hundreds, tens, ones].map(|digit| b'0' + digit as u8));
    }

    /// What both kinds of lines say: why it failed, where it went, how much and how long.
    fn why_and_where(&mut self, record: &Record) {
        if let Some(failure) = record.failure {
            self.plain("failure", failure.name().as_bytes());
        }
        if let Some(detail) = &record.detail {
            self.text("detail", detail.as_bytes());
        }
        self.number("routes", record.routes.0);
        if let Some(rule) = &record.rule {
            self.text("rule", rule.name().as_bytes());
        }
        if let Some(backend) = &record.backend {
            self.text("backend", backend.name().as_bytes());
        }
        if let Some(endpoint) = record.endpoint {
            self.endpoint(endpoint);
        }
        self.number("attempts", record.attempts);
        self.number("bytes_in", record.bytes_in);
        self.number("bytes_out", record.bytes_out);
        self.ms("total_ms", Some(record.total));
        self.ms("wait_ms", record.waited);
        self.ms("connect_ms", record.connecting);
    }

    fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                integer(out, octet);
            }
        }
        IpAddr::V6(v6) => put(out, format_args!("{v6}")),
    }
}

fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // A Vec takes every write.
    let _ = out.write_fmt(what);
}

/// Writes bytes so that they stay inside a JSON string and inside a line, and move no terminal: quotes, backslashes, controls
/// (C0, DEL, C1), U+2028 and U+2029 are escaped, and what is no UTF-8 becomes U+FFFD.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    // Nearly all texts are plain.
    if bytes.iter().all(|&b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\') {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend([b'\\', c as u8]),
                _ if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    put(out, format_args!("\\u{:04x}", c as u32));
                }
                _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{request, series};
    use super::*;
    use crate::failure::Failure;
    use headgate_message::Version;
    use std::{sync::mpsc, time::Instant};

    fn record(path: &str, agent: &[u8]) -> Record {
        let mut head = request("GET", "a.io", path);
        head.fields.push("user-agent", agent);
        head.fields.push("authorization", b"Bearer s3cret");
        let arrived = Instant::now();
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let mut record = Record::begin(peer, 80, &head, Version::Http11, arrived);
        record.unix_ms = 1_774_000_000_123;
        record.set_request_id(b"id-1");
        record.status = 200;
        record.attempts = 1;
        record.end(arrived + Duration::from_micros(12_345));
        record
    }

    fn json(record: &Record) -> String {
        let mut out = Vec::new();
        json_line(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_what_is_known() {
        let mut full = record("/a?token=s3cret", b"curl/8");
        assert_eq!(
            json(&full),
            "{\"time\":\"2026-03-20T09:46:40.123Z\",\"request_id\":\"id-1\",\"client\":\"192.0.2.1\",\"method\":\"GET\",\
             \"host\":\"a.io\",\"path\":\"/a\",\"protocol\":\"HTTP/1.1\",\"status\":200,\"routes\":0,\"attempts\":1,\
             \"bytes_in\":0,\"bytes_out\":0,\"total_ms\":12.345,\"user_agent\":\"curl/8\"}\n"
        );
        let (rule, backend) = series();
        full.rule = Some(rule);
        full.backend = Some(backend);
        full.routes = headgate_config::Version(7);
        full.endpoint = Some("10.0.0.1:8080".parse().unwrap());
        full.status = 503;
        full.failure = Some(Failure::ActivationFailed);
        full.detail = Some("exit 1".into());
        full.waited = Some(Duration::from_millis(800));
        full.connecting = Some(Duration::from_micros(300));
        full.first_byte = Some(Duration::from_millis(810));
        full.grpc_status = Some(14);
        full.attempts = 2;
        let value: serde_json::Value = serde_json::from_str(&json(&full)).unwrap();
        for (key, expected) in [
            ("failure", "\"activation_failed\""),
            ("detail", "\"exit 1\""),
            ("rule", "\"HTTPRoute/default/hello/0\""),
            ("backend", "\"default/hello:80\""),
            ("endpoint", "\"10.0.0.1:8080\""),
            ("routes", "7"),
            ("attempts", "2"),
            ("grpc_status", "14"),
            ("wait_ms", "800.0"),
            ("connect_ms", "0.3"),
            ("first_byte_ms", "810.0"),
        ] {
            assert_eq!(value[key].to_string(), expected, "{key}");
        }
        let mut line = Vec::new();
        text_line(&full, &mut line);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "09:46:40.123 GET a.io/a 503 12.3ms default/hello:80 waited 800.0ms 2 tries grpc 14 (activation_failed: exit 1) id-1\n"
        );
    }

    #[test]
    fn bytes_of_a_request_break_no_line() {
        for agent in [
            &b"a\"b\\c"[..],
            b"a\x1b[31mb\x07\x7f",
            "\u{2028}\u{2029}\u{85}\u{e9}".as_bytes(),
            b"a\xff\xfeb\xc3",
            b"\t",
        ] {
            let line = json(&record("/", agent));
            assert_eq!(line.bytes().filter(|b| *b < 0x20 || *b == 0x7f).count(), 1, "{line:?}");
            assert!(!line.contains(['\u{2028}', '\u{2029}', '\u{85}']), "{line:?}");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["user_agent"].as_str().unwrap(), String::from_utf8_lossy(agent), "{line:?}");
        }
    }

    #[test]
    fn no_secret_is_logged_and_long_texts_are_cut() {
        let line = json(&record(&format!("/{}?token=s3cret", "a".repeat(9000)), &[b'u'; 9000]));
        assert!(!line.contains("s3cret") && line.len() < 3000, "{}", line.len());
    }

    #[test]
    fn dates_are_right() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(std::str::from_utf8(&timestamp(unix_ms)).unwrap(), text);
        }
    }

    struct Slow(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Takes so many bytes, and says that it is full until there is room again.
    struct Full(Arc<std::sync::Mutex<(usize, Vec<u8>)>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let (room, taken) = &mut *self.0.lock().unwrap();
            let step = bytes.len().min(*room);
            if step == 0 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            taken.extend_from_slice(&bytes[..step]);
            *room -= step;
            Ok(step)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_lines_that_are_counted_and_tears_no_other() {
        let disk = Arc::new(std::sync::Mutex::new((8, Vec::new())));
        let mut sink = Sink { to: Box::new(Full(disk.clone())), is_torn: false, is_failing: false };
        assert_eq!(sink.put(b"{1}\n{2}\n{3}\n"), 1, "two found room");
        assert_eq!(sink.put(b"{4}\n"), 1);
        disk.lock().unwrap().0 = 6;
        assert_eq!(sink.put(b"{5}\n{6}\n"), 1, "the second was torn");
        disk.lock().unwrap().0 = 100;
        assert_eq!(sink.put(b"{7}\n"), 0);
        assert_eq!(String::from_utf8(disk.lock().unwrap().1.clone()).unwrap(), "{1}\n{2}\n{5}\n{6\n{7}\n");
    }

    #[test]
    fn a_stuck_sink_costs_lines_and_no_time() {
        let (go, gate) = mpsc::channel();
        let (sent, written) = mpsc::channel();
        let lane = Arc::new(Lane::default());
        let writer = Writer::start(vec![lane.clone()], Box::new(Slow(gate, sent))).unwrap();
        let mut pen = Pen::new(lane.clone(), writer.thread(), 4096, true);
        let line = json(&record("/", b"")).len() as u64;
        (0..1000).for_each(|_| pen.write(&record("/", b"")));
        drop(go);
        drop(pen);
        drop(writer);
        let bytes: u64 = written.iter().map(|bytes| bytes.len() as u64).sum();
        assert_eq!(bytes % line, 0);
        assert_eq!(bytes / line + lane.dropped.load(Relaxed), 1000);
        assert!(bytes <= 3 * 4096 && bytes > 0, "{bytes}");
    }
}
