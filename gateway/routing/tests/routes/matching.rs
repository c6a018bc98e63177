//! What a match takes: paths, methods, headers, query parameters, gRPC.

use crate::given::*;
use headgate_config::{Match, PathMatch};
use headgate_routing::Outcome;

#[test]
fn paths_match_by_whole_segments() {
    for (matching, path, taken) in [
        (prefix("/"), "/", Some(0)),
        (prefix("/"), "/a", Some(0)),
        (prefix("/a"), "/a", Some(2)),
        (prefix("/a"), "/a/", Some(2)),
        (prefix("/a"), "/a/b", Some(2)),
        (prefix("/a"), "/ab", None),
        (prefix("/a/"), "/a", Some(2)),
        (prefix("/a/"), "/a/b", Some(2)),
        (prefix("/a/b"), "/a", None),
        (prefix("/a"), "/a//b", Some(2)),
        (prefix("/a%2Fb"), "/a%2fb/c", Some(6)),
        (exact("/a"), "/a", Some(2)),
        (exact("/a"), "/a/", None),
        (exact("/a/"), "/a", None),
        (exact("/"), "/", Some(1)),
        (regex("/v[0-9]+/.*"), "/v2/x", Some(5)),
        (regex("/v[0-9]+"), "/v2/x", None),
        (regex("v[0-9]+"), "/v2", None),
        (prefix("/"), "*", None),
    ] {
        let table = table([rule("a").takes([matching.clone()])], &["*"]);
        let outcome = table.route(PORT, &request("OPTIONS", "a.io", path, &[]));
        let found = match outcome {
            Outcome::Found(found) => {
                assert_eq!(found.prefix.is_some(), matches!(matching.path, PathMatch::Prefix(_)), "{matching:?}");
                Some(found.prefix.unwrap_or(path.len()))
            }
            _ => None,
        };
        assert_eq!(found, taken, "{matching:?} on {path}");
    }
}

/// Few prefixes of a host are found in another way than many.
#[test]
fn the_longest_prefix_takes_a_path_however_many_there_are() {
    for count in [1, 2, 6, 7, 8, 40] {
        // nested, and beside each other
        let text = |at: usize| if at.is_multiple_of(2) { "/n".repeat(at + 1) } else { format!("/side-{at}") };
        let rules = (0..count).map(|at| rule(&format!("r{at:02}")).takes([prefix(&text(at))]));
        let table = table(rules, &["a.io"]);
        for at in 0..count {
            let expected = format!("r{at:02}/0");
            for path in [text(at), text(at) + "/", text(at) + "/more"] {
                assert_eq!(routed(&table, &get("a.io", &path)), expected, "{path} of {count}");
            }
            let beside = text(at) + "x";
            let is_below_another = at.is_multiple_of(2) && at >= 2;
            let taken = if is_below_another { format!("r{:02}/0", at - 2) } else { "no path".into() };
            assert_eq!(routed(&table, &get("a.io", &beside)), taken, "{beside} of {count}");
        }
        assert_eq!(routed(&table, &get("a.io", "/side-1x/n")), "no path");
    }
}

#[test]
fn the_nearest_rule_says_what_is_missing() {
    let matching = Match {
        method: Some("PUT".into()),
        headers: vec![is("x-role", "user"), like("x-id", "[0-9]+")],
        queries: vec![is("q", "a b"), like("n", "[0-9]+")],
        ..prefix("/a")
    };
    let table = table([rule("a").takes([matching]), rule("b").takes([prefix("/b")])], &["*"]);
    let role = ("x-role", "user");
    for (method, target, fields, expected) in [
        ("GET", "/c", &[][..], "no path"),
        ("GET", "/a", &[], "no method"),
        ("PUT", "/a", &[], "no header x-role"),
        ("PUT", "/a", &[("x-role", "USER")], "no header x-role"),
        ("PUT", "/a", &[role, ("x-role", "admin")], "no header x-role"),
        ("PUT", "/a", &[("x-role", "admin"), role], "no header x-role"),
        ("PUT", "/a", &[role], "no header x-id"),
        ("PUT", "/a", &[role, ("x-id", "12a")], "no header x-id"),
        ("PUT", "/a", &[role, ("x-id", "1"), ("x-id", "2")], "no header x-id"),
        ("PUT", "/a", &[role, ("x-id", "12")], "no query parameter q"),
        ("PUT", "/a?Q=a+b", &[role, ("x-id", "12")], "no query parameter q"),
        ("PUT", "/a?q=x&q=a+b", &[role, ("x-id", "12")], "no query parameter q"),
        ("PUT", "/a?q=a+b", &[role, ("x-id", "12")], "no query parameter n"),
        ("PUT", "/a?q=a+b&n=1x", &[role, ("x-id", "12")], "no query parameter n"),
        ("PUT", "/a?q=a+b&n=1", &[role, ("x-id", "12")], "a/0"),
        ("PUT", "/a/b?n=%31&q=a%20b", &[role, ("x-id", "12"), ("other", "1")], "a/0"),
    ] {
        let head = request(method, "a.io", target, fields);
        assert_eq!(routed(&table, &head), expected, "{method} {target} {fields:?}");
    }
}

#[test]
fn repeated_headers_count_as_one_value() {
    let listed = Match { headers: vec![is("x", "a, b, c")], ..prefix("/") };
    let host = Match { headers: vec![is("host", "a.io:81")], ..prefix("/host") };
    let table = table([rule("a").takes([listed, host])], &["*"]);
    for (fields, expected) in [
        (&[("x", "a, b, c")][..], "a/0"),
        (&[("x", "a"), ("y", "1"), ("x", "b"), ("x", "c")], "a/0"),
        (&[("x", "a, b"), ("x", "c")], "a/0"),
        (&[("x", "a"), ("x", "b")], "no header x"),
        (&[("x", "a, b, c"), ("x", "")], "no header x"),
    ] {
        assert_eq!(routed(&table, &request("GET", "a.io", "/", fields)), expected, "{fields:?}");
    }
    assert_eq!(routed(&table, &get("a.io:81", "/host")), "a/0", "the host is a header too");
    assert_eq!(routed(&table, &get("a.io", "/host")), "no header host");
}

#[test]
fn grpc_rules_take_grpc_only() {
    let call = exact("/hello.Greeter/Say");
    let table = table([rule("rpc").takes([call]).grpc(), rule("web").takes([prefix("/hello.Greeter")])], &["*"]);
    let say = |kind| request("POST", "a.io", "/hello.Greeter/Say", &[("content-type", kind)]);
    assert_eq!(routed(&table, &say("application/grpc+proto")), "rpc/0");
    assert_eq!(routed(&table, &say("application/json")), "web/0");
    assert_eq!(routed(&table, &say("application/grpc-web")), "web/0");
    let only = crate::given::table([rule("rpc").grpc()], &["*"]);
    assert_eq!(routed(&only, &say("application/json")), "no gRPC");
}

#[test]
fn nothing_is_allocated_on_the_way() {
    let many = Match { headers: vec![is("x", "a, b")], queries: vec![is("q", "a b")], ..prefix("/a") };
    let table =
        table([rule("a").takes([many]), rule("b").takes([exact("/b"), regex("/c+")])], &["a.b.io", "*.io", "*"]);
    let heads = [
        request("GET", "x.b.io", "/a/b?q=a%20b", &[("x", "a"), ("x", "b")]),
        get("a.b.io", "/b"),
        get("a.b.io", "/ccc"),
        get("a.b.io", "/none/of/these"),
        get("a.b.c.d.e", "/"),
    ];
    let route = || {
        let found = heads.iter().filter(|head| matches!(table.route(PORT, head), Outcome::Found(_)));
        assert_eq!(found.count(), 3);
    };
    route(); // an expression makes its cache once a thread
    assert_eq!(allocation_counter::measure(route).count_total, 0);
}
