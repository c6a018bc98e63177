//! Programs that are measured, and those around them: started, asked by /proc what they cost, ended with their owner. Nothing is left behind.

use crate::{
    load::{self, Asker},
    origin::COUNT_PATH,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// A start that takes longer has failed.
const START: Duration = Duration::from_secs(300);
/// Clock ticks of /proc/PID/stat a second; Linux shows 100 on every platform.
const TICKS_PER_SECOND: f64 = 100.0;

/// A child that ends with its owner.
pub struct Process(Child);

impl Process {
    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        const GRACE: Duration = Duration::from_secs(3);
        let until = Instant::now() + GRACE;
        self.signal(Signal::SIGTERM);
        while Instant::now() < until {
            match self.0.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
            // a second one means: at once
            self.signal(Signal::SIGTERM);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program, as a server behind the gateway.
pub struct Origin {
    _process: Process,
    /// Where it serves; its second address is for those that split.
    pub address: SocketAddr,
    /// Both of its addresses.
    pub addresses: [SocketAddr; 2],
}

impl Origin {
    /// Starts it with answers of so many bytes.
    pub fn start(body_bytes: usize) -> io::Result<Self> {
        Self::start_with(body_bytes, &[])
    }

    /// The same by HTTP/2 without TLS.
    pub fn start_http2(body_bytes: usize) -> io::Result<Self> {
        Self::start_with(body_bytes, &["--http2"])
    }

    fn start_with(body_bytes: usize, flags: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["origin", "--body-bytes", &body_bytes.to_string()])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it was piped")).read_line(&mut line)?;
        let process = Process(child);
        let ports: Vec<u16> = line.split_whitespace().filter_map(|port| port.parse().ok()).collect();
        let [first, second] = ports[..] else { return Err(io::Error::other("the origin did not start")) };
        let addresses = [first, second].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok(Self { _process: process, address: addresses[0], addresses })
    }

    /// How many requests came to it by HTTP/1.1.
    pub fn asked(&self) -> io::Result<u64> {
        let mut asker = Asker::connect(self.address)?;
        let answer = asker.ask(&load::get("origin", COUNT_PATH))?;
        String::from_utf8_lossy(answer.body).parse().map_err(io::Error::other)
    }
}

/// How the gateway is run.
#[derive(Default)]
pub struct Options<'a> {
    /// The program.
    pub program: PathBuf,
    /// What it is run under, with flags: a tool that measures.
    pub under: &'a [&'a str],
    /// What it serves.
    pub folder: PathBuf,
    /// `--cores`.
    pub cores: Option<usize>,
    /// The file of the access log; none is written otherwise.
    pub log: Option<PathBuf>,
    /// Further flags.
    pub flags: &'a [&'a str],
}

/// `headgate run`.
pub struct Gateway {
    process: Process,
    /// Where it serves.
    pub address: SocketAddr,
    /// Its admin port.
    pub admin: SocketAddr,
    /// From its start to `ready`.
    pub ready: Duration,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub fn start(options: &Options<'_>) -> io::Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut command = match options.under.split_first() {
            Some((tool, _)) => Command::new(tool),
            None => Command::new(&options.program),
        };
        if let Some((_, flags)) = options.under.split_first() {
            command.args(flags).arg(&options.program);
        }
        command.arg("run").arg(&options.folder).args(["--bind", "127.0.0.1", "--admin", &admin.to_string()]);
        command.args(["--port", &address.port().to_string()]).args(options.flags);
        let log = options.log.as_deref().unwrap_or(Path::new("none"));
        command.arg("--access-log").arg(log);
        if let Some(cores) = options.cores {
            command.args(["--cores", &cores.to_string()]);
        }
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (ready, told) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        // reads on to the end, so that the pipe is never full
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if line.starts_with("ready in ") {
                    let _ = ready.send(begun.elapsed());
                }
            }
        });
        let mut errors = child.stderr.take().expect("it was piped");
        let why = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let process = Process(child);
        match told.recv_timeout(START) {
            Ok(ready) => Ok(Self { process, address, admin, ready }),
            Err(_) => {
                drop(process);
                let why = why.join().unwrap_or_default();
                Err(io::Error::other(format!("the gateway did not get ready: {}", why.trim())))
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A metric's sum over its labels; 0 where it is not there.
    pub fn metric(&self, name: &str) -> io::Result<f64> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let lines = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' ')));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

/// An address of 127.0.0.1 below the range that the system gives to clients, so that none of them takes it meanwhile.
pub fn free_address() -> io::Result<SocketAddr> {
    let mut dice = fastrand::Rng::new();
    for _ in 0..100 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, dice.u16(20_000..30_000)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::Error::other("no free port between 20000 and 30000"))
}

/// What a process holds, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident, shared pages included.
    pub resident: f64,
    /// Its own pages only.
    pub private: f64,
}

/// Reads what a process holds.
pub fn memory(id: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let kilobytes = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(f64::NAN)
    };
    Ok(Memory {
        resident: kilobytes("Rss:") * 1024.0,
        private: (kilobytes("Private_Clean:") + kilobytes("Private_Dirty:")) * 1024.0,
    })
}

/// User and system time of processes, in seconds: of each thread to the nanosecond where the kernel counts so, else by its clock ticks.
pub fn cpu_seconds(ids: &[u32]) -> io::Result<f64> {
    let mut sum = 0.0;
    for id in ids {
        sum += match exact_seconds(*id) {
            Some(seconds) => seconds,
            None => tick_seconds(*id)?,
        };
    }
    Ok(sum)
}

/// The threads that are there: nobody who is measured ends threads under load.
fn exact_seconds(id: u32) -> Option<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1e9)
}

fn tick_seconds(id: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // the name, in parentheses, may hold anything
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(f64::NAN);
    Ok((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
}

/// Takes any other program under the same rule: it ends with its owner.
pub fn keep(child: Child) -> Process {
    Process(child)
}

/// The program that was built beside this one; another build would measure something else.
pub fn headgate() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("headgate");
    if program.exists() {
        return Ok(program);
    }
    Err(io::Error::other(format!("there is no {}: `make bench` builds both", program.display())))
}

/// A process and all that descend from it.
pub fn tree(id: u32) -> Vec<u32> {
    let mut ids = vec![id];
    let mut at = 0;
    while let Some(id) = ids.get(at).copied() {
        at += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else { continue };
        let children = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let children: Vec<u32> = children.flat_map(|text| numbers(&text)).collect();
        ids.extend(children);
    }
    ids
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Whether a program is on PATH.
pub fn is_installed(name: &str) -> bool {
    find(name).is_some()
}

/// Where a program is: on PATH, where system programs are, or where `tools/peers` puts those of other package registries.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["target/peers/bin", "/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    usual.into_iter().chain(std::env::split_paths(&path)).map(|folder| folder.join(name)).find(|file| file.is_file())
}
