//! Over random tables and requests: `route`, `explain` and the rows all say what the greatest `Rank` of all rules that match says.

use crate::given::*;
use fastrand::Rng;
use headgate_config::{
    Backend, BackendName, ByName, CertificateName, HostRank, Listener, ListenerTls, Match, PathMatch, Protocol, Rank,
    Rule, RuleName, Snapshot, ValueTest, Version,
};
use headgate_message::RequestHead;
use headgate_routing::{Outcome, Row, Table, Verdict};
use imbl::OrdMap;
use regex::Regex;
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

const HOSTS: [&str; 9] = ["a.io", "b.a.io", "c.b.a.io", "b.io", "io", "c.com", "x.c.com", "10.0.0.1", "d.c.b.a.io"];
const PATTERNS: [&str; 12] =
    ["*", "*", "*", "*.io", "*.io", "*.a.io", "*.b.a.io", "a.io", "b.a.io", "*.com", "c.com", "10.0.0.1"];
const PATHS: [&str; 10] = ["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/b", "/b/a", "/a//b", "/%2F"];
const EXPRESSIONS: [&str; 5] = ["/.*", "/a.*", "/[ab]", "/a/[^/]+", "/("];
const DIGIT: &str = "[12]";
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

fn one_of<'a>(dice: &mut Rng, list: &[&'a str]) -> &'a str {
    list[dice.usize(..list.len())]
}

fn port(dice: &mut Rng) -> u16 {
    if dice.u32(..4) == 0 { 81 } else { 80 }
}

fn matching(dice: &mut Rng) -> Match {
    let mut made = match dice.u32(..6) {
        0 | 1 => exact(one_of(dice, &PATHS)),
        2 => regex(one_of(dice, &EXPRESSIONS)),
        _ => prefix(one_of(dice, &PATHS)),
    };
    if dice.u32(..4) == 0 {
        made.method = Some(one_of(dice, &METHODS).into());
    }
    for name in ["x", "y"] {
        match dice.u32(..8) {
            0 => made.headers.push(is(name, one_of(dice, &["1", "2"]))),
            1 => made.headers.push(like(name, DIGIT)),
            2 => made.queries.push(is(name, one_of(dice, &["1", "2"]))),
            _ => {}
        }
    }
    made
}

/// `tidy`: each host is exactly what listener and route both match, as `translate` makes it.
fn random(dice: &mut Rng, tidy: bool) -> Snapshot {
    let listeners: Vec<Listener> = (0..dice.usize(1..5))
        .map(|at| Listener { port: port(dice), ..listener(&format!("l{at}"), one_of(dice, &PATTERNS)) })
        .collect();
    let rules: Vec<Rule> = (0..dice.usize(..40))
        .map(|_| {
            let mut made = rule(one_of(dice, &["p", "q", "r"])).nth(dice.u32(..8)).created(dice.i64(..2));
            made.matches = (0..dice.usize(1..4)).map(|_| matching(dice)).collect();
            if dice.u32(..5) == 0 {
                made = made.grpc();
            }
            for listener in &listeners {
                if dice.bool() {
                    let declared: Vec<_> = (0..dice.usize(1..3)).map(|_| one_of(dice, &PATTERNS)).collect();
                    made = made.on(listener, &declared);
                }
            }
            made.attachments.edit(|attachments| {
                let hosts = attachments.iter_mut().flat_map(|attachment| &mut attachment.hosts);
                for host in hosts.filter(|_| !tidy) {
                    if dice.u32(..5) == 0 {
                        host.pattern = pattern(one_of(dice, &PATTERNS));
                    }
                }
            });
            made
        })
        .collect();
    snapshot(listeners, rules)
}

fn random_request(dice: &mut Rng) -> RequestHead {
    let mut fields = Vec::new();
    for name in ["x", "y", "x"] {
        if dice.u32(..3) == 0 {
            fields.push((name, one_of(dice, &["1", "2", "3"])));
        }
    }
    if dice.u32(..4) == 0 {
        fields.push(("content-type", "application/grpc"));
    }
    let query = one_of(dice, &["", "?x=1", "?y=2&x=%31", "?x=3&x=1", "?y=1"]);
    let target = format!("{}{query}", one_of(dice, &PATHS));
    request(one_of(dice, &METHODS), one_of(dice, &HOSTS), &target, &fields)
}

/// Whether an expression, one of those above, matches a whole value; a broken one matches nothing.
fn is_whole(text: &str, value: &str) -> bool {
    static KNOWN: LazyLock<HashMap<&str, Regex>> = LazyLock::new(|| {
        let texts = EXPRESSIONS.into_iter().chain([DIGIT]);
        texts.filter_map(|text| Some((text, Regex::new(&format!("^(?:{text})$")).ok()?))).collect()
    });
    KNOWN.get(text).is_some_and(|regex| regex.is_match(value))
}

/// Written from the specification, without the crate's own matching.
fn takes(rule: &Rule, matching: &Match, head: &RequestHead) -> bool {
    let path = match &matching.path {
        PathMatch::Exact(text) => text == head.path(),
        PathMatch::Prefix(text) => {
            let text = text.trim_end_matches('/');
            head.path() == text || head.path().starts_with(&format!("{text}/"))
        }
        PathMatch::Regex(text) => is_whole(text, head.path()),
    };
    let value_is = |test: &ValueTest, value: &str| match test {
        ValueTest::Exact(expected) => expected == value,
        ValueTest::Regex(text) => is_whole(text, value),
    };
    let header = |name: &str| {
        let all: Vec<_> = head.fields.all(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    let query = |name: &str| {
        let query = head.query()?.replace("%31", "1");
        let pair = query.split('&').find(|pair| pair.starts_with(&format!("{name}=")))?.to_owned();
        Some(pair[name.len() + 1..].to_owned())
    };
    path && (!rule.name.kind.is_grpc() || head.is_grpc())
        && matching.method.as_ref().is_none_or(|method| method == head.method.as_str())
        && matching.headers.iter().all(|test| header(&test.name).is_some_and(|value| value_is(&test.test, &value)))
        && matching.queries.iter().all(|test| query(&test.name).is_some_and(|value| value_is(&test.test, &value)))
}

/// The hostname of the most specific listener.
fn chosen<'s>(snapshot: &'s Snapshot, port: u16, head: &RequestHead) -> Option<&'s Arc<Listener>> {
    let host = head.host().parse().expect("a host");
    let on = snapshot.listeners.values().filter(|listener| listener.port == port);
    on.filter(|listener| listener.hostname.matches(&host)).max_by_key(|listener| HostRank::of(&listener.hostname))
}

fn greatest(snapshot: &Snapshot, port: u16, head: &RequestHead) -> Option<(RuleName, u32)> {
    let host = head.host().parse().expect("a host");
    let chosen = chosen(snapshot, port, head)?;
    let mut all = Vec::new();
    for rule in snapshot.rules.values() {
        for attachment in &rule.attachments {
            let listener = &snapshot.listeners[&attachment.listener];
            if (listener.port, &listener.hostname) != (port, &chosen.hostname) {
                continue;
            }
            for place in &attachment.hosts {
                for (at, matching) in rule.matches.iter().enumerate() {
                    let here = place.pattern.matches(&host) && place.declared.matches(&host);
                    if here && takes(rule, matching, head) {
                        let rank = Rank::of(&place.declared, matching, rule.seniority(at as u32));
                        all.push((rank, &rule.name, at as u32));
                    }
                }
            }
        }
    }
    let best = all.into_iter().max_by(|(a, x, _), (b, y, _)| a.cmp(b).then_with(|| y.cmp(x)))?;
    Some((best.1.clone(), best.2))
}

#[test]
fn the_greatest_rank_of_all_that_match_serves() {
    let mut found = 0;
    for seed in 0..600 {
        let mut dice = Rng::with_seed(seed);
        let tidy = seed % 2 == 0;
        let snapshot = random(&mut dice, tidy);
        let table = compile(&snapshot).table;
        let rows = table.rules_in_order();
        for _ in 0..60 {
            let head = random_request(&mut dice);
            let port = port(&mut dice);
            let expected = greatest(&snapshot, port, &head);
            let explanation = table.explain(port, &head);
            let explained = explanation.winner.as_ref().map(|winner| (winner.rule.clone(), winner.at as u32));
            let said = format!("seed {seed}, {} {}{} on port {port}", head.method, head.host(), head.raw_target());
            let routed = match table.route(port, &head) {
                Outcome::Found(found) => Some((found.rule.name().clone(), found.matched as u32)),
                Outcome::NoListener => {
                    assert_eq!(explanation.verdict, Verdict::NoListener, "{said}");
                    None
                }
                Outcome::NoHost { .. } => {
                    assert_eq!(explanation.verdict, Verdict::NoHost, "{said}");
                    None
                }
                Outcome::NoMatch { failed, .. } if tidy => {
                    assert_eq!(explanation.verdict, Verdict::NoMatch, "{said}");
                    assert_eq!(explanation.near_misses[0].failed, Some(failed.to_string()), "{said}");
                    None
                }
                Outcome::NoMatch { .. } => None,
            };
            assert_eq!(routed, expected, "{said}");
            assert_eq!(explained, expected, "{said}");
            if tidy {
                assert_eq!(first_row(&snapshot, &rows, port, &head), expected.clone().map(|(name, _)| name), "{said}");
            }
            found += usize::from(expected.is_some());
        }
    }
    assert!(found > 5_000, "the requests meet the rules: {found}");
}

fn first_row(snapshot: &Snapshot, rows: &[Row], port: u16, head: &RequestHead) -> Option<RuleName> {
    let hostname = &chosen(snapshot, port, head)?.hostname;
    let matched = rows.iter().find(|row| {
        let listener = &snapshot.listeners[&row.listener];
        let matching = Match {
            path: row.path.clone(),
            method: row.method.clone(),
            headers: row.headers.clone(),
            queries: row.queries.clone(),
        };
        (listener.port, &listener.hostname) == (port, hostname)
            && row.host.takes(head.host())
            && takes(&snapshot.rules[&row.rule], &matching, head)
    });
    matched.map(|row| row.rule.clone())
}

#[test]
fn a_table_made_of_the_one_before_is_the_table_made_of_nothing() {
    let mut shared = 0;
    for seed in 0..200 {
        let mut dice = Rng::with_seed(seed);
        let mut snapshot = random(&mut dice, true);
        let mut table = Table::compile(&snapshot, Version(1), None, handle).table;
        for step in 0..12 {
            edit(&mut snapshot, &mut dice);
            let fresh = Table::compile(&snapshot, Version(1), None, handle);
            let next = Table::compile(&snapshot, Version(1), Some(&table), handle);
            let said = format!("seed {seed}, step {step}");
            assert_eq!(next.problems, fresh.problems, "{said}");
            assert_eq!(next.table.rules_in_order(), fresh.table.rules_in_order(), "{said}");
            assert_eq!(next.table.listeners(), fresh.table.listeners(), "{said}");
            for _ in 0..20 {
                let (port, head) = (port(&mut dice), random_request(&mut dice));
                assert_eq!(told(&next.table, port, &head), told(&fresh.table, port, &head), "{said}");
            }
            shared += next.reused;
            table = next.table;
        }
    }
    assert!(shared > 10_000, "tables share rules: {shared}");
}

/// Leads elsewhere once the backend's concurrency is another.
fn handle(backend: &Arc<Backend>) -> (BackendName, u32) {
    (backend.name.clone(), backend.concurrency)
}

/// Some listeners say what others contradict, or speak what the rules do not.
fn unruly(listeners: &mut OrdMap<ByName<Listener>, Arc<Listener>>, dice: &mut Rng) {
    for listener in listeners.clone().values() {
        let mut made = Listener::clone(listener);
        match dice.u32(..6) {
            0 => made.protocol = Protocol::Tcp,
            1 | 2 => {
                let secret = one_of(dice, &["x", "y"]).to_owned();
                let certificates = vec![CertificateName { namespace: "n".into(), secret }];
                made.protocol = Protocol::Https;
                made.tls = Some(ListenerTls { certificates, client_auth: None });
            }
            _ => {}
        }
        let made = Arc::new(made);
        listeners.insert(ByName::of(&made), made);
    }
}

/// The rule and the backends to which it leads, or why there is none.
fn told(table: &Table<(BackendName, u32)>, port: u16, head: &RequestHead) -> String {
    match table.route(port, head) {
        Outcome::Found(found) => {
            let targets: Vec<_> = found.rule.arms().iter().map(|arm| arm.target()).collect();
            format!(
                "{} {} {:?} {targets:?} {:?}",
                found.rule.name(),
                found.matched,
                found.prefix,
                found.rule.timeouts()
            )
        }
        other => format!("{other:?}"),
    }
}

/// One edit: of a rule where requests do not see it, of its matches, of a backend, a listener, or the set of any of them.
fn edit(snapshot: &mut Snapshot, dice: &mut Rng) {
    let other = random(dice, true);
    let rules: Vec<RuleName> = snapshot.rules.values().map(|rule| rule.name.clone()).collect();
    let name = (!rules.is_empty()).then(|| rules[dice.usize(..rules.len())].clone());
    match (dice.u32(..10), name) {
        (0 | 1, Some(name)) => {
            Arc::make_mut(&mut snapshot.rules[&name]).timeouts.request_ms = Some(dice.u64(..9));
        }
        (2, Some(name)) => {
            let made = matching(dice);
            Arc::make_mut(&mut snapshot.rules[&name]).matches.edit(|all| all.push(made));
        }
        (3, Some(name)) => drop(snapshot.rules.remove(&name)),
        (4, _) => {
            let backends: Vec<BackendName> = snapshot.backends.values().map(|backend| backend.name.clone()).collect();
            if !backends.is_empty() {
                snapshot.backends.remove(&backends[dice.usize(..backends.len())]);
            }
        }
        (5, _) => snapshot.backends.extend(other.backends),
        (6, _) => snapshot.listeners = other.listeners,
        (7, _) => unruly(&mut snapshot.listeners, dice),
        (8, _) => {
            let backends: Vec<_> = snapshot.backends.values().cloned().collect();
            if !backends.is_empty() {
                let mut made = Backend::clone(&backends[dice.usize(..backends.len())]);
                made.concurrency += 1;
                snapshot.insert_backend(made.into());
            }
        }
        _ => snapshot.rules.extend(other.rules.into_iter().take(2)),
    }
}
