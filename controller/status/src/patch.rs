//! The patch of a status, if one is needed at all. Never one that changes nothing.

use crate::{
    entries::EntryList,
    happenings::{Happening, happenings},
    overlay::{holds, is_same, overlay},
    stamp::Stamp,
    wanted::{Address, Wanted},
};
use headgate_translate::{conditions::Status, kinds::ObjectRef};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// An object as the API server has it.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// Which one it is.
    pub object: &'a ObjectRef,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion`.
    pub resource_version: &'a str,
    /// `status`, whoever wrote it; null where there is none.
    pub status: &'a Value,
    /// Who has applied a part of it, where that is known.
    pub appliers: &'a [String],
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// How.
    pub method: Method,
    /// The patch of the object; one that is applied still needs `apiVersion`, `kind` and the name.
    pub body: Value,
    /// What changes that people are told in events.
    pub happenings: Vec<Happening>,
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Server-side apply (forced): what is not in it belongs to others.
    Apply,
    /// The same in the name of the controller ([`applier`]): what it does not apply any more goes, unless others have taken it over.
    ApplyAsController,
    /// JSON merge patch (RFC 7386) that fails if the object is another one by now.
    Merge,
}

/// What is to be written so that the status says what is wanted; `None` if it does, or if `wanted` speaks of an older generation
/// than the object has, for then a newer one is about to come.
///
/// Entries of `controller` are ours. Maps are applied unless something of ours is to go, for server-side apply removes only what
/// it once applied itself; lists of entries are atomic in the API, so they are always merged.
pub fn patch(current: Current<'_>, wanted: &Wanted, controller: &str, now: Timestamp) -> Option<Patch> {
    let (stamp, status) = (Stamp { now, awaiting: false }, current.status);
    match wanted {
        Wanted::Said(said) => {
            let (list, entries) = EntryList::of(said, &current.object.kind)?;
            if is_old(said, current.generation) {
                return None;
            }
            let known = &status[list.field];
            let replaced = Value::Array(list.replace(known, entries, controller, stamp));
            let patch = json!({list.field: replaced});
            (!holds(status, &patch)).then(|| merge(current, patch))
        }
        Wanted::Fields { status: ours, awaiting } => {
            let mut ours = ours.unfold();
            if newest_generation(&ours) < current.generation {
                return None;
            }
            Stamp { now, awaiting: *awaiting }.all(&mut ours, status);
            let laid = overlay(status, &ours);
            if holds(status, &laid.status) {
                return None;
            }
            Some(if laid.dropped { merge(current, laid.status) } else { apply(current, ours) })
        }
        Wanted::Addresses(addresses) => addresses_patch(current, addresses, controller),
        Wanted::Function(ours) => {
            let mut ours = ours.clone();
            stamp.all(&mut ours, status);
            let patch = function_patch(status, &ours);
            patch.as_object().is_some_and(|fields| !fields.is_empty()).then(|| merge(current, patch))
        }
    }
}

fn merge(current: Current<'_>, status: Value) -> Patch {
    let happenings = happenings(current.status, &status);
    let body = json!({"metadata": {"resourceVersion": current.resource_version}, "status": status});
    Patch { method: Method::Merge, body, happenings }
}

fn apply(current: Current<'_>, status: Value) -> Patch {
    let happenings = happenings(current.status, &status);
    Patch { method: Method::Apply, body: json!({"status": status}), happenings }
}

/// The name under which a controller applies what it takes back one day: as long as the API server takes it.
pub fn applier(controller: &str) -> &str {
    const BYTES_MAX: usize = 128;
    &controller[..controller.floor_char_boundary(BYTES_MAX)]
}

/// `loadBalancer.ingress` is one value to the API, and says not who wrote it.
fn addresses_patch(current: Current<'_>, addresses: &[Address], controller: &str) -> Option<Patch> {
    let entry = |address: &Address| match &*address.kind {
        "IPAddress" => json!({"ip": address.value}),
        _ => json!({"hostname": address.value}),
    };
    let ours: Vec<Value> = addresses.iter().map(entry).collect();
    let stands = current.status.pointer("/loadBalancer/ingress").and_then(Value::as_array);
    let is_needed = match ours.is_empty() {
        true => current.appliers.iter().any(|one| one == applier(controller)),
        false => stands != Some(&ours),
    };
    let status = if ours.is_empty() { json!({}) } else { json!({"loadBalancer": {"ingress": ours}}) };
    let patch = Patch { method: Method::ApplyAsController, body: json!({"status": status}), happenings: Vec::new() };
    is_needed.then_some(patch)
}

/// Whether all that is said was said of an older generation. What says nothing has no age.
fn is_old(said: &Status, generation: i64) -> bool {
    let conditions: Box<dyn Iterator<Item = _>> = match said {
        Status::Route(route) => Box::new(route.parents.iter().flat_map(|entry| &entry.conditions)),
        Status::Policy(policy) => Box::new(policy.ancestors.iter().flat_map(|entry| &entry.conditions)),
        Status::Class(_) | Status::Gateway(_) | Status::ListenerSet(_) | Status::Ingress(_) => return false,
    };
    conditions.map(|condition| condition.observed_generation).max().is_some_and(|newest| newest < generation)
}

fn newest_generation(status: &Value) -> i64 {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.filter_map(|condition| condition["observedGeneration"].as_i64()).max().unwrap_or(i64::MAX)
}

/// The fields of a Function's status that belong to whoever serves it, by the object that they stand in. OpenFunction keeps a hash
/// and references of its own in `serving`, and `build` is the builder's.
const FUNCTION_FIELDS: [(&str, &[&str]); 2] =
    [("route", &["hosts", "paths", "conditions"]), ("serving", &["state", "reason", "message", "service"])];

/// What differs, as a merge patch: null for what is ours and said no more.
fn function_patch(known: &Value, ours: &Value) -> Value {
    let mut patch = differing(known, ours, &["addresses"]);
    for (object, fields) in FUNCTION_FIELDS {
        let inner = differing(&known[object], &ours[object], fields);
        if !inner.is_empty() {
            patch.insert(object.into(), Value::Object(inner));
        }
    }
    Value::Object(patch)
}

fn differing(known: &Value, ours: &Value, fields: &[&str]) -> Map<String, Value> {
    let differs = |field: &&&str| !is_same(&known[**field], &ours[**field]);
    let pair = |field: &&str| ((*field).to_owned(), ours[*field].clone());
    fields.iter().filter(differs).map(pair).collect()
}
