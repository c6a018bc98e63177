//! How the objects of a function are labelled and owned. Never a label of people in place of ours.

use crate::kinds::{FUNCTION_GROUP, Function};
use headgate_translate::{
    kinds::ObjectRef,
    manifest::{self, MANAGED_BY, own, stamp},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The label of all that a function gets: its name.
pub const FUNCTION_LABEL: &str = "headgate.dev/function";
/// The label of all that belongs to one revision, Pods included: its name.
pub const REVISION_LABEL: &str = "headgate.dev/revision";
/// The label of what an OpenFunction Gateway gets: its namespace and name, with a dot between.
pub const OF_GATEWAY_LABEL: &str = "headgate.dev/openfunction-gateway";

/// Who owns the objects of a function.
pub(super) struct Owner<'a> {
    function: &'a Function,
}

impl<'a> Owner<'a> {
    pub fn of(function: &'a Function) -> Self {
        Self { function }
    }

    /// `metadata` of an object of the function, and of one revision if that is named.
    pub fn metadata(&self, name: &str, revision: Option<&str>) -> Value {
        let meta = &self.function.meta;
        let mut metadata = json!({"name": name, "namespace": meta.namespace, "labels": self.labels(revision)});
        let version = if self.function.is_v1beta1 { "v1beta1" } else { "v1beta2" };
        own(&mut metadata, &format!("{FUNCTION_GROUP}/{version}"), "Function", meta);
        metadata
    }

    pub fn labels(&self, revision: Option<&str>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
            (FUNCTION_LABEL.to_owned(), self.function.meta.name.to_string()),
        ]);
        labels.extend(revision.map(|revision| (REVISION_LABEL.to_owned(), revision.to_owned())));
        labels
    }
}

/// By what the Pods of a revision are selected.
pub(super) fn selector(revision: &str) -> Value {
    json!({REVISION_LABEL: revision})
}

/// A manifest, under its name, with the annotation that is another one for each other manifest.
pub(super) fn manifest(api_version: &str, kind: &str, metadata: Value, spec: Value) -> (ObjectRef, Value) {
    let (object, mut manifest) = manifest::manifest(api_version, kind, metadata, json!({"spec": spec}));
    stamp(&mut manifest, |text| crate::template::short_hash(text.bytes()));
    (object, manifest)
}
