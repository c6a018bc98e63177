//! How kinds are addressed at the API server. Data only: which versions a server has is asked elsewhere.

use headgate_translate::kinds::{GATEWAY_GROUP, ObjectRef};
use kube::api::ApiResource;

/// Group, version, kind and plural of the kinds whose status is written here.
const KINDS: &[(&str, &str, &str, &str)] = &[
    (GATEWAY_GROUP, "v1", "GatewayClass", "gatewayclasses"),
    (GATEWAY_GROUP, "v1", "Gateway", "gateways"),
    (GATEWAY_GROUP, "v1", "ListenerSet", "listenersets"),
    (GATEWAY_GROUP, "v1", "HTTPRoute", "httproutes"),
    (GATEWAY_GROUP, "v1", "GRPCRoute", "grpcroutes"),
    (GATEWAY_GROUP, "v1", "TLSRoute", "tlsroutes"),
    (GATEWAY_GROUP, "v1", "TCPRoute", "tcproutes"),
    (GATEWAY_GROUP, "v1", "UDPRoute", "udproutes"),
    (GATEWAY_GROUP, "v1", "BackendTLSPolicy", "backendtlspolicies"),
    ("core.openfunction.io", "v1beta2", "Function", "functions"),
    ("networking.openfunction.io", "v1alpha1", "Gateway", "gateways"),
    ("headgate.dev", "v1alpha1", "ScalingPolicy", "scalingpolicies"),
];

/// How the kind of an object is addressed, if it is one whose status is written here.
pub fn api_resource(object: &ObjectRef) -> Option<ApiResource> {
    let is_it = |(group, _, kind, _): &&(&str, &str, &str, &str)| *group == object.group && *kind == object.kind;
    let (group, version, kind, plural) = KINDS.iter().find(is_it)?;
    let api_version = format!("{group}/{version}");
    Some(ApiResource {
        group: (*group).into(),
        version: (*version).into(),
        api_version,
        kind: (*kind).into(),
        plural: (*plural).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_addressed_by_its_group() {
        let of = |group: &str| api_resource(&ObjectRef::new(group, "Gateway", "ns", "web")).map(|it| it.api_version);
        assert_eq!(of(GATEWAY_GROUP).as_deref(), Some("gateway.networking.k8s.io/v1"));
        assert_eq!(of("networking.openfunction.io").as_deref(), Some("networking.openfunction.io/v1alpha1"));
        assert_eq!(of("networking.istio.io"), None);
    }
}
