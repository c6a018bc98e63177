//! From a JSON value to one of our kinds. An object with errors is refused as a whole, as an API server would.

use crate::{
    form::Form,
    kinds::{
        BackendTLSPolicy, CERTIFICATES_GROUP, ClusterTrustBundle, ConfigMap, EndpointSlice, GRPCRoute, Gateway,
        GatewayClass, HTTPRoute, INGRESS_GROUP, Ingress, IngressClass, ListenerSet, Namespace, ObjectMeta, ObjectRef,
        Pod, ReferenceGrant, ScalingPolicy, Secret, Service, TrafficPolicy, TransportRoute, XBackend, read_meta,
        reference::GATEWAY_GROUP, scaling_policy::HEADGATE_GROUP, traffic_policy::EXPERIMENTAL_GROUP,
    },
    schema::{Fields, Problem, Reader, Report},
};
use serde_json::Value;
use std::sync::Arc;

/// An object of one of the kinds of this crate. Cheap to clone: whoever keeps one shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after its kind")]
pub enum Object {
    GatewayClass(Arc<GatewayClass>),
    Gateway(Arc<Gateway>),
    ListenerSet(Arc<ListenerSet>),
    HTTPRoute(Arc<HTTPRoute>),
    GRPCRoute(Arc<GRPCRoute>),
    TLSRoute(Arc<TransportRoute>),
    TCPRoute(Arc<TransportRoute>),
    UDPRoute(Arc<TransportRoute>),
    ReferenceGrant(Arc<ReferenceGrant>),
    BackendTLSPolicy(Arc<BackendTLSPolicy>),
    ScalingPolicy(Arc<ScalingPolicy>),
    Ingress(Arc<Ingress>),
    IngressClass(Arc<IngressClass>),
    TrafficPolicy(Arc<TrafficPolicy>),
    XBackend(Arc<XBackend>),
    Service(Arc<Service>),
    Pod(Arc<Pod>),
    EndpointSlice(Arc<EndpointSlice>),
    Secret(Arc<Secret>),
    ConfigMap(Arc<ConfigMap>),
    ClusterTrustBundle(Arc<ClusterTrustBundle>),
    Namespace(Arc<Namespace>),
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// An object of ours, and warnings about it.
    Known(Object, Vec<Problem>),
    /// An object of a kind or version that this crate does not read.
    UnknownKind {
        /// `apiVersion`.
        api_version: String,
        /// `kind`.
        kind: String,
    },
}

/// Reads an object as a person wrote it: every value that the API of v1.7.0 refuses is an error.
///
/// # Errors
/// All problems of an object that has at least one error, warnings included.
pub fn decode(value: &Value) -> Result<Decoded, Vec<Problem>> {
    decode_with(value, Report::default())
}

/// Reads an object that an API server has let through: values of enumerations that this version does not know are kept.
///
/// # Errors
/// As `decode`.
pub fn decode_admitted(value: &Value) -> Result<Decoded, Vec<Problem>> {
    decode_with(value, Report::of_admitted())
}

fn decode_with(value: &Value, report: Report) -> Result<Decoded, Vec<Problem>> {
    let mut top = Reader::new(value, &report).fields();
    let (api_version, kind) = (top.need_text("apiVersion", Form::NAME), top.need_text("kind", Form::KIND));
    if report.has_errors() {
        top.open();
        drop(top);
        return Err(report.into_problems());
    }
    let object = read_object(&mut top, &api_version, &kind);
    if object.is_none() {
        top.open();
    }
    drop(top);
    match object {
        None => Ok(Decoded::UnknownKind { api_version, kind }),
        Some(_) if report.has_errors() => Err(report.into_problems()),
        Some(object) => Ok(Decoded::Known(object, report.into_problems())),
    }
}

fn read_object(top: &mut Fields<'_>, api_version: &str, kind: &str) -> Option<Object> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gateway = group == GATEWAY_GROUP;
    let served = |versions: &[&str]| versions.contains(&version);
    Some(match kind {
        "GatewayClass" if gateway && served(&["v1", "v1beta1", "v1alpha2"]) => {
            let meta = read_meta(top, false, Form::SUBDOMAIN);
            Object::GatewayClass(GatewayClass::read(top, meta).into())
        }
        "Gateway" if gateway && served(&["v1", "v1beta1", "v1alpha2"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::Gateway(Gateway::read(top, meta).into())
        }
        "ListenerSet" if gateway && served(&["v1"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::ListenerSet(ListenerSet::read(top, meta.slim()).into())
        }
        "HTTPRoute" if gateway && served(&["v1", "v1beta1", "v1alpha2"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::HTTPRoute(HTTPRoute::read(top, meta.slim()).into())
        }
        "GRPCRoute" if gateway && served(&["v1", "v1alpha2"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::GRPCRoute(GRPCRoute::read(top, meta.slim()).into())
        }
        "TLSRoute" if gateway && served(&["v1"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::TLSRoute(TransportRoute::read_named(top, meta.slim()).into())
        }
        "TCPRoute" if gateway && served(&["v1", "v1alpha2"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::TCPRoute(TransportRoute::read(top, meta.slim()).into())
        }
        "UDPRoute" if gateway && served(&["v1", "v1alpha2"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::UDPRoute(TransportRoute::read(top, meta.slim()).into())
        }
        "ReferenceGrant" if gateway && served(&["v1", "v1beta1", "v1alpha2"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::ReferenceGrant(ReferenceGrant::read(top, meta.slim()).into())
        }
        "BackendTLSPolicy" if gateway && served(&["v1", "v1alpha3"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::BackendTLSPolicy(BackendTLSPolicy::read(top, meta.slim()).into())
        }
        "ScalingPolicy" if group == HEADGATE_GROUP && served(&["v1alpha1"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::ScalingPolicy(ScalingPolicy::read(top, meta.slim()).into())
        }
        "Ingress" if group == INGRESS_GROUP && served(&["v1"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::Ingress(Ingress::read(top, meta).into())
        }
        "IngressClass" if group == INGRESS_GROUP && served(&["v1"]) => {
            let meta = read_meta(top, false, Form::SUBDOMAIN);
            Object::IngressClass(IngressClass::read(top, meta).into())
        }
        "XBackendTrafficPolicy" if group == EXPERIMENTAL_GROUP && served(&["v1alpha1"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::TrafficPolicy(TrafficPolicy::read(top, meta.slim()).into())
        }
        "XBackend" if group == EXPERIMENTAL_GROUP && served(&["v1alpha1"]) => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::XBackend(XBackend::read(top, meta.slim()).into())
        }
        "ClusterTrustBundle" if group == CERTIFICATES_GROUP && served(&["v1", "v1beta1", "v1alpha1"]) => {
            let meta = read_meta(top, false, Form::BUNDLE_NAME);
            Object::ClusterTrustBundle(ClusterTrustBundle::read(top, meta.slim()).into())
        }
        "EndpointSlice" if api_version == "discovery.k8s.io/v1" => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::EndpointSlice(EndpointSlice::read(top, meta).into())
        }
        _ if api_version == "v1" => return read_core(top, kind),
        _ => return None,
    })
}

fn read_core(top: &mut Fields<'_>, kind: &str) -> Option<Object> {
    Some(match kind {
        "Service" => {
            let meta = read_meta(top, true, Form::LABEL);
            Object::Service(Service::read(top, meta).into())
        }
        "Pod" => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::Pod(Pod::read(top, meta).into())
        }
        "Secret" => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::Secret(Secret::read(top, meta).into())
        }
        "ConfigMap" => {
            let meta = read_meta(top, true, Form::SUBDOMAIN);
            Object::ConfigMap(ConfigMap::read(top, meta).into())
        }
        "Namespace" => {
            let meta = read_meta(top, false, Form::LABEL);
            Object::Namespace(Namespace::read(top, meta).into())
        }
        _ => return None,
    })
}

impl Object {
    /// Its metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Self::GatewayClass(object) => &object.meta,
            Self::Gateway(object) => &object.meta,
            Self::ListenerSet(object) => &object.meta,
            Self::HTTPRoute(object) => &object.meta,
            Self::GRPCRoute(object) => &object.meta,
            Self::TLSRoute(object) | Self::TCPRoute(object) | Self::UDPRoute(object) => &object.meta,
            Self::ReferenceGrant(object) => &object.meta,
            Self::BackendTLSPolicy(object) => &object.meta,
            Self::ScalingPolicy(object) => &object.meta,
            Self::Ingress(object) => &object.meta,
            Self::IngressClass(object) => &object.meta,
            Self::TrafficPolicy(object) => &object.meta,
            Self::XBackend(object) => &object.meta,
            Self::Service(object) => &object.meta,
            Self::Pod(object) => &object.meta,
            Self::EndpointSlice(object) => &object.meta,
            Self::Secret(object) => &object.meta,
            Self::ConfigMap(object) => &object.meta,
            Self::ClusterTrustBundle(object) => &object.meta,
            Self::Namespace(object) => &object.meta,
        }
    }

    /// Group and kind.
    pub fn group_kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::GatewayClass(_) => (GATEWAY_GROUP, "GatewayClass"),
            Self::Gateway(_) => (GATEWAY_GROUP, "Gateway"),
            Self::ListenerSet(_) => (GATEWAY_GROUP, "ListenerSet"),
            Self::HTTPRoute(_) => (GATEWAY_GROUP, "HTTPRoute"),
            Self::GRPCRoute(_) => (GATEWAY_GROUP, "GRPCRoute"),
            Self::TLSRoute(_) => (GATEWAY_GROUP, "TLSRoute"),
            Self::TCPRoute(_) => (GATEWAY_GROUP, "TCPRoute"),
            Self::UDPRoute(_) => (GATEWAY_GROUP, "UDPRoute"),
            Self::ReferenceGrant(_) => (GATEWAY_GROUP, "ReferenceGrant"),
            Self::BackendTLSPolicy(_) => (GATEWAY_GROUP, "BackendTLSPolicy"),
            Self::ScalingPolicy(_) => (HEADGATE_GROUP, "ScalingPolicy"),
            Self::Ingress(_) => (INGRESS_GROUP, "Ingress"),
            Self::IngressClass(_) => (INGRESS_GROUP, "IngressClass"),
            Self::TrafficPolicy(_) => (EXPERIMENTAL_GROUP, "XBackendTrafficPolicy"),
            Self::XBackend(_) => (EXPERIMENTAL_GROUP, "XBackend"),
            Self::Service(_) => ("", "Service"),
            Self::Pod(_) => ("", "Pod"),
            Self::EndpointSlice(_) => ("discovery.k8s.io", "EndpointSlice"),
            Self::Secret(_) => ("", "Secret"),
            Self::ConfigMap(_) => ("", "ConfigMap"),
            Self::ClusterTrustBundle(_) => (CERTIFICATES_GROUP, "ClusterTrustBundle"),
            Self::Namespace(_) => ("", "Namespace"),
        }
    }

    /// How it is called.
    pub fn reference(&self) -> ObjectRef {
        let ((group, kind), meta) = (self.group_kind(), self.meta());
        ObjectRef::new(group, kind, &meta.namespace, &meta.name)
    }
}
