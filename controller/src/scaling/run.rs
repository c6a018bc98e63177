//! Carries out what the scaler decides on this machine: the thin part with a clock, channels and processes. Never decides.

use super::{Action, Input, Report, Scaler, TargetState};
use crate::runtimes::{Event, Processes};
use std::time::Instant;
use tokio::{
    sync::mpsc,
    time::{self, sleep_until},
};

/// What goes out to the gateway, to the plan and to a person.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Endpoints and counts of a target: the newest replaces the one before.
    State(TargetState),
    /// For a person.
    Report(Report),
}

/// Runs until all senders of `inputs` are dropped; then every process is stopped before it returns.
///
/// `events` is the other end of what `processes` was made with. `tell` must not block: it is called between two decisions.
pub async fn run(
    mut scaler: Scaler,
    processes: &Processes,
    mut inputs: mpsc::Receiver<Input>,
    mut events: mpsc::UnboundedReceiver<Event>,
    mut tell: impl FnMut(Told),
) {
    loop {
        let deadline = scaler.next_deadline();
        let input = tokio::select! {
            // what processes do comes first: a reading must not be judged by replicas that are gone
            biased;
            Some(event) = events.recv() => Input::Process(event),
            input = inputs.recv() => match input {
                Some(input) => input,
                None => break,
            },
            () = sleep(deadline) => Input::Tick,
        };
        for action in scaler.step(time::Instant::now().into_std(), input) {
            match action {
                Action::Start(replica, launch) => processes.start(replica, &launch),
                Action::Stop(replica) => processes.stop(replica),
                Action::Publish(state) => tell(Told::State(state)),
                Action::Report(report) => tell(Told::Report(report)),
            }
        }
    }
    processes.stop_all().await;
}

async fn sleep(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
