//! `gateway`: the data plane of one Gateway in a cluster, told by its controllers what to serve. It has no rights in the cluster, and serves on without them.

use crate::{exit, interrupts::Interrupts, serve_args::ServeArgs};
use headgate_config::{Backend, BackendName, ByName, Demand, EndpointCount, Endpoints, GatewayName, Snapshot};
use headgate_gateway::{Binding, Gateway, Hosts, backend::ColdStart, telemetry::LogFormat};
use headgate_stream::{Certificates, Following, Pace, Serve};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Serve one Gateway of a cluster, as its controllers say.
///
/// Made for the Pods that `headgate controller` provides. Listens on the ports of the Gateway's listeners; serves the last routes
/// that it had while no controller answers.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  headgate gateway --gateway default/web --controller headgate-controller.headgate-system.svc:9902 \\\n      --ca ca.crt --token token --pod web-1 --state /run/headgate"
)]
pub struct Args {
    /// The Gateway to serve.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    gateway: String,
    /// Where its controllers are; several with commas between them.
    #[arg(long, value_name = "HOST:PORT")]
    controller: String,
    /// File with the authorities of the controllers' certificates, in PEM.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// File with the token to show to controllers.
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// Name of this Pod.
    #[arg(long, env = "POD_NAME", hide_env_values = true, value_name = "NAME")]
    pod: String,
    /// Folder, in memory, where the last routes are kept for a restart; never keys.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where metrics, health and routes are shown.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9901")]
    admin: SocketAddr,
    /// How long it goes on accepting after it was asked to stop: Services take a while to notice. Not if its Gateway is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    shutdown_delay: u64,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Serves until it is stopped.
pub fn run(args: Args, log_format: LogFormat) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(exit::PROBLEMS, &format!("no runtime: {error}"), ""),
    };
    match runtime.block_on(serve(args, log_format)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => exit::fail(exit::USAGE, &why, ""),
    }
}

async fn serve(args: Args, log_format: LogFormat) -> Result<(), String> {
    let (namespace, name) =
        args.gateway.split_once('/').ok_or_else(|| format!("--gateway {}: write namespace/name", args.gateway))?;
    let following = Following {
        gateway: GatewayName { namespace: namespace.into(), name: name.into() },
        pod: args.pod,
        controller: args.controller,
        authority: args.ca,
        token: args.token,
        state: args.state,
        program: env!("CARGO_PKG_VERSION").into(),
        pace: Pace::default(),
    };
    let grace = args.serve.limits.limits.drain_grace;
    let binding = Binding { addresses: addresses(), unprivileged_offset: None };
    let mut settings = args.serve.settings(binding, Some(args.admin), log_format)?;
    settings.hosts = Hosts::Outside;
    let gateway = Gateway::start(settings).map_err(|error| format!("--admin {}: {error}", args.admin))?;
    let admin = gateway.admin().map(tracing::field::display);
    tracing::info!(admin, gateway = args.gateway, "waiting for routes");
    let plane = Plane { gateway, targets: Mutex::default(), orphaned: watch::Sender::new(false) };
    let mut interrupts = Interrupts::new()?;
    let mut following = std::pin::pin!(live(following, &plane));
    tokio::select! {
        () = &mut following => {}
        () = interrupts.next() => {}
    }
    tracing::info!("draining: what runs and what waits may end");
    plane.gateway.leave();
    // routes and endpoints still matter to what waits and to what comes
    let stop = async {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.shutdown_delay)) => {}
            () = plane.is_orphaned() => {}
        }
        plane.gateway.drain(grace).await
    };
    let cut = tokio::select! {
        cut = stop => cut,
        () = &mut following => 0,
        () = interrupts.next_of_person() => {
            tracing::warn!("stopped at once");
            return Ok(());
        }
    };
    tracing::info!(cut, "stopped");
    Ok(())
}

/// All addresses of this machine, of both families where there are both.
fn addresses() -> Vec<IpAddr> {
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let has_v6 = TcpListener::bind((v6, 0)).is_ok();
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED)].into_iter().chain(has_v6.then_some(v6)).collect()
}

/// A gateway that has its last routes and no key waits so long for a controller before it takes traffic: then what needs no key is
/// better than nothing.
const KEYS_WAIT: Duration = Duration::from_secs(10);

/// Follows the controllers, and tells of cold starts.
async fn live(following: Following, plane: &Plane) {
    let keys = async {
        tokio::time::sleep(KEYS_WAIT).await;
        plane.gateway.lack(false);
        std::future::pending().await
    };
    let cold_starts = async {
        loop {
            plane.gateway.cold_started().await;
            plane.gateway.take_cold_starts().iter().for_each(tell_cold_start);
        }
    };
    tokio::select! {
        () = headgate_stream::follow(following, plane) => {}
        () = cold_starts => {}
        () = keys => {}
    }
}

fn tell_cold_start(start: &ColdStart) {
    let ms = |time: Duration| time.as_millis() as u64;
    tracing::info!(
        backend = %start.backend,
        ready_ms = ms(start.ready),
        first_byte_ms = start.first_byte.map(ms),
        held = start.held,
        "cold start"
    );
}

/// The data plane, and which of its backends scale.
struct Plane {
    gateway: Gateway,
    targets: Mutex<Targets>,
    /// Whether its Gateway is gone.
    orphaned: watch::Sender<bool>,
}

/// The scale targets, and their backends.
#[derive(Default)]
struct Targets {
    /// Those of the routes that are live.
    seen: OrdMap<ByName<Backend>, Arc<Backend>>,
    backends: BTreeMap<String, Vec<BackendName>>,
    /// Backends that no route names any more: they are counted until their requests are over.
    retired: BTreeMap<BackendName, String>,
    /// Those of which the last count was not nothing.
    awake: BTreeSet<String>,
}

impl Serve for Plane {
    async fn publish(&self, snapshot: Snapshot, certificates: Arc<Certificates>) -> Vec<String> {
        self.orphaned.send_replace(false);
        self.targets().replace(&snapshot);
        let problems = self.gateway.publish(snapshot, certificates).await.problems;
        self.gateway.lack(false);
        problems
    }

    fn orphaned(&self) {
        self.orphaned.send_replace(true);
    }

    async fn restore(&self, snapshot: Snapshot) {
        self.gateway.lack(snapshot.certificates().next().is_some());
        self.targets().replace(&snapshot);
        self.gateway.publish(snapshot, Arc::default()).await;
    }

    fn endpoints(&self, endpoints: &Endpoints) {
        self.gateway.set_endpoints(endpoints);
    }

    fn demand(&self, whole: bool) -> Vec<Demand> {
        let mut targets = self.targets();
        targets.forget(|name| self.gateway.registry().get(name).is_none_or(|backend| backend.is_idle()));
        let Targets { backends, awake, .. } = &mut *targets;
        if backends.is_empty() {
            return Vec::new();
        }
        let read = self.gateway.board().read(Instant::now());
        let demanded: BTreeMap<&str, bool> =
            read.iter().filter(|one| one.total() > 0).map(|one| (&*one.target, one.leased)).collect();
        let is_counted = |target: &str| whole || awake.contains(target) || demanded.contains_key(target);
        let counted = backends.iter().filter(|(target, _)| is_counted(target));
        let leased = |target: &str| demanded.get(target).is_some_and(|leased| *leased);
        let counts: Vec<Demand> = counted.map(|(target, names)| self.count(target, names, leased(target))).collect();
        // once more, so that the last word on a target is that nothing is left
        *awake = counts.iter().filter(|one| is_awake(one)).map(|one| one.target.clone()).collect();
        counts
    }

    async fn stirred(&self) {
        self.gateway.board().changed().await;
    }
}

impl Targets {
    /// Other routes are live; costs as much as differs.
    fn replace(&mut self, snapshot: &Snapshot) {
        let before = std::mem::replace(&mut self.seen, snapshot.backends.clone());
        for item in before.diff(&snapshot.backends) {
            match item {
                DiffItem::Add(_, new) => self.put(new),
                DiffItem::Update { old: (_, old), new: (_, new) } if old.scales != new.scales => {
                    old.scales.iter().for_each(|target| self.take_out(&old.name, target));
                    self.put(new);
                }
                DiffItem::Update { .. } => {}
                DiffItem::Remove(_, old) => {
                    self.retired.extend(old.scales.as_ref().map(|target| (old.name.clone(), target.to_string())));
                }
            }
        }
    }

    fn put(&mut self, backend: &Backend) {
        if let Some(before) = self.retired.remove(&backend.name) {
            self.take_out(&backend.name, &before);
        }
        if let Some(target) = &backend.scales {
            self.backends.entry(target.to_string()).or_default().push(backend.name.clone());
        }
    }

    fn take_out(&mut self, gone: &BackendName, target: &str) {
        let Some(names) = self.backends.get_mut(target) else { return };
        names.retain(|name| name != gone);
        if names.is_empty() {
            self.backends.remove(target);
        }
    }

    /// Forgets what is retired and idle.
    fn forget(&mut self, is_idle: impl Fn(&BackendName) -> bool) {
        let (gone, busy) = std::mem::take(&mut self.retired).into_iter().partition(|(name, _)| is_idle(name));
        self.retired = busy;
        let gone: BTreeMap<BackendName, String> = gone;
        gone.iter().for_each(|(name, target)| self.take_out(name, target));
    }
}

fn is_awake(demand: &Demand) -> bool {
    demand.leased || demand.in_flight + demand.queued > 0
}

impl Plane {
    async fn is_orphaned(&self) {
        // the sender lives as long as this
        let _ = self.orphaned.subscribe().wait_for(|orphaned| *orphaned).await;
    }

    fn targets(&self) -> MutexGuard<'_, Targets> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, target: &str, backends: &[BackendName], leased: bool) -> Demand {
        let mut demand = Demand { target: target.to_owned(), leased, ..Demand::default() };
        for name in backends {
            let Some(backend) = self.gateway.registry().get(name) else { continue };
            let report = backend.report();
            demand.in_flight += report.in_flight();
            demand.queued += report.queued as u64;
            demand.arrivals += self.gateway.requests_to(name) + report.in_flight() + report.queued as u64;
            demand.endpoints.extend(report.endpoints.iter().map(|endpoint| EndpointCount {
                address: endpoint.address,
                in_flight: u64::from(endpoint.in_flight),
                ready: endpoint.ready,
            }));
        }
        demand
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_config::{BackendProtocol, QueueBounds, Wait};

    fn snapshot(services: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for service in services {
            snapshot.insert_backend(Arc::new(Backend {
                name: name(service),
                protocol: BackendProtocol::Http1,
                hostname: None,
                tls: None,
                proxy_protocol: None,
                concurrency: 0,
                queue: QueueBounds::default(),
                scales: Some("a/f".into()),
                wait: Wait::default(),
                retries: None,
            }));
        }
        snapshot
    }

    fn name(service: &str) -> BackendName {
        BackendName::tcp("a", service, 80)
    }

    #[test]
    fn a_backend_whose_routes_are_gone_is_counted_until_it_is_idle() {
        let mut targets = Targets::default();
        targets.replace(&snapshot(&["x", "y"]));
        targets.replace(&snapshot(&["y"]));
        targets.forget(|_| false);
        assert_eq!(targets.backends["a/f"], [name("x"), name("y")]);
        targets.forget(|gone| *gone == name("x"));
        assert_eq!(targets.backends["a/f"], [name("y")]);
        targets.replace(&snapshot(&[]));
        targets.forget(|_| true);
        assert!(targets.backends.is_empty());
    }
}
