//! From a slot to the two halves of an exchange with its endpoint: a connection that is idle, shared or new. Never plain where TLS is asked.

use crate::{
    backend::{Backend, Slot},
    backend_tls::EndpointTls,
    core::Core,
    exchange::{Fault, H1Answer, H1Idle, H1Tx, H2Response, H2UpTx, Outgoing, UpRx, UpTx, request_of},
    failure::Failure,
    io::{Io, SharedIo},
    listen::Connection,
    meter,
    pool::{Lease, Pool, PoolKey},
};
use headgate_config::{BackendProtocol, BackendTls, CertificateName, ProxyProtocol};
use headgate_message::Method;
use headgate_proxy_protocol::Ends;
use std::{
    hash::BuildHasher,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// The halves of an exchange with an endpoint.
pub struct Upstream {
    /// Writes the request.
    pub tx: UpTx,
    /// Reads the answer.
    pub rx: UpRx,
    /// Whether the connection carried an exchange before: then it may have been closed without our knowing.
    pub reused: bool,
    key: PoolKey,
    /// The pool of the client, where the connection told the endpoint of it.
    own: Option<Pool>,
    /// Whether idle connections are shared by all cores: for an endpoint of bounded concurrency, where a connection idle on another core
    /// could hold its only worker.
    is_bounded: bool,
    /// Of a shared connection.
    lease: Option<Lease>,
}

/// To whom.
#[derive(Clone, Copy)]
pub struct To<'t> {
    /// The backend.
    pub backend: &'t Backend,
    /// The slot at one of its endpoints.
    pub slot: &'t Slot,
    /// What is shown to an endpoint that asks for a certificate.
    pub identity: Option<&'t CertificateName>,
}

/// Opens an exchange for a request that came on the connection of a client; the head is written at the first flush.
///
/// A connection that begins with a header of the PROXY protocol tells of one client, and is reused for that client's connection only.
pub async fn open(
    core: &Rc<Core>,
    to: To<'_>,
    client: &Connection,
    outgoing: &Outgoing<'_>,
) -> Result<Upstream, Fault> {
    let To { backend, slot, identity } = to;
    let config = backend.config();
    let announced = config.proxy_protocol.map(|version| Announced { version, ends: &client.ends });
    let way = Way::of(config.protocol, config.tls.as_deref(), identity, announced);
    let own = announced.map(|_| client.upstreams.get(core.shared.limits.upstream_keep_alive).clone());
    let pool = own.as_ref().unwrap_or(&core.pool);
    let key = PoolKey { endpoint: slot.endpoint().id.0, dialect: way.dialect(core) };
    let is_bounded = config.concurrency > 0;
    match config.protocol {
        BackendProtocol::Http1 => {
            let is_shared = is_bounded && config.tls.is_none() && own.is_none();
            let idle = if is_shared { take_shared(core, key) } else { pool.take_http1(key) };
            let reused = idle.is_some();
            let io = match idle {
                Some(idle) => idle.io,
                // boxed: rare on a warm path, and larger than everything else here
                None => SharedIo::new(Box::pin(dial(core, slot, way)).await?),
            };
            Ok(over_http1(core, io, outgoing, Facts { reused, key, own, is_bounded }))
        }
        BackendProtocol::Http2 => {
            let shared = pool.http2(key);
            let reused = shared.is_some();
            let (sender, lease) = match shared {
                Some(shared) => shared,
                None => Box::pin(dial_http2(core, pool, key, slot, way)).await?,
            };
            over_http2(sender, lease, outgoing, Facts { reused, key, own, is_bounded }).await
        }
        BackendProtocol::Opaque => {
            let why = "the port of the Service speaks no HTTP by its appProtocol";
            Err(Fault::new(Failure::BackendInvalid, why))
        }
    }
}

/// What a connection speaks, to whom it is verified, what it shows, and of whom it tells.
#[derive(Clone, Copy)]
pub struct Way<'w> {
    /// What is spoken.
    pub protocol: BackendProtocol,
    /// TLS, if any.
    pub tls: Option<&'w BackendTls>,
    /// What is shown to an endpoint that asks for a certificate.
    pub identity: Option<&'w CertificateName>,
    /// The header that comes before all else.
    pub announced: Option<Announced<'w>>,
}

/// A client of whom an endpoint is told by the PROXY protocol.
#[derive(Clone, Copy)]
pub struct Announced<'a> {
    /// How.
    pub version: ProxyProtocol,
    /// The client, and where it connected to.
    pub ends: &'a Ends,
}

impl<'w> Way<'w> {
    /// To a backend; where that has a certificate of its own shown, it is that one, otherwise `identity`.
    pub fn of(
        protocol: BackendProtocol,
        tls: Option<&'w BackendTls>,
        identity: Option<&'w CertificateName>,
        announced: Option<Announced<'w>>,
    ) -> Self {
        let own = tls.and_then(|tls| tls.certificate.as_ref());
        Self { protocol, tls, identity: own.or(identity), announced }
    }

    /// Connections of two dialects are never taken for each other. That of a certificate changes with the certificate: what an endpoint was
    /// shown before carries no new request.
    fn dialect(self, core: &Core) -> u64 {
        let base = u64::from(self.protocol == BackendProtocol::Http2);
        let Some(tls) = self.tls else { return base };
        let shown = self.identity.map(|name| (name, core.with_active(|active| active.identities.mark(name))));
        foldhash::fast::FixedState::default().hash_one((base, tls, shown)) | 1 << 63
    }
}

struct Facts {
    reused: bool,
    key: PoolKey,
    own: Option<Pool>,
    is_bounded: bool,
}

fn over_http1(core: &Rc<Core>, io: SharedIo, outgoing: &Outgoing<'_>, facts: Facts) -> Upstream {
    let tx = H1Tx::to_endpoint(io.clone(), core.buffers.clone(), outgoing);
    let rx = H1Answer::new(io, core.buffers.clone(), core.head_limits(), outgoing);
    let Facts { reused, key, own, is_bounded } = facts;
    Upstream { tx: UpTx::H1(tx), rx: UpRx::H1(rx), reused, key, own, is_bounded, lease: None }
}

/// Makes a shared connection, or takes the one that another request made meanwhile.
async fn dial_http2(
    core: &Core,
    pool: &Pool,
    key: PoolKey,
    slot: &Slot,
    way: Way<'_>,
) -> Result<(h2::client::SendRequest<bytes::Bytes>, Lease), Fault> {
    let dialing = pool.dial(key);
    let _alone = dialing.lock().await;
    if let Some(shared) = pool.http2(key) {
        return Ok(shared);
    }
    let io = dial(core, slot, way).await?;
    share_http2(core, pool, key, io).await
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
    let Facts { reused, key, own, is_bounded } = facts;
    Ok(Upstream {
        tx: UpTx::H2(H2UpTx::new(stream, ends)),
        rx: UpRx::H2(H2Response::new(answer, is_head)),
        reused,
        key,
        own,
        is_bounded,
        lease: Some(lease),
    })
}

/// What small DATA frames that wait to be read may cost beyond their bytes, each as if it had 256. `h2` counts those for ever that came for a request
/// that was given up: with its own bound, half the window, thousands of such would end the connection of all others.
const SMALL_DATA_MOST: usize = 64 << 20;

/// Shakes hands for HTTP/2 and shares the connection with all requests of the pool.
async fn share_http2(
    core: &Core,
    pool: &Pool,
    key: PoolKey,
    io: Io,
) -> Result<(h2::client::SendRequest<bytes::Bytes>, Lease), Fault> {
    let limits = &core.shared.limits;
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(limits.h2_stream_window)
        .initial_connection_window_size(limits.h2_connection_window)
        .data_frame_budget(SMALL_DATA_MOST)
        .max_header_list_size(limits.head_bytes as u32);
    let shaken = tokio::time::timeout(limits.connect_timeout, builder.handshake(meter::Endpoint::new(io))).await;
    let (sender, connection) = shaken
        .map_err(|_| Fault::from(Failure::ConnectTimeout))?
        .map_err(|error| Fault::new(Failure::UpstreamMalformed, error.to_string()))?;
    tokio::task::spawn_local(async move {
        // Its requests see how it ends; nobody else has to.
        let _ = connection.await;
    });
    let lease = pool.share_http2(key, sender.clone());
    Ok((sender, lease))
}

/// One that all cores share.
fn take_shared(core: &Core, key: PoolKey) -> Option<H1Idle> {
    let socket = core.shared.take_idle(key)?;
    TcpStream::from_std(socket).ok().map(|tcp| H1Idle { io: SharedIo::new(Io::Tcp(tcp)) })
}

/// Connects, tells of the client and speaks TLS if the backend has it; the readiness probe's connection serves if there is one.
pub async fn dial(core: &Core, slot: &Slot, way: Way<'_>) -> Result<Io, Fault> {
    let limit = core.shared.limits.connect_timeout;
    let probed = slot.endpoint().take_probe_connection().and_then(|socket| TcpStream::from_std(socket).ok());
    let mut tcp = match probed {
        Some(tcp) => tcp,
        None => connect(slot.endpoint().address, limit).await?,
    };
    let _ = tcp.set_nodelay(true);
    if let Some(announced) = way.announced {
        announce(&mut tcp, announced, limit).await?;
    }
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

/// Tells of a client, before anything else is sent.
async fn announce(
    tcp: &mut TcpStream,
    Announced { version, ends }: Announced<'_>,
    limit: Duration,
) -> Result<(), Fault> {
    let header = headgate_proxy_protocol::write(version, Some(ends));
    match tokio::time::timeout(limit, tcp.write_all(&header)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Fault::new(Failure::ConnectRefused, error.to_string())),
        Err(_) => Err(Failure::ConnectTimeout.into()),
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
        if let Some(own) = self.own {
            // one that is kept for this client could hold the only worker
            if !self.is_bounded {
                own.give_http1(self.key, H1Idle { io }, now);
            }
            return;
        }
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
