//! nginx as its documentation says: a server block a host, prefix locations, an upstream with weights and kept connections, a buffered log.

use super::{CONNECTIONS_MAX, CORES, Job, Name, Ports, RETRIED, RETRIES, Running, Upstream, WEIGHTS};
use crate::site::{FIELD, Rule};
use std::{fmt::Write as _, fs, io, process::Command};

pub(super) fn start(job: &Job<'_>) -> io::Result<Running> {
    let ports = Ports::free()?;
    let file = job.folder.join("nginx.conf");
    fs::write(&file, config(job, ports))?;
    let mut command = Command::new(super::program(Name::Nginx));
    command.args(["-e", "stderr", "-c"]).arg(&file).args(["-g", "daemon off;"]);
    super::spawn(&mut command, job, ports)
}

fn config(job: &Job<'_>, ports: Ports) -> String {
    let folder = job.folder.display();
    let [stable, canary] = job.origins;
    let [stable_weight, canary_weight] = WEIGHTS;
    let listen = listen(job, ports);
    let mut text = format!(
        "worker_processes {CORES};\npid {folder}/nginx.pid;\nevents {{ worker_connections {CONNECTIONS_MAX}; }}\nhttp {{\n\
         server_names_hash_max_size 4096;\nserver_names_hash_bucket_size 128;\nkeepalive_requests 100000000;\n\
         log_format all escape=json '{{\"time\":\"$time_iso8601\",\"id\":\"$request_id\",\"client\":\"$remote_addr\",\"method\":\"$request_method\",\"host\":\"$host\",\
         \"path\":\"$uri\",\"status\":$status,\"bytes\":$body_bytes_sent,\"backend\":\"$upstream_addr\",\"seconds\":$request_time,\"backend_seconds\":\"$upstream_response_time\"}}';\n\
         access_log {folder}/access.log all buffer=64k flush=1s;\nclient_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
         upstream origin {{ server {stable} weight={stable_weight}; server {canary} weight={canary_weight}; keepalive 256; keepalive_requests 100000000; }}\n\
         map $http_upgrade $connection_to_origin {{ default upgrade; '' ''; }}\n{}{}{}{}\
         server {{ {} return 404; }}\n",
        passing(job.upstream),
        tls(job),
        tries(job),
        by_field(job),
        listen.replace(';', " default_server;"),
    );
    if let Some(mirror) = job.mirror {
        let _ = writeln!(text, "upstream mirror {{ server {mirror}; keepalive 256; keepalive_requests 100000000; }}");
    }
    let locations = locations(job);
    for name in job.site.names() {
        let _ = writeln!(text, "server {{ {listen} server_name {name}; {locations}}}");
    }
    text.push_str("}\n");
    text
}

fn listen(job: &Job<'_>, ports: Ports) -> String {
    let mut text = format!("listen {}; listen {} http2;", ports.http1, ports.h2c);
    if job.certificate.is_some() {
        let _ = write!(text, " listen {} ssl http2;", ports.tls);
    }
    text
}

fn locations(job: &Job<'_>) -> String {
    let mut text: String = job.site.rules.iter().filter_map(|rule| location(rule, job)).collect();
    if !by_field(job).is_empty() {
        text.push_str("location / { if ($to = '') { return 404; } proxy_pass http://$to; } ");
    }
    if job.mirror.is_some() {
        text.push_str("location = /mirror { internal; proxy_pass http://mirror$request_uri; } ");
    }
    text
}

fn location(rule: &Rule, job: &Job<'_>) -> Option<String> {
    let to = match job.upstream {
        Upstream::Grpc => "grpc_pass grpc://origin;",
        Upstream::Http1 | Upstream::H2c => "proxy_pass http://origin;",
    };
    let mirror = if job.mirror.is_some() { "mirror /mirror; " } else { "" };
    match rule {
        Rule::Prefix(prefix) => Some(format!("location {prefix} {{ {mirror}{to} }} ")),
        Rule::Regex(regex) => Some(format!("location ~ \"^{regex}$\" {{ {mirror}{to} }} ")),
        Rule::Field(_) => None,
    }
}

/// Where a request goes by a field: a map.
fn by_field(job: &Job<'_>) -> String {
    let values = job.site.rules.iter().filter_map(|rule| match rule {
        Rule::Field(value) => Some(format!("{value} origin; ")),
        Rule::Prefix(_) | Rule::Regex(_) => None,
    });
    let values: String = values.collect();
    if values.is_empty() {
        return values;
    }
    format!("map $http_{} $to {{ default ''; {values}}}\n", FIELD.replace('-', "_"))
}

/// Another try is a default of nginx where no connection is made or none answers; here it is for the status too.
fn tries(job: &Job<'_>) -> String {
    if !job.retries {
        return String::new();
    }
    format!("proxy_next_upstream error timeout http_{RETRIED};\nproxy_next_upstream_tries {};\n", RETRIES + 1)
}

/// Fields for the origin; bodies pass through, as they do elsewhere.
fn passing(upstream: Upstream) -> &'static str {
    match upstream {
        Upstream::Grpc => {
            "grpc_set_header Host $host;\ngrpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\ngrpc_set_header X-Forwarded-Proto $scheme;\n\
             grpc_set_header X-Request-Id $request_id;\nclient_max_body_size 0;\n"
        }
        Upstream::Http1 | Upstream::H2c => {
            "proxy_http_version 1.1;\nproxy_set_header Connection $connection_to_origin;\nproxy_set_header Upgrade $http_upgrade;\nproxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\nproxy_set_header X-Forwarded-Proto $scheme;\nproxy_set_header X-Request-Id $request_id;\n\
             client_max_body_size 0;\nproxy_request_buffering off;\nproxy_max_temp_file_size 0;\n"
        }
    }
}

fn tls(job: &Job<'_>) -> String {
    job.certificate.map_or(String::new(), |certificate| {
        format!(
            "ssl_certificate {};\nssl_certificate_key {};\nssl_session_cache shared:tls:10m;\nssl_protocols TLSv1.2 TLSv1.3;\n",
            certificate.chain.display(),
            certificate.key.display()
        )
    })
}
