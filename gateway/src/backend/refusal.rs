//! Why a request was not admitted, and when to come again. The names are those of the Failure table; never a second list of them.

use crate::failure::Failure;
use std::{sync::Arc, time::Duration};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `QueueFull`, `GatewayFull`, `MemoryShed`, `QueueTimeout`, `ActivationTimeout`, `ActivationFailed` or `NoEndpoints`.
    pub failure: Failure,
    /// What an operator reads: why a start failed.
    pub detail: Option<Arc<str>>,
    /// For `Retry-After`, from observed starts.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal without detail.
    pub fn new(failure: Failure, retry_after: Option<Duration>) -> Self {
        Self { failure, detail: None, retry_after }
    }
}
