//! A server behind the gateway that costs as little as it can: each request head gets the same answer. It reads no bodies.

use memchr::memmem;
use std::{io, net::SocketAddr, rc::Rc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Where a head ends.
const END: &[u8] = b"\r\n\r\n";

/// Serves on a free port of 127.0.0.1, which it prints, until it is killed.
pub fn run(body_bytes: usize) -> io::Result<()> {
    crate::load::runtime()?.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        println!("{}", listener.local_addr()?.port());
        let answer: Rc<[u8]> = answer(body_bytes).into();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(serve(stream, answer.clone()));
        }
    })
}

fn answer(body_bytes: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nserver: origin\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: text/plain\r\n\
         content-length: {body_bytes}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + body_bytes, b'x');
    answer
}

async fn serve(mut stream: TcpStream, answer: Rc<[u8]>) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            count => filled += count,
        }
        let mut done = 0;
        while let Some(at) = memmem::find(&buffer[done..filled], END) {
            done += at + END.len();
            stream.write_all(&answer).await?;
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
    }
}
