//! What many routes hold, by the allocator's own count: the whole of `run`, and a gateway that is told routes and has no objects. A process of its own, in which nothing is asked.

use headgate_config::{Backend, Certificate, CertificateName, Endpoints, Listener, Rule, Snapshot};
use headgate_controller::{
    assemble::{Ground, Known, assemble},
    sources::watch::Directory,
    standalone::{Output, Standalone},
};
use headgate_gateway::{Binding, Gateway, Hosts, Proxied, Settings, forwarded::TrustedHops, limits::Limits};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Old tables and what else is given back late is gone by then.
const SETTLE: Duration = Duration::from_secs(1);

/// Loads a folder and serves it, and writes what that holds.
pub fn run(folder: PathBuf, port: u16, told: bool, profile: &Path) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gateway = Gateway::start(Settings {
        cores: 1,
        binding: Binding { addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], unprivileged_offset: None },
        limits: Limits::default(),
        trusted: TrustedHops::default(),
        proxied: Proxied::default(),
        hosts: Hosts::default(),
        log: None,
        admin: None,
        inheritance: Default::default(),
    })?;
    let ground = Ground::standalone("localhost", port);
    let profiler = || dhat::Profiler::builder().file_name(profile).trim_backtraces(Some(64)).build();
    if told {
        let routes = Told::of(folder, &ground)?;
        let counting = profiler();
        runtime.block_on(routes.serve(&gateway))?;
        std::thread::sleep(SETTLE);
        drop(counting);
        return Ok(());
    }
    let counting = profiler();
    let directory = Directory::open(vec![folder]);
    let mut standalone = Standalone::new(ground, BTreeMap::new());
    let outputs = standalone.loaded(directory.loaded().clone(), 0);
    runtime.block_on(carry_out(&gateway, outputs));
    std::thread::sleep(SETTLE);
    drop(counting);
    drop((directory, standalone));
    Ok(())
}

async fn carry_out(gateway: &Gateway, outputs: Vec<Output>) {
    for output in outputs {
        match output {
            Output::Routes(snapshot, certificates) => drop(gateway.publish(*snapshot, by_name(certificates)).await),
            Output::Endpoints(endpoints) => gateway.set_endpoints(&endpoints),
            _ => {}
        }
    }
}

fn by_name(certificates: Vec<Certificate>) -> Arc<BTreeMap<CertificateName, Certificate>> {
    Arc::new(certificates.into_iter().map(|one| (one.name.clone(), one)).collect())
}

/// Routes as a stream brings them: every name a text of its own.
struct Told(Vec<u8>);

#[derive(Serialize, Deserialize)]
struct Pieces {
    listeners: Vec<Arc<Listener>>,
    rules: Vec<Arc<Rule>>,
    backends: Vec<Arc<Backend>>,
    endpoints: Vec<Arc<Endpoints>>,
}

impl Told {
    fn of(folder: PathBuf, ground: &Ground) -> io::Result<Self> {
        let directory = Directory::open(vec![folder]);
        let translation = assemble(directory.loaded(), &Known::default(), ground, 0).translation;
        let pieces = Pieces {
            listeners: translation.snapshot.listeners.values().cloned().collect(),
            rules: translation.snapshot.rules.values().cloned().collect(),
            backends: translation.snapshot.backends.values().cloned().collect(),
            endpoints: translation.endpoints.values().cloned().collect(),
        };
        Ok(Self(serde_json::to_vec(&pieces)?))
    }

    async fn serve(self, gateway: &Gateway) -> io::Result<()> {
        // as the stream reads them: lists come with their lengths
        let value: serde_json::Value = serde_json::from_slice(&self.0)?;
        drop(self);
        let pieces = Pieces::deserialize(&value)?;
        drop(value);
        let mut snapshot = Snapshot::default();
        pieces.listeners.into_iter().for_each(|listener| snapshot.insert_listener(listener));
        pieces.rules.into_iter().for_each(|rule| snapshot.insert_rule(rule));
        pieces.backends.into_iter().for_each(|backend| snapshot.insert_backend(backend));
        gateway.publish(snapshot, by_name(Vec::new())).await;
        pieces.endpoints.iter().for_each(|endpoints| gateway.set_endpoints(endpoints));
        Ok(())
    }
}
