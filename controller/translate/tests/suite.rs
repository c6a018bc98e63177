//! Every object of the Gateway API's own conformance suite is read without a problem, and every invalid example of it is refused. Neither is part of this repository: `GATEWAY_API_SUITE` names the folder of the module `sigs.k8s.io/gateway-api/conformance`, `GATEWAY_API` that of `sigs.k8s.io/gateway-api`.

use headgate_translate::kinds::{Decoded, decode};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

#[test]
fn every_object_of_the_suite_is_read() {
    let Some(folder) = std::env::var_os("GATEWAY_API_SUITE") else {
        eprintln!("skipped: GATEWAY_API_SUITE does not name the folder of the conformance suite");
        return;
    };
    let (mut read, mut refused) = (0, Vec::new());
    let folder = Path::new(&folder);
    for file in manifests(&folder.join("base")).into_iter().chain(manifests(&folder.join("tests"))) {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let text =
            text.replace("{GATEWAY_CLASS_NAME}", "headgate").replace("{GATEWAY_CONTROLLER_NAME}", "headgate.dev/x");
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        for object in objects.iter().filter(|object| !object.is_null()) {
            match decode(object) {
                Ok(Decoded::UnknownKind { .. }) => {}
                Ok(Decoded::Known(object, warnings)) => {
                    read += 1;
                    refused.extend(warnings.iter().map(|w| format!("{}: {} {w}", file.display(), object.reference())));
                }
                Err(problems) => {
                    let name = &object["metadata"]["name"];
                    refused.extend(problems.iter().map(|problem| format!("{}: {name} {problem}", file.display())));
                }
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(read > 300, "only {read} objects found");
}

#[test]
fn every_invalid_example_is_refused() {
    let Some(folder) = std::env::var_os("GATEWAY_API") else {
        eprintln!("skipped: GATEWAY_API does not name the folder of the Gateway API's module");
        return;
    };
    let (mut refused, mut taken) = (0, Vec::new());
    for file in manifests(&Path::new(&folder).join("hack/invalid-examples")) {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        let known = |object: &&Value| !matches!(decode(object), Ok(Decoded::UnknownKind { .. }));
        let ours: Vec<&Value> = objects.iter().filter(known).collect();
        refused += usize::from(ours.iter().any(|object| decode(object).is_err()));
        if !ours.is_empty() && ours.iter().all(|object| decode(object).is_ok()) {
            taken.push(file.display().to_string());
        }
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
    assert!(refused > 20, "only {refused} examples found");
}

fn manifests(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let yaml = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "yaml");
    files.into_iter().filter(yaml).chain(folders.iter().flat_map(|folder| manifests(folder))).collect()
}

/// Fields of the API that are known by name and have no meaning here, each with the reason.
const LISTED: [(&str, &str); 0] = [];

/// The kinds that are read, all of which the definitions must have.
const KINDS: [&str; 7] =
    ["GatewayClass", "Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "ReferenceGrant", "BackendTLSPolicy"];

#[test]
fn every_property_of_the_definitions_is_read() {
    let files = definition_files();
    if files.is_empty() {
        eprintln!(
            "skipped: neither GATEWAY_API nor the cache of the test cluster has the definitions of the Gateway API"
        );
        return;
    }
    let (mut unread, mut read) = (BTreeSet::new(), BTreeSet::new());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        for definition in documents.iter().filter(|one| one["kind"] == "CustomResourceDefinition") {
            let kind = definition["spec"]["names"]["kind"].as_str().unwrap_or_default();
            for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
                let fields = unread_fields(kind, version);
                read.extend(fields.is_some().then(|| kind.to_owned()));
                unread.extend(fields.unwrap_or_default());
            }
        }
    }
    unread.retain(|field| !LISTED.iter().any(|(listed, _)| listed == field));
    assert!(unread.is_empty(), "{unread:#?}");
    let missing: Vec<&str> = KINDS.into_iter().filter(|kind| !read.contains(*kind)).collect();
    assert!(missing.is_empty(), "no version of these is read: {missing:?}");
}

/// Of the module that `GATEWAY_API` names, otherwise of the cache of the test cluster (`e2e/cluster`).
fn definition_files() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os("GATEWAY_API") {
        return manifests(&Path::new(&folder).join("config/crd/experimental"));
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/headgate-cluster"));
    let cache = std::env::var_os("HEADGATE_CLUSTER_CACHE").map(PathBuf::from).or_else(home);
    cache.map(|cache| cache.join("crd/experimental.yaml")).filter(|file| file.is_file()).into_iter().collect()
}

/// The fields of a version of a kind that nobody reads; `None` for one that is not read at all.
fn unread_fields(kind: &str, version: &Value) -> Option<BTreeSet<String>> {
    let mut unread = BTreeSet::new();
    for turn in 0..8 {
        let mut object = sample(&version["schema"]["openAPIV3Schema"], turn);
        object["apiVersion"] = format!("gateway.networking.k8s.io/{}", version["name"].as_str().unwrap_or("")).into();
        object["kind"] = kind.into();
        let problems = match decode(&object) {
            Err(problems) | Ok(Decoded::Known(_, problems)) => problems,
            Ok(Decoded::UnknownKind { .. }) => return None,
        };
        let unknown = problems.iter().filter(|problem| problem.message.contains("is not a field"));
        unread.extend(unknown.map(|problem| format!("{kind} {}", problem.path)));
    }
    Some(unread)
}

/// An object with every property of a schema; of enumerations the value whose turn it is.
fn sample(schema: &Value, turn: usize) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values[turn % values.len()].clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            Value::Object(fields.map(|(key, schema)| (key.clone(), sample(schema, turn))).collect())
        }
        Some("array") => Value::Array(vec![sample(&schema["items"], turn)]),
        Some("integer") => 1.into(),
        Some("boolean") => true.into(),
        _ => "x".into(),
    }
}
