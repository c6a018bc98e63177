//! Headgate as it is run from a folder: a Gateway, one HTTPRoute a host, a Service for each endpoint with its weight.

use super::{CORES, Held, Job, Ports, RETRIED, RETRIES, Running, Upstream, WEIGHTS};
use crate::{
    Plan, objects,
    process::{Gateway, Options},
    site::{FIELD, Rule},
};
use std::{fmt::Write as _, fs, io};

/// An HTTPRoute has no more rules, and no more hostnames.
const PER_ROUTE: usize = 16;
/// Below this each host has a route of its own, as people write it; above it loading would take most of the time.
const HOSTS_OF_THEIR_OWN: usize = 1_000;

pub(super) fn start(plan: &Plan, job: &Job<'_>) -> io::Result<Running> {
    let ports = Ports::free_with_h2c_on_the_same()?;
    let routes = job.folder.join("routes");
    fs::create_dir_all(&routes)?;
    fs::write(routes.join("gateway.yaml"), gateway(job, ports)?)?;
    for (at, text) in routes_of(job).into_iter().enumerate() {
        fs::write(routes.join(format!("routes-{at:05}.yaml")), text)?;
    }
    let gateway = Gateway::start(&Options {
        program: plan.headgate()?,
        folder: routes,
        cores: Some(CORES),
        log: Some(job.folder.join("access.log")),
        ..Options::default()
    })?;
    Ok(Running { held: Held::Gateway(gateway), ports })
}

fn gateway(job: &Job<'_>, ports: Ports) -> io::Result<String> {
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  gatewayClassName: headgate\n  listeners:\n  \
         - {{name: http, port: {}, protocol: HTTP}}\n",
        ports.http1.port()
    );
    if let Some(certificate) = job.certificate {
        let (chain, key) = (fs::read_to_string(&certificate.chain)?, fs::read_to_string(&certificate.key)?);
        let _ = write!(
            text,
            "  - {{name: https, port: {}, protocol: HTTPS, tls: {{certificateRefs: [{{name: edge}}]}}}}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: edge}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: {chain:?}\n  tls.key: {key:?}\n",
            ports.tls.port()
        );
    }
    let mirror = job.mirror.map(|mirror| ("mirror", mirror));
    for (name, origin) in ["stable", "canary"].into_iter().zip(job.origins).chain(mirror) {
        let service = match job.upstream {
            Upstream::Http1 => objects::service(name, origin),
            Upstream::H2c | Upstream::Grpc => objects::http2_service(name, origin),
        };
        text.push_str("---\n");
        text.push_str(service.trim_end_matches("---\n"));
    }
    Ok(text)
}

/// Texts of files.
fn routes_of(job: &Job<'_>) -> Vec<String> {
    let names: Vec<_> = job.site.names().collect();
    let hosts_each = if names.len() <= HOSTS_OF_THEIR_OWN { 1 } else { PER_ROUTE };
    let rules: Vec<String> =
        job.site.rules.chunks(PER_ROUTE).map(|rules| rules.iter().map(|rule| rule_of(rule, job)).collect()).collect();
    let mut routes = Vec::new();
    for (group, hosts) in names.chunks(hosts_each).enumerate() {
        for (part, rules) in rules.iter().enumerate() {
            routes.push(format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: route-{group}-{part}}}\nspec:\n  parentRefs: [{{name: edge}}]\n  \
                 hostnames: [{}]\n  rules:\n{rules}---\n",
                hosts.join(", ")
            ));
        }
    }
    routes.chunks(100).map(<[String]>::concat).collect()
}

fn rule_of(rule: &Rule, job: &Job<'_>) -> String {
    let matched = match rule {
        Rule::Prefix(value) => format!("path: {{type: PathPrefix, value: {value:?}}}"),
        Rule::Regex(value) => format!("path: {{type: RegularExpression, value: {value:?}}}"),
        Rule::Field(value) => format!("headers: [{{name: {FIELD}, value: {value:?}}}]"),
    };
    let [stable, canary] = WEIGHTS;
    let mut text = format!(
        "  - matches: [{{{matched}}}]\n    \
         backendRefs: [{{name: stable, port: 80, weight: {stable}}}, {{name: canary, port: 80, weight: {canary}}}]\n"
    );
    if job.retries {
        let _ = writeln!(text, "    retry: {{attempts: {RETRIES}, codes: [{RETRIED}]}}");
    }
    if job.mirror.is_some() {
        text.push_str("    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: mirror, port: 80}}}]\n");
    }
    text
}
