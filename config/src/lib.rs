//! The words that both programs share: names, rules, backends, listeners, snapshots. Data only: no I/O, no async, no Kubernetes.
//!
//! What stands here flows down from `translate` to the data plane. It is printable, comparable and has a wire form,
//! so a golden file, a diff and a network message are the same thing.

mod backend;
mod by_name;
mod demand;
mod filter;
mod host;
mod list;
mod listener;
mod name;
mod pool;
mod rank;
mod rule;
mod session;
mod snapshot;
mod text;

pub use backend::{
    Activation, Backend, BackendProtocol, BackendTls, ColdArm, Endpoint, Endpoints, Probe, ProxyProtocol, QueueBounds,
    RetryBudget, Trust, Wait,
};
pub use by_name::{ByName, Named};
pub use demand::{Demand, EndpointCount};
pub use filter::{
    AuthProtocol, Cors, ExternalAuth, Filter, Fraction, HeaderEdit, OriginPattern, PathEdit, Redirect, Rewrite, Scheme,
};
pub use host::{HostName, HostPattern, InvalidHost, is_address, is_canonical as is_canonical_host};
pub use list::{List, Listed};
pub use listener::{Certificate, ClientAuth, Listener, ListenerTls, Protocol, Redacted, Transport};
pub use name::{BackendName, CertificateName, GatewayName, ListenerName, RouteKind, RuleName};
pub use rank::{HostRank, PathRank, Rank, Seniority};
pub use rule::{
    Action, Arm, ArmTarget, Attachment, Host, Match, PathMatch, Retry, Rule, Split, Timeouts, ValueMatch, ValueTest,
};
pub use session::{Carrier, Session};
pub use snapshot::{Change, Removes, Snapshot, Version};
pub use text::Text;
