//! All objects of a cluster as watches showed them last, and what of them concerns whom. Never a judgement of what they say.

use super::{gateway_name, gateway_object};
use crate::sources::{
    cluster::{ClusterContent, ClusterObject, ClusterObjects, ObjectChange},
    decode::{Content, unusable},
};
use headgate_config::GatewayName;
use headgate_provision::Parameters;
use headgate_status::Definitions;
use headgate_translate::{
    Key, Objects, PARAMETERS_GROUP, PARAMETERS_KIND,
    kinds::{CERTIFICATES_GROUP, Decoded, GATEWAY_GROUP, ListenerSet, Object, ObjectRef, decode_admitted},
    schema::{Problem, Severity},
    selections,
};
use imbl::OrdMap;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// The group of definitions.
const DEFINITION_GROUP: &str = "apiextensions.k8s.io";
/// By namespace and ServiceAccount, each Pod of a gateway by name.
type Pods = HashMap<(String, String), BTreeMap<String, Arc<Value>>>;

/// The objects.
#[derive(Debug)]
pub struct Stock {
    /// Those that routes follow from.
    pub objects: Objects,
    all: ClusterObjects,
    pods: Pods,
    definitions: Definitions,
}

/// What a batch of changes was about.
#[derive(Debug, Default)]
pub struct News {
    /// Routes may follow from it.
    pub routes: bool,
    /// What is said of these may be another thing now.
    pub said: BTreeSet<ObjectRef>,
    /// Something that belongs to these Gateways differs: their Pods, Services, Deployments.
    pub gateways: BTreeSet<Belonging>,
}

/// How an object that we made says to which Gateway it belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Belonging {
    /// It is owned by it.
    Owned(GatewayName),
    /// It runs under its ServiceAccount: namespace and name.
    Account(String, String),
}

impl Default for Stock {
    fn default() -> Self {
        // of no selection all Pods are known before that is said, nor is a kind that not every API server knows
        let mut objects = Objects::default();
        objects.known_selections = Some(OrdMap::new());
        objects.lacks_trust_bundles = true;
        Self { objects, all: ClusterObjects::default(), pods: Pods::default(), definitions: Definitions::default() }
    }
}

impl Stock {
    /// Takes changes in.
    pub fn take(&mut self, changes: &[ObjectChange], news: &mut News) {
        for change in changes {
            match change {
                ObjectChange::Upsert(object) => self.upsert(object, news),
                ObjectChange::Remove(name) => self.remove(name, news),
            }
        }
    }

    fn upsert(&mut self, object: &Arc<ClusterObject>, news: &mut News) {
        let before = match self.all.insert(object.clone()) {
            // of one that was deleted and made anew nothing is kept, even if nobody saw that it was gone
            Some(before) if before.uid != object.uid => {
                news.routes |= self.objects.remove(&object.name);
                None
            }
            before => before,
        };
        // what is said of one that cannot be read names its generation
        let is_said_anew = |before: &Arc<ClusterObject>| {
            before.problems != object.problems || (before.generation != object.generation && has_error(object))
        };
        if before.as_ref().is_none_or(is_said_anew) {
            news.said.insert(object.name.clone());
        }
        if selections::labels(&object.name).is_some() {
            news.routes |= self.know_selection(&object.name, true);
            return;
        }
        if is_all_bundles(&object.name) {
            return self.define(news);
        }
        self.belongs(object, news);
        news.routes |= self.note_use(object) | self.note_pod(object);
        match &object.content {
            ClusterContent::Known(Content::Kubernetes(content)) => {
                // a status that somebody wrote is no news for routes
                if before.is_none_or(|before| before.content != object.content) {
                    self.objects.insert(content.clone());
                    news.routes = true;
                }
            }
            // workloads that policies name, and their Pods, are no gateway's
            ClusterContent::Other(_) if object.made.is_none() && is_workload(&object.name) => {}
            ClusterContent::Other(value) => self.upsert_other(&object.name, value, news),
            ClusterContent::Known(Content::OpenFunction(_) | Content::Parameters) | ClusterContent::Unreadable => {}
        }
    }

    /// Notes whether the newest version of a Secret is of use; whether that is news.
    fn note_use(&mut self, object: &ClusterObject) -> bool {
        if !object.name.is_secret() {
            return false;
        }
        let key = (object.name.namespace.clone(), object.name.name.clone());
        let all = &mut self.objects.unusable_secrets;
        match object.problems.iter().find(|problem| problem.severity == Severity::Error) {
            Some(problem) => {
                let why = unusable(&problem.path.to_string(), &problem.message);
                all.insert(key, why.clone()) != Some(why)
            }
            None => all.remove(&key).is_some(),
        }
    }

    /// Notes where a Pod can be asked; whether that is news for an XBackend.
    fn note_pod(&mut self, object: &ClusterObject) -> bool {
        let ("Pod", ClusterContent::Other(value)) = (&*object.name.kind, &object.content) else { return false };
        let Ok(Decoded::Known(Object::Pod(pod), _)) = decode_admitted(value) else { return false };
        let key = pod.meta.key();
        if self.objects.pods.get(&key).is_some_and(|known| **known == *pod) {
            return false;
        }
        self.objects.pods.insert(key, pod);
        self.selects_in(&object.name.namespace)
    }

    /// All Pods of a selection are known now, or not any more.
    fn know_selection(&mut self, name: &ObjectRef, is_known: bool) -> bool {
        let key = (name.namespace.clone(), name.name.clone());
        let all = self.objects.known_selections.get_or_insert_default();
        if is_known { all.insert(key, ()).is_none() } else { all.remove(&key).is_some() }
    }

    /// Whether an XBackend may select Pods of a namespace.
    fn selects_in(&self, namespace: &str) -> bool {
        self.objects.x_backends.keys().any(|(known, _)| known == namespace)
    }

    fn upsert_other(&mut self, name: &ObjectRef, value: &Arc<Value>, news: &mut News) {
        match (&*name.group, &*name.kind) {
            ("", "Pod") => {
                if let Some(account) = value["spec"]["serviceAccountName"].as_str() {
                    let key = (name.namespace.to_string(), account.to_owned());
                    self.pods.entry(key).or_default().insert(name.name.to_string(), value.clone());
                }
            }
            (DEFINITION_GROUP, _) => self.define(news),
            (PARAMETERS_GROUP, PARAMETERS_KIND) => {
                let problem = |all: Vec<Problem>| all.first().map(ToString::to_string).unwrap_or_default();
                self.objects.parameters.insert(name.clone(), Parameters::decode(value).err().map(problem));
                news.routes = true;
            }
            _ => {}
        }
    }

    fn remove(&mut self, name: &ObjectRef, news: &mut News) {
        if selections::labels(name).is_some() {
            self.all.remove(name);
            news.routes |= self.know_selection(name, false);
            return;
        }
        let Some(before) = self.all.remove(name) else { return };
        news.said.insert(name.clone());
        self.belongs(&before, news);
        let is_known = self.objects.remove(name);
        news.routes |= is_known && (name.kind != "Pod" || self.selects_in(&name.namespace));
        match (&*name.group, &*name.kind) {
            ("", "Pod") => self.pods.retain(|(namespace, _), pods| {
                if *namespace == name.namespace {
                    pods.remove(name.name.as_str());
                }
                !pods.is_empty()
            }),
            (DEFINITION_GROUP, _) => self.define(news),
            _ if is_all_bundles(name) => self.define(news),
            _ => {}
        }
    }

    /// Notes to which Gateway an object of ours belongs.
    fn belongs(&self, object: &ClusterObject, news: &mut News) {
        if let Some(owner) = object.owner.as_ref().filter(|owner| is_gateway(owner)) {
            news.gateways.insert(Belonging::Owned(gateway_name(owner)));
        }
        if let ("Pod", ClusterContent::Other(value)) = (&*object.name.kind, &object.content)
            && object.made.is_some()
            && let Some(account) = value["spec"]["serviceAccountName"].as_str()
        {
            news.gateways.insert(Belonging::Account(object.name.namespace.to_string(), account.to_owned()));
        }
        if is_gateway(&object.name) {
            news.gateways.insert(Belonging::Owned(gateway_name(&object.name)));
        }
    }

    /// Reads the definitions anew, and whether there can be ClusterTrustBundles; they are few.
    fn define(&mut self, news: &mut News) {
        let trust_bundles = self.all.get(&ObjectRef::all_of(CERTIFICATES_GROUP, "ClusterTrustBundle")).is_some();
        news.routes |= std::mem::replace(&mut self.objects.lacks_trust_bundles, !trust_bundles) == trust_bundles;
        let all = self.all.iter().filter(|object| object.name.group == DEFINITION_GROUP);
        let of_gateway_api = Definitions::of(all.filter_map(|object| match &object.content {
            ClusterContent::Other(value) => Some(&value["metadata"]),
            _ => None,
        }));
        let definitions = Definitions { trust_bundles, ..of_gateway_api };
        if definitions != self.definitions {
            self.definitions = definitions;
            // a class says which features there are, a Gateway what it has words for
            let classes = self.objects.gateway_classes.values();
            news.said.extend(classes.map(|class| ObjectRef::new(GATEWAY_GROUP, "GatewayClass", "", &class.meta.name)));
            let gateways = self.objects.gateways.keys();
            let gateway = |(namespace, name): &Key| ObjectRef::new(GATEWAY_GROUP, "Gateway", namespace, name);
            news.said.extend(gateways.map(gateway));
        }
    }

    /// What the definitions of Gateway API say of themselves.
    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// What keeps the newest version of an object from being read, and its generation.
    pub fn problems(&self, name: &ObjectRef) -> Option<(&[Problem], i64)> {
        let object = self.all.get(name)?;
        has_error(object).then_some((object.problems.as_slice(), object.generation))
    }

    /// `metadata.uid` of an object.
    pub fn uid(&self, name: &ObjectRef) -> Option<&str> {
        self.all.get(name).map(|object| object.uid.as_str())
    }

    /// An object whose kind nobody here reads, whole.
    pub fn other(&self, name: &ObjectRef) -> Option<&Arc<Value>> {
        match &self.all.get(name)?.content {
            ClusterContent::Other(value) => Some(value),
            _ => None,
        }
    }

    /// What an object says, as it could be read last.
    #[cfg(test)]
    pub fn content(&self, name: &ObjectRef) -> Option<ClusterContent> {
        self.all.get(name).map(|object| object.content.clone())
    }

    /// An object that we made, whole.
    pub fn made(&self, name: &ObjectRef) -> Option<&Arc<Value>> {
        self.all.get(name).and_then(|object| object.made.as_ref())
    }

    /// The Pods that run under a ServiceAccount.
    pub fn pods(&self, namespace: &str, account: &str) -> impl Iterator<Item = &Arc<Value>> {
        self.pods.get(&(namespace.to_owned(), account.to_owned())).into_iter().flat_map(BTreeMap::values)
    }

    /// The generations of each Gateway and of the ListenerSets that name it.
    pub fn generations(&self) -> BTreeMap<GatewayName, BTreeMap<ObjectRef, i64>> {
        let mut all: BTreeMap<GatewayName, BTreeMap<ObjectRef, i64>> = BTreeMap::new();
        for meta in self.objects.gateways.values().map(|gateway| &gateway.meta) {
            let name = GatewayName { namespace: meta.namespace.to_string(), name: meta.name.to_string() };
            let object = gateway_object(&name);
            all.entry(name).or_default().insert(object, meta.generation);
        }
        for set in self.objects.listener_sets.values() {
            let name = ObjectRef::new(GATEWAY_GROUP, "ListenerSet", &set.meta.namespace, &set.meta.name);
            all.entry(parent(set)).or_default().insert(name, set.meta.generation);
        }
        all
    }

    /// The Gateway that a ListenerSet names.
    pub fn parent_of_set(&self, name: &ObjectRef) -> Option<GatewayName> {
        self.objects.listener_sets.get(&(name.namespace.clone(), name.name.clone())).map(|set| parent(set))
    }
}

/// Whether its newest version cannot be read.
fn has_error(object: &ClusterObject) -> bool {
    object.problems.iter().any(|problem| problem.severity == Severity::Error)
}

fn parent(set: &ListenerSet) -> GatewayName {
    let namespace = set.parent.namespace.as_ref().unwrap_or(&set.meta.namespace);
    GatewayName { namespace: namespace.to_string(), name: set.parent.name.to_string() }
}

/// Whether it stands for all ClusterTrustBundles.
fn is_all_bundles(name: &ObjectRef) -> bool {
    name.name == "*" && *name == ObjectRef::all_of(CERTIFICATES_GROUP, "ClusterTrustBundle")
}

fn is_workload(name: &ObjectRef) -> bool {
    matches!(&*name.kind, "Pod" | "Deployment" | "StatefulSet")
}

fn is_gateway(name: &ObjectRef) -> bool {
    name.group == GATEWAY_GROUP && name.kind == "Gateway"
}
