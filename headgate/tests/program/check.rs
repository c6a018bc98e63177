//! `check` as a user types it: findings, formats and exit codes. It never looks at anything but what is printed.

use crate::program::{checkout, headgate, headgate_in, headgate_reading};
use serde_json::json;
use std::fs;

/// A route whose second line is misspelt, and whose backend is not there.
const BROKEN: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: shop
spec:
  hostnames: [\"Shop Example\"]
  rules:
  - backendRefs:
    - {name: nowhere, port: 80}
";

#[test]
fn every_example_is_clean() {
    let mut checked = 0;
    for entry in fs::read_dir(checkout("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            headgate(&["check", path.to_str().unwrap()]).exits(0).prints("no problems; ");
            checked += 1;
        }
    }
    assert!(checked > 3);
}

#[test]
fn a_defect_is_told_with_its_place_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("route.yaml"), BROKEN).unwrap();
    let told = headgate_in(folder.path(), &["check"]).exits(1);
    told.prints("route.yaml:6:15: error: HTTPRoute shop: spec.hostnames[0]: ").prints("help: ").prints("1 error; ");
    let json = headgate_in(folder.path(), &["check", "-o", "json", "route.yaml"]).exits(1).json();
    let finding = &json["findings"][0];
    assert_eq!((&finding["file"], &finding["line"], &finding["column"]), (&json!("route.yaml"), &json!(6), &json!(15)));
    assert_eq!(json["counts"]["errors"], 1);
    let github = headgate_in(folder.path(), &["check", "-o", "github"]).exits(1);
    github.prints("::error file=route.yaml,line=6,col=15::HTTPRoute shop");
}

#[test]
fn what_is_wrong_between_objects_has_its_line_too_from_standard_input_as_well() {
    let dangling = BROKEN.replace("Shop Example", "shop.localhost");
    headgate_reading(&dangling, &["check", "-"]).prints("-:9:14: ").prints("Service default/nowhere");
}

#[test]
fn warnings_alone_are_fine() {
    let function = fs::read_to_string(checkout("examples/hello/function.yaml")).unwrap();
    let odd = function.replace("  serving:", "  serving:\n    odd: 1");
    headgate_reading(&odd, &["check", "-"]).exits(0).prints("warning: ").prints("1 warning; 1 object in 1 file");
}

#[test]
fn given_definitions_are_checked_by() {
    let folder = tempfile::tempdir().unwrap();
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "functions.core.openfunction.io"},
        "spec": {
            "group": "core.openfunction.io", "names": {"kind": "Function"},
            "versions": [{"name": "v1beta2", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"version": {"type": "string", "maxLength": 1}}}},
            }}}],
        },
    });
    fs::write(folder.path().join("crd.json"), crd.to_string()).unwrap();
    let crds = folder.path().join("crd.json");
    let (crds, function) = (crds.to_str().unwrap(), checkout("examples/hello/function.yaml"));
    let function = function.to_str().unwrap();
    headgate(&["check", function]).exits(0);
    headgate(&["check", "--crds", crds, function]).exits(1).prints("spec.version: ").prints("1 error; ");
    headgate(&["check", "--crds", "/no/such", function]).exits(2).complains("/no/such: no such file or folder");
}

#[test]
fn a_path_that_is_not_there_is_wrong_usage() {
    headgate(&["check", "/no/such"]).exits(2).complains("/no/such: no such file or folder");
    headgate(&["check", "-", "x"]).exits(2).complains("standard input");
}
