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

/// The names of the claimed features, in their order; those of the experimental channel only where its definitions are installed, and
/// that of a kind that not every API server knows only where it does.
pub fn claimed(experimental_channel: bool, trust_bundles: bool) -> impl Iterator<Item = &'static str> {
    let can_be_tried = move |feature: &&Feature| {
        let is_there = trust_bundles || feature.name != "ClusterTrustBundle";
        feature.claimed && is_there && (experimental_channel || !feature.experimental)
    };
    FEATURES.iter().filter(can_be_tried).map(|feature| feature.name)
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
        let has = |channel, bundles, name| claimed(channel, bundles).any(|claimed| claimed == name);
        assert!(has(true, false, "HTTPRouteDestinationPortMatching"));
        assert!(!has(false, true, "HTTPRouteDestinationPortMatching"));
        assert!(has(true, true, "ClusterTrustBundle"));
        assert!(!has(true, false, "ClusterTrustBundle") && !has(false, true, "ClusterTrustBundle"));
    }
}
