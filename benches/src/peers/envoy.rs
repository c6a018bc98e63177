//! Envoy as a bootstrap file: a virtual host a domain, one cluster with weighted endpoints, breakers high enough to be no part of what is measured, a JSON access log.

use super::{CONNECTIONS_MAX, CORES, Job, Name, Ports, RETRIED, RETRIES, Running, Upstream, WEIGHTS};
use crate::site::{FIELD, Rule};
use serde_json::{Value, json};
use std::{
    fs, io,
    net::SocketAddr,
    process::{Command, Stdio},
};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

pub(super) fn start(job: &Job<'_>) -> io::Result<Running> {
    let ports = Ports::free_with_h2c_on_the_same()?;
    let file = job.folder.join("envoy.json");
    fs::write(&file, config(job, ports).to_string())?;
    let mut command = Command::new(super::program(Name::Envoy));
    command.arg("-c").arg(&file).args(["--concurrency", &CORES.to_string(), "--disable-hot-restart", "-l", "error"]);
    command.stdin(Stdio::null());
    super::spawn(&mut command, job, ports)
}

fn config(job: &Job<'_>, ports: Ports) -> Value {
    let mut listeners = vec![listener(job, ports.http1, None)];
    if let Some(certificate) = job.certificate {
        let tls = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificates": [{"certificate_chain": {"filename": certificate.chain}, "private_key": {"filename": certificate.key}}],
                },
            },
        });
        listeners.push(listener(job, ports.tls, Some(tls)));
    }
    json!({"static_resources": {"listeners": listeners, "clusters": clusters(job)}})
}

fn listener(job: &Job<'_>, at: SocketAddr, tls: Option<Value>) -> Value {
    let log = json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": format!("{TYPES}.access_loggers.file.v3.FileAccessLog"),
            "path": job.folder.join("access.log"),
            "log_format": {"json_format": {
                "time": "%START_TIME%", "id": "%REQ(X-REQUEST-ID)%", "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "method": "%REQ(:METHOD)%",
                "host": "%REQ(:AUTHORITY)%", "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%", "bytes": "%BYTES_SENT%",
                "backend": "%UPSTREAM_HOST%", "ms": "%DURATION%", "backend_ms": "%RESPONSE_DURATION%",
            }},
        },
    });
    let manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "edge",
        "codec_type": "AUTO",
        "use_remote_address": true,
        "access_log": [log],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"name": "routes", "virtual_hosts": virtual_hosts(job)},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": format!("{TYPES}.filters.http.router.v3.Router")}}],
    });
    let mut chain =
        json!({"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]});
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    json!({"name": at.to_string(), "address": address(at), "filter_chains": [chain]})
}

fn virtual_hosts(job: &Job<'_>) -> Vec<Value> {
    let routes: Vec<Value> = job.site.rules.iter().map(|rule| route(rule, job)).collect();
    job.site.names().map(|name| json!({"name": name, "domains": [name], "routes": routes})).collect()
}

fn route(rule: &Rule, job: &Job<'_>) -> Value {
    let matched = match rule {
        Rule::Prefix(prefix) if prefix == "/" => json!({"prefix": "/"}),
        Rule::Prefix(prefix) => json!({"path_separated_prefix": prefix}),
        Rule::Regex(regex) => json!({"safe_regex": {"regex": regex}}),
        Rule::Field(value) => {
            json!({"prefix": "/", "headers": [{"name": FIELD, "string_match": {"exact": value}}]})
        }
    };
    let mut action = json!({"cluster": "origin", "timeout": "0s"});
    if job.retries {
        action["retry_policy"] = json!({
            "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
            "retriable_status_codes": [RETRIED], "num_retries": RETRIES,
        });
    }
    if job.mirror.is_some() {
        action["request_mirror_policies"] = json!([{"cluster": "mirror"}]);
    }
    json!({"match": matched, "route": action})
}

fn clusters(job: &Job<'_>) -> Vec<Value> {
    let origins: Vec<_> = job.origins.into_iter().zip(WEIGHTS).collect();
    let mirror = job.mirror.map(|mirror| cluster("mirror", &[(mirror, 1)], job.upstream));
    [Some(cluster("origin", &origins, job.upstream)), mirror].into_iter().flatten().collect()
}

fn cluster(name: &str, endpoints: &[(SocketAddr, u32)], upstream: Upstream) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(origin, weight)| json!({"endpoint": {"address": address(*origin)}, "load_balancing_weight": weight}))
        .collect();
    let limit = CONNECTIONS_MAX;
    let protocol = match upstream {
        Upstream::Http1 => json!({"http_protocol_options": {}}),
        Upstream::H2c | Upstream::Grpc => json!({"http2_protocol_options": {}}),
    };
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s", "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": {"thresholds": [{"max_connections": limit, "max_pending_requests": limit, "max_requests": limit}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": protocol,
        }},
    })
}

fn address(of: SocketAddr) -> Value {
    json!({"socket_address": {"address": of.ip().to_string(), "port_value": of.port()}})
}
