//! Function replicas as real processes: what a user sees of starts, output, stops and crashes, and that nothing is left behind.

#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use headgate_config::{Activation, BackendName};
use headgate_controller::{
    runtimes::{Event, Exit, Launch, Line, Processes, ReplicaId, Stream, supervise},
    scaling::{Bounds, EndpointReading, Input, Reading, Scaler, TargetSpec, TargetState, Told, run},
};
use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::timeout};

/// Far above what anything here takes: only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Says which part of this binary a child of a test plays.
const ROLE: &str = "HEADGATE_TEST_ROLE";

fn shell(script: &str) -> Launch {
    Launch {
        name: "default/hello-v1".into(),
        function: "hello-v1".into(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        env: vec![],
        working_dir: None,
        grace: PATIENCE,
        probe: None,
    }
}

struct Machine {
    processes: Processes,
    events: mpsc::UnboundedReceiver<Event>,
    lines: mpsc::Receiver<Line>,
}

impl Machine {
    fn new() -> Self {
        let (events_in, events) = mpsc::unbounded_channel();
        let (lines_in, lines) = mpsc::channel(100);
        Self { processes: Processes::new(events_in, lines_in, None), events, lines }
    }

    async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.expect("an event comes").unwrap()
    }

    async fn line(&mut self) -> Line {
        timeout(PATIENCE, self.lines.recv()).await.expect("a line comes").unwrap()
    }

    async fn exit(&mut self) -> Exit {
        loop {
            if let Event::Exited { exit, .. } = self.event().await {
                return exit;
            }
        }
    }
}

/// Whether the process is no more; a zombie that its new parent has not reaped is none.
fn is_gone(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) if cfg!(target_os = "linux") => true,
        Err(_) => !Command::new("kill").args(["-0", &pid.to_string()]).status().unwrap().success(),
    }
}

fn wait_until_gone(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    while !is_gone(pid) {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_replica_gets_its_port_its_environment_and_its_directory() {
    let mut machine = Machine::new();
    let dir = fs::canonicalize(env::temp_dir()).unwrap();
    let launch = Launch {
        env: vec![("GREETING".into(), "hi on $(PORT)".into())],
        working_dir: Some(dir.clone()),
        ..shell("echo $PORT; echo $(PORT) ${PORT}; echo $GREETING; pwd; echo oops >&2; exit 0")
    };
    machine.processes.start(ReplicaId(1), &launch);
    let Event::Started { replica: ReplicaId(1), port, .. } = machine.event().await else { panic!("not started") };
    let exit = machine.exit().await;
    let mut lines = vec![];
    for _ in 0..5 {
        lines.push(machine.line().await);
    }
    let of = |stream| lines.iter().filter(move |line| line.stream == stream).map(Line::to_string).collect::<Vec<_>>();
    let said = [port.to_string(), format!("{port} {port}"), format!("hi on {port}"), dir.display().to_string()];
    assert_eq!(of(Stream::Stdout), said.map(|text| format!("hello-v1 | {text}")));
    assert_eq!(of(Stream::Stderr), ["hello-v1 | oops"]);
    assert_eq!((exit.code, exit.signal), (Some(0), None));
}

#[tokio::test]
async fn replicas_get_different_ports() {
    let mut machine = Machine::new();
    let mut ports = std::collections::BTreeSet::new();
    for id in 0..10 {
        machine.processes.start(ReplicaId(id), &shell("exec sleep 1000"));
        let Event::Started { port, .. } = machine.event().await else { panic!("not started") };
        ports.insert(port);
    }
    assert_eq!(ports.len(), 10);
    timeout(PATIENCE, machine.processes.kill_all()).await.unwrap();
}

#[tokio::test]
async fn sigterm_is_enough_for_who_listens_to_it() {
    let mut machine = Machine::new();
    machine
        .processes
        // without a child, of whose end by the same signal some shells would tell
        .start(ReplicaId(1), &shell("trap 'echo bye; exit 7' TERM; echo up; while :; do :; done"));
    assert_eq!(machine.line().await.text, "up");
    machine.processes.stop(ReplicaId(1));
    let exit = machine.exit().await;
    assert_eq!((exit.code, machine.line().await.text.as_str()), (Some(7), "bye"));
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed_after_its_grace_with_all_its_children() {
    let mut machine = Machine::new();
    let stubborn =
        "trap '' TERM; /bin/sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done'; while :; do sleep 1; done";
    // Kubernetes reads $$ as one $
    let launch = Launch { grace: Duration::from_millis(200), ..shell(&stubborn.replace("$$", "$$$$")) };
    machine.processes.start(ReplicaId(1), &launch);
    let Event::Started { pid, .. } = machine.event().await else { panic!("not started") };
    let grandchild: u32 = machine.line().await.text.parse().unwrap();
    machine.processes.stop(ReplicaId(1));
    let exit = machine.exit().await;
    assert_eq!(exit.signal, Some(9));
    assert!(exit.uptime >= launch.grace);
    wait_until_gone(pid);
    wait_until_gone(grandchild);
}

#[tokio::test]
async fn what_a_crashed_replica_leaves_behind_is_killed() {
    let mut machine = Machine::new();
    machine.processes.start(ReplicaId(1), &shell("sleep 1000 & echo $!; exit 3"));
    let child: u32 = machine.line().await.text.parse().unwrap();
    assert_eq!(machine.exit().await.code, Some(3));
    wait_until_gone(child);
}

#[tokio::test]
async fn an_exit_says_code_or_signal_and_the_last_lines() {
    for (script, code, signal, expected) in [
        ("echo reading config; echo 'no database' >&2; exit 3", Some(3), None, "exited with code 3"),
        ("echo 'no database' >&2; kill -SEGV $$$$", None, Some(11), "was ended by SIGSEGV"),
    ] {
        let mut machine = Machine::new();
        machine.processes.start(ReplicaId(1), &shell(script));
        let exit = machine.exit().await;
        assert_eq!((exit.code, exit.signal), (code, signal));
        assert!(exit.reason.starts_with(expected) && exit.reason.ends_with("it said: no database"), "{}", exit.reason);
    }
}

#[tokio::test]
async fn a_command_that_does_not_exist_fails_with_what_to_do() {
    let mut machine = Machine::new();
    machine.processes.start(ReplicaId(1), &Launch { command: vec!["no-such-program".into()], ..shell("") });
    let Event::StartFailed { replica: ReplicaId(1), reason } = machine.event().await else { panic!("it started") };
    assert!(reason.contains("\"no-such-program\" was not found in PATH"), "{reason}");
}

#[tokio::test]
async fn stop_all_leaves_nobody() {
    let mut machine = Machine::new();
    let mut pids = vec![];
    for id in 0..5 {
        let script = if id % 2 == 0 { "exec sleep 1000" } else { "trap '' TERM; while :; do sleep 1; done" };
        let launch = Launch { grace: Duration::from_millis(100), ..shell(script) };
        machine.processes.start(ReplicaId(id), &launch);
        let Event::Started { pid, .. } = machine.event().await else { panic!("not started") };
        pids.push(pid);
    }
    timeout(PATIENCE, machine.processes.stop_all()).await.unwrap();
    pids.into_iter().for_each(wait_until_gone);
}

#[tokio::test]
async fn kill_all_cuts_a_stop_short() {
    let mut machine = Machine::new();
    machine.processes.start(ReplicaId(1), &shell("trap '' TERM; echo up; while :; do sleep 1; done"));
    machine.line().await;
    machine.processes.stop(ReplicaId(1));
    let started = Instant::now();
    timeout(PATIENCE, machine.processes.kill_all()).await.unwrap();
    assert!(started.elapsed() < PATIENCE / 2);
    assert_eq!(machine.exit().await.signal, Some(9));
}

#[tokio::test]
async fn dropping_kills() {
    let mut machine = Machine::new();
    machine.processes.start(ReplicaId(1), &shell("exec sleep 1000"));
    let Event::Started { pid, .. } = machine.event().await else { panic!("not started") };
    drop(machine);
    tokio::task::spawn_blocking(move || wait_until_gone(pid)).await.unwrap();
}

/// Starts this test binary again, as one of the roles below.
fn role(name: &str) -> Vec<OsString> {
    let program = env::current_exe().unwrap();
    let arguments = ["--exact", name, "--nocapture", "--test-threads=1"].map(OsString::from);
    [program.into_os_string()].into_iter().chain(arguments).collect()
}

/// No test by itself: a guard, when the test below starts it.
#[test]
fn plays_guard() {
    if env::var_os(ROLE).is_some() {
        supervise();
    }
}

/// No test by itself: a gateway that starts a stubborn function, when the test below starts it.
#[tokio::test]
async fn plays_gateway() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    let (events_in, mut events) = mpsc::unbounded_channel();
    let (lines_in, mut lines) = mpsc::channel(100);
    let processes = Processes::new(events_in, lines_in, Some(&role("plays_guard")));
    let script = "trap '' TERM; sleep 1000 & echo pid $!; while :; do wait; done";
    processes.start(ReplicaId(1), &shell(script));
    while let Some(event) = events.recv().await {
        if let Event::Started { pid, .. } = event {
            println!("\npid {pid}\n{}", lines.recv().await.unwrap().text);
        }
    }
}

#[test]
fn functions_end_with_a_gateway_that_is_killed() {
    let command = role("plays_gateway");
    let mut gateway =
        Command::new(&command[0]).args(&command[1..]).env(ROLE, "1").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(gateway.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pids: Vec<u32> = lines.filter_map(|line| line.strip_prefix("pid ")?.parse().ok()).take(2).collect();
    assert_eq!(pids.len(), 2);
    assert!(!pids.iter().any(|pid| is_gone(*pid)));
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    pids.into_iter().for_each(wait_until_gone);
}

/// The whole of it: demand starts a replica, its readiness and drain are reported as a gateway would, and it goes again.
struct Standalone {
    inputs: mpsc::Sender<Input>,
    told: mpsc::UnboundedReceiver<TargetState>,
    scaler: tokio::task::JoinHandle<()>,
    _lines: mpsc::Receiver<Line>,
}

impl Standalone {
    fn new(launch: Launch, bounds: Bounds) -> Self {
        let (events_in, events) = mpsc::unbounded_channel();
        let (lines_in, lines) = mpsc::channel(100);
        let (inputs, inputs_out) = mpsc::channel(10);
        let (tell, told) = mpsc::unbounded_channel();
        let spec = TargetSpec {
            launch: Arc::new(launch),
            backends: vec![BackendName::tcp("default", "hello-v1", 80)],
            bounds,
            start_limit: PATIENCE,
            drain_limit: PATIENCE,
        };
        inputs.try_send(Input::Targets(vec![spec])).unwrap();
        let scaler = tokio::spawn(async move {
            let processes = Processes::new(events_in, lines_in, None);
            let tell = move |told| {
                if let Told::State(state) = told {
                    let _ = tell.send(state);
                }
            };
            run(Scaler::default(), &processes, inputs_out, events, tell).await;
        });
        Self { inputs, told, scaler, _lines: lines }
    }

    async fn demand(&self, queued: u32, arrivals: u64, of: Option<&TargetState>) {
        let state = of.map(|state| (state.version, &state.endpoints[0].list));
        let endpoints = state.into_iter().flat_map(|(_, list)| list).map(|endpoint| EndpointReading {
            address: endpoint.address,
            in_flight: 0,
            ready: true,
        });
        let reading = Reading {
            target: "default/hello-v1".into(),
            queued,
            arrivals,
            applied: of.map_or(0, |state| state.version),
            endpoints: endpoints.collect(),
            ..Reading::default()
        };
        self.inputs.send(Input::Demand(vec![reading])).await.unwrap();
    }

    async fn state(&mut self, which: impl Fn(&TargetState) -> bool) -> TargetState {
        loop {
            let state = timeout(PATIENCE, self.told.recv()).await.expect("a state comes").unwrap();
            if which(&state) {
                return state;
            }
        }
    }

    async fn end(self) {
        drop(self.inputs);
        timeout(PATIENCE, self.scaler).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn demand_starts_a_replica_and_idleness_stops_it() {
    let window = Duration::from_millis(300);
    let mut all = Standalone::new(shell("exec sleep 1000"), Bounds { window, ..Bounds::default() });
    all.demand(1, 1, None).await;
    let listed = all.state(|state| !state.endpoints[0].list.is_empty()).await;
    assert_eq!(listed.endpoints[0].activation, Activation::Waking);
    let address = listed.endpoints[0].list[0].address;
    TcpListener::bind(address).expect("a replica that does not listen leaves its port free");
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    all.demand(0, 1, Some(&listed)).await;
    let serving = all.state(|state| state.ready == 1).await;
    assert_eq!(serving.endpoints[0].activation, Activation::Ready);
    let closing = all.state(|state| state.endpoints[0].activation == Activation::Closing).await;
    assert!(closing.endpoints[0].list.is_empty() && closing.processes == 1);
    all.demand(0, 1, Some(&closing)).await;
    let cold = all.state(|state| state.processes == 0).await;
    assert_eq!(cold.endpoints[0].activation, Activation::Ready);
    all.end().await;
}

#[tokio::test]
async fn a_crash_loop_is_broken_after_the_third_exit_with_its_reason_and_mends_by_itself() {
    let flag = env::temp_dir().join(format!("headgate-mended-{}", std::process::id()));
    let _ = fs::remove_file(&flag);
    let script = format!("test -e {} && exec sleep 1000; echo no database >&2; exit 3", flag.display());
    let mut all = Standalone::new(shell(&script), Bounds::default());
    let started = Instant::now();
    all.demand(1, 1, None).await;
    let broken = all.state(|state| matches!(state.endpoints[0].activation, Activation::Broken { .. })).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    let Activation::Broken { reason } = &broken.endpoints[0].activation else { unreachable!() };
    assert!(reason.contains("exited with code 3") && reason.contains("no database"), "{reason}");
    fs::write(&flag, "").unwrap();
    // the gateway answers at once now, so that nobody waits; it is tried again all the same
    all.demand(0, 1, Some(&broken)).await;
    let listed = all.state(|state| !state.endpoints[0].list.is_empty()).await;
    all.demand(0, 1, Some(&listed)).await;
    let mended = all.state(|state| state.ready == 1).await;
    assert_eq!(mended.endpoints[0].activation, Activation::Ready);
    fs::remove_file(&flag).unwrap();
    all.end().await;
}
