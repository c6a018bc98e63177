//! Applications that remember what reached them. They answer as a test says, and read requests with the strict reader only.

use crate::{
    message::{NoMessage, Reader, Request},
    tap::Tap,
};
use bytes::Bytes;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What an application does with a request.
#[derive(Clone, Debug, Default)]
pub struct Script(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Wait(Duration),
    WaitFor(Arc<Semaphore>),
    Tunnel,
    Close,
}

impl Script {
    /// 200 with a body.
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::status(200, body)
    }

    /// A status with a body.
    pub fn status(status: u16, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        Self::default().write(bytes)
    }

    /// Writes bytes as they are.
    #[must_use]
    pub fn write(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.push(Step::Write(bytes.as_ref().to_vec()));
        self
    }

    /// Is slow.
    #[must_use]
    pub fn wait(mut self, time: Duration) -> Self {
        self.0.push(Step::Wait(time));
        self
    }

    /// Waits until the test gives it a turn.
    #[must_use]
    pub fn wait_for(mut self, turns: &Arc<Semaphore>) -> Self {
        self.0.push(Step::WaitFor(turns.clone()));
        self
    }

    /// Sends back every byte from here on.
    #[must_use]
    pub fn tunnel(mut self) -> Self {
        self.0.push(Step::Tunnel);
        self
    }

    /// Goes on with another.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        self.0.extend(next.0);
        self
    }

    /// Closes the connection.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.0.push(Step::Close);
        self
    }
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    unfinished: Vec<Request>,
    received: Vec<u8>,
    malformed: Vec<String>,
    broken: usize,
    connections: usize,
}

/// What reached an application since it was last asked.
#[derive(Debug, Default)]
pub struct Taken {
    /// Requests that came whole.
    pub whole: Vec<Request>,
    /// Heads of those whose body's end never came.
    pub unfinished: Vec<Request>,
    /// What came that is no HTTP.
    pub malformed: Vec<String>,
}

/// An HTTP/1.1 application on a port of its own.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

type Reply = Arc<dyn Fn(&Request) -> Script + Send + Sync>;

impl Origin {
    /// Starts one that answers by `reply`, which is asked when the body has come.
    pub async fn start(reply: impl Fn(&Request) -> Script + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(reply)).await
    }

    /// The same behind TLS.
    pub async fn start_tls(acceptor: TlsAcceptor, reply: impl Fn(&Request) -> Script + Send + Sync + 'static) -> Self {
        Self::listen(Some(acceptor), Arc::new(reply)).await
    }

    async fn listen(tls: Option<TlsAcceptor>, reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(accept(listener, tls, seen.clone(), reply));
        Self { address, seen, task }
    }

    /// All requests so far, in the order in which their bodies were complete.
    pub fn requests(&self) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        assert!(seen.malformed.is_empty(), "the application got what is no HTTP: {:?}", seen.malformed);
        seen.requests.clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.remove(0)
    }

    /// How many requests came whole, whatever else came.
    pub fn complete(&self) -> usize {
        self.seen.lock().unwrap().requests.len()
    }

    /// What came that is no HTTP.
    pub fn malformed(&self) -> Vec<String> {
        self.seen.lock().unwrap().malformed.clone()
    }

    /// Every byte that came, in the order of its arrival, whatever it means; the first MiB.
    pub fn received(&self) -> Vec<u8> {
        self.seen.lock().unwrap().received.clone()
    }

    /// Requests whose end never came.
    pub fn broken(&self) -> usize {
        self.seen.lock().unwrap().broken
    }

    /// Connections that carried at least a byte.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        *self.seen.lock().unwrap() = Seen::default();
    }

    /// What came since this was last asked, which is then forgotten.
    pub fn take(&self) -> Taken {
        let seen = &mut *self.seen.lock().unwrap();
        Taken {
            whole: std::mem::take(&mut seen.requests),
            unfinished: std::mem::take(&mut seen.unfinished),
            malformed: std::mem::take(&mut seen.malformed),
        }
    }

    /// Stops listening; what runs goes on.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, seen: Arc<Mutex<Seen>>, reply: Reply) {
    while let Ok((socket, _)) = listener.accept().await {
        let (seen, reply, tls) = (seen.clone(), reply.clone(), tls.clone());
        socket.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            match tls {
                None => converse(tapped(socket, &seen), &seen, &reply).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(socket).await {
                        converse(tapped(stream, &seen), &seen, &reply).await;
                    }
                }
            }
        });
    }
}

fn tapped(stream: impl crate::wire::Stream, seen: &Arc<Mutex<Seen>>) -> impl crate::wire::Stream {
    const MOST: usize = 1 << 20;
    let seen = seen.clone();
    Tap::new(stream, move |bytes: &[u8]| {
        let received = &mut seen.lock().unwrap().received;
        let room = MOST.saturating_sub(received.len());
        received.extend(&bytes[..room.min(bytes.len())]);
    })
}

async fn converse(mut stream: impl crate::wire::Stream, seen: &Mutex<Seen>, reply: &Reply) {
    let mut reader = Reader::new();
    let mut first = true;
    loop {
        let mut head = None;
        let read = async {
            let request = head.insert(reader.request_head(&mut stream).await?);
            reader.request_body(&mut stream, request).await
        };
        let read = read.await;
        if let (Err(_), Some(head)) = (&read, &head) {
            seen.lock().unwrap().unfinished.push(head.clone());
        }
        let request = match read {
            Ok(()) => head.take().expect("a body follows a head"),
            Err(NoMessage::Closed) => return,
            Err(NoMessage::Broken(_)) => return seen.lock().unwrap().broken += 1,
            Err(NoMessage::Malformed(why)) => return seen.lock().unwrap().malformed.push(why),
        };
        let script = reply(&request);
        {
            let mut seen = seen.lock().unwrap();
            seen.connections += usize::from(std::mem::take(&mut first));
            seen.requests.push(request);
        }
        for step in script.0 {
            match step {
                Step::Write(bytes) => {
                    if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::WaitFor(turns) => turns.acquire().await.unwrap().forget(),
                Step::Tunnel => {
                    let (mut near, far) = tokio::io::duplex(64 * 1024);
                    if near.write_all(reader.rest()).await.is_err() {
                        return;
                    }
                    tokio::spawn(send_back(far));
                    let _ = copy_bidirectional(&mut stream, &mut near).await;
                    return;
                }
                Step::Close => {
                    let _ = stream.shutdown().await;
                    return;
                }
            }
        }
    }
}

async fn send_back(far: DuplexStream) {
    let (mut read, mut write) = tokio::io::split(far);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

/// An HTTP/2 application by prior knowledge. It sends back method, path, fields and body, and trailers where `te` asks for them, after as many
/// DATA frames without data as `x-flushes` says; or it answers calls of gRPC.
pub struct H2Origin {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl H2Origin {
    /// Starts one.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts one that answers each call of gRPC with a message, and the status OK.
    pub async fn start_grpc(reply: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::listen(Some(Arc::new(reply))).await
    }

    async fn listen(reply: Option<GrpcReply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let known = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve_h2(socket, known.clone(), reply.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// All requests so far; pseudo fields stand among the fields.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Those since this was last asked, which are then forgotten.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type GrpcReply = Arc<dyn Fn(&Request) -> Vec<u8> + Send + Sync>;

async fn serve_h2(socket: TcpStream, seen: Arc<Mutex<Vec<Request>>>, reply: Option<GrpcReply>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (seen, reply) = (seen.clone(), reply.clone());
        tokio::spawn(async move {
            let _ = answer_h2(request, respond, &seen, reply).await;
        });
    }
}

async fn answer_h2(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    seen: &Mutex<Vec<Request>>,
    reply: Option<GrpcReply>,
) -> Result<(), h2::Error> {
    let (parts, mut stream) = request.into_parts();
    let mut got = Request {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        fields: vec![(":authority".into(), parts.uri.authority().map(ToString::to_string).unwrap_or_default())],
        ..Request::default()
    };
    let text = |map: &http::HeaderMap| {
        map.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect::<Vec<_>>()
    };
    got.fields.extend(text(&parts.headers));
    while let Some(data) = stream.data().await {
        let data = data?;
        let _ = stream.flow_control().release_capacity(data.len());
        got.body.extend_from_slice(&data);
    }
    got.trailers = stream.trailers().await?.as_ref().map(text).unwrap_or_default();
    let (kind, body, trailer) = match reply {
        Some(reply) => ("application/grpc", crate::http2::grpc_frame(&reply(&got)), ("grpc-status", "0")),
        None => ("text/plain", got.body.clone().into(), ("x-sum", "42")),
    };
    let wants_trailers = got.field("te") == Some("trailers");
    let flushes = got.field("x-flushes").and_then(|count| count.parse().ok()).unwrap_or(0);
    seen.lock().unwrap().push(got);
    let response = http::Response::builder().status(200).header("x-spoken", "h2").header("content-type", kind);
    let mut send = respond.send_response(response.body(()).unwrap(), false)?;
    for _ in 0..flushes {
        // each of its own: h2 would send but one of several at once
        send.send_data(Bytes::new(), false)?;
        tokio::task::yield_now().await;
    }
    crate::http2::send_all(&mut send, body, !wants_trailers).await?;
    if wants_trailers {
        let mut trailers = http::HeaderMap::new();
        trailers.insert(trailer.0, http::HeaderValue::from_static(trailer.1));
        send.send_trailers(trailers)?;
    }
    Ok(())
}
