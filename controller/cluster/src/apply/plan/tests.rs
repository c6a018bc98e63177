//! What is written, removed and left alone, without an API server.

use super::*;
use headgate_controller::sources::cluster::ClusterContent;
use serde_json::json;
use std::time::Duration;

fn name(kind: &str) -> ObjectRef {
    ObjectRef::new("", kind, "default", "web-headgate")
}

fn gateways() -> BTreeSet<GatewayName> {
    BTreeSet::from([GatewayName { namespace: "default".into(), name: "web".into() }])
}

fn wanted(value: &Value) -> BTreeMap<ObjectRef, Arc<Value>> {
    BTreeMap::from([(name("Service"), Arc::new(value.clone()))])
}

fn there(kind: &str, version: &str, value: &Value) -> ObjectChange {
    let mut value = value.clone();
    value["metadata"]["resourceVersion"] = json!(version);
    ObjectChange::Upsert(Arc::new(ClusterObject {
        name: name(kind),
        version: "v1",
        content: ClusterContent::Other(Arc::new(value.clone())),
        uid: "u".into(),
        owner: Some(Box::new(ObjectRef::new(GATEWAY_GROUP, "Gateway", "default", "web"))),
        generation: 1,
        resource_version: version.into(),
        status: Default::default(),
        appliers: Vec::new(),
        made: Some(Arc::new(value)),
        problems: Vec::new(),
    }))
}

/// The work that is due now, with everything answered at once as it was asked for.
fn works(plan: &mut Plan, now: Instant) -> Vec<String> {
    let mut works = Vec::new();
    while let Step::Work(name, work) = plan.next(now) {
        let (text, outcome) = match work {
            Work::Apply { manifest, .. } => {
                let mut answer = Value::clone(&manifest);
                answer["metadata"] = json!({"resourceVersion": "2"});
                ("apply", Outcome::Applied(answer))
            }
            Work::Delete { .. } => ("delete", Outcome::Deleted),
        };
        works.push(format!("{text} {}", name.kind));
        plan.done(&name, outcome, now, 0.0);
    }
    works
}

fn leading() -> Plan {
    leading_with(true)
}

fn leading_with(functions: bool) -> Plan {
    let mut plan = Plan::new(functions);
    plan.lead(true);
    plan
}

#[test]
fn what_is_missing_is_applied_once_and_what_drifted_again() {
    let (mut plan, now) = (leading(), Instant::now());
    let manifest = json!({"spec": {"type": "LoadBalancer"}});
    plan.want(wanted(&manifest), gateways());
    assert_eq!(works(&mut plan, now), ["apply Service"]);
    plan.see(&there("Service", "2", &json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}})));
    assert_eq!(works(&mut plan, now), [""; 0], "what others add is theirs");
    plan.see(&there("Service", "3", &json!({"spec": {"type": "NodePort"}})));
    let later = now + Duration::from_secs(1);
    assert_eq!(works(&mut plan, later), ["apply Service"]);
    plan.see(&ObjectChange::Remove(name("Service")));
    assert_eq!(works(&mut plan, later + Duration::from_secs(30)), ["apply Service"], "somebody removed it");
}

#[test]
fn what_is_there_as_wanted_is_not_written_after_a_restart() {
    let (mut plan, now) = (leading(), Instant::now());
    plan.see(&there("Service", "1", &json!({"spec": {"ports": [{"port": 80, "nodePort": 31000}]}})));
    plan.want(wanted(&json!({"spec": {"ports": [{"port": 80}]}})), gateways());
    assert_eq!(works(&mut plan, now), [""; 0]);
    plan.want(wanted(&json!({"spec": {"ports": [{"port": 80}, {"port": 443}]}})), gateways());
    assert_eq!(works(&mut plan, now), ["apply Service"]);
}

#[test]
fn what_nobody_wants_of_our_gateways_goes_once_and_nothing_of_others() {
    let (mut plan, now) = (leading(), Instant::now());
    plan.see(&there("PodDisruptionBudget", "1", &json!({})));
    assert_eq!(works(&mut plan, now), [""; 0], "its Gateway is not ours");
    plan.want(BTreeMap::new(), gateways());
    assert_eq!(works(&mut plan, now), ["delete PodDisruptionBudget"]);
    plan.see(&there("PodDisruptionBudget", "2", &json!({})));
    assert_eq!(works(&mut plan, now + Duration::from_secs(30)), [""; 0], "it is on its way");
}

#[test]
fn what_functions_have_goes_only_where_functions_are_served() {
    let of_function = json!({"metadata": {"labels": {FUNCTION_LABEL: "hello"}}});
    for (serves_functions, expected) in [(true, vec!["delete Deployment"]), (false, vec![])] {
        let mut plan = leading_with(serves_functions);
        plan.want(BTreeMap::new(), BTreeSet::new());
        plan.see(&there("Deployment", "1", &of_function));
        assert_eq!(works(&mut plan, Instant::now()), expected);
    }
}

#[test]
fn nothing_is_removed_before_it_was_said_what_is_wanted() {
    let mut plan = Plan::new(true);
    plan.lead(true);
    plan.see(&there("Deployment", "1", &json!({"metadata": {"labels": {FUNCTION_LABEL: "hello"}}})));
    assert_eq!(works(&mut plan, Instant::now()), [""; 0]);
    plan.want(BTreeMap::new(), gateways());
    assert_eq!(works(&mut plan, Instant::now()), ["delete Deployment"]);
}

#[test]
fn whoever_does_not_lead_writes_nothing_and_a_failure_waits() {
    let (mut plan, now) = (Plan::default(), Instant::now());
    plan.want(wanted(&json!({"spec": {}})), gateways());
    assert!(matches!(plan.next(now), Step::Wait(None)));
    plan.lead(true);
    let Step::Work(name, _) = plan.next(now) else { panic!("nothing to do") };
    plan.done(&name, Outcome::Failed(Failure::Unavailable, String::new()), now, 1.0);
    assert!(matches!(plan.next(now), Step::Wait(Some(until)) if until > now));
    assert!(matches!(plan.next(now + Duration::from_secs(10)), Step::Work(..)));
}

#[test]
fn nothing_is_kept_of_what_is_neither_there_nor_wanted() {
    let (mut plan, now) = (leading(), Instant::now());
    plan.want(BTreeMap::new(), gateways());
    plan.see(&there("Deployment", "1", &json!({})));
    assert_eq!(works(&mut plan, now), ["delete Deployment"]);
    plan.see(&ObjectChange::Remove(name("Deployment")));
    plan.want(wanted(&json!({"spec": {}})), gateways());
    assert_eq!(works(&mut plan, now), ["apply Service"]);
    plan.want(BTreeMap::new(), gateways());
    assert_eq!(works(&mut plan, now), [""; 0], "it was never shown");
    assert!(plan.delays.is_empty() && plan.applied.is_empty() && plan.removed.is_empty(), "{plan:?}");
}

#[test]
fn what_could_not_be_written_is_told_until_it_is() {
    let (mut plan, now) = (leading(), Instant::now());
    plan.want(wanted(&json!({"spec": {}})), gateways());
    let Step::Work(service, _) = plan.next(now) else { panic!("nothing to do") };
    plan.done(&service, Outcome::Failed(Failure::Refused, "exceeded quota".into()), now, 0.0);
    assert_eq!(plan.troubles(), BTreeMap::from([(service, "exceeded quota".into())]));
    assert_eq!(works(&mut plan, now + Duration::from_secs(60)), ["apply Service"]);
    assert_eq!(plan.troubles(), BTreeMap::new());
}

#[test]
fn whoever_leads_no_more_has_no_troubles() {
    let (mut plan, now) = (leading(), Instant::now());
    let both = ["Deployment", "Service"].map(|kind| (name(kind), Arc::new(json!({"spec": {}}))));
    plan.want(BTreeMap::from(both), gateways());
    let (Step::Work(first, _), Step::Work(second, _)) = (plan.next(now), plan.next(now)) else { panic!("two to do") };
    let refused = || Outcome::Failed(Failure::Refused, "exceeded quota".into());
    plan.done(&first, refused(), now, 0.0);
    assert_eq!(plan.troubles().len(), 1);
    plan.lead(false);
    plan.done(&second, refused(), now, 0.0);
    assert_eq!((plan.troubles(), plan.refusals()), (BTreeMap::new(), BTreeMap::new()));
}

#[test]
fn of_what_goes_with_its_namespace_nobody_is_told() {
    let (mut plan, now) = (leading(), Instant::now());
    plan.want(wanted(&json!({"spec": {}})), gateways());
    let Step::Work(service, _) = plan.next(now) else { panic!("nothing to do") };
    plan.done(&service, Outcome::Failed(Failure::Ending, "it is being terminated".into()), now, 0.0);
    assert_eq!(plan.troubles(), BTreeMap::new());
}

#[test]
fn a_service_that_has_lost_our_label_gets_it_again() {
    let (mut plan, now) = (leading(), Instant::now());
    plan.want(wanted(&json!({"spec": {}})), gateways());
    assert_eq!(works(&mut plan, now), ["apply Service"]);
    plan.see(&there("Service", "2", &json!({"spec": {}})));
    let ObjectChange::Upsert(object) = there("Service", "3", &json!({"spec": {}})) else { panic!("no object") };
    plan.see(&ObjectChange::Upsert(Arc::new(ClusterObject { made: None, ..ClusterObject::clone(&object) })));
    assert_eq!(works(&mut plan, now + Duration::from_secs(1)), ["apply Service"]);
}

#[test]
fn the_replicas_of_a_revision_are_no_reason_to_write() {
    let (mut plan, now) = (leading(), Instant::now());
    let labels = json!({"app.kubernetes.io/managed-by": "headgate", REVISION_LABEL: "hello-1"});
    let manifest = |spec: Value| json!({"kind": "Deployment", "metadata": {"labels": labels}, "spec": spec});
    let want = |plan: &mut Plan, value: &Value| {
        plan.want(BTreeMap::from([(name("Deployment"), Arc::new(value.clone()))]), BTreeSet::new());
    };
    want(&mut plan, &manifest(json!({"replicas": 0, "paused": false})));
    assert_eq!(works(&mut plan, now), ["apply Deployment"]);
    want(&mut plan, &manifest(json!({"paused": false})));
    assert_eq!(works(&mut plan, now + Duration::from_secs(9)), [""; 0], "without, they would become 1 again");
    want(&mut plan, &manifest(json!({"replicas": 3, "paused": true})));
    assert_eq!(works(&mut plan, now + Duration::from_secs(18)), ["apply Deployment"]);
}
