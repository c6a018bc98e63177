//! A cluster as the commands reach it: by a kube context, with the rights of the person who calls. It decides nothing and writes nothing.

use crate::admin::parsed;
use futures_util::{StreamExt, stream};
use headgate_cluster::{
    Access, Client, client_of,
    kinds::Kind,
    look::{self, Looked},
    pods::{Unsaid, exchange},
    read::{self, Got},
};
use headgate_controller::cluster::Ground;
use headgate_translate::kinds::ObjectRef;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::PathBuf;

/// Where the admin port is if a Pod does not say.
const ADMIN_PORT: u16 = 9901;
/// Pods that are asked at the same time.
const AT_ONCE: usize = 8;

/// Which cluster.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ClusterArgs {
    /// Context of the kubeconfig; its current one if not given
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Kubeconfig; $KUBECONFIG or ~/.kube/config if not given
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// A cluster that is there.
pub struct Reach {
    client: Client,
    /// The namespace of the context.
    pub namespace: String,
}

/// A Pod of ours whose admin port can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminPod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// The image of its first container.
    pub image: String,
    /// `args` of its first container.
    pub args: Vec<String>,
    /// Its admin port.
    pub port: u16,
}

/// Runs what a command does in a cluster to its end.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map(|runtime| runtime.block_on(work)).map_err(|error| format!("no runtime: {error}"))
}

impl Reach {
    /// Connects; that the cluster answers is not known yet.
    pub async fn to(args: &ClusterArgs) -> Result<Self, String> {
        let access = Access { context: args.context.clone(), kubeconfig: args.kubeconfig.clone() };
        let (client, namespace) = client_of(&access).await?;
        Ok(Self { client, namespace })
    }

    /// Lists kinds once; see [`look::look`].
    pub async fn look(&self, namespace: Option<&str>, wants: impl Fn(&Kind) -> bool) -> Looked {
        look::look(&self.client, namespace, wants).await
    }

    /// The Pods of controllers.
    pub async fn controllers(&self) -> Result<Vec<AdminPod>, String> {
        let pods = look::controllers(&self.client).await?;
        Ok(pods.iter().filter_map(|pod| serde_json::to_value(pod).ok()).map(|pod| AdminPod::of(&pod)).collect())
    }

    /// One Secret or ConfigMap.
    pub async fn get_object(&self, name: &ObjectRef) -> Got {
        read::get(&self.client, name).await
    }

    /// Who leads the controllers of a namespace.
    pub async fn leader(&self, namespace: &str) -> Result<Option<String>, String> {
        look::leader(&self.client, namespace).await
    }

    /// The JSON of a page of each Pod, in order. Not more than a few are asked at the same time.
    pub async fn ask_each<T: DeserializeOwned>(&self, pods: &[AdminPod], page: &str) -> Vec<Result<T, Unsaid>> {
        stream::iter(pods).map(|pod| self.ask(pod, page)).buffered(AT_ONCE).collect().await
    }

    /// A page of each Pod with its status, in order.
    pub async fn get_each(&self, pods: &[AdminPod], page: &str) -> Vec<Result<(u16, String), Unsaid>> {
        stream::iter(pods).map(|pod| self.get(pod, page)).buffered(AT_ONCE).collect().await
    }

    /// The JSON of a page.
    pub async fn ask<T: DeserializeOwned>(&self, pod: &AdminPod, page: &str) -> Result<T, Unsaid> {
        match self.get(pod, page).await? {
            (200, body) => serde_json::from_str(&body)
                .map_err(|error| Unsaid::Unreachable(format!("{page} is not what this version knows: {error}"))),
            (_, body) => Err(Unsaid::Unreachable(body.trim().to_owned())),
        }
    }

    /// A page, with its status.
    pub async fn get(&self, pod: &AdminPod, page: &str) -> Result<(u16, String), Unsaid> {
        let request = format!("GET {page} HTTP/1.0\r\nhost: {}\r\n\r\n", pod.name);
        let answer = exchange(&self.client, &pod.namespace, &pod.name, pod.port, &request).await?;
        let answer = String::from_utf8_lossy(&answer);
        parsed(&answer).ok_or_else(|| Unsaid::Unreachable("what answers there is no HTTP server".into()))
    }
}

impl AdminPod {
    /// Of a Pod as the API server has it.
    pub fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let container = &pod["spec"]["containers"][0];
        let ports = container["ports"].as_array().into_iter().flatten();
        let admin = ports.filter(|port| port["name"] == "admin").find_map(|port| port["containerPort"].as_u64());
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        Self {
            namespace: text(&pod["metadata"]["namespace"]),
            name: text(&pod["metadata"]["name"]),
            ready: conditions.into_iter().any(is_ready) && pod["metadata"]["deletionTimestamp"].is_null(),
            image: text(&container["image"]),
            args: container["args"].as_array().into_iter().flatten().map(text).collect(),
            port: admin.and_then(|port| u16::try_from(port).ok()).unwrap_or(ADMIN_PORT),
        }
    }
}

/// What an operator decided for the cluster, by the flags of its controllers; that of a new installation where there is none.
pub fn ground(controllers: &[AdminPod]) -> Ground {
    let given = controllers.iter().find_map(|pod| crate::controller_ground(&pod.args));
    given.unwrap_or_else(|| {
        let usual = ["controller", "--image", ""].map(str::to_owned);
        crate::controller_ground(&usual).expect("these are all flags that a controller needs")
    })
}
