//! The least that does a peer's job with pingora-proxy: hosts and prefixes from a file, two weighted endpoints, X-Forwarded-For, a buffered access log. It is measured beside Headgate and never shipped.
#![forbid(unsafe_code)]

use async_trait::async_trait;
use pingora_core::{
    Error, ErrorType, Result,
    apps::HttpServerOptions,
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufWriter, Write},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

const USAGE: &str =
    "headgate-bench-pingora HTTP1_PORT H2C_PORT THREADS ROUTES LOG http1|h2c STABLE CANARY STABLE_PERCENT";

/// What all connections share.
struct Edge {
    /// Prefixes of each host, the longest first.
    routes: HashMap<String, Vec<String>>,
    origins: [SocketAddr; 2],
    /// Of a hundred requests so many go to the first one.
    first_percent: usize,
    turn: AtomicUsize,
    is_http2: bool,
    log: Mutex<BufWriter<File>>,
}

struct Proxy(Arc<Edge>);

impl Edge {
    fn has_route(&self, host: &str, path: &str) -> bool {
        let fits = |prefix: &String| {
            path.strip_prefix(prefix.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.routes.get(host).is_some_and(|prefixes| prefixes.iter().any(fits))
    }

    fn next(&self) -> SocketAddr {
        // 37 and 100 have no common divisor: the shares are exact, and not all of one endpoint come first
        let turn = self.turn.fetch_add(37, Ordering::Relaxed) % 100;
        self.origins[usize::from(turn >= self.first_percent)]
    }
}

fn host(head: &RequestHeader) -> &str {
    let field = head.headers.get("host").and_then(|value| value.to_str().ok());
    let host = field.or_else(|| head.uri.host()).unwrap_or_default();
    host.split(':').next().unwrap_or_default()
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Option<(Instant, SocketAddr)>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let head = session.req_header();
        if !self.0.has_route(host(head), head.uri.path()) {
            return Err(Error::explain(ErrorType::HTTPStatus(404), "no route"));
        }
        let origin = self.0.next();
        *ctx = Some((Instant::now(), origin));
        let mut peer = HttpPeer::new(origin, false, String::new());
        if self.0.is_http2 {
            peer.options.set_http_version(2, 2);
        }
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut Self::CTX,
    ) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.append_header("x-forwarded-for", client.ip().to_string())?;
        }
        request.insert_header("x-forwarded-proto", "http")
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        let head = session.req_header();
        let status = session.response_written().map_or(0, |head: &ResponseHeader| head.status.as_u16());
        let (seconds, origin) =
            ctx.map_or((0.0, String::new()), |(begun, origin)| (begun.elapsed().as_secs_f64(), origin.to_string()));
        if let Ok(mut log) = self.0.log.lock() {
            let _ = writeln!(
                log,
                "{{\"method\":\"{}\",\"host\":\"{}\",\"path\":\"{}\",\"status\":{status},\"bytes\":{},\"backend\":\"{origin}\",\"seconds\":{seconds:.6},\"failed\":{}}}",
                head.method,
                host(head),
                head.uri.path(),
                session.body_bytes_sent(),
                error.is_some()
            );
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = run(&words) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(words: &[String]) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let [http1, h2c, threads, routes, log, protocol, stable, canary, percent] = words else { return Err(USAGE.into()) };
    let mut table: HashMap<String, Vec<String>> = HashMap::new();
    for line in fs::read_to_string(routes)?.lines() {
        let (host, prefix) = line.split_once(' ').ok_or("a route is HOST PREFIX")?;
        table.entry(host.to_owned()).or_default().push(prefix.to_owned());
    }
    table.values_mut().for_each(|prefixes| prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len())));
    let edge = Arc::new(Edge {
        routes: table,
        origins: [stable.parse()?, canary.parse()?],
        first_percent: percent.parse()?,
        turn: AtomicUsize::new(0),
        is_http2: protocol == "h2c",
        log: Mutex::new(BufWriter::with_capacity(64 * 1024, File::create(log)?)),
    });
    let conf = ServerConf {
        threads: threads.parse()?,
        // what its makers offer instead is no better at this job, as measured
        work_stealing: false,
        upstream_keepalive_pool_size: 512,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut first = http_proxy_service(&server.configuration, Proxy(edge.clone()));
    first.add_tcp(&format!("127.0.0.1:{http1}"));
    let mut second = http_proxy_service(&server.configuration, Proxy(edge));
    // on a port of its own: looking for the preface costs HTTP/1 something
    if let Some(logic) = second.app_logic_mut() {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        logic.server_options = Some(options);
    }
    second.add_tcp(&format!("127.0.0.1:{h2c}"));
    server.add_service(first);
    server.add_service(second);
    server.run_forever()
}
