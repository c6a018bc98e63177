//! The kinds that routes are made of, as this program reads them: tolerant of what a later version adds, with the API's defaults written out. Never a client, never a status of anybody else.

mod backend_tls;
mod core;
mod decode;
mod filter;
mod gateway;
mod grant;
mod ingress;
mod listener_set;
mod meta;
mod reference;
mod route;
mod scaling_policy;
mod session;
mod traffic_policy;
mod transport;
mod x_backend;

pub use backend_tls::{
    BackendTLSPolicy, BackendValidation, PolicyTarget, SubjectAltName, SubjectAltNameKind, WellKnownAuthorities,
};
pub use core::{
    AddressFamily, CERTIFICATES_GROUP, ClusterTrustBundle, ConfigMap, EndpointPort, EndpointSlice, Namespace,
    PROXY_PROTOCOL_ANNOTATION, Pod, Secret, Service, ServicePort, SliceEndpoint, TargetPort,
};
pub use decode::{Decoded, Object, decode, decode_admitted};
pub use filter::{
    AuthProtocol, Cors, ExternalAuth, Filter, FilterKind, HeaderModifier, Mirror, PathModifier, Redirect, UrlRewrite,
};
pub use gateway::{
    Address, AllowedListeners, AllowedRoutes, DefaultScope, From, FrontendTls, FrontendTlsPort, FrontendValidation,
    Gateway, GatewayClass, Infrastructure, Listener, ListenerTls, Protocol, RouteGroupKind, TlsMode, ValidationMode,
};
pub(crate) use grant::Holder;
pub use grant::{GrantFrom, GrantTo, ReferenceGrant};
pub use ingress::{
    CLASS_ANNOTATION, INGRESS_GROUP, Ingress, IngressBackend, IngressClass, IngressPath, IngressPort, IngressRule,
    IngressTls, PathType,
};
pub use listener_set::ListenerSet;
pub use meta::{ObjectMeta, ObjectRef};
pub use reference::{
    BackendRef, GATEWAY_GROUP, LabelSelector, ObjectReference, Operator, ParentRef, Requirement, WeightedBackend,
};
pub use route::{
    GRPCMatch, GRPCMethod, GRPCRoute, GRPCRule, HTTPMatch, HTTPRoute, HTTPRule, HeaderMatch, PathKind, PathMatch,
    Retry, Timeouts, ValueKind,
};
pub use scaling_policy::{ColdChoice, HEADGATE_GROUP, ScalingMetric, ScalingPolicy, WorkloadKind, WorkloadRef};
pub use session::{CookieLifetime, SessionKind, SessionPersistence};
pub use traffic_policy::{EXPERIMENTAL_GROUP, RetryConstraint, TrafficPolicy};
pub use transport::{TransportRoute, TransportRule};
pub use x_backend::{XBackend, XBackendKind, XBackendProtocol, XBackendTls, XBackendTlsMode};

pub(crate) use meta::read_meta;
