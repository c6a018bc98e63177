//! The warm paths of which instructions are counted: what is served and what is asked on each. It judges no count.

use crate::{
    Plan,
    callgrind::{self, Asked},
    http2::Question,
    load, objects,
    process::Origin,
    site::Site,
};
use std::{fs, io, path::Path};

/// Hosts of the path that serves very many.
const MANY_HOSTS: usize = 100_000;
/// What is asked where one host is enough; a query, since most paths have to look at it.
const TARGET: &str = "/orders/7?page=2";

/// A warm path.
pub struct WarmPath {
    /// In the committed figures, and the folder of its routes.
    pub name: &'static str,
    /// In words: what a request is.
    pub what: &'static str,
    prepare: fn(&Path, &Origins) -> io::Result<Asked>,
}

/// All of them.
pub const WARM_PATHS: [WarmPath; 6] = [
    WarmPath { name: "http1", what: "HTTP/1 request, a plain route", prepare: http1 },
    WarmPath {
        name: "http1_split_and_filter",
        what: "HTTP/1 request, a weighted split with a filter",
        prepare: split_and_filter,
    },
    WarmPath { name: "http1_many_hosts", what: "HTTP/1 request, 100,000 hosts", prepare: many_hosts },
    WarmPath { name: "http2", what: "HTTP/2 request, a plain route", prepare: http2 },
    WarmPath { name: "http2_to_http2", what: "HTTP/2 request, to HTTP/2", prepare: http2_to_http2 },
    WarmPath { name: "grpc", what: "gRPC call, unary", prepare: grpc },
];

/// What serves behind the gateway, by HTTP/1.1 and by HTTP/2.
pub struct Origins {
    http1: Origin,
    http2: Origin,
}

impl Origins {
    /// Starts them, with answers of 100 bytes.
    pub fn start() -> io::Result<Self> {
        Ok(Self { http1: Origin::start(100)?, http2: Origin::start_http2(100)? })
    }
}

impl WarmPath {
    /// The instructions of each of `count` requests.
    pub fn instructions(&self, plan: &Plan, folder: &Path, origins: &Origins, count: u64) -> io::Result<f64> {
        callgrind::per_request(plan, folder, self.name, count, |routes| (self.prepare)(routes, origins))
    }
}

fn http1(routes: &Path, origins: &Origins) -> io::Result<Asked> {
    objects::write_peer_routes(routes, origins.http1.address)?;
    Ok(Asked::Http1(objects::peer_heads()))
}

fn split_and_filter(routes: &Path, origins: &Origins) -> io::Result<Asked> {
    fs::write(routes.join("routes.yaml"), objects::split_route(origins.http1.address))?;
    Ok(Asked::Http1(vec![load::get(&objects::host(0), TARGET)]))
}

/// One prefix for each host: they are loaded under valgrind.
fn many_hosts(routes: &Path, origins: &Origins) -> io::Result<Asked> {
    objects::write_routes_of(routes, MANY_HOSTS, &["/"], &objects::service("origin", origins.http1.address))?;
    Ok(Asked::Http1(Site::hosts(MANY_HOSTS).heads()))
}

fn http2(routes: &Path, origins: &Origins) -> io::Result<Asked> {
    one_host(routes, &objects::service("origin", origins.http1.address))?;
    Ok(Asked::Http2(Question::get(&uri())?))
}

fn http2_to_http2(routes: &Path, origins: &Origins) -> io::Result<Asked> {
    one_host(routes, &objects::http2_service("origin", origins.http2.address))?;
    Ok(Asked::Http2(Question::get(&uri())?))
}

fn grpc(routes: &Path, origins: &Origins) -> io::Result<Asked> {
    one_host(routes, &objects::http2_service("origin", origins.http2.address))?;
    Ok(Asked::Http2(Question::call(&uri())?))
}

fn one_host(routes: &Path, origin: &str) -> io::Result<()> {
    objects::write_routes_of(routes, 1, &objects::PEER_PATHS, origin)
}

fn uri() -> String {
    format!("http://{}{TARGET}", objects::host(0))
}
