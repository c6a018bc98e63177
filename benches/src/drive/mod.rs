//! What clients do to whoever is measured, and what that costs it: CPU time of all its processes, and where it says something, the time until the answer. What the clients themselves cost is in no figure.

mod fresh;
mod h2load;
mod idle;
mod paced;
mod socket;
mod streams;

pub use socket::tls_asker;

use crate::{load::Clients, peers::Running, process};
use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// HTTP/1.1 over so many connections that are kept, each asking again once it is answered.
    Kept(usize),
    /// The same, but so many requests a second in sum, over 64 connections.
    Paced(f64),
    /// A new connection for each request, by so many clients.
    Fresh(usize),
    /// HTTP/2 by h2load.
    H2 {
        /// Over TLS.
        tls: bool,
        /// With the fields and the body of a gRPC call.
        grpc: bool,
    },
    /// gRPC messages that come back, one at a time on each of so many streams.
    Streams(usize),
    /// A new TLS connection for each request; with the ticket of the last one if it is to be resumed.
    Handshakes {
        /// With a ticket.
        resumed: bool,
    },
    /// HTTP/1.1 over so many TLS connections that are kept.
    Tls(usize),
    /// Request bodies of so many bytes, over two connections.
    Upload(u64),
    /// Answers of so many bytes, over two connections.
    Download(u64),
    /// Messages that come back, over so many WebSocket connections.
    WebSocket(usize),
    /// Requests over 64 connections while so many others are idle.
    BesideIdle(usize),
}

/// What one unit cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU time, microseconds.
    pub cpu_us: f64,
    /// 99 of 100 were answered within so many milliseconds; only where the load has a rate.
    pub p99_ms: Option<f64>,
    /// Units a second as the clients saw them.
    pub per_second: f64,
}

impl Cost {
    fn of(cpu_seconds: f64, took: Duration, count: u64) -> Self {
        let count = count as f64;
        Self { cpu_us: cpu_seconds * 1e6 / count, p99_ms: None, per_second: count / took.as_secs_f64() }
    }
}

/// What is asked for, with how many units of it.
pub struct Ask<'a> {
    /// Heads in turn.
    pub heads: &'a [Vec<u8>],
    /// The name for TLS and for those that ask for one host only.
    pub host: &'a str,
    /// How often.
    pub count: u64,
}

impl Ask<'_> {
    /// Units that are done before it is counted.
    fn warm_up(&self) -> u64 {
        (self.count / 10).max(1)
    }

    /// All units.
    pub fn with_warm_up(&self) -> u64 {
        self.warm_up() + self.count
    }
}

impl Work {
    /// Does the work after a tenth of it as a warm-up, and says what each unit of it cost.
    ///
    /// # Errors
    /// If anything is not answered as it should be: then the figures would mean nothing.
    pub fn cost(self, running: &Running, ask: &Ask<'_>) -> io::Result<Cost> {
        let ids = running.ids();
        let cpu = || process::cpu_seconds(&ids);
        let ports = running.ports;
        let (warm, count) = (ask.warm_up(), ask.count);
        let mut p99_ms = None;
        let (before, begun);
        match self {
            Self::Kept(connections) => {
                let mut clients = Clients::connect(ports.http1, connections, ask.heads.to_vec())?;
                clients.ask(warm)?;
                (before, begun) = (cpu()?, Instant::now());
                clients.ask(count)?;
            }
            Self::BesideIdle(idle) => {
                let _held = idle::Idle::connect(ports.http1, idle, &ask.heads[0])?;
                let mut clients = Clients::connect(ports.http1, 64, ask.heads.to_vec())?;
                clients.ask(warm)?;
                (before, begun) = (cpu()?, Instant::now());
                clients.ask(count)?;
            }
            Self::Paced(per_second) => {
                paced::ask(ports.http1, per_second, warm, ask.heads)?;
                (before, begun) = (cpu()?, Instant::now());
                p99_ms = Some(paced::ask(ports.http1, per_second, count, ask.heads)?);
            }
            Self::Fresh(clients) => {
                fresh::ask(ports.http1, clients, warm, ask.heads)?;
                (before, begun) = (cpu()?, Instant::now());
                fresh::ask(ports.http1, clients, count, ask.heads)?;
            }
            Self::H2 { tls, grpc } => {
                let at = if tls { ports.tls } else { ports.h2c };
                h2load::ask(at, tls, grpc, warm, ask.host)?;
                (before, begun) = (cpu()?, Instant::now());
                h2load::ask(at, tls, grpc, count, ask.host)?;
            }
            Self::Streams(streams) => {
                let mut streams = streams::Streams::open(ports.h2c, streams, ask.host)?;
                streams.ask(warm)?;
                (before, begun) = (cpu()?, Instant::now());
                streams.ask(count)?;
                // what ends the streams is in no figure
                let cost = Cost::of(cpu()? - before, begun.elapsed(), count);
                streams.end()?;
                return Ok(cost);
            }
            Self::Handshakes { .. } | Self::Tls(_) | Self::Upload(_) | Self::Download(_) | Self::WebSocket(_) => {
                let mut sockets = socket::Sockets::connect(self, ports, ask)?;
                sockets.ask(warm)?;
                (before, begun) = (cpu()?, Instant::now());
                sockets.ask(count)?;
            }
        }
        Ok(Cost { p99_ms, ..Cost::of(cpu()? - before, begun.elapsed(), count) })
    }
}

/// An address of its own for a client's next connection: ports of one address would soon be used up, since each rests for a minute.
fn next_source(client: usize, last: &mut u8) -> SocketAddr {
    *last = *last % 250 + 1;
    SocketAddr::from(([127, 1, client as u8, *last], 0))
}
