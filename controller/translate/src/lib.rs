//! From the objects of the APIs to routes and conditions: kinds, and pure functions over them. Never a client, a clock, a file or a socket.

mod applied;
mod attachment;
mod backend_tls;
mod backends;
mod certificates;
mod changed;
pub mod conditions;
mod conflicts;
pub mod duration;
mod endpoints;
pub mod features;
mod filters;
pub mod form;
mod gateways;
pub mod ingress;
pub mod kinds;
mod listener_sets;
mod listeners;
mod lookup;
pub mod manifest;
mod matches;
mod objects;
mod outcome;
mod parameters;
mod route;
mod scaling;
pub mod schema;
pub mod selections;
mod sessions;
mod traffic;
mod translate;
mod translator;
mod x_backends;

pub use endpoints::endpoints_of;
pub use objects::{AliasArm, Key, Objects, ServiceTraits};
pub use parameters::{PARAMETERS_GROUP, PARAMETERS_KIND};
pub use translate::{
    DEFAULT_CONTROLLER_NAME, INGRESS_CONTROLLER_NAME, ObjectProblem, Settings, Translation, builtin_gateway, translate,
};
pub use translator::Translator;
