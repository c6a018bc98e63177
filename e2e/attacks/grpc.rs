//! G2: applications of gRPC that break off. A caller gets a status of gRPC or a stream that is reset; never a bare 502, and never a short answer that looks whole.

use crate::rig::HOST;
use headgate_e2e::{H2, Headgate, backend, grpc_frame, route};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Where it breaks off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Break {
    ResetAtOnce,
    ResetInTheMiddle,
    GoawayInTheMiddle,
    EndInTheMiddle,
}

async fn application(breaks: Break) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, breaks));
        }
    });
    address
}

async fn serve(socket: tokio::net::TcpStream, breaks: Break) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((_request, mut respond))) = connection.accept().await {
        if breaks == Break::ResetAtOnce {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            continue;
        }
        let head = http::Response::builder().status(200).header("content-type", "application/grpc").body(()).unwrap();
        let mut send = respond.send_response(head, false).unwrap();
        send.send_data(grpc_frame(b"half"), false).unwrap();
        // the message leaves first
        for _ in 0..20 {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(10), connection.accept()).await;
        }
        match breaks {
            Break::ResetInTheMiddle => send.send_reset(h2::Reason::INTERNAL_ERROR),
            Break::GoawayInTheMiddle => connection.abrupt_shutdown(h2::Reason::INTERNAL_ERROR),
            _ => return,
        }
    }
}

/// gRPC over HTTP/2, "Responses", and RFC 9113 §8.1: who was promised an answer learns that it has no end.
#[tokio::test]
async fn a_call_that_breaks_off_has_a_status_or_no_end() {
    for breaks in [Break::ResetAtOnce, Break::ResetInTheMiddle, Break::GoawayInTheMiddle, Break::EndInTheMiddle] {
        let address = application(breaks).await;
        let files = [
            ("app.yaml", backend("app", Some("kubernetes.io/h2c"), &[address])),
            ("route.yaml", route("app", HOST, &[("app", 1)])),
        ];
        let headgate = Headgate::run(&files).await;
        let client = H2::open(headgate.address).await;
        let request = http::Request::post(format!("http://{HOST}/echo.Echo/Say"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        match client.call(request, grpc_frame(b"hello")).await {
            Err(error) => assert!(breaks != Break::ResetAtOnce && error.is_reset(), "{breaks:?}: {error}"),
            Ok(answer) => {
                let status = answer.field("grpc-status").or(answer.trailer("grpc-status"));
                assert_eq!(answer.status, 200, "{breaks:?}");
                assert!(status.is_some_and(|status| status != "0"), "{breaks:?}: {answer:?}");
            }
        }
        drop(client);
        headgate.stop().await;
    }
}
