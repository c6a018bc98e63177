//! GatewayParameters of `headgate.dev/v1alpha1`: what people may say of the Pods and Services of a Gateway. Never of its routes.

use headgate_translate::{
    choices, duration,
    form::Form,
    schema::{Fields, Problem, Reader, Report},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The group of the kind.
pub const GROUP: &str = "headgate.dev";
/// The kind.
pub const KIND: &str = "GatewayParameters";

/// `spec` of GatewayParameters. All of it is optional; an empty list or map counts as not written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// How many Pods; where it is not written, the field is left to others (an autoscaler), and is 1 at first.
    pub replicas: Option<u32>,
    /// `resources` of the container.
    pub resources: Option<Value>,
    /// `type` of the Services, LoadBalancer by default.
    pub service_type: Option<ServiceType>,
    /// Annotations of the Services, beside those of `spec.infrastructure`.
    pub service_annotations: BTreeMap<String, String>,
    /// `loadBalancerClass` of Services of type LoadBalancer.
    pub load_balancer_class: Option<String>,
    /// `externalTrafficPolicy` of Services of type LoadBalancer and NodePort.
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// `nodeSelector` of the Pods.
    pub node_selector: BTreeMap<String, String>,
    /// `tolerations` of the Pods.
    pub tolerations: Vec<Value>,
    /// `affinity` of the Pods.
    pub affinity: Option<Value>,
    /// `priorityClassName` of the Pods.
    pub priority_class_name: Option<String>,
    /// `topologySpreadConstraints` of the Pods, in place of ours.
    pub topology_spread_constraints: Vec<Value>,
    /// Of the PodDisruptionBudget, in place of ours.
    pub disruption: Option<Disruption>,
    /// Names of Secrets with which the image is pulled.
    pub image_pull_secrets: Vec<String>,
    /// Threads that serve: `--cores`.
    pub cores: Option<u32>,
    /// How much the gateway tells of itself: `HEADGATE_LOG`.
    pub log_level: Option<LogLevel>,
    /// Whether each request is logged; it is by default.
    pub access_log: Option<bool>,
    /// Networks whose `X-Forwarded-*` are believed: `--trusted-hops`.
    pub trusted_hops: Vec<String>,
    /// Ports at which clients come through a proxy that says who they are: `--proxy-protocol-in`, `--proxy-protocol-from`.
    pub proxy_protocol: Option<Proxied>,
    /// Limits of the gateway, by flag without dashes (docs/limits.md).
    pub limits: BTreeMap<String, String>,
}

/// Ports at which connections begin with a header of the PROXY protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// Ports of listeners.
    pub ports: Vec<u16>,
    /// Networks from which a header is taken; from everybody where there are none.
    pub from: Vec<String>,
}

/// How many Pods may be missing while nodes are emptied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disruption {
    /// `minAvailable`, a number or `50%`.
    MinAvailable(Value),
    /// `maxUnavailable`, a number or `50%`.
    MaxUnavailable(Value),
}

choices! {
    /// Type of a Service.
    ServiceType { LoadBalancer = "LoadBalancer", NodePort = "NodePort", ClusterIP = "ClusterIP" }
}

choices! {
    /// Whether a node hands traffic from outside to Pods on other nodes.
    ExternalTrafficPolicy { Cluster = "Cluster", Local = "Local" }
}

choices! {
    /// How much a gateway tells of itself.
    LogLevel { Info = "info", Error = "error", Warn = "warn", Debug = "debug", Trace = "trace" }
}

impl Parameters {
    /// Reads an object of the kind.
    ///
    /// # Errors
    /// With all that is wrong with it, by field.
    pub fn decode(object: &Value) -> Result<Self, Vec<Problem>> {
        let report = Report::default();
        let mut top = Reader::new(object, &report).fields();
        for key in ["apiVersion", "kind", "metadata", "status"] {
            top.skip(key);
        }
        let parameters = top.get("spec").map(|at| Self::read(&mut at.fields())).unwrap_or_default();
        drop(top);
        if report.has_errors() { Err(report.into_problems()) } else { Ok(parameters) }
    }

    /// These, and those of the class for whatever these do not say. Of limits, each by itself.
    #[must_use]
    pub fn over(self, class: &Self) -> Self {
        let class = class.clone();
        Self {
            replicas: self.replicas.or(class.replicas),
            resources: self.resources.or(class.resources),
            service_type: self.service_type.or(class.service_type),
            service_annotations: or_map(self.service_annotations, class.service_annotations),
            load_balancer_class: self.load_balancer_class.or(class.load_balancer_class),
            external_traffic_policy: self.external_traffic_policy.or(class.external_traffic_policy),
            node_selector: or_map(self.node_selector, class.node_selector),
            tolerations: or_list(self.tolerations, class.tolerations),
            affinity: self.affinity.or(class.affinity),
            priority_class_name: self.priority_class_name.or(class.priority_class_name),
            topology_spread_constraints: or_list(self.topology_spread_constraints, class.topology_spread_constraints),
            disruption: self.disruption.or(class.disruption),
            image_pull_secrets: or_list(self.image_pull_secrets, class.image_pull_secrets),
            cores: self.cores.or(class.cores),
            log_level: self.log_level.or(class.log_level),
            access_log: self.access_log.or(class.access_log),
            trusted_hops: or_list(self.trusted_hops, class.trusted_hops),
            proxy_protocol: self.proxy_protocol.or(class.proxy_protocol),
            limits: class.limits.into_iter().chain(self.limits).collect(),
        }
    }

    /// `type` of the Services.
    pub fn service_type(&self) -> ServiceType {
        self.service_type.clone().unwrap_or_default()
    }

    fn read(spec: &mut Fields<'_>) -> Self {
        Self {
            replicas: small_number(spec, "replicas", 0, 1_000),
            resources: spec.get("resources").map(|at| whole_object(&at)),
            service_type: spec.choice("serviceType"),
            service_annotations: annotations(spec, "serviceAnnotations"),
            load_balancer_class: spec.text("loadBalancerClass", Form::LABEL_KEY),
            external_traffic_policy: spec.choice("externalTrafficPolicy"),
            node_selector: spec.map("nodeSelector", Form::LABEL_VALUE),
            tolerations: spec.each("tolerations", 0..=64, whole_object),
            affinity: spec.get("affinity").map(|at| whole_object(&at)),
            priority_class_name: spec.text("priorityClassName", Form::SUBDOMAIN),
            topology_spread_constraints: spec.each("topologySpreadConstraints", 0..=16, whole_object),
            disruption: spec.get("podDisruptionBudget").and_then(|at| Disruption::read(&at)),
            image_pull_secrets: spec.each("imagePullSecrets", 0..=16, |at| {
                let mut fields = at.fields();
                fields.need_text("name", Form::SUBDOMAIN)
            }),
            cores: small_number(spec, "cores", 1, 1_024),
            log_level: spec.choice("logLevel"),
            access_log: spec.flag("accessLog"),
            trusted_hops: spec.each("trustedHops", 0..=64, network),
            proxy_protocol: spec.get("proxyProtocol").map(|at| Proxied::read(&at)),
            limits: limits(spec, "limits"),
        }
    }
}

impl Proxied {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let ports = fields.need("ports").map(|at| at.list(1..=64)).unwrap_or_default();
        let port = |at: &Reader<'_>| u16::try_from(at.number(1..=65_535)).unwrap_or_default();
        Self { ports: ports.iter().map(port).collect(), from: fields.each("from", 0..=64, network) }
    }
}

impl Disruption {
    /// As it stands in the `spec` of a PodDisruptionBudget.
    pub(crate) fn to_spec(&self) -> (&'static str, Value) {
        match self {
            Self::MinAvailable(many) => ("minAvailable", many.clone()),
            Self::MaxUnavailable(many) => ("maxUnavailable", many.clone()),
        }
    }

    fn read(at: &Reader<'_>) -> Option<Self> {
        let mut fields = at.fields();
        let least = fields.get("minAvailable").map(|at| number_or_percent(&at));
        let most = fields.get("maxUnavailable").map(|at| number_or_percent(&at));
        match (least, most) {
            (Some(least), None) => Some(Self::MinAvailable(least)),
            (None, Some(most)) => Some(Self::MaxUnavailable(most)),
            (None, None) => None,
            (Some(_), Some(_)) => {
                at.error("has minAvailable and maxUnavailable, which exclude each other", "keep one of them");
                None
            }
        }
    }
}

fn or_list<T>(own: Vec<T>, class: Vec<T>) -> Vec<T> {
    if own.is_empty() { class } else { own }
}

fn or_map(own: BTreeMap<String, String>, class: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if own.is_empty() { class } else { own }
}

fn small_number(fields: &mut Fields<'_>, key: &'static str, least: i64, most: i64) -> Option<u32> {
    fields.number(key, least..=most).map(|number| u32::try_from(number).unwrap_or_default())
}

/// A part of the API of Kubernetes that is passed on as it stands: the API server judges it.
fn whole_object(at: &Reader<'_>) -> Value {
    at.entries();
    at.value().clone()
}

fn annotations(fields: &mut Fields<'_>, key: &'static str) -> BTreeMap<String, String> {
    let entries = fields.get(key).map(|at| at.entries()).unwrap_or_default();
    let read = |(key, at): (String, Reader<'_>)| {
        if let Err(message) = Form::LABEL_KEY.check(&key) {
            at.error(message, Form::LABEL_KEY.remedy);
        }
        (key, at.text(Form::ANY))
    };
    entries.into_iter().map(read).collect()
}

/// Whether there is such a limit is in the definition of the kind, which the API server applies.
fn limits(fields: &mut Fields<'_>, key: &'static str) -> BTreeMap<String, String> {
    let value = Form::custom(1, 32, is_limit, "write a number, a size such as 64KiB, a time such as 1m30s, or none");
    let entries = fields.get(key).map(|at| at.entries()).unwrap_or_default();
    let read = |(key, at): (String, Reader<'_>)| {
        if let Err(message) = Form::LABEL.check(&key) {
            at.error(message, Form::LABEL.remedy);
        }
        let text = if at.value().is_i64() { at.number(0..=i64::MAX).to_string() } else { at.text(value) };
        (key, text)
    };
    entries.into_iter().map(read).collect()
}

/// Which of these a limit wants is for the gateway to judge.
fn is_limit(text: &str) -> bool {
    let size = ["KiB", "MiB", "GiB"].iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or(text);
    text == "none" || size.bytes().all(|b| b.is_ascii_digit()) || duration::parse(text).is_some()
}

fn number_or_percent(at: &Reader<'_>) -> Value {
    if at.value().is_i64() {
        return json!(at.number(0..=1_000));
    }
    let is_percent = |text: &str| {
        let digits = text.strip_suffix('%').unwrap_or_default();
        digits.parse().is_ok_and(|number: u8| number <= 100) && !digits.starts_with('+')
    };
    json!(at.text(Form::custom(1, 4, is_percent, "write a number, or a percentage such as \"50%\"")))
}

fn network(at: &Reader<'_>) -> String {
    let is_network = |text: &str| {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
        let most = if address.is_ipv4() { 32 } else { 128 };
        bits.is_none_or(|bits| bits.parse().is_ok_and(|bits: u8| bits <= most))
    };
    at.text(Form::custom(1, 49, is_network, "write an IP address or a network such as 10.0.0.0/8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(spec: Value) -> Result<Parameters, Vec<String>> {
        let object = json!({"apiVersion": "headgate.dev/v1alpha1", "kind": "GatewayParameters", "spec": spec});
        Parameters::decode(&object).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn everything_is_optional() {
        assert_eq!(Parameters::decode(&json!({"metadata": {"name": "a"}})), Ok(Parameters::default()));
        assert_eq!(decode(json!({})), Ok(Parameters::default()));
    }

    #[test]
    fn each_mistake_is_told_with_its_field() {
        let wrong = decode(json!({
            "replicas": -1,
            "serviceType": "Loadbalancer",
            "resources": "small",
            "tolerations": [{}, 1],
            "podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": "50%"},
            "imagePullSecrets": [{"nmae": "a"}],
            "trustedHops": ["10.0.0.0/33"],
            "proxyProtocol": {"ports": [0, 80], "from": ["10.0.0.0/33"]},
            "limits": {"wait --admin": "1s", "head-bytes": "1 --admin"},
        }));
        let problems = wrong.expect_err("refused");
        let expected = [
            "spec.replicas: -1 is out of range; write 0 to 1000",
            "spec.resources: is a text; write a map (indented `name: value` lines)",
            "spec.serviceType: \"Loadbalancer\" is not one of LoadBalancer, NodePort, ClusterIP; did you mean LoadBalancer?",
            "spec.tolerations[1]: is a number; write a map (indented `name: value` lines)",
            "spec.podDisruptionBudget: has minAvailable and maxUnavailable, which exclude each other; keep one of them",
            "spec.imagePullSecrets[0].name: is missing; write name: …",
            "spec.proxyProtocol.ports[0]: 0 is out of range; write 1 to 65535",
        ];
        for line in expected {
            assert!(problems.iter().any(|problem| problem == line), "{line} is not in {problems:#?}");
        }
        for start in [
            "spec.trustedHops[0]: ",
            "spec.proxyProtocol.from[0]: ",
            "spec.limits.wait --admin: ",
            "spec.limits.head-bytes: ",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(start)), "{start} is not in {problems:#?}");
        }
    }

    #[test]
    fn ports_behind_a_proxy_are_named() {
        let proxied = |value: Value| decode(json!({"proxyProtocol": value})).map(|spec| spec.proxy_protocol);
        let expected = Proxied { ports: vec![80, 443], from: vec!["10.0.0.0/8".into()] };
        assert_eq!(proxied(json!({"ports": [80, 443], "from": ["10.0.0.0/8"]})), Ok(Some(expected)));
        for wrong in [json!({}), json!({"ports": []}), json!({"from": ["10.0.0.0/8"]}), json!({"ports": ["http"]})] {
            assert!(proxied(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_percentage_has_its_bounds() {
        let budget = |value: Value| decode(json!({"podDisruptionBudget": {"maxUnavailable": value}}));
        assert!(budget(json!("100%")).is_ok() && budget(json!(1)).is_ok());
        for wrong in [json!("101%"), json!("50"), json!("+5%"), json!("%"), json!(-1)] {
            assert!(budget(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_gateway_says_goes_before_what_its_class_says() {
        let class = decode(json!({
            "replicas": 2, "cores": 4, "tolerations": [{"key": "a"}], "limits": {"wait": "30s", "connections": 9},
        }));
        let own = decode(json!({"replicas": 3, "serviceType": "NodePort", "limits": {"wait": "10s"}})).expect("fine");
        let both = own.over(&class.expect("fine"));
        let limits = [("connections", "9"), ("wait", "10s")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(both.limits, limits.into());
        assert_eq!((both.replicas, both.cores, both.tolerations.len()), (Some(3), Some(4), 1));
        assert_eq!(both.service_type(), ServiceType::NodePort);
    }
}
