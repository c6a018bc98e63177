//! Connections and datagrams find their rule by transport, port and server name alone; requests never find theirs, nor the other way round.

use crate::given::*;
use headgate_config::{BackendName, Listener, Protocol, RouteKind, Rule, Transport};
use headgate_routing::{Carried, Table};

fn on(section: &str, protocol: Protocol, port: u16, hostname: &str) -> Listener {
    Listener { protocol, port, ..listener(section, hostname) }
}

fn carried_by(kind: RouteKind, route: &str) -> Rule {
    let mut rule = rule(route);
    rule.name.kind = kind;
    rule
}

fn taken(table: &Table<BackendName>, transport: Transport, port: u16, name: &str) -> String {
    match table.carry(transport, port, name) {
        Carried::Found { rule, .. } => rule.name().route.to_string(),
        Carried::NoRule => "no rule".into(),
        Carried::NoListener => "no listener".into(),
    }
}

#[test]
fn a_server_name_chooses_the_listener_and_then_the_route() {
    let sealed = on("sealed", Protocol::Tls, 443, "*.sealed.io");
    let ended = on("ended", Protocol::Tls, 443, "ended.io");
    let web = on("web", Protocol::Https, 443, "*");
    let rules = [
        carried_by(RouteKind::TLSRoute, "wide").on(&sealed, &["*.io"]),
        carried_by(RouteKind::TLSRoute, "exact").on(&sealed, &["a.sealed.io"]).created(9),
        rule("web").on(&web, &["*"]),
    ];
    let compiled = compile(&snapshot([sealed, ended, web], rules));
    assert!(compiled.problems.is_empty(), "{:?}", compiled.problems);
    let table = compiled.table;
    for (name, expected) in [
        ("a.sealed.io", "exact"),
        ("b.sealed.io", "wide"),
        ("ended.io", "no rule"),
        ("other.io", "no listener"),
        ("", "no listener"),
    ] {
        assert_eq!(taken(&table, Transport::Tcp, 443, name), expected, "{name}");
    }
    assert_eq!(table.protocol(443).map(|protocol| protocol.shares_port_with(Protocol::Tls)), Some(true));
}

#[test]
fn a_number_of_both_transports_is_two_ports_and_the_oldest_route_has_each() {
    let (tcp, udp) = (on("tcp", Protocol::Tcp, 53, "*"), on("udp", Protocol::Udp, 53, "*"));
    let rules = [
        carried_by(RouteKind::TCPRoute, "younger").on(&tcp, &["*"]).created(2),
        carried_by(RouteKind::TCPRoute, "zz-older").on(&tcp, &["*"]).created(1),
        carried_by(RouteKind::UDPRoute, "names").on(&udp, &["*"]),
    ];
    let table = compile(&snapshot([tcp, udp], rules)).table;
    assert_eq!(taken(&table, Transport::Tcp, 53, ""), "zz-older");
    assert_eq!(taken(&table, Transport::Udp, 53, ""), "names");
    assert_eq!(taken(&table, Transport::Udp, 54, ""), "no listener");
    let explained = table.explain_on(Transport::Udp, 53, &get("anything", "/"));
    assert_eq!(explained.winner.map(|winner| winner.rule.route).as_deref(), Some("names"));
}

#[test]
fn a_route_on_a_listener_of_another_layer_serves_nothing_and_is_told() {
    let (tcp, http) = (on("tcp", Protocol::Tcp, 9000, "*"), listener("http", "*"));
    let rules = [rule("web").on(&tcp, &["*"]), carried_by(RouteKind::TCPRoute, "db").on(&http, &["*"])];
    let compiled = compile(&snapshot([tcp, http], rules));
    assert_eq!(taken(&compiled.table, Transport::Tcp, 9000, ""), "no rule");
    assert_eq!(routed(&compiled.table, &get("a.io", "/")), "no host");
    let told: Vec<String> = compiled.problems.iter().map(ToString::to_string).collect();
    assert!(told.len() == 2 && told.iter().all(|problem| problem.contains("cannot serve")), "{told:?}");
}
