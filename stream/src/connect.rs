//! One stream from a gateway to a controller: address, TLS, token, first words. Never more than one try at a time, and none without a limit.

use crate::{
    follow::Following,
    tls,
    wire::{self, Down, DownHello, DownSay, Prost, Up, UpHello, UpSay},
};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Streaming,
    client::Grpc,
    transport::{Channel, Endpoint, Uri},
};

/// Words to the controller that are made and not yet written.
const UP_MOST: usize = 64;

/// A stream whose controller has said its first word.
pub struct Open {
    /// To the controller.
    pub up: mpsc::Sender<Up>,
    /// From the controller.
    pub down: Streaming<Down>,
    /// What it said first.
    pub hello: DownHello,
    /// Where it is.
    pub address: SocketAddr,
}

/// Opens a stream to a controller at an address; why not otherwise, for people.
pub async fn open(following: &Following, address: SocketAddr) -> Result<Open, String> {
    let limit = following.pace.open;
    let opened = tokio::time::timeout(limit, open_now(following, address)).await;
    opened.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
}

async fn open_now(following: &Following, address: SocketAddr) -> Result<Open, String> {
    let authorities = read(&following.authority).await?;
    let token = read(&following.token).await?;
    let config = tls::client(&authorities).map_err(|error| format!("{}: {error}", following.authority.display()))?;
    let channel = channel(following, address, TlsConnector::from(Arc::new(config))).await?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(wire::MESSAGE_BYTES_MAX);
    grpc.ready().await.map_err(|error| chain(&error))?;
    let (up, told) = mpsc::channel(UP_MOST);
    let hello = UpHello {
        protocol: wire::PROTOCOL,
        namespace: following.gateway.namespace.clone(),
        name: following.gateway.name.clone(),
        pod: following.pod.clone(),
        program: following.program.clone(),
    };
    up.send(UpSay::Hello(hello).into()).await.map_err(|_| "the stream is closed".to_owned())?;
    let mut request = Request::new(ReceiverStream::new(told));
    let bearer = format!("Bearer {}", token.trim()).parse();
    let mut bearer: tonic::metadata::MetadataValue<_> =
        bearer.map_err(|_| format!("{}: no token", following.token.display()))?;
    bearer.set_sensitive(true);
    request.metadata_mut().insert("authorization", bearer);
    let method = http::uri::PathAndQuery::from_static(wire::METHOD);
    let answer = grpc.streaming(request, method, Prost::<Up, Down>::default()).await;
    let mut down = answer.map_err(|status| said(&status))?.into_inner();
    let first = down.message().await.map_err(|status| said(&status))?;
    match first {
        Some(Down { say: Some(DownSay::Hello(hello)) }) => Ok(Open { up, down, hello, address }),
        _ => Err("it did not say who it is".into()),
    }
}

async fn channel(following: &Following, address: SocketAddr, tls: TlsConnector) -> Result<Channel, String> {
    let host = following.host().to_owned();
    let name = rustls_pki_types::ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
    let connect = tower::service_fn(move |_: Uri| {
        let (tls, name) = (tls.clone(), name.clone());
        async move {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let stream = tls.connect(name, socket).await?;
            Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    // TLS is ours, so that the address may be another than the name
    let endpoint = Endpoint::from_shared(format!("http://{host}")).map_err(|error| format!("{host}: {error}"))?;
    let endpoint =
        endpoint.http2_keep_alive_interval(following.pace.silence).keep_alive_timeout(following.pace.silence);
    endpoint.connect_with_connector(connect).await.map_err(|error| chain(&error))
}

async fn read(path: &std::path::Path) -> Result<String, String> {
    tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))
}

fn said(status: &tonic::Status) -> String {
    format!("{}: {}", status.code(), status.message())
}

/// An error with what it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
