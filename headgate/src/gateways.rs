//! The gateways of a cluster as `routes` and `explain` ask them: which Gateways there are, and their Pods. It repeats what they say.

use crate::{
    commands::status::{sight, unread},
    reach::{AdminPod, ClusterArgs, Reach, ground},
};
use headgate_cluster::{kinds::Kind, look::Looked, pods::Unsaid};
use headgate_controller::{
    cluster::Ground,
    report::{GatewayRow, Report},
    sources::cluster::ClusterContent,
};
use serde::de::DeserializeOwned;

/// Pods of one Gateway that are asked until one answers.
const TRIES: usize = 3;
/// Pods that are asked for what only one of them knows.
const PODS_MOST: usize = 64;

/// Which Gateways of which cluster.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct GatewayArgs {
    /// Of a cluster: only this Gateway
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub gateway: Option<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl GatewayArgs {
    /// Whether a cluster is asked for.
    pub fn is_given(&self) -> bool {
        self.gateway.is_some() || self.cluster.context.is_some() || self.cluster.kubeconfig.is_some()
    }
}

/// The Gateways of a cluster that are asked for.
pub struct Fleet {
    /// The cluster.
    pub reach: Reach,
    /// What was read of it.
    pub looked: Looked,
    /// As its operator decided.
    pub ground: Ground,
    /// The Gateways, in order; never none.
    pub gateways: Vec<One>,
}

/// A Gateway, and those of its Pods that are ready.
pub struct One {
    /// `namespace/name`.
    pub name: String,
    pods: Vec<AdminPod>,
}

impl Fleet {
    /// Looks for them: `only_in` a namespace, if one is given.
    ///
    /// # Errors
    /// A sentence, if the cluster cannot be read or has no such Gateway.
    pub async fn find(
        args: &GatewayArgs,
        only_in: Option<&str>,
        wants: impl Fn(&Kind) -> bool,
    ) -> Result<Self, String> {
        let reach = Reach::to(&args.cluster).await?;
        // without the right to look for controllers, those of a new installation are assumed
        let ground = ground(&reach.controllers().await.unwrap_or_default());
        let wanted = |kind: &Kind| ["GatewayClass", "Gateway", "Pod"].contains(&kind.kind) || wants(kind);
        let named = args.gateway.as_deref().and_then(|name| name.split_once('/')).map(|(namespace, _)| namespace);
        let usual = named.or(only_in).unwrap_or(&reach.namespace).to_owned();
        let is_unread = |looked: &Looked| looked.unread.iter().any(|unread| unread.kind.kind != "GatewayClass");
        let mut looked = reach.look(None, wanted).await;
        if is_unread(&looked) {
            // who has rights in one namespace only
            looked = reach.look(Some(&usual), wanted).await;
        }
        if is_unread(&looked) {
            return Err(unread(&looked).join("; "));
        }
        let sight = sight(&looked, &ground, None);
        let rows = Report::of(&sight).gateways;
        let is_wanted =
            |row: &GatewayRow| match args.gateway.as_deref().map(|name| name.split_once('/').unwrap_or((&usual, name)))
            {
                Some(wanted) => wanted == (row.namespace.as_str(), row.name.as_str()),
                None => only_in.is_none_or(|namespace| namespace == row.namespace),
            };
        let gateways: Vec<One> = rows.iter().filter(|row| is_wanted(row)).map(|row| One::of(row, &looked)).collect();
        if gateways.is_empty() {
            let there: Vec<String> = rows.iter().map(|row| format!("{}/{}", row.namespace, row.name)).collect();
            let there = if there.is_empty() { "none at all".into() } else { there.join(", ") };
            let wanted = args.gateway.as_deref().map(|name| format!("Gateway {name}")).unwrap_or("a Gateway".into());
            return Err(format!(
                "{wanted} of the controller {} is not there; there is: {there}",
                sight.controller_name
            ));
        }
        Ok(Self { reach, looked, ground, gateways })
    }

    /// What one Pod of a Gateway shows on these pages, all of the same Pod, and its name.
    pub async fn ask<T: DeserializeOwned, const N: usize>(
        &self,
        of: &One,
        pages: [&str; N],
    ) -> Result<(String, [T; N]), Unsaid> {
        let mut last = Unsaid::Unreachable("none of its Pods is ready".into());
        'pods: for pod in of.pods.iter().take(TRIES) {
            let mut answers = Vec::new();
            for page in pages {
                match self.reach.ask(pod, page).await {
                    Ok(answer) => answers.push(answer),
                    Err(forbidden @ Unsaid::Forbidden(_)) => return Err(forbidden),
                    Err(why) => {
                        last = why;
                        continue 'pods;
                    }
                }
            }
            if let Ok(answers) = <[T; N]>::try_from(answers) {
                return Ok((pod.name.clone(), answers));
            }
        }
        Err(last)
    }

    /// What the first Pod shows that knows this page; `None` if none does.
    pub async fn ask_all(&self, page: &str) -> Result<Option<String>, Unsaid> {
        let pods: Vec<AdminPod> =
            self.gateways.iter().flat_map(|one| one.pods.iter().cloned()).take(PODS_MOST).collect();
        let mut failed = None;
        for answer in self.reach.get_each(&pods, page).await {
            match answer {
                Ok((200, body)) => return Ok(Some(body)),
                Ok(_) => {}
                Err(why) => failed = Some(why),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

impl One {
    fn of(row: &GatewayRow, looked: &Looked) -> Self {
        let ready = |name: &str| row.pods.iter().any(|pod| pod.ready && pod.name == name);
        let pods = looked.objects.iter().filter(|object| {
            object.name.kind == "Pod" && object.name.namespace == row.namespace && ready(&object.name.name)
        });
        let admin =
            |object: &std::sync::Arc<headgate_controller::sources::cluster::ClusterObject>| match &object.content {
                ClusterContent::Other(value) => Some(AdminPod::of(value)),
                _ => None,
            };
        Self { name: format!("{}/{}", row.namespace, row.name), pods: pods.filter_map(admin).collect() }
    }
}
