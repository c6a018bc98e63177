//! Golden pairs: a Gateway, its ports and parameters in `golden/*.yaml`, and the manifests that follow. `UPDATE_GOLDENS=1` writes them anew; each change is to be read.

use headgate_provision::{Parameters, Settings, Transport, manifests};
use headgate_translate::kinds::{Decoded, Gateway, Object, decode};
use headgate_translate::manifest::MANIFEST_ANNOTATION;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

#[test]
fn goldens_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut inputs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    let wrong: Vec<String> = inputs.iter().filter_map(|input| difference(input)).collect();
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDENS=1 writes them anew", wrong.join("\n"));
}

fn difference(input: &Path) -> Option<String> {
    let path = input.with_extension("json");
    let made = made(&std::fs::read_to_string(input).expect("a readable input"));
    let found = serde_json::to_string_pretty(&made).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &found).expect("a writable golden");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b).unwrap_or_default();
    let text = found.lines().nth(line).unwrap_or_default();
    (expected != found).then(|| format!("{} differs in line {}: found {text}", path.display(), line + 1))
}

/// A list `more` stands for the ports of ListenerSets.
fn made(text: &str) -> Vec<Value> {
    let (mut gateway, mut parameters, mut ports) =
        (Arc::new(Gateway::default()), Parameters::default(), BTreeSet::new());
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    for document in documents {
        if let Some(more) = document["more"].as_array() {
            let port = |port: &Value| port.as_u64().and_then(|port| port.try_into().ok());
            ports.extend(more.iter().filter_map(port).map(|port| (port, Transport::Tcp)));
        } else if document["kind"] == "GatewayParameters" {
            parameters = Parameters::decode(&document).expect("parameters");
        } else {
            let Ok(Decoded::Known(Object::Gateway(read), _)) = decode(&document) else { panic!("no Gateway: {text}") };
            gateway = read;
        }
    }
    ports.extend(gateway.listeners.iter().filter_map(|l| Some((l.port, Transport::of(&l.protocol)?))));
    let settings = Settings {
        image: "example.com/headgate:1".into(),
        image_pull_policy: None,
        controller: "headgate-controller.headgate-system.svc:9902".into(),
        authority: "-----BEGIN CERTIFICATE-----\n".into(),
    };
    manifests(&gateway, &ports, &parameters, &settings, &[]).into_values().map(without_stamp).collect()
}

/// A stamp is another one after each change, which says nothing.
fn without_stamp(mut manifest: Value) -> Value {
    let metadata = manifest["metadata"].as_object_mut().expect("metadata");
    let annotations = metadata["annotations"].as_object_mut().expect("annotations");
    annotations.remove(MANIFEST_ANNOTATION).expect("a stamp");
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    manifest
}

#[test]
fn a_manifest_that_lacks_a_field_has_another_stamp() {
    let mut gateway = Gateway { class: "headgate".into(), ..Gateway::default() };
    (gateway.meta.name, gateway.meta.namespace) = ("web".into(), "shop".into());
    let stamps = |gateway: &Gateway| -> BTreeSet<String> {
        let made = manifests(gateway, &BTreeSet::new(), &Parameters::default(), &Settings::default(), &[]);
        made.values().map(|manifest| manifest["metadata"]["annotations"][MANIFEST_ANNOTATION].to_string()).collect()
    };
    let plain = stamps(&gateway);
    assert_eq!(plain, stamps(&gateway));
    gateway.infrastructure.labels.insert("team".into(), "a".into());
    assert!(plain.is_disjoint(&stamps(&gateway)));
}
