//! From a slot to the two halves of an exchange with its endpoint: a connection that is idle, shared or new. Never plain where TLS is asked.

use crate::{
    backend::{Backend, Slot},
    backend_tls::EndpointTls,
    core::Core,
    exchange::{Fault, H1Answer, H1Idle, H1Tx, H2Response, H2UpTx, Outgoing, UpRx, UpTx, request_of},
    failure::Failure,
    io::{Io, SharedIo},
    pool::{Lease, PoolKey},
};
use headgate_config::{BackendProtocol, BackendTls, CertificateName};
use headgate_message::Method;
use std::{
    hash::BuildHasher,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// The halves of an exchange with an endpoint.
pub struct Upstream {
    /// Writes the request.
    pub tx: UpTx,
    /// Reads the answer.
    pub rx: UpRx,
    /// Whether the connection carried an exchange before: then it may have been closed without our knowing.
    pub reused: bool,
    key: PoolKey,
    /// Whether idle connections are shared by all cores: for an endpoint of bounded concurrency, where a connection idle on another core
    /// could hold its only worker.
    is_bounded: bool,
    /// Of a shared connection.
    lease: Option<Lease>,
}

/// Opens an exchange; the head is written at the first flush. `identity` is shown to an endpoint that asks for a certificate.
pub async fn open(
    core: &Rc<Core>,
    backend: &Backend,
    slot: &Slot,
    outgoing: &Outgoing<'_>,
    identity: Option<&CertificateName>,
) -> Result<Upstream, Fault> {
    let config = backend.config();
    let way = Way { protocol: config.protocol, tls: config.tls.as_deref(), identity };
    let key = PoolKey { endpoint: slot.endpoint().id.0, dialect: way.dialect() };
    let is_bounded = config.concurrency > 0;
    match config.protocol {
        BackendProtocol::Http1 => {
            let idle = take_idle(core, key, is_bounded && config.tls.is_none());
            let reused = idle.is_some();
            let io = match idle {
                Some(idle) => idle.io,
                // boxed: rare on a warm path, and larger than everything else here
                None => SharedIo::new(Box::pin(dial(core, slot, way)).await?),
            };
            Ok(over_http1(core, io, outgoing, Facts { reused, key, is_bounded }))
        }
        BackendProtocol::Http2 => {
            let shared = core.pool.http2(key);
            let reused = shared.is_some();
            let (sender, lease) = match shared {
                Some(shared) => shared,
                None => Box::pin(dial_http2(core, key, slot, way)).await?,
            };
            over_http2(sender, lease, outgoing, Facts { reused, key, is_bounded }).await
        }
        BackendProtocol::Opaque => {
            let why = "the port of the Service speaks no HTTP by its appProtocol";
            Err(Fault::new(Failure::BackendInvalid, why))
        }
    }
}

/// What a connection speaks, to whom it is verified, and what it shows.
#[derive(Clone, Copy)]
struct Way<'w> {
    protocol: BackendProtocol,
    tls: Option<&'w BackendTls>,
    identity: Option<&'w CertificateName>,
}

impl Way<'_> {
    /// Connections of two dialects are never taken for each other.
    fn dialect(self) -> u64 {
        let base = u64::from(self.protocol == BackendProtocol::Http2);
        let Some(tls) = self.tls else { return base };
        foldhash::fast::FixedState::default().hash_one((base, tls, self.identity)) | 1 << 63
    }
}

struct Facts {
    reused: bool,
    key: PoolKey,
    is_bounded: bool,
}

fn over_http1(core: &Rc<Core>, io: SharedIo, outgoing: &Outgoing<'_>, facts: Facts) -> Upstream {
    let tx = H1Tx::to_endpoint(io.clone(), core.buffers.clone(), outgoing);
    let rx = H1Answer::new(io, core.buffers.clone(), core.head_limits(), outgoing);
    let Facts { reused, key, is_bounded } = facts;
    Upstream { tx: UpTx::H1(tx), rx: UpRx::H1(rx), reused, key, is_bounded, lease: None }
}

/// A connection to an endpoint of which nothing is known but that it may want TLS.
pub async fn dial_opaque(
    core: &Core,
    slot: &Slot,
    tls: Option<&BackendTls>,
    identity: Option<&CertificateName>,
) -> Result<Io, Fault> {
    Box::pin(dial(core, slot, Way { protocol: BackendProtocol::Opaque, tls, identity })).await
}

/// Makes a shared connection, or takes the one that another request made meanwhile.
async fn dial_http2(
    core: &Rc<Core>,
    key: PoolKey,
    slot: &Slot,
    way: Way<'_>,
) -> Result<(h2::client::SendRequest<bytes::Bytes>, Lease), Fault> {
    let dialing = core.pool.dial(key);
    let _alone = dialing.lock().await;
    if let Some(shared) = core.pool.http2(key) {
        return Ok(shared);
    }
    let io = dial(core, slot, way).await?;
    share_http2(core, key, io).await
}

async fn over_http2(
    mut sender: h2::client::SendRequest<bytes::Bytes>,
    lease: Lease,
    outgoing: &Outgoing<'_>,
    facts: Facts,
) -> Result<Upstream, Fault> {
    let request = request_of(outgoing)?;
    let ends = outgoing.framing.is_empty();
    let is_head = outgoing.head.method == Method::Head;
    let broken = |error: h2::Error| Fault::new(Failure::UpstreamReset, error.to_string());
    std::future::poll_fn(|cx| sender.poll_ready(cx)).await.map_err(broken)?;
    let (answer, stream) = sender.send_request(request, ends).map_err(broken)?;
    let Facts { reused, key, is_bounded } = facts;
    Ok(Upstream {
        tx: UpTx::H2(H2UpTx::new(stream, ends)),
        rx: UpRx::H2(H2Response::new(answer, is_head)),
        reused,
        key,
        is_bounded,
        lease: Some(lease),
    })
}

/// Shakes hands for HTTP/2 and shares the connection with all requests of this core.
async fn share_http2(
    core: &Rc<Core>,
    key: PoolKey,
    io: Io,
) -> Result<(h2::client::SendRequest<bytes::Bytes>, Lease), Fault> {
    let limits = &core.shared.limits;
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(limits.h2_stream_window)
        .initial_connection_window_size(limits.h2_connection_window)
        .max_header_list_size(limits.head_bytes as u32);
    let shaken = tokio::time::timeout(limits.connect_timeout, builder.handshake(io)).await;
    let (sender, connection) = shaken
        .map_err(|_| Fault::from(Failure::ConnectTimeout))?
        .map_err(|error| Fault::new(Failure::UpstreamMalformed, error.to_string()))?;
    tokio::task::spawn_local(async move {
        // Its requests see how it ends; nobody else has to.
        let _ = connection.await;
    });
    let lease = core.pool.share_http2(key, sender.clone());
    Ok((sender, lease))
}

fn take_idle(core: &Core, key: PoolKey, is_shared: bool) -> Option<H1Idle> {
    if !is_shared {
        return core.pool.take_http1(key);
    }
    let socket = core.shared.take_idle(key)?;
    TcpStream::from_std(socket).ok().map(|tcp| H1Idle { io: SharedIo::new(Io::Tcp(tcp)) })
}

/// Connects, with TLS if the backend has it; the readiness probe's connection serves if there is one.
async fn dial(core: &Core, slot: &Slot, way: Way<'_>) -> Result<Io, Fault> {
    let limit = core.shared.limits.connect_timeout;
    let probed = slot.endpoint().take_probe_connection().and_then(|socket| TcpStream::from_std(socket).ok());
    let tcp = match probed {
        Some(tcp) => tcp,
        None => connect(slot.endpoint().address, limit).await?,
    };
    let _ = tcp.set_nodelay(true);
    let Some(tls) = way.tls else { return Ok(Io::Tcp(tcp)) };
    let compiled = core.endpoint_tls(tls, way.protocol, way.identity);
    let endpoint_tls = compiled.map_err(|why| Fault::new(Failure::UpstreamTrust, why))?;
    shake_hands(tcp, &endpoint_tls, way.protocol, limit).await
}

async fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, Fault> {
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => Ok(tcp),
        Ok(Err(error)) => Err(Fault::new(failure_of(&error), format!("{address}: {error}"))),
        Err(_) => Err(Fault::new(Failure::ConnectTimeout, address.to_string())),
    }
}

fn failure_of(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Failure::ConnectRefused,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::ConnectUnreachable,
    }
}

async fn shake_hands(
    tcp: TcpStream,
    tls: &EndpointTls,
    protocol: BackendProtocol,
    limit: Duration,
) -> Result<Io, Fault> {
    let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
    let shaken = tokio::time::timeout(limit, connector.connect(tls.name.clone(), tcp)).await;
    let stream = shaken
        .map_err(|_| Fault::from(Failure::ConnectTimeout))?
        .map_err(|error| Fault::new(Failure::UpstreamTls, error.to_string()))?;
    let alpn = stream.get_ref().1.alpn_protocol();
    if protocol == BackendProtocol::Http2 && alpn != Some(b"h2") {
        return Err(Fault::new(Failure::UpstreamTls, "the endpoint does not speak HTTP/2 under TLS"));
    }
    Ok(Io::TlsClient(Box::new(stream)))
}

impl Upstream {
    /// The endpoint did not answer: a shared connection may be dead without its end having come.
    pub fn condemn(&self) {
        self.lease.iter().for_each(Lease::condemn);
    }

    /// Gives a connection back whose exchange ended exactly; closes any other.
    pub fn finish(self, core: &Core, upload_ended: bool, now: Instant) {
        let (UpTx::H1(tx), UpRx::H1(rx)) = (self.tx, self.rx) else { return };
        if !(upload_ended && tx.is_reusable() && rx.is_reusable()) {
            return;
        }
        drop(tx);
        let (io, buffer) = rx.into_parts();
        core.buffers.give(buffer);
        if !self.is_bounded {
            return core.pool.give_http1(self.key, H1Idle { io }, now);
        }
        match io.into_io() {
            Some(Io::Tcp(tcp)) => {
                if let Ok(socket) = tcp.into_std() {
                    core.shared.give_idle(self.key, socket);
                }
            }
            Some(other) => core.pool.give_http1(self.key, H1Idle { io: SharedIo::new(other) }, now),
            None => {}
        }
    }
}
