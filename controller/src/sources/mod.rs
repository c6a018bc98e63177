//! Where objects come from. A source reads and names what is wrong; it never makes a route of what it read.

pub mod cluster;
pub mod crds;
pub mod decode;
pub mod directory;
pub mod findings;
mod key_pair;
mod tree;
pub mod watch;
pub mod written;
pub mod yaml;

pub use decode::{Content, Outcome, decode};
