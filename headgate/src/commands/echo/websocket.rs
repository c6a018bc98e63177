//! WebSocket: every message comes back, until the client closes or the process stops. Source: RFC 6455.

use super::{
    Echo,
    answer::{Sent, nothing, whole},
};
use futures_util::{SinkExt, StreamExt};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

/// Whether a request would switch to WebSocket.
pub fn is_asked(request: &Request<Incoming>) -> bool {
    request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Switches.
pub fn answer(echo: &Echo, mut request: Request<Incoming>) -> Response<Sent> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return whole(StatusCode::BAD_REQUEST, "text/plain", "Sec-WebSocket-Key is missing\n".to_owned());
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is a header value");
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(talk(upgrade, echo.stopping.clone(), echo.alive.clone()));
    let mut answer = Response::new(nothing());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().extend([
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ]);
    answer
}

async fn talk(upgrade: hyper::upgrade::OnUpgrade, mut stopping: watch::Receiver<bool>, _alive: mpsc::Sender<()>) {
    // a client that never switches has gone
    let Ok(upgraded) = upgrade.await else { return };
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                // pings are answered by the library
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            () = super::stopped(&mut stopping) => break,
        }
    }
    let away = CloseFrame { code: CloseCode::Away, reason: "stopping".into() };
    if socket.close(Some(away)).await.is_ok() {
        // the client's own close ends it
        while let Some(Ok(_)) = socket.next().await {}
    }
}
