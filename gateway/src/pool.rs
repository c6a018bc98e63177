//! Idle connections to endpoints, of one core or of one client. Never one with an unread byte, and never longer idle than the limit.

use crate::exchange::H1Idle;
use bytes::Bytes;
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Idle HTTP/1 connections kept per endpoint and core; more are closed.
const IDLE_MAX: usize = 512;

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
pub struct Pool(Rc<RefCell<Inner>>);

type Inner = HashMap<PoolKey, Idle, foldhash::fast::RandomState>;

/// Connections that belong to one connection of a client, since they told the endpoint of it. They end with it.
#[derive(Default)]
pub struct OwnPool(OnceCell<Pool>);

impl OwnPool {
    /// The pool; closes what is idle for longer than `limit`.
    pub fn get(&self, limit: Duration) -> &Pool {
        self.0.get_or_init(|| {
            let pool = Pool::default();
            pool.spawn_reaper(limit);
            pool
        })
    }
}

impl std::fmt::Debug for OwnPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnPool")
    }
}

#[derive(Default)]
struct Idle {
    http1: Vec<(H1Idle, Instant)>,
    http2: Vec<Shared>,
    /// Held while a connection is made, so that many requests make one.
    dial: Rc<Mutex<()>>,
}

/// A connection that many requests share.
struct Shared {
    sender: h2::client::SendRequest<Bytes>,
    lease: Lease,
}

/// One stream of a shared connection, counted while it lives.
#[derive(Clone, Default)]
pub struct Lease {
    streams: Rc<()>,
    used: Rc<Cell<Option<Instant>>>,
    broken: Rc<Cell<bool>>,
}

impl Lease {
    /// No further request uses the connection: an endpoint did not answer on it.
    pub fn condemn(&self) {
        self.broken.set(true);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.used.set(Some(Instant::now()));
    }
}

impl Shared {
    fn streams(&self) -> usize {
        Rc::strong_count(&self.lease.streams) - 1
    }

    fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.lease.broken.get() && !matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }
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
    pub fn http2(&self, key: PoolKey) -> Option<(h2::client::SendRequest<Bytes>, Lease)> {
        let mut pool = self.0.borrow_mut();
        let shared = &mut pool.get_mut(&key)?.http2;
        shared.retain_mut(Shared::is_usable);
        let with_room = shared.iter().find(|one| one.streams() < one.sender.current_max_send_streams());
        with_room.map(|one| (one.sender.clone(), one.lease.clone()))
    }

    /// Shares an HTTP/2 connection; the lease is of its first stream.
    pub fn share_http2(&self, key: PoolKey, sender: h2::client::SendRequest<Bytes>) -> Lease {
        let lease = Lease::default();
        self.0.borrow_mut().entry(key).or_default().http2.push(Shared { sender, lease: lease.clone() });
        lease
    }

    /// Whoever makes a shared connection holds this, and looks again once it does.
    pub fn dial(&self, key: PoolKey) -> Rc<Mutex<()>> {
        self.0.borrow_mut().entry(key).or_default().dial.clone()
    }

    /// Closes what has been idle for longer than `limit`, for as long as there is the pool.
    pub fn spawn_reaper(&self, limit: Duration) {
        const PERIOD: Duration = Duration::from_secs(5);
        let pool = Rc::downgrade(&self.0);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(PERIOD.min(limit)).await;
                let now = Instant::now();
                let Some(pool) = pool.upgrade() else { return };
                pool.borrow_mut().retain(|_, idle| {
                    idle.http1
                        .retain(|(connection, since)| now.duration_since(*since) < limit && connection.io.is_quiet());
                    idle.http2.retain_mut(|shared| {
                        let used = shared.lease.used.get().unwrap_or(now);
                        shared.is_usable() && (shared.streams() > 0 || now.duration_since(used) < limit)
                    });
                    !idle.http1.is_empty() || !idle.http2.is_empty() || Rc::strong_count(&idle.dial) > 1
                });
            }
        });
    }
}
