//! The admin port of a controller: health, metrics, and what it knows, read only. Never a key, and never a write.

use super::{ask::Asker, metrics};
use crate::health::{Health, PAGE};
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;

/// OpenMetrics text.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Who has connected says within this time what is wanted.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

type Answer = Response<Full<bytes::Bytes>>;

/// What is shown. Written by the controller, read by whoever asks.
#[derive(Debug, Default)]
pub struct Shown {
    /// Everything has been read once, and gateways are told what to serve.
    pub is_ready: AtomicBool,
    /// 1 if this is the leader.
    pub leading: Gauge,
    /// Batches of changes that watches showed.
    pub batches: Counter,
    /// Seconds that the work on them took.
    pub busy: Counter<f64, std::sync::atomic::AtomicU64>,
    /// Versions published, over all Gateways.
    pub published: Counter,
    /// Gateways that are served.
    pub gateways: Gauge,
    /// Pods of gateways that are connected.
    pub connected: Gauge,
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, shown: Arc<Shown>, asker: Asker) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (shown, asker) = (shown.clone(), asker.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (shown, asker) = (shown.clone(), asker.clone());
                async move { Ok::<_, Infallible>(answer(&request, &shown, &asker).await) }
            });
            // a client of the admin port that breaks off concerns nobody
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn answer(request: &Request<Incoming>, shown: &Shown, asker: &Asker) -> Answer {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into());
    }
    match request.uri().path() {
        "/healthz" | "/livez" => text(StatusCode::OK, "text/plain", "ok\n".into()),
        "/readyz" if shown.is_ready.load(Ordering::Relaxed) => text(StatusCode::OK, "text/plain", "ok\n".into()),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", unready(asker.ask().await.as_ref())),
        "/metrics" => text(StatusCode::OK, METRICS_TYPE, metrics::text(shown, asker.ask().await.as_ref())),
        PAGE => match asker.ask().await {
            Some(health) => json(&health),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "busy: no answer in time\n".into()),
        },
        _ => text(StatusCode::NOT_FOUND, "text/plain", format!("there are: /livez /readyz /metrics {PAGE}\n")),
    }
}

/// Why it is not ready: which kinds it waits for.
fn unready(health: Option<&Health>) -> String {
    let Some(health) = health else { return "not ready: starting\n".into() };
    let kinds: Vec<&str> = health.unsynced().collect();
    match kinds.is_empty() {
        true => "not ready: objects are being worked on\n".into(),
        false => format!("not ready: not read yet: {}\n", kinds.join(", ")),
    }
}

fn json(health: &Health) -> Answer {
    match serde_json::to_string_pretty(health) {
        Ok(body) => text(StatusCode::OK, "application/json", body + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer
}
