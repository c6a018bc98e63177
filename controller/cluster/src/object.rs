//! From an object as the API server sends it to one as the state machines take it. Never drops one that cannot be read.

use crate::kinds::{Kind, Reading};
use headgate_config::Text;
use headgate_controller::sources::{
    cluster::{ClusterContent, ClusterObject},
    decode::{Outcome, decode_admitted},
};
use headgate_functions::cluster::FUNCTION_LABEL;
use headgate_status::Folded;
use headgate_translate::manifest::MANAGED_BY;
use headgate_translate::{kinds::ObjectRef, schema::Problem};
use kube::{
    api::{DynamicObject, ObjectMeta},
    core::Status,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Its name.
pub fn name_of(kind: &Kind, object: &DynamicObject) -> ObjectRef {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ObjectRef::new(kind.group, kind.kind, &text(&object.metadata.namespace), &text(&object.metadata.name))
}

/// Whether it carries the label of what we make.
pub fn is_labelled(meta: &ObjectMeta) -> bool {
    meta.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0)).is_some_and(|by| by == MANAGED_BY.1)
}

/// Whether a write was refused because its namespace is being deleted.
///
/// Source: Kubernetes 1.35, apiserver, plugin/namespace/lifecycle, `NamespaceTerminatingCause`.
pub fn names_an_ending_namespace(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// What is shown under a name that stands for several objects, and says nothing itself.
pub fn standing_for(several: &ObjectRef) -> ClusterObject {
    ClusterObject {
        name: several.clone(),
        version: "",
        content: ClusterContent::Unreadable,
        uid: Text::default(),
        owner: None,
        generation: 0,
        resource_version: String::new(),
        status: Folded::default(),
        appliers: Vec::new(),
        made: None,
        problems: Vec::new(),
    }
}

/// The object; `before` is what was known of its name, which one that cannot be read keeps, if it was the same object.
pub fn read(
    kind: &Kind,
    version: &'static str,
    object: DynamicObject,
    before: Option<&ClusterObject>,
) -> ClusterObject {
    let name = name_of(kind, &object);
    let meta = &object.metadata;
    // the route of a function has OpenFunction's value in the label that is ours
    let of_function =
        kind.kind == "HTTPRoute" && meta.labels.as_ref().is_some_and(|labels| labels.contains_key(FUNCTION_LABEL));
    let is_ours = of_function || is_labelled(meta);
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let owner = owner.map(|owner| {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        Box::new(ObjectRef::new(group, &owner.kind, &name.namespace, &owner.name))
    });
    let (uid, generation) = (Text::from(meta.uid.as_deref().unwrap_or_default()), meta.generation.unwrap_or_default());
    let resource_version = meta.resource_version.clone().unwrap_or_default();
    let appliers = if kind.kind == "Ingress" { appliers(meta) } else { Vec::new() };
    let value = to_value(kind, version, object);
    let status = value.get("status").map(Folded::from).unwrap_or_default();
    let made = is_ours.then(|| Arc::new(value.clone()));
    let (content, problems) = content(kind, value, before.filter(|before| before.uid == uid));
    ClusterObject { name, version, content, uid, owner, generation, resource_version, status, appliers, made, problems }
}

/// Who has applied a part of the status of an object.
pub fn appliers(meta: &ObjectMeta) -> Vec<String> {
    let of_status =
        meta.managed_fields.iter().flatten().filter(|entry| {
            entry.operation.as_deref() == Some("Apply") && entry.subresource.as_deref() == Some("status")
        });
    of_status.filter_map(|entry| entry.manager.clone()).collect()
}

fn content(kind: &Kind, value: Value, before: Option<&ClusterObject>) -> (ClusterContent, Vec<Problem>) {
    if matches!(kind.reading, Reading::Ours | Reading::Scaled | Reading::Metadata) {
        return (ClusterContent::Other(Arc::new(value)), Vec::new());
    }
    match decode_admitted(&value) {
        Outcome::Known(_, content, problems) => (ClusterContent::Known(content), problems),
        Outcome::Foreign(_) => (ClusterContent::Other(Arc::new(value)), Vec::new()),
        Outcome::Refused(_, problems) => {
            (before.map_or(ClusterContent::Unreadable, |before| before.content.clone()), problems)
        }
    }
}

/// The whole of it but for `managedFields`, with its kind, which lists leave out.
fn to_value(kind: &Kind, version: &str, mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    let mut value = serde_json::to_value(&object).unwrap_or_else(|_| json!({}));
    value["apiVersion"] = json!(kind.api_version(version));
    value["kind"] = json!(kind.kind);
    value
}
