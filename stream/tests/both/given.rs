//! Versions, endpoints and certificates to publish. The same for the same number, whoever asks.

use headgate_config::{
    Action, Activation, Arm, ArmTarget, Attachment, Backend, BackendName, BackendProtocol, Certificate,
    CertificateName, Endpoint, Endpoints, GatewayName, Host, HostPattern, Listener, ListenerName, Match, PathMatch,
    Probe, Protocol, QueueBounds, Redacted, RouteKind, Rule, RuleName, Snapshot, Split, Timeouts, Wait,
};
use headgate_stream::Certificates;
use std::sync::Arc;

pub fn gateway() -> GatewayName {
    GatewayName { namespace: "a".into(), name: "web".into() }
}

pub fn backend(index: u32) -> BackendName {
    BackendName::tcp("a", format!("service-{index}"), 80)
}

fn listener() -> ListenerName {
    ListenerName { namespace: "a".into(), gateway: "web".into(), set: "".into(), section: "http".into() }
}

/// One listener, and so many rules, each with a backend of its own.
pub fn snapshot(rules: u32) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let port = Listener {
        name: listener(),
        port: 80,
        protocol: Protocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None,
        gate: None,
    };
    snapshot.insert_listener(port.into());
    for index in 0..rules {
        snapshot.insert_rule(Arc::new(rule(index)));
        snapshot.insert_backend(Arc::new(Backend {
            name: backend(index),
            protocol: BackendProtocol::Http1,
            hostname: None,
            tls: None,
            proxy_protocol: None,
            concurrency: 0,
            queue: QueueBounds::default(),
            scales: None,
            wait: Wait::default(),
            retries: None,
        }));
    }
    snapshot
}

fn rule(index: u32) -> Rule {
    let route = format!("route-{index}");
    let host: HostPattern = format!("host-{index}.example.com").parse().unwrap();
    let arm = Arm { target: ArmTarget::Backend(backend(index)), weight: 1, filters: Vec::new() };
    Rule {
        name: RuleName { kind: RouteKind::HTTPRoute, namespace: "a".into(), route: route.as_str().into(), index: 0 },
        title: "".into(),
        created: 0,
        attachments: vec![Attachment {
            listener: listener(),
            hosts: vec![Host { pattern: host.clone(), declared: host }],
        }]
        .into(),
        matches: vec![Match {
            path: PathMatch::Prefix("/".into()),
            method: None,
            headers: Vec::new(),
            queries: Vec::new(),
        }]
        .into(),
        filters: Vec::new(),
        action: Action::Forward(Split { arms: vec![arm].into(), cold: Default::default() }),
        timeouts: Timeouts::default(),
        retry: None,
    }
}

pub fn endpoints(index: u32, ports: &[u16], activation: Activation) -> Endpoints {
    let endpoint =
        |port: &u16| Endpoint { address: ([127, 0, 0, 1], *port).into(), ready: true, probe: Probe::default() };
    Endpoints { backend: backend(index), list: ports.iter().map(endpoint).collect(), activation }
}

pub fn certificate() -> Arc<Certificates> {
    let name = CertificateName { namespace: "a".into(), secret: "tls".into() };
    let certificate =
        Certificate { name: name.clone(), chain: "CHAIN".into(), key: Redacted::new("PRIVATE KEY".into()) };
    Arc::new([(name, certificate)].into())
}
