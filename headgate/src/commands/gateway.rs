//! `gateway`: the data plane of one Gateway in a cluster, told by its controllers what to serve. It has no rights in the cluster, and serves on without them.

use crate::{exit, serve_args::ServeArgs};
use headgate_config::{BackendName, Demand, EndpointCount, Endpoints, GatewayName, Snapshot};
use headgate_gateway::{Binding, Gateway, telemetry::LogFormat};
use headgate_stream::{Certificates, Following, Pace, Serve};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

/// Serve one Gateway of a cluster, as its controllers say.
///
/// Made for the Pods that `headgate controller` provides. Listens on the ports of the Gateway's listeners; serves the last routes
/// that it had while no controller answers.
#[derive(clap::Args)]
pub struct Args {
    /// The Gateway to serve.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    gateway: String,
    /// Where its controllers are.
    #[arg(long, value_name = "HOST:PORT")]
    controller: String,
    /// File with the authorities of the controllers' certificates, in PEM.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// File with the token to show to controllers.
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// Name of this Pod.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod: String,
    /// Folder, in memory, where the last routes are kept for a restart; never keys.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where metrics, health and routes are shown.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9901")]
    admin: SocketAddr,
    /// How long it goes on accepting after it was asked to stop: Services take a while to notice.
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
    let settings = args.serve.settings(binding, Some(args.admin), log_format)?;
    let gateway = Gateway::start(settings).map_err(|error| format!("--admin {}: {error}", args.admin))?;
    let plane = Plane { gateway, scaled: Mutex::default() };
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut following = std::pin::pin!(headgate_stream::follow(following, &plane));
    tokio::select! {
        () = &mut following => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining: what runs and what waits may end");
    plane.gateway.set_ready(false);
    // routes and endpoints still matter to what waits and to what comes
    let stop = async {
        tokio::time::sleep(Duration::from_secs(args.shutdown_delay)).await;
        plane.gateway.drain(grace).await
    };
    let cut = tokio::select! {
        cut = stop => cut,
        () = &mut following => 0,
        _ = interrupt.recv() => {
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

/// The data plane, and which of its backends scale.
struct Plane {
    gateway: Gateway,
    /// By scale target.
    scaled: Mutex<BTreeMap<String, Vec<BackendName>>>,
}

impl Serve for Plane {
    async fn publish(&self, snapshot: Snapshot, certificates: Arc<Certificates>) -> Vec<String> {
        let mut scaled: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
        for backend in snapshot.backends.values() {
            if let Some(target) = &backend.scales {
                scaled.entry(target.clone()).or_default().push(backend.name.clone());
            }
        }
        *self.scaled.lock().unwrap_or_else(PoisonError::into_inner) = scaled;
        self.gateway.publish(snapshot, certificates).await.problems
    }

    fn endpoints(&self, endpoints: &Endpoints) {
        self.gateway.set_endpoints(endpoints);
    }

    fn demand(&self) -> Vec<Demand> {
        let scaled = self.scaled.lock().unwrap_or_else(PoisonError::into_inner);
        if scaled.is_empty() {
            return Vec::new();
        }
        let leased = self.gateway.board().read(Instant::now());
        let is_leased = |target: &str| leased.iter().any(|one| one.leased && &*one.target == target);
        scaled.iter().map(|(target, backends)| self.count(target, backends, is_leased(target))).collect()
    }
}

impl Plane {
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
