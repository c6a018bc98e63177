//! The application of the cold start: it listens late or never, and answers with the time from listen() to the arrival of its first request.

use memchr::memmem;
use socket2::{Domain, Socket, Type};
use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Listens on `PORT` after a pause, or never.
pub fn run(listen_after: Duration, never: bool) -> io::Result<()> {
    if never {
        loop {
            std::thread::park();
        }
    }
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("PORT is not set"))?;
    crate::load::runtime()?.block_on(async {
        tokio::time::sleep(listen_after).await;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        let listened = Instant::now();
        socket.listen(1_024)?;
        let listener = TcpListener::from_std(socket.into())?;
        let first = Rc::new(Cell::new(None));
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(serve(stream, listened, first.clone()));
        }
    })
}

/// Answers each head with the microseconds that the first request took to come.
async fn serve(mut stream: TcpStream, listened: Instant, first: Rc<Cell<Option<Duration>>>) -> io::Result<()> {
    let mut head = Vec::with_capacity(4 * 1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        let came = first.get().unwrap_or_else(|| listened.elapsed());
        first.set(Some(came));
        if memmem::find(&head, b"\r\n\r\n").is_none() {
            continue;
        }
        head.clear();
        let body = came.as_micros().to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}
