//! Ports are opened and closed by what the routes say, also where another socket is in the way for a while.
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

use headgate_config::{HostPattern, Listener, ListenerName, Protocol, Snapshot};
use headgate_gateway::{
    Binding, Gateway, Hosts, Inheritance, Proxied, Settings, forwarded::TrustedHops, limits::Limits,
};
use std::{
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

fn gateway() -> Gateway {
    following(Inheritance::default())
}

fn following(inheritance: Inheritance) -> Gateway {
    Gateway::start(Settings {
        cores: 2,
        binding: Binding { addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], unprivileged_offset: None },
        limits: Limits::default(),
        trusted: TrustedHops::default(),
        proxied: Proxied::default(),
        hosts: Hosts::default(),
        log: None,
        admin: None,
        inheritance,
    })
    .unwrap()
}

fn listening(port: u16) -> Snapshot {
    let name =
        ListenerName { namespace: "default".into(), gateway: "edge".into(), set: "".into(), section: "http".into() };
    let listener = Listener {
        name,
        port,
        protocol: Protocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None,
        gate: None,
    };
    let mut snapshot = Snapshot::default();
    snapshot.insert_listener(listener.into());
    snapshot
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_port_that_is_removed_and_added_again_at_once_is_served() {
    let (gateway, port) = (gateway(), free_port());
    for _ in 0..20 {
        let published = gateway.publish(listening(port), Arc::default()).await;
        assert_eq!(published.problems, Vec::<String>::new());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        gateway.publish(Snapshot::default(), Arc::default()).await;
    }
}

#[tokio::test]
async fn a_port_that_another_process_had_is_opened_once_it_is_free() {
    let gateway = gateway();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let published = gateway.publish(listening(port), Arc::default()).await;
    assert!(published.problems[0].contains(&format!("port {port} is in use")), "{:?}", published.problems);
    drop(other);
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < until, "it was not opened");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // what is told by the same version now has no problem any more
    let published = gateway.publish(listening(port), Arc::default()).await;
    assert_eq!(published.problems, Vec::<String>::new());
    assert_eq!(published.ports[&port].len(), 1);
}

#[tokio::test]
async fn a_port_that_is_lent_listens_on_when_its_first_owner_yields() {
    let (old, port) = (gateway(), free_port());
    old.publish(listening(port), Arc::default()).await;
    let lent = old.lend().await;
    assert_eq!(lent.sockets.iter().map(|one| one.port).collect::<Vec<_>>(), [port]);
    old.yield_ports(Instant::now() + Duration::from_secs(1)).await;
    // nobody accepts now, and nobody is refused
    let waiting = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let new = following(lent);
    let published = new.publish(listening(port), Arc::default()).await;
    assert_eq!(published.problems, Vec::<String>::new());
    let until = Instant::now() + Duration::from_secs(10);
    while new.connections() == 0 {
        assert!(Instant::now() < until, "what waited was not accepted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(waiting);
    // what the routes say later is nothing to one that has yielded
    let published = old.publish(listening(free_port()), Arc::default()).await;
    assert_eq!((published.problems, published.ports.values().flatten().count()), (Vec::new(), 0));
    assert_eq!(old.drain(Duration::from_secs(1)).await, 0);
}

#[tokio::test]
async fn ports_that_are_held_open_when_they_are_let() {
    let (gateway, port) = (gateway(), free_port());
    gateway.hold_ports().await;
    let published = gateway.publish(listening(port), Arc::default()).await;
    assert_eq!(published.ports.values().flatten().count(), 0);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    let opened = gateway.open_ports().await;
    assert_eq!((opened.version, opened.ports[&port].len()), (published.version, 1));
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
}

#[tokio::test]
async fn a_gateway_shows_that_its_cores_go_on() {
    let gateway = gateway();
    tokio::time::timeout(Duration::from_secs(10), gateway.responds()).await.unwrap();
    gateway.drain(Duration::from_secs(1)).await;
    tokio::time::timeout(Duration::from_secs(10), gateway.responds()).await.unwrap();
}
