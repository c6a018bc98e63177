//! Metadata that all objects share, and how one object is named.

use crate::{
    Key,
    form::Form,
    kinds::GATEWAY_GROUP,
    schema::{Fields, Reader},
};
use headgate_config::Text;
use serde::Serialize;
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// What of `metadata` is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Name.
    pub name: Text,
    /// Namespace; `default` where none is written, empty for kinds that have none.
    pub namespace: Text,
    /// Uid, empty where no API server gave one.
    pub uid: Text,
    /// Counts changes of the spec; 0 where no API server counts.
    pub generation: i64,
    /// `creationTimestamp` in seconds since 1970; 0 where there is none.
    pub created: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl ObjectMeta {
    /// Namespace and name: the key of an object among those of its kind.
    pub fn key(&self) -> Key {
        (self.namespace.clone(), self.name.clone())
    }

    /// Without labels and annotations, of an object of which nobody reads them: a map takes as much memory as the rest, and what `kubectl apply` notes is
    /// the object once more.
    pub(crate) fn slim(self) -> Self {
        Self { labels: BTreeMap::new(), annotations: BTreeMap::new(), ..self }
    }
}

/// One object of any kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Group of the API, empty for the core group.
    pub group: Cow<'static, str>,
    /// Kind.
    pub kind: Cow<'static, str>,
    /// Namespace, empty for kinds that have none.
    pub namespace: Text,
    /// Name.
    pub name: Text,
}

impl ObjectRef {
    /// Names an object.
    pub fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self { group: known(group), kind: known(kind), namespace: namespace.into(), name: name.into() }
    }

    /// Stands for a whole kind: an object of this name, which none can have, is shown while the API server knows the kind.
    pub fn all_of(group: &str, kind: &str) -> Self {
        Self::new(group, kind, "", "*")
    }

    /// Whether it is a Secret.
    pub fn is_secret(&self) -> bool {
        self.group.is_empty() && self.kind == "Secret"
    }
}

/// Groups and kinds of which there are thousands of objects: their names cost nothing.
fn known(text: &str) -> Cow<'static, str> {
    const KNOWN: [&str; 12] = [
        GATEWAY_GROUP,
        "discovery.k8s.io",
        "core.openfunction.io",
        "HTTPRoute",
        "GRPCRoute",
        "TLSRoute",
        "TCPRoute",
        "UDPRoute",
        "Service",
        "EndpointSlice",
        "Function",
        "",
    ];
    match KNOWN.into_iter().find(|known| *known == text) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(text.to_owned()),
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// Reads `apiVersion`, `kind` and `metadata` of an object. `namespaced` decides whether an absent namespace is `default`;
/// `name` is the form of its name.
pub(crate) fn read_meta(top: &mut Fields<'_>, namespaced: bool, name: Form) -> ObjectMeta {
    top.skip("apiVersion");
    top.skip("kind");
    top.skip("status");
    top.need("metadata").map(|at| metadata(&at, namespaced, name)).unwrap_or_default()
}

fn metadata(at: &Reader<'_>, namespaced: bool, name: Form) -> ObjectMeta {
    let mut fields = at.fields();
    for key in ["managedFields", "resourceVersion", "selfLink", "finalizers", "ownerReferences", "generateName"] {
        fields.skip(key);
    }
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "clusterName"] {
        fields.skip(key);
    }
    let written = fields.text("namespace", Form::LABEL);
    ObjectMeta {
        name: fields.need_text("name", name).into(),
        namespace: if namespaced { written.as_deref().unwrap_or("default").into() } else { Text::default() },
        uid: fields.text("uid", Form::ANY).unwrap_or_default().into(),
        generation: fields.number("generation", 0..=i64::MAX).unwrap_or_default(),
        created: fields.get("creationTimestamp").map(|at| timestamp(&at)).unwrap_or_default(),
        labels: fields.map("labels", Form::LABEL_VALUE),
        annotations: fields.map("annotations", Form::ANY),
    }
}

/// Seconds since 1970 of an RFC 3339 text.
fn timestamp(at: &Reader<'_>) -> i64 {
    match at.text(Form::ANY).parse::<jiff::Timestamp>() {
        Ok(time) => time.as_second(),
        Err(_) => {
            at.error("is not a time", "leave it out, or write it as 2026-01-31T12:00:00Z");
            0
        }
    }
}
