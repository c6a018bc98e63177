//! (being written)

pub mod failure;
pub mod filters;
pub mod limits;
