//! The controller's port: TLS, tokens, one stream a Pod. A Pod gets its own Gateway only, and nothing before it has shown who it is.

use crate::{
    publisher::Publisher,
    session::{self, Ends},
    tls::ServerTls,
    wire::{self, Down, Prost, Up, UpSay},
};
use headgate_config::{GatewayName, Redacted};
use std::{convert::Infallible, future::Future, io, pin::Pin, sync::Arc, task::Poll};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, body::Body, codegen::Service};

/// Connections that may be open at once, handshakes included.
const CONNECTIONS_MOST: usize = 4_096;
/// Streams of one connection: a gateway opens one.
const STREAMS_MOST: u32 = 4;
/// Messages made and not yet written.
const DOWN_MOST: usize = 2;
/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Who a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The Gateway that its Pod belongs to.
    pub gateway: GatewayName,
    /// The Pod.
    pub pod: String,
}

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not valid here.
    #[error("{0}")]
    Token(String),
    /// It cannot be looked at now; the gateway tries again.
    #[error("{0}")]
    Unavailable(String),
}

/// Serves gateways until it is dropped; then its streams end. `authenticate` says who a token belongs to.
///
/// # Errors
/// If the listener cannot be used any more.
pub async fn serve<A, F>(listener: TcpListener, tls: ServerTls, authenticate: A, publisher: Publisher) -> io::Result<()>
where
    A: Fn(Redacted) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Identity, Refusal>> + Send + 'static,
{
    // dropped with this future: that stops the streams
    let (_stopper, stop) = watch::channel(false);
    let (handshaken, incoming) = mpsc::channel(16);
    let authenticate = move |token| -> Asked { Box::pin(authenticate(token)) };
    let service = Follow { authenticate: Arc::new(authenticate), publisher: publisher.clone(), stop: stop.clone() };
    let pace = publisher.pace();
    let serving = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_MOST)
        .http2_keepalive_interval(Some(pace.silence))
        .http2_keepalive_timeout(Some(pace.silence))
        .serve_with_incoming(service, ReceiverStream::new(incoming));
    tokio::select! {
        accepted = accept(listener, tls, handshaken, pace.open) => accepted,
        served = serving => served.map_err(io::Error::other),
    }
}

/// Accepts, and shakes hands with many at once.
async fn accept(
    listener: TcpListener,
    tls: ServerTls,
    handshaken: mpsc::Sender<io::Result<Counted>>,
    patience: std::time::Duration,
) -> io::Result<()> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    loop {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                // no descriptor left, or a client that went away: neither lasts
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (acceptor, handshaken) = (tls.acceptor(), handshaken.clone());
        tokio::spawn(async move {
            let _ = socket.set_nodelay(true);
            if let Ok(Ok(stream)) = tokio::time::timeout(patience, acceptor.accept(socket)).await {
                // closed once serving has ended
                let _ = handshaken.send(Ok(Counted { stream, _place: place })).await;
            }
        });
    }
}

/// A connection that is counted for as long as it lives.
struct Counted {
    stream: TlsStream<TcpStream>,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl tonic::transport::server::Connected for Counted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl tokio::io::AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl tokio::io::AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

type Asked = Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send>>;
type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// The gRPC service.
#[derive(Clone)]
struct Follow {
    authenticate: Arc<dyn Fn(Redacted) -> Asked + Send + Sync>,
    publisher: Publisher,
    stop: watch::Receiver<bool>,
}

impl tonic::server::NamedService for Follow {
    const NAME: &'static str = wire::SERVICE;
}

impl Service<http::Request<Body>> for Follow {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let method = Method(self.clone());
        Box::pin(async move {
            if request.uri().path() != wire::METHOD {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let codec = Prost::<Down, Up>::default();
            let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(wire::MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

/// The one method.
struct Method(Follow);

impl Service<Request<Streaming<Up>>> for Method {
    type Response = Response<ReceiverStream<Result<Down, Status>>>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut std::task::Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Up>>) -> Self::Future {
        let Follow { authenticate, publisher, stop } = self.0.clone();
        Box::pin(async move {
            let token = token(&request)?;
            let open = publisher.pace().open;
            let asked = tokio::time::timeout(open, authenticate(token)).await;
            let identity = match asked {
                Ok(Ok(identity)) => identity,
                Ok(Err(Refusal::Token(why))) => return Err(Status::unauthenticated(why)),
                Ok(Err(Refusal::Unavailable(why))) => return Err(Status::unavailable(why)),
                Err(_) => return Err(Status::unavailable("the token could not be looked at in time")),
            };
            let (down, told) = mpsc::channel(DOWN_MOST);
            let up = request.into_inner();
            // the answer starts at once: a client may wait for its head before it says a word
            tokio::spawn(begin(Ends { up, down }, identity, publisher, stop));
            Ok(Response::new(ReceiverStream::new(told)))
        })
    }
}

/// Waits for the gateway's first word, and serves it if it is who its token says.
async fn begin(mut ends: Ends, identity: Identity, publisher: Publisher, stop: watch::Receiver<bool>) {
    let first = tokio::time::timeout(publisher.pace().open, ends.up.message()).await;
    let hello = match first {
        Ok(Ok(Some(Up { say: Some(UpSay::Hello(hello)) }))) => hello,
        Ok(Err(_) | Ok(None)) => return,
        _ => return refuse(&ends, Status::invalid_argument("the first word must be a hello")),
    };
    let said = GatewayName { namespace: hello.namespace.clone(), name: hello.name.clone() };
    if said != identity.gateway || hello.pod != identity.pod {
        let why = format!(
            "the token belongs to Pod {} of Gateway {}, not to Pod {} of Gateway {said}",
            identity.pod, identity.gateway, hello.pod
        );
        return refuse(&ends, Status::permission_denied(why));
    }
    let session = publisher.desk(&said).seat(&hello.pod);
    session::run(ends, hello, session, publisher, stop).await;
}

fn refuse(ends: &Ends, why: Status) {
    // nothing was sent yet, so there is room
    let _ = ends.down.try_send(Err(why));
}

fn token(request: &Request<Streaming<Up>>) -> Result<Redacted, Status> {
    let missing = || Status::unauthenticated("a bearer token is needed");
    let value = request.metadata().get("authorization").ok_or_else(missing)?;
    let text = value.to_str().map_err(|_| missing())?;
    let token = text.strip_prefix("Bearer ").filter(|token| token.len() <= TOKEN_BYTES_MAX).ok_or_else(missing)?;
    Ok(Redacted::new(token.to_owned()))
}
