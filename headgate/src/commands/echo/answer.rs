//! What the example function answers. Bodies stream: nothing but JSON is gathered.

use super::{Echo, ask::Ask, grpc, stats::Counted, websocket};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::{Map, Value, json};
use std::{convert::Infallible, fmt::Write, sync::Arc};

/// What is sent as a body.
pub type Sent = UnsyncBoxBody<Bytes, hyper::Error>;

/// Answers a request.
///
/// # Errors
/// If the client breaks off in its body; its connection ends.
pub async fn answer(echo: Arc<Echo>, request: Request<Incoming>) -> Result<Response<Counted>, hyper::Error> {
    let uncounted = |answer: Response<Sent>| answer.map(|body| Counted { body, entered: None });
    if let (Some(stats), "/__stats") = (&echo.stats, request.uri().path()) {
        return Ok(uncounted(whole(StatusCode::OK, "application/json", stats.json())));
    }
    let ask = match Ask::read(request.uri().query().unwrap_or_default()) {
        Ok(ask) => ask,
        Err(why) => return Ok(uncounted(whole(StatusCode::BAD_REQUEST, "text/plain", why + "\n"))),
    };
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let id = ask.id.as_deref().or_else(|| header("x-request-id")).unwrap_or_default();
    let entered = echo.stats.as_ref().map(|stats| stats.enter(id));
    if !ask.delay.is_zero() {
        tokio::time::sleep(ask.delay).await;
    }
    let mut answer = if grpc::is_call(request.headers()) {
        grpc::answer(request).await?
    } else if websocket::is_asked(&request) {
        websocket::answer(&echo, request)
    } else {
        plain(&echo, &ask, request).await?
    };
    if let Some(status) = ask.status {
        *answer.status_mut() = status;
    }
    if ask.close && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer.map(|body| Counted { body, entered }))
}

async fn plain(echo: &Echo, ask: &Ask, request: Request<Incoming>) -> Result<Response<Sent>, hyper::Error> {
    if let Some(bytes) = ask.bytes {
        discard(request.into_body()).await?;
        return Ok(long(bytes));
    }
    if let Some(text) = &echo.text {
        discard(request.into_body()).await?;
        return Ok(whole(StatusCode::OK, "text/plain; charset=utf-8", text.clone()));
    }
    let accepts = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if echo.prefers_json || accepts.contains("application/json") {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        return Ok(whole(StatusCode::OK, "application/json", describe(&head, &body)));
    }
    let (head, body) = request.into_parts();
    let first = Bytes::from(text_of(&head));
    let echoed = stream::once(async { Ok(first) }).chain(body.into_data_stream());
    Ok(typed("text/plain; charset=utf-8", StreamBody::new(echoed.map(|data| data.map(Frame::data))).boxed_unsync()))
}

/// An application reads what it is sent before it answers: otherwise its server would close the connection.
async fn discard(mut body: Incoming) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// The request as it came: line, headers, an empty line, and then the body.
fn text_of(head: &hyper::http::request::Parts) -> String {
    let mut text = format!("{} {} {:?}\n", head.method, target(head), head.version);
    for (name, value) in &head.headers {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    text + "\n"
}

fn describe(head: &hyper::http::request::Parts, body: &Bytes) -> String {
    let document = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "version": format!("{:?}", head.version),
        "host": head.uri.host().or_else(|| head.headers.get("host")?.to_str().ok()),
        "headers": fields(&head.headers),
        "body": String::from_utf8_lossy(body),
        "bodyBytes": body.len(),
        "pid": std::process::id(),
    });
    crate::output::json(&document)
}

fn target(head: &hyper::http::request::Parts) -> &str {
    head.uri.path_and_query().map_or("*", hyper::http::uri::PathAndQuery::as_str)
}

/// Each name with the list of its values.
fn fields(headers: &HeaderMap) -> Map<String, Value> {
    let values = |name| headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    headers.keys().map(|name| (name.to_string(), Value::Array(values(name).collect()))).collect()
}

/// `abc…zabc…`, in pieces, so that a length that went wrong is seen, and where.
fn long(bytes: u64) -> Response<Sent> {
    const PIECE_BYTES: u64 = 26 * 1024;
    let piece = Bytes::from_iter((b'a'..=b'z').cycle().take(PIECE_BYTES as usize));
    let pieces = stream::unfold(bytes, move |left| {
        let length = left.min(PIECE_BYTES);
        let piece = piece.slice(..length as usize);
        async move { (length > 0).then(|| (Ok::<_, Infallible>(Frame::data(piece)), left - length)) }
    });
    let body = StreamBody::new(pieces).map_err(|never| match never {}).boxed_unsync();
    let mut answer = typed("application/octet-stream", body);
    answer.headers_mut().insert(CONTENT_LENGTH, bytes.into());
    answer
}

/// An answer of known text.
pub fn whole(status: StatusCode, kind: &'static str, text: String) -> Response<Sent> {
    let mut answer = typed(kind, Full::from(text).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// A body without bytes.
pub fn nothing() -> Sent {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn typed(kind: &'static str, body: Sent) -> Response<Sent> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
