//! Traefik by its file provider: a router a host and path, one service with weighted servers, a buffered JSON access log. Its TLS port has routers of its own.

use super::{CORES, Job, Name, Ports, Running, Upstream, WEIGHTS};
use crate::site::Path;
use serde_json::{Map, Value, json};
use std::{fs, io, process::Command};

pub(super) fn start(job: &Job<'_>) -> io::Result<Running> {
    let ports = Ports::free_with_h2c_on_the_same()?;
    let (file, routes) = (job.folder.join("traefik.json"), job.folder.join("routes.json"));
    // its reader of files takes YAML, of which JSON is a part
    let routes = routes.with_extension("yaml");
    let file = file.with_extension("yaml");
    fs::write(&routes, routing(job).to_string())?;
    let config = json!({
        "global": {"checkNewVersion": false, "sendAnonymousUsage": false},
        "log": {"level": "ERROR"},
        "entryPoints": {"plain": {"address": ports.http1.to_string()}, "tls": {"address": ports.tls.to_string()}},
        "providers": {"file": {"filename": routes, "watch": false}},
        "accessLog": {"filePath": job.folder.join("access.log"), "format": "json", "bufferingSize": 100},
    });
    fs::write(&file, config.to_string())?;
    let mut command = Command::new(super::program(Name::Traefik));
    command.arg(format!("--configFile={}", file.display())).env("GOMAXPROCS", CORES.to_string());
    super::spawn(&mut command, job, ports)
}

fn routing(job: &Job<'_>) -> Value {
    let mut routers = Map::new();
    for (host, name) in job.site.names().enumerate() {
        for (at, path) in job.site.paths.iter().enumerate() {
            let matched = match path {
                Path::Prefix(prefix) => format!("PathPrefix(`{prefix}`)"),
                Path::Regex(regex) => format!("PathRegexp(`^{regex}$`)"),
            };
            let rule = format!("Host(`{name}`) && {matched}");
            routers.insert(
                format!("plain-{host}-{at}"),
                json!({"entryPoints": ["plain"], "rule": rule, "service": "origin"}),
            );
            if job.certificate.is_some() {
                let router = json!({"entryPoints": ["tls"], "rule": rule, "service": "origin", "tls": {}});
                routers.insert(format!("tls-{host}-{at}"), router);
            }
        }
    }
    let scheme = if job.upstream == Upstream::Http1 { "http" } else { "h2c" };
    let servers: Vec<Value> = job
        .origins
        .iter()
        .zip(WEIGHTS)
        .map(|(origin, weight)| json!({"url": format!("{scheme}://{origin}"), "weight": weight}))
        .collect();
    let mut routing = json!({
        "http": {
            "routers": routers,
            "services": {"origin": {"loadBalancer": {"servers": servers, "serversTransport": "kept"}}},
            "serversTransports": {"kept": {"maxIdleConnsPerHost": 512}},
        },
    });
    if let Some(certificate) = job.certificate {
        let files = json!({"certFile": certificate.chain, "keyFile": certificate.key});
        routing["tls"] = json!({"certificates": [files], "stores": {"default": {"defaultCertificate": files}}});
    }
    routing
}
