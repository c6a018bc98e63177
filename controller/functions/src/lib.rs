//! Functions: from OpenFunction's objects to revisions, Services, routes, bounds and status. Pure: no I/O, no clock, no Kubernetes client.
//!
//! Read `plan.rs` first: it decides what of a function runs and what its route leads to. `route.rs` makes the route, and
//! `expand.rs` puts both into the objects that `translate` works on.

mod address;
pub mod cluster;
mod context;
mod expand;
pub mod kinds;
mod name_template;
pub mod path_mode;
mod places;
mod plan;
mod pod;
mod references;
mod revision;
mod route;
pub mod settings;
mod template;

pub use address::{Address, Reach};
pub use context::{command_line, environment, func_context, func_context_v1beta2, unresolved};
pub use expand::{Defaults, Expansion, Input, Subject, expand};
pub use name_template::{HOST_VARIABLES, NameTemplate, PATH_VARIABLES, TemplateError, Values, Variable};
pub use places::Places;
pub use plan::{Bounds, OLD_IDLE_MS, OLD_KEPT, Plan, Status, Step, Target, plan, retire};
pub use pod::{CLOSING_ANNOTATION, PodSeen, Trouble};
pub use references::{fill_in, in_parentheses};
pub use revision::{Exit, FAILED_STARTS_BROKEN, Observed, Revision, Seen, State, revision_name, version_alias};
pub use route::{FunctionRoute, SERVICE_PORT, route};
pub use template::{Context, Template};
