//! Functions among other objects: names, routes, gateways, and what collides.

use headgate_config::{Action, ArmTarget, ColdArm, Probe};
use headgate_functions::{
    Defaults, Expansion, Input, Subject, expand,
    kinds::{Decoded, Function, NamespacedName, Object, OfGateway, decode},
};
use headgate_translate::{
    AliasArm, Objects,
    kinds::{self, Filter},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn object(value: &Value) -> Object {
    match decode(value) {
        Ok(Decoded::Known(object, _)) => object,
        other => panic!("{other:?}"),
    }
}

fn function(name: &str, spec: Value) -> Function {
    let value = json!({
        "apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
        "metadata": {"name": name, "namespace": "shop", "annotations": {"headgate.dev/cold": "shift", "headgate.dev/wait": "9s"}},
        "spec": spec,
    });
    match object(&value) {
        Object::Function(function) => *function,
        Object::Gateway(_) | Object::Domain(_) => panic!("a function"),
    }
}

fn routed(name: &str, route: Value) -> Function {
    function(name, json!({"image": "x", "version": "v1", "serving": {"triggers": {"http": {"route": route}}}}))
}

fn expanded(functions: &[Function], gateways: &[OfGateway], objects: &Objects) -> Expansion {
    expand(&Input {
        functions,
        gateways,
        objects,
        revisions: &BTreeMap::new(),
        observed: &BTreeMap::new(),
        defaults: &Defaults::default(),
        now_ms: 0,
    })
}

fn hello() -> NamespacedName {
    NamespacedName::new("shop", "hello")
}

fn warnings(expansion: &Expansion) -> Vec<String> {
    expansion.problems.iter().map(|(_, problem)| problem.to_string()).collect()
}

fn kubernetes(value: &Value) -> kinds::Object {
    match kinds::decode(value) {
        Ok(kinds::Decoded::Known(object, _)) => object,
        other => panic!("{other:?}"),
    }
}

fn edge() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "edge", "namespace": "net"},
        "spec": {"gatewayClassName": "theirs", "listeners": [{"name": "web", "protocol": "HTTP", "port": 8080}]},
    })
}

#[test]
fn a_function_alone_stands_on_the_built_in_gateway() {
    let expansion = expanded(&[routed("hello", json!({}))], &[], &Objects::default());
    assert_eq!(warnings(&expansion), Vec::<String>::new());
    let route = &expansion.routes[&hello()];
    assert_eq!(route.hosts, ["hello.shop.localhost", "hello.shop.svc.cluster.local"]);
    let revision = expansion.plans[&hello()].weights[0].0.clone();
    let backend = &route.http_route.rules[0].backends[0];
    assert_eq!(
        (backend.backend.name.as_str(), backend.backend.port, backend.weight),
        (revision.as_str(), Some(80), 100)
    );
    assert!(route.http_route.rules[0].filters.is_empty(), "Host stays what the client sent");

    let mut objects = Objects::default();
    expansion.merge_into(&mut objects);
    let key = |name: &str| ("shop".into(), name.into());
    let arms = vec![AliasArm { service: revision.clone(), port: 80, weight: 100 }];
    assert_eq!(objects.aliases[&key("hello")], arms);
    assert_eq!(objects.aliases[&key("hello-v1")], arms);
    let traits = &objects.traits[&key(&revision)];
    assert_eq!(traits.scales.as_deref(), Some(format!("shop/{revision}").as_str()));
    assert_eq!((traits.cold, traits.wait.limit_ms, &traits.probe), (ColdArm::Shift, Some(9_000), &Probe::Tcp));
    assert!(objects.service("shop", &revision).is_some() && objects.service("shop", "hello-v1").is_some());
    assert!(objects.gateways.is_empty(), "the built-in Gateway of routes serves functions too");
    assert_eq!(expansion.status(&hello())["serving"], json!({"state": "Running", "service": revision}));
}

#[test]
fn own_rules_and_filters_stay_as_they_are() {
    let expansion = expanded(
        &[routed(
            "hello",
            json!({"rules": [
                {"matches": [{"path": {"type": "RegularExpression", "value": "/c.*"}}, {"headers": [{"name": "x", "value": "y"}]}],
                 "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}}]},
                {"matches": [{"path": {"value": "/old"}}],
                 "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "new.ofn.io"}}]},
            ]}),
        )],
        &[],
        &Objects::default(),
    );
    let route = &expansion.routes[&hello()];
    let addresses: Vec<&str> = route.addresses.iter().map(|address| address.value.as_str()).collect();
    assert_eq!(
        addresses,
        [
            "http://hello.shop.localhost/c.%2A",
            "http://hello.shop.localhost/",
            "http://hello.shop.localhost/old",
            "http://hello.shop.svc.cluster.local/c.%2A",
            "http://hello.shop.svc.cluster.local/",
            "http://hello.shop.svc.cluster.local/old",
        ]
    );
    let [edited, redirected] = route.http_route.rules.as_slice() else { panic!("two rules") };
    assert!(matches!(edited.filters.as_slice(), [Filter::RequestHeaders(_)]));
    assert_eq!((edited.backends.len(), redirected.backends.len()), (1, 0), "a redirect leads nowhere");
}

#[test]
fn hosts_outside_the_listeners_are_named() {
    let functions = [routed("hello", json!({"hostnames": ["podinfo.com", "a.localhost"]}))];
    assert_eq!(warnings(&expanded(&functions, &[], &Objects::default())), Vec::<String>::new(), "any host is taken");

    let mut objects = Objects::default();
    objects.insert(kubernetes(&edge()));
    let expansion = expanded(&functions, &[], &objects);
    let made = &expansion.objects.gateways[&("openfunction".into(), "openfunction".into())];
    assert_eq!((made.class.as_str(), made.listeners.len()), ("headgate", 2));
    let said = warnings(&expansion);
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(
        said[0].starts_with(
            "spec.serving.triggers.http.route.hostnames[0]: \"podinfo.com\" is outside the listeners of gateway openfunction/openfunction, which take *.localhost and *.cluster.local"
        ),
        "{said:#?}"
    );
}

#[test]
fn of_two_functions_with_one_place_the_second_is_told() {
    let both =
        |name| routed(name, json!({"hostnames": ["a.localhost"], "rules": [{"matches": [{"path": {"value": "/x"}}]}]}));
    let expansion = expanded(&[both("zulu"), both("alpha")], &[], &Objects::default());
    let (subject, problem) = &expansion.problems[0];
    assert_eq!(*subject, Subject::Function(NamespacedName::new("shop", "zulu")));
    assert!(
        problem.message.starts_with("a.localhost/x (PathPrefix) is also a place of function shop/alpha"),
        "{problem}"
    );
    assert_eq!(expansion.problems.len(), 1);
}

#[test]
fn what_people_wrote_is_not_replaced() {
    let mut objects = Objects::default();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hello-v1", "namespace": "shop"}, "spec": {"ports": [{"port": 80}]}});
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "hello", "namespace": "shop"}, "spec": {}});
    objects.insert(kubernetes(&service));
    objects.insert(kubernetes(&route));
    let before = objects.clone();
    let expansion = expanded(&[routed("hello", json!({}))], &[], &objects);
    expansion.merge_into(&mut objects);
    let key = |name: &str| ("shop".into(), name.into());
    assert_eq!(objects.http_routes[&key("hello")], before.http_routes[&key("hello")]);
    assert_eq!(objects.services[&key("hello-v1")], before.services[&key("hello-v1")]);
    assert!(objects.http_routes.contains_key(&key("hello.function")));
    assert!(!objects.aliases.contains_key(&key("hello-v1")));
    let said = warnings(&expansion);
    assert!(said.iter().any(|w| w.contains("spec.version: makes the name hello-v1, which a Service has")), "{said:#?}");
    assert!(said.iter().any(|w| w.contains("is also the name of an HTTPRoute")), "{said:#?}");
    assert!(objects.http_routes[&key("hello.function")].meta.created > 0, "a person's route counts as older");
}

#[test]
fn another_functions_name_is_no_alias() {
    let functions = [routed("hello", json!({})), routed("hello-v1", json!({}))];
    let expansion = expanded(&functions, &[], &Objects::default());
    let arms = &expansion.objects.aliases[&("shop".into(), "hello-v1".into())];
    assert_eq!(arms[0].service, expansion.plans[&NamespacedName::new("shop", "hello-v1")].weights[0].0);
    assert!(warnings(&expansion)[0].contains("which another function has"));
}

#[test]
fn listeners_are_added_to_the_gateway_that_is_there() {
    let own = json!({
        "apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway", "metadata": {"name": "openfunction", "namespace": "openfunction"},
        "spec": {
            "domain": "ofn.io", "gatewayRef": {"name": "edge", "namespace": "net"},
            "gatewaySpec": {"listeners": [{"name": "ofn-http-external", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "All"}}}]},
        },
    });
    let Object::Gateway(own) = object(&own) else { panic!("a gateway") };
    let mut objects = Objects::default();
    objects.insert(kubernetes(&edge()));
    let functions = [routed("hello", json!({}))];
    let names = |gateway: &kinds::Gateway| gateway.listeners.iter().map(|l| l.name.clone()).collect::<Vec<_>>();
    let expansion = expanded(&functions, std::slice::from_ref(&*own), &objects);
    expansion.merge_into(&mut objects);
    let merged = &objects.gateways[&("net".into(), "edge".into())];
    assert_eq!(
        (merged.class.as_str(), names(merged)),
        ("theirs", vec!["web".into(), "ofn-http-external".into(), "ofn-http-internal".into()])
    );
    assert_eq!(expansion.routes[&hello()].hosts[0], "hello.shop.ofn.io");

    let made = expanded(&functions, std::slice::from_ref(&*own), &Objects::default());
    assert_eq!(names(&made.objects.gateways[&("net".into(), "edge".into())]).len(), 2, "made where nobody else would");
    let input = Input {
        functions: &functions,
        gateways: std::slice::from_ref(&*own),
        objects: &Objects::default(),
        revisions: &BTreeMap::new(),
        observed: &BTreeMap::new(),
        defaults: &Defaults { make_gateways: false, ..Defaults::default() },
        now_ms: 0,
    };
    let missing = expand(&input);
    assert!(warnings(&missing)[0].contains("names Gateway net/edge, which does not exist"));
}

#[test]
fn functions_without_route_say_why() {
    let asynchronous = function("hello", json!({"image": "x", "serving": {"triggers": {"dapr": [{"name": "cron"}]}}}));
    let expansion = expanded(&[asynchronous], &[], &Objects::default());
    assert!(expansion.objects.is_empty(), "nothing is made for it");
    let status = expansion.status(&hello());
    assert_eq!(status["serving"]["reason"], "AsyncOnly");
    assert!(status["serving"]["message"].as_str().is_some_and(|text| text.contains("it has no route")));

    let lost = routed("hello", json!({"gatewayRef": {"name": "gone", "namespace": "n"}}));
    let expansion = expanded(&[lost], &[], &Objects::default());
    assert!(
        warnings(&expansion)[0].contains("route.gatewayRef: names OpenFunction Gateway n/gone, which does not exist")
    );
}

#[test]
fn translate_serves_functions_and_splits_over_their_names() {
    let canary = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "split", "namespace": "shop"},
        "spec": {"hostnames": ["split.localhost"], "rules": [{"backendRefs": [
            {"name": "hello-v1", "port": 80, "weight": 9}, {"name": "other", "port": 80, "weight": 1},
        ]}]},
    });
    let mut objects = Objects::default();
    objects.insert(kubernetes(&canary));
    let functions = [routed("hello", json!({})), routed("other", json!({"hostnames": ["own.example.com"]}))];
    let expansion = expanded(&functions, &[], &objects);
    expansion.merge_into(&mut objects);
    let translation = headgate_translate::translate(&objects, &headgate_translate::Settings::standalone());
    let arms = |route: &str| {
        let rule = translation.snapshot.rules.values().find(|rule| rule.name.route == route).expect(route);
        let Action::Forward(split) = &rule.action else { panic!("{route}: {:?}", rule.action) };
        let arms = split.arms.iter().map(|arm| match &arm.target {
            ArmTarget::Backend(name) => (name.service.to_string(), arm.weight),
            ArmTarget::Invalid(reason) => panic!("{route}: {reason}"),
        });
        arms.collect::<Vec<_>>()
    };
    let revision = |name: &str| expansion.plans[&NamespacedName::new("shop", name)].weights[0].0.clone();
    let shares = |arms: Vec<(String, u32)>| {
        let sum: u32 = arms.iter().map(|(_, weight)| weight).sum();
        arms.into_iter().map(|(name, weight)| (name, weight * 100 / sum)).collect::<Vec<_>>()
    };
    assert_eq!(shares(arms("hello")), [(revision("hello"), 100)]);
    assert_eq!(shares(arms("other")), [(revision("other"), 100)]);
    assert_eq!(shares(arms("split")), [(revision("hello"), 90), (revision("other"), 10)]);
    let scales: Vec<_> = translation.snapshot.backends.values().filter_map(|backend| backend.scales.clone()).collect();
    assert_eq!(scales.len(), 2, "each revision is one scale target");
    assert_eq!(translation.problems, Vec::new());
}
