//! Leaders and tokens against a real API server. Without one they do nothing, and say so; `e2e/cluster/in cargo test -p headgate-cluster --test election` gives them one. They leave their namespaces behind.

use headgate_cluster::{
    Client,
    leader::{Leader, Leading},
    tokens::{AUDIENCE, Bearer, Tokens, Unknown},
};
use headgate_config::Redacted;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, Pod, ServiceAccount},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fmt::Debug, time::Duration};

/// Longer than a Lease holds.
const LIMIT: Duration = Duration::from_secs(30);
/// A Lease that was released is taken long before it would have run out.
const SOON: Duration = Duration::from_secs(8);

async fn ground(namespace: &str) -> Option<Client> {
    if std::env::var_os("KUBECONFIG").is_none() || std::env::var_os("CLUSTER").is_none() {
        println!("skipped: not in a cluster of e2e/cluster");
        return None;
    }
    let client = headgate_cluster::client().await.expect("a client");
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    apply(&Api::<Namespace>::all(client.clone()), namespace, &body).await;
    Some(client)
}

async fn apply<K>(api: &Api<K>, name: &str, body: &Value) -> K
where
    K: Resource + Clone + DeserializeOwned + Debug + Serialize,
{
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(body)).await.expect("it is taken")
}

/// Whether this one leads before the limit.
async fn led_within(limit: Duration, leading: &mut Leading) -> bool {
    let led = async {
        while !leading.is_now() {
            leading.changed().await;
        }
    };
    tokio::time::timeout(limit, led).await.is_ok()
}

#[tokio::test]
async fn one_leads_and_hands_over_when_it_ends() {
    let Some(client) = ground("election").await else { return };
    let first = Leader::start(client.clone(), "election", "first");
    let mut leads = first.leading();
    assert!(led_within(LIMIT, &mut leads).await, "a Lease of an earlier run has run out by then");
    let second = Leader::start(client.clone(), "election", "second");
    let mut waits = second.leading();
    let both = led_within(Duration::from_secs(3), &mut waits).await;
    assert!(!both && leads.is_now(), "never two");
    first.release().await;
    assert!(led_within(SOON, &mut waits).await, "the second takes over at once");
    second.release().await;
}

#[tokio::test]
async fn a_token_says_which_pod_shows_it_if_it_is_for_us() {
    const NAMESPACE: &str = "tokens";
    let Some(client) = ground(NAMESPACE).await else { return };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let body = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}});
    apply(&accounts, "web", &body).await;
    let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1"}, "spec": {"serviceAccountName": "web",
        "nodeName": "nowhere", "containers": [{"name": "web", "image": "none"}]}});
    let pod = apply(&Api::<Pod>::namespaced(client.clone(), NAMESPACE), "web-1", &body).await;
    let token = async |audience: &str, is_bound: bool| {
        let bound = BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some("web-1".into()),
            uid: pod.uid(),
        };
        let spec = TokenRequestSpec {
            audiences: vec![audience.into()],
            bound_object_ref: is_bound.then_some(bound),
            expiration_seconds: None,
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts.create_token_request("web", &PostParams::default(), &request).await.expect("a token");
        Redacted::new(answer.status.expect("a status").token)
    };
    let tokens = Tokens::new(client.clone());
    let bearer = Bearer { namespace: NAMESPACE.into(), account: "web".into(), pod: "web-1".into() };
    let good = token(AUDIENCE, true).await;
    assert_eq!(tokens.bearer(&good).await, Ok(bearer.clone()));
    assert_eq!(tokens.bearer(&good).await, Ok(bearer), "from memory too");
    let refused = async |token: Redacted| matches!(tokens.bearer(&token).await, Err(Unknown::Invalid(_)));
    assert!(refused(token("somebody-else", true).await).await);
    assert!(refused(token(AUDIENCE, false).await).await, "not bound to a Pod");
    assert!(refused(Redacted::new("nonsense".into())).await);
}
