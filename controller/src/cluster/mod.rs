//! A cluster: from objects, counts and acknowledgements to routes, endpoints, statuses, manifests and replicas. It does no I/O and reads no clock.

mod references;
mod shares;
pub use references::referenced;
pub use shares::Shares;
