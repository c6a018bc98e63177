//! XBackendTrafficPolicy (experimental, v1alpha1): how requests to a Service are sent: to which endpoint again, and how often once more. Never a count.

use crate::{
    form::Form,
    kinds::{ObjectMeta, PolicyTarget, SessionPersistence},
    schema::{Fields, Reader},
};

/// The group of what Gateway API tries out.
pub const EXPERIMENTAL_GROUP: &str = "gateway.networking.x-k8s.io";

/// XBackendTrafficPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// Metadata.
    pub meta: ObjectMeta,
    /// The Services that it applies to, in its own namespace.
    pub targets: Vec<PolicyTarget>,
    /// Bounds of tries after the first.
    pub retry: Option<RetryConstraint>,
    /// Persistence.
    pub session: Option<SessionPersistence>,
}

/// `retryConstraint`, with its defaults written out. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryConstraint {
    /// Percent of the requests of an interval that may be tries after the first.
    pub percent: u32,
    /// That interval.
    pub interval_ms: u64,
    /// So many tries are allowed whatever the percentage, in the time of `least_interval_ms`.
    pub least_count: u32,
    /// See `least_count`.
    pub least_interval_ms: u64,
}

impl Default for RetryConstraint {
    fn default() -> Self {
        Self { percent: 20, interval_ms: 10_000, least_count: 10, least_interval_ms: 1_000 }
    }
}

impl TrafficPolicy {
    pub(crate) fn read(top: &mut Fields<'_>, meta: ObjectMeta) -> Self {
        let Some(at) = top.need("spec") else { return Self { meta, ..Self::default() } };
        let mut spec = at.fields();
        Self {
            meta,
            targets: spec.need("targetRefs").map(|at| PolicyTarget::read_any(&at)).unwrap_or_default(),
            retry: spec.get("retryConstraint").map(|at| RetryConstraint::read(&at)),
            session: spec.get("sessionPersistence").map(|at| SessionPersistence::read(&at)),
        }
    }
}

impl RetryConstraint {
    fn read(at: &Reader<'_>) -> Self {
        let mut constraint = Self::default();
        let mut fields = at.fields();
        if let Some(budget) = fields.get("budget") {
            let mut fields = budget.fields();
            constraint.percent = count(&mut fields, "percent", 0..=100).unwrap_or(constraint.percent);
            constraint.interval_ms = interval(&mut fields, 1_000..=HOUR_MS).unwrap_or(constraint.interval_ms);
        }
        if let Some(least) = fields.get("minRetryRate") {
            let mut fields = least.fields();
            constraint.least_count = count(&mut fields, "count", 1..=1_000_000).unwrap_or(constraint.least_count);
            constraint.least_interval_ms = interval(&mut fields, 1..=HOUR_MS).unwrap_or(constraint.least_interval_ms);
        }
        constraint
    }
}

const HOUR_MS: u64 = 3_600_000;

fn count(fields: &mut Fields<'_>, key: &'static str, bounds: std::ops::RangeInclusive<i64>) -> Option<u32> {
    fields.number(key, bounds).and_then(|count| count.try_into().ok())
}

fn interval(fields: &mut Fields<'_>, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let at = fields.get("interval")?;
    let ms = crate::duration::parse(&at.text(Form::DURATION))?;
    if !bounds.contains(&ms) {
        let least = if *bounds.start() == 1_000 { "1s" } else { "1ms" };
        at.error("is out of range", format!("write a duration from {least} to 1h"));
    }
    Some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{Decoded, Object, decode};
    use serde_json::{Value, json};

    fn policy(mut spec: Value) -> Result<TrafficPolicy, Vec<String>> {
        spec["targetRefs"] = json!([{"group": "", "kind": "Service", "name": "web"}]);
        let value = json!({"apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackendTrafficPolicy",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
        match decode(&value) {
            Ok(Decoded::Known(Object::TrafficPolicy(policy), _)) => Ok((*policy).clone()),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_definition() {
        assert_eq!(policy(json!({})).unwrap().retry, None);
        assert_eq!(policy(json!({"retryConstraint": {}})).unwrap().retry, Some(RetryConstraint::default()));
        let retry = json!({"budget": {"percent": 0, "interval": "1m"}, "minRetryRate": {"count": 3, "interval": "2s"}});
        let read = policy(json!({"retryConstraint": retry})).unwrap().retry.unwrap();
        let written = RetryConstraint { percent: 0, interval_ms: 60_000, least_count: 3, least_interval_ms: 2_000 };
        assert_eq!(read, written);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        for (retry, place) in [
            (json!({"budget": {"percent": 101}}), "spec.retryConstraint.budget.percent"),
            (json!({"budget": {"interval": "500ms"}}), "budget.interval: is out of range; write a duration from 1s"),
            (json!({"minRetryRate": {"interval": "2h"}}), "minRetryRate.interval"),
            (json!({"minRetryRate": {"count": 0}}), "minRetryRate.count"),
        ] {
            let problems = policy(json!({"retryConstraint": retry})).unwrap_err().join("\n");
            assert!(problems.contains(place), "{problems}");
        }
    }
}
