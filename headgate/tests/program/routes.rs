//! `routes` from files, as a user types it; addresses are compared with those of OpenFunction. No gateway runs here.

use crate::program::{checkout, headgate};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn example(name: &str) -> String {
    checkout("examples").join(name).to_str().unwrap().to_owned()
}

#[test]
fn rules_stand_in_matching_order_with_their_split() {
    let from = example("canary");
    let table = headgate(&["routes", "--from", &from]).exits(0);
    table.prints("hello.default.localhost").prints("90%").prints("10%").prints("FUNCTION").prints("default/hello-v1");
    let names = headgate(&["routes", "--from", &from, "-o", "name"]).exits(0).stdout;
    assert!(names.lines().any(|name| name == "HTTPRoute/default/hello/0"), "{names}");
    headgate(&["routes", "--from", &from, "-o", "wide"]).exits(0).prints("LISTENER");
    headgate(&["routes", "--from", &from, "-o", "yaml"]).exits(0).prints("rules:\n").prints("functions:\n");
    let path_based = headgate(&["routes", "--from", &example("path-based"), "-o", "json"]).exits(0).json();
    let of_shop = path_based["rules"].as_array().unwrap().iter().filter(|rule| rule["host"] == "shop.localhost");
    let paths: Vec<_> = of_shop.map(|rule| rule["path"]["prefix"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/default/users", "/orders", "/"], "longer prefixes are tried first");
}

#[test]
fn namespaces_and_domain_are_chosen() {
    let from = example("hello");
    let other = headgate(&["routes", "--from", &from, "-n", "shop", "-o", "json"]).exits(0).json();
    assert_eq!(other, json!({"rules": [], "functions": []}));
    headgate(&["routes", "--from", &from, "-n", "shop"]).exits(0).prints("no rules");
    headgate(&["routes", "--from", &from, "-A"]).exits(0).prints("hello.default.localhost");
    headgate(&["routes", "--from", &from, "--domain", "ofn.io"]).exits(0).prints("http://hello.default.ofn.io/");
}

#[test]
fn nobody_to_ask_is_exit_code_three() {
    // port 1 has no gateway
    let asked = headgate(&["routes", "--admin", "127.0.0.1:1"]).exits(3);
    asked.complains("no gateway answers at 127.0.0.1:1").complains("--from PATH");
    headgate(&["routes", "--from", "/no/such"]).exits(2);
}

/// What OpenFunction's own controller gave for its manifests, which stand beside the repository.
#[test]
fn every_function_of_openfunction_has_its_hosts_paths_and_addresses() {
    let folder = checkout("../shared/openfunction");
    let Ok(text) = fs::read_to_string(folder.join("expected-routes.json")) else {
        println!("skipped: {} is not there", folder.display());
        return;
    };
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    let gateways = ["gateway/default-gateway.yaml", "docs-extracted/operations__networking__switch-gateway__L41.yaml"];
    let (mut compared, mut wrong) = (0, Vec::new());
    for (entry, wanted) in expected.iter().filter(|(_, wanted)| wanted["kind"] == "http") {
        let (file, name) = entry.split_once('#').unwrap();
        let found = of_file(&folder, &gateways, file, name, &wanted["httpRoute"]["namespace"]);
        let status = &wanted["status"];
        let wanted = json!([status["route"]["hosts"], status["route"]["paths"], status["addresses"]]);
        if found == wanted {
            compared += 1;
        } else {
            wrong.push(format!("{entry}\n  found  {found}\n  wanted {wanted}"));
        }
    }
    println!("{compared} functions compared");
    // `build` is a text in the first, which OpenFunction refuses too; the second has each key twice, since a `---` is missing
    let refused = ["docs-extracted/concepts__cicd__L41.yaml#", "docs-extracted/reference__faq__L205.yaml#"];
    let left: Vec<_> = wrong.iter().filter(|one| !refused.iter().any(|refused| one.starts_with(refused))).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert!(compared > 40, "{compared}");
}

fn of_file(folder: &Path, gateways: &[&str], file: &str, name: &str, namespace: &Value) -> Value {
    let mut arguments = vec!["routes".to_owned(), "-o".to_owned(), "json".to_owned()];
    for from in gateways.iter().chain([&file]) {
        arguments.extend(["--from".to_owned(), folder.join(from).to_str().unwrap().to_owned()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let listing = headgate(&arguments).exits(0).json();
    let is_it = |function: &&Value| function["name"] == name && function["namespace"] == *namespace;
    listing["functions"]
        .as_array()
        .unwrap()
        .iter()
        .find(is_it)
        .map_or(Value::Null, |function| json!([function["hosts"], function["paths"], function["addresses"]]))
}
