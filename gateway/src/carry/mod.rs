//! What is carried and not read: connections of TCPRoutes and TLSRoutes, datagrams of UDPRoutes. Never looks into them, but for the server name of TLS.
//!
//! ```text
//! Lead::of ─► Story::admit (waits while a backend starts) ─► connect ─► both ways until the end ─► one record
//! ```

mod connection;
mod datagrams;
mod lead;
mod session;
mod story;

pub use connection::{Failed, Incoming, refused, serve};
pub use datagrams::{Port, receive};
