//! ReferenceGrant: who may refer to what across namespaces.

use crate::{
    form::Form,
    kinds::{GATEWAY_GROUP, ObjectMeta, ObjectRef},
    schema::{Fields, Reader},
};

/// ReferenceGrant. It stands in the namespace of what is referred to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceGrant {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Who may refer.
    pub from: Vec<GrantFrom>,
    /// To what.
    pub to: Vec<GrantTo>,
}

/// `from[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantFrom {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// `to[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantTo {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// One object, or all of the kind.
    pub name: Option<String>,
}

/// Whose reference it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'h> {
    pub group: &'h str,
    pub kind: &'h str,
    pub namespace: &'h str,
}

impl<'h> Holder<'h> {
    /// An object of the group of the Gateway API itself.
    pub fn new(kind: &'h str, namespace: &'h str) -> Self {
        Self { group: GATEWAY_GROUP, kind, namespace }
    }
}

impl ReferenceGrant {
    /// Whether an object may refer to another one, by this grant alone.
    pub(crate) fn allows(&self, from: Holder<'_>, to: &ObjectRef) -> bool {
        let is_it = |one: &GrantFrom| {
            (one.group.as_str(), one.kind.as_str(), one.namespace.as_str()) == (from.group, from.kind, from.namespace)
        };
        self.meta.namespace == to.namespace && self.from.iter().any(is_it) && self.to.iter().any(|t| t.covers(to))
    }

    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        let from = spec.need("from").map(|at| at.list(1..=16)).unwrap_or_default();
        let to = spec.need("to").map(|at| at.list(1..=16)).unwrap_or_default();
        Self { meta, from: from.iter().map(GrantFrom::read).collect(), to: to.iter().map(GrantTo::read).collect() }
    }
}

impl GrantFrom {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            group: fields.need_text("group", Form::GROUP),
            kind: fields.need_text("kind", Form::KIND),
            namespace: fields.need_text("namespace", Form::LABEL),
        }
    }
}

impl GrantTo {
    fn covers(&self, to: &ObjectRef) -> bool {
        self.group == to.group && self.kind == to.kind && self.name.as_ref().is_none_or(|name| *name == to.name)
    }

    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            group: fields.need_text("group", Form::GROUP),
            kind: fields.need_text("kind", Form::KIND),
            name: fields.text("name", Form::NAME),
        }
    }
}
