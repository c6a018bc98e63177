//! Signals from a person or a supervisor. What follows from one is the command's.

use std::io::IsTerminal;
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

/// SIGHUP, which asks a service to read its files again. From a terminal it says that the terminal is gone, and ends the process.
pub struct Hangups(Option<Signal>);

impl Hangups {
    /// Listens from now on, unless standard input is a terminal.
    ///
    /// # Errors
    /// If there can be no handler, for people.
    pub fn new() -> Result<Self, String> {
        if std::io::stdin().is_terminal() {
            return Ok(Self(None));
        }
        listen(SignalKind::hangup()).map(|signal| Self(Some(signal)))
    }

    /// The next one.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("no signal handler: {error}"))
}
