//! The Kubernetes API: watches, writes, leader. Never decides what is served.

pub mod apply;
pub mod authority;
pub mod events;
pub mod kinds;
pub mod leader;
mod object;
pub mod resource;
mod said_once;
pub mod status;
pub mod tokens;
pub mod watches;

pub use kube::Client;
pub use status::StatusWriter;

/// A client of the cluster that this process runs in, or that the kubeconfig names.
///
/// # Errors
/// If neither is there, or cannot be read.
pub async fn client() -> Result<Client, kube::Error> {
    Client::try_default().await
}
