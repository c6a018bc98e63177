//! References between objects, and selectors of them: one shape for all kinds that have them.

use crate::{
    Key, choices,
    form::Form,
    kinds::{Filter, traffic_policy::EXPERIMENTAL_GROUP},
    schema::{FieldPath, Fields, Problem, Reader, Report},
    x_backends,
};
use headgate_config::Text;
use std::{borrow::Cow, collections::BTreeMap};

/// The group of the Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// `parentRefs[]` of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParentRef {
    /// Group, `gateway.networking.k8s.io` by default.
    pub group: Text,
    /// Kind, `Gateway` by default.
    pub kind: Text,
    /// Namespace; the route's own where none is written.
    pub namespace: Option<Text>,
    /// Name.
    pub name: Text,
    /// The listener, all that fit where none is written.
    pub section: Option<Text>,
    /// The port of listeners, any where none is written.
    pub port: Option<u16>,
}

impl ParentRef {
    /// A reference to a Gateway.
    pub fn gateway(namespace: &str, name: &str) -> Self {
        Self {
            group: GATEWAY_GROUP.into(),
            kind: "Gateway".into(),
            namespace: Some(namespace.into()),
            name: name.into(),
            section: None,
            port: None,
        }
    }

    /// Whether it names a Gateway.
    pub(crate) fn is_gateway(&self) -> bool {
        self.group == GATEWAY_GROUP && self.kind == "Gateway"
    }

    /// Whether it names a ListenerSet.
    pub(crate) fn is_listener_set(&self) -> bool {
        self.group == GATEWAY_GROUP && self.kind == "ListenerSet"
    }

    /// Namespace and name of the parent of a route in `namespace`.
    pub(crate) fn key(&self, namespace: &Text) -> Key {
        (self.namespace.clone().unwrap_or_else(|| namespace.clone()), self.name.clone())
    }

    pub(crate) fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            group: fields.name("group", Form::GROUP).unwrap_or_else(|| GATEWAY_GROUP.into()),
            kind: fields.name("kind", Form::KIND).unwrap_or_else(|| "Gateway".into()),
            namespace: fields.name("namespace", Form::LABEL),
            name: fields.need_name("name", Form::NAME),
            section: fields.name("sectionName", Form::SUBDOMAIN),
            port: fields.port("port"),
        }
    }

    /// `spec.parentRefs` with the rules of the API on several references to one parent.
    pub(crate) fn read_list(spec: &mut Fields<'_>, report: &Report) -> Vec<Self> {
        let parents = spec.each("parentRefs", 0..=32, Self::read);
        let path = spec.at().path().key("parentRefs");
        for (index, parent) in parents.iter().enumerate() {
            if let Some(message) = parents[..index].iter().find_map(|earlier| parent.clashes_with(earlier)) {
                let remedy = "give each reference to this parent another sectionName or port, or keep one of them";
                report.add(Problem::error(path.index(index), message, remedy));
            }
        }
        parents
    }

    fn clashes_with(&self, other: &Self) -> Option<&'static str> {
        let parent = |p: &Self| (p.group.clone(), p.kind.clone(), p.namespace.clone(), p.name.clone());
        if parent(self) != parent(other) {
            return None;
        }
        if self.section.is_some() != other.section.is_some() || self.port.is_some() != other.port.is_some() {
            return Some(
                "names a parent that another reference names too, and only one of them has a sectionName or port",
            );
        }
        (self == other).then_some("is the same reference as another one")
    }
}

/// A reference to what serves requests, without weight and filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendRef {
    /// Group, the core group by default.
    pub group: Text,
    /// Kind, `Service` by default.
    pub kind: Text,
    /// Namespace; the route's own where none is written.
    pub namespace: Option<Text>,
    /// Name.
    pub name: Text,
    /// Port; always there for a Service.
    pub port: Option<u16>,
}

impl BackendRef {
    /// A reference to a Service in the route's namespace.
    pub fn service(name: &str, port: u16) -> Self {
        Self { group: Text::default(), kind: "Service".into(), namespace: None, name: name.into(), port: Some(port) }
    }

    /// Whether it names a Service of the core group.
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }

    /// Whether it names an XBackend.
    pub fn is_x_backend(&self) -> bool {
        self.group == EXPERIMENTAL_GROUP && self.kind == "XBackend"
    }

    /// The name of the Service that it names, or that the XBackend becomes; `None` for what cannot serve.
    pub(crate) fn service_name(&self) -> Option<Cow<'_, str>> {
        if self.is_x_backend() {
            return Some(Cow::Owned(x_backends::service_name(&self.name)));
        }
        self.is_service().then(|| Cow::Borrowed(self.name.as_str()))
    }

    pub(crate) fn read(at: &Reader<'_>) -> Self {
        Self::read_fields(&mut at.fields())
    }

    pub(crate) fn read_fields(fields: &mut Fields<'_>) -> Self {
        let backend = Self {
            group: fields.name("group", Form::GROUP).unwrap_or_default(),
            kind: fields.name("kind", Form::KIND).unwrap_or_else(|| "Service".into()),
            namespace: fields.name("namespace", Form::LABEL),
            name: fields.need_name("name", Form::NAME),
            port: fields.port("port"),
        };
        if backend.is_service() && !fields.has("port") {
            fields.at().error("names a Service without a port", "write port: with the port number of the Service");
        }
        if backend.is_x_backend() && fields.has("port") {
            fields.at().error("names an XBackend with a port", "leave out port");
        }
        backend
    }
}

/// `backendRefs[]` of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightedBackend {
    /// What serves.
    pub backend: BackendRef,
    /// Share of the sum of weights, 0 to 1,000,000; 1 by default.
    pub weight: u32,
    /// Applied to what goes to this backend.
    pub filters: Vec<Filter>,
}

impl WeightedBackend {
    /// One of a route that has no filters.
    pub(crate) fn read_plain(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self { backend: BackendRef::read_fields(&mut fields), weight: read_weight(&mut fields), filters: Vec::new() }
    }

    pub(crate) fn read(at: &Reader<'_>, grpc: bool) -> Self {
        let mut fields = at.fields();
        Self {
            backend: BackendRef::read_fields(&mut fields),
            weight: read_weight(&mut fields),
            filters: Filter::read_list(&mut fields, grpc),
        }
    }
}

fn read_weight(fields: &mut Fields<'_>) -> u32 {
    fields.number("weight", 0..=1_000_000).map_or(1, |weight| u32::try_from(weight).unwrap_or_default())
}

/// A reference to an object that holds a certificate or an authority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectReference {
    /// Group.
    pub group: Text,
    /// Kind.
    pub kind: Text,
    /// Namespace; the referring object's own where none is written.
    pub namespace: Option<Text>,
    /// Name.
    pub name: Text,
}

impl ObjectReference {
    /// A SecretObjectReference: group and kind have defaults.
    pub(crate) fn read_secret(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            group: fields.name("group", Form::GROUP).unwrap_or_default(),
            kind: fields.name("kind", Form::KIND).unwrap_or_else(|| "Secret".into()),
            namespace: fields.name("namespace", Form::LABEL),
            name: fields.need_name("name", Form::NAME),
        }
    }

    /// An ObjectReference: group and kind are written.
    pub(crate) fn read_full(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            group: fields.need_name("group", Form::GROUP),
            kind: fields.need_name("kind", Form::KIND),
            namespace: fields.name("namespace", Form::LABEL),
            name: fields.need_name("name", Form::NAME),
        }
    }

    /// A LocalObjectReference: group and kind are written, and there is no namespace.
    pub(crate) fn read_local(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            group: fields.need_name("group", Form::GROUP),
            kind: fields.need_name("kind", Form::KIND),
            namespace: None,
            name: fields.need_name("name", Form::NAME),
        }
    }
}

/// A label selector; all of it must hold, and an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// Labels with these values.
    pub labels: BTreeMap<String, String>,
    /// Other requirements.
    pub requirements: Vec<Requirement>,
}

/// `matchExpressions[]` of a selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Key of a label.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
    /// Of which values.
    pub values: Vec<String>,
}

choices! {
    /// What must hold of a label.
    Operator { In = "In", NotIn = "NotIn", Exists = "Exists", DoesNotExist = "DoesNotExist" }
}

impl LabelSelector {
    /// Whether labels are selected; a requirement of a later version selects nothing.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.requirements.iter().all(|requirement| requirement.holds(labels.get(&requirement.key)))
    }

    pub(crate) fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            labels: fields.map("matchLabels", Form::LABEL_VALUE),
            requirements: fields.each("matchExpressions", 0..=usize::MAX, Requirement::read),
        }
    }
}

impl Requirement {
    fn holds(&self, value: Option<&String>) -> bool {
        match &self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Unknown(_) => false,
        }
    }

    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            key: fields.need_text("key", Form::ANY),
            operator: fields.need("operator").map(|at| at.choice()).unwrap_or_default(),
            values: fields.texts("values", 0..=usize::MAX, Form::ANY),
        }
    }
}

/// Reports each element whose `key` an earlier one has: lists that are maps in the API.
pub(crate) fn refuse_repeats<K: PartialEq + std::fmt::Display>(
    report: &Report,
    path: &FieldPath,
    keys: impl Iterator<Item = K>,
    field: &str,
) {
    let mut seen: Vec<K> = Vec::new();
    for (index, key) in keys.enumerate() {
        if seen.contains(&key) {
            let message = format!("{field} {key} stands here a second time");
            report.add(Problem::error(path.index(index), message, format!("keep one element of each {field}")));
        }
        seen.push(key);
    }
}
