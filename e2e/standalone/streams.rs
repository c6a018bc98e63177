//! Long exchanges go on through cold starts and reloads: WebSocket, the four kinds of gRPC calls, large bodies.

use crate::stories;
use futures_util::{SinkExt, StreamExt};
use headgate_e2e::{Function, H2, Headgate, route, within};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

const HOST: &str = "talk.localhost";

/// Two functions, and a route to the first.
async fn talking(protocol: &str) -> Headgate {
    let function = |name| Function::named(name).annotation("headgate.dev/protocol", protocol).to_string();
    let files = [
        ("one.yaml", function("one")),
        ("two.yaml", function("two")),
        ("route.yaml", route("talk", HOST, &[("one", 1)])),
    ];
    Headgate::run(&files).await
}

/// Leads the route to the second function, and waits until that is live.
async fn lead_away(headgate: &Headgate) {
    headgate.save("route.yaml", &route("talk", HOST, &[("two", 1)]));
    headgate.serves(HOST, "/", |answer| answer.text() == "two\n").await;
}

#[tokio::test]
async fn a_websocket_goes_on() {
    let headgate = talking("http1").await;
    let socket = TcpStream::connect(headgate.address).await.unwrap();
    let opening = tokio_tungstenite::client_async(format!("ws://{HOST}/"), socket);
    let (mut socket, answer) = within("a cold WebSocket", opening).await.unwrap();
    assert_eq!(answer.status(), 101);
    let echoed = async |socket: &mut tokio_tungstenite::WebSocketStream<TcpStream>, message: Message| {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), message);
    };
    echoed(&mut socket, Message::text("before")).await;
    lead_away(&headgate).await;
    echoed(&mut socket, Message::text("after")).await;
    echoed(&mut socket, Message::binary(headgate_e2e::pattern(1_000_000))).await;
    socket.close(None).await.unwrap();
    assert!(within("the close", socket.next()).await.unwrap().unwrap().is_close());
    drop(socket);
    headgate.stop().await;
}

#[tokio::test]
async fn the_four_kinds_of_grpc_calls_through_a_cold_start() {
    for kind in ["Unary", "ServerStream", "ClientStream", "Bidi"] {
        let headgate = talking("h2c").await;
        let client = H2::open(headgate.address).await;
        let mut call = client.grpc(HOST, &format!("/echo.Echo/{kind}")).await;
        let sent: &[&[u8]] =
            if kind.ends_with("nary") || kind == "ServerStream" { &[b"one"] } else { &[b"one", b"two"] };
        for message in sent {
            call.send(message).await;
        }
        call.end();
        let expected: &[&[u8]] = match kind {
            "Unary" => &[b"one"],
            "ServerStream" => &[b"one", b"one", b"one"],
            "ClientStream" => &[b"onetwo"],
            _ => &[b"one", b"two"],
        };
        for message in expected {
            assert_eq!(call.message().await.as_deref(), Some(*message), "{kind}");
        }
        assert_eq!(call.status().await, 0, "{kind}");
        headgate.stop().await;
    }
}

#[tokio::test]
async fn grpc_streams_go_on_through_a_reload() {
    let headgate = talking("h2c").await;
    let client = H2::open(headgate.address).await;
    let mut bidi = client.grpc(HOST, "/echo.Echo/Bidi").await;
    let mut upload = client.grpc(HOST, "/echo.Echo/ClientStream").await;
    bidi.send(b"before").await;
    upload.send(b"before ").await;
    assert_eq!(bidi.message().await.as_deref(), Some(&b"before"[..]));
    lead_away(&headgate).await;
    bidi.send(b"after").await;
    upload.send(b"after").await;
    assert_eq!(bidi.message().await.as_deref(), Some(&b"after"[..]));
    bidi.end();
    upload.end();
    assert_eq!(bidi.status().await, 0);
    assert_eq!(upload.message().await.as_deref(), Some(&b"before after"[..]));
    assert_eq!(upload.status().await, 0);
    // a new call on the same connection goes the new way
    let answer = client.get(HOST, "/").await.unwrap();
    assert_eq!(&answer.body[..], b"two\n");
    headgate.stop().await;
}

#[tokio::test]
async fn a_grpc_caller_gets_a_status_of_grpc() {
    let headgate = talking("h2c").await;
    let client = H2::open(headgate.address).await;
    let mut call = client.grpc("nobody.localhost", "/echo.Echo/Unary").await;
    call.end();
    assert_eq!(call.status().await, 12, "unimplemented: nothing is served there");
    headgate.stop().await;
}

#[tokio::test]
async fn ten_megabytes_each_way() {
    stories::transfer(10_000_000).await;
}
