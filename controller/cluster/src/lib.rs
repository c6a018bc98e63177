//! The Kubernetes API: watches, writes, leader. Never decides what is served.

pub mod authority;
