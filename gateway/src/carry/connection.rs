//! The life of a connection that is carried: lead, slot, connect, both ways to the end, one record. What the client sent first stays unread until there is an endpoint.

use super::{lead::Asked, story::Story};
use crate::{
    backend::Slot,
    connect::{Announced, Way, dial},
    core::Core,
    exchange::Fault,
    failure::Failure,
    io::{Io, SharedIo},
    telemetry::{Record, Spoken},
    tunnel::{self, Carried, End, Ended},
};
use headgate_config::{BackendProtocol, HostName, Transport};
use headgate_proxy_protocol::Ends;
use std::{net::IpAddr, rc::Rc, time::Instant};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection of a client.
pub struct Incoming {
    io: Io,
    /// Read already, and to be sent first.
    read: Vec<u8>,
    /// Whether it is encrypted for the endpoint, so that nothing may be added to it.
    is_sealed: bool,
    /// The server name.
    name: Option<HostName>,
    /// The client, and where it connected to.
    ends: Ends,
    port: u16,
    spoken: Spoken,
}

impl Incoming {
    /// Of a TCP listener.
    pub fn plain(socket: TcpStream, ends: Ends, port: u16) -> Self {
        let io = Io::Tcp(socket);
        Self { io, read: Vec::new(), is_sealed: false, name: None, ends, port, spoken: Spoken::Tcp }
    }

    /// Of a TLS listener at which TLS has ended.
    pub fn tls_ended(stream: TlsStream<TcpStream>, ends: Ends, port: u16, name: Option<HostName>) -> Self {
        let io = Io::TlsServer(Box::new(stream));
        Self { io, read: Vec::new(), is_sealed: false, name, ends, port, spoken: Spoken::Tls }
    }

    /// Of a TLS listener that passes through what came; `read` of it is the ClientHello.
    pub fn tls_as_it_came(socket: TcpStream, read: Vec<u8>, ends: Ends, port: u16, name: Option<HostName>) -> Self {
        Self { io: Io::Tcp(socket), read, is_sealed: true, name, ends, port, spoken: Spoken::Tls }
    }
}

/// A connection that came to nothing before it could be carried.
pub struct Failed {
    /// The server name, if one was read.
    pub name: Option<HostName>,
    /// Why.
    pub fault: Fault,
}

/// Tells of one.
pub fn refused(core: &Core, client: IpAddr, port: u16, spoken: Spoken, arrived: Instant, failed: Failed) {
    core.shard.carrying_began();
    let name = failed.name.as_ref().map_or("", HostName::as_str);
    let mut record = Record::carried(client, port, spoken, name, arrived);
    record.fail(&failed.fault);
    record.end(Instant::now());
    core.shard.tell_carried(record);
}

/// Carries a connection to its end.
pub async fn serve(core: &Rc<Core>, incoming: Incoming) {
    core.shard.carrying_began();
    let arrived = Instant::now();
    let name = incoming.name.as_ref().map(HostName::to_string).unwrap_or_default();
    let mut record = Record::carried(incoming.ends.source.ip(), incoming.port, incoming.spoken, &name, arrived);
    if let Err(fault) = carry(core, incoming, &name, &mut record).await {
        record.fail(&fault);
    }
    record.end(Instant::now());
    core.shard.tell_carried(record);
}

async fn carry(core: &Rc<Core>, incoming: Incoming, name: &str, record: &mut Record) -> Result<(), Fault> {
    let Incoming { io: client, read, is_sealed, ends, port, .. } = incoming;
    let asked = Asked { transport: Transport::Tcp, port, name };
    let reached = match Story::begin(core, asked, record) {
        Ok(mut story) => {
            match reach(core, &mut story, Calling { io: &client, kept: read.len(), is_sealed, ends: &ends }).await {
                Ok(found) => Ok((story, found)),
                Err(fault) => Err(fault),
            }
        }
        Err(fault) => Err(fault),
    };
    let (mut story, (slot, endpoint)) = match reached {
        Ok(reached) => reached,
        Err(fault) => {
            client.reset();
            return Err(fault);
        }
    };
    let client = End { io: SharedIo::new(client), read };
    let endpoint = End { io: SharedIo::new(endpoint), read: Vec::new() };
    let Carried { up, down, ended } = tunnel::join(core, client, endpoint, &mut story.timer, &story.ear).await;
    drop(slot);
    story.record.bytes_in = up;
    story.record.bytes_out = down;
    match ended {
        Ended::Whole => Ok(()),
        Ended::ByClient => Err(Failure::ClientGone.into()),
        Ended::ByEndpoint => Err(Failure::UpstreamReset.into()),
        Ended::Idle => Err(Failure::CarriedIdle.into()),
        Ended::Drained => Err(Failure::Draining.into()),
    }
}

/// A client while its endpoint is sought.
struct Calling<'c> {
    io: &'c Io,
    /// Bytes that were read already.
    kept: usize,
    is_sealed: bool,
    ends: &'c Ends,
}

/// A connection to an endpoint.
async fn reach(core: &Core, story: &mut Story<'_>, client: Calling<'_>) -> Result<(Slot, Io), Fault> {
    loop {
        let slot = story.admit(client.kept, |cx| client.io.poll_left(cx)).await?;
        story.tries(&slot);
        let opening = Instant::now();
        // a BackendTLSPolicy is for what is not encrypted for the endpoint already
        let config = story.lead.backend.config();
        let tls = config.tls.as_deref().filter(|_| !client.is_sealed);
        let announced = config.proxy_protocol.map(|version| Announced { version, ends: client.ends });
        let way = Way::of(BackendProtocol::Opaque, tls, story.lead.identity(), announced);
        match Box::pin(dial(core, &slot, way)).await {
            Ok(endpoint) => {
                story.connected(&slot, opening);
                return Ok((slot, endpoint));
            }
            Err(fault) => story.failed(slot, fault)?,
        }
    }
}
