//! Requests over HTTP/2 without TLS: one at a time on a stream, or as many as wanted over several connections. It takes an answer of any status; who asks decides.

use bytes::Bytes;
use std::{cell::Cell, io, net::SocketAddr, rc::Rc};
use tokio::net::TcpStream;

/// What requests are sent with; clones share the connection.
pub type Sender = h2::client::SendRequest<Bytes>;

/// Bytes of a gRPC message.
const MESSAGE_BYTES: u8 = 100;
/// A gRPC method that sends back each message as it comes.
pub const STREAM_PATH: &str = "/bench.Echo/Stream";

/// A gRPC message with its prefix.
pub fn message() -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, MESSAGE_BYTES];
    message.resize(usize::from(MESSAGE_BYTES) + 5, b'x');
    message
}

/// What is asked.
#[derive(Clone)]
pub struct Question {
    uri: http::Uri,
    /// The message of a gRPC call.
    message: Option<Bytes>,
}

impl Question {
    /// A GET.
    ///
    /// # Errors
    /// If the text is no URI.
    pub fn get(uri: &str) -> io::Result<Self> {
        Ok(Self { uri: uri.parse().map_err(io::Error::other)?, message: None })
    }

    /// A unary gRPC call.
    ///
    /// # Errors
    /// If the text is no URI.
    pub fn call(uri: &str) -> io::Result<Self> {
        Ok(Self { message: Some(message().into()), ..Self::get(uri)? })
    }

    fn head(&self) -> http::Result<http::Request<()>> {
        let request = http::Request::builder().uri(self.uri.clone());
        match self.message {
            None => request,
            Some(_) => request.method("POST").header("content-type", "application/grpc").header("te", "trailers"),
        }
        .body(())
    }
}

/// Clients that keep their connections, with several streams on each; each stream asks again once it is answered.
pub struct Clients {
    runtime: tokio::runtime::LocalRuntime,
    senders: Vec<Sender>,
    question: Question,
}

impl Clients {
    /// Opens so many connections with so many streams each; they ask the same.
    pub fn connect(address: SocketAddr, connections: usize, streams: usize, question: Question) -> io::Result<Self> {
        let runtime = crate::load::runtime()?;
        let senders = runtime.block_on(async {
            let mut senders = Vec::new();
            for _ in 0..connections {
                senders.extend(std::iter::repeat_n(connect(address).await?, streams));
            }
            Ok::<_, io::Error>(senders)
        })?;
        Ok(Self { runtime, senders, question })
    }

    /// Asks so often over all streams, and waits for the answers.
    ///
    /// # Errors
    /// If a request fails or an answer is not 200: then the figures would mean nothing.
    pub fn ask(&mut self, requests: u64) -> io::Result<()> {
        let left = Rc::new(Cell::new(requests));
        self.runtime.block_on(async {
            let asking =
                self.senders.iter().map(|sender| on_stream(sender.clone(), left.clone(), self.question.clone()));
            let asking: Vec<_> = asking.map(tokio::task::spawn_local).collect();
            for one in asking {
                one.await.map_err(io::Error::other)??;
            }
            Ok(())
        })
    }
}

/// A connection, served by a task of this runtime.
pub async fn connect(address: SocketAddr) -> io::Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

async fn on_stream(mut sender: Sender, left: Rc<Cell<u64>>, question: Question) -> io::Result<()> {
    while let Some(next) = left.get().checked_sub(1) {
        left.set(next);
        match ask(&mut sender, &question).await? {
            200 => {}
            status => return Err(io::Error::other(format!("answered {status}"))),
        }
    }
    Ok(())
}

/// One request and its answer, body and trailers and all: the status.
pub async fn ask(sender: &mut Sender, question: &Question) -> io::Result<u16> {
    *sender = sender.clone().ready().await.map_err(io::Error::other)?;
    let request = question.head().map_err(io::Error::other)?;
    let (answer, mut sending) = sender.send_request(request, question.message.is_none()).map_err(io::Error::other)?;
    if let Some(message) = &question.message {
        sending.send_data(message.clone(), true).map_err(io::Error::other)?;
    }
    let (head, mut body) = answer.await.map_err(io::Error::other)?.into_parts();
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
    }
    body.trailers().await.map_err(io::Error::other)?;
    Ok(head.status.as_u16())
}
