//! What Ingresses become: `ingress/*.yaml`, and beside each the routes, Gateways and problems that follow. `UPDATE_GOLDENS=1` writes them anew; each change is to be read.

use headgate_translate::{
    Objects, ingress,
    kinds::{Decoded, Object, decode},
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn inputs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ingress");
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut inputs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    inputs.sort();
    inputs
}

fn objects(text: &str) -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    let mut objects = Objects::default();
    for document in &documents {
        match decode(document) {
            Ok(Decoded::Known(object, warnings)) if warnings.is_empty() => objects.insert(object),
            other => panic!("{other:?}"),
        }
    }
    objects
}

fn derived(text: &str) -> (ingress::Derivation, Vec<ingress::DerivedGateway>) {
    let objects = objects(text);
    let mut derivation = ingress::derive(&objects, |_| true);
    let gateways = ingress::gateways(&mut derivation, &objects, "headgate");
    (derivation, gateways)
}

#[test]
fn goldens_hold() {
    let mut wrong = Vec::new();
    for input in inputs() {
        let (derivation, gateways) = derived(&std::fs::read_to_string(&input).expect("a readable input"));
        let problems =
            derivation.problems.iter().map(|p| format!("{:?} {}: {}", p.problem.severity, p.object, p.problem));
        let value = json!({
            "gateways": gateways.iter().map(ingress::DerivedGateway::manifest).collect::<Vec<_>>(),
            "routes": derivation.routes.iter().map(ingress::IngressRoute::manifest).collect::<Vec<_>>(),
            "problems": problems.collect::<Vec<_>>(),
        });
        let found = serde_json::to_string_pretty(&value).expect("JSON") + "\n";
        let golden = input.with_extension("json");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(&golden, &found).expect("a writable golden");
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            wrong.push(format!("{} differs", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDENS=1 writes them anew", wrong.join("\n"));
}

#[test]
fn an_api_server_takes_what_is_written_and_reads_the_same_objects() {
    for input in inputs() {
        let (derivation, gateways) = derived(&std::fs::read_to_string(&input).expect("a readable input"));
        for route in &derivation.routes {
            let Ok(Decoded::Known(Object::HTTPRoute(read), problems)) = decode(&route.manifest()) else {
                panic!("{:?}", decode(&route.manifest()));
            };
            assert!(problems.is_empty(), "{problems:?}");
            let mut read = (*read).clone();
            assert_eq!((&read.meta.namespace, &read.meta.name), (&route.route.meta.namespace, &route.route.meta.name));
            // labels, annotations and age are not written, or of a route nobody reads them
            read.meta.clone_from(&route.route.meta);
            assert_eq!(read, route.route);
            assert_eq!(route.fields.len(), route.route.rules.len(), "each rule says where it comes from");
        }
        for gateway in gateways {
            let Ok(Decoded::Known(Object::Gateway(read), problems)) = decode(&gateway.manifest()) else {
                panic!("{:?}", decode(&gateway.manifest()));
            };
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!(*read, gateway.gateway);
        }
    }
}

/// Of the annotation that guards one rule or of a path that has no form, no rule with a backend is made.
#[test]
fn nothing_that_is_guarded_is_served_unguarded() {
    let text =
        std::fs::read_to_string(inputs().into_iter().find(|path| path.ends_with("refused.yaml")).unwrap()).unwrap();
    let (derivation, _) = derived(&text);
    for name in ["guarded", "rewrites", "redirect"] {
        let route = derivation.routes.iter().find(|route| &*route.route.meta.name == name).expect("a route");
        assert!(route.route.rules.iter().all(|rule| rule.backends.is_empty() && !rule.matches.is_empty()), "{name}");
    }
}

#[test]
fn a_route_has_no_more_rules_than_the_api_takes() {
    let paths: String = (0..40)
        .map(|at| {
            format!(
                "    - {{path: /p{at}, pathType: Prefix, backend: {{service: {{name: a, port: {{number: 80}}}}}}}}\n"
            )
        })
        .collect();
    let text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: many}}\nspec:\n  rules:\n  - http:\n      paths:\n{}",
        paths.replace("    -", "      -")
    );
    let (derivation, _) = derived(&text);
    let names: Vec<(String, usize)> =
        derivation.routes.iter().map(|route| (route.route.meta.name.to_string(), route.route.rules.len())).collect();
    assert_eq!(names, [("many".to_owned(), 16), ("many-2".to_owned(), 16), ("many-3".to_owned(), 8)]);
}

/// What the API server refuses of an Ingress.
#[test]
fn an_ingress_is_read_as_its_api_server_reads_it() {
    let refused = |spec: &str| {
        let text = format!("{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: a}}, spec: {spec}}}");
        let document: Value = serde_saphyr::from_str(&text).expect("YAML");
        match decode(&document) {
            Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            Ok(_) => String::new(),
        }
    };
    let path = |path: &str| refused(&format!("{{rules: [{{http: {{paths: [{path}]}}}}]}}"));
    let good = "backend: {service: {name: a, port: {number: 80}}}";
    assert_eq!(path(&format!("{{path: /a, pathType: Prefix, {good}}}")), "");
    for (spec, says) in [
        (refused("{}"), "neither rules nor defaultBackend"),
        (refused("{rules: [{host: 10.0.0.1}]}"), "is an address"),
        (refused("{rules: [{host: a.*.com}]}"), "not allowed here"),
        (path(&format!("{{path: /a, {good}}}")), "pathType: is missing"),
        (path(&format!("{{path: /a, pathType: prefix, {good}}}")), "did you mean Prefix?"),
        (path(&format!("{{path: a, pathType: Exact, {good}}}")), "does not start with /"),
        (path(&format!("{{path: /a//b, pathType: Prefix, {good}}}")), "has // in it"),
        (path("{path: /, pathType: Prefix, backend: {service: {name: a}}}"), "port: is missing"),
        (path("{path: /, pathType: Prefix, backend: {service: {name: a, port: {}}}}"), "one of number and name"),
        (path("{path: /, pathType: Prefix, backend: {}}"), "exactly one of service and resource"),
    ] {
        assert!(spec.contains(says), "{says}: {spec}");
    }
}
