//! Every limit of the gateway in one table, of which flags, `--help`, docs/limits.md and the chart's schema are made. Never a limit that stands elsewhere only.

use crate::failure::Failure;
use headgate_proxy_protocol::BINARY_BYTES_MAX;
use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// One limit.
#[derive(Debug)]
pub struct LimitRow {
    /// Its field in [`Limits`].
    pub name: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// What happens beyond it.
    pub text: &'static str,
    /// The failure that a request gets then; `None` where no request is answered.
    pub failure: Option<Failure>,
    get: fn(&Limits) -> String,
    set: fn(&mut Limits, &str) -> Result<(), String>,
}

/// What a limit counts, and so how its value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number.
    Count,
    /// `64KiB`, `1MiB`, or a number of bytes.
    Bytes,
    /// `500ms`, `10s`, `1m30s`, `1h`.
    Time,
}

// Fields, defaults and rows come out of the same lines.
macro_rules! limits {
    ($($name:ident: $kind:ty = $default:expr, $unit:ident, $failure:expr, $text:literal;)+) => {
        /// All limits of one gateway; `None` is no limit.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $text] pub $name: $kind,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// Every limit, in the order of the docs.
        pub static TABLE: &[LimitRow] = &[$(LimitRow {
            name: stringify!($name),
            unit: Unit::$unit,
            text: $text,
            failure: $failure,
            get: |limits| limits.$name.print(Unit::$unit),
            set: |limits, text| {
                limits.$name = Value::parse(text, Unit::$unit)?;
                Ok(())
            },
        },)+];
    };
}

limits! {
    // What a client sends.
    head_bytes: usize = 32 * KIB, Bytes, Some(Failure::HeadTooLarge),
        "A head with its request line; the same for answers of a backend, and for the header list of HTTP/2.";
    head_fields: usize = 100, Count, Some(Failure::HeadTooLarge),
        "Fields of a head; at most 256.";
    target_bytes: usize = 8 * KIB, Bytes, Some(Failure::TargetTooLong),
        "A request target.";
    body_bytes: Option<u64> = None, Bytes, Some(Failure::BodyTooLarge),
        "A request body.";
    discard_bytes: usize = 64 * KIB, Bytes, None,
        "An unread request body that is read and thrown away after an answer of our own; a longer one closes the connection.";

    // How long a client may take.
    tls_handshake: Duration = seconds(10), Time, None,
        "From accept to the end of the TLS handshake; then the connection is closed.";
    hello_bytes: usize = 16 * KIB, Bytes, Some(Failure::NotTls),
        "A ClientHello of TLS; a longer one closes the connection.";
    proxy_header_timeout: Duration = seconds(5), Time, Some(Failure::BadProxyHeader),
        "From accept to the end of the header of the PROXY protocol, at ports that expect one; then the connection is closed.";
    proxy_header_bytes: usize = 4 * KIB, Bytes, Some(Failure::BadProxyHeader),
        "A header of the PROXY protocol, version 2; a longer one closes the connection.";
    head_timeout: Duration = seconds(10), Time, Some(Failure::HeadTimeout),
        "From the first byte of a head, or from accept for the first one, to its end.";
    keep_alive_idle: Duration = seconds(75), Time, None,
        "A connection without a request; then it is closed.";
    body_idle: Duration = seconds(30), Time, Some(Failure::BodyTimeout),
        "Between two reads of a request body.";
    body_bytes_per_s: Option<u32> = None, Bytes, Some(Failure::BodyTimeout),
        "The least that a client sends of a request body in a second, over all the time that it was waited for, once that is longer than --body-idle. Streams of gRPC that say little need none.";
    write_stall: Duration = seconds(30), Time, Some(Failure::WriteStall),
        "A client that does not take a piece of its answer (16 KiB at most): by HTTP/2 flow control, then its stream is closed; by TCP, then its connection is.";
    tunnel_idle: Option<Duration> = Some(seconds(3600)), Time, None,
        "An upgraded connection (WebSocket), or one of a TCPRoute or TLSRoute, on which nobody sends; then it is closed.";
    datagram_idle: Duration = seconds(60), Time, Some(Failure::CarriedIdle),
        "Datagrams of one client of a UDPRoute, and the answers: after this long without any the next one may go to another endpoint.";
    datagram_clients: usize = 8_192, Count, Some(Failure::GatewayFull),
        "Clients of UDPRoutes in the process whose datagrams and answers are remembered to belong together; datagrams of more are dropped.";
    datagram_held_bytes: usize = 16 * KIB, Bytes, Some(Failure::QueueFull),
        "Datagrams of one client that wait until its endpoint is found or starts; more are dropped.";

    // How many clients there may be.
    connections: usize = 16_384, Count, None,
        "Client connections of the process; more are closed at accept.";
    connections_per_client: Option<u32> = None, Count, None,
        "Connections of one client, by its address or /64 of IPv6, as the PROXY protocol tells it where that is expected; more are closed. Load balancers and NAT show many clients as one.";
    handshakes: usize = 4_096, Count, None,
        "TLS handshakes of the process at once, from the whole ClientHello on; more wait for their turn, within --tls-handshake.";
    h2_streams: u32 = 100, Count, None,
        "Requests at once on one HTTP/2 connection (SETTINGS_MAX_CONCURRENT_STREAMS); more are refused, and safe to send again.";
    h2_age: Option<Duration> = Some(seconds(3600)), Time, None,
        "An HTTP/2 connection; then GOAWAY without error, so that long-lived clients spread over new gateways.";
    h2_stream_window: u32 = 64 * KIB as u32, Bytes, None,
        "One HTTP/2 request body on the way (flow-control window).";
    h2_connection_window: u32 = MIB as u32, Bytes, None,
        "All request bodies of one HTTP/2 connection on the way.";
    h2_send_buffer: usize = 64 * KIB, Bytes, None,
        "One HTTP/2 answer that waits to be sent; more is not read from the backend.";
    h2_resets_pending: usize = 20, Count, None,
        "Streams of one client that it reset before they were served (Rapid Reset); then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_error_resets: usize = 1_024, Count, None,
        "Streams that we had to reset for a client's protocol errors (MadeYouReset); then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_pings_per_s: u32 = 50, Count, None,
        "PING frames of one client in a second, beyond one for each HEADERS or DATA frame that it was sent; then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_settings_per_s: u32 = 20, Count, None,
        "SETTINGS frames of one client in a second; then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_resets_per_s: u32 = 500, Count, None,
        "RST_STREAM frames of one client in a second, of streams that were served too; then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_empty_data_per_s: u32 = 100, Count, None,
        "DATA frames of one client in a second that carry neither data nor an end; then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_window_updates_per_s: u32 = 20_000, Count, None,
        "WINDOW_UPDATE frames of one client in a second; then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_continuations_per_s: u32 = 100, Count, None,
        "CONTINUATION frames of one client in a second; then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_other_frames_per_s: u32 = 1_000, Count, None,
        "PRIORITY, acknowledgements and frames of unknown types of one client in a second; then GOAWAY with ENHANCE_YOUR_CALM.";

    // A request as a whole.
    request_timeout: Option<Duration> = Some(seconds(300)), Time, Some(Failure::RequestTimeout),
        "A request whose rule has no timeouts.request: from its head to the end of its answer, waiting included.";
    retry_backoff: Duration = Duration::from_millis(25), Time, None,
        "The pause before another try whose rule has no retry.backoff; it doubles with each.";
    mirror_bytes: usize = 64 * KIB, Bytes, None,
        "A body that is kept for mirrors; a request with a longer one is not mirrored.";

    auth_timeout: Duration = seconds(10), Time, Some(Failure::AuthTimeout),
        "An authorization service (ExternalAuth filter) that is asked: from its free endpoint to the end of its answer, over all tries.";
    auth_answer_bytes: usize = 64 * KIB, Bytes, Some(Failure::AuthAnswerInvalid),
        "The body of its answer, where it goes to the client; of an answer that lets the request pass it is thrown away.";

    dns_refresh: Duration = seconds(5), Time, None,
        "How long what was found of a host outside the cluster (XBackend) is used before its name is asked for again.";
    dns_timeout: Duration = seconds(5), Time, None,
        "An answer to such a question; then what was found before stays.";

    // Waiting for a backend.
    queue_count: u32 = 1_000, Count, Some(Failure::QueueFull),
        "Requests that wait for one backend, where it says nothing itself.";
    queue_bytes: u64 = 64 * MIB as u64, Bytes, Some(Failure::QueueFull),
        "What they keep: heads and spooled bodies.";
    queue_count_total: u32 = 10_000, Count, Some(Failure::GatewayFull),
        "Requests that wait in the process.";
    queue_bytes_total: u64 = 256 * MIB as u64, Bytes, Some(Failure::GatewayFull),
        "What they keep.";
    wait_unknown: Duration = seconds(60), Time, Some(Failure::ActivationTimeout),
        "A request that waits for a backend that says nothing itself and was never seen to start; later 3.5 times the 90th percentile of its starts.";
    wait_least: Duration = seconds(10), Time, Some(Failure::ActivationTimeout),
        "The least wait that observed starts may give.";
    retry_unknown: Duration = seconds(5), Time, None,
        "Retry-After where nothing is known of starts.";
    retry_least: Duration = seconds(1), Time, None,
        "Retry-After at least, and that of a backend that is full but warm.";
    spool_bytes: usize = 64 * KIB, Bytes, None,
        "A body that is read while its request waits, so that a client that leaves is noticed; the rest is read once it is sent on.";
    ramp: Duration = seconds(2), Time, None,
        "After a cold start without a concurrency bound, the time until as many requests as want are let through.";
    lease: Duration = seconds(15), Time, None,
        "How long a started backend counts as wanted after it got ready, even if its client left.";
    lease_unready_most: Duration = seconds(600), Time, None,
        "The same for a backend that never gets ready.";

    // The backend.
    // One lost SYN, which is sent again after a second, is survived; two are a dead endpoint.
    connect_timeout: Duration = Duration::from_millis(1500), Time, Some(Failure::ConnectTimeout),
        "Until an endpoint accepts a connection, and again until its TLS handshake ends; then another endpoint is tried.";
    upstream_idle: Duration = seconds(300), Time, Some(Failure::UpstreamIdle),
        "An endpoint that has the whole request and sends nothing.";
    upstream_keep_alive: Duration = seconds(60), Time, None,
        "An unused connection to an endpoint; then it is closed.";
    eject_failures: u32 = 5, Count, None,
        "Consecutive failures, answers of 500, 502, 503 and 504 among them, after which an endpoint gets no requests for a while; where more than half would get none, all do.";
    eject_least: Duration = seconds(1), Time, None,
        "The first such while; each further one is twice as long.";
    eject_most: Duration = seconds(30), Time, None,
        "The longest such while.";
    probes_per_second: u32 = 4_000, Count, None,
        "Readiness probes of the process in a second; beyond, they come less often.";
    probe_connect: Duration = Duration::from_millis(50), Time, None,
        "Until a probed endpoint accepts a connection.";
    probe_overlap: Duration = Duration::from_millis(10), Time, None,
        "A probe that is pending this long gets company, since a SYN may have been lost.";
    probe_answer: Duration = seconds(1), Time, None,
        "Until a probed endpoint answers an HTTP probe.";
    probe_connection_kept: Duration = seconds(1), Time, None,
        "The connection of a probe that waits for its first request; then it is closed.";

    // The process.
    memory: u64 = 0, Bytes, Some(Failure::MemoryShed),
        "Memory of the process that the system cannot take back; near it, requests that would have to wait are refused, then new connections. 0 is the limit of the process's control group (cgroup v2), if it has one.";
    drain_grace: Duration = seconds(30), Time, Some(Failure::Draining),
        "From the signal to stop to the end; what still waits then is answered, what still runs is cut.";
    log_bytes: usize = 256 * KIB, Bytes, None,
        "Access log, a core, that waits for its writer; further lines are dropped and counted.";
    explain_count: usize = 1_000, Count, None,
        "Past requests that `headgate explain --request-id` finds.";
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl LimitRow {
    /// The flag without the leading dashes: `head-bytes`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The value, as a flag would have it.
    pub fn get(&self, limits: &Limits) -> String {
        (self.get)(limits)
    }

    /// The default, as a flag would have it.
    pub fn default(&self) -> String {
        self.get(&Limits::default())
    }
}

impl Limits {
    /// Sets the limit of a flag (`head-bytes`) or field (`head_bytes`) from text, or says what to write instead.
    pub fn set(&mut self, flag: &str, text: &str) -> Result<(), String> {
        let name = flag.trim_start_matches("--").replace('-', "_");
        let row = TABLE.iter().find(|row| row.name == name).ok_or_else(|| format!("--{flag}: no such limit"))?;
        (row.set)(self, text).map_err(|why| format!("--{}: {why}", row.flag()))
    }

    /// What does not fit together, one sentence each.
    pub fn defects(&self) -> Vec<String> {
        const WINDOW_MAX: u32 = (1 << 31) - 1;
        let mut defects = Vec::new();
        let mut must = |holds: bool, why: &str| {
            if !holds {
                defects.push(why.to_owned());
            }
        };
        must(
            self.target_bytes <= self.head_bytes,
            "--target-bytes is more than --head-bytes: a target is part of a head",
        );
        must((KIB..=16 * MIB).contains(&self.head_bytes), "--head-bytes must be 1KiB to 16MiB");
        must((8..=256).contains(&self.head_fields), "--head-fields must be 8 to 256");
        must(
            (536..=BINARY_BYTES_MAX).contains(&self.proxy_header_bytes),
            "--proxy-header-bytes must be 536 to 65551 bytes (the PROXY protocol, §2.2)",
        );
        must(self.queue_count <= self.queue_count_total, "--queue-count is more than --queue-count-total");
        must(self.queue_bytes <= self.queue_bytes_total, "--queue-bytes is more than --queue-bytes-total");
        must(
            (65_535..=WINDOW_MAX).contains(&self.h2_connection_window),
            "--h2-connection-window must be 65535 to 2147483647 bytes (RFC 9113 §6.9)",
        );
        must(
            (1..=WINDOW_MAX).contains(&self.h2_stream_window),
            "--h2-stream-window must be 1 to 2147483647 bytes (RFC 9113 §6.9)",
        );
        must(self.memory == 0 || self.memory >= 16 * MIB as u64, "--memory must be 0 or at least 16MiB");
        must(self.h2_streams > 0 && self.connections > 0, "--h2-streams and --connections must be at least 1");
        must((1..=1 << 20).contains(&self.handshakes), "--handshakes must be 1 to 1048576");
        must(self.connections_per_client != Some(0), "--connections-per-client must be at least 1, or none");
        defects
    }
}

/// A type of value that a limit has.
trait Value: Sized {
    fn parse(text: &str, unit: Unit) -> Result<Self, String>;
    fn print(&self, unit: Unit) -> String;
}

macro_rules! whole_numbers {
    ($($kind:ty)+) => {$(
        impl Value for $kind {
            fn parse(text: &str, unit: Unit) -> Result<Self, String> {
                let number = match unit {
                    Unit::Bytes => parse_bytes(text)?,
                    _ => text.parse().map_err(|_| format!("{text:?} is no number: write digits only"))?,
                };
                number.try_into().map_err(|_| format!("{text} is too much: write at most {}", <$kind>::MAX))
            }

            fn print(&self, unit: Unit) -> String {
                if unit == Unit::Bytes { print_bytes(*self as u64) } else { self.to_string() }
            }
        }
    )+};
}

whole_numbers! { u32 u64 usize }

impl Value for Duration {
    fn parse(text: &str, _: Unit) -> Result<Self, String> {
        match parse_duration(text)? {
            Duration::ZERO => Err("0 is no limit that can be kept: write at least 1ms".to_owned()),
            time => Ok(time),
        }
    }

    fn print(&self, _: Unit) -> String {
        print_duration(*self)
    }
}

impl<T: Value> Value for Option<T> {
    fn parse(text: &str, unit: Unit) -> Result<Self, String> {
        match text {
            "none" | "0" | "0s" => Ok(None),
            _ => T::parse(text, unit).map(Some).map_err(|why| format!("{why} (or none)")),
        }
    }

    fn print(&self, unit: Unit) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), |value| value.print(unit))
    }
}

/// Reads a duration: numbers with `h`, `m`, `s` or `ms`, one after the other (`1m30s`), or `0`.
///
/// Source: GEP-2257, without its limit of five digits.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration: write for example 500ms, 10s, 1m30s or 1h");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let ms_per_unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(ms_per_unit)).ok_or_else(bad)?;
        sum = sum.checked_add(Duration::from_millis(ms)).ok_or_else(bad)?;
        rest = after;
    }
    if text.is_empty() { Err(bad()) } else { Ok(sum) }
}

/// Reads a size: a number of bytes, or one with `B`, `KiB`, `MiB` or `GiB`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size: write for example 512, 64KiB or 1MiB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let bytes_per_unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes_per_unit)).ok_or_else(bad)
}

fn print_duration(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0".to_owned(),
        _ if !ms.is_multiple_of(1000) => format!("{ms}ms"),
        _ if !ms.is_multiple_of(60_000) => format!("{}s", ms / 1000),
        _ if !ms.is_multiple_of(3_600_000) => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}

fn print_bytes(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// docs/limits.md, made from the table.
pub fn docs_markdown() -> String {
    let mut text = String::from(
        "# Limits\n\n<!-- Made from gateway/src/limits.rs; a test compares. UPDATE_DOCS=1 cargo test -p headgate-gateway writes it. -->\n\n\
         Every limit and time limit of the gateway is a flag. Times are written `500ms`, `10s`, `1m30s`, `1h`; sizes `512`, `64KiB`, `1MiB`;\n\
         `none` switches off `--body-bytes`, `--body-bytes-per-s`, `--tunnel-idle`, `--connections-per-client`, `--h2-age` and `--request-timeout`. The failures are explained in\n\
         [failures.md](failures.md).\n\n\
         | flag | default | what it bounds | failure |\n|---|---|---|---|\n",
    );
    for row in TABLE {
        let failure = row.failure.map(|failure| format!("`{failure}`")).unwrap_or_default();
        text.push_str(&format!("| `--{}` | {} | {} | {failure} |\n", row.flag(), row.default(), row.text));
    }
    text.push_str(MEMORY_MARKDOWN);
    text
}

const MEMORY_MARKDOWN: &str = "
## When memory gets short

Four times a second the gateway measures what the system cannot take back: its own memory against `--memory`, or, where that is 0, that of its control group against `memory.max`, sockets included and what is kept of
files left out. In a Pod that is the memory limit of the container; a limit that is changed while it runs counts at once.

| of the budget | what is refused | until |
|---|---|---|
| 90 % | Requests that would have to wait for a cold or full backend: 503 with `Retry-After` and the reason `memory_shed`. The backend starts all the same. Requests that wait and would keep more. Buffers for reuse are freed. | below 85 % |
| 90 % for a second and longer | Requests that wait and keep 256 KiB or more, a second later 64 KiB, then 16, then 4. | below 85 % |
| 95 % | New connections are closed at accept, new streams of HTTP/2 get `memory_shed`, connections on which nothing happens end. | below 90 % |

An allocator keeps much of what is freed. So where memory stays the same for four seconds while less is served and kept than there was, the difference counts as free (`headgate_memory_free_bytes`), until memory
grows again; each time that it does, twice as long must pass.

Requests to backends that are warm are served on. The log has a line when a level begins and when it ends; `headgate_memory_level` is 0, 1 or 2, beside `headgate_memory_bytes` and `headgate_memory_budget_bytes`.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_and_printed() {
        for (text, ms) in [("0", 0), ("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "10", "s", "1.5s", "-1s", "10 s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(bad).unwrap_err().contains("write for example"), "{bad}");
        }
        for (text, bytes) in [("512", 512), ("1B", 1), ("64KiB", 65_536), ("1MiB", 1_048_576)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "KiB", "64KB", "64k", "-1", "1.5MiB", "99999999999999GiB"] {
            assert!(parse_bytes(bad).unwrap_err().contains("write for example"), "{bad}");
        }
    }

    #[test]
    fn every_default_survives_being_printed_and_read() {
        let mut limits = Limits::default();
        for row in TABLE {
            limits.set(&row.flag(), &row.default()).unwrap();
        }
        assert_eq!(limits, Limits::default());
        assert_eq!(limits.defects(), Vec::<String>::new());
    }

    #[test]
    fn flags_set_fields_and_say_what_is_wrong() {
        let mut limits = Limits::default();
        limits.set("head-bytes", "64KiB").unwrap();
        limits.set("--request-timeout", "none").unwrap();
        limits.set("body_bytes", "10MiB").unwrap();
        assert_eq!((limits.head_bytes, limits.request_timeout, limits.body_bytes), (65_536, None, Some(10_485_760)));
        assert!(limits.set("head-timeout", "0").unwrap_err().starts_with("--head-timeout: "));
        assert!(limits.set("head-timeout", "ten").unwrap_err().contains("10s"));
        assert!(limits.set("head-byte", "1").unwrap_err().contains("no such limit"));
        limits.set("target-bytes", "1MiB").unwrap();
        limits.set("h2-connection-window", "1KiB").unwrap();
        assert_eq!(limits.defects().len(), 2);
    }

    #[test]
    fn remedies_name_flags_that_exist() {
        let mut named = 0;
        for failure in Failure::ALL {
            for word in failure.row().remedy.split([' ', ';', ',']).filter(|word| word.starts_with("--")) {
                assert!(TABLE.iter().any(|row| format!("--{}", row.flag()) == word), "{failure}: {word}");
                named += 1;
            }
        }
        assert!(named > 10, "{named}");
    }

    #[test]
    fn docs_are_current() {
        crate::failure::tests::assert_docs_current("limits.md", &docs_markdown());
    }
}
