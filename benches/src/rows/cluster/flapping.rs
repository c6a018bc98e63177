//! An endpoint that is this process, and refuses connections when it is told to. It answers every request with 200.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// The endpoint.
pub struct Flapping {
    address: SocketAddr,
    answered: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Flapping {
    /// One that is well, at the address of this machine from which `peer` is reached.
    pub async fn start(peer: SocketAddr) -> io::Result<Self> {
        let probe = UdpSocket::bind("0.0.0.0:0")?;
        probe.connect(peer)?;
        let listener = TcpListener::bind((probe.local_addr()?.ip(), 0)).await?;
        let (address, answered) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let serving = tokio::spawn(serve(listener, answered.clone()));
        Ok(Self { address, answered, serving })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Closes all connections, and takes no more.
    pub fn fail(&self) {
        self.serving.abort();
    }

    /// Is well again.
    pub async fn mend(&mut self) -> io::Result<()> {
        let _ = (&mut self.serving).await;
        let listener = TcpListener::bind(self.address).await?;
        self.serving = tokio::spawn(serve(listener, self.answered.clone()));
        Ok(())
    }
}

async fn serve(listener: TcpListener, answered: Arc<AtomicU64>) {
    // they end with this task
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, answered.clone()));
    }
}

async fn answer(mut stream: TcpStream, answered: Arc<AtomicU64>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while stream.read_buf(&mut buffer).await? > 0 {
        // requests without bodies, one after the other
        if buffer.ends_with(b"\r\n\r\n") {
            buffer.clear();
            answered.fetch_add(1, Relaxed);
            stream.write_all(ANSWER).await?;
        }
    }
    Ok(())
}
