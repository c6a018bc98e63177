//! How the objects of a function are labelled and owned. Never a label of people in place of ours.

use crate::kinds::{FUNCTION_GROUP, Function};
use headgate_translate::kinds::ObjectRef;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The label of all that a function gets: its name.
pub const FUNCTION_LABEL: &str = "headgate.dev/function";
/// The label of all that belongs to one revision, Pods included: its name.
pub const REVISION_LABEL: &str = "headgate.dev/revision";
/// The label of what an OpenFunction Gateway gets: its namespace and name, with a dot between.
pub const OF_GATEWAY_LABEL: &str = "headgate.dev/openfunction-gateway";
/// The annotation that is another one for each other manifest.
const MANIFEST_ANNOTATION: &str = "headgate.dev/manifest";
/// The label of all that this program makes, and its value.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "headgate");

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
        if !meta.uid.is_empty() {
            let version = if self.function.is_v1beta1 { "v1beta1" } else { "v1beta2" };
            metadata["ownerReferences"] = json!([{
                "apiVersion": format!("{FUNCTION_GROUP}/{version}"),
                "kind": "Function",
                "name": meta.name,
                "uid": meta.uid,
                "controller": true,
            }]);
        }
        metadata
    }

    pub fn labels(&self, revision: Option<&str>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
            (FUNCTION_LABEL.to_owned(), self.function.meta.name.clone()),
        ]);
        labels.extend(revision.map(|revision| (REVISION_LABEL.to_owned(), revision.to_owned())));
        labels
    }
}

/// By what the Pods of a revision are selected.
pub(super) fn selector(revision: &str) -> Value {
    json!({REVISION_LABEL: revision})
}

/// A manifest, under its name. It carries [`MANIFEST_ANNOTATION`]: without, nobody could see that a field which is wanted no more
/// still stands in an object.
pub(super) fn manifest(api_version: &str, kind: &str, metadata: Value, spec: Value) -> (ObjectRef, Value) {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_owned();
    let object = ObjectRef::new(group, kind, &text("namespace"), &text("name"));
    let mut manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
    let stamp = crate::template::short_hash(manifest.to_string().bytes());
    manifest["metadata"]["annotations"][MANIFEST_ANNOTATION] = json!(stamp);
    (object, manifest)
}
