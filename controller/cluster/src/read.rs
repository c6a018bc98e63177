//! Objects as an API server would give them back: a file laid over what is there, a manifest that was applied, one object by its name. Never writes one.

use crate::{
    kinds::{KINDS, Kind},
    look::in_time,
    object,
};
use headgate_controller::{
    cluster::outlook::new_uid,
    sources::{
        cluster::{ClusterContent, ClusterObject},
        decode::Content,
    },
};
use headgate_functions::kinds::Object as FunctionObject;
use headgate_translate::kinds::{self, Decoded, ObjectRef};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, ObjectMeta},
};
use serde_json::{Value, json};

/// An object that refers to nothing is as it would be; these are there, and their content is nobody's business here.
const STAND_IN: &str = "c3RhbmQtaW4=";

/// The name of an object of a file, if its kind is one that is read; without a namespace it is in `namespace`.
pub fn name_of(value: &Value, namespace: &str) -> Option<ObjectRef> {
    let (kind, _) = kind_of(value)?;
    let name = value["metadata"]["name"].as_str()?;
    let own = value["metadata"]["namespace"].as_str().unwrap_or(namespace);
    Some(ObjectRef::new(kind.group, kind.kind, if kind.is_namespaced() { own } else { "" }, name))
}

/// An object as it would be once it is applied in place of `before`: with the name, uid, age and status that it has there, or as a
/// new one made `now`. `None` for kinds and versions that are not read.
pub fn applied(
    mut value: Value,
    name: &ObjectRef,
    before: Option<&ClusterObject>,
    now: Timestamp,
) -> Option<ClusterObject> {
    let created = before.map(created).filter(|seconds| *seconds > 0);
    let created = created.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(now);
    let metadata = &mut value["metadata"];
    metadata["uid"] = json!(before.map_or_else(|| new_uid(name), |before| before.uid.to_string()));
    metadata["creationTimestamp"] = json!(created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    metadata["generation"] = json!(before.map_or(1, |before| before.generation));
    if !name.namespace.is_empty() {
        metadata["namespace"] = json!(name.namespace);
    }
    if let Some(before) = before {
        value["status"] = before.status.unfold();
    }
    manifest(value, before)
}

/// An object of its manifest, whole; `None` for kinds and versions that are not read.
pub fn manifest(value: Value, before: Option<&ClusterObject>) -> Option<ClusterObject> {
    let (kind, version) = kind_of(&value)?;
    let object: DynamicObject = serde_json::from_value(value).ok()?;
    Some(object::read(kind, version, object, before))
}

/// Whether an object could be got.
#[derive(Debug)]
pub enum Got {
    /// It is there.
    There(Box<ClusterObject>),
    /// It is not.
    Missing,
    /// Nobody says.
    Unknown,
}

/// One Secret, ConfigMap or workload by its name.
pub async fn get(client: &Client, name: &ObjectRef) -> Got {
    let is_it = |kind: &&Kind| kind.group == name.group && kind.kind == name.kind;
    let known = KINDS.iter().filter(|kind| kind.is_by_reference()).find(is_it);
    let Some((kind, version)) = known.and_then(|kind| Some((kind, *kind.versions.first()?))) else {
        return Got::Unknown;
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &name.namespace, &kind.resource(version));
    match in_time(api.get_opt(&name.name)).await {
        Ok(Some(object)) => Got::There(Box::new(object::read(kind, version, object, None))),
        Ok(None) => Got::Missing,
        Err(_) => Got::Unknown,
    }
}

/// A Secret or ConfigMap that may not be read, with something in each place where a certificate, a key or an authority is looked for:
/// whether it is good is not known, and that it is bad is not to be said. What it holds is no key.
pub fn stand_in(name: &ObjectRef) -> Option<ClusterObject> {
    let block = |label: &str| format!("-----BEGIN {label}-----\n{STAND_IN}\n-----END {label}-----\n");
    let (certificate, key) = (block("CERTIFICATE"), block("PRIVATE KEY"));
    let metadata = ObjectMeta {
        name: Some(name.name.to_string()),
        namespace: Some(name.namespace.to_string()),
        ..ObjectMeta::default()
    };
    let mut value = json!({"apiVersion": "v1", "kind": name.kind, "metadata": metadata});
    match &*name.kind {
        "Secret" => {
            let encoded = |text: &str| serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).ok();
            value["data"] =
                json!({"tls.crt": encoded(&certificate), "tls.key": encoded(&key), "ca.crt": encoded(&certificate)});
        }
        "ConfigMap" => value["data"] = json!({"ca.crt": certificate}),
        _ => return None,
    }
    let mut object = manifest(value.clone(), None)?;
    // what it holds is no pair, and would be refused
    if let Ok(Decoded::Known(content, _)) = kinds::decode_admitted(&value) {
        object.content = ClusterContent::Known(Content::Kubernetes(content));
        object.problems = Vec::new();
    }
    Some(object)
}

/// The kind of a value and its version, if both are read.
fn kind_of(value: &Value) -> Option<(&'static Kind, &'static str)> {
    let api_version = value["apiVersion"].as_str()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let is_it = |kind: &&Kind| kind.group == group && value["kind"] == kind.kind;
    let kind = KINDS.iter().find(is_it)?;
    let version = kind.versions.iter().find(|known| **known == version)?;
    Some((kind, version))
}

/// When an object was made, in seconds since 1970; 0 where that is not known.
fn created(object: &ClusterObject) -> i64 {
    match &object.content {
        ClusterContent::Known(Content::Kubernetes(content)) => content.meta().created,
        ClusterContent::Known(Content::OpenFunction(FunctionObject::Function(function))) => function.meta.created,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: &str) -> Value {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "hello"},
            "spec": {"parentRefs": [{"name": "web"}], "hostnames": [host]}})
    }

    #[test]
    fn what_is_there_keeps_its_age_and_its_uid_and_a_new_object_has_those_of_now() {
        let name = name_of(&route("a.example"), "shop").expect("a kind that is read");
        assert_eq!(name.to_string(), "HTTPRoute shop/hello");
        let mut there = route("a.example");
        there["metadata"] =
            json!({"name": "hello", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z"});
        let there = manifest(there, None).expect("it can be read");
        let later = Timestamp::from_second(2_000_000_000).expect("a time");
        let next = applied(route("b.example"), &name, Some(&there), later).expect("it can be read");
        assert_eq!((&*next.uid, created(&next), &next.name), ("u", created(&there), &name));
        assert_ne!(next.content, there.content);
        let new = applied(route("b.example"), &name, None, later).expect("it can be read");
        assert_eq!((&*new.uid, created(&new)), ("new/HTTPRoute shop/hello", 2_000_000_000));
    }

    #[test]
    fn kinds_and_versions_that_are_not_read_are_passed_over() {
        assert_eq!(name_of(&json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}}), "shop"), None);
        let mut old = route("a.example");
        old["apiVersion"] = json!("gateway.networking.k8s.io/v1alpha2");
        assert_eq!(name_of(&old, "shop"), None);
        let class =
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "a"}});
        assert_eq!(name_of(&class, "shop").map(|name| name.namespace), Some("".into()));
    }

    #[test]
    fn what_may_not_be_read_is_taken_for_good() {
        for kind in ["Secret", "ConfigMap"] {
            let object = stand_in(&ObjectRef::new("", kind, "shop", "tls")).expect("it can be read");
            assert!(matches!(object.content, ClusterContent::Known(_)), "{object:?}");
            assert_eq!(object.problems, []);
        }
    }
}
