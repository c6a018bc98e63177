//! One stream from a gateway to a controller: names, addresses, TLS, token, first words. Never more than one try at a time, and none without a limit.

use crate::{
    follow::Following,
    tls,
    wire::{self, Down, DownHello, DownSay, Prost, Up, UpHello, UpSay},
};
use std::{fmt, io, net::SocketAddr, sync::Arc};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Streaming,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint, Uri},
};

/// Controllers that are tried, over all names.
const CONTROLLERS_MOST: usize = 8;
/// Words to the controller that are made and not yet written.
const UP_MOST: usize = 64;

/// Where a controller is, and the name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    address: SocketAddr,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}

/// A stream whose controller has said its first word.
pub struct Open {
    /// To the controller.
    pub up: mpsc::Sender<Up>,
    /// From the controller.
    pub down: Streaming<Down>,
    /// What it said first.
    pub hello: DownHello,
    /// Where it is.
    pub place: Place,
}

/// Opens a stream to the leader; to any other if none of them leads. With `instead`, only to a leader at another place.
///
/// # Errors
/// Why there is none, for people.
pub async fn choose(following: &Following, instead: Option<&Place>) -> Result<Open, String> {
    let (places, mut why) = places(following).await;
    let mut second = None;
    for place in places.into_iter().filter(|place| Some(place) != instead).take(CONTROLLERS_MOST) {
        match open(following, &place).await {
            Ok(open) if open.hello.leading => return Ok(open),
            Ok(open) => second = second.or(Some(open)),
            Err(error) => why = format!("{place}: {error}"),
        }
    }
    second.filter(|_| instead.is_none()).ok_or(why)
}

/// Where controllers are now, in any order; why not, in case there is none.
async fn places(following: &Following) -> (Vec<Place>, String) {
    let (mut places, mut why) = (Vec::new(), "no controller is named".to_owned());
    for name in following.controller.split(',').map(str::trim) {
        let found = tokio::time::timeout(following.pace.open, tokio::net::lookup_host(name)).await;
        let found: Vec<SocketAddr> = match found {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(error)) => {
                why = format!("{name}: {error}");
                continue;
            }
            Err(_) => {
                why = format!("{name} was not resolved in time");
                continue;
            }
        };
        why = format!("{name} has no address");
        let host = name.rsplit_once(':').map_or(name, |(host, _)| host).trim_matches(['[', ']']);
        // one family: a controller that has both would be taken for two
        let is_v4 = found.first().is_some_and(SocketAddr::is_ipv4);
        let same = found.into_iter().filter(|address| address.is_ipv4() == is_v4);
        places.extend(same.map(|address| Place { host: host.to_owned(), address }));
    }
    fastrand::shuffle(&mut places);
    (places, why)
}

async fn open(following: &Following, place: &Place) -> Result<Open, String> {
    let limit = following.pace.open;
    let opened = tokio::time::timeout(limit, open_now(following, place)).await;
    opened.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs_f32())))
}

async fn open_now(following: &Following, place: &Place) -> Result<Open, String> {
    let authorities = read(&following.authority).await?;
    let token = token(following).await?;
    let config = tls::client(&authorities).map_err(|error| format!("{}: {error}", following.authority.display()))?;
    let channel = channel(following, place, TlsConnector::from(Arc::new(config))).await?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(wire::MESSAGE_BYTES_MAX);
    grpc.ready().await.map_err(|error| chain(&error))?;
    let (up, told) = mpsc::channel(UP_MOST);
    up.send(UpSay::Hello(hello(following)).into()).await.map_err(|_| "the stream is closed".to_owned())?;
    let mut request = Request::new(ReceiverStream::new(told));
    request.metadata_mut().insert("authorization", token);
    let method = http::uri::PathAndQuery::from_static(wire::METHOD);
    let answer = grpc.streaming(request, method, Prost::<Up, Down>::default()).await;
    let mut down = answer.map_err(|status| said(&status))?.into_inner();
    match down.message().await.map_err(|status| said(&status))? {
        Some(Down { say: Some(DownSay::Hello(hello)) }) => Ok(Open { up, down, hello, place: place.clone() }),
        _ => Err("it did not say who it is".into()),
    }
}

fn hello(following: &Following) -> UpHello {
    UpHello {
        protocol: wire::PROTOCOL,
        namespace: following.gateway.namespace.clone(),
        name: following.gateway.name.clone(),
        pod: following.pod.clone(),
        program: following.program.clone(),
    }
}

/// As a header that no log prints.
async fn token(following: &Following) -> Result<MetadataValue<Ascii>, String> {
    let token = read(&following.token).await?;
    let bearer = format!("Bearer {}", token.trim()).parse();
    let mut bearer: MetadataValue<Ascii> = bearer.map_err(|_| format!("{}: no token", following.token.display()))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

async fn channel(following: &Following, place: &Place, tls: TlsConnector) -> Result<Channel, String> {
    let Place { host, address } = place.clone();
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
    // TLS is ours, so that the address may be another than the name; the authority in the requests says nothing to a controller
    let endpoint = Endpoint::from_static("http://headgate-controller");
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
