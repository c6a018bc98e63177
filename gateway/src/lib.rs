//! (being written)

pub mod failure;
pub mod filters;
