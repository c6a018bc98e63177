//! Why Pods do not start, in words that tell a person where to look. Never a guess: what the cluster says, or nothing.

use serde_json::Value;

/// Reasons of a waiting container that pass by themselves.
const USUAL: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Of Pods: the first that cannot be placed, or whose container cannot start or keeps ending.
pub(crate) fn of_pods(pods: &[&Value]) -> Option<String> {
    let staying = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    staying.filter_map(|pod| of_pod(pod)).next()
}

/// Of a Deployment: that it cannot make Pods (a quota, an admission policy), or has waited for long.
pub(crate) fn of_deployment(deployment: &Value) -> Option<String> {
    let failed = condition(deployment, "ReplicaFailure", "True").or_else(|| {
        condition(deployment, "Progressing", "False").filter(|c| c["reason"] == "ProgressDeadlineExceeded")
    })?;
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    Some(format!("Deployment {name}: {}", said(failed)))
}

fn of_pod(pod: &Value) -> Option<String> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let why = unscheduled(pod).or_else(|| evicted(pod)).or_else(|| waiting(pod))?;
    Some(format!("Pod {name}: {why}"))
}

fn unscheduled(pod: &Value) -> Option<String> {
    condition(pod, "PodScheduled", "False").map(said)
}

/// The kubelet refused it or put it off its node.
fn evicted(pod: &Value) -> Option<String> {
    let status = &pod["status"];
    (status["phase"] == "Failed").then(|| said(status))
}

/// A container that cannot start or keeps ending. While a kubelet tries it again and again, the text stays the same: it stands in
/// the status of a Gateway, which would be written at each try.
fn waiting(pod: &Value) -> Option<String> {
    let containers = pod["status"]["containerStatuses"].as_array()?;
    containers.iter().filter(|container| container["ready"] != true).find_map(|container| {
        let waiting = &container["state"]["waiting"];
        let reason = waiting["reason"].as_str().unwrap_or_default();
        if ["ErrImagePull", "ImagePullBackOff"].contains(&reason) {
            let image = container["image"].as_str().unwrap_or_default();
            return Some(format!("ImagePullBackOff: image {image} cannot be pulled"));
        }
        let ended = [&container["state"]["terminated"], &container["lastState"]["terminated"]];
        if let Some(code) = ended.into_iter().find_map(|ended| ended["exitCode"].as_i64()) {
            return Some(format!("CrashLoopBackOff: its container ended with exit code {code}; see its log"));
        }
        (!reason.is_empty() && !USUAL.contains(&reason)).then(|| said(waiting))
    })
}

fn condition<'a>(object: &'a Value, kind: &str, status: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind && condition["status"] == status)
}

/// `Reason: message`, as far as both are there.
fn said(state: &Value) -> String {
    let text = |key: &str| state[key].as_str().unwrap_or_default().trim().to_owned();
    match (text("reason"), text("message")) {
        (reason, message) if message.is_empty() => reason,
        (reason, message) if reason.is_empty() => message,
        (reason, message) => format!("{reason}: {message}"),
    }
}
