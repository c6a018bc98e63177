//! What all manifests that are made here have in common: label, owner, name. Never what a kind says.

use crate::kinds::{ObjectMeta, ObjectRef};
use serde_json::{Map, Value, json};

/// The label of all that this program makes, and its value.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "headgate");
/// The annotation that is another one for each other manifest: without, nobody could see that a field which is wanted no more still
/// stands in an object.
pub const MANIFEST_ANNOTATION: &str = "headgate.dev/manifest";

/// A manifest, under its name; `rest` is what stands beside `metadata`.
pub fn manifest(api_version: &str, kind: &str, metadata: Value, rest: Value) -> (ObjectRef, Value) {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_owned();
    let object = ObjectRef::new(group, kind, &text("namespace"), &text("name"));
    let mut whole = Map::new();
    whole.insert("apiVersion".into(), json!(api_version));
    whole.insert("kind".into(), json!(kind));
    whole.insert("metadata".into(), metadata);
    if let Value::Object(rest) = rest {
        whole.extend(rest);
    }
    (object, Value::Object(whole))
}

/// Adds [`MANIFEST_ANNOTATION`], by a hash of the manifest as it is.
pub fn stamp(manifest: &mut Value, hash: impl Fn(&str) -> String) {
    let stamp = hash(&manifest.to_string());
    manifest["metadata"]["annotations"][MANIFEST_ANNOTATION] = json!(stamp);
}

/// Makes an object the controller of another, which goes with it. One that no API server knows owns nothing.
pub fn own(metadata: &mut Value, api_version: &str, kind: &str, owner: &ObjectMeta) {
    if !owner.uid.is_empty() {
        metadata["ownerReferences"] = json!([{
            "apiVersion": api_version,
            "kind": kind,
            "name": owner.name,
            "uid": owner.uid,
            "controller": true,
        }]);
    }
}
