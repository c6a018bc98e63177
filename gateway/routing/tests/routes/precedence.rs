//! The precedence of Gateway API, field by field: who wins, and which field decided.

use crate::given::*;
use headgate_config::{Match, Rule};
use headgate_message::RequestHead;

fn post(path: &str) -> Match {
    Match { method: Some("POST".into()), ..prefix(path) }
}

/// Two rules that both take the request; the first wins by the named field, whatever their order.
fn check(field: &str, winner: Rule, loser: Rule, head: &RequestHead) {
    let all = listener("http", "*");
    let attach = |rule: Rule| if rule.attachments.is_empty() { rule.on(&all, &["a.io"]) } else { rule };
    let rules = [attach(winner.clone()), attach(loser)];
    let compiled = compile(&snapshot([all], rules));
    assert_eq!(compiled.problems, [], "{field}");
    let name = format!("{}/{}", winner.name.route, winner.name.index);
    assert_eq!(routed(&compiled.table, head), name, "{field}");
    let explanation = compiled.table.explain(PORT, head);
    assert_eq!(explanation.winner.expect("a winner").rule, winner.name, "{field}");
    assert_eq!(explanation.losers[0].decided_by, Some(field));
}

#[test]
fn the_first_field_that_differs_decides() {
    let all = listener("http", "*");
    let host = |route: &str, declared: &str| rule(route).on(&all, &[declared]);
    let head = request("POST", "a.io", "/a/b?q=1&r=2", &[("x", "1"), ("y", "2")]);
    // Each winner is named z, and made later, so that no field after the one that decides speaks for it.
    let z = || rule("z").created(9);
    let with = |headers: &[&str], queries: &[&str]| Match {
        headers: headers.iter().map(|name| is(name, if *name == "x" { "1" } else { "2" })).collect(),
        queries: queries.iter().map(|name| is(name, if *name == "q" { "1" } else { "2" })).collect(),
        ..prefix("/a")
    };
    for (field, winner, loser) in [
        ("hostname", host("z", "a.io"), host("a", "*.io").takes([exact("/a/b")])),
        ("hostname", host("z", "*.io"), host("a", "*").takes([exact("/a/b")])),
        ("path", z().takes([exact("/a/b")]), rule("a").takes([post("/a/b")])),
        ("path", z().takes([exact("/a/b")]), rule("a").takes([regex("/a/[a-z]+.*|.*long.*")])),
        ("path", z().takes([regex("/.*")]), rule("a").takes([prefix("/a/b")])),
        ("path", z().takes([regex("/a/.*")]), rule("a").takes([regex("/.*")])),
        ("path", z().takes([prefix("/a/b")]), rule("a").takes([post("/a")])),
        ("path", z().takes([prefix("/a")]), rule("a").takes([post("/")])),
        ("method", z().takes([post("/a")]), rule("a").takes([with(&["x", "y"], &["q"])])),
        ("headers", z().takes([with(&["x", "y"], &[])]), rule("a").takes([with(&["x"], &["q", "r"])])),
        ("query parameters", z().takes([with(&["x"], &["q", "r"])]), rule("a").takes([with(&["y"], &["q"])])),
        ("age", rule("z").created(1), rule("a").created(2)),
        ("name", rule("a"), rule("b")),
        ("rule order", rule("a").nth(2), rule("a").nth(10)),
        ("kind", rule("a"), rule("a").grpc()),
    ] {
        let head = if field == "kind" {
            request("POST", "a.io", "/s/m", &[("content-type", "application/grpc")])
        } else {
            head.clone()
        };
        check(field, winner, loser, &head);
    }
}

#[test]
fn the_earlier_match_of_a_rule_is_the_one_that_matched() {
    let table = table([rule("a").takes([prefix("/b"), post("/a"), prefix("/a"), prefix("/a/")])], &["*"]);
    let headgate_routing::Outcome::Found(found) = table.route(PORT, &get("a.io", "/a/b")) else { panic!("no rule") };
    assert_eq!(found.matched, 2);
    let explanation = table.explain(PORT, &get("a.io", "/a/b"));
    assert_eq!(explanation.losers[0].decided_by, Some("match order"));
}

#[test]
fn names_are_compared_with_the_namespace_first() {
    let mut other = rule("a");
    other.name.namespace = "z".into();
    check("name", rule("b"), other, &get("a.io", "/"));
}
