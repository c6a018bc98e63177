//! What an operator sees of a cluster at one look: from its objects to rows. Pure: it repeats what objects say, and judges only whether that is well.

mod functions;
mod gateways;
mod refusals;
#[cfg(test)]
mod tests;

pub use functions::FunctionRow;
pub use gateways::{GatewayRow, PodRow};
pub use refusals::Refusal;

use crate::sources::{
    cluster::{ClusterContent, ClusterObject},
    decode::Content,
};
use headgate_config::Text;
use headgate_translate::{Key, kinds::Object};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// What a look at a cluster showed.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Its objects.
    pub objects: &'a [Arc<ClusterObject>],
    /// Classes with this `controllerName` are ours.
    pub controller_name: &'a str,
    /// The class that is ours where classes may not be read.
    pub usual_class: &'a str,
    /// Only what is in this namespace, and classes.
    pub namespace: Option<&'a str>,
}

/// What there is to say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// GatewayClasses of ours.
    pub classes: Vec<ClassRow>,
    /// Gateways of ours.
    pub gateways: Vec<GatewayRow>,
    /// Functions.
    pub functions: Vec<FunctionRow>,
    /// Everything that is refused, not ready, or not looked at yet.
    pub refused: Vec<Refusal>,
}

/// A GatewayClass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassRow {
    /// Its name.
    pub name: String,
    /// `True`, `False`, or `Unknown` where nothing is said.
    pub accepted: String,
}

impl Report {
    /// Of what a look showed.
    pub fn of(sight: &Sight<'_>) -> Self {
        let ours = Ours::of(sight);
        let class = |object: &Arc<ClusterObject>| ClassRow {
            name: object.name.name.to_string(),
            accepted: status_of(&object.status.unfold()["conditions"], "Accepted"),
        };
        Self {
            classes: sight.all().filter(|object| ours.is_class(object)).map(class).collect(),
            gateways: gateways::rows(sight, &ours),
            functions: functions::rows(sight),
            refused: refusals::all(sight, &ours),
        }
    }

    /// Whether nothing is refused, and everything that should be there is.
    pub fn is_fine(&self) -> bool {
        let gateway = |row: &GatewayRow| row.programmed == "True" && row.ready >= row.wanted.min(1);
        self.refused.is_empty() && self.gateways.iter().all(gateway) && self.functions.iter().all(FunctionRow::is_fine)
    }
}

impl<'a> Sight<'a> {
    fn all(&self) -> impl Iterator<Item = &'a Arc<ClusterObject>> {
        self.objects.iter()
    }

    /// Objects in the namespace that is asked for.
    fn asked(&self) -> impl Iterator<Item = &'a Arc<ClusterObject>> {
        let namespace = self.namespace;
        self.objects.iter().filter(move |object| namespace.is_none_or(|asked| object.name.namespace == asked))
    }
}

/// Which classes and Gateways are ours.
struct Ours {
    classes: BTreeSet<Text>,
    gateways: BTreeSet<Key>,
}

impl Ours {
    fn of(sight: &Sight<'_>) -> Self {
        let mut ours = Self { classes: BTreeSet::new(), gateways: BTreeSet::new() };
        for object in sight.all() {
            if let Some(Object::GatewayClass(class)) = kubernetes(object)
                && class.controller == sight.controller_name
            {
                ours.classes.insert(class.meta.name.clone());
            }
        }
        if !sight.all().any(|object| object.name.kind == "GatewayClass") {
            ours.classes.insert(sight.usual_class.into());
        }
        for object in sight.all() {
            if let Some(Object::Gateway(gateway)) = kubernetes(object)
                && ours.classes.contains(gateway.class.as_str())
            {
                ours.gateways.insert(gateway.meta.key());
            }
        }
        ours
    }

    fn is_class(&self, object: &ClusterObject) -> bool {
        object.name.kind == "GatewayClass" && self.classes.contains(&object.name.name)
    }

    fn is_gateway(&self, namespace: &str, name: &str) -> bool {
        self.gateways.contains(&(namespace.into(), name.into()))
    }
}

/// The object, if it is of Kubernetes or of Gateway API and can be read.
fn kubernetes(object: &ClusterObject) -> Option<&Object> {
    match &object.content {
        ClusterContent::Known(Content::Kubernetes(content)) => Some(content),
        _ => None,
    }
}

/// The whole of an object whose kind is not read here.
fn whole(object: &ClusterObject) -> Option<&Value> {
    match &object.content {
        ClusterContent::Other(value) => Some(value),
        _ => object.made.as_deref(),
    }
}

/// `status` of a condition; `Unknown` where there is none.
fn status_of(conditions: &Value, kind: &str) -> String {
    let mut list = conditions.as_array().into_iter().flatten();
    let found = list.find(|condition| condition["type"] == kind).and_then(|condition| condition["status"].as_str());
    found.unwrap_or("Unknown").to_owned()
}

/// How many replicas a Deployment wants, and how many are ready.
fn replicas(deployment: &Value) -> (u64, u64) {
    let ready = deployment["status"]["readyReplicas"].as_u64().unwrap_or_default();
    (deployment["spec"]["replicas"].as_u64().unwrap_or(1), ready)
}
