//! What Pods of ours show on their admin port, through the API server: with the rights of who asks, and no other way in. Never more than it is allowed to take, or for longer.

use crate::status::with_causes;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, client::UpgradeConnectionError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest that one answer may take.
const ANSWER_MOST: Duration = Duration::from_secs(10);
/// The longest answer: the routes of a large Gateway.
const BYTES_MOST: u64 = 256 << 20;

/// Why a Pod does not say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsaid {
    /// The API server does not let this person ask.
    #[error("{0}")]
    Forbidden(String),
    /// It is not there, does not run, or does not answer.
    #[error("{0}")]
    Unreachable(String),
}

/// Sends `request` to a port of a Pod and gives all that comes back before the Pod closes the connection.
///
/// # Errors
/// If the API server does not allow it, or no whole answer comes within ten seconds.
pub async fn exchange(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
    request: &str,
) -> Result<Vec<u8>, Unsaid> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let answer = tokio::time::timeout(ANSWER_MOST, forwarded(&pods, namespace, pod, port, request)).await;
    answer.unwrap_or_else(|_| Err(Unsaid::Unreachable(format!("no answer within {} s", ANSWER_MOST.as_secs()))))
}

async fn forwarded(pods: &Api<Pod>, namespace: &str, pod: &str, port: u16, request: &str) -> Result<Vec<u8>, Unsaid> {
    let mut forwarder = pods.portforward(pod, &[port]).await.map_err(|error| refused(&error, namespace))?;
    let unreachable = |why: &dyn std::fmt::Display| Unsaid::Unreachable(why.to_string());
    let failed = forwarder.take_error(port);
    let mut stream = forwarder.take_stream(port).ok_or_else(|| unreachable(&"no stream"))?;
    stream.write_all(request.as_bytes()).await.map_err(|error| unreachable(&error))?;
    let mut answer = Vec::new();
    let read = (&mut stream).take(BYTES_MOST).read_to_end(&mut answer).await;
    drop(stream);
    forwarder.abort();
    match read {
        Ok(_) if !answer.is_empty() => Ok(answer),
        Ok(_) => {
            let said = match failed {
                Some(failed) => failed.await,
                None => None,
            };
            Err(Unsaid::Unreachable(said.unwrap_or_else(|| format!("nothing answers on port {port}"))))
        }
        Err(error) => Err(unreachable(&error)),
    }
}

fn forbidden(namespace: &str) -> Unsaid {
    Unsaid::Forbidden(format!("not allowed: that needs get and create on pods/portforward in namespace {namespace}"))
}

fn refused(error: &kube::Error, namespace: &str) -> Unsaid {
    let text = with_causes(error);
    match error {
        kube::Error::Api(status) if status.code == 403 => forbidden(namespace),
        // the answer to a handshake of a WebSocket has a status and no text
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) if status.as_u16() == 403 => {
            forbidden(namespace)
        }
        _ => Unsaid::Unreachable(text),
    }
}
