//! The numbers of admission, health and probing, each with its reason. Never a number elsewhere in this module.

use std::time::Duration;

/// Bounds and times of all backends of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that may wait for one backend, unless its configuration says otherwise. 1,000: a burst at a cold function, not a flood.
    pub queue_count: u32,
    /// Bytes that the waiting requests of one backend may keep, unless configured. 64 MiB.
    pub queue_bytes: u64,
    /// Requests that may wait in this gateway. 10,000: at 2 KiB each, 20 MiB.
    pub queue_count_total: u32,
    /// Bytes that waiting requests may keep in this gateway. 256 MiB.
    pub queue_bytes_total: u64,
    /// How long a request may wait where no start was ever seen. 60 s: an image pull and a JVM.
    pub wait_unknown: Duration,
    /// The least wait limit that observed starts may give. 10 s (the limit is 3.5 × p90, as Cloud Run has it).
    pub wait_least: Duration,
    /// `Retry-After` where nothing is known of starts. 5 s.
    pub retry_unknown: Duration,
    /// `Retry-After` at least, and that of a backend that is full but warm. 1 s.
    pub retry_least: Duration,
    /// After a cold start without a concurrency bound, the release is fully open after this time. 2 s.
    pub ramp: Duration,
    /// A woken backend counts as demanded until it is ready and this long after, even if its client left. 15 s.
    pub lease: Duration,
    /// A lease ends after this time if the backend never gets ready. 10 minutes.
    pub lease_unready_most: Duration,
    /// Consecutive failures that eject an endpoint. 5.
    pub eject_failures: u32,
    /// The first ejection; each further one takes twice as long. 1 s.
    pub eject_least: Duration,
    /// The longest ejection. 30 s.
    pub eject_most: Duration,
    /// Readiness probes a second in all; beyond it the intervals stretch. 4,000 (a refused connect costs about 12 µs).
    pub probes_per_second: u32,
    /// How long a probe's connect may take. 50 ms.
    pub probe_connect: Duration,
    /// A probe that is pending this long gets company, since a SYN may have been dropped. 10 ms.
    pub probe_overlap: Duration,
    /// How long an HTTP probe's answer may take. 1 s, the default of a kubelet's probe.
    pub probe_answer: Duration,
    /// An unused probe connection is closed after this time: an application with one thread may be waiting on it. 1 s.
    pub probe_connection_kept: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_count: 1_000,
            queue_bytes: 64 << 20,
            queue_count_total: 10_000,
            queue_bytes_total: 256 << 20,
            wait_unknown: Duration::from_secs(60),
            wait_least: Duration::from_secs(10),
            retry_unknown: Duration::from_secs(5),
            retry_least: Duration::from_secs(1),
            ramp: Duration::from_secs(2),
            lease: Duration::from_secs(15),
            lease_unready_most: Duration::from_secs(600),
            eject_failures: 5,
            eject_least: Duration::from_secs(1),
            eject_most: Duration::from_secs(30),
            probes_per_second: 4_000,
            probe_connect: Duration::from_millis(50),
            probe_overlap: Duration::from_millis(10),
            probe_answer: Duration::from_secs(1),
            probe_connection_kept: Duration::from_secs(1),
        }
    }
}
