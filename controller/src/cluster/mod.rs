//! A cluster: from objects and acknowledgements to routes, endpoints, statuses and manifests, as one state machine. It does no I/O and reads no clock.
//!
//! [`Cluster`] is told what watches show ([`Cluster::take`], [`Cluster::work`]) and what gateways say ([`Cluster::acknowledged`] and its kin); it
//! answers with what is to be done, in order. The API server is the only truth: manifests that are wanted come back as objects.

mod fleet;
mod followers;
pub mod functions;
mod ingresses;
pub mod outlook;
pub mod policies;
mod references;
mod shares;
mod stock;
mod workloads;

#[cfg(test)]
mod tests;

pub use fleet::Following;
use references::References;
pub use references::referenced;
pub use shares::{Shares, Touched};
pub use workloads::workload_of_pod;

use crate::{
    scaling::cluster::{Member, Report, TargetSpec, TargetState, Workload},
    sources::cluster::ObjectChange,
};
use fleet::Fleets;
use functions::{Functions, FunctionsOut};
use headgate_config::{
    Activation, BackendName, ByName, Certificate, CertificateName, Endpoints, GatewayName, Snapshot, Text, Version,
};
use headgate_functions::kinds::OF_GATEWAY_GROUP;
use headgate_status::{Happening, Wanted, applier, fall_back};
use headgate_translate::{
    Settings, Translation, Translator,
    conditions::{Reason, Status},
    kinds::{GATEWAY_GROUP, HEADGATE_GROUP, ObjectRef},
};
use imbl::{OrdMap, ordmap::DiffItem};
use ingresses::Ingresses;
use policies::{Among, Policies};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use stock::{News, Stock};

/// Certificates with their keys, by name.
pub type Certificates = BTreeMap<CertificateName, Certificate>;

/// What an operator decides for a cluster.
#[derive(Clone, Debug)]
pub struct Ground {
    /// For routes.
    pub settings: Settings,
    /// For what a Gateway gets.
    pub provision: headgate_provision::Settings,
    /// For functions; `None` where another installation in the cluster serves them, and nothing of them is looked at.
    pub functions: Option<headgate_functions::Defaults>,
    /// Whether Ingresses are watched.
    pub ingress: bool,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// The Pods of a Gateway are to know the endpoints of a backend.
    Endpoints(GatewayName, Endpoints),
    /// The Pods of a Gateway are to serve this. The version that it gets must be told to [`Cluster::published`].
    Publish {
        /// Whose.
        gateway: GatewayName,
        /// Its routes.
        snapshot: Box<Snapshot>,
        /// The certificates that they name.
        certificates: Arc<Certificates>,
    },
    /// A Gateway is gone, or not ours any more.
    Forget(GatewayName),
    /// This is to be said of an object; nothing of ours where it is `None`.
    Say(ObjectRef, Option<Arc<Wanted>>),
    /// This is wrong with an object that has no conditions, and nothing else: people are told in Events, once.
    Troubles(About, Vec<Happening>),
    /// These targets are to be scaled, and no others.
    Targets(Vec<TargetSpec>),
    /// This is seen of a target.
    Seen(String, Workload),
    /// What a target needs was mended: its failures are to be forgotten.
    Retry(String),
    /// These Pods of gateways run.
    Running(BTreeSet<Member>),
    /// These objects are to exist: all of those that we make, for all Gateways of ours, each time.
    Manifests(BTreeMap<ObjectRef, Arc<Value>>, BTreeSet<GatewayName>),
}

/// An object that people are told of in an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub object: ObjectRef,
    /// Its `metadata.uid`.
    pub uid: String,
    /// Its `apiVersion`.
    pub api_version: String,
}

/// The state.
#[derive(Debug)]
pub struct Cluster {
    stock: Stock,
    translator: Translator,
    shares: Shares,
    fleets: Fleets,
    functions: Functions,
    serves_functions: bool,
    policies: Policies,
    ingresses: Ingresses,
    /// As the scaler was told.
    targets: Vec<TargetSpec>,
    running: BTreeSet<Member>,
    /// What followed from the objects last.
    done: Translation,
    said: BTreeMap<ObjectRef, Arc<Wanted>>,
    references: References,
    /// Shown and not worked on yet.
    news: News,
    /// Shown with something of ours in their status.
    shown: BTreeSet<ObjectRef>,
    is_first: bool,
}

impl Cluster {
    /// Knows of no object yet.
    pub fn new(ground: Ground) -> Self {
        Self {
            stock: Stock::default(),
            translator: Translator::new(ground.settings),
            shares: Shares::default(),
            fleets: Fleets::new(ground.provision),
            serves_functions: ground.functions.is_some(),
            functions: Functions::new(ground.functions.unwrap_or_default()),
            policies: Policies::default(),
            ingresses: Ingresses::default(),
            targets: Vec::new(),
            running: BTreeSet::new(),
            done: Translation::default(),
            said: BTreeMap::new(),
            references: References::default(),
            news: News::default(),
            shown: BTreeSet::new(),
            is_first: true,
        }
    }

    /// The ServiceAccounts of gateways, by namespace and name: whose token speaks for which Gateway.
    pub fn accounts(&self) -> BTreeMap<(String, String), GatewayName> {
        self.fleets.accounts()
    }

    /// What is served now, of all Gateways.
    pub fn translation(&self) -> &Translation {
        &self.done
    }

    /// What Gateways get is to be made otherwise: of another image, trusting another authority.
    pub fn provide(&mut self, settings: headgate_provision::Settings) -> Vec<Output> {
        self.fleets.provide(settings, &self.stock);
        self.manifests().into_iter().collect()
    }

    /// Watches showed something: everything that there is, the first time. Nothing follows from it before [`Cluster::work`]. Gives the
    /// Secrets, ConfigMaps, workloads and Pods that are to be read from now on, and no others, if they are others than before: those that exist must
    /// be shown before the work, or what needs them would be refused for a moment.
    pub fn take(&mut self, changes: &[ObjectChange]) -> Option<BTreeSet<ObjectRef>> {
        self.stock.take(changes, &mut self.news);
        for change in changes {
            self.policies.see(change);
            if !self.serves_functions {
                continue;
            }
            self.functions.see(change);
            let name = change.name();
            if name.group == OF_GATEWAY_GROUP {
                self.news.said.insert(name.clone());
            }
        }
        self.shown.extend(self.with_ours(changes));
        if !self.news.routes {
            return None;
        }
        self.references.take(&self.stock.objects)
    }

    /// What follows from what watches showed; `now_ms` is in milliseconds since 1970.
    pub fn work(&mut self, now_ms: u64) -> Vec<Output> {
        let mut news = std::mem::take(&mut self.news);
        let planned = self.functions.step(now_ms);
        if planned.routes {
            self.functions.merge_into(&mut self.stock.objects);
        }
        let mut outputs = Vec::new();
        let is_first = std::mem::take(&mut self.is_first);
        // that nothing is to exist is said as well: what is there may go then
        self.fleets.changed |= is_first;
        let has_routes = news.routes || planned.routes || is_first;
        if has_routes {
            self.translate(&mut outputs, &mut news.said);
        }
        news.said.extend(self.fleets.look(&self.stock, &news.gateways));
        let has_pods = has_routes || !news.gateways.is_empty();
        outputs = self.scaling(planned, outputs, &mut news.said, has_routes, has_pods);
        outputs.extend(self.manifests());
        self.say(&news.said, &mut outputs);
        outputs.extend(self.ingresses.troubles(&self.done.problems, &self.stock));
        self.disown(&mut outputs);
        outputs
    }

    /// The scaler says something of a target.
    pub fn scaled(&mut self, state: TargetState, now_ms: u64) -> Vec<Output> {
        if self.policies.has(&state.target) {
            let policy = self.done.scaling.get(&state.target).map(|policy| policies::object(policy));
            let is_news = self.policies.scaled(state);
            return policy.filter(|_| is_news).map_or_else(Vec::new, |policy| self.said(&BTreeSet::from([policy])));
        }
        if self.functions.scaled(state) { self.work(now_ms) } else { Vec::new() }
    }

    /// What the scaler must know, before `outputs`: endpoints come before the routes that need them. Which Gateways lead to a target
    /// is looked at where there are other routes, and which of their Pods run where there are other Pods.
    fn scaling(
        &mut self,
        planned: FunctionsOut,
        outputs: Vec<Output>,
        said: &mut BTreeSet<ObjectRef>,
        has_routes: bool,
        has_pods: bool,
    ) -> Vec<Output> {
        let mut first = Vec::new();
        if has_pods {
            let running = self.fleets.members(&self.stock);
            if running != self.running {
                self.running.clone_from(&running);
                first.push(Output::Running(running));
            }
        }
        if has_routes || planned.targets || self.policies.is_changed() {
            let users = |backend: &BackendName| self.shares.users(backend).cloned().collect();
            let mut targets = self.functions.targets().to_vec();
            functions::with_gateways(&mut targets, users);
            let among = Among { objects: &self.stock.objects, done: &self.done, users: &users };
            targets.extend(self.policies.targets(&among));
            if targets != self.targets {
                self.targets.clone_from(&targets);
                first.push(Output::Targets(targets));
            }
        }
        let (seen, policies) = self.policies.take_seen(&self.done);
        said.extend(policies);
        let workloads = planned.workloads.into_iter().chain(seen);
        first.extend(workloads.map(|(target, workload)| Output::Seen(target, workload)));
        first.extend(planned.retries.into_iter().map(Output::Retry));
        first.extend(outputs);
        first.extend(
            planned
                .statuses
                .into_iter()
                .map(|(name, status)| Output::Say(name, status.map(|status| Arc::new(Wanted::Function(status))))),
        );
        if planned.manifests {
            self.fleets.changed = true;
        }
        first
    }

    /// The object at which people look for what the scaler did: the Function or the ScalingPolicy of a target, or the Gateway of a Pod.
    pub fn about(&self, report: &Report) -> Option<About> {
        let Some(target) = report.target() else {
            let gateway = &report.member()?.gateway;
            let key = (Text::from(&gateway.namespace), Text::from(&gateway.name));
            let uid = self.stock.objects.gateways.get(&key)?.meta.uid.clone();
            return Some(About {
                object: gateway_object(gateway),
                uid: uid.into(),
                api_version: format!("{GATEWAY_GROUP}/v1"),
            });
        };
        if let Some(policy) = self.done.scaling.get(target) {
            let (uid, api_version) = (policy.meta.uid.clone(), format!("{HEADGATE_GROUP}/v1alpha1"));
            return Some(About { object: policies::object(policy), uid: uid.into(), api_version });
        }
        let (object, uid, version) = self.functions.function_of(target)?;
        let api_version = format!("{}/{version}", object.group);
        Some(About { object, uid, api_version })
    }

    /// A version was published; the same one as before if nothing differed.
    pub fn published(&mut self, gateway: &GatewayName, version: Version) -> Vec<Output> {
        let touched = self.fleets.published(gateway, version);
        self.said(&touched)
    }

    /// A Pod of a Gateway has come.
    pub fn connected(&mut self, gateway: &GatewayName, pod: &str) -> Vec<Output> {
        let touched = self.fleets.connected(gateway, pod);
        self.said(&touched)
    }

    /// A Pod of a Gateway serves a version.
    pub fn acknowledged(&mut self, gateway: &GatewayName, pod: &str, version: Version) -> Vec<Output> {
        let touched = self.fleets.acknowledged(gateway, pod, version);
        self.said(&touched)
    }

    /// A Pod of a Gateway has gone.
    pub fn gone(&mut self, gateway: &GatewayName, pod: &str) -> Vec<Output> {
        let touched = self.fleets.gone(gateway, pod);
        self.said(&touched)
    }

    /// The API server refuses these objects of ours, for these reasons: what of it keeps a Gateway from being served is said there.
    pub fn refused(&mut self, objects: BTreeMap<ObjectRef, String>) -> Vec<Output> {
        let touched = self.fleets.refuse(objects);
        self.said(&touched)
    }

    /// Who follows the routes of each Gateway, and how far.
    pub fn following(&self) -> impl Iterator<Item = Following> {
        self.fleets.following()
    }

    fn manifests(&mut self) -> Option<Output> {
        let mut manifests = self.fleets.manifests()?;
        manifests.extend(self.functions.manifests().clone());
        Some(Output::Manifests(manifests, self.fleets.names()))
    }

    /// Routes and endpoints: those that come, before the routes that need them; those that go, behind.
    fn translate(&mut self, outputs: &mut Vec<Output>, said: &mut BTreeSet<ObjectRef>) {
        let next = self.translator.translate(&self.stock.objects).clone();
        let before = std::mem::replace(&mut self.done, next);
        for item in before.conditions.diff(&self.done.conditions) {
            let (name, old, new) = match item {
                DiffItem::Add(name, new) => (name, None, Some(new)),
                DiffItem::Remove(name, old) => (name, Some(old), None),
                DiffItem::Update { old: (name, old), new: (_, new) } => (name, Some(old), Some(new)),
            };
            self.ingresses.take(name, old.map(|old| &**old), new.map(|new| &**new));
            said.insert(name.clone());
        }
        let gone = self.fleets.keep(&self.done.conditions, &self.stock, &self.done.snapshot);
        let mut touched = self.shares.take(&self.done.snapshot);
        let left = left_by_scaler(&before.snapshot, &self.done.snapshot);
        let (there, behind) = self.endpoint_changes(&before.endpoints, &left, &touched);
        outputs.extend(there);
        let unpublished = self.fleets.unpublished(&self.stock);
        let rekeyed = self.rekeyed(&before.certificates);
        unpublished.into_iter().chain(rekeyed).for_each(|gateway| {
            touched.entry(gateway).or_default();
        });
        for (gateway, Touched { came }) in touched {
            if gone.contains(&gateway) || !self.fleets.has(&gateway) {
                continue;
            }
            let told = |name: BackendName| Output::Endpoints(gateway.clone(), self.endpoints(&name));
            outputs.extend(came.into_iter().filter(|name| self.is_plain(name)).map(told));
            // of those that went nothing is told: endpoints go before routes, and the old routes still send there
            let snapshot = self.shares.of(&gateway);
            let certificates = self.fleets.certificates(&gateway, &self.shares, &self.done.certificates);
            outputs.push(Output::Publish { gateway, snapshot: Box::new(snapshot), certificates });
        }
        outputs.extend(behind);
        outputs.extend(gone.into_iter().map(Output::Forget));
    }

    /// Endpoints of plain backends that differ, those of backends that the scaler has `left` among them: those to be told before the routes, and those behind.
    /// A Gateway that is touched learns those that came to it in any case.
    fn endpoint_changes(
        &self,
        before: &OrdMap<ByName<Endpoints>, Arc<Endpoints>>,
        left: &[BackendName],
        touched: &BTreeMap<GatewayName, Touched>,
    ) -> (Vec<Output>, Vec<Output>) {
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        for name in left {
            let users = self.shares.users(name);
            there.extend(users.map(|gateway| Output::Endpoints(gateway.clone(), self.endpoints(name))));
        }
        for item in before.diff(&self.done.endpoints) {
            let (list, endpoints) = match item {
                DiffItem::Add(_, one) | DiffItem::Update { new: (_, one), .. } => (&mut there, Endpoints::clone(one)),
                DiffItem::Remove(name, _) => (&mut gone, none((**name).clone())),
            };
            if self.is_plain(&endpoints.backend) {
                let name = &endpoints.backend;
                let is_new = |gateway: &GatewayName| {
                    touched.get(gateway).is_some_and(|touched| touched.came.binary_search(name).is_ok())
                };
                let users = self.shares.users(name).filter(|gateway| !is_new(gateway));
                list.extend(users.map(|gateway| Output::Endpoints(gateway.clone(), endpoints.clone())));
            }
        }
        (there, gone)
    }

    /// Whether the endpoints of a backend are those of its slices; of one that scales, the scaler knows them.
    fn is_plain(&self, backend: &BackendName) -> bool {
        self.done.snapshot.backends.get(backend).is_none_or(|backend| backend.scales.is_none())
    }

    fn endpoints(&self, backend: &BackendName) -> Endpoints {
        self.done.endpoints.get(backend).map_or_else(|| none(backend.clone()), |one| Endpoints::clone(one))
    }

    /// The Gateways of which a certificate differs though its name may not.
    fn rekeyed(&mut self, before: &Arc<Vec<Certificate>>) -> Vec<GatewayName> {
        if *before == self.done.certificates {
            return Vec::new();
        }
        self.fleets.rekeyed(&self.shares, &self.done.certificates)
    }

    fn said(&mut self, objects: &BTreeSet<ObjectRef>) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.say(objects, &mut outputs);
        outputs
    }

    /// Says of objects what is to be said now, where it differs from what was.
    fn say(&mut self, objects: &BTreeSet<ObjectRef>, outputs: &mut Vec<Output>) {
        let moved = self.ingresses.see(objects, &self.fleets, &self.stock);
        for name in objects.union(&self.functions.gateways_over(objects)).chain(moved.difference(objects)) {
            let wanted = self.wanted(name).map(Arc::new);
            if self.said.get(name) == wanted.as_ref() {
                continue;
            }
            match &wanted {
                Some(wanted) => drop(self.said.insert(name.clone(), wanted.clone())),
                None => drop(self.said.remove(name)),
            }
            outputs.push(Output::Say(name.clone(), wanted));
        }
    }

    fn wanted(&self, name: &ObjectRef) -> Option<Wanted> {
        if let Some(behind) = self.functions.gateway_behind(name) {
            let gateway = ObjectRef::new(GATEWAY_GROUP, "Gateway", &behind.gateway.namespace, &behind.gateway.name);
            let is_ours = |listener: &str| behind.listeners.iter().any(|known| known == listener);
            let is_there = self.stock.objects.gateways.contains_key(&(gateway.namespace.clone(), gateway.name.clone()));
            if behind.is_named && !is_there {
                return Some(Wanted::without_gateway(&gateway, behind.generation));
            }
            return Some(self.wanted(&gateway)?.openfunction_gateway(is_ours, behind.generation));
        }
        let status = self.done.conditions.get(name)?;
        let status = match self.stock.problems(name) {
            Some((problems, generation)) => Arc::new(fall_back(Status::clone(status), problems, generation)),
            None => status.clone(),
        };
        Some(match &*status {
            Status::Class(class) => Wanted::class(class, self.stock.definitions()),
            Status::Gateway(gateway) => {
                Wanted::gateway(gateway, &self.fleets.fleet(&gateway_name(name), name), self.stock.definitions())
            }
            Status::ListenerSet(set) => {
                let parent = self.stock.parent_of_set(name);
                let fleet = parent.map(|parent| self.fleets.fleet(&parent, name)).unwrap_or_default();
                Wanted::listener_set(set, &fleet)
            }
            Status::Policy(said) => match self.obstacle(name) {
                Some((reason, message)) => Wanted::scaling_policy(said, reason, &message),
                None => Wanted::Said(status),
            },
            Status::Route(_) => Wanted::Said(status),
            Status::Ingress(ingress) => ingresses::wanted(ingress, &self.fleets),
        })
    }

    /// What keeps a ScalingPolicy that is in force from doing what it says.
    fn obstacle(&self, name: &ObjectRef) -> Option<(Reason, String)> {
        if name.group != HEADGATE_GROUP {
            return None;
        }
        let policy = self.stock.objects.scaling_policies.get(&(name.namespace.clone(), name.name.clone()))?;
        let in_force = self.done.scaling.get(&policy.workload.target(&name.namespace))?;
        (in_force.meta.name == name.name).then(|| self.policies.obstacle(policy)).flatten()
    }

    /// Objects whose status has something of ours.
    fn with_ours<'c>(&self, changes: &'c [ObjectChange]) -> impl Iterator<Item = ObjectRef> + use<'c> {
        let controller = self.translator.settings().controller_name.clone();
        changes.iter().filter_map(move |change| {
            let ObjectChange::Upsert(object) = change else { return None };
            if object.status.is_null() && object.appliers.is_empty() {
                return None;
            }
            let status = object.status.unfold();
            let mut lists = ["parents", "ancestors"].into_iter().filter_map(|list| status[list].as_array());
            let is_ours = |entry: &Value| entry["controllerName"] == controller.as_str();
            let applied = object.appliers.iter().any(|one| one == applier(&controller));
            (applied || lists.any(|list| list.iter().any(is_ours))).then(|| object.name.clone())
        })
    }

    /// Takes back what stands in objects of which we say nothing: nobody did while there was no controller.
    fn disown(&mut self, outputs: &mut Vec<Output>) {
        let shown = std::mem::take(&mut self.shown);
        let is_silent = |name: &ObjectRef| !self.done.conditions.contains_key(name);
        outputs.extend(shown.into_iter().filter(is_silent).map(|name| Output::Say(name, None)));
    }
}

/// Backends that scaled and do not any more: what the scaler told of their endpoints is not so for long.
fn left_by_scaler(before: &Snapshot, now: &Snapshot) -> Vec<BackendName> {
    let left = before.backends.diff(&now.backends).filter_map(|item| match item {
        DiffItem::Update { old: (_, old), new: (_, new) } if old.scales.is_some() && new.scales.is_none() => {
            Some(new.name.clone())
        }
        _ => None,
    });
    left.collect()
}

/// No endpoints.
fn none(backend: BackendName) -> Endpoints {
    Endpoints { backend, list: Vec::new(), activation: Activation::default() }
}

/// The Gateway that an object is.
fn gateway_name(object: &ObjectRef) -> GatewayName {
    GatewayName { namespace: object.namespace.to_string(), name: object.name.to_string() }
}

/// The object that a Gateway is.
fn gateway_object(gateway: &GatewayName) -> ObjectRef {
    ObjectRef::new(GATEWAY_GROUP, "Gateway", &gateway.namespace, &gateway.name)
}
