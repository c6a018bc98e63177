//! What a function says of how its revisions scale. Pure; the same for processes and for Pods.

use super::{Bounds, Metric};
use headgate_functions::{OLD_IDLE_MS, Revision, kinds::Function, settings::Target};
use std::time::Duration;

/// How long requests in flight may hold a replica that is closing, where the function says nothing.
const DRAIN_LIMIT: Duration = Duration::from_secs(300);

/// How long starting and ending may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a replica is ready.
    pub start: Duration,
    /// Until nothing is in flight.
    pub drain: Duration,
}

/// Of a function.
pub fn limits(function: &Function) -> Limits {
    let settings = &function.settings;
    Limits {
        start: Duration::from_millis(settings.start_ms),
        drain: settings.request_ms.map_or(DRAIN_LIMIT, Duration::from_millis),
    }
}

/// How many replicas of a revision, by what it is to the function now.
pub fn bounds(function: &Function, revision: &Revision) -> Bounds {
    let settings = &function.settings;
    let scale = function.serving.as_ref().map(|serving| serving.scale);
    let (least, most) = scale.map_or((0, 0), |scale| (scale.min, scale.max));
    let (min, max) = match () {
        () if revision.dropped => (0, 0),
        () if revision.serving => (least, most),
        // it must become ready before it serves
        () if !revision.proven => (1, 1),
        () => (0, most),
    };
    // one that lost the route has nobody to wait for
    let idle_ms = if revision.serving { settings.idle_ms } else { settings.idle_ms.min(OLD_IDLE_MS) };
    let idle = Duration::from_millis(idle_ms);
    let window = Duration::from_millis(settings.window_ms).min(idle);
    Bounds {
        min,
        max,
        concurrency: revision.template.concurrency,
        metric: match settings.target {
            Target::Concurrency(target) => Metric::Concurrency(Some(f64::from(target))),
            Target::Rate(target) => Metric::Rate(f64::from(target)),
        },
        window,
        zero_grace: idle.saturating_sub(window),
    }
}
