//! Traefik by its file provider: a router a host and rule, one service with weighted servers, a buffered JSON access log. Its TLS port has routers of its own.

use super::{CORES, Job, Name, Ports, RETRIES, Running, Upstream, WEIGHTS};
use crate::site::{FIELD, Rule};
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
    let service = if job.mirror.is_some() { "mirrored" } else { "origin" };
    let middlewares: &[&str] = if job.retries { &["retry"] } else { &[] };
    for (host, name) in job.site.names().enumerate() {
        for (at, rule) in job.site.rules.iter().enumerate() {
            let matched = match rule {
                Rule::Prefix(prefix) => format!("PathPrefix(`{prefix}`)"),
                Rule::Regex(regex) => format!("PathRegexp(`^{regex}$`)"),
                Rule::Field(value) => format!("Header(`{FIELD}`, `{value}`)"),
            };
            let rule = format!("Host(`{name}`) && {matched}");
            let router =
                |entry| json!({"entryPoints": [entry], "rule": rule, "service": service, "middlewares": middlewares});
            routers.insert(format!("plain-{host}-{at}"), router("plain"));
            if job.certificate.is_some() {
                let mut router = router("tls");
                router["tls"] = json!({});
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
    let balanced = |servers: Vec<Value>| json!({"loadBalancer": {"servers": servers, "serversTransport": "kept"}});
    let mut services = json!({"origin": balanced(servers)});
    if let Some(mirror) = job.mirror {
        services["mirror"] = balanced(vec![json!({"url": format!("{scheme}://{mirror}")})]);
        services["mirrored"] =
            json!({"mirroring": {"service": "origin", "mirrors": [{"name": "mirror", "percent": 100}]}});
    }
    let mut routing = json!({
        "http": {
            "routers": routers,
            "services": services,
            "serversTransports": {"kept": {"maxIdleConnsPerHost": 512}},
        },
    });
    if job.retries {
        // it counts the first try too; told statuses as well, it costs four times as much
        let retry = json!({"attempts": RETRIES + 1});
        routing["http"]["middlewares"] = json!({"retry": {"retry": retry}});
    }
    if let Some(certificate) = job.certificate {
        let files = json!({"certFile": certificate.chain, "keyFile": certificate.key});
        routing["tls"] = json!({"certificates": [files], "stores": {"default": {"defaultCertificate": files}}});
    }
    routing
}
