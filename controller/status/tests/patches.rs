//! What is written of a status, seen from the object: it shows what stands there afterwards. It never looks inside the crate.
#![allow(clippy::unwrap_used, reason = "a test, and a panic is its verdict")]

use headgate_status::{Address, Current, Definitions, Fleet, Method, Patch, Wanted, fall_back, nothing, patch};
use headgate_translate::{
    conditions::{
        AncestorStatus, ClassStatus, Condition, ConditionType, GatewayStatus, ListenerStatus, ParentStatus,
        PolicyStatus, Reason, RouteStatus, Status,
    },
    kinds::{GATEWAY_GROUP, ObjectRef, ParentRef, RouteGroupKind},
    schema::{FieldPath, Problem},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

const CONTROLLER: &str = "headgate.dev/gateway-controller";
const EARLIER: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-01-02T00:00:00Z";

fn route() -> ObjectRef {
    ObjectRef::new(GATEWAY_GROUP, "HTTPRoute", "default", "hello")
}

fn gateway() -> ObjectRef {
    ObjectRef::new(GATEWAY_GROUP, "Gateway", "default", "web")
}

fn patch_at(object: &ObjectRef, generation: i64, status: &Value, wanted: &Wanted) -> Option<Patch> {
    let current = Current { object, generation, resource_version: "7", status, appliers: &[] };
    patch(current, wanted, CONTROLLER, "2026-01-02T00:00:00.75Z".parse::<Timestamp>().unwrap())
}

/// What the API server makes of a merge patch (RFC 7386).
fn merged(status: &Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else { return patch.clone() };
    let mut result = status.as_object().cloned().unwrap_or_default();
    for (field, value) in fields {
        if value.is_null() {
            result.shift_remove(field);
        } else {
            let inner = merged(result.get(field).unwrap_or(&Value::Null), value);
            result.insert(field.clone(), inner);
        }
    }
    Value::Object(result)
}

/// The status after a merge patch, which has to name the version that it was made from; a second patch must have nothing to do.
fn after(object: &ObjectRef, generation: i64, status: &Value, wanted: &Wanted) -> Value {
    let patch = patch_at(object, generation, status, wanted).expect("there is something to write");
    assert_eq!(patch.method, Method::Merge);
    assert_eq!(patch.body["metadata"], json!({"resourceVersion": "7"}));
    let after = merged(status, &patch.body["status"]);
    assert_eq!(patch_at(object, generation, &after, wanted), None, "the patch leaves nothing to write");
    after
}

fn accepted(generation: i64) -> Condition {
    Condition::fine(ConditionType::Accepted, Reason::Accepted, generation)
}

fn refused(generation: i64) -> Condition {
    Condition::wrong(ConditionType::Accepted, Reason::NoMatchingParent, "no listener", generation)
}

fn said(parents: &[(&str, Condition)]) -> Wanted {
    let entry = |(gateway, condition): &(&str, Condition)| ParentStatus {
        parent_ref: ParentRef::gateway("infra", gateway),
        controller_name: CONTROLLER.into(),
        conditions: vec![condition.clone()],
    };
    Wanted::Said(Arc::new(Status::Route(RouteStatus { parents: parents.iter().map(entry).collect() })))
}

fn written(kind: &str, status: &str, reason: &str, message: &str, generation: i64, time: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": generation, "lastTransitionTime": time,
    })
}

fn entry(gateway: &str, controller: &str, conditions: Value) -> Value {
    json!({
        "parentRef": {"group": GATEWAY_GROUP, "kind": "Gateway", "namespace": "infra", "name": gateway},
        "controllerName": controller, "conditions": conditions,
    })
}

fn foreign() -> Value {
    json!({
        "controllerName": "example.com/other", "parentRef": {"name": "unmanaged", "kind": "Gateway"},
        "conditions": [{"type": "Accepted", "observedGeneration": 1, "lastTransitionTime": "2020-02-02T02:02:02Z"}],
        "unknown": {"z": 1.0, "a": null},
    })
}

#[test]
fn entries_of_others_stay_as_they_are_and_where_they_are() {
    let stale = entry("gone", CONTROLLER, json!([written("Accepted", "True", "Accepted", "", 1, EARLIER)]));
    let kept = entry("web", CONTROLLER, json!([written("Accepted", "True", "Accepted", "", 1, EARLIER)]));
    let status = json!({"parents": [stale, foreign(), kept]});
    let after = after(&route(), 2, &status, &said(&[("new", accepted(2)), ("web", accepted(2))]));
    let expected = json!([
        foreign(),
        entry("web", CONTROLLER, json!([written("Accepted", "True", "Accepted", "", 2, EARLIER)])),
        entry("new", CONTROLLER, json!([written("Accepted", "True", "Accepted", "", 2, NOW)])),
    ]);
    assert_eq!(after["parents"], expected);
    assert_eq!(after["parents"][0].to_string(), foreign().to_string(), "byte by byte");
}

#[test]
fn the_time_of_a_condition_is_that_of_its_last_change_of_status() {
    let known = |status: &str| {
        json!({"parents": [
            entry("web", CONTROLLER, json!([written("Accepted", status, "Accepted", "", 1, EARLIER)])),
        ]})
    };
    let cases = [
        ("True", accepted(1), None),
        ("True", accepted(2), Some(EARLIER)),
        ("False", accepted(1), Some(NOW)),
        ("True", refused(1), Some(NOW)),
        ("False", refused(1), Some(EARLIER)),
    ];
    for (before, condition, time) in cases {
        let found = patch_at(&route(), 1, &known(before), &said(&[("web", condition.clone())]));
        let found =
            found.map(|patch| patch.body["status"]["parents"][0]["conditions"][0]["lastTransitionTime"].clone());
        assert_eq!(found, time.map(|time| json!(time)), "{before} -> {condition:?}");
    }
}

#[test]
fn a_route_that_has_no_parent_of_ours_any_more_loses_our_entries_only() {
    let ours = entry("web", CONTROLLER, json!([]));
    let after = after(&route(), 1, &json!({"parents": [ours, foreign()]}), &nothing(&route()).unwrap());
    assert_eq!(after, json!({"parents": [foreign()]}));
    for silent in [Value::Null, json!({}), json!({"parents": []}), json!({"parents": [foreign()]})] {
        assert_eq!(patch_at(&route(), 1, &silent, &nothing(&route()).unwrap()), None, "{silent}");
    }
    assert_eq!(nothing(&gateway()), None, "a Gateway may have another controller now");
}

#[test]
fn what_was_said_of_an_older_generation_is_not_written() {
    assert_eq!(patch_at(&route(), 3, &Value::Null, &said(&[("web", accepted(2))])), None);
    let status = GatewayStatus { attached_listener_sets: None, conditions: vec![accepted(2)], listeners: Vec::new() };
    assert_eq!(patch_at(&gateway(), 3, &Value::Null, &of_gateway(&status, &Fleet::default())), None);
}

#[test]
fn lists_are_no_longer_than_the_api_takes() {
    let others: Vec<Value> = (0..30).map(|index| entry(&format!("g{index}"), "example.com/other", json!([]))).collect();
    let wanted = said(&[("a", accepted(1)), ("b", accepted(1)), ("c", accepted(1))]);
    let parents = after(&route(), 1, &json!({"parents": others}), &wanted)["parents"].as_array().unwrap().clone();
    assert_eq!((parents.len(), &parents[..30]), (32, &others[..]));
    assert_eq!(parents[31]["parentRef"]["name"], "b");
}

#[test]
fn conditions_of_others_in_our_entry_stay() {
    let scanned = written("example.com/Scanned", "True", "Scanned", "", 1, EARLIER);
    let partial = written("PartiallyInvalid", "True", "UnsupportedValue", "", 1, EARLIER);
    let status = json!({"parents": [entry("web", CONTROLLER, json!([partial, scanned]))]});
    let after = after(&route(), 1, &status, &said(&[("web", accepted(1))]));
    let accepted = written("Accepted", "True", "Accepted", "", 1, NOW);
    assert_eq!(after["parents"][0]["conditions"], json!([scanned, accepted]));
}

#[test]
fn a_policy_has_its_entries_by_ancestor() {
    let policy = ObjectRef::new(GATEWAY_GROUP, "BackendTLSPolicy", "default", "tls");
    let ancestor_ref = ParentRef::gateway("infra", "web");
    let ours = AncestorStatus { ancestor_ref, controller_name: CONTROLLER.into(), conditions: vec![accepted(1)] };
    let wanted = Wanted::Said(Arc::new(Status::Policy(PolicyStatus { ancestors: vec![ours] })));
    let other = json!({"ancestorRef": {"name": "x"}, "controllerName": "example.com/other", "conditions": []});
    let after = after(&policy, 1, &json!({"ancestors": [other]}), &wanted);
    assert_eq!(after["ancestors"][0], other);
    assert_eq!(after["ancestors"][1]["ancestorRef"]["name"], "web");
    assert_eq!(after["ancestors"][1]["conditions"][0]["lastTransitionTime"], NOW);
}

fn listener(name: &str, generation: i64) -> ListenerStatus {
    ListenerStatus {
        name: name.into(),
        supported_kinds: vec![RouteGroupKind { group: GATEWAY_GROUP.into(), kind: "HTTPRoute".into() }],
        attached_routes: 1,
        conditions: vec![
            accepted(generation),
            Condition::fine(ConditionType::Programmed, Reason::Programmed, generation),
        ],
    }
}

fn could_serve(generation: i64) -> GatewayStatus {
    let programmed = Condition::fine(ConditionType::Programmed, Reason::Programmed, generation);
    GatewayStatus {
        conditions: vec![accepted(generation), programmed],
        listeners: vec![listener("http", generation)],
        attached_listener_sets: None,
    }
}

/// Where the definitions are those of the standard channel.
fn of_gateway(status: &GatewayStatus, fleet: &Fleet) -> Wanted {
    Wanted::gateway(status, fleet, &Definitions::default())
}

fn serving(acknowledged: i64) -> Fleet {
    Fleet { addresses: vec![Address::of("10.99.0.1")], ready: 1, acknowledged, ..Fleet::default() }
}

#[test]
fn where_an_address_can_be_reached_from_is_said_where_there_are_words_for_it() {
    let gateways = |version: &str| {
        Definitions::of([&json!({"name": "gateways.gateway.networking.k8s.io", "annotations": {
            "gateway.networking.k8s.io/bundle-version": version, "gateway.networking.k8s.io/channel": "experimental"}})])
    };
    let (experimental, older) = (gateways("v1.7.0"), gateways("v1.6.3"));
    let address = |value, routability| Address { routability: Some(routability), ..Address::of(value) };
    let both = vec![address("10.99.0.1", ""), address("10.96.0.9", "Cluster")];
    let missing = vec!["the cluster has not given 10.96.7.7 to Service web".to_owned()];
    let said = |fleet: &Fleet, definitions: &Definitions| {
        let wanted = Wanted::gateway(&could_serve(1), fleet, definitions);
        let patch = patch_at(&gateway(), 1, &untouched(), &wanted).unwrap();
        let status = &patch.body["status"];
        let assigned = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "AddressesAssigned");
        let assigned = assigned
            .map(|one| [&one["status"], &one["reason"], &one["message"]].map(|text| text.as_str().unwrap().to_owned()));
        let programmed = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Programmed");
        (status["addresses"].clone(), assigned, programmed.unwrap()["reason"].as_str().unwrap().to_owned())
    };
    let all = Fleet { addresses: both, ..serving(1) };
    let (addresses, assigned, programmed) = said(&all, &experimental);
    assert_eq!(
        addresses,
        json!([{"type": "IPAddress", "value": "10.99.0.1", "routability": ""},
        {"type": "IPAddress", "value": "10.96.0.9", "routability": "Cluster"}])
    );
    assert_eq!(assigned.unwrap()[..2], ["True", "AddressesAssigned"]);
    assert_eq!(programmed, "Programmed");
    // definitions that have no word for it would refuse the whole status
    for definitions in [Definitions::default(), older] {
        let (addresses, assigned, _) = said(&all, &definitions);
        assert_eq!((addresses[1].get("routability"), assigned), (None, None));
    }
    let nothing_yet = Fleet { addresses: Vec::new(), ..serving(1) };
    assert_eq!(said(&nothing_yet, &experimental).1, None, "nobody knows yet");

    let some = Fleet { unassigned: missing.clone(), ..serving(1) };
    let (_, assigned, programmed) = said(&some, &experimental);
    let assigned = assigned.unwrap();
    assert_eq!((&*assigned[0], &*assigned[1], &*programmed), ("False", "PartiallyAssigned", "Programmed"));
    assert!(assigned[2].contains("10.96.7.7"), "{assigned:?}");
    let none = Fleet { addresses: Vec::new(), unassigned: missing, ..serving(1) };
    let (_, assigned, programmed) = said(&none, &experimental);
    assert_eq!((&*assigned.unwrap()[1], &*programmed), ("NotAssigned", "AddressNotAssigned"));
}

/// The defaults of the CustomResourceDefinition.
fn untouched() -> Value {
    json!({"conditions": [
        {"type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z"},
        {"type": "Programmed", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z"},
    ]})
}

#[test]
fn a_gateway_is_applied_with_our_fields_only() {
    let mut status = untouched();
    let scanned = written("example.com/Scanned", "True", "Scanned", "", 1, EARLIER);
    status["conditions"].as_array_mut().unwrap().insert(0, scanned.clone());
    let wanted = of_gateway(&could_serve(1), &serving(1));
    let patch = patch_at(&gateway(), 1, &status, &wanted).unwrap();
    let fine = |kind: &str| written(kind, "True", kind, "", 1, NOW);
    let expected = json!({"status": {
        "conditions": [fine("Accepted"), fine("Programmed")],
        "listeners": [{
            "name": "http", "supportedKinds": [{"group": GATEWAY_GROUP, "kind": "HTTPRoute"}], "attachedRoutes": 1,
            "conditions": [fine("Accepted"), fine("Programmed")],
        }],
        "addresses": [{"type": "IPAddress", "value": "10.99.0.1"}],
    }});
    assert_eq!((patch.method, patch.body.clone()), (Method::Apply, expected));
    assert_eq!(patch.happenings, []);
    let mut applied = patch.body["status"].clone();
    applied["conditions"].as_array_mut().unwrap().insert(0, scanned.clone());
    applied["listeners"][0]["conditions"].as_array_mut().unwrap().push(scanned);
    applied["attachedListenerSets"] = json!(0);
    assert_eq!(patch_at(&gateway(), 1, &applied, &wanted), None, "fields and conditions of others change nothing");
}

#[test]
fn a_listener_that_is_gone_goes_and_conditions_of_others_stay() {
    let scanned = written("example.com/Scanned", "True", "Scanned", "", 1, EARLIER);
    let insecure = written("InsecureFrontendValidationMode", "True", "ConfigurationChanged", "", 1, EARLIER);
    let status = json!({
        "conditions": [scanned, insecure],
        "listeners": [
            {"name": "old", "attachedRoutes": 0, "conditions": [scanned]},
            {"name": "http", "attachedRoutes": 0, "conditions": [scanned]},
        ],
    });
    let after = after(&gateway(), 1, &status, &of_gateway(&could_serve(1), &serving(1)));
    let kinds = |conditions: &Value| -> Vec<String> {
        conditions.as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&after["conditions"]), ["example.com/Scanned", "Accepted", "Programmed"]);
    assert_eq!(after["listeners"].as_array().unwrap().len(), 1);
    assert_eq!(kinds(&after["listeners"][0]["conditions"]), ["example.com/Scanned", "Accepted", "Programmed"]);
}

#[test]
fn programmed_says_what_is_missing() {
    let trouble = || Some("0/1 nodes are available".to_owned());
    let cases = [
        (serving(2), "True", "Programmed"),
        (serving(3), "True", "Programmed"),
        (serving(0), "False", "Pending"),
        (Fleet { addresses: vec![], ..serving(2) }, "False", "AddressNotAssigned"),
        (Fleet { unusable: Some("10.0.0.1 is taken".into()), ..serving(2) }, "False", "AddressNotUsable"),
        (Fleet { blocked: Some("Service: no right".into()), addresses: vec![], ..serving(2) }, "False", "NoResources"),
        (Fleet { blocked: Some("Service: no right".into()), ..serving(2) }, "False", "NoResources"),
        (Fleet { ready: 0, ..serving(2) }, "False", "Pending"),
        (Fleet { ready: 0, trouble: trouble(), ..serving(2) }, "False", "NoResources"),
        (Fleet { trouble: trouble(), ..serving(1) }, "False", "NoResources"),
    ];
    for (fleet, status, reason) in cases {
        let patch = patch_at(&gateway(), 2, &untouched(), &of_gateway(&could_serve(2), &fleet)).unwrap();
        let condition = &patch.body["status"]["conditions"][1];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!(status), &json!(reason)), "{fleet:?}");
        assert_eq!(patch.body["status"]["listeners"][0]["conditions"][1]["status"], status, "{fleet:?}");
    }
    let invalid = Condition::wrong(ConditionType::Programmed, Reason::Invalid, "no listener serves", 2);
    let invalid = GatewayStatus { conditions: vec![accepted(2), invalid], ..GatewayStatus::default() };
    let patch = patch_at(&gateway(), 2, &untouched(), &of_gateway(&invalid, &serving(2))).unwrap();
    assert_eq!(patch.body["status"]["conditions"][1]["reason"], "Invalid");
}

#[test]
fn a_gateway_that_serves_stays_programmed_while_its_new_generation_is_on_its_way() {
    let first = patch_at(&gateway(), 1, &untouched(), &of_gateway(&could_serve(1), &serving(1))).unwrap();
    let status = &first.body["status"];
    let waiting = patch_at(&gateway(), 2, status, &of_gateway(&could_serve(2), &serving(1))).unwrap();
    let conditions = &waiting.body["status"]["conditions"];
    assert_eq!(conditions[0], written("Accepted", "True", "Accepted", "", 2, NOW));
    assert_eq!(conditions[1], written("Programmed", "True", "Programmed", "", 1, NOW));
    let none_ready = Fleet { ready: 0, ..serving(1) };
    let lost = patch_at(&gateway(), 2, status, &of_gateway(&could_serve(2), &none_ready)).unwrap();
    assert_eq!(lost.body["status"]["conditions"][1]["status"], "False");
}

#[test]
fn a_gateway_that_serves_stays_programmed_while_a_controller_starts() {
    let first = patch_at(&gateway(), 1, &untouched(), &of_gateway(&could_serve(1), &serving(1))).unwrap();
    let nobody_has_answered = of_gateway(&could_serve(1), &serving(0));
    assert_eq!(patch_at(&gateway(), 1, &first.body["status"], &nobody_has_answered), None);
}

#[test]
fn a_class_says_its_version_and_its_features() {
    let class = ObjectRef::new(GATEWAY_GROUP, "GatewayClass", "", "headgate");
    let status = ClassStatus { conditions: vec![accepted(1)] };
    let definitions = |versions: &[&str]| Definitions {
        versions: versions.iter().map(|version| (*version).to_owned()).collect::<BTreeSet<_>>(),
        ..Definitions::default()
    };
    let cases = [
        (&["v1.7.0"][..], "True"),
        (&["v1.5.1", "v1.6.3"], "True"),
        (&["v1.7.0", "v1.8.0"], "False"),
        (&["v1.4.1"], "False"),
        (&["v2.7.0"], "False"),
        (&[""], "False"),
        (&["v1.7.0-rc.1"], "True"),
    ];
    for (versions, expected) in cases {
        let wanted = Wanted::class(&status, &definitions(versions));
        let patch = patch_at(&class, 1, &untouched(), &wanted).unwrap();
        assert_eq!(
            patch.body["status"]["conditions"][0]["status"], "True",
            "what is unknown is served as well as can be"
        );
        assert_eq!(patch.body["status"]["conditions"][1]["status"], expected, "{versions:?}");
        let features = patch.body["status"]["supportedFeatures"].as_array().unwrap();
        assert!(features.contains(&json!({"name": "HTTPRoute"})));
        assert!(
            !features.contains(&json!({"name": "HTTPRouteDestinationPortMatching"})),
            "the channel has no such field"
        );
    }
}

#[test]
fn definitions_say_their_version_and_channel() {
    let definition = |name: &str, version: &str, channel: &str| {
        json!({"name": name, "annotations": {
            "gateway.networking.k8s.io/bundle-version": version, "gateway.networking.k8s.io/channel": channel,
        }})
    };
    let all = [
        definition("gateways.gateway.networking.k8s.io", "v1.7.0", "standard"),
        definition("tcproutes.gateway.networking.k8s.io", "v1.7.0", "experimental"),
        definition("things.example.com", "v9.0.0", "standard"),
    ];
    let found = Definitions::of(&all);
    assert_eq!((found.versions.into_iter().collect::<Vec<_>>(), found.experimental), (vec!["v1.7.0".into()], true));
    let unmarked = Definitions::of(&[json!({"name": "gateways.gateway.networking.k8s.io"})]);
    assert!(!unmarked.are_supported(), "one without annotations is of an unknown version");
}

#[test]
fn a_gateway_of_openfunction_has_the_words_of_its_version_too() {
    let old_form = ObjectRef::new("networking.openfunction.io", "Gateway", "openfunction", "openfunction");
    let mut status = could_serve(5);
    status.listeners.push(listener("people", 5));
    let wanted = of_gateway(&status, &serving(5)).openfunction_gateway(|name| name == "http", 2);
    let patch = patch_at(&old_form, 2, &Value::Null, &wanted).unwrap();
    let fine = |kind: &str| written(kind, "True", kind, "", 2, NOW);
    let status = &patch.body["status"];
    assert_eq!(status["conditions"], json!([fine("Accepted"), fine("Programmed"), fine("Scheduled"), fine("Ready")]));
    assert_eq!(status["listeners"].as_array().unwrap().len(), 1);
    assert_eq!(status["listeners"][0]["conditions"][0]["observedGeneration"], 2);
    assert_eq!(status["addresses"], json!([{"type": "IPAddress", "value": "10.99.0.1"}]));
    assert_eq!(patch_at(&old_form, 2, status, &wanted), None);
}

#[test]
fn of_a_function_only_what_serves_it_is_ours() {
    let function = ObjectRef::new("core.openfunction.io", "Function", "default", "hello");
    let known = json!({
        "build": {"state": "Succeeded"},
        "serving": {"state": "Starting", "reason": "ImagePullBackOff", "resourceHash": "123", "resourceRef": "hello-x"},
        "route": {"hosts": ["old.example.com"], "conditions": [written("Accepted", "True", "Accepted", "", 1, EARLIER)]},
    });
    let accepted =
        json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 2});
    let wanted = Wanted::Function(json!({
        "serving": {"state": "Running", "service": "hello-1"},
        "route": {"hosts": ["hello.example.com"], "paths": [{"type": "PathPrefix", "value": "/"}], "conditions": [accepted]},
        "addresses": [{"type": "External", "value": "http://hello.example.com/"}],
    }));
    let expected = json!({
        "build": {"state": "Succeeded"},
        "serving": {"state": "Running", "service": "hello-1", "resourceHash": "123", "resourceRef": "hello-x"},
        "route": {
            "hosts": ["hello.example.com"], "paths": [{"type": "PathPrefix", "value": "/"}],
            "conditions": [written("Accepted", "True", "Accepted", "", 2, EARLIER)],
        },
        "addresses": [{"type": "External", "value": "http://hello.example.com/"}],
    });
    assert_eq!(after(&function, 2, &known, &wanted), expected);
}

#[test]
fn what_cannot_be_read_is_said_where_the_version_before_serves() {
    let problem = Problem::error(FieldPath::of("spec.rules"), "is no list", "write a list");
    let Wanted::Said(before) = said(&[("web", accepted(1))]) else { unreachable!("a route says entries") };
    let Status::Route(route_status) = fall_back((*before).clone(), std::slice::from_ref(&problem), 2) else {
        panic!("a route stays a route")
    };
    let conditions = &route_status.parents[0].conditions;
    assert_eq!(conditions[0], accepted(1));
    assert_eq!((conditions[1].kind, conditions[1].observed_generation), (ConditionType::PartiallyInvalid, 2));
    assert_eq!(
        conditions[1].message,
        "Fall Back: the last version that could be read serves; spec.rules: is no list; write a list"
    );
    let wanted = Wanted::Said(Arc::new(Status::Route(route_status)));
    assert!(patch_at(&route(), 2, &Value::Null, &wanted).is_some(), "it speaks of the newest generation");
    let gateway = fall_back(Status::Gateway(could_serve(1)), &[problem], 2);
    let Status::Gateway(gateway) = gateway else { panic!("a Gateway stays a Gateway") };
    assert_eq!((gateway.conditions[0].status, gateway.conditions[0].reason), (true, Reason::UnsupportedValue));
    let warning = Problem::warning(FieldPath::of("spec.x"), "is unknown", "leave it out");
    assert_eq!(fall_back((*before).clone(), &[warning], 2), *before);
}

#[test]
fn where_an_ingress_is_found_is_applied_and_taken_back_from_whoever_applied_it() {
    let ingress = ObjectRef::new("networking.k8s.io", "Ingress", "shop", "shop");
    let (ours, theirs) = (vec!["other".to_owned(), CONTROLLER.to_owned()], vec!["other".to_owned()]);
    let written = |status: &Value, appliers: &[String], addresses: &[&str]| {
        let current = Current { object: &ingress, generation: 1, resource_version: "7", status, appliers };
        let wanted = Wanted::Addresses(addresses.iter().map(|address| Address::of(address)).collect());
        let patch = patch(current, &wanted, CONTROLLER, Timestamp::UNIX_EPOCH)?;
        assert_eq!(patch.method, Method::ApplyAsController);
        Some(patch.body["status"].clone())
    };
    let none = Value::Null;
    let at = |list: Value| json!({"loadBalancer": {"ingress": list}});
    let both = at(json!([{"ip": "10.0.0.1"}, {"hostname": "web.example"}]));
    assert_eq!(written(&none, &[], &["10.0.0.1", "web.example"]), Some(both.clone()));
    assert_eq!(written(&both, &ours, &["10.0.0.1", "web.example"]), None);
    let of_another = at(json!([{"ip": "10.9.9.9"}]));
    assert_eq!(written(&of_another, &theirs, &["10.0.0.1"]), Some(at(json!([{"ip": "10.0.0.1"}]))));
    // the API server removes what nobody else has taken over
    assert_eq!(written(&both, &ours, &[]), Some(json!({})));
    assert_eq!(written(&of_another, &theirs, &[]), None);
    assert_eq!(nothing(&ingress), Some(Wanted::Addresses(Vec::new())));
}
