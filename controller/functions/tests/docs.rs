//! docs/functions.md is made from the table of annotations, so that no default stands in two places.

use headgate_functions::settings::TABLE;
use std::path::Path;

/// What stands around the table.
const HEAD: &str = "# Settings of a function

<!-- Made by controller/functions/tests/docs.rs; a test compares. UPDATE_DOCS=1 cargo test -p headgate-functions --test docs writes it. -->

OpenFunction's fields say what runs, where it is found and how many of it. What they have no field for is an annotation. Those of
Knative are read from `metadata.annotations`, `spec.serving.annotations` and `spec.serving.scaleOptions.knative`, the first place wins;
those of `headgate.dev` win over Knative's and stand in `metadata.annotations` or `spec.serving.annotations`.

A text that is not understood is a warning at its line, and has no effect. Changing a setting starts nothing and stops nothing, unless
the table says that it is part of a revision. Times are written `500ms`, `30s`, `1m30s`; the gateway's own defaults stand in
[limits.md](limits.md).

| annotation | meaning | default |
|---|---|---|
";

const TAIL: &str = "
## What of a Function is used on one machine

| field | use |
|---|---|
| `spec.serving.template.containers[name: function]` | `command`, `args`, `env`, `workingDir` are the process; `readinessProbe.httpGet.path` tells that it is ready, otherwise an accepted connection does |
| `spec.image` | kept, and unused: there is no container runtime |
| `spec.serving.params` | environment variables |
| `spec.serving.scaleOptions` | `minReplicas` (0), `maxReplicas` (10); `keda.httpScaledObject.targetPendingRequests` and `cooldownPeriod` |
| `spec.serving.triggers.http` | `port` is told to a container; a process gets a free port of its own in `PORT`. `route` has hostnames, rules and the gateway |
| `spec.serving.triggers.dapr`, `inputs`, `outputs`, `states` | in `FUNC_CONTEXT` as OpenFunction's controller writes it; no sidecar is started |
| `spec.build` | left to OpenFunction |

A process finds `PORT`, `FUNC_CONTEXT` and the folder of the gateway's own program on `PATH`. Variables from fields of the pod are filled in;
those from Secrets and ConfigMaps are left out, and the function is told so.
";

fn made() -> String {
    let rows = TABLE.iter().map(|row| format!("| `{}` | {} | {} |\n", row.key, row.meaning, row.default));
    format!("{HEAD}{}{TAIL}", rows.collect::<String>())
}

#[test]
fn docs_are_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/functions.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, made()).expect("docs/ is writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made(),
        "docs/functions.md is not current: UPDATE_DOCS=1 cargo test -p headgate-functions --test docs"
    );
}

#[test]
fn each_annotation_stands_once_and_says_something() {
    for (index, row) in TABLE.iter().enumerate() {
        assert!(TABLE[..index].iter().all(|other| other.key != row.key), "{} stands twice", row.key);
        assert!(!row.meaning.is_empty() && !row.default.is_empty() && !row.meaning.contains('|'), "{}", row.key);
    }
}
