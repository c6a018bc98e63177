//! ScalingPolicy of `headgate.dev`: what is behind a Service is scaled by the requests for it. Never says who does it.

use crate::{
    choices,
    form::Form,
    kinds::{ObjectMeta, PolicyTarget},
    schema::{Fields, Reader},
};
use headgate_config::{ColdArm, QueueBounds, Wait};

/// The group of the kinds that are this program's own.
pub const HEADGATE_GROUP: &str = "headgate.dev";
/// Replicas where no bound is set: more than any cluster runs.
const REPLICAS_MOST: i64 = 10_000;
/// The most of what is counted in requests.
const REQUESTS_MOST: i64 = 1_000_000;
/// What one replica is meant to bear where nothing is written: at once, and a second.
const TARGETS: (u32, u32) = (100, 200);

/// ScalingPolicy. Times are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScalingPolicy {
    /// Metadata.
    pub meta: ObjectMeta,
    /// The Services whose requests count, in its own namespace.
    pub targets: Vec<PolicyTarget>,
    /// What is scaled, in its own namespace.
    pub workload: WorkloadRef,
    /// Replicas at least.
    pub min: u32,
    /// Replicas at most.
    pub max: u32,
    /// What is counted.
    pub metric: ScalingMetric,
    /// What of it one replica is meant to bear.
    pub target: u32,
    /// Requests at once for one replica; 0 is no bound.
    pub concurrency: u32,
    /// Over how long demand is averaged.
    pub window_ms: u64,
    /// How long there is no demand before the last replica stops.
    pub idle_ms: u64,
    /// How long a replica may take to become ready.
    pub start_ms: u64,
    /// How long requests in flight may hold a replica that is to stop.
    pub grace_ms: u64,
    /// Bounds of the queue.
    pub queue: QueueBounds,
    /// How long a request may wait.
    pub wait: Wait,
    /// What happens to a request of a split whose chosen Service is cold.
    pub cold: ColdChoice,
}

/// `scaleTargetRef`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

choices! {
    /// Kinds of `apps/v1` that are scaled.
    WorkloadKind { Deployment = "Deployment", StatefulSet = "StatefulSet" }
}

choices! {
    /// `metric`.
    ScalingMetric { Concurrency = "concurrency", Rps = "rps" }
}

choices! {
    /// `cold`.
    ColdChoice { Hold = "hold", Shift = "shift", Reject = "reject" }
}

impl ColdChoice {
    /// As the data plane knows it; one of a later version waits.
    pub const fn arm(&self) -> ColdArm {
        match self {
            Self::Hold | Self::Unknown(_) => ColdArm::Hold,
            Self::Shift => ColdArm::Shift,
            Self::Reject => ColdArm::Reject,
        }
    }
}

impl WorkloadRef {
    /// The name of the scale target that it is, as Backends have it: a Deployment by namespace and name, others with their kind between.
    pub fn target(&self, namespace: &str) -> String {
        match &self.kind {
            WorkloadKind::Deployment => format!("{namespace}/{}", self.name),
            other => format!("{namespace}/{}/{}", other.as_str(), self.name),
        }
    }
}

impl ScalingPolicy {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        let metric: ScalingMetric = spec.choice("metric").unwrap_or_default();
        let default = if metric == ScalingMetric::Rps { TARGETS.1 } else { TARGETS.0 };
        let policy = Self {
            meta,
            targets: spec.need("targetRefs").map(|at| PolicyTarget::read_services(&at)).unwrap_or_default(),
            workload: spec.need("scaleTargetRef").map(|at| WorkloadRef::read(&at)).unwrap_or_default(),
            min: count(&mut spec, "minReplicas", 0..=REPLICAS_MOST, 0),
            max: count(&mut spec, "maxReplicas", 0..=REPLICAS_MOST, 10),
            metric,
            target: count(&mut spec, "target", 1..=REQUESTS_MOST, default),
            concurrency: count(&mut spec, "concurrency", 0..=REQUESTS_MOST, 0),
            window_ms: duration(&mut spec, "window").unwrap_or(60_000),
            idle_ms: duration(&mut spec, "idle").unwrap_or(60_000),
            start_ms: duration(&mut spec, "startTimeout").unwrap_or(60_000),
            grace_ms: duration(&mut spec, "grace").unwrap_or(300_000),
            queue: QueueBounds {
                count: spec.number("queue", 0..=REQUESTS_MOST).and_then(|count| count.try_into().ok()),
                bytes: spec.text("queueBytes", BYTES).and_then(|text| bytes(&text)),
            },
            wait: Wait { limit_ms: duration(&mut spec, "wait") },
            cold: spec.choice("cold").unwrap_or_default(),
        };
        if policy.max > 0 && policy.min > policy.max {
            let remedy = format!("write maxReplicas of at least {}, or 0 for no bound", policy.min);
            at.error(format!("minReplicas is {}, more than maxReplicas, {}", policy.min, policy.max), remedy);
        }
        let most = u32::try_from(REPLICAS_MOST).unwrap_or(u32::MAX);
        Self { max: if policy.max == 0 { most } else { policy.max }, ..policy }
    }
}

impl WorkloadRef {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        if let Some(version) = fields.get("apiVersion").filter(|at| at.value() != "apps/v1") {
            version.error("is not known", "write apiVersion: apps/v1");
        }
        Self { kind: fields.choice("kind").unwrap_or_default(), name: fields.need_text("name", Form::NAME) }
    }
}

fn count(spec: &mut Fields<'_>, field: &'static str, bounds: std::ops::RangeInclusive<i64>, default: u32) -> u32 {
    spec.number(field, bounds).and_then(|count| count.try_into().ok()).unwrap_or(default)
}

fn duration(spec: &mut Fields<'_>, field: &'static str) -> Option<u64> {
    spec.text(field, Form::DURATION).and_then(|text| crate::duration::parse(&text))
}

const BYTES: Form = Form::custom(
    1,
    16,
    |text| bytes(text).is_some(),
    "write a number of bytes, perhaps with KiB, MiB or GiB behind it",
);

/// A number of bytes: digits, and perhaps a unit.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let shift = match text.get(digits..)? {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    text.get(..digits).filter(|_| digits <= 12)?.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{Decoded, Object, decode};
    use serde_json::{Value, json};

    fn policy(spec: &Value) -> Result<ScalingPolicy, Vec<String>> {
        let mut whole = json!({"targetRefs": [{"kind": "Service", "name": "web"}], "scaleTargetRef": {"name": "web"}});
        for (key, value) in spec.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        let value = json!({"apiVersion": "headgate.dev/v1alpha1", "kind": "ScalingPolicy",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": whole});
        match decode(&value) {
            Ok(Decoded::Known(Object::ScalingPolicy(policy), _)) => Ok((*policy).clone()),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_definition() {
        let read = policy(&json!({})).unwrap();
        assert_eq!((read.min, read.max, read.target, read.concurrency), (0, 10, 100, 0));
        assert_eq!((read.window_ms, read.idle_ms, read.start_ms, read.grace_ms), (60_000, 60_000, 60_000, 300_000));
        assert_eq!((read.queue, read.wait, read.cold.arm()), (QueueBounds::default(), Wait::default(), ColdArm::Hold));
        assert_eq!((read.workload.target("shop"), read.targets[0].name.as_str()), ("shop/web".into(), "web"));
        assert_eq!(policy(&json!({"metric": "rps"})).unwrap().target, 200);
        assert_eq!(policy(&json!({"maxReplicas": 0})).unwrap().max, 10_000, "no bound");
    }

    #[test]
    fn all_fields_are_read() {
        let read = policy(&json!({"scaleTargetRef": {"kind": "StatefulSet", "name": "db"}, "minReplicas": 1, "maxReplicas": 3,
            "metric": "rps", "target": 7, "concurrency": 4, "window": "10s", "idle": "1m30s", "startTimeout": "2m", "grace": "5s",
            "queue": 50, "queueBytes": "2MiB", "wait": "9s", "cold": "reject"}))
        .unwrap();
        assert_eq!((read.min, read.max, read.target, read.concurrency), (1, 3, 7, 4));
        assert_eq!((read.window_ms, read.idle_ms, read.start_ms, read.grace_ms), (10_000, 90_000, 120_000, 5_000));
        assert_eq!((read.queue.count, read.queue.bytes, read.wait.limit_ms), (Some(50), Some(2 << 20), Some(9_000)));
        assert_eq!((read.cold.arm(), read.metric), (ColdArm::Reject, ScalingMetric::Rps));
        assert_eq!(read.workload.target("shop"), "shop/StatefulSet/db");
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        for (spec, place, remedy) in [
            (json!({"minReplicas": 4, "maxReplicas": 2}), "spec: minReplicas is 4", "at least 4"),
            (json!({"idle": "soon"}), "spec.idle", "such as 500ms"),
            (json!({"queueBytes": "2MB"}), "spec.queueBytes", "KiB, MiB or GiB"),
            (json!({"metric": "cpu"}), "spec.metric", "concurrency"),
            (
                json!({"scaleTargetRef": {"apiVersion": "apps/v2", "name": "a"}}),
                "spec.scaleTargetRef.apiVersion",
                "apps/v1",
            ),
            (json!({"targetRefs": []}), "spec.targetRefs", ""),
        ] {
            let problems = policy(&spec).unwrap_err().join("\n");
            assert!(problems.contains(place) && problems.contains(remedy), "{problems}");
        }
    }
}
