//! Every limit of the gateway in one table, of which flags, `--help`, docs/limits.md and the chart's schema are made. Never a limit that stands elsewhere only.

use crate::failure::Failure;
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

// Fields, defaults and rows come out of the same lines; the type of a field decides how its value is written.
macro_rules! limits {
    ($($name:ident: $kind:ty = $default:expr, $failure:expr, $text:literal;)+) => {
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
            unit: <$kind as Value>::UNIT,
            text: $text,
            failure: $failure,
            get: |limits| limits.$name.print(),
            set: |limits, text| {
                limits.$name = Value::parse(text)?;
                Ok(())
            },
        },)+];
    };
}

limits! {
    // What a client sends.
    head_bytes: usize = 32 * KIB, Some(Failure::HeadTooLarge),
        "Bytes of a head, or of a trailer section, with its request line; the same for answers of a backend, and the header list of HTTP/2.";
    head_fields: u32 = 100, Some(Failure::HeadTooLarge),
        "Fields of a head, each cookie pair of HTTP/2 counted.";
    target_bytes: usize = 8 * KIB, Some(Failure::TargetTooLong),
        "Bytes of a request target.";
    chunk_extension_bytes: usize = 256, Some(Failure::BadChunk),
        "Bytes of the extensions of one chunk.";
    body_bytes: Option<usize> = None, Some(Failure::BodyTooLarge),
        "Bytes of a request body.";
    discard_bytes: usize = 64 * KIB, None,
        "Bytes of an unread request body that are read and thrown away after an answer of our own; beyond, the connection is closed.";

    // How long a client may take.
    tls_timeout: Duration = Duration::from_secs(10), None,
        "From accept to the end of the TLS handshake; then the connection is closed.";
    head_timeout: Duration = Duration::from_secs(10), Some(Failure::HeadTimeout),
        "From the first byte of a head, or from accept for the first one, to its end.";
    keep_alive_idle: Duration = Duration::from_secs(75), None,
        "A connection without a request; then it is closed.";
    body_idle: Duration = Duration::from_secs(30), Some(Failure::BodyTimeout),
        "Between two reads of a request body.";
    write_stall: Duration = Duration::from_secs(30), Some(Failure::WriteStall),
        "A client that takes no byte of its answer, by TCP or by HTTP/2 flow control; then its connection or stream is closed.";
    tunnel_idle: Option<Duration> = Some(Duration::from_secs(3600)), None,
        "An upgraded connection (WebSocket) on which nobody sends; then it is closed.";

    // How many clients there may be.
    connections: u32 = 16_384, Some(Failure::TooManyConnections),
        "Client connections of the process; more are closed at accept.";
    h2_streams: u32 = 100, Some(Failure::TooManyStreams),
        "Requests at once on one HTTP/2 connection (SETTINGS_MAX_CONCURRENT_STREAMS); more are refused, and safe to send again.";
    h2_stream_window: usize = 64 * KIB, None,
        "Bytes of one HTTP/2 request body that may be on the way (flow-control window).";
    h2_connection_window: usize = MIB, None,
        "The same for all requests of a connection together.";
    h2_resets_per_s: u32 = 200, Some(Failure::TooManyStreams),
        "RST_STREAM frames in a second, sent or caused by one client; then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_pings_per_s: u32 = 50, Some(Failure::TooManyStreams),
        "PING frames in a second of one client; then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_settings_per_s: u32 = 20, Some(Failure::TooManyStreams),
        "SETTINGS frames in a second of one client; then GOAWAY with ENHANCE_YOUR_CALM.";
    h2_empty_data_per_s: u32 = 100, Some(Failure::TooManyStreams),
        "DATA frames without data and without END_STREAM in a second of one client; then GOAWAY with ENHANCE_YOUR_CALM.";

    // A request as a whole.
    request_timeout: Option<Duration> = Some(Duration::from_secs(300)), Some(Failure::RequestTimeout),
        "A request whose rule has no timeouts.request, from its head to the end of its answer, waiting included.";
    retry_backoff: Duration = Duration::from_millis(25), None,
        "The pause before another try whose rule has no retry.backoff; it doubles with each.";
    mirror_bytes: usize = 64 * KIB, None,
        "Bytes of a body that are kept for mirrors; a request with a longer body is not mirrored.";

    // Waiting for a backend.
    queue_count: u32 = 1_000, Some(Failure::QueueFull),
        "Requests that wait for one backend, where it says nothing itself.";
    queue_bytes: usize = 64 * MIB, Some(Failure::QueueFull),
        "Bytes that they keep: heads and spooled bodies.";
    queue_count_total: u32 = 20_000, Some(Failure::GatewayFull),
        "Requests that wait in the process.";
    queue_bytes_total: usize = 256 * MIB, Some(Failure::GatewayFull),
        "Bytes that they keep.";
    queue_wait: Duration = Duration::from_secs(60), Some(Failure::ActivationTimeout),
        "A request that waits for a backend that says nothing itself; never longer than the request's own limit.";
    spool_bytes: usize = 64 * KIB, None,
        "Bytes of a body that are read while its request waits, so that a client that leaves is noticed; the rest is read once it is sent on.";

    // The backend.
    // One lost SYN, sent again after a second, is survived; two are a dead endpoint.
    connect_timeout: Duration = Duration::from_millis(1500), Some(Failure::ConnectTimeout),
        "Until an endpoint accepts a connection, and again until its TLS handshake ends; then another endpoint is tried.";
    upstream_idle: Duration = Duration::from_secs(300), Some(Failure::UpstreamIdle),
        "An endpoint that has the whole request and sends nothing.";
    pool_idle: Duration = Duration::from_secs(60), None,
        "An unused connection to an endpoint; then it is closed.";
    pool_count: u32 = 64, None,
        "Unused connections to one endpoint, a core; more are closed.";

    // The process.
    drain_grace: Duration = Duration::from_secs(30), Some(Failure::Draining),
        "From the signal to stop to the end; what still waits then is answered, what still runs is cut.";
    log_bytes: usize = 256 * KIB, None,
        "Bytes of access log, a core, that wait for the writer; further lines are dropped and counted.";
    explain_count: u32 = 1_000, None,
        "Past requests that `headgate explain --request-id` finds, a core.";
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
        const WINDOW_MAX: usize = (1 << 31) - 1;
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
        must(self.head_fields >= 8, "--head-fields must be at least 8");
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
        must(self.h2_streams > 0 && self.connections > 0, "--h2-streams and --connections must be at least 1");
        defects
    }
}

/// A kind of value that a limit has.
trait Value: Sized {
    const UNIT: Unit;
    fn parse(text: &str) -> Result<Self, String>;
    fn print(&self) -> String;
}

impl Value for u32 {
    const UNIT: Unit = Unit::Count;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is no number: write digits only, at most {}", u32::MAX))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    const UNIT: Unit = Unit::Bytes;

    fn parse(text: &str) -> Result<Self, String> {
        parse_bytes(text)
    }

    fn print(&self) -> String {
        print_bytes(*self)
    }
}

impl Value for Duration {
    const UNIT: Unit = Unit::Time;

    fn parse(text: &str) -> Result<Self, String> {
        match parse_duration(text)? {
            Duration::ZERO => Err("0 is no limit that can be kept: write at least 1ms".to_owned()),
            time => Ok(time),
        }
    }

    fn print(&self) -> String {
        print_duration(*self)
    }
}

impl<T: Value> Value for Option<T> {
    const UNIT: Unit = T::UNIT;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" | "0" | "0s" => Ok(None),
            _ => T::parse(text).map(Some).map_err(|why| format!("{why} (or none)")),
        }
    }

    fn print(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Value::print)
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
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let bad = || format!("{text:?} is no size: write for example 512, 64KiB or 1MiB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let bytes_per_unit = match unit {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => 1024 * MIB,
        _ => return Err(bad()),
    };
    number.parse::<usize>().ok().and_then(|number| number.checked_mul(bytes_per_unit)).ok_or_else(bad)
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

fn print_bytes(bytes: usize) -> String {
    match bytes {
        _ if bytes >= MIB && bytes.is_multiple_of(MIB) => format!("{}MiB", bytes / MIB),
        _ if bytes >= KIB && bytes.is_multiple_of(KIB) => format!("{}KiB", bytes / KIB),
        _ => bytes.to_string(),
    }
}

/// docs/limits.md, made from the table.
pub fn docs_markdown() -> String {
    let mut text = String::from(
        "# Limits\n\n<!-- Made from gateway/src/limits.rs; a test compares. UPDATE_DOCS=1 cargo test -p headgate-gateway writes it. -->\n\n\
         Every limit and time limit of the gateway is a flag. Times are written `500ms`, `10s`, `1m30s`, `1h`; sizes `512`, `64KiB`, `1MiB`;\n\
         `none` switches off what says so as its default, or `--request-timeout` and `--tunnel-idle`. The failures are explained in\n\
         [failures.md](failures.md).\n\n\
         | flag | default | what it bounds | failure |\n|---|---|---|---|\n",
    );
    for row in TABLE {
        let failure = row.failure.map(|failure| format!("`{failure}`")).unwrap_or_default();
        text.push_str(&format!("| `--{}` | {} | {} | {failure} |\n", row.flag(), row.default(), row.text));
    }
    text
}

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
