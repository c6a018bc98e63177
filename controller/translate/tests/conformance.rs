//! What Gateway API's own conformance suite (v1.7.0) expects of statuses, checked without a cluster: its manifests are translated, and `conformance/expected.txt` says what must be said of them.
//!
//! The suite is not part of this repository: `GATEWAY_API_SUITE` names the folder of the module `sigs.k8s.io/gateway-api/conformance`; otherwise
//! Go's module cache is looked into.

use headgate_translate::{
    Objects, Settings, Translation,
    kinds::{Decoded, ObjectRef, decode},
    translate,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXPECTED: &str = include_str!("conformance/expected.txt");
/// The namespace that the suite uses unless it says another one.
const NAMESPACE: &str = "gateway-conformance-infra";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nbm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nbm90IGEgcmVhbCBvbmU=\n-----END PRIVATE KEY-----\n";

#[test]
fn statuses_are_what_the_conformance_suite_expects() {
    let Some(suite) = suite() else {
        eprintln!("skipped: neither GATEWAY_API_SUITE nor Go's module cache has the conformance suite");
        return;
    };
    let mut wrong = Vec::new();
    let (mut manifest, mut translation) = ("", Translation::default());
    for line in EXPECTED.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if !line.starts_with(' ') {
            (manifest, translation) = (line, translation_of(&suite, line));
            continue;
        }
        if let Err(found) = check(&translation, line.trim()) {
            wrong.push(format!("{manifest}: {}\n    found {found}", line.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn suite() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("GATEWAY_API_SUITE") {
        return Some(folder.into());
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join("go/pkg/mod"));
    let cache = std::env::var_os("GOMODCACHE").map(PathBuf::from).or_else(home)?;
    Some(cache.join("sigs.k8s.io/gateway-api/conformance@v1.7.0")).filter(|folder| folder.is_dir())
}

fn translation_of(suite: &Path, manifest: &str) -> Translation {
    let mut objects = Objects::default();
    for file in [suite.join("base/manifests.yaml"), suite.join("tests").join(format!("{manifest}.yaml"))] {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let text = text.replace("{GATEWAY_CLASS_NAME}", "headgate");
        let text = text.replace("{GATEWAY_CONTROLLER_NAME}", &Settings::default().controller_name);
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        documents.into_iter().filter(|one| !one.is_null()).for_each(|document| insert(&mut objects, document));
    }
    let class = json!({"controllerName": Settings::default().controller_name});
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "headgate"}, "spec": class,
    });
    insert(&mut objects, class);
    made_by_the_suite().for_each(|object| insert(&mut objects, object));
    translate(&objects, &Settings::default())
}

fn insert(objects: &mut Objects, mut document: Value) {
    document["metadata"]["generation"] = json!(1);
    match decode(&document) {
        Ok(Decoded::Known(object, _)) => objects.insert(object),
        Ok(Decoded::UnknownKind { .. }) => {}
        Err(problems) => panic!("{}: {}", document["metadata"]["name"], problems[0]),
    }
}

/// Secrets and ConfigMaps that the suite makes while it runs.
fn made_by_the_suite() -> impl Iterator<Item = Value> {
    let secrets = [
        ("gateway-conformance-web-backend", "certificate"),
        (NAMESPACE, "tls-validity-checks-certificate"),
        (NAMESPACE, "tls-validity-checks-client-certificate"),
        (NAMESPACE, "tls-validity-checks-per-port-client-certificate"),
        (NAMESPACE, "tls-checks-certificate"),
        (NAMESPACE, "tls-checks-client-certificate"),
    ];
    let authorities = [
        ("gateway-conformance-web-backend", "web-backend-cm"),
        (NAMESPACE, "tls-validity-checks-ca-certificate"),
        (NAMESPACE, "tls-validity-checks-per-port-ca-certificate"),
        (NAMESPACE, "tls-checks-ca-certificate"),
        (NAMESPACE, "mismatch-ca-certificate"),
    ];
    let pair = json!({"tls.crt": CERTIFICATE, "tls.key": KEY});
    let authority = json!({"ca.crt": CERTIFICATE});
    let secret = move |(namespace, name)| object("Secret", namespace, name, ("stringData", pair.clone()));
    let config = move |(namespace, name)| object("ConfigMap", namespace, name, ("data", authority.clone()));
    secrets.into_iter().map(secret).chain(authorities.into_iter().map(config))
}

fn object(kind: &str, namespace: &str, name: &str, (field, content): (&str, Value)) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, field: content,
    })
}

/// Checks a line: `Kind [namespace/]name[#listener][@parent]` and what must hold of it. In vain: what was found instead.
fn check(translation: &Translation, line: &str) -> Result<(), String> {
    let mut words = line.split(' ');
    let (kind, place) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let status = json!(find(translation, kind, place));
    let part = part(&status, place).ok_or_else(|| status.to_string())?;
    words.all(|word| holds(part, word)).then_some(()).ok_or_else(|| short(part))
}

fn find(translation: &Translation, kind: &str, place: &str) -> Option<Value> {
    let name = place.split(['#', '@']).next().unwrap_or_default();
    let (namespace, name) = name.split_once('/').unwrap_or((NAMESPACE, name));
    let namespace = if kind == "GatewayClass" { "" } else { namespace };
    let object = ObjectRef::new("gateway.networking.k8s.io", kind, namespace, name);
    translation.conditions.get(&object).map(|status| json!(status))
}

/// The listener or the entry of a parent that a place names, or the whole.
fn part<'s>(status: &'s Value, place: &str) -> Option<&'s Value> {
    if let Some((_, listener)) = place.split_once('#') {
        return status["listeners"].as_array()?.iter().find(|one| one["name"] == listener);
    }
    let Some((_, parent)) = place.split_once('@') else { return Some(status) };
    let lists = [("parents", "parentRef"), ("ancestors", "ancestorRef")];
    lists.into_iter().find_map(|(list, reference)| {
        let (parent, section) = parent.split_once(':').map_or((parent, None), |(name, section)| (name, Some(section)));
        let is_it = |one: &&Value| {
            let section_fits = section.is_none_or(|section| one[reference]["sectionName"] == section);
            one[reference]["name"] == parent && section_fits
        };
        status[list].as_array()?.iter().find(is_it)
    })
}

/// `Type=Status[:Reason]`, `routes=3`, `kinds=HTTPRoute` (among others; none at all if empty), `sets=1`, `listeners=2`, `unaccepted`.
fn holds(part: &Value, word: &str) -> bool {
    let count = |list: &Value| list.as_array().map_or(0, Vec::len).to_string();
    match word.split_once('=') {
        Some(("routes", number)) => number.parse().is_ok_and(|number: u64| part["attachedRoutes"] == number),
        Some(("sets", number)) => part["attachedListenerSets"].as_u64().unwrap_or(0).to_string() == number,
        Some(("listeners", number)) => count(&part["listeners"]) == number,
        Some(("kinds", "")) => part["supportedKinds"] == json!([]),
        Some(("kinds", kind)) => {
            part["supportedKinds"].as_array().is_some_and(|all| all.iter().any(|one| one["kind"] == kind))
        }
        Some((kind, expected)) => {
            let (status, reason) = expected.split_once(':').unwrap_or((expected, ""));
            let conditions = part["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|one| {
                one["type"] == kind
                    && one["status"] == status
                    && one["observedGeneration"] == 1
                    && (reason.is_empty() || one["reason"] == reason)
            })
        }
        None => {
            let parents = part["parents"].as_array().into_iter().flatten();
            word == "unaccepted" && !parents.into_iter().any(|parent| holds(parent, "Accepted=True"))
        }
    }
}

fn short(part: &Value) -> String {
    let conditions = part["conditions"].as_array().into_iter().flatten();
    let conditions = conditions.map(|one| {
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        format!("{}={}:{} ({})", text("type"), text("status"), text("reason"), text("message"))
    });
    let mut other = part.clone();
    if let Some(fields) = other.as_object_mut() {
        fields.remove("conditions");
    }
    format!("{}\n    {other}", conditions.collect::<Vec<_>>().join("\n    "))
}
