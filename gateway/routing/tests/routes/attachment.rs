//! Hosts and listeners: isolation, wildcards, fall-through.

use crate::given::*;
use headgate_config::{HostPattern, Listener, ListenerTls, Protocol};
use headgate_routing::Outcome;

#[test]
fn a_request_sees_only_the_rules_of_the_most_specific_listener() {
    let [any, wild, deep, host] = [
        listener("any", "*"),
        listener("wild", "*.example.com"),
        listener("deep", "*.foo.example.com"),
        listener("host", "abc.foo.example.com"),
    ];
    let rules = [
        rule("any").takes([prefix("/any")]).on(&any, &["*"]),
        rule("wild").takes([prefix("/wild")]).on(&wild, &["*"]),
        rule("deep").takes([prefix("/deep")]).on(&deep, &["*"]),
        rule("host").takes([prefix("/host")]).on(&host, &["*"]),
    ];
    let compiled = compile(&snapshot([any, wild, deep, host], rules));
    assert_eq!(compiled.problems, []);
    for (host, own) in [
        ("bar.com", "any"),
        ("example.com", "any"),
        ("10.0.0.1", "any"),
        ("bar.example.com", "wild"),
        ("foo.example.com", "wild"),
        ("bar.foo.example.com", "deep"),
        ("a.b.foo.example.com", "deep"),
        ("abc.foo.example.com", "host"),
    ] {
        assert_eq!(compiled.table.listener_for(PORT, host).unwrap().name.section, own, "{host}");
        for path in ["any", "wild", "deep", "host"] {
            let expected = if path == own { format!("{own}/0") } else { "no path".into() };
            assert_eq!(routed(&compiled.table, &get(host, &format!("/{path}"))), expected, "{host}/{path}");
        }
    }
    let explanation = compiled.table.explain(PORT, &get("bar.foo.example.com", "/deep"));
    let reasons: Vec<_> = explanation.other_listeners.iter().map(|other| other.reason.as_str()).collect();
    let expected = [
        "*.foo.example.com is more specific than *",
        "abc.foo.example.com does not take bar.foo.example.com",
        "*.foo.example.com is more specific than *.example.com",
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn a_port_and_a_host_without_a_listener_are_told_apart_from_a_host_without_a_rule() {
    let only = listener("http", "*.io");
    let compiled = compile(&snapshot([only.clone()], [rule("a").on(&only, &["a.io"])]));
    let table = compiled.table;
    assert!(matches!(table.route(81, &get("a.io", "/")), Outcome::NoListener));
    assert_eq!(routed(&table, &get("a.com", "/")), "no listener");
    assert_eq!(routed(&table, &get("b.io", "/")), "no host");
    assert_eq!(routed(&table, &get("a.io:8080", "/")), "a/0", "the port of the authority does not count");
    assert!(table.listener_for(PORT, "").is_none(), "no SNI is no host");
}

/// GatewayRouteHostnameIntersectionPrecedence: all three have the same effective host.
#[test]
fn the_hostname_that_a_route_declares_decides_and_falls_through() {
    let narrow = listener("http", "very.specific.com");
    let header = |name| headgate_config::Match { headers: vec![is(name, "1")], ..prefix("/") };
    let rules = [
        rule("a-none").on(&narrow, &["*"]).takes([exact("/exact"), prefix("/")]),
        rule("b-wild").on(&narrow, &["*.specific.com"]).takes([header("wild")]),
        rule("c-wider").on(&narrow, &["*.com"]).takes([header("wider"), header("wild")]),
        rule("d-host").on(&narrow, &["very.specific.com"]).takes([header("host")]),
    ];
    let compiled = compile(&snapshot([narrow], rules));
    assert_eq!(compiled.problems, []);
    for (fields, expected) in [
        (&[("host-x", "1")][..], "a-none/0"),
        (&[("host", "1")], "a-none/0"),
        (&[("wild", "1")], "b-wild/0"),
        (&[("wider", "1")], "c-wider/0"),
    ] {
        let head = request("GET", "very.specific.com", "/exact", fields);
        assert_eq!(routed(&compiled.table, &head), expected, "{fields:?}");
    }
}

#[test]
fn a_wildcard_takes_any_number_of_labels_and_no_address() {
    let table = table([rule("a")], &["*.ofn.io", "*.0.0.1"]);
    for (host, expected) in [
        ("fn.ofn.io", "a/0"),
        ("fn.default.ofn.io", "a/0"),
        ("ofn.io", "no host"),
        ("xofn.io", "no host"),
        ("10.0.0.1", "no host"),
        ("[::1]", "no host"),
    ] {
        assert_eq!(routed(&table, &get(host, "/")), expected, "{host}");
    }
}

#[test]
fn less_specific_hosts_serve_what_the_more_specific_ones_do_not() {
    let all = listener("http", "*");
    let rules = [
        rule("host").on(&all, &["a.b.io"]).takes([prefix("/host")]),
        rule("near").on(&all, &["*.b.io"]).takes([prefix("/near")]),
        rule("far").on(&all, &["*.io"]).takes([prefix("/far"), prefix("/host")]),
        rule("any").on(&all, &["*"]).takes([prefix("/any")]),
    ];
    let table = compile(&snapshot([all], rules)).table;
    for (path, expected) in
        [("/host", "host/0"), ("/near", "near/0"), ("/far", "far/0"), ("/any", "any/0"), ("/none", "no path")]
    {
        assert_eq!(routed(&table, &get("a.b.io", path)), expected, "{path}");
    }
    assert_eq!(routed(&table, &get("b.io", "/host")), "far/0");
}

#[test]
fn ports_are_listed_with_their_listeners() {
    let tls = |section: &str, hostname: &str| Listener {
        port: 443,
        protocol: Protocol::Https,
        tls: Some(ListenerTls::default()),
        ..listener(section, hostname)
    };
    let table = compile(&snapshot([tls("b", "b.io"), tls("a", "a.io"), listener("http", "*")], [])).table;
    let ports: Vec<_> = table
        .ports()
        .map(|port| (port.number, port.protocol, port.listeners.iter().map(|l| l.name.section.as_str()).collect()))
        .collect();
    let expected: [(u16, Protocol, Vec<&str>); 2] =
        [(80, Protocol::Http, vec!["http"]), (443, Protocol::Https, vec!["a", "b"])];
    assert_eq!(ports, expected);
}

#[test]
fn two_listeners_that_say_the_same_serve_as_one_and_others_conflict() {
    let (one, same) = (listener("one", "*"), listener("same", "*"));
    let https = Listener { protocol: Protocol::Https, hostname: pattern("a.io"), ..listener("tls", "*") };
    let rules = [
        rule("a").on(&one, &["*"]).takes([prefix("/a")]),
        rule("b").on(&same, &["*"]).takes([prefix("/b")]),
        rule("c").on(&one, &["c.io"]).on(&same, &["c.io"]),
        rule("d").on(&https, &["*"]).takes([prefix("/d")]),
    ];
    let compiled = compile(&snapshot([one, same, https], rules));
    assert_eq!(routed(&compiled.table, &get("x.io", "/a")), "a/0");
    assert_eq!(routed(&compiled.table, &get("x.io", "/b")), "b/0");
    assert_eq!(routed(&compiled.table, &get("a.io", "/d")), "no path", "a listener in conflict serves nothing");
    assert_eq!(compiled.table.explain(PORT, &get("c.io", "/")).losers.len(), 0, "no rule is its own rival");
    let problems: Vec<_> = compiled.problems.iter().map(ToString::to_string).collect();
    let expected = [
        "listener infra/edge/tls: protocol: port 80 is taken by listener infra/edge/one with another protocol: \
         write the same protocol, another hostname or another port",
        "HTTPRoute/default/d/0: spec.parentRefs: no listener infra/edge/tls serves: \
         name one that exists and has no conflict",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_host_that_was_narrowed_further_serves_only_there() {
    let all = listener("http", "*");
    let mut narrowed = rule("a").on(&all, &["*.io"]);
    narrowed.attachments.edit(|all| all[0].hosts[0].pattern = HostPattern::Exact("a.io".parse().unwrap()));
    let table = compile(&snapshot([all.clone()], [narrowed, rule("b").on(&all, &["*"])])).table;
    assert_eq!(routed(&table, &get("a.io", "/")), "a/0");
    assert_eq!(routed(&table, &get("b.io", "/")), "b/0");
}
