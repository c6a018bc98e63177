//! Load that never pauses, and counts what each request was answered. Half of its clients keep their connections for as long as they may; the others open one for each request. It repeats no request.

use crate::story::{ask, open, told};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::task::JoinSet;

/// How often each answer came, as [`told`] tells it.
pub type Counts = BTreeMap<String, u64>;

/// Clients that ask until they are stopped.
pub struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    counts: Arc<Mutex<Counts>>,
}

impl Load {
    /// Four clients.
    pub fn begin(to: SocketAddr, host: &'static str) -> Self {
        let mut load = Self { clients: JoinSet::new(), stop: Arc::default(), counts: Arc::default() };
        for keeps in [true, false, true, false] {
            let (stop, counts) = (load.stop.clone(), load.counts.clone());
            load.clients.spawn(async move {
                let mut kept = None;
                while !stop.load(Ordering::Relaxed) {
                    let outcome = one(&mut kept, to, host, keeps).await;
                    *counts.lock().unwrap().entry(outcome).or_default() += 1;
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
            Err(why) => return format!("failed: {why}"),
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
