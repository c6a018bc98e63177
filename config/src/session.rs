//! Session persistence as data: what carries the token of a client, and how long it counts. What the token says stands in `gateway/src/session`; never here.

use serde::{Deserialize, Serialize};

/// SessionPersistence of Gateway API v1.7.0: a client is sent to the endpoint that served it before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// What carries the token, in requests and in answers.
    pub carrier: Carrier,
    /// How long a token counts from its making, in milliseconds; `None` is without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
}

/// What carries a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Carrier {
    /// A cookie (RFC 6265).
    #[serde(rename_all = "camelCase")]
    Cookie {
        /// Its name, a token.
        name: String,
        /// Its path.
        path: String,
        /// Whether the client keeps it for the lifetime, beyond the end of its own session.
        permanent: bool,
    },
    /// A header of this name, lower-case.
    Header(String),
}
