//! ReferenceGrant: who may refer to what across namespaces.

use crate::{
    form::Form,
    kinds::{ObjectMeta, ObjectRef},
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

impl ReferenceGrant {
    /// Whether an object of one kind in a namespace may refer to another object, by this grant alone.
    pub fn allows(&self, from: (&str, &str, &str), to: &ObjectRef) -> bool {
        self.meta.namespace == to.namespace
            && self.from.iter().any(|f| (f.group.as_str(), f.kind.as_str(), f.namespace.as_str()) == from)
            && self.to.iter().any(|t| t.covers(to))
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
