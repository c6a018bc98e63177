//! `migrate` as a user types it: what it prints, what it says is missing, and that the output is what `check` finds clean.

use crate::program::{headgate, headgate_in, headgate_reading};
use serde_json::json;
use std::fs;

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{name: web, port: 8080}]}
";
const INGRESS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations:
    nginx.ingress.kubernetes.io/rewrite-target: /$2
    nginx.ingress.kubernetes.io/proxy-read-timeout: \"600\"
spec:
  ingressClassName: nginx
  tls: [{hosts: [shop.example.com], secretName: shop-tls}]
  rules:
  - host: shop.example.com
    http:
      paths:
      - path: /shop(/|$)(.*)
        pathType: ImplementationSpecific
        backend: {service: {name: shop, port: {name: web}}}
";

#[test]
fn an_ingress_becomes_a_gateway_and_routes_that_check_finds_clean() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.yaml"), format!("{SERVICE}---\n{INGRESS}")).unwrap();
    let told = headgate_in(folder.path(), &["migrate", "shop.yaml"]).exits(0);
    told.prints("# from Ingress default/shop, shop.yaml:6\n").prints("kind: Gateway\n").prints("kind: HTTPRoute\n");
    told.prints("# warning: metadata.annotations[nginx.ingress.kubernetes.io/proxy-read-timeout]: has no exact form");
    told.complains("shop.yaml:12:53: warning: Ingress default/shop: metadata.annotations")
        .complains("1 warning; 2 objects");
    let files = format!("{SERVICE}---\n{}", told.stdout);
    headgate_reading(&files, &["check", "-"]).exits(0).prints("Secret default/shop-tls does").prints("\n1 warning; ");
    let json = headgate_in(folder.path(), &["migrate", "-o", "json"]).exits(0).json();
    assert_eq!((&json["kind"], json["items"].as_array().unwrap().len()), (&json!("List"), 3));
    let route = &json["items"][1];
    assert_eq!(route["spec"]["parentRefs"], json!([{"name": "nginx", "sectionName": "https-shop.example.com"}]));
    let rule = &route["spec"]["rules"][0];
    assert_eq!(rule["matches"], json!([{"path": {"type": "PathPrefix", "value": "/shop"}}]));
    assert_eq!(rule["backendRefs"], json!([{"name": "shop", "port": 8080}]));
    let rewrite = json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}});
    assert_eq!(rule["filters"], json!([{"type": "URLRewrite", "urlRewrite": rewrite}]));
}

#[test]
fn what_cannot_be_carried_over_is_an_error_at_its_line() {
    let told = headgate_reading(INGRESS, &["migrate", "-"]).exits(1);
    told.complains(
        "-:17:54: error: Ingress default/shop: spec.rules[0].http.paths[0].backend.service.port.name: port web",
    );
    told.prints("# error: spec.rules[0].http.paths[0].backend.service.port.name: port web needs Service default/shop");
    let broken = INGRESS.replace("ImplementationSpecific", "Prefx");
    headgate_reading(&broken, &["migrate", "-"])
        .exits(1)
        .complains("-:16:19: error: ")
        .complains("did you mean Prefix?");
}

#[test]
fn a_class_can_be_named_and_nothing_to_do_is_said() {
    headgate_reading(&format!("{SERVICE}---\n{INGRESS}"), &["migrate", "-", "--class", "istio"])
        .exits(0)
        .prints("gatewayClassName: istio\n");
    headgate_reading(SERVICE, &["migrate", "-"]).exits(1).complains("no Ingress and no Domain in these files");
    headgate(&["migrate", "/no/such"]).exits(2).complains("/no/such: no such file or folder");
}

const DOMAIN: &str = "\
apiVersion: core.openfunction.io/v1beta1
kind: Domain
metadata: {name: openfunction, namespace: io}
spec:
  ingress:
    annotations:
      nginx.ingress.kubernetes.io/rewrite-target: /$2
      nginx.ingress.kubernetes.io/upstream-vhost: $service_name.$namespace
      nginx.ingress.kubernetes.io/proxy-body-size: 8m
    ingressClassName: nginx
    service: {name: ingress-nginx-controller, namespace: ingress-nginx, port: 80}
---
apiVersion: core.openfunction.io/v1alpha2
kind: Function
metadata: {name: old}
spec: {image: old:1, serving: {runtime: Knative}}
---
apiVersion: core.openfunction.io/v1beta1
kind: Function
metadata: {name: hello}
spec: {image: hello:1, serving: {runtime: knative}}
---
apiVersion: core.openfunction.io/v1beta1
kind: Function
metadata: {name: later}
spec:
  image: later:1
  serving: {runtime: async, inputs: [{name: in, component: cron}], bindings: {cron: {type: bindings.cron, version: v1}}}
";

#[test]
fn functions_below_a_domain_become_routes_at_their_paths() {
    let told = headgate_reading(DOMAIN, &["migrate", "-", "-o", "json"]).exits(0);
    told.complains("-:9:52: warning: Domain io/openfunction: spec.ingress.annotations").complains("1 warning; ");
    let json = told.json();
    let routes: Vec<_> = json["items"].as_array().unwrap().iter().filter(|item| item["kind"] == "HTTPRoute").collect();
    assert_eq!(routes.len(), 2, "{json:#}");
    for (route, function) in routes.iter().zip(["hello", "old"]) {
        let rule = &route["spec"]["rules"][0];
        assert_eq!(route["spec"]["hostnames"], json!(["openfunction.io"]));
        assert_eq!(rule["matches"][0]["path"]["value"], format!("/default/{function}"));
        assert_eq!(rule["filters"][0]["urlRewrite"]["path"]["replacePrefixMatch"], "/");
        assert_eq!(rule["backendRefs"], json!([{"name": function, "port": 80}]));
    }
    headgate_reading(DOMAIN, &["migrate", "-"]).prints("# from Domain io/openfunction, -:1\n");
}
