//! Long exchanges go on through cold starts and reloads: WebSocket, the four kinds of gRPC calls, large bodies.

use crate::stories;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use headgate_e2e::{Function, H2, H2Origin, Headgate, backend, route, rules, within};
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

/// RFC 9113 §6.1: DATA may carry nothing, and then it means nothing.
#[tokio::test]
async fn whoever_flushes_nothing_again_and_again_keeps_its_connection() {
    const FLUSHES: usize = 10;
    let application = H2Origin::start().await;
    let files = [
        ("app.yaml", backend("talk", Some("kubernetes.io/h2c"), &[application.address])),
        ("route.yaml", rules("talk", HOST, "  - backendRefs: [{name: talk, port: 80}]\n")),
    ];
    let headgate = Headgate::run_with(&["--h2-empty-data-per-s", "10000", "--cores", "1"], &files).await;
    let client = H2::open(headgate.address).await;
    for exchange in 0..40 {
        let request = http::Request::post(format!("http://{HOST}/")).header("x-flushes", FLUSHES).body(()).unwrap();
        let (answer, mut send) = client.start(request, false).await.unwrap();
        for _ in 0..FLUSHES {
            send.send_data(Bytes::new(), false).unwrap();
            tokio::task::yield_now().await;
        }
        send.send_data(Bytes::from_static(b"said"), true).unwrap();
        let (head, mut body) = within("an answer", answer).await.unwrap().into_parts();
        let mut whole = Vec::new();
        while let Some(data) = within("its body", body.data()).await {
            whole.extend_from_slice(&data.unwrap_or_else(|error| panic!("exchange {exchange}: {error}")));
        }
        assert_eq!((head.status.as_u16(), whole), (200, b"said".to_vec()), "exchange {exchange}");
    }
    headgate.stop().await;
}
