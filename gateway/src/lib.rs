//! (being written)

pub mod failure;
