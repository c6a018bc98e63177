//! Derived routes and Gateways as a person would write them. Never what the API has as a default.

use super::{DerivedGateway, IngressRoute};
use crate::{
    kinds::{
        Cors, Filter, GATEWAY_GROUP, HTTPMatch, HTTPRule, HeaderMatch, HeaderModifier, Listener, ObjectMeta, ParentRef,
        PathModifier, Redirect, UrlRewrite, ValueKind, WeightedBackend,
    },
    manifest::manifest,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

impl IngressRoute {
    /// Its manifest.
    pub fn manifest(&self) -> Value {
        let route = &self.route;
        let mut spec = Fields::default();
        spec.list("parentRefs", route.parents.iter().map(parent));
        spec.list("hostnames", route.hostnames.iter().map(|host| json!(host)));
        spec.list("rules", route.rules.iter().map(rule));
        let rest = json!({ "spec": spec.value() });
        manifest(&format!("{GATEWAY_GROUP}/v1"), "HTTPRoute", metadata(&route.meta), rest).1
    }
}

impl DerivedGateway {
    /// Its manifest.
    pub fn manifest(&self) -> Value {
        let gateway = &self.gateway;
        let listeners: Vec<Value> = gateway.listeners.iter().map(listener).collect();
        let rest = json!({"spec": {"gatewayClassName": gateway.class, "listeners": listeners}});
        manifest(&format!("{GATEWAY_GROUP}/v1"), "Gateway", metadata(&gateway.meta), rest).1
    }
}

/// Fields in their order, those without a value left out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
    }

    fn list(&mut self, key: &str, values: impl Iterator<Item = Value>) {
        let values: Vec<Value> = values.collect();
        self.set(key, (!values.is_empty()).then_some(values));
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        self.list(key, texts.iter().map(|text| json!(text)));
    }

    fn value(self) -> Value {
        Value::Object(self.0)
    }
}

fn metadata(meta: &ObjectMeta) -> Value {
    let mut fields = Fields::default();
    let map = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| json!(map));
    fields.set("name", Some(meta.name.as_str()));
    fields.set("namespace", Some(meta.namespace.as_str()));
    fields.set("labels", map(&meta.labels));
    fields.set("annotations", map(&meta.annotations));
    fields.value()
}

fn parent(parent: &ParentRef) -> Value {
    let mut fields = Fields::default();
    fields.set("name", Some(parent.name.as_str()));
    fields.set("namespace", parent.namespace.as_deref());
    fields.set("sectionName", parent.section.as_deref());
    fields.value()
}

fn rule(rule: &HTTPRule) -> Value {
    let mut fields = Fields::default();
    fields.list("matches", rule.matches.iter().map(matching));
    fields.list("filters", rule.filters.iter().filter_map(filter));
    fields.list("backendRefs", rule.backends.iter().map(|arm| backend(arm, rule.backends.len() > 1)));
    fields.value()
}

fn matching(matching: &HTTPMatch) -> Value {
    let mut fields = Fields::default();
    fields.set("path", Some(json!({"type": matching.path.kind.as_str(), "value": matching.path.value.as_str()})));
    fields.list("headers", matching.headers.iter().map(header));
    fields.value()
}

fn header(test: &HeaderMatch) -> Value {
    let mut fields = Fields::default();
    fields.set("type", (test.kind != ValueKind::Exact).then(|| test.kind.as_str()));
    fields.set("name", Some(test.name.as_str()));
    fields.set("value", Some(test.value.as_str()));
    fields.value()
}

fn backend(arm: &WeightedBackend, is_one_of_several: bool) -> Value {
    let mut fields = Fields::default();
    fields.set("name", Some(arm.backend.name.as_str()));
    fields.set("port", arm.backend.port);
    fields.set("weight", is_one_of_several.then_some(arm.weight));
    fields.value()
}

/// `None` for those that no Ingress becomes.
fn filter(filter: &Filter) -> Option<Value> {
    let (field, body) = match filter {
        Filter::RequestHeaders(headers) => ("requestHeaderModifier", modifier(headers)),
        Filter::ResponseHeaders(headers) => ("responseHeaderModifier", modifier(headers)),
        Filter::Redirect(redirect) => ("requestRedirect", self::redirect(redirect)),
        Filter::Rewrite(rewrite) => ("urlRewrite", self::rewrite(rewrite)),
        Filter::Cors(cors) => ("cors", self::cors(cors)),
        Filter::Mirror(_) | Filter::ExternalAuth(_) | Filter::Extension(_) | Filter::Unknown(_) => return None,
    };
    let mut fields = Fields::default();
    fields.set("type", Some(filter.kind()));
    fields.set(field, Some(body));
    Some(fields.value())
}

fn modifier(headers: &HeaderModifier) -> Value {
    let pair = |(name, value): &(String, String)| json!({"name": name, "value": value});
    let mut fields = Fields::default();
    fields.list("set", headers.set.iter().map(pair));
    fields.list("add", headers.add.iter().map(pair));
    fields.texts("remove", &headers.remove);
    fields.value()
}

fn redirect(redirect: &Redirect) -> Value {
    let mut fields = Fields::default();
    fields.set("scheme", redirect.scheme.as_deref());
    fields.set("hostname", redirect.hostname.as_deref());
    fields.set("port", redirect.port);
    fields.set("path", redirect.path.as_ref().map(path));
    fields.set("statusCode", Some(redirect.status));
    fields.value()
}

fn rewrite(rewrite: &UrlRewrite) -> Value {
    let mut fields = Fields::default();
    fields.set("hostname", rewrite.hostname.as_deref());
    fields.set("path", rewrite.path.as_ref().map(path));
    fields.value()
}

fn path(path: &PathModifier) -> Value {
    match path {
        PathModifier::Full(path) => json!({"type": "ReplaceFullPath", "replaceFullPath": path}),
        PathModifier::Prefix(prefix) => json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": prefix}),
        PathModifier::Unknown(kind) => json!({ "type": kind }),
    }
}

fn cors(cors: &Cors) -> Value {
    let mut fields = Fields::default();
    fields.texts("allowOrigins", &cors.allow_origins);
    fields.set("allowCredentials", cors.allow_credentials.then_some(true));
    fields.texts("allowMethods", &cors.allow_methods);
    fields.texts("allowHeaders", &cors.allow_headers);
    fields.texts("exposeHeaders", &cors.expose_headers);
    fields.set("maxAge", Some(cors.max_age_s));
    fields.value()
}

fn listener(listener: &Listener) -> Value {
    let mut fields = Fields::default();
    fields.set("name", Some(listener.name.as_str()));
    fields.set("hostname", listener.hostname.as_deref());
    fields.set("port", Some(listener.port));
    fields.set("protocol", Some(listener.protocol.as_str()));
    let secrets = listener.tls.as_ref().map(|tls| {
        let names: Vec<Value> = tls.certificates.iter().map(|secret| json!({"name": secret.name.as_str()})).collect();
        json!({ "certificateRefs": names })
    });
    fields.set("tls", secrets);
    fields.value()
}
