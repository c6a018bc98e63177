//! The index that requests go through finds the rule that a comparison with every rule finds, whatever rules and requests are.
//!
//! Input: lines of rules (`HOST KIND PATH [name:value]`, where KIND is `=`, `^` or `~`), an empty line, and a request.
#![no_main]

use headgate_config::{
    Action, Attachment, Host, HostPattern, Listener, ListenerName, Match, PathMatch, Protocol, RouteKind, Rule,
    RuleName, Snapshot, Timeouts, ValueMatch, ValueTest, Version,
};
use headgate_http1::HeadReader;
use headgate_message::{Fields, Scheme};
use headgate_routing::{Outcome, Table, Verdict};
use libfuzzer_sys::fuzz_target;

const PORT: u16 = 80;
const RULES_MAX: usize = 32;

fuzz_target!(|text: &str| {
    let Some((rules, request)) = text.split_once("\n\n") else { return };
    let mut buffer = request.as_bytes().to_vec();
    let Ok(Some(request)) = HeadReader::default().request(&mut buffer, Scheme::Http, Fields::default) else { return };
    let listener = listener();
    let rules = rules.lines().take(RULES_MAX).enumerate().filter_map(|(at, line)| rule(at, line, &listener.name));
    let mut snapshot = Snapshot::default();
    rules.for_each(|rule| snapshot.insert_rule(rule.into()));
    snapshot.insert_listener(listener.into());
    let table: Table<()> = Table::compile(&snapshot, Version(1), None, |_| ()).table;

    let explained = table.explain(PORT, &request.head);
    match table.route(PORT, &request.head) {
        Outcome::Found(found) => {
            let winner = explained.winner.expect("who explains finds one too");
            assert_eq!((&winner.rule, winner.at), (found.rule.name(), found.matched));
        }
        Outcome::NoListener => assert_eq!(explained.verdict, Verdict::NoListener),
        Outcome::NoHost { .. } => assert_eq!(explained.verdict, Verdict::NoHost),
        Outcome::NoMatch { .. } => assert_eq!(explained.verdict, Verdict::NoMatch),
    }
});

fn listener() -> Listener {
    let name = ListenerName { namespace: "n".into(), gateway: "g".into(), set: "".into(), section: "s".into() };
    Listener {
        name,
        port: PORT,
        protocol: Protocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None, gate: None,
    }
}

fn rule(at: usize, line: &str, listener: &ListenerName) -> Option<Rule> {
    let index = u32::try_from(at).ok()?;
    let mut words = line.split(' ');
    let pattern: HostPattern = words.next()?.parse().ok()?;
    let kind = words.next()?;
    let path = words.next()?.into();
    let path = match kind {
        "=" => PathMatch::Exact(path),
        "^" => PathMatch::Prefix(path),
        "~" => PathMatch::Regex(path),
        _ => return None,
    };
    let header = words.next().and_then(|word| word.split_once(':'));
    let header = header.map(|(name, value)| ValueMatch { name: name.into(), test: ValueTest::Exact(value.into()) });
    let host = Host { declared: pattern.clone(), pattern };
    Some(Rule {
        name: RuleName { kind: RouteKind::HTTPRoute, namespace: "n".into(), route: "r".into(), index },
        title: "".into(),
        created: 0,
        attachments: vec![Attachment { listener: listener.clone(), hosts: vec![host] }].into(),
        matches: vec![Match { path, method: None, headers: header.into_iter().collect(), queries: Vec::new() }].into(),
        filters: Vec::new(),
        action: Action::Invalid("nothing is forwarded here".into()),
        timeouts: Timeouts::default(),
        retry: None,
    })
}
