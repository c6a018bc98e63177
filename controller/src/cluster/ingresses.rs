//! What is told of Ingresses: where each is found, in its status, and what is wrong with it, in Events, for it has no conditions. Never what becomes of one.

use super::{About, Output, fleet::Fleets, gateway_name, stock::Stock};
use headgate_config::GatewayName;
use headgate_status::{Address, Happening, Wanted};
use headgate_translate::{
    ObjectProblem,
    conditions::{IngressStatus, Status},
    kinds::{INGRESS_GROUP, ObjectRef},
    schema::Problem,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// `reason` of these Events.
const REASON: &str = "NotServedAsWritten";

/// The Ingresses that are ours.
#[derive(Debug, Default)]
pub struct Ingresses {
    by_gateway: BTreeMap<GatewayName, BTreeSet<ObjectRef>>,
    /// Where each of these Gateways was found last.
    found: BTreeMap<GatewayName, Vec<Address>>,
    /// What keeps the newest version of an Ingress from being read.
    unread: BTreeMap<ObjectRef, Vec<String>>,
    is_unread_news: bool,
    /// What is wrong with them otherwise.
    problems: Vec<Arc<ObjectProblem>>,
    /// What was told to be wrong.
    told: BTreeMap<ObjectRef, Vec<String>>,
}

impl Ingresses {
    /// What is said of an object is another thing now.
    pub fn take(&mut self, name: &ObjectRef, before: Option<&Status>, now: Option<&Status>) {
        for gateway in gateways(before) {
            if let Some(all) = self.by_gateway.get_mut(gateway) {
                all.remove(name);
            }
        }
        for gateway in gateways(now) {
            self.by_gateway.entry(gateway.clone()).or_default().insert(name.clone());
        }
        self.by_gateway.retain(|_, all| !all.is_empty());
        self.found.retain(|gateway, _| self.by_gateway.contains_key(gateway));
    }

    /// Something else may have to be said of these objects. Gives the Ingresses of those Gateways among them that are found elsewhere now.
    pub fn see(&mut self, objects: &BTreeSet<ObjectRef>, fleets: &Fleets, stock: &Stock) -> BTreeSet<ObjectRef> {
        let mut moved = BTreeSet::new();
        for name in objects {
            if is_ingress(name) {
                let notes = |(problems, _): (&[Problem], i64)| problems.iter().map(ToString::to_string).collect();
                let now: Option<Vec<String>> = stock.problems(name).map(notes);
                self.is_unread_news |= self.unread.get(name) != now.as_ref();
                match now {
                    Some(notes) => drop(self.unread.insert(name.clone(), notes)),
                    None => drop(self.unread.remove(name)),
                }
            }
            let gateway = gateway_name(name);
            let Some(ingresses) = self.by_gateway.get(&gateway).filter(|_| name.kind == "Gateway") else { continue };
            let now = fleets.addresses(&gateway);
            if self.found.get(&gateway) != Some(&now) {
                self.found.insert(gateway, now);
                moved.extend(ingresses.iter().cloned());
            }
        }
        moved
    }

    /// What is wrong with Ingresses, where that differs from what was told.
    pub fn troubles(&mut self, problems: &[Arc<ObjectProblem>], stock: &Stock) -> Vec<Output> {
        let problems: Vec<_> = problems.iter().filter(|one| is_ingress(&one.object)).cloned().collect();
        // a problem that stays is the same one, and most changes are of something else
        let is_same = problems.len() == self.problems.len()
            && problems.iter().zip(&self.problems).all(|(one, known)| Arc::ptr_eq(one, known));
        if is_same && !std::mem::take(&mut self.is_unread_news) {
            return Vec::new();
        }
        self.problems = problems;
        let mut now: BTreeMap<ObjectRef, Vec<String>> = BTreeMap::new();
        for one in &self.problems {
            now.entry(one.object.clone()).or_default().push(one.problem.to_string());
        }
        for (name, notes) in &self.unread {
            now.entry(name.clone()).or_default().extend(notes.iter().cloned());
        }
        let before = std::mem::replace(&mut self.told, now);
        let gone = before.keys().filter(|name| !self.told.contains_key(*name)).map(|name| (name, &[][..]));
        let new = self.told.iter().filter(|(name, notes)| before.get(*name) != Some(notes));
        let all = new.map(|(name, notes)| (name, notes.as_slice())).chain(gone);
        all.map(|(name, notes)| Output::Troubles(about(name, stock), happenings(notes))).collect()
    }
}

/// What is to be said of an Ingress.
pub fn wanted(status: &IngressStatus, fleets: &Fleets) -> Wanted {
    let mut addresses = Vec::new();
    for address in status.gateways.iter().flat_map(|gateway| fleets.addresses(gateway)) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Wanted::Addresses(addresses)
}

fn gateways(status: Option<&Status>) -> impl Iterator<Item = &GatewayName> {
    let of_ingress = match status {
        Some(Status::Ingress(status)) => Some(&status.gateways),
        _ => None,
    };
    of_ingress.into_iter().flatten()
}

fn is_ingress(name: &ObjectRef) -> bool {
    name.group == INGRESS_GROUP && name.kind == "Ingress"
}

fn about(name: &ObjectRef, stock: &Stock) -> About {
    let uid = stock.uid(name).unwrap_or_default().to_owned();
    About { object: name.clone(), uid, api_version: format!("{INGRESS_GROUP}/v1") }
}

fn happenings(notes: &[String]) -> Vec<Happening> {
    notes.iter().map(|note| Happening::warning(REASON, note)).collect()
}
