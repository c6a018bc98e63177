//! The writer of replicas and of what marks Pods and workloads for the scaler. One write each, never repeated here: the scaler asks again.

use crate::kinds;
use headgate_controller::scaling::cluster::{Action, Input, OWNER_ANNOTATION, Outcome};
use headgate_functions::CLOSING_ANNOTATION;
use headgate_translate::kinds::ObjectRef;
use k8s_openapi::api::{autoscaling::v1::Scale, core::v1::Pod};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

/// The longest wait for one write.
const WRITE_MAX: Duration = Duration::from_secs(4);
/// The annotation by which a ReplicaSet chooses the Pods that go first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Writes, each from a task of its own. What became of writes of replicas comes back by the channel.
#[derive(Clone)]
pub struct ScaleWriter {
    client: Client,
    outcomes: mpsc::UnboundedSender<Input>,
}

impl ScaleWriter {
    /// The writer, and what the scaler must be told of its writes: at most one a target, for it asks for no other meanwhile.
    pub fn new(client: Client) -> (Self, mpsc::UnboundedReceiver<Input>) {
        let (outcomes, told) = mpsc::unbounded_channel();
        (Self { client, outcomes }, told)
    }

    /// Starts a write; `workload` is the rest of the name of the target: the name of a Deployment, or a kind and a name. Actions that are no writes do nothing.
    pub fn write(&self, namespace: &str, workload: &str, action: Action) {
        let (writer, namespace, workload) = (self.clone(), namespace.to_owned(), workload.to_owned());
        tokio::spawn(async move { writer.carry_out(&namespace, &workload, action).await });
    }

    async fn carry_out(&self, namespace: &str, workload: &str, action: Action) {
        match action {
            Action::SetReplicas { target, from, to } => {
                let outcome = self.set_replicas(namespace, workload, from, to).await;
                drop(self.outcomes.send(Input::Written(target, outcome)));
            }
            Action::Mark { target, pod, closing } => {
                let cost = closing.then_some("-1000");
                let closing = closing.then_some("true");
                let patch = json!({"metadata": {"annotations": {CLOSING_ANNOTATION: closing, DELETION_COST: cost}}});
                let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
                said(&target, &pod, merged(&api, &pod, &patch).await);
            }
            Action::Stamp { target, version, owner } => {
                let annotations = json!({OWNER_ANNOTATION: owner});
                // refused with 409 if somebody has written meanwhile
                let patch = json!({"metadata": {"resourceVersion": version.to_string(), "annotations": annotations}});
                let (kind, name) = kind_and_name(workload);
                let Some(resource) = kinds::resource(&ObjectRef::new("apps", kind, namespace, name)) else { return };
                let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
                said(&target, workload, merged(&api, name, &patch).await);
            }
            Action::Publish(_) | Action::Report(_) => {}
        }
    }

    /// Only if nobody has written meanwhile: the test fails with 422 otherwise.
    async fn set_replicas(&self, namespace: &str, workload: &str, from: u32, to: u32) -> Outcome {
        let patch = replicas_patch(from, to);
        let (kind, name) = kind_and_name(workload);
        let plural = if kind == "StatefulSet" { "statefulsets" } else { "deployments" };
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}/scale");
        let request = http::Request::patch(path).header("content-type", "application/json-patch+json");
        let request = match request.body(patch.to_string().into_bytes()) {
            Ok(request) => request,
            Err(error) => return Outcome::Failed { reason: error.to_string() },
        };
        match tokio::time::timeout(WRITE_MAX, self.client.request::<Scale>(request)).await {
            Ok(Ok(scale)) => match scale.metadata.resource_version.and_then(|text| text.parse().ok()) {
                Some(version) => Outcome::Done { version },
                None => Outcome::Failed { reason: "the answer has no resourceVersion".into() },
            },
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 409 | 422) => Outcome::Conflict,
            Ok(Err(error)) => Outcome::Failed { reason: error.to_string() },
            Err(_) => Outcome::Failed { reason: late() },
        }
    }
}

/// Of the rest of a target's name.
fn kind_and_name(workload: &str) -> (&str, &str) {
    workload.split_once('/').unwrap_or(("Deployment", workload))
}

/// A Scale without replicas has no field for them (autoscaling/v1, `omitempty`).
fn replicas_patch(from: u32, to: u32) -> Value {
    let test = match from {
        0 => json!({"op": "test", "path": "/spec", "value": {}}),
        from => json!({"op": "test", "path": "/spec/replicas", "value": from}),
    };
    json!([test, {"op": "add", "path": "/spec/replicas", "value": to}])
}

async fn merged<K>(api: &Api<K>, name: &str, patch: &Value) -> Result<(), String>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    let write = api.patch_metadata(name, &params, &patch);
    match tokio::time::timeout(WRITE_MAX, write).await {
        Ok(Ok(_)) => Ok(()),
        // it went meanwhile, or somebody was faster, and a watch will tell
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(late()),
    }
}

fn said(target: &str, object: &str, written: Result<(), String>) {
    if let Err(why) = written {
        tracing::warn!(target_name = target, object, why, "annotation not written, and asked for again");
    }
}

fn late() -> String {
    format!("no answer within {} s", WRITE_MAX.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_made_only_from_the_number_that_was_seen() {
        let path = |patch: &Value| patch[0]["path"].clone();
        assert_eq!(path(&replicas_patch(0, 2)), "/spec", "there is no field to look at");
        assert_eq!(path(&replicas_patch(2, 0)), "/spec/replicas");
        assert_eq!(replicas_patch(2, 0)[1]["value"], 0);
    }
}
