//! Oracles of the fuzz targets. They share no code with what they judge.

pub mod bodies;
pub mod strict;
