//! The PROXY protocol as the two ends of a gateway have it, written by hand: headers of a load balancer in front, and an application behind that reads one. It shares no code with the program.

use crate::within;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header of version 1 of a client.
pub fn header_v1(client: &str, to: &str) -> Vec<u8> {
    let (client, to): (SocketAddr, SocketAddr) = (client.parse().unwrap(), to.parse().unwrap());
    let family = if client.is_ipv4() { 4 } else { 6 };
    format!("PROXY TCP{family} {} {} {} {}\r\n", client.ip(), to.ip(), client.port(), to.port()).into_bytes()
}

/// The header of version 2 of a client.
pub fn header_v2(client: &str, to: &str) -> Vec<u8> {
    let (client, to): (SocketAddr, SocketAddr) = (client.parse().unwrap(), to.parse().unwrap());
    let mut block = Vec::new();
    for end in [client, to] {
        match end {
            SocketAddr::V4(v4) => block.extend(v4.ip().octets()),
            SocketAddr::V6(v6) => block.extend(v6.ip().octets()),
        }
    }
    block.extend(client.port().to_be_bytes());
    block.extend(to.port().to_be_bytes());
    block_v2(0x21, if client.is_ipv4() { 0x11 } else { 0x21 }, &block)
}

/// A header of version 2 with any command, family and block.
pub fn block_v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// What stands before an application: it reads the header of each connection, notes it, and passes on what follows.
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Visit>>>,
    task: JoinHandle<()>,
}

/// A connection that came through a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Its header, as text: that of version 1, or what the one of version 2 says in the same words.
    pub header: String,
    /// Its version.
    pub version: u8,
    /// The port from which the door called the application: what tells the application its connections apart.
    pub from: u16,
    /// Whether it is over.
    pub over: bool,
}

impl Door {
    /// Opens one before an application.
    pub async fn before(application: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let visits = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, application, visits.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// The connections so far that had a header, in their order.
    pub fn visits(&self) -> Vec<Visit> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut stream: TcpStream, application: SocketAddr, seen: Arc<Mutex<Vec<Visit>>>) {
    // a probe sends none
    let Some((version, header)) = read(&mut stream).await else { return };
    let mut inside = within("the application behind a door", TcpStream::connect(application)).await.unwrap();
    let from = inside.local_addr().unwrap().port();
    let at = {
        let mut seen = seen.lock().unwrap();
        seen.push(Visit { header, version, from, over: false });
        seen.len() - 1
    };
    let _ = copy_bidirectional(&mut stream, &mut inside).await;
    let _ = inside.shutdown().await;
    seen.lock().unwrap()[at].over = true;
}

/// Reads a header, and not a byte more; panics at what is none.
async fn read(stream: &mut TcpStream) -> Option<(u8, String)> {
    let mut bytes = vec![stream.read_u8().await.ok()?];
    if bytes == b"P" {
        while !bytes.ends_with(b"\r\n") {
            assert!(bytes.len() < 107, "no header: {}", bytes.escape_ascii());
            bytes.push(stream.read_u8().await.ok()?);
        }
        return Some((1, String::from_utf8(bytes).unwrap().trim_end().to_owned()));
    }
    bytes.resize(16, 0);
    stream.read_exact(&mut bytes[1..]).await.ok()?;
    assert!(bytes.starts_with(SIGNATURE), "no header: {}", bytes.escape_ascii());
    let mut block = vec![0; usize::from(u16::from_be_bytes([bytes[14], bytes[15]]))];
    stream.read_exact(&mut block).await.ok()?;
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let told = match (bytes[12], bytes[13]) {
        (0x21, 0x11) => {
            let ip = |at: usize| std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&block[at..at + 4]).unwrap());
            format!("PROXY TCP4 {} {} {} {}", ip(0), ip(4), port(8), port(10))
        }
        (0x21, 0x21) => {
            let ip = |at: usize| std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&block[at..at + 16]).unwrap());
            format!("PROXY TCP6 {} {} {} {}", ip(0), ip(16), port(32), port(34))
        }
        (0x20, _) => "LOCAL".to_owned(),
        other => panic!("no command and family: {other:x?}"),
    };
    Some((2, told))
}
