//! One look at a cluster, for people: every kind listed once, with the rights of who asks. It never watches, never writes, and tells what it could not read.

use crate::{
    discovery,
    kinds::{KINDS, Kind, Presence, Reading},
    leader::LEASE,
    object,
    status::with_causes,
};
use futures_util::{StreamExt, stream};
use headgate_controller::sources::cluster::ClusterObject;
use headgate_translate::kinds::ObjectRef;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, PartialObjectMeta},
};
use std::{sync::Arc, time::Duration};

/// Objects of one answer.
const PAGE: u32 = 500;
/// The longest wait for one answer.
const ANSWER_MOST: Duration = Duration::from_secs(20);
/// Kinds that are listed at the same time.
const AT_ONCE: usize = 6;

/// What was read.
#[derive(Debug, Default)]
pub struct Looked {
    /// The objects, in the order of their kinds.
    pub objects: Vec<Arc<ClusterObject>>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// A kind that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Which.
    pub kind: &'static Kind,
    /// Why, in the words of the API server.
    pub why: String,
    /// Whether it is a right that is missing.
    pub is_forbidden: bool,
}

impl Unread {
    /// As rights name it: `gateways.gateway.networking.k8s.io`.
    pub fn resource(&self) -> String {
        match self.kind.group {
            "" => self.kind.plural.to_owned(),
            group => format!("{}.{group}", self.kind.plural),
        }
    }
}

/// Lists all kinds that `wants` takes; those with a namespace in that one only, if one is given. Of a kind without a definition there
/// is nothing, and that is no fault.
pub async fn look(client: &Client, namespace: Option<&str>, wants: impl Fn(&Kind) -> bool) -> Looked {
    let wanted = KINDS.iter().filter(|kind| wants(kind));
    let lists = wanted.map(|kind| async move { (kind, list(client, kind, namespace).await) });
    let listed: Vec<_> = stream::iter(lists).buffered(AT_ONCE).collect().await;
    let mut looked = Looked::default();
    for (kind, result) in listed {
        match result {
            Ok(objects) => looked.objects.extend(objects),
            Err((why, is_forbidden)) => looked.unread.push(Unread { kind, why, is_forbidden }),
        }
    }
    looked
}

/// Labels of the Pods of controllers, as the chart makes them.
const CONTROLLERS: &str = "app.kubernetes.io/name=headgate,app.kubernetes.io/component=controller";
/// Where they are looked for if not all namespaces may be looked at.
const USUAL_NAMESPACE: &str = "headgate-system";
/// More Pods of controllers than anybody has.
const CONTROLLERS_MOST: u32 = 32;

/// The Pods of controllers, of all namespaces, or of `headgate-system` if only that may be looked at.
///
/// # Errors
/// In the words of the API server.
pub async fn controllers(client: &Client) -> Result<Vec<Pod>, String> {
    let params = ListParams::default().labels(CONTROLLERS).limit(CONTROLLERS_MOST);
    let everywhere = in_time(Api::<Pod>::all(client.clone()).list(&params)).await;
    let found = match everywhere {
        Err(Problem::Failed((_, true))) => {
            in_time(Api::<Pod>::namespaced(client.clone(), USUAL_NAMESPACE).list(&params)).await
        }
        other => other,
    };
    found.map(|list| list.items).map_err(Problem::into_text)
}

/// Who leads the controllers of a namespace; `None` if nobody does.
///
/// # Errors
/// In the words of the API server.
pub async fn leader(client: &Client, namespace: &str) -> Result<Option<String>, String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let lease = in_time(leases.get_opt(LEASE)).await.map_err(Problem::into_text)?;
    let holder = lease.and_then(|lease| lease.spec?.holder_identity);
    Ok(holder.filter(|holder| !holder.is_empty()))
}

pub(crate) async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Problem> {
    let late = || Problem::Failed((format!("no answer within {} s", ANSWER_MOST.as_secs()), false));
    tokio::time::timeout(ANSWER_MOST, answer).await.map_err(|_| late())?.map_err(Problem::of)
}

type Failed = (String, bool);

async fn list(
    client: &Client,
    kind: &'static Kind,
    namespace: Option<&str>,
) -> Result<Vec<Arc<ClusterObject>>, Failed> {
    if kind.presence == Presence::Enabled {
        return list_enabled(client, kind, namespace).await;
    }
    let first = kind.versions.first().copied().unwrap_or("v1");
    match list_version(client, kind, first, namespace).await {
        Err(Problem::NotFound) if kind.presence == Presence::Defined => match served(client, kind).await {
            Some(version) if version != first => {
                list_version(client, kind, version, namespace).await.or_else(Problem::unless_missing)
            }
            _ => Ok(Vec::new()),
        },
        other => other.or_else(Problem::unless_missing),
    }
}

/// In the best version that is there; with what stands for the kind, as its watch shows it.
async fn list_enabled(
    client: &Client,
    kind: &'static Kind,
    namespace: Option<&str>,
) -> Result<Vec<Arc<ClusterObject>>, Failed> {
    // first whether it is there: of what is not, nobody has the right
    let version = match in_time(discovery::enabled(client, kind)).await {
        Ok(Some(version)) => version,
        Ok(None) | Err(Problem::NotFound) => return Ok(Vec::new()),
        Err(Problem::Failed(failed)) => return Err(failed),
    };
    let mut objects = list_version(client, kind, version, namespace).await.or_else(Problem::unless_missing)?;
    objects.push(Arc::new(object::standing_for(&ObjectRef::all_of(kind.group, kind.kind))));
    Ok(objects)
}

/// The best version that is served: by its definition, or by trying where definitions may not be read.
async fn served(client: &Client, kind: &Kind) -> Option<&'static str> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = format!("{}.{}", kind.plural, kind.group);
    let asked = tokio::time::timeout(ANSWER_MOST, definitions.get_opt(&name)).await.ok()?;
    let is_served = match asked {
        Ok(definition) => definition?.spec.versions,
        Err(_) => return kind.versions.get(1).copied(),
    };
    let mut versions = kind.versions.iter().copied();
    versions.find(|wanted| is_served.iter().any(|version| version.served && version.name == *wanted))
}

/// Why an answer is none.
pub(crate) enum Problem {
    NotFound,
    Failed(Failed),
}

impl Problem {
    fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => Self::NotFound,
            kube::Error::Api(status) => Self::Failed((status.message.clone(), status.code == 403)),
            error => Self::Failed((with_causes(&error), false)),
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::NotFound => "not found".into(),
            Self::Failed((why, _)) => why,
        }
    }

    fn unless_missing(self) -> Result<Vec<Arc<ClusterObject>>, Failed> {
        match self {
            Self::NotFound => Ok(Vec::new()),
            Self::Failed(failed) => Err(failed),
        }
    }
}

async fn list_version(
    client: &Client,
    kind: &'static Kind,
    version: &'static str,
    namespace: Option<&str>,
) -> Result<Vec<Arc<ClusterObject>>, Problem> {
    let resource = kind.resource(version);
    let read = |object| Arc::new(object::read(kind, version, object, None));
    if kind.reading == Reading::Metadata {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource);
        let whole = |partial: PartialObjectMeta<DynamicObject>| {
            let mut object = DynamicObject::new("", &resource);
            object.metadata = partial.metadata;
            object
        };
        return Ok(pages(&api, kind).await?.into_iter().map(|partial| read(whole(partial))).collect());
    }
    let api: Api<DynamicObject> = match namespace.filter(|_| kind.is_namespaced()) {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok(pages(&api, kind).await?.into_iter().map(read).collect())
}

async fn pages<K>(api: &Api<K>, kind: &Kind) -> Result<Vec<K>, Problem>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    K: kube::Resource,
{
    let labels = (kind.reading == Reading::Ours).then(|| crate::kinds::OURS.to_owned());
    let mut params = ListParams { label_selector: labels, ..ListParams::default() }.limit(PAGE);
    let mut items = Vec::new();
    loop {
        let page = in_time(api.list(&params)).await?;
        items.extend(page.items);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(items);
        }
    }
}
