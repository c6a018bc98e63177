//! The writer of what Gateways get: manifests are applied where they differ from what is there, and removed where they are wanted no more. It never decides what there is to be.

mod plan;

use crate::{
    kinds,
    leader::Leading,
    object::{is_labelled, names_an_ending_namespace},
    pace::Failure,
    said_once::SaidOnce,
};
use headgate_config::GatewayName;
use headgate_controller::sources::cluster::ObjectChange;
use headgate_translate::kinds::ObjectRef;
use headgate_translate::manifest::MANAGED_BY;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
};
use plan::{Outcome, Plan, Step, Work};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
};

/// Owner of the fields that are applied.
const FIELD_MANAGER: &str = "headgate";
/// The longest wait for one write.
const WRITE_MAX: Duration = Duration::from_secs(4);

/// Applies from a task of its own until it is dropped.
#[derive(Debug)]
pub struct Applier {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    news: Notify,
    refusals: watch::Sender<BTreeMap<ObjectRef, String>>,
}

impl Applier {
    /// Starts it. What belongs to functions is removed only if it `serves_functions`. It writes only while `leading` says so, too.
    pub fn start(client: Client, serves_functions: bool, leading: Leading) -> Self {
        let shared = Arc::new(Shared { plan: Mutex::new(Plan::new(serves_functions)), ..Shared::default() });
        Self { task: tokio::spawn(run(client, shared.clone(), leading)), shared }
    }

    /// These objects are to exist: all that we make. What else there is of ours and belongs to these Gateways is removed.
    pub fn want(&self, manifests: BTreeMap<ObjectRef, Arc<Value>>, gateways: BTreeSet<GatewayName>) {
        self.shared.plan().want(manifests, gateways);
        self.shared.news.notify_one();
    }

    /// Watches showed this: each batch, in order.
    pub fn see(&self, changes: &[ObjectChange]) {
        let mut plan = self.shared.plan();
        changes.iter().for_each(|change| plan.see(change));
        drop(plan);
        self.shared.news.notify_one();
    }

    /// What could not be written when it was tried last, and why.
    pub fn troubles(&self) -> BTreeMap<ObjectRef, String> {
        self.shared.plan().troubles()
    }

    /// Those of the troubles that stay until a person does something: a right that is missing, an admission that says no, an object
    /// of somebody else. Changes whenever they do.
    pub fn refusals(&self) -> watch::Receiver<BTreeMap<ObjectRef, String>> {
        self.shared.refusals.subscribe()
    }

    /// Whether this process leads: only then it writes.
    pub fn lead(&self, leading: bool) {
        self.shared.plan().lead(leading);
        self.shared.news.notify_one();
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Tells of refusals where they differ from those told last.
    fn tell(&self) {
        let now = self.plan().refusals();
        self.refusals.send_if_modified(|told| {
            let differs = *told != now;
            *told = now;
            differs
        });
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(client: Client, shared: Arc<Shared>, mut leading: Leading) {
    let mut writes: JoinSet<(ObjectRef, Outcome)> = JoinSet::new();
    let mut log = SaidOnce::default();
    loop {
        // a statement of its own: the lock is free again before anything is waited for
        let step = if leading.is_now() { shared.plan().next(Instant::now()) } else { Step::Wait(None) };
        let until = match step {
            Step::Work(name, work) => {
                writes.spawn(carry_out(client.clone(), name, work));
                continue;
            }
            Step::Wait(until) => until,
        };
        shared.tell();
        let pause = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.news.notified() => {}
            () = leading.changed() => {}
            () = pause => {}
            Some(done) = writes.join_next() => if let Ok((name, outcome)) = done {
                if let Outcome::Failed(failure, why) = &outcome
                    && *failure != Failure::Ending
                    && let Some(untold) = log.say(format!("{} {why}", name.kind), Instant::now())
                {
                    tracing::warn!(object = %name, why, untold, "not written, and tried again");
                }
                shared.plan().done(&name, outcome, Instant::now(), fastrand::f64());
            },
        }
    }
}

/// Whether we made it: it says so, or it has lost its label and we applied it once.
fn is_ours(object: &DynamicObject) -> bool {
    let mut managers = object.metadata.managed_fields.iter().flatten();
    is_labelled(&object.metadata)
        || managers.any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.subresource.is_none())
}

async fn carry_out(client: Client, name: ObjectRef, work: Work) -> (ObjectRef, Outcome) {
    let Some(resource) = kinds::resource(&name) else {
        let why = "a kind that is not made here".to_owned();
        return (name, Outcome::Failed(Failure::Refused, why));
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client, &name.namespace, &resource);
    let written = async {
        match work {
            Work::Apply { manifest, is_new } => {
                if is_new && let Some(other) = api.get_opt(&name.name).await?.filter(|there| !is_ours(there)) {
                    let by = other.metadata.labels.unwrap_or_default().remove(MANAGED_BY.0).unwrap_or_default();
                    let why = format!("{name} exists and is not ours (managed by {by:?}): rename one of the two");
                    return Ok(Outcome::Failed(Failure::Refused, why));
                }
                let params = PatchParams::apply(FIELD_MANAGER).force();
                let answer = api.patch(&name.name, &params, &Patch::Apply(&*manifest)).await?;
                Ok(Outcome::Applied(serde_json::to_value(answer).unwrap_or_default()))
            }
            Work::Delete { uid } => {
                let preconditions = Preconditions { uid: Some(uid), ..Preconditions::default() };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
                match api.delete(&name.name, &params).await {
                    Err(kube::Error::Api(status)) if status.code != 404 && status.code != 409 => {
                        Err(kube::Error::Api(status))
                    }
                    Err(error) if !matches!(error, kube::Error::Api(_)) => Err(error),
                    _ => Ok(Outcome::Deleted),
                }
            }
        }
    };
    let outcome = match tokio::time::timeout(WRITE_MAX, written).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failed(failure(&error), why(&error)),
        Err(_) => Outcome::Failed(Failure::Unavailable, format!("no answer within {} s", WRITE_MAX.as_secs())),
    };
    (name, outcome)
}

/// In words, with what to do about it where that is known.
fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => match missing_right(&status.message) {
            Some(right) if status.code == 403 => format!(
                "the controller may not {right}: grant its ServiceAccount what the ClusterRole of the chart grants"
            ),
            _ => status.message.clone(),
        },
        error => error.to_string(),
    }
}

/// Which right is missing by a refusal of RBAC: `patch deployments.apps in namespace shop`.
///
/// Source: Kubernetes 1.35, apiserver, responsewriters.ForbiddenMessage: `User "u" cannot patch resource "deployments" in API group
/// "apps" in the namespace "shop"`.
fn missing_right(message: &str) -> Option<String> {
    let (verb, rest) = message.split_once(" cannot ")?.1.split_once(" resource \"")?;
    let (resource, rest) = rest.split_once('"')?;
    let quoted = |after: &str| rest.split_once(after)?.1.split('"').next().map(str::to_owned);
    let group = quoted("in API group \"").filter(|group| !group.is_empty());
    let group = group.map(|group| format!(".{group}")).unwrap_or_default();
    let namespace = quoted("in the namespace \"").map(|namespace| format!(" in namespace {namespace}"));
    Some(format!("{verb} {resource}{group}{}", namespace.unwrap_or_default()))
}

fn failure(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.code == 409 => Failure::Conflict,
        kube::Error::Api(status) if names_an_ending_namespace(status) => Failure::Ending,
        // a quota, an admission, a right that is missing: it may pass, but not soon
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => Failure::Refused,
        _ => Failure::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_rbac_says_which_right_is_missing_and_another_one_nothing() {
        let message = "deployments.apps \"web-headgate\" is forbidden: User \"system:serviceaccount:headgate-system:headgate-controller\" \
                       cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"shop\"";
        assert_eq!(missing_right(message).as_deref(), Some("patch deployments.apps in namespace shop"));
        let core = "services is forbidden: User \"u\" cannot create resource \"services\" in API group \"\" in the namespace \"a\"";
        assert_eq!(missing_right(core).as_deref(), Some("create services in namespace a"));
        let all =
            "nodes is forbidden: User \"u\" cannot list resource \"nodes\" in API group \"\" at the cluster scope";
        assert_eq!(missing_right(all).as_deref(), Some("list nodes"));
        assert_eq!(missing_right("pods \"a\" is forbidden: exceeded quota: small"), None);
    }

    #[test]
    fn a_namespace_that_goes_is_no_refusal() {
        let error = |details: serde_json::Value| {
            let status =
                serde_json::json!({"status": "Failure", "code": 403, "message": "forbidden", "details": details});
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        let going =
            error(serde_json::json!({"causes": [{"reason": "NamespaceTerminating", "message": "", "field": ""}]}));
        assert_eq!(failure(&going), Failure::Ending);
        assert_eq!(failure(&error(serde_json::json!({}))), Failure::Refused);
    }
}
