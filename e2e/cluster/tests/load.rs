//! Load that goes on until it is ended, and counts what each request was answered. Half of its clients keep their connections for as long as they may; the others open one for each request. It repeats no request.

use crate::story::{ask, open, told};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::task::JoinSet;

/// Between two requests of a client: what is tested needs the machine too.
const PAUSE: Duration = Duration::from_millis(2);

/// How often each answer came, as [`told`] tells it.
pub type Counts = BTreeMap<String, u64>;

/// Clients that ask until they are stopped.
pub struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    counts: Arc<Mutex<Counts>>,
}

impl Load {
    /// Four clients that ask for one host.
    pub fn begin(to: SocketAddr, host: &str) -> Self {
        Self::over(to, vec![host.to_owned()])
    }

    /// Four clients that ask for one host after the other. What is not answered 200 is counted by host.
    pub fn over(to: SocketAddr, hosts: Vec<String>) -> Self {
        let mut load = Self { clients: JoinSet::new(), stop: Arc::default(), counts: Arc::default() };
        for (client, keeps) in [true, false, true, false].into_iter().enumerate() {
            let (stop, counts, hosts) = (load.stop.clone(), load.counts.clone(), hosts.clone());
            load.clients.spawn(async move {
                let mut kept = None;
                // each begins elsewhere
                let mut at = client * hosts.len() / 4;
                while !stop.load(Ordering::Relaxed) {
                    let host = &hosts[at % hosts.len()];
                    at += 1;
                    let mut outcome = one(&mut kept, to, host, keeps).await;
                    if hosts.len() > 1 && !outcome.starts_with("200") {
                        outcome = format!("{host}: {outcome}");
                    }
                    *counts.lock().unwrap().entry(outcome).or_default() += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        load
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }

    /// How many requests were answered or failed so far.
    pub fn total(&self) -> u64 {
        self.counts.lock().unwrap().values().sum()
    }

    /// Stops when each request that was begun has an outcome; a panic unless each was `wanted`.
    pub async fn end_with_only(self, wanted: &str) -> u64 {
        let counts = self.end().await;
        assert!(counts.keys().all(|outcome| outcome == wanted) && !counts.is_empty(), "only {wanted:?}: {counts:?}");
        counts[wanted]
    }

    /// Stops when each request that was begun has an outcome.
    pub async fn end(mut self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client does not panic");
        }
        self.counts()
    }
}

/// One request, and what came of it.
async fn one(kept: &mut Option<headgate_e2e::Wire>, to: SocketAddr, host: &str, keeps: bool) -> String {
    let mut wire = match kept.take() {
        Some(wire) => wire,
        None => match open(to).await {
            Ok(wire) => wire,
            Err(why) => {
                println!("{} {to}: {why}", time_of_day());
                return format!("failed: {why}");
            }
        },
    };
    match ask(&mut wire, host).await {
        Ok(answer) => {
            *kept = (keeps && answer.keeps_alive()).then_some(wire);
            told(&answer)
        }
        Err(why) => format!("failed: {why}"),
    }
}

/// UTC, to find the moment in the logs of the cluster.
fn time_of_day() -> String {
    let ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// Sends exactly `count` requests from four connections.
pub async fn exactly(count: u64, to: SocketAddr, host: &'static str) -> Counts {
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(async move {
            let (mut kept, mut counts) = (None, Counts::new());
            for _ in 0..count / 4 {
                *counts.entry(one(&mut kept, to, host, true).await).or_default() += 1;
            }
            counts
        });
    }
    let mut sum = Counts::new();
    while let Some(counts) = clients.join_next().await {
        for (outcome, count) in counts.expect("a client does not panic") {
            *sum.entry(outcome).or_default() += count;
        }
    }
    sum
}
