//! Our own checks of Gateway API's objects, and the rules of its definitions, say the same: of the conformance suite's objects, and of
//! broken ones.

use headgate_controller::sources::{
    crds::Crds,
    directory::{self, Loaded, Look, Touched},
    findings::{Finding, Severity},
};
use headgate_translate::conditions::entries_most;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
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
