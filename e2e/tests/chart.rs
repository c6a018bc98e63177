//! The chart: what it expands to, what it refuses, and that what it says of limits is what the gateway says of them. It needs no cluster; without Helm it tests less, and says so.
#![allow(clippy::unwrap_used, reason = "a test, and a panic is its verdict")]

use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const DEFINITION: &str = "charts/headgate/crds/headgate.dev_gatewayparameters.yaml";
const BEGIN: &str = "# Made from docs/limits.md";
const END: &str = "# end";
/// A number, a size or a time; the gateway judges which.
const VALUE: &str = "^(none|[0-9]{1,12}([KMG]iB)?|([0-9]{1,5}(h|m|s|ms)){1,4})$";

/// Rows of docs/limits.md (which is made from the table in code): flag, default, text.
fn limits(text: &str) -> Vec<[&str; 3]> {
    text.lines()
        .filter(|line| line.starts_with("| `--"))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let flag = cells.next().unwrap().trim_matches('`').trim_start_matches("--");
            [flag, cells.next().unwrap(), cells.next().unwrap()]
        })
        .collect()
}

#[test]
fn limits_of_gateway_parameters_are_those_of_the_gateway() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = fs::read_to_string(root.join("docs/limits.md")).unwrap();
    let limits = limits(&docs);
    assert!(limits.len() > 30, "{limits:?}");
    let text = fs::read_to_string(root.join(DEFINITION)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = |mark: &str| lines.iter().position(|line| line.trim_start().starts_with(mark)).unwrap();
    let (begin, end) = (at(BEGIN), at(END));
    let indent = &lines[begin][..lines[begin].find('#').unwrap()];
    let mut made: Vec<String> = lines[..=begin].iter().map(ToString::to_string).collect();
    for [flag, default, about] in limits {
        let about = about.replace('\'', "''");
        made.push(format!("{indent}{flag}:"));
        made.push(format!("{indent}  description: '{about} {default} if left out.'"));
        made.push(format!("{indent}  x-kubernetes-int-or-string: true"));
        made.push(format!("{indent}  pattern: {VALUE}"));
    }
    made.extend(lines[end..].iter().map(ToString::to_string));
    let made = made.join("\n") + "\n";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root.join(DEFINITION), &made).unwrap();
    }
    let now = fs::read_to_string(root.join(DEFINITION)).unwrap();
    assert!(now == made, "{DEFINITION} is old: UPDATE_DOCS=1 cargo test -p headgate-e2e --test chart");
}

/// Helm, where there is one: on the PATH, or built by `e2e/cluster/install`.
fn helm(arguments: &[&str]) -> Option<Output> {
    let home = std::env::var("HOME").unwrap_or_default();
    let cache = std::env::var("HEADGATE_CLUSTER_CACHE").unwrap_or(format!("{home}/.cache/headgate-cluster"));
    let places = [PathBuf::from("helm"), Path::new(&cache).join("bin/helm")];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let run = |helm: &PathBuf| Command::new(helm).args(arguments).current_dir(root).output().ok();
    let output = places.iter().find_map(run);
    if output.is_none() {
        println!("skipped: there is no helm; e2e/cluster/install builds it");
    }
    output
}

/// The objects of the chart with these values, by kind and name.
fn expand(values: &[&str]) -> Option<Vec<Value>> {
    let mut arguments = vec!["template", "headgate", "charts/headgate", "-n", "ns", "--kube-version", "1.35.0"];
    values.iter().for_each(|value| arguments.extend(["--set", value]));
    let output = helm(&arguments)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    Some(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn find<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn the_chart_is_of_the_version_of_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let chart: Value =
        serde_saphyr::from_str(&fs::read_to_string(root.join("charts/headgate/Chart.yaml")).unwrap()).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_chart_is_clean() {
    let Some(output) = helm(&["lint", "--strict", "charts/headgate"]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn values_that_do_not_exist_are_refused() {
    for value in
        ["controler.replicas=1", "controller.replica=1", "networkPolicy.enabled=true", "controllerName=headgate"]
    {
        let Some(output) = helm(&["template", "a", "charts/headgate", "--kube-version", "1.35.0", "--set", value])
        else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("schema"), "{value}: {said}");
    }
}

#[test]
fn rights_name_what_they_are_for() {
    let Some(objects) = expand(&[]) else { return };
    for role in objects.iter().filter(|object| object["rules"].is_array()) {
        for rule in role["rules"].as_array().unwrap() {
            let text = rule.to_string();
            assert!(!text.contains("\"*\""), "{text}");
            for verb in ["escalate", "bind", "impersonate", "deletecollection"] {
                assert!(!text.contains(verb), "{text}");
            }
        }
    }
    // keys are read where they are referred to, and written in the controller's own namespace only
    let cluster = find(&objects, "ClusterRole");
    for rule in cluster["rules"].as_array().unwrap() {
        let of_secrets = rule["resources"].as_array().unwrap().iter().any(|resource| resource == "secrets");
        assert!(!of_secrets || rule["verbs"] == serde_json::json!(["get", "list", "watch"]), "{rule}");
    }
}

/// What the controller may do with Ingresses: resources and verbs of each rule.
fn rights_of_ingresses(objects: &[Value]) -> Vec<Value> {
    let rules = find(objects, "ClusterRole")["rules"].as_array().unwrap();
    let of_ingresses = rules.iter().filter(|rule| rule["apiGroups"][0] == "networking.k8s.io");
    of_ingresses.map(|rule| serde_json::json!([rule["resources"], rule["verbs"]])).collect()
}

#[test]
fn ingresses_are_read_only_when_asked_for_and_of_them_only_the_status_is_written() {
    let Some(objects) = expand(&[]) else { return };
    assert_eq!(rights_of_ingresses(&objects), [serde_json::json!(null); 0]);
    assert!(objects.iter().all(|object| object["kind"] != "IngressClass"));
    let values = ["ingress.enabled=true", "ingress.gateway.namespace=infra", "ingress.gateway.name=web"];
    let objects = expand(&values).unwrap();
    let rights = [
        serde_json::json!([["ingresses", "ingressclasses"], ["get", "list", "watch"]]),
        serde_json::json!([["ingresses/status"], ["get", "patch"]]),
    ];
    assert_eq!(rights_of_ingresses(&objects), rights);
    let class = &find(&objects, "IngressClass")["spec"];
    assert_eq!((&class["parameters"]["namespace"], &class["parameters"]["name"]), (&"infra".into(), &"web".into()));
    let container = &find(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert!(used(&container["args"]).contains(&"--ingress"));
    // without a Gateway people write their classes themselves
    let objects = expand(&["ingress.enabled=true"]).unwrap();
    assert_eq!(rights_of_ingresses(&objects), rights);
    assert!(objects.iter().all(|object| object["kind"] != "IngressClass"));
}

#[test]
fn one_controller_has_no_budget_and_parameters_of_the_class_are_an_object() {
    let values = ["controller.replicas=1", "gatewayClass.parameters.replicas=2", "gatewayClass.name=edge"];
    let Some(objects) = expand(&values) else { return };
    assert!(objects.iter().all(|object| object["kind"] != "PodDisruptionBudget"));
    let class = find(&objects, "GatewayClass");
    let parameters = find(&objects, "GatewayParameters");
    assert_eq!(class["spec"]["parametersRef"]["name"], parameters["metadata"]["name"]);
    assert_eq!(class["spec"]["parametersRef"]["namespace"], parameters["metadata"]["namespace"]);
    assert_eq!(parameters["spec"]["replicas"], 2);
    assert!(objects.iter().all(|object| object["kind"] != "CustomResourceDefinition"));
}

#[test]
fn labels_that_people_add_never_select_other_pods() {
    let values = ["controller.podLabels.app\\.kubernetes\\.io/component=mine", "controller.podLabels.team=a"];
    let Some(objects) = expand(&values) else { return };
    let deployment = find(&objects, "Deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["team"], "a");
    for (key, value) in deployment["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&labels[key], value, "{key}");
    }
}

#[test]
fn definitions_of_openfunction_come_only_when_asked_for_and_stay() {
    let Some(objects) = expand(&["openfunction.crds=true"]) else { return };
    let definitions: Vec<&Value> =
        objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
    assert_eq!(definitions.len(), 2);
    for definition in definitions {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_and_failures_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let gateway = read("gateway/src/telemetry/metrics.rs");
    let controller = read("headgate/src/commands/controller/metrics.rs");
    let failures = read("docs/failures.md");
    let asked =
        read("charts/headgate/monitoring/alerts.yaml") + &read("charts/headgate/monitoring/gateways.dashboard.json");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = asked.split(|c| !is_word(c)).filter_map(|word| word.strip_prefix("headgate_"));
    let mut count = 0;
    for word in words {
        let (name, source) = match word.strip_prefix("controller_") {
            Some(name) => (name, &controller),
            None => (word, &gateway),
        };
        let name = ["_total", "_seconds_bucket"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(source.contains(&format!("\"{name}\"")), "there is no metric headgate_{word}");
        count += 1;
    }
    assert!(count > 20, "{count}");
    for list in asked.split("failure=~\"").skip(1) {
        for failure in list.split('"').next().unwrap().split('|') {
            assert!(failures.contains(&format!("`{failure}`")), "there is no failure {failure}");
        }
    }
}

#[test]
fn what_is_for_prometheus_and_grafana_can_be_read() {
    let values = [
        "monitoring.create=true",
        "monitoring.alerts=true",
        "monitoring.dashboard=true",
        "monitoring.labels.release=a",
    ];
    let Some(objects) = expand(&values) else { return };
    let rules = &find(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"];
    assert!(rules.as_array().unwrap().iter().all(|rule| rule["expr"].is_string() && rule["alert"].is_string()));
    let dashboard = find(&objects, "ConfigMap")["data"]["headgate-gateways.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 8);
    for kind in ["ServiceMonitor", "PodMonitor"] {
        assert_eq!(find(&objects, kind)["metadata"]["labels"]["release"], "a");
    }
}

/// The flags of a command of the program, from its help; `None` while there is no such command.
fn flags(command: &str) -> Option<BTreeSet<String>> {
    let help = Command::new(headgate_e2e::binary()).args([command, "--help"]).output().unwrap();
    if !help.status.success() {
        println!("skipped: there is no `headgate {command}` yet");
        return None;
    }
    let text = String::from_utf8(help.stdout).unwrap();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    Some(words.filter(|word| word.starts_with("--")).map(ToOwned::to_owned).collect())
}

/// The flags among arguments.
fn used(arguments: &Value) -> Vec<&str> {
    let arguments = arguments.as_array().unwrap().iter().filter_map(Value::as_str);
    arguments.filter(|argument| argument.starts_with("--")).map(|flag| flag.split('=').next().unwrap()).collect()
}

#[test]
fn the_controller_knows_the_flags_that_the_chart_gives_it() {
    let (Some(objects), Some(flags)) = (expand(&["ingress.enabled=true"]), flags("controller")) else { return };
    let container = &find(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"][0], "controller");
    for flag in used(&container["args"]) {
        assert!(flags.contains(flag), "headgate controller has no {flag}");
    }
}

#[test]
fn a_gateway_knows_the_flags_that_its_pods_give_it() {
    let Some(flags) = flags("gateway") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let golden = fs::read_to_string(root.join("controller/provision/tests/golden/parameters.json")).unwrap();
    let manifests: Vec<Value> = serde_json::from_str(&golden).unwrap();
    let container = &find(&manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"][0], "gateway");
    for flag in used(&container["args"]) {
        assert!(flags.contains(flag), "headgate gateway has no {flag}");
    }
}
