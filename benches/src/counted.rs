//! The gateway as a library under an allocator that counts, in a process of its own: told by lines on standard input when to count and when to stop. It counts nothing but itself.

use crate::process::{self, Process};
use headgate_controller::{
    assemble::{Assembly, Ground, Known, assemble},
    sources::{directory::Loaded, watch::Directory},
};
use headgate_gateway::{
    Binding, Gateway, Hosts, Proxied, Settings, forwarded::TrustedHops, limits::Limits, telemetry::LogSink,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
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
        proxied: Proxied::default(),
        hosts: Hosts::default(),
        log: Some(log),
        admin: None,
        inheritance: Default::default(),
    })?;
    let directory = Directory::open(vec![folder]);
    runtime.block_on(publish(&gateway, directory.loaded(), port))?;
    drop(directory);
    println!("ready");
    let mut profiler = None;
    let mut input = io::stdin().lock();
    // it has room from the start: what is counted is the gateway's
    let mut line = String::with_capacity(64);
    while input.read_line(&mut line)? > 0 {
        match line.trim() {
            "count" => profiler = Some(dhat::Profiler::builder().file_name(profile).trim_backtraces(Some(64)).build()),
            "stop" => drop(profiler.take()),
            other => return Err(io::Error::other(format!("{other:?} is no command: write count or stop"))),
        }
        println!("done");
        line.clear();
    }
    Ok(())
}

/// The gateway in a process of its own, under an allocator that counts.
pub struct Counted {
    _process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where it serves.
    pub address: SocketAddr,
}

impl Counted {
    /// Starts it; `log` and `profile` are files that it writes.
    pub fn start(routes: &Path, log: &Path, profile: &Path) -> io::Result<Self> {
        let address = process::free_address()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("counted")
            .args([routes.as_os_str(), address.port().to_string().as_ref(), log.as_os_str(), profile.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdin.take().expect("it was piped");
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut counted = Self { _process: process::keep(child), input, output, address };
        counted.answer()?;
        Ok(counted)
    }

    /// Tells it `count` or `stop`, and waits until that is done.
    pub fn tell(&mut self, command: &str) -> io::Result<()> {
        writeln!(self.input, "{command}")?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<()> {
        match self.output.read_line(&mut String::new())? {
            0 => Err(io::Error::other("the gateway that is counted ended")),
            _ => Ok(()),
        }
    }
}

async fn publish(gateway: &Gateway, loaded: &Loaded, port: u16) -> io::Result<()> {
    let Assembly { translation, .. } = assemble(loaded, &Known::default(), &Ground::standalone("localhost", port), 0);
    let certificates: BTreeMap<_, _> =
        translation.certificates.iter().map(|certificate| (certificate.name.clone(), certificate.clone())).collect();
    let published = gateway.publish(translation.snapshot, Arc::new(certificates)).await;
    translation.endpoints.values().for_each(|endpoints| gateway.set_endpoints(endpoints));
    match published.problems.first() {
        Some(problem) => Err(io::Error::other(problem.clone())),
        None => Ok(()),
    }
}
