//! pingora-proxy in the least program that does the job, `benches/pingora`, a workspace of its own. It matches prefixes only, and ends no TLS: its rustls is called experimental by its makers.

use super::{CORES, Job, Name, Ports, Running, Upstream, WEIGHTS};
use crate::site::Rule;
use std::{fmt::Write as _, fs, io, process::Command};

pub(super) fn start(job: &Job<'_>) -> io::Result<Running> {
    let ports = Ports::free()?;
    let file = job.folder.join("routes");
    fs::write(&file, routes(job))?;
    let mut command = Command::new(super::program(Name::Pingora));
    command.args([ports.http1.port(), ports.h2c.port()].map(|port| port.to_string()));
    command.arg(CORES.to_string()).arg(&file).arg(job.folder.join("access.log"));
    command.arg(if job.upstream == Upstream::Http1 { "http1" } else { "h2c" });
    command.args(job.origins.map(|origin| origin.to_string())).arg(WEIGHTS[0].to_string());
    super::spawn(&mut command, job, ports)
}

fn routes(job: &Job<'_>) -> String {
    let mut text = String::new();
    for name in job.site.names() {
        for rule in &job.site.rules {
            if let Rule::Prefix(prefix) = rule {
                let _ = writeln!(text, "{name} {prefix}");
            }
        }
    }
    text
}
