//! HAProxy as its manual says: one map for hosts and paths, servers with weights, connections of servers shared, a log line a request on its standard output, which is a file.

use super::{CONNECTIONS_MAX, CORES, Job, Name, Ports, Running, Upstream, WEIGHTS};
use crate::site::Path;
use std::{fmt::Write as _, fs, io, process::Command};

pub(super) fn start(job: &Job<'_>) -> io::Result<Running> {
    let ports = Ports::free()?;
    let file = job.folder.join("haproxy.cfg");
    for (kind, text) in maps(job) {
        fs::write(job.folder.join(format!("{kind}.map")), text)?;
    }
    fs::write(&file, config(job, ports))?;
    let mut command = Command::new(super::program(Name::Haproxy));
    command.arg("-f").arg(&file).arg("-db");
    super::spawn(&mut command, job, ports)
}

fn is_regex(path: &Path) -> bool {
    matches!(path, Path::Regex(_))
}

/// `beg`: what host and path begin with; `reg`: what they are.
fn maps(job: &Job<'_>) -> [(&'static str, String); 2] {
    let (mut beginnings, mut regexes) = (String::new(), String::new());
    for name in job.site.names() {
        for path in &job.site.paths {
            let _ = match path {
                Path::Prefix(prefix) => writeln!(beginnings, "{name}{prefix} origin"),
                Path::Regex(regex) => writeln!(regexes, "^{}{regex}$ origin", name.replace('.', "\\.")),
            };
        }
    }
    [("beg", beginnings), ("reg", regexes)]
}

fn config(job: &Job<'_>, ports: Ports) -> String {
    let folder = job.folder.display();
    let Ports { http1, h2c, .. } = ports;
    let tls = job.certificate.map_or(String::new(), |certificate| {
        format!("    bind {} ssl crt {} alpn h2,http/1.1\n", ports.tls, certificate.both.display())
    });
    let kind = if job.site.paths.iter().any(is_regex) { "reg" } else { "beg" };
    let protocol = if job.upstream == Upstream::Http1 { "" } else { " proto h2" };
    let [stable, canary] = job.origins;
    let [stable_weight, canary_weight] = WEIGHTS;
    format!(
        "global\n    nbthread {CORES}\n    maxconn {}\n    no strict-limits\n    log stdout format raw local0 info\n\
         defaults\n    mode http\n    log global\n    option forwardfor\n    http-reuse always\n    \
         timeout connect 5s\n    timeout client 75s\n    timeout server 60s\n    timeout http-request 10s\n    timeout tunnel 1h\n    unique-id-format %[uuid()]\n    \
         log-format '{{\"time\":\"%T\",\"id\":\"%ID\",\"client\":\"%ci\",\"method\":\"%HM\",\"host\":\"%[capture.req.hdr(0)]\",\"path\":\"%HP\",\"status\":%ST,\"bytes\":%B,\"backend\":\"%si:%sp\",\"ms\":%Ta,\"backend_ms\":%Tr}}'\n\
         frontend edge\n    bind {http1}\n    bind {h2c} proto h2\n{tls}    declare capture request len 64\n    http-request capture req.hdr(host) id 0\n    \
         unique-id-header X-Request-Id\n    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}\n    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}\n    \
         use_backend %[base,map_{kind}({folder}/{kind}.map,none)]\n    default_backend none\n\
         backend origin\n    balance roundrobin\n    server stable {stable} weight {stable_weight}{protocol}\n    server canary {canary} weight {canary_weight}{protocol}\n\
         backend none\n    http-request deny deny_status 404\n",
        CONNECTIONS_MAX
    )
}
