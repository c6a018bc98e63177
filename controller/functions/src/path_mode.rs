//! The path mode of OpenFunction 0.5 and 0.6: each function below one host, at `/namespace/name`, by the Ingresses that its controller made. Never a function's own hosts.
//!
//! One thing is not as it was, and nobody saw it: the Ingress leads to the function's own Service, not to one of Knative's, and so Host
//! stays what the client sent.

use crate::{kinds::Domain, route::SERVICE_PORT};
use headgate_config::Text;
use headgate_translate::{
    kinds::{Ingress, IngressBackend, IngressPath, IngressPort, IngressRule, ObjectMeta, PathType},
    schema::{FieldPath, Step},
};

/// Host as Knative needs it, in the Domain that OpenFunction brings along.
const KNATIVE_HOST: (&str, &str) = ("nginx.ingress.kubernetes.io/upstream-vhost", "$service_name.$namespace");

/// The Domain that counts: the first one, as OpenFunction took it.
pub fn first_domain<'d>(domains: impl Iterator<Item = &'d Domain>) -> Option<&'d Domain> {
    domains.min_by_key(|domain| domain.meta.key())
}

/// The Ingress by which a function is found below a Domain. `class` is the one it gets.
pub fn ingress(domain: &Domain, namespace: &Text, function: &Text, class: Option<Text>) -> Ingress {
    let mut annotations = domain.annotations.clone();
    if annotations.get(KNATIVE_HOST.0).is_some_and(|text| text == KNATIVE_HOST.1) {
        annotations.remove(KNATIVE_HOST.0);
    }
    let path = IngressPath {
        kind: PathType::Prefix,
        path: format!("/{namespace}/{function}(/|$)(.*)"),
        backend: IngressBackend::Service { name: function.clone(), port: IngressPort::Number(SERVICE_PORT) },
    };
    let host = format!("{}.{}", domain.meta.name, domain.meta.namespace);
    Ingress {
        meta: ObjectMeta {
            name: format!("{function}-path").into(),
            namespace: namespace.clone(),
            annotations,
            ..ObjectMeta::default()
        },
        class,
        rules: vec![IngressRule { host: Some(host), paths: vec![path] }],
        ..Ingress::default()
    }
}

/// Where in the Domain a field of such an Ingress comes from.
pub fn written_at(path: &FieldPath) -> FieldPath {
    let at = FieldPath::of("spec.ingress");
    match path.0.as_slice() {
        [Step::Key(metadata), Step::Key(annotations), Step::Key(key)]
            if metadata == "metadata" && annotations == "annotations" =>
        {
            at.key("annotations").key(key.clone())
        }
        [Step::Key(spec), Step::Key(class)] if spec == "spec" && class == "ingressClassName" => at.key(class.clone()),
        _ => at,
    }
}
