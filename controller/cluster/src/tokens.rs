//! Whose token a gateway shows: asked of the API server, which alone can say. Never keeps or prints a token.

use headgate_config::Redacted;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use ring::digest::{SHA256, digest};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// Who tokens must be meant for: a token that leaks from a gateway opens nothing else.
pub const AUDIENCE: &str = headgate_provision::TOKEN_AUDIENCE;
/// How long an answer holds: a reconnect of many gateways asks once for each.
const HOLDS: Duration = Duration::from_secs(60);
/// The longest wait for an answer.
const ANSWER_MOST: Duration = Duration::from_secs(5);
/// How many are asked for at once; others wait for their turn within the same time.
const ASKED_MOST: usize = 16;
/// Answers that are kept.
const KEPT_MOST: usize = 4_096;
/// What stands before the namespace in the name of a ServiceAccount's user.
const USER_PREFIX: &str = "system:serviceaccount:";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Namespace of the ServiceAccount.
    pub namespace: String,
    /// Name of the ServiceAccount.
    pub account: String,
    /// The Pod that the token is bound to.
    pub pod: String,
}

/// Why nobody knows whose it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// It is not valid here.
    #[error("{0}")]
    Invalid(String),
    /// It could not be asked.
    #[error("the API server could not be asked: {0}")]
    Unavailable(String),
}

/// By hash of the token: whose it is, and when that was said.
type Known = HashMap<[u8; 32], (Bearer, Instant)>;

/// Asks whose tokens are; clones share what they know.
#[derive(Clone)]
pub struct Tokens {
    reviews: Api<TokenReview>,
    known: Arc<Mutex<Known>>,
    turns: Arc<Semaphore>,
}

impl Tokens {
    /// Asks this API server.
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), known: Arc::default(), turns: Arc::new(Semaphore::new(ASKED_MOST)) }
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// If it is not valid, not for [`AUDIENCE`], not of a ServiceAccount or not bound to a Pod; or if nobody could be asked.
    pub async fn bearer(&self, token: &Redacted) -> Result<Bearer, Unknown> {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.reveal().as_bytes()).as_ref());
        if let Some(known) = self.known(&key, Instant::now()) {
            return Ok(known);
        }
        let spec = TokenReviewSpec { token: Some(token.reveal().to_owned()), audiences: Some(vec![AUDIENCE.into()]) };
        let answer = tokio::time::timeout(ANSWER_MOST, self.ask(spec)).await;
        let answer =
            answer.map_err(|_| Unknown::Unavailable(format!("no answer within {} s", ANSWER_MOST.as_secs())))?;
        let answer = answer.map_err(|error| Unknown::Unavailable(error.to_string()))?;
        let bearer = bearer(answer.status.unwrap_or_default()).map_err(Unknown::Invalid)?;
        self.keep(key, bearer.clone(), Instant::now());
        Ok(bearer)
    }

    async fn ask(&self, spec: TokenReviewSpec) -> Result<TokenReview, kube::Error> {
        // never closed
        let _turn = self.turns.acquire().await;
        let review = TokenReview { spec, ..TokenReview::default() };
        self.reviews.create(&PostParams::default(), &review).await
    }

    fn known(&self, key: &[u8; 32], now: Instant) -> Option<Bearer> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(_, at)| *at + HOLDS > now).map(|(bearer, _)| bearer.clone())
    }

    fn keep(&self, key: [u8; 32], bearer: Bearer, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| *at + HOLDS > now);
        if known.len() < KEPT_MOST {
            known.insert(key, (bearer, now));
        }
    }
}

fn bearer(status: TokenReviewStatus) -> Result<Bearer, String> {
    if status.authenticated != Some(true) {
        return Err(status.error.unwrap_or_else(|| "the token is not valid".into()));
    }
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(format!("the token is not for {AUDIENCE}"));
    }
    let user = status.user.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let account = name.strip_prefix(USER_PREFIX).and_then(|rest| rest.split_once(':'));
    let (namespace, account) = account.ok_or_else(|| format!("{name} is not a ServiceAccount"))?;
    let pod = user.extra.iter().flatten().find(|(name, _)| *name == POD_NAME).and_then(|(_, pods)| pods.first());
    let pod = pod.ok_or("the token is not bound to a Pod")?;
    Ok(Bearer { namespace: namespace.into(), account: account.into(), pod: pod.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(change: impl FnOnce(&mut Value)) -> TokenReviewStatus {
        let mut status = json!({"authenticated": true, "audiences": [AUDIENCE], "user": {
            "username": "system:serviceaccount:default:web-headgate", "extra": {POD_NAME: ["web-1"]}}});
        change(&mut status);
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn only_a_token_of_a_pod_for_us_is_taken() {
        let web = Bearer { namespace: "default".into(), account: "web-headgate".into(), pod: "web-1".into() };
        assert_eq!(bearer(status(|_| ())), Ok(web));
        let refused = |change: fn(&mut Value)| bearer(status(change)).unwrap_err();
        assert_eq!(refused(|status| status["authenticated"] = json!(false)), "the token is not valid");
        assert_eq!(
            refused(|status| status["audiences"] = json!(["other"])),
            "the token is not for headgate-controller"
        );
        assert_eq!(refused(|status| status["user"]["username"] = json!("jane")), "jane is not a ServiceAccount");
        assert_eq!(refused(|status| status["user"]["extra"] = json!({})), "the token is not bound to a Pod");
    }
}
