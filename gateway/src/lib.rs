//! (being written)

pub mod backend;
pub mod failure;
pub mod filters;
pub mod forwarded;
pub mod limits;
