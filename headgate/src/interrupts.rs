//! Interrupts from a person or a supervisor. What follows from one is the command's.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM.
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Listens from now on.
    ///
    /// # Errors
    /// If there can be no handler, for people.
    pub fn new() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("no signal handler: {error}"));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// SIGINT only: a person who does not want to wait. A supervisor says the same with SIGKILL.
    pub async fn next_of_person(&mut self) {
        self.interrupt.recv().await;
    }
}
