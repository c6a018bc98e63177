//! Whether what `parametersRef` names can be used. Never what stands in it: that is for whoever provides gateways.

use crate::{
    Objects,
    conditions::{ConditionType, Finding, Reason},
    kinds::{ObjectRef, ObjectReference},
    schema::FieldPath,
};

/// The group of the one kind of parameters.
pub const PARAMETERS_GROUP: &str = crate::kinds::HEADGATE_GROUP;
/// The one kind of parameters.
pub const PARAMETERS_KIND: &str = "GatewayParameters";

/// What is wrong with a reference to parameters from an object of `namespace`.
pub(crate) fn finding(
    objects: &Objects,
    reference: Option<&ObjectReference>,
    namespace: &str,
    path: FieldPath,
) -> Option<Finding> {
    let message = problem(objects, reference?, namespace)?;
    Some(Finding::new(ConditionType::Accepted, Reason::InvalidParameters, path, message))
}

/// Whether parameters that are referred to, if any are, can be used.
pub(crate) fn are_usable(objects: &Objects, reference: Option<&ObjectReference>, namespace: &str) -> bool {
    reference.is_none_or(|reference| problem(objects, reference, namespace).is_none())
}

fn problem(objects: &Objects, reference: &ObjectReference, namespace: &str) -> Option<String> {
    let ObjectReference { group, kind, namespace: own, name } = reference;
    if (group.as_str(), kind.as_str()) != (PARAMETERS_GROUP, PARAMETERS_KIND) {
        return Some(format!("parameters of kind {kind} of group {group:?} are not known"));
    }
    let namespace = own.as_deref().unwrap_or(namespace);
    match objects.parameters.get(&ObjectRef::new(group, kind, namespace, name)) {
        None => Some(format!("{kind} {namespace}/{name} does not exist")),
        Some(problem) => problem.clone(),
    }
}
