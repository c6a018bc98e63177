//! What became of each exchange, by lane, and what went wrong. It decides what a lane may lose, and forgives nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

/// A kind of load; the clients of a lane say its name as their `User-Agent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// HTTP/1.1 over connections that are kept, to a split by weights.
    Kept,
    /// The same over a new connection each, in plain and over TLS.
    Fresh,
    /// HTTP/1.1 and HTTP/2 over TLS.
    Secure,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// Bodies of 10 MB.
    Large,
    /// Clients that read their answer slowly.
    Slow,
    /// WebSocket.
    Socket,
    /// gRPC.
    Grpc,
    /// A function that starts from zero again and again.
    Cold,
    /// Functions that come and go with their files.
    Passing,
    /// Applications behind a toxic proxy.
    Toxic,
    /// A function whose processes are killed.
    Victim,
    /// Clients that leave.
    Leaving,
}

/// What a lane is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Its backends are healthy: no exchange may fail.
    All,
    /// Its backends are not: an exchange may fail for these reasons, or break off visibly.
    But(&'static [&'static str]),
    /// Its clients leave: nothing is expected.
    None,
}

/// What a network between gateway and application may cause.
const OF_NETWORKS: &[&str] = &[
    "connect_refused",
    "connect_timeout",
    "upstream_reset",
    "upstream_closed_early",
    "upstream_truncated",
    "request_timeout",
];

/// What processes that are killed may cause: connections end, nobody listens until the next one does, and where three in a row are killed
/// in their first seconds, the function counts as one that cannot start.
const OF_KILLS: &[&str] =
    &["connect_refused", "upstream_reset", "upstream_closed_early", "upstream_truncated", "activation_failed"];

impl Lane {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Kept,
        Self::Fresh,
        Self::Secure,
        Self::Http2,
        Self::Large,
        Self::Slow,
        Self::Socket,
        Self::Grpc,
        Self::Cold,
        Self::Passing,
        Self::Toxic,
        Self::Victim,
        Self::Leaving,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Fresh => "fresh",
            Self::Secure => "secure",
            Self::Http2 => "http2",
            Self::Large => "large",
            Self::Slow => "slow",
            Self::Socket => "websocket",
            Self::Grpc => "grpc",
            Self::Cold => "cold",
            Self::Passing => "passing",
            Self::Toxic => "toxic",
            Self::Victim => "victim",
            Self::Leaving => "leaving",
        }
    }

    /// What it is promised.
    pub const fn promise(self) -> Promise {
        match self {
            Self::Toxic => Promise::But(OF_NETWORKS),
            Self::Victim => Promise::But(OF_KILLS),
            Self::Leaving => Promise::None,
            _ => Promise::All,
        }
    }
}

/// How an exchange ended, as its client saw it.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// 200, and every byte is right.
    Good,
    /// The gateway said why not.
    Refused(String),
    /// The answer began and broke off, and that shows.
    Cut(String),
    /// The client left, as it meant to.
    Left,
    /// Anything else.
    Wrong(String),
}

/// The counts of a lane.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Exchanges that are over.
    pub asked: u64,
    /// Those that were good.
    pub good: u64,
    /// Those that the gateway refused, by its reason.
    pub refused: BTreeMap<String, u64>,
    /// Those whose answer broke off.
    pub cut: u64,
    /// Those that their client left.
    pub left: u64,
}

/// The books.
pub struct Ledger {
    begun: Instant,
    lanes: Mutex<BTreeMap<Lane, Counts>>,
    faults: Mutex<Vec<String>>,
    answered: AtomicUsize,
    next_post: AtomicUsize,
    arrived: Mutex<HashMap<usize, u8>>,
}

impl Ledger {
    /// Empty ones.
    pub fn open() -> Self {
        Self {
            begun: Instant::now(),
            lanes: Mutex::default(),
            faults: Mutex::default(),
            answered: AtomicUsize::new(0),
            next_post: AtomicUsize::new(1),
            arrived: Mutex::default(),
        }
    }

    /// Books an exchange.
    pub fn note(&self, lane: Lane, end: End) {
        if let Some(why) = fault(lane.promise(), &end) {
            self.fault(format!("{}: {why}", lane.name()));
        }
        let mut lanes = self.lanes.lock().unwrap();
        let counts = lanes.entry(lane).or_default();
        counts.asked += 1;
        match end {
            End::Good => counts.good += 1,
            End::Refused(reason) => *counts.refused.entry(reason).or_default() += 1,
            End::Cut(_) => counts.cut += 1,
            End::Left => counts.left += 1,
            End::Wrong(_) => {}
        }
        self.answered.fetch_add(1, Relaxed);
    }

    /// Books what must not be, and says so at once.
    pub fn fault(&self, what: String) {
        println!("  {:7.1} s  WRONG {what}", self.begun.elapsed().as_secs_f64());
        self.faults.lock().unwrap().push(what);
    }

    /// Says what happens.
    pub fn say(&self, what: &str) {
        println!("  {:7.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    /// What must not be, and was.
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    /// The counts of each lane.
    pub fn lanes(&self) -> BTreeMap<Lane, Counts> {
        self.lanes.lock().unwrap().clone()
    }

    /// Exchanges that are over.
    pub fn answered(&self) -> usize {
        self.answered.load(Relaxed)
    }

    /// A number that no POST had before.
    pub fn number(&self) -> usize {
        self.next_post.fetch_add(1, Relaxed)
    }

    /// A POST reached an application, whole or in part; once is all that it may.
    pub fn arrived(&self, number: usize) {
        let times = {
            let mut arrived = self.arrived.lock().unwrap();
            let times = arrived.entry(number).or_default();
            *times = times.saturating_add(1);
            *times
        };
        if times > 1 {
            self.fault(format!("POST {number} reached an application {times} times"));
        }
    }

    /// How many POSTs reached an application.
    pub fn posts(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }
}

/// Why an end is not what a lane is promised.
fn fault(promise: Promise, end: &End) -> Option<String> {
    match (promise, end) {
        (_, End::Wrong(why)) => Some(why.clone()),
        (_, End::Good | End::Left) | (Promise::None, _) | (Promise::But(_), End::Cut(_)) => None,
        (Promise::But(reasons), End::Refused(reason)) if reasons.contains(&reason.as_str()) => None,
        (_, End::Refused(reason)) => Some(format!("refused: {reason}")),
        (_, End::Cut(why)) => Some(format!("broken off: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_promised_all_is_failed_by_every_reason() {
        let refused = End::Refused("upstream_reset".into());
        assert_eq!(fault(Promise::All, &refused).as_deref(), Some("refused: upstream_reset"));
        assert!(fault(Promise::All, &End::Cut("after 3 bytes".into())).is_some());
        assert_eq!(fault(Promise::All, &End::Good), None);
    }

    #[test]
    fn who_may_fail_needs_a_reason_of_the_list_and_never_gets_a_wrong_body() {
        let toxic = Lane::Toxic.promise();
        assert_eq!(fault(toxic, &End::Refused("upstream_reset".into())), None);
        assert_eq!(fault(toxic, &End::Refused("internal".into())).as_deref(), Some("refused: internal"));
        assert_eq!(fault(toxic, &End::Cut("after 3 bytes".into())), None);
        assert!(fault(toxic, &End::Wrong("a short body looks whole".into())).is_some());
        assert!(fault(Promise::None, &End::Wrong("nonsense".into())).is_some());
    }
}
