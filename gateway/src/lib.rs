//! (being written)

pub mod failure;
pub mod filters;
pub mod forwarded;
pub mod limits;
