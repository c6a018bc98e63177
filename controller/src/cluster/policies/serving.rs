//! Where the Pods of an ordinary workload listen, and how a gateway may ask one whether it is ready. From the template of the workload, and never a guess.

use headgate_config::{BackendName, Probe, Text, Transport};
use headgate_translate::{
    Objects,
    kinds::{Service, ServicePort, TargetPort},
};
use serde_json::Value;

/// The port of a Pod behind a Service port, and its probe; `None` for one that only the kubelet can know. For people, why there is none.
///
/// # Errors
/// The Service is of other Pods than those of the workload, or names a port that no container of it has.
pub(super) fn served(
    objects: &Objects,
    name: &BackendName,
    workload: Option<&Value>,
) -> Result<(u16, Option<Probe>), String> {
    let service = objects.service(&name.namespace, &name.service);
    let found = service.and_then(|service| {
        let port = service.ports.iter().find(|port| port.port == name.port && port.protocol == name.transport.as_str());
        Some((service, port?))
    });
    let Some((service, port)) = found else {
        return Err(format!("Service {} has no port {}", name.service, name.port));
    };
    let none = Value::Null;
    let template = workload.map_or(&none, |workload| &workload["spec"]["template"]);
    if let Some(label) = unlike(service, template) {
        return Err(format!(
            "the Pods of the workload are not of Service {}, whose selector has {label}; name the workload that is behind it",
            name.service
        ));
    }
    let pod = &template["spec"];
    let number = number(port, pod).ok_or_else(|| {
        format!("no container of the workload has the port that Service {} names: {}", name.service, text(port))
    })?;
    // of what takes datagrams nobody but the kubelet can know
    let probe = (name.transport == Transport::Tcp).then(|| probe(pod, number)).flatten();
    Ok((number, probe))
}

/// A label by which a Service finds its Pods, and which those of a template do not have.
fn unlike(service: &Service, template: &Value) -> Option<String> {
    let labels = &template["metadata"]["labels"];
    let is_other = |(key, value): &&(Text, Text)| labels[key.as_str()] != value.as_str();
    let (key, value) = service.selector.iter().filter(|_| !template.is_null()).find(is_other)?;
    Some(format!("{key}={value}"))
}

fn text(port: &ServicePort) -> String {
    match &port.target {
        Some(TargetPort::Name(name)) => name.clone(),
        Some(TargetPort::Number(number)) => number.to_string(),
        None => port.port.to_string(),
    }
}

fn number(port: &ServicePort, pod: &Value) -> Option<u16> {
    match &port.target {
        None => Some(port.port),
        Some(TargetPort::Number(number)) => Some(*number),
        Some(TargetPort::Name(name)) => named(pod, name),
    }
}

fn named(pod: &Value, name: &str) -> Option<u16> {
    let mut ports = containers(pod).flat_map(|one| one["ports"].as_array().into_iter().flatten());
    let port = ports.find(|port| port["name"] == name)?;
    port["containerPort"].as_u64()?.try_into().ok()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["containers"].as_array().into_iter().flatten()
}

/// A container that is alone and asks for nothing is ready as soon as it listens. One with a readiness probe is asked as the kubelet
/// asks, if that is over HTTP or TCP on the very port that serves. All else only the kubelet knows: a command, gRPC, another port,
/// gates, and a container beside it that may take connections before the application does.
fn probe(pod: &Value, port: u16) -> Option<Probe> {
    let has_gates = pod["readinessGates"].as_array().is_some_and(|gates| !gates.is_empty());
    let is_alone = containers(pod).count() == 1;
    let mut asked = containers(pod).map(|one| &one["readinessProbe"]).filter(|probe| probe.is_object());
    let (first, more) = (asked.next(), asked.next().is_some());
    if has_gates || more || pod.is_null() {
        return None;
    }
    let Some(written) = first else { return is_alone.then_some(Probe::Tcp) };
    let is_ours =
        |at: &Value| at["port"] == port || at["port"].as_str().is_some_and(|name| named(pod, name) == Some(port));
    match (&written["httpGet"], &written["tcpSocket"]) {
        (get, _) if get.is_object() => {
            let is_plain = get["scheme"].as_str().unwrap_or("HTTP") == "HTTP"
                && get["httpHeaders"].is_null()
                && get["host"].is_null();
            let path = get["path"].as_str().unwrap_or("/").to_owned();
            (is_ours(get) && is_plain).then_some(Probe::Http { path })
        }
        (_, tcp) if tcp.is_object() => (is_ours(tcp) && is_alone).then_some(Probe::Tcp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_translate::kinds::ObjectMeta;
    use serde_json::json;

    #[test]
    fn a_pod_is_asked_as_the_kubelet_asks_it_or_not_at_all() {
        let ports = json!([{"name": "web", "containerPort": 8080}]);
        let http = |port: Value| json!({"httpGet": {"path": "/ready", "port": port}});
        let ready = Some(Probe::Http { path: "/ready".into() });
        let one = |probe: Value| json!({"containers": [{"ports": ports, "readinessProbe": probe}]});
        let beside =
            |probe: Value| json!({"containers": [{"ports": ports, "readinessProbe": probe}, {"name": "proxy"}]});
        for (pod, expected) in [
            (json!({"containers": [{"ports": ports}]}), Some(Probe::Tcp)),
            (json!({"containers": [{"ports": ports}, {"name": "proxy"}]}), None),
            (one(http(json!(8080))), ready.clone()),
            (one(http(json!("web"))), ready.clone()),
            (one(http(json!(9090))), None),
            (one(json!({"tcpSocket": {"port": 8080}})), Some(Probe::Tcp)),
            (beside(json!({"tcpSocket": {"port": 8080}})), None),
            (beside(http(json!("web"))), ready),
            (one(json!({"exec": {"command": ["true"]}})), None),
            (one(json!({"httpGet": {"path": "/", "port": 8080, "scheme": "HTTPS"}})), None),
            (json!({"containers": [{"ports": ports}], "readinessGates": [{"conditionType": "x.io/y"}]}), None),
            (Value::Null, None),
        ] {
            assert_eq!(probe(&pod, 8080), expected, "{pod}");
        }
    }

    #[test]
    fn a_port_is_found_by_number_or_by_the_name_that_a_container_gives_it() {
        let pod = json!({"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]});
        let of = |target: Option<TargetPort>| number(&ServicePort { port: 80, target, ..ServicePort::default() }, &pod);
        assert_eq!(of(None), Some(80));
        assert_eq!(of(Some(TargetPort::Number(81))), Some(81));
        assert_eq!(of(Some(TargetPort::Name("web".into()))), Some(8080));
        assert_eq!(of(Some(TargetPort::Name("admin".into()))), None);
    }

    #[test]
    fn what_takes_datagrams_is_never_asked_over_tcp() {
        let service = Service {
            meta: ObjectMeta { namespace: "shop".into(), name: "dns".into(), ..ObjectMeta::default() },
            ports: [Transport::Tcp, Transport::Udp]
                .map(|transport| ServicePort {
                    port: 53,
                    protocol: transport.as_str().into(),
                    ..ServicePort::default()
                })
                .into(),
            ..Service::default()
        };
        let mut objects = Objects::default();
        objects.services.insert(service.meta.key(), service.into());
        let workload = json!({"spec": {"template": {"spec": {"containers": [{"name": "dns"}]}}}});
        let of = |transport| {
            let (namespace, service) = ("shop".into(), "dns".into());
            let name = BackendName { namespace, service, port: 53, transport, uid: "".into() };
            served(&objects, &name, Some(&workload))
        };
        assert_eq!(of(Transport::Tcp), Ok((53, Some(Probe::Tcp))));
        assert_eq!(of(Transport::Udp), Ok((53, None)));
    }
}
