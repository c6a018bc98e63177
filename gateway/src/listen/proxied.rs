//! Ports behind a proxy that says who its clients are: the header of the PROXY protocol is read before all else, and exactly it. Never guesses what it does not say.

use crate::{
    carry::{self, Failed},
    core::Core,
    drain::Ear,
    exchange::Fault,
    failure::Failure,
    forwarded::TrustedHops,
    telemetry::Spoken,
};
use headgate_proxy_protocol::{self as proxy_protocol, Ends};
use std::{collections::BTreeSet, future::poll_fn, net::IpAddr, task::Poll, time::Instant};
use tokio::{
    io::{AsyncReadExt, ReadBuf},
    net::TcpStream,
};

/// Looked at in one go, in bytes; nearly every header is shorter.
const STEP_BYTES: usize = 256;

/// At which ports connections begin with a header of the PROXY protocol, and from whom one is taken. A connection there without a valid one is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    /// Ports of listeners, as the API has them.
    pub ports: BTreeSet<u16>,
    /// Networks of the proxies; everybody who reaches the port where there are none.
    pub from: TrustedHops,
}

impl Proxied {
    fn is_from(&self, peer: IpAddr) -> bool {
        self.from.is_empty() || self.from.contains(peer)
    }
}

/// The ends of a connection whose socket has `own`, as its proxy tells them; `None` for one that is over.
pub async fn ends(core: &Core, socket: &mut TcpStream, port: u16, own: Ends) -> Option<Ends> {
    let arrived = Instant::now();
    match read_in_time(core, socket, own).await {
        Ok(ends) => ends,
        Err(fault) => {
            let failed = Failed { name: None, fault };
            carry::refused(core, own.source.ip(), port, Spoken::Tcp, arrived, failed);
            None
        }
    }
}

async fn read_in_time(core: &Core, socket: &mut TcpStream, own: Ends) -> Result<Option<Ends>, Fault> {
    let peer = own.source.ip().to_canonical();
    if !core.shared.proxied.is_from(peer) {
        return Err(refused(format!("{peer} is not in --proxy-protocol-from")));
    }
    let ear = Ear::new(&core.bell);
    let limits = &core.shared.limits;
    let reading = read(socket, own, limits.proxy_header_bytes, &ear);
    let late = |_| refused("it did not come within --proxy-header-timeout");
    tokio::time::timeout(limits.proxy_header_timeout, reading).await.map_err(late)?
}

/// Reads a header of at most so many bytes. What is not a whole one is all of it so far, and so nothing of what follows is ever taken.
async fn read(socket: &mut TcpStream, own: Ends, most: usize, ear: &Ear) -> Result<Option<Ends>, Fault> {
    let mut bytes = Vec::new();
    loop {
        let taken = bytes.len();
        bytes.resize(taken + STEP_BYTES, 0);
        // what has come is read first: a request that is here already when the drain begins is served
        let peek = poll_fn(|cx| match socket.poll_peek(cx, &mut ReadBuf::new(&mut bytes[taken..])) {
            Poll::Pending if taken == 0 => ear.poll_rung(cx).map(|()| Ok(0)),
            peeked => peeked,
        });
        let seen = match peek.await {
            Ok(seen @ 1..) => seen,
            // as probes of load balancers do
            Ok(_) | Err(_) if taken == 0 => return Ok(None),
            Ok(_) | Err(_) => return Err(refused("the client left in the middle of it")),
        };
        bytes.truncate(taken + seen);
        let header = proxy_protocol::read(&bytes, most).map_err(|defect| refused(defect.to_string()))?;
        let whole = header.map_or(bytes.len(), |header| header.length);
        let left = |_| Fault::from(Failure::ClientGone);
        socket.read_exact(&mut bytes[taken..whole]).await.map_err(left)?;
        if let Some(header) = header {
            return Ok(Some(header.ends.unwrap_or(own)));
        }
    }
}

fn refused(why: impl Into<String>) -> Fault {
    Fault::new(Failure::BadProxyHeader, why.into())
}
