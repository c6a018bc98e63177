//! What the API server noted of writes by ServiceAccounts: who wrote what, and whether it was allowed. Kubernetes' own controllers are not in it.

use serde_json::Value;
use std::{collections::BTreeMap, fs, path::PathBuf};

/// The ServiceAccount of the controllers that `e2e/cluster/install` installs.
pub const CONTROLLER: &str = "system:serviceaccount:headgate-system:headgate-controller";

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    pub user: String,
    pub pod: String,
    pub verb: String,
    /// `resource.group`, or `resource.group/subresource`.
    pub of: String,
    /// `namespace/name`.
    pub object: String,
    pub status: u64,
    /// Whether it was refused because its namespace is being deleted.
    pub came_too_late: bool,
    /// When it was received: RFC 3339, UTC, so that texts compare as times.
    pub at: String,
}

/// All writes so far.
pub fn writes() -> Vec<Write> {
    let file =
        PathBuf::from(std::env::var_os("KUBECONFIG").expect("a cluster")).with_file_name("log").join("audit.log");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    // the last line may not be whole yet
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).map(|event: Value| read(&event)).collect()
}

/// Those of our controllers.
pub fn ours() -> Vec<Write> {
    writes().into_iter().filter(|write| write.user == CONTROLLER).collect()
}

/// When the last write so far was: others are later.
pub fn last() -> String {
    writes().last().map(|write| write.at.clone()).unwrap_or_default()
}

fn read(event: &Value) -> Write {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let about = &event["objectRef"];
    let group = about["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
    let part = about["subresource"].as_str().map(|part| format!("/{part}")).unwrap_or_default();
    let causes = event["responseStatus"]["details"]["causes"].as_array();
    Write {
        user: text(&event["user"]["username"]),
        pod: text(&event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0]),
        verb: text(&event["verb"]),
        of: format!("{}{group}{part}", text(&about["resource"])),
        object: format!("{}/{}", text(&about["namespace"]), text(&about["name"])),
        status: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        came_too_late: causes.is_some_and(|all| all.iter().any(|cause| cause["reason"] == "NamespaceTerminating")),
        at: text(&event["requestReceivedTimestamp"]),
    }
}

impl Write {
    /// Whether it is a sign of life and changes nothing: the Lease of the leader, and questions about tokens.
    pub fn is_housekeeping(&self) -> bool {
        ["leases.coordination.k8s.io", "tokenreviews.authentication.k8s.io"].contains(&self.of.as_str())
    }
}

/// How many of each kind, for messages.
pub fn summary<'w>(writes: impl IntoIterator<Item = &'w Write>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for write in writes {
        *counts.entry(format!("{} {} by {}", write.verb, write.of, write.pod)).or_default() += 1;
    }
    counts
}
