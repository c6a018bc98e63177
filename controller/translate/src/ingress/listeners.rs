//! What `tls` of Ingresses says, as listeners of Gateways: one with TLS for each host, beside one without. Never a certificate itself.

use super::{Derivation, IngressReport, IngressRoute, Scheme, annotations::ISSUER_ANNOTATIONS, names::of_host};
use crate::{
    Key, Objects,
    kinds::{
        Gateway, Ingress, IngressTls, Listener, ListenerTls, ObjectMeta, ObjectReference, ParentRef, Protocol, TlsMode,
    },
    schema::FieldPath,
};
use headgate_config::Text;
use std::collections::BTreeMap;

/// The name of the listener without TLS.
const PLAIN: &str = "http";
/// The most listeners of a Gateway.
const LISTENERS_MOST: usize = 64;

/// A Gateway for the Ingresses of a namespace and class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedGateway {
    /// The Gateway.
    pub gateway: Gateway,
    /// The Ingresses that it serves.
    pub ingresses: Vec<Key>,
}

/// Whether a certificate is for a host. One without hosts is for those of the Ingress.
pub(super) fn covers(tls: &IngressTls, host: Option<&str>) -> bool {
    let is_for = |named: &String| match host {
        None => false,
        Some(host) => {
            named == host
                || named.strip_prefix('*').is_some_and(|below| {
                    host.strip_suffix(below).is_some_and(|label| !label.is_empty() && !label.contains('.'))
                })
        }
    };
    tls.secret.is_some() && (tls.hosts.is_empty() || tls.hosts.iter().any(is_for))
}

/// The Gateways that the routes need, one for each namespace and class of their Ingresses and called as the class; the routes are
/// attached to them. `class` is the GatewayClass.
pub fn gateways(derivation: &mut Derivation, objects: &Objects, class: &str) -> Vec<DerivedGateway> {
    let mut made: BTreeMap<Key, DerivedGateway> = BTreeMap::new();
    let mut report = IngressReport::default();
    for route in &mut derivation.routes {
        let Some(ingress) = objects.ingresses.get(&route.ingress) else { continue };
        let name = ingress.class.clone().unwrap_or_else(|| "headgate".into());
        let key = (ingress.meta.namespace.clone(), name);
        let derived = made.entry(key).or_insert_with_key(|key| DerivedGateway::new(key, class));
        if !derived.ingresses.contains(&route.ingress) {
            derived.ingresses.push(route.ingress.clone());
            derived.add_issuer(ingress, &mut report);
            derived.add_tls(ingress, &mut report);
        }
        attach(route, ingress, &derived.gateway);
    }
    derivation.problems.extend(report.problems);
    made.into_values().collect()
}

/// Names the Gateway as the parent: as a whole, or its listeners with or without TLS.
fn attach(route: &mut IngressRoute, ingress: &Ingress, gateway: &Gateway) {
    let parent = ParentRef { namespace: None, ..ParentRef::gateway("", &gateway.meta.name) };
    let section = |name: &Text| ParentRef { section: Some(name.clone()), ..parent.clone() };
    let host = route.route.hostnames.first();
    route.route.parents = match route.scheme {
        Scheme::Any => vec![parent],
        Scheme::Http => vec![section(&PLAIN.into())],
        Scheme::Https => {
            let entries = ingress.tls.iter().filter(|tls| covers(tls, host.map(String::as_str)));
            let hosts = entries
                .flat_map(|tls| if tls.hosts.is_empty() { vec![host] } else { tls.hosts.iter().map(Some).collect() });
            let taking = hosts.filter(|named| takes(named.map(String::as_str), host.map(String::as_str)));
            let mut names: Vec<Text> = taking.map(|named| secure_name(named.map(String::as_str))).collect();
            names.sort();
            names.dedup();
            names.iter().map(section).collect()
        }
    };
}

fn takes(listener: Option<&str>, host: Option<&str>) -> bool {
    match (listener, host) {
        (None, _) => true,
        (Some(listener), Some(host)) => {
            listener == host || listener.strip_prefix('*').is_some_and(|below| host.ends_with(below))
        }
        (Some(_), None) => false,
    }
}

/// The name of the listener of a host.
fn secure_name(host: Option<&str>) -> Text {
    match host {
        None => "https".into(),
        host => format!("https-{}", of_host(host)).into(),
    }
}

impl DerivedGateway {
    fn new((namespace, name): &Key, class: &str) -> Self {
        let plain = Listener { name: PLAIN.into(), port: 80, protocol: Protocol::Http, ..Listener::default() };
        let meta = ObjectMeta { name: name.clone(), namespace: namespace.clone(), ..ObjectMeta::default() };
        let gateway = Gateway { meta, class: class.into(), listeners: vec![plain], ..Gateway::default() };
        Self { gateway, ingresses: Vec::new() }
    }

    /// cert-manager reads the same annotations from a Gateway.
    fn add_issuer(&mut self, ingress: &Ingress, report: &mut IngressReport) {
        let asked = ingress.meta.annotations.iter().filter(|(key, _)| key.starts_with(ISSUER_ANNOTATIONS));
        for (key, text) in asked {
            let at = FieldPath::of("metadata.annotations").key(key.clone());
            match self.gateway.meta.annotations.get(key) {
                Some(other) if other != text => {
                    let message =
                        format!("another Ingress of this Gateway says {other:?}, and a Gateway says one thing");
                    report.warn(ingress, at, message, "write another Gateway for this certificate");
                }
                Some(_) => {}
                None => {
                    self.gateway.meta.annotations.insert(key.clone(), text.clone());
                }
            }
        }
    }

    fn add_tls(&mut self, ingress: &Ingress, report: &mut IngressReport) {
        for (index, tls) in ingress.tls.iter().enumerate() {
            let at = FieldPath::of("spec.tls").index(index);
            let Some(secret) = &tls.secret else {
                let message = "names no Secret, and a listener needs one: there is no listener with TLS";
                report.warn(
                    ingress,
                    at,
                    message,
                    "write secretName:, also for the certificate that is the default today",
                );
                continue;
            };
            let of_ingress = || ingress.rules.iter().map(|rule| rule.host.clone()).collect();
            let hosts: Vec<Option<String>> =
                if tls.hosts.is_empty() { of_ingress() } else { tls.hosts.iter().cloned().map(Some).collect() };
            for host in hosts {
                self.add_listener(ingress, host, secret, &at, report);
            }
        }
    }

    fn add_listener(
        &mut self,
        ingress: &Ingress,
        host: Option<String>,
        secret: &Text,
        at: &FieldPath,
        report: &mut IngressReport,
    ) {
        let name = secure_name(host.as_deref());
        let certificate = |listener: &Listener| {
            listener.tls.as_ref().and_then(|tls| tls.certificates.first()).map(|reference| reference.name.clone())
        };
        if let Some(known) = self.gateway.listeners.iter().find(|listener| listener.name == *name) {
            if certificate(known).is_some_and(|other| other != *secret) {
                let other = certificate(known).unwrap_or_default();
                let message = format!("another entry for the same host names Secret {other}, and that one is taken");
                report.warn(ingress, at.key("secretName"), message, "name one Secret for each host");
            }
            return;
        }
        if self.gateway.listeners.len() == LISTENERS_MOST {
            let message =
                format!("would be listener {} of its Gateway, and {LISTENERS_MOST} are allowed", LISTENERS_MOST + 1);
            report.error(
                ingress,
                at.clone(),
                message,
                "write a ListenerSet or another Gateway, or a wildcard certificate",
            );
            return;
        }
        let reference = ObjectReference { kind: "Secret".into(), name: secret.clone(), ..ObjectReference::default() };
        self.gateway.listeners.push(Listener {
            name: name.as_str().into(),
            hostname: host,
            port: 443,
            protocol: Protocol::Https,
            tls: Some(ListenerTls {
                mode: TlsMode::Terminate,
                certificates: vec![reference],
                ..ListenerTls::default()
            }),
            ..Listener::default()
        });
    }
}
