//! Functions in a cluster: from what watches show and the scaler says to manifests, targets, statuses, and what routes need to know. No I/O, no clock.
//!
//! [`Functions`] keeps of each function the records of its revisions. They are read back from annotations of its Deployments, so that
//! every controller comes to the same, also one that starts anew: which revision serves follows from what was proven and when.

mod gateways;
mod one;
mod sight;

#[cfg(test)]
mod tests;

use super::ObjectChange;
use crate::{
    scaling::cluster::{TargetSpec, TargetState, Workload},
    sources::{
        cluster::{ClusterContent, ClusterObject},
        decode::Content,
    },
};
use gateways::Gateways;
use headgate_config::{BackendName, GatewayName, Text};
use headgate_functions::{
    Defaults, Places,
    cluster::GatewayBehind,
    kinds::{FUNCTION_GROUP, NamespacedName, OF_GATEWAY_GROUP, Object as FunctionObject, OfGateway},
};
use headgate_translate::{
    AliasArm, Key, Objects, ServiceTraits,
    kinds::{GATEWAY_GROUP, Object, ObjectRef},
};
use imbl::OrdMap;
use one::One;
use serde_json::Value;
use sight::Sight;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// All functions.
#[derive(Debug)]
pub struct Functions {
    defaults: Defaults,
    all: BTreeMap<NamespacedName, One>,
    gateways: Gateways,
    /// What people wrote of kinds that functions get too: nothing of it is replaced.
    people: Objects,
    sight: Sight,
    places: Places,
    traits: OrdMap<Key, ServiceTraits>,
    aliases: OrdMap<Key, Vec<AliasArm>>,
    /// To be planned anew.
    touched: BTreeSet<NamespacedName>,
    /// Of which something else is seen: namespace and revision.
    seen: BTreeSet<Key>,
    said: BTreeMap<ObjectRef, Value>,
    specs: Vec<TargetSpec>,
    manifests: BTreeMap<ObjectRef, Arc<Value>>,
    retries: BTreeSet<String>,
}

/// What follows, as far as it differs from the step before.
#[derive(Debug, Default)]
pub struct FunctionsOut {
    /// [`Functions::manifests`] gives something else.
    pub manifests: bool,
    /// [`Functions::merge_into`] gives something else: routes may follow from it.
    pub routes: bool,
    /// [`Functions::targets`] gives something else.
    pub targets: bool,
    /// What is seen of workloads now, for the scaler, behind the targets.
    pub workloads: Vec<(String, Workload)>,
    /// Targets whose function was written anew after they failed: the scaler forgets the failures.
    pub retries: Vec<String>,
    /// The status of Functions, for `Wanted::Function`; `None` for one that is gone.
    pub statuses: BTreeMap<ObjectRef, Option<Value>>,
}

impl Functions {
    /// Knows of none yet.
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            all: BTreeMap::new(),
            gateways: Gateways::default(),
            people: Objects::default(),
            sight: Sight::default(),
            places: Places::default(),
            traits: OrdMap::new(),
            aliases: OrdMap::new(),
            touched: BTreeSet::new(),
            seen: BTreeSet::new(),
            said: BTreeMap::new(),
            specs: Vec::new(),
            manifests: BTreeMap::new(),
            retries: BTreeSet::new(),
        }
    }

    /// A watch showed something. Whether [`Functions::step`] may give something new.
    pub fn see(&mut self, change: &ObjectChange) -> bool {
        match change {
            ObjectChange::Upsert(object) => self.upsert(object),
            ObjectChange::Remove(name) => self.remove(name),
        }
        !self.touched.is_empty() || !self.seen.is_empty() || self.gateways.changed
    }

    /// The scaler says something of a target. Whether [`Functions::step`] may give something new.
    pub fn scaled(&mut self, state: TargetState) -> bool {
        let Some((namespace, revision)) = state.target.split_once('/') else { return false };
        let key = (Text::from(namespace), Text::from(revision));
        if let Some(function) = self.sight.scaled(&key, state) {
            self.touched.insert(function);
        }
        !self.touched.is_empty()
    }

    /// Everything that follows from what was seen since the last step; `now_ms` is in milliseconds since 1970.
    pub fn step(&mut self, now_ms: u64) -> FunctionsOut {
        let mut out = FunctionsOut::default();
        let touched = std::mem::take(&mut self.touched);
        let gateways = self.gateways.for_functions(&self.defaults, &self.people);
        let mut open = touched.clone();
        while let Some(name) = open.pop_first() {
            // of those that want the same place something else may have to be said
            open.extend(self.plan(&name, &gateways, now_ms, &mut out));
        }
        let seen = std::mem::take(&mut self.seen);
        out.workloads = seen.iter().map(|key| (target_name(key), self.sight.workload(key))).collect();
        if !touched.is_empty() || std::mem::take(&mut self.gateways.changed) {
            self.gather(&mut out);
        }
        out.retries = std::mem::take(&mut self.retries).into_iter().collect();
        out
    }

    /// Puts what functions say of Services into the objects that routes follow from.
    pub fn merge_into(&self, objects: &mut Objects) {
        objects.traits = self.traits.clone();
        objects.aliases = self.aliases.clone();
    }

    /// All objects that functions and their gateways are to have.
    pub fn manifests(&self) -> &BTreeMap<ObjectRef, Arc<Value>> {
        &self.manifests
    }

    /// All scale targets. `gateways` of each is empty: see [`with_gateways`].
    pub fn targets(&self) -> &[TargetSpec] {
        &self.specs
    }

    /// The Function of a target, with its uid and its version.
    pub fn function_of(&self, target: &str) -> Option<(ObjectRef, String, &'static str)> {
        let (namespace, revision) = target.split_once('/')?;
        let name = self.sight.function(&(namespace.into(), revision.into()))?;
        let function = self.all.get(name)?.function()?;
        let version = if function.is_v1beta1 { "v1beta1" } else { "v1beta2" };
        let object = ObjectRef::new(FUNCTION_GROUP, "Function", &name.namespace, &name.name);
        Some((object, function.meta.uid.to_string(), version))
    }

    /// Of an OpenFunction Gateway: what of the Gateway behind it it speaks of, for its status.
    pub fn gateway_behind(&self, object: &ObjectRef) -> Option<GatewayBehind> {
        let is_one = object.group == OF_GATEWAY_GROUP && object.kind == "Gateway";
        is_one.then(|| self.gateways.behind(&named(object))).flatten()
    }

    /// The OpenFunction Gateways of which something else may have to be said, if it has of these objects.
    pub fn gateways_over(&self, objects: &BTreeSet<ObjectRef>) -> BTreeSet<ObjectRef> {
        let is_one = |name: &NamespacedName| {
            objects.contains(&ObjectRef::new(GATEWAY_GROUP, "Gateway", &name.namespace, &name.name))
        };
        let over = self.gateways.all_behind().filter(|(_, behind)| is_one(&behind.gateway));
        over.map(|(name, _)| ObjectRef::new(OF_GATEWAY_GROUP, "Gateway", &name.namespace, &name.name)).collect()
    }

    fn upsert(&mut self, object: &Arc<ClusterObject>) {
        match &object.content {
            ClusterContent::Known(Content::OpenFunction(content)) => match content {
                FunctionObject::Function(function) => self.write(object, Some(function)),
                FunctionObject::Gateway(gateway) => {
                    if self.gateways.insert(gateway) {
                        self.touch_all();
                    }
                }
                // of versions of OpenFunction that serve nothing in a cluster any more
                FunctionObject::Domain(_) => {}
            },
            ClusterContent::Unreadable if is_function(&object.name) => self.write(object, None),
            ClusterContent::Known(Content::Kubernetes(content)) => self.kubernetes(object, content),
            ClusterContent::Other(_) => self.note(object.name.clone(), Some(object)),
            ClusterContent::Unreadable | ClusterContent::Known(Content::Parameters) => {}
        }
    }

    /// A Function is new or changed.
    fn write(&mut self, object: &ClusterObject, function: Option<&headgate_functions::kinds::Function>) {
        let name = named(&object.name);
        let one = self.all.entry(name.clone()).or_default();
        if one.write(object, function) {
            let broken = one.targets().map(|revision| (Text::from(&name.namespace), Text::from(revision)));
            let broken = broken.filter(|key| self.sight.is_broken(key)).map(|key| target_name(&key));
            self.retries.extend(broken.collect::<Vec<_>>());
            self.touched.insert(name);
        }
    }

    /// Ours are looked at, those of people are left alone.
    fn kubernetes(&mut self, object: &Arc<ClusterObject>, content: &Object) {
        if !matches!(content, Object::Service(_) | Object::HTTPRoute(_) | Object::Gateway(_)) {
            return;
        }
        let is_ours = object.owner.as_deref().is_some_and(is_function);
        if is_ours {
            self.note(object.name.clone(), Some(object));
            self.people.remove(&object.name);
            return;
        }
        match content {
            // one that we made carries our label, and nobody owns it
            Object::Gateway(_) if object.made.is_some() => {}
            Object::Gateway(gateway) => {
                let known = self.people.gateways.get(&gateway.meta.key());
                let is_new = known.is_none_or(|known| {
                    known.class != gateway.class || gateways::has_ours(known) != gateways::has_ours(gateway)
                });
                self.people.insert(content.clone());
                if is_new {
                    self.gateways.changed = true;
                    self.touch_all();
                }
            }
            _ => {
                let key = (object.name.namespace.clone(), object.name.name.clone());
                let is_new = !self.people.services.contains_key(&key) && !self.people.http_routes.contains_key(&key);
                self.people.insert(content.clone());
                if is_new {
                    self.touch_namesakes(&key);
                }
            }
        }
    }

    fn remove(&mut self, name: &ObjectRef) {
        let key = (name.namespace.clone(), name.name.clone());
        match (&*name.group, &*name.kind) {
            (FUNCTION_GROUP, "Function") => {
                if let Some(one) = self.all.get_mut(&named(name)) {
                    one.is_gone = true;
                    self.touched.insert(named(name));
                }
            }
            (OF_GATEWAY_GROUP, "Gateway") => {
                self.gateways.remove(&named(name));
                self.touch_all();
            }
            (GATEWAY_GROUP, "Gateway") => {
                if self.people.remove(name) {
                    self.gateways.changed = true;
                    self.touch_all();
                }
            }
            ("", "Service") | (GATEWAY_GROUP, "HTTPRoute") if self.people.remove(name) => self.touch_namesakes(&key),
            _ => self.note(name.clone(), None),
        }
    }

    /// Something of ours: of which function and revision, if it is one's.
    fn note(&mut self, name: ObjectRef, object: Option<&Arc<ClusterObject>>) {
        let noted = self.sight.note(name, object);
        self.touched.extend(noted.function.filter(|function| self.all.contains_key(function)));
        self.seen.extend(noted.workload);
    }

    fn touch_all(&mut self) {
        self.touched.extend(self.all.keys().cloned());
    }

    /// The functions that could want a name.
    fn touch_namesakes(&mut self, (namespace, name): &Key) {
        let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
        let stems = ends.map(|end| NamespacedName::new(namespace.clone(), &name[..end]));
        let known: Vec<NamespacedName> = stems.filter(|stem| self.all.contains_key(stem)).collect();
        self.touched.extend(known);
    }

    fn plan(
        &mut self,
        name: &NamespacedName,
        gateways: &[OfGateway],
        now_ms: u64,
        out: &mut FunctionsOut,
    ) -> BTreeSet<NamespacedName> {
        let Some(mut one) = self.all.remove(name) else { return BTreeSet::new() };
        let before = (one.traits.clone(), one.aliases.clone());
        let around = one::Surroundings {
            gateways,
            people: &self.people,
            sight: &self.sight,
            defaults: &self.defaults,
            is_function: &|name| self.all.contains_key(name),
            now_ms,
        };
        let rivals = one.plan(&around, &mut self.places);
        if before != (one.traits.clone(), one.aliases.clone()) {
            out.routes = true;
            before.0.keys().for_each(|key| drop(self.traits.remove(key)));
            before.1.keys().for_each(|key| drop(self.aliases.remove(key)));
            self.traits.extend(one.traits.clone());
            self.aliases.extend(one.aliases.clone());
        }
        let object = ObjectRef::new(FUNCTION_GROUP, "Function", &name.namespace, &name.name);
        if one.is_gone {
            self.said.remove(&object);
            out.statuses.insert(object, None);
            return rivals;
        }
        if self.said.get(&object) != Some(&one.status) {
            self.said.insert(object.clone(), one.status.clone());
            out.statuses.insert(object, Some(one.status.clone()));
        }
        // a scaler that has just learned of a target wants to know what there is
        self.seen.extend(one.fresh.iter().map(|revision| (Text::from(&name.namespace), Text::from(revision))));
        self.all.insert(name.clone(), one);
        rivals
    }

    /// Manifests and targets of all, where they differ.
    fn gather(&mut self, out: &mut FunctionsOut) {
        let of_functions = self.all.values().flat_map(|one| &one.manifests);
        let mut manifests: BTreeMap<ObjectRef, Arc<Value>> =
            of_functions.map(|(name, value)| (name.clone(), value.clone())).collect();
        let wanted = self.all.values().filter_map(One::gateway).cloned().collect();
        manifests.extend(self.gateways.manifests(&self.defaults, &self.people, &wanted));
        if manifests != self.manifests {
            self.manifests = manifests;
            out.manifests = true;
        }
        let specs: Vec<TargetSpec> = self.all.values().flat_map(|one| one.specs.iter().cloned()).collect();
        if specs != self.specs {
            self.specs = specs;
            out.targets = true;
        }
    }
}

/// Fills in which Gateways' routes lead to each target; `users` gives those of a Backend.
pub fn with_gateways(specs: &mut [TargetSpec], users: impl Fn(&BackendName) -> Vec<GatewayName>) {
    for spec in specs {
        spec.gateways = spec.backends.iter().flat_map(|served| users(&served.backend)).collect();
    }
}

fn target_name((namespace, revision): &Key) -> String {
    format!("{namespace}/{revision}")
}

fn named(object: &ObjectRef) -> NamespacedName {
    NamespacedName::new(object.namespace.clone(), object.name.clone())
}

fn is_function(object: &ObjectRef) -> bool {
    object.group == FUNCTION_GROUP && object.kind == "Function"
}
