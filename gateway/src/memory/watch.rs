//! The thread that measures memory and tells of it. It never serves, and never waits for a core.

use super::{Level, Reading, policy::Verdict, usage::Usage};
use crate::{
    buffers::BUFFER_BYTES,
    core::{Post, Shared},
};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);

/// Measures until `over` is closed.
pub fn watch(shared: Arc<Shared>, over: Receiver<()>) {
    let usage = Usage::of(shared.limits.memory);
    let mut can_tell = true;
    loop {
        match usage.read() {
            Some(reading) => look(&shared, Reading { load: load(&shared), ..reading }),
            None if std::mem::take(&mut can_tell) => {
                tracing::warn!("memory cannot be measured here: --memory bounds nothing")
            }
            None => {}
        }
        if !matches!(over.recv_timeout(PERIOD), Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// What needs memory, as far as it is counted. A connection and a request count for a buffer each: that is the least of their weight, and what is
/// taken to be free when they are over is never more than they had.
fn load(shared: &Shared) -> u64 {
    let users = shared.connections() as u64 + shared.telemetry.active_requests();
    shared.registry.budget().bytes() + users * BUFFER_BYTES as u64
}

fn look(shared: &Shared, reading: Reading) {
    let verdict = shared.memory.look(reading);
    if verdict.is_news {
        shared.post_each(|| Post::Shed);
    }
    let Verdict { before, level, .. } = verdict;
    if before == level {
        return;
    }
    let (bytes, budget_bytes) = (reading.bytes, reading.budget);
    match level {
        Level::Normal => tracing::info!(bytes, budget_bytes, "memory is normal again: nothing is refused for it"),
        Level::Tight if before == Level::Critical => {
            tracing::warn!(bytes, budget_bytes, "memory is tight: new connections are taken again");
        }
        Level::Tight => {
            tracing::warn!(
                bytes,
                budget_bytes,
                "memory is tight: requests that would have to wait are refused (memory_shed)"
            );
        }
        Level::Critical => {
            tracing::warn!(bytes, budget_bytes, "memory is critical: new connections and streams are refused too");
        }
    }
}
