//! The Kubernetes API: watches, writes, leader. Never decides what is served.

pub mod apply;
pub mod authority;
pub mod events;
pub mod kinds;
pub mod leader;
mod object;
mod pace;
mod said_once;
pub mod scale;
pub mod status;
pub mod tokens;
pub mod watches;

pub use kube::Client;
pub use status::StatusWriter;

/// The longest wait for a connection.
const CONNECT_MOST: std::time::Duration = std::time::Duration::from_secs(5);

/// A client of the cluster that this process runs in, or that the kubeconfig names. It tries nothing again by itself: whoever asks knows
/// how long that is worth it.
///
/// # Errors
/// If neither is there, or cannot be read.
pub async fn client() -> Result<Client, kube::Error> {
    let mut config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.connect_timeout = Some(CONNECT_MOST);
    config.default_retry = false;
    Client::try_from(config)
}
