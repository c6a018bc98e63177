//! How long the two ends wait for each other. Both know the same numbers; never a wait without one.

use std::time::Duration;

/// Limits of time of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Each end says this often that it lives.
    pub beat: Duration,
    /// Who was silent for so long is gone.
    pub silence: Duration,
    /// The longest wait of endpoints for others.
    pub gather: Duration,
    /// A version that is not acknowledged for so long ends the stream.
    pub acknowledge: Duration,
    /// Opening a connection, TLS and first words included.
    pub open: Duration,
    /// The pause before the second try to open one; doubles up to `retry_most`, with jitter.
    pub retry: Duration,
    /// The longest pause between tries.
    pub retry_most: Duration,
    /// How often the controller's name is looked up.
    pub lookup: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(2),
            silence: Duration::from_secs(10),
            gather: Duration::from_millis(20),
            acknowledge: Duration::from_secs(60),
            open: Duration::from_secs(5),
            retry: Duration::from_millis(50),
            retry_most: Duration::from_secs(5),
            lookup: Duration::from_secs(5),
        }
    }
}
