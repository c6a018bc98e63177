//! The control plane: where objects come from, what runs for them, and how many of it. It never sees a request.

pub mod assemble;
pub mod cluster;
pub mod listing;
pub mod migrate;
pub mod report;
pub mod runtimes;
pub mod scaling;
pub mod sources;
pub mod standalone;
