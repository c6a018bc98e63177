//! A fixed number of requests a second, and how long their answers took. A request that is late because the one before it was slow counts from when it was due.

use crate::{load, numbers::percentile};
use std::{io, net::SocketAddr, rc::Rc};
use tokio::{
    net::TcpStream,
    time::{Duration, Instant, sleep_until},
};

const CONNECTIONS: u64 = 64;

/// The 99th percentile in milliseconds.
pub(super) fn ask(to: SocketAddr, per_second: f64, requests: u64, heads: &[Vec<u8>]) -> io::Result<f64> {
    let heads: Rc<[Vec<u8>]> = heads.into();
    let each = requests.div_ceil(CONNECTIONS);
    let pause = Duration::from_secs_f64(CONNECTIONS as f64 / per_second);
    load::runtime()?.block_on(load::limited(async {
        let begin = Instant::now() + Duration::from_millis(20);
        let asking = (0..CONNECTIONS).map(|at| {
            let first = begin + pause.mul_f64(at as f64 / CONNECTIONS as f64);
            tokio::task::spawn_local(one(to, at, first, pause, each, heads.clone()))
        });
        let asking: Vec<_> = asking.collect();
        let mut ms = Vec::new();
        for client in asking {
            ms.extend(client.await.map_err(io::Error::other)??);
        }
        Ok(percentile(&ms, 0.99))
    }))
}

async fn one(
    to: SocketAddr,
    at: u64,
    first: Instant,
    pause: Duration,
    requests: u64,
    heads: Rc<[Vec<u8>]>,
) -> io::Result<Vec<f64>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut ms = Vec::with_capacity(requests as usize);
    let mut due = first;
    for turn in 0..requests {
        let is_late = Instant::now() > due;
        sleep_until(due).await;
        let sent = if is_late { due } else { Instant::now() };
        let head = &heads[(turn * CONNECTIONS + at) as usize % heads.len()];
        load::exchange(&mut stream, head, &mut buffer).await?;
        ms.push(sent.elapsed().as_secs_f64() * 1_000.0);
        due += pause;
    }
    Ok(ms)
}
