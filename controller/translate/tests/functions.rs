//! What functions add: a route to the Service of a function is split among its revisions, and Services that scale have their traits.

use headgate_config::{ArmTarget, ColdArm, QueueBounds, Wait};
use headgate_translate::{
    AliasArm, Objects, ServiceTraits, Settings, Translation,
    kinds::{Decoded, decode},
    translate,
};
use serde_json::{Value, json};

fn objects(backends: Value) -> Objects {
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]},
        })
    };
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"},
        "spec": {"rules": [{"backendRefs": backends}]},
    });
    let mut objects = Objects::default();
    for value in [service("hello-v1"), service("hello-v2"), service("plain"), route] {
        let Ok(Decoded::Known(object, _)) = decode(&value) else { panic!("{value} is taken") };
        objects.insert(object);
    }
    let arm = |service: &str, weight| AliasArm { service: service.into(), port: 80, weight };
    let key = |name: &str| ("default".into(), name.into());
    objects.aliases.insert(key("hello"), vec![arm("hello-v1", 90), arm("hello-v2", 10)]);
    objects.aliases.insert(key("cold"), vec![arm("hello-v1", 0)]);
    objects.aliases.insert(key("half"), vec![arm("hello-v1", 1), arm("gone", 1)]);
    let traits = ServiceTraits {
        concurrency: 10,
        scales: Some("default/hello-v1".into()),
        queue: QueueBounds { count: Some(100), bytes: None },
        wait: Wait { limit_ms: Some(30_000) },
        cold: ColdArm::Shift,
        ..ServiceTraits::default()
    };
    objects.traits.insert(key("hello-v1"), traits);
    objects
}

/// Targets and weights of the only rule.
fn arms(translation: &Translation) -> Vec<(String, u32)> {
    let rule = translation.snapshot.rules.values().next().expect("a rule");
    let headgate_config::Action::Forward(split) = &rule.action else { panic!("{rule:?}") };
    let target = |target: &ArmTarget| match target {
        ArmTarget::Backend(name) => name.to_string(),
        ArmTarget::Invalid(reason) => reason.clone(),
    };
    split.arms.iter().map(|arm| (target(&arm.target), arm.weight)).collect()
}

#[test]
fn a_route_to_a_function_is_split_among_its_revisions() {
    let table = [
        (json!([{"name": "hello", "port": 8080}]), vec![("default/hello-v1:80", 9), ("default/hello-v2:80", 1)]),
        (
            json!([{"name": "hello", "port": 80, "weight": 1}, {"name": "plain", "port": 80, "weight": 3}]),
            vec![("default/hello-v1:80", 9), ("default/hello-v2:80", 1), ("default/plain:80", 30)],
        ),
        (
            json!([{"name": "cold", "port": 80}]),
            vec![("BackendNotFound: the function has no revision that takes requests", 1)],
        ),
        (
            json!([{"name": "half", "port": 80}]),
            vec![("default/hello-v1:80", 1), ("BackendNotFound: Service default/gone does not exist", 1)],
        ),
    ];
    for (backends, expected) in table {
        let translation = translate(&objects(backends.clone()), &Settings::standalone());
        let found = arms(&translation);
        let found: Vec<(&str, u32)> = found.iter().map(|(target, weight)| (target.as_str(), *weight)).collect();
        assert_eq!(found, expected, "{backends}");
    }
}

#[test]
fn services_that_scale_carry_their_traits() {
    let translation = translate(&objects(json!([{"name": "hello", "port": 80}])), &Settings::standalone());
    let backends: Vec<_> = translation.snapshot.backends.values().collect();
    assert_eq!((backends[0].concurrency, backends[0].queue.count), (10, Some(100)));
    assert_eq!(backends[0].scales.as_deref(), Some("default/hello-v1"));
    assert_eq!(backends[0].wait.limit_ms, Some(30_000));
    assert_eq!(backends[1].scales, None);
    let rule = translation.snapshot.rules.values().next().expect("a rule");
    let headgate_config::Action::Forward(split) = &rule.action else { panic!("{rule:?}") };
    assert_eq!(split.cold, ColdArm::Shift);
}

#[test]
fn endpoints_are_found_without_a_translation() {
    let mut objects = objects(json!([{"name": "hello-v1", "port": 80}, {"name": "plain", "port": 80}]));
    for service in ["hello-v1", "plain"] {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv6", "ports": [{"port": 8080}],
            "endpoints": [{"addresses": ["::1"], "conditions": {"ready": false}}],
        });
        let Ok(Decoded::Known(object, _)) = decode(&slice) else { panic!("{slice} is taken") };
        objects.insert(object);
    }
    let translation = translate(&objects, &Settings::standalone());
    let found = headgate_translate::endpoints_of(&objects, &translation.snapshot);
    assert_eq!(found.iter().collect::<Vec<_>>(), translation.endpoints.values().map(AsRef::as_ref).collect::<Vec<_>>());
    // one that is not ready is asked only where the Service scales
    assert_eq!(
        found[0].list.iter().map(|e| (e.address.to_string(), e.ready)).collect::<Vec<_>>(),
        [("[::1]:8080".into(), false)]
    );
    assert_eq!(found[1].list, []);
}
