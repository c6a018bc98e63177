//! What a function can be told that OpenFunction has no field for: annotations, in one table with their defaults. Never part of a revision.

use headgate_config::{ColdArm, QueueBounds, Wait};
use headgate_translate::schema::{FieldPath, Problem, suggestion};
use serde::Serialize;
use std::collections::BTreeMap;

/// The settings of one function. They apply to all its revisions at once, and changing them starts nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Bounds of the queue of each revision.
    pub queue: QueueBounds,
    /// How long a request may wait.
    pub wait: Wait,
    /// What happens where the chosen revision is cold.
    pub cold: ColdArm,
    /// What one replica is meant to bear.
    pub target: Target,
    /// Over how long demand is averaged, in milliseconds.
    pub window_ms: u64,
    /// How long a revision is without demand before it is stopped, in milliseconds.
    pub idle_ms: u64,
    /// How long a replica may take to become ready, in milliseconds.
    pub start_ms: u64,
    /// How long a replica may take to end after SIGTERM, in milliseconds.
    pub grace_ms: u64,
    /// `timeouts.request` of the function's own route, in milliseconds; `None` is the gateway's default.
    pub request_ms: Option<u64>,
}

/// What one replica is meant to bear: the scaler's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// Requests at once.
    Concurrency(u32),
    /// Requests a second.
    Rate(u32),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: QueueBounds::default(),
            wait: Wait::default(),
            cold: ColdArm::Hold,
            target: Target::Concurrency(100),
            window_ms: 60_000,
            idle_ms: 60_000,
            start_ms: 60_000,
            grace_ms: 30_000,
            request_ms: None,
        }
    }
}

/// One row of the table that docs are made from.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The annotation's key.
    pub key: &'static str,
    /// What is written, and what it means.
    pub meaning: &'static str,
    /// What holds without it.
    pub default: &'static str,
    apply: Apply,
}

type Apply = fn(&mut Settings, &str) -> Result<(), String>;

const DURATION: &str = "write a duration such as 500ms, 30s or 5m";
const COUNT: &str = "write a whole number without unit";

/// All annotations. Those of Knative are read from `metadata.annotations`, `spec.serving.annotations` and
/// `spec.serving.scaleOptions.knative`, the first place wins; those of `headgate.dev` win over Knative's and stand in
/// `metadata.annotations` or `spec.serving.annotations`.
pub const TABLE: &[Row] = &[
    Row {
        key: "autoscaling.knative.dev/metric",
        meaning: "`concurrency` or `rps`: what autoscaling.knative.dev/target counts",
        default: "concurrency",
        apply: |settings, text| {
            settings.target = match (text, settings.target) {
                ("concurrency", Target::Concurrency(n) | Target::Rate(n)) => Target::Concurrency(n),
                ("rps", Target::Rate(n)) => Target::Rate(n),
                ("rps", Target::Concurrency(_)) => Target::Rate(200),
                _ => return Err("write concurrency or rps".into()),
            };
            Ok(())
        },
    },
    Row {
        key: "autoscaling.knative.dev/target",
        meaning: "what one replica is meant to bear, in requests at once or a second",
        default: "100 at once, 200 a second",
        apply: |settings, text| {
            let amount = count(text).filter(|n| *n > 0).ok_or("write a whole number from 1")?;
            settings.target = match settings.target {
                Target::Concurrency(_) => Target::Concurrency(amount),
                Target::Rate(_) => Target::Rate(amount),
            };
            Ok(())
        },
    },
    Row {
        key: "autoscaling.knative.dev/window",
        meaning: "over how long demand is averaged; also how long a revision idles before it stops",
        default: "60s",
        apply: |settings, text| {
            settings.window_ms = duration(text)?;
            settings.idle_ms = settings.window_ms;
            Ok(())
        },
    },
    Row {
        key: "autoscaling.knative.dev/scale-to-zero-pod-retention-period",
        meaning: "how long a revision idles before it stops",
        default: "60s",
        apply: |settings, text| {
            settings.idle_ms = settings.idle_ms.max(duration(text)?);
            Ok(())
        },
    },
    Row {
        key: "headgate.dev/window",
        meaning: "over how long demand is averaged",
        default: "60s",
        apply: |settings, text| set(&mut settings.window_ms, duration(text)?),
    },
    Row {
        key: "headgate.dev/idle",
        meaning: "how long a revision idles before it stops",
        default: "60s",
        apply: |settings, text| set(&mut settings.idle_ms, duration(text)?),
    },
    Row {
        key: "headgate.dev/queue",
        meaning: "requests that may wait for one revision",
        default: "the gateway's",
        apply: |settings, text| set(&mut settings.queue.count, Some(count(text).ok_or(COUNT)?)),
    },
    Row {
        key: "headgate.dev/queue-bytes",
        meaning: "bytes that waiting requests may keep",
        default: "the gateway's",
        apply: |settings, text| set(&mut settings.queue.bytes, Some(text.parse().map_err(|_| COUNT)?)),
    },
    Row {
        key: "headgate.dev/wait",
        meaning: "how long a request may wait",
        default: "the gateway's",
        apply: |settings, text| set(&mut settings.wait.limit_ms, Some(duration(text)?)),
    },
    Row {
        key: "headgate.dev/cold",
        meaning: "`hold`, `shift` or `reject`: what happens where the chosen revision of a split is cold",
        default: "hold",
        apply: |settings, text| {
            let cold = match text {
                "hold" => ColdArm::Hold,
                "shift" => ColdArm::Shift,
                "reject" => ColdArm::Reject,
                _ => return Err("write hold, shift or reject".into()),
            };
            set(&mut settings.cold, cold)
        },
    },
    Row {
        key: "headgate.dev/start-timeout",
        meaning: "how long a replica may take to become ready; wins over spec.serving.timeout",
        default: "60s",
        apply: |settings, text| set(&mut settings.start_ms, duration(text)?),
    },
    Row {
        key: "headgate.dev/grace",
        meaning: "how long a replica may take to end after SIGTERM; wins over terminationGracePeriodSeconds",
        default: "30s",
        apply: |settings, text| set(&mut settings.grace_ms, duration(text)?),
    },
    Row {
        key: "headgate.dev/request-timeout",
        meaning: "from the head of a request to the end of its answer; 0s is no limit",
        default: "the gateway's",
        apply: |settings, text| set(&mut settings.request_ms, Some(duration(text)?)),
    },
    Row {
        key: "autoscaling.knative.dev/min-scale",
        meaning: "replicas at least; spec.serving.scaleOptions.minReplicas wins",
        default: "0",
        apply: elsewhere,
    },
    Row {
        key: "autoscaling.knative.dev/max-scale",
        meaning: "replicas at most, 0 is no bound; spec.serving.scaleOptions.maxReplicas wins",
        default: "10",
        apply: elsewhere,
    },
    Row {
        key: "autoscaling.knative.dev/container-concurrency",
        meaning: "requests at once per replica, 0 is no bound; part of a revision",
        default: "0",
        apply: elsewhere,
    },
    Row { key: "headgate.dev/concurrency", meaning: "the same, and wins", default: "0", apply: elsewhere },
    Row {
        key: "headgate.dev/protocol",
        meaning: "`http1` or `h2c`: what the function speaks; part of a revision",
        default: "http1",
        apply: elsewhere,
    },
];

/// Of bounds and of what is part of a revision: read with the Function, and here for the table.
fn elsewhere(_: &mut Settings, _: &str) -> Result<(), String> {
    Ok(())
}

impl Settings {
    /// Reads the annotations of one place over what `self` has; `found` tells where each stands.
    pub fn read(&mut self, annotations: &BTreeMap<String, (String, FieldPath)>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for row in TABLE {
            let Some((text, path)) = annotations.get(row.key) else { continue };
            if let Err(remedy) = (row.apply)(self, text) {
                problems.push(Problem::warning(
                    path.clone(),
                    format!("{text:?} is not understood and has no effect"),
                    remedy,
                ));
            }
        }
        let known = || TABLE.iter().map(|row| row.key);
        for (key, (_, path)) in annotations.iter().filter(|(key, _)| key.starts_with("headgate.dev/")) {
            if !known().any(|k| k == key) {
                let ours = known().filter(|k| k.starts_with("headgate.dev/")).collect::<Vec<_>>();
                let remedy = suggestion(key, ours.into_iter());
                problems.push(Problem::warning(path.clone(), "is no annotation of ours and has no effect", remedy));
            }
        }
        problems
    }
}

fn set<T>(place: &mut T, value: T) -> Result<(), String> {
    *place = value;
    Ok(())
}

fn count(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn duration(text: &str) -> Result<u64, String> {
    headgate_translate::duration::parse(text).ok_or_else(|| DURATION.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let mut settings = Settings::default();
        let place = |key: &str| FieldPath::of("metadata.annotations").key(key.to_owned());
        let annotations =
            pairs.iter().map(|(key, text)| ((*key).to_owned(), ((*text).to_owned(), place(key)))).collect();
        let problems = settings.read(&annotations);
        (settings, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn annotations_change_what_they_name() {
        let (settings, problems) = read(&[
            ("headgate.dev/queue", "100"),
            ("headgate.dev/wait", "1m30s"),
            ("headgate.dev/cold", "shift"),
            ("autoscaling.knative.dev/metric", "rps"),
            ("autoscaling.knative.dev/target", "50"),
            ("autoscaling.knative.dev/window", "10s"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(settings.queue.count, Some(100));
        assert_eq!(settings.wait.limit_ms, Some(90_000));
        assert_eq!(settings.cold, ColdArm::Shift);
        assert_eq!(settings.target, Target::Rate(50));
        assert_eq!((settings.window_ms, settings.idle_ms), (10_000, 10_000));
    }

    #[test]
    fn what_is_not_understood_is_a_warning_and_changes_nothing() {
        let (settings, problems) = read(&[("headgate.dev/wait", "soon"), ("headgate.dev/queu", "1")]);
        assert_eq!(settings, Settings::default());
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("\"soon\" is not understood") && problems[0].contains("500ms"), "{problems:?}");
        assert!(problems[1].contains("did you mean headgate.dev/queue?"), "{problems:?}");
    }
}
