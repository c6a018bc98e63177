//! A gateway and everything around it: applications, proxies before some of them, functions, the files that it serves. It starts and changes them, and sends nothing itself.

use crate::{
    ask::answer,
    ledger::Ledger,
    log::{self, Tally},
};
use headgate_e2e::{
    Authority, Function, H2Origin, Headgate, Origin, Proxy, Request, arrivals, backend, free_port, route, rules, until,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};
use tempfile::TempDir;

/// The split by weights, in plain and over TLS.
pub const APP: &str = "app.localhost";
/// An application of HTTP/1.1 with two endpoints, each behind a proxy.
pub const TOXIC: &str = "toxic.localhost";
/// One of HTTP/2, behind a proxy.
pub const TOXIC_HTTP2: &str = "toxic-http2.localhost";
/// The function that starts from zero.
pub const COLD: &str = "cold.localhost";
/// The function whose processes are killed.
pub const VICTIM: &str = "victim.localhost";
/// The function that speaks WebSocket.
pub const TALK: &str = "talk.localhost";
/// The function that speaks gRPC.
pub const RPC: &str = "rpc.localhost";

/// The Services of the split.
pub const SERVICES: [&str; 2] = ["app-a", "app-b"];

/// Where clients go.
#[derive(Clone)]
pub struct Place {
    /// HTTP without TLS.
    pub plain: SocketAddr,
    /// With TLS.
    pub tls: SocketAddr,
    /// Who issues the certificates there.
    pub authority: Arc<Authority>,
}

/// All of it.
pub struct World {
    /// The gateway.
    pub headgate: Headgate,
    /// Where clients go.
    pub place: Place,
    /// The proxies before the toxic applications.
    pub proxies: Vec<Proxy>,
    /// What clients and applications tell.
    pub ledger: Arc<Ledger>,
    services: Mutex<[Vec<Origin>; SERVICES.len()]>,
    toxic: Vec<Origin>,
    toxic_http2: H2Origin,
    home: TempDir,
    log: Option<JoinHandle<Tally>>,
}

/// An HTTPRoute of the Gateway.
fn attached(route: &str) -> String {
    route.replacen("spec:\n", "spec:\n  parentRefs: [{name: edge}]\n", 1)
}

fn weights(a: u32, b: u32) -> String {
    attached(&route("app", APP, &[(SERVICES[0], a), (SERVICES[1], b)]))
}

/// A route to one Service, with a limit.
fn limited(name: &str, host: &str) -> String {
    let rule = format!("  - backendRefs: [{{name: {name}, port: 80}}]\n    timeouts: {{request: 5s}}\n");
    attached(&rules(name, host, &rule))
}

fn gateway(plain: u16, tls: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: edge\nspec:\n  gatewayClassName: any\n  \
         listeners:\n  - {{name: plain, port: {plain}, protocol: HTTP}}\n  \
         - {{name: tls, port: {tls}, protocol: HTTPS, hostname: {APP}, tls: {{certificateRefs: [{{name: app}}]}}}}\n"
    )
}

/// The application of functions, which idles no longer than this.
fn function(name: &str) -> Function {
    Function::named(name)
        .command(&[env!("CARGO_BIN_EXE_app"), name])
        .annotation("headgate.dev/window", "2s")
        .annotation("headgate.dev/idle", "2s")
}

/// One of the program's own, which always runs.
fn always(name: &str, protocol: &str) -> Function {
    Function::named(name).annotation("headgate.dev/protocol", protocol).replicas(1, 1)
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(|origin| origin.address).collect()
}

async fn origins(count: usize) -> Vec<Origin> {
    let mut origins = Vec::new();
    for _ in 0..count {
        origins.push(Origin::start(answer).await);
    }
    origins
}

impl World {
    /// Starts it, and waits until what always runs does.
    pub async fn start(ledger: Arc<Ledger>) -> Self {
        let (home, authority) = (tempfile::tempdir().unwrap(), Arc::new(Authority::default()));
        let [plain, tls] = [free_port(), free_port()];
        let services = [origins(2).await, origins(2).await];
        let (toxic, toxic_http2) = (origins(2).await, H2Origin::start().await);
        let mut proxies = Vec::new();
        for address in addresses(&toxic).into_iter().chain([toxic_http2.address]) {
            proxies.push(Proxy::before(address).await);
        }
        let told = |name: &str| home.path().join(format!("arrivals-{name}")).display().to_string();
        let files = [
            ("edge.yaml", gateway(plain, tls)),
            ("secret.yaml", authority.secret("app", &[APP])),
            ("app-a.yaml", backend(SERVICES[0], None, &addresses(&services[0]))),
            ("app-b.yaml", backend(SERVICES[1], None, &addresses(&services[1]))),
            ("app.yaml", weights(1, 1)),
            ("toxic.yaml", backend("toxic", None, &[proxies[0].address, proxies[1].address])),
            ("toxic-route.yaml", limited("toxic", TOXIC)),
            ("toxic-http2.yaml", backend("toxic-http2", Some("kubernetes.io/h2c"), &[proxies[2].address])),
            ("toxic-http2-route.yaml", limited("toxic-http2", TOXIC_HTTP2)),
            ("cold.yaml", function("cold").replicas(0, 3).env("LOG", told("cold")).to_string()),
            ("cold-route.yaml", attached(&route("cold", COLD, &[("cold", 1)]))),
            (
                "victim.yaml",
                function("victim").replicas(0, 2).env("LOG", told("victim")).env("HOLD_MS", 100).to_string(),
            ),
            ("victim-route.yaml", attached(&route("victim", VICTIM, &[("victim", 1)]))),
            ("talk.yaml", always("talk", "http1").to_string()),
            ("talk-route.yaml", attached(&route("talk", TALK, &[("talk", 1)]))),
            ("rpc.yaml", always("rpc", "h2c").to_string()),
            ("rpc-route.yaml", attached(&route("rpc", RPC, &[("rpc", 1)]))),
        ];
        let pipe = home.path().join("access.pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let log = log::read(&pipe);
        let flags = ["--log-format", "json", "--access-log", pipe.to_str().unwrap()];
        let headgate = Headgate::run_with(&flags, &files).await;
        let ready = async || headgate.metric("headgate_backend_endpoints_ready", "").await;
        // two of each Service, the proxies, and the two functions that always run
        until("everything", async || ready().await >= 4.0 + 3.0 + 2.0).await;
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let place = Place { plain: at(plain), tls: at(tls), authority };
        let services = Mutex::new(services);
        Self { headgate, place, proxies, ledger, services, toxic, toxic_http2, home, log: Some(log) }
    }

    /// Saves other weights for the split.
    pub fn weigh(&self, a: u32, b: u32) {
        self.headgate.save("app.yaml", &weights(a, b));
    }

    /// Saves what is no route.
    pub fn spoil(&self) {
        self.headgate.save("app.yaml", &weights(1, 1).replace("port: 80", "port: eighty"));
    }

    /// Saves a new certificate.
    pub fn certify(&self) {
        self.headgate.save("secret.yaml", &self.place.authority.secret("app", &[APP]));
    }

    /// Replaces an endpoint of a Service of the split by a new one, as a rolling update does: the old one ends when nothing comes any more.
    pub async fn replace(&self, service: usize) {
        let new = Origin::start(answer).await;
        let old = {
            let mut services = self.services.lock().unwrap();
            let origins = &mut services[service];
            origins.push(new);
            let old = origins.remove(0);
            let file = format!("{}.yaml", SERVICES[service]);
            self.headgate.save(&file, &backend(SERVICES[service], None, &addresses(origins)));
            old
        };
        if !self.falls_silent(&old).await {
            self.ledger.fault(format!("an endpoint of {} is removed and still gets requests", SERVICES[service]));
        }
    }

    async fn falls_silent(&self, old: &Origin) -> bool {
        /// So long without a request is silence, since there are many each second.
        const SILENCE: u32 = 10;
        let mut silent = 0;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            silent = if self.book(old) == 0 { silent + 1 } else { 0 };
            if silent == SILENCE {
                return true;
            }
        }
        false
    }

    /// Adds a function with a route, under a name of its own.
    pub fn add(&self, name: &str) {
        self.headgate.save(&format!("{name}.yaml"), &function(name).replicas(0, 1).to_string());
        self.headgate
            .save(&format!("{name}-route.yaml"), &attached(&route(name, &format!("{name}.localhost"), &[(name, 1)])));
    }

    /// Removes it.
    pub fn remove(&self, name: &str) {
        for file in [format!("{name}-route.yaml"), format!("{name}.yaml")] {
            let _ = std::fs::remove_file(self.headgate.files.join(file));
        }
    }

    /// Kills one process of the victim; whether there was one.
    pub fn kill(&self) -> bool {
        let own = self.headgate.id();
        let processes = self.headgate.processes();
        let is_victim = |line: &str| line.starts_with(env!("CARGO_BIN_EXE_app")) && line.ends_with(" victim");
        let victim = processes.iter().find(|(id, line)| **id != own && is_victim(line));
        victim.is_some_and(|(id, _)| kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL).is_ok())
    }

    /// Heals all proxies.
    pub fn heal(&self) {
        self.proxies.iter().for_each(|proxy| proxy.poison(None));
    }

    /// Books what reached applications since the last time.
    pub fn collect(&self) {
        let services = self.services.lock().unwrap();
        for origin in services.iter().flatten().chain(&self.toxic) {
            self.book(origin);
        }
        self.book_posts(&self.toxic_http2.take());
    }

    /// Books what reached one application; says how many requests.
    fn book(&self, origin: &Origin) -> usize {
        let taken = origin.take();
        self.book_posts(&taken.whole);
        self.book_posts(&taken.unfinished);
        taken
            .malformed
            .iter()
            .for_each(|what| self.ledger.fault(format!("an application got what is no HTTP: {what}")));
        taken.whole.len() + taken.unfinished.len()
    }

    fn book_posts(&self, requests: &[Request]) {
        let posts = requests.iter().filter(|request| request.method == "POST");
        posts.filter_map(|post| post.field("x-order")?.parse().ok()).for_each(|number| self.ledger.arrived(number));
    }

    /// Books what functions wrote down.
    pub fn collect_functions(&self) {
        for name in ["cold", "victim"] {
            let arrivals = arrivals(&self.home.path().join(format!("arrivals-{name}")));
            arrivals.iter().filter(|one| one.order > 0).for_each(|one| self.ledger.arrived(one.order));
            let broken = arrivals.iter().filter(|one| !one.intact && one.order > 0).count();
            if broken > 0 && name == "cold" {
                self.ledger.say(&format!("{broken} POSTs to {name} were left by their clients"));
            }
        }
    }

    /// Ends the gateway as Ctrl-C does; its log, whether it ended well, and its words on a panic.
    pub async fn end(mut self) -> (Tally, bool, Vec<String>) {
        self.headgate.signal(Signal::SIGINT);
        let status = self.headgate.exit().await;
        let output = self.headgate.output();
        let well = status.success() && output.iter().any(|line| line.contains("every request was answered"));
        let panics = output.into_iter().filter(|line| line.contains("panick")).collect();
        let log = self.log.take().expect("it is taken once").join().unwrap();
        (log, well, panics)
    }
}
