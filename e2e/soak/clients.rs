//! The clients of each lane: one exchange after the other, each with an end. They decide what is asked, and book nothing.

use crate::{
    ask::{Ask, BYTES_MAX, bytes},
    ledger::{End, Lane, Ledger},
    world::{APP, COLD, Place, RPC, TALK, TOXIC, TOXIC_HTTP2, VICTIM},
};
use bytes::Bytes;
use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use headgate_e2e::{Answer, H2, Wire, grpc_frame, grpc_messages, within};
use std::time::{Duration, Instant};
use tokio::{net::TcpStream, time::sleep};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

/// A kept connection that was unused for longer is not used again: the gateway may be about to close it.
const KEPT: Duration = Duration::from_secs(30);

/// How a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Without TLS.
    Plain,
    /// With it.
    Tls,
}

impl Place {
    async fn wire(&self, way: Way) -> Wire {
        match way {
            Way::Plain => Wire::open(self.plain).await,
            Way::Tls => Wire::over(self.authority.connect(self.tls, APP, &["http/1.1"]).await.unwrap()),
        }
    }

    async fn http2(&self, way: Way) -> H2 {
        match way {
            Way::Plain => H2::open(self.plain).await,
            Way::Tls => H2::over(self.authority.connect(self.tls, APP, &["h2"]).await.unwrap()).await,
        }
    }
}

/// One client.
pub enum Client {
    /// Over one connection of HTTP/1.1.
    Kept(Way, Option<(Wire, Instant)>),
    /// Over a connection each.
    Fresh,
    /// Over one connection of HTTP/2.
    Http2(Way, Option<(H2, Instant)>),
    /// Reads slowly.
    Slow,
    /// Talks over a WebSocket, a new one after some messages.
    Socket,
    /// Calls by gRPC.
    Grpc(Option<H2>),
    /// Leaves.
    Leaving,
}

impl Client {
    /// An exchange; a panic in it ends the connection too.
    pub async fn exchange(&mut self, place: &Place, lane: Lane, dice: &mut Rng, ledger: &Ledger) -> End {
        match self {
            Self::Kept(way, kept) => over_wire(place, *way, kept, &ask(lane, dice, ledger)).await,
            Self::Fresh => {
                let way = if lane == Lane::Fresh && dice.bool() { Way::Tls } else { Way::Plain };
                over_wire(place, way, &mut None, &ask(lane, dice, ledger)).await
            }
            Self::Http2(way, kept) => over_http2(place, *way, kept, &ask(lane, dice, ledger)).await,
            Self::Slow => read_slowly(place, &ask(lane, dice, ledger), dice).await,
            Self::Socket => talk(place, dice).await,
            Self::Grpc(kept) => call(place, kept, dice).await,
            Self::Leaving => leave(place, &ask(lane, dice, ledger), dice).await,
        }
    }
}

/// What a lane asks for next.
fn ask(lane: Lane, dice: &mut Rng, ledger: &Ledger) -> Ask {
    let host = match lane {
        Lane::Cold => COLD,
        Lane::Victim => VICTIM,
        Lane::Toxic => TOXIC,
        Lane::Leaving => [APP, APP, COLD, VICTIM, TOXIC][dice.usize(0..5)],
        _ => APP,
    };
    let length = match lane {
        Lane::Large => BYTES_MAX,
        Lane::Slow => dice.usize(1_000_000..5_000_000),
        Lane::Leaving => dice.usize(1..1_000_000),
        // what is refused is read to its end by the gateway up to 64 KiB: then the client sees why
        Lane::Toxic => dice.usize(1..60_000),
        _ => dice.usize(1..20_000),
    };
    let posts = match lane {
        Lane::Slow => 0,
        Lane::Kept | Lane::Fresh | Lane::Secure | Lane::Http2 => 20,
        _ => 50,
    };
    let number = if dice.u32(0..100) < posts { ledger.number() } else { 0 };
    Ask { lane, host: host.into(), number, length }
}

/// How an answer, or what there was of it, ends an exchange.
fn end(ask: &Ask, answer: &Result<Answer, String>) -> End {
    match answer {
        Ok(answer) => ask.judge(answer.status, answer.failure(), &answer.body),
        Err(why) if why.starts_with("it broke off") => End::Cut(why.clone()),
        Err(why) => End::Wrong(format!("{ask:?}: {why}")),
    }
}

async fn over_wire(place: &Place, way: Way, kept: &mut Option<(Wire, Instant)>, ask: &Ask) -> End {
    let mut wire = match kept.take().filter(|(_, used)| used.elapsed() < KEPT) {
        Some((wire, _)) => wire,
        None => place.wire(way).await,
    };
    wire.send([ask.head().as_bytes(), ask.body()].concat()).await;
    let answer = wire.try_answer(false).await;
    if answer.as_ref().is_ok_and(Answer::keeps_alive) {
        *kept = Some((wire, Instant::now()));
    }
    end(ask, &answer)
}

async fn over_http2(place: &Place, way: Way, kept: &mut Option<(H2, Instant)>, ask: &Ask) -> End {
    let client = match kept.take().filter(|(_, used)| used.elapsed() < KEPT) {
        Some((client, _)) => client,
        None => place.http2(way).await,
    };
    let scheme = if way == Way::Tls { "https" } else { "http" };
    let mut ask = ask.clone();
    if ask.host == TOXIC {
        ask.host = TOXIC_HTTP2.into();
    }
    match client.call(ask.head_http2(scheme), Bytes::from_static(ask.body())).await {
        Ok(answer) => {
            *kept = Some((client, Instant::now()));
            // the application of HTTP/2 sends back what it got
            let sent_back = ask.host == TOXIC_HTTP2 && ask.number == 0 && answer.body.is_empty();
            let body = if sent_back && answer.status == 200 { bytes(ask.length) } else { &answer.body };
            ask.judge(answer.status, answer.failure(), body)
        }
        Err(error) if error.is_reset() => End::Cut(error.to_string()),
        Err(error) => End::Wrong(format!("{ask:?}: {error}")),
    }
}

/// Reads an answer in pieces, with pauses, in some seconds.
async fn read_slowly(place: &Place, ask: &Ask, dice: &mut Rng) -> End {
    let mut wire = place.wire(Way::Plain).await;
    wire.send(ask.head()).await;
    let head = wire.head().await;
    if head.status != 200 || head.field("content-length") != Some(ask.length.to_string().as_str()) {
        return End::Wrong(format!("{ask:?}: {head:?}"));
    }
    let (mut body, pieces) = (Vec::with_capacity(ask.length), dice.usize(5..50));
    while body.len() < ask.length {
        sleep(Duration::from_millis(dice.u64(0..200))).await;
        body.extend(wire.bytes((ask.length / pieces + 1).min(ask.length - body.len())).await);
    }
    ask.judge(200, None, &body)
}

/// Opens a WebSocket, sends messages and has them back, and closes it.
async fn talk(place: &Place, dice: &mut Rng) -> End {
    let socket = TcpStream::connect(place.plain).await.unwrap();
    let mut request = format!("ws://{TALK}/").into_client_request().unwrap();
    request.headers_mut().insert("user-agent", http::HeaderValue::from_static("soak-websocket"));
    let (mut socket, _) = within("a WebSocket", tokio_tungstenite::client_async(request, socket)).await.unwrap();
    for _ in 0..dice.usize(1..20) {
        let message = Message::binary(bytes(dice.usize(0..100_000)));
        if !echoes(&mut socket, message).await {
            return End::Wrong("a message did not come back".into());
        }
        sleep(Duration::from_millis(dice.u64(0..300))).await;
    }
    socket.close(None).await.unwrap();
    match within("the close", socket.next()).await {
        Some(Ok(message)) if message.is_close() => End::Good,
        other => End::Wrong(format!("no close: {other:?}")),
    }
}

async fn echoes(socket: &mut WebSocketStream<TcpStream>, message: Message) -> bool {
    socket.send(message.clone()).await.unwrap();
    within("an echo", socket.next()).await.is_some_and(|echo| echo.is_ok_and(|echo| echo == message))
}

/// Calls with a message, and has it back once or thrice.
async fn call(place: &Place, kept: &mut Option<H2>, dice: &mut Rng) -> End {
    let client = match kept.take() {
        Some(client) => client,
        None => place.http2(Way::Plain).await,
    };
    let (method, count) = if dice.bool() { ("Unary", 1) } else { ("ServerStream", 3) };
    let request = http::Request::post(format!("http://{RPC}/echo.Echo/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "soak-grpc");
    let message = bytes(dice.usize(0..50_000));
    let answer = client.call(request.body(()).unwrap(), grpc_frame(message)).await.unwrap();
    *kept = Some(client);
    let status = answer.trailer("grpc-status").or(answer.field("grpc-status"));
    let messages = grpc_messages(&answer.body);
    let is_right = messages.len() == count && messages.iter().all(|one| one == message);
    if status == Some("0") && is_right {
        End::Good
    } else {
        End::Wrong(format!("{method}: status {status:?}, {} messages, {:?}", messages.len(), answer.headers))
    }
}

/// Leaves at any point: inside of the handshake, the head, the body, before or inside of the answer, with an end or a reset.
async fn leave(place: &Place, ask: &Ask, dice: &mut Rng) -> End {
    let way = if ask.host == APP && dice.bool() { Way::Tls } else { Way::Plain };
    if dice.u32(0..8) == 0 {
        return leave_handshake(place, dice).await;
    }
    if dice.u32(0..4) == 0 {
        return leave_stream(place, way, ask, dice).await;
    }
    let whole = [ask.head().as_bytes(), ask.body()].concat();
    let cut = if dice.bool() { whole.len() } else { dice.usize(0..=whole.len()) };
    let mut wire = match way {
        Way::Tls => place.wire(way).await,
        Way::Plain => {
            let socket = TcpStream::connect(place.plain).await.unwrap();
            if dice.bool() {
                socket.set_zero_linger().unwrap();
            }
            Wire::over(socket)
        }
    };
    wire.send(&whole[..cut]).await;
    // before the answer, at its head or inside of its body; what comes of it concerns nobody
    let patience = if dice.bool() { dice.u64(0..300_000) } else { dice.u64(0..5_000) };
    let _ = tokio::time::timeout(Duration::from_micros(patience), wire.try_answer(false)).await;
    End::Left
}

/// Says half of a ClientHello, or nonsense, and leaves.
async fn leave_handshake(place: &Place, dice: &mut Rng) -> End {
    let mut wire = Wire::open(place.tls).await;
    let hello: &[u8] = [&b""[..], b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc", b"GET / HTTP/1.1\r\n\r\n"][dice.usize(0..3)];
    wire.send(hello).await;
    sleep(Duration::from_millis(dice.u64(0..300))).await;
    End::Left
}

/// Resets a stream of HTTP/2, or leaves its connection.
async fn leave_stream(place: &Place, way: Way, ask: &Ask, dice: &mut Rng) -> End {
    let client = place.http2(way).await;
    let scheme = if way == Way::Tls { "https" } else { "http" };
    let (answer, mut send) = client.start(ask.head_http2(scheme), ask.number == 0).await.unwrap();
    if ask.number > 0 {
        let _ = send.send_data(Bytes::from_static(&ask.body()[..ask.length / 2]), false);
    }
    let patience = Duration::from_millis(dice.u64(0..300));
    if let Ok(Ok(answer)) = tokio::time::timeout(patience, answer).await {
        let mut body = answer.into_body();
        let _ = tokio::time::timeout(patience, body.data()).await;
    }
    if dice.bool() {
        send.send_reset(h2::Reason::CANCEL);
        // the connection serves on after a reset
        if ask.host == APP {
            let canary = http::Request::get(format!("{scheme}://{APP}/bytes/10")).body(()).unwrap();
            let answer = client.call(canary, Bytes::new()).await;
            if !answer.as_ref().is_ok_and(|answer| answer.status == 200 && answer.body == bytes(10)) {
                return End::Wrong(format!("after a reset of a stream: {answer:?}"));
            }
        }
    }
    End::Left
}
