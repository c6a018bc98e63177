//! That an API server takes the manifests as they are, at the strictest level of Pod security. Without KUBECONFIG it does nothing, and says so; `e2e/cluster/in cargo test -p headgate-provision --test cluster` gives it one. Nothing is left behind but a namespace.

use serde_json::{Value, json};
use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

const NAMESPACE: &str = "provision-test";

fn kubectl(arguments: &[&str], input: &Value) -> Output {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl");
    child.stdin.take().expect("piped").write_all(input.to_string().as_bytes()).expect("taken");
    child.wait_with_output().expect("it ends")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn manifests_are_taken_in_a_restricted_namespace() {
    if std::env::var_os("KUBECONFIG").is_none() {
        println!("skipped: no KUBECONFIG");
        return;
    }
    let level = "restricted";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {
        "pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/warn": level,
    }}});
    let made = kubectl(&["apply", "--server-side", "-f", "-"], &namespace);
    assert!(made.status.success(), "{}", text(&made));

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let goldens = std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    for golden in goldens.filter(|path| path.extension().is_some_and(|ext| ext == "json")) {
        let manifests = std::fs::read_to_string(&golden).expect("readable");
        let mut manifests: Vec<Value> = serde_json::from_str(&manifests).expect("JSON");
        manifests.iter_mut().for_each(|manifest| manifest["metadata"]["namespace"] = json!(NAMESPACE));
        for manifest in &manifests {
            let tried =
                kubectl(&["apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-"], manifest);
            // IPv6 is not everywhere
            let told = text(&tried);
            let no_ipv6 = told.contains("IPv6") && told.contains("not configured on this cluster");
            assert!(no_ipv6 || (tried.status.success() && told.is_empty()), "{}: {told}", golden.display());
        }
    }
}
