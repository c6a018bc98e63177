//! Replicas as processes of this machine: no root, no cluster. Tells what happens to each of them, and never restarts one by itself.
//!
//! A replica is a process group. As in a container, the end of its first process is the end of all: what is left of the group
//! is killed. A process that moves itself to another session escapes this.

use super::{
    guard::Guard,
    launch::{Launch, Prepared},
    output::{Line, Stream, Tail, tell},
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    fmt, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    sync::{mpsc, watch},
    task::AbortHandle,
    time::timeout,
};

/// After the group is killed its pipes are at their end; a process that escaped may hold them, and is not waited for.
const LAST_OUTPUT_MAX: Duration = Duration::from_millis(500);
/// Tries to find a port that no other replica was given.
const PORT_TRIES: usize = 100;

/// What a service manager says to this process alone: functions are told by somebody else, or by nobody.
const OF_THIS_PROCESS: [&str; 6] =
    ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// One replica, in all its life. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What happened to a replica: `Started` and then `Exited`, or `StartFailed` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process runs. Whether it is ready is asked by the gateway's probe.
    Started {
        /// Which.
        replica: ReplicaId,
        /// Process and process group.
        pid: u32,
        /// Where it is expected to listen, on 127.0.0.1.
        port: u16,
    },
    /// The process and its group are gone.
    Exited {
        /// Which.
        replica: ReplicaId,
        /// How.
        exit: Exit,
    },
    /// There never was a process.
    StartFailed {
        /// Which.
        replica: ReplicaId,
        /// Why, and what to do.
        reason: String,
    },
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// In words, with its last lines.
    pub reason: String,
    /// How long it ran.
    pub uptime: Duration,
}

/// The processes of this gateway. All of them are gone after [`Processes::stop_all`]; dropping kills them.
#[derive(Debug)]
pub struct Processes {
    replicas: Arc<Mutex<HashMap<ReplicaId, Running>>>,
    /// How many run: counted down after the last event of a replica.
    running: Arc<watch::Sender<usize>>,
    // unbounded: at most two events for a replica
    events: mpsc::UnboundedSender<Event>,
    output: mpsc::Sender<Line>,
    guard: Option<Arc<Guard>>,
    own_dir: Option<PathBuf>,
}

#[derive(Debug)]
struct Running {
    order: watch::Sender<Order>,
    port: u16,
    task: AbortHandle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Run,
    Stop,
    Kill,
}

impl Processes {
    /// `guard` is a command of this program that calls [`supervise`](super::supervise); without one, or where it does not
    /// start, functions outlive a gateway that is killed by SIGKILL, and a warning says so.
    pub fn new(events: mpsc::UnboundedSender<Event>, output: mpsc::Sender<Line>, guard: Option<&[OsString]>) -> Self {
        let guard = guard.and_then(|command| match Guard::spawn(command) {
            Ok(guard) => Some(Arc::new(guard)),
            Err(error) => {
                tracing::warn!(
                    "the guard of function processes did not start ({error}): if this gateway is killed, they stay"
                );
                None
            }
        });
        let own_dir = env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
        let running = Arc::new(watch::Sender::new(0));
        Self { replicas: Arc::default(), running, events, output, guard, own_dir }
    }

    /// Starts a replica; what becomes of it is told by events. Must be called within a tokio runtime.
    pub fn start(&self, replica: ReplicaId, launch: &Launch) {
        let mut replicas = lock(&self.replicas);
        let spawned = free_port(&replicas)
            .and_then(|port| launch.prepare(port, self.own_dir.as_deref()).map(|prepared| (prepared, port)))
            .and_then(|(prepared, port)| Ok((spawn(&prepared)?, port)));
        let (child, port) = match spawned {
            Ok(spawned) => spawned,
            Err(reason) => return self.tell(Event::StartFailed { replica, reason }),
        };
        let group = Group::of(&child, self.guard.clone());
        self.tell(Event::Started { replica, pid: group.pid.as_raw().unsigned_abs(), port });
        let (order, orders) = watch::channel(Order::Run);
        let life = Life { child, group, orders, grace: launch.grace, started: Instant::now() };
        let (output, function) = (self.output.clone(), Arc::from(launch.function.as_str()));
        let (events, all, running) = (self.events.clone(), self.replicas.clone(), self.running.clone());
        running.send_modify(|count| *count += 1);
        let task = tokio::spawn(async move {
            let exit = life.run(function, output).await;
            lock(&all).remove(&replica);
            let _ = events.send(Event::Exited { replica, exit });
            running.send_modify(|count| *count -= 1);
        });
        replicas.insert(replica, Running { order, port, task: task.abort_handle() });
    }

    /// SIGTERM to the group, and SIGKILL after the grace of its Launch. No replica of that id: nothing.
    pub fn stop(&self, replica: ReplicaId) {
        if let Some(running) = lock(&self.replicas).get(&replica) {
            running.give(Order::Stop);
        }
    }

    /// Stops all and returns when the last one is gone.
    pub async fn stop_all(&self) {
        self.end_all(Order::Stop).await;
    }

    /// SIGKILL to all at once; returns when the last one is gone.
    pub async fn kill_all(&self) {
        self.end_all(Order::Kill).await;
    }

    async fn end_all(&self, order: Order) {
        lock(&self.replicas).values().for_each(|running| running.give(order));
        // the sender is ours, so that this cannot fail
        let _ = self.running.subscribe().wait_for(|count| *count == 0).await;
    }

    fn tell(&self, event: Event) {
        // nobody listens any more: the gateway is ending
        let _ = self.events.send(event);
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // a task that is dropped kills its group
        lock(&self.replicas).values().for_each(|running| running.task.abort());
    }
}

impl Running {
    fn give(&self, order: Order) {
        self.order.send_if_modified(|given| order > std::mem::replace(given, order.max(*given)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port that nobody listens on now. It may be taken before the replica binds it: then that replica exits and the next has another.
fn free_port(replicas: &HashMap<ReplicaId, Running>) -> Result<u16, String> {
    let given = |port| replicas.values().any(|running| running.port == port);
    let ask = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port());
    for _ in 0..PORT_TRIES {
        match ask() {
            Ok(port) if !given(port) => return Ok(port),
            Ok(_) => {}
            Err(error) => return Err(format!("no free port on 127.0.0.1 ({error}): stop programs that hold many")),
        }
    }
    Err("no free port on 127.0.0.1: stop programs that hold many".to_owned())
}

fn spawn(prepared: &Prepared) -> Result<Child, String> {
    let mut command = Command::new(&prepared.program);
    for name in OF_THIS_PROCESS {
        command.env_remove(name);
    }
    command
        .args(&prepared.arguments)
        .envs(prepared.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(dir) = &prepared.working_dir {
        command.current_dir(dir);
    }
    command.spawn().map_err(|error| cannot_spawn(prepared, &error))
}

fn cannot_spawn(prepared: &Prepared, error: &io::Error) -> String {
    let program = prepared.program.display();
    let remedy = match error.raw_os_error() {
        Some(libc_enoexec) if libc_enoexec == nix::errno::Errno::ENOEXEC as i32 => {
            "a script needs a first line such as #!/bin/sh, and a program must be built for this machine"
        }
        _ => match error.kind() {
            io::ErrorKind::NotFound => "the interpreter that its first line names was not found",
            io::ErrorKind::PermissionDenied => "this user may not run it",
            _ => "correct `command`, or free resources of this machine",
        },
    };
    format!("its command {program} did not start ({error}): {remedy}")
}

/// A process group that must not outlive this value.
struct Group {
    pid: Pid,
    guard: Option<Arc<Guard>>,
}

impl Group {
    fn of(child: &Child, guard: Option<Arc<Guard>>) -> Self {
        let id = child.id().expect("a child that was not waited for has an id");
        let pid = Pid::from_raw(id.cast_signed());
        if let Some(guard) = &guard {
            guard.watch(pid);
        }
        Self { pid, guard }
    }

    fn signal(&self, signal: Signal) {
        // ESRCH: nobody is left
        let _ = killpg(self.pid, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its first process may be reaped already. Its number is not given anew as long as one of the group lives, and the
        // kernel counts through all others before it comes back to it.
        self.signal(Signal::SIGKILL);
        if let Some(guard) = &self.guard {
            guard.forget(self.pid);
        }
    }
}

/// From the start of a process to its end.
struct Life {
    child: Child,
    group: Group,
    orders: watch::Receiver<Order>,
    grace: Duration,
    started: Instant,
}

impl Life {
    async fn run(mut self, function: Arc<str>, output: mpsc::Sender<Line>) -> Exit {
        let (out_tail, err_tail) = (Tail::default(), Tail::default());
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let stdout =
            out.map(|out| tokio::spawn(tell(out, function.clone(), Stream::Stdout, output.clone(), out_tail.clone())));
        let stderr = err.map(|err| tokio::spawn(tell(err, function, Stream::Stderr, output, err_tail.clone())));
        let status = self.end().await;
        let uptime = self.started.elapsed();
        drop(self.group);
        for mut reader in [stdout, stderr].into_iter().flatten() {
            if timeout(LAST_OUTPUT_MAX, &mut reader).await.is_err() {
                reader.abort();
            }
        }
        let said = [err_tail.text(), out_tail.text()].into_iter().find(|text| !text.is_empty());
        exit_of(status, uptime, said)
    }

    /// Waits for the end, and brings it about when told to.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        tokio::select! {
            status = self.child.wait() => return status,
            _ = self.orders.wait_for(|order| *order > Order::Run) => {}
        }
        self.group.signal(Signal::SIGTERM);
        tokio::select! {
            status = self.child.wait() => return status,
            _ = self.orders.wait_for(|order| *order == Order::Kill) => {}
            () = tokio::time::sleep(self.grace) => {}
        }
        self.group.signal(Signal::SIGKILL);
        self.child.wait().await
    }
}

fn exit_of(status: io::Result<ExitStatus>, uptime: Duration, said: Option<String>) -> Exit {
    let (code, signal) = status.as_ref().map_or((None, None), |status| (status.code(), status.signal()));
    let how = match (code, signal, status) {
        (Some(code), ..) => format!("exited with code {code}"),
        (_, Some(signal), _) => match Signal::try_from(signal) {
            Ok(name) => format!("was ended by {name}"),
            Err(_) => format!("was ended by signal {signal}"),
        },
        (.., Err(error)) => format!("was lost ({error})"),
        _ => "ended".to_owned(),
    };
    let after = format!("{how} after {:.1} s", uptime.as_secs_f64());
    let reason = match said {
        Some(said) => format!("{after}; it said: {said}"),
        None => format!("{after} and said nothing"),
    };
    Exit { code, signal, reason, uptime }
}
