//! Clients that are more than plain requests on kept connections: TLS, long bodies, WebSocket. Each keeps its connection, or makes a new one with what it knows from the last.

use super::{Ask, Work, fresh::closing};
use crate::{
    load::{self, Asker},
    origin::{UPGRADE_ANSWER, UPGRADE_FIELDS},
    peers::Ports,
};
use std::{cell::Cell, io, net::SocketAddr, rc::Rc, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, HandshakeKind,
        client::{Resumption, danger},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

/// Clients of connections that are made anew.
const NEW: usize = 16;
/// Connections of long bodies.
const LONG: usize = 2;
/// Bytes that are read or written at once.
const CHUNK: usize = 64 * 1024;
/// A message of 100 bytes from a client, as its frame is: masked, by a mask of zeros.
const FRAME_BYTES: usize = 106;

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Clients that wait to be told how much to ask.
pub(super) struct Sockets {
    runtime: tokio::runtime::LocalRuntime,
    clients: Vec<Client>,
}

struct Client {
    work: Work,
    to: SocketAddr,
    at: usize,
    source: u8,
    kept: Option<Box<dyn Stream>>,
    heads: Rc<[Vec<u8>]>,
    tls: TlsConnector,
    host: ServerName<'static>,
    /// Whether it has been connected before, and so has a ticket.
    is_known: bool,
    buffer: Vec<u8>,
}

impl Sockets {
    pub fn connect(work: Work, ports: Ports, ask: &Ask<'_>) -> io::Result<Self> {
        let (count, to) = match work {
            Work::Handshakes { .. } => (NEW, ports.tls),
            Work::Tls(count) => (count, ports.tls),
            Work::WebSocket(count) => (count, ports.http1),
            _ => (LONG, ports.http1),
        };
        let heads: Rc<[Vec<u8>]> = ask.heads.iter().map(|head| head_for(work, head)).collect();
        let host = ServerName::try_from(ask.host.to_owned()).map_err(io::Error::other)?;
        let client = |at| {
            // a configuration each: its tickets are those of its own connections
            let tls = TlsConnector::from(Arc::new(client_config(work)?));
            let (heads, host) = (heads.clone(), host.clone());
            Ok(Client {
                work,
                to,
                at,
                source: 0,
                kept: None,
                heads,
                tls,
                host,
                is_known: false,
                buffer: vec![0; CHUNK],
            })
        };
        let mut sockets =
            Self { runtime: load::runtime()?, clients: (0..count).map(client).collect::<io::Result<_>>()? };
        if !matches!(work, Work::Handshakes { .. }) {
            sockets.open()?;
        }
        Ok(sockets)
    }

    /// Opens what is kept, so that none of it is in a figure, however little is asked.
    fn open(&mut self) -> io::Result<()> {
        let Self { runtime, clients } = self;
        runtime.block_on(load::limited(async {
            for client in clients {
                let head = client.heads[client.at % client.heads.len()].clone();
                client.kept = Some(client.open(&head).await?);
            }
            Ok(())
        }))
    }

    pub fn ask(&mut self, count: u64) -> io::Result<()> {
        let left = Rc::new(Cell::new(count));
        let clients = std::mem::take(&mut self.clients);
        self.clients = self.runtime.block_on(load::limited(async {
            let asking: Vec<_> =
                clients.into_iter().map(|client| tokio::task::spawn_local(client.ask(left.clone()))).collect();
            let mut clients = Vec::new();
            for one in asking {
                clients.push(one.await.map_err(io::Error::other)??);
            }
            Ok::<_, io::Error>(clients)
        }))?;
        Ok(())
    }
}

fn head_for(work: Work, head: &[u8]) -> Vec<u8> {
    match work {
        Work::Handshakes { .. } => closing(head),
        Work::Upload(bytes) => {
            let text = String::from_utf8_lossy(&head[..head.len() - 2]).replacen("GET", "POST", 1);
            format!("{text}content-length: {bytes}\r\n\r\n").into_bytes()
        }
        Work::WebSocket(_) => [&head[..head.len() - 2], UPGRADE_FIELDS.as_bytes()].concat(),
        _ => head.to_vec(),
    }
}

impl Client {
    async fn ask(mut self, left: Rc<Cell<u64>>) -> io::Result<Self> {
        while let Some(next) = left.get().checked_sub(1) {
            left.set(next);
            let head = self.heads[next as usize % self.heads.len()].clone();
            self.once(&head).await?;
        }
        Ok(self)
    }

    async fn once(&mut self, head: &[u8]) -> io::Result<()> {
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => self.open(head).await?,
        };
        match self.work {
            Work::WebSocket(_) => echo(&mut stream, &mut self.buffer).await?,
            Work::Upload(bytes) => {
                stream.write_all(head).await?;
                self.buffer.fill(b'x');
                let mut left = bytes;
                while left > 0 {
                    let part = left.min(CHUNK as u64) as usize;
                    stream.write_all(&self.buffer[..part]).await?;
                    left -= part as u64;
                }
                answered(&mut stream, &mut self.buffer).await?;
            }
            Work::Handshakes { .. } => {
                stream.write_all(head).await?;
                answered(&mut stream, &mut self.buffer).await?;
                // the ticket may come with the end
                while matches!(stream.read(&mut self.buffer).await, Ok(1..)) {}
                return Ok(());
            }
            _ => {
                stream.write_all(head).await?;
                answered(&mut stream, &mut self.buffer).await?;
            }
        }
        self.kept = Some(stream);
        Ok(())
    }

    async fn open(&mut self, head: &[u8]) -> io::Result<Box<dyn Stream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(super::next_source(self.at, &mut self.source))?;
        let mut stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        match self.work {
            Work::Handshakes { .. } | Work::Tls(_) => self.secure(stream).await,
            Work::WebSocket(_) => {
                stream.write_all(head).await?;
                upgraded(&mut stream).await?;
                Ok(Box::new(stream))
            }
            _ => Ok(Box::new(stream)),
        }
    }

    async fn secure(&mut self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let stream = self.tls.connect(self.host.clone(), stream).await?;
        let kind = stream.get_ref().1.handshake_kind();
        let wanted = if self.work == (Work::Handshakes { resumed: true }) && self.is_known {
            HandshakeKind::Resumed
        } else {
            HandshakeKind::Full
        };
        if kind != Some(wanted) {
            return Err(io::Error::other(format!("the handshake was {kind:?}, not {wanted:?}")));
        }
        self.is_known = true;
        Ok(Box::new(stream))
    }
}

/// Reads a whole answer of any length; it has to be 200.
async fn answered(stream: &mut Box<dyn Stream>, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    let end = loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        if let Some(at) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    if head.get(9..12) != Some("200") {
        return Err(io::Error::other(format!("answered {}", head.lines().next().unwrap_or_default())));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<u64>().ok());
    let length = length.ok_or_else(|| io::Error::other("an answer without content-length"))?;
    let mut left = length.saturating_sub((filled - end) as u64);
    while left > 0 {
        match stream.read(buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => left = left.saturating_sub(count as u64),
        }
    }
    Ok(())
}

async fn upgraded(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let status = &UPGRADE_ANSWER[..12];
    if head.starts_with(status.as_bytes()) {
        return Ok(());
    }
    Err(io::Error::other(format!("no upgrade: {}", String::from_utf8_lossy(&head))))
}

/// One message there and back.
async fn echo(stream: &mut Box<dyn Stream>, buffer: &mut [u8]) -> io::Result<()> {
    let frame = &mut buffer[..FRAME_BYTES];
    frame.fill(b'x');
    frame[..6].copy_from_slice(&[0x82, 0x80 | 100, 0, 0, 0, 0]);
    stream.write_all(frame).await?;
    stream.read_exact(frame).await?;
    if frame[0] == 0x82 { Ok(()) } else { Err(io::Error::other("another message came back")) }
}

/// A TLS connection for one question after the other.
pub fn tls_asker(to: SocketAddr, host: &str) -> io::Result<Asker<impl io::Read + io::Write + use<>>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let config = client_config(Work::Tls(1))?;
    let session = rustls::ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(Asker::on(rustls::StreamOwned::new(session, load::connect(to)?)))
}

fn client_config(work: Work) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if work != (Work::Handshakes { resumed: true }) {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

/// Takes every certificate: who answers is known here, and what a client checks is not measured.
#[derive(Debug)]
struct Anybody;

impl danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<danger::ServerCertVerified, rustls::Error> {
        Ok(danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        Ok(danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        Ok(danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
