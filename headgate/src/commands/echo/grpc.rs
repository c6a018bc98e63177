//! The four kinds of gRPC calls, without a schema: message bytes come back as they are. Source: gRPC over HTTP/2.

use super::answer::{Sent, nothing};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};

/// Bytes before each message: a flag, and the length.
const PREFIX_BYTES: usize = 5;
/// Messages of a server stream if `x-count` does not say.
const COUNT: usize = 3;

const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";
const UNIMPLEMENTED: &str = "12";

/// Whether a request is a gRPC call.
pub fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Answers a call.
///
/// # Errors
/// If the client breaks off in its messages.
pub async fn answer(request: Request<Incoming>) -> Result<Response<Sent>, hyper::Error> {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(HeaderValue::from_static("application/grpc"));
    let count = head.headers.get("x-count").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(COUNT);
    Ok(match head.uri.path() {
        "/echo.Echo/Bidi" => {
            let echoed = body.into_data_stream().map(|data| data.map(Frame::data));
            streamed(kind, StreamBody::new(echoed.chain(stream::once(async { Ok(status(OK)) }))).boxed_unsync())
        }
        "/echo.Echo/Unary" => match &messages(body.collect().await?.to_bytes())[..] {
            [message] => with_messages(kind, vec![framed(message)]),
            _ => trailers_only(kind, INVALID_ARGUMENT, "send one message"),
        },
        "/echo.Echo/ServerStream" => match &messages(body.collect().await?.to_bytes())[..] {
            [message] => with_messages(kind, vec![framed(message); count]),
            _ => trailers_only(kind, INVALID_ARGUMENT, "send one message"),
        },
        "/echo.Echo/ClientStream" => {
            let all = messages(body.collect().await?.to_bytes()).concat();
            with_messages(kind, vec![framed(&all)])
        }
        _ => trailers_only(kind, UNIMPLEMENTED, "call Unary, ServerStream, ClientStream or Bidi of echo.Echo"),
    })
}

/// The messages in a body; an unfinished one at its end is left out.
fn messages(mut body: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while body.len() >= PREFIX_BYTES {
        body.advance(1);
        let length = body.get_u32() as usize;
        if length > body.len() {
            break;
        }
        messages.push(body.split_to(length));
    }
    messages
}

fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    bytes.put_u8(0);
    bytes.put_u32(message.len() as u32);
    bytes.put_slice(message);
    bytes.freeze()
}

fn with_messages(kind: HeaderValue, messages: Vec<Bytes>) -> Response<Sent> {
    let frames = messages.into_iter().map(Frame::data).chain([status(OK)]);
    streamed(kind, StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync())
}

fn streamed(kind: HeaderValue, body: Sent) -> Response<Sent> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn trailers_only(kind: HeaderValue, code: &'static str, message: &'static str) -> Response<Sent> {
    let mut answer = streamed(kind, nothing());
    answer.headers_mut().insert("grpc-status", HeaderValue::from_static(code));
    answer.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
    answer
}

fn status(code: &'static str) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(
        hyper::header::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(code),
    )]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_by_their_prefix() {
        let body = [&framed(b"one")[..], &framed(b"")[..], &framed(b"three")[..], &[0, 0, 0, 0, 9, 1]].concat();
        assert_eq!(messages(body.into()), [&b"one"[..], b"", b"three"]);
        assert!(messages(Bytes::from_static(&[0, 0])).is_empty());
    }
}
