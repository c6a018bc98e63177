//! Golden pairs: objects in `golden/*.yaml`, and the Snapshot and conditions that follow from them. `UPDATE_GOLDENS=1` writes them anew; each change is to be read.

use headgate_translate::{
    Objects, Settings, Translation,
    kinds::{Decoded, decode},
    translate,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[test]
fn goldens_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut inputs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    inputs.sort();
    let wrong: Vec<String> = inputs.iter().flat_map(|input| differences(input)).collect();
    assert!(!inputs.is_empty());
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDENS=1 writes them anew", wrong.join("\n"));
}

/// Files that do not hold what follows from an input.
fn differences(input: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(input).expect("a readable input");
    let (translation, refused) = translate_text(&text);
    let outputs = [
        (input.with_extension("snapshot.json"), snapshot(&translation)),
        (input.with_extension("conditions.json"), conditions(&translation, &refused)),
    ];
    let mut wrong = Vec::new();
    for (path, value) in outputs {
        let found = serde_json::to_string_pretty(&value).expect("JSON") + "\n";
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(&path, &found).expect("a writable golden");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if expected != found {
            let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b).unwrap_or_default();
            let text = found.lines().nth(line).unwrap_or_default();
            wrong.push(format!("{} differs in line {}: found {text}", path.display(), line + 1));
        }
    }
    wrong
}

/// A document `settings: standalone` says so; refused objects are told as they would be to a person.
fn translate_text(text: &str) -> (Translation, Vec<String>) {
    let (mut objects, mut settings, mut refused) = (Objects::default(), Settings::default(), Vec::new());
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    for document in documents.iter().filter(|document| !document.is_null()) {
        if document["settings"] == "standalone" {
            settings = Settings::standalone();
            continue;
        }
        let name = format!("{} {}", document["kind"].as_str().unwrap_or("?"), document["metadata"]["name"]);
        match decode(document) {
            Ok(Decoded::Known(object, warnings)) => {
                refused.extend(warnings.iter().map(|problem| format!("{name}: {problem}")));
                objects.insert(object);
            }
            Ok(Decoded::UnknownKind { .. }) => refused.push(format!("{name}: unknown kind")),
            Err(problems) => refused.extend(problems.iter().map(|problem| format!("{name} refused: {problem}"))),
        }
    }
    let translation = translate(&objects, &settings);
    assert_eq!(translation, translate(&objects, &settings), "equal objects make equal output");
    (translation, refused)
}

fn snapshot(translation: &Translation) -> Value {
    let snapshot = &translation.snapshot;
    short(json!({
        "listeners": snapshot.listeners.values().collect::<Vec<_>>(),
        "rules": snapshot.rules.values().collect::<Vec<_>>(),
        "backends": snapshot.backends.values().collect::<Vec<_>>(),
        "certificates": translation.certificates.iter().map(|c| c.name.to_string()).collect::<Vec<_>>(),
        "endpoints": translation.endpoints.values().collect::<Vec<_>>(),
    }))
}

fn conditions(translation: &Translation, reading: &[String]) -> Value {
    let status = translation.conditions.iter();
    let status: serde_json::Map<String, Value> =
        status.map(|(object, status)| (object.to_string(), short(json!(status)))).collect();
    let problems = translation.problems.iter().map(|p| format!("{}: {}", p.object, p.problem));
    json!({ "status": status, "problems": problems.collect::<Vec<_>>(), "reading": reading })
}

/// The same value as a person reads it: names, references and conditions on one line, empty fields left out.
fn short(value: Value) -> Value {
    let text = |value: &Value, key: &str| value[key].as_str().map_or_else(|| value[key].to_string(), str::to_owned);
    let has = |keys: &[&str]| keys.iter().all(|key| value.get(key).is_some());
    let join = |keys: &[&str]| {
        Value::String(
            keys.iter()
                .filter(|key| has(&[key]))
                .map(|key| text(&value, key))
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    if has(&["namespace", "service", "port"]) {
        return join(&["namespace", "service", "port", "uid"]);
    }
    if has(&["namespace", "gateway", "section"]) {
        return join(&["namespace", "gateway", "set", "section"]);
    }
    if has(&["namespace", "secret"]) {
        return join(&["namespace", "secret"]);
    }
    if has(&["kind", "namespace", "route", "index"]) {
        return join(&["kind", "namespace", "route", "index"]);
    }
    if has(&["created", "route"]) {
        return join(&["created", "rule"]);
    }
    if has(&["reason", "observedGeneration"]) {
        return join(&["type", "status", "reason", "observedGeneration", "message"]);
    }
    if has(&["pattern", "declared"]) {
        return join(&["pattern", "declared"]);
    }
    if has(&["group", "kind"]) {
        return join(&["kind", "namespace", "name", "sectionName", "port"]);
    }
    match value {
        Value::Object(map) => {
            let fields = map.into_iter().map(|(key, value)| (key, short(value)));
            Value::Object(fields.filter(|(_, value)| !value.as_object().is_some_and(|map| map.is_empty())).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(short).collect()),
        other => other,
    }
}

/// Any field may be anything: nothing panics, and what is taken is translated.
#[test]
fn nothing_that_a_file_may_hold_makes_translate_fail() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut taken = 0;
    for input in entries.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")) {
        let text = std::fs::read_to_string(input).expect("a readable input");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        let read = |document: &Value| match headgate_translate::kinds::decode_admitted(document) {
            Ok(Decoded::Known(object, _)) => Some(object),
            _ => None,
        };
        let mut whole = Objects::default();
        documents.iter().filter_map(read).for_each(|object| whole.insert(object));
        for changed in documents.iter().flat_map(mutants) {
            if let Some(object) = read(&changed) {
                let mut objects = whole.clone();
                objects.insert(object);
                translate(&objects, &Settings::standalone());
                taken += 1;
            }
        }
    }
    assert!(taken > 1000, "only {taken} changed objects were taken");
}

/// The document with each of its values replaced by something else.
fn mutants(document: &Value) -> Vec<Value> {
    let strange =
        [json!(null), json!(""), json!("*"), json!(-1), json!(65536), json!([]), json!({}), json!([null]), json!(true)];
    let mut pointers = Vec::new();
    collect(document, String::new(), &mut pointers);
    let replace = |pointer: &String, value: &Value| {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).expect("a pointer into the document") = value.clone();
        changed
    };
    pointers.iter().flat_map(|pointer| strange.iter().map(move |value| replace(pointer, value))).collect()
}

fn collect(value: &Value, at: String, pointers: &mut Vec<String>) {
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| collect(value, format!("{at}/{}", escape(key)), pointers))
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| collect(value, format!("{at}/{index}"), pointers));
        }
        _ => {}
    }
    pointers.push(at);
}
