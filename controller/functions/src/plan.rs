//! `plan`: what of a function should run, what its route leads to, and what to say of it. Pure: time and what is seen are arguments.
//!
//! A template that was never seen becomes a revision. The first one serves at once and starts on demand: there is nothing to
//! protect. Every later one is started to be proved and gets no request before a replica of it was ready; then the route leads
//! to it, and the old one drains and stops. The last three old ones stay at zero and serve again at once when their template
//! comes back.

use crate::{
    kinds::{Function, Scale},
    revision::{Observed, Revision, Seen, State, revision_name, version_alias},
    template::Template,
};
use headgate_config::Activation;
use serde::Serialize;
use std::collections::BTreeMap;

/// Old revisions that are kept for a rollback.
pub const OLD_KEPT: usize = 3;

/// How long a revision that lost the route is without demand before it stops, in milliseconds.
pub const OLD_IDLE_MS: u64 = 5_000;

/// What should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The records to keep, in the order of their turns; they are the input of the next plan.
    pub revisions: Vec<Revision>,
    /// What to do with each, by name.
    pub targets: BTreeMap<String, Target>,
    /// Names of revisions that are new in this plan.
    pub created: Vec<String>,
    /// Names of records that are gone, and of which nothing runs.
    pub removed: Vec<String>,
    /// The split of the function's own route: the weights add up to 100, or there are none for a function without HTTP.
    pub weights: Vec<(String, u32)>,
    /// `<function>` and `<function>-<version>`: other names of weighted revisions.
    pub aliases: BTreeMap<String, Vec<(String, u32)>>,
    /// What happened, to be printed.
    pub steps: Vec<Step>,
    /// What to say of the function.
    pub status: Status,
    /// Plan again then, even if nothing else happens, in milliseconds since 1970.
    pub next_deadline_ms: Option<u64>,
}

/// What to do with one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its state.
    pub state: State,
    /// The scaler keeps the number of replicas within these.
    pub replicas: Bounds,
    /// What gateways are told.
    pub activation: Activation,
    /// No replica is started before, in milliseconds since 1970; 0 is at once.
    pub start_not_before_ms: u64,
}

/// Bounds of a number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// A new template made a revision.
    Created {
        /// Its name.
        revision: String,
        /// It must become ready before it serves.
        proving: bool,
    },
    /// The route leads elsewhere now.
    CutOver {
        /// From here; `None` for the first revision.
        from: Option<String>,
        /// To here.
        to: String,
        /// The template was there before.
        rollback: bool,
    },
    /// A revision went from one state to another.
    Turned {
        /// Its name.
        revision: String,
        /// Before.
        from: State,
        /// Now.
        to: State,
        /// Why, for Broken.
        reason: String,
    },
    /// A record is gone.
    Removed {
        /// Its name.
        revision: String,
    },
}

/// What to say of a function; the words of `state` are OpenFunction's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `Running`, `Starting`, `Failed` or `Skipped`.
    pub state: String,
    /// One word for machines; empty where all is well.
    pub reason: String,
    /// One sentence for people; empty where all is well.
    pub message: String,
    /// The revision that the route leads to.
    pub serving: Option<String>,
    /// The revision that must become ready first.
    pub proving: Option<String>,
}

/// What a revision is to the function now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Serving,
    Proving,
    Old,
    Dropped,
}

/// Plans one function. `revisions` are the records of the last plan, `now_ms` is in milliseconds since 1970 and never goes back.
pub fn plan(function: &Function, revisions: &[Revision], observed: &Observed, now_ms: u64) -> Plan {
    let planning = Planning {
        function: &function.meta.name,
        scale: function.serving.as_ref().map(|serving| serving.scale).unwrap_or_default(),
        idle_ms: function.settings.idle_ms,
        why_not_http: if function.serving.is_some() { ASYNC_ONLY } else { BUILD_ONLY },
        observed,
        now_ms,
        revisions: revisions.to_vec(),
        created: Vec::new(),
        steps: Vec::new(),
    };
    planning.run(Template::of(function))
}

/// Plans a function that is gone: what runs of it drains and stops. The plan without revisions is the last one.
pub fn retire(function: &str, revisions: &[Revision], observed: &Observed, now_ms: u64) -> Plan {
    let planning = Planning {
        function,
        scale: Scale::default(),
        idle_ms: 0,
        why_not_http: GONE,
        observed,
        now_ms,
        revisions: revisions.to_vec(),
        created: Vec::new(),
        steps: Vec::new(),
    };
    planning.run(None)
}

/// Reason and message of functions of which nothing runs.
const ASYNC_ONLY: (&str, &str) = (
    "AsyncOnly",
    "only Dapr components trigger it: it has no route, and this gateway starts no replica of it; add triggers.http for one",
);
const BUILD_ONLY: (&str, &str) = ("BuildOnly", "it is only built: without spec.serving nothing runs");
const GONE: (&str, &str) = ("Gone", "it was deleted: what runs of it finishes its requests and stops");

struct Planning<'a> {
    function: &'a str,
    scale: Scale,
    idle_ms: u64,
    why_not_http: (&'static str, &'static str),
    observed: &'a Observed,
    now_ms: u64,
    revisions: Vec<Revision>,
    created: Vec<String>,
    steps: Vec<Step>,
}

static NOTHING: Seen = Seen {
    running: 0,
    ready: 0,
    in_flight: 0,
    queued: 0,
    failed_starts: 0,
    last_exit: None,
    closing_acknowledged: false,
};

impl Planning<'_> {
    fn run(mut self, template: Option<Template>) -> Plan {
        self.note_proofs();
        let wanted = template.map(|template| self.find_or_create(template));
        self.choose_serving(wanted);
        self.choose_kept(wanted);
        self.turn_states(wanted);
        self.finish(wanted)
    }

    fn seen(&self, revision: &Revision) -> &Seen {
        self.observed.0.get(&revision.name).unwrap_or(&NOTHING)
    }

    fn note_proofs(&mut self) {
        let ready: Vec<bool> = self.revisions.iter().map(|revision| self.seen(revision).ready > 0).collect();
        for (revision, ready) in self.revisions.iter_mut().zip(ready) {
            revision.proven |= ready;
        }
    }

    /// The index of the revision with this template, which takes the newest turn.
    fn find_or_create(&mut self, template: Template) -> usize {
        let newest = self.revisions.iter().map(|revision| revision.turn).max().unwrap_or(0);
        if let Some(index) = self.revisions.iter().position(|revision| revision.template == template) {
            let revision = &mut self.revisions[index];
            if revision.turn < newest {
                revision.turn = newest + 1;
            }
            revision.dropped = false;
            return index;
        }
        let taken: Vec<&str> = self.revisions.iter().map(|revision| revision.name.as_str()).collect();
        let name = revision_name(self.function, &template, &taken);
        self.created.push(name.clone());
        self.revisions.push(Revision {
            name,
            template,
            turn: newest + 1,
            proven: false,
            serving: false,
            dropped: false,
            state: State::New,
            since_ms: self.now_ms,
        });
        self.revisions.len() - 1
    }

    /// The wanted revision serves if it is proven, or if nothing is; otherwise the newest proven one that served goes on.
    fn choose_serving(&mut self, wanted: Option<usize>) {
        let before = self.revisions.iter().position(|revision| revision.serving);
        let newest_proven = || {
            let proven = self.revisions.iter().enumerate().filter(|(_, revision)| revision.proven && !revision.dropped);
            proven.max_by_key(|(_, revision)| revision.turn).map(|(index, _)| index)
        };
        let serving = wanted.map(|wanted| {
            if self.revisions[wanted].proven {
                return wanted;
            }
            before.filter(|&index| self.revisions[index].proven).or_else(newest_proven).unwrap_or(wanted)
        });
        for (index, revision) in self.revisions.iter_mut().enumerate() {
            revision.serving = Some(index) == serving;
        }
        let name = |index: usize| self.revisions[index].name.clone();
        for created in &self.created {
            let proving = serving.is_some_and(|index| self.revisions[index].name != *created);
            self.steps.push(Step::Created { revision: created.clone(), proving });
        }
        if let Some(to) = serving.filter(|_| serving != before) {
            let rollback = before.is_some() && !matches!(self.revisions[to].state, State::New | State::Proving);
            self.steps.push(Step::CutOver { from: before.map(name), to: name(to), rollback });
        }
    }

    /// Of the others the newest proven ones are kept; what was never proven is not worth a rollback.
    fn choose_kept(&mut self, wanted: Option<usize>) {
        let mut old: Vec<usize> = (0..self.revisions.len())
            .filter(|&index| !self.revisions[index].serving && !self.revisions[index].dropped && Some(index) != wanted)
            .collect();
        old.sort_by_key(|&index| std::cmp::Reverse((self.revisions[index].proven, self.revisions[index].turn)));
        for (place, index) in old.into_iter().enumerate() {
            let revision = &mut self.revisions[index];
            // a function that is not called by HTTP any more keeps nothing
            revision.dropped |= place >= OLD_KEPT || !revision.proven || wanted.is_none();
        }
    }

    fn role(&self, index: usize, wanted: Option<usize>) -> Role {
        let revision = &self.revisions[index];
        match () {
            () if revision.dropped => Role::Dropped,
            () if revision.serving => Role::Serving,
            () if Some(index) == wanted => Role::Proving,
            () => Role::Old,
        }
    }

    fn turn_states(&mut self, wanted: Option<usize>) {
        for index in 0..self.revisions.len() {
            let from = self.revisions[index].state;
            let to = self.next_state(index, self.role(index, wanted));
            if to == from {
                continue;
            }
            let reason =
                if to == State::Broken { self.seen(&self.revisions[index]).reason().to_owned() } else { String::new() };
            let revision = &mut self.revisions[index];
            // ordering the stop is a part of closing, not a new state
            if std::mem::discriminant(&to) != std::mem::discriminant(&from) {
                revision.since_ms = self.now_ms;
                self.steps.push(Step::Turned { revision: revision.name.clone(), from, to, reason });
            }
            revision.state = to;
        }
    }

    fn next_state(&self, index: usize, role: Role) -> State {
        let revision = &self.revisions[index];
        let seen = self.seen(revision);
        if revision.state == (State::Closing { stopping: true }) && seen.running > 0 {
            return revision.state;
        }
        match (seen.running, seen.ready) {
            (0, _) => self.state_of_none(seen, role),
            (_, 0) => self.state_of_starting(revision, seen, role),
            _ => self.state_of_ready(revision, seen, role),
        }
    }

    fn state_of_none(&self, seen: &Seen, role: Role) -> State {
        if role == Role::Dropped {
            State::Cold
        } else if seen.is_broken() && self.now_ms < seen.start_not_before_ms() {
            State::Broken
        } else if role == Role::Proving {
            State::Proving
        } else if self.wants(seen, role) {
            State::Waking
        } else {
            State::Cold
        }
    }

    fn state_of_starting(&self, revision: &Revision, seen: &Seen, role: Role) -> State {
        match role {
            Role::Dropped => State::Closing { stopping: true },
            Role::Proving => State::Proving,
            // the last ready replica died while it closed: nothing is in flight
            _ if matches!(revision.state, State::Closing { .. }) && seen.queued == 0 => {
                State::Closing { stopping: true }
            }
            _ => State::Waking,
        }
    }

    fn state_of_ready(&self, revision: &Revision, seen: &Seen, role: Role) -> State {
        if matches!(revision.state, State::Closing { .. }) && (seen.queued == 0 || role == Role::Dropped) {
            let done = seen.closing_acknowledged && seen.in_flight == 0;
            return State::Closing { stopping: done };
        }
        if role == Role::Dropped {
            return State::Closing { stopping: false };
        }
        if self.wants(seen, role) {
            return State::Warm;
        }
        let idle_for_ms = if revision.state == State::Idle { self.now_ms.saturating_sub(revision.since_ms) } else { 0 };
        let idle = revision.state == State::Idle && idle_for_ms >= self.idle_ms(role);
        if idle { State::Closing { stopping: false } } else { State::Idle }
    }

    fn wants(&self, seen: &Seen, role: Role) -> bool {
        seen.demand() > 0 || (role == Role::Serving && self.scale.min > 0)
    }

    fn idle_ms(&self, role: Role) -> u64 {
        if role == Role::Serving { self.idle_ms } else { self.idle_ms.min(OLD_IDLE_MS) }
    }

    fn target(&self, index: usize, role: Role) -> Target {
        let revision = &self.revisions[index];
        let seen = self.seen(revision);
        let start_not_before_ms = seen.start_not_before_ms();
        let least = if role == Role::Serving { self.scale.min.max(1) } else { 1 };
        let (min, max) = match revision.state {
            State::New | State::Cold => (0, if role == Role::Dropped { 0 } else { self.scale.max }),
            State::Proving => (1, 1),
            State::Waking | State::Warm | State::Idle => (least, self.scale.max),
            State::Closing { stopping: false } => (seen.running, seen.running),
            State::Closing { stopping: true } | State::Broken => (0, 0),
        };
        let activation = match revision.state {
            State::Waking | State::Proving => Activation::Waking,
            State::Closing { .. } => Activation::Closing,
            State::Broken => Activation::Broken { reason: seen.reason().to_owned() },
            State::New | State::Cold | State::Warm | State::Idle => Activation::Ready,
        };
        Target { state: revision.state, replicas: Bounds { min: min.min(max), max }, activation, start_not_before_ms }
    }

    fn deadline_ms(&self, index: usize, role: Role) -> Option<u64> {
        let revision = &self.revisions[index];
        match revision.state {
            State::Idle => Some(revision.since_ms + self.idle_ms(role)),
            State::Broken | State::Proving | State::Waking => {
                Some(self.seen(revision).start_not_before_ms()).filter(|&at_ms| at_ms > self.now_ms)
            }
            _ => None,
        }
    }

    fn finish(mut self, wanted: Option<usize>) -> Plan {
        let indexes = 0..self.revisions.len();
        let gone = |index: usize| {
            let revision = &self.revisions[index];
            revision.dropped && self.seen(revision).running == 0
        };
        let removed: Vec<String> =
            indexes.clone().filter(|&index| gone(index)).map(|index| self.revisions[index].name.clone()).collect();
        let roles: Vec<Role> = indexes.clone().map(|index| self.role(index, wanted)).collect();
        let live = indexes.filter(|&index| !gone(index));
        let targets = live.clone().map(|index| (self.revisions[index].name.clone(), self.target(index, roles[index])));
        let targets = targets.collect();
        let next_deadline_ms = live.filter_map(|index| self.deadline_ms(index, roles[index])).min();
        let status = self.status(wanted);
        self.steps.extend(removed.iter().map(|name| Step::Removed { revision: name.clone() }));
        self.revisions.retain(|revision| !removed.contains(&revision.name));
        self.revisions.sort_by_key(|revision| revision.turn);
        let weights: Vec<(String, u32)> = self
            .revisions
            .iter()
            .filter(|revision| revision.serving)
            .map(|revision| (revision.name.clone(), 100))
            .collect();
        let aliases = self.aliases(&weights);
        let Self { revisions, created, steps, .. } = self;
        Plan { revisions, targets, created, removed, weights, aliases, steps, status, next_deadline_ms }
    }

    /// `<function>` names the split; `<function>-<version>` names the newest proven revision of a version, or the newest.
    fn aliases(&self, weights: &[(String, u32)]) -> BTreeMap<String, Vec<(String, u32)>> {
        let function = self.function;
        let mut newest: BTreeMap<String, &Revision> = BTreeMap::new();
        for revision in self.revisions.iter().filter(|revision| !revision.dropped) {
            let Some(alias) = version_alias(function, &revision.template.version) else { continue };
            let rank = |revision: &Revision| (revision.proven, revision.turn);
            let best = newest.entry(alias).or_insert(revision);
            if rank(revision) > rank(best) {
                *best = revision;
            }
        }
        let mut aliases: BTreeMap<String, Vec<(String, u32)>> =
            newest.into_iter().map(|(alias, revision)| (alias, vec![(revision.name.clone(), 100)])).collect();
        aliases.retain(|alias, _| self.revisions.iter().all(|revision| revision.name != *alias));
        if !weights.is_empty() {
            aliases.insert(function.to_owned(), weights.to_vec());
        }
        aliases
    }

    fn status(&self, wanted: Option<usize>) -> Status {
        let Some(wanted) = wanted.map(|index| &self.revisions[index]) else { return self.status_without_http() };
        let serving = self.revisions.iter().find(|revision| revision.serving);
        let proving = (!wanted.serving).then(|| wanted.name.clone());
        let seen = self.seen(wanted);
        let serving = serving.map(|revision| revision.name.clone());
        let say = |state: &str, reason: &str, message: String| Status {
            state: state.into(),
            reason: reason.into(),
            message,
            serving: serving.clone(),
            proving: proving.clone(),
        };
        let failures = seen.failed_starts;
        match (&proving, seen.is_broken()) {
            (Some(new), true) => say(
                "Failed",
                "ProofFailed",
                format!(
                    "{new} was started {failures} times and never became ready ({}); {} goes on serving",
                    seen.reason(),
                    serving.as_deref().unwrap_or("nothing")
                ),
            ),
            (Some(new), false) => say(
                "Starting",
                "Proving",
                format!(
                    "{new} is started to see whether it becomes ready; {} serves",
                    serving.as_deref().unwrap_or("nothing")
                ),
            ),
            (None, true) => say(
                "Failed",
                "StartFailed",
                format!("{} ended {failures} times before it was ready: {}", wanted.name, seen.reason()),
            ),
            (None, false) => say("Running", "", String::new()),
        }
    }

    fn status_without_http(&self) -> Status {
        let (reason, message) = self.why_not_http;
        Status { state: "Skipped".into(), reason: reason.into(), message: message.into(), ..Status::default() }
    }
}
