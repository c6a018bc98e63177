//! Every manifest of OpenFunction that was run through its own controller: hosts, paths, addresses and routes must be the same here.

use headgate_functions::{
    Defaults, Expansion, Input, expand,
    kinds::{Decoded, Function, NamespacedName, Object, OfGateway, decode},
};
use headgate_translate::{Objects, kinds::TargetPort};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf};

/// The folder beside the repository, if it is there.
fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/openfunction");
    if folder.join("expected-routes.json").is_file() {
        return Some(folder);
    }
    println!("skipped: {} is not there", folder.display());
    None
}

fn documents(folder: &std::path::Path, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(file)).expect(file);
    // one document of the collection has each key twice; as for kubectl, the last one counts
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
    serde_saphyr::from_multiple_with_options(&text, options).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn gateway(folder: &std::path::Path, file: &str) -> OfGateway {
    match decode(&documents(folder, file)[0]) {
        Ok(Decoded::Known(Object::Gateway(gateway), _)) => *gateway,
        other => panic!("{file}: {other:?}"),
    }
}

fn function(value: &Value) -> Result<Function, String> {
    match decode(value) {
        Ok(Decoded::Known(Object::Function(function), _)) => Ok(*function),
        Ok(other) => panic!("{other:?}"),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn expanded(function: &Function, gateways: &[OfGateway]) -> Expansion {
    expand(&Input {
        functions: std::slice::from_ref(function),
        gateways,
        objects: &Objects::default(),
        revisions: &BTreeMap::new(),
        observed: &BTreeMap::new(),
        defaults: &Defaults { make_gateways: true, ..Defaults::default() },
        now_ms: 0,
    })
}

/// What of the expected HTTPRoute does not depend on how revisions are reached.
fn comparable_route(route: &Value) -> Value {
    let rules = route["rules"].as_array().expect("rules").iter().map(|rule| rule["matches"].clone());
    json!({
        "namespace": route["namespace"],
        "name": route["name"],
        "labels": route["labels"],
        "parentRefs": route["parentRefs"],
        "hostnames": route["hostnames"],
        "matches": rules.collect::<Vec<_>>(),
    })
}

fn our_route(expansion: &Expansion, name: &NamespacedName) -> Value {
    let route = expansion.http_route(name).expect("a route");
    let parent = &route.parents[0];
    let matches = route.rules.iter().map(|rule| {
        let paths = rule.matches.iter().map(|m| json!({"path": {"type": m.path.kind.as_str(), "value": m.path.value}}));
        paths.collect::<Vec<_>>()
    });
    json!({
        "namespace": route.meta.namespace,
        "name": route.meta.name,
        "labels": route.meta.labels,
        "parentRefs": [{"group": parent.group, "kind": parent.kind, "namespace": parent.namespace, "name": parent.name}],
        "hostnames": route.hostnames,
        "matches": matches.collect::<Vec<_>>(),
    })
}

fn our_service(expansion: &Expansion, name: &NamespacedName) -> Value {
    let service = &expansion.routes[name].service;
    let ports = service.ports.iter().map(|port| {
        let Some(TargetPort::Number(target)) = port.target else { panic!("a number") };
        json!({"name": port.name, "port": port.port, "targetPort": target})
    });
    json!({
        "namespace": service.meta.namespace,
        "name": service.meta.name,
        "type": "ExternalName",
        "externalName": service.external_name,
        "ports": ports.collect::<Vec<_>>(),
    })
}

#[test]
fn every_function_has_the_hosts_paths_and_addresses_of_openfunction() {
    let Some(folder) = folder() else { return };
    let text = fs::read_to_string(folder.join("expected-routes.json")).expect("the expectations");
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    let gateways = [
        gateway(&folder, "gateway/default-gateway.yaml"),
        gateway(&folder, "docs-extracted/operations__networking__switch-gateway__L41.yaml"),
    ];
    let (mut compared, mut without_route, mut refused) = (0, 0, Vec::new());
    for (entry, wanted) in &expected {
        let Some((file, name)) = entry.split_once('#') else { continue };
        let value = documents(&folder, file)
            .into_iter()
            .find(|value| value["kind"] == "Function" && value["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("{entry} is not in its file"));
        let function = match function(&value) {
            Ok(function) => function,
            Err(problems) => {
                refused.push((entry, problems));
                continue;
            }
        };
        let reference = function.reference();
        let expansion = expanded(&function, &gateways);
        let status = expansion.status(&reference);
        if wanted["kind"] != "http" {
            assert_eq!(status["route"], Value::Null, "{entry}");
            assert_eq!(status["serving"]["state"], "Skipped", "{entry}");
            without_route += 1;
            continue;
        }
        assert_eq!(status["route"], wanted["status"]["route"], "{entry}");
        assert_eq!(status["addresses"], wanted["status"]["addresses"], "{entry}");
        assert_eq!(our_route(&expansion, &reference), comparable_route(&wanted["httpRoute"]), "{entry}");
        assert_eq!(our_service(&expansion, &reference), wanted["service"], "{entry}");
        let (_, http) = function.http().expect("called by HTTP");
        assert_eq!(json!(http.engine), wanted["engine"], "{entry}");
        assert_eq!(json!(http.port), wanted["containerPort"], "{entry}");
        assert_eq!(json!(http.route.gateway), wanted["gatewayRef"], "{entry}");
        compared += 1;
    }
    println!("{compared} routes compared, {without_route} functions without one");
    // refused by OpenFunction too: `build` is a text there
    let names: Vec<&str> = refused.iter().map(|(entry, _)| entry.as_str()).collect();
    assert_eq!(names, ["docs-extracted/concepts__cicd__L41.yaml#function-http-java"], "{refused:#?}");
    assert_eq!((compared, without_route), (47, 49));
}

#[test]
fn the_manifests_of_the_slides_are_served_and_each_misplaced_field_is_named() {
    let Some(folder) = folder() else { return };
    for (file, fields) in [
        ("sample-node-knative.yaml", ["spec.params"].as_slice()),
        ("sample-node-knative-async.yaml", &["spec.bindings", "spec.params", "spec.outputs"]),
        (
            "sample-node-async.yaml",
            &["spec.annotations", "spec.params", "spec.template", "spec.inputs", "spec.inputs[0]"],
        ),
    ] {
        let value = documents(&folder, &format!("slides/{file}")).remove(0);
        let Ok(Decoded::Known(Object::Function(function), problems)) = decode(&value) else {
            panic!("{file} is refused")
        };
        let named: Vec<String> = problems.iter().map(|problem| problem.path.to_string()).collect();
        assert_eq!(named, fields, "{file}: {problems:#?}");
        for problem in problems.iter().filter(|problem| !problem.path.to_string().contains('[')) {
            let key = problem.path.to_string().replace("spec.", "");
            assert!(problem.message.contains(&format!("its right place is spec.serving.{key}")), "{problem}");
        }
        let (serving, _) = function.http().expect("called by HTTP");
        assert!(serving.params["FUNCTION_TARGET"].starts_with("try"), "{file}");
    }
}
