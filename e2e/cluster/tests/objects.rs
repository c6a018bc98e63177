//! The objects that stories are told with, as YAML. Plain text, made of nothing but arguments.

use std::time::Duration;

/// Deployments and Services `a` and `b`, each of which answers its name. Their Pods end at SIGTERM at once, as many runtimes do.
pub fn backends() -> String {
    ["a", "b"].map(backend).concat()
}

/// One of them, by this name.
pub fn backend(name: &str) -> String {
    format!(
        "
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: echo
        image: headgate:echo
        args: [echo, --exit-at-sigterm, --text, {name}, --address, 0.0.0.0, --port, '8080']
        readinessProbe: {{tcpSocket: {{port: 8080}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: 8080}}]
"
    )
}

/// The Gateway `web`, with so many Pods.
pub fn gateway(replicas: u32) -> String {
    format!(
        "
---
apiVersion: headgate.dev/v1alpha1
kind: GatewayParameters
metadata: {{name: web}}
spec: {{replicas: {replicas}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: headgate
  infrastructure: {{parametersRef: {{group: headgate.dev, kind: GatewayParameters, name: web}}}}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
"
    )
}

/// The HTTPRoute `shop` of the host `shop.example` with these rules, as JSON.
pub fn route(rules: &str) -> String {
    format!(
        "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [shop.example]
  rules: {rules}
"
    )
}

/// Rules that send to backends by weight, and name the edit in the answer.
pub fn split(edit: usize, weights: &[(&str, u32)]) -> String {
    let arm = |&(name, weight): &(&str, u32)| format!(r#"{{"name":"{name}","port":80,"weight":{weight}}}"#);
    let arms = weights.iter().map(arm).collect::<Vec<_>>().join(",");
    let set = format!(r#"{{"name":"x-edit","value":"{edit}"}}"#);
    let filter = format!(r#"{{"type":"ResponseHeaderModifier","responseHeaderModifier":{{"set":[{set}]}}}}"#);
    format!(r#"[{{"filters":[{filter}],"backendRefs":[{arms}]}}]"#)
}

/// The ScalingPolicy of the Service and the Deployment `b`, which stops soon.
pub fn policy() -> &'static str {
    "
---
apiVersion: headgate.dev/v1alpha1
kind: ScalingPolicy
metadata: {name: b}
spec:
  targetRefs: [{kind: Service, name: b}]
  scaleTargetRef: {name: b}
  maxReplicas: 2
  window: 2s
  idle: 2s
  wait: 20s
"
}

/// A function that answers its name, stops soon, whose requests wait so long at most, and whose Pods end at SIGTERM at once.
pub fn cold_function(name: &str, image: &str, wait: Duration) -> String {
    let wait = wait.as_millis();
    format!(
        "
---
apiVersion: core.openfunction.io/v1beta2
kind: Function
metadata: {{name: {name}, annotations: {{headgate.dev/idle: 2s, headgate.dev/wait: {wait}ms}}}}
spec:
  version: v1
  image: {image}
  serving:
    triggers: {{http: {{port: 8080}}}}
    scaleOptions: {{minReplicas: 0, maxReplicas: 3}}
    template:
      containers: [{{name: function, args: [echo, --exit-at-sigterm, --text, {name}]}}]
"
    )
}
