//! What a cluster says of its objects: what watches deliver and everything else works on. Data only; never a client.

use super::decode::Content;
use headgate_config::Text;
use headgate_status::Folded;
use headgate_translate::{kinds::ObjectRef, schema::Problem};
use serde_json::Value;
use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// An object as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterObject {
    /// Its name.
    pub name: ObjectRef,
    /// The version of its kind in which it was read: what is said of it is written in the same, for others may not be served.
    pub version: &'static str,
    /// What it says; of one that cannot be read, the last version that could, if there was one.
    pub content: ClusterContent,
    /// `metadata.uid`.
    pub uid: Text,
    /// The object that controls it: the entry of `metadata.ownerReferences` with `controller: true`.
    pub owner: Option<Box<ObjectRef>>,
    /// `metadata.generation`; 0 for kinds that have none.
    pub generation: i64,
    /// `metadata.resourceVersion`, for writes that must not overwrite others.
    pub resource_version: String,
    /// `status` as it stands there, whoever wrote it; null for kinds whose status nobody here writes.
    pub status: Folded,
    /// Who has applied a part of its status; of Ingresses only, where an entry does not say it itself.
    pub appliers: Vec<String>,
    /// The whole of it but for `managedFields`, if it is one that we made (label `app.kubernetes.io/managed-by: headgate`): to see
    /// whether it still is as it should be.
    pub made: Option<Arc<Value>>,
    /// What is wrong with it, warnings included. An object with an error keeps the content that it had before.
    pub problems: Vec<Problem>,
}

/// What an object says.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterContent {
    /// A kind that routes or functions are made of.
    Known(Content),
    /// Another kind that is watched, whole but for `managedFields`: Deployments, Pods, parameters.
    Other(Arc<Value>),
    /// It could never be read.
    Unreadable,
}

/// Objects, each found by the name that it has itself: a name more for each would be a fifth of it.
#[derive(Debug, Default)]
pub struct ClusterObjects(HashSet<Known>);

#[derive(Debug)]
struct Known(Arc<ClusterObject>);

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl Borrow<ObjectRef> for Known {
    fn borrow(&self) -> &ObjectRef {
        &self.0.name
    }
}

impl ClusterObjects {
    /// The object of a name.
    pub fn get(&self, name: &ObjectRef) -> Option<&Arc<ClusterObject>> {
        self.0.get(name).map(|Known(object)| object)
    }

    /// Adds an object, and gives what was there of its name.
    pub fn insert(&mut self, object: Arc<ClusterObject>) -> Option<Arc<ClusterObject>> {
        self.0.replace(Known(object)).map(|Known(before)| before)
    }

    /// Takes the object of a name out.
    pub fn remove(&mut self, name: &ObjectRef) -> Option<Arc<ClusterObject>> {
        self.0.take(name).map(|Known(object)| object)
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ClusterObject>> {
        self.0.iter().map(|Known(object)| object)
    }

    /// Those of which another collection has none of the name.
    pub fn without<'o>(&'o self, other: &'o Self) -> impl Iterator<Item = &'o ObjectRef> {
        self.iter().map(|object| &object.name).filter(|name| other.get(name).is_none())
    }
}

impl FromIterator<Arc<ClusterObject>> for ClusterObjects {
    fn from_iter<I: IntoIterator<Item = Arc<ClusterObject>>>(objects: I) -> Self {
        let mut all = Self::default();
        objects.into_iter().for_each(|object| drop(all.insert(object)));
        all
    }
}

/// What happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectChange {
    /// It is new or changed.
    Upsert(Arc<ClusterObject>),
    /// It is gone.
    Remove(ObjectRef),
}

impl ObjectChange {
    /// The object's name.
    pub fn name(&self) -> &ObjectRef {
        match self {
            Self::Upsert(object) => &object.name,
            Self::Remove(name) => name,
        }
    }
}
