//! The program as users start it: on ports of its own, with its output kept and its processes counted. Nothing it started outlives a test.

use crate::{PATIENCE, Wire, until, within};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};
use tempfile::TempDir;
use tokio::sync::watch;

/// What all processes of one gateway have in their environment, so that strays are found.
const MARK: &str = "HEADGATE_TEST_MARK";

/// How variables begin with which cargo tells a process of one package of it.
const OF_PACKAGE: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];

/// The program's file: `HEADGATE_BIN`, or the one that is built here, in the profile of the tests.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("HEADGATE_BIN") {
            return given.into();
        }
        // target/<profile>/deps/<this test>
        let own = std::env::current_exe().unwrap();
        let profile = own.ancestors().nth(2).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "headgate"]).current_dir(checkout());
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        // what cargo tells a test of its package makes build scripts run again, and with them half of the crates compile anew
        for (name, _) in std::env::vars_os() {
            if OF_PACKAGE.iter().any(|start| name.to_string_lossy().starts_with(start)) {
                build.env_remove(name);
            }
        }
        assert!(build.status().unwrap().success(), "headgate does not build");
        profile.join("headgate")
    })
}

/// Where the sources are.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A port on which nobody listens, below those that the kernel gives away by itself: nobody takes it before the program does.
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let port = (FIRST + start.wrapping_add(NEXT.fetch_add(1, Relaxed)) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// A gateway that runs.
pub struct Headgate {
    child: Child,
    /// Where its built-in listeners are.
    pub address: SocketAddr,
    /// Where its admin port is.
    pub admin: SocketAddr,
    /// The folder that it serves.
    pub files: PathBuf,
    home: Arc<TempDir>,
    mark: String,
    output: watch::Receiver<Vec<String>>,
    read: watch::Sender<Vec<String>>,
}

impl Headgate {
    /// Serves files, and is ready.
    pub async fn run(files: &[(&str, String)]) -> Self {
        Self::run_with(&[], files).await
    }

    /// The same with more flags.
    pub async fn run_with(flags: &[&str], files: &[(&str, String)]) -> Self {
        let started = Self::start(flags, files);
        started.printed("ready in").await;
        started
    }

    /// Starts without waiting.
    pub fn start(flags: &[&str], files: &[(&str, String)]) -> Self {
        Self::start_as(|command| command, flags, files)
    }

    /// The same, started as `prepared` says: with more environment, or by another program.
    pub fn start_as(prepared: impl FnOnce(Command) -> Command, flags: &[&str], files: &[(&str, String)]) -> Self {
        let home = tempfile::Builder::new().prefix("headgate-e2e-").tempdir().unwrap();
        let folder = home.path().join("served");
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            write(&folder.join(name), text);
        }
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self::launch(prepared, flags, Arc::new(home), at(free_port()), at(free_port()))
    }

    /// Another process that serves the same files at the same ports. Starts without waiting.
    pub fn start_next(&self, prepared: impl FnOnce(Command) -> Command, flags: &[&str]) -> Self {
        Self::launch(prepared, flags, self.home.clone(), self.address, self.admin)
    }

    fn launch(
        prepared: impl FnOnce(Command) -> Command,
        flags: &[&str],
        home: Arc<TempDir>,
        address: SocketAddr,
        admin: SocketAddr,
    ) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let folder = home.path().join("served");
        let mark = format!("{}-{}", std::process::id(), STARTED.fetch_add(1, Relaxed));
        let log = home.path().join("access.log").display().to_string();
        let (port_text, admin_text) = (address.port().to_string(), admin.to_string());
        let usual = [
            ["--port", &port_text],
            ["--admin", &admin_text],
            ["--log-format", "text"],
            ["--cores", "2"],
            ["--access-log", &log],
        ];
        let mut command = Command::new(binary());
        command
            .arg("run")
            .arg(&folder)
            .args(usual.iter().filter(|[name, _]| !flags.contains(name)).flatten())
            .args(flags)
            .env("HOME", home.path())
            .env("NO_COLOR", "1")
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = prepared(command).spawn().unwrap();
        let (read, output) = watch::channel(Vec::new());
        child.stdout.take().into_iter().for_each(|stream| collect(stream, read.clone()));
        child.stderr.take().into_iter().for_each(|stream| collect(stream, read.clone()));
        Self { child, address, admin, files: folder, home, mark, output, read }
    }

    /// A folder that ends with the test.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The access log so far.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.home.path().join("access.log")).unwrap_or_default()
    }

    /// All lines so far, of both streams.
    pub fn output(&self) -> Vec<String> {
        self.output.borrow().clone()
    }

    /// Forgets the lines so far: what [`Headgate::printed`] finds next was printed after this.
    pub fn forget(&self) {
        self.read.send_modify(Vec::clear);
    }

    /// Waits for a line that contains `text`.
    pub async fn printed(&self, text: &str) -> String {
        let mut output = self.output.clone();
        let find = |lines: &Vec<String>| lines.iter().find(|line| line.contains(text)).cloned();
        let found = tokio::time::timeout(PATIENCE, output.wait_for(|lines| find(lines).is_some())).await;
        match found {
            Ok(Ok(lines)) => find(&lines).unwrap(),
            _ => panic!("it never printed {text:?}; it printed:\n{}", self.output().join("\n")),
        }
    }

    /// Saves a file as a careful editor does: written beside, then renamed.
    pub fn save(&self, name: &str, text: &str) {
        let beside = self.files.join(format!(".{name}.new"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.files.join(name)).unwrap();
    }

    /// A GET on a connection of its own.
    pub async fn get(&self, host: &str, target: &str) -> crate::Answer {
        Wire::get(self.address, host, target).await
    }

    /// Waits until a GET answers as wanted; says after how long.
    pub async fn serves(
        &self,
        host: &str,
        target: &str,
        wanted: impl Fn(&crate::Answer) -> bool,
    ) -> std::time::Duration {
        let asked = Instant::now();
        let what = format!("{host}{target} as wanted");
        until(&what, async || wanted(&self.get(host, target).await)).await;
        asked.elapsed()
    }

    /// Gives a signal to the gateway alone.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for its end, and for the end of all that it started.
    pub async fn exit(&mut self) -> ExitStatus {
        let status = within("its exit", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        until("no process left", async || self.processes().is_empty()).await;
        status
    }

    /// Ends it as Ctrl-C does.
    pub async fn stop(mut self) {
        self.signal(Signal::SIGINT);
        let status = self.exit().await;
        assert!(status.success(), "{status}; it printed:\n{}", self.output().join("\n"));
    }

    /// Its process and all that it started: their ids and command lines.
    pub fn processes(&self) -> BTreeMap<u32, String> {
        let wanted = format!("{MARK}={}", self.mark);
        let is_ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
        };
        let command = |pid: u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned())
        };
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // a zombie has no command line
        pids.filter(is_ours).map(command).filter(|(_, line)| !line.is_empty()).collect()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it ever had, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// The memory that it has of its own now, in bytes.
    pub fn own_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// How many of its processes have `text` in their command line.
    pub fn count(&self, text: &str) -> usize {
        self.processes().iter().filter(|(pid, line)| **pid != self.child.id() && line.contains(text)).count()
    }

    /// The sum of a metric over the series whose labels contain `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let page = Wire::get(self.admin, "localhost", "/metrics").await.text();
        let series = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Headgate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what the gateway printed:\n{}\n---", self.output().join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

fn collect(stream: impl Read + Send + 'static, to: watch::Sender<Vec<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            to.send_modify(|lines| lines.push(String::from_utf8_lossy(&line).into_owned()));
        }
    });
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
