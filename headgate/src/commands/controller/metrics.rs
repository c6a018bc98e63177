//! The metrics of a controller: from what it counts and what it says of itself. Names are an interface. Never a clock.

use super::admin::Shown;
use crate::health::Health;
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::{Registry, Unit},
};

/// The label of a watch.
type Kind = [(&'static str, String); 1];

/// As OpenMetrics text. Without an answer of its loop, what only that knows is left out.
pub fn text(shown: &Shown, health: Option<&Health>) -> String {
    let mut registry = Registry::with_prefix("headgate_controller");
    registry.register("leading", "1 if this controller is the leader", shown.leading.clone());
    registry.register("batches", "Batches of changed objects that were worked on", shown.batches.clone());
    let busy = "Time that the work on changed objects took";
    registry.register_with_unit("work", busy, Unit::Seconds, shown.busy.clone());
    registry.register("published", "Versions of routes published to gateways", shown.published.clone());
    registry.register("gateways", "Gateways that are served", shown.gateways.clone());
    registry.register("connected_pods", "Gateway Pods that are connected", shown.connected.clone());
    if let Some(health) = health {
        register_watches(&mut registry, health);
        register_writers(&mut registry, health);
    }
    let mut text = String::new();
    // writing to a text cannot fail
    let _ = encode(&mut text, &registry);
    text
}

fn register_watches(registry: &mut Registry, health: &Health) {
    let (failing, age) = (Family::<Kind, Gauge>::default(), Family::<Kind, Gauge>::default());
    let failures = Family::<Kind, Counter>::default();
    for watch in &health.watches {
        let kind = [("kind", watch.kind.clone())];
        failing.get_or_create(&kind).set(i64::from(watch.state == "failing"));
        failures.get_or_create(&kind).inc_by(watch.failures);
        if let Some(seconds) = watch.last_event_seconds {
            age.get_or_create(&kind).set(gauge(seconds));
        }
    }
    registry.register("watch_failing", "1 if objects of the kind cannot be watched", failing);
    registry.register("watch_failures", "Lists and watches that failed", failures);
    let help = "Time since the watch said anything; it is begun anew about every two minutes";
    registry.register_with_unit("watch_age", help, Unit::Seconds, age);
}

fn register_writers(registry: &mut Registry, health: &Health) {
    let statuses = health.statuses;
    let behind: usize = health.gateways.iter().map(crate::health::Follow::behind).sum();
    let mut gauge_of = |name: &str, help: &str, value: u64| {
        registry.register(name, help, ConstGauge::new(gauge(value)));
    };
    gauge_of("behind_pods", "Gateway Pods that serve an older version than the newest", behind as u64);
    gauge_of("unwritten_objects", "Objects that could not be written", health.unwritten.len() as u64);
    gauge_of("statuses_pending", "Objects whose status waits to be written", statuses.pending);
    let mut counter = |name: &str, help: &str, value: u64| registry.register(name, help, ConstCounter::new(value));
    counter("statuses_written", "Statuses written", statuses.written);
    counter("status_conflicts", "Writes of statuses that met another version of the object", statuses.conflicts);
    counter("statuses_failed", "Writes of statuses that failed", statuses.failed);
    counter("events_dropped", "Events that were not written", statuses.events_dropped);
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Follow, Statuses, Unwritten, Watch};
    use std::collections::BTreeMap;

    #[test]
    fn what_the_loop_says_of_itself_is_among_the_metrics() {
        let watch = Watch {
            kind: "Service".into(),
            state: "failing".into(),
            last_event_seconds: Some(7),
            failures: 3,
            ..Watch::default()
        };
        let health = Health {
            watches: vec![watch],
            unwritten: vec![Unwritten::default()],
            statuses: Statuses { written: 5, pending: 2, ..Statuses::default() },
            gateways: vec![Follow {
                gateway: "shop/web".into(),
                version: 9,
                pods: BTreeMap::from([("a".into(), 9), ("b".into(), 8)]),
            }],
            ..Health::default()
        };
        let text = text(&Shown::default(), Some(&health));
        for line in [
            r#"headgate_controller_watch_failing{kind="Service"} 1"#,
            r#"headgate_controller_watch_failures_total{kind="Service"} 3"#,
            r#"headgate_controller_watch_age_seconds{kind="Service"} 7"#,
            "headgate_controller_behind_pods 1",
            "headgate_controller_unwritten_objects 1",
            "headgate_controller_statuses_pending 2",
            "headgate_controller_statuses_written_total 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn without_an_answer_of_the_loop_the_rest_is_told() {
        let text = text(&Shown::default(), None);
        assert!(text.contains("headgate_controller_leading 0") && !text.contains("watch_"), "{text}");
    }
}
