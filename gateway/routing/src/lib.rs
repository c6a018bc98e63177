//! The routes of one version, compiled: which rule takes a request, which arm of it, and why. Pure: no socket, no clock, no tokio.
//!
//! `Table::compile` turns a `Snapshot` into a `Table` and a list of problems, never an error: a rule that cannot be served
//! answers 500 for its share. `Table::route` is the request path: no configuration is parsed there, and nothing allocated.
//! `Table::explain` finds the same answer by comparing everything with everything, and says why. The controller compiles with
//! this crate too, so it knows what a gateway will say.

#![forbid(unsafe_code)]

mod check;
mod explain;
mod grounds;
mod index;
mod listeners;
mod problem;
mod query;
mod regexes;
mod rows;
mod rule;
mod shard;
mod split;
mod table;
mod texts;

pub use explain::{Contender, Explanation, OtherListener, Share, Verdict};
pub use problem::Problem;
pub use rows::Row;
pub use rule::{CompiledArm, CompiledRule, Failed, FilterBackend};
pub use table::{Carried, Compiled, Found, Outcome, Port, Table};
