//! The Kubernetes API: watches, writes, leader. Never decides what is served.

pub mod authority;
pub mod events;
pub mod resource;
mod said_once;
pub mod status;

pub use kube::Client;
pub use status::StatusWriter;
