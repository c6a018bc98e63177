//! The features of Gateway API v1.7.0 of the five GATEWAY profiles, and which of them are claimed: one table. Never more than the program serves.

/// A feature of the conformance suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// As `status.supportedFeatures` of a GatewayClass writes it.
    pub name: &'static str,
    /// Whether its fields stand in the CustomResourceDefinitions of the experimental channel only.
    pub experimental: bool,
    /// Whether this program serves it.
    pub claimed: bool,
}

/// All of them, in the order of their names.
///
/// Source: `pkg/features` of Gateway API v1.7.0, without those of a mesh.
pub const FEATURES: &[Feature] = &[
    standard("BackendTLSPolicy", true),
    standard("BackendTLSPolicySANValidation", true),
    experimental("ClusterTrustBundle", true),
    standard("GRPCRoute", true),
    standard("GRPCRouteNamedRouteRule", true),
    standard("GRPCRouteRequestHeaderModifier", true),
    standard("Gateway", true),
    standard("GatewayAddressEmpty", true),
    experimental("GatewayAddressRoutability", true),
    experimental("GatewayAddressRoutabilityCluster", true),
    standard("GatewayBackendClientCertificate", true),
    standard("GatewayFrontendClientCertificateValidation", true),
    standard("GatewayFrontendClientCertificateValidationInsecureFallback", true),
    standard("GatewayHTTPListenerIsolation", true),
    standard("GatewayHTTPSListenerDetectMisdirectedRequests", true),
    standard("GatewayInfrastructure", true),
    experimental("GatewayListenerFilters", true),
    standard("GatewayPort8080", true),
    standard("GatewayRouteHostnameIntersectionPrecedence", true),
    standard("GatewayStaticAddresses", true),
    standard("HTTPRoute", true),
    standard("HTTPRoute303RedirectStatusCode", true),
    standard("HTTPRoute307RedirectStatusCode", true),
    standard("HTTPRoute308RedirectStatusCode", true),
    standard("HTTPRouteBackendProtocolH2C", true),
    standard("HTTPRouteBackendProtocolWebSocket", true),
    standard("HTTPRouteBackendRequestHeaderModification", true),
    standard("HTTPRouteBackendTimeout", true),
    standard("HTTPRouteBackendURLRewrite", true),
    standard("HTTPRouteCORS", true),
    experimental("HTTPRouteDestinationPortMatching", true),
    standard("HTTPRouteHostRewrite", true),
    standard("HTTPRouteMethodMatching", true),
    standard("HTTPRouteNamedRouteRule", true),
    standard("HTTPRouteParentRefPort", true),
    standard("HTTPRoutePathRedirect", true),
    standard("HTTPRoutePathRewrite", true),
    standard("HTTPRoutePortRedirect", true),
    standard("HTTPRouteQueryParamMatching", true),
    standard("HTTPRouteRequestMirror", true),
    standard("HTTPRouteRequestMultipleMirrors", true),
    standard("HTTPRouteRequestPercentageMirror", true),
    standard("HTTPRouteRequestTimeout", true),
    standard("HTTPRouteResponseHeaderModification", true),
    standard("HTTPRouteRetryCodes", true),
    standard("HTTPRouteRetryConnectionError", true),
    standard("HTTPRouteSchemeRedirect", true),
    standard("ListenerSet", true),
    standard("ReferenceGrant", true),
    standard("TCPRoute", true),
    standard("TLSRoute", true),
    standard("TLSRouteModeMixed", true),
    standard("TLSRouteModeTerminate", true),
    standard("UDPRoute", true),
];

/// What a cluster has that features need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ground {
    /// The definitions of the experimental channel.
    pub experimental: bool,
    /// That of Gateways of v1.7 or later.
    pub experimental_gateways: bool,
    /// ClusterTrustBundles.
    pub trust_bundles: bool,
}

/// The names of the claimed features, in their order; only of those whose fields and kinds are there.
pub fn claimed(ground: &Ground) -> impl Iterator<Item = &'static str> {
    let has = *ground;
    let can_be_tried = move |feature: &&Feature| match feature.name {
        "ClusterTrustBundle" => has.experimental && has.trust_bundles,
        "GatewayAddressRoutability" | "GatewayAddressRoutabilityCluster" | "GatewayListenerFilters" => {
            has.experimental_gateways
        }
        _ => has.experimental || !feature.experimental,
    };
    FEATURES.iter().filter(|feature| feature.claimed).filter(can_be_tried).map(|feature| feature.name)
}

const fn standard(name: &'static str, claimed: bool) -> Feature {
    Feature { name, experimental: false, claimed }
}

const fn experimental(name: &'static str, claimed: bool) -> Feature {
    Feature { name, experimental: true, claimed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_stand_once_in_the_order_of_their_names() {
        assert!(FEATURES.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn experimental_features_need_their_definitions() {
        let all = Ground { experimental: true, experimental_gateways: true, trust_bundles: true };
        let has = |ground: &Ground, name| claimed(ground).any(|claimed| claimed == name);
        assert!(FEATURES.iter().all(|feature| feature.claimed == has(&all, feature.name)));
        let older = Ground { experimental_gateways: false, ..all };
        assert!(has(&older, "HTTPRouteDestinationPortMatching") && !has(&older, "GatewayListenerFilters"));
        let bundleless = Ground { trust_bundles: false, ..all };
        assert!(has(&bundleless, "GatewayListenerFilters") && !has(&bundleless, "ClusterTrustBundle"));
        assert!(!has(&Ground::default(), "HTTPRouteDestinationPortMatching"));
        assert!(has(&Ground::default(), "HTTPRoute"));
    }
}
