//! Objects that an API server takes and a gateway cannot serve, or not as they say. Each is wrong in one way only.

use crate::api::routes;
use serde_json::{Value, json};

pub const NAMESPACE: &str = "e2e-bad";

/// An object that is wrong.
pub struct Bad {
    /// Of its list in the API.
    pub path: String,
    pub object: Value,
    /// What a condition names; `None` where nothing is wrong with it after all.
    pub reason: Option<&'static str>,
    /// A host, and the status that it is answered with.
    pub answer: Option<(String, u16)>,
}

/// All of them.
pub fn bad() -> Vec<Bad> {
    let mut all = Vec::new();
    let mut add = |what: &str, rules: Value, reason: Option<&'static str>, status: u16| {
        let name = format!("bad-{}-{what}", all.len());
        all.push(http(&name, json!({"parentRefs": [{"name": "web"}], "rules": rules}), reason, status));
    };
    let unsupported = Some("UnsupportedValue");
    for expression in ["(", "[a", "a)|(?:b", "(?=a)b", "(a{1000}){1000}"] {
        let path = json!({"type": "RegularExpression", "value": expression});
        add("path", matched(json!({"path": path})), unsupported, 404);
        let test = json!([{"type": "RegularExpression", "name": "x-a", "value": expression}]);
        add("header", matched(json!({"headers": test})), unsupported, 404);
        add("query", matched(json!({"queryParams": test})), unsupported, 404);
    }
    for name in ["Connection", "Transfer-Encoding", "Content-Length"] {
        let edit = json!({"set": [{"name": name, "value": "1"}]});
        add(
            "framing",
            filtered(json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": edit}])),
            unsupported,
            500,
        );
    }
    for kind in ["Waf", "Lua", "Quota"] {
        let reference = json!({"group": "filters.example", "kind": kind, "name": "any"});
        add("extension", filtered(json!([{"type": "ExtensionRef", "extensionRef": reference}])), unsupported, 500);
    }
    let auth = json!({"protocol": "HTTP", "backendRef": {"name": "nobody", "port": 80}, "http": {"path": "/"}});
    add("auth", filtered(json!([{"type": "ExternalAuth", "externalAuth": auth}])), Some("BackendNotFound"), 500);
    for (name, port) in [("nobody", 80), ("nowhere", 443), ("missing", 80), ("a", 81), ("b", 8080), ("elsewhere", 80)] {
        add("backend", json!([{"backendRefs": [{"name": name, "port": port}]}]), Some("BackendNotFound"), 500);
    }
    let foreign = json!({"name": "kubernetes", "namespace": "default", "port": 443});
    for _ in 0..3 {
        add("grant", json!([{"backendRefs": [foreign]}]), Some("RefNotPermitted"), 500);
    }
    for kind in ["Lambda", "Bucket"] {
        let reference = json!({"group": "cloud.example", "kind": kind, "name": "any", "port": 80});
        add("kind", json!([{"backendRefs": [reference]}]), Some("InvalidKind"), 500);
    }
    // a mirror that leads nowhere is left out, and the host that is written last counts
    let mirror = json!({"backendRef": {"name": "nobody", "port": 80}});
    add("mirror", filtered(json!([{"type": "RequestMirror", "requestMirror": mirror}])), Some("BackendNotFound"), 200);
    let set = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "Host", "value": "one.example"}]}});
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {"hostname": "two.example"}});
    add("hosts", filtered(json!([set, rewrite])), None, 200);
    // about 1 MB, of which the last rule leads nowhere
    for _ in 0..2 {
        let long = |at: usize| {
            json!({"headers": [{"name": "x-long", "value": format!("{at}{}", "v".repeat(4_000))},
            {"name": "x-longer", "value": "w".repeat(4_000)}]})
        };
        let matches = |rule: usize| (0..30).map(|at| long(rule * 30 + at)).collect::<Vec<_>>();
        let rule = |rule: usize| json!({"matches": matches(rule), "backendRefs": [{"name": "a", "port": 80}]});
        let mut rules: Vec<Value> = (0..4).map(rule).collect();
        rules.push(json!({"backendRefs": [{"name": "nobody", "port": 80}]}));
        add("large", json!(rules), Some("BackendNotFound"), 500);
    }
    all.extend(elsewhere());
    all
}

fn matched(matching: Value) -> Value {
    json!([{"matches": [matching], "backendRefs": [{"name": "a", "port": 80}]}])
}

fn filtered(filters: Value) -> Value {
    json!([{"filters": filters, "backendRefs": [{"name": "a", "port": 80}]}])
}

fn http(name: &str, mut spec: Value, reason: Option<&'static str>, status: u16) -> Bad {
    let host = format!("{name}.example");
    spec["hostnames"] = json!([host]);
    let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name}, "spec": spec});
    Bad { path: routes(NAMESPACE), object, reason, answer: Some((host, status)) }
}

/// Those that are wrong otherwise than in their rules.
fn elsewhere() -> Vec<Bad> {
    let to_a = json!([{"backendRefs": [{"name": "a", "port": 80}]}]);
    let attached = |name: &str, parent: Value| {
        http(name, json!({"parentRefs": [parent], "rules": to_a}), Some("NoMatchingParent"), 404)
    };
    let of = |group: &str, plural: &str, object: Value, reason: Option<&'static str>| Bad {
        path: format!("/{group}/namespaces/{NAMESPACE}/{plural}"),
        object,
        reason,
        answer: None,
    };
    let gateway = |name: &str, spec: Value, reason: &'static str| {
        let mut spec = spec;
        spec["gatewayClassName"] = json!("headgate");
        let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": name}, "spec": spec});
        of("apis/gateway.networking.k8s.io/v1", "gateways", object, Some(reason))
    };
    let secret = |reference: Value| json!({"listeners": [{"name": "https", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [reference]}}]});
    let parameters = json!({"group": "headgate.dev", "kind": "GatewayParameters", "name": "missing"});
    let grpc = |name: &str, rule: Value, reason: &'static str| {
        let spec = json!({"parentRefs": [{"name": "web"}], "hostnames": [format!("{name}.example")], "rules": [rule]});
        let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": {"name": name}, "spec": spec});
        of("apis/gateway.networking.k8s.io/v1", "grpcroutes", object, Some(reason))
    };
    // the same host and path as a route that is older
    let mut same = http(
        "bad-duplicate",
        json!({"parentRefs": [{"name": "web"}],
        "rules": [{"backendRefs": [{"name": "b", "port": 80}]}]}),
        None,
        200,
    );
    same.object["spec"]["hostnames"] = json!(["good-7.example"]);
    same.answer = Some(("good-7.example".to_owned(), 200));
    let garbage = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "garbage"},
        "stringData": {"tls.crt": "nothing", "tls.key": "nothing"}});
    let policy = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy", "metadata": {"name": "bad-policy"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "b"}],
            "validation": {"hostname": "b.example", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "missing"}]}}});
    let set = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "ListenerSet", "metadata": {"name": "bad-set"},
        "spec": {"parentRef": {"name": "web"}, "listeners": [{"name": "more", "port": 81, "protocol": "HTTP"}]}});
    let grpc_match = json!({"method": {"type": "RegularExpression", "service": "a", "method": "("}});
    vec![
        attached("bad-section", json!({"name": "web", "sectionName": "nope"})),
        attached("bad-port", json!({"name": "web", "port": 81})),
        attached("bad-section-and-port", json!({"name": "web", "sectionName": "http", "port": 443})),
        same,
        of("api/v1", "secrets", garbage, None),
        gateway("bad-secret", secret(json!({"name": "missing"})), "InvalidCertificateRef"),
        gateway("bad-garbage", secret(json!({"name": "garbage"})), "InvalidCertificateRef"),
        gateway("bad-grant", secret(json!({"name": "any", "namespace": "default"})), "RefNotPermitted"),
        gateway(
            "bad-parameters",
            json!({"infrastructure": {"parametersRef": parameters}, "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}),
            "InvalidParameters",
        ),
        grpc(
            "bad-grpc-match",
            json!({"matches": [grpc_match], "backendRefs": [{"name": "a", "port": 80}]}),
            "UnsupportedValue",
        ),
        grpc("bad-grpc-backend", json!({"backendRefs": [{"name": "nobody", "port": 80}]}), "BackendNotFound"),
        of("apis/gateway.networking.k8s.io/v1", "backendtlspolicies", policy, Some("InvalidCACertificateRef")),
        of("apis/gateway.networking.k8s.io/v1", "listenersets", set, Some("NotAllowed")),
    ]
}
