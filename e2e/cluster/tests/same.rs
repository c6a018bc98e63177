//! The same YAML through the API server and from files makes the same routes: what a Pod of a gateway serves is compared with what `headgate routes --from` makes of a dump. It knows no rule of translation.

use crate::{
    objects::{backends, gateway, route, split},
    operator::headgate,
    story::Story,
};
use serde_json::Value;

const NAMESPACE: &str = "e2e-same";
/// All kinds that routes are made of. Not functions: which of their revisions are served is for a runtime to say. Not endpoints, of which
/// gateways are told in another lane.
const KINDS: &str = "gatewayparameters,gateways.gateway.networking.k8s.io,listenersets,httproutes,grpcroutes,tcproutes,\
    tlsroutes,udproutes,referencegrants,backendtlspolicies,services,secrets,configmaps";

/// Matches, filters and attachments of many sorts, a few of them wrong; ties that only ages and names decide.
const ROUTES: &str = r#"
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {name: web}
  listeners:
  - {name: grpc, port: 9090, protocol: HTTP, hostname: "*.grpc.example"}
  - {name: raw, port: 7000, protocol: TCP}
  - {name: passed, port: 8443, protocol: TLS, hostname: "*.tls.example", tls: {mode: Passthrough}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: matches}
spec:
  parentRefs: [{name: web, sectionName: http}]
  hostnames: ["*.example", m.example]
  rules:
  - matches:
    - {path: {type: Exact, value: /one}}
    - {path: {value: /one}, method: POST}
    - {path: {type: RegularExpression, value: "/v[0-9]+"}, headers: [{name: X-A, value: b}, {name: x-c, type: RegularExpression, value: "^d"}]}
    - {queryParams: [{name: q, value: "1"}]}
    timeouts: {request: 3s, backendRequest: 1s}
    retry: {codes: [503], attempts: 2, backoff: 10ms}
    backendRefs:
    - {name: a, port: 80, weight: 3}
    - {name: b, port: 80, weight: 0}
    - {name: b, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-arm, value: b}]}}]}
  - matches: [{path: {value: /gone}}]
    backendRefs: [{name: gone, port: 80}, {name: a, port: 80}]
  - matches: [{path: {value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
  - matches: [{path: {value: /copied}}]
    filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}, percent: 10}}
    - {type: CORS, cors: {allowOrigins: ["https://a.example"], maxAge: 60}}
    - {type: URLRewrite, urlRewrite: {hostname: inner.example, path: {type: ReplaceFullPath, replaceFullPath: /}}}
    backendRefs: [{name: a, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: another}
spec:
  parentRefs: [{name: web}]
  hostnames: [m.example, n.example]
  rules: [{matches: [{path: {type: Exact, value: /one}}, {path: {value: /}}], backendRefs: [{name: b, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: of-others}
spec:
  parentRefs: [{name: web}]
  hostnames: [others.example]
  rules: [{backendRefs: [{name: kubernetes, namespace: default, port: 443}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{kind: ListenerSet, name: more, sectionName: grpc}]
  hostnames: [a.grpc.example]
  rules:
  - matches: [{method: {service: shop.Orders, method: Get}}, {method: {type: RegularExpression, service: "shop[.].*"}, headers: [{name: tenant, value: t}]}]
    backendRefs: [{name: a, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: raw}
spec:
  parentRefs: [{kind: ListenerSet, name: more, sectionName: raw}]
  rules: [{backendRefs: [{name: a, port: 80, weight: 2}, {name: b, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: passed}
spec:
  parentRefs: [{kind: ListenerSet, name: more, sectionName: passed}]
  hostnames: [a.tls.example]
  rules: [{backendRefs: [{name: a, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: b}
spec:
  targetRefs: [{group: "", kind: Service, name: b}]
  validation: {hostname: b.example, wellKnownCACertificates: System}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_objects_make_the_same_routes_from_files() {
    let Some(story) = Story::begin(NAMESPACE).await else { return };
    story.apply(&(backends() + &gateway(1))).await;
    story.patch("gateway/web", r#"{"spec":{"allowedListeners":{"namespaces":{"from":"Same"}}}}"#).await;
    let to = story.address("web").await;
    story.apply(&(route(&split(1, &[("a", 1)])) + ROUTES)).await;
    story.rolled_out(NAMESPACE, "deployment/web-headgate").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;

    let gateway = format!("{NAMESPACE}/web");
    let mut told = String::new();
    let compare = async || {
        let served = headgate(&["routes", "-n", NAMESPACE, "--gateway", &gateway, "-o", "json"], "").await.json();
        let read =
            headgate(&["routes", "-n", NAMESPACE, "--from", "-", "-o", "json"], &dump(&story).await).await.json();
        assert!(served["rules"].as_array().unwrap().len() > 10, "{served:#}");
        let differs = difference("", &served, &read).unwrap_or_default();
        if differs != told {
            println!("not yet the same: {differs}");
            told = differs;
        }
        told.is_empty()
    };
    story.until("both have the same routes", compare).await;
}

/// Where two texts of JSON differ first, and how.
fn difference(at: &str, served: &Value, read: &Value) -> Option<String> {
    match (served, read) {
        (Value::Array(served), Value::Array(read)) if served.len() == read.len() => served
            .iter()
            .zip(read)
            .enumerate()
            .find_map(|(index, (one, other))| difference(&format!("{at}/{index}"), one, other)),
        (Value::Object(served), Value::Object(read)) if served.keys().eq(read.keys()) => {
            served.iter().find_map(|(key, one)| difference(&format!("{at}/{key}"), one, &read[key]))
        }
        (one, other) => (one != other).then(|| format!("{at}: served {one}, read {other}")),
    }
}

/// What a person keeps of a cluster. What the controllers made is made anew.
async fn dump(story: &Story) -> String {
    let theirs = "app.kubernetes.io/managed-by!=headgate";
    let objects = story.kubectl(&["get", KINDS, "--selector", theirs, "--output", "yaml"]).await;
    let around = story.kubectl(&["get", "gatewayclasses,namespaces", "--output", "yaml"]).await;
    let default = story.kubectl(&["get", "services", "--namespace", "default", "--output", "yaml"]).await;
    [objects, around, default].join("\n---\n")
}
