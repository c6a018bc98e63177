//! Everything that the sources know now. A clone costs nothing, for it shares what is equal; never a copy of an object.

use crate::kinds::{
    BackendTLSPolicy, CERTIFICATES_GROUP, ClusterTrustBundle, ConfigMap, EXPERIMENTAL_GROUP, EndpointSlice,
    GATEWAY_GROUP, GRPCRoute, Gateway, GatewayClass, HEADGATE_GROUP, HTTPRoute, INGRESS_GROUP, Ingress, IngressClass,
    ListenerSet, Namespace, Object, ObjectRef, Pod, ReferenceGrant, ScalingPolicy, Secret, Service, TrafficPolicy,
    TransportRoute, XBackend,
};
use crate::{
    ingress::ServedIngress,
    parameters::{PARAMETERS_GROUP, PARAMETERS_KIND},
};
use headgate_config::{ColdArm, Probe, QueueBounds, RouteKind, Text, Wait};
use imbl::OrdMap;
use std::sync::Arc;

/// Namespace and name; the namespace is empty for kinds that have none.
pub type Key = (Text, Text);

/// All objects by kind, and what functions know of Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each map is named after its kind")]
pub struct Objects {
    pub gateway_classes: OrdMap<Key, Arc<GatewayClass>>,
    pub gateways: OrdMap<Key, Arc<Gateway>>,
    pub listener_sets: OrdMap<Key, Arc<ListenerSet>>,
    pub http_routes: OrdMap<Key, Arc<HTTPRoute>>,
    pub grpc_routes: OrdMap<Key, Arc<GRPCRoute>>,
    pub transport_routes: OrdMap<(RouteKind, Key), Arc<TransportRoute>>,
    pub reference_grants: OrdMap<Key, Arc<ReferenceGrant>>,
    pub backend_tls_policies: OrdMap<Key, Arc<BackendTLSPolicy>>,
    pub scaling_policies: OrdMap<Key, Arc<ScalingPolicy>>,
    pub ingresses: OrdMap<Key, Arc<Ingress>>,
    pub ingress_classes: OrdMap<Key, Arc<IngressClass>>,
    pub traffic_policies: OrdMap<Key, Arc<TrafficPolicy>>,
    pub x_backends: OrdMap<Key, Arc<XBackend>>,
    pub services: OrdMap<Key, Arc<Service>>,
    pub endpoint_slices: OrdMap<Key, Arc<EndpointSlice>>,
    pub pods: OrdMap<Key, Arc<Pod>>,
    /// What XBackends are as Services; made by [`crate::Translator`] and by nobody else.
    pub(crate) x_services: OrdMap<Key, Arc<Service>>,
    /// The selections of Pods ([`crate::selections::key`]) of which all Pods are known; all of them where
    /// this is `None`.
    pub known_selections: Option<OrdMap<Key, ()>>,
    pub secrets: OrdMap<Key, Arc<Secret>>,
    pub config_maps: OrdMap<Key, Arc<ConfigMap>>,
    pub trust_bundles: OrdMap<Key, Arc<ClusterTrustBundle>>,
    /// Whether the API server knows no ClusterTrustBundles, so that there can be none.
    pub lacks_trust_bundles: bool,
    pub namespaces: OrdMap<Key, Arc<Namespace>>,
    /// What becomes of Ingresses; made by [`crate::Translator`] and by nobody else.
    pub(crate) served_ingresses: OrdMap<Key, Arc<ServedIngress>>,
    /// Parameters of Gateways and classes: what is wrong with each, if anything is.
    pub parameters: OrdMap<ObjectRef, Option<String>>,
    /// Secrets whose newest version is of no use: why. What `secrets` has of one is the version before.
    pub unusable_secrets: OrdMap<Key, Text>,
    /// By (namespace, Service): what a function says of a Service that scales.
    pub traits: OrdMap<Key, ServiceTraits>,
    /// By (namespace, Service of a function): the Services of its revisions among which its requests are split, so that a route to
    /// the function's own Service does not loop through the gateway.
    pub aliases: OrdMap<Key, Vec<AliasArm>>,
}

/// What a function or a policy says of a Service that scales.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTraits {
    /// Requests at once per endpoint; 0 is no bound.
    pub concurrency: u32,
    /// The scale target, `namespace/name`.
    pub scales: Option<String>,
    /// Bounds of its queue.
    pub queue: QueueBounds,
    /// How long a request may wait.
    pub wait: Wait,
    /// What happens if it is cold and one arm of several.
    pub cold: ColdArm,
    /// How its endpoints are asked whether they are ready.
    pub probe: Probe,
}

/// One arm of an alias.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AliasArm {
    /// Name of a Service in the same namespace.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Its share of the sum of weights.
    pub weight: u32,
}

impl Objects {
    /// Adds an object, or takes it in place of an earlier version.
    pub fn insert(&mut self, object: Object) {
        let key = object.meta().key();
        match object {
            Object::GatewayClass(object) => drop(self.gateway_classes.insert(key, object)),
            Object::Gateway(object) => drop(self.gateways.insert(key, object)),
            Object::ListenerSet(object) => drop(self.listener_sets.insert(key, object)),
            Object::HTTPRoute(object) => drop(self.http_routes.insert(key, object)),
            Object::GRPCRoute(object) => drop(self.grpc_routes.insert(key, object)),
            Object::TLSRoute(object) => drop(self.transport_routes.insert((RouteKind::TLSRoute, key), object)),
            Object::TCPRoute(object) => drop(self.transport_routes.insert((RouteKind::TCPRoute, key), object)),
            Object::UDPRoute(object) => drop(self.transport_routes.insert((RouteKind::UDPRoute, key), object)),
            Object::ReferenceGrant(object) => drop(self.reference_grants.insert(key, object)),
            Object::BackendTLSPolicy(object) => drop(self.backend_tls_policies.insert(key, object)),
            Object::ScalingPolicy(object) => drop(self.scaling_policies.insert(key, object)),
            Object::Ingress(object) => drop(self.ingresses.insert(key, object)),
            Object::IngressClass(object) => drop(self.ingress_classes.insert(key, object)),
            Object::TrafficPolicy(object) => drop(self.traffic_policies.insert(key, object)),
            Object::XBackend(object) => drop(self.x_backends.insert(key, object)),
            Object::Pod(object) => drop(self.pods.insert(key, object)),
            Object::Service(object) => drop(self.services.insert(key, object)),
            Object::EndpointSlice(object) => drop(self.endpoint_slices.insert(key, object)),
            Object::Secret(object) => drop(self.secrets.insert(key, object)),
            Object::ConfigMap(object) => drop(self.config_maps.insert(key, object)),
            Object::ClusterTrustBundle(object) => drop(self.trust_bundles.insert(key, object)),
            Object::Namespace(object) => drop(self.namespaces.insert(key, object)),
        }
    }

    /// Removes an object; whether there was one.
    pub fn remove(&mut self, object: &ObjectRef) -> bool {
        let key = &(object.namespace.clone(), object.name.clone());
        let transport = |kind| (kind, key.clone());
        match (&*object.group, &*object.kind) {
            (GATEWAY_GROUP, "GatewayClass") => self.gateway_classes.remove(key).is_some(),
            (GATEWAY_GROUP, "Gateway") => self.gateways.remove(key).is_some(),
            (GATEWAY_GROUP, "ListenerSet") => self.listener_sets.remove(key).is_some(),
            (GATEWAY_GROUP, "HTTPRoute") => self.http_routes.remove(key).is_some(),
            (GATEWAY_GROUP, "GRPCRoute") => self.grpc_routes.remove(key).is_some(),
            (GATEWAY_GROUP, "TLSRoute") => self.transport_routes.remove(&transport(RouteKind::TLSRoute)).is_some(),
            (GATEWAY_GROUP, "TCPRoute") => self.transport_routes.remove(&transport(RouteKind::TCPRoute)).is_some(),
            (GATEWAY_GROUP, "UDPRoute") => self.transport_routes.remove(&transport(RouteKind::UDPRoute)).is_some(),
            (GATEWAY_GROUP, "ReferenceGrant") => self.reference_grants.remove(key).is_some(),
            (GATEWAY_GROUP, "BackendTLSPolicy") => self.backend_tls_policies.remove(key).is_some(),
            (HEADGATE_GROUP, "ScalingPolicy") => self.scaling_policies.remove(key).is_some(),
            (EXPERIMENTAL_GROUP, "XBackendTrafficPolicy") => self.traffic_policies.remove(key).is_some(),
            (PARAMETERS_GROUP, PARAMETERS_KIND) => self.parameters.remove(object).is_some(),
            (INGRESS_GROUP, "Ingress") => self.ingresses.remove(key).is_some(),
            (INGRESS_GROUP, "IngressClass") => self.ingress_classes.remove(key).is_some(),
            (EXPERIMENTAL_GROUP, "XBackend") => self.x_backends.remove(key).is_some(),
            ("", "Service") => self.services.remove(key).is_some(),
            ("", "Pod") => self.pods.remove(key).is_some(),
            ("discovery.k8s.io", "EndpointSlice") => self.endpoint_slices.remove(key).is_some(),
            ("", "Secret") => {
                let was_unusable = self.unusable_secrets.remove(key).is_some();
                self.secrets.remove(key).is_some() || was_unusable
            }
            ("", "ConfigMap") => self.config_maps.remove(key).is_some(),
            (CERTIFICATES_GROUP, "ClusterTrustBundle") => self.trust_bundles.remove(key).is_some(),
            ("", "Namespace") => self.namespaces.remove(key).is_some(),
            _ => false,
        }
    }

    /// An object of a kind: `Objects::get(&objects.services, "default", "hello")`.
    pub fn get<'m, T>(map: &'m OrdMap<Key, Arc<T>>, namespace: &str, name: &str) -> Option<&'m Arc<T>> {
        map.get(&(namespace.into(), name.into()))
    }

    /// A Service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        Self::get(&self.services, namespace, name)
    }

    /// Whether no authority can be another than in `other`.
    pub(crate) fn has_same_authorities(&self, other: &Self) -> bool {
        self.config_maps.ptr_eq(&other.config_maps)
            && self.trust_bundles.ptr_eq(&other.trust_bundles)
            && self.lacks_trust_bundles == other.lacks_trust_bundles
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.gateway_classes.len()
            + self.gateways.len()
            + self.listener_sets.len()
            + self.http_routes.len()
            + self.grpc_routes.len()
            + self.transport_routes.len()
            + self.reference_grants.len()
            + self.backend_tls_policies.len()
            + self.scaling_policies.len()
            + self.ingresses.len()
            + self.ingress_classes.len()
            + self.traffic_policies.len()
            + self.services.len()
            + self.endpoint_slices.len()
            + self.secrets.len()
            + self.config_maps.len()
            + self.trust_bundles.len()
            + self.namespaces.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
