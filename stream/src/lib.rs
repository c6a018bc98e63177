//! The stream between controller and gateway: routes, endpoints and keys down, acknowledgements and counts up. Never decides what is served, and never prints a key.
//!
//! A version is a set of pieces (rules, backends, listeners, certificates), each called by the hash of its content. A gateway says which
//! pieces it holds, and gets those that it lacks: so any controller can serve it, and a reconnect costs the difference. Endpoints have a
//! lane of their own. Start at [`Publisher`] for the controller's side, at [`follow()`] for the gateway's.

pub mod authority;
mod connect;
mod converse;
mod counting;
mod digest;
mod dispatch;
mod follow;
mod held;
mod ledger;
mod outbox;
mod pace;
mod piece;
mod publication;
mod publisher;
mod report;
mod server;
mod session;
mod store;
mod tls;
mod wire;

pub use follow::{Following, Serve, follow};
pub use pace::Pace;
pub use publication::Certificates;
pub use publisher::Publisher;
pub use report::{FromGateway, Report};
pub use server::{Identity, Refusal, serve};
pub use tls::{InvalidTls, ServerTls};
