//! What a person is told of an object that an API server would refuse, or take with a doubt: place, fault, and what to write.

use headgate_translate::{
    kinds::{Decoded, HTTPRoute, Object, PathKind, PathMatch, decode, decode_admitted},
    schema::{Problem, Severity},
};
use serde_json::{Value, json};
use std::sync::Arc;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

fn object(kind: &str, spec: &str) -> Value {
    let spec = yaml(spec);
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
}

fn problems(value: &Value) -> Vec<Problem> {
    match decode(value) {
        Err(problems) | Ok(Decoded::Known(_, problems)) => problems,
        Ok(Decoded::UnknownKind { .. }) => Vec::new(),
    }
}

fn route(spec: &str) -> HTTPRoute {
    match decode(&object("HTTPRoute", spec)) {
        Ok(Decoded::Known(Object::HTTPRoute(route), _)) => Arc::unwrap_or_clone(route),
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_name_place_fault_and_remedy() {
    let table = [
        ("HTTPRoute", "{hostnames: [HTTP://a]}", "spec.hostnames[0]: \"HTTP://a\" is not allowed here"),
        ("HTTPRoute", "{rules: []}", "spec.rules: has 0 elements, at least 1 are needed"),
        ("HTTPRoute", "{rules: {a: 1}}", "spec.rules: is an object; write a list"),
        (
            "HTTPRoute",
            "{rules: [{matches: [{path: {value: a}}]}]}",
            "matches[0].path.value: \"a\" does not start with /",
        ),
        ("HTTPRoute", "{rules: [{matches: [{path: {value: /a/../b}}]}]}", "path.value: \"/a/../b\" has a segment .."),
        ("HTTPRoute", "{rules: [{matches: [{path: {value: '/a?b'}}]}]}", "has characters that a path cannot have"),
        ("HTTPRoute", "{rules: [{matches: [{method: get}]}]}", "did you mean GET?"),
        ("HTTPRoute", "{rules: [{matches: [{path: {type: Prefix}}]}]}", "did you mean PathPrefix?"),
        (
            "HTTPRoute",
            "{rules: [{matches: [{headers: [{name: a, value: b}, {name: a, value: c}]}]}]}",
            "headers[1]: name a stands here",
        ),
        ("HTTPRoute", "{rules: [{timeouts: {request: 10}}]}", "timeouts.request: is a number"),
        ("HTTPRoute", "{rules: [{timeouts: {request: 1.5s}}]}", "write a duration such as 500ms"),
        (
            "HTTPRoute",
            "{rules: [{timeouts: {request: 1s, backendRequest: 2s}}]}",
            "timeouts: backendRequest is longer than request",
        ),
        ("HTTPRoute", "{rules: [{backendRefs: [{name: a}]}]}", "backendRefs[0]: names a Service without a port"),
        ("HTTPRoute", "{rules: [{backendRefs: [{port: 80}]}]}", "backendRefs[0].name: is missing"),
        ("HTTPRoute", "{rules: [{backendRefs: [{name: a, port: 80, weight: -1}]}]}", "write 0 to 1000000"),
        ("HTTPRoute", "{rules: [{name: a}, {name: a}]}", "rules[1].name: another rule is named a too"),
        ("HTTPRoute", "{rules: [{filters: [{type: CORS}]}]}", "filters[0].cors: is missing"),
        (
            "HTTPRoute",
            "{rules: [{filters: [{type: CORS, cors: {}, urlRewrite: {}}]}]}",
            "has urlRewrite, but its type is CORS",
        ),
        (
            "HTTPRoute",
            "{rules: [{filters: [{type: CORS, cors: {}}, {type: CORS, cors: {}}]}]}",
            "filters[1]: CORS stands here a second time",
        ),
        (
            "HTTPRoute",
            "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a, port: 1}]}]}",
            "rules[0]: has backendRefs and a RequestRedirect",
        ),
        (
            "HTTPRoute",
            "{rules: [{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}]}",
            "rules[0]: replaces the matched prefix",
        ),
        (
            "HTTPRoute",
            "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 200}}]}]}",
            "statusCode: 200 is no status",
        ),
        (
            "HTTPRoute",
            "{parentRefs: [{name: a}, {name: a, sectionName: b}]}",
            "parentRefs[1]: names a parent that another",
        ),
        ("HTTPRoute", "{parentRefs: [{name: a}, {name: a}]}", "parentRefs[1]: is the same reference"),
        ("GRPCRoute", "{rules: [{matches: [{method: {}}]}]}", "method: has neither service nor method"),
        ("GRPCRoute", "{rules: [{matches: [{method: {service: a/b}}]}]}", "method.service: is no service of gRPC"),
        (
            "Gateway",
            "{gatewayClassName: a, listeners: [{name: a, port: 0, protocol: HTTP}]}",
            "listeners[0].port: 0 is out of range",
        ),
        (
            "Gateway",
            "{gatewayClassName: a, listeners: [{name: a, port: 1, protocol: HTTPS, tls: {}}]}",
            "terminates TLS without a certificate",
        ),
        (
            "Gateway",
            "{gatewayClassName: a, listeners: [{name: a, port: 1, protocol: HTTP}, {name: b, port: 1, protocol: HTTP}]}",
            "listeners[1]: has port, protocol and hostname of listener a",
        ),
        ("Gateway", "{listeners: []}", "spec.gatewayClassName: is missing"),
        (
            "BackendTLSPolicy",
            "{targetRefs: [{group: '', kind: Service, name: a}], validation: {hostname: a}}",
            "needs exactly one of",
        ),
        ("GatewayClass", "{controllerName: headgate}", "spec.controllerName: \"headgate\" is not allowed here"),
    ];
    for (kind, spec, expected) in table {
        let value = object(kind, spec);
        assert!(decode(&value).is_err(), "{kind} {spec} is refused");
        let texts: Vec<String> = problems(&value).iter().map(ToString::to_string).collect();
        assert!(texts.iter().any(|text| text.contains(expected)), "{spec}\n{texts:#?}\n{expected}");
    }
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let table = [
        ("{rules: [{backendRef: [{name: a, port: 1}]}]}", "spec.rules[0].backendRef", "did you mean backendRefs?"),
        ("{hostname: [a.io]}", "spec.hostname", "did you mean hostnames?"),
        (
            "{rules: [{filters: [{type: Later, later: {x: 1}}]}]}",
            "spec.rules[0].filters[0].type",
            "RequestHeaderModifier",
        ),
    ];
    for (spec, path, remedy) in table {
        let found = problems(&object("HTTPRoute", spec));
        let problem = found.iter().find(|problem| problem.path.to_string() == path);
        let problem = problem.unwrap_or_else(|| panic!("{spec}: {found:?}"));
        assert_eq!(problem.severity, Severity::Warning);
        assert!(problem.remedy.contains(remedy), "{problem}");
    }
}

#[test]
fn defaults_are_those_of_the_api() {
    let bare = route("{}");
    assert_eq!(bare.meta.namespace, "default");
    assert_eq!(bare.rules.len(), 1);
    assert_eq!(bare.rules[0].matches[0].path, PathMatch { kind: PathKind::PathPrefix, value: "/".into() });
    let full = route(
        "{parentRefs: [{name: g}], rules: [{backendRefs: [{name: a, port: 1}], retry: {}, matches: [{path: {type: Exact}}]}]}",
    );
    assert_eq!(
        (full.parents[0].group.as_str(), full.parents[0].kind.as_str()),
        ("gateway.networking.k8s.io", "Gateway")
    );
    assert_eq!(full.rules[0].backends[0].weight, 1);
    assert!(full.rules[0].backends[0].backend.is_service());
    assert_eq!(full.rules[0].matches[0].path, PathMatch { kind: PathKind::Exact, value: "/".into() });
}

#[test]
fn what_an_api_server_let_through_keeps_values_of_later_versions() {
    let value = object("HTTPRoute", "{rules: [{matches: [{path: {type: Suffix, value: .png}}]}]}");
    assert!(decode(&value).is_err());
    let Ok(Decoded::Known(Object::HTTPRoute(route), warnings)) = decode_admitted(&value) else { panic!("taken") };
    assert_eq!(route.rules[0].matches[0].path.kind, PathKind::Unknown("Suffix".into()));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn other_kinds_are_named_and_left_alone() {
    let unknown = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "anything": [1]});
    let expected = Decoded::UnknownKind { api_version: "apps/v1".into(), kind: "Deployment".into() };
    assert_eq!(decode(&unknown), Ok(expected));
    for broken in [
        json!(null),
        json!([]),
        json!("text"),
        json!({}),
        json!({"kind": "Service"}),
        json!({"apiVersion": 1, "kind": {}}),
    ] {
        assert!(decode(&broken).is_err(), "{broken}");
    }
}

#[test]
fn secrets_are_decoded_and_never_printed() {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "data": {"a": "aGlkZGVu", "binary": "/w=="}, "stringData": {"b": "hidden"},
    });
    let Ok(Decoded::Known(Object::Secret(secret), _)) = decode(&secret) else { panic!("taken") };
    assert_eq!(secret.data["a"].reveal(), "hidden");
    assert_eq!(secret.data["b"].reveal(), "hidden");
    assert_eq!(secret.data.len(), 2);
    assert!(!format!("{secret:?}").contains("hidden"));
}
