//! How many replicas a scale target has, and when which of them starts and stops. Pure but for the last step, which never decides.

mod autoscaler;
mod backoff;
pub mod cluster;
pub mod of_function;
mod run;
mod scaler;
#[cfg(test)]
mod simulation;

pub use autoscaler::{Autoscaler, Bounds, Desired, Metric, Observation, Reason};
pub use backoff::Backoff;
pub use run::{Told, run};
pub use scaler::{Action, EndpointReading, Input, Reading, Report, Scaler, TargetSpec, TargetState};
