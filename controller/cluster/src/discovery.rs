//! Which kinds an API server has, where its version and whoever runs it decide that. Never what is defined by a CustomResourceDefinition.

use crate::kinds::Kind;
use kube::Client;

/// The best version in which the API server has a kind, as its discovery documents say, which everybody may read.
///
/// # Errors
/// If it does not answer.
pub async fn enabled(client: &Client, kind: &Kind) -> kube::Result<Option<&'static str>> {
    for version in kind.versions {
        match client.list_api_group_resources(&kind.api_version(version)).await {
            Ok(list) if list.resources.iter().any(|one| one.name == kind.plural) => return Ok(Some(version)),
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
