//! Domain of OpenFunction 0.5 and 0.6, which has been gone since 0.7: how functions were found below one host. Never the Service of an ingress controller.

use super::parts;
use headgate_translate::{
    form::Form,
    kinds::ObjectMeta,
    schema::{Reader, Report},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// `core.openfunction.io` Domain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Domain {
    /// Name and namespace, which are its host.
    pub meta: ObjectMeta,
    /// Annotations of the Ingresses that are made.
    pub annotations: BTreeMap<String, String>,
    /// Their class.
    pub class: Option<String>,
}

/// Reads a Domain; what is wrong goes to the report.
pub(super) fn read(value: &Value, report: &Report) -> Domain {
    let mut domain = Domain { meta: parts::read_meta(value, report), ..Domain::default() };
    let mut top = Reader::new(value, report).fields();
    ["apiVersion", "kind", "metadata", "status"].into_iter().for_each(|key| top.skip(key));
    if let Some(ingress) = top.need("spec").and_then(|spec| spec.fields().need("ingress")) {
        let mut ingress = ingress.fields();
        // where the ingress controller is found: there is none here
        ingress.skip("service");
        domain.annotations = ingress.map("annotations", Form::ANY);
        domain.class = ingress.text("ingressClassName", Form::NAME);
    }
    domain
}
