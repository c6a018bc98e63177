//! CPU time of a request beside nginx with the same job, in alternating pairs. A machine without a peer skips its rows; figures without a pair beside them mean little.

use crate::{
    Plan,
    load::Clients,
    numbers::Estimate,
    objects,
    process::{self, Gateway, Options, Origin, Process},
    report::Row,
};
use std::{
    fmt::Write as _,
    fs, io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const CONNECTIONS: usize = 64;
const CORES: usize = 2;
/// Connections of h2load, and streams on each.
const H2: (&str, &str) = ("32", "10");
/// Of the bootstrap: the same draws each time.
const SEED: u64 = 7;

/// HTTP/1 and h2c from clients, HTTP/1 to the origin.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    const WHAT: [&str; 2] = ["CPU per HTTP/1 request beside nginx", "CPU per h2c request beside nginx"];
    if !process::is_installed("nginx") {
        return Ok(WHAT.map(|what| Row::skipped(what, "nginx is not installed")).into());
    }
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(100)?;
    let ours = headgate(plan, folder.path(), origin.address)?;
    let nginx = Nginx::start(folder.path(), origin.address)?;
    let (pairs, requests) = (plan.count(12, 2), plan.count(60_000, 3_000));

    let mut job = |at: Side| -> io::Result<f64> {
        let (ids, address) = match at {
            Side::Ours => (vec![ours.id()], ours.address),
            Side::Peer => (nginx.workers()?, nginx.http1),
        };
        let mut clients = Clients::connect(address, CONNECTIONS, objects::peer_heads())?;
        clients.ask(requests as u64 / 10)?;
        let before = process::cpu_seconds(&ids)?;
        clients.ask(requests as u64)?;
        Ok((process::cpu_seconds(&ids)? - before) / requests as f64)
    };
    let mut rows = compare(WHAT[0], pairs, &mut job)?;
    if !process::is_installed("h2load") {
        rows.push(Row::skipped(WHAT[1], "h2load is not installed"));
        return Ok(rows);
    }
    let mut job = |at: Side| -> io::Result<f64> {
        let (ids, address) = match at {
            Side::Ours => (vec![ours.id()], ours.address),
            Side::Peer => (nginx.workers()?, nginx.http2),
        };
        h2load(address, requests / 10)?;
        let before = process::cpu_seconds(&ids)?;
        h2load(address, requests)?;
        Ok((process::cpu_seconds(&ids)? - before) / requests as f64)
    };
    rows.extend(compare(WHAT[1], pairs, &mut job)?);
    Ok(rows)
}

#[derive(Clone, Copy)]
enum Side {
    Ours,
    Peer,
}

/// Measures in the order A B B A, so that a machine that slows down favours nobody.
fn compare(what: &str, pairs: usize, job: &mut dyn FnMut(Side) -> io::Result<f64>) -> io::Result<Vec<Row>> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        for side in if pair % 2 == 0 { [Side::Ours, Side::Peer] } else { [Side::Peer, Side::Ours] } {
            let us = job(side)? * 1e6;
            match side {
                Side::Ours => ours.push(us),
                Side::Peer => peer.push(us),
            }
        }
    }
    let ratios: Vec<f64> = ours.iter().zip(&peer).map(|(ours, peer)| ours / peer).collect();
    let (ratio, ours, peer) = (Estimate::of(&ratios, SEED), Estimate::of(&ours, SEED), Estimate::of(&peer, SEED));
    let note = format!(
        "95 % {:.3} to {:.3}, {pairs} pairs; {:.1} and {:.1} us, access logs to files",
        ratio.low, ratio.high, ours.median, peer.median
    );
    Ok(vec![Row::new(what, ratio.median, "ratio", None).note(note)])
}

fn headgate(plan: &Plan, folder: &Path, origin: SocketAddr) -> io::Result<Gateway> {
    let routes = folder.join("routes");
    fs::create_dir(&routes)?;
    objects::write_peer_routes(&routes, origin)?;
    Gateway::start(&Options {
        program: plan.headgate()?,
        folder: routes,
        cores: Some(CORES),
        log: Some(folder.join("headgate.log")),
        ..Options::default()
    })
}

fn h2load(address: SocketAddr, requests: usize) -> io::Result<()> {
    let (connections, streams) = H2;
    let output = Command::new("h2load")
        .args(["-n", &requests.to_string(), "-c", connections, "-m", streams, "--connect-to", &address.to_string()])
        .arg(format!("http://{}/orders/7", objects::host(0)))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("{requests} succeeded, 0 failed, 0 errored");
    let line = text.lines().find(|line| line.starts_with("requests:")).unwrap_or("no answer at all");
    if line.contains(&wanted) { Ok(()) } else { Err(io::Error::other(format!("h2load: {line}"))) }
}

/// nginx with its own folder.
struct Nginx {
    master: Process,
    http1: SocketAddr,
    http2: SocketAddr,
}

impl Nginx {
    fn start(folder: &Path, origin: SocketAddr) -> io::Result<Self> {
        let (http1, http2) = (process::free_address()?, process::free_address()?);
        let config = folder.join("nginx.conf");
        fs::write(&config, nginx_config(folder, http1, http2, origin))?;
        let child = Command::new(nginx_program())
            .args(["-e", "stderr", "-c"])
            .arg(&config)
            .args(["-g", "daemon off;"])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let nginx = Self { master: process::keep(child), http1, http2 };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(nginx.http2).is_err() {
            if Instant::now() > until {
                return Err(io::Error::other("nginx does not listen"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(nginx)
    }

    fn workers(&self) -> io::Result<Vec<u32>> {
        let id = self.master.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        Ok(children.split_whitespace().filter_map(|id| id.parse().ok()).collect())
    }
}

fn nginx_program() -> PathBuf {
    let usual = Path::new("/usr/sbin/nginx");
    if usual.is_file() { usual.into() } else { "nginx".into() }
}

/// The same job: hosts and prefixes, keep-alive on both sides, X-Forwarded-*, a line of log a request.
fn nginx_config(folder: &Path, http1: SocketAddr, http2: SocketAddr, origin: SocketAddr) -> String {
    let folder = folder.display();
    let mut text = format!(
        "worker_processes {CORES};\npid {folder}/nginx.pid;\nevents {{ worker_connections 4096; }}\nhttp {{\n\
         server_names_hash_max_size 4096;\nserver_names_hash_bucket_size 128;\nkeepalive_requests 100000000;\n\
         log_format all escape=json '{{\"time\":\"$time_iso8601\",\"id\":\"$request_id\",\"client\":\"$remote_addr\",\"method\":\"$request_method\",\"host\":\"$host\",\
         \"path\":\"$uri\",\"status\":$status,\"bytes\":$body_bytes_sent,\"backend\":\"$upstream_addr\",\"seconds\":$request_time,\"backend_seconds\":\"$upstream_response_time\"}}';\n\
         access_log {folder}/nginx.log all buffer=64k flush=1s;\nclient_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
         upstream origin {{ server {origin}; keepalive 256; keepalive_requests 100000000; }}\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\nproxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\nproxy_set_header X-Forwarded-Proto $scheme;\nproxy_set_header X-Request-Id $request_id;\n\
         server {{ listen {http1} default_server; listen {http2} http2 default_server; return 404; }}\n"
    );
    for at in 0..objects::PEER_HOSTS {
        let _ = write!(text, "server {{ listen {http1}; listen {http2} http2; server_name {}; ", objects::host(at));
        for path in objects::PEER_PATHS {
            let _ = write!(text, "location {path} {{ proxy_pass http://origin; }} ");
        }
        text.push_str("}\n");
    }
    text.push_str("}\n");
    text
}
