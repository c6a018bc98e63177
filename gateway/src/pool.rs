//! Idle connections to endpoints, of one core. Never one with an unread byte, and never longer idle than the limit.

use crate::exchange::H1Idle;
use bytes::Bytes;
use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// Idle HTTP/1 connections kept per endpoint and core; more are closed.
const IDLE_MAX: usize = 64;

/// Which endpoint, and what is spoken to it and under which policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Of this process.
    pub endpoint: u64,
    /// Protocol and TLS.
    pub dialect: u64,
}

/// The pool; clones are the same pool.
#[derive(Clone, Default)]
pub struct Pool(Rc<RefCell<HashMap<PoolKey, Idle, foldhash::fast::RandomState>>>);

#[derive(Default)]
struct Idle {
    http1: Vec<(H1Idle, Instant)>,
    http2: Vec<h2::client::SendRequest<Bytes>>,
}

impl Pool {
    /// The connection that was used last, if it is still alive: neither closed nor speaking unasked.
    pub fn take_http1(&self, key: PoolKey) -> Option<H1Idle> {
        let mut pool = self.0.borrow_mut();
        let idle = &mut pool.get_mut(&key)?.http1;
        while let Some((connection, _)) = idle.pop() {
            if connection.io.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a clean connection.
    pub fn give_http1(&self, key: PoolKey, connection: H1Idle, now: Instant) {
        let mut pool = self.0.borrow_mut();
        let idle = &mut pool.entry(key).or_default().http1;
        if idle.len() < IDLE_MAX {
            idle.push((connection, now));
        }
    }

    /// A shared HTTP/2 connection that can take a stream now.
    pub fn http2(&self, key: PoolKey) -> Option<h2::client::SendRequest<Bytes>> {
        let mut pool = self.0.borrow_mut();
        let shared = &mut pool.get_mut(&key)?.http2;
        let mut cx = Context::from_waker(Waker::noop());
        shared.retain_mut(|sender| !matches!(sender.poll_ready(&mut cx), Poll::Ready(Err(_))));
        shared.iter_mut().find_map(|sender| sender.poll_ready(&mut cx).is_ready().then(|| sender.clone()))
    }

    /// Shares an HTTP/2 connection.
    pub fn share_http2(&self, key: PoolKey, sender: h2::client::SendRequest<Bytes>) {
        self.0.borrow_mut().entry(key).or_default().http2.push(sender);
    }

    /// Closes what has been idle for longer than `limit`, for ever.
    pub fn spawn_reaper(self, limit: Duration) {
        const PERIOD: Duration = Duration::from_secs(5);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(PERIOD.min(limit)).await;
                let now = Instant::now();
                let mut pool = self.0.borrow_mut();
                pool.retain(|_, idle| {
                    idle.http1
                        .retain(|(connection, since)| now.duration_since(*since) < limit && connection.io.is_quiet());
                    let mut cx = Context::from_waker(Waker::noop());
                    idle.http2.retain_mut(|sender| !matches!(sender.poll_ready(&mut cx), Poll::Ready(Err(_))));
                    !idle.http1.is_empty() || !idle.http2.is_empty()
                });
            }
        });
    }
}
