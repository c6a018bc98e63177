//! What the scaler of a cluster does, one story a test: told step by step, with no world around it.

use super::*;
use crate::scaling::Metric;
use headgate_config::{Activation, EndpointCount};
use std::net::SocketAddr;

const NAME: &str = "default/hello-v1";
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn gateway() -> GatewayName {
    GatewayName { namespace: "default".into(), name: "web".into() }
}

fn member(pod: &str) -> Member {
    Member { gateway: gateway(), pod: pod.into() }
}

fn spec(bounds: Bounds) -> TargetSpec {
    let backend = BackendName::tcp("default", "hello-v1", 80);
    TargetSpec {
        name: NAME.into(),
        label: "hello-v1".into(),
        backends: vec![ServedBackend { backend, port: 8080, probe: Some(Probe::Tcp) }],
        bounds,
        start_limit: 30 * SECOND,
        drain_limit: 60 * SECOND,
        stops: StopOrder::Marked,
        faulty: Vec::new(),
        advice: Advice::OfFunction,
        gateways: BTreeSet::from([gateway()]),
    }
}

fn bounds() -> Bounds {
    Bounds { concurrency: 1, metric: Metric::Concurrency(None), window: 6 * SECOND, ..Bounds::default() }
}

fn address(pod: &str) -> SocketAddr {
    let last = pod.bytes().last().expect("a name");
    SocketAddr::from(([10, 244, 0, last], 8080))
}

fn pod(name: &str, ready: bool) -> PodSeen {
    PodSeen { name: name.into(), ip: Some(address(name).ip()), ready, ..PodSeen::default() }
}

/// A scaler with one target, its workload as it was shown last, and what was asked for.
struct Bench {
    scaler: Scaler,
    now: Instant,
    workload: Workload,
    state: Option<TargetState>,
    writes: Vec<(u32, u32)>,
    marks: Vec<(String, bool)>,
    stamps: Vec<String>,
    reports: Vec<String>,
    arrivals: u64,
}

impl Bench {
    /// A leader with two gateways and a target without replicas.
    fn new(bounds: Bounds) -> Self {
        let mut bench = Self::of(spec(bounds));
        bench.step(Input::Leading(true));
        bench.wait(20 * SECOND);
        for name in ["a", "b"] {
            bench.step(Input::Connected(member(name)));
        }
        bench.step(Input::Running(BTreeSet::from([member("a"), member("b")])));
        bench.count("a", 0, &[]);
        bench.count("b", 0, &[]);
        bench
    }

    fn of(spec: TargetSpec) -> Self {
        let scale = Scale { uid: "u".into(), version: 1, replicas: 0, scaled_by: Some("headgate".into()) };
        let workload = Workload { scale: Some(scale), ..Workload::default() };
        let mut bench = Self {
            scaler: Scaler::new(owner(DEFAULT_CONTROLLER_NAME)),
            now: Instant::now(),
            workload: workload.clone(),
            state: None,
            writes: vec![],
            marks: vec![],
            stamps: vec![],
            reports: vec![],
            arrivals: 0,
        };
        bench.step(Input::Targets(vec![spec]));
        bench.step(Input::Seen(NAME.into(), workload));
        bench
    }

    fn step(&mut self, input: Input) {
        for action in self.scaler.step(self.now, input) {
            match action {
                Action::SetReplicas { from, to, .. } => self.writes.push((from, to)),
                Action::Mark { pod, closing, .. } => self.marks.push((pod, closing)),
                Action::Stamp { owner, .. } => self.stamps.push(owner),
                Action::Publish(state) => self.state = Some(state),
                Action::Report(report) => self.reports.push(report.to_string()),
            }
        }
        assert_eq!(self.scaler.step(self.now, Input::Tick), [], "the same moment asks for nothing more");
    }

    /// Time goes on, with ticks when they are due.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.scaler.next_deadline().filter(|at| *at <= end) {
            assert!(at > self.now, "a deadline that never passes");
            self.now = at;
            self.step(Input::Tick);
        }
        self.now = end;
    }

    /// Time goes on, and both gateways count the same each second.
    fn idle(&mut self, seconds: u32, listed: &[(&str, u64)]) {
        for _ in 0..seconds {
            self.wait(SECOND);
            self.count("a", 0, listed);
            self.count("b", 0, listed);
        }
    }

    /// A gateway counts: requests that wait, and Pods with requests in flight, which it finds ready.
    fn count(&mut self, gateway: &str, queued: u64, pods: &[(&str, u64)]) {
        self.arrivals += queued;
        let endpoints: Vec<EndpointCount> = pods
            .iter()
            .map(|(name, in_flight)| EndpointCount { address: address(name), in_flight: *in_flight, ready: true })
            .collect();
        let demand = Demand {
            target: NAME.into(),
            in_flight: pods.iter().map(|(_, in_flight)| in_flight).sum(),
            queued,
            arrivals: self.arrivals,
            endpoints,
            ..Demand::default()
        };
        self.step(Input::Demand { member: member(gateway), demand: vec![demand], whole: true });
    }

    /// The write that was asked for is done, and a watch shows it with these Pods.
    fn done(&mut self, pods: Vec<PodSeen>) {
        let (_, to) = *self.writes.last().expect("a write was asked for");
        let scale = self.workload.scale.as_mut().expect("it is there");
        (scale.version, scale.replicas) = (scale.version + 1, to);
        let version = scale.version;
        self.step(Input::Written(NAME.into(), Outcome::Done { version }));
        self.show(pods);
    }

    fn show(&mut self, pods: Vec<PodSeen>) {
        self.workload.pods = pods;
        self.step(Input::Seen(NAME.into(), self.workload.clone()));
    }

    /// The marks that were asked for are seen.
    fn marked(&mut self) {
        for (name, closing) in std::mem::take(&mut self.marks) {
            self.workload.pods.iter_mut().filter(|pod| pod.name == name).for_each(|pod| pod.closing = closing);
        }
        self.step(Input::Seen(NAME.into(), self.workload.clone()));
    }

    fn applied(&mut self, gateway: &str) {
        let version = self.state.as_ref().expect("published").version;
        self.step(Input::Applied { member: member(gateway), target: NAME.into(), version });
    }

    fn listed(&self) -> Vec<SocketAddr> {
        self.state.iter().flat_map(|state| &state.endpoints[0].list).map(|endpoint| endpoint.address).collect()
    }

    fn activation(&self) -> &Activation {
        &self.state.as_ref().expect("published").endpoints[0].activation
    }

    /// Awake with these Pods, listed and ready.
    fn warm(bounds: Bounds, pods: &[&str]) -> Self {
        let mut bench = Self::new(bounds);
        bench.count("a", pods.len() as u64, &[]);
        bench.done(pods.iter().map(|name| pod(name, true)).collect());
        let idle: Vec<(&str, u64)> = pods.iter().map(|name| (*name, 0)).collect();
        bench.applied("a");
        bench.applied("b");
        bench.count("a", 0, &idle);
        bench.count("b", 0, &idle);
        assert_eq!(bench.activation(), &Activation::Ready);
        bench.writes.clear();
        bench
    }
}

#[test]
fn the_first_request_is_one_write_and_a_burst_is_too() {
    for (queued, to) in [(1, 1), (4, 4), (400, 10)] {
        let mut bench = Bench::new(bounds());
        bench.count("a", queued, &[]);
        bench.count("a", queued, &[]);
        bench.count("b", 0, &[]);
        assert_eq!(bench.writes, [(0, to)]);
        assert_eq!(bench.activation(), &Activation::Waking);
    }
}

#[test]
fn a_pod_is_listed_with_its_probe_before_the_kubelet_says_ready_and_leaves_when_it_terminates() {
    let mut bench = Bench::new(bounds());
    bench.count("a", 1, &[]);
    bench.done(vec![pod("x", false)]);
    let list = bench.state.as_ref().expect("published").endpoints[0].list.clone();
    assert_eq!(list.iter().map(|one| (one.address, one.ready)).collect::<Vec<_>>(), [(address("x"), false)]);
    bench.count("a", 0, &[("x", 1)]);
    assert_eq!((bench.state.as_ref().expect("published").ready, bench.activation()), (1, &Activation::Ready));
    bench.show(vec![PodSeen { terminating: true, ..pod("x", true) }]);
    assert_eq!(bench.listed(), []);
}

#[test]
fn a_probe_that_only_the_kubelet_can_make_keeps_a_pod_out_until_it_says_ready() {
    let mut spec = spec(bounds());
    spec.backends[0].probe = None;
    let mut bench = Bench::of(spec);
    bench.show(vec![pod("x", false)]);
    assert_eq!(bench.listed(), []);
    bench.show(vec![pod("x", true)]);
    assert_eq!(bench.listed(), [address("x")]);
}

#[test]
fn to_zero_only_after_all_gateways_have_left() {
    let mut bench = Bench::warm(bounds(), &["x"]);
    bench.idle(7, &[("x", 0)]);
    assert_eq!((bench.listed(), bench.activation()), (vec![], &Activation::Closing));
    assert_eq!((bench.marks.clone(), bench.writes.len()), (vec![("x".to_owned(), true)], 0));
    bench.marked();
    bench.applied("a");
    bench.count("a", 0, &[]);
    assert_eq!(bench.writes, [], "b may still send there");
    bench.applied("b");
    bench.count("b", 0, &[("x", 1)]);
    assert_eq!(bench.writes, [], "and it does");
    bench.count("b", 0, &[]);
    assert_eq!(bench.writes, [], "the request that it had keeps the target awake, so its Pod is open again");
    assert_eq!((bench.listed(), bench.marks.clone()), (vec![address("x")], vec![("x".to_owned(), false)]));
    bench.marked();
    bench.idle(8, &[]);
    bench.marked();
    for name in ["a", "b"] {
        bench.applied(name);
        bench.count(name, 0, &[]);
    }
    assert_eq!(bench.writes, [(1, 0)]);
    bench.done(vec![PodSeen { terminating: true, ..pod("x", true) }]);
    assert_eq!(bench.activation(), &Activation::Ready, "cold, and may be woken");
    bench.count("b", 1, &[]);
    assert_eq!(bench.writes, [(1, 0), (0, 1)], "no wake-up is lost");
}

#[test]
fn what_was_counted_before_a_list_was_applied_says_nothing_of_it() {
    let mut bench = Bench::warm(bounds(), &["x"]);
    bench.idle(7, &[("x", 0)]);
    bench.marked();
    bench.count("a", 0, &[]);
    bench.count("b", 0, &[]);
    bench.applied("a");
    bench.applied("b");
    assert_eq!(bench.writes, []);
    bench.count("a", 0, &[]);
    bench.count("b", 0, &[]);
    assert_eq!(bench.writes, [(1, 0)]);
}

#[test]
fn a_gateway_of_another_controller_acknowledges_by_what_it_counts_after_a_while() {
    let mut bench = Bench::warm(bounds(), &["x"]);
    bench.idle(7, &[("x", 0)]);
    bench.marked();
    bench.applied("a");
    bench.count("a", 0, &[]);
    bench.wait(SETTLE / 2);
    bench.count("b", 0, &[]);
    assert_eq!(bench.writes, [], "its controller may not have told it yet");
    bench.wait(SETTLE / 2);
    bench.count("b", 0, &[]);
    assert_eq!(bench.writes, [(1, 0)]);
}

#[test]
fn a_gateway_that_is_not_heard_keeps_everything_until_it_is_known_to_be_gone() {
    let mut bench = Bench::warm(bounds(), &["x"]);
    bench.count("b", 0, &[("x", 1)]);
    bench.step(Input::Disconnected(member("b")));
    for _ in 0..9 {
        bench.wait(SECOND);
        bench.count("a", 0, &[("x", 0)]);
    }
    assert_eq!(bench.scaler.counts(bench.now, NAME).in_flight, 1, "its last word stands");
    for _ in 0..60 {
        bench.wait(SECOND);
        bench.count("a", 0, &[("x", 0)]);
    }
    assert_eq!(bench.scaler.counts(bench.now, NAME).in_flight, 0, "but not for ever");
    assert_eq!((bench.writes.clone(), bench.marks.clone(), bench.listed()), (vec![], vec![], vec![address("x")]));
    assert_eq!(bench.reports.iter().filter(|line| line.contains("is not heard")).count(), 1, "{:?}", bench.reports);
    bench.step(Input::Running(BTreeSet::from([member("a")])));
    bench.marked();
    bench.applied("a");
    bench.count("a", 0, &[]);
    assert_eq!(bench.writes, [(1, 0)]);
}

#[test]
fn a_gateway_that_has_never_counted_keeps_everything_too() {
    let mut bench = Bench::warm(bounds(), &["x"]);
    bench.step(Input::Running(BTreeSet::from([member("a"), member("b"), member("c")])));
    bench.idle(30, &[("x", 0)]);
    assert_eq!((bench.writes.clone(), bench.marks.clone()), (vec![], vec![]));
}

#[test]
fn one_of_two_stops_marked_and_left_and_only_when_no_other_could_be_taken() {
    let mut bench = Bench::warm(bounds(), &["x", "y"]);
    for _ in 0..30 {
        bench.wait(SECOND);
        bench.count("a", 0, &[("x", 1), ("y", 0)]);
        bench.count("b", 0, &[("x", 0), ("y", 0)]);
    }
    bench.marks.dedup();
    assert_eq!((bench.marks.clone(), bench.listed()), (vec![("y".to_owned(), true)], vec![address("x")]));
    bench.marked();
    // the other one falls out of readiness: Kubernetes would take it first
    bench.workload.pods[0].ready = false;
    bench.step(Input::Seen(NAME.into(), bench.workload.clone()));
    for (name, in_flight) in [("a", 1), ("b", 0)] {
        bench.applied(name);
        bench.count(name, 0, &[("x", in_flight)]);
    }
    assert_eq!(bench.writes, []);
    bench.workload.pods[0].ready = true;
    bench.step(Input::Seen(NAME.into(), bench.workload.clone()));
    assert_eq!(bench.writes, [(2, 1)]);
}

#[test]
fn not_the_leader_starts_from_nothing_when_the_leader_does_not_and_does_nothing_else() {
    let mut bench = Bench::new(bounds());
    bench.step(Input::Leading(false));
    bench.count("a", 5, &[]);
    assert_eq!(bench.writes, [], "the leader first");
    bench.wait(SECOND);
    assert_eq!(bench.writes, [(0, 1)]);
    bench.done(vec![pod("x", true)]);
    bench.count("a", 50, &[("x", 1)]);
    bench.wait(SECOND);
    bench.idle(60, &[("x", 0)]);
    assert_eq!((bench.writes.len(), bench.marks.len()), (1, 0));
    bench.show(vec![PodSeen { closing: true, ..pod("x", true) }]);
    assert_eq!((bench.listed(), bench.activation()), (vec![], &Activation::Closing), "the leader closes it");
    bench.show(vec![pod("x", true)]);
    assert_eq!(bench.listed(), [address("x")], "and opens it again");
}

#[test]
fn not_the_leader_starts_nothing_for_what_a_gateway_counted_that_left_it() {
    let mut bench = Bench::new(bounds());
    bench.step(Input::Leading(false));
    bench.count("a", 5, &[]);
    bench.step(Input::Disconnected(member("a")));
    bench.wait(20 * SECOND);
    assert_eq!(bench.writes, []);
    bench.step(Input::Connected(member("a")));
    bench.count("a", 5, &[]);
    bench.wait(SECOND);
    assert_eq!(bench.writes, [(0, 1)], "it is back, and requests wait");
}

#[test]
fn only_a_leader_says_that_gateways_are_silent_and_a_new_one_gives_them_time() {
    let mut bench = Bench::new(bounds());
    let silent = |bench: &Bench| bench.reports.iter().filter(|line| line.contains("is not heard")).count();
    bench.step(Input::Leading(false));
    bench.wait(60 * SECOND);
    assert_eq!(silent(&bench), 0, "they follow another: {:?}", bench.reports);
    bench.step(Input::Leading(true));
    bench.wait(SECOND);
    bench.count("a", 0, &[]);
    assert_eq!(bench.reports.len(), 0, "{:?}", bench.reports);
    bench.idle(5, &[]);
    bench.step(Input::Disconnected(member("b")));
    (0..20).for_each(|_| {
        bench.wait(SECOND);
        bench.count("a", 0, &[]);
    });
    assert_eq!(silent(&bench), 1, "one is not there: {:?}", bench.reports);
}

#[test]
fn somebody_else_who_writes_replicas_is_left_to_it_until_it_is_handed_back() {
    let mut bench = Bench::warm(bounds(), &["x"]);
    let scale = bench.workload.scale.as_mut().expect("there");
    (scale.version, scale.replicas) = (9, 0);
    bench.show(vec![]);
    assert_eq!(bench.stamps, [OWNER_OTHER]);
    assert!(
        bench.reports.iter().any(|line| line.contains("remove the annotation headgate.dev/scaled-by")),
        "{:?}",
        bench.reports
    );
    bench.count("a", 5, &[]);
    bench.wait(SECOND);
    assert_eq!(bench.writes, []);
    let Activation::Broken { reason } = bench.activation() else { panic!("{:?}", bench.activation()) };
    assert!(reason.contains("somebody else decides"), "{reason}");
    for owner in [Some(OWNER_OTHER), None] {
        let scale = bench.workload.scale.as_mut().expect("there");
        (scale.version, scale.scaled_by) = (scale.version + 1, owner.map(str::to_owned));
        bench.step(Input::Seen(NAME.into(), bench.workload.clone()));
    }
    assert_eq!(bench.writes, [(0, 5)]);
}

#[test]
fn a_hand_on_a_target_that_is_newer_than_the_leader_is_left_to_it_too() {
    let mut bench = Bench::new(bounds());
    let target = TargetSpec { name: "default/new".into(), ..spec(bounds()) };
    bench.step(Input::Targets(vec![target]));
    let scale = |version, replicas| Scale { version, replicas, uid: "n".into(), scaled_by: Some("headgate".into()) };
    for (version, replicas) in [(1, 0), (2, 3)] {
        let workload = Workload { scale: Some(scale(version, replicas)), ..Workload::default() };
        bench.step(Input::Seen("default/new".into(), workload));
    }
    assert_eq!(bench.stamps, [OWNER_OTHER]);
    bench.idle(60, &[]);
    assert_eq!(bench.writes, []);
}

#[test]
fn what_another_installation_scales_is_left_to_it_and_told() {
    let mut bench = Bench::warm(bounds(), &["x"]);
    let scale = bench.workload.scale.as_mut().expect("there");
    (scale.version, scale.scaled_by) = (9, Some(owner("other.example/controller").into()));
    bench.show(vec![]);
    bench.count("a", 5, &[]);
    bench.idle(60, &[]);
    assert_eq!((&bench.writes, &bench.stamps), (&vec![], &vec![]));
    let told = bench.state.as_ref().and_then(|state| state.scaled_by.as_deref());
    assert_eq!(told, Some("other.example/controller"));
}

#[test]
fn a_start_by_another_controller_is_no_foreign_write() {
    let mut bench = Bench::new(bounds());
    let scale = bench.workload.scale.as_mut().expect("there");
    (scale.version, scale.replicas) = (9, 1);
    bench.show(vec![pod("x", false)]);
    assert_eq!(bench.stamps, Vec::<&str>::new());
}

#[test]
fn an_image_that_cannot_be_pulled_answers_at_once_and_a_mended_one_serves() {
    let mut bench = Bench::new(bounds());
    bench.count("a", 1, &[]);
    let trouble = Trouble { reason: "ErrImagePull".into(), message: "x:1: not found".into(), is_fatal: true };
    bench.done(vec![PodSeen { trouble: Some(trouble), ..pod("x", false) }]);
    assert_eq!(bench.activation(), &Activation::Broken { reason: "ErrImagePull: x:1: not found".into() });
    bench.idle(60, &[]);
    assert_eq!(bench.writes.len(), 1, "Kubernetes tries again, so the Pod stays");
    bench.show(vec![pod("x", false)]);
    assert_eq!(bench.activation(), &Activation::Waking);
    bench.show(vec![pod("x", true)]);
    assert_eq!(bench.activation(), &Activation::Ready);
}

#[test]
fn the_third_exit_breaks_and_a_broken_one_that_nobody_asks_for_is_given_up() {
    let mut bench = Bench::new(bounds());
    bench.count("a", 1, &[]);
    bench.done(vec![pod("x", false)]);
    for exits in 1..=3 {
        bench.wait(SECOND);
        assert_eq!(bench.activation(), &Activation::Waking, "{exits}");
        let exit = Some("exited with code 3".to_owned());
        bench.show(vec![PodSeen { exits, last_exit: exit, ..pod("x", false) }]);
    }
    assert_eq!(bench.activation(), &Activation::Broken { reason: "exited with code 3".into() });
    bench.idle(200, &[]);
    assert_eq!(bench.writes.len(), 1);
    bench.idle(200, &[]);
    bench.marked();
    bench.idle(2, &[]);
    assert_eq!(bench.writes.last(), Some(&(1, 0)));
}

#[test]
fn a_pod_that_cannot_be_scheduled_is_said_and_waited_for() {
    let mut bench = Bench::new(bounds());
    bench.count("a", 1, &[]);
    let trouble = Trouble { reason: "Unschedulable".into(), message: "0/3 nodes".into(), is_fatal: false };
    bench.done(vec![PodSeen { ip: None, trouble: Some(trouble), ..pod("x", false) }]);
    let state = bench.state.clone().expect("published");
    assert_eq!((state.trouble.as_deref(), bench.activation()), (Some("Unschedulable: 0/3 nodes"), &Activation::Waking));
    bench.wait(31 * SECOND);
    assert!(matches!(bench.activation(), Activation::Broken { reason } if reason.contains("0/3 nodes")));
}

#[test]
fn a_write_that_fails_is_tried_again_and_said() {
    let mut bench = Bench::new(bounds());
    bench.count("a", 1, &[]);
    bench.step(Input::Written(NAME.into(), Outcome::Failed { reason: "etcd is slow".into() }));
    assert_eq!(bench.writes.len(), 1);
    bench.wait(1100 * MS);
    assert_eq!(bench.writes.len(), 2);
    bench.step(Input::Written(NAME.into(), Outcome::Conflict));
    bench.wait(300 * MS);
    assert_eq!(bench.writes.len(), 3);
    assert!(bench.reports.iter().any(|line| line.contains("etcd is slow")));
}

#[test]
fn a_workload_that_does_not_exist_is_said_to_whoever_waits() {
    let mut bench = Bench::new(bounds());
    bench.step(Input::Seen(NAME.into(), Workload::default()));
    bench.count("a", 1, &[]);
    assert_eq!(bench.activation(), &Activation::Waking, "it may be on its way");
    bench.wait(6 * SECOND);
    assert!(matches!(bench.activation(), Activation::Broken { reason } if reason.contains("no workload")));
}

#[test]
fn a_target_with_bounds_of_nothing_closes_whatever_is_asked_of_it() {
    let mut bench = Bench::warm(bounds(), &["x"]);
    bench.step(Input::Targets(vec![spec(Bounds { max: 0, ..bounds() })]));
    bench.marked();
    for name in ["a", "b"] {
        bench.applied(name);
        bench.count(name, 3, &[]);
    }
    assert!(bench.scaler.is_left(NAME));
    assert_eq!(bench.writes, [(1, 0)]);
}

#[test]
fn a_port_that_the_pods_cannot_serve_is_answered_with_the_reason_and_others_are_served() {
    let mut spec = spec(bounds());
    let other = BackendName { port: 81, ..spec.backends[0].backend.clone() };
    spec.faulty = vec![(other, "no such port".into())];
    let state = Bench::of(spec).state.expect("it is published");
    let activations = state.endpoints.iter().map(|one| (one.backend.port, one.activation.clone()));
    let expected = [(80, Activation::Ready), (81, Activation::Broken { reason: "no such port".into() })];
    assert_eq!(activations.collect::<Vec<_>>(), expected);
}
