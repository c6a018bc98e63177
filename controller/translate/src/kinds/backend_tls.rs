//! BackendTLSPolicy: TLS to the endpoints of a Service.

use crate::{
    choices,
    form::Form,
    kinds::{ObjectMeta, ObjectReference},
    schema::{Fields, Reader},
};
use headgate_config::Text;
use std::collections::BTreeMap;

/// BackendTLSPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendTLSPolicy {
    /// Metadata.
    pub meta: ObjectMeta,
    /// What it applies to, in its own namespace.
    pub targets: Vec<PolicyTarget>,
    /// What is verified.
    pub validation: BackendValidation,
    /// Options of an implementation.
    pub options: BTreeMap<String, String>,
}

/// `targetRefs[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyTarget {
    /// Group.
    pub group: Text,
    /// Kind.
    pub kind: Text,
    /// Name.
    pub name: Text,
    /// Name of a port; all of them where none is written.
    pub section: Option<Text>,
}

/// `validation`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendValidation {
    /// Authorities; either these or `well_known`.
    pub authorities: Vec<ObjectReference>,
    /// Authorities that the machine knows.
    pub well_known: Option<WellKnownAuthorities>,
    /// SNI, and the name that is verified.
    pub hostname: String,
    /// Names of which one is verified instead.
    pub names: Vec<SubjectAltName>,
}

choices! {
    /// Authorities that need no object.
    WellKnownAuthorities { System = "System", }
}

/// `subjectAltNames[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectAltName {
    /// Which of the two it is.
    pub kind: SubjectAltNameKind,
    /// The host name or URI.
    pub value: String,
}

choices! {
    /// Types of names in certificates.
    SubjectAltNameKind { Hostname = "Hostname", Uri = "URI" }
}

impl BackendTLSPolicy {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        Self {
            meta,
            targets: spec.need("targetRefs").map(|at| PolicyTarget::read_any(&at)).unwrap_or_default(),
            validation: spec.need("validation").map(|at| BackendValidation::read(&at)).unwrap_or_default(),
            options: spec.map("options", Form::OPTION),
        }
    }
}

impl PolicyTarget {
    /// Of a policy whose targets have a group.
    pub(crate) fn read_any(at: &Reader<'_>) -> Vec<Self> {
        Self::read_list(at, |fields| fields.need_name("group", Form::GROUP))
    }

    /// Of a policy whose targets are Services: the group may be left out.
    pub(crate) fn read_services(at: &Reader<'_>) -> Vec<Self> {
        Self::read_list(at, |fields| fields.name("group", Form::GROUP).unwrap_or_default())
    }

    fn read_list(at: &Reader<'_>, group: fn(&mut Fields<'_>) -> Text) -> Vec<Self> {
        let elements = at.list(1..=16);
        let targets: Vec<Self> = elements.iter().map(|at| Self::read(at, group)).collect();
        for (index, target) in targets.iter().enumerate() {
            let same =
                |other: &&Self| (&other.group, &other.kind, &other.name) == (&target.group, &target.kind, &target.name);
            let clash =
                |other: &Self| other.section.is_some() != target.section.is_some() || other.section == target.section;
            if targets[..index].iter().filter(same).any(clash) {
                let remedy = "give each reference to this target a sectionName of its own, or keep one of them";
                elements[index].error("names a target a second time", remedy);
            }
        }
        targets
    }

    fn read(at: &Reader<'_>, group: fn(&mut Fields<'_>) -> Text) -> Self {
        let mut fields = at.fields();
        Self {
            group: group(&mut fields),
            kind: fields.need_name("kind", Form::KIND),
            name: fields.need_name("name", Form::NAME),
            section: fields.name("sectionName", Form::SUBDOMAIN),
        }
    }
}

impl BackendValidation {
    pub(crate) fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let has_list = fields.has("caCertificateRefs");
        let authorities = fields.get("caCertificateRefs").map(|at| at.list(1..=8)).unwrap_or_default();
        let validation = Self {
            authorities: authorities.iter().map(ObjectReference::read_local).collect(),
            well_known: fields
                .text("wellKnownCACertificates", Form::WELL_KNOWN)
                .map(|text| crate::schema::Choice::of(&text)),
            hostname: fields.need_text("hostname", Form::PRECISE_HOSTNAME),
            names: fields.each("subjectAltNames", 0..=5, SubjectAltName::read),
        };
        if has_list == validation.well_known.is_some() {
            let message = "needs exactly one of caCertificateRefs and wellKnownCACertificates";
            at.error(message, "write caCertificateRefs: with a ConfigMap, or wellKnownCACertificates: System");
        }
        validation
    }
}

impl SubjectAltName {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let kind: SubjectAltNameKind = fields.need("type").map(|at| at.choice()).unwrap_or_default();
        let (hostname, uri) = (fields.text("hostname", Form::HOSTNAME), fields.text("uri", Form::URI));
        let value = match (&kind, hostname, uri) {
            (SubjectAltNameKind::Hostname, Some(value), None) | (SubjectAltNameKind::Uri, None, Some(value)) => value,
            (SubjectAltNameKind::Unknown(_), ..) => String::new(),
            _ => {
                let field = if kind == SubjectAltNameKind::Uri { "uri" } else { "hostname" };
                at.error(
                    format!("type {} goes with {field} alone", kind.as_str()),
                    format!("write {field}: and no other name"),
                );
                String::new()
            }
        };
        Self { kind, value }
    }
}
