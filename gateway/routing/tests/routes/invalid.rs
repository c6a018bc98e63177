//! Invalid input costs its own share, with the field and what to write instead; nothing else is disturbed.

use crate::given::*;
use headgate_config::{
    Action, ArmTarget, AuthProtocol, ExternalAuth, Filter, Fraction, HeaderEdit, Match, PathEdit, Redirect, Rewrite,
    Rule,
};

fn problems(rule: Rule) -> Vec<(String, String)> {
    let all = listener("http", "*");
    let compiled = compile(&snapshot([all.clone()], [rule.on(&all, &["*"])]));
    compiled.problems.into_iter().map(|problem| (problem.field, problem.message)).collect()
}

#[test]
fn each_defect_names_its_field_and_a_remedy() {
    let filter = |filter| Rule { filters: vec![filter], ..rule("a") };
    let edit = |name: &str, value: &str| HeaderEdit { set: vec![(name.into(), value.into())], ..HeaderEdit::default() };
    let redirect = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };
    let path = |path: &str| Rewrite { host: None, path: Some(PathEdit::Full(path.into())) };
    for (rule, field, remedy) in [
        (rule("a").takes([regex("/(")]), "matches[0].path.value", "write RE2 syntax"),
        (rule("a").takes([exact("/"), prefix("a")]), "matches[1].path.value", "write a path that starts with /"),
        (rule("a").takes([prefix("/a/../b")]), "matches[0].path.value", "dot segments"),
        (rule("a").takes([prefix("/%61")]), "matches[0].path.value", "write \"/a\""),
        (
            rule("a").takes([Match { method: Some("G T".into()), ..prefix("/") }]),
            "matches[0].method",
            "write one such as GET",
        ),
        (
            rule("a").takes([Match { headers: vec![like("x", "(")], ..prefix("/") }]),
            "matches[0].headers[0].value",
            "write RE2",
        ),
        (
            rule("a").takes([Match { queries: vec![like("x", "[")], ..prefix("/") }]),
            "matches[0].queryParams[0].value",
            "write RE2",
        ),
        (
            rule("a").takes([Match { headers: vec![is("X", "1")], ..prefix("/") }]),
            "matches[0].headers[0].name",
            "write a-z",
        ),
        (filter(Filter::RequestHeaders(edit("x y", "1"))), "filters[0].requestHeaderModifier.set[0].name", "write a-z"),
        (
            filter(Filter::RequestHeaders(edit("x", "1\r\ny: 2"))),
            "filters[0].requestHeaderModifier.set[0].value",
            "one line",
        ),
        (
            filter(Filter::ResponseHeaders(edit("content-length", "1"))),
            "filters[0].responseHeaderModifier.set[0].name",
            "remove it",
        ),
        (
            filter(Filter::RequestHeaders(edit("host", "b.io"))),
            "filters[0].requestHeaderModifier.set[0].name",
            "URLRewrite",
        ),
        (
            filter(Filter::Redirect(Redirect { status: 200, ..redirect.clone() })),
            "filters[0].requestRedirect.statusCode",
            "write 301",
        ),
        (
            filter(Filter::Redirect(Redirect { host: Some("a b".into()), ..redirect })),
            "filters[0].requestRedirect.hostname",
            "write labels",
        ),
        (filter(Filter::Rewrite(path("/a?b"))), "filters[0].urlRewrite.path.replaceFullPath", "without a query"),
        (filter(Filter::Unsupported("BodyModifier".into())), "filters[0].type", "BodyModifier: remove it"),
    ] {
        let all = listener("http", "*");
        let compiled = compile(&snapshot([all.clone()], [rule.clone().on(&all, &["*"])]));
        let told = problems(rule);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, format!("spec.rules[0].{field}"));
        assert!(told[0].1.contains(remedy), "{}", told[0].1);
        assert_eq!(nth(&compiled.table, 0).invalid(), Some(told[0].1.as_str()));
    }
}

#[test]
fn a_broken_expression_costs_its_own_share() {
    let broken = Match { headers: vec![like("x-beta", "(")], ..prefix("/") };
    let all = listener("http", "*");
    let rules = [
        rule("good").on(&all, &["*"]),
        rule("header").takes([broken]).on(&all, &["*"]),
        rule("path").takes([regex("/("), prefix("/path")]).on(&all, &["*"]),
    ];
    let table = compile(&snapshot([all], rules)).table;
    assert_eq!(routed(&table, &get("a.io", "/")), "good/0");
    assert_eq!(routed(&table, &request("GET", "a.io", "/", &[("x-beta", "1")])), "header/0");
    assert_eq!(routed(&table, &get("a.io", "/path")), "path/0");
    assert!(table.rules().all(|rule| rule.invalid().is_some() == (rule.name().route != "good")));
}

#[test]
fn what_translate_made_invalid_keeps_its_reason_and_is_no_new_problem() {
    let all = listener("http", "*");
    let told = Rule { action: Action::Invalid("no grant".into()), ..rule("a") }.on(&all, &["*"]);
    let compiled = compile(&snapshot([all], [told]));
    assert_eq!(compiled.problems, []);
    assert_eq!(nth(&compiled.table, 0).invalid(), Some("no grant"));
    assert_eq!(nth(&compiled.table, 0).choose(1), None);
}

#[test]
fn a_backend_or_mirror_that_is_not_known_costs_no_more_than_itself() {
    let fraction = Fraction { numerator: 1, denominator: 2 };
    let mirror = |service| Filter::Mirror { backend: backend(service), fraction };
    let all = listener("http", "*");
    let mut split = rule("a").on(&all, &["*"]);
    split.filters = vec![Filter::RequestHeaders(HeaderEdit::default()), mirror("a"), mirror("gone")];
    let mut known = snapshot([all.clone()], [split, rule("b").on(&all, &["b.io"])]);
    known.backends.remove(&backend("b"));
    let compiled = compile(&known);
    let [a, b] = [0, 1].map(|at| nth(&compiled.table, at));
    assert_eq!((a.invalid(), b.invalid()), (None, None));
    let mirrors: Vec<_> = a.filter_backends().iter().map(|named| (named.at, named.backend.is_some())).collect();
    assert_eq!(mirrors, [(1, true), (2, false)]);
    assert_eq!(b.arms()[0].target(), Err("no backend default/b:80 is known: write one that exists"));
    let fields: Vec<_> = compiled.problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.rules[0].filters[2].requestMirror.backendRef", "spec.rules[0].backendRefs[0]"]);
}

#[test]
fn who_must_be_asked_is_found_or_is_a_problem() {
    let ask = |service: &str, prefix: &str| {
        let protocol = AuthProtocol::Http { prefix: prefix.into(), answer_headers: Vec::new() };
        let service = ArmTarget::Backend(backend(service));
        Filter::ExternalAuth(Box::new(ExternalAuth { service, protocol, request_headers: Vec::new(), body_bytes: 0 }))
    };
    let all = listener("http", "*");
    let rule_of = |filters| Rule { filters, ..rule("a") }.on(&all, &["*"]);
    let compiled = compile(&snapshot([all.clone()], [rule_of(vec![ask("a", ""), ask("gone", "/check")])]));
    let asked = nth(&compiled.table, 0).filter_backends();
    assert_eq!(asked.iter().map(|named| named.backend.is_some()).collect::<Vec<_>>(), [true, false]);
    let [problem] = &compiled.problems[..] else { panic!("{:?}", compiled.problems) };
    assert_eq!(problem.field, "spec.rules[0].filters[1].externalAuth.backendRef");
    assert!(problem.message.contains("requests are answered 500"), "{}", problem.message);
    for prefix in ["check", "/", "/a/", "/a/../b", "/a?b", "//a", "/%61"] {
        let compiled = compile(&snapshot([all.clone()], [rule_of(vec![ask("a", prefix)])]));
        assert!(nth(&compiled.table, 0).invalid().is_some(), "{prefix}");
        assert_eq!(compiled.problems[0].field, "spec.rules[0].filters[0].externalAuth.http.path", "{prefix}");
    }
}

#[test]
fn a_bad_filter_of_an_arm_costs_the_share_of_the_arm() {
    let mut weighed = Rule { action: split([("v1", 1), ("v2", 1)]), ..rule("a") };
    let Action::Forward(parts) = &mut weighed.action else { panic!("a split") };
    parts.arms.edit(|arms| arms[1].filters = vec![Filter::Unsupported("BodyModifier".into())]);
    let all = listener("http", "*");
    let compiled = compile(&snapshot([all.clone()], [weighed.on(&all, &["*"])]));
    let rule = nth(&compiled.table, 0);
    assert_eq!(rule.invalid(), None);
    assert_eq!(rule.arms()[0].target(), Ok(&backend("v1")));
    assert!(rule.arms()[1].target().unwrap_err().contains("BodyModifier"));
    assert_eq!(compiled.problems[0].field, "spec.rules[0].backendRefs[1].filters[0].type");
}
