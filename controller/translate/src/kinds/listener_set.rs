//! ListenerSet of `gateway.networking.k8s.io`: listeners that somebody adds to a Gateway of somebody else.

use crate::{
    form::Form,
    kinds::{Listener, ObjectMeta, ParentRef, reference::GATEWAY_GROUP},
    schema::{Fields, Reader},
};

/// ListenerSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerSet {
    /// Metadata.
    pub meta: ObjectMeta,
    /// The Gateway, never with a section or a port.
    pub parent: ParentRef,
    /// Listeners; names are unique within the set only.
    pub listeners: Vec<Listener>,
}

impl ListenerSet {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        Self {
            meta,
            parent: spec.need("parentRef").map(|at| read_parent(&at)).unwrap_or_default(),
            listeners: spec.need("listeners").map(|at| Listener::read_list(&at)).unwrap_or_default(),
        }
    }
}

/// A ParentGatewayReference: group and kind have defaults.
fn read_parent(at: &Reader<'_>) -> ParentRef {
    let mut fields = at.fields();
    ParentRef {
        group: fields.name("group", Form::GROUP).unwrap_or_else(|| GATEWAY_GROUP.into()),
        kind: fields.name("kind", Form::KIND).unwrap_or_else(|| "Gateway".into()),
        namespace: fields.name("namespace", Form::LABEL),
        name: fields.need_name("name", Form::NAME),
        section: None,
        port: None,
    }
}
