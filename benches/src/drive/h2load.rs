//! HTTP/2 by nghttp2's h2load, a client that shares no code with what is measured. One host, one path.

use std::{io, net::SocketAddr, process::Command};

/// Connections, and streams on each.
const SHAPE: (&str, &str) = ("32", "10");

pub(super) fn ask(at: SocketAddr, tls: bool, grpc: bool, requests: u64, host: &str) -> io::Result<()> {
    let (connections, streams) = SHAPE;
    let requests = requests.max(32);
    let mut command = Command::new("h2load");
    command.args(["-n", &requests.to_string(), "-c", connections, "-m", streams, "--connect-to", &at.to_string()]);
    // seconds: whoever does not answer for so long hangs
    command.args(["-T", "60", "-N", "60"]);
    let body = tempfile::NamedTempFile::new()?;
    if grpc {
        std::fs::write(body.path(), crate::http2::message())?;
        command.args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"]).arg(body.path());
    }
    let scheme = if tls { "https" } else { "http" };
    let output = command.arg(format!("{scheme}://{host}/orders/7")).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("{requests} succeeded, 0 failed, 0 errored");
    let line = text.lines().find(|line| line.starts_with("requests:")).unwrap_or("no answer at all");
    if line.contains(&wanted) { Ok(()) } else { Err(io::Error::other(format!("h2load: {line}"))) }
}
