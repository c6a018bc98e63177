//! One target of a cluster: what is seen of it, what is wanted, and the next step towards that. It never writes and never waits.

use super::{
    Action, Counts, OWNER_OTHER, Outcome, Report, Scale, StopOrder, TargetSpec, TargetState, Workload,
    gateways::{Gateways, Leaving},
};
use crate::scaling::{Autoscaler, Backoff, Desired, Observation, Reason};
use headgate_config::{Activation, Endpoint, Endpoints, GatewayName, Probe};
use headgate_functions::PodSeen;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// A Pod that served this long is no failed start when it ends.
const STEADY: Duration = Duration::from_secs(10);
/// A broken target keeps a Pod as long as somebody asked for it within this time.
const INTEREST: Duration = Duration::from_secs(300);
/// How long the leader is given to start a cold target before another controller does.
const PATIENCE: Duration = Duration::from_millis(500);
/// A write that nobody tells the outcome of is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// After a conflict a watch will tell what stands there.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);
const WRITE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// An annotation that a watch does not show is written again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// What a leader before us has ordered may still arrive.
const HANDOVER: Duration = Duration::from_secs(15);
/// A workload that was just made may not be seen yet.
const MISSING_LIMIT: Duration = Duration::from_secs(5);
/// A Pod that was to be stopped, and another was instead, is opened again.
const CUT_LIMIT: Duration = Duration::from_secs(10);

/// The state of one target.
#[derive(Debug)]
pub(super) struct Target {
    spec: TargetSpec,
    /// A watch has said what there is, which may be nothing. Before that nobody is told of endpoints: there may be some already.
    is_seen: bool,
    scale: Option<Scale>,
    /// There has been no such object since then.
    missing_since: Option<Instant>,
    pods: BTreeMap<String, Pod>,
    /// What keeps the workload from making Pods.
    trouble: Option<String>,
    autoscaler: Autoscaler,
    backoff: Backoff,
    counts: Counts,
    /// Arrivals that the autoscaler has not seen.
    arrivals_new: u64,
    asked_at: Option<Instant>,
    /// Since when somebody has waited while nothing was ordered.
    cold_since: Option<Instant>,
    desired: Desired,
    write: Option<Write>,
    writes_failed: u32,
    write_not_before: Option<Instant>,
    owner: Owner,
    leading_since: Option<Instant>,
    published: Option<TargetState>,
    settled_at: Option<Instant>,
}

/// The last write of replicas.
#[derive(Debug)]
struct Write {
    to: u32,
    at: Instant,
    /// Its outcome is not known.
    is_pending: bool,
    /// The Pods that are to stop with it.
    cuts: Vec<String>,
}

/// Who writes replicas.
#[derive(Debug)]
struct Owner {
    /// What the annotation says where we do.
    ours: Arc<str>,
    /// Somebody else was seen to write, and the annotation may not say so yet.
    foreign: Option<Foreign>,
    /// The annotation that was asked for, and when.
    asked: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Foreign {
    /// The annotation has said so: from then on it alone decides.
    is_written: bool,
}

#[derive(Debug)]
struct Pod {
    seen: PodSeen,
    first_seen: Instant,
    /// When the start that is under way began.
    attempt_at: Instant,
    exits_counted: u32,
    is_ready: bool,
    ready_at: Option<Instant>,
    /// The fatal trouble that was counted.
    troubled: Option<String>,
    is_slow: bool,
    closing: Option<Closing>,
    /// A write that stops it has succeeded.
    cut_at: Option<Instant>,
    /// The annotation that was asked for, and when.
    asked: Option<(bool, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Closing {
    since: Instant,
    /// The version of the first state without it.
    version: u64,
    /// When its annotation was seen.
    marked_at: Option<Instant>,
}

impl Pod {
    fn new(now: Instant, seen: PodSeen) -> Self {
        Self {
            seen,
            first_seen: now,
            attempt_at: now,
            exits_counted: 0,
            is_ready: false,
            ready_at: None,
            troubled: None,
            is_slow: false,
            closing: None,
            cut_at: None,
            asked: None,
        }
    }

    /// It is in the endpoint list, as soon as it has an address.
    fn is_open(&self) -> bool {
        self.seen.is_live() && self.closing.is_none()
    }

    /// The end of the name of a StatefulSet's Pod.
    fn ordinal(&self) -> u32 {
        self.seen.name.rsplit('-').next().and_then(|end| end.parse().ok()).unwrap_or_default()
    }

    /// It is to be stopped, and could still be opened.
    fn is_leaving(&self) -> bool {
        self.seen.is_live() && self.closing.is_some() && self.cut_at.is_none()
    }

    /// The word of the annotation, unless it was asked to be another.
    fn heed_mark(&mut self, now: Instant, version: u64) {
        if let Some((wanted, _)) = self.asked {
            if self.seen.closing != wanted {
                return;
            }
            self.asked = None;
        }
        match (&mut self.closing, self.seen.closing) {
            (Some(closing), true) => drop(closing.marked_at.get_or_insert(now)),
            (closing @ None, true) => *closing = Some(Closing { since: now, version, marked_at: Some(now) }),
            (closing @ Some(_), false) if self.cut_at.is_none() => *closing = None,
            (_, false) => {}
        }
    }
}

impl Target {
    pub fn new(now: Instant, spec: TargetSpec, owner: Arc<str>, leading_since: Option<Instant>) -> Self {
        Self {
            spec,
            is_seen: false,
            scale: None,
            missing_since: Some(now),
            pods: BTreeMap::new(),
            trouble: None,
            autoscaler: Autoscaler::default(),
            backoff: Backoff::default(),
            counts: Counts::default(),
            arrivals_new: 0,
            asked_at: None,
            cold_since: None,
            desired: Desired { replicas: 0, reason: Reason::Idle, next_evaluation: None },
            write: None,
            writes_failed: 0,
            write_not_before: None,
            owner: Owner::new(owner),
            leading_since,
            published: None,
            settled_at: None,
        }
    }

    pub fn is_of(&self, spec: &TargetSpec) -> bool {
        self.spec == *spec
    }

    pub fn change(&mut self, spec: TargetSpec) {
        self.spec = spec;
    }

    pub fn state(&self) -> Option<&TargetState> {
        self.published.as_ref()
    }

    pub fn retry(&mut self) {
        self.backoff.succeeded();
    }

    /// This controller is the leader from now on.
    pub fn take_over(&mut self, now: Instant) {
        self.leading_since = Some(now);
        self.owner = Owner::new(self.owner.ours.clone());
    }

    pub fn is_closing(&self) -> bool {
        self.pods.values().any(Pod::is_leaving)
    }

    /// Nobody scales it any more: no Pod is kept from requests.
    pub fn release(&mut self, actions: &mut Vec<Action>) {
        for pod in self.pods.values().filter(|pod| pod.is_leaving()) {
            actions.push(self.mark(pod, false));
        }
    }

    /// Requests came.
    pub fn arrive(&mut self, now: Instant, arrivals: u64, counts: Counts) {
        self.arrivals_new += arrivals;
        if arrivals > 0 || counts.in_flight > 0 || counts.queued > 0 {
            self.asked_at = Some(now);
        }
    }
}

/// What a watch shows.
impl Target {
    pub fn see(&mut self, now: Instant, leading: bool, workload: Workload, actions: &mut Vec<Action>) {
        self.is_seen = true;
        self.trouble = workload.trouble.as_ref().map(headgate_functions::Trouble::line);
        self.see_scale(now, leading, workload.scale, actions);
        self.see_pods(now, workload.pods);
        let was_broken = self.backoff.broken().is_some();
        self.count_failures(now);
        if let Some(trouble) = workload.trouble.filter(|trouble| trouble.is_fatal && !was_broken) {
            self.backoff.hopeless(now, &trouble.line());
        }
        if let Some(reason) = self.backoff.broken().filter(|_| !was_broken && leading) {
            let (target, reason) = (self.spec.label.clone(), reason.to_owned());
            actions.push(Action::Report(Report::Broken { target, reason }));
        }
    }

    fn see_scale(&mut self, now: Instant, leading: bool, seen: Option<Scale>, actions: &mut Vec<Action>) {
        let Some(seen) = seen else {
            self.scale = None;
            self.write = None;
            self.missing_since.get_or_insert(now);
            return;
        };
        self.missing_since = None;
        let Some(known) = self.scale.as_ref().filter(|known| known.uid == seen.uid) else {
            self.write = None;
            self.owner = Owner::new(self.owner.ours.clone());
            self.scale = Some(seen);
            return;
        };
        if seen.version < known.version {
            return;
        }
        let controls = self.controls();
        let before = known.replicas;
        self.heed_owner(&seen, leading, actions);
        let replicas = seen.replicas;
        self.scale = Some(seen);
        if replicas == before {
            return;
        }
        if self.write.as_ref().is_some_and(|write| write.to == replicas) {
            self.note_cuts(now);
        } else if leading && controls && self.controls() && !self.is_expected(now, before, replicas) {
            self.owner.foreign = Some(Foreign { is_written: false });
            let target = self.spec.label.clone();
            actions.push(Action::Report(Report::HandedOff { target, replicas }));
        }
    }

    /// What another controller of ours writes: a start from nothing, or what it ordered as the leader before us.
    fn is_expected(&self, now: Instant, before: u32, replicas: u32) -> bool {
        let handover = self.leading_since.is_none_or(|since| now < since + HANDOVER);
        handover || (before == 0 && replicas == self.first_replicas())
    }

    fn heed_owner(&mut self, seen: &Scale, leading: bool, actions: &mut Vec<Action>) {
        let is_ours = self.owner.is_ours(seen);
        let was_foreign = self.scale.as_ref().is_some_and(|scale| !self.owner.is_ours(scale));
        if let Some(foreign) = &mut self.owner.foreign {
            foreign.is_written |= !is_ours;
            if !foreign.is_written {
                return;
            }
        }
        if is_ours {
            let returned = self.owner.foreign.take().is_some() || was_foreign;
            if returned && leading {
                actions.push(Action::Report(Report::HandedBack { target: self.spec.label.clone() }));
            }
        }
    }

    fn see_pods(&mut self, now: Instant, seen: Vec<PodSeen>) {
        let version = self.next_version();
        let names: BTreeSet<String> = seen.iter().map(|pod| pod.name.clone()).collect();
        self.pods.retain(|name, _| names.contains(name));
        for seen in seen {
            let pod = self.pods.entry(seen.name.clone()).or_insert_with(|| Pod::new(now, seen.clone()));
            pod.seen = seen;
            pod.heed_mark(now, version);
        }
    }

    fn count_failures(&mut self, now: Instant) {
        let backoff = &mut self.backoff;
        let had_trouble = self.pods.values().any(|pod| pod.troubled.is_some());
        for pod in self.pods.values_mut().filter(|pod| pod.seen.is_live()) {
            let news = pod.seen.exits.saturating_sub(pod.exits_counted);
            pod.exits_counted = pod.seen.exits;
            if news > 0 {
                let steady = pod.ready_at.take().is_some_and(|at| now - at >= STEADY);
                let reason = pod.seen.last_exit.as_deref().unwrap_or("it ended before it was ready");
                // one that is ready now has got over what was before this controller saw it
                let past = pod.seen.ready && pod.first_seen == now;
                let counts = !steady && !past;
                (0..news.min(3)).filter(|_| counts).for_each(|_| backoff.failed(now, pod.attempt_at, reason));
                pod.attempt_at = now;
            }
            let fatal = pod.seen.trouble.as_ref().filter(|trouble| trouble.is_fatal).map(|trouble| trouble.line());
            if let Some(line) = fatal.as_deref().filter(|line| pod.troubled.as_deref() != Some(line)) {
                backoff.hopeless(now, line);
            }
            pod.troubled = fatal;
        }
        if had_trouble && self.pods.values().all(|pod| pod.troubled.is_none()) {
            // the image is there at last: whoever comes now waits for it
            backoff.serves();
        }
    }

    /// What became of a write.
    pub fn written(&mut self, now: Instant, outcome: Outcome, actions: &mut Vec<Action>) {
        let Some(write) = self.write.as_mut().filter(|write| write.is_pending) else { return };
        write.is_pending = false;
        let to = write.to;
        match outcome {
            Outcome::Done { version } => {
                self.writes_failed = 0;
                self.note_cuts(now);
                // what a watch has shown meanwhile is newer
                if let Some(scale) = self.scale.as_mut().filter(|scale| scale.version <= version) {
                    (scale.version, scale.replicas) = (version, to);
                }
            }
            Outcome::Conflict => self.write_not_before = Some(now + CONFLICT_PAUSE),
            Outcome::Failed { reason } => {
                let pause = Duration::from_secs(1 << self.writes_failed.min(4)).min(WRITE_PAUSE_MAX);
                self.writes_failed = self.writes_failed.saturating_add(1);
                self.write_not_before = Some(now + pause);
                let target = self.spec.label.clone();
                actions.push(Action::Report(Report::WriteFailed { target, reason }));
            }
        }
    }

    fn note_cuts(&mut self, now: Instant) {
        let cuts = self.write.as_mut().map(|write| std::mem::take(&mut write.cuts)).unwrap_or_default();
        for name in cuts {
            if let Some(pod) = self.pods.get_mut(&name) {
                pod.cut_at = Some(now);
            }
        }
    }
}

impl Owner {
    fn new(ours: Arc<str>) -> Self {
        Self { ours, foreign: None, asked: None }
    }

    fn is_ours(&self, scale: &Scale) -> bool {
        scale.scaled_by.as_deref().is_none_or(|owner| owner == &*self.ours)
    }
}

/// The next step.
impl Target {
    /// Brings what is there to what should be. With nothing new since the last call it does nothing.
    pub fn settle(&mut self, now: Instant, leading: bool, gateways: &Gateways, actions: &mut Vec<Action>) {
        self.counts = gateways.counts(now, &self.spec.name);
        self.give_up_write(now);
        self.note_readiness(now, leading, gateways, actions);
        self.note_slow_starts(now, leading, actions);
        self.note_success(now);
        self.evaluate(now);
        if leading {
            self.stamp(now, actions);
        }
        if self.controls() && self.scale.is_some() {
            self.note_cold(now);
            if leading {
                let of = self.relevant(gateways);
                self.mend_cuts(now, actions);
                self.grow(now, actions);
                self.shrink(now, gateways, &of, actions);
                self.cut(now, gateways, &of, actions);
                self.ask_again(now, actions);
            } else {
                self.wake(now, gateways, actions);
            }
        }
        self.settled_at = Some(now);
        self.publish(gateways, actions);
    }

    /// Whether replicas are ours to write.
    fn controls(&self) -> bool {
        self.owner.foreign.is_none() && self.scale.as_ref().is_none_or(|scale| self.owner.is_ours(scale))
    }

    fn replicas(&self) -> u32 {
        self.scale.as_ref().map_or(0, |scale| scale.replicas)
    }

    /// Replicas that serve or will.
    fn live(&self) -> u32 {
        self.replicas().saturating_sub(self.count(Pod::is_leaving))
    }

    fn count(&self, which: impl Fn(&Pod) -> bool) -> u32 {
        u32::try_from(self.pods.values().filter(|pod| which(pod)).count()).unwrap_or(u32::MAX)
    }

    /// Replicas of which no Pod is seen yet.
    fn absent(&self) -> u32 {
        self.replicas().saturating_sub(self.count(|pod| pod.seen.is_live() && pod.cut_at.is_none()))
    }

    fn most(&self) -> u32 {
        self.spec.bounds.max.max(self.spec.bounds.min)
    }

    /// How many a start from nothing makes, whichever controller does it; the leader makes the rest.
    fn first_replicas(&self) -> u32 {
        self.spec.bounds.min.max(1).min(self.most())
    }

    /// The Gateways whose Pods may send to it: those of its routes, and those that list it still.
    fn relevant(&self, gateways: &Gateways) -> BTreeSet<GatewayName> {
        self.spec.gateways.iter().chain(gateways.users(&self.spec.name)).cloned().collect()
    }

    fn give_up_write(&mut self, now: Instant) {
        if let Some(write) = self.write.as_mut().filter(|write| write.is_pending && write.at + WRITE_LIMIT <= now) {
            write.is_pending = false;
        }
    }

    fn note_readiness(&mut self, now: Instant, leading: bool, gateways: &Gateways, actions: &mut Vec<Action>) {
        for (name, pod) in self.pods.iter_mut().filter(|(_, pod)| pod.seen.is_live()) {
            let found = || pod.seen.ip.is_some_and(|ip| gateways.finds_ready(&self.spec.name, ip));
            pod.is_ready = pod.seen.ready || (pod.troubled.is_none() && found());
            if !pod.is_ready || pod.ready_at.is_some() {
                continue;
            }
            pod.ready_at = Some(now);
            self.backoff.serves();
            if leading {
                let (target, pod, after) = (self.spec.label.clone(), name.clone(), now - pod.first_seen);
                actions.push(Action::Report(Report::Ready { target, pod, after }));
            }
        }
    }

    fn note_slow_starts(&mut self, now: Instant, leading: bool, actions: &mut Vec<Action>) {
        let limit = self.spec.start_limit;
        for pod in self.pods.values_mut().filter(|pod| pod.is_open() && pod.ready_at.is_none() && !pod.is_slow) {
            if pod.attempt_at + limit > now {
                continue;
            }
            pod.is_slow = true;
            let reason = match &pod.seen.trouble {
                Some(trouble) => trouble.line(),
                None => format!("was not ready within {} s: {}", limit.as_secs(), self.spec.advice.as_str()),
            };
            self.backoff.hopeless(now, &reason);
            if leading {
                let target = self.spec.label.clone();
                actions.push(Action::Report(Report::Broken { target, reason }));
            }
        }
    }

    fn note_success(&mut self, now: Instant) {
        let steady = |pod: &Pod| pod.is_ready && pod.ready_at.is_some_and(|at| now - at >= STEADY);
        if self.backoff.remembers() && self.pods.values().any(steady) {
            self.backoff.succeeded();
        }
        let interested = self.spec.bounds.min > 0 || self.interest_ends().is_some_and(|at| at > now);
        if self.backoff.broken().is_some() && !interested && self.replicas() == 0 {
            self.backoff.forget_gently();
        }
    }

    fn interest_ends(&self) -> Option<Instant> {
        Some(self.asked_at? + INTEREST)
    }

    fn evaluate(&mut self, now: Instant) {
        let starts = self.pods.values().any(|pod| pod.is_open() && !pod.is_ready);
        if (starts || self.absent() > 0) && self.backoff.broken().is_none() {
            self.autoscaler.keep_awake(now);
        }
        let seen = Observation {
            in_flight: self.counts.in_flight,
            queued: self.counts.queued,
            mean: None,
            arrivals: std::mem::take(&mut self.arrivals_new),
            ready: self.count(|pod| pod.is_open() && pod.is_ready),
            live: self.live(),
        };
        self.desired = self.autoscaler.evaluate(now, &seen, &self.spec.bounds);
        // a broken target answers at once, so that demand does not show; its Pod is kept all the same
        let interested = self.interest_ends().is_some_and(|at| at > now);
        if self.backoff.broken().is_some() && self.desired.replicas == 0 && interested {
            self.desired.replicas = 1.min(self.most());
            self.desired.reason = Reason::Demand;
        }
    }

    fn note_cold(&mut self, now: Instant) {
        match self.replicas() == 0 && self.desired.replicas > 0 {
            true => drop(self.cold_since.get_or_insert(now)),
            false => self.cold_since = None,
        }
    }

    /// The word of who scales it is on the workload, for people and for other scalers.
    fn stamp(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(scale) = &self.scale else { return };
        let wanted = match (&self.owner.foreign, scale.scaled_by.as_deref()) {
            (Some(Foreign { is_written: false }), _) => OWNER_OTHER,
            (None, None) => &self.owner.ours,
            _ => {
                self.owner.asked = None;
                return;
            }
        };
        let is_asked = self.owner.asked.as_ref().is_some_and(|(asked, at)| asked == wanted && *at + ASK_AGAIN > now);
        if !is_asked {
            let (owner, version) = (wanted.to_owned(), scale.version);
            self.owner.asked = Some((owner.clone(), now));
            actions.push(Action::Stamp { target: self.spec.name.clone(), version, owner });
        }
    }

    /// Not the leader: a cold target that somebody waits for is started if the leader does not.
    fn wake(&mut self, now: Instant, gateways: &Gateways, actions: &mut Vec<Action>) {
        if self.cold_since.is_some_and(|since| since + PATIENCE <= now) && gateways.waits(&self.spec.name) {
            self.set_replicas(now, self.first_replicas(), Vec::new(), actions);
        }
    }

    /// Opens again what is closing, before it asks for more.
    fn grow(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let mut missing = self.desired.replicas.saturating_sub(self.live());
        if missing == 0 {
            return;
        }
        let bound: Vec<String> = match &self.write {
            Some(write) if write.is_pending => write.cuts.clone(),
            _ => Vec::new(),
        };
        let leaving = self.pods.iter().filter(|(name, pod)| pod.is_leaving() && !bound.contains(name));
        let mut names: Vec<(u32, String)> = leaving.map(|(name, pod)| (self.turn(pod), name.clone())).collect();
        names.sort();
        names.truncate(missing as usize);
        missing -= u32::try_from(names.len()).unwrap_or(missing);
        let names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
        for name in &names {
            if let Some(pod) = self.pods.get_mut(name) {
                (pod.closing, pod.asked) = (None, Some((false, now)));
            }
        }
        actions.extend(names.iter().filter_map(|name| Some(self.mark(self.pods.get(name)?, false))));
        let tries_one = self.backoff.is_careful() && self.live() > 0;
        if missing > 0 && !tries_one {
            let most = if self.backoff.is_careful() { 1 } else { missing };
            let to = self.replicas().saturating_add(most).min(self.most());
            if to > self.replicas() {
                self.set_replicas(now, to, Vec::new(), actions);
            }
        }
    }

    /// Where the workload itself has an order, the later it stops the less; otherwise all are equal.
    fn turn(&self, pod: &Pod) -> u32 {
        match self.spec.stops {
            StopOrder::Marked => 0,
            StopOrder::LastOrdinal => pod.ordinal(),
        }
    }

    /// Closes what serves least: not ready before ready, as Kubernetes stops them, then idle before busy and young before old. Of a
    /// workload with an order, the last.
    fn shrink(&mut self, now: Instant, gateways: &Gateways, of: &BTreeSet<GatewayName>, actions: &mut Vec<Action>) {
        let excess = self.live().saturating_sub(self.desired.replicas).saturating_sub(self.absent());
        if excess == 0 || !gateways.are_heard(of) {
            return;
        }
        let version = self.next_version();
        let mut open: Vec<&String> = self.pods.iter().filter(|(_, pod)| pod.is_open()).map(|(name, _)| name).collect();
        open.sort_by_key(|name| {
            let pod = &self.pods[*name];
            let in_flight = pod.seen.ip.map_or(0, |ip| gateways.in_flight(&self.spec.name, ip));
            (Reverse(self.turn(pod)), pod.seen.ready, pod.is_ready, in_flight, Reverse(pod.first_seen))
        });
        let chosen: Vec<String> = open.into_iter().take(excess as usize).cloned().collect();
        for name in chosen {
            let Some(pod) = self.pods.get_mut(&name) else { continue };
            pod.closing = Some(Closing { since: now, version, marked_at: None });
            pod.asked = Some((true, now));
            let (target, reason) = (self.spec.label.clone(), self.desired.reason);
            actions.push(self.mark(&self.pods[&name], true));
            actions.push(Action::Report(Report::Closing { target, pod: name, reason }));
        }
    }

    /// Stops all that is closing, once everybody has left all of it.
    ///
    /// Kubernetes chooses which Pods stop: not ready before ready, then by the deletion cost that the mark carries. So all marked
    /// ones stop with one write, and not before no other one could be taken in their place.
    fn cut(&mut self, now: Instant, gateways: &Gateways, of: &BTreeSet<GatewayName>, actions: &mut Vec<Action>) {
        let leaving: Vec<&Pod> = self.pods.values().filter(|pod| pod.is_leaving()).collect();
        let open: Vec<&Pod> = self.pods.values().filter(|pod| pod.is_open()).collect();
        let absent = self.absent();
        let surplus = absent.min(self.live().saturating_sub(self.desired.replicas));
        let asked = self.pods.values().any(|pod| pod.seen.is_live() && pod.asked.is_some());
        if (leaving.is_empty() && surplus == 0) || asked || !gateways.are_heard(of) {
            return;
        }
        if !leaving.iter().all(|pod| self.is_drained(now, pod, gateways, of)) {
            return;
        }
        let overdue = leaving.iter().any(|pod| self.is_overdue(now, pod));
        let (ready, unready) = (|pod: &&Pod| pod.seen.ready, |pod: &&Pod| !pod.seen.ready);
        let might_take_another = match self.spec.stops {
            StopOrder::Marked => open.iter().any(unready) && (surplus > 0 || leaving.iter().any(ready)),
            StopOrder::LastOrdinal => {
                let first = leaving.iter().map(|pod| pod.ordinal()).min();
                open.iter().any(|pod| first.is_some_and(|first| pod.ordinal() > first))
            }
        };
        if (might_take_another || absent > surplus) && !overdue {
            return;
        }
        let to = self.replicas().saturating_sub(surplus + leaving.len() as u32);
        // Pods that nobody has shown us yet could be listed by the gateways of another controller
        if to == 0 && (!open.is_empty() || (leaving.is_empty() && !gateways.list_nothing(&self.spec.name, of))) {
            return;
        }
        let cuts = leaving.iter().map(|pod| pod.seen.name.clone()).collect();
        self.set_replicas(now, to, cuts, actions);
    }

    fn is_overdue(&self, now: Instant, pod: &Pod) -> bool {
        pod.closing.is_some_and(|closing| closing.since + self.spec.drain_limit <= now)
    }

    fn is_drained(&self, now: Instant, pod: &Pod, gateways: &Gateways, of: &BTreeSet<GatewayName>) -> bool {
        let Some(closing) = pod.closing.filter(|closing| closing.marked_at.is_some()) else { return false };
        let leaving = Leaving {
            target: &self.spec.name,
            ip: pod.seen.ip,
            version: closing.version,
            marked_at: closing.marked_at,
            is_overdue: self.is_overdue(now, pod),
        };
        gateways.have_left(&leaving, of)
    }

    /// Whether every gateway has left all of its Pods, and they are about to stop.
    pub fn is_left(&self, gateways: &Gateways) -> bool {
        let of = self.relevant(gateways);
        let Some(at) = self.settled_at else { return false };
        let is_left = |pod: &Pod| pod.cut_at.is_some() || self.is_drained(at, pod, gateways, &of);
        self.pods.values().filter(|pod| pod.seen.is_live()).all(is_left)
    }

    /// Kubernetes has stopped another Pod than the one that was left: it serves on.
    fn mend_cuts(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let over = self.count(|pod| pod.seen.is_live()) > self.replicas();
        let late = |pod: &Pod| pod.cut_at.is_some_and(|at| at + CUT_LIMIT <= now) && pod.seen.is_live();
        let names: Vec<String> =
            self.pods.iter().filter(|(_, pod)| late(pod) && !over).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(pod) = self.pods.get_mut(&name) else { continue };
            (pod.cut_at, pod.closing, pod.asked) = (None, None, Some((false, now)));
            actions.push(self.mark(&self.pods[&name], false));
        }
    }

    fn ask_again(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let mut again = Vec::new();
        for (name, pod) in self.pods.iter_mut().filter(|(_, pod)| pod.seen.is_live()) {
            if let Some((closing, _)) = pod.asked.filter(|(_, at)| *at + ASK_AGAIN <= now) {
                pod.asked = Some((closing, now));
                again.push((name.clone(), closing));
            }
        }
        actions.extend(again.into_iter().filter_map(|(name, closing)| Some(self.mark(self.pods.get(&name)?, closing))));
    }

    fn mark(&self, pod: &Pod, closing: bool) -> Action {
        Action::Mark { target: self.spec.name.clone(), pod: pod.seen.name.clone(), closing }
    }

    /// One write at a time.
    fn set_replicas(&mut self, now: Instant, to: u32, cuts: Vec<String>, actions: &mut Vec<Action>) {
        let busy = self.write.as_ref().is_some_and(|write| write.is_pending);
        if busy || self.write_not_before.is_some_and(|at| at > now) {
            return;
        }
        let from = self.replicas();
        self.write = Some(Write { to, at: now, is_pending: true, cuts });
        actions.push(Action::SetReplicas { target: self.spec.name.clone(), from, to });
        let (target, reason, queued) = (self.spec.label.clone(), self.desired.reason, self.counts.queued);
        actions.push(Action::Report(Report::Scaling { target, from, to, reason, queued }));
    }
}

/// What others are told.
impl Target {
    /// The version of the state that is published at the end of this step, if a list changes in it.
    fn next_version(&self) -> u64 {
        self.published.as_ref().map_or(0, |state| state.version) + 1
    }

    fn publish(&mut self, gateways: &Gateways, actions: &mut Vec<Action>) {
        if !self.is_seen {
            return;
        }
        let activation = self.activation();
        let endpoints = self.spec.backends.iter().map(|served| Endpoints {
            backend: served.backend.clone(),
            list: self.list(served.port, served.probe.as_ref()),
            activation: activation.clone(),
        });
        let faulty = self.spec.faulty.iter().map(|(backend, reason)| Endpoints {
            backend: backend.clone(),
            list: Vec::new(),
            activation: Activation::Broken { reason: reason.clone() },
        });
        let owner =
            self.scale.as_ref().filter(|scale| !self.owner.is_ours(scale)).and_then(|scale| scale.scaled_by.clone());
        let mut state = TargetState {
            target: self.spec.name.clone(),
            version: self.published.as_ref().map_or(0, |state| state.version),
            gateways: self.relevant(gateways),
            endpoints: endpoints.chain(faulty).collect(),
            running: u32::try_from(self.pods.len()).unwrap_or(u32::MAX),
            ready: self.count(|pod| pod.seen.is_live() && pod.is_ready),
            replicas: self.replicas(),
            broken: self.backoff.broken().map(str::to_owned),
            trouble: self.trouble(),
            scaled_by: owner.or_else(|| self.owner.foreign.as_ref().map(|_| OWNER_OTHER.to_owned())),
        };
        if self.published.as_ref() != Some(&state) {
            state.version += 1;
            self.published = Some(state.clone());
            actions.push(Action::Publish(state));
        }
    }

    fn list(&self, port: u16, probe: Option<&Probe>) -> Vec<Endpoint> {
        let open = self.pods.values().filter(|pod| pod.is_open());
        open.filter_map(|pod| {
            let address = SocketAddr::new(pod.seen.ip?, port);
            match probe {
                Some(probe) => Some(Endpoint { address, ready: pod.seen.ready, probe: probe.clone() }),
                // only the kubelet can ask
                None => pod.seen.ready.then_some(Endpoint { address, ready: true, probe: Probe::Tcp }),
            }
        })
        .collect()
    }

    fn trouble(&self) -> Option<String> {
        let of_pods = self.pods.values().filter(|pod| pod.seen.is_live()).filter_map(|pod| pod.seen.trouble.as_ref());
        let of_pods = of_pods.map(headgate_functions::Trouble::line).next();
        of_pods.or_else(|| self.trouble.clone())
    }

    fn activation(&self) -> Activation {
        let broken = |reason: String| Activation::Broken { reason };
        if self.pods.values().any(|pod| pod.is_open() && pod.is_ready) {
            return Activation::Ready;
        }
        if self.scale.is_none() && self.is_missing() {
            return broken(format!("there is no workload {} to start", self.spec.label));
        }
        if !self.controls() && self.replicas() == 0 {
            return broken(format!("{} has no replicas, and somebody else decides how many", self.spec.label));
        }
        if let Some(reason) = self.backoff.broken() {
            return broken(reason.to_owned());
        }
        // wanted and not there: it starts, or the write is under way
        if self.live() > 0 || self.desired.replicas > 0 {
            return Activation::Waking;
        }
        match self.pods.values().any(Pod::is_leaving) {
            true => Activation::Closing,
            false => Activation::Ready,
        }
    }

    fn is_missing(&self) -> bool {
        let limit = self.missing_since.map(|since| since + MISSING_LIMIT);
        limit.zip(self.settled_at).is_some_and(|(limit, settled)| limit <= settled)
    }

    /// Only what lies after the last settling: what was due then has had its effect.
    pub fn next_deadline(&self, leading: bool) -> Option<Instant> {
        let of_pods = self.pods.values().filter(|pod| pod.seen.is_live()).flat_map(|pod| {
            let start = (pod.is_open() && pod.ready_at.is_none()).then(|| pod.attempt_at + self.spec.start_limit);
            let steady = pod.ready_at.filter(|_| self.backoff.remembers()).map(|at| at + STEADY);
            let drain = pod.closing.filter(|_| pod.is_leaving()).map(|closing| closing.since + self.spec.drain_limit);
            let asked = pod.asked.filter(|_| leading).map(|(_, at)| at + ASK_AGAIN);
            let cut = pod.cut_at.filter(|_| leading).map(|at| at + CUT_LIMIT);
            [start, steady, drain, asked, cut].into_iter().flatten()
        });
        let write = self.write.as_ref().filter(|write| write.is_pending).map(|write| write.at + WRITE_LIMIT);
        let of_target = [
            self.desired.next_evaluation,
            self.interest_ends().filter(|_| self.backoff.broken().is_some()),
            self.missing_since.map(|at| at + MISSING_LIMIT),
            self.cold_since.filter(|_| !leading).map(|at| at + PATIENCE),
            self.owner.asked.as_ref().filter(|_| leading).map(|(_, at)| *at + ASK_AGAIN),
            self.write_not_before,
            write,
        ];
        let all = of_pods.chain(of_target.into_iter().flatten());
        all.filter(|at| self.settled_at.is_none_or(|settled| *at > settled)).min()
    }
}
