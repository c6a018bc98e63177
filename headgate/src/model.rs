//! A cluster as a model: all objects that routes follow from, read once, and what would follow from them and from others laid over them. It asks no gateway and changes nothing.

use crate::{
    clock::now_ms,
    reach::{Reach, ground},
};
use futures_util::{StreamExt, stream};
use headgate_cluster::{
    kinds::{Kind, Reading},
    read::{self, Got},
};
use headgate_controller::{
    cluster::{
        Ground,
        outlook::{Outlook, outlook},
        referenced,
    },
    sources::{
        cluster::{ClusterContent, ClusterObject},
        decode::Content,
    },
};
use headgate_translate::{Objects, kinds::ObjectRef};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Secrets and ConfigMaps that are got at the same time.
const AT_ONCE: usize = 8;

type Known = BTreeMap<ObjectRef, Arc<ClusterObject>>;

/// The objects of a cluster, and what its operator decided.
pub struct Model {
    reach: Reach,
    ground: Ground,
    there: Known,
}

/// What would follow, and what it takes for granted.
pub struct Expected {
    /// What would follow.
    pub outlook: Outlook,
    /// Secrets and ConfigMaps that may not be read, and are taken for good.
    pub assumed: BTreeSet<ObjectRef>,
}

/// Endpoints decide nothing here, and there are many.
fn is_read(kind: &Kind) -> bool {
    match kind.reading {
        Reading::Whole => kind.kind != "EndpointSlice",
        Reading::Ours => matches!(kind.kind, "Deployment" | "Pod"),
        Reading::Referred | Reading::Scaled | Reading::Metadata => false,
    }
}

impl Model {
    /// Reads the cluster.
    ///
    /// # Errors
    /// A sentence, if a kind cannot be listed: what would follow without it would be wrong.
    pub async fn read(reach: Reach) -> Result<Self, String> {
        let ground = ground(&reach.controllers().await.unwrap_or_default());
        let looked = reach.look(None, |kind| is_read(kind) && (ground.ingress || !kind.is_asked_for)).await;
        let unread = crate::commands::status::unread(&looked);
        if !unread.is_empty() {
            return Err(unread.join("; "));
        }
        let there = looked.objects.into_iter().map(|object| (object.name.clone(), object)).collect();
        Ok(Self { reach, ground, there })
    }

    /// The objects of files over those of the cluster; those without a namespace are in `namespace`. Of kinds that nothing follows
    /// from nothing is taken.
    pub fn with(&self, values: Vec<Value>, namespace: &str) -> Known {
        let now = headgate_cluster::now();
        let mut known = self.there.clone();
        for value in values {
            let Some(name) = read::name_of(&value, namespace) else { continue };
            let before = known.get(&name);
            if let Some(object) = read::applied(value, &name, before.map(|object| &**object), now) {
                known.insert(name, Arc::new(object));
            }
        }
        known
    }

    /// The objects of the cluster.
    pub fn there(&self) -> Known {
        self.there.clone()
    }

    /// What would follow from these objects.
    pub async fn expect(&self, mut known: Known) -> Expected {
        let (found, assumed) = self.referred(&known).await;
        known.extend(found.into_iter().map(|object| (object.name.clone(), object)));
        let objects: Vec<_> = known.into_values().collect();
        Expected { outlook: outlook(self.ground.clone(), &objects, read::manifest, now_ms()), assumed }
    }

    /// The Secrets and ConfigMaps that objects refer to and that are not among them.
    async fn referred(&self, known: &Known) -> (Vec<Arc<ClusterObject>>, BTreeSet<ObjectRef>) {
        let mut objects = Objects::default();
        for object in known.values() {
            if let ClusterContent::Known(Content::Kubernetes(content)) = &object.content {
                objects.insert(content.clone());
            }
        }
        let names = referenced(&objects).into_iter().filter(|name| !known.contains_key(name));
        let got = names.map(|name| async move { (self.reach.get_object(&name).await, name) });
        let got: Vec<(Got, ObjectRef)> = stream::iter(got).buffered(AT_ONCE).collect().await;
        let (mut found, mut assumed) = (Vec::new(), BTreeSet::new());
        for (got, name) in got {
            match got {
                Got::There(object) => found.push(Arc::from(object)),
                Got::Missing => {}
                Got::Unknown => {
                    found.extend(read::stand_in(&name).map(Arc::new));
                    assumed.insert(name);
                }
            }
        }
        (found, assumed)
    }
}
