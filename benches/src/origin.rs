//! A server behind the gateway that costs as little as it can: each request gets the same answer, and one for WebSocket gets back what it sends. It looks at no body.

use crate::http2::STREAM_PATH;
use bytes::Bytes;
use memchr::memmem;
use std::{cell::Cell, io, net::SocketAddr, rc::Rc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Answered with how many other requests came.
pub const COUNT_PATH: &str = "/requests-that-came";

/// Where a head ends.
const END: &[u8] = b"\r\n\r\n";

/// Fields of a client that wants WebSocket, and the end of its head: the key of RFC 6455, 1.3.
pub const UPGRADE_FIELDS: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// The answer to that key.
pub const UPGRADE_ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Serves on two free ports of 127.0.0.1, which it prints, until it is killed: HTTP/1.1, or HTTP/2 without TLS.
pub fn run(body_bytes: usize, is_http2: bool) -> io::Result<()> {
    crate::load::runtime()?.block_on(async {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (first, second) = (TcpListener::bind(any).await?, TcpListener::bind(any).await?);
        println!("{} {}", first.local_addr()?.port(), second.local_addr()?.port());
        let body = Bytes::from(vec![b'x'; body_bytes]);
        let (answer, came): (Rc<[u8]>, _) = (answer(&body).into(), Rc::default());
        loop {
            let (stream, _) = tokio::select! {
                came = first.accept() => came?,
                came = second.accept() => came?,
            };
            stream.set_nodelay(true)?;
            if is_http2 {
                tokio::task::spawn_local(serve_http2(stream, body.clone()));
            } else {
                tokio::task::spawn_local(serve(stream, answer.clone(), Rc::clone(&came)));
            }
        }
    })
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nserver: origin\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: text/plain\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

async fn serve(mut stream: TcpStream, answer: Rc<[u8]>, came: Rc<Cell<u64>>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            count => filled += count,
        }
        let mut done = 0;
        while let Some(at) = memmem::find(&buffer[done..filled], END) {
            let head = &buffer[done..done + at];
            done += at + END.len();
            if is_upgrade(head) {
                stream.write_all(UPGRADE_ANSWER.as_bytes()).await?;
                return echo(stream, buffer, done..filled).await;
            }
            let is_count = head.get(4..).is_some_and(|rest| rest.starts_with(COUNT_PATH.as_bytes()));
            let mut body = body_bytes(head)?;
            let here = body.min((filled - done) as u64);
            done += here as usize;
            body -= here;
            while body > 0 {
                (done, filled) = (0, 0);
                match stream.read(&mut buffer).await? {
                    0 => return Ok(()),
                    count if count as u64 <= body => body -= count as u64,
                    count => (done, filled, body) = (body as usize, count, 0),
                }
            }
            if is_count {
                stream.write_all(&self::answer(came.get().to_string().as_bytes())).await?;
                continue;
            }
            came.set(came.get() + 1);
            stream.write_all(&answer).await?;
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
    }
}

/// The length of a request's body. Clients here send no other framing, and nobody should make one of it.
fn body_bytes(head: &[u8]) -> io::Result<u64> {
    let value = field(head, b"content-length").and_then(|value| std::str::from_utf8(value).ok());
    match value {
        Some(text) => text.trim().parse().map_err(io::Error::other),
        None if field(head, b"transfer-encoding").is_some() => Err(io::Error::other("a body without a length")),
        None => Ok(0),
    }
}

fn is_upgrade(head: &[u8]) -> bool {
    field(head, b"upgrade").is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let (start, rest) = line.split_at_checked(name.len())?;
        (start.eq_ignore_ascii_case(name) && rest.first() == Some(&b':')).then(|| &rest[1..])
    })
}

async fn echo(mut stream: TcpStream, mut buffer: Vec<u8>, early: std::ops::Range<usize>) -> io::Result<()> {
    stream.write_all(&buffer[early]).await?;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

/// A gRPC call gets a message as long as other bodies, and trailers.
async fn serve_http2(stream: TcpStream, body: Bytes) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new().max_concurrent_streams(1_000).handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, answering) = request?;
        tokio::task::spawn_local(answer_http2(request, answering, body.clone()));
    }
    Ok(())
}

async fn answer_http2(
    request: http::Request<h2::RecvStream>,
    mut answering: h2::server::SendResponse<Bytes>,
    body: Bytes,
) -> Result<(), h2::Error> {
    let is_grpc = request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
    let is_stream = request.uri().path() == STREAM_PATH;
    let mut sent = request.into_body();
    let mut answer = http::Response::new(());
    let kind = if is_grpc { "application/grpc" } else { "text/plain" };
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
    if is_grpc && is_stream {
        return echo_http2(sent, answering.send_response(answer, false)?).await;
    }
    while let Some(data) = sent.data().await {
        sent.flow_control().release_capacity(data?.len())?;
    }
    let mut stream = answering.send_response(answer, false)?;
    if !is_grpc {
        return stream.send_data(body, true);
    }
    let prefix = [&[0][..], &(body.len() as u32).to_be_bytes()].concat();
    stream.send_data([&prefix[..], &body].concat().into(), false)?;
    stream.send_trailers(done())
}

/// What comes goes back, whatever parts it comes in; a client that ends is told that all is well.
async fn echo_http2(mut sent: h2::RecvStream, mut stream: h2::SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = sent.data().await {
        let data = data?;
        sent.flow_control().release_capacity(data.len())?;
        stream.send_data(data, false)?;
    }
    stream.send_trailers(done())
}

fn done() -> http::HeaderMap {
    http::HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_and_upgrades_are_seen_in_any_case() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nUpgrade: WebSocket";
        assert_eq!(body_bytes(head).unwrap(), 12);
        assert!(is_upgrade(head));
        assert_eq!(body_bytes(b"GET / HTTP/1.1\r\nhost: a").unwrap(), 0);
        assert!(body_bytes(b"GET / HTTP/1.1\r\ntransfer-encoding: chunked").is_err());
        assert!(!is_upgrade(b"GET / HTTP/1.1\r\nupgrade-insecure-requests: 1"));
    }
}
