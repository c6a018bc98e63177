//! How the objects of a Gateway are called and labelled: always the same from the same Gateway, within the bounds of Kubernetes. Never a random name.

use headgate_translate::{
    kinds::{GATEWAY_GROUP, Gateway, ObjectRef},
    manifest::{MANAGED_BY, own, stamp},
};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The label with the name of the Gateway (GEP-1762); shortened where it is longer than a label may be.
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// The longest name of a Service, and the longest value of a label (RFC 1035 label).
const LONGEST: usize = 63;
const HASH_LETTERS: usize = 10;

/// The name of what a Gateway is given, whatever its kind: `<gateway>-<class>` (GEP-1762), or a shortened form of that with a hash
/// where it is no name of a Service (RFC 1035 label): too long, with a dot, or with a digit first.
pub fn name(gateway: &str, class: &str) -> String {
    let whole = format!("{gateway}-{class}");
    if is_service_name(&whole) { whole } else { shortened(&whole, &whole) }
}

/// The name of the Service that asks for one address.
pub(crate) fn address_service(gateway: &Gateway, address: &str) -> String {
    let name = name(&gateway.meta.name, &gateway.class);
    shortened(&name, &format!("{name}/{address}"))
}

/// The labels by which the Pods of a Gateway are selected. A Deployment's selector can never change, so these depend on
/// names only, and nothing that a person sets is among them.
pub fn selector(gateway: &Gateway) -> BTreeMap<String, String> {
    let labels = [
        ("app.kubernetes.io/name", "headgate".to_owned()),
        ("app.kubernetes.io/component", "gateway".to_owned()),
        ("app.kubernetes.io/instance", name(&gateway.meta.name, &gateway.class)),
    ];
    labels.map(|(key, value)| (key.to_owned(), value)).into()
}

/// `metadata` of an object of a Gateway. What people set in `spec.infrastructure` is there, but never in place of ours.
pub(crate) fn metadata(gateway: &Gateway, name: &str, more: &BTreeMap<String, String>) -> Value {
    let mut metadata = json!({"name": name, "namespace": gateway.meta.namespace, "labels": labels(gateway)});
    let annotations = annotations(gateway, more);
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    own(&mut metadata, &format!("{GATEWAY_GROUP}/v1"), "Gateway", &gateway.meta);
    metadata
}

/// `metadata` of the template of Pods.
pub(crate) fn pod_metadata(gateway: &Gateway) -> Value {
    let mut metadata = json!({"labels": labels(gateway)});
    if !gateway.infrastructure.annotations.is_empty() {
        metadata["annotations"] = json!(gateway.infrastructure.annotations);
    }
    metadata
}

/// A manifest with the annotation that is another one for each other manifest.
pub(crate) fn stamped((name, mut manifest): (ObjectRef, Value)) -> (ObjectRef, Value) {
    stamp(&mut manifest, hash);
    (name, manifest)
}

fn labels(gateway: &Gateway) -> BTreeMap<String, String> {
    let mut labels = gateway.infrastructure.labels.clone();
    labels.extend(selector(gateway));
    labels.insert(GATEWAY_NAME_LABEL.into(), label_value(&gateway.meta.name));
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    labels
}

/// What people set for one kind of object goes before what they set for all.
fn annotations(gateway: &Gateway, more: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut annotations = gateway.infrastructure.annotations.clone();
    annotations.extend(more.clone());
    annotations
}

fn label_value(name: &str) -> String {
    if name.len() <= LONGEST { name.to_owned() } else { shortened(name, name) }
}

/// RFC 1035 label.
fn is_service_name(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    letters && text.len() <= LONGEST && text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-')
}

/// As much of a name as leaves room for the hash of `whole`, made a name of a Service.
fn shortened(name: &str, whole: &str) -> String {
    let plain = name.replace('.', "-");
    let prefix = if plain.starts_with(|c: char| c.is_ascii_lowercase()) { "" } else { "gw-" };
    let room = LONGEST - HASH_LETTERS - 1;
    let stem: String = prefix.chars().chain(plain.chars()).take(room).collect();
    format!("{}-{}", stem.trim_end_matches('-'), hash(whole))
}

/// Lower-case letters and digits, without vowels: no words.
fn hash(text: &str) -> String {
    const LETTERS: &[u8; 30] = b"0123456789bcdfghjklmnpqrstvwxz";
    let whole = digest(&SHA256, text.as_bytes());
    let (first, _) = whole.as_ref().split_first_chunk().expect("SHA-256 has 32 bytes");
    let mut rest = u64::from_be_bytes(*first);
    let mut letters = String::new();
    for _ in 0..HASH_LETTERS {
        letters.push(char::from(LETTERS[usize::try_from(rest % 30).expect("less than 30")]));
        rest /= 30;
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_fits_is_the_gateway_and_its_class() {
        assert_eq!(name("web", "headgate"), "web-headgate");
        let longest = "a".repeat(54);
        assert_eq!(name(&longest, "headgate"), format!("{longest}-headgate"));
    }

    #[test]
    fn any_other_is_a_name_of_a_service_and_differs_from_those_alike() {
        let long = "a".repeat(253);
        let other = format!("{}b", "a".repeat(252));
        let odd = [long.as_str(), &other, "1st", "a.b", "a-b.c", &"x-".repeat(40), "a.b-headgate"];
        let names: Vec<String> = odd.iter().map(|gateway| name(gateway, "headgate")).collect();
        for name in &names {
            assert!(is_service_name(name), "{name}");
        }
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        assert_ne!(name("a.b", "headgate"), name("a-b", "headgate"));
        assert_eq!(name("1st", "headgate"), "gw-1st-headgate-js3nr4vnwh");
    }
}
