//! The admin port: metrics, health, routes and explanations, read only, on loopback. Never on the path of a request.

use crate::{
    backend::{Backend, EndpointReport},
    core::Shared,
    question::Question,
    telemetry::{BackendGauges, Gauges},
};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, net::TcpListener, os::fd::AsFd, rc::Rc, sync::Arc, time::Duration};
use tokio::task::AbortHandle;

/// OpenMetrics text.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Answer = Response<Full<bytes::Bytes>>;

/// The admin port while it is served: until this is dropped.
pub struct Admin {
    listener: Rc<tokio::net::TcpListener>,
    task: AbortHandle,
}

impl Admin {
    /// Serves it on this thread.
    pub fn serve(listener: TcpListener, shared: Arc<Shared>) -> Option<Self> {
        let listener = match listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener)) {
            Ok(listener) => Rc::new(listener),
            Err(error) => {
                tracing::error!(%error, "the admin port cannot be served");
                return None;
            }
        };
        let task = tokio::task::spawn_local(accept(listener.clone(), shared)).abort_handle();
        Some(Self { listener, task })
    }

    /// Its socket, once more.
    pub fn lend(&self) -> Option<TcpListener> {
        self.listener.as_fd().try_clone_to_owned().ok().map(TcpListener::from)
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: Rc<tokio::net::TcpListener>, shared: Arc<Shared>) {
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(answer(&request, &shared)) }
            });
            // A client of the admin port that breaks off concerns nobody.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Answer {
    if request.method() != hyper::Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into());
    }
    let query = request.uri().query().unwrap_or_default();
    match request.uri().path() {
        "/healthz" | "/livez" => text(StatusCode::OK, "text/plain", "ok\n".into()),
        "/readyz" if shared.is_ready() => text(StatusCode::OK, "text/plain", "ok\n".into()),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".into()),
        "/metrics" => text(StatusCode::OK, METRICS_TYPE, shared.telemetry.scrape(gauges(shared))),
        "/routes" => json(&shared.active.load().table.rules_in_order()),
        "/backends" => json(&backends(shared)),
        "/requests" => match query.strip_prefix("id=").and_then(|id| shared.telemetry.find(id)) {
            Some(record) => text(StatusCode::OK, "application/json", record),
            None => text(StatusCode::NOT_FOUND, "text/plain", "no such request is remembered\n".into()),
        },
        "/explain" => match Question::of_query(query).and_then(|question| question.read()) {
            Ok(asked) => json(&asked.explain(&shared.active.load().table)),
            Err(why) => text(StatusCode::BAD_REQUEST, "text/plain", why + "\n"),
        },
        "/" => text(StatusCode::OK, "text/plain", pages(shared)),
        page => match shared.pages.lock().expect("nothing panics while it holds this lock").get(page) {
            Some(body) => text(StatusCode::OK, "application/json", body.clone()),
            None => text(StatusCode::NOT_FOUND, "text/plain", "see /\n".into()),
        },
    }
}

fn pages(shared: &Shared) -> String {
    let own = "/healthz /readyz /metrics /routes /backends /requests?id= /explain?url=";
    let shown = shared.pages.lock().expect("nothing panics while it holds this lock");
    shown.keys().fold(own.to_owned(), |pages, page| pages + " " + page) + "\n"
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct BackendRow {
    name: String,
    queued: u64,
    queued_bytes: u64,
    in_flight: u64,
    endpoints: Vec<EndpointRow>,
    activation: headgate_config::Activation,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointRow {
    address: std::net::SocketAddr,
    ready: bool,
    ejected: bool,
    listed: bool,
    in_flight: u32,
}

impl EndpointRow {
    fn of(report: &EndpointReport) -> Self {
        let EndpointReport { address, listed, ready, ejected, in_flight, .. } = *report;
        Self { address, ready, ejected, listed, in_flight }
    }
}

fn backends(shared: &Shared) -> Vec<BackendRow> {
    let row = |backend: Arc<Backend>| {
        let report = backend.report();
        BackendRow {
            name: backend.config().name.to_string(),
            queued: report.queued as u64,
            queued_bytes: report.queued_bytes,
            in_flight: report.in_flight(),
            endpoints: report.endpoints.iter().map(EndpointRow::of).collect(),
            activation: report.activation,
        }
    };
    let mut rows: Vec<_> = shared.registry.all().into_iter().map(row).collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_string_pretty(value) {
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

fn gauges(shared: &Shared) -> Gauges {
    let gauge = |backend: Arc<Backend>| {
        let report = backend.report();
        let listed = || report.endpoints.iter().filter(|endpoint| endpoint.listed);
        BackendGauges {
            name: backend.config().name.clone(),
            in_flight: report.in_flight(),
            queued: report.queued as u64,
            queued_bytes: report.queued_bytes,
            endpoints: listed().count() as u64,
            endpoints_ready: listed().filter(|endpoint| endpoint.ready && !endpoint.ejected).count() as u64,
        }
    };
    let backends = shared.registry.all().into_iter().map(gauge).collect();
    Gauges { backends, memory: shared.memory.report(), handshakes: shared.handshakes_open() as u64 }
}
