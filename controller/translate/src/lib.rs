//! From the objects of the APIs to routes and conditions: kinds, and pure functions over them. Never a client, a clock, a file or a socket.

pub mod duration;
pub mod form;
pub mod kinds;
mod objects;
pub mod schema;

pub use objects::{AliasArm, Key, Objects, ServiceTraits};
