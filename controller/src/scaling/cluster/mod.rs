//! The one writer of replicas in a cluster: from demand of all gateways, Pods and acknowledgements to writes of replicas and endpoint lists. Never does them.
//!
//! Every controller replica runs one, told the same; only the leader's lowers replicas, and raises them from more than nothing.
//! From nothing any of them does, the leader first. A Pod goes through these phases:
//!
//! ```text
//! open ⇄ closing ─► cut ─► terminating ─► gone
//! ```
//!
//! An open Pod is in the endpoint list. A closing one is not: it carries an annotation, by which the other controllers take it out
//! of theirs. It is cut once every gateway was heard to have left it, and nothing is in flight there; until then new demand opens
//! it again. A gateway that is not heard counts as one that sends, until it is known to be gone.

mod acknowledgements;
mod gateways;
mod report;
mod target;
#[cfg(test)]
mod tests;

pub use acknowledgements::Acknowledgements;
pub use gateways::{DEMAND_TTL, Member, SETTLE};
pub use report::Report;

use super::{Bounds, Reason};
use gateways::Gateways;
use headgate_config::{BackendName, Demand, Endpoints, GatewayName, Probe};
use headgate_functions::{PodSeen, Trouble};
use headgate_translate::DEFAULT_CONTROLLER_NAME;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use target::Target;

/// Who writes the replicas of a workload, as an annotation of it. Anything but [`owner`] means hands off.
pub const OWNER_ANNOTATION: &str = "headgate.dev/scaled-by";
/// Somebody was seen to.
pub const OWNER_OTHER: &str = "other";

/// What [`OWNER_ANNOTATION`] says where an installation writes replicas. Of several that scale one workload, each under its own
/// `controllerName`, one does.
pub fn owner(controller_name: &str) -> &str {
    if controller_name == DEFAULT_CONTROLLER_NAME { "headgate" } else { controller_name }
}

/// What a target is.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// `namespace/name`, as [`headgate_config::Backend::scales`] has it.
    pub name: String,
    /// What people call it: in a cluster its name, by which [`Report::target`] finds it again.
    pub label: String,
    /// The Service ports that its Pods serve.
    pub backends: Vec<ServedBackend>,
    /// The Service ports that lead to it and that its Pods cannot serve, and why: requests for them are answered with that.
    pub faulty: Vec<(BackendName, String)>,
    /// How many Pods.
    pub bounds: Bounds,
    /// How long a Pod may take to become ready.
    pub start_limit: Duration,
    /// How long requests in flight may hold a Pod that is closing.
    pub drain_limit: Duration,
    /// Which of its Pods Kubernetes stops when there are to be fewer.
    pub stops: StopOrder,
    /// What people are told where a Pod does not become ready in time.
    pub advice: Advice,
    /// The Gateways whose routes lead to it: their Pods get its endpoints, and must have left a Pod before that stops.
    pub gateways: BTreeSet<GatewayName>,
}

/// Which Pods stop when a workload is to have fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StopOrder {
    /// Of a Deployment: those that are not ready, then those that are marked.
    #[default]
    Marked,
    /// Of a StatefulSet: the one with the highest ordinal, which is the end of its name.
    LastOrdinal,
}

/// What a Pod needs to become ready, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Advice {
    /// A function is told its port.
    #[default]
    OfFunction,
    /// Another workload has a port of its own.
    OfWorkload,
}

impl Advice {
    const fn as_str(self) -> &'static str {
        match self {
            Self::OfFunction => {
                "it must listen on the port in the variable PORT, on all addresses, and its readiness probe must succeed"
            }
            Self::OfWorkload => {
                "it must listen on the port that its Service names, on all addresses, and its readiness probe must succeed"
            }
        }
    }
}

/// A Service port, and where its Pods listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBackend {
    /// The Service port.
    pub backend: BackendName,
    /// The port of a Pod.
    pub port: u16,
    /// How a gateway asks a Pod whether it is ready; `None` where only the kubelet can know.
    pub probe: Option<Probe>,
}

/// What is seen of the workload of a target: all of it each time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// Its scale; `None` while there is no such object.
    pub scale: Option<Scale>,
    /// Its Pods.
    pub pods: Vec<PodSeen>,
    /// Why it makes no Pods: a quota, an admission.
    pub trouble: Option<Trouble>,
}

/// The scale of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// `metadata.uid`: with another one everything begins anew.
    pub uid: String,
    /// `metadata.resourceVersion` as a number: what is older than the last write says nothing.
    pub version: u64,
    /// `spec.replicas`.
    pub replicas: u32,
    /// [`OWNER_ANNOTATION`].
    pub scaled_by: Option<String>,
}

/// What became of a write of replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Written; `version` is the resourceVersion in the answer.
    Done {
        /// As a number.
        version: u64,
    },
    /// The number was another than `from`: somebody was faster, and a watch will tell.
    Conflict,
    /// Not written, or nobody knows.
    Failed {
        /// For people.
        reason: String,
    },
}

/// What the scaler is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// All targets there are. One that is missing is forgotten, and its replicas stay as they are: give it bounds of 0 first.
    Targets(Vec<TargetSpec>),
    /// What a watch shows of a target.
    Seen(String, Workload),
    /// The gateway Pods that run, as a watch shows them, connected or not.
    Running(BTreeSet<Member>),
    /// A gateway Pod's stream to this controller is open.
    Connected(Member),
    /// It is not any more. Whether the Pod still sends requests nobody knows.
    Disconnected(Member),
    /// What a gateway Pod counts. Every second at least, even if it is nothing.
    Demand {
        /// Which.
        member: Member,
        /// By target; the newest replaces the one before.
        demand: Vec<Demand>,
        /// Targets that are not named have nothing listed and nothing asked for. Otherwise they are as they were.
        whole: bool,
    },
    /// A gateway Pod that follows this controller has applied a [`TargetState`].
    Applied {
        /// Which.
        member: Member,
        /// Whose.
        target: String,
        /// Its version.
        version: u64,
    },
    /// What became of [`Action::SetReplicas`].
    Written(String, Outcome),
    /// Whether this controller is the leader now.
    Leading(bool),
    /// Something the target needs was mended: its failures are forgotten.
    Retry(String),
    /// A deadline came.
    Tick,
}

/// What is to be done. In order; none of them may be waited for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write `spec.replicas` through the scale subresource, as a JSON patch that first tests for `from`. Its outcome must be told.
    SetReplicas {
        /// Which target.
        target: String,
        /// What must stand there.
        from: u32,
        /// What to write.
        to: u32,
    },
    /// Set or remove [`headgate_functions::CLOSING_ANNOTATION`] on a Pod, and `controller.kubernetes.io/pod-deletion-cost` with it
    /// (−1000, or nothing). It is asked for again until a watch shows it.
    Mark {
        /// Which target.
        target: String,
        /// The Pod.
        pod: String,
        /// Set or remove.
        closing: bool,
    },
    /// Set [`OWNER_ANNOTATION`] of the workload, if it is still as it was seen: of two that claim it at once one must lose. It is asked
    /// for again until a watch shows it.
    Stamp {
        /// Which target.
        target: String,
        /// Its `metadata.resourceVersion` as it was seen.
        version: u64,
        /// Its value.
        owner: String,
    },
    /// Tell the Pods of the Gateways that are named.
    Publish(TargetState),
    /// Tell a person.
    Report(Report),
}

/// A target as gateways and status must know it: the whole of it each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetState {
    /// Its name.
    pub target: String,
    /// Counts up.
    pub version: u64,
    /// Who is to know the endpoints.
    pub gateways: BTreeSet<GatewayName>,
    /// For each of its backends.
    pub endpoints: Vec<Endpoints>,
    /// Pods that exist: starting, ready or ending.
    pub running: u32,
    /// Pods that are ready, by the word of the kubelet or of a gateway.
    pub ready: u32,
    /// Replicas as they were written last.
    pub replicas: u32,
    /// It does not start, and requests are answered with this reason.
    pub broken: Option<String>,
    /// What keeps it from running, whether or not somebody waits.
    pub trouble: Option<String>,
    /// Who writes replicas, if we do not.
    pub scaled_by: Option<String>,
}

/// What all gateways count for a target, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests being answered.
    pub in_flight: u32,
    /// Requests that wait, and 1 where a start is owed though nobody waits any more.
    pub queued: u32,
}

/// All targets of a cluster.
#[derive(Debug)]
pub struct Scaler {
    /// [`owner`].
    owner: Arc<str>,
    targets: BTreeMap<String, Target>,
    gateways: Gateways,
    leading: bool,
    /// When it became the leader last.
    led_since: Option<Instant>,
}

impl Scaler {
    /// Knows of no target yet. `owner` is what [`owner`] says.
    pub fn new(owner: &str) -> Self {
        Self {
            owner: owner.into(),
            targets: BTreeMap::new(),
            gateways: Gateways::default(),
            leading: false,
            led_since: None,
        }
    }

    /// Takes in what is new and says what to do now. `now` never goes back.
    pub fn step(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        let touched = self.take(now, input, &mut actions);
        for name in touched {
            if let Some(target) = self.targets.get_mut(&name) {
                target.settle(now, self.leading, &self.gateways, &mut actions);
            }
        }
        actions
    }

    /// When to call `step` with a tick, if nothing comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let of_targets = self.targets.values().filter_map(|target| target.next_deadline(self.leading));
        let of_telling = self.told_from().filter(|_| self.gateways.has_untold());
        of_targets.chain(self.gateways.next_deadline()).chain(of_telling).min()
    }

    /// Since when the silence of a gateway is worth a word. Gateways follow the leader: another does not hear them, and a new one must be given time.
    fn told_from(&self) -> Option<Instant> {
        self.led_since.filter(|_| self.leading).map(|since| since + DEMAND_TTL)
    }

    /// The state of every target, as last published.
    pub fn states(&self) -> impl Iterator<Item = &TargetState> {
        self.targets.values().filter_map(Target::state)
    }

    /// What gateways count for a target now.
    pub fn counts(&self, now: Instant, target: &str) -> Counts {
        self.gateways.counts(now, target)
    }

    /// Whether every gateway that may send to a target has left all of its Pods.
    pub fn is_left(&self, target: &str) -> bool {
        self.targets.get(target).is_none_or(|target| target.is_left(&self.gateways))
    }

    /// Notes the input, and names the targets that must be settled.
    fn take(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) -> BTreeSet<String> {
        match input {
            Input::Targets(specs) => self.take_targets(now, specs, actions),
            Input::Seen(name, workload) => {
                if let Some(target) = self.targets.get_mut(&name) {
                    target.see(now, self.leading, workload, actions);
                }
                BTreeSet::from([name])
            }
            Input::Written(name, outcome) => {
                if let Some(target) = self.targets.get_mut(&name) {
                    target.written(now, outcome, actions);
                }
                BTreeSet::from([name])
            }
            Input::Retry(name) => {
                self.targets.get_mut(&name).into_iter().for_each(Target::retry);
                BTreeSet::from([name])
            }
            Input::Leading(leading) => {
                let news = leading && !self.leading;
                self.leading = leading;
                if news {
                    self.led_since = Some(now);
                }
                self.targets.values_mut().filter(|_| news).for_each(|target| target.take_over(now));
                self.all()
            }
            Input::Demand { member, demand, whole } => {
                let touched = self.gateways.count(now, &member, demand, whole);
                for (name, arrivals) in &touched {
                    let target = self.targets.get_mut(name).into_iter();
                    target.for_each(|target| target.arrive(now, *arrivals, self.gateways.counts(now, name)));
                }
                let mut touched: BTreeSet<String> = touched.into_keys().collect();
                let (was_silent, was_told) = self.gateways.unsilence(&member);
                if was_told {
                    actions.push(Action::Report(Report::HeardAgain { member }));
                }
                if was_silent {
                    touched = self.all();
                } else if whole {
                    // that it counts nothing for a target may be what that waits for
                    touched
                        .extend(self.targets.iter().filter(|(_, one)| one.is_closing()).map(|(name, _)| name.clone()));
                }
                touched
            }
            Input::Applied { member, target, version } => {
                self.gateways.applied(now, &member, &target, version);
                BTreeSet::from([target])
            }
            Input::Running(running) => {
                self.gateways.run(now, running);
                self.all()
            }
            Input::Connected(member) => {
                self.gateways.connect(now, member);
                self.all()
            }
            Input::Disconnected(member) => {
                self.gateways.disconnect(now, &member);
                self.all()
            }
            Input::Tick => self.tick(now, actions),
        }
    }

    fn all(&self) -> BTreeSet<String> {
        self.targets.keys().cloned().collect()
    }

    /// A gateway that falls silent changes what may be done with every target.
    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) -> BTreeSet<String> {
        let are_more = self.gateways.fall_silent(now);
        if self.told_from().is_some_and(|at| at <= now) {
            let silent = self.gateways.tell_silent();
            actions.extend(silent.into_iter().map(|member| Action::Report(Report::Silent { member })));
        }
        if are_more {
            return self.all();
        }
        let due = |target: &Target| target.next_deadline(self.leading).is_some_and(|at| at <= now);
        self.targets.iter().filter(|(_, target)| due(target)).map(|(name, _)| name.clone()).collect()
    }

    fn take_targets(&mut self, now: Instant, specs: Vec<TargetSpec>, actions: &mut Vec<Action>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        let names: BTreeSet<String> = specs.iter().map(|spec| spec.name.clone()).collect();
        for spec in specs {
            let name = spec.name.clone();
            match self.targets.get_mut(&name) {
                Some(target) if target.is_of(&spec) => continue,
                Some(target) => target.change(spec),
                None => {
                    drop(self.targets.insert(name.clone(), Target::new(now, spec, self.owner.clone(), self.led_since)))
                }
            }
            touched.insert(name);
        }
        let leading = self.leading;
        self.targets.retain(|name, target| {
            let stays = names.contains(name);
            if !stays && leading {
                target.release(actions);
            }
            stays
        });
        touched
    }
}
