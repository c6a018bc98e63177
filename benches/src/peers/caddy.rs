//! Caddy by its JSON: one route for all hosts, since a thousand routes would be asked one after the other, and in it a route a rule; weighted round robin, kept connections, a JSON access log.

use super::{CORES, Job, Name, Ports, RETRIES, Running, Upstream, WEIGHTS};
use crate::site::{FIELD, Rule};
use serde_json::{Value, json};
use std::{fs, io, process::Command};

pub(super) fn start(job: &Job<'_>) -> io::Result<Running> {
    let ports = Ports::free_with_h2c_on_the_same()?;
    let file = job.folder.join("caddy.json");
    fs::write(&file, config(job, ports).to_string())?;
    let mut command = Command::new(super::program(Name::Caddy));
    command.args(["run", "--config"]).arg(&file);
    command
        .env("GOMAXPROCS", CORES.to_string())
        .env("HOME", job.folder)
        .env("XDG_DATA_HOME", job.folder)
        .env("XDG_CONFIG_HOME", job.folder);
    super::spawn(&mut command, job, ports)
}

fn config(job: &Job<'_>, ports: Ports) -> Value {
    let rules: Vec<Value> = job.site.rules.iter().map(|rule| route(rule, job)).collect();
    let hosts: Vec<String> = job.site.names().collect();
    let routes =
        json!([{"match": [{"host": hosts}], "handle": [{"handler": "subroute", "routes": rules}], "terminal": true}]);
    let server = |at: std::net::SocketAddr, protocols: &[&str]| {
        json!({
            "listen": [at.to_string()], "protocols": protocols, "routes": routes,
            "automatic_https": {"disable": true}, "logs": {"default_logger_name": "access"},
        })
    };
    let mut servers = json!({"plain": server(ports.http1, &["h1", "h2c"])});
    let mut apps = json!({});
    if let Some(certificate) = job.certificate {
        servers["tls"] = server(ports.tls, &["h1", "h2"]);
        servers["tls"]["tls_connection_policies"] = json!([{}]);
        apps["tls"] =
            json!({"certificates": {"load_files": [{"certificate": certificate.chain, "key": certificate.key}]}});
    }
    apps["http"] = json!({"servers": servers});
    let file = json!({"output": "file", "filename": job.folder.join("access.log"), "roll": false});
    json!({
        "admin": {"disabled": true, "config": {"persist": false}},
        "logging": {"logs": {
            "access": {"writer": file, "encoder": {"format": "json"}, "include": ["http.log.access"]},
            "default": {"level": "ERROR", "exclude": ["http.log.access"]},
        }},
        "apps": apps,
    })
}

fn route(rule: &Rule, job: &Job<'_>) -> Value {
    let matched = match rule {
        Rule::Prefix(prefix) if prefix == "/" => json!({}),
        Rule::Prefix(prefix) => json!({"path": [prefix, format!("{prefix}/*")]}),
        Rule::Regex(regex) => json!({"path_regexp": {"pattern": format!("^{regex}$")}}),
        Rule::Field(value) => json!({"header": {FIELD: [value]}}),
    };
    let mut transport = json!({"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 512}});
    if job.upstream != Upstream::Http1 {
        transport["versions"] = json!(["h2c"]);
    }
    let upstreams: Vec<Value> = job.origins.iter().map(|origin| json!({"dial": origin.to_string()})).collect();
    let mut balancing = json!({"selection_policy": {"policy": "weighted_round_robin", "weights": WEIGHTS}});
    if job.retries {
        // where no connection is made, and for a GET where none answers; it has none by status
        balancing["retries"] = json!(RETRIES);
    }
    let proxy = json!({
        "handler": "reverse_proxy", "upstreams": upstreams, "transport": transport, "load_balancing": balancing,
    });
    json!({"match": [matched], "handle": [proxy], "terminal": true})
}
