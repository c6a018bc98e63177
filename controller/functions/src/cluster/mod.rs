//! What a function needs in a cluster, as manifests, and what the objects there say of it. Pure; never talks to an API server.
//!
//! A revision is a Deployment and a Service of one name. Its record stands in annotations of the Deployment, so that a controller
//! that starts anew reads from there what was: `record.rs`. Everything is owned by the Function, and goes with it.

mod deployment;
mod environment;
mod gateway;
mod names;
mod pod;
mod record;
mod route;
mod service;
mod status;

pub use gateway::{GatewayBehind, gateway_manifests, without_ours};
pub use names::{FUNCTION_LABEL, OF_GATEWAY_LABEL, REVISION_LABEL};
pub use pod::probe;
pub use record::{PROVEN_ANNOTATION, TEMPLATE_ANNOTATION, TURN_ANNOTATION, revision};
pub use status::status;

use crate::{expand::Expansion, kinds::Function};
use headgate_translate::kinds::ObjectRef;
use names::Owner;
use serde_json::Value;
use std::collections::BTreeMap;

/// All objects of a function, by name. What exists and is not among them is to be deleted.
///
/// `there` gives a Deployment as the API server has it: replicas belong to whoever scales, so the manifest repeats what stands
/// there, for exactly that version of it. A new one has none.
pub fn manifests<'v>(
    function: &Function,
    expansion: &Expansion,
    there: impl Fn(&ObjectRef) -> Option<&'v Value>,
) -> BTreeMap<ObjectRef, Value> {
    let name = function.reference();
    let owner = Owner::of(function);
    let Some(plan) = expansion.plans.get(&name) else { return BTreeMap::new() };
    let mut manifests = BTreeMap::new();
    for revision in plan.revisions.iter().filter(|revision| plan.targets.contains_key(&revision.name)) {
        let name = ObjectRef::new("apps", "Deployment", &function.meta.namespace, &revision.name);
        manifests.extend([
            deployment::deployment(&owner, function, revision, there(&name)),
            service::of_revision(&owner, revision),
        ]);
    }
    let is_revision = |service: &str| plan.revisions.iter().any(|revision| revision.name == service);
    for (_, service) in expansion.objects.services.keys().filter(|(_, service)| !is_revision(service)) {
        let arms = expansion.objects.aliases.get(&(name.namespace.as_str().into(), service.clone()));
        let newest = arms.and_then(|arms| arms.first()).map(|arm| &arm.service);
        let newest = plan.revisions.iter().find(|revision| Some(&revision.name) == newest);
        if let (Some(revision), true) = (newest, *service != name.name) {
            manifests.extend([service::alias(&owner, service, revision)]);
        }
    }
    if let Some(route) = expansion.routes.get(&name) {
        manifests.extend([route::http_route(&owner, function, route, &plan.weights)]);
        if expansion.objects.services.contains_key(&function.meta.key()) {
            manifests.extend([service::of_gateway(&owner, &route.service)]);
        }
    }
    manifests
}
