//! Snapshots and requests written shortly.

use headgate_config::{
    Action, Arm, ArmTarget, Attachment, Backend, BackendName, BackendProtocol, ColdArm, Host, HostPattern, Listener,
    ListenerName, Match, PathMatch, Protocol, QueueBounds, RouteKind, Rule, RuleName, Scheme, Snapshot, Split,
    Timeouts, ValueMatch, ValueTest, Version, Wait,
};
use headgate_message::{Authority, Fields, Method, RequestHead, Target, canonical_path, split_authority};
use headgate_routing::{Compiled, CompiledRule, Outcome, Table};
use std::sync::Arc;

pub const PORT: u16 = 80;

pub fn pattern(text: &str) -> HostPattern {
    text.parse().expect("a pattern")
}

pub fn listener(section: &str, hostname: &str) -> Listener {
    let name =
        ListenerName { namespace: "infra".into(), gateway: "edge".into(), set: "".into(), section: section.into() };
    Listener {
        name,
        port: PORT,
        protocol: Protocol::Http,
        hostname: pattern(hostname),
        tls: None,
        backend_certificate: None,
        gate: None,
    }
}

pub fn backend(service: &str) -> BackendName {
    BackendName::tcp("default", service, 80)
}

/// An HTTPRoute's first rule, for every host and path, to a backend of its own name.
pub fn rule(route: &str) -> Rule {
    let kind = RouteKind::HTTPRoute;
    Rule {
        name: RuleName { kind, namespace: "default".into(), route: route.into(), index: 0 },
        title: "".into(),
        created: 0,
        attachments: vec![].into(),
        matches: vec![prefix("/")].into(),
        filters: vec![],
        action: split([(route, 1)]),
        timeouts: Timeouts::default(),
        retry: None,
    }
}

pub fn split<'a>(arms: impl IntoIterator<Item = (&'a str, u32)>) -> Action {
    let arm = |(service, weight)| Arm { target: ArmTarget::Backend(backend(service)), weight, filters: vec![] };
    Action::Forward(Split { arms: arms.into_iter().map(arm).collect(), cold: ColdArm::Hold })
}

pub fn prefix(path: &str) -> Match {
    Match { path: PathMatch::Prefix(path.into()), method: None, headers: vec![], queries: vec![] }
}

pub fn exact(path: &str) -> Match {
    Match { path: PathMatch::Exact(path.into()), ..prefix("/") }
}

pub fn regex(path: &str) -> Match {
    Match { path: PathMatch::Regex(path.into()), ..prefix("/") }
}

pub fn is(name: &str, value: &str) -> ValueMatch {
    ValueMatch { name: name.into(), test: ValueTest::Exact(value.into()) }
}

pub fn like(name: &str, value: &str) -> ValueMatch {
    ValueMatch { name: name.into(), test: ValueTest::Regex(value.into()) }
}

pub trait Says: Sized {
    /// The nth rule of its route.
    fn nth(self, index: u32) -> Self;
    /// Created at a time.
    fn created(self, at: i64) -> Self;
    /// From a GRPCRoute.
    fn grpc(self) -> Self;
    /// With these matches.
    fn takes(self, matches: impl IntoIterator<Item = Match>) -> Self;
    /// Attached to a listener for hosts as the route declares them.
    fn on(self, listener: &Listener, declared: &[&str]) -> Self;
}

impl Says for Rule {
    fn nth(mut self, index: u32) -> Self {
        self.name.index = index;
        self
    }

    fn created(mut self, at: i64) -> Self {
        self.created = at;
        self
    }

    fn grpc(mut self) -> Self {
        self.name.kind = RouteKind::GRPCRoute;
        self
    }

    fn takes(mut self, matches: impl IntoIterator<Item = Match>) -> Self {
        self.matches = matches.into_iter().collect();
        self
    }

    fn on(mut self, listener: &Listener, declared: &[&str]) -> Self {
        let host = |text: &&str| {
            let declared = pattern(text);
            listener.hostname.intersect(&declared).map(|pattern| Host { pattern, declared })
        };
        let hosts = declared.iter().filter_map(host).collect();
        self.attachments.edit(|all| all.push(Attachment { listener: listener.name.clone(), hosts }));
        self
    }
}

/// A Snapshot with every backend that a rule names.
pub fn snapshot(listeners: impl IntoIterator<Item = Listener>, rules: impl IntoIterator<Item = Rule>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    listeners.into_iter().for_each(|listener| snapshot.insert_listener(listener.into()));
    for rule in rules {
        if let Action::Forward(split) = &rule.action {
            for arm in &split.arms {
                if let ArmTarget::Backend(name) = &arm.target {
                    snapshot.insert_backend(http(name).into());
                }
            }
        }
        snapshot.insert_rule(rule.into());
    }
    snapshot
}

pub fn http(name: &BackendName) -> Backend {
    Backend {
        name: name.clone(),
        protocol: BackendProtocol::Http1,
        hostname: None,
        tls: None,
        proxy_protocol: None,
        concurrency: 0,
        queue: QueueBounds::default(),
        scales: None,
        wait: Wait::default(),
        retries: None,
    }
}

/// Compiles with the names of backends as their handles.
pub fn compile(snapshot: &Snapshot) -> Compiled<BackendName> {
    Table::compile(snapshot, Version(1), None, |backend| backend.name.clone())
}

/// The rule of a number, by name.
pub fn nth<B>(table: &Table<B>, at: usize) -> &Arc<CompiledRule<B>> {
    table.rules().nth(at).expect("so many rules")
}

/// The table of rules on one listener for every host; nothing may be wrong in them.
pub fn table(rules: impl IntoIterator<Item = Rule>, declared: &[&str]) -> Table<BackendName> {
    let all = listener("http", "*");
    let rules: Vec<_> = rules.into_iter().map(|rule| rule.on(&all, declared)).collect();
    let compiled = compile(&snapshot([all], rules));
    assert_eq!(compiled.problems, []);
    compiled.table
}

pub fn get(host: &str, target: &str) -> RequestHead {
    request("GET", host, target, &[])
}

pub fn request(method: &str, host: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut made = Fields::default();
    let raw = made.store(target.as_bytes());
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let path = made.store(&if path == "*" { b"*".into() } else { canonical_path(path.as_bytes()).expect("a path") });
    let query = query.map(|query| made.store(query.as_bytes()));
    let (name, port) = split_authority(host.as_bytes()).expect("an authority");
    let authority = Authority { text: made.store(host.as_bytes()), host: made.store(name), port };
    fields.iter().for_each(|(name, value)| made.push(name, value.as_bytes()));
    let method = Method::parse(method.as_bytes()).expect("a method");
    RequestHead { method, scheme: Scheme::Http, authority, target: Target { raw, path, query }, fields: made }
}

/// The rule that takes a request as `route/index`, or why none does.
pub fn routed(table: &Table<BackendName>, head: &RequestHead) -> String {
    match table.route(PORT, head) {
        Outcome::Found(found) => format!("{}/{}", found.rule.name().route, found.rule.name().index),
        Outcome::NoListener => "no listener".into(),
        Outcome::NoHost { .. } => "no host".into(),
        Outcome::NoMatch { failed, .. } => format!("no {failed}"),
    }
}
