//! The authority of the stream, kept in one Secret that all controllers share. Never prints a key, and never writes one anywhere else.

use crate::status::with_causes;
use headgate_config::Redacted;
use headgate_stream::authority::Material;
use headgate_translate::manifest::MANAGED_BY;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// Name of the Secret, in the namespace of the controller.
pub const SECRET: &str = "headgate-stream";
/// The longest that all of it takes.
const ALL_MOST: Duration = Duration::from_secs(15);
/// Another controller may be faster this often.
const TRIES: usize = 5;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The API server refused, or was not there.
    #[error("Secret {SECRET}: {}", with_causes(.0))]
    Api(#[from] kube::Error),
    /// No certificate can be made.
    #[error("a certificate for the stream: {0}")]
    Material(#[from] headgate_stream::authority::AuthorityError),
    /// Others wrote it each time.
    #[error("Secret {SECRET}: written by others {TRIES} times in a row")]
    Contended,
    /// The API server does not answer.
    #[error("Secret {SECRET}: no answer within {} s", ALL_MOST.as_secs())]
    Late,
}

/// Reads the authority, renews what is due, and stores what is new: to be called at start and then about once an hour. `names` are
/// the DNS names by which gateways call the controller.
///
/// # Errors
/// If the Secret can be neither read nor written, or no certificate can be made.
pub async fn authority(
    client: &Client,
    namespace: &str,
    names: &[String],
    now: SystemTime,
) -> Result<Material, AuthorityError> {
    let all = kept(client, namespace, names, now);
    tokio::time::timeout(ALL_MOST, all).await.unwrap_or(Err(AuthorityError::Late))
}

async fn kept(client: &Client, namespace: &str, names: &[String], now: SystemTime) -> Result<Material, AuthorityError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for _ in 0..TRIES {
        let stored = secrets.get_opt(SECRET).await?;
        let held = stored.as_ref().and_then(|secret| Material::from_data(&data(secret)));
        let Some(renewed) = Material::renewed(held.as_ref(), names, now)? else {
            match held {
                Some(held) => return Ok(held),
                None => continue,
            }
        };
        let written = match &stored {
            Some(before) => {
                let next = secret(namespace, &renewed, before.metadata.resource_version.clone());
                secrets.replace(SECRET, &PostParams::default(), &next).await
            }
            None => secrets.create(&PostParams::default(), &secret(namespace, &renewed, None)).await,
        };
        match written {
            Ok(_) => return Ok(renewed),
            // another controller was faster, and its authority is as good
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AuthorityError::Contended)
}

fn data(secret: &Secret) -> BTreeMap<String, Redacted> {
    let text = |bytes: &ByteString| Redacted::new(String::from_utf8_lossy(&bytes.0).into_owned());
    secret.data.iter().flatten().map(|(name, bytes)| (name.clone(), text(bytes))).collect()
}

fn secret(namespace: &str, material: &Material, version: Option<String>) -> Secret {
    let bytes = |text: &Redacted| ByteString(text.reveal().as_bytes().to_vec());
    let labels = [MANAGED_BY, ("app.kubernetes.io/component", "controller")];
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.into()),
            namespace: Some(namespace.into()),
            labels: Some(labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect()),
            resource_version: version,
            ..ObjectMeta::default()
        },
        data: Some(material.to_data().iter().map(|(name, text)| (name.clone(), bytes(text))).collect()),
        ..Secret::default()
    }
}
