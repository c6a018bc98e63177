//! What gateways count for scale targets: all that flows up. Counts only; never a request.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What one gateway counts for one scale target now; the newest replaces the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Demand {
    /// The scale target: `namespace/name`, as [`crate::Backend::scales`] has it.
    pub target: String,
    /// Requests sent and not yet over.
    pub in_flight: u64,
    /// Requests that wait.
    pub queued: u64,
    /// A start that was asked for is still owed one instance, though nobody may wait any more.
    pub leased: bool,
    /// Requests that ever came to this gateway.
    pub arrivals: u64,
    /// Each endpoint that is listed or has requests in flight.
    pub endpoints: Vec<EndpointCount>,
}

/// What one gateway counts for one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointCount {
    /// Which.
    pub address: SocketAddr,
    /// Requests being answered by it.
    pub in_flight: u64,
    /// Whether this gateway has found it ready.
    pub ready: bool,
}
