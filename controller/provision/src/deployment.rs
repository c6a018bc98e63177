//! The Deployment of a Gateway: Pods that may do nothing but serve, replaced one after the other. Never a field that somebody else may want to own.

use crate::{
    Parameters, Settings, Transport,
    names::{metadata, name, pod_metadata, selector},
};
use headgate_translate::{
    duration,
    kinds::{Gateway, ObjectRef},
    manifest::manifest,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The audience of the tokens by which gateways are known to their controllers.
pub const TOKEN_AUDIENCE: &str = "headgate-controller";

/// Where metrics, health and routes are shown, unless a listener wants the port.
const ADMIN_PORT: u16 = 9901;
/// Until everybody knows that a Pod goes away, it takes new connections as before, in seconds; not where the Gateway itself is gone.
const LINGER: u64 = 10;
/// The gateway's limit `drain-grace`, from the signal to stop to the end, where parameters do not say it.
const DRAIN_GRACE_MS: u64 = 30_000;
/// For the end itself, in seconds.
const SPARE: u64 = 5;
const AUTHORITY_FOLDER: &str = "/run/headgate/ca";
const TOKEN_FOLDER: &str = "/run/headgate/token";
const STATE_FOLDER: &str = "/run/headgate/state";

/// The Deployment.
pub(crate) fn deployment(
    gateway: &Gateway,
    ports: &BTreeSet<(u16, Transport)>,
    parameters: &Parameters,
    settings: &Settings,
) -> (ObjectRef, Value) {
    let mut spec = json!({
        "selector": {"matchLabels": selector(gateway)},
        "revisionHistoryLimit": 2,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
        "template": {
            "metadata": pod_metadata(gateway),
            "spec": pod(gateway, admin_port(ports), parameters, settings),
        },
    });
    if let Some(replicas) = parameters.replicas {
        spec["replicas"] = json!(replicas);
    }
    let metadata = metadata(gateway, &name(&gateway.meta.name, &gateway.class), &BTreeMap::new());
    manifest("apps/v1", "Deployment", metadata, json!({"spec": spec}))
}

/// The ports of listeners are not in the template: a new one would restart all Pods.
fn admin_port(ports: &BTreeSet<(u16, Transport)>) -> u16 {
    let is_free = |port: &u16| !ports.contains(&(*port, Transport::Tcp));
    (ADMIN_PORT..=u16::MAX).find(is_free).unwrap_or(ADMIN_PORT)
}

/// Whole seconds, rounded up.
fn drain_seconds(parameters: &Parameters) -> u64 {
    let grace_ms = parameters.limits.get("drain-grace").and_then(|text| duration::parse(text));
    grace_ms.unwrap_or(DRAIN_GRACE_MS).div_ceil(1000)
}

fn pod(gateway: &Gateway, admin: u16, parameters: &Parameters, settings: &Settings) -> Value {
    let name = name(&gateway.meta.name, &gateway.class);
    let mut pod = json!({
        "serviceAccountName": name,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": LINGER + drain_seconds(parameters) + SPARE,
        "securityContext": {
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
            // listeners have ports below 1024, and nobody here is root
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
        },
        "topologySpreadConstraints": spread(gateway, parameters),
        "containers": [container(gateway, admin, parameters, settings)],
        "volumes": volumes(&name),
    });
    for (key, value) in placement(parameters) {
        pod[key] = value;
    }
    pod
}

/// What parameters say of where Pods run, as far as they say something.
fn placement(parameters: &Parameters) -> Vec<(&'static str, Value)> {
    let secrets: Vec<Value> = parameters.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
    let set = [
        ("nodeSelector", (!parameters.node_selector.is_empty()).then(|| json!(parameters.node_selector))),
        ("tolerations", (!parameters.tolerations.is_empty()).then(|| json!(parameters.tolerations))),
        ("affinity", parameters.affinity.clone()),
        ("priorityClassName", parameters.priority_class_name.as_ref().map(|name| json!(name))),
        ("imagePullSecrets", (!secrets.is_empty()).then(|| json!(secrets))),
    ];
    set.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Without other words, Pods spread over nodes as well as they can. A constraint that does not say which Pods it is about is about
/// these.
fn spread(gateway: &Gateway, parameters: &Parameters) -> Vec<Value> {
    let mut constraints = parameters.topology_spread_constraints.clone();
    if constraints.is_empty() {
        constraints.push(json!({
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "matchLabelKeys": ["pod-template-hash"],
        }));
    }
    for constraint in constraints.iter_mut().filter(|constraint| constraint["labelSelector"].is_null()) {
        constraint["labelSelector"] = json!({"matchLabels": selector(gateway)});
    }
    constraints
}

fn container(gateway: &Gateway, admin: u16, parameters: &Parameters, settings: &Settings) -> Value {
    let mut env = vec![json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})];
    if let Some(level) = &parameters.log_level {
        env.push(json!({"name": "HEADGATE_LOG", "value": level.as_str()}));
    }
    let small = || json!({"requests": {"cpu": "100m", "memory": "64Mi"}});
    let mut container = json!({
        "name": "gateway",
        "image": settings.image,
        "args": arguments(gateway, admin, parameters, settings),
        "env": env,
        "ports": [{"name": "admin", "containerPort": admin, "protocol": "TCP"}],
        "resources": parameters.resources.clone().unwrap_or_else(small),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": probe("/livez", 1, 60, 1),
        "readinessProbe": probe("/readyz", 1, 3, 1),
        "livenessProbe": probe("/livez", 10, 6, 2),
        "volumeMounts": [
            {"name": "ca", "mountPath": AUTHORITY_FOLDER, "readOnly": true},
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": true},
            {"name": "state", "mountPath": STATE_FOLDER},
        ],
    });
    if let Some(policy) = &settings.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    container
}

/// A gateway that waits for its first routes is alive, but not ready.
fn probe(path: &str, period: u32, failures: u32, timeout: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    })
}

fn arguments(gateway: &Gateway, admin: u16, parameters: &Parameters, settings: &Settings) -> Vec<String> {
    let mut arguments = vec!["gateway".to_owned()];
    let mut flag = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
    flag("gateway", format!("{}/{}", gateway.meta.namespace, gateway.meta.name));
    flag("controller", settings.controller.clone());
    flag("ca", format!("{AUTHORITY_FOLDER}/ca.crt"));
    flag("token", format!("{TOKEN_FOLDER}/token"));
    flag("pod", "$(POD_NAME)".into());
    flag("state", STATE_FOLDER.into());
    flag("admin", format!("0.0.0.0:{admin}"));
    // the program waits and no preStop, so that it can send kept connections elsewhere meanwhile
    flag("shutdown-delay", LINGER.to_string());
    if let Some(cores) = parameters.cores {
        flag("cores", cores.to_string());
    }
    if parameters.access_log == Some(false) {
        flag("access-log", "none".into());
    }
    if !parameters.trusted_hops.is_empty() {
        flag("trusted-hops", parameters.trusted_hops.join(","));
    }
    if let Some(proxied) = &parameters.proxy_protocol {
        let ports: Vec<String> = proxied.ports.iter().map(u16::to_string).collect();
        flag("proxy-protocol-in", ports.join(","));
        if !proxied.from.is_empty() {
            flag("proxy-protocol-from", proxied.from.join(","));
        }
    }
    arguments.extend(parameters.limits.iter().map(|(limit, value)| format!("--{limit}={value}")));
    arguments
}

/// The authority of its controllers, a token that is good for nothing else, and a place for the last good routes that no disk sees.
fn volumes(name: &str) -> Value {
    json!([
        {"name": "ca", "configMap": {"name": name}},
        {"name": "token", "projected": {"sources": [
            {"serviceAccountToken": {"audience": TOKEN_AUDIENCE, "expirationSeconds": 3600, "path": "token"}},
        ]}},
        {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    ])
}
