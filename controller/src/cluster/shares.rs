//! What each Gateway gets of the routes: its own listeners, the rules attached to them, the Backends that these name. Never a part of another Gateway's.

use headgate_config::{
    Backend, BackendName, ByName, CertificateName, GatewayName, Listener, ListenerName, Rule, RuleName, Snapshot,
};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

type Backends = OrdMap<ByName<Backend>, Arc<Backend>>;

/// Which Backends a Gateway's share names since the last version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Named now: their endpoints must be known before the routes. In order.
    pub came: Vec<BackendName>,
}

/// The routes, by Gateway. Costs as much as differs.
#[derive(Debug, Default)]
pub struct Shares {
    all: Snapshot,
    by_gateway: BTreeMap<GatewayName, Share>,
}

#[derive(Debug, Default)]
struct Share {
    snapshot: Snapshot,
    /// How many rules name each Backend.
    uses: HashMap<BackendName, usize>,
    /// By Backend that has endpoints shown one: its certificate.
    shown: BTreeMap<BackendName, CertificateName>,
    /// The certificates whose keys it needs, and whether those may be others by now.
    certificates: Arc<BTreeSet<CertificateName>>,
    names_others: bool,
}

impl Shares {
    /// Takes the next version of all routes, and names the Gateways whose share differs from before.
    pub fn take(&mut self, next: &Snapshot) -> BTreeMap<GatewayName, Touched> {
        let before = std::mem::replace(&mut self.all, next.clone());
        let backends: BTreeMap<GatewayName, _> =
            self.by_gateway.iter().map(|(name, share)| (name.clone(), share.snapshot.backends.clone())).collect();
        let touched = self.touch(&before, next);
        self.by_gateway.values_mut().for_each(Share::name_certificates);
        let none = OrdMap::new();
        let differing = touched.into_iter().map(|gateway| {
            let now = self.by_gateway.get(&gateway).map_or(&none, |share| &share.snapshot.backends);
            let touched = Touched::between(backends.get(&gateway).unwrap_or(&none), now);
            (gateway, touched)
        });
        let differing = differing.collect();
        self.by_gateway.retain(|_, share| share.snapshot != Snapshot::default());
        differing
    }

    /// Puts into each share what differs, and names those.
    fn touch(&mut self, before: &Snapshot, next: &Snapshot) -> BTreeSet<GatewayName> {
        let mut touched = BTreeSet::new();
        self.take_listeners(&before.listeners, &next.listeners, &mut touched);
        for item in before.rules.diff(&next.rules) {
            let (old, new) = match item {
                DiffItem::Add(_, new) => (None, Some(new)),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
                DiffItem::Remove(_, old) => (Some(old), None),
            };
            self.take_rule(old, new, &mut touched);
        }
        self.take_backends(&before.backends, &next.backends, &mut touched);
        touched
    }

    /// What a Gateway serves; nothing for one that is not known.
    pub fn of(&self, gateway: &GatewayName) -> Snapshot {
        self.by_gateway.get(gateway).map(|share| share.snapshot.clone()).unwrap_or_default()
    }

    /// The certificates whose keys a Gateway needs; the same value as long as they are the same.
    pub fn certificates(&self, gateway: &GatewayName) -> Arc<BTreeSet<CertificateName>> {
        self.by_gateway.get(gateway).map(|share| share.certificates.clone()).unwrap_or_default()
    }

    /// The Gateways that need to know the endpoints of a Backend.
    pub fn users<'s>(&'s self, backend: &'s BackendName) -> impl Iterator<Item = &'s GatewayName> {
        self.by_gateway.iter().filter(|(_, share)| share.snapshot.backends.contains_key(backend)).map(|(name, _)| name)
    }

    fn share(&mut self, gateway: GatewayName) -> &mut Share {
        self.by_gateway.entry(gateway).or_default()
    }

    fn take_listeners(
        &mut self,
        before: &OrdMap<ByName<Listener>, Arc<Listener>>,
        next: &OrdMap<ByName<Listener>, Arc<Listener>>,
        touched: &mut BTreeSet<GatewayName>,
    ) {
        for item in before.diff(next) {
            let (DiffItem::Add(name, _) | DiffItem::Update { new: (name, _), .. } | DiffItem::Remove(name, _)) = item;
            let gateway = gateway_of(name);
            let share = self.share(gateway.clone());
            share.names_others = true;
            let listeners = &mut share.snapshot.listeners;
            match next.get(name) {
                Some(listener) => drop(listeners.insert(name.clone(), listener.clone())),
                None => drop(listeners.remove::<ListenerName>(name)),
            }
            touched.insert(gateway);
        }
    }

    fn take_rule(&mut self, old: Option<&Arc<Rule>>, new: Option<&Arc<Rule>>, touched: &mut BTreeSet<GatewayName>) {
        let all = old.into_iter().chain(new).flat_map(|rule| &rule.attachments);
        let gateways: BTreeSet<GatewayName> = all.map(|attachment| gateway_of(&attachment.listener)).collect();
        for gateway in gateways {
            let (backends, share) = (self.all.backends.clone(), self.share(gateway.clone()));
            let part = new.and_then(|rule| part(rule, &gateway));
            let known = old.and_then(|rule| share.snapshot.rules.get(&rule.name).cloned());
            if known == part {
                continue;
            }
            touched.insert(gateway);
            if let Some(known) = known {
                share.remove(&known.name.clone(), &known);
            }
            if let Some(part) = part {
                share.insert(part, &backends);
            }
        }
    }

    fn take_backends(&mut self, before: &Backends, next: &Backends, touched: &mut BTreeSet<GatewayName>) {
        for item in before.diff(next) {
            // those that are new or gone come and go with the rules that name them
            let (DiffItem::Update { new: (name, new), .. } | DiffItem::Add(name, new)) = item else { continue };
            for (gateway, share) in
                self.by_gateway.iter_mut().filter(|(_, share)| share.uses.contains_key::<BackendName>(name))
            {
                if share.snapshot.backends.get::<BackendName>(name) != Some(new) {
                    share.insert_backend(new.clone());
                    touched.insert(gateway.clone());
                }
            }
        }
    }
}

impl Touched {
    fn between(before: &Backends, now: &Backends) -> Self {
        let mut touched = Self::default();
        for item in before.diff(now) {
            if let DiffItem::Add(name, _) = item {
                touched.came.push((**name).clone());
            }
        }
        touched
    }
}

impl Share {
    fn insert(&mut self, rule: Arc<Rule>, backends: &Backends) {
        for name in rule.backends() {
            *self.uses.entry(name.clone()).or_default() += 1;
            if let Some(backend) = backends.get(name) {
                self.insert_backend(backend.clone());
            }
        }
        self.snapshot.insert_rule(rule);
    }

    fn insert_backend(&mut self, backend: Arc<Backend>) {
        let known = match backend.certificate() {
            Some(certificate) => self.shown.insert(backend.name.clone(), certificate.clone()),
            None => self.shown.remove(&backend.name),
        };
        self.names_others |= known.as_ref() != backend.certificate();
        self.snapshot.insert_backend(backend);
    }

    fn remove(&mut self, name: &RuleName, rule: &Rule) {
        self.snapshot.rules.remove(name);
        for backend in rule.backends() {
            let Some(uses) = self.uses.get_mut(backend) else { continue };
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(backend);
                self.names_others |= self.shown.remove(backend).is_some();
                self.snapshot.backends.remove(backend);
            }
        }
    }

    fn name_certificates(&mut self) {
        if std::mem::take(&mut self.names_others) {
            let of_listeners = self.snapshot.listeners.values().flat_map(|listener| listener.certificates());
            let named: BTreeSet<CertificateName> = of_listeners.chain(self.shown.values()).cloned().collect();
            if *self.certificates != named {
                self.certificates = Arc::new(named);
            }
        }
    }
}

/// The Gateway of a listener.
fn gateway_of(listener: &ListenerName) -> GatewayName {
    GatewayName { namespace: listener.namespace.to_string(), name: listener.gateway.to_string() }
}

/// A rule with the attachments that are a Gateway's; the rule itself if all of them are.
fn part(rule: &Arc<Rule>, gateway: &GatewayName) -> Option<Arc<Rule>> {
    let is_its = |listener: &ListenerName| listener.namespace == gateway.namespace && listener.gateway == gateway.name;
    let count = rule.attachments.iter().filter(|attachment| is_its(&attachment.listener)).count();
    if count == rule.attachments.len() {
        return (count > 0).then(|| rule.clone());
    }
    let attachments = rule.attachments.iter().filter(|attachment| is_its(&attachment.listener)).cloned().collect();
    (count > 0).then(|| Arc::new(Rule { attachments, ..Rule::clone(rule) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_config::{BackendTls, Trust};
    use headgate_translate::{Objects, Settings, kinds, translate};
    use serde_json::json;

    fn gateway(name: &str) -> GatewayName {
        GatewayName { namespace: "default".into(), name: name.into() }
    }

    /// Two Gateways, each with the routes that `routes` gives it: a route's name, its parents and its Service.
    fn snapshot(routes: &[(&str, &[&str], &str)]) -> Snapshot {
        let mut objects = Objects::default();
        let mut add = |value: serde_json::Value| match kinds::decode(&value) {
            Ok(kinds::Decoded::Known(object, _)) => objects.insert(object),
            other => panic!("{other:?}"),
        };
        let api = "gateway.networking.k8s.io/v1";
        add(json!({"apiVersion": api, "kind": "GatewayClass", "metadata": {"name": "headgate"},
            "spec": {"controllerName": "headgate.dev/gateway-controller"}}));
        for name in ["a", "b"] {
            add(json!({"apiVersion": api, "kind": "Gateway", "metadata": {"name": name, "namespace": "default"},
                "spec": {"gatewayClassName": "headgate", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
        }
        for (name, parents, service) in routes {
            let parents: Vec<_> = parents.iter().map(|name| json!({"name": name})).collect();
            add(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": "default"},
                "spec": {"ports": [{"port": 80}]}}));
            add(json!({"apiVersion": api, "kind": "HTTPRoute", "metadata": {"name": name, "namespace": "default"},
                "spec": {"parentRefs": parents, "rules": [{"backendRefs": [{"name": service, "port": 80}]}]}}));
        }
        translate(&objects, &Settings::default()).snapshot
    }

    fn names(snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
        let rules = snapshot.rules.keys().map(|name| name.route.to_string()).collect();
        (rules, snapshot.backends.keys().map(|name| name.service.to_string()).collect())
    }

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_gateway_gets_its_own_and_a_shared_route_is_cut() {
        let mut shares = Shares::default();
        let touched = shares.take(&snapshot(&[("one", &["a"], "s1"), ("both", &["a", "b"], "s2")]));
        assert_eq!(touched.keys().cloned().collect::<Vec<_>>(), [gateway("a"), gateway("b")]);
        assert_eq!(names(&shares.of(&gateway("a"))), (texts(&["both", "one"]), texts(&["s1", "s2"])));
        let b = shares.of(&gateway("b"));
        assert_eq!(names(&b), (texts(&["both"]), texts(&["s2"])));
        let listeners = b.rules.values().flat_map(|rule| &rule.attachments).map(|one| one.listener.gateway.clone());
        assert_eq!(listeners.collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_gateway_gets_the_keys_that_its_backends_show_and_no_others() {
        let shown = |certificate: Option<&str>| {
            let mut all = snapshot(&[("one", &["a"], "s1"), ("other", &["b"], "s2")]);
            let name = BackendName::tcp("default", "s1", 80);
            let certificate =
                certificate.map(|secret| CertificateName { namespace: "keys".into(), secret: secret.into() });
            let tls = BackendTls { hostname: String::new(), names: Vec::new(), trust: Trust::System, certificate };
            let backend = Backend::clone(all.backends.get(&name).unwrap());
            all.insert_backend(Arc::new(Backend { tls: Some(Box::new(tls)), ..backend }));
            all
        };
        let names = |shares: &Shares, of: &str| -> Vec<String> {
            shares.certificates(&gateway(of)).iter().map(ToString::to_string).collect()
        };
        let mut shares = Shares::default();
        for (certificate, expected) in [(Some("x"), vec!["keys/x"]), (Some("y"), vec!["keys/y"]), (None, vec![])] {
            shares.take(&shown(certificate));
            assert_eq!((names(&shares, "a"), names(&shares, "b")), (texts(&expected), vec![]));
        }
        shares.take(&shown(Some("x")));
        shares.take(&snapshot(&[("other", &["b"], "s2")]));
        assert_eq!(names(&shares, "a"), [""; 0], "no rule leads there any more");
    }

    #[test]
    fn only_those_are_touched_whose_share_differs_and_what_nobody_names_goes() {
        let mut shares = Shares::default();
        shares.take(&snapshot(&[("one", &["a"], "s1"), ("other", &["b"], "s1")]));
        let next = snapshot(&[("one", &["a"], "s3"), ("other", &["b"], "s1")]);
        let touched = shares.take(&next);
        assert_eq!(touched.keys().cloned().collect::<Vec<_>>(), [gateway("a")]);
        let services = |names: &[BackendName]| names.iter().map(|name| name.service.to_string()).collect::<Vec<_>>();
        let a = &touched[&gateway("a")];
        assert_eq!(services(&a.came), texts(&["s3"]));
        assert_eq!(names(&shares.of(&gateway("a"))).1, texts(&["s3"]));
        assert_eq!(names(&shares.of(&gateway("b"))).1, texts(&["s1"]));
        assert_eq!(shares.take(&next), BTreeMap::new());
        // a route that leaves for another Gateway touches both
        let moved = snapshot(&[("one", &["b"], "s3"), ("other", &["b"], "s1")]);
        assert_eq!(shares.take(&moved).into_keys().collect::<Vec<_>>(), [gateway("a"), gateway("b")]);
        assert_eq!(names(&shares.of(&gateway("a"))), (vec![], vec![]));
    }
}
