//! The files that the measured programs serve: routes with their Services, functions. Texts only, the same for the same numbers.

use std::{fmt::Write, fs, io, net::SocketAddr, path::Path};

/// Objects in one file: 33 routes of three objects each.
const DOCUMENTS_PER_FILE: usize = 99;
const ROUTES_PER_FILE: usize = DOCUMENTS_PER_FILE / 3;

/// The host of route `at`.
pub fn host(at: usize) -> String {
    format!("fn-{at}.default.example.com")
}

/// Writes `count` routes, each with a host, a Service and an EndpointSlice of its own.
pub fn write_routes(folder: &Path, count: usize, endpoint: SocketAddr) -> io::Result<()> {
    for (index, first) in (0..count).step_by(ROUTES_PER_FILE).enumerate() {
        let last = (first + ROUTES_PER_FILE).min(count);
        fs::write(folder.join(file_name(index)), routes(first, last, endpoint, 0))?;
    }
    Ok(())
}

fn file_name(index: usize) -> String {
    format!("routes-{index:05}.yaml")
}

/// The file of route 0, which answers `location: http://v<version>.example.com…`: what is saved to see when it is live.
pub fn edited_file(count: usize, endpoint: SocketAddr, version: usize) -> (String, String) {
    (file_name(0), routes(0, ROUTES_PER_FILE.min(count), endpoint, version))
}

fn routes(first: usize, last: usize, endpoint: SocketAddr, version: usize) -> String {
    let mut text = String::new();
    for at in first..last {
        let rule = match at {
            0 => format!(
                "  - filters: [{{type: RequestRedirect, requestRedirect: {{hostname: v{version}.example.com}}}}]\n"
            ),
            _ => format!("  - backendRefs: [{{name: fn-{at}, port: 80}}]\n"),
        };
        text.push_str(&service(&format!("fn-{at}"), endpoint));
        text.push_str(&route(&format!("fn-{at}"), &host(at), &rule));
    }
    text
}

/// A Service with one endpoint, as objects.
pub fn service(name: &str, endpoint: SocketAddr) -> String {
    let (ip, port) = (endpoint.ip(), endpoint.port());
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  ports:\n  - {{name: http, port: 80, targetPort: {port}}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-a\n  labels: {{kubernetes.io/service-name: {name}}}\n\
         addressType: IPv4\nports:\n- {{name: http, port: {port}}}\nendpoints:\n- addresses: [{ip}]\n---\n"
    )
}

/// A Service with one endpoint that speaks HTTP/2 without TLS.
pub fn http2_service(name: &str, endpoint: SocketAddr) -> String {
    service(name, endpoint).replacen("port: 80,", "port: 80, appProtocol: kubernetes.io/h2c,", 1)
}

fn route(name: &str, hosts: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  hostnames: [{hosts}]\n  rules:\n{rules}---\n"
    )
}

/// Routes of each ListenerSet.
pub const ROUTES_PER_SET: usize = 16;

/// Writes `sets` ListenerSets in each of so many namespaces, each with a listener of HTTPS for a host of its own, 16 routes by path and one Service: what `listenerset-load.sh` of
/// gateway-api-bench makes, with one certificate a namespace. All are on the first port; the Gateway's own listener, which nobody asks, is on the second.
pub fn write_listener_sets(
    folder: &Path,
    namespaces: usize,
    sets: usize,
    [port, own]: [u16; 2],
    endpoint: SocketAddr,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: infra}}\nspec:\n  gatewayClassName: headgate\n  \
         allowedListeners: {{namespaces: {{from: All}}}}\n  listeners: [{{name: own, port: {own}, protocol: HTTP}}]\n"
    );
    fs::write(folder.join("gateway.yaml"), gateway)?;
    for namespace in 0..namespaces {
        let space = space(namespace);
        let made = rcgen::generate_simple_self_signed([format!("*.{space}.example.com")]).map_err(io::Error::other)?;
        let mut text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: ns-cert, namespace: {space}}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: {:?}\n  tls.key: {:?}\n---\n",
            made.cert.pem(),
            made.signing_key.serialize_pem()
        );
        for set in 0..sets {
            text.push_str(&service_of_set(namespace, set, endpoint));
            text.push_str(&listener_set(namespace, set, port));
            for route in 0..ROUTES_PER_SET {
                text.push_str(&route_of_set(namespace, set, route, &format!("/{route}")));
            }
        }
        fs::write(folder.join(format!("{space}.yaml")), text)?;
    }
    Ok(())
}

fn space(namespace: usize) -> String {
    format!("mesh-{namespace}")
}

/// The host of a ListenerSet.
fn host_of_set(namespace: usize, set: usize) -> String {
    format!("app-{set}.{}.example.com", space(namespace))
}

/// The Service that the routes of a ListenerSet send to, with its endpoint.
pub fn service_of_set(namespace: usize, set: usize, endpoint: SocketAddr) -> String {
    let space = space(namespace);
    let service = service(&format!("app-{set}"), endpoint);
    let service = service.replace("metadata: {", &format!("metadata: {{namespace: {space}, "));
    service.replace("metadata:\n", &format!("metadata:\n  namespace: {space}\n"))
}

/// A ListenerSet.
pub fn listener_set(namespace: usize, set: usize, port: u16) -> String {
    let (space, host) = (space(namespace), host_of_set(namespace, set));
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {{name: app-{set}, namespace: {space}}}\nspec:\n  \
         parentRef: {{name: edge, namespace: infra}}\n  listeners: [{{name: app-{set}, hostname: {host}, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: ns-cert}}]}}}}]\n---\n"
    )
}

/// A route of a ListenerSet.
pub fn route_of_set(namespace: usize, set: usize, route: usize, path: &str) -> String {
    let (space, host) = (space(namespace), host_of_set(namespace, set));
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: app-{set}-{route}, namespace: {space}}}\nspec:\n  \
         parentRefs: [{{name: app-{set}, kind: ListenerSet}}]\n  hostnames: [{host}]\n  rules:\n  \
         - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    backendRefs: [{{name: app-{set}, port: 80}}]\n---\n"
    )
}

/// One route, of which the answers say `x-version: <version>`, with its backend.
pub fn versioned_route(origin: SocketAddr, version: usize) -> String {
    let rule = format!(
        "  - filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-version, value: \"{version}\"}}]}}}}]\n\
         \x20   backendRefs: [{{name: origin, port: 80}}]\n"
    );
    service("origin", origin) + &route("fn-0", &host(0), &rule)
}

/// One route of which 90 in 100 go to one Service and 10 to another, with a field set on each request.
pub fn split_route(origin: SocketAddr) -> String {
    let rule = "  - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-tier, value: gold}]}}]\n\
                \x20   backendRefs: [{name: stable, port: 80, weight: 90}, {name: canary, port: 80, weight: 10}]\n";
    service("stable", origin) + &service("canary", origin) + &route("fn-0", &host(0), rule)
}

/// One route whose requests go to all of these in equal shares.
pub fn spread_route(origins: &[SocketAddr]) -> String {
    let name = |at: usize| format!("origin-{at}");
    let services: String = origins.iter().enumerate().map(|(at, origin)| service(&name(at), *origin)).collect();
    let arms: Vec<_> = (0..origins.len()).map(|at| format!("{{name: {}, port: 80}}", name(at))).collect();
    services + &route("fn-0", &host(0), &format!("  - backendRefs: [{}]\n", arms.join(", ")))
}

/// Hosts and paths of the comparison with others.
pub const PEER_HOSTS: usize = 1_000;
/// Each host has these prefixes.
pub const PEER_PATHS: [&str; 4] = ["/orders", "/users", "/static", "/"];

/// An HTTPRoute has no more hostnames.
const HOSTS_PER_ROUTE: usize = 16;

/// Writes what peers serve too: `PEER_HOSTS` hosts with `PEER_PATHS`, all to one origin.
pub fn write_peer_routes(folder: &Path, origin: SocketAddr) -> io::Result<()> {
    write_routes_of(folder, PEER_HOSTS, &PEER_PATHS, &service("origin", origin))
}

/// Writes so many hosts with these prefixes, all to the Service `origin`, which is given as text. Up to `PEER_HOSTS` each has a route of
/// its own, as people write it; above, loading would take most of the time.
pub fn write_routes_of(folder: &Path, hosts: usize, prefixes: &[&str], service: &str) -> io::Result<()> {
    let per_route = if hosts <= PEER_HOSTS { 1 } else { HOSTS_PER_ROUTE };
    let rule = |prefix| {
        format!(
            "  - matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}]\n    backendRefs: [{{name: origin, port: 80}}]\n"
        )
    };
    let rules: String = prefixes.iter().map(rule).collect();
    fs::write(folder.join("origin.yaml"), service)?;
    let names: Vec<_> = (0..hosts).map(host).collect();
    let groups = names.chunks(per_route).enumerate();
    let routes: Vec<_> = groups.map(|(at, hosts)| route(&format!("fn-{at}"), &hosts.join(", "), &rules)).collect();
    for (index, routes) in routes.chunks(PEER_HOSTS).enumerate() {
        fs::write(folder.join(file_name(index)), routes.concat())?;
    }
    Ok(())
}

/// Writes functions `fn-0` and so on in one file, each running `command`; `settings` are annotations.
pub fn write_functions(folder: &Path, count: usize, command: &[&str], settings: &[(&str, &str)]) -> io::Result<()> {
    let annotations: Vec<_> = settings.iter().map(|(key, value)| format!("headgate.dev/{key}: {value:?}")).collect();
    let mut text = String::new();
    for at in 0..count {
        let _ = write!(
            text,
            "apiVersion: core.openfunction.io/v1beta2\nkind: Function\nmetadata:\n  name: fn-{at}\n  annotations: {{{}}}\n\
             spec:\n  version: v1\n  image: none\n  serving:\n    scaleOptions: {{minReplicas: 0, maxReplicas: 1}}\n    triggers:\n      http: {{port: 8080}}\n    template:\n\
             \x20     containers:\n      - name: function\n        command: {command:?}\n---\n",
            annotations.join(", ")
        );
    }
    fs::write(folder.join("functions.yaml"), text)
}

/// The host of function `at`.
pub fn function_host(at: usize) -> String {
    format!("fn-{at}.default.localhost")
}

/// A request for each host, over all its paths.
pub fn peer_heads() -> Vec<Vec<u8>> {
    const ASKED: [&str; 4] = ["/orders/7", "/users/42?full=1", "/static/app.js", "/"];
    (0..PEER_HOSTS).map(|at| crate::load::get(&host(at), ASKED[at % ASKED.len()])).collect()
}
