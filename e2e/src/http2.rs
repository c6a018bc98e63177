//! An HTTP/2 client over the `h2` crate: whole exchanges, and gRPC calls message by message. It hides nothing of what came.

use crate::{wire::Stream, within};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// One connection; clones share it.
#[derive(Clone)]
pub struct H2 {
    sender: h2::client::SendRequest<Bytes>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct H2Answer {
    /// Status.
    pub status: u16,
    /// Fields.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Trailers.
    pub trailers: HeaderMap,
}

impl H2Answer {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The name of the failure that an answer of the gateway's own carries.
    pub fn failure(&self) -> Option<&str> {
        crate::message::failure(self.field("proxy-status")?)
    }

    /// The value of a trailer.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name)?.to_str().ok()
    }
}

impl H2 {
    /// Connects by prior knowledge.
    pub async fn open(to: SocketAddr) -> Self {
        Self::over(within("connecting", TcpStream::connect(to)).await.unwrap()).await
    }

    /// Uses a stream that is open already.
    pub async fn over(stream: impl Stream + 'static) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 22);
        let handshake = builder.handshake(Box::pin(stream));
        let (sender, connection) = within("the HTTP/2 handshake", handshake).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender }
    }

    /// Sends a head and gives both halves.
    pub async fn start(
        &self,
        request: http::Request<()>,
        ends: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
        let mut sender = within("a free stream", self.sender.clone().ready()).await?;
        sender.send_request(request, ends)
    }

    /// A whole exchange.
    pub async fn call(&self, request: http::Request<()>, body: impl Into<Bytes>) -> Result<H2Answer, h2::Error> {
        let body = body.into();
        let (answer, mut send) = self.start(request, body.is_empty()).await?;
        let upload = async {
            if !body.is_empty() {
                send_all(&mut send, body, true).await?;
            }
            Ok(())
        };
        // an answer may come before the body was taken: then the upload's end does not matter
        let ((), answer) = tokio::join!(async { drop(upload.await as Result<(), h2::Error>) }, receive(answer));
        answer
    }

    /// A GET.
    pub async fn get(&self, host: &str, target: &str) -> Result<H2Answer, h2::Error> {
        let uri = format!("http://{host}{target}");
        self.call(http::Request::get(uri).body(()).unwrap(), Bytes::new()).await
    }

    /// A GET, or `None` if this connection takes no more requests: then nothing was sent.
    pub async fn get_unless_over(&self, host: &str, target: &str) -> Option<Result<H2Answer, h2::Error>> {
        let request = http::Request::get(format!("http://{host}{target}")).body(()).unwrap();
        let (answer, _) = self.start(request, true).await.ok()?;
        Some(receive(answer).await)
    }

    /// Starts a gRPC call.
    pub async fn grpc(&self, host: &str, path: &str) -> GrpcCall {
        let request = http::Request::post(format!("http://{host}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (answer, send) = self.start(request, false).await.unwrap();
        GrpcCall { send, answer: Some(answer), head: None, body: None, read: BytesMut::new() }
    }
}

async fn receive(answer: h2::client::ResponseFuture) -> Result<H2Answer, h2::Error> {
    let (head, mut stream) = within("an answer over HTTP/2", answer).await?.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = within("a body over HTTP/2", stream.data()).await {
        let data = data?;
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let trailers = within("trailers", stream.trailers()).await?.unwrap_or_default();
    Ok(H2Answer { status: head.status.as_u16(), headers: head.headers, body: body.freeze(), trailers })
}

/// Sends a body as flow control lets it.
pub(crate) async fn send_all(send: &mut h2::SendStream<Bytes>, mut body: Bytes, ends: bool) -> Result<(), h2::Error> {
    while !body.is_empty() {
        send.reserve_capacity(body.len());
        match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(Ok(room)) if room > 0 => {
                let piece = body.split_to(room.min(body.len()));
                let last = ends && body.is_empty();
                send.send_data(piece, last)?;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// A gRPC call on its way: messages up and down in any order.
pub struct GrpcCall {
    send: h2::SendStream<Bytes>,
    answer: Option<h2::client::ResponseFuture>,
    head: Option<http::response::Parts>,
    body: Option<h2::RecvStream>,
    read: BytesMut,
}

impl GrpcCall {
    /// Sends one message.
    pub async fn send(&mut self, message: &[u8]) {
        within("sending a message", send_all(&mut self.send, grpc_frame(message), false)).await.unwrap();
    }

    /// Says that no message follows.
    pub fn end(&mut self) {
        self.send.send_data(Bytes::new(), true).unwrap();
    }

    /// The next message; `None` after the last.
    pub async fn message(&mut self) -> Option<Bytes> {
        if let Some(answer) = self.answer.take() {
            let (head, body) = within("the head of a gRPC answer", answer).await.unwrap().into_parts();
            (self.head, self.body) = (Some(head), Some(body));
        }
        let body = self.body.as_mut()?;
        loop {
            if let Some(message) = take_message(&mut self.read) {
                return Some(message);
            }
            let data = within("a gRPC message", body.data()).await?.unwrap();
            let _ = body.flow_control().release_capacity(data.len());
            self.read.extend_from_slice(&data);
        }
    }

    /// The status of a call of which all messages were taken.
    pub async fn status(&mut self) -> u32 {
        assert_eq!(self.message().await, None, "a message is left");
        let trailers = within("trailers", self.body.as_mut().unwrap().trailers()).await.unwrap().unwrap_or_default();
        let head = &self.head.as_ref().unwrap().headers;
        let status = trailers.get("grpc-status").or(head.get("grpc-status")).expect("an answer has a grpc-status");
        status.to_str().unwrap().parse().unwrap()
    }
}

fn take_message(read: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(read.get(1..5)?.try_into().ok()?) as usize;
    if read.len() < 5 + length {
        return None;
    }
    read.advance(5);
    Some(read.split_to(length).freeze())
}

/// A message with its prefix of five bytes.
pub fn grpc_frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len().try_into().unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// All messages of a whole body.
pub fn grpc_messages(body: &[u8]) -> Vec<Bytes> {
    let mut read = BytesMut::from(body);
    std::iter::from_fn(|| take_message(&mut read)).collect()
}
