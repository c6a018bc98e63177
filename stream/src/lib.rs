//! The stream between controller and gateway: routes, endpoints and keys down, acknowledgements and counts up. Never decides what is served, and never prints a key.
//!
//! A version is a set of pieces (rules, backends, listeners, certificates), each called by the hash of its content. A gateway says which
//! pieces it holds, and gets those that it lacks: so any controller can serve it, and a reconnect costs the difference. Endpoints have a
//! lane of their own. Start at [`Publisher`] for the controller's side, at [`follow()`] for the gateway's.
//!
//! A controller's side. Its authority is its own, lives in a Secret that all controllers share, and is looked at about once an hour:
//!
//! ```no_run
//! use headgate_stream::{Identity, Pace, Publisher, Refusal, ServerTls, authority::Material, serve};
//! use std::time::SystemTime;
//!
//! # async fn start(stored: Option<Material>, names: &[String]) -> Result<(), Box<dyn std::error::Error>> {
//! // what is new goes into the Secret (`to_data`) before it is used; gateways get `trusted` in a ConfigMap
//! let material = Material::renewed(stored.as_ref(), names, SystemTime::now())?.or(stored).ok_or("no authority")?;
//! let tls = ServerTls::new(material.chain(), material.key())?;
//! let (publisher, mut reports) = Publisher::new("controller-0", 1, "0.1.0", Pace::default());
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:9902").await?;
//! // who a token belongs to: ask the API server
//! let authenticate = |_token| async { Err::<Identity, _>(Refusal::Unavailable("not yet".into())) };
//! tokio::spawn(serve(listener, tls.clone(), authenticate, publisher.clone()));
//! while let Some(told) = reports.recv().await {
//!     println!("{told:?}");
//! }
//! // an hour later, once `renewed` has given another: from the next connection on
//! tls.replace(material.chain(), material.key())?;
//! # Ok(())
//! # }
//! ```

pub mod authority;
mod connect;
mod converse;
mod counting;
mod digest;
mod dispatch;
mod follow;
mod hear;
mod held;
mod kept;
mod ledger;
mod outbox;
mod pace;
mod piece;
mod publication;
mod publisher;
pub mod replay;
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
