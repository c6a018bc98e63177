//! Oracles of the fuzz targets. They share no code with what they judge.

pub mod bodies;
pub mod controller;
pub mod escapes;
pub mod http2;
pub mod strict;
