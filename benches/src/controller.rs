//! A controller that is this process: tells one gateway what it is given, over a connection that can be cut and whose bytes are counted. It reads no object and no status.

use headgate_config::{Certificate, CertificateName, Endpoints, GatewayName, Snapshot};
use headgate_stream::{Identity, Pace, Publisher, ServerTls, authority::Material, serve};
use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::{mpsc, watch},
};

/// The Gateway that is told, as its program takes it.
pub const GATEWAY: &str = "infra/edge";
/// A gateway that does not connect within this is gone.
const LOST: Duration = Duration::from_secs(60);

/// The controller; gone once it is dropped.
pub struct Controller {
    publisher: Publisher,
    /// Where it is, by a name that its certificate has.
    pub at: String,
    way: Arc<Way>,
    connected: mpsc::UnboundedReceiver<Instant>,
    _runtime: Runtime,
}

/// The way to it.
struct Way {
    /// How often it was cut and mended; there is one while this is even.
    turns: watch::Sender<u64>,
    bytes: AtomicU64,
}

impl Controller {
    /// Starts it, and writes what a Pod of its gateway gets into a folder: authority, token, a place for state.
    pub fn start(pod: &Path) -> io::Result<Self> {
        let material =
            Material::renewed(None, &["localhost".to_owned()], SystemTime::now()).map_err(io::Error::other)?;
        let material = material.ok_or_else(|| io::Error::other("no authority"))?;
        fs::write(pod.join("ca.crt"), material.trusted())?;
        fs::write(pod.join("token"), "the token")?;
        fs::create_dir_all(pod.join("state"))?;
        let tls = ServerTls::new(material.chain(), material.key()).map_err(io::Error::other)?;
        let (publisher, mut reports) = Publisher::new("bench", 1, "bench", Pace::default());
        publisher.lead(true);
        let runtime = Runtime::new()?;
        let bind = || runtime.block_on(TcpListener::bind(("127.0.0.1", 0)));
        let (server, front) = (bind()?, bind()?);
        let (behind, at) = (server.local_addr()?, format!("localhost:{}", front.local_addr()?.port()));
        let authenticate = |_| std::future::ready(Ok(Identity { gateway: gateway(), pod: "pod".into() }));
        runtime.spawn(serve(server, tls, authenticate, publisher.clone()));
        runtime.spawn(async move { while reports.recv().await.is_some() {} });
        let way = Arc::new(Way { turns: watch::Sender::new(0), bytes: AtomicU64::new(0) });
        let (told, connected) = mpsc::unbounded_channel();
        runtime.spawn(carry(front, behind, way.clone(), told));
        Ok(Self { publisher, at, way, connected, _runtime: runtime })
    }

    /// Tells all routes.
    pub fn publish(&self, snapshot: Snapshot, certificates: Arc<BTreeMap<CertificateName, Certificate>>) {
        self.publisher.publish(&gateway(), snapshot, certificates);
    }

    /// Tells the endpoints of one backend.
    pub fn endpoints(&self, endpoints: &Endpoints) {
        self.publisher.endpoints(&gateway(), endpoints.clone());
    }

    /// Bytes that went over the stream so far, both ways, as TLS makes them.
    pub fn bytes(&self) -> u64 {
        self.way.bytes.load(Relaxed)
    }

    /// Ends the stream, and lets none begin.
    pub fn cut(&mut self) {
        self.way.turns.send_modify(|turns| *turns += 1);
        while self.connected.try_recv().is_ok() {}
    }

    /// Lets it begin again; when it did.
    pub fn mend(&mut self) -> io::Result<Instant> {
        self.way.turns.send_modify(|turns| *turns += 1);
        let begun = Instant::now();
        loop {
            match self.connected.try_recv() {
                Ok(at) => return Ok(at),
                Err(_) if begun.elapsed() > LOST => return Err(io::Error::other("the gateway never came back")),
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

fn gateway() -> GatewayName {
    let (namespace, name) = GATEWAY.split_once('/').expect("it has both");
    GatewayName { namespace: namespace.into(), name: name.into() }
}

async fn carry(front: TcpListener, behind: SocketAddr, way: Arc<Way>, told: mpsc::UnboundedSender<Instant>) {
    while let Ok((client, _)) = front.accept().await {
        if way.turns.borrow().is_multiple_of(2) {
            let _ = told.send(Instant::now());
            tokio::spawn(one(client, behind, way.clone()));
        }
    }
}

async fn one(client: TcpStream, behind: SocketAddr, way: Arc<Way>) {
    let Ok(server) = TcpStream::connect(behind).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client, server) = (client.into_split(), server.into_split());
    let mut turns = way.turns.subscribe();
    let own = *turns.borrow_and_update();
    tokio::select! {
        _ = turns.wait_for(|turns| *turns != own) => {}
        _ = copy(client.0, server.1, &way.bytes) => {}
        _ = copy(server.0, client.1, &way.bytes) => {}
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    bytes: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            count => {
                bytes.fetch_add(count as u64, Relaxed);
                to.write_all(&buffer[..count]).await?;
            }
        }
    }
}
