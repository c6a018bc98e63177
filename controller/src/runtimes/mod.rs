//! Where replicas of functions run. A runtime starts, watches and stops what it is told to; it never decides how many there are.

mod guard;
mod launch;
mod output;
pub mod process;

pub use guard::supervise;
pub use launch::Launch;
pub use output::{Line, Stream};
pub use process::{Event, Exit, Processes, ReplicaId};
