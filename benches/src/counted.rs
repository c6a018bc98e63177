//! The gateway as a library under an allocator that counts, in a process of its own: told by lines on standard input when to count and when to stop. It counts nothing but itself.

use headgate_controller::{
    assemble::{Assembly, Ground, Known, assemble},
    sources::{directory::Loaded, watch::Directory},
};
use headgate_gateway::{Binding, Gateway, Settings, forwarded::TrustedHops, limits::Limits, telemetry::LogSink};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Serves a folder on a port with one core and an access log; prints `ready`, then answers each line it reads.
pub fn run(folder: PathBuf, port: u16, log: &Path, profile: &Path) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limits = Limits::default();
    let log = LogSink { sink: Box::new(File::create(log)?), json: true, bytes_max: limits.log_bytes };
    let gateway = Gateway::start(Settings {
        cores: 1,
        binding: Binding { addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], unprivileged_offset: None },
        limits,
        trusted: TrustedHops::default(),
        log: Some(log),
        admin: None,
    })?;
    let directory = Directory::open(vec![folder]);
    runtime.block_on(publish(&gateway, directory.loaded(), port))?;
    drop(directory);
    println!("ready");
    let mut profiler = None;
    for line in io::stdin().lock().lines() {
        match line?.as_str() {
            "count" => profiler = Some(dhat::Profiler::builder().file_name(profile).trim_backtraces(Some(64)).build()),
            "stop" => {
                let blocks = dhat::HeapStats::get().total_blocks;
                drop(profiler.take());
                println!("{blocks}");
                continue;
            }
            other => return Err(io::Error::other(format!("{other:?} is no command: write count or stop"))),
        }
        println!("counting");
    }
    Ok(())
}

async fn publish(gateway: &Gateway, loaded: &Loaded, port: u16) -> io::Result<()> {
    let Assembly { translation, .. } = assemble(loaded, &Known::default(), &Ground::standalone("localhost", port), 0);
    let certificates: BTreeMap<_, _> =
        translation.certificates.into_iter().map(|certificate| (certificate.name.clone(), certificate)).collect();
    let published = gateway.publish(translation.snapshot, Arc::new(certificates)).await;
    translation.endpoints.iter().for_each(|endpoints| gateway.set_endpoints(endpoints));
    match published.problems.first() {
        Some(problem) => Err(io::Error::other(problem.clone())),
        None => Ok(()),
    }
}
