//! Our own checks of Gateway API's objects, and the rules of its definitions, say the same: of the conformance suite's objects, and of
//! broken ones.

use headgate_controller::sources::{
    crds::Crds,
    directory::{self, Loaded, Look, Touched},
    findings::{Finding, Severity},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

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

/// The kinds that Headgate reads; the suite also has others, and objects with the same name in several tests.
fn is_ours(finding: &Finding) -> bool {
    !finding.message.contains("the same object stands in")
}

#[test]
fn both_accept_the_objects_of_the_suite() {
    let Some(suite) = module("sigs.k8s.io/gateway-api/conformance") else { return };
    let Some(crds) = definitions() else { return };
    let paths = [suite.join("tests"), suite.join("base")];
    let loaded = load(&paths);
    assert!(loaded.objects.len() > 200, "{} objects", loaded.objects.len());
    let ours = errors(loaded.findings.iter().filter(|finding| is_ours(finding)));
    assert!(ours.is_empty(), "our own checks refuse:\n{}", told(&ours));
    let theirs = crds.check(&paths);
    assert!(theirs.is_empty(), "the definitions refuse:\n{}", told(&theirs.iter().collect::<Vec<_>>()));
}

#[test]
fn both_refuse_the_broken_objects_at_the_same_place() {
    let Some(crds) = definitions() else { return };
    let broken = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let paths = [broken];
    let loaded = load(&paths);
    assert!(loaded.objects.is_empty(), "accepted by our own checks: {:?}", loaded.objects.keys().collect::<Vec<_>>());
    let by_object = |findings: &[Finding]| {
        let mut objects = BTreeMap::<String, Vec<Finding>>::new();
        for finding in errors(findings) {
            objects.entry(finding.object.clone()).or_default().push(finding.clone());
        }
        objects
    };
    let (ours, theirs) = (by_object(&loaded.findings), by_object(&crds.check(&paths)));
    let names = |objects: &BTreeMap<String, Vec<Finding>>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs), "left: refused by our own checks, right: by the definitions");
    let mut elsewhere = String::new();
    for (object, ours) in &ours {
        let theirs = &theirs[object];
        // One may name the field, the other the map or list that holds it.
        let related = |a: &Finding, b: &Finding| a.field.starts_with(&b.field) || b.field.starts_with(&a.field);
        if !ours.iter().any(|our| theirs.iter().any(|their| related(our, their))) {
            elsewhere += &told(&ours.iter().chain(theirs).collect::<Vec<_>>());
        }
    }
    assert!(elsewhere.is_empty(), "the two see different faults:\n{elsewhere}");
    println!("{} broken objects, refused by both", ours.len());
}

#[test]
fn every_broken_object_is_refused_by_our_own_checks_with_a_remedy() {
    let loaded = load(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")]);
    assert!(loaded.objects.is_empty(), "accepted: {:?}", loaded.objects.keys().collect::<Vec<_>>());
    for finding in &loaded.findings {
        assert!(finding.position.is_some() && !finding.remedy.is_empty(), "{}", finding.text(false));
    }
}
