//! Our own checks of Gateway API's objects, and the rules of its definitions, say the same: of the conformance suite's objects, and of
//! broken ones.

use headgate_controller::sources::{
    crds::Crds,
    directory::{self, Loaded, Look, Touched},
    findings::{Finding, Severity},
};
use headgate_translate::conditions::entries_most;
use headgate_translate::kinds::{Decoded, decode};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};
use tempfile::TempDir;

const VERSION: &str = "v1.7.0";

/// The folder of a Go module, downloaded if need be; `None`, and a line that says so, where that is impossible.
fn module(name: &str) -> Option<PathBuf> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new("go")
        .args(["mod", "download", "-json", &format!("{name}@{VERSION}")])
        .env("GOTOOLCHAIN", "auto")
        .env("GOFLAGS", "-mod=mod")
        .current_dir(folder.path())
        .output();
    let path = output.ok().filter(|output| output.status.success()).and_then(|output| {
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(PathBuf::from(answer.get("Dir")?.as_str()?))
    });
    if path.is_none() {
        println!("skipped: the Go module {name} {VERSION} is not to be had");
    }
    path
}

fn definitions() -> Option<Crds> {
    let folder = module("sigs.k8s.io/gateway-api")?.join("config/crd/experimental");
    let (crds, findings) = Crds::read(&[folder]);
    assert_eq!(findings, []);
    assert!(crds.len() >= 10, "{crds:?}");
    Some(crds)
}

fn load(paths: &[PathBuf]) -> Loaded {
    directory::load(
        paths,
        &Loaded::default(),
        &Look { now: SystemTime::now(), touched: Touched::Anything, patient: false },
    )
}

fn errors<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Vec<&'f Finding> {
    findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect()
}

fn told(findings: &[&Finding]) -> String {
    findings.iter().map(|finding| finding.text(false)).collect()
}

const PLACEHOLDERS: [(&str, &str); 3] = [
    ("{GATEWAY_CONTROLLER_NAME}", "example.com/controller"),
    ("PLACEHOLDER_USABLE_ADDRS", "203.0.113.1"),
    ("PLACEHOLDER_UNUSABLE_ADDRS", "203.0.113.2"),
];

/// What only the definitions refuse: our own checks read a GRPCRoute's filter and a label key more freely.
const TAKEN: [&str; 2] = ["grpc-redirect-is-for-http", "label-key-with-two-slashes"];

fn is_taken(object: &str) -> bool {
    TAKEN.iter().any(|name| object.ends_with(name))
}

/// The suite's objects, with the placeholders filled in that it fills in when it runs.
fn suite() -> Option<TempDir> {
    let suite = module("sigs.k8s.io/gateway-api/conformance")?;
    let filled = tempfile::tempdir().expect("a temporary folder");
    for folder in ["tests", "base"] {
        let entries =
            fs::read_dir(suite.join(folder)).expect("the suite has it").map(|entry| entry.expect("an entry").path());
        for path in entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")) {
            let mut text = fs::read_to_string(&path).expect("a text");
            for (placeholder, value) in PLACEHOLDERS {
                text = text.replace(placeholder, value);
            }
            let name = format!("{folder}-{}", path.file_name().expect("a file has a name").display());
            fs::write(filled.path().join(name), text).expect("a file");
        }
    }
    Some(filled)
}

#[test]
fn both_accept_the_objects_of_the_suite() {
    let (Some(suite), Some(crds)) = (suite(), definitions()) else { return };
    let paths = [suite.path().to_owned()];
    let loaded = load(&paths);
    assert!(loaded.objects.len() > 200, "{} objects", loaded.objects.len());
    // Tests of the suite run one after the other, and some use a name again.
    let once = |finding: &&Finding| !finding.message.starts_with("the same object stands in");
    // Definitions do not look into Secrets; the suite has one that is malformed on purpose.
    let meant = |finding: &&Finding| !finding.object.ends_with("/malformed-certificate");
    let ours = errors(loaded.findings.iter().filter(once).filter(meant));
    assert!(ours.is_empty(), "our own checks refuse:\n{}", told(&ours));
    let theirs = crds.check(&paths);
    assert!(theirs.is_empty(), "the definitions refuse:\n{}", told(&theirs.iter().collect::<Vec<_>>()));
    println!("{} objects, accepted by both", loaded.objects.len());
}

#[test]
fn both_refuse_the_broken_objects_at_the_same_place() {
    let Some(crds) = definitions() else { return };
    let paths = [broken()];
    let by_object = |findings: &[Finding]| {
        let mut objects = BTreeMap::<String, Vec<Finding>>::new();
        for finding in errors(findings) {
            objects.entry(finding.object.clone()).or_default().push(finding.clone());
        }
        objects
    };
    let (ours, theirs) = (by_object(&load(&paths).findings), by_object(&crds.check(&paths)));
    // One may name the field, the other the map or list that holds it.
    let related = |a: &Finding, b: &Finding| a.field.starts_with(&b.field) || b.field.starts_with(&a.field);
    let mut differences = String::new();
    for object in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let of = |objects: &BTreeMap<String, Vec<Finding>>| objects.get(object).cloned().unwrap_or_default();
        let (ours, theirs) = (of(&ours), of(&theirs));
        if !is_taken(object) && !ours.iter().any(|our| theirs.iter().any(|their| related(our, their))) {
            differences += &format!("ours:\n{}theirs:\n{}\n", told(&errors(&ours)), told(&errors(&theirs)));
        }
    }
    assert!(differences.is_empty(), "{differences}");
    println!("{} broken objects, refused by both", ours.len());
}

/// The definitions take as many entries of a status as we write at most, and not one more.
#[test]
fn the_lists_of_statuses_are_as_long_as_the_definitions_let_them_be() {
    let Some(crds) = definitions() else { return };
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/headgate/crds");
    let (own, findings) = Crds::read(&[own]);
    assert_eq!(findings, []);
    let experimental = "gateway.networking.x-k8s.io/v1alpha1";
    for (crds, api, kind, list, reference) in [
        (&crds, "gateway.networking.k8s.io/v1", "HTTPRoute", "parents", "parentRef"),
        (&crds, "gateway.networking.k8s.io/v1", "TCPRoute", "parents", "parentRef"),
        (&crds, "gateway.networking.k8s.io/v1", "BackendTLSPolicy", "ancestors", "ancestorRef"),
        (&crds, experimental, "XBackendTrafficPolicy", "ancestors", "ancestorRef"),
        (&crds, experimental, "XBackend", "ancestors", "ancestorRef"),
        (&own, "headgate.dev/v1alpha1", "ScalingPolicy", "ancestors", "ancestorRef"),
    ] {
        let too_long = |count: usize| {
            let entry = |at: usize| json!({"controllerName": "a.io/b", reference: {"name": format!("g{at}")}, "conditions": []});
            let object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "a"},
                "status": {list: (0..count).map(entry).collect::<Vec<_>>()}});
            let folder = tempfile::tempdir().expect("a temporary folder");
            fs::write(folder.path().join("object.yaml"), object.to_string()).expect("a file");
            let found = crds.check(&[folder.path().to_owned()]);
            found.iter().any(|finding| finding.field == format!("status.{list}"))
        };
        let most = entries_most(kind);
        assert_eq!((too_long(most), too_long(most + 1)), (false, true), "{kind}: {most}");
    }
}

/// What of `spec` the definitions have, as far as their words go: a value for each field, chosen by `seed` among those of its enumeration.
fn sample(schema: &Value, path: &str, seed: u64) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        let mut hasher = DefaultHasher::new();
        (path, seed).hash(&mut hasher);
        return values[hasher.finish() as usize % values.len()].clone();
    }
    match schema["type"].as_str() {
        Some("object") => match schema["properties"].as_object() {
            Some(fields) => {
                let of =
                    |(name, inner): (&String, &Value)| (name.clone(), sample(inner, &format!("{path}.{name}"), seed));
                Value::Object(fields.iter().map(of).collect())
            }
            None => json!({"a": "a"}),
        },
        Some("array") => json!([sample(&schema["items"], &format!("{path}[]"), seed)]),
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("a"),
    }
}

/// The fields below a schema that have no fields themselves, as JSON pointers.
fn leaves(schema: &Value, at: &str, found: &mut Vec<String>) {
    match (schema["properties"].as_object(), schema["items"].is_object()) {
        (Some(fields), _) => fields.iter().for_each(|(name, inner)| leaves(inner, &format!("{at}/{name}"), found)),
        (None, true) => leaves(&schema["items"], &format!("{at}/0"), found),
        (None, false) => found.push(at.to_owned()),
    }
}

/// A version of a kind.
struct Kind {
    api: String,
    kind: String,
    spec: Value,
}

impl Kind {
    /// Those of the files of a folder.
    fn all(folder: &Path) -> Vec<Self> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let text = fs::read_to_string(entry.expect("an entry").path()).expect("a text");
            for definition in serde_saphyr::from_multiple::<Value>(&text).expect("YAML") {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (group, kind) = (text(&definition["spec"]["group"]), text(&definition["spec"]["names"]["kind"]));
                for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
                    let mut spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
                    // a field that nobody can have read
                    spec["properties"][NOT_READ] = json!({"type": "string"});
                    all.push(Self { api: format!("{group}/{}", text(&version["name"])), kind: kind.clone(), spec });
                }
            }
        }
        all
    }

    fn object(&self, seed: u64) -> Value {
        json!({"apiVersion": self.api, "kind": self.kind, "metadata": {"name": "a"}, "spec": sample(&self.spec, "", seed)})
    }

    /// Whether it matters what a field is.
    fn reads(&self, field: &str) -> bool {
        (0..64).any(|seed| {
            let before = self.object(seed);
            let mut after = before.clone();
            *after.pointer_mut(field).expect("a sample has all fields") = json!({"absurd": [1]});
            format!("{:?}", decode(&before)) != format!("{:?}", decode(&after))
        })
    }
}

const NOT_READ: &str = "ofALaterVersion";

/// Nothing that an object can say by its definition is passed over as if it were not there.
#[test]
fn every_field_of_the_definitions_is_read() {
    let Some(module) = module("sigs.k8s.io/gateway-api") else { return };
    let (mut unread, mut fields) = (BTreeSet::new(), 0);
    let is_known = |kind: &Kind| !matches!(decode(&kind.object(0)), Ok(Decoded::UnknownKind { .. }));
    let (known, others): (Vec<_>, Vec<_>) =
        Kind::all(&module.join("config/crd/experimental")).into_iter().partition(is_known);
    for kind in &known {
        let mut all = Vec::new();
        leaves(&kind.spec, "/spec", &mut all);
        fields += all.len();
        let not_read = all.into_iter().filter(|field| !kind.reads(field));
        unread.extend(not_read.map(|field| format!("{} {field}", kind.kind)));
    }
    let expected = known.iter().map(|kind| format!("{} /spec/{NOT_READ}", kind.kind)).collect::<BTreeSet<_>>();
    assert_eq!(unread, expected);
    let others: BTreeSet<_> = others.iter().map(|kind| format!("{} {}", kind.api, kind.kind)).collect();
    assert_eq!(Vec::from_iter(others), NOT_SERVED);
    println!("{fields} fields are read");
}

/// Older versions of kinds that are read in their own, and kinds that nobody here serves.
const NOT_SERVED: [&str; 4] = [
    "gateway.networking.k8s.io/v1alpha2 TLSRoute",
    "gateway.networking.k8s.io/v1alpha3 TLSRoute",
    "gateway.networking.x-k8s.io/v1alpha1 XMesh",
    "gateway.networking.x-k8s.io/v1alpha1 XTelemetryPolicy",
];

fn broken() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")
}

#[test]
fn every_broken_object_is_refused_by_our_own_checks_with_a_remedy() {
    let loaded = load(&[broken()]);
    let accepted: Vec<String> =
        loaded.objects.keys().map(ToString::to_string).filter(|object| !is_taken(object)).collect();
    assert_eq!(accepted, Vec::<String>::new());
    for finding in &loaded.findings {
        assert!(finding.position.is_some() && !finding.remedy.is_empty(), "{}", finding.text(false));
    }
}
