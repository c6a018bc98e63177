//! The admin port of a controller: health, metrics, and what it knows, read only. Never a key, and never a write.

use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};
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

impl Shown {
    fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("headgate_controller");
        registry.register("leading", "1 if this controller is the leader", self.leading.clone());
        registry.register("batches", "Batches of changed objects that were worked on", self.batches.clone());
        let busy = "Time that the work on changed objects took";
        registry.register_with_unit("work", busy, Unit::Seconds, self.busy.clone());
        registry.register("published", "Versions of routes published to gateways", self.published.clone());
        registry.register("gateways", "Gateways that are served", self.gateways.clone());
        registry.register("connected_pods", "Gateway Pods that are connected", self.connected.clone());
        let mut text = String::new();
        // writing to a text cannot fail
        let _ = encode(&mut text, &registry);
        text
    }
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, shown: Arc<Shown>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let shown = shown.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &shown);
                async move { Ok::<_, Infallible>(answer) }
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

fn answer(request: &Request<Incoming>, shown: &Shown) -> Answer {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into());
    }
    match request.uri().path() {
        "/healthz" | "/livez" => text(StatusCode::OK, "text/plain", "ok\n".into()),
        "/readyz" if shown.is_ready.load(Ordering::Relaxed) => text(StatusCode::OK, "text/plain", "ok\n".into()),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready: objects are being read\n".into()),
        "/metrics" => text(StatusCode::OK, METRICS_TYPE, shown.metrics()),
        _ => text(StatusCode::NOT_FOUND, "text/plain", "there are: /livez /readyz /metrics\n".into()),
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer
}
