//! Load and single questions over HTTP/1.1: as many connections as wanted, each asks again once it is answered. It allocates nothing per request.

use memchr::memmem;
use std::{
    cell::Cell,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream as BlockingStream},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A question that is not answered for this long is an error.
const HANGS: Duration = Duration::from_secs(60);

/// All requests of one figure take less, or whoever is asked hangs.
const ALL_HANG: Duration = Duration::from_secs(180);

/// Does the work of many clients, but not for ever.
pub async fn limited<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(ALL_HANG, work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::other(format!("not all answers within {} s", ALL_HANG.as_secs()))),
    }
}

/// Clients that keep their connections; each asks again once it is answered.
pub struct Clients {
    runtime: tokio::runtime::LocalRuntime,
    streams: Vec<TcpStream>,
    heads: Rc<[Vec<u8>]>,
}

/// A runtime of one thread.
pub fn runtime() -> io::Result<tokio::runtime::LocalRuntime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(tokio::runtime::LocalOptions::default())
}

/// The head of a GET as small clients send it.
pub fn get(host: &str, path: &str) -> Vec<u8> {
    get_with(host, path, "")
}

/// The same with further lines, each with its end.
pub fn get_with(host: &str, path: &str, lines: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: headgate-bench\r\naccept: */*\r\n{lines}\r\n")
        .into_bytes()
}

impl Clients {
    /// Connects so many; they send `heads` in turn.
    pub fn connect(address: SocketAddr, count: usize, heads: Vec<Vec<u8>>) -> io::Result<Self> {
        let runtime = runtime()?;
        let streams = runtime.block_on(async {
            let mut streams = Vec::with_capacity(count);
            for _ in 0..count {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                streams.push(stream);
            }
            Ok::<_, io::Error>(streams)
        })?;
        Ok(Self { runtime, streams, heads: heads.into() })
    }

    /// Asks so often over all connections, and waits for the answers; the time that it took.
    ///
    /// # Errors
    /// If a connection ends or an answer is not 200: then the figures would mean nothing.
    pub fn ask(&mut self, requests: u64) -> io::Result<Duration> {
        let begun = Instant::now();
        let left = Rc::new(Cell::new(requests));
        let streams = std::mem::take(&mut self.streams);
        self.streams = self.runtime.block_on(limited(async {
            let asking = streams.into_iter().map(|stream| ask_on(stream, left.clone(), self.heads.clone()));
            let asking: Vec<_> = asking.map(tokio::task::spawn_local).collect();
            let mut streams = Vec::with_capacity(asking.len());
            for one in asking {
                streams.push(one.await.map_err(io::Error::other)??);
            }
            Ok::<_, io::Error>(streams)
        }))?;
        Ok(begun.elapsed())
    }
}

async fn ask_on(mut stream: TcpStream, left: Rc<Cell<u64>>, heads: Rc<[Vec<u8>]>) -> io::Result<TcpStream> {
    let mut buffer = vec![0; 64 * 1024];
    while let Some(next) = left.get().checked_sub(1) {
        left.set(next);
        exchange(&mut stream, &heads[next as usize % heads.len()], &mut buffer).await?;
    }
    Ok(stream)
}

/// One request and its answer, which must be 200 and fit into the buffer.
pub async fn exchange(stream: &mut TcpStream, head: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    stream.write_all(head).await?;
    let mut filled = 0;
    let status = loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        if let Some(answer) = Answer::read(&buffer[..filled])? {
            break answer.status;
        }
    };
    if status != 200 {
        return Err(io::Error::other(format!("answered {status}")));
    }
    Ok(())
}

/// A whole answer.
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Status line and fields.
    pub head: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The answer that `bytes` are, if they are all of it. Only answers with a length are understood.
    pub fn read(bytes: &'a [u8]) -> io::Result<Option<Self>> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&bytes[..end]).map_err(io::Error::other)?;
        let status = head.get(9..12).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no status line"))?;
        let is_length = |line: &&str| line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("content-length:"));
        let length: usize = match head.split("\r\n").find(is_length) {
            Some(line) => line[15..].trim().parse().map_err(io::Error::other)?,
            None => return Err(io::Error::other("an answer without content-length")),
        };
        Ok(bytes.get(end + 4..end + 4 + length).map(|body| Self { status, head, body }))
    }
}

/// A connection for one question after the other.
pub struct Asker<S = BlockingStream> {
    stream: S,
    buffer: Vec<u8>,
}

impl Asker {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        connect(address).map(Self::on)
    }
}

/// A connection whose reads do not hang for ever.
pub fn connect(address: SocketAddr) -> io::Result<BlockingStream> {
    let stream = BlockingStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANGS))?;
    Ok(stream)
}

impl<S: Read + Write> Asker<S> {
    /// On a connection that there is.
    pub fn on(stream: S) -> Self {
        Self { stream, buffer: vec![0; 1024 * 1024] }
    }

    /// Asks and waits.
    pub fn ask(&mut self, head: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(head)?;
        let mut filled = 0;
        while Answer::read(&self.buffer[..filled])?.is_none() {
            match self.stream.read(&mut self.buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Answer::read(&self.buffer[..filled]).map(|answer| answer.expect("it was whole just now"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let whole = b"HTTP/1.1 302 Found\r\nContent-Length: 2\r\nlocation: /x\r\n\r\nok";
        for end in 0..whole.len() {
            assert!(Answer::read(&whole[..end]).unwrap().is_none(), "{end}");
        }
        let answer = Answer::read(whole).unwrap().unwrap();
        assert_eq!((answer.status, answer.body), (302, &b"ok"[..]));
        assert!(answer.head.ends_with("location: /x"));
        assert!(Answer::read(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
