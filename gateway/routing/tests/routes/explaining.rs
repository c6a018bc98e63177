//! What `explain` and `routes` print.

use crate::given::*;
use headgate_config::{Match, Rule};
use headgate_routing::Verdict;

fn given() -> headgate_routing::Table<headgate_config::BackendName> {
    let post = Match { method: Some("POST".into()), headers: vec![is("x", "1")], ..prefix("/api") };
    let all = listener("http", "*");
    let wild = listener("wild", "*.io");
    let rules = [
        Rule { action: split([("v1", 90), ("v2", 10)]), title: "canary".into(), ..rule("api") }
            .takes([post, prefix("/api")])
            .on(&wild, &["a.io", "*"]),
        rule("host").takes([exact("/api/v1")]).on(&wild, &["*.io"]),
        rule("root").on(&all, &["*"]).on(&wild, &["*"]),
    ];
    compile(&snapshot([all, wild], rules)).table
}

#[test]
fn an_explanation_names_winner_losers_and_near_misses() {
    let explanation = given().explain(PORT, &get("a.io", "/api/v2?x=1"));
    assert_eq!(explanation.verdict, Verdict::Found);
    let winner = explanation.winner.as_ref().expect("a winner");
    assert_eq!((winner.rule.to_string().as_str(), winner.at), ("HTTPRoute/default/api/0", 1));
    let losers: Vec<_> =
        explanation.losers.iter().map(|l| (l.rule.route.as_str(), l.host.to_string(), l.decided_by)).collect();
    let expected = [("api", "*".to_owned(), Some("hostname")), ("root", "*".to_owned(), Some("hostname"))];
    assert_eq!(losers, expected);
    let misses: Vec<_> = explanation.near_misses.iter().map(|m| (m.rule.route.as_str(), m.failed.as_deref())).collect();
    assert_eq!(misses, [("api", Some("method")), ("api", Some("method")), ("host", Some("path"))]);
    let split: Vec<_> = explanation.split.iter().map(|s| (s.backend.as_deref(), s.percent)).collect();
    assert_eq!(split, [(Some("default/v1:80"), 90.0), (Some("default/v2:80"), 10.0)]);
    let json = serde_json::to_value(&explanation).expect("JSON");
    assert_eq!(json["verdict"], "found");
    assert_eq!(json["listener"], "infra/edge/wild");
    assert_eq!(json["winner"]["rule"], "HTTPRoute/default/api/0");
    assert_eq!(json["winner"]["matching"]["path"]["prefix"], "/api");
    assert_eq!(json["losers"][1]["decidedBy"], "hostname");
    assert_eq!(json["otherListeners"][0]["reason"], "*.io is more specific than *");
}

#[test]
fn a_request_that_nobody_takes_is_explained_too() {
    let table = given();
    assert_eq!(table.explain(81, &get("a.io", "/")).verdict, Verdict::NoListener);
    let only = crate::given::table([rule("a").takes([exact("/a")])], &["a.io"]);
    assert_eq!(only.explain(PORT, &get("b.io", "/")).verdict, Verdict::NoHost);
    let missed = only.explain(PORT, &get("a.io", "/"));
    assert_eq!((missed.verdict, missed.near_misses[0].failed.as_deref()), (Verdict::NoMatch, Some("path")));
    let empty = crate::given::table([Rule { action: split([]), ..rule("a") }], &["*"]);
    assert_eq!(empty.explain(PORT, &get("b.io", "/")).verdict, Verdict::Invalid);
}

#[test]
fn rows_stand_in_the_order_in_which_rules_are_tried() {
    let rows = given().rules_in_order();
    let read: Vec<_> = rows
        .iter()
        .map(|row| {
            let path = serde_json::to_string(&row.path).expect("JSON");
            format!("{} {} {path} {}", row.listener.section, row.host, row.rule.route)
        })
        .collect();
    let expected = [
        r#"wild a.io {"prefix":"/api"} api"#,
        r#"wild a.io {"prefix":"/api"} api"#,
        r#"wild *.io {"exact":"/api/v1"} host"#,
        r#"wild *.io {"prefix":"/api"} api"#,
        r#"wild *.io {"prefix":"/api"} api"#,
        r#"wild *.io {"prefix":"/"} root"#,
        r#"http * {"prefix":"/"} root"#,
    ];
    assert_eq!(read, expected);
    assert_eq!(rows[0].method.as_deref(), Some("POST"));
    assert_eq!(serde_json::to_value(&rows[0]).expect("JSON")["rule"], "HTTPRoute/default/api/0");
}

#[test]
fn long_lists_are_cut_and_say_so() {
    let many = (0..80).map(|at| rule(&format!("r{at:02}")).takes([prefix("/"), exact("/no")]));
    let explanation = crate::given::table(many, &["*"]).explain(PORT, &get("a.io", "/"));
    assert_eq!((explanation.losers.len(), explanation.losers_omitted), (50, 29));
    assert_eq!((explanation.near_misses.len(), explanation.near_misses_omitted), (50, 30));
}
