//! HAProxy as its manual says: one map for hosts and paths, servers with weights, connections of servers shared, a log line a request on its standard output, which is a file.

use super::{CONNECTIONS_MAX, CORES, Job, Name, Ports, RETRIED, RETRIES, Running, Upstream, WEIGHTS};
use crate::site::{FIELD, Rule};
use std::{fmt::Write as _, fs, io, path::PathBuf, process::Command};

pub(super) fn start(job: &Job<'_>) -> io::Result<Running> {
    let ports = Ports::free()?;
    let file = job.folder.join("haproxy.cfg");
    fs::write(map_file(job), map(job))?;
    fs::write(&file, config(job, ports))?;
    let mut command = Command::new(super::program(Name::Haproxy));
    command.arg("-f").arg(&file).arg("-db");
    super::spawn(&mut command, job, ports)
}

/// How a map is searched, of which there is one in each job.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// By what host and path begin with.
    Beginning,
    /// By what host and path are.
    Regex,
    /// By the value of a field.
    Field,
}

impl Kind {
    fn of(rule: &Rule) -> Self {
        match rule {
            Rule::Prefix(_) => Self::Beginning,
            Rule::Regex(_) => Self::Regex,
            Rule::Field(_) => Self::Field,
        }
    }
}

/// Who is asked for what stands in the map.
fn choice(kind: Kind, job: &Job<'_>) -> String {
    let file = map_file(job);
    let file = file.display();
    match kind {
        Kind::Beginning => format!("use_backend %[base,map_beg({file},none)]"),
        Kind::Regex => format!("use_backend %[base,map_reg({file},none)]"),
        Kind::Field => {
            let hosts: Vec<String> = job.site.names().collect();
            format!(
                "use_backend %[req.hdr({FIELD}),map_str({file},none)] if {{ req.hdr(host) -i {} }}",
                hosts.join(" ")
            )
        }
    }
}

fn map_file(job: &Job<'_>) -> PathBuf {
    job.folder.join("rules.map")
}

fn map(job: &Job<'_>) -> String {
    let mut text = String::new();
    for name in job.site.names() {
        for rule in &job.site.rules {
            let _ = match rule {
                Rule::Prefix(prefix) => writeln!(text, "{name}{prefix} origin"),
                Rule::Regex(regex) => writeln!(text, "^{}{regex}$ origin", name.replace('.', "\\.")),
                Rule::Field(value) => writeln!(text, "{value} origin"),
            };
        }
    }
    text
}

/// Tries again at another server, which takes a buffer for each request.
fn tries(job: &Job<'_>) -> String {
    if !job.retries {
        return String::new();
    }
    format!("    retries {RETRIES}\n    option redispatch\n    retry-on conn-failure empty-response {RETRIED}\n")
}

fn config(job: &Job<'_>, ports: Ports) -> String {
    let Ports { http1, h2c, .. } = ports;
    let tls = job.certificate.map_or(String::new(), |certificate| {
        format!("    bind {} ssl crt {} alpn h2,http/1.1\n", ports.tls, certificate.both.display())
    });
    let choice = job.site.rules.first().map_or(String::new(), |rule| choice(Kind::of(rule), job));
    let tries = tries(job);
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
         {choice}\n    default_backend none\n\
         backend origin\n    balance roundrobin\n{tries}    server stable {stable} weight {stable_weight}{protocol}\n    server canary {canary} weight {canary_weight}{protocol}\n\
         backend none\n    http-request deny deny_status 404\n",
        CONNECTIONS_MAX
    )
}
