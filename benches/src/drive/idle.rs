//! Connections that were answered once and then are silent.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An answer that takes longer does not come.
const HANGS: Duration = Duration::from_secs(30);

/// Ends them when dropped.
pub(super) struct Idle(#[expect(dead_code, reason = "held, not read")] Vec<TcpStream>);

impl Idle {
    /// Connects so many from several addresses, each asks once.
    pub fn connect(to: SocketAddr, count: usize, head: &[u8]) -> io::Result<Self> {
        let mut streams = Vec::with_capacity(count);
        let mut buffer = [0; 4096];
        for at in 0..count {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.bind(&SocketAddr::from(([127, 2, 0, (at % 200) as u8 + 1], 0)).into())?;
            socket.connect(&to.into())?;
            let mut stream: TcpStream = socket.into();
            stream.set_read_timeout(Some(HANGS))?;
            stream.write_all(head)?;
            // answers here are short, and whole in one read
            if stream.read(&mut buffer)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            streams.push(stream);
        }
        Ok(Self(streams))
    }
}
