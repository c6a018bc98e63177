//! What routing costs: `route` on few and many hosts and rules, `compile` of 5,000 and 40,000 rules, new and after an edit.
//!
//! `cargo bench -p headgate-routing`. Requests go to hosts and paths in random order, so that large tables meet cold caches.

#![allow(missing_docs)]

use divan::{AllocProfiler, Bencher, black_box, counter::ItemsCount};
use headgate_config::{
    Action, Arm, ArmTarget, Attachment, Backend, BackendName, BackendProtocol, ColdArm, Host, HostPattern, Listener,
    ListenerName, Match, PathMatch, Protocol, QueueBounds, RouteKind, Rule, RuleName, Scheme, Snapshot, Split,
    Timeouts, Version, Wait,
};
use headgate_message::{Authority, Fields, Method, RequestHead, Target};
use headgate_routing::{Outcome, Table};
use std::sync::Arc;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

/// Requests per sample: each to a host or path of its own where there are that many.
const REQUESTS: usize = 20_000;

fn main() {
    divan::main();
}

/// One rule on each of `n` hosts.
#[divan::bench(args = [10, 100_000])]
fn route_hosts(bencher: Bencher, n: usize) {
    let snapshot = snapshot(n, |at| (format!("fn-{at}.default.example.com"), PathMatch::Prefix("/".into())));
    route(bencher, &snapshot, n, |at| (format!("fn-{at}.default.example.com"), format!("/orders/{at}")));
}

/// `n` rules on one host, each a prefix of two segments.
#[divan::bench(args = [10, 10_000])]
fn route_prefixes(bencher: Bencher, n: usize) {
    let snapshot = snapshot(n, |at| ("api.example.com".into(), PathMatch::Prefix(format!("/team/fn-{at}").into())));
    route(bencher, &snapshot, n, |at| ("api.example.com".into(), format!("/team/fn-{at}/orders/7")));
}

/// `n` rules on one host, each an exact path.
#[divan::bench(args = [10, 10_000])]
fn route_exact(bencher: Bencher, n: usize) {
    let snapshot = snapshot(n, |at| ("api.example.com".into(), PathMatch::Exact(format!("/team/fn-{at}").into())));
    route(bencher, &snapshot, n, |at| ("api.example.com".into(), format!("/team/fn-{at}")));
}

/// The host matches a wildcard three labels up.
#[divan::bench(args = [10, 100_000])]
fn route_wildcards(bencher: Bencher, n: usize) {
    let snapshot = snapshot(n, |at| (format!("*.tenant-{at}.example.com"), PathMatch::Prefix("/".into())));
    route(bencher, &snapshot, n, |at| (format!("a.b.tenant-{at}.example.com"), "/orders".into()));
}

#[divan::bench(args = [5_000, 40_000], sample_count = 20)]
fn compile(bencher: Bencher, n: usize) {
    let snapshot = functions(n);
    bencher.bench(|| table(&snapshot, None));
}

/// The next table after an edit of one rule.
#[divan::bench(args = [5_000, 40_000], sample_count = 20)]
fn compile_edit(bencher: Bencher, n: usize) {
    let mut snapshot = functions(n);
    let previous = table(&snapshot, None);
    let edited = snapshot.rules.keys().nth(n / 2).expect("a rule in the middle").clone();
    Arc::make_mut(&mut snapshot.rules[&edited]).timeouts.request_ms = Some(1);
    bencher.bench(|| table(&snapshot, Some(&previous)));
}

#[divan::bench(args = [5_000, 40_000], sample_count = 20)]
fn drop_table(bencher: Bencher, n: usize) {
    let snapshot = functions(n);
    bencher.with_inputs(|| table(&snapshot, None)).bench_values(drop);
}

fn route(bencher: Bencher, snapshot: &Snapshot, n: usize, target: impl Fn(usize) -> (String, String)) {
    let table = table(snapshot, None);
    let mut dice = fastrand::Rng::with_seed(1);
    let heads: Vec<_> = (0..REQUESTS).map(|_| request(target(dice.usize(..n)))).collect();
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| {
        for head in &heads {
            let Outcome::Found(found) = table.route(80, black_box(head)) else { panic!("no rule") };
            black_box(found.rule.choose(7));
        }
    });
}

fn functions(n: usize) -> Snapshot {
    snapshot(n, |at| (format!("fn-{at}.default.example.com"), PathMatch::Prefix("/".into())))
}

fn table(snapshot: &Snapshot, previous: Option<&Table<()>>) -> Table<()> {
    let compiled = Table::compile(snapshot, Version(1), previous, |_| ());
    assert!(compiled.problems.is_empty());
    compiled.table
}

fn snapshot(n: usize, rule: impl Fn(usize) -> (String, PathMatch)) -> Snapshot {
    let name =
        ListenerName { namespace: "infra".into(), gateway: "edge".into(), set: "".into(), section: "http".into() };
    let listener = Listener {
        name: name.clone(),
        port: 80,
        protocol: Protocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None,
        gate: None,
    };
    let mut snapshot = Snapshot::default();
    snapshot.insert_listener(listener.into());
    for at in 0..n {
        let (host, path) = rule(at);
        let backend = backend(at);
        let rule = forward(at, &name, &host, path, backend.name.clone());
        snapshot.insert_rule(rule.into());
        snapshot.insert_backend(backend.into());
    }
    snapshot
}

fn forward(at: usize, listener: &ListenerName, host: &str, path: PathMatch, backend: BackendName) -> Rule {
    let (namespace, route) = ("default".to_owned(), format!("fn-{at}"));
    let pattern: HostPattern = host.parse().expect("a pattern");
    let hosts = vec![Host { pattern: pattern.clone(), declared: pattern }];
    let arm = Arm { target: ArmTarget::Backend(backend), weight: 1, filters: vec![] };
    Rule {
        name: RuleName {
            kind: RouteKind::HTTPRoute,
            namespace: namespace.into(),
            route: route.as_str().into(),
            index: 0,
        },
        title: "".into(),
        created: 1_700_000_000,
        attachments: vec![Attachment { listener: listener.clone(), hosts }].into(),
        matches: vec![Match { path, method: None, headers: vec![], queries: vec![] }].into(),
        filters: vec![],
        action: Action::Forward(Split { arms: vec![arm].into(), cold: ColdArm::Hold }),
        timeouts: Timeouts::default(),
        retry: None,
    }
}

fn backend(at: usize) -> Backend {
    let name = BackendName::tcp("default", format!("fn-{at}"), 80);
    Backend {
        name,
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

fn request((host, path): (String, String)) -> RequestHead {
    let mut fields = Fields::default();
    let target = fields.store(path.as_bytes());
    let host = fields.store(host.as_bytes());
    fields.push("user-agent", b"bench");
    RequestHead {
        method: Method::Get,
        scheme: Scheme::Http,
        authority: Authority { text: host, host, port: None },
        target: Target { raw: target, path: target, query: None },
        fields,
    }
}
