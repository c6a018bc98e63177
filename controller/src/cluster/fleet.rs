//! What each Gateway has in the cluster: manifests, Pods, addresses, and which of its generations these serve. Never writes an object.

use super::{
    Certificates,
    followers::{Followers, Generations},
    gateway_name, gateway_object,
    shares::Shares,
    stock::{Belonging, Stock},
};
use crate::scaling::cluster::Member;
use headgate_config::{self as config, ByName, Certificate, CertificateName, GatewayName, Snapshot, Text, Version};
use headgate_provision::{Given, Parameters, Seen, Settings, Transport, Unassigned};
use headgate_status::{Address, Fleet};
use headgate_translate::{
    Key,
    conditions::Status,
    kinds::{GATEWAY_GROUP, Gateway, Listener, ListenerSet, ObjectRef, ObjectReference},
};
use imbl::OrdMap;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// All Gateways of ours.
#[derive(Debug)]
pub struct Fleets {
    settings: Settings,
    by_gateway: BTreeMap<GatewayName, One>,
    /// Manifests differ from those that were asked for last.
    pub changed: bool,
    /// The objects that the API server takes from nobody like us, and why.
    refused: BTreeMap<ObjectRef, String>,
    /// What ports and generations were found of: thousands of ListenerSets are not gone through for one route.
    found_of: FoundOf,
    /// The ports of each Gateway that listeners serve, those of ListenerSets included.
    ports: BTreeMap<GatewayName, Ports>,
}

type Ports = BTreeSet<(u16, Transport)>;
/// The names of the certificates that a Gateway needs, and all certificates.
type Names = Arc<BTreeSet<CertificateName>>;
type All = Arc<Vec<Certificate>>;

/// Objects that were looked at.
#[derive(Debug, Default)]
struct FoundOf {
    listeners: OrdMap<ByName<config::Listener>, Arc<config::Listener>>,
    gateways: OrdMap<Key, Arc<Gateway>>,
    listener_sets: OrdMap<Key, Arc<ListenerSet>>,
}

/// Who follows the routes of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// The Gateway.
    pub gateway: GatewayName,
    /// The newest version of its routes; `None` before the first.
    pub newest: Option<Version>,
    /// By Pod: the version that it serves; 0 for none.
    pub pods: BTreeMap<String, Version>,
}

#[derive(Debug, Default)]
struct One {
    followers: Followers<ObjectRef>,
    certificates: Arc<Certificates>,
    /// Which were named, and what there were when those were found.
    found_of: Option<(Names, All)>,
    /// Of the Gateway and its ListenerSets, as they were published last.
    generations: Option<Generations<ObjectRef>>,
    /// What the manifests were made of.
    basis: Option<Basis>,
    manifests: BTreeMap<ObjectRef, Arc<Value>>,
    account: String,
    seen: Seen,
    /// Something else may have to be said of its objects.
    is_news: bool,
}

#[derive(Debug, PartialEq)]
struct Basis {
    gateway: Arc<Gateway>,
    ports: Ports,
    parameters: Parameters,
    /// The addresses of the cluster's own that its Service has, where it asks for certain ones.
    own: Vec<IpAddr>,
}

impl Fleets {
    /// No Gateway yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            by_gateway: BTreeMap::new(),
            changed: true,
            refused: BTreeMap::new(),
            found_of: FoundOf::default(),
            ports: BTreeMap::new(),
        }
    }

    /// Whether a Gateway is ours.
    pub fn has(&self, gateway: &GatewayName) -> bool {
        self.by_gateway.contains_key(gateway)
    }

    /// The Gateways.
    pub fn names(&self) -> BTreeSet<GatewayName> {
        self.by_gateway.keys().cloned().collect()
    }

    /// By namespace and ServiceAccount: the Gateway whose Pods run under it.
    pub fn accounts(&self) -> BTreeMap<(String, String), GatewayName> {
        let all = self.by_gateway.iter();
        all.map(|(name, one)| ((name.namespace.clone(), one.account.clone()), name.clone())).collect()
    }

    /// Keeps the Gateways of which something is said, for those are ours; names the others.
    pub fn keep(
        &mut self,
        conditions: &OrdMap<ObjectRef, Arc<Status>>,
        stock: &Stock,
        snapshot: &Snapshot,
    ) -> Vec<GatewayName> {
        // the other thousands are not looked at: it took half of the time of an edit
        let first = ObjectRef::new(GATEWAY_GROUP, "Gateway", "", "");
        let said = conditions.range(first..).take_while(|(_, status)| matches!(***status, Status::Gateway(_)));
        let ours: BTreeSet<GatewayName> = said.map(|(name, _)| gateway_name(name)).collect();
        let gone: Vec<GatewayName> = self.by_gateway.keys().filter(|name| !ours.contains(name)).cloned().collect();
        gone.iter().for_each(|name| drop(self.by_gateway.remove(name)));
        self.changed |= !gone.is_empty();
        if !self.found_of.listeners.ptr_eq(&snapshot.listeners) {
            self.found_of.listeners.clone_from(&snapshot.listeners);
            self.ports = ports(snapshot);
        }
        for name in ours {
            let ports = self.ports.get(&name).cloned().unwrap_or_default();
            self.make(name, ports, stock);
        }
        gone
    }

    /// Makes all manifests anew, of other settings.
    pub fn provide(&mut self, settings: Settings, stock: &Stock) {
        self.settings = settings;
        let made: Vec<_> = self
            .by_gateway
            .iter_mut()
            .filter_map(|(name, one)| Some((name.clone(), one.basis.take()?.ports)))
            .collect();
        made.into_iter().for_each(|(name, ports)| self.make(name, ports, stock));
    }

    /// Makes the manifests of a Gateway anew if what they are made of differs.
    fn make(&mut self, name: GatewayName, mut ports: Ports, stock: &Stock) {
        let key = (Text::from(&name.namespace), Text::from(&name.name));
        let Some(gateway) = stock.objects.gateways.get(&key) else { return };
        // a listener that is refused keeps its port, so that mending it does not move the others
        let transport = |listener: &Listener| Some((listener.port, Transport::of(&listener.protocol)?));
        ports.extend(gateway.listeners.iter().filter_map(transport));
        let own = if headgate_provision::pins_own(gateway) { own_addresses(gateway, stock) } else { Vec::new() };
        let basis = Basis { gateway: gateway.clone(), ports, parameters: parameters(gateway, stock), own };
        let one = self.by_gateway.entry(name).or_default();
        if one.basis.as_ref() == Some(&basis) {
            return;
        }
        let Basis { ports, parameters, own, .. } = &basis;
        let made = headgate_provision::manifests(gateway, ports, parameters, &self.settings, own);
        one.account = headgate_provision::name(&gateway.meta.name, &gateway.class);
        one.manifests = made.into_iter().map(|(name, value)| (name, Arc::new(value))).collect();
        one.basis = Some(basis);
        one.see(stock);
        one.is_news = true;
        self.changed = true;
    }

    /// Looks at what belongs to Gateways; gives the objects of which something else may have to be said.
    pub fn look(&mut self, stock: &Stock, at: &BTreeSet<Belonging>) -> BTreeSet<ObjectRef> {
        for belonging in at {
            let one = match belonging {
                Belonging::Owned(name) => self.by_gateway.get_mut(name),
                Belonging::Account(namespace, account) => {
                    let mut of = self.by_gateway.iter_mut();
                    let found = of.find(|(name, one)| name.namespace == *namespace && one.account == *account);
                    found.map(|(_, one)| one)
                }
            };
            one.into_iter().for_each(|one| one.see(stock));
        }
        self.pin(stock);
        let news = self.by_gateway.iter_mut().filter_map(|(name, one)| {
            let is_news = std::mem::take(&mut one.is_news);
            is_news.then(|| one.objects(name))
        });
        news.flatten().collect()
    }

    /// Makes the manifests anew of Gateways whose Service has other addresses than it had, where they ask for certain ones.
    fn pin(&mut self, stock: &Stock) {
        let moved = |(name, one): (&GatewayName, &One)| {
            let Basis { gateway, ports, own, .. } = one.basis.as_ref()?;
            let is_other = headgate_provision::pins_own(gateway) && own_addresses(gateway, stock) != *own;
            is_other.then(|| (name.clone(), ports.clone()))
        };
        let moved: Vec<_> = self.by_gateway.iter().filter_map(moved).collect();
        moved.into_iter().for_each(|(name, ports)| self.make(name, ports, stock));
    }

    /// The Pods that run, of all Gateways.
    pub fn members(&self, stock: &Stock) -> BTreeSet<Member> {
        let runs = |pod: &&Arc<Value>| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let of = |(gateway, one): (&GatewayName, &One)| {
            let pods = stock.pods(&gateway.namespace, &one.account).filter(runs);
            let names = pods.filter_map(|pod| pod["metadata"]["name"].as_str());
            names.map(|pod| Member { gateway: gateway.clone(), pod: pod.to_owned() }).collect::<Vec<_>>()
        };
        self.by_gateway.iter().flat_map(of).collect()
    }

    /// All objects that are to exist, if they are others than the last time.
    pub fn manifests(&mut self) -> Option<BTreeMap<ObjectRef, Arc<Value>>> {
        std::mem::take(&mut self.changed).then(|| {
            let all = self.by_gateway.values().flat_map(|one| &one.manifests);
            all.map(|(name, value)| (name.clone(), value.clone())).collect()
        })
    }

    /// Where a Gateway is found.
    pub fn addresses(&self, gateway: &GatewayName) -> Vec<Address> {
        let seen = self.by_gateway.get(gateway).into_iter().flat_map(|one| &one.seen.addresses);
        seen.map(|given| Address::of(&given.value)).collect()
    }

    /// What is to be said of the gateways of a Gateway, in the status of `object`: the Gateway or one of its ListenerSets.
    pub fn fleet(&self, gateway: &GatewayName, object: &ObjectRef) -> Fleet {
        let Some(one) = self.by_gateway.get(gateway) else { return Fleet::default() };
        let reachable =
            |given: &Given| Address { routability: Some(given.routability.as_str()), ..Address::of(&given.value) };
        let unusable: Vec<&str> =
            one.seen.unassigned.iter().filter(|entry| entry.is_unusable).map(|entry| &*entry.why).collect();
        Fleet {
            addresses: one.seen.addresses.iter().map(reachable).collect(),
            unusable: (!unusable.is_empty()).then(|| unusable.join(", ")),
            unassigned: one.seen.unassigned.iter().map(|entry| self.unassigned(one, entry)).collect(),
            ready: one.seen.ready.len(),
            blocked: self.blocked(one),
            trouble: one.seen.trouble.clone(),
            acknowledged: one.followers.served(&one.seen.ready).get(object).copied().unwrap_or_default(),
        }
    }

    /// These objects are refused by the API server, for these reasons. Gives the objects of which something else may have to be said.
    pub fn refuse(&mut self, refused: BTreeMap<ObjectRef, String>) -> BTreeSet<ObjectRef> {
        let before = std::mem::replace(&mut self.refused, refused);
        let differs = |name: &ObjectRef| before.get(name) != self.refused.get(name);
        let touched = self.by_gateway.iter().filter(|(_, one)| one.manifests.keys().any(differs));
        touched.flat_map(|(name, one)| one.objects(name)).collect()
    }

    /// Why an entry of `spec.addresses` is not satisfied, in the words of the API server where it refuses its Service.
    fn unassigned(&self, one: &One, entry: &Unassigned) -> String {
        let refused = self.refused(one, |name| entry.service.as_deref() == Some(name.name.as_str()));
        refused.map_or_else(|| entry.why.clone(), |refused| format!("{}: {refused}", entry.why))
    }

    /// What the API server refuses and without which nobody is served: the Service always, for its ports may be others; the rest only
    /// while no Pod is ready, for those that are go on serving.
    fn blocked(&self, one: &One) -> Option<String> {
        let nobody_serves = one.seen.ready.is_empty();
        // what asks for an address that need not be there is told with the address
        let is_spared = |name: &ObjectRef| {
            let spared = one.seen.unassigned.iter().filter(|entry| !entry.is_unusable);
            spared.filter_map(|entry| entry.service.as_deref()).any(|service| service == name.name.as_str())
        };
        self.refused(one, |name| match &*name.kind {
            "Service" => !is_spared(name),
            kind => nobody_serves && kind != "PodDisruptionBudget",
        })
    }

    /// The first of some of a Gateway's objects that the API server refuses.
    fn refused(&self, one: &One, is_it: impl Fn(&ObjectRef) -> bool) -> Option<String> {
        let mut names = one.manifests.keys().filter(|name| is_it(name));
        names.find_map(|name| Some(format!("{name} cannot be written: {}", self.refused.get(name)?)))
    }

    /// Who follows each Gateway.
    pub fn following(&self) -> impl Iterator<Item = Following> {
        self.by_gateway.iter().map(|(gateway, one)| Following {
            gateway: gateway.clone(),
            newest: one.followers.newest(),
            pods: one.followers.pods().map(|(pod, version)| (pod.to_owned(), version)).collect(),
        })
    }

    /// The Gateways that were never published, or not with the generations that their objects have now.
    pub fn unpublished(&mut self, stock: &Stock) -> Vec<GatewayName> {
        let (gateways, sets) = (&stock.objects.gateways, &stock.objects.listener_sets);
        let FoundOf { gateways: known_gateways, listener_sets: known_sets, .. } = &mut self.found_of;
        let are_same = known_gateways.ptr_eq(gateways) && known_sets.ptr_eq(sets);
        if are_same && self.by_gateway.values().all(|one| one.generations.is_some()) {
            return Vec::new();
        }
        known_gateways.clone_from(gateways);
        known_sets.clone_from(sets);
        let mut all = stock.generations();
        let mut old = Vec::new();
        for (name, one) in &mut self.by_gateway {
            let now = all.remove(name).unwrap_or_default();
            if one.generations.as_deref() != Some(&now) {
                one.generations = Some(Arc::new(now));
                old.push(name.clone());
            }
        }
        old
    }

    /// Those of the certificates that a Gateway needs.
    pub fn certificates(&mut self, gateway: &GatewayName, shares: &Shares, all: &All) -> Arc<Certificates> {
        let Some(one) = self.by_gateway.get_mut(gateway) else { return Arc::default() };
        let named = shares.certificates(gateway);
        if !one.is_found_of(&named, all) {
            let now = find(&named, all);
            if *one.certificates != now {
                one.certificates = Arc::new(now);
            }
            one.found_of = Some((named, all.clone()));
        }
        one.certificates.clone()
    }

    /// The Gateways whose certificates are others than those that were published.
    pub fn rekeyed(&mut self, shares: &Shares, all: &All) -> Vec<GatewayName> {
        let rekeyed = self.by_gateway.iter_mut().filter_map(|(name, one)| {
            let named = shares.certificates(name);
            if one.is_found_of(&named, all) {
                return None;
            }
            if *one.certificates != find(&named, all) {
                return Some(name.clone());
            }
            // or it would hold those of others that are no more
            one.found_of = Some((named, all.clone()));
            None
        });
        rekeyed.collect()
    }

    /// A version of a Gateway was published.
    pub fn published(&mut self, gateway: &GatewayName, version: Version) -> BTreeSet<ObjectRef> {
        self.touch(gateway, |one| one.followers.published(version, one.generations.clone().unwrap_or_default()))
    }

    /// A Pod has come.
    pub fn connected(&mut self, gateway: &GatewayName, pod: &str) -> BTreeSet<ObjectRef> {
        self.touch(gateway, |one| one.followers.connected(pod))
    }

    /// A Pod serves a version.
    pub fn acknowledged(&mut self, gateway: &GatewayName, pod: &str, version: Version) -> BTreeSet<ObjectRef> {
        self.touch(gateway, |one| one.followers.acknowledged(pod, version))
    }

    /// A Pod has gone.
    pub fn gone(&mut self, gateway: &GatewayName, pod: &str) -> BTreeSet<ObjectRef> {
        self.touch(gateway, |one| one.followers.gone(pod))
    }

    /// Does it; gives the objects of which another generation is served after it.
    fn touch(&mut self, gateway: &GatewayName, with: impl FnOnce(&mut One)) -> BTreeSet<ObjectRef> {
        let Some(one) = self.by_gateway.get_mut(gateway) else { return BTreeSet::new() };
        let before = one.followers.served(&one.seen.ready);
        with(one);
        let now = one.followers.served(&one.seen.ready);
        if Arc::ptr_eq(&before, &now) {
            return BTreeSet::new();
        }
        before.keys().chain(now.keys()).filter(|name| before.get(*name) != now.get(*name)).cloned().collect()
    }
}

impl One {
    fn see(&mut self, stock: &Stock) {
        let Some(Basis { gateway, parameters, .. }) = &self.basis else { return };
        let of_kind = |kind: &'static str| {
            let names = self.manifests.keys().filter(move |name| name.kind == kind);
            names.filter_map(|name| stock.made(name)).map(|object| &**object)
        };
        let services: Vec<&Value> = of_kind("Service").collect();
        let pods: Vec<&Value> = stock.pods(&gateway.meta.namespace, &self.account).map(|pod| &**pod).collect();
        let deployment = of_kind("Deployment").next();
        let seen = headgate_provision::seen(gateway, parameters, &services, deployment, &pods);
        if seen != self.seen {
            (self.seen, self.is_news) = (seen, true);
        }
    }

    /// Whether its certificates were found of these names and these certificates.
    fn is_found_of(&self, named: &Names, all: &All) -> bool {
        let is_same =
            |(names, certificates): &(Names, All)| Arc::ptr_eq(names, named) && Arc::ptr_eq(certificates, all);
        self.found_of.as_ref().is_some_and(is_same)
    }

    /// The Gateway and its ListenerSets.
    fn objects(&self, gateway: &GatewayName) -> BTreeSet<ObjectRef> {
        let known = self.generations.iter().flat_map(|generations| generations.keys().cloned());
        known.chain([gateway_object(gateway)]).collect()
    }
}

/// The ports of each Gateway that listeners serve, those of ListenerSets included.
fn ports(snapshot: &Snapshot) -> BTreeMap<GatewayName, Ports> {
    let mut ports: BTreeMap<GatewayName, Ports> = BTreeMap::new();
    for listener in snapshot.listeners.values() {
        let name = &listener.name;
        let gateway = GatewayName { namespace: name.namespace.to_string(), name: name.gateway.to_string() };
        let transport = match listener.protocol.transport() {
            config::Transport::Tcp => Transport::Tcp,
            config::Transport::Udp => Transport::Udp,
        };
        ports.entry(gateway).or_default().insert((listener.port, transport));
    }
    ports
}

fn find(names: &BTreeSet<CertificateName>, all: &[Certificate]) -> Certificates {
    all.iter().filter(|one| names.contains(&one.name)).map(|one| (one.name.clone(), one.clone())).collect()
}

/// The addresses of the cluster's own that the Service of a Gateway has.
fn own_addresses(gateway: &Gateway, stock: &Stock) -> Vec<IpAddr> {
    let name = headgate_provision::name(&gateway.meta.name, &gateway.class);
    let service = stock.made(&ObjectRef::new("", "Service", &gateway.meta.namespace, &name));
    service.map(|service| headgate_provision::own_addresses(service)).unwrap_or_default()
}

/// The parameters that a Gateway names, over those of its class. What is wrong in them is said elsewhere.
fn parameters(gateway: &Gateway, stock: &Stock) -> Parameters {
    let read = |reference: Option<&ObjectReference>, namespace: &str| {
        let reference = reference?;
        let namespace = reference.namespace.as_deref().unwrap_or(namespace);
        let name = ObjectRef::new(&reference.group, &reference.kind, namespace, &reference.name);
        Parameters::decode(stock.other(&name)?).ok()
    };
    let class = stock.objects.gateway_classes.get(&(Text::default(), Text::from(&gateway.class)));
    let of_class = read(class.and_then(|class| class.parameters.as_ref()), "").unwrap_or_default();
    let own = read(gateway.infrastructure.parameters.as_ref(), &gateway.meta.namespace);
    own.map_or_else(|| of_class.clone(), |own| own.over(&of_class))
}
