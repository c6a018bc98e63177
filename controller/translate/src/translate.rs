//! Objects in; routes and conditions out, together, so that the two cannot disagree. Pure and total: no input makes it fail, and equal objects make equal output.

use crate::{
    Objects, Translator,
    conditions::Status,
    kinds::{AllowedRoutes, From, Gateway, Listener, ObjectMeta, ObjectRef, Protocol, ScalingPolicy},
    schema::Problem,
};
use headgate_config::{ByName, Certificate, Endpoints, Snapshot};
use imbl::OrdMap;
use std::sync::Arc;

/// `controllerName` of an installation that was given no other.
pub const DEFAULT_CONTROLLER_NAME: &str = "headgate.dev/gateway-controller";

/// `controller` of the IngressClasses that are ours.
pub const INGRESS_CONTROLLER_NAME: &str = "headgate.dev/ingress-controller";

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Classes with this `controllerName` are ours.
    pub controller_name: String,
    /// Domain of the cluster, such as `cluster.local`.
    pub cluster_domain: String,
    /// Serves where no Gateway object exists at all; see `builtin_gateway`.
    pub builtin_gateway: Option<Arc<Gateway>>,
    /// Without a cluster: routes that name no Gateway, or one that does not exist, attach to the built-in Gateway, and Gateways whose
    /// class does not exist are ours. So are Ingresses of no class and of class `headgate`, on all Gateways.
    pub adopt_orphans: bool,
    /// All Gateways are served by one process, so that their listeners share its ports: of two that cannot be told apart the one of
    /// the older Gateway serves.
    pub shared_ports: bool,
    /// Somebody scales what is behind ordinary Services, as ScalingPolicies say.
    pub scales_services: bool,
    /// Say conditions; where nobody reads them they cost memory and time for nothing.
    pub conditions: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            controller_name: DEFAULT_CONTROLLER_NAME.into(),
            cluster_domain: "cluster.local".into(),
            builtin_gateway: None,
            adopt_orphans: false,
            shared_ports: false,
            scales_services: true,
            conditions: true,
        }
    }
}

impl Settings {
    /// For a machine without a cluster.
    pub fn standalone() -> Self {
        Self {
            builtin_gateway: Some(builtin_gateway(80)),
            adopt_orphans: true,
            shared_ports: true,
            scales_services: false,
            ..Self::default()
        }
    }
}

/// Gateway `headgate` in namespace `headgate`: one listener `http` on a port, for routes of all namespaces.
pub fn builtin_gateway(port: u16) -> Arc<Gateway> {
    let listener = Listener {
        name: "http".into(),
        port,
        protocol: Protocol::Http,
        allowed_routes: AllowedRoutes { from: From::All, ..AllowedRoutes::default() },
        ..Listener::default()
    };
    Arc::new(Gateway {
        meta: ObjectMeta { name: "headgate".into(), namespace: "headgate".into(), ..ObjectMeta::default() },
        class: "headgate".into(),
        listeners: vec![listener],
        ..Gateway::default()
    })
}

/// All that follows from the objects. Cheap to clone, and two of them share what is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Routes, as the data plane takes them.
    pub snapshot: Snapshot,
    /// Certificates that listeners and XBackends name, by name; they travel apart.
    pub certificates: Arc<Vec<Certificate>>,
    /// Endpoints of the Backends of the Snapshot whose Services have slices.
    pub endpoints: OrdMap<ByName<Endpoints>, Arc<Endpoints>>,
    /// By scale target, as Backends name it: the ScalingPolicy that decides how it is scaled. Those of functions are not among them.
    pub scaling: OrdMap<String, Arc<ScalingPolicy>>,
    /// What we say of each object.
    pub conditions: OrdMap<ObjectRef, Arc<Status>>,
    /// The same for people: what is wrong, in which object, where. A problem that stays is the same one.
    pub problems: Vec<Arc<ObjectProblem>>,
}

/// A problem of an object that was taken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ObjectProblem {
    /// The object.
    pub object: ObjectRef,
    /// What is wrong.
    pub problem: Problem,
}

/// Translates everything. Whoever translates again and again keeps a [`Translator`] instead.
pub fn translate(objects: &Objects, settings: &Settings) -> Translation {
    let mut translator = Translator::new(settings.clone());
    translator.translate(objects).clone()
}
