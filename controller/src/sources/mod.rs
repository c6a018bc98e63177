//! Where objects come from. A source reads and names what is wrong; it never makes a route of what it read.

pub mod findings;
pub mod yaml;
