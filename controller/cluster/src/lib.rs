//! The Kubernetes API: watches, writes, leader. Never decides what is served.

pub mod apply;
pub mod authority;
mod discovery;
pub mod events;
pub mod kinds;
pub mod leader;
pub mod look;
mod object;
mod pace;
pub mod pods;
pub mod read;
mod said_once;
pub mod scale;
pub mod status;
pub mod tokens;
pub mod watches;

pub use kube::Client;
pub use status::StatusWriter;

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use std::path::PathBuf;

/// The longest wait for a connection.
const CONNECT_MOST: std::time::Duration = std::time::Duration::from_secs(5);

/// Which cluster, as kubectl names it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The context of the kubeconfig; its current one if not given.
    pub context: Option<String>,
    /// The kubeconfig; `$KUBECONFIG`, `~/.kube/config` or the cluster that this process runs in if not given.
    pub kubeconfig: Option<PathBuf>,
}

/// A client with the rights of the person who calls, and the namespace of the context.
///
/// # Errors
/// A sentence, if the kubeconfig cannot be read or has no such context.
pub async fn client_of(access: &Access) -> Result<(Client, String), String> {
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let config = match &access.kubeconfig {
        Some(path) => match Kubeconfig::read_from(path) {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| told(&error)),
            Err(error) => Err(told(&error)),
        },
        None if access.context.is_some() => Config::from_kubeconfig(&options).await.map_err(|error| told(&error)),
        None => Config::infer().await.map_err(|error| told(&error)),
    };
    let mut config = config?;
    config.connect_timeout = Some(CONNECT_MOST);
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|error| told(&error))?;
    Ok((client, namespace))
}

/// The time of objects that are made now.
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// What is wrong with a kubeconfig; its errors name their causes themselves.
fn told(error: &dyn std::error::Error) -> String {
    error.to_string()
}

/// A client of the cluster that this process runs in, or that the kubeconfig names. It tries nothing again by itself: whoever asks knows
/// how long that is worth it.
///
/// # Errors
/// If neither is there, or cannot be read.
pub async fn client() -> Result<Client, kube::Error> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.connect_timeout = Some(CONNECT_MOST);
    config.default_retry = false;
    Client::try_from(config)
}
