//! Which kinds are watched, and how each is read. Data only.

use headgate_translate::kinds::{CERTIFICATES_GROUP, EXPERIMENTAL_GROUP, GATEWAY_GROUP, INGRESS_GROUP, ObjectRef};
use kube::api::ApiResource;

/// What our own objects carry (label selector).
pub const OURS: &str = "app.kubernetes.io/managed-by=headgate";

/// What does not (label selector).
pub const NOT_OURS: &str = "app.kubernetes.io/managed-by!=headgate";

/// How objects of a kind are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All of them, whole.
    Whole,
    /// Only those that we made, whole.
    Ours,
    /// Names and versions of all; those that others refer to are got one by one.
    Referred,
    /// Those that are scaled as a policy says and that we did not make; of Pods theirs and those that XBackends select, without `spec`.
    Scaled,
    /// Metadata of all.
    Metadata,
}

/// Whether an API server knows a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Every one does.
    Always,
    /// If a CustomResourceDefinition defines it, which may be missing and come later.
    Defined,
    /// If its version has it, and whoever runs it has enabled it.
    Enabled,
}

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Group, empty for the core.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// As it stands in paths.
    pub plural: &'static str,
    /// Versions that can be read, the best first.
    pub versions: &'static [&'static str],
    /// How its objects are read.
    pub reading: Reading,
    /// Whether an API server knows it.
    pub presence: Presence,
    /// Whether its status is written here.
    pub is_told: bool,
    /// Whether it is watched only where an operator asks for it, who then gives the right.
    pub is_asked_for: bool,
}

impl Kind {
    /// `apiVersion` of its objects.
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// Whether only those of its objects are read that others refer to.
    pub fn is_by_reference(&self) -> bool {
        matches!(self.reading, Reading::Referred | Reading::Scaled)
    }

    /// Whether its objects are in namespaces.
    pub fn is_namespaced(&self) -> bool {
        !matches!(
            self.kind,
            "GatewayClass" | "IngressClass" | "Namespace" | "CustomResourceDefinition" | "ClusterTrustBundle"
        )
    }

    /// How it is addressed.
    pub fn resource(&self, version: &str) -> ApiResource {
        ApiResource {
            group: self.group.into(),
            version: version.into(),
            api_version: self.api_version(version),
            kind: self.kind.into(),
            plural: self.plural.into(),
        }
    }
}

const fn custom(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    versions: &'static [&'static str],
) -> Kind {
    let (reading, presence) = (Reading::Whole, Presence::Defined);
    Kind { group, kind, plural, versions, reading, presence, is_told: true, is_asked_for: false }
}

const fn untold(kind: Kind) -> Kind {
    Kind { is_told: false, ..kind }
}

const fn builtin(group: &'static str, kind: &'static str, plural: &'static str, reading: Reading) -> Kind {
    let (versions, presence): (&[_], _) = (&["v1"], Presence::Always);
    Kind { group, kind, plural, versions, reading, presence, is_told: false, is_asked_for: false }
}

const fn told(kind: Kind) -> Kind {
    Kind { is_told: true, ..kind }
}

const fn enabled(kind: Kind, versions: &'static [&'static str]) -> Kind {
    Kind { versions, presence: Presence::Enabled, ..kind }
}

const fn asked_for(kind: Kind) -> Kind {
    Kind { is_asked_for: true, ..kind }
}

/// The kinds, each once for each way of reading.
pub const KINDS: &[Kind] = &[
    custom(GATEWAY_GROUP, "GatewayClass", "gatewayclasses", &["v1", "v1beta1"]),
    custom(GATEWAY_GROUP, "Gateway", "gateways", &["v1", "v1beta1"]),
    custom(GATEWAY_GROUP, "ListenerSet", "listenersets", &["v1"]),
    custom(GATEWAY_GROUP, "HTTPRoute", "httproutes", &["v1", "v1beta1"]),
    custom(GATEWAY_GROUP, "GRPCRoute", "grpcroutes", &["v1", "v1alpha2"]),
    custom(GATEWAY_GROUP, "TLSRoute", "tlsroutes", &["v1"]),
    custom(GATEWAY_GROUP, "TCPRoute", "tcproutes", &["v1", "v1alpha2"]),
    custom(GATEWAY_GROUP, "UDPRoute", "udproutes", &["v1", "v1alpha2"]),
    untold(custom(GATEWAY_GROUP, "ReferenceGrant", "referencegrants", &["v1", "v1beta1"])),
    custom(GATEWAY_GROUP, "BackendTLSPolicy", "backendtlspolicies", &["v1", "v1alpha3"]),
    custom("core.openfunction.io", "Function", "functions", &["v1beta2", "v1beta1"]),
    custom("networking.openfunction.io", "Gateway", "gateways", &["v1alpha1"]),
    untold(custom("headgate.dev", "GatewayParameters", "gatewayparameters", &["v1alpha1"])),
    custom("headgate.dev", "ScalingPolicy", "scalingpolicies", &["v1alpha1"]),
    asked_for(told(builtin(INGRESS_GROUP, "Ingress", "ingresses", Reading::Whole))),
    asked_for(builtin(INGRESS_GROUP, "IngressClass", "ingressclasses", Reading::Whole)),
    custom(EXPERIMENTAL_GROUP, "XBackendTrafficPolicy", "xbackendtrafficpolicies", &["v1alpha1"]),
    custom(EXPERIMENTAL_GROUP, "XBackend", "xbackends", &["v1alpha1"]),
    builtin("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", Reading::Metadata),
    builtin("", "Namespace", "namespaces", Reading::Whole),
    builtin("", "Service", "services", Reading::Whole),
    builtin("discovery.k8s.io", "EndpointSlice", "endpointslices", Reading::Whole),
    builtin("", "Secret", "secrets", Reading::Referred),
    builtin("", "ConfigMap", "configmaps", Reading::Referred),
    builtin("", "ConfigMap", "configmaps", Reading::Ours),
    enabled(
        builtin(CERTIFICATES_GROUP, "ClusterTrustBundle", "clustertrustbundles", Reading::Whole),
        &["v1", "v1beta1", "v1alpha1"],
    ),
    builtin("", "ServiceAccount", "serviceaccounts", Reading::Ours),
    builtin("", "Pod", "pods", Reading::Ours),
    builtin("apps", "Deployment", "deployments", Reading::Ours),
    builtin("apps", "Deployment", "deployments", Reading::Scaled),
    builtin("apps", "StatefulSet", "statefulsets", Reading::Scaled),
    builtin("", "Pod", "pods", Reading::Scaled),
    builtin("policy", "PodDisruptionBudget", "poddisruptionbudgets", Reading::Ours),
];

/// How the kind of an object is addressed in the best of its versions, if it is one that is watched.
pub fn resource(object: &ObjectRef) -> Option<ApiResource> {
    let kind = of(object)?;
    kind.versions.first().map(|version| kind.resource(version))
}

/// Whether the status of an object is written here.
pub fn is_told(object: &ObjectRef) -> bool {
    of(object).is_some_and(|kind| kind.is_told)
}

/// How an object whose status is written here is addressed, in the version in which it was read.
pub fn status_resource(object: &ObjectRef, version: &str) -> Option<ApiResource> {
    of(object).filter(|kind| kind.is_told).map(|kind| kind.resource(version))
}

fn of(object: &ObjectRef) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.group == object.group && kind.kind == object.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_addressed_by_its_group() {
        let of = |group: &str, version| {
            status_resource(&ObjectRef::new(group, "Gateway", "ns", "web"), version).map(|it| it.api_version)
        };
        assert_eq!(of(GATEWAY_GROUP, "v1").as_deref(), Some("gateway.networking.k8s.io/v1"));
        assert_eq!(of(GATEWAY_GROUP, "v1beta1").as_deref(), Some("gateway.networking.k8s.io/v1beta1"));
        assert_eq!(
            of("networking.openfunction.io", "v1alpha1").as_deref(),
            Some("networking.openfunction.io/v1alpha1")
        );
        assert_eq!(of("networking.istio.io", "v1"), None);
    }

    #[test]
    fn what_has_no_status_of_ours_is_addressed_and_not_told() {
        let service = ObjectRef::new("", "Service", "ns", "web");
        assert_eq!(
            (resource(&service).map(|it| it.plural).as_deref(), status_resource(&service, "v1")),
            (Some("services"), None)
        );
        assert!(!is_told(&service) && !is_told(&ObjectRef::new(GATEWAY_GROUP, "ReferenceGrant", "ns", "a")));
    }

    #[test]
    fn ours_are_selected_by_the_label_that_they_get() {
        let (label, value) = headgate_translate::manifest::MANAGED_BY;
        assert_eq!((OURS, NOT_OURS), (&*format!("{label}={value}"), &*format!("{label}!={value}")));
    }
}
