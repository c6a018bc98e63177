//! One process follows another on this machine without a lost connection: the new one gets the listening sockets of the old one over a Unix socket, and says when it serves. Never two that hold the same sockets for longer than the handover, and nothing happens to the old one when the new one fails.
//!
//! ```text
//!  new                                   old
//!   │ connect, Take ──────────────────►   │ same user? otherwise Refused
//!   │ ◄────────────────── Sockets, … ──   │ listeners, admin port, and the Unix socket itself
//!   │ routes live, accepts                │ accepts
//!   │ Ready ──────────────────────────►   │ accepts no more, ends what it has
//!   │ ◄────────────────────────── Done    │
//! ```
//!
//! Both accept from the same queues in between, so that a connection is never in a queue that closes. Everything before `Ready` can end
//! at any point: the old one then serves on as if nothing had been.

mod channel;
mod give;
mod message;
mod take;

pub use channel::Door;
pub use give::{Ask, give};
pub use take::{Begun, Predecessor, begin};
