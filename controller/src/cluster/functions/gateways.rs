//! OpenFunction Gateways in a cluster: the written ones, and the built-in one where a function wants it. Never a Gateway that is another's.

use headgate_config::Text;
use headgate_functions::{
    Defaults,
    cluster::{GatewayBehind, gateway_manifests, without_ours},
    kinds::{GatewayTarget, INTERNAL_LISTENER, NamespacedName, OfGateway},
};
use headgate_translate::{
    Objects,
    kinds::{Gateway, ObjectRef},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Those that people wrote.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    written: BTreeMap<NamespacedName, OfGateway>,
    /// Their objects may be others than the last time.
    pub changed: bool,
}

impl Gateways {
    /// Whether functions may be found elsewhere now.
    pub fn insert(&mut self, gateway: &OfGateway) -> bool {
        let before = self.written.insert(gateway.reference(), gateway.clone());
        let is_new = before.as_ref() != Some(gateway);
        self.changed |= is_new;
        is_new
    }

    pub fn remove(&mut self, name: &NamespacedName) {
        self.changed |= self.written.remove(name).is_some();
    }

    /// What of the Gateway behind it one speaks of.
    pub fn behind(&self, name: &NamespacedName) -> Option<GatewayBehind> {
        self.written.get(name).map(GatewayBehind::of)
    }

    /// The same of all.
    pub fn all_behind(&self) -> impl Iterator<Item = (&NamespacedName, GatewayBehind)> {
        self.written.iter().map(|(name, gateway)| (name, GatewayBehind::of(gateway)))
    }

    /// All that functions may name. The built-in one is among them if nobody wrote it.
    pub fn for_functions(&self, defaults: &Defaults, people: &Objects) -> Vec<OfGateway> {
        let built_in = self.built_in(defaults);
        self.written.values().cloned().chain(built_in).map(|gateway| settled(gateway, people)).collect()
    }

    fn built_in(&self, defaults: &Defaults) -> Option<OfGateway> {
        let gateway = defaults.gateway();
        (!self.written.contains_key(&gateway.reference())).then_some(gateway)
    }

    /// The objects of all gateways; the built-in one has some only if it is `wanted`.
    pub fn manifests(
        &self,
        defaults: &Defaults,
        people: &Objects,
        wanted: &BTreeSet<NamespacedName>,
    ) -> BTreeMap<ObjectRef, Arc<Value>> {
        let built_in = self.built_in(defaults).filter(|gateway| wanted.contains(&gateway.reference()));
        let all = self.written.values().cloned().chain(built_in).map(|gateway| settled(gateway, people));
        // what was added to a Gateway of a person for one that is gone goes too, whichever process added it
        let added = people.gateways.values().filter(|gateway| has_ours(gateway)).map(|gateway| {
            let (name, value) = without_ours(&NamespacedName::new(gateway.meta.namespace.clone(), &*gateway.meta.name));
            (name, Arc::new(value))
        });
        let without: BTreeMap<ObjectRef, Arc<Value>> = added.collect();
        let mut manifests: BTreeMap<ObjectRef, Arc<Value>> = BTreeMap::new();
        for gateway in all {
            let Some(class) = class(&gateway, people) else { continue };
            let target = gateway.target.gateway();
            let service = headgate_provision::name(&target.name, &class);
            let entry = format!("{service}.{}.svc.{}", target.namespace, gateway.cluster_domain);
            for (name, value) in gateway_manifests(&gateway, &entry) {
                manifests.entry(name).or_insert_with(|| Arc::new(value));
            }
        }
        for (name, value) in without {
            manifests.entry(name).or_insert(value);
        }
        manifests
    }
}

/// Whether a Gateway has the listener that each OpenFunction Gateway adds.
pub(super) fn has_ours(gateway: &Gateway) -> bool {
    gateway.listeners.iter().any(|listener| listener.name == INTERNAL_LISTENER)
}

/// A Gateway that is to be made, and that a person has made already, is as good as one that is named: it is only added to.
fn settled(mut gateway: OfGateway, people: &Objects) -> OfGateway {
    if let GatewayTarget::Made { gateway: target, .. } = &gateway.target
        && people.gateways.contains_key(&(Text::from(&target.namespace), Text::from(&target.name)))
    {
        gateway.target = GatewayTarget::Existing(target.clone());
    }
    gateway
}

/// The class of the Gateway behind it; `None` while there is no such Gateway.
fn class(gateway: &OfGateway, people: &Objects) -> Option<String> {
    match &gateway.target {
        GatewayTarget::Made { class, .. } => Some(class.clone()),
        GatewayTarget::Existing(target) => {
            let known = people.gateways.get(&(Text::from(&target.namespace), Text::from(&target.name)));
            known.map(|known| known.class.clone())
        }
    }
}
